//! A planned swap: zero loss, and abortable up to its point of no return (DESIGN.md section 4, "Switchover").
//!
//! Old active: Prepare, freeze, Reach, seal (intent on disk, gate closed, sessions killed, read-only verified),
//! Released: the point of no return. New active: Ready, Reached, then the steps of a takeover.

use super::action::{AddressStep, Answer, DatabaseStep, Lane, Step, StepOutput, StepResult};
use super::chores::Active;
use super::code::Code;
use super::gtid::GtidState;
use super::node::Node;
use super::peer::{PeerMessage, Released, Switchover};
use super::phase::{Cause, Phase, Purpose, outcome};
use super::takeover::{Right, TakeoverKind};
use super::time::Instant;
use super::why::{Severity, Why};
use super::words::{Epoch, Mode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the peer may take to answer `Prepare`, and to open after the release.
const ANSWER: Duration = Duration::from_secs(2);
/// How long writers may be paused before a handover is called off.
const PAUSE: Duration = Duration::from_secs(2);

/// The old side of a handover.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HandingOver {
    pub(super) operation: u64,
    pub(super) cause: Cause,
    next_epoch: Epoch,
    stage: Stage,
    closed: bool,
    recorded: bool,
    frozen: bool,
    position: GtidState,
    until: Instant,
    began: Instant,
    /// Whom to tell: a local operator's command, or the peer's request.
    asked_by_peer: Option<u64>,
    /// What the active phase was.
    active: Active,
}

impl HandingOver {
    pub(super) const fn solo_recorded(&self) -> bool {
        self.active.solo_recorded
    }

    /// The peer may be open: this side never opens again in its epoch.
    pub(super) const fn past_no_return(&self) -> bool {
        matches!(self.stage, Stage::Released)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Preparing,
    Freezing,
    Reaching,
    Sealing,
    Released,
}

/// Steps of the old side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HandOverStep {
    Freeze,
    Record,
    Close,
    Seal,
    Thaw,
}

/// The new side, up to the release.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Receiving {
    operation: u64,
    planned: bool,
    reached: bool,
    until: Instant,
}

impl Node {
    /// Begins to hand over to a peer that can serve.
    pub(super) fn begin_handover(&mut self, cause: Cause, text: String, asked_by_peer: Option<u64>) {
        let Phase::Active(active) = &mut self.phase else { return };
        let active = std::mem::take(active);
        let operation = self.next_operation();
        let next_epoch = self.durable.epoch.next_for(self.peer_id());
        self.phase = Phase::HandingOver(HandingOver {
            operation,
            cause,
            next_epoch,
            stage: Stage::Preparing,
            closed: false,
            recorded: false,
            frozen: false,
            position: GtidState::default(),
            until: self.now + ANSWER,
            began: self.now,
            asked_by_peer,
            active,
        });
        let planned = cause != Cause::Check;
        self.tell(Why::new(Code::SwitchoverStarted, format!("handing over to the peer: {text}")));
        self.send(PeerMessage::Switchover(Switchover::Prepare { operation, epoch: next_epoch, planned }));
    }

    pub(super) fn handover_rules(&mut self) {
        let Phase::HandingOver(over) = &self.phase else { return };
        let (late, past, cause) = (self.now >= over.until, over.past_no_return(), over.cause);
        if past {
            let next = over.next_epoch;
            if self.peer.released.as_ref().is_some_and(|released| released.epoch >= next) {
                self.handed_over(
                    "the peer could not open and closed again: whoever can serve takes over",
                    false,
                );
            } else if late {
                self.handed_over(
                    "the peer did not say that it serves; it may: this side stays standby",
                    false,
                );
            }
            return;
        }
        if let Some((cause, text)) = self.must_step_down().filter(|_| !self.handover_closing()) {
            // The peer must not go on waiting for a release that this switchover will never bring.
            if let Phase::HandingOver(over) = &self.phase {
                let operation = over.operation;
                self.send(PeerMessage::Switchover(Switchover::Abort { operation }));
            }
            self.answer_switchover(false, &text);
            self.step_down(cause, text);
        } else if !self.contact() {
            self.call_off_handover("the peer is silent");
        } else if late {
            self.call_off_handover("the peer did not answer in time");
        } else if cause == Cause::Check && self.reason_to_give_up().is_none() && !self.handover_closing() {
            self.call_off_handover("the check passes again");
        }
    }

