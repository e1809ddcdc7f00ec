//! A valid configuration for each seed: profiles, protection levels, policies.

use super::random::Random;
use crate::decision::settings::{CheckSettings, Hysteresis, OnStop, OnUndrained, Settings};
use crate::decision::words::{NodeId, Protection};
use std::time::Duration;

/// What both hosts share, beside the decision's own settings.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub nodes: [Settings; 2],
    /// Between probes of the database, in ns.
    pub probe: u64,
    /// Between gateway probes and checks, in ns.
    pub check: u64,
}

fn intervals(random: &mut Random) -> (u64, u64, u64) {
    match random.below(20) {
        0..=1 => (20, 20, 80),
        2..=12 => (100, 100, 350),
        13..=15 => (100, 50, 200),
        16..=18 => (300, 300, 1_000),
        _ => (1_000, 1_000, 3_500),
    }
}

/// Draws one configuration.
pub fn draw(random: &mut Random) -> Drawn {
    let (advert, heartbeat, lease) = intervals(random);
    let milliseconds = Duration::from_millis;
    let protection = if random.percent(60) { Protection::Gateway } else { Protection::Vrrp };
    let drain = random.pick(&[300, 2_000, 10_000]);
    let checks = vec![CheckSettings {
        name: "api".into(),
        hysteresis: Hysteresis { rise: 2, fall: 2 },
        weight: if random.percent(20) { -60 } else { 0 },
        on_active: true,
        on_standby: random.percent(70),
    }];
    let shared = Settings {
        me: NodeId(1),
        name: "db1".into(),
        peer_name: "db2".into(),
        priority: 100,
        advert_interval: milliseconds(advert),
        heartbeat: milliseconds(heartbeat),
        lease: milliseconds(lease),
        protection,
        has_address: true,
        peer_wait: milliseconds(random.pick(&[1_500, 3_000, 6_000]).max(lease * 2)),
        failover_hold: milliseconds(if random.percent(10) { 300 } else { 0 }),
        max_failovers_per_hour: random.pick(&[3, 10]),
        on_stop: random.pick(&[OnStop::Handover, OnStop::Keep, OnStop::Fence]),
        restart_grace: milliseconds(5_000),
        drain_timeout: milliseconds(drain),
        on_undrained: random.pick(&[
            OnUndrained::Wait,
            OnUndrained::Wait,
            OnUndrained::Refuse,
            OnUndrained::Promote,
        ]),
        max_lag_for_switchover: milliseconds(10_000),
        rejoin_auto: random.percent(30),
        gateway_need: 1,
        checks,
        database: Hysteresis { rise: 1, fall: 2 },
        config_hash: 7,
    };
    let mut second =
        Settings { me: NodeId(2), name: "db2".into(), peer_name: "db1".into(), ..shared.clone() };
    second.priority = random.pick(&[90, 100, 110]);
    let probe = random.pick(&[100, 250, 500]) * 1_000_000;
    Drawn { nodes: [shared, second], probe, check: random.pick(&[250, 500]) * 1_000_000 }
}
