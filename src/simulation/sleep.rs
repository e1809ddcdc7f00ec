//! A host that stands still: suspended (its boot clock goes on, the kernel's timers do not) or frozen from outside
//! as a virtual machine (nothing in it notices).

use super::bugs::Bug;
use super::world::{Happening, World};
use crate::decision::event::Event;
use std::time::Duration;

/// What a host that stands still will find.
#[derive(Clone, Debug)]
pub struct Asleep {
    since: u64,
    clock_stops: bool,
    /// What would have happened, and when.
    pub missed: Vec<(u64, Happening)>,
}

impl World {
    pub fn falls_asleep(&mut self, host: usize, clock_stops: bool) {
        if self.awake(host) {
            self.hosts[host].asleep = Some(Asleep { since: self.now, clock_stops, missed: Vec::new() });
        }
    }

    pub fn wakes_up(&mut self, host: usize) {
        let Some(asleep) = self.hosts[host].asleep.take() else { return };
        let slept = self.now - asleep.since;
        let lease = Self::nanos(self.hosts[host].settings.lease);
        let gate = &mut self.hosts[host].gate;
        if gate.element > asleep.since && gate.element != u64::MAX {
            // The kernel's timer goes on where it stood: no level without synchronous replication promises more.
            gate.element += slept;
            let left = gate.element - self.now;
            // Until it hears that it is too late.
            self.checkers.woke_until = self.now + left + lease + 2 * self.network.slowest();
            self.at(left, Happening::Look);
            self.mark("a host woke with its gate still open");
        }
        if asleep.clock_stops {
            self.hosts[host].stood_still += slept;
            self.goes_on_unaware(host);
        }
        if self.bug == Some(Bug::ResumeUnchecked) {
            self.goes_on_unchecked(host);
        } else if !asleep.clock_stops && slept > lease / 2 {
            let run = self.hosts[host].run;
            self.deliver(host, run, Event::Resumed { gap: Duration::from_nanos(slept) });
        }
        for (at, happening) in asleep.missed {
            let delay = if asleep.clock_stops { at - asleep.since } else { 0 };
            self.at(delay, happening);
        }
    }
}
