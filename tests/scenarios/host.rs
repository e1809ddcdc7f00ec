//! One host of a story: what survives a power cut, what the kernel holds, and the daemon if it runs.

use super::recorder::Recorder;
use super::server::{Server, usual};
use super::services::Services;
use apd::decision::action::{
    Action, AddressStep, DatabaseStep, DurableFacts, Lane, RecordStep, RemoteStep, Step, StepOutput,
    StepResult, Ticket,
};
use apd::decision::event::{Event, Found, GateState, ModeReading};
use apd::decision::node::Node;
use apd::decision::service::ServiceStep;
use apd::decision::settings::Settings;
use apd::decision::table::RowNumber;
use apd::decision::time::Instant;
use apd::decision::words::{Epoch, InstanceId, Mode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A step in its lane.
#[derive(Clone, Debug)]
pub struct Queued {
    pub ticket: Ticket,
    pub step: Step,
    pub deadline: Duration,
}

/// One queue of work.
#[derive(Debug, Default)]
pub struct Queue {
    pub running: Option<(Queued, Instant)>,
    pub waiting: VecDeque<Queued>,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub settings: Settings,
    pub powered: bool,
    /// The interface is up inside the host.
    pub interface: bool,
    /// The switch forwards for it; the carrier stays.
    pub reached: bool,
    pub api: bool,
    pub gateway: bool,
    pub server: Server,
    pub services: Services,
    pub gate: GateState,
    pub durable: Option<DurableFacts>,
    /// What an operator said of the node's part since the host booted.
    pub part: Option<bool>,
    pub mode: ModeReading,
    pub node: Option<Node>,
    /// Counts runs, so that what was meant for an earlier one is lost.
    pub run: u64,
    pub lanes: BTreeMap<Lane, Queue>,
    pub heartbeat_epoch: Option<Epoch>,
    pub watching: bool,
    /// Steps that will fail or be slow, by name.
    pub troubles: BTreeMap<String, Trouble>,
    recorder: Recorder,
    /// Rows of the transition table that were carried out.
    pub rows: BTreeSet<RowNumber>,
}

/// What a story has in store for a step.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Fails,
    Takes(Duration),
}

impl Host {
    /// Powered off, with nothing on its disk.
    pub fn new(settings: Settings) -> Self {
        let mode = ModeReading {
            mode: Mode::Ap,
            problem: None,
            interrupted: false,
            actor: "operator root".into(),
            reason: "installed".into(),
        };
        Self {
            name: settings.name.clone(),
            powered: false,
            interface: true,
            reached: true,
            api: true,
            gateway: true,
            server: Server::new(u32::from(settings.me.0)),
            services: Services::new(&settings),
            gate: GateState::default(),
            durable: Some(DurableFacts::default()),
            part: None,
            mode,
            node: None,
            run: 0,
            lanes: BTreeMap::new(),
            heartbeat_epoch: None,
            watching: false,
            troubles: BTreeMap::new(),
            recorder: Recorder::default(),
            rows: BTreeSet::new(),
            settings,
        }
    }

    /// A client could write here now.
    pub fn serves(&self) -> bool {
        let lets_in = self.gate.open && self.gate.address_held;
        self.powered && self.interface && self.reached && lets_in && self.server.writable()
    }

    /// Packets leave and arrive.
    pub fn on_the_network(&self) -> bool {
        self.powered && self.interface && self.reached
    }

    /// The daemon begins a run; what it finds.
    pub fn start_daemon(&mut self) -> Found {
        self.run += 1;
        self.node = Some(Node::new(self.settings.clone()));
        self.lanes.clear();
        self.heartbeat_epoch = None;
        self.watching = false;
        let instance = InstanceId(self.run * 10 + u64::from(self.settings.me.0));
        let (durable, mode) = (self.durable, self.mode.clone());
        Found { instance, durable, mode, gate: self.gate, started: self.part }
    }

    /// One event for the daemon, and what it does about it; recorded, and done again from the recording.
    pub fn tell(&mut self, event: Event, now: Instant) -> Option<Vec<Action>> {
        let node = self.node.as_mut()?;
        self.recorder.event(self.run, node, &event, now);
        node.handle(event, now);
        self.rows.extend(node.fired());
        let actions: Vec<Action> = std::iter::from_fn(|| node.poll_action()).collect();
        self.recorder.actions(&actions);
        Some(actions)
    }

    /// The daemon is gone, however it went. What the kernel holds stays.
    pub fn end_daemon(&mut self) {
        self.run += 1;
        self.node = None;
        self.lanes.clear();
        self.heartbeat_epoch = None;
    }

