//! The world of a story: two hosts, what lies between them, and time that jumps from one happening to the next.

#[path = "clients.rs"]
mod clients;
#[path = "wire.rs"]
mod wire;
#[path = "words.rs"]
mod words;

use super::host::{Host, Queued, gives_way, step_text};
use super::server::{Life, Replica};
use apd::decision::action::{Action, RemoteStep, Step, StepOutput, StepResult, Ticket};
use apd::decision::event::{CheckReport, Event, GateReport, LinkReport};
use apd::decision::gtid::Gtid;
use apd::decision::settings::Settings;
use apd::decision::time::Instant;
use apd::decision::words::{Epoch, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;
use words::answer_text;

/// A message on the wire.
const LATENCY: Duration = Duration::from_millis(1);
/// Between two looks of a check, of the database and at the gateway.
const PROBE: Duration = Duration::from_millis(500);
/// Between two writes of the clients.
const CLIENT: Duration = Duration::from_millis(100);
/// When a story begins.
const BEGIN: Instant = Instant::from_millis(1_000_000);

/// Something that will happen.
#[derive(Debug)]
enum Coming {
    /// An event for the daemon's run of that number.
    Event(u64, Event),
    /// The step that runs in this lane ends.
    StepEnds(u64, Ticket, Option<StepResult>),
    Probe(u64),
    HeartbeatRow(u64),
    LookForLife(u64),
    Boot,
}

/// Two hosts and what lies between them.
pub struct World {
    pub hosts: [Host; 2],
    now: Instant,
    coming: BTreeMap<(Instant, u64), (usize, Coming)>,
    order: u64,
    /// VRRP and the peer link get through.
    pub control_path: bool,
    /// The peer link gets through, where both do.
    pub link_path: bool,
    /// Everything else between the nodes gets through.
    pub data_path: bool,
    next_client: Instant,
    accepted: Vec<Gtid>,
    served_by: Vec<usize>,
    running: String,
    unserved_since: Option<Instant>,
    ever_served: bool,
    story: Vec<String>,
}

impl World {
    /// Both hosts are off.
    pub fn new(settings: [Settings; 2]) -> Self {
        Self {
            hosts: settings.map(Host::new),
            now: BEGIN,
            coming: BTreeMap::new(),
            order: 0,
            control_path: true,
            link_path: true,
            data_path: true,
            next_client: BEGIN,
            accepted: Vec::new(),
            served_by: Vec::new(),
            running: String::new(),
            unserved_since: None,
            ever_served: false,
            story: Vec::new(),
        }
    }

    /// As a pair is after its first night: db1 was active in epoch 1, db2 follows.
    pub fn remember_first_epoch(&mut self) {
        let epoch = Epoch { number: 1, node: NodeId(1) };
        let first = self.hosts[0].server.write(true);
        let copy = self.hosts[0].server.log.clone();
        self.hosts[1].server.log = copy;
        debug_assert!(self.hosts[1].server.has(first));
        self.hosts[1].server.replica = Some(Replica { receiving: false, applying: false });
        for host in &mut self.hosts {
            host.server.ledger = epoch;
            if let Some(facts) = &mut host.durable {
                facts.epoch = epoch;
            }
        }
    }

    /// Takes what was told since the last time.
    pub fn take_story(&mut self) -> Vec<String> {
        std::mem::take(&mut self.story)
    }

    fn say(&mut self, who: &str, text: &str) {
        let at = self.now.since(BEGIN).as_millis();
        self.story.push(format!("{at:>7} ms  {who:<8} {text}"));
    }

    fn after(&mut self, delay: Duration, host: usize, coming: Coming) {
        self.order += 1;
        self.coming.insert((self.now + delay, self.order), (host, coming));
    }

    fn event_after(&mut self, delay: Duration, host: usize, event: Event) {
        let run = self.hosts[host].run;
        self.after(delay, host, Coming::Event(run, event));
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let next = self.next_happening();
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            self.happen();
        }
        self.now = until;
    }

    fn next_happening(&self) -> Instant {
        let mut next = self.next_client;
        if let Some(((at, _), _)) = self.coming.first_key_value() {
            next = next.min(*at);
        }
        for host in &self.hosts {
            next = host.node.as_ref().map_or(next, |node| next.min(node.next_deadline()));
            if host.gate.open {
                next = next.min(host.gate.lease_end);
            }
        }
        next
    }

    fn happen(&mut self) {
        for host in 0..2 {
            if self.hosts[host].gate.open && self.now >= self.hosts[host].gate.lease_end {
                self.lease_ends(host);
            }
        }
        if let Some(entry) = self.coming.first_entry()
            && entry.key().0 <= self.now
        {
            let (host, coming) = entry.remove();
            self.take(host, coming);
        } else {
            for host in 0..2 {
                let due = self.hosts[host].node.as_ref().is_some_and(|node| node.next_deadline() <= self.now);
                if due {
                    self.deliver(host, Event::Deadline);
                }
            }
        }
        if self.now >= self.next_client {
            self.next_client = self.now + CLIENT;
            self.clients_write();
        }
        self.replicate();
        self.look_who_serves();
    }

    fn take(&mut self, host: usize, coming: Coming) {
        let run = self.hosts[host].run;
        match coming {
            Coming::Event(of, event) if of == run => self.deliver(host, event),
            Coming::StepEnds(of, ticket, result) if of == run => self.step_ends(host, ticket, result),
            Coming::Probe(of) if of == run => self.probe(host),
            Coming::HeartbeatRow(of) if of == run && self.hosts[host].heartbeat_epoch.is_some() => {
                if self.hosts[host].server.writable() {
                    self.hosts[host].server.write(true);
                }
                self.after(self.hosts[host].settings.lease / 2, host, Coming::HeartbeatRow(run));
            }
            Coming::LookForLife(of) if of == run && self.hosts[host].watching => {
                let other = &self.hosts[1 - host];
                let answers = other.gate.open && other.gate.address_held && self.data_between();
                if answers {
                    self.deliver(
                        host,
                        Event::AddressClaimed { by: format!("{}'s card", self.hosts[1 - host].name) },
                    );
                }
                self.after(Duration::from_millis(20), host, Coming::LookForLife(run));
            }
            Coming::Boot => self.start_daemon(host),
            _ => {}
        }
    }

    /// A host gets power; its daemon and its server start with it.
    pub fn power_on(&mut self, host: usize) {
        self.hosts[host].powered = true;
        if self.hosts[host].settings.database_service.is_none() {
            self.hosts[host].server.start();
        }
        self.after(Duration::from_millis(50), host, Coming::Boot);
    }

    /// A host loses its power.
    pub fn power_off(&mut self, host: usize) {
        self.hosts[host].lose_power();
        self.look_who_serves();
    }

    /// The daemon starts.
    pub fn start_daemon(&mut self, host: usize) {
        let found = self.hosts[host].start_daemon();
        self.deliver(host, Event::Started(found));
        self.tell_link(host);
        self.probe(host);
        self.connect();
    }

    /// The daemon is gone without a word; its host's kernel tells the peer so.
    pub fn kill_daemon(&mut self, host: usize) {
        self.hosts[host].end_daemon();
        if self.link_between() {
            self.event_after(LATENCY, 1 - host, Event::PeerDown);
        }
    }

    /// The interface as it is now.
    pub fn tell_link(&mut self, host: usize) {
        let usable = self.hosts[host].interface;
        let detail = if usable { "up".into() } else { "eth0 is down".into() };
        if self.hosts[host].node.is_some() {
            self.deliver(host, Event::Link(LinkReport { usable, detail }));
        }
        self.look_who_serves();
    }

    /// Something changed between the hosts, or between one and its clients.
    pub fn look(&mut self) {
        self.look_who_serves();
    }

    /// What the database's watch says when something happened to the server.
    pub fn tell_server(&mut self, host: usize) {
        let report = self.hosts[host].server.report(self.stream_between());
        if self.hosts[host].node.is_some() && self.hosts[host].server.life != Life::Hung {
            self.event_after(LATENCY, host, Event::Database(report));
        }
        self.look_who_serves();
    }

    fn probe(&mut self, host: usize) {
        let report = self.hosts[host].server.report(self.stream_between());
        self.deliver(host, Event::Database(report));
        let api = self.probe_services(host);
        let passed = api && self.hosts[host].server.life == Life::Well;
        let detail = match (passed, api) {
            (true, _) => "200",
            (false, true) => "503: the API's database does not answer",
            (false, false) => "connection refused",
        };
        let report = CheckReport {
            name: "api".into(),
            passed,
            certain: !api,
            detail: detail.into(),
            took: Duration::from_millis(2),
        };
        self.deliver(host, Event::Check(report));
        self.probe_gateway(host);
        let run = self.hosts[host].run;
        self.after(PROBE, host, Coming::Probe(run));
    }

    /// An answer comes at once, silence is known after a while.
    fn probe_gateway(&mut self, host: usize) {
        let answers = self.hosts[host].gateway && self.hosts[host].on_the_network();
        let delay = if answers { LATENCY } else { self.hosts[host].settings.lease / 2 };
        self.event_after(delay, host, Event::Gateway { answered: u32::from(answers), asked: 1 });
    }

    /// One event for a daemon, and everything that it does about it.
    pub fn deliver(&mut self, host: usize, event: Event) {
        let now = self.now;
        let Some(actions) = self.hosts[host].tell(event, now) else { return };
        let Some(node) = &self.hosts[host].node else { return };
        // A deadline that has passed would make the loop spin; one that is far away would make heartbeats late.
        let (next, heartbeat) = (node.next_deadline(), self.hosts[host].settings.heartbeat);
        assert!(node.is_done() || next > now, "a deadline in the past");
        assert!(node.is_done() || next <= now + heartbeat, "a deadline beyond the next heartbeat");
        for action in actions {
            self.act(host, action);
        }
        self.look_who_serves();
    }

    fn act(&mut self, host: usize, action: Action) {
        let name = self.hosts[host].name.clone();
        match action {
            Action::SendAdvert { priority } => self.send_advert(host, priority),
            Action::SendPeer(message) => self.send_peer(host, message),
            Action::RenewLease { epoch, lease_end } => {
                let gate = &mut self.hosts[host].gate;
                if gate.open && gate.epoch == epoch {
                    gate.lease_end = gate.lease_end.max(lease_end);
                }
            }
            Action::Start { ticket, step, deadline } => self.queue(host, Queued { ticket, step, deadline }),
            Action::ProbeGateway => self.probe_gateway(host),
            Action::WatchForLife { on } => {
                let before = std::mem::replace(&mut self.hosts[host].watching, on);
                if on && !before {
                    let run = self.hosts[host].run;
                    self.after(Duration::from_millis(20), host, Coming::LookForLife(run));
                }
            }
            Action::WatchDatabase { heartbeat_epoch } => {
                let before = std::mem::replace(&mut self.hosts[host].heartbeat_epoch, heartbeat_epoch);
                if heartbeat_epoch.is_some() && before.is_none() {
                    let run = self.hosts[host].run;
                    self.after(self.hosts[host].settings.lease / 2, host, Coming::HeartbeatRow(run));
                }
            }
            Action::Answer { answer, .. } => self.say(&name, &format!("answers: {}", answer_text(&answer))),
            Action::Tell(why) => {
                let remedy = if why.remedy.is_empty() { String::new() } else { format!(" [{}]", why.remedy) };
                self.say(&name, &format!("{}: {}{remedy}", why.code, why.text));
            }
            Action::Exit => {
                self.say(&name, "the daemon exits");
                self.kill_daemon(host);
            }
            Action::Abandon(_) | Action::Announce | Action::StopAnnouncing => {}
        }
    }

    fn queue(&mut self, host: usize, queued: Queued) {
        let lane = self.hosts[host].lanes.entry(queued.step.lane()).or_default();
        let gives_way =
            lane.running.as_ref().is_some_and(|(running, _)| gives_way(&running.step, &queued.step));
        let idle = lane.running.is_none();
        let (lane_name, running) =
            (queued.step.lane(), lane.running.as_ref().map(|(running, _)| running.ticket));
        lane.waiting.push_back(queued);
        if gives_way && let Some(ticket) = running {
            let run = self.hosts[host].run;
            self.after(Duration::ZERO, host, Coming::StepEnds(run, ticket, Some(StepResult::TimedOut)));
        } else if idle {
            self.begin_next(host, lane_name);
        }
    }

    fn begin_next(&mut self, host: usize, lane: apd::decision::action::Lane) {
        let now = self.now;
        let peer = &self.hosts[1 - host];
        let peer_reachable = self.data_between() && peer.server.life != Life::Hung;
        let Some(queue) = self.hosts[host].lanes.get_mut(&lane) else { return };
        let Some(queued) = queue.waiting.pop_front() else { return };
        queue.running = Some((queued.clone(), now));
        let (duration, result) = self.hosts[host].duration(&queued, peer_reachable);
        let run = self.hosts[host].run;
        self.after(duration, host, Coming::StepEnds(run, queued.ticket, result));
    }

    fn step_ends(&mut self, host: usize, ticket: Ticket, result: Option<StepResult>) {
        let running = |queue: &super::host::Queue| {
            queue.running.as_ref().is_some_and(|(queued, _)| queued.ticket == ticket)
        };
        let Some(lane) =
            self.hosts[host].lanes.iter().find(|(_, queue)| running(queue)).map(|(lane, _)| *lane)
        else {
            return;
        };
        let taken = self.hosts[host].lanes.get_mut(&lane).and_then(|queue| queue.running.take());
        let Some((queued, _)) = taken else { return };
        let result = result.unwrap_or_else(|| self.perform(host, &queued.step));
        let how = match &result {
            StepResult::Ok(StepOutput::Unreachable) => " : unreachable".into(),
            StepResult::Ok(StepOutput::Tail { transactions }) => format!(" : {transactions} transactions"),
            StepResult::Ok(_) => String::new(),
            StepResult::Failed(text) => format!(" FAILED: {text}"),
            StepResult::TimedOut => " did not end in time".into(),
        };
        let name = self.hosts[host].name.clone();
        self.say(&name, &format!("- {}{how}", step_text(&queued.step)));
        self.begin_next(host, lane);
        self.tell_services_after(host, &queued.step);
        self.deliver(host, Event::StepEnded { ticket, result });
    }

    fn perform(&mut self, host: usize, step: &Step) -> StepResult {
        let now = self.now;
        let Step::Remote(step) = step else {
            return self.hosts[host].perform(step, now);
        };
        let [first, second] = &mut self.hosts;
        let (mine, peer) = if host == 0 { (first, second) } else { (second, first) };
        let answers = peer.server.life == Life::Well;
        match step {
            RemoteStep::ReachServer if answers => StepResult::Ok(StepOutput::Done),
            RemoteStep::FenceServer if answers => {
                peer.server.read_only = true;
                StepResult::Ok(StepOutput::Done)
            }
            RemoteStep::ReachServer | RemoteStep::FenceServer => StepResult::Ok(StepOutput::Unreachable),
            RemoteStep::Compare if answers && mine.server.life == Life::Well => {
                StepResult::Ok(StepOutput::Comparison(mine.server.compare(&peer.server)))
            }
            RemoteStep::Compare => StepResult::Failed("a server does not answer".into()),
            RemoteStep::FetchTail { .. } if peer.node.is_none() => {
                StepResult::Failed("the peer's daemon is gone".into())
            }
            RemoteStep::FetchTail { have } => {
                let beyond = |gtid: Gtid| {
                    have.sequence(gtid.domain, gtid.server).is_none_or(|last| gtid.sequence > last)
                };
                mine.server.tail = peer.server.log.iter().filter(|one| beyond(one.gtid)).copied().collect();
                StepResult::Ok(StepOutput::Tail { transactions: mine.server.tail.len() as u64 })
            }
        }
    }

    /// The kernel shuts the gate, then the gate process does the rest.
    fn lease_ends(&mut self, host: usize) {
        let epoch = self.hosts[host].gate.epoch;
        self.hosts[host].shut();
        let name = self.hosts[host].name.clone();
        self.say(&name, &format!("kernel: the lease of epoch {epoch} is over, the gate shuts"));
        if self.hosts[host].server.life == Life::Well {
            self.hosts[host].server.read_only = true;
        }
        self.event_after(
            LATENCY,
            host,
            Event::Gate(GateReport::LeaseLost { epoch, reason: "the lease ran out".into() }),
        );
        self.look_who_serves();
    }
}
