//! The state of the pair as one node sees it: `apctl status -o json`, `GET /status`.
//!
//! Every age is counted from the moment at which the [`Status`] was taken; [`Status::aged`] moves it to a
//! later moment, so that an answer from a snapshot never looks younger than it is.

use super::SCHEMA_VERSION;
use super::services::{ServiceStatus, TakeoverTime};
use super::words;
use crate::decision::why::Why;
use crate::decision::words::{Mode, Protection, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The state of the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Grows only when a field changes its meaning or goes away; new fields may come at any time.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub schema_version: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// This node.
    pub node: NodeStatus,
    /// The other node, as last heard.
    pub peer: PeerStatus,
    /// The protection meter.
    pub protection: ProtectionStatus,
    /// What is wrong, with what resolves it; the worst first. Empty when nothing is.
    #[serde(default)]
    #[schemars(with = "Vec<words::Why>")]
    pub warnings: Vec<Why>,
    /// More automatic failovers within the hour than allowed: no further one until `apctl clear`.
    #[serde(default)]
    pub guarded: bool,
    /// What is going on now, if anything is.
    #[serde(default)]
    pub operation: Option<OperationStatus>,
    /// The virtual addresses, as configured: `192.168.33.100/24`.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Version of the running daemon.
    #[serde(default)]
    pub version: String,
    /// When this run of the daemon began, RFC 3339.
    #[serde(default)]
    pub started_at: String,
    /// How long ago the control loop took this state, milliseconds.
    #[serde(default)]
    pub age_ms: u64,
}

/// This node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What it does.
    #[schemars(with = "words::Role")]
    pub role: Role,
    /// What the operator allows.
    #[schemars(with = "words::Mode")]
    pub mode: Mode,
    /// Number of the newest activity it knows; its own while active.
    pub epoch: u64,
    /// The role in the words of the peer page.
    pub state: NodeState,
    /// The virtual addresses are on its interface.
    pub vip_held: bool,
    /// Clients get through.
    pub gate_open: bool,
    /// Until the lease ends unless renewed; `None` without a lease, 0 once it has ended.
    pub lease_remaining_ms: Option<u64>,
    /// It holds the right to serve alone.
    #[serde(default)]
    pub solo: bool,
    /// It may bid when the active goes silent.
    #[serde(default)]
    pub eligible: bool,
    /// The network interface exists, is up, has carrier and the node's own address.
    #[serde(default)]
    pub link_usable: bool,
    /// One line about the interface.
    #[serde(default)]
    pub link: String,
    /// Gateway targets that answered, of how many asked; `None` before the first probe or without targets.
    #[serde(default)]
    pub gateway: Option<(u32, u32)>,
    /// The local server.
    pub database: DatabaseStatus,
    /// Configured checks.
    pub checks: Vec<CheckStatus>,
    /// What this node starts and stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceStatus>,
    /// What a takeover here would begin with, and how long it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takeover: Option<TakeoverTime>,
    /// Who set the mode, and why, in words.
    #[serde(default)]
    pub mode_note: String,
    /// One sentence: why this node is what it is.
    pub why: String,
}

/// The role in the words of the peer page (DESIGN.md section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum NodeState {
    /// Active.
    Running,
    /// Standby.
    Standby,
    /// Wants a role and is not fit for it, or is not trusted.
    Faulted,
    /// No contact since start.
    Unknown,
    /// Takes no part, or contact was lost.
    Disconnected,
}

impl NodeState {
    /// The word of a node that can be heard.
    pub const fn of(role: Role) -> Self {
        match role {
            Role::Active => NodeState::Running,
            Role::Standby => NodeState::Standby,
            Role::Fault => NodeState::Faulted,
            Role::Out => NodeState::Disconnected,
        }
    }

    /// The word, as in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            NodeState::Running => "Running",
            NodeState::Standby => "Standby",
            NodeState::Faulted => "Faulted",
            NodeState::Unknown => "Unknown",
            NodeState::Disconnected => "Disconnected",
        }
    }
}

/// Whether version, protocol, configuration hash and database version of both nodes agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Match {
    /// Not compared yet.
    #[default]
    Unknown,
    /// They agree.
    Match,
    /// They differ.
    Mismatch,
}

