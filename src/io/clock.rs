//! The two clocks: one that a lease can rest on, one that people read.

use crate::decision::time::Instant;
use nix::time::{ClockId, clock_gettime};

/// Now on CLOCK_BOOTTIME, which goes on while the machine is suspended (clock_gettime(2)).
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux since 2.6.39 has CLOCK_BOOTTIME");
    let seconds = u64::try_from(time.tv_sec()).expect("boot is not in the future");
    let nanoseconds = u64::try_from(time.tv_nsec()).expect("the kernel normalises nanoseconds");
    Instant(seconds * 1_000_000_000 + nanoseconds)
}

/// Now on the wall clock, for logs and journals; it may jump, so nothing is ever measured with it.
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[cfg(test)]
mod tests {
    #[test]
    fn boot_time_goes_forward_and_agrees_with_the_kernel() {
        let first = super::now();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let second = super::now();
        let seconds: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
        assert!(first <= second);
        assert!((first.0 as f64 / 1e9 - seconds).abs() < 1.0, "{first:?} against {uptime}");
    }
}