    /// How long a step takes, and how it ends if the story gave it trouble.
    pub fn duration(&mut self, queued: &Queued, peer_reachable: bool) -> (Duration, Option<StepResult>) {
        let usual = match &queued.step {
            Step::Record(_) => Duration::from_millis(2),
            Step::Address(_) => Duration::from_millis(3),
            Step::Database(step) => usual(step),
            Step::Remote(RemoteStep::Compare | RemoteStep::FetchTail { .. }) => Duration::from_millis(20),
            Step::Remote(_) => Duration::from_millis(4),
            Step::Units(step) => self.services.duration(step),
        };
        match self.troubles.remove(&step_name(&queued.step)) {
            Some(Trouble::Fails) => return (usual, Some(StepResult::Failed("the story says so".into()))),
            Some(Trouble::Takes(long)) if long >= queued.deadline => {
                return (queued.deadline, Some(StepResult::TimedOut));
            }
            Some(Trouble::Takes(long)) => return (long, None),
            None => {}
        }
        let waits_for_server =
            matches!(queued.step, Step::Database(_)) && self.server.life == super::server::Life::Hung;
        let waits_for_peer = matches!(queued.step, Step::Remote(_)) && !peer_reachable;
        if waits_for_server || waits_for_peer {
            return (queued.deadline, Some(StepResult::TimedOut));
        }
        (usual, None)
    }

    /// The effect of a step on what this host alone holds.
    pub fn perform(&mut self, step: &Step, now: Instant) -> StepResult {
        let done = StepResult::Ok(StepOutput::Done);
        match step {
            Step::Record(RecordStep::Persist(facts)) => self.durable = Some(*facts),
            Step::Record(RecordStep::SetMode { mode, actor, reason }) => {
                self.mode.mode = *mode;
                (self.mode.actor, self.mode.reason) = (actor.clone(), reason.clone());
            }
            Step::Record(RecordStep::SetPart { started }) => self.part = Some(*started),
            Step::Address(AddressStep::Open { epoch, lease_end }) => {
                if *lease_end <= now {
                    return StepResult::Failed("the lease is over".into());
                }
                (self.gate.open, self.gate.address_held) = (true, true);
                (self.gate.epoch, self.gate.lease_end) = (*epoch, *lease_end);
            }
            Step::Address(AddressStep::Close) => self.shut(),
            Step::Address(AddressStep::CutStream) => self.gate.stream_cut = true,
            Step::Address(AddressStep::LiftCut) => self.gate.stream_cut = false,
            Step::Database(step) => {
                if self.server.life == super::server::Life::Dead {
                    return StepResult::Failed("the server is gone: connection refused".into());
                }
                return self.server.perform(step);
            }
            Step::Units(step) => return self.perform_service(step),
            Step::Remote(_) => {}
        }
        done
    }

    /// The effect of a step on the services, the server among them.
    fn perform_service(&mut self, step: &ServiceStep) -> StepResult {
        let before = self.services.runs("mariadb");
        let result = self.services.perform(step);
        match (before, self.services.runs("mariadb")) {
            (false, true) => self.server.start(),
            (true, false) => self.server.life = super::server::Life::Dead,
            _ => {}
        }
        result
    }

    /// The gate shuts, by the process or by the kernel.
    pub fn shut(&mut self) {
        (self.gate.open, self.gate.address_held) = (false, false);
    }

    /// Everything that does not survive a power cut.
    pub fn lose_power(&mut self) {
        self.end_daemon();
        self.powered = false;
        self.part = None;
        self.gate = GateState::default();
        self.server.life = super::server::Life::Dead;
        self.services.lose_power();
    }
}

/// A step's name, as stories say it.
pub fn step_name(step: &Step) -> String {
    let full = match step {
        Step::Record(step) => format!("{step:?}"),
        Step::Address(step) => format!("{step:?}"),
        Step::Database(step) => format!("{step:?}"),
        Step::Remote(step) => format!("{step:?}"),
        Step::Units(step) => format!("{step:?}"),
    };
    full.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// A step with what matters of its contents.
pub fn step_text(step: &Step) -> String {
    let name = step_name(step);
    match step {
        Step::Record(RecordStep::Persist(facts)) => {
            let mut text = format!("{name}: epoch {} of db{}", facts.epoch.number, facts.epoch.node.0);
            for (word, holds) in [
                ("solo", facts.solo.is_some()),
                ("eligible", facts.eligible.is_some()),
                ("handed over", facts.handed_over.is_some()),
                ("maintenance by apd", facts.maintenance_by_apd),
            ] {
                if holds {
                    text = format!("{text}, {word}");
                }
            }
            text
        }
        Step::Record(RecordStep::SetMode { mode, reason, .. }) => format!("{name} {mode} ({reason})"),
        Step::Database(DatabaseStep::WaitFor { position }) => format!("{name} {position}"),
        Step::Units(ServiceStep::Start { name: service } | ServiceStep::Stop { name: service }) => {
            format!("{name} {service}")
        }
        Step::Units(ServiceStep::Policy { policy }) => format!("{name} {policy:?}"),
        _ => name,
    }
}

/// Whether `running` gives way to `next`, as in the driver's lanes.
pub fn gives_way(running: &Step, next: &Step) -> bool {
    match (running, next) {
        (Step::Database(running), Step::Database(next)) => running.gives_way_to(next),
        (Step::Units(running), Step::Units(next)) => running.gives_way_to(next),
        _ => false,
    }
}
