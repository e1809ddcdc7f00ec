//! Active to anything else, in the order that survives a partition (DESIGN.md section 3).
//!
//! The gate closes first (and takes the address with it); the database is forbidden to write beside it, in its
//! own lane, because a hung server must never pin the address. The peer hears `released` when the closing is
//! confirmed, and only then.

use super::action::{Action, AddressStep, DatabaseStep, Lane, Step, StepResult};
use super::code::Code;
use super::node::Node;
use super::peer::{PeerMessage, Released};
use super::phase::{Cause, Phase, Purpose, outcome};
use super::time::Instant;
use super::why::Why;
use super::words::Epoch;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// On the way down.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SteppingDown {
    pub(super) cause: Cause,
    pub(super) epoch: Epoch,
    closed: bool,
    closing: bool,
    forbidden: bool,
    forbidding: bool,
    tail: bool,
    again_at: Instant,
    began: Instant,
}

impl SteppingDown {
    /// The gate is closed, or the kernel has closed it at lease end.
    pub(super) const fn gate_is_shut(&self) -> bool {
        self.closed
    }
}

/// How long the daemon waits for a database that does not obey before it stops all the same: the gate is
/// closed, and the gate process keeps trying.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

impl Node {
    /// Ends whatever activity there is.
    pub(super) fn step_down(&mut self, cause: Cause, text: String) -> Phase {
        let epoch = match self.phase.now() {
            Phase::TakingOver(takeover) => takeover.epoch,
            _ if self.gate.state.open => self.gate.state.epoch,
            _ => self.durable.epoch,
        };
        let tail = cause == Cause::Database && self.database.report.dead;
        self.thaw_if_frozen();
        self.abort_handover();
        self.act(Action::StopAnnouncing);
        self.act(Action::WatchForLife { on: false });
        self.act(Action::WatchDatabase { heartbeat_epoch: None });
        if self.advertises() {
            self.act(Action::SendAdvert { priority: 0 });
        }
        self.close_gate();
        self.forbid_writes();
        self.tell(Why::new(Code::StepDown, format!("stepping down ({}): {text}", cause.code())));
        Phase::SteppingDown(SteppingDown {
            cause,
            epoch,
            closed: false,
            closing: true,
            forbidden: false,
            forbidding: true,
            tail,
            again_at: self.now,
            began: self.now,
        })
    }

    fn forbid_writes(&mut self) {
        let step = Step::Database(DatabaseStep::ForbidWrites);
        self.start(step, Duration::from_secs(2), Purpose::Forbid);
    }

    pub(super) fn on_closed(&mut self, result: StepResult) {
        let closed = outcome(result);
        let Phase::SteppingDown(down) = self.phase.within() else { return };
        down.closing = false;
        match closed {
            Ok(_) if !down.closed => {
                down.closed = true;
                let released = Released {
                    epoch: down.epoch,
                    operation: None,
                    read_only: down.forbidden,
                    tail: down.tail,
                    reason: down.cause.code().into(),
                };
                self.lease.forget();
                self.send(PeerMessage::Released(released));
                self.next_heartbeat = self.now;
            }
            Ok(_) => {}
            Err(text) => {
                down.again_at = self.now + Duration::from_millis(100);
                let text = format!("the gate could not be closed: {text}; the kernel closes it at lease end");
                self.tell_once("close", Why::new(Code::GateCloseFailed, text));
            }
        }
    }

    pub(super) fn on_forbidden(&mut self, result: StepResult) {
        let forbidden = outcome(result);
        if forbidden.is_ok() {
            self.database.report.writable = false;
        }
        let Phase::SteppingDown(down) = self.phase.within() else {
            self.follow.forbidding = false;
            return;
        };
        down.forbidding = false;
        match forbidden {
            Ok(_) => down.forbidden = true,
            Err(text) => {
                down.again_at = self.now + Duration::from_millis(200);
                let text = format!("the database was not made read-only: {text}");
                self.tell_once("forbid", Why::new(Code::DatabaseNotReadOnly, text));
            }
        }
    }

    /// Closes again, and forbids again, what did not obey.
    pub(super) fn press_on(&mut self) {
        let reachable = self.database.report.reachable;
        let Phase::SteppingDown(down) = self.phase.within() else { return };
        // A gate that the kernel has closed at lease end needs no confirmation by a process that is gone.
        let lapsed = self.now >= self.lease.end.max(down.began) + 2 * self.settings.lease;
        if !down.closed && lapsed && !self.gate.connected {
            down.closed = true;
        }
        let again = self.now >= down.again_at;
        let close_again = !down.closed && !down.closing && again;
        let forbid_again = !down.forbidden && !down.forbidding && again && reachable;
        down.closing |= close_again;
        down.forbidding |= forbid_again;
        if close_again {
            self.close_gate();
        }
        if forbid_again {
            self.forbid_writes();
        }
    }

    /// A dead server takes no writes; what it does when it comes back is the standby's business.
    pub(super) fn database_is_quiet(&self) -> bool {
        let reachable = self.database.report.reachable;
        matches!(self.phase.now(), Phase::SteppingDown(down) if down.forbidden || (!reachable && !down.forbidding))
    }

    /// A stop does not wait for ever.
    pub(super) fn stop_is_due(&self) -> bool {
        matches!(self.phase.now(), Phase::SteppingDown(down) if self.now >= down.began + STOP_PATIENCE)
    }

    /// Down: whatever this node is next, it is from standby.
    pub(super) fn stand_by(&mut self) -> Phase {
        let cause = match self.phase.now() {
            Phase::SteppingDown(down) => down.cause,
            _ => Cause::Operator,
        };
        self.idle_since = self.now;
        self.untell("forbid");
        self.untell("close");
        let lift = Step::Address(AddressStep::LiftCut);
        self.start(lift, Duration::from_secs(1), Purpose::Undo(Lane::Address));
        self.say(format!("not active any more ({})", cause.code()));
        self.follow.reset();
        // The peer may be bidding: what it opens is to be heard of before this node bids.
        self.listen_anew();
        // And it counts from the last sign of this one: whoever stepped down waits for longer than that.
        self.wait.not_before = self.wait.not_before + self.settings.lease;
        Phase::Standby
    }
}
