//! A planned swap: zero loss, and abortable up to its point of no return (DESIGN.md section 4, "Switchover").
//!
//! Old active: Prepare, freeze, Reach, seal (intent on disk, gate closed, sessions killed, read-only verified),
//! Released: the point of no return. New active: Ready, Reached, then the steps of a takeover.

use super::action::{AddressStep, Answer, DatabaseStep, Lane, Step, StepOutput, StepResult};
use super::chores::Active;
use super::gtid::GtidState;
use super::node::Node;
use super::peer::{PeerMessage, Released, Switchover};
use super::phase::{Cause, Phase, Purpose, outcome};
use super::table::{Matter, Request};
use super::time::Instant;
use super::words::Epoch;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long the peer may take to answer `Prepare`, and to open after the release.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long writers may be paused before a handover is called off.
pub(super) const PAUSE: Duration = Duration::from_secs(2);

const SILENT: &str = "the peer is silent";
const NO_ANSWER: &str = "the peer did not answer in time";
const SERVICES_LATE: &str = "what runs on the active alone did not stop in time";

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

    /// What goes on beside the handover, and after one that is called off.
    pub(super) const fn active(&mut self) -> &mut Active {
        &mut self.active
    }

    /// It waits for what runs on the active alone to stop.
    pub(super) const fn is_resting(&self) -> bool {
        matches!(self.stage, Stage::Resting)
    }

    /// What runs on the active alone rests, or shall.
    pub(super) const fn services_rest(&self) -> bool {
        !matches!(self.stage, Stage::Preparing)
    }

    /// The peer may be open: this side never opens again in its epoch.
    pub(super) const fn past_no_return(&self) -> bool {
        matches!(self.stage, Stage::Released)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Preparing,
    /// What runs on the active alone is being stopped.
    Resting,
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

impl Node {
    /// Begins to hand over to a peer that can serve.
    pub(super) fn begin_handover(&mut self, cause: Cause, text: String, asked_by_peer: Option<u64>) -> Phase {
        let active = match self.phase.within() {
            Phase::Active(active) => std::mem::take(active),
            _ => Active::default(),
        };
        let operation = self.next_operation();
        let next_epoch = self.durable.epoch.next_for(self.peer_id());
        let planned = cause != Cause::Check;
        self.say(format!("handing over to the peer: {text}"));
        self.send(PeerMessage::Switchover(Switchover::Prepare { operation, epoch: next_epoch, planned }));
        Phase::HandingOver(HandingOver {
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
        })
    }

    /// An operator asked, on this node or on the peer.
    pub(super) fn hand_over_as_asked(&mut self) -> Phase {
        let request = self.take_request();
        self.begin_handover(Cause::Operator, request.reason, request.operation)
    }

    pub(super) fn take_request(&mut self) -> Request {
        match std::mem::take(&mut self.course.matter) {
            Matter::Request(request) => request,
            _ => Request::default(),
        }
    }

    pub(super) fn switchover_is_late(&self) -> bool {
        match self.phase.now() {
            Phase::HandingOver(over) if over.past_no_return() && self.peer_is_on_its_way() => {
                self.now >= over.until + self.services_in_switchover().1
            }
            Phase::HandingOver(over) => self.now >= over.until,
            Phase::Receiving(receiving) => self.now >= receiving.until,
            _ => false,
        }
    }

    pub(super) const fn handover_is_released(&self) -> bool {
        matches!(self.phase.now(), Phase::HandingOver(over) if over.past_no_return())
    }

    pub(super) fn peer_released_next(&self) -> bool {
        let Phase::HandingOver(over) = self.phase.now() else { return false };
        self.peer.released.as_ref().is_some_and(|released| released.epoch >= over.next_epoch)
    }

    /// A check caused it, and passes again.
    pub(super) fn handover_is_needless(&self) -> bool {
        let Phase::HandingOver(over) = self.phase.now() else { return false };
        // A service that was stopped for the handover answers no check.
        let stopped = over.services_rest() && self.services.of_role().next().is_some();
        over.cause == Cause::Check && !stopped && self.reason_to_give_up().is_none()
    }

    pub(super) fn stand_by_after_peer_closed(&mut self) -> Phase {
        self.handed_over("the peer could not open and closed again: whoever can serve takes over", false)
    }

    pub(super) fn stand_by_after_silence(&mut self) -> Phase {
        self.handed_over("the peer did not say that it serves; it may: this side stays standby", false)
    }

    pub(super) fn follow_opened_peer(&mut self) -> Phase {
        let epoch = match self.course.matter {
            Matter::Opened(epoch) => epoch,
            _ => self.durable.epoch,
        };
        self.handed_over(&format!("the peer serves in epoch {epoch}"), true)
    }

    pub(super) const fn handover_closing(&self) -> bool {
        matches!(self.phase.now(), Phase::HandingOver(over) if matches!(over.stage, Stage::Sealing))
    }

    pub(super) fn handed_over_to(&self, epoch: Epoch) -> bool {
        matches!(self.phase.now(), Phase::HandingOver(over) if over.past_no_return() && epoch >= over.next_epoch)
    }

    pub(super) fn thaw_if_frozen(&mut self) {
        if let Phase::HandingOver(over) = self.phase.now()
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
        if let Phase::HandingOver(over) = self.phase.now() {
            let operation = over.operation;
            self.send(PeerMessage::Switchover(Switchover::Abort { operation }));
        }
    }

    /// Before the point of no return everything is undone.
    fn undo_handover(&mut self, because: &str) -> Active {
        let Phase::HandingOver(over) = self.phase.within() else { return Active::default() };
        let (operation, frozen) = (over.operation, over.frozen);
        let mut active = std::mem::take(&mut over.active);
        self.send(PeerMessage::Switchover(Switchover::Abort { operation }));
        self.answer_switchover(false, because);
        self.retry_at = self.now + Duration::from_secs(1);
        let why = self.why_of_row(format!("the handover is called off, this node goes on: {because}"));
        self.tell(why.resolved_by("apctl switchover --dry-run"));
        if frozen {
            active.pause = self.thaw();
        }
        active
    }

    fn call_off_handover(&mut self, because: &str) -> Phase {
        let active = self.undo_handover(because);
        self.act(super::action::Action::WatchDatabase { heartbeat_epoch: Some(self.durable.epoch) });
        Phase::Active(active)
    }

    /// Gate and database are on their way down: all the way down, then up again by an ordinary takeover; alone if
    /// the peer is gone, to whom nothing was released yet.
    fn break_off_handover(&mut self, because: &str) -> Phase {
        let _ = self.undo_handover(because);
        self.durable.handed_over = None;
        if !self.contact() && self.may_go_solo() {
            self.go_solo();
        }
        self.persist(Purpose::Record);
        self.step_down(Cause::TakeoverFailed, because.to_owned())
    }

    fn take_failure(&mut self) -> String {
        match std::mem::take(&mut self.course.matter) {
            Matter::HandoverFailed(text) => text,
            other => format!("{other:?}"),
        }
    }

    pub(super) fn call_off_for_failure(&mut self) -> Phase {
        let because = self.take_failure();
        self.call_off_handover(&because)
    }

    pub(super) fn break_off_for_failure(&mut self) -> Phase {
        let because = self.take_failure();
        self.break_off_handover(&because)
    }

    pub(super) fn call_off_in_silence(&mut self) -> Phase {
        self.call_off_handover(SILENT)
    }

    pub(super) fn break_off_in_silence(&mut self) -> Phase {
        self.break_off_handover(SILENT)
    }

    const fn late_text(&self) -> &'static str {
        match self.phase.now() {
            Phase::HandingOver(over) if over.is_resting() => SERVICES_LATE,
            _ => NO_ANSWER,
        }
    }

    pub(super) fn call_off_late(&mut self) -> Phase {
        self.call_off_handover(self.late_text())
    }

    pub(super) fn break_off_late(&mut self) -> Phase {
        self.break_off_handover(NO_ANSWER)
    }

    pub(super) fn call_off_well_again(&mut self) -> Phase {
        self.call_off_handover("the check passes again")
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
        let refused = if !matches!(self.phase.now(), Phase::Active(_)) {
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
            None => {
                let request = Request { operation: Some(operation), reason, ..Request::default() };
                self.consider(Matter::Request(request));
            }
        }
    }

    fn on_answered(&mut self, operation: u64, ok: bool, text: String) {
        if let Some(id) = self.requests.remove(&operation) {
            let answer = if ok { Answer::Done(text) } else { Answer::Failed(text) };
            self.act(super::action::Action::Answer { id, answer });
        }
    }

    fn over(&mut self, operation: u64, stage: Stage) -> Option<&mut HandingOver> {
        match self.phase.within() {
            Phase::HandingOver(over) if over.operation == operation && over.stage == stage => Some(over),
            _ => None,
        }
    }

    fn on_ready(&mut self, operation: u64, refused: Option<String>) {
        if self.over(operation, Stage::Preparing).is_none() {
            return;
        }
        if let Some(text) = refused {
            self.consider(Matter::HandoverFailed(format!("the peer refuses: {text}")));
            return;
        }
        self.rest_or_freeze();
    }

    pub(super) fn begin_resting(&mut self, until: Instant) {
        let Phase::HandingOver(over) = self.phase.within() else { return };
        over.stage = Stage::Resting;
        over.until = until;
        self.service_rules();
    }

    pub(super) fn begin_freeze(&mut self) {
        let now = self.now;
        let Phase::HandingOver(over) = self.phase.within() else { return };
        let operation = over.operation;
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
            self.consider(Matter::HandoverFailed("the peer does not reach the position".into()));
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
        let Phase::HandingOver(over) = self.phase.within() else { return };
        if over.operation != operation {
            return;
        }
        let output = match outcome(result) {
            Ok(output) => output,
            Err(_) if step == HandOverStep::Thaw => return,
            Err(text) => {
                self.consider(Matter::HandoverFailed(format!("{step:?}: {text}")));
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
        let Phase::HandingOver(over) = self.phase.now() else { return };
        if over.closed && over.recorded {
            let operation = over.operation;
            let step = Step::Database(DatabaseStep::Seal);
            self.start(step, Duration::from_secs(2), Purpose::HandOver(operation, HandOverStep::Seal));
        }
    }

    /// The point of no return.
    fn release(&mut self, sealed_at: &GtidState) {
        let Phase::HandingOver(over) = self.phase.within() else { return };
        over.frozen = false;
        if *sealed_at != over.position {
            let text = format!("the position moved from {} to {sealed_at} under the freeze", over.position);
            self.consider(Matter::HandoverFailed(text));
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
        self.consider(Matter::Opened(epoch));
    }

    /// This side is standby of the next epoch, whatever the other side says.
    fn handed_over(&mut self, text: &str, confirmed: bool) -> Phase {
        let (cause, next, took) = match self.phase.now() {
            Phase::HandingOver(over) => (over.cause, over.next_epoch, self.now.since(over.began).as_millis()),
            _ => (Cause::HandedOver, self.durable.epoch, 0),
        };
        self.answer_switchover(confirmed, &format!("{text}; {took} ms"));
        self.durable.epoch = self.durable.epoch.max(next);
        self.durable.handed_over = Some(self.durable.epoch);
        self.durable.solo = None;
        self.follow.reset();
        if confirmed && cause == Cause::Check {
            self.enter_maintenance_as_loser(self.durable.epoch);
        }
        self.persist(Purpose::Record);
        self.say(format!("handed over: {text}"));
        Phase::Standby
    }

    /// Tells whoever asked for the switchover how it ended.
    pub(super) fn answer_switchover(&mut self, ok: bool, text: &str) {
        let asked_by_peer = match self.phase.now() {
            Phase::HandingOver(over) => over.asked_by_peer,
            _ => None,
        };
        if let Some(operation) = asked_by_peer {
            let text = text.to_owned();
            self.send(PeerMessage::Switchover(Switchover::Answered { operation, ok, text }));
        }
        self.answer_waiting_switchover(ok, text);
    }
}