    fn handover_closing(&self) -> bool {
        matches!(&self.phase, Phase::HandingOver(over) if over.stage == Stage::Sealing)
    }

    pub(super) fn handed_over_to(&self, epoch: Epoch) -> bool {
        matches!(&self.phase, Phase::HandingOver(over) if over.past_no_return() && epoch >= over.next_epoch)
    }

    pub(super) fn thaw_if_frozen(&mut self) {
        if let Phase::HandingOver(over) = &self.phase
            && over.frozen
        {
            self.start(
                Step::Database(DatabaseStep::Thaw),
                Duration::from_secs(2),
                Purpose::Undo(Lane::Database),
            );
        }
    }

    /// A handover that ends with the activity itself: the peer must not wait for its next part.
    pub(super) fn abort_handover(&mut self) {
        if let Phase::HandingOver(over) = &self.phase {
            let operation = over.operation;
            self.send(PeerMessage::Switchover(Switchover::Abort { operation }));
        }
    }

    /// Before the point of no return everything is undone.
    fn call_off_handover(&mut self, because: &str) {
        let Phase::HandingOver(over) = &mut self.phase else { return };
        let (operation, stage) = (over.operation, over.stage);
        let active = std::mem::take(&mut over.active);
        self.send(PeerMessage::Switchover(Switchover::Abort { operation }));
        self.answer_switchover(false, because);
        self.retry_at = self.now + Duration::from_secs(1);
        let text = format!("the handover is called off, this node goes on: {because}");
        self.tell(Why::new(Code::SwitchoverCalledOff, text).resolved_by("apctl switchover --dry-run"));
        self.thaw_if_frozen();
        if stage == Stage::Sealing {
            // Gate and database are on their way down: all the way down, then up again by an ordinary takeover;
            // alone if the peer is gone, to whom nothing was released yet.
            self.durable.handed_over = None;
            if !self.contact() && self.may_go_solo() {
                self.durable.solo = Some(self.durable.epoch);
            }
            self.persist(Purpose::Record);
            self.step_down(Cause::TakeoverFailed, because.to_owned());
        } else {
            self.phase = Phase::Active(active);
            self.act(super::action::Action::WatchDatabase { heartbeat_epoch: Some(self.durable.epoch) });
        }
    }

    pub(super) fn on_switchover(&mut self, part: Switchover) {
        match part {
            Switchover::Request { operation, reason } => self.on_request(operation, reason),
            Switchover::Answered { operation, ok, text } => self.on_answered(operation, ok, text),
            Switchover::Prepare { operation, epoch, planned } => self.on_prepare(operation, epoch, planned),
            Switchover::Ready { operation, refused } => self.on_ready(operation, refused),
            Switchover::Reach { operation, position } => self.on_reach(operation, position),
            Switchover::Reached { operation, ok } => self.on_peer_reached(operation, ok),
            Switchover::Abort { operation } => self.on_abort(operation),
            Switchover::Opened { operation, epoch, position } => self.on_opened(operation, epoch, &position),
        }
    }

    /// The standby's operator asks.
    fn on_request(&mut self, operation: u64, reason: String) {
        let refused = if !matches!(self.phase, Phase::Active(_)) {
            Some("the peer is not active".to_owned())
        } else if !self.peer_can_serve() {
            Some(self.why_peer_cannot_serve())
        } else {
            None
        };
        match refused {
            Some(text) => {
                self.send(PeerMessage::Switchover(Switchover::Answered { operation, ok: false, text }));
            }
            None => self.begin_handover(Cause::Operator, reason, Some(operation)),
        }
    }

    fn on_answered(&mut self, operation: u64, ok: bool, text: String) {
        if let Some(id) = self.requests.remove(&operation) {
            let answer = if ok { Answer::Done(text) } else { Answer::Failed(text) };
            self.act(super::action::Action::Answer { id, answer });
        }
    }

    // ---- new side ----

    fn on_prepare(&mut self, operation: u64, epoch: Epoch, planned: bool) {
        let current = epoch == self.durable.epoch.next_for(self.settings.me);
        let refused = if !matches!(self.phase, Phase::Standby) {
            Some("it is not a standby".to_owned())
        } else if !current {
            Some(format!("it knows epoch {}, which does not lead to {epoch}", self.durable.epoch))
        } else {
            let unfit = self.unfit_for_standby();
            (!unfit.is_empty()).then(|| unfit.join("; "))
        };
        if refused.is_none() {
            let until = self.now + ANSWER + PAUSE;
            self.phase = Phase::Receiving(Receiving { operation, planned, reached: false, until });
        }
        self.send(PeerMessage::Switchover(Switchover::Ready { operation, refused }));
    }

