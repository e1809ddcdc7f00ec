//! The settings of a pair at the profile `default`, for tests that run the decision themselves.

use apd::decision::service::{Boot, MaintenanceServices};
use apd::decision::settings::{CheckSettings, Hysteresis, OnStop, OnUndrained, Settings};
use apd::decision::words::{NodeId, Protection};
use std::time::Duration;

/// The profile `default`, as both nodes have it.
pub fn settings(number: u8) -> Settings {
    Settings {
        me: NodeId(number),
        name: format!("db{number}"),
        peer_name: format!("db{}", 3 - number),
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
