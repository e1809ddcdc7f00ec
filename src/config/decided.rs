//! From the checked configuration to what the decision needs of it.

use super::checked::{Check, Config, Node};
use crate::decision::settings::{CheckSettings, Hysteresis, Settings};

impl Config {
    /// The decision's part of the configuration, as this node has it.
    pub fn decision_settings(&self) -> Settings {
        of(self, &self.me, &self.peer)
    }

    /// The same for both nodes, the first one first; what a node has for itself alone is taken to be alike.
    pub fn both_nodes(&self) -> [Settings; 2] {
        let (here, there) = (of(self, &self.me, &self.peer), of(self, &self.peer, &self.me));
        if here.me.0 == 1 { [here, there] } else { [there, here] }
    }
}

fn of(config: &Config, me: &Node, peer: &Node) -> Settings {
    Settings {
        me: me.id,
        name: me.name.clone(),
        peer_name: peer.name.clone(),
        priority: me.priority,
        peer_priority: peer.priority,
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
        services: config.services.iter().map(|service| service.settings.clone()).collect(),
        database_service: config.database_service().map(|service| service.settings.name.clone()),
        boot: config.cluster.boot,
        maintenance_services: config.cluster.maintenance_services,
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
