//! Standby to active: the steps of [`TAKE_OVER`] in their order, from the moment that the right is held.

use super::action::{AddressStep, DatabaseStep, Lane, RemoteStep, Step, StepOutput, StepResult};
use super::code::Code;
pub(super) use super::course::{Prepared, Right, TAKE_OVER, TakeoverKind, TakeoverStep};
use super::gtid::GtidState;
use super::node::Node;
use super::phase::{Cause, Phase, Purpose, outcome};
use super::settings::OnUndrained;
use super::table::Matter;
use super::time::Instant;
use super::why::Why;
use super::words::{Epoch, NodeId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

mod catch_up;
mod standing;

/// How long a takeover asks what the peer's living server has.
const ASK_PEER: Duration = Duration::from_secs(3);

/// How long it asks once that server has not even answered the fence: then it is out of reach rather than slow.
const ASK_SILENT_PEER: Duration = Duration::from_millis(150);

/// On the way up.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TakingOver {
    pub(super) kind: TakeoverKind,
    pub(super) epoch: Epoch,
    pub(super) right: Right,
    /// The switchover that this takeover completes.
    pub(super) operation: Option<u64>,
    prepared: Prepared,
    tail: bool,
    /// What the peer's living server has.
    theirs: Option<GtidState>,
    #[serde(default)] // what had arrived here when it was asked
    arrived: GtidState,
    #[serde(default)] // when it had not answered in time
    unanswered: Option<Instant>,
    #[serde(default)] // asked once more, because this server had been slow to answer too
    asked_again: bool,
    /// The peer's server has transactions of this very server that are lost here.
    #[serde(default)]
    own_tail_lost: bool,
    /// How often the replica was started to fetch it.
    #[serde(default)]
    follows: u8,
    #[serde(default)] // that took too long: once more
    follow_again: bool,
    #[serde(default)] // it cannot be
    follow_failed: bool,
    /// This server said, when it was to wait for what the peer's has, that nothing applies it.
    #[serde(default)]
    nothing_applies: bool,
    run: u64,
    next: usize,
    waiting: bool,
    before: Epoch,
    /// Newest epoch that the peer told of.
    known: Epoch,
    recorded: bool,
    lease_asked: Instant,
    /// The step before which the lease was over: it goes on there once one is held again.
    #[serde(default)]
    resume_at: Option<usize>,
    /// Until then it asks what the peer's server has.
    ask_until: Instant,
    /// Looking for life, because the peer fell silent before it acknowledged.
    watching: bool,
    /// Data that only this server has: the peer cannot have the role back.
    #[serde(default)]
    pub(super) only_here: bool,
    /// Since when the services of the role are being started.
    #[serde(default)]
    pub(super) services_since: Option<Instant>,
    pub(super) began: Instant,
}

impl TakingOver {
    /// The new epoch is on disk.
    pub(super) const fn epoch_recorded(&self) -> bool {
        self.recorded
    }

    /// The step in hand.
    pub(super) fn step(&self) -> Option<TakeoverStep> {
        TAKE_OVER.get(self.next).copied()
    }

    /// Past the start of a cold standby's server.
    pub(super) fn database_is_up(&self) -> bool {
        TAKE_OVER.iter().take(self.next).any(|step| *step == TakeoverStep::StartDatabase)
    }

    /// The peer loses what it had, and will enter maintenance: by this kind, or because the newest epoch that it knows was
    /// its own (what it sees of this takeover is a newer one).
    pub(super) fn is_failover(&self, peer: NodeId) -> bool {
        let its_own = self.known.number > 0 && self.known.node == peer;
        self.kind.ends_standalone() || self.kind == TakeoverKind::Contact && its_own
    }

    /// The epoch that this takeover ends.
    pub(super) const fn epoch_before(&self) -> Epoch {
        self.before
    }
}

impl Node {
    /// A takeover without a bid.
    pub(super) fn begin_takeover(&mut self, kind: TakeoverKind, right: Right) -> Phase {
        self.take_over(kind, right, Prepared::default(), None)
    }

