//! What the health endpoints answer, judged on a [`Status`] that was moved to the time of the answer.
//!
//! Each verdict names the first thing that stands against it, so that `curl` on a load balancer's endpoint
//! tells an operator why.

use super::status::{NodeState, Status};
use super::words;
use crate::decision::words::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Answer of a health endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Yes (200) or no (503).
    pub ok: bool,
    /// What this node does.
    #[schemars(with = "words::Role")]
    pub role: Role,
    /// Its epoch.
    pub epoch: u64,
    /// What stands against it; `ok` if nothing does.
    pub reason: String,
}

/// A control loop that has said nothing for this long counts as stuck, milliseconds. It speaks at every change
/// and at least once a second.
pub const LOOP_STUCK_MS: u64 = 3_000;

type Objection = Result<(), String>;

fn verdict(status: &Status, objection: Objection) -> Verdict {
    let node = &status.node;
    let (ok, reason) = match objection {
        Ok(()) => (true, "ok".to_owned()),
        Err(reason) => (false, reason),
    };
    Verdict { ok, role: node.role, epoch: node.epoch, reason }
}

fn unless(holds: bool, objection: impl FnOnce() -> String) -> Objection {
    if holds { Ok(()) } else { Err(objection()) }
}

/// `/primary`, `/active`, `/read-write`: a client can write through the virtual address now.
pub fn primary(status: &Status) -> Verdict {
    verdict(status, serves_writes(status))
}

fn serves_writes(status: &Status) -> Objection {
    let node = &status.node;
    unless(node.role == Role::Active, || format!("the role is {}: {}", node.role, node.why))?;
    unless(node.lease_remaining_ms.is_some_and(|remaining| remaining > 0), || {
        "the lease has ended".to_owned()
    })?;
    unless(node.gate_open, || "the gate is closed".to_owned())?;
    unless(node.vip_held || status.addresses.is_empty(), || "the virtual address is not held".to_owned())?;
    database_answers(status)?;
    unless(node.database.writable, || "the database is not verified writable".to_owned())
}

fn database_answers(status: &Status) -> Objection {
    let database = &status.node.database;
    unless(database.reachable, || format!("the database does not answer: {}", database.detail))?;
    let stale = matches!((database.age_ms, database.fresh_for_ms), (Some(age), Some(fresh)) if age > fresh);
    unless(!stale, || format!("the last look at the database is {} ms old", database.age_ms.unwrap_or(0)))
}

/// `/replica`, `/standby`: this node follows the active, no further behind than `lag` where one is given.
pub fn replica(status: &Status, lag: Option<Duration>) -> Verdict {
    verdict(status, serves_stale_reads(status, lag))
}

fn serves_stale_reads(status: &Status, lag: Option<Duration>) -> Objection {
    let node = &status.node;
    unless(node.role == Role::Standby, || format!("the role is {}: {}", node.role, node.why))?;
    database_answers(status)?;
    unless(!node.database.writable, || "the database takes writes".to_owned())?;
    let replica = node.database.replica.as_ref().ok_or("no replica is configured")?;
    unless(replica.receiving && replica.applying, || format!("the replica does not run: {}", replica.error))?;
    let Some(limit) = lag else { return Ok(()) };
    let lag = node.database.lag_ms.ok_or("the lag is unknown")?;
    unless(u128::from(lag) <= limit.as_millis(), || format!("the lag is {lag} ms"))
}

/// `/read-only`: reads can be served, from the active or from a running replica.
pub fn read_only(status: &Status, lag: Option<Duration>) -> Verdict {
    let objection = if status.node.role == Role::Active {
        serves_writes(status)
    } else {
        serves_stale_reads(status, lag)
    };
    verdict(status, objection)
}

/// `/liveness`: the control loop turns. A supervisor may restart the daemon when it does not.
pub fn alive(status: &Status) -> Verdict {
    verdict(status, turns(status))
}

fn turns(status: &Status) -> Objection {
    unless(status.age_ms < LOOP_STUCK_MS, || {
        format!("the control loop has said nothing for {} ms", status.age_ms)
    })
}

/// `/readiness`: this node has a role and its database answers.
pub fn ready(status: &Status) -> Verdict {
    let node = &status.node;
    let objection = turns(status)
        .and_then(|()| {
            let has_role = matches!(node.role, Role::Active | Role::Standby);
            unless(has_role, || format!("the role is {}: {}", node.role, node.why))
        })
        .and_then(|()| database_answers(status));
    verdict(status, objection)
}

/// `/health`: this node does all that its role asks for.
pub fn healthy(status: &Status) -> Verdict {
    let node = &status.node;
    let objection = turns(status)
        .and_then(|()| match node.role {
            Role::Active => serves_writes(status),
            Role::Standby => serves_stale_reads(status, None),
            Role::Fault | Role::Out => Err(format!("the role is {}: {}", node.role, node.why)),
        })
        .and_then(|()| match node.checks.iter().find(|check| check.counts && !check.ok) {
            Some(check) => Err(format!("the check {} fails: {}", check.name, check.detail)),
            None => Ok(()),
        });
    verdict(status, objection)
}

/// Where a client of this node's services should go: `/redirect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Stay: this node serves.
    Here,
    /// This node does not serve, and the other one does.
    There,
    /// Nobody is known to serve; the verdict says why this node does not.
    Nowhere,
}

/// A client moves only if this node does not serve and wants no service, and the other one is running and heard.
pub fn way(status: &Status) -> (Way, Verdict) {
    let verdict = primary(status);
    let peer_serves = status.peer.state == NodeState::Running && status.peer.connected;
    let way = match verdict.ok {
        true => Way::Here,
        // An active that cannot serve at this moment is about to, or about to give its role up.
        false if status.node.role != Role::Active && peer_serves => Way::There,
        false => Way::Nowhere,
    };
    (way, verdict)
}
