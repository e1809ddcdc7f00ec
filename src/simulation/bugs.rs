//! Bugs put into the harness on purpose: each must be caught, or the checkers do not bite.

use super::world::{MS, World};
use crate::decision::event::Event;
use crate::decision::peer::{PeerMessage, Released};
use crate::decision::words::Role;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The takeover wait is not honoured: a `Released` that nobody sent reaches the standby.
    FalseRelease,
    /// `Close` says that it was done, and the gate stays open.
    CloseLies,
    /// What was persisted is gone after a crash.
    EpochLost,
    /// `ForbidWrites` says that it was done and does nothing.
    ForgottenForbid,
    /// The kernel's element does not end with the lease (the one of the address does).
    GateStaysOpen,
    /// `Drain` says that all is applied while it is not.
    DrainLies,
    /// A seal does not end the commits that the freeze paused: they are acknowledged later.
    FreezeLeaks,
}

/// All, with the number of seeds within which each is caught.
pub const ALL: &[(Bug, u64)] = &[
    (Bug::FalseRelease, 50),
    (Bug::CloseLies, 1_000),
    (Bug::EpochLost, 400),
    (Bug::ForgottenForbid, 400),
    (Bug::GateStaysOpen, 400),
    (Bug::DrainLies, 400),
    (Bug::FreezeLeaks, 400),
];

impl World {
    /// In the place of the real network: now and then a release that the active never sent.
    pub fn forge_release(&mut self, from: usize, run: u64, message: &PeerMessage) {
        let PeerMessage::Heartbeat(heartbeat) = message else { return };
        if heartbeat.facts.role != Role::Active || !self.random.percent(2) {
            return;
        }
        let released = Released {
            epoch: heartbeat.facts.epoch,
            operation: None,
            read_only: true,
            tail: false,
            reason: "forged".into(),
        };
        let message = Event::Peer(PeerMessage::Released(released));
        self.tell(2 * MS, 1 - from, run, message);
    }
}
