//! Why a node is what it is, and what would change it: `apctl explain`, `GET /explain`.

use super::SCHEMA_VERSION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// State, evidence, the rule that fired, what comes next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explain {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// One sentence: `db1 is active in epoch 7`.
    pub state: String,
    /// How long it has been so, milliseconds; `None` if unknown.
    pub since_ms: Option<u64>,
    /// The rule that led here.
    pub rule: Rule,
    /// The row of the transition table that led into the present state.
    #[serde(default)]
    pub last_transition: Option<Transition>,
    /// The rows that could lead out of it, in the order in which they are tried (docs/transitions.md).
    #[serde(default)]
    pub next_transitions: Vec<Transition>,
    /// What is known, and how old it is.
    pub evidence: Vec<Evidence>,
    /// What happens next by time alone, if nothing else does.
    pub next_deadline: Option<NextDeadline>,
    /// What would change the state, one line each.
    pub would_change: Vec<String>,
    /// What stands against each role that this node has not: `active` -> lines.
    pub why_not: BTreeMap<String, Vec<String>>,
    /// What each fault would do now: `peer-down` -> lines.
    pub what_if: BTreeMap<String, Vec<String>>,
}

/// A rule of the decision core, by the code that it leaves in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Stable code, for example `takeover.done`.
    pub code: String,
    /// One sentence, facts included.
    pub text: String,
}

/// A row of the transition table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transition {
    /// The state that it leads out of.
    pub from: String,
    /// The state that it leads into.
    pub to: String,
    /// The reason that it carries.
    pub code: String,
    /// The events that it waits for, in words; empty: it is looked at after every event.
    pub on: Vec<String>,
    /// Its conditions; all must hold.
    pub when: Vec<Condition>,
    /// How long ago it was carried out, milliseconds; `None` for one that was not.
    pub age_ms: Option<u64>,
}

/// A condition of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// What it says.
    pub text: String,
    /// It holds now; `None` where it speaks of an event.
    pub holds: Option<bool>,
}

/// One known fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What it is about: `heartbeat from db2`.
    pub name: String,
    /// The fact: `acknowledged, epoch 7`.
    pub value: String,
    /// How old it is, milliseconds; `None` where age has no meaning.
    pub age_ms: Option<u64>,
}

/// What happens next by time alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextDeadline {
    /// What: `the takeover wait ends`.
    pub name: String,
    /// When, milliseconds from now.
    pub in_ms: u64,
}

impl Default for Explain {
    fn default() -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            state: "the daemon is starting".to_owned(),
            since_ms: None,
            rule: Rule::default(),
            last_transition: None,
            next_transitions: Vec::new(),
            evidence: Vec::new(),
            next_deadline: None,
            would_change: Vec::new(),
            why_not: BTreeMap::new(),
            what_if: BTreeMap::new(),
        }
    }
}

impl Explain {
    /// The same explanation, seen `later`: evidence is older, the deadline nearer.
    #[must_use]
    pub fn aged(mut self, later: Duration) -> Self {
        let more = u64::try_from(later.as_millis()).unwrap_or(u64::MAX);
        let grow = |age: &mut u64| *age = age.saturating_add(more);
        self.since_ms.iter_mut().for_each(grow);
        self.evidence.iter_mut().filter_map(|evidence| evidence.age_ms.as_mut()).for_each(grow);
        self.last_transition.iter_mut().filter_map(|last| last.age_ms.as_mut()).for_each(grow);
        if let Some(deadline) = &mut self.next_deadline {
            deadline.in_ms = deadline.in_ms.saturating_sub(more);
        }
        self
    }
}
