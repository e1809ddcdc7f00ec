//! Probe results to verdicts: rise and fall, weights, and which check counts in which role.
//!
//! "Can I start it" and "is it healthy while active" are two questions: a check of a service that only
//! runs on the active does not count on the standby (DESIGN.md section 4).

use super::event::CheckReport;
use super::settings::{CheckSettings, Hysteresis};
use super::time::Instant;
use serde::{Deserialize, Serialize};

/// Counts agreeing results until a verdict changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    hysteresis: Hysteresis,
    /// `None` until the first verdict is reached.
    healthy: Option<bool>,
    passes: u32,
    failures: u32,
}

impl Verdict {
    /// No result yet.
    pub const fn new(hysteresis: Hysteresis) -> Self {
        Self { hysteresis, healthy: None, passes: 0, failures: 0 }
    }

    /// Counts to other numbers from now on; the verdict that was reached stays.
    pub fn count_to(&mut self, hysteresis: Hysteresis) {
        self.hysteresis = hysteresis;
    }

    /// Takes one result; `certain` failures need not be counted to `fall`. The first pass is believed at
    /// once: a service that answers at start is healthy. Returns whether the verdict changed.
    pub fn take(&mut self, passed: bool, certain: bool) -> bool {
        let before = self.healthy;
        if passed {
            self.passes = self.passes.saturating_add(1);
            self.failures = 0;
            if before.is_none() || self.passes >= self.hysteresis.rise {
                self.healthy = Some(true);
            }
        } else {
            self.failures = self.failures.saturating_add(1);
            self.passes = 0;
            if certain || self.failures >= self.hysteresis.fall {
                self.healthy = Some(false);
            }
        }
        before != self.healthy
    }

    /// The verdict; `None` until there is one.
    pub const fn healthy(&self) -> Option<bool> {
        self.healthy
    }
}

/// One configured check with its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckState {
    /// As configured.
    pub settings: CheckSettings,
    /// Where it stands.
    pub verdict: Verdict,
    /// The newest result.
    pub last: Option<(CheckReport, Instant)>,
}

/// All configured checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checks(pub Vec<CheckState>);

impl Checks {
    /// None has a result yet.
    pub fn new(settings: &[CheckSettings]) -> Self {
        Self(
            settings
                .iter()
                .map(|check| CheckState {
                    settings: check.clone(),
                    verdict: Verdict::new(check.hysteresis),
                    last: None,
                })
                .collect(),
        )
    }

    /// Other settings from now on. A check that stays keeps what is known of it, whatever changes about it: a reload
    /// is no news about the service.
    pub fn reload(&mut self, settings: &[CheckSettings]) {
        let mut known = std::mem::take(&mut self.0);
        let mut fresh = Self::new(settings);
        for check in &mut fresh.0 {
            if let Some(place) = known.iter().position(|known| known.settings.name == check.settings.name) {
                let old = known.swap_remove(place);
                check.verdict = old.verdict;
                check.verdict.count_to(check.settings.hysteresis);
                check.last = old.last;
            }
        }
        *self = fresh;
    }

    /// Takes one result; returns the check if its verdict changed. Unknown names change nothing.
    pub fn take(&mut self, report: CheckReport, now: Instant) -> Option<&CheckState> {
        let check = self.0.iter_mut().find(|check| check.settings.name == report.name)?;
        let changed = check.verdict.take(report.passed, report.certain);
        check.last = Some((report, now));
        changed.then_some(check)
    }

    /// Keeps a result that says nothing now, and forgets what was concluded before.
    pub fn note(&mut self, report: CheckReport, now: Instant) {
        self.forget(&report.name);
        if let Some(check) = self.0.iter_mut().find(|check| check.settings.name == report.name) {
            check.last = Some((report, now));
        }
    }

    /// Forgets what was concluded about a check.
    pub fn forget(&mut self, name: &str) {
        if let Some(check) = self.0.iter_mut().find(|check| check.settings.name == name) {
            check.verdict = Verdict::new(check.settings.hysteresis);
        }
    }

