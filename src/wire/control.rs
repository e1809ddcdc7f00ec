//! What `apctl`, dashboards and scripts read from the daemon and ask of it: the words of INTERFACE.md
//! sections 2 and 3, as data. HTTP over the control socket carries them as JSON.
//!
//! * [`status`]: the state of the pair, `GET /status`.
//! * [`cluster`]: both nodes in short, `GET /cluster`.
//! * [`doctor`]: what the doctor found, `GET /doctor`.
//! * [`explain`]: why it is so, `GET /explain`.
//! * [`findings`]: what is wrong, read off the status.
//! * [`health`]: what the health endpoints answer.
//! * [`protection`]: the protection meter: what each single fault would do now.
//! * [`history`]: journal entries, `GET /history`.
//! * [`timeline`]: one takeover step by step, `GET /timeline`.
//! * [`operation`]: commands and how they ended, `POST /switchover` and the like.

pub mod cluster;
pub mod doctor;
pub mod explain;
pub mod findings;
pub mod health;
pub mod history;
pub mod operation;
pub mod protection;
pub mod services;
pub mod status;
pub mod timeline;
pub(crate) mod words;

pub use cluster::{Cluster, ClusterNode};
pub use explain::{Condition, Evidence, Explain, NextDeadline, Rule, Transition};
pub use health::{Verdict, Way};
pub use history::{EntryKind, History, HistoryEntry};
pub use operation::{Operation, Outcome, Problem, RequestBody};
pub use protection::meter;
pub use services::{ServiceStatus, TakeoverTime};
pub use status::{
    CheckStatus, Counters, DatabaseStatus, Match, NodeState, NodeStatus, OperationStatus, PeerDatabase,
    PeerStatus, ProtectionStatus, ReplicaStatus, SingleFault, Status,
};
pub use timeline::{Timeline, TimelineStep};

/// Number of the JSON shapes of this module. It grows only when a field changes its meaning or goes away;
/// new fields do not count.
pub const SCHEMA_VERSION: u32 = 1;