    fn on_reach(&mut self, operation: u64, position: GtidState) {
        if !matches!(&self.phase, Phase::Receiving(receiving) if receiving.operation == operation) {
            return;
        }
        let step = Step::Database(DatabaseStep::WaitFor { position });
        self.start(step, PAUSE / 2, Purpose::Reach(operation));
    }

    pub(super) fn on_reached(&mut self, operation: u64, result: &StepResult) {
        let ok = matches!(result, StepResult::Ok(_));
        let Phase::Receiving(receiving) = &mut self.phase else { return };
        if receiving.operation == operation {
            receiving.reached = ok;
            self.send(PeerMessage::Switchover(Switchover::Reached { operation, ok }));
        }
    }

    fn on_abort(&mut self, operation: u64) {
        if matches!(&self.phase, Phase::Receiving(receiving) if receiving.operation == operation) {
            self.phase = Phase::Standby;
            let why = Why::new(Code::SwitchoverCalledOff, "the active called the switchover off");
            self.tell(why.weighing(Severity::Info));
        }
    }

    pub(super) fn receiving_rules(&mut self) {
        let Phase::Receiving(receiving) = &self.phase else { return };
        if self.now >= receiving.until || !self.contact() || self.mode.mode != Mode::Ap {
            self.phase = Phase::Standby;
            let text = "the active did not go on with the switchover";
            self.tell(Why::new(Code::SwitchoverCalledOff, text).weighing(Severity::Warning));
        }
    }

    /// The old side's gate is closed, its server sealed: the right is here.
    pub(super) fn on_handed_over_here(&mut self, operation: u64, released: &Released) {
        let Phase::Receiving(receiving) = &self.phase else { return };
        if receiving.operation != operation || !receiving.reached || !released.read_only {
            return;
        }
        let kind = if receiving.planned { TakeoverKind::Planned } else { TakeoverKind::Handover };
        self.take_over(kind, Right::Released, Default::default(), Some(operation));
    }

    pub(super) fn tell_opened(&mut self, operation: u64, epoch: Epoch) {
        let position = self.database.report.gtid.clone();
        self.send(PeerMessage::Switchover(Switchover::Opened { operation, epoch, position }));
    }

    // ---- old side ----

    fn over(&mut self, operation: u64, stage: Stage) -> Option<&mut HandingOver> {
        match &mut self.phase {
            Phase::HandingOver(over) if over.operation == operation && over.stage == stage => Some(over),
            _ => None,
        }
    }

    fn on_ready(&mut self, operation: u64, refused: Option<String>) {
        let now = self.now;
        let Some(over) = self.over(operation, Stage::Preparing) else { return };
        if let Some(text) = refused {
            self.call_off_handover(&format!("the peer refuses: {text}"));
            return;
        }
        over.stage = Stage::Freezing;
        over.frozen = true;
        over.until = now + PAUSE + Duration::from_secs(8);
        // Our own heartbeat rows must not wait behind the freeze and move the position after it.
        self.act(super::action::Action::WatchDatabase { heartbeat_epoch: None });
        let step = Step::Database(DatabaseStep::Freeze);
        self.start(step, Duration::from_secs(8), Purpose::HandOver(operation, HandOverStep::Freeze));
    }

    fn on_peer_reached(&mut self, operation: u64, ok: bool) {
        let Some(over) = self.over(operation, Stage::Reaching) else { return };
        if !ok {
            self.call_off_handover("the peer did not reach the position in time");
            return;
        }
        over.stage = Stage::Sealing;
        let next = over.next_epoch;
        // From here a crash leaves a standby of the next epoch, never a second writer.
        self.durable.handed_over = Some(next);
        self.persist(Purpose::HandOver(operation, HandOverStep::Record));
        let close = Step::Address(AddressStep::Close);
        self.start(close, Duration::from_secs(1), Purpose::HandOver(operation, HandOverStep::Close));
    }

