//! The world: two hosts, a network, clients, and one queue of what happens next. No real time, no threads.

use super::bugs::Bug;
use super::checkers::Checkers;
use super::clients::Clients;
use super::faults::Course;
use super::gate::ToGate;
use super::host::Host;
use super::judge::Judge;
use super::lanes::LaneName;
use super::network::Network;
use super::pace::Pace;
use super::plan::Plan;
use super::predict::Said;
use super::random::Random;
use super::settings::Configuration;
use crate::decision::action::Step;
use crate::decision::event::Event;
use crate::decision::peer::PeerMessage;
use crate::decision::table::RowNumber;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// One millisecond of true time.
pub const MS: u64 = 1_000_000;

/// What happens next.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The daemon's timer.
    Wake {
        host: usize,
        run: u64,
        serial: u64,
    },
    /// Something for one run of a daemon.
    Deliver {
        host: usize,
        run: u64,
        event: Box<Event>,
    },
    Arrive {
        to: usize,
        run: u64,
        message: Box<PeerMessage>,
    },
    LinkTick {
        from: usize,
        run: u64,
    },
    DaemonStart {
        host: usize,
    },
    Probe {
        host: usize,
        run: u64,
    },
    ProbeAnswer {
        host: usize,
        run: u64,
        reachable: bool,
    },
    Checks {
        host: usize,
        run: u64,
    },
    Gateway {
        host: usize,
        run: u64,
        regular: bool,
    },
    Row {
        host: usize,
        run: u64,
    },
    /// The mode file changed.
    ModeFile {
        host: usize,
        run: u64,
    },
    Life {
        host: usize,
        run: u64,
    },
    Gate {
        host: usize,
        gate_run: u64,
        message: ToGate,
    },
    GateEnd {
        host: usize,
        serial: u64,
    },
    GateStart {
        host: usize,
    },
    GateFence {
        host: usize,
        serial: u64,
    },
    /// Nothing but a look at the invariants: a kernel element ends.
    Look,
    LaneReady {
        host: usize,
        run: u64,
        lane: LaneName,
        serial: u64,
    },
    LaneDeadline {
        host: usize,
        run: u64,
        lane: LaneName,
        serial: u64,
    },
    AddressDeadline {
        host: usize,
        run: u64,
        ticket: u64,
    },
    ReplicaTick {
        host: usize,
    },
    /// The replica's acknowledgement reaches this host's server: of what, by its newest transaction.
    Receipt {
        host: usize,
        sequence: u64,
    },
    Replicate {
        to: usize,
    },
    ClientTick,
    Begin {
        fault: usize,
    },
    End {
        fault: usize,
    },
    Judge,
    /// A host comes back from power-off; its server a little later.
    PowerOn {
        host: usize,
    },
    ServerStart {
        host: usize,
    },
    /// A step that came too late takes effect.
    Stray {
        host: usize,
        step: Box<Step>,
    },
}

impl Happening {
    /// The host in which it happens, if it stands still while that host sleeps.
    fn host(&self) -> Option<usize> {
        match self {
            Self::Wake { host, .. }
            | Self::Deliver { host, .. }
            | Self::Arrive { to: host, .. }
            | Self::LinkTick { from: host, .. }
            | Self::DaemonStart { host }
            | Self::Probe { host, .. }
            | Self::ProbeAnswer { host, .. }
            | Self::Checks { host, .. }
            | Self::Gateway { host, .. }
            | Self::Row { host, .. }
            | Self::ModeFile { host, .. }
            | Self::Life { host, .. }
            | Self::Gate { host, .. }
            | Self::GateEnd { host, .. }
            | Self::GateStart { host }
            | Self::GateFence { host, .. }
            | Self::LaneReady { host, .. }
            | Self::LaneDeadline { host, .. }
            | Self::AddressDeadline { host, .. }
            | Self::ReplicaTick { host }
            | Self::Receipt { host, .. }
            | Self::Replicate { to: host }
            | Self::Stray { host, .. }
            | Self::ServerStart { host } => Some(*host),
            Self::Look
            | Self::ClientTick
            | Self::Begin { .. }
            | Self::End { .. }
            | Self::Judge
            | Self::PowerOn { .. } => None,
        }
    }
}

