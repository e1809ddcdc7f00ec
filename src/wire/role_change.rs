//! What a hook reads on its standard input: one change of this node's role, as one line of JSON. And the words of
//! keepalived for it, which old scripts know.

use crate::decision::words::{Mode, Role};
use serde::{Deserialize, Serialize};

/// What a hook is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// This node serves clients.
    Active,
    /// It follows, and may take over.
    Standby,
    /// It wants a role, and is not fit for it.
    Fault,
    /// It takes no part: mode maintenance.
    Out,
    /// The daemon stops.
    Stop,
}

impl Word {
    /// All of them.
    pub const ALL: [Word; 5] = [Word::Active, Word::Standby, Word::Fault, Word::Out, Word::Stop];

    /// The word, as in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Word::Active => "active",
            Word::Standby => "standby",
            Word::Fault => "fault",
            Word::Out => "out",
            Word::Stop => "stop",
        }
    }

    /// keepalived's name of the state. A node that takes no part has stopped, as far as keepalived knows.
    pub const fn state(self) -> &'static str {
        match self {
            Word::Active => "MASTER",
            Word::Standby => "BACKUP",
            Word::Fault => "FAULT",
            Word::Out | Word::Stop => "STOP",
        }
    }

    /// keepalived's name of the notification.
    pub const fn notification(self) -> &'static str {
        match self {
            Word::Active => "notify_master",
            Word::Standby => "notify_backup",
            Word::Fault => "notify_fault",
            Word::Out | Word::Stop => "notify_stop",
        }
    }
}

impl From<Role> for Word {
    fn from(role: Role) -> Self {
        match role {
            Role::Active => Word::Active,
            Role::Standby => Word::Standby,
            Role::Fault => Word::Fault,
            Role::Out => Word::Out,
        }
    }
}

/// One change of a node's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleChange {
    /// [`super::control::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What happened.
    pub event: Word,
    /// keepalived's word for it.
    pub state: String,
    /// What it was before; `None` for the first of a run.
    pub previous: Option<Word>,
    /// Name of the pair.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// The other one.
    pub peer: String,
    /// What the operator allows.
    pub mode: Mode,
    /// Newest activity known here; its own while active.
    pub epoch: u64,
    /// VRRP priority, weights included.
    pub priority: u8,
    /// The virtual addresses, as `192.168.33.100/24`.
    pub addresses: Vec<String>,
    /// Why, in one sentence.
    pub why: String,
    /// When, RFC 3339.
    pub time: String,
}

impl RoleChange {
    /// What keepalived appends to the arguments of a `notify` script.
    pub fn arguments(&self) -> [String; 4] {
        ["INSTANCE".into(), self.cluster.clone(), self.state.clone(), self.priority.to_string()]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A change as a daemon tells it.
    pub(crate) fn change(event: Word) -> RoleChange {
        RoleChange {
            schema_version: 1,
            event,
            state: event.state().into(),
            previous: None,
            cluster: "shop".into(),
            node: "db1".into(),
            peer: "db2".into(),
            mode: Mode::Ap,
            epoch: 7,
            priority: 90,
            addresses: Vec::new(),
            why: "a test".into(),
            time: String::new(),
        }
    }

    #[test]
    fn r4_11_arguments_are_those_of_keepalived() {
        let table = [
            (Word::Active, "MASTER", "notify_master"),
            (Word::Standby, "BACKUP", "notify_backup"),
            (Word::Fault, "FAULT", "notify_fault"),
            (Word::Out, "STOP", "notify_stop"),
            (Word::Stop, "STOP", "notify_stop"),
        ];
        for (event, state, notification) in table {
            let change = change(event);
            assert_eq!(change.arguments(), ["INSTANCE", "shop", state, "90"]);
            assert_eq!(event.notification(), notification);
            let line = serde_json::to_string(&change).unwrap();
            assert!(line.contains(&format!("\"event\":\"{}\"", event.word())), "{line}");
        }
    }
}
