//! When something that is asked regularly is asked again: at its interval, and sooner while failures are counted.

use crate::config::checked::Timing;
use std::time::Duration;

/// The longest pause between two questions while failures are being counted.
const RECOUNT: Duration = Duration::from_millis(100);

/// The pace of one check.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    timing: Timing,
    failures: u32,
}

impl Pace {
    /// Before the first question.
    pub const fn new(timing: Timing) -> Self {
        Self { timing, failures: 0 }
    }

    /// How long after the start of the question that was just answered the next one is due. A failure that is not
    /// certain is asked about again soon, until `fall` of them have come in a row.
    pub fn after(&mut self, passed: bool, certain: bool) -> Duration {
        self.failures = if passed { 0 } else { self.failures.saturating_add(1) };
        let counting = !passed && !certain && self.failures < self.timing.fall;
        if counting { self.timing.interval.min(RECOUNT) } else { self.timing.interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_asked_about_soon_until_it_counts() {
        let timing = |interval| Timing {
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
        };
        // `o` passes, `x` fails, `X` fails for certain; the pause after the last one.
        let table = [
            ("o", 1000),
            ("x", 100),
            ("xx", 100),
            ("xxx", 1000),
            ("xxxx", 1000),
            ("xxox", 100),
            ("X", 1000),
            ("xX", 1000),
        ];
        for (answers, milliseconds) in table {
            let mut pace = Pace::new(timing(1000));
            let mut pause = Duration::ZERO;
            for answer in answers.chars() {
                pause = pace.after(answer == 'o', answer == 'X');
            }
            assert_eq!(pause, Duration::from_millis(milliseconds), "{answers}");
        }
        let mut quick = Pace::new(timing(20));
        assert_eq!(quick.after(false, false), Duration::from_millis(20), "never later than the interval");
    }
}
