//! Looking for proofs of life while the active is silent: who answers ARP for the virtual addresses, and do
//! heartbeat rows still arrive in the replication stream.

use crate::decision::time::Instant;
use crate::io::announce::ProbeForLife;
use std::time::Duration;

/// Between two questions for the addresses; several fit between a lease's death and the takeover right.
const EVERY: Duration = Duration::from_millis(8);

/// The search, on or off.
#[derive(Debug, Default)]
pub struct LifeSearch {
    next: Option<Instant>,
}

impl LifeSearch {
    /// Begins, with a question at once, or ends.
    pub fn turn(&mut self, on: bool, now: Instant) {
        self.next = on.then_some(now);
    }

    /// A claim of an address counts now.
    pub const fn is_on(&self) -> bool {
        self.next.is_some()
    }

    /// When it wants to be called again.
    pub const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Asks, if it is time.
    pub fn ask(&mut self, probe: Option<&ProbeForLife>, now: Instant) {
        if self.next.is_some_and(|at| now >= at) {
            self.next = Some(now + EVERY);
            if let Some(probe) = probe {
                // An interface that is down has nobody to ask; the link report says so.
                let _ = probe.probe();
            }
        }
    }
}