/// The local MariaDB server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseStatus {
    /// It answered the last probe in time.
    pub reachable: bool,
    /// It takes writes from ordinary users, verified.
    pub writable: bool,
    /// `gtid_binlog_pos`.
    pub gtid: String,
    /// The replica, where one is configured.
    pub replica: Option<ReplicaStatus>,
    /// Age of the newest applied heartbeat row, milliseconds; `None` if unknown or not a replica.
    pub lag_ms: Option<u64>,
    /// Semi-sync is on and the standby has acknowledged everything; `None` with `durability = "async"`.
    pub in_sync: Option<bool>,
    /// Server version.
    #[serde(default)]
    pub version: String,
    /// What is wrong, in one line; empty if nothing is.
    #[serde(default)]
    pub detail: String,
    /// Age of the last probe, milliseconds; `None` before the first.
    #[serde(default)]
    pub age_ms: Option<u64>,
    /// A probe older than this proves nothing, milliseconds: its interval plus its timeout plus a margin.
    #[serde(default)]
    pub fresh_for_ms: Option<u64>,
}

/// `SHOW ALL SLAVES STATUS`, the part that an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaStatus {
    /// Host it follows.
    pub primary: String,
    /// The receiving thread runs and is connected.
    pub receiving: bool,
    /// The applying thread runs.
    pub applying: bool,
    /// Last completely received.
    pub received: String,
    /// Last applied.
    pub applied: String,
    /// `Last_IO_Error` or `Last_SQL_Error`, empty if none.
    pub error: String,
}

/// One configured check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// Its verdict, after rise and fall.
    pub ok: bool,
    /// Age of the last probe, milliseconds; `None` before the first.
    pub age_ms: Option<u64>,
    /// One line of the last probe.
    #[serde(default)]
    pub detail: String,
    /// How long the last probe took, milliseconds.
    #[serde(default)]
    pub took_ms: Option<f64>,
    /// It counts in the role that this node has now.
    #[serde(default = "yes")]
    pub counts: bool,
}

fn yes() -> bool {
    true
}

/// The other node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What is known of it.
    pub state: NodeState,
    /// As last heard.
    #[schemars(with = "Option<words::Role>")]
    pub role: Option<Role>,
    /// As last heard.
    #[schemars(with = "Option<words::Mode>")]
    pub mode: Option<Mode>,
    /// As last heard.
    pub epoch: Option<u64>,
    /// Whether both sides agree on version and configuration.
    pub r#match: Match,
    /// Since its last heartbeat over the peer link, milliseconds; `None` if none was heard in this run.
    pub heartbeat_age_ms: Option<u64>,
    /// Since its last VRRP advertisement, milliseconds.
    #[serde(default)]
    pub advert_age_ms: Option<u64>,
    /// The peer link is connected.
    #[serde(default)]
    pub connected: bool,
    /// It could serve, were it asked.
    #[serde(default)]
    pub fit: Option<bool>,
    /// Its server answers / takes writes / its replica runs, as last heard.
    #[serde(default)]
    pub database: Option<PeerDatabase>,
    /// What it says of itself.
    #[serde(default)]
    pub why: String,
}

/// The peer's server, as last heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerDatabase {
    /// It answers.
    pub reachable: bool,
    /// It takes writes.
    pub writable: bool,
    /// Its replica follows this node without error.
    pub replica_running: bool,
    /// Its binary log state.
    pub gtid: String,
}

/// The protection meter: what the configuration and the present condition give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProtectionStatus {
    /// Who may go on alone.
    #[schemars(with = "words::Protection")]
    pub level: Protection,
    /// `async` or `synced`.
    #[schemars(with = "words::Durability")]
    pub durability: String,
    /// What each single fault would do now.
    pub single_faults: Vec<SingleFault>,
    /// What the gate or the address cannot do on this host, in one line each.
    #[serde(default)]
    pub limits: Vec<String>,
}

/// One fault and what it would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SingleFault {
    /// The fault.
    pub fault: String,
    /// `none` (clients notice nothing), `failover`, `handover`, `degraded` (served on, with the fault), `split` or
    /// `outage`.
    #[schemars(with = "words::FaultOutcome")]
    pub outcome: String,
    /// `none` or `possible`.
    #[schemars(with = "words::DataLoss")]
    pub data_loss: String,
}

