//! One host: its clock, its server and gate, and the daemon that runs the decision core as
//! `src/driver/pair.rs` does: one event, all actions, then the next deadline.

use super::bugs::Bug;
use super::database::{Frozen, Server};
use super::gate::{Gate, ToGate};
use super::lanes::Lane;
use super::pace::Pace;
use super::predict::Said;
use super::random::Random;
use super::services::Service;
use super::settings::Configuration;
use super::sleep::Asleep;
use super::world::{Happening, MS, World};
use crate::decision::action::{Action, AddressStep, Answer, DurableFacts, Step, Ticket};
use crate::decision::event::{DatabaseReport, Event, Found, LinkReport, ModeReading};
use crate::decision::gtid::Gtid;
use crate::decision::node::Node;
use crate::decision::settings::Settings;
use crate::decision::time::Instant;
use crate::decision::why::{Severity, Why};
use crate::decision::words::{Epoch, InstanceId, Mode};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// One run of a daemon.
pub struct Daemon {
    pub node: Node,
    pub run: u64,
    pub instance: InstanceId,
    pub paused: bool,
    pub inbox: VecDeque<Event>,
    /// Noticed when a paused daemon goes on.
    pub mode_file_changed: bool,
    armed: Instant,
    serial: u64,
    spins: u32,
    pub record: Lane,
    pub database: Lane,
    pub remote: Lane,
    pub units: Lane,
    /// What was fetched from the dead server's log.
    pub tail: Vec<super::database::Transaction>,
    /// apd's own rows stop.
    pub quiet: bool,
    pub rows_of: Option<Epoch>,
    /// Looking for life: whose rows, how many of them had come when it began, and what had been received.
    pub life: Option<(Epoch, u64, Option<Gtid>)>,
    pub last_report: DatabaseReport,
}

/// One host.
pub struct Host {
    pub settings: Settings,
    pub powered: bool,
    /// When the newest report of the interface arrives.
    link_told: u64,
    offset: u64,
    /// How long the clock stood still since boot, in ns.
    pub stood_still: u64,
    parts_per_million: i64,
    pub api: bool,
    pub service: Service,
    pub slow_disk: u32,
    pub slow_apply: u32,
    /// Neither state nor mode can be written.
    pub disk_fails: u32,
    /// The server does not answer the daemon.
    pub connection_hangs: u32,
    /// Nothing happens here.
    pub asleep: Option<Asleep>,
    pub disk: Option<DurableFacts>,
    /// What an operator said of the node's part since the host booted.
    pub part: Option<bool>,
    pub mode: Mode,
    pub mode_since: u64,
    /// The mode file holds no word that is known.
    pub garbage: Option<String>,
    /// A change of the mode file was begun and not finished.
    pub interrupted: bool,
    pub daemon: Option<Daemon>,
    pub run: u64,
    pub gate: Gate,
    pub server: Server,
    /// The newest loud word of this host.
    pub said: Option<Why>,
    pub answers: BTreeMap<u64, Answer>,
}

impl Host {
    pub fn new(index: usize, configuration: &Configuration, random: &mut Random) -> Self {
        Self {
            settings: configuration.nodes[index].clone(),
            powered: true,
            link_told: 0,
            offset: random.between(1, 1_000_000) * MS,
            stood_still: 0,
            parts_per_million: random.between(0, 1_001) as i64 - 500,
            api: true,
            service: Service::default(),
            slow_disk: 0,
            slow_apply: 0,
            disk_fails: 0,
            connection_hangs: 0,
            asleep: None,
            disk: None,
            part: None,
            mode: Mode::Ap,
            mode_since: 0,
            garbage: None,
            interrupted: false,
            daemon: None,
            run: 0,
            gate: Gate { alive: true, ..Gate::default() },
            server: Server::configured(index as u32 + 1, configuration.semi_sync),
            said: None,
            answers: BTreeMap::new(),
        }
    }

