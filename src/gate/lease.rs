//! The arithmetic of the lease: how long the kernel's element lives, and when it is written again. Pure.
//!
//! Let `E` be the lease's end, which the peer's acknowledgements grant, and `S` the slice, an eighth of the
//! lease. The takeover wait of the other node counts on the gate being shut by `E + S`. One write of the
//! element is:
//!
//! 1. A batch places the *guard*, an element with a timeout of at most `S`.
//! 2. Only then the clock is read: `a`. If `a >= E` the lease is over and nothing is written.
//! 3. One batch takes the guard away, deletes the lease's element and adds it anew with timeout `E - a`.
//!    It fails as a whole when the guard is gone (then 1 follows again) or the element is gone (then the
//!    lease is lost: only a takeover may add one).
//!
//! So however long the process is paused between reading the clock and the batch: the batch at time `b`
//! finds the guard alive only if `b < a + S`, and the element that it adds dies by `b + (E - a) < E + S`.
//! That is the bound of slices that are renewed before they run out, but the element may live for the whole
//! rest of the lease, so that two short batches for each heartbeat are enough, a busy host does not lose a
//! lease that it holds, and a gate process that was killed finds its element alive when it is started again.
//!
//! The kernel counts timeouts in ticks and rounds down: elements die up to two ticks early and never late.
//! It fixes the added element's end while it works on the batch; a batch that took longer than a slice
//! by our clock (the host was paused inside the call) is therefore written again at once.

use crate::decision::time::Instant;
use crate::decision::words::{Epoch, NodeId};
use crate::io::nft::Timeout;
use std::time::Duration;

/// No lease is longer; a longer one is a fault of the daemon.
pub const LONGEST: Duration = Duration::from_secs(600);

/// A lease that this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The activity that it serves.
    pub epoch: Epoch,
    /// When it ends unless renewed.
    pub end: Instant,
    /// T_lease.
    pub duration: Duration,
    /// The end that the kernel's element was last written for.
    covered: Instant,
    /// When that was.
    written: Instant,
}

impl Lease {
    /// A lease that is not in the kernel yet; an error says why it cannot be one.
    pub fn new(epoch: Epoch, end: Instant, duration: Duration, now: Instant) -> Result<Self, String> {
        if end <= now {
            let late = now.since(end).as_millis();
            return Err(format!("the lease ended {late} ms ago; ask the peer again before opening"));
        }
        if end.since(now) > LONGEST || duration.is_zero() || duration > LONGEST {
            return Err(format!("a lease lasts at most {} s and not nothing", LONGEST.as_secs()));
        }
        Ok(Self { epoch, end, duration, covered: Instant::ZERO, written: Instant::ZERO })
    }

    /// A lease that an earlier gate process noted with the living element.
    pub fn adopt(note: &str, now: Instant) -> Option<Self> {
        let (epoch, end, duration) = parse(note)?;
        let lease = Self::new(epoch, end, duration, now).ok()?;
        Some(Self { covered: end, written: now, ..lease })
    }

    /// The epoch of a lease that was noted, over or not.
    pub fn epoch_in(note: &str) -> Option<Epoch> {
        parse(note).map(|(epoch, _, _)| epoch)
    }

    /// What is noted with the element, for the operator who lists the table and for [`Self::adopt`].
    pub fn note(&self) -> String {
        format!(
            "epoch {} node {} until {} lease {}",
            self.epoch.number,
            self.epoch.node.0,
            self.end.0,
            self.duration.as_nanos()
        )
    }

    /// The slice: how long the gate may stay open beyond the end after the worst pause.
    pub fn slice(&self) -> Duration {
        self.duration / 8
    }

    /// How long the guard lives: a slice, or one tick where the tick is coarser.
    pub fn guard(&self, tick: Duration) -> Timeout {
        Timeout::new(self.slice(), tick).unwrap_or_else(|| Timeout::one(tick))
    }

    /// How long an element that is written now may live. `None`: not long enough for the kernel to count.
    pub fn timeout(&self, now: Instant, tick: Duration) -> Option<Timeout> {
        Timeout::new(self.end.since(now), tick)
    }

    /// The element was written by a clock that showed `read`.
    pub fn wrote(&mut self, read: Instant) {
        self.covered = self.end;
        self.written = read;
    }

    /// A later end; an earlier one changes nothing, because what was granted stays granted.
    pub fn extend(&mut self, end: Instant, now: Instant) -> Result<(), String> {
        if end.since(now) > LONGEST {
            return Err(format!("a lease lasts at most {} s", LONGEST.as_secs()));
        }
        self.end = self.end.max(end);
        Ok(())
    }

