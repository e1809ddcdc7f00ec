//! What two nodes say to each other over the peer link. `wire::peer` turns these into frames.

use super::gtid::GtidState;
use super::time::Instant;
use super::words::{Epoch, InstanceId, Mode, Role};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One message over the peer link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerMessage {
    /// Sent every heartbeat interval by both nodes. From an active it asks for a lease.
    Heartbeat(Heartbeat),
    /// Echo of a heartbeat: grants the lease that it asked for, counted from its send time.
    Acknowledge(Acknowledge),
    /// The active grants or revokes the right to bid for its epoch.
    Eligible {
        /// The active's epoch.
        epoch: Epoch,
        /// Granted or revoked.
        granted: bool,
    },
    /// One part of a switchover conversation.
    Switchover(Switchover),
    /// The sender's gate is closed and stays closed: the receiver need not wait out the lease.
    Released(Released),
    /// One part of a rejoin conversation.
    Rejoin(Rejoin),
}

/// Facts about the sender, and the request for a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The sender's run.
    pub instance: InstanceId,
    /// Counts heartbeats of this run.
    pub sequence: u64,
    /// The sender's clock at sending; only echoed, never compared across hosts.
    pub sent: Instant,
    /// The lease asked for, if the sender is active.
    pub lease: Option<Duration>,
    /// What the sender is and has.
    pub facts: PeerFacts,
}

/// Echo of a heartbeat that asked for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Echo.
    pub instance: InstanceId,
    /// Echo.
    pub epoch: Epoch,
    /// Echo.
    pub sequence: u64,
    /// Echo.
    pub sent: Instant,
    /// Echo.
    pub lease: Duration,
}

/// What a node says of itself in every heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerFacts {
    /// What it does.
    pub role: Role,
    /// What its operator allows.
    pub mode: Mode,
    /// Newest epoch that it knows; its own activity's while active.
    pub epoch: Epoch,
    /// It answers clients: gate open, database verified writable.
    pub serving: bool,
    /// It could serve, were it asked: database reachable, checks pass, link up.
    pub fit: bool,
    /// It holds the right to serve alone.
    pub solo: bool,
    /// The epoch for which it may bid.
    pub eligible: Option<Epoch>,
    /// Its server answers.
    pub database_reachable: bool,
    /// Its server takes writes.
    pub database_writable: bool,
    /// Its replica follows this node without error.
    pub replica_running: bool,
    /// Its `gtid_binlog_state`, with `gtid_slave_pos` merged.
    pub gtid: GtidState,
    /// Its VRRP priority now, the weights of failing checks included: a standby does not advertise it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// A service that runs on the active alone may run there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub role_services: bool,
    /// Hash of the part of the configuration that both must share.
    pub config_hash: u64,
    /// One line: why it is what it is.
    pub why: String,
}

/// For what is left out of a message that has nothing to say.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Switchover, in the order in which the messages go. `operation` is the number that the old active chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switchover {
    /// Standby to active: an operator on my side asks for a switchover.
    Request {
        /// Chosen by the asking side, echoed in [`Switchover::Answered`].
        operation: u64,
        /// The operator's reason.
        reason: String,
    },
    /// Active to standby: how the request ended.
    Answered {
        /// Echo.
        operation: u64,
        /// It was done.
        ok: bool,
        /// One line.
        text: String,
    },
    /// Active to standby: are you ready to take over `epoch`?
    Prepare {
        /// Chosen by the active.
        operation: u64,
        /// The epoch that the standby would open.
        epoch: Epoch,
        /// The pair stays (ap, ap): an operator asked. Otherwise (maintenance, standalone).
        planned: bool,
    },
    /// Standby to active.
    Ready {
        /// Echo.
        operation: u64,
        /// `None`: ready; otherwise why not.
        refused: Option<String>,
    },
    /// Active to standby: commits are paused; reach this position.
    Reach {
        /// Echo.
        operation: u64,
        /// `gtid_binlog_pos` of the frozen server.
        position: GtidState,
    },
    /// Standby to active: applied, or not in time.
    Reached {
        /// Echo.
        operation: u64,
        /// It is applied.
        ok: bool,
    },
    /// Active to standby: called off before the point of no return.
    Abort {
        /// Echo.
        operation: u64,
    },
    /// New active to old: clients are served.
    Opened {
        /// Echo.
        operation: u64,
        /// The new activity.
        epoch: Epoch,
        /// Where the new active's own history begins: follow from here.
        position: GtidState,
    },
}

/// The gate of `epoch` is closed, verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Released {
    /// The activity that ended.
    pub epoch: Epoch,
    /// The switchover that this completes, if it is one: go on and open.
    pub operation: Option<u64>,
    /// The server was made read-only, verified.
    pub read_only: bool,
    /// The server is dead but its host lives: the tail of its binary log can be fetched.
    pub tail: bool,
    /// Reason code of the release.
    pub reason: String,
}

/// Rejoin conversation, asked by the node in maintenance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejoin {
    /// Node in maintenance to active: my data is proven, caught up; make us (ap, ap).
    Request {
        /// Chosen by the asking side.
        operation: u64,
    },
    /// Active to the node in maintenance: my mode is ap now (or why not).
    Answered {
        /// Echo.
        operation: u64,
        /// `None`: done; otherwise why not.
        refused: Option<String>,
    },
    /// Active to the node in maintenance: an operator on my side asks you to rejoin.
    Ask {
        /// Chosen by the asking side.
        operation: u64,
    },
    /// Back to the asker: how it ended.
    Ended {
        /// Echo.
        operation: u64,
        /// It was done.
        ok: bool,
        /// One line.
        text: String,
    },
}
