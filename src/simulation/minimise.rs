//! Makes a failing plan small: fewer faults, shorter ones, a plainer configuration, as long as it still fails.

use super::plan::Plan;
use super::semisync::DrawnSemiSync;
use super::settings::Drawn;
use crate::decision::settings::{OnStop, OnUndrained};
use crate::decision::words::Protection;

/// The smallest plan found in at most `tries` runs for which `fails` holds; it holds for `plan`.
pub fn minimise(plan: &Plan, mut tries: u32, fails: impl Fn(&Plan) -> bool) -> Plan {
    let mut smallest = plan.clone();
    loop {
        let mut smaller = None;
        for candidate in candidates(&smallest) {
            if tries == 0 {
                return smallest;
            }
            tries -= 1;
            if fails(&candidate) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(plan) => smallest = plan,
            None => return smallest,
        }
    }
}

/// Every plan that is one step simpler, the greatest step first.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut found = Vec::new();
    for round in 1..=plan.rounds() {
        let mut next = plan.clone();
        next.faults.retain(|fault| fault.round != round);
        for fault in next.faults.iter_mut().filter(|fault| fault.round > round) {
            fault.round -= 1;
        }
        found.push(next);
    }
    for number in 0..plan.faults.len() {
        let mut next = plan.clone();
        next.faults.remove(number);
        found.push(next);
    }
    if plan.swaps {
        found.push(Plan { swaps: false, ..plan.clone() });
    }
    for (number, fault) in plan.faults.iter().enumerate() {
        for shorter in [fault.for_ms / 4, fault.for_ms / 2, fault.for_ms / 100 * 100] {
            if shorter < fault.for_ms && shorter > 0 {
                let mut next = plan.clone();
                next.faults[number].for_ms = shorter;
                found.push(next);
            }
        }
        for sooner in [0, fault.at_ms / 2, fault.at_ms / 100 * 100] {
            if sooner < fault.at_ms {
                let mut next = plan.clone();
                next.faults[number].at_ms = sooner;
                found.push(next);
            }
        }
    }
    for configuration in plainer(&plan.configuration) {
        found.push(Plan { configuration, ..plan.clone() });
    }
    found.retain(|next| !next.faults.is_empty() && next != plan);
    found
}

/// The configuration with one thing as it is by default.
fn plainer(drawn: &Drawn) -> Vec<Drawn> {
    let mut found = vec![
        Drawn { advert_ms: 100, heartbeat_ms: 100, lease_ms: 350, ..drawn.clone() },
        Drawn { protection: Protection::Gateway, ..drawn.clone() },
        Drawn { on_stop: OnStop::Handover, ..drawn.clone() },
        Drawn { on_undrained: OnUndrained::Wait, ..drawn.clone() },
        Drawn { drain_timeout_ms: 10_000, ..drawn.clone() },
        Drawn { rejoin_auto: false, ..drawn.clone() },
        Drawn { relaxed_log: false, ..drawn.clone() },
        Drawn { service: None, ..drawn.clone() },
        Drawn { semi_sync: None, ..drawn.clone() },
        Drawn { semi_sync: drawn.semi_sync.map(DrawnSemiSync::quick), ..drawn.clone() },
        Drawn { priority: 100, weight: 0, on_standby: true, ..drawn.clone() },
        Drawn { failover_hold_ms: 0, max_failovers_per_hour: 3, ..drawn.clone() },
        Drawn { peer_wait_ms: 3_000.max(2 * drawn.lease_ms), restart_grace_ms: 5_000, ..drawn.clone() },
        Drawn { probe_ms: 250, check_ms: 500, ..drawn.clone() },
    ];
    found.retain(|plain| plain != drawn);
    found
}