    /// When the element must be written again; `None`: it covers the whole lease. Renewals that come faster
    /// than two in a slice are gathered.
    pub fn next_write(&self) -> Option<Instant> {
        (self.end > self.covered).then(|| self.written + self.slice() / 2)
    }
}

fn parse(note: &str) -> Option<(Epoch, Instant, Duration)> {
    let mut words = note.split_ascii_whitespace();
    let mut next = |name: &str| (words.next()? == name).then_some(words.next()?);
    let epoch = Epoch { number: next("epoch")?.parse().ok()?, node: NodeId(next("node")?.parse().ok()?) };
    let end = Instant(next("until")?.parse().ok()?);
    Some((epoch, end, Duration::from_nanos(next("lease")?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(4);
    const EPOCH: Epoch = Epoch { number: 7, node: NodeId(2) };

    fn lease(end: u64) -> Lease {
        Lease::new(EPOCH, Instant::from_millis(end), Duration::from_millis(80), Instant::from_millis(1000))
            .unwrap()
    }

    #[test]
    fn a_lease_that_is_over_or_endless_is_none() {
        let now = Instant::from_millis(1000);
        let duration = Duration::from_millis(350);
        assert!(Lease::new(EPOCH, now, duration, now).is_err());
        assert!(Lease::new(EPOCH, Instant(u64::MAX), duration, now).is_err());
        assert!(Lease::new(EPOCH, now + duration, Duration::ZERO, now).is_err());
    }

    #[test]
    fn the_note_names_the_same_lease() {
        let lease = lease(1080);
        let adopted = Lease::adopt(&lease.note(), Instant::from_millis(1000)).unwrap();
        assert_eq!((adopted.epoch, adopted.end, adopted.duration), (EPOCH, lease.end, lease.duration));
        assert_eq!(adopted.next_write(), None, "what lives covers what is noted");
        assert_eq!(Lease::adopt(&lease.note(), lease.end), None);
        assert_eq!(Lease::epoch_in(&lease.note()), Some(EPOCH));
        assert_eq!(Lease::adopt("epoch x", Instant::ZERO), None);
        assert_eq!(Lease::adopt("", Instant::ZERO), None);
    }

    #[test]
    fn only_a_later_end_is_written_and_not_too_often() {
        let mut lease = lease(1080);
        let now = Instant::from_millis(1000);
        assert_eq!(lease.next_write(), Some(Instant::ZERO + Duration::from_millis(5)));
        lease.wrote(now);
        assert_eq!(lease.next_write(), None);
        lease.extend(Instant::from_millis(1050), now).unwrap();
        assert_eq!(lease.next_write(), None, "an earlier end changes nothing");
        lease.extend(Instant::from_millis(1100), now).unwrap();
        assert_eq!(lease.next_write(), Some(Instant::from_millis(1005)));
    }

    #[test]
    fn a_slice_below_the_tick_is_one_tick() {
        let mut lease = lease(1080);
        lease.duration = Duration::from_millis(20);
        assert_eq!(lease.guard(TICK), Timeout::one(TICK));
        assert_eq!(
            lease.guard(Duration::from_millis(1)),
            Timeout::new(Duration::from_millis(2), TICK / 4).unwrap()
        );
    }

    proptest! {
        /// The bound of the module's head, against a model of the kernel that counts in ticks.
        #[test]
        fn no_pause_keeps_the_gate_open_for_more_than_a_slice(
            phase in 0u64..4_000_000,
            pauses in proptest::collection::vec((0u64..60_000_000, 0u64..120_000_000, 0u64..60_000_000), 1..40),
            ahead in 10u64..500,
        ) {
            let dies = |at: u64, timeout: Duration| {
                let ticks = timeout.as_nanos() as u64 / 4_000_000;
                ((at + phase) / 4_000_000 + ticks) * 4_000_000 - phase.min((at + phase) / 4_000_000 * 4_000_000)
            };
            let mut now = 1_000_000_000u64;
            let mut lease = Lease::new(
                EPOCH, Instant(now) + Duration::from_millis(ahead), Duration::from_millis(80), Instant(now)).unwrap();
            let mut element = None;
            for (before, between, after) in pauses {
                let guard_dies = dies(now, lease.guard(TICK).time());
                now += before;
                let read = Instant(now);
                now += between;
                let alive = element.is_none_or(|dies| now < dies);
                match lease.timeout(read, TICK) {
                    Some(timeout) if now < guard_dies && alive => {
                        element = Some(dies(now, timeout.time()));
                        lease.wrote(read);
                    }
                    _ => {}
                }
                if let Some(dies) = element {
                    prop_assert!(dies <= (lease.end + lease.slice()).0);
                }
                now += after;
                if now < lease.end.0 {
                    lease.extend(Instant(now) + Duration::from_millis(ahead), Instant(now)).unwrap();
                }
            }
        }
    }
}