    /// Names of the checks that make a node unfit for `active` (or for standby), with their last detail.
    pub fn faults(&self, active: bool) -> Vec<String> {
        self.failing(active)
            .filter(|check| check.settings.weight == 0)
            .map(|check| {
                let detail = check.last.as_ref().map_or("", |(report, _)| report.detail.as_str());
                format!("check {} fails: {detail}", check.settings.name)
            })
            .collect()
    }

    /// The VRRP priority of an active (or of a standby) after the weights of failing checks, within 1 to 254.
    pub fn priority(&self, base: u8, active: bool) -> u8 {
        let sum: i32 = self.failing(active).map(|check| i32::from(check.settings.weight)).sum();
        u8::try_from((i32::from(base) + sum).clamp(1, 254)).unwrap_or(1)
    }

    /// The weights of an active's failing checks make the peer the better active: they cost this node more than the
    /// peer's cost the peer, and its priority is the lower one now. What fails on both moves nothing.
    pub fn outweighed(&self, base: u8, peer_base: u8, peer: u8) -> bool {
        let priority = self.priority(base, true);
        let lost = i16::from(base) - i16::from(priority);
        let peer_lost = i16::from(peer_base) - i16::from(peer);
        lost > 0 && lost > peer_lost && priority < peer
    }

    /// The checks that count in this role and fail.
    fn failing(&self, active: bool) -> impl Iterator<Item = &CheckState> {
        self.0
            .iter()
            .filter(move |check| if active { check.settings.on_active } else { check.settings.on_standby })
            .filter(|check| check.verdict.healthy() == Some(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rise_and_fall_count_consecutive_results() {
        // (results, verdict): `x` fails, `X` fails for certain, `o` passes; rise 2, fall 3.
        let table = [
            ("", None),
            ("o", Some(true)),
            ("x", None),
            ("xxx", Some(false)),
            ("oxx", Some(true)),
            ("oxxx", Some(false)),
            ("oxxoxx", Some(true)),
            ("oX", Some(false)),
            ("oxxxo", Some(false)),
            ("oxxxoo", Some(true)),
            ("oxxxoxo", Some(false)),
        ];
        for (results, expected) in table {
            let mut verdict = Verdict::new(Hysteresis { rise: 2, fall: 3 });
            for result in results.chars() {
                verdict.take(result == 'o', result == 'X');
            }
            assert_eq!(verdict.healthy(), expected, "{results:?}");
        }
    }

    fn check(name: &str, weight: i16, on_active: bool, on_standby: bool) -> CheckSettings {
        let hysteresis = Hysteresis { rise: 2, fall: 3 };
        CheckSettings { name: name.into(), hysteresis, weight, on_active, on_standby }
    }

    fn report(name: &str, passed: bool) -> CheckReport {
        let (certain, detail) = (false, "out of order".into());
        CheckReport { name: name.into(), passed, certain, detail, took: Duration::ZERO }
    }

    /// As often in a row as it takes to count.
    fn fail(checks: &mut Checks, name: &str) {
        for _ in 0..3 {
            checks.take(report(name, false), Instant::ZERO);
        }
    }

    /// The three of the source document, and one that would add.
    fn pair_of_scripts() -> Checks {
        Checks::new(&[
            check("httpd", -50, true, true),
            check("network", -20, true, true),
            check("third", -250, true, true),
            check("bonus", 40, true, true),
        ])
    }

    #[test]
    fn r2_12_weight_or_fault_after_fall_failures_until_rise_passes() {
        // (results: `x` fails, `o` passes; weight; faults and priority then); rise 2, fall 3.
        let table = [
            ("ox", -50, 0, 100),
            ("oxx", -50, 0, 100),
            ("oxxx", -50, 0, 50),
            ("oxxxo", -50, 0, 50),
            ("oxxxoo", -50, 0, 100),
            ("oxxxox", -50, 0, 50),
            ("oxx", 0, 0, 100),
            ("oxxx", 0, 1, 100),
            ("oxxxo", 0, 1, 100),
            ("oxxxoo", 0, 0, 100),
        ];
        for (results, weight, faults, priority) in table {
            let mut checks = Checks::new(&[check("httpd", weight, true, true)]);
            for result in results.chars() {
                checks.take(report("httpd", result == 'o'), Instant::ZERO);
            }
            let found = (checks.faults(true).len(), checks.priority(100, true));
            assert_eq!(found, (faults, priority), "{results} at weight {weight}");
        }
    }

    #[test]
    fn r2_14_weights_add_up_and_stay_within_one_and_254() {
        let table: [(&[&str], u8, u8); 8] = [
            (&[], 100, 100),
            (&["httpd"], 100, 50),
            (&["network"], 100, 80),
            (&["httpd", "network"], 100, 30),
            (&["httpd", "network", "third"], 100, 1),
            (&["bonus"], 100, 140),
            (&["bonus"], 250, 254),
            (&["httpd", "network", "third", "bonus"], 254, 1),
        ];
        for (failing, base, expected) in table {
            let mut checks = pair_of_scripts();
            for name in failing {
                fail(&mut checks, name);
            }
            assert_eq!(checks.priority(base, true), expected, "{failing:?} from {base}");
            assert_eq!(checks.outweighed(base, 90, 90), expected < base && expected < 90, "{failing:?}");
        }
        assert!(pair_of_scripts().take(report("nobody", false), Instant::ZERO).is_none());
    }

    #[test]
    fn r2_14_the_peer_is_better_only_where_the_weights_cost_it_less() {
        // (failing here, own base, peer's base, peer's priority now, outweighed)
        let table: [(&[&str], u8, u8, u8, bool); 8] = [
            (&[], 100, 110, 110, false),
            (&["network"], 100, 100, 100, true),
            (&["network"], 100, 100, 80, false),
            (&["network"], 100, 110, 110, true),
            (&["network"], 100, 110, 90, false),
            (&["network"], 110, 80, 80, false),
            (&["httpd", "network"], 110, 80, 80, true),
            (&["httpd", "network"], 100, 100, 50, true),
        ];
        for (failing, base, peer_base, peer, expected) in table {
            let mut checks = pair_of_scripts();
            failing.iter().for_each(|name| fail(&mut checks, name));
            let found = checks.outweighed(base, peer_base, peer);
            assert_eq!(found, expected, "{failing:?} at {base}, the peer {peer} of {peer_base}");
        }
    }

    #[test]
    fn r0_11_a_check_counts_in_its_roles_only() {
        // (weight, roles, faults and priority of an active, of a standby) of a check that fails.
        let table = [
            (0, (true, true), (1, 100), (1, 100)),
            (0, (true, false), (1, 100), (0, 100)),
            (0, (false, true), (0, 100), (1, 100)),
            (-30, (true, true), (0, 70), (0, 70)),
            (-30, (true, false), (0, 70), (0, 100)),
            (-30, (false, true), (0, 100), (0, 70)),
        ];
        for (weight, roles, as_active, as_standby) in table {
            let mut checks = Checks::new(&[check("api", weight, roles.0, roles.1)]);
            fail(&mut checks, "api");
            for (active, expected) in [(true, as_active), (false, as_standby)] {
                let found = (checks.faults(active).len(), checks.priority(100, active));
                assert_eq!(found, expected, "weight {weight}, roles {roles:?}, active {active}");
            }
        }
    }

    /// "Exceeds the maximum of 3 missed" is `fall = 4`: exactly three are borne, the fourth is not.
    #[test]
    fn r3_14_more_than_n_consecutive_misses() {
        for (results, expected) in
            [("oxxx", true), ("oxxxoxxx", true), ("oxxxx", false), ("oxxxoxxxx", false)]
        {
            let mut verdict = Verdict::new(Hysteresis { rise: 1, fall: 4 });
            for result in results.chars() {
                verdict.take(result == 'o', false);
            }
            assert_eq!(verdict.healthy(), Some(expected), "{results}");
        }
    }
}
