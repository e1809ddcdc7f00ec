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

    /// Takes one result; returns the check if its verdict changed. Unknown names change nothing.
    pub fn take(&mut self, report: CheckReport, now: Instant) -> Option<&CheckState> {
        let check = self.0.iter_mut().find(|check| check.settings.name == report.name)?;
        let changed = check.verdict.take(report.passed, report.certain);
        check.last = Some((report, now));
        changed.then_some(check)
    }

    /// Names of the checks that make a node unfit for `active` (or for standby), with their last detail.
    pub fn faults(&self, active: bool) -> Vec<String> {
        self.0
            .iter()
            .filter(|check| check.settings.weight == 0)
            .filter(|check| if active { check.settings.on_active } else { check.settings.on_standby })
            .filter(|check| check.verdict.healthy() == Some(false))
            .map(|check| {
                let detail = check.last.as_ref().map_or("", |(report, _)| report.detail.as_str());
                format!("check {} fails: {detail}", check.settings.name)
            })
            .collect()
    }

    /// The VRRP priority after the weights of failing checks, within 1 to 254.
    pub fn priority(&self, base: u8) -> u8 {
        let sum: i32 = self
            .0
            .iter()
            .filter(|check| check.verdict.healthy() == Some(false))
            .map(|check| i32::from(check.settings.weight))
            .sum();
        u8::try_from((i32::from(base) + sum).clamp(1, 254)).unwrap_or(1)
    }

    /// Sum of the weights of failing checks is negative enough that the peer would be the better active.
    pub fn outweighed(&self, base: u8, peer: u8) -> bool {
        self.priority(base) < base && self.priority(base) < peer
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

    #[test]
    fn weights_add_up_and_stay_within_one_and_254() {
        let check = |name: &str, weight| CheckSettings {
            name: name.into(),
            hysteresis: Hysteresis { rise: 1, fall: 1 },
            weight,
            on_active: true,
            on_standby: true,
        };
        let mut checks = Checks::new(&[check("a", -50), check("b", -20), check("c", -250)]);
        let fail = |name: &str| CheckReport {
            name: name.into(),
            passed: false,
            certain: false,
            detail: String::new(),
            took: Duration::ZERO,
        };
        assert_eq!(checks.priority(100), 100);
        checks.take(fail("a"), Instant::ZERO);
        assert_eq!(checks.priority(100), 50);
        checks.take(fail("b"), Instant::ZERO);
        assert_eq!(checks.priority(100), 30);
        checks.take(fail("c"), Instant::ZERO);
        assert_eq!(checks.priority(100), 1);
        assert!(checks.take(fail("nobody"), Instant::ZERO).is_none());
    }
}
