//! What must outlive this run, mode and facts: written, and written again until the disk has it.

use super::action::{RecordStep, Step, StepResult};
use super::code::Code;
use super::node::Node;
use super::phase::{Phase, Purpose};
use super::why::Why;
use super::words::Mode;
use std::time::Duration;

/// Before the next try.
const PAUSE: Duration = Duration::from_secs(1);

impl Node {
    /// Obeys a mode from here on; writing the file is apart.
    pub(super) fn mode_is(&mut self, mode: Mode, actor: &str, reason: &str) {
        self.mode.mode = mode;
        self.mode.problem = None;
        self.mode.actor = actor.to_owned();
        self.mode.reason = reason.to_owned();
        self.mode.since = self.now;
        self.mode.nag_at = None;
        self.mode.write_again = None;
        self.mode.left_unwritten = false;
        self.untell("maintenance");
    }

    /// Obeys a mode and writes it to the file.
    pub(super) fn write_mode(&mut self, mode: Mode, actor: &str, reason: &str) {
        let said = self.mode.mode == Mode::Maintenance || self.mode.left_unwritten;
        self.mode_is(mode, actor, reason);
        self.mode.left_unwritten = said && mode != Mode::Maintenance;
        let step = RecordStep::SetMode { mode, actor: actor.to_owned(), reason: reason.to_owned() };
        self.start(Step::Record(step), Duration::from_secs(2), Purpose::Mode);
    }

    pub(super) fn on_recorded(&mut self, result: &StepResult) {
        let done = self.tell_of_disk(result);
        self.persist_again = (!done).then_some(self.now + PAUSE);
    }

    pub(super) fn on_mode_recorded(&mut self, result: &StepResult) {
        let done = self.tell_of_disk(result);
        if self.awaits(&Purpose::Mode) {
            // What became of an older writing says nothing of the mode as it is now.
            return;
        }
        self.mode.write_again = (!done).then_some(self.now + PAUSE);
        self.mode.left_unwritten &= !done;
    }

    /// What an operator said of this node's part holds for this run whether the disk has it or not.
    pub(super) fn on_part_recorded(&mut self, result: &StepResult) {
        self.tell_of_disk(result);
    }

    /// What could not be written is written when the disk takes it: a restart must not find an older mode.
    pub(super) fn write_again(&mut self) {
        if self.mode.write_again.is_some_and(|at| self.now >= at) {
            let (mode, actor, reason) = (self.mode.mode, self.mode.actor.clone(), self.mode.reason.clone());
            self.mode.write_again = None;
            let step = RecordStep::SetMode { mode, actor, reason };
            self.start(Step::Record(step), Duration::from_secs(2), Purpose::Mode);
        }
        if self.persist_again.is_some_and(|at| self.now >= at) {
            self.persist_again = None;
            self.persist(Purpose::Record);
        }
    }

    /// The state file is lost: the ledger of the local server tells of the newest activity that it knows.
    pub(super) fn learn_from_ledger(&mut self) {
        let ledger = self.database.report.ledger;
        // Whoever is on the way up, or serves, does so in an epoch of its own: a newer one ends that by the peer's word.
        let idle = matches!(self.phase.now(), Phase::Stopped | Phase::Out | Phase::Standby);
        if idle && self.state_lost && ledger > self.durable.epoch {
            let text = format!("the state file is lost; the ledger knows epoch {ledger}");
            self.tell(Why::new(Code::StateFromLedger, text));
            self.durable.epoch = ledger;
            self.learnt = Some(ledger);
            self.persist(Purpose::Record);
        }
    }

    /// Says what the disk did; true: it is written.
    fn tell_of_disk(&mut self, result: &StepResult) -> bool {
        let why = match result {
            StepResult::Ok(_) => {
                self.untell("state");
                return true;
            }
            StepResult::Failed(text) => {
                Why::new(Code::StateUnwritable, format!("the state folder cannot be written: {text}"))
            }
            StepResult::TimedOut => {
                Why::new(Code::StateSlow, "the state folder does not take writes in time")
            }
        };
        self.tell_once("state", why);
        false
    }
}