    /// The point where the right is held: from here on the effects follow.
    pub(super) fn take_over(
        &mut self,
        kind: TakeoverKind,
        right: Right,
        prepared: Prepared,
        operation: Option<u64>,
    ) -> Phase {
        let known = self.peer.facts.as_ref().map_or(Epoch::default(), |facts| facts.epoch);
        let epoch = self.next_epoch(known);
        let tail = self.peer.released.as_ref().is_some_and(|released| released.tail);
        if kind.automatic() {
            self.failovers.push_back(self.now);
            while self.failovers.len() > 64 {
                self.failovers.pop_front();
            }
        }
        self.interrupt_rejoin();
        let before = self.durable.epoch;
        // What gave the right gives it as long as the gate was not opened: for another try, should this one fail.
        self.durable.eligible = self.durable.eligible.filter(|of| *of == before).map(|_| epoch);
        self.durable.epoch = epoch;
        self.durable.handed_over = None;
        // Forced in sight of the peer, its acknowledgement says that its gate is shut.
        let solo = kind.solo_at_once() && !(kind == TakeoverKind::Forced && self.contact());
        (self.durable.solo, self.durable.solo_shared) = (solo.then_some(epoch), false);
        self.lease.forget();
        self.untell("life");
        self.untell("life.stream");
        self.untell("behind");
        self.untell("blocked");
        let run = self.next_operation();
        // A server that its own daemon does not see, or that nobody tells of, answers soon or not at all.
        let seen = kind == TakeoverKind::Silence || self.peer_sees_its_server();
        self.say(format!("takeover into epoch {epoch} by right of {}", right.code()));
        Phase::TakingOver(TakingOver {
            kind,
            epoch,
            right,
            operation,
            prepared,
            tail: tail && kind == TakeoverKind::Released,
            theirs: None,
            arrived: GtidState::default(),
            unanswered: None,
            asked_again: false,
            own_tail_lost: false,
            follows: 0,
            follow_again: false,
            follow_failed: false,
            nothing_applies: false,
            run,
            next: 0,
            waiting: false,
            before,
            known,
            recorded: false,
            lease_asked: self.now,
            resume_at: None,
            ask_until: self.now + if seen { ASK_PEER } else { ASK_SILENT_PEER },
            watching: kind == TakeoverKind::Silence,
            only_here: self.is_judged(),
            services_since: None,
            began: self.now,
        })
    }

    /// Begins the steps whose turn it is, up to the first that must be waited for.
    pub(super) fn begin_steps(&mut self) {
        while let Phase::TakingOver(takeover) = self.phase.now() {
            let Some(step) = TAKE_OVER.get(takeover.next).copied().filter(|_| !takeover.waiting) else {
                return;
            };
            if !self.begin_takeover_step(step) {
                return;
            }
        }
    }