/// Everything.
pub struct World {
    pub now: u64,
    /// When, in which order, and where in `waiting`.
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    waiting: Vec<Option<Happening>>,
    free: Vec<usize>,
    number: u64,
    pub random: Random,
    pub configuration: Configuration,
    pub pace: Pace,
    pub hosts: [Host; 2],
    pub network: Network,
    pub clients: Clients,
    pub checkers: Checkers,
    pub course: Course,
    pub judge: Judge,
    pub bug: Option<Bug>,
    pub marks: BTreeSet<&'static str>,
    /// Rows of the transition table that were carried out.
    pub rows: BTreeSet<RowNumber>,
    pub trace: Option<Vec<String>>,
    /// What the nodes said since the first fault, at a measured pace.
    pub said: Vec<Said>,
    pub replicating: [bool; 2],
}

/// How a run ended.
pub struct Outcome {
    /// The first broken promise, and when.
    pub violation: Option<String>,
    /// The situations that the run met.
    pub marks: BTreeSet<&'static str>,
    /// The rows of the transition table that were carried out.
    pub rows: BTreeSet<RowNumber>,
    /// Named states that the run ended in, by their codes.
    pub named: Vec<String>,
    /// Line by line, if it was asked for.
    pub trace: Vec<String>,
    /// Simulated seconds.
    pub seconds: u64,
    /// The longest time between two acknowledged writes after the first fault, in ns.
    pub outage: u64,
    /// Acknowledged writes that the node which serves at the end does not have.
    pub lost: u64,
    /// Somebody serves at the end.
    pub served: bool,
    /// What the nodes said since the first fault, at a measured pace.
    pub said: Vec<Said>,
}

impl World {
    /// A world in which `plan` will happen to a pair of this configuration.
    pub fn new(plan: &Plan, configuration: Configuration, pace: Pace, bug: Option<Bug>, trace: bool) -> Self {
        let mut random = Random::new(plan.seed ^ 0x006e_6f69_7365);
        let hosts = [Host::new(0, &configuration, &mut random), Host::new(1, &configuration, &mut random)];
        let network = Network::new(pace.wire(&mut random));
        let judge = Judge::new(plan);
        let mut world = Self {
            now: MS,
            queue: BinaryHeap::new(),
            waiting: Vec::new(),
            free: Vec::new(),
            number: 0,
            random,
            configuration,
            pace,
            hosts,
            network,
            clients: Clients::default(),
            checkers: Checkers::default(),
            course: Course::new(plan),
            judge,
            bug,
            marks: BTreeSet::new(),
            rows: BTreeSet::new(),
            trace: trace.then(Vec::new),
            said: Vec::new(),
            replicating: [false; 2],
        };
        if bug == Some(Bug::ClockRuns) {
            world.hosts[1].runs_ahead();
        }
        let settings = world.configuration.nodes[0].clone();
        world.trace(|| format!("{settings:?}"));
        for host in 0..2 {
            let delay = world.random.micros(0, 3_000_000);
            world.at(delay, Happening::DaemonStart { host });
            world.at(50 * MS, Happening::ReplicaTick { host });
        }
        world.at(100 * MS, Happening::ClientTick);
        world.at(100 * MS, Happening::Judge);
        world
    }

