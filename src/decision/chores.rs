//! What a new active does when clients are already served: off the critical path, in order.

use super::action::{Action, AddressStep, DatabaseStep, Lane, RecordStep, Step, StepResult, Ticket};
use super::code::Code;
use super::node::{GateView, Node};
use super::phase::{Phase, Purpose, outcome};
use super::time::Instant;
use super::why::Why;
use super::words::Mode;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Serving.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Active {
    /// Off the critical path, in order.
    pub(super) chores: VecDeque<Chore>,
    pub(super) chore_running: bool,
    /// The solo record is on disk.
    pub(super) solo_recorded: bool,
    pub(super) solo_recording: bool,
    /// A repair of the database's role is under way.
    pub(super) repairing: bool,
    /// Since when the standby's replica stands still.
    pub(super) peer_stopped_since: Option<super::time::Instant>,
    /// The run of the server in which it was last seen to take writes.
    pub(super) wrote_in_run: Option<u64>,
}

/// What a new active does after clients are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Chore {
    ForgetPrimary,
    LiftCut,
    Standalone(String),
}

impl GateView {
    /// What the gate process is told to do with the stream.
    pub(super) fn note_start(&mut self, step: &Step, ticket: Ticket, now: Instant) {
        match step {
            Step::Address(AddressStep::CutStream) => self.state.stream_cut = true,
            Step::Address(AddressStep::LiftCut) => {
                self.lifting = Some(ticket);
                self.lifted_at = now;
            }
            _ => {}
        }
    }

    /// A lifting that ended well.
    pub(super) fn note_end(&mut self, ticket: Ticket, result: &StepResult) {
        if self.lifting == Some(ticket) {
            self.lifting = None;
            self.state.stream_cut &= !matches!(result, StepResult::Ok(_));
        }
    }
}

impl Node {
    /// A cut that a crash or a failed step left behind would keep the pair from replicating for ever.
    pub(super) fn lift_leftover_cut(&mut self) {
        let idle = match self.phase.now() {
            Phase::Active(active) => active.chores.is_empty() && !active.chore_running,
            Phase::Standby | Phase::Out => true,
            _ => false,
        };
        let due = self.gate.lifting.is_none() && self.now >= self.gate.lifted_at + Duration::from_secs(1);
        if idle && due && self.gate.connected && self.gate.state.stream_cut {
            let lift = Step::Address(AddressStep::LiftCut);
            self.start(lift, Duration::from_secs(1), Purpose::Undo(Lane::Address));
        }
    }

    /// This run found the gate open under a living lease of its own.
    pub(super) fn become_active_again(&mut self) -> Phase {
        let epoch = self.durable.epoch;
        // The acknowledgements of the run before count as heard until now.
        self.lease.last_acknowledged = self.now;
        self.act(Action::Announce);
        self.act(Action::WatchDatabase { heartbeat_epoch: Some(epoch) });
        Phase::Active(Active { solo_recorded: self.durable.solo == Some(epoch), ..Active::default() })
    }

    /// The next thing off the critical path.
    pub(super) fn chore_rules(&mut self) {
        let Phase::Active(active) = self.phase.within() else { return };
        if active.chore_running {
            return;
        }
        let Some(chore) = active.chores.pop_front() else { return };
        active.chore_running = true;
        match chore {
            Chore::ForgetPrimary => {
                let step = Step::Database(DatabaseStep::ForgetPrimary);
                self.start(step, Duration::from_secs(10), Purpose::Chore(Lane::Database));
            }
            Chore::LiftCut => {
                let step = Step::Address(AddressStep::LiftCut);
                self.start(step, Duration::from_secs(1), Purpose::Chore(Lane::Address));
            }
            Chore::Standalone(reason) => {
                self.mode_is(Mode::Standalone, "apd", &reason);
                let step = RecordStep::SetMode { mode: Mode::Standalone, actor: "apd".into(), reason };
                self.start(Step::Record(step), Duration::from_secs(2), Purpose::Chore(Lane::Record));
            }
        }
    }

    pub(super) fn on_chore(&mut self, lane: Lane, result: StepResult) {
        if lane == Lane::Database && matches!(result, StepResult::Ok(_)) {
            // The next probe says so too; until then the old one must not look like a role to be put right.
            self.database.report.replica = None;
        }
        if let Phase::Active(active) = self.phase.within() {
            active.chore_running = false;
        }
        if lane == Lane::Record {
            self.on_mode_recorded(&result);
        }
        if let Err(text) = outcome(result) {
            self.tell(Why::new(Code::TakeoverChore, format!("after the takeover: {text}")));
        }
    }
}