    /// A new boot counts from somewhere else.
    pub fn boots(&mut self, offset: u64) {
        self.offset = offset;
        self.stood_still = 0;
    }

    /// A clock far outside of what the waits allow for.
    pub fn runs_ahead(&mut self) {
        self.parts_per_million = 1_000_000;
    }

    pub fn set_mode(&mut self, mode: Mode, now: u64) {
        if self.mode != mode {
            self.mode = mode;
            self.mode_since = now;
        }
    }
}

impl World {
    /// The host's own clock.
    pub fn local(&self, host: usize) -> Instant {
        let host = &self.hosts[host];
        let passed = (self.now - host.stood_still) as i64;
        let drift = passed / 1_000 * host.parts_per_million / 1_000;
        Instant((host.offset as i64 + passed + drift) as u64)
    }

    /// When the host's clock shows `at`.
    pub fn true_time(&self, host: usize, at: Instant) -> u64 {
        let host = &self.hosts[host];
        let passed = at.0 as i64 - host.offset as i64;
        if host.parts_per_million > 1_000 {
            let exact = i128::from(passed) * 1_000_000 / i128::from(1_000_000 + host.parts_per_million);
            return (exact.max(0) as u64 + host.stood_still).max(self.now);
        }
        // One rounding later, never earlier.
        let time = passed - passed / 1_000_000 * host.parts_per_million + 1_000 * passed / 1_000_000_000;
        (time.max(0) as u64 + host.stood_still).max(self.now)
    }

