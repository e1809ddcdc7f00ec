//! The protection meter: what each single fault would do now (DESIGN.md section 1).
//!
//! It never claims more than holds: where this node cannot know, it says the worse.

use super::status::{SingleFault, Status};
use crate::decision::words::{Mode, Protection, Role};

/// What each single fault would do in the condition that `status` shows. Fills
/// [`super::ProtectionStatus::single_faults`].
pub fn meter(status: &Status) -> Vec<SingleFault> {
    let pair = Pair::of(status);
    let Some((active, standby)) = pair.names else {
        return vec![fault("any single fault".to_owned(), "outage", "none")];
    };
    let loss = |outcome: &str| if outcome == "failover" && !pair.synced { "possible" } else { "none" };
    let failover = if pair.standby_ready { "failover" } else { "outage" };
    let handover = if pair.standby_ready { "handover" } else { "degraded" };
    let split = match (status.protection.level, pair.standby_ready) {
        (_, false) => "none",
        (Protection::Vrrp | Protection::Gateway, true) => "split",
    };
    let mut faults = vec![
        fault(format!("power loss of {active}"), failover, loss(failover)),
        fault(format!("network loss of {active}"), failover, loss(failover)),
        fault(
            format!("MariaDB on {active} killed"),
            failover,
            if pair.tail_readable { "none" } else { loss(failover) },
        ),
        fault(format!("a check on {active} fails"), handover, "none"),
        fault(format!("apd on {active} killed"), failover, loss(failover)),
        fault(format!("power loss of {standby}"), "none", "none"),
        fault(
            "every path between the nodes cut".to_owned(),
            split,
            if split == "split" { "possible" } else { "none" },
        ),
    ];
    if status.guarded {
        for fault in &mut faults {
            if fault.outcome == "failover" || fault.outcome == "handover" {
                fault.outcome = "outage".to_owned();
                fault.data_loss = "none".to_owned();
            }
        }
    }
    faults
}

fn fault(fault: String, outcome: &str, data_loss: &str) -> SingleFault {
    SingleFault { fault, outcome: outcome.to_owned(), data_loss: data_loss.to_owned() }
}

/// Who serves, who would.
struct Pair<'a> {
    /// Active and standby, if someone is active.
    names: Option<(&'a str, &'a str)>,
    /// The other node would take over.
    standby_ready: bool,
    /// Nothing accepted is ever lost by a failover.
    synced: bool,
    /// The peer link is up: the tail of a killed server is read from its disk before the takeover.
    tail_readable: bool,
}

impl<'a> Pair<'a> {
    fn of(status: &'a Status) -> Self {
        let (node, peer) = (&status.node, &status.peer);
        let tail_readable = peer.connected;
        let synced = status.protection.durability == "synced" && node.database.in_sync == Some(true);
        if node.role == Role::Active {
            let ready = peer.role == Some(Role::Standby)
                && peer.mode == Some(Mode::Ap)
                && peer.fit.unwrap_or(false)
                && peer.connected;
            return Self {
                names: Some((&node.name, &peer.name)),
                standby_ready: ready,
                synced,
                tail_readable,
            };
        }
        if peer.role == Some(Role::Active) {
            let ready = node.role == Role::Standby && node.mode == Mode::Ap && node.eligible;
            return Self {
                names: Some((&peer.name, &node.name)),
                standby_ready: ready,
                synced,
                tail_readable,
            };
        }
        Self { names: None, standby_ready: false, synced, tail_readable }
    }
}