    /// Begins one step, or passes over it; false: it must be waited for.
    fn begin_takeover_step(&mut self, step: TakeoverStep) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        let (kind, prepared, tail, epoch, run) =
            (takeover.kind, takeover.prepared, takeover.tail, takeover.epoch, takeover.run);
        let applying = self.database.may_apply();
        let drain = self.database.may_replicate() && !kind.drained_before() && !self.wrote_last();
        let reason = takeover.right.code().to_owned();
        let second = Duration::from_secs(1);
        if self.lease_is_over_before(step) {
            self.hold_lease_again();
            return true;
        }
        let work = match step {
            TakeoverStep::PersistEpoch => {
                self.persist(Purpose::TakeOver(run));
                self.set_waiting(true);
                return false;
            }
            TakeoverStep::HoldLease => return self.hold_lease(kind, epoch),
            TakeoverStep::StartDatabase => return self.wait_for_cold_database(),
            TakeoverStep::StartServices => return self.start_role_services(),
            TakeoverStep::AskPeer if self.peer_server_lives() => {
                Some((Step::Remote(RemoteStep::Compare), second.min(takeover.ask_until.since(self.now))))
            }
            TakeoverStep::FollowPeer => self.fetch_from_peer(),
            TakeoverStep::CatchUp => self.catch_up_with_peer(applying),
            TakeoverStep::CutStream if drain => Some((Step::Address(AddressStep::CutStream), second)),
            // Also after a bid that drained: until the cut the stream went on.
            TakeoverStep::Drain if drain => {
                Some((Step::Database(DatabaseStep::Drain), self.settings.drain_timeout))
            }
            TakeoverStep::FetchTail if tail => {
                let have = self.database.report.gtid.clone();
                let limit = if self.contact() { 5 * second } else { second };
                Some((Step::Remote(RemoteStep::FetchTail { have }), limit))
            }
            TakeoverStep::ApplyTail if tail => Some((Step::Database(DatabaseStep::ApplyTail), 30 * second)),
            TakeoverStep::StopApplying if applying && !prepared.stopped && !kind.drained_before() => {
                Some((Step::Database(DatabaseStep::StopApplying), 2 * second))
            }
            TakeoverStep::FenceServer if prepared.server_reachable => {
                Some((Step::Remote(RemoteStep::FenceServer), second / 2))
            }
            TakeoverStep::AllowWrites => Some((Step::Database(DatabaseStep::AllowWrites), second)),
            TakeoverStep::WriteEpoch => {
                Some((Step::Database(DatabaseStep::WriteEpoch { epoch, reason }), 2 * second))
            }
            TakeoverStep::OpenGate => {
                self.watch_for_life(false);
                let lease_end = self.open_until();
                // What the gate is opened with is the lease from here on.
                self.lease.extend(lease_end);
                Some((Step::Address(AddressStep::Open { epoch, lease_end }), second))
            }
            _ => None,
        };
        match work {
            Some((work, deadline)) => {
                self.start(work, deadline, Purpose::TakeOver(run));
                self.set_waiting(true);
                false
            }
            None => {
                self.next_takeover_step();
                true
            }
        }
    }

    /// A lease before anything that a client could see: acknowledged by the peer, or resting on solo.
    fn hold_lease(&mut self, kind: TakeoverKind, epoch: Epoch) -> bool {
        let solo = self.durable.solo == Some(epoch);
        if solo || self.lease_suffices() {
            self.go_on_with_lease();
            return true;
        }
        let Phase::TakingOver(takeover) = self.phase.within() else { return false };
        if takeover.lease_asked == takeover.began {
            // Ask at once: a heartbeat of the new epoch is the request.
            takeover.lease_asked = self.now + Duration::from_nanos(1);
            self.next_heartbeat = self.now;
            return false;
        }
        let lonely = kind != TakeoverKind::Contact && !takeover.watching;
        if lonely && !self.contact() {
            takeover_watches(self.phase.within());
            self.look_for_life();
        }
        if kind != TakeoverKind::Contact
            && !self.contact()
            && self.now >= self.bid_ends_at()
            && self.may_go_solo()
        {
            (self.durable.solo, self.durable.solo_shared) = (Some(epoch), false);
            if let Phase::TakingOver(takeover) = self.phase.within() {
                takeover.next = 0;
            }
            return true;
        }
        false
    }

    /// Lease end to open the gate with: what was acknowledged, or a full lease from now when solo.
    fn open_until(&self) -> Instant {
        let solo = self.durable.solo == Some(self.durable.epoch);
        if solo { self.lease.end.max(self.now + self.settings.lease) } else { self.lease.end }
    }

    fn set_waiting(&mut self, waiting: bool) {
        if let Phase::TakingOver(takeover) = self.phase.within() {
            takeover.waiting = waiting;
        }
    }

    pub(super) fn next_takeover_step(&mut self) {
        if let Phase::TakingOver(takeover) = self.phase.within() {
            takeover.next += 1;
            takeover.waiting = false;
        }
    }

    pub(super) fn on_takeover_step(&mut self, run: u64, result: StepResult) {
        let relay_may_go = self.relay_may_go();
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        if takeover.run != run {
            return;
        }
        takeover.waiting = false;
        let step = TAKE_OVER[takeover.next];
        let timed_out = result == StepResult::TimedOut;
        match outcome(result) {
            Ok(output) => self.takeover_step_done(step, output),
            Err(text) => self.takeover_step_failed(step, text, timed_out, relay_may_go),
        }
    }

    fn takeover_step_done(&mut self, step: TakeoverStep, output: StepOutput) {
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        match (step, output) {
            (TakeoverStep::PersistEpoch, _) => takeover.recorded = true,
            (TakeoverStep::Drain, StepOutput::Position(applied)) => {
                // The last report is older than the drain; what is fetched next must begin exactly here.
                self.database.report.gtid = self.database.report.gtid.union(&applied);
            }
            (TakeoverStep::FetchTail, StepOutput::Tail { transactions: 0 }) => takeover.tail = false,
            (TakeoverStep::AllowWrites, _) => self.database.report.writable = true,
            (TakeoverStep::OpenGate, _) => {
                self.gate.state.open = true;
                self.gate.state.epoch = self.durable.epoch;
                self.gate.state.address_held = self.settings.has_address;
            }
            (TakeoverStep::AskPeer, StepOutput::Comparison(comparison)) => {
                // A row of the ledger tells of an activity that this node never heard of.
                if comparison.peer_ledger > takeover.before.max(takeover.known) {
                    self.consider(Matter::Outrun(comparison.peer_ledger));
                    return;
                }
                if let Some(text) = self.nothing_brings(&comparison.theirs) {
                    self.consider(Matter::StepFailed(Cause::TakeoverFailed, text));
                    return;
                }
                let arrived = self.arrived();
                if let Phase::TakingOver(takeover) = self.phase.within() {
                    (takeover.theirs, takeover.arrived) = (Some(comparison.theirs), arrived);
                    takeover.own_tail_lost = comparison.own_tail_lost;
                }
            }
            (TakeoverStep::CatchUp, _) if self.own_server_was_slow() => return,
            _ => {}
        }
        self.next_takeover_step();
    }

    /// Some steps may be done without, some are tried again; the rest end the takeover.
    fn takeover_step_failed(
        &mut self,
        step: TakeoverStep,
        text: String,
        timed_out: bool,
        relay_may_go: bool,
    ) {
        let arrives = self.still_arrives();
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        match step {
            // This server or the path to the other may only be slow: asked again for a while.
            TakeoverStep::AskPeer if timed_out && self.now < takeover.ask_until => {}
            TakeoverStep::AskPeer => {
                (takeover.theirs, takeover.unanswered) = (None, timed_out.then_some(self.now));
                self.next_takeover_step();
            }
            TakeoverStep::FollowPeer => self.peer_is_not_followed(&text, timed_out),
            TakeoverStep::CatchUp if takeover.unanswered.take().is_some() => {
                self.own_server_is_silent(&text, timed_out);
            }
            TakeoverStep::CatchUp if timed_out && arrives => {
                // Asked again, because the peer's server may be gone by now.
                takeover.next -= catch_up::ASK_BEFORE_CATCH_UP;
                takeover.ask_until = self.now + ASK_PEER;
                self.on_undrained(&format!("the peer's server has more: {text}"), true);
            }
            TakeoverStep::CatchUp => self.not_caught_up(&text, timed_out),
            TakeoverStep::Drain if takeover.prepared.stopped => {
                // More arrived between the bid's drain and the cut. The receiving thread runs, so the relay log stands.
                takeover.prepared.stopped = false;
                let resume = Step::Database(DatabaseStep::ResumeApplying);
                self.start(resume, Duration::from_secs(2), Purpose::Undo(Lane::Database));
            }
            TakeoverStep::Drain if !timed_out && relay_may_go => {
                let text =
                    format!("the relay log is left behind, the peer or the operator stands for it: {text}");
                self.tell(Why::new(Code::TakeoverRelayLeft, text));
                self.next_takeover_step();
            }
            TakeoverStep::Drain => self.on_undrained(&text, timed_out),
            TakeoverStep::FetchTail | TakeoverStep::ApplyTail => {
                takeover.tail = false;
                let text = format!("the tail of the dead server's binary log could not be used: {text}");
                self.tell(Why::new(Code::RescueFailed, text));
                self.next_takeover_step();
            }
            TakeoverStep::FenceServer => {
                // The lease was waited out: the fence by SQL is one more, not the only one.
                if timed_out {
                    takeover.ask_until = self.now + ASK_SILENT_PEER;
                }
                let text = format!("the peer's server was not fenced by SQL: {text}");
                self.tell(Why::new(Code::FenceFailed, text));
                self.next_takeover_step();
            }
            step => {
                self.consider(Matter::StepFailed(Cause::TakeoverFailed, format!("{step:?}: {text}")));
            }
        }
    }

    /// The peer's server has served in an epoch of which this node did not know: its data is the newer.
    pub(super) fn outrun(&mut self) -> Phase {
        let newer = match self.course.matter {
            Matter::Outrun(newer) => newer,
            _ => self.durable.epoch,
        };
        self.durable.solo = None;
        self.durable.epoch = self.durable.epoch.max(newer);
        self.persist(Purpose::Record);
        let text = format!("the peer's server has served in epoch {newer}, which this node had not heard of");
        self.say(text.clone());
        self.step_down(Cause::NewerEpoch, text)
    }

    fn on_undrained(&mut self, text: &str, timed_out: bool) {
        match self.settings.on_undrained {
            OnUndrained::Wait if timed_out => {
                self.tell(Why::new(Code::TakeoverDraining, "the relay log is not applied yet: waiting on"));
            }
            OnUndrained::Promote => {
                let text = format!("promoted with an unapplied relay log: {text}");
                self.tell(Why::new(Code::TakeoverUndrained, text));
                if let Phase::TakingOver(takeover) = self.phase.within()
                    && takeover.theirs.take().is_some()
                {
                    // From the question before it: past the catching up.
                    takeover.next += 2;
                }
                self.next_takeover_step();
            }
            OnUndrained::Wait | OnUndrained::Refuse => {
                let text = format!("the relay log is not applied: {text}");
                self.consider(Matter::StepFailed(Cause::TakeoverFailed, text));
            }
        }
    }
}

fn takeover_watches(phase: &mut Phase) {
    if let Phase::TakingOver(takeover) = phase {
        takeover.watching = true;
    }
}
