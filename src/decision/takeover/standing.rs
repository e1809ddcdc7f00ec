//! How a takeover stands: what ends it, what it may leave out, and the epoch that it opens.

use super::{Phase, TAKE_OVER, TakeoverKind, TakeoverStep};
use crate::decision::node::Node;
use crate::decision::words::{Epoch, Mode, Protection, Role};

impl Node {
    /// The epoch after the newest known one. Where that is known from the ledger alone, one more is passed over: a server
    /// that starts as a replica may have cut off the newest row, and no epoch is used twice.
    pub(super) fn next_epoch(&self, known_to_peer: Epoch) -> Epoch {
        let newest = self.durable.epoch.max(known_to_peer);
        let next = newest.next_for(self.settings.me);
        if self.learnt == Some(newest) && !self.contact() { next.next_for(self.settings.me) } else { next }
    }

    /// Every step has ended.
    pub(in crate::decision) fn takeover_is_complete(&self) -> bool {
        matches!(self.phase.now(), Phase::TakingOver(takeover) if !takeover.waiting && takeover.next >= TAKE_OVER.len())
    }

    /// A takeover by consent that the peer does not acknowledge.
    pub(in crate::decision) fn lease_is_refused(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        let holding = !takeover.waiting && TAKE_OVER.get(takeover.next) == Some(&TakeoverStep::HoldLease);
        let held = self.durable.solo == Some(takeover.epoch) || self.lease_suffices();
        let asked = takeover.lease_asked != takeover.began;
        let late = self.now >= takeover.lease_asked + 4 * self.settings.lease;
        takeover.kind == TakeoverKind::Contact && holding && asked && !held && late
    }

    /// What a client could see, or a database that takes writes, needs a lease at that moment: the peer that had granted
    /// one may have gone while the relay log was applied or a service was started.
    pub(super) fn lease_is_over_before(&self, step: TakeoverStep) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        let needed = matches!(step, TakeoverStep::AllowWrites | TakeoverStep::OpenGate);
        needed && self.durable.solo != Some(takeover.epoch) && !self.lease_suffices()
    }

    /// Whoever opens with less has no time left to go on alone, should the peer have gone.
    pub(super) fn lease_suffices(&self) -> bool {
        self.lease.end > self.now + self.settings.lease / 3
    }

    /// Back to where a lease is held: asked for anew, or by the right to go on alone once the peer's silence allows it.
    pub(super) fn hold_lease_again(&mut self) {
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        takeover.resume_at = Some(takeover.next);
        takeover.lease_asked = takeover.began;
        takeover.next =
            TAKE_OVER.iter().position(|step| *step == TakeoverStep::HoldLease).unwrap_or_default();
    }

    /// What was done before the lease was over stays done.
    pub(super) fn go_on_with_lease(&mut self) {
        self.next_takeover_step();
        if let Phase::TakingOver(takeover) = self.phase.within() {
            takeover.next = takeover.resume_at.take().unwrap_or(takeover.next);
        }
    }

    /// The peer did not hear this node, and serves: a takeover in contact rests on its consent.
    pub(in crate::decision) fn overtaken_in_contact(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        takeover.kind == TakeoverKind::Contact
            && self.fresh_facts().is_some_and(|facts| facts.serving && facts.role == Role::Active)
    }

    /// The peer fell silent, and what it granted is over: it may have taken over itself by now.
    pub(in crate::decision) fn consent_is_over(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        takeover.kind == TakeoverKind::Contact && !self.contact() && self.now >= self.lease.end
    }

    /// At `gateway` a takeover in silence goes on only while the targets answer.
    pub(in crate::decision) fn cut_off_in_takeover(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        takeover.kind == TakeoverKind::Silence
            && self.settings.protection == Protection::Gateway
            && self.mode.mode != Mode::Standalone
            && !self.contact()
            && self.targets_silent()
    }

    /// A relay log that nothing applies any more: an operator stands for it, or it holds nothing new, because nothing
    /// is missing here that was received or that the peer's living server has. Otherwise: it held nothing new before the
    /// attempt to follow the peer's living server stopped the replica.
    pub(super) fn relay_may_go(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        let mine = &self.database.report.gtid;
        let received = self.database.report.replica.as_ref().map(|replica| &replica.received);
        let nothing_new = takeover.theirs.as_ref().is_some_and(|theirs| mine.covers(theirs))
            && received.is_none_or(|received| mine.covers(received));
        match takeover.kind {
            TakeoverKind::Forced => true,
            TakeoverKind::Contact => nothing_new,
            TakeoverKind::Silence | TakeoverKind::Released => {
                takeover.follow_failed && !takeover.nothing_applies && mine.covers(&self.arrived())
            }
            TakeoverKind::Planned | TakeoverKind::Handover => false,
        }
    }

    /// The search for life goes on until the gate is being opened.
    pub(in crate::decision) fn takeover_looks_for_life(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        let opening = TAKE_OVER.get(takeover.next).is_none_or(|step| *step == TakeoverStep::OpenGate);
        takeover.watching && !opening
    }
}
