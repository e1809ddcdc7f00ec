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

/// How long a stop waits for what follows a takeover.
const STOP_WAIT: Duration = Duration::from_secs(3);

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
    /// A handover was called off, and commits do not go on yet.
    pub(super) pause: Pause,
    /// Since when the standby's replica stands still.
    pub(super) peer_stopped_since: Option<super::time::Instant>,
    /// The run of the server in which it was last seen to take writes.
    pub(super) wrote_in_run: Option<u64>,
}

/// What a handover that was called off may leave behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum Pause {
    /// Commits go on.
    #[default]
    Over,
    /// They are told to.
    Thawing,
    /// They were told to, and that did not end well: told again then.
    Again(Instant),
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
        self.begin_service_of_role();
        self.act(Action::Announce);
        self.act(Action::WatchDatabase { heartbeat_epoch: Some(epoch) });
        Phase::Active(Active { solo_recorded: self.durable.solo == Some(epoch), ..Active::default() })
    }

    /// What a node that serves has under way; a step that ends within a handover ends for the activity all the same.
    pub(super) fn activity(&mut self) -> Option<&mut Active> {
        match self.phase.within() {
            Phase::Active(active) => Some(active),
            Phase::HandingOver(over) => Some(over.active()),
            _ => None,
        }
    }

    /// Clients must not wait for ever because one order to go on was lost.
    pub(super) fn thaw(&mut self) -> Pause {
        self.start(Step::Database(DatabaseStep::Thaw), Duration::from_secs(2), Purpose::Thaw);
        Pause::Thawing
    }

    pub(super) fn thaw_again(&mut self) {
        let Phase::Active(active) = self.phase.now() else { return };
        if matches!(active.pause, Pause::Again(at) if self.now >= at) {
            let pause = self.thaw();
            self.set_pause(pause);
        }
    }

    pub(super) fn on_thawed(&mut self, result: StepResult) {
        if self.activity().is_none() {
            return;
        }
        match outcome(result) {
            Ok(_) => {
                self.set_pause(Pause::Over);
                self.untell("thaw");
            }
            Err(text) => {
                self.set_pause(Pause::Again(self.now + Duration::from_millis(200)));
                let text =
                    format!("commits may still pause after the handover: Thaw: {text}; told again to go on");
                self.tell_once("thaw", Why::new(Code::SwitchoverCalledOff, text));
            }
        }
    }

    fn set_pause(&mut self, pause: Pause) {
        if let Some(active) = self.activity() {
            active.pause = pause;
        }
    }

    /// Clients are served from here on.
    pub(super) fn serve(&mut self) -> Phase {
        let (failover, epoch, operation, began) = match self.phase.now() {
            Phase::TakingOver(takeover) => {
                let failover = takeover.is_failover(self.peer_id());
                (failover, takeover.epoch, takeover.operation, takeover.began)
            }
            _ => (true, self.durable.epoch, None, self.now),
        };
        let took = self.now.since(began).as_millis();
        let mut chores = VecDeque::from([Chore::ForgetPrimary, Chore::LiftCut]);
        if failover && self.mode.mode != Mode::Standalone {
            chores.push_front(Chore::Standalone(format!("took over into epoch {epoch}")));
        }
        let solo_recorded = self.durable.solo == Some(epoch);
        self.failures = 0;
        self.durable.eligible = None;
        self.begin_service_of_role();
        self.peer.released = None;
        self.follow.reset();
        self.act(Action::Announce);
        self.act(Action::WatchDatabase { heartbeat_epoch: Some(epoch) });
        self.next_advert = self.now;
        self.next_heartbeat = self.now;
        self.say(format!("active in epoch {epoch}, {took} ms after the right"));
        if let Some(operation) = operation {
            self.tell_opened(operation, epoch);
        }
        Phase::Active(Active { chores, solo_recorded, ..Active::default() })
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

    /// The old primary is not forgotten yet, or the mode not written: who stops now leaves a server that still takes
    /// what an older active sends. A stop does not wait for it for ever.
    pub(super) fn takeover_is_unfinished(&self) -> bool {
        let Phase::Active(active) = self.phase.now() else { return false };
        let asked = self.stopping.unwrap_or(self.now);
        (active.chore_running || !active.chores.is_empty()) && self.now < asked + STOP_WAIT
    }

    pub(super) fn on_chore(&mut self, lane: Lane, result: StepResult) {
        if lane == Lane::Database && matches!(result, StepResult::Ok(_)) {
            // The next probe says so too; until then the old one must not look like a role to be put right.
            self.database.report.replica = None;
        }
        if let Some(active) = self.activity() {
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
