//! When gratuitous ARP leaves: a burst at once, again after a delay, then by a refresh if one is configured.

use crate::config::checked::Garp;
use crate::decision::time::Instant;
use crate::io::announce::Announcer;
use std::net::Ipv4Addr;

/// The schedule of one node.
#[derive(Debug)]
pub struct Announcing {
    garp: Garp,
    addresses: Vec<Ipv4Addr>,
    /// Packets that are still due in the present round, and when the next of them leaves.
    due: Option<(u32, Instant)>,
    /// When the next round begins.
    next_round: Option<Instant>,
    announced: bool,
}

impl Announcing {
    /// Silent until [`Announcing::begin`].
    pub fn new(garp: Garp, addresses: Vec<Ipv4Addr>) -> Self {
        Self { garp, addresses, due: None, next_round: None, announced: false }
    }

    /// Another schedule from now on.
    pub fn reload(&mut self, garp: Garp) {
        self.garp = garp;
    }

    /// The first burst, now.
    pub fn begin(&mut self, now: Instant) {
        self.due = Some((self.garp.burst.max(1), now));
        self.announced = false;
        self.next_round = (!self.garp.delay.is_zero()).then(|| now + self.garp.delay);
    }

    /// No more of it.
    pub fn stop(&mut self) {
        self.due = None;
        self.next_round = None;
    }

    /// When it wants to be called again.
    pub fn next(&self) -> Option<Instant> {
        match (self.due.map(|(_, at)| at), self.next_round) {
            (Some(due), Some(round)) => Some(due.min(round)),
            (due, round) => due.or(round),
        }
    }

    /// Sends what is due. An interface that is down loses the packet; the next round comes.
    pub fn send(&mut self, announcer: Option<&Announcer>, now: Instant) {
        if self.next_round.is_some_and(|at| now >= at) {
            self.due = Some((self.garp.repeat.max(1), now));
            let refresh = self.garp.refresh;
            self.next_round = (!refresh.is_zero()).then(|| now + refresh);
        }
        while let Some((left, at)) = self.due {
            if now < at {
                return;
            }
            if let Some(announcer) = announcer {
                for address in &self.addresses {
                    let _ = announcer.announce(*address);
                }
            }
            self.due = (left > 1).then(|| (left - 1, at + self.garp.interval));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_a_delay_and_a_refresh() {
        let garp = Garp {
            burst: 3,
            delay: Duration::from_secs(5),
            repeat: 2,
            refresh: Duration::from_secs(10),
            interval: Duration::from_millis(10),
        };
        let mut announcing = Announcing::new(garp, vec![Ipv4Addr::LOCALHOST]);
        let mut sent = Vec::new();
        announcing.begin(Instant::from_millis(0));
        while let Some(at) = announcing.next().filter(|at| at.as_millis() < 20_000) {
            sent.push(at.as_millis());
            announcing.send(None, at);
        }
        assert_eq!(sent, [0, 10, 20, 5000, 5010, 15000, 15010]);
        announcing.stop();
        assert_eq!(announcing.next(), None);
    }
}