/// What is going on now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationStatus {
    /// `takeover`, `switchover`, `step-down`, `rejoin`, `boot`, ...
    pub name: String,
    /// The operator's operation that it belongs to, if any.
    #[serde(default)]
    pub id: Option<String>,
    /// Where it stands, in one line.
    #[serde(default)]
    pub step: String,
    /// Since it began, milliseconds.
    pub age_ms: u64,
}

/// What only grows during one run of the daemon; for `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counters {
    /// Advertisements sent.
    pub adverts_sent: u64,
    /// Valid advertisements received.
    pub adverts_received: u64,
    /// Refused advertisements by reason.
    pub adverts_rejected: BTreeMap<String, u64>,
    /// Takeovers of this node by reason code.
    pub takeovers: BTreeMap<String, u64>,
    /// Failed probes of each check since this node last took over, or since the start.
    #[serde(default)]
    pub check_failures: BTreeMap<String, u64>,
    /// How long the last takeover took, from its right to service, milliseconds.
    pub takeover_ms: Option<f64>,
    /// The outage that clients saw at the last takeover, as far as this node can tell, milliseconds.
    pub client_outage_ms: Option<f64>,
    /// The longest time for which the control loop did not run, milliseconds.
    pub loop_stall_max_ms: f64,
    /// Age of the last heartbeat by path, milliseconds: `link`, `vrrp`, `stream`.
    pub heartbeat_age_ms: BTreeMap<String, u64>,
    /// Hash of the configuration that both nodes must share.
    pub config_hash: u64,
}

impl Status {
    /// A node that has just started and knows nothing yet: where a driver begins.
    pub fn starting(cluster: &str, node: &str, peer: &str, level: Protection) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: cluster.to_owned(),
            node: NodeStatus {
                name: node.to_owned(),
                role: Role::Out,
                mode: Mode::Maintenance,
                epoch: 0,
                state: NodeState::Disconnected,
                vip_held: false,
                gate_open: false,
                lease_remaining_ms: None,
                solo: false,
                eligible: false,
                link_usable: false,
                link: String::new(),
                gateway: None,
                database: DatabaseStatus::default(),
                checks: Vec::new(),
                services: Vec::new(),
                takeover: None,
                mode_note: String::new(),
                why: "the daemon is starting".to_owned(),
            },
            peer: PeerStatus {
                name: peer.to_owned(),
                state: NodeState::Unknown,
                role: None,
                mode: None,
                epoch: None,
                r#match: Match::Unknown,
                heartbeat_age_ms: None,
                advert_age_ms: None,
                connected: false,
                fit: None,
                database: None,
                why: String::new(),
            },
            protection: ProtectionStatus {
                level,
                durability: "async".to_owned(),
                single_faults: Vec::new(),
                limits: Vec::new(),
            },
            warnings: Vec::new(),
            guarded: false,
            operation: None,
            addresses: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: String::new(),
            age_ms: 0,
        }
    }

    /// The same state, seen `later`: every age grows and the lease runs down. A lease that has ended has
    /// closed the gate, whatever the snapshot says: the kernel does that without the daemon.
    #[must_use]
    pub fn aged(mut self, later: Duration) -> Self {
        let more = u64::try_from(later.as_millis()).unwrap_or(u64::MAX);
        let grow = |age: &mut u64| *age = age.saturating_add(more);
        grow(&mut self.age_ms);
        self.node.database.age_ms.iter_mut().for_each(grow);
        self.node.database.lag_ms.iter_mut().for_each(grow);
        self.node.checks.iter_mut().filter_map(|check| check.age_ms.as_mut()).for_each(grow);
        self.peer.heartbeat_age_ms.iter_mut().for_each(grow);
        self.peer.advert_age_ms.iter_mut().for_each(grow);
        self.operation.iter_mut().for_each(|operation| grow(&mut operation.age_ms));
        if let Some(remaining) = &mut self.node.lease_remaining_ms {
            *remaining = remaining.saturating_sub(more);
            if *remaining == 0 {
                self.node.gate_open = false;
            }
        }
        self
    }
}