    /// Puts something `delay` ns from now; what is put first happens first.
    pub fn at(&mut self, delay: u64, happening: Happening) {
        self.number += 1;
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.waiting.push(None);
                self.waiting.len() - 1
            }
        };
        self.waiting[place] = Some(happening);
        self.queue.push(Reverse((self.now + delay, self.number, place)));
    }

    /// An event for one run of a daemon, `delay` ns from now.
    pub fn tell(&mut self, delay: u64, host: usize, run: u64, event: Event) {
        self.at(delay, Happening::Deliver { host, run, event: Box::new(event) });
    }

    fn next(&mut self) -> Option<(u64, Happening)> {
        let Reverse((at, _, place)) = self.queue.pop()?;
        self.free.push(place);
        self.waiting[place].take().map(|happening| (at, happening))
    }

    pub fn mark(&mut self, mark: &'static str) {
        self.marks.insert(mark);
    }

    pub fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.trace {
            let now = self.now;
            lines.push(format!("{:>6}.{:03} {}", now / MS, now / 1_000 % 1_000, line()));
        }
    }

    /// Runs to the judge's end, or to the first broken promise.
    pub fn run(mut self) -> Outcome {
        let mut steps = 0_u64;
        while let Some((at, happening)) = self.next() {
            self.now = at;
            steps += 1;
            match happening.host().and_then(|host| self.hosts[host].asleep.as_mut()) {
                Some(asleep) => asleep.missed.push((at, happening)),
                None => self.happen(happening),
            }
            self.look();
            if steps > 3_000_000 {
                self.checkers.broken("busy loop: three million happenings".into());
            }
            if self.judge.is_done() || self.checkers.violation.is_some() {
                break;
            }
        }
        let served = self.accepts(0) || self.accepts(1);
        let silence = self.clients.silent_for(self.now);
        Outcome {
            served,
            said: self.said,
            violation: self.checkers.violation,
            marks: self.marks,
            rows: self.rows,
            named: self.judge.named,
            trace: self.trace.unwrap_or_default(),
            seconds: self.now / MS / 1000,
            outage: self.clients.outage.max(if served { 0 } else { silence }),
            lost: self.checkers.excused.len() as u64,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { host, run, serial } => self.wake(host, run, serial),
            Happening::Deliver { host, run, event } => self.deliver(host, run, *event),
            Happening::Arrive { to, run, message } => {
                let message = self.misread(to, *message);
                self.deliver(to, run, Event::Peer(message));
            }
            Happening::LinkTick { from, run } => self.link_tick(from, run),
            Happening::DaemonStart { host } => self.daemon_start(host),
            Happening::Probe { host, run } => self.probe(host, run),
            Happening::ProbeAnswer { host, run, reachable } => self.probe_answer(host, run, reachable),
            Happening::Checks { host, run } => self.check(host, run),
            Happening::Gateway { host, run, regular } => self.gateway(host, run, regular),
            Happening::Row { host, run } => self.heartbeat_row(host, run),
            Happening::ModeFile { host, run } => self.read_mode_file(host, run),
            Happening::Life { host, run } => self.look_for_life(host, run),
            Happening::Gate { host, gate_run, message } => self.gate_obeys(host, gate_run, message),
            Happening::GateEnd { host, serial } => self.gate_end(host, serial),
            Happening::GateStart { host } => self.gate_start(host),
            Happening::GateFence { host, serial } => self.gate_fence(host, serial),
            Happening::Look => {}
            Happening::LaneReady { host, run, lane, serial } => self.lane_ready(host, run, lane, serial),
            Happening::LaneDeadline { host, run, lane, serial } => self.lane_late(host, run, lane, serial),
            Happening::AddressDeadline { host, run, ticket } => self.address_late(host, run, ticket),
            Happening::ReplicaTick { host } => self.replica_tick(host),
            Happening::Receipt { host, sequence } => self.receipt(host, sequence),
            Happening::Replicate { to } => self.replicate(to),
            Happening::ClientTick => self.client_tick(),
            Happening::Begin { fault } => self.fault_begins(fault),
            Happening::End { fault } => self.fault_ends(fault),
            Happening::Judge => self.judge(),
            Happening::PowerOn { host } => self.power_on(host),
            Happening::ServerStart { host } => self.server_start(host),
            Happening::Stray { host, step } => self.stray(host, &step),
        }
    }
}
