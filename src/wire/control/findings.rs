//! What is wrong, read off the [`Status`] alone, each with the command that resolves it.
//!
//! The control loop tells what it decided; this adds what anyone can see in the state itself, so that an alarm
//! stands for as long as its condition does. `docs/operating.md` lists every code.

use super::status::{Match, NodeState, Status};
use crate::decision::code::Code;
use crate::decision::why::{Severity, Why};
use crate::decision::words::{Mode, Role};

/// Adds to `status.warnings` what its state shows and the control loop has not said, and puts the worst first.
pub fn complete(status: &mut Status) {
    let mut found = Vec::new();
    pair(status, &mut found);
    database(status, &mut found);
    surroundings(status, &mut found);
    // The loop's own words win over these where both speak of the same thing.
    found.retain(|why| !status.warnings.iter().any(|told| told.code == why.code));
    status.warnings.append(&mut found);
    status.warnings.sort_by_key(|why| std::cmp::Reverse(why.severity));
}

fn pair(status: &Status, found: &mut Vec<Why>) {
    let (node, peer) = (&status.node, &status.peer);
    let peer_active = peer.role == Some(Role::Active);
    match node.role {
        // What a node was when it was last heard, in an epoch that is over, is not what it is.
        Role::Active if peer_active && (peer.connected || peer.epoch >= Some(node.epoch)) => {
            found.push(Why::new(
                Code::PairSplit,
                format!("{} and {} are both active: writes go to both", node.name, peer.name),
            ))
        }
        Role::Active => alone(status, found),
        Role::Fault => found
            .push(Why::new(Code::NodeFault, format!("{} is not fit for a role: {}", node.name, node.why))),
        Role::Out if node.mode == Mode::Maintenance => found.push(Why::new(
            Code::NodeMaintenance,
            format!("{} is in maintenance: {}", node.name, node.mode_note),
        )),
        Role::Out | Role::Standby => {}
    }
    if node.role != Role::Active && !peer_active {
        let what = match peer.role {
            Some(role) => format!("{} is {}, {} is {role}", node.name, node.role, peer.name),
            None => format!("{} is {}, {} has not been heard", node.name, node.role, peer.name),
        };
        found.push(Why::new(Code::PairNoActive, format!("no node is known to serve clients: {what}")));
    }
    if status.guarded {
        found.push(Why::new(
            Code::PairGuarded,
            "too many automatic failovers within the hour: no further one happens by itself",
        ));
    }
}

/// The active, and whoever stands behind it.
fn alone(status: &Status, found: &mut Vec<Why>) {
    let (node, peer) = (&status.node, &status.peer);
    // On the way into the role or out of it, that is as it must be.
    let settled = status.operation.is_none();
    if settled
        && (!node.gate_open || (!node.vip_held && !status.addresses.is_empty()) || !node.database.writable)
    {
        found.push(Why::new(
            Code::ActiveNotServing,
            format!("{} is active and does not serve: {}", node.name, node.why),
        ));
    }
    let ready = peer.role == Some(Role::Standby) && peer.connected && peer.fit != Some(false);
    if ready {
        return;
    }
    let remedy = match (peer.connected, peer.mode) {
        (true, Some(Mode::Maintenance)) => format!("apctl rejoin brings {} back", peer.name),
        (true, _) => format!("apctl status on {} shows what it lacks", peer.name),
        (false, _) => format!("start apd on {}, or repair the network between the nodes", peer.name),
    };
    let text = format!("{} serves alone: {} cannot take over ({})", node.name, peer.name, peer_words(status));
    found.push(Why::new(Code::PairAlone, text).resolved_by(remedy));
}

fn peer_words(status: &Status) -> String {
    let peer = &status.peer;
    match (peer.connected, peer.role, peer.mode) {
        (false, _, _) => peer.state.word().to_lowercase(),
        (true, Some(Role::Out), Some(mode)) => format!("mode {mode}"),
        (true, Some(role), _) if peer.why.is_empty() => role.to_string(),
        (true, Some(role), _) => format!("{role}: {}", peer.why),
        (true, None, _) => "not heard yet".to_owned(),
    }
}

fn database(status: &Status, found: &mut Vec<Why>) {
    let database = &status.node.database;
    if !database.reachable {
        let text = format!("the database does not answer: {}", database.detail);
        found.push(Why::new(Code::DatabaseUnreachable, text));
        return;
    }
    if status.node.role == Role::Standby {
        if database.writable {
            found.push(Why::new(Code::DatabaseWritableStandby, "the database of this standby takes writes"));
        }
        match &database.replica {
            None => {
                found.push(Why::new(Code::ReplicaMissing, "this standby has no replica: it receives nothing"))
            }
            Some(replica) if !(replica.receiving && replica.applying) => {
                let what = if replica.error.is_empty() {
                    "a replication thread does not run"
                } else {
                    &replica.error
                };
                let text = format!("the replica is stopped: {what}");
                found.push(Why::new(Code::ReplicaStopped, text));
            }
            Some(_runs) => {}
        }
    }
}

fn surroundings(status: &Status, found: &mut Vec<Why>) {
    let (node, peer) = (&status.node, &status.peer);
    // The server has findings of its own.
    let failing = node.checks.iter().filter(|check| !check.ok && check.name != "mariadb");
    for check in failing {
        let text = format!("the check {} fails: {}", check.name, check.detail);
        let severity = if check.counts { Severity::Error } else { Severity::Warning };
        let why = Why::new(Code::CheckFailed, text).weighing(severity);
        found.push(
            why.resolved_by(format!(
                "repair what {} asks; apctl check {} asks again",
                check.name, check.name
            )),
        );
    }
    if !node.link_usable {
        let text = format!("the network interface is not usable: {}", node.link);
        found.push(Why::new(Code::LinkDown, text));
    }
    if let Some((0, asked)) = node.gateway
        && asked > 0
    {
        let text = format!("none of {asked} gateway targets answers");
        found.push(Why::new(Code::GatewaySilent, text).resolved_by("look at the network behind this node"));
    }
    if peer.state == NodeState::Disconnected
        && !peer.connected
        && peer.role != Some(Role::Out)
        && node.role != Role::Active
    {
        let text = format!("contact with {} is lost", peer.name);
        found.push(
            Why::new(Code::PeerDisconnected, text)
                .resolved_by(format!("start apd on {}, or repair the network", peer.name)),
        );
    }
    if peer.r#match == Match::Mismatch {
        found.push(
            Why::new(Code::ConfigMismatch, "version or configuration of the two nodes differ").resolved_by(
                "apctl config diff --peer names the keys; make both files equal, then apctl reload on both",
            ),
        );
    }
}
