//! The configuration of a run: drawn from the seed as any that passes the checks, or an operator's own.

use super::random::Random;
use super::semisync::DrawnSemiSync;
use super::services::DrawnService;
use crate::decision::service::{Boot, MaintenanceServices};
use crate::decision::settings::{CheckSettings, Hysteresis, OnStop, OnUndrained, Settings};
use crate::decision::words::{NodeId, Protection};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the world needs of a configuration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// As the decisions of both nodes have it.
    pub nodes: [Settings; 2],
    /// Between probes of the database, in ns.
    pub probe: u64,
    /// Between gateway probes and checks, in ns.
    pub check: u64,
    /// A crash of the host takes the newest transactions along: the server does not sync each.
    pub relaxed_log: bool,
    /// A service that runs on the active alone.
    pub service: Option<DrawnService>,
    /// Semi-synchronous replication, switched on on both servers around apd.
    pub semi_sync: Option<DrawnSemiSync>,
}

/// A configuration as the simulation draws it; milliseconds where a number is a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Between advertisements; steps of 10.
    pub advert_ms: u64,
    /// Between heartbeats.
    pub heartbeat_ms: u64,
    /// T_lease: at least three heartbeats and 20 ms.
    pub lease_ms: u64,
    /// Who may go on alone.
    pub protection: Protection,
    /// At start.
    pub peer_wait_ms: u64,
    /// On top of detection.
    pub failover_hold_ms: u64,
    /// Then guarded.
    pub max_failovers_per_hour: u32,
    /// SIGTERM.
    pub on_stop: OnStop,
    /// Longest lease for a restart.
    pub restart_grace_ms: u64,
    /// How long a takeover waits for the relay log.
    pub drain_timeout_ms: u64,
    /// And then.
    pub on_undrained: OnUndrained,
    /// Rejoin by itself.
    pub rejoin_auto: bool,
    /// Of the second node; the first has 100.
    pub priority: u8,
    /// Of the check `api`; 0: a failure means not fit.
    pub weight: i16,
    /// The check counts on the standby too.
    pub on_standby: bool,
    /// Between probes of the database.
    pub probe_ms: u64,
    /// Between other probes.
    pub check_ms: u64,
    /// The server does not sync each transaction.
    pub relaxed_log: bool,
    /// A service that runs on the active alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<DrawnService>,
    /// Semi-synchronous replication, switched on on both servers by an administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semi_sync: Option<DrawnSemiSync>,
}

/// Advertisement, heartbeat and lease: mostly a profile's, sometimes any that pass the checks.
fn intervals(random: &mut Random) -> (u64, u64, u64) {
    match random.below(20) {
        0..=1 => (20, 20, 80),
        2..=10 => (100, 100, 350),
        11..=12 => (100, 50, 200),
        13..=15 => (300, 300, 1_000),
        16 => (1_000, 1_000, 3_500),
        _ => {
            let heartbeat = random.pick(&[10, 25, 60, 150, 400]);
            let lease = 3 * heartbeat + 20 + random.pick(&[0, 1, 30, 200, 900]);
            let advert = 10 * random.between(1, 40);
            (advert, heartbeat, lease.max(50))
        }
    }
}

impl Drawn {
    /// Draws one.
    pub fn draw(random: &mut Random) -> Self {
        let (advert_ms, heartbeat_ms, lease_ms) = intervals(random);
        Self {
            advert_ms,
            heartbeat_ms,
            lease_ms,
            protection: if random.percent(60) { Protection::Gateway } else { Protection::Vrrp },
            peer_wait_ms: random.pick(&[500, 1_500, 3_000, 6_000]).max(lease_ms * 2),
            failover_hold_ms: if random.percent(10) { 300 } else { 0 },
            max_failovers_per_hour: random.pick(&[3, 10]),
            on_stop: random.pick(&[OnStop::Handover, OnStop::Keep, OnStop::Fence]),
            restart_grace_ms: random.pick(&[5_000, 5_000, lease_ms.max(1_000)]),
            drain_timeout_ms: random.pick(&[300, 2_000, 10_000]),
            on_undrained: random.pick(&[
                OnUndrained::Wait,
                OnUndrained::Wait,
                OnUndrained::Refuse,
                OnUndrained::Promote,
            ]),
            rejoin_auto: random.percent(30),
            priority: random.pick(&[90, 100, 110]),
            weight: if random.percent(20) { -60 } else { 0 },
            on_standby: random.percent(70),
            probe_ms: random.pick(&[100, 250, 500]),
            check_ms: random.pick(&[250, 500]),
            relaxed_log: random.percent(20),
            service: None,
            semi_sync: None,
        }
    }

    /// As both nodes' decisions have it.
    pub fn configuration(&self) -> Configuration {
        let milliseconds = Duration::from_millis;
        let first = Settings {
            me: NodeId(1),
            name: "db1".into(),
            peer_name: "db2".into(),
            priority: 100,
            peer_priority: self.priority,
            advert_interval: milliseconds(self.advert_ms),
            heartbeat: milliseconds(self.heartbeat_ms),
            lease: milliseconds(self.lease_ms),
            protection: self.protection,
            has_address: true,
            peer_wait: milliseconds(self.peer_wait_ms),
            failover_hold: milliseconds(self.failover_hold_ms),
            max_failovers_per_hour: self.max_failovers_per_hour,
            on_stop: self.on_stop,
            restart_grace: milliseconds(self.restart_grace_ms),
            drain_timeout: milliseconds(self.drain_timeout_ms),
            on_undrained: self.on_undrained,
            max_lag_for_switchover: milliseconds(10_000),
            rejoin_auto: self.rejoin_auto,
            gateway_need: 1,
            checks: vec![CheckSettings {
                name: "api".into(),
                hysteresis: Hysteresis { rise: 2, fall: 2 },
                weight: self.weight,
                on_active: true,
                on_standby: self.on_standby,
            }],
            database: Hysteresis { rise: 1, fall: 2 },
            services: self.service.iter().map(DrawnService::settings).collect(),
            database_service: None,
            boot: Boot::Standby,
            maintenance_services: MaintenanceServices::Keep,
            config_hash: 7,
        };
        let second = Settings {
            me: NodeId(2),
            name: "db2".into(),
            peer_name: "db1".into(),
            priority: self.priority,
            peer_priority: 100,
            ..first.clone()
        };
        Configuration {
            nodes: [first, second],
            probe: self.probe_ms * 1_000_000,
            check: self.check_ms * 1_000_000,
            relaxed_log: self.relaxed_log,
            service: self.service.clone(),
            semi_sync: self.semi_sync,
        }
    }
}