    pub fn running(&self, host: usize, run: u64) -> bool {
        self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.run == run)
    }

    pub fn daemon_start(&mut self, host: usize) {
        if !self.hosts[host].powered || self.hosts[host].daemon.is_some() {
            return;
        }
        if !self.hosts[host].gate.alive {
            self.gate_start(host);
            self.at(30 * MS, Happening::DaemonStart { host });
            return;
        }
        let instance = InstanceId(self.random.number());
        let armed = self.local(host);
        let now = self.now;
        let state = &mut self.hosts[host];
        state.run += 1;
        let run = state.run;
        let found = Found {
            instance,
            durable: state.disk,
            mode: ModeReading {
                mode: state.mode,
                problem: state.garbage.clone(),
                interrupted: std::mem::take(&mut state.interrupted),
                actor: "file".into(),
                reason: String::new(),
            },
            gate: state.gate.state(now),
            started: state.part,
        };
        state.disk.get_or_insert_default();
        state.gate.pending.clear();
        state.daemon = Some(Daemon {
            node: Node::new(state.settings.clone()),
            run,
            instance,
            paused: false,
            inbox: VecDeque::new(),
            mode_file_changed: false,
            armed,
            serial: 0,
            spins: 0,
            record: Lane::default(),
            database: Lane::default(),
            remote: Lane::default(),
            units: Lane::default(),
            tail: Vec::new(),
            quiet: false,
            rows_of: None,
            life: None,
            last_report: DatabaseReport::default(),
        });
        self.trace(|| format!("db{} daemon starts, run {run}", host + 1));
        self.network.connections[host] = Default::default();
        self.deliver(host, run, Event::Started(found));
        self.tell_link(host);
        for happening in [
            Happening::Probe { host, run },
            Happening::Checks { host, run },
            Happening::Gateway { host, run, regular: true },
            Happening::Row { host, run },
            Happening::LinkTick { from: host, run },
        ] {
            let delay = self.random.micros(100, 20_000);
            self.at(delay, happening);
        }
    }

    pub fn tell_link(&mut self, host: usize) {
        let usable = self.network.nic_down[host] == 0;
        let detail = if usable { "up" } else { "no carrier" };
        let event = Event::Link(LinkReport { usable, detail: detail.into() });
        let (run, delay) = (self.hosts[host].run, self.random.micros(50, 3_000));
        // The kernel's reports do not overtake each other.
        let at = (self.now + delay).max(self.hosts[host].link_told + 1);
        self.hosts[host].link_told = at;
        self.tell(at - self.now, host, run, event);
    }

    /// kill -9: what was begun ends in the middle.
    pub fn daemon_dies(&mut self, host: usize) {
        if self.hosts[host].daemon.is_none() {
            return;
        }
        self.abandon_lanes(host);
        self.hosts[host].daemon = None;
        self.hosts[host].gate.pending.clear();
        self.hang_up(host);
        self.control_connection_ends(host);
        self.trace(|| format!("db{} daemon gone", host + 1));
    }

    /// The stage that the daemon's connection holds ends with it; what waits goes on.
    fn control_connection_ends(&mut self, host: usize) {
        let server = &mut self.hosts[host].server;
        if std::mem::replace(&mut server.frozen, Frozen::No) == Frozen::Stage {
            self.stage_ended(host);
        }
    }

    /// A server that hung goes on with what it was doing.
    pub fn server_wakes(&mut self, host: usize) {
        let server = &mut self.hosts[host].server;
        server.health = super::database::Health::Up;
        if server.frozen == super::database::Frozen::No {
            self.stage_ended(host);
        }
    }

    pub fn daemon_pause(&mut self, host: usize) {
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.paused = true;
        }
    }

    pub fn daemon_resume(&mut self, host: usize) {
        let (local, run) = (self.local(host), self.hosts[host].run);
        let Some(daemon) = self.hosts[host].daemon.as_mut().filter(|daemon| daemon.paused) else { return };
        daemon.paused = false;
        let mode_file_changed = std::mem::take(&mut daemon.mode_file_changed);
        let gap = local.since(daemon.armed);
        let inbox = std::mem::take(&mut daemon.inbox);
        if self.bug == Some(Bug::ResumeUnchecked) {
            self.goes_on_unchecked(host);
        } else if gap > self.hosts[host].settings.lease / 2 {
            self.deliver(host, run, Event::Resumed { gap });
        }
        for event in inbox {
            self.deliver(host, run, event);
        }
        if mode_file_changed {
            self.read_mode_file(host, run);
        }
        self.deliver(host, run, Event::Deadline);
    }

    pub fn wake(&mut self, host: usize, run: u64, serial: u64) {
        if self.running(host, run) && self.hosts[host].daemon.as_ref().is_some_and(|one| one.serial == serial)
        {
            self.deliver(host, run, Event::Deadline);
        }
    }

    /// One event, all actions, the next deadline.
    pub fn deliver(&mut self, host: usize, run: u64, event: Event) {
        if !self.running(host, run) {
            return;
        }
        let now = self.local(host);
        let Some(daemon) = self.hosts[host].daemon.as_mut() else { return };
        if daemon.paused {
            daemon.inbox.push_back(event);
            return;
        }
        if let Some(asleep) = &mut self.hosts[host].asleep {
            let event = Box::new(event);
            asleep.missed.push((self.now, Happening::Deliver { host, run, event }));
            return;
        }
        if let Event::Peer(message) = &event {
            self.heard(host, message);
        }
        let Some(daemon) = self.hosts[host].daemon.as_mut() else { return };
        daemon.node.handle(event, now);
        self.rows.extend(daemon.node.fired());
        let mut actions = Vec::new();
        while let Some(action) = daemon.node.poll_action() {
            actions.push(action);
        }
        for action in actions {
            self.carry_out(host, action);
        }
        self.arm(host, now);
    }

    fn arm(&mut self, host: usize, now: Instant) {
        let late = self.random.micros(5, 900);
        let Some(daemon) = self.hosts[host].daemon.as_mut() else { return };
        let next = daemon.node.next_deadline();
        daemon.spins = if next <= now { daemon.spins + 1 } else { 0 };
        let spins = daemon.spins;
        daemon.armed = next.max(now);
        daemon.serial += 1;
        let (serial, run, armed) = (daemon.serial, daemon.run, daemon.armed);
        if spins > 200 {
            self.checkers.broken(format!("db{} spins: its next deadline lies in the past", host + 1));
        }
        let delay = self.true_time(host, armed) - self.now + late;
        self.at(delay, Happening::Wake { host, run, serial });
    }

    fn carry_out(&mut self, host: usize, action: Action) {
        match action {
            Action::SendAdvert { priority } => self.send_advert(host, priority),
            Action::SendPeer(message) => self.send_peer(host, message),
            Action::RenewLease { epoch, lease_end } => {
                if self.hosts[host].gate.alive {
                    let (solo, end) = (self.solo_on_disk(host, epoch), lease_end);
                    let run = self.hosts[host].run;
                    self.order_gate(host, ToGate::Renew { run, epoch, end, solo }, 0);
                }
            }
            Action::Start { ticket, step, deadline } => self.start_step(host, ticket, step, deadline),
            Action::Abandon(_) | Action::Announce | Action::StopAnnouncing => {}
            Action::ProbeGateway => {
                let run = self.hosts[host].run;
                self.at(MS / 10, Happening::Gateway { host, run, regular: false });
            }
            Action::WatchForLife { on } => self.watch_for_life(host, on),
            Action::WatchDatabase { heartbeat_epoch } => {
                if let Some(daemon) = &mut self.hosts[host].daemon {
                    daemon.rows_of = heartbeat_epoch;
                }
            }
            Action::Answer { id, answer } => {
                self.trace(|| format!("db{} answers {answer:?}", host + 1));
                if answer.is_last() {
                    self.hosts[host].answers.insert(id.0, answer);
                }
            }
            Action::Tell(why) => self.told(host, why),
            Action::Exit => {
                self.trace(|| format!("db{} daemon exits", host + 1));
                self.hosts[host].daemon = None;
                self.hosts[host].gate.pending.clear();
                self.hang_up(host);
                self.control_connection_ends(host);
            }
        }
    }

    fn told(&mut self, host: usize, why: Why) {
        self.trace(|| format!("db{} {}: {}", host + 1, why.code, why.text));
        self.mark_tell(&why);
        if let Some(fault) = self.checkers.fault_at.filter(|_| self.pace == Pace::Measured)
            && (why.severity > Severity::Info || why.code.word().starts_with("switchover"))
        {
            let (after, active) = (self.now - fault, self.checkers.struck_active == Some(host));
            let (code, text) = (why.code.word().to_owned(), why.text.clone());
            self.said.push(Said { after, active, code, text });
        }
        if why.severity > Severity::Info && !why.remedy.is_empty() {
            self.hosts[host].said = Some(why);
        }
    }

    fn watch_for_life(&mut self, host: usize, on: bool) {
        let beats = self.hosts[host].server.beats;
        let received = self.hosts[host].server.received();
        let Some(daemon) = &mut self.hosts[host].daemon else { return };
        let was_on = daemon.life.is_some();
        let epoch = daemon.node.epoch();
        let counted = if beats.0 == epoch { beats.1 } else { 0 };
        daemon.life = on.then_some((epoch, counted, received));
        let run = daemon.run;
        if on && !was_on {
            self.at(MS, Happening::Life { host, run });
        }
    }

    pub fn start_address(&mut self, host: usize, ticket: Ticket, step: Step, deadline: Duration) {
        let run = self.hosts[host].run;
        let Step::Address(step) = step else { return };
        let message = match step {
            AddressStep::Open { epoch, lease_end: end } => {
                let solo = self.solo_on_disk(host, epoch);
                ToGate::Open { run, ticket, epoch, end, solo, served: self.service_seen_to(host) }
            }
            AddressStep::Close => ToGate::Close { run, ticket },
            AddressStep::CutStream => ToGate::Cut { run, ticket, cut: true },
            AddressStep::LiftCut => ToGate::Cut { run, ticket, cut: false },
        };
        self.order_gate(host, message, Self::nanos(deadline));
    }
}
