//! The configuration as the decision needs it: plain numbers, no files, no secrets.
//! `driver` derives it from `config::checked`.

use super::service::{Boot, MaintenanceServices, ServiceSettings};
use super::words::{NodeId, Protection};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything that a decision may depend on besides events and time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// This node: 1 for the lower address, 2 for the higher. A tie in VRRP priority goes to 2.
    pub me: NodeId,
    /// This node's name.
    pub name: String,
    /// The peer's name.
    pub peer_name: String,
    /// VRRP priority, 1 to 254.
    pub priority: u8,
    /// The peer's VRRP priority, as configured.
    #[serde(default = "usual_priority")]
    pub peer_priority: u8,
    /// Between advertisements.
    pub advert_interval: Duration,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// T_lease.
    pub lease: Duration,
    /// Who may go on alone.
    pub protection: Protection,
    /// A virtual address is configured.
    pub has_address: bool,
    /// At start: wait this long for the peer before any claim.
    pub peer_wait: Duration,
    /// Extra wait on top of detection.
    pub failover_hold: Duration,
    /// More automatic failovers than this within an hour: guarded.
    pub max_failovers_per_hour: u32,
    /// What SIGTERM does.
    pub on_stop: OnStop,
    /// Longest lease asked of the peer for a planned restart.
    pub restart_grace: Duration,
    /// How long a takeover waits for the relay log.
    pub drain_timeout: Duration,
    /// What happens when it is not drained by then.
    pub on_undrained: OnUndrained,
    /// A switchover is refused above this lag.
    pub max_lag_for_switchover: Duration,
    /// Rejoin by itself when a subset proof holds.
    pub rejoin_auto: bool,
    /// Gateway targets that must answer.
    pub gateway_need: u32,
    /// The configured checks (http, tcp, ...; not link, gateway or mariadb).
    pub checks: Vec<CheckSettings>,
    /// Rise and fall of the check `mariadb`.
    pub database: Hysteresis,
    /// What this node starts and stops, in the order of their starts.
    #[serde(default)]
    pub services: Vec<ServiceSettings>,
    /// The service that is the database's server, if one of them is.
    #[serde(default)]
    pub database_service: Option<String>,
    /// What happens to the services at boot.
    #[serde(default)]
    pub boot: Boot,
    /// What happens to them in maintenance.
    #[serde(default)]
    pub maintenance_services: MaintenanceServices,
    /// Hash of the part of the configuration that both nodes must share.
    pub config_hash: u64,
}

/// What a recording of an earlier version left out.
const fn usual_priority() -> u8 {
    100
}

impl Settings {
    /// The longest that the gate's element outlives a pause: an eighth of the lease.
    pub fn slice(&self) -> Duration {
        self.lease / 8
    }

    /// These settings with what may change in a run taken from `fresh`. All else stays, above all who the nodes are,
    /// the timing of election and lease and the protection level: the peer counts on what it was told of them.
    #[must_use]
    pub fn reloaded(self, fresh: Settings) -> Settings {
        Settings {
            peer_wait: fresh.peer_wait,
            failover_hold: fresh.failover_hold,
            max_failovers_per_hour: fresh.max_failovers_per_hour,
            on_stop: fresh.on_stop,
            restart_grace: fresh.restart_grace,
            drain_timeout: fresh.drain_timeout,
            on_undrained: fresh.on_undrained,
            max_lag_for_switchover: fresh.max_lag_for_switchover,
            rejoin_auto: fresh.rejoin_auto,
            gateway_need: fresh.gateway_need,
            checks: fresh.checks,
            database: fresh.database,
            config_hash: fresh.config_hash,
            ..self
        }
    }
}

/// What SIGTERM does on the active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// Switch over to a peer that can serve, or step down.
    Handover,
    /// Ask for a longer lease, touch nothing, exit.
    Keep,
    /// Step down.
    Fence,
}

/// What a takeover does when the relay log is not applied by `drain_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUndrained {
    /// Go on waiting, visibly.
    Wait,
    /// Promote all the same and say what was left.
    Promote,
    /// Refuse and stay standby.
    Refuse,
}

/// How often a probe must agree before a verdict changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hysteresis {
    /// Consecutive passes to become healthy.
    pub rise: u32,
    /// Consecutive failures to become unhealthy.
    pub fall: u32,
}

/// One configured check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSettings {
    /// Its name.
    pub name: String,
    /// Counting.
    pub hysteresis: Hysteresis,
    /// 0: a failure means not fit; otherwise added to the priority while failing.
    pub weight: i16,
    /// It counts on the active.
    pub on_active: bool,
    /// It counts on the standby.
    pub on_standby: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The profile `default`, node 1.
    pub(crate) fn settings() -> Settings {
        Settings {
            me: NodeId(1),
            name: "db1".into(),
            peer_name: "db2".into(),
            priority: 100,
            peer_priority: 100,
            advert_interval: Duration::from_millis(100),
            heartbeat: Duration::from_millis(100),
            lease: Duration::from_millis(350),
            protection: Protection::Gateway,
            has_address: true,
            peer_wait: Duration::from_secs(10),
            failover_hold: Duration::ZERO,
            max_failovers_per_hour: 3,
            on_stop: OnStop::Handover,
            restart_grace: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            on_undrained: OnUndrained::Wait,
            max_lag_for_switchover: Duration::from_secs(10),
            rejoin_auto: false,
            gateway_need: 1,
            checks: vec![CheckSettings {
                name: "api".into(),
                hysteresis: Hysteresis { rise: 2, fall: 2 },
                weight: 0,
                on_active: true,
                on_standby: true,
            }],
            database: Hysteresis { rise: 1, fall: 2 },
            services: Vec::new(),
            database_service: None,
            boot: Boot::Standby,
            maintenance_services: MaintenanceServices::Keep,
            config_hash: 7,
        }
    }
}
