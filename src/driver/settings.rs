//! From the checked configuration to what the decision needs of it.

use crate::config::checked::{Check, Config};
use crate::decision::settings::{CheckSettings, Hysteresis, Settings};

/// The decision's part of the configuration.
pub fn decision_settings(config: &Config) -> Settings {
    Settings {
        me: config.me.id,
        name: config.me.name.clone(),
        peer_name: config.peer.name.clone(),
        priority: config.me.priority,
        advert_interval: config.vrrp.advert_interval,
        heartbeat: config.lease.heartbeat,
        lease: config.lease.duration,
        protection: config.cluster.protection,
        has_address: !config.cluster.virtual_addresses.is_empty(),
        peer_wait: config.cluster.peer_wait,
        failover_hold: config.cluster.failover_hold,
        max_failovers_per_hour: config.cluster.max_failovers_per_hour,
        on_stop: config.lease.on_stop,
        restart_grace: config.lease.restart_grace,
        drain_timeout: config.mariadb.drain_timeout,
        on_undrained: config.mariadb.on_undrained,
        max_lag_for_switchover: config.mariadb.max_lag_for_switchover,
        rejoin_auto: config.cluster.rejoin_auto,
        gateway_need: config.gateway.need,
        checks: config.checks.iter().map(check).collect(),
        database: Hysteresis { rise: config.mariadb_check.rise, fall: config.mariadb_check.fall },
        config_hash: config.hash,
    }
}

fn check(check: &Check) -> CheckSettings {
    CheckSettings {
        name: check.name.clone(),
        hysteresis: Hysteresis { rise: check.timing.rise, fall: check.timing.fall },
        weight: check.weight,
        on_active: check.on_active,
        on_standby: check.on_standby,
    }
}
