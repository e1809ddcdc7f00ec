//! The new side of a switchover, up to the old active's release (`switchover` is the old side).

use super::action::{DatabaseStep, Step, StepResult};
use super::gtid::GtidState;
use super::node::Node;
use super::peer::{PeerMessage, Released, Switchover};
use super::phase::{Phase, Purpose};
use super::switchover::{ANSWER, PAUSE};
use super::table::{Matter, Request};
use super::takeover::{Right, TakeoverKind};
use super::time::Instant;
use super::why::Severity;
use super::words::Epoch;
use serde::{Deserialize, Serialize};

/// The new side, up to the release.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Receiving {
    operation: u64,
    planned: bool,
    reached: bool,
    pub(super) until: Instant,
}

impl Node {
    pub(super) fn on_prepare(&mut self, operation: u64, epoch: Epoch, planned: bool) {
        let current = epoch == self.durable.epoch.next_for(self.settings.me);
        let refused = if !matches!(self.phase.now(), Phase::Standby) {
            Some("it is not a standby".to_owned())
        } else if !current {
            Some(format!("it knows epoch {}, which does not lead to {epoch}", self.durable.epoch))
        } else {
            let unfit = self.unfit_for_standby();
            (!unfit.is_empty()).then(|| unfit.join("; "))
        };
        if refused.is_none() {
            let request = Request { operation: Some(operation), planned, ..Request::default() };
            self.consider(Matter::Request(request));
        }
        self.send(PeerMessage::Switchover(Switchover::Ready { operation, refused }));
    }

    pub(super) fn on_reach(&mut self, operation: u64, position: GtidState) {
        if !matches!(self.phase.now(), Phase::Receiving(receiving) if receiving.operation == operation) {
            // Not (any more) the new side: commits pause over there, and need not pause until the answer is overdue.
            self.send(PeerMessage::Switchover(Switchover::Reached { operation, ok: false }));
            return;
        }
        let step = Step::Database(DatabaseStep::WaitFor { position });
        self.start(step, PAUSE / 2, Purpose::Reach(operation));
    }

    /// Takes part from here on.
    pub(super) fn receive(&mut self) -> Phase {
        let request = self.take_request();
        let (operation, planned) = (request.operation.unwrap_or_default(), request.planned);
        let until = self.now + ANSWER + PAUSE + self.services_in_switchover().0;
        Phase::Receiving(Receiving { operation, planned, reached: false, until })
    }

    pub(super) fn on_reached(&mut self, operation: u64, result: &StepResult) {
        let ok = matches!(result, StepResult::Ok(_));
        let Phase::Receiving(receiving) = self.phase.within() else { return };
        if receiving.operation == operation {
            receiving.reached = ok;
            self.send(PeerMessage::Switchover(Switchover::Reached { operation, ok }));
        }
    }

    pub(super) fn on_abort(&mut self, operation: u64) {
        if matches!(self.phase.now(), Phase::Receiving(receiving) if receiving.operation == operation) {
            self.consider(Matter::Nothing);
        }
    }

    pub(super) fn hear_abort(&mut self) -> Phase {
        let why = self.why_of_row("the active called the switchover off");
        self.tell(why.weighing(Severity::Info));
        Phase::Standby
    }

    pub(super) fn give_up_receiving(&mut self) -> Phase {
        let why = self.why_of_row("the active did not go on with the switchover");
        self.tell(why.weighing(Severity::Warning));
        Phase::Standby
    }

    /// All that the old active wrote is applied here.
    pub(super) const fn position_is_reached(&self) -> bool {
        matches!(self.phase.now(), Phase::Receiving(receiving) if receiving.reached)
    }

    /// The old side's gate is closed, its server sealed: the right is here.
    pub(super) fn on_handed_over_here(&mut self, operation: u64, released: &Released) {
        let Phase::Receiving(receiving) = self.phase.now() else { return };
        if receiving.operation == operation {
            self.consider(Matter::Released { operation, read_only: released.read_only });
        }
    }

    pub(super) fn take_over_handed(&mut self) -> Phase {
        let (planned, operation) = match self.phase.now() {
            Phase::Receiving(receiving) => (receiving.planned, Some(receiving.operation)),
            _ => (false, None),
        };
        let kind = if planned { TakeoverKind::Planned } else { TakeoverKind::Handover };
        self.take_over(kind, Right::Released, Default::default(), operation)
    }

    pub(super) fn tell_opened(&mut self, operation: u64, epoch: Epoch) {
        let position = self.database.report.gtid.clone();
        self.send(PeerMessage::Switchover(Switchover::Opened { operation, epoch, position }));
    }
}