    pub(super) fn on_handover_step(&mut self, operation: u64, step: HandOverStep, result: StepResult) {
        let now = self.now;
        let Phase::HandingOver(over) = &mut self.phase else { return };
        if over.operation != operation {
            return;
        }
        let output = match outcome(result) {
            Ok(output) => output,
            Err(_) if step == HandOverStep::Thaw => return,
            Err(text) => {
                self.call_off_handover(&format!("{step:?}: {text}"));
                return;
            }
        };
        match (step, output) {
            (HandOverStep::Freeze, StepOutput::Position(position)) => {
                over.stage = Stage::Reaching;
                over.position = position.clone();
                over.until = now + PAUSE;
                self.send(PeerMessage::Switchover(Switchover::Reach { operation, position }));
            }
            (HandOverStep::Record, _) => {
                over.recorded = true;
                self.seal_when_closed();
            }
            (HandOverStep::Close, _) => {
                over.closed = true;
                self.gate.state.open = false;
                self.gate.state.address_held = false;
                self.act(super::action::Action::StopAnnouncing);
                self.seal_when_closed();
            }
            (HandOverStep::Seal, StepOutput::Position(position)) => self.release(&position),
            _ => {}
        }
    }

    fn seal_when_closed(&mut self) {
        let Phase::HandingOver(over) = &self.phase else { return };
        if over.closed && over.recorded {
            let operation = over.operation;
            let step = Step::Database(DatabaseStep::Seal);
            self.start(step, Duration::from_secs(2), Purpose::HandOver(operation, HandOverStep::Seal));
        }
    }

    /// The point of no return.
    fn release(&mut self, sealed_at: &GtidState) {
        let Phase::HandingOver(over) = &mut self.phase else { return };
        over.frozen = false;
        if *sealed_at != over.position {
            let text = format!("the position moved from {} to {sealed_at} under the freeze", over.position);
            self.call_off_handover(&text);
            return;
        }
        over.stage = Stage::Released;
        over.until = self.now + ANSWER;
        let (operation, cause) = (over.operation, over.cause);
        self.database.report.writable = false;
        self.lease.forget();
        self.act(super::action::Action::SendAdvert { priority: 0 });
        self.send(PeerMessage::Released(Released {
            epoch: self.durable.epoch,
            operation: Some(operation),
            read_only: true,
            tail: false,
            reason: cause.code().into(),
        }));
    }

    fn on_opened(&mut self, operation: u64, epoch: Epoch, _position: &GtidState) {
        if self.over(operation, Stage::Released).is_none() {
            return;
        }
        self.durable.epoch = self.durable.epoch.max(epoch);
        self.handed_over(&format!("the peer serves in epoch {epoch}"), true);
    }

    /// This side is standby of the next epoch, whatever the other side says.
    fn handed_over(&mut self, text: &str, confirmed: bool) {
        let Phase::HandingOver(over) = &self.phase else { return };
        let (cause, next, took) = (over.cause, over.next_epoch, self.now.since(over.began).as_millis());
        self.answer_switchover(confirmed, &format!("{text}; {took} ms"));
        self.durable.epoch = self.durable.epoch.max(next);
        self.durable.handed_over = Some(self.durable.epoch);
        self.durable.solo = None;
        self.follow.reset();
        if confirmed && cause == Cause::Check {
            self.enter_maintenance_as_loser(self.durable.epoch);
        }
        self.persist(Purpose::Record);
        self.tell(Why::new(Code::SwitchoverDone, format!("handed over: {text}")));
        if self.stopping.is_some() {
            self.phase = Phase::Stopped;
            self.exit();
        } else if self.mode.mode == Mode::Maintenance {
            self.phase = Phase::Out;
        } else {
            self.phase = Phase::Standby;
        }
    }

    /// Tells whoever asked for the switchover how it ended.
    fn answer_switchover(&mut self, ok: bool, text: &str) {
        let asked_by_peer = match &self.phase {
            Phase::HandingOver(over) => over.asked_by_peer,
            _ => None,
        };
        if let Some(operation) = asked_by_peer {
            let text = text.to_owned();
            self.send(PeerMessage::Switchover(Switchover::Answered { operation, ok, text }));
        }
        self.answer_waiting_switchover(ok, text);
    }

    /// One line: what keeps the peer from serving.
    pub(super) fn why_peer_cannot_serve(&self) -> String {
        let Some(facts) = self.fresh_facts() else { return "the peer is not reachable".into() };
        if facts.mode != Mode::Ap {
            format!("the peer's mode is {}", facts.mode)
        } else if !facts.fit {
            format!("the peer is not fit: {}", facts.why)
        } else if !facts.replica_running {
            "the peer's replica does not run".into()
        } else if facts.eligible != Some(self.durable.epoch) {
            "the peer is not caught up yet".into()
        } else {
            "the peer can serve".into()
        }
    }
}
