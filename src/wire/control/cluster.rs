//! Both nodes side by side, as one of them sees them: `GET /cluster`, and the event `state` of `GET /events`.

use super::status::{Match, NodeState, OperationStatus, Status};
use super::{SCHEMA_VERSION, words};
use crate::decision::words::{Mode, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pair in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the cluster.
    pub cluster: String,
    /// The virtual addresses, as configured: `192.168.33.100/24`.
    pub addresses: Vec<String>,
    /// The node that answers: the other one is shown as it was last heard.
    pub seen_by: String,
    /// Which node is active, as far as the answering one knows; `None`: none, or both.
    pub active: Option<String>,
    /// Number of the newest known activity.
    pub epoch: u64,
    /// No further automatic failover until `apctl clear`.
    pub guarded: bool,
    /// What is going on now, if anything is.
    pub operation: Option<OperationStatus>,
    /// The answering node first.
    pub nodes: Vec<ClusterNode>,
}

/// One node of the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterNode {
    /// Its name in the configuration.
    pub name: String,
    /// The role in the words of the peer page.
    pub state: NodeState,
    /// What it does.
    #[schemars(with = "Option<words::Role>")]
    pub role: Option<Role>,
    /// What the operator allows.
    #[schemars(with = "Option<words::Mode>")]
    pub mode: Option<Mode>,
    /// Number of the newest activity that it knows.
    pub epoch: Option<u64>,
    /// Its database answers.
    pub reachable: Option<bool>,
    /// Its database takes writes.
    pub writable: Option<bool>,
    /// It could serve, were it asked.
    pub fit: Option<bool>,
    /// Whether version and configuration agree with those of the answering node.
    pub r#match: Match,
    /// Since it was last heard, milliseconds; 0 for the answering node.
    pub heard_ms_ago: Option<u64>,
    /// What it says of itself.
    pub why: String,
}

impl Cluster {
    /// The pair in short.
    pub fn of(status: &Status) -> Self {
        let (node, peer) = (&status.node, &status.peer);
        let here = ClusterNode {
            name: node.name.clone(),
            state: node.state,
            role: Some(node.role),
            mode: Some(node.mode),
            epoch: Some(node.epoch),
            reachable: Some(node.database.reachable),
            writable: Some(node.database.reachable && node.database.writable),
            fit: Some(matches!(node.role, Role::Active | Role::Standby)),
            r#match: Match::Match,
            heard_ms_ago: Some(0),
            why: node.why.clone(),
        };
        let database = peer.database.as_ref();
        let there = ClusterNode {
            name: peer.name.clone(),
            state: peer.state,
            role: peer.role,
            mode: peer.mode,
            epoch: peer.epoch,
            reachable: database.map(|database| database.reachable),
            writable: database.map(|database| database.reachable && database.writable),
            fit: peer.fit,
            r#match: peer.r#match,
            heard_ms_ago: [peer.heartbeat_age_ms, peer.advert_age_ms].into_iter().flatten().min(),
            why: peer.why.clone(),
        };
        let running = |node: &ClusterNode| node.state == NodeState::Running;
        let active = match (running(&here), running(&there)) {
            (true, false) => Some(here.name.clone()),
            (false, true) => Some(there.name.clone()),
            _ => None,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            cluster: status.cluster.clone(),
            addresses: status.addresses.clone(),
            seen_by: node.name.clone(),
            active,
            epoch: node.epoch,
            guarded: status.guarded,
            operation: status.operation.clone(),
            nodes: vec![here, there],
        }
    }

    /// The same without what only grows older, so that two moments can be compared.
    #[must_use]
    pub fn ageless(mut self) -> Self {
        self.operation.iter_mut().for_each(|operation| operation.age_ms = 0);
        self.nodes.iter_mut().for_each(|node| node.heard_ms_ago = None);
        self
    }
}
