//! The node: one state, one way in, one way out.
//!
//! [`Node::handle`] takes one event, updates what is known, and lets the rows of the transition table act
//! (`table`). Most of them look at the state, not at the event, so that a fact counts the same whichever brought it.
//! The caller drains [`Node::poll_action`] and comes back at [`Node::next_deadline`] or with the next event.

use super::action::{Action, CommandId, DurableFacts, RecordStep, Step, StepResult, Ticket};
use super::code::Code;
use super::event::{Advert, DatabaseReport, Event, Found, GateState, LinkReport};
use super::health::{Checks, Verdict};
use super::lease::{LeaseKeeper, TakeoverWait};
use super::peer::{PeerFacts, PeerMessage};
use super::phase::{Phase, Purpose};
use super::settings::{OnStop, Settings};
use super::table::{Class, Course, Matter, Place};
use super::time::Instant;
use super::why::Why;
use super::words::{Epoch, InstanceId, Mode, NodeId, Role};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Everything that this node knows and does.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub(super) settings: Settings,
    pub(super) instance: InstanceId,
    pub(super) now: Instant,
    pub(super) started: Option<Instant>,
    pub(super) durable: DurableFacts,
    pub(super) state_lost: bool,
    /// What the ledger told instead: it may lack one.
    #[serde(default)]
    pub(super) learnt: Option<Epoch>,
    /// The state file could not be written: the next try.
    pub(super) persist_again: Option<Instant>,
    pub(super) mode: ModeView,
    pub(super) phase: Place,
    pub(super) course: Course,
    pub(super) gate: GateView,
    pub(super) database: DatabaseView,
    pub(super) link: Option<(LinkReport, Instant)>,
    pub(super) gateway: GatewayView,
    pub(super) checks: Checks,
    #[serde(default)]
    pub(super) services: super::services::Services,
    pub(super) peer: PeerView,
    pub(super) lease: LeaseKeeper,
    pub(super) wait: TakeoverWait,
    pub(super) next_heartbeat: Instant,
    pub(super) next_advert: Instant,
    pub(super) follow: super::follow::FollowState,
    pub(super) rejoin: Option<super::rejoin::RejoinState>,
    pub(super) failovers: VecDeque<Instant>,
    pub(super) retry_at: Instant,
    /// When this node last ended an activity: what was heard before speaks of another situation.
    pub(super) idle_since: Instant,
    pub(super) failures: u32,
    pub(super) latched: Option<Why>,
    pub(super) stopping: Option<Instant>,
    pub(super) told: BTreeMap<Cow<'static, str>, String>,
    pub(super) last_why: Why,
    pub(super) requests: BTreeMap<u64, CommandId>,
    tickets: BTreeMap<Ticket, Purpose>,
    next_ticket: u64,
    next_operation: u64,
    actions: VecDeque<Action>,
    exited: bool,
}

/// The mode as obeyed, and what the file last said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ModeView {
    pub mode: Mode,
    pub problem: Option<String>,
    pub actor: String,
    pub reason: String,
    pub since: Instant,
    pub nag_at: Option<Instant>,
    /// The file could not be written: the next try.
    pub write_again: Option<Instant>,
    /// Maintenance is over, and the file does not say so yet.
    #[serde(default)]
    pub left_unwritten: bool,
}

/// The gate process and its gate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GateView {
    pub connected: bool,
    pub state: GateState,
    pub degraded: Option<String>,
    /// The lifting of a cut that is under way, and when the last one began.
    pub lifting: Option<Ticket>,
    pub lifted_at: Instant,
}

/// The local server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DatabaseView {
    pub report: DatabaseReport,
    pub at: Option<Instant>,
    pub verdict: Verdict,
    /// When privileged clients were last seen.
    pub privileged_at: Option<Instant>,
    /// Since when the verdict is `unhealthy`.
    pub unhealthy_since: Option<Instant>,
    /// Positions of the last second or so: what a caught-up peer has reached by now.
    pub earlier: VecDeque<(Instant, super::gtid::GtidState)>,
    /// A replica is being started.
    #[serde(default)]
    pub following: Option<Ticket>,
    /// How many more reports must come until one was surely read after the newest start of a replica.
    #[serde(default)]
    pub looks_due: u8,
}

/// The probe targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GatewayView {
    /// When enough targets last answered.
    pub answered_at: Option<Instant>,
    /// When they last did not.
    pub silent_at: Option<Instant>,
    /// When the decision last asked beside the regular interval.
    pub probed_at: Option<Instant>,
    pub asked: u32,
    pub answered: u32,
}

/// The other node, as far as it was heard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PeerView {
    pub up: bool,
    pub instance: InstanceId,
    pub facts: Option<PeerFacts>,
    /// Last heartbeat.
    pub heartbeat_at: Option<Instant>,
    /// Last advertisement.
    pub advert_at: Option<Instant>,
    pub advert: Option<Advert>,
    /// First heartbeat of the present contact.
    pub contact_since: Option<Instant>,
    /// The newest epoch whose gate the peer reported closed.
    pub released: Option<super::peer::Released>,
    /// Bring the lease's length that the peer last asked for.
    pub lease: Option<Duration>,
    /// An answering node or a fresh row after the lease should have been dead.
    pub proof_of_life: Option<(String, Instant)>,
    /// When eligibility was last granted or revoked, and for what.
    pub eligible_sent: Option<(bool, Epoch, Instant)>,
}

impl Node {
    /// A node that has not started; the first event must be [`Event::Started`].
    pub fn new(settings: Settings) -> Self {
        let database = Verdict::new(settings.database);
        let checks = Checks::new(&settings.checks);
        let services =
            super::services::Services::new(&settings.services, settings.database_service.as_deref());
        Self {
            instance: InstanceId(0),
            now: Instant::ZERO,
            started: None,
            durable: DurableFacts::default(),
            state_lost: false,
            learnt: None,
            persist_again: None,
            mode: ModeView {
                mode: Mode::Maintenance,
                problem: None,
                actor: String::new(),
                reason: "not started".into(),
                since: Instant::ZERO,
                nag_at: None,
                write_again: None,
                left_unwritten: false,
            },
            phase: Place::STOPPED,
            course: Course::default(),
            gate: GateView::default(),
            database: DatabaseView {
                report: DatabaseReport::default(),
                at: None,
                verdict: database,
                unhealthy_since: None,
                privileged_at: None,
                earlier: VecDeque::new(),
                following: None,
                looks_due: 0,
            },
            link: None,
            gateway: GatewayView::default(),
            checks,
            services,
            peer: PeerView::default(),
            lease: LeaseKeeper::default(),
            wait: TakeoverWait::default(),
            next_heartbeat: Instant::ZERO,
            next_advert: Instant::ZERO,
            follow: Default::default(),
            rejoin: None,
            failovers: VecDeque::new(),
            retry_at: Instant::ZERO,
            idle_since: Instant::ZERO,
            failures: 0,
            latched: None,
            stopping: None,
            told: BTreeMap::new(),
            last_why: Why::new(Code::Start, "not started"),
            requests: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 1,
            next_operation: 1,
            actions: VecDeque::new(),
            exited: false,
            settings,
        }
    }

    /// Takes one event at `now`. All actions of the event before must have been polled.
    pub fn handle(&mut self, event: Event, now: Instant) {
        assert!(self.actions.is_empty(), "actions left from the event before");
        self.now = self.now.max(now);
        self.begin_event(Class::of(&event));
        match event {
            Event::Started(found) => self.on_started(found),
            Event::Advert(advert) => self.on_advert(advert),
            Event::PeerUp { instance } => self.on_peer_up(instance),
            Event::PeerDown => self.on_peer_down(),
            Event::Peer(message) => self.on_peer_message(message),
            Event::Gate(report) => self.on_gate(report),
            Event::Link(report) => self.on_link(report),
            Event::Database(report) => self.on_database(report),
            Event::Check(report) => self.on_check(report),
            Event::Service(report) => self.on_service(report),
            Event::Gateway { answered, asked } => self.on_gateway(answered, asked),
            Event::AddressClaimed { by } => {
                self.on_proof_of_life("life", format!("{by} answers for the address"))
            }
            Event::StreamAlive => self.on_stream_alive(),
            Event::StepEnded { ticket, result } => self.on_step_ended(ticket, result),
            Event::ModeFile(reading) => self.on_mode_file(reading),
            Event::Command { id, command, actor } => self.on_command(id, command, &actor),
            Event::Reload(settings) => self.on_reload(*settings),
            Event::Stop => self.on_stop(),
            Event::Restart => self.on_restart(),
            Event::Resumed { gap } => self.on_resumed(gap),
            Event::Deadline => {}
        }
        if self.started.is_some() {
            self.apply_rules();
        }
        self.end_event();
    }

    /// The next thing to do; `None` when all of the last event is polled.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to come back at the latest, with [`Event::Deadline`].
    pub fn next_deadline(&self) -> Instant {
        let mut next = self.next_heartbeat;
        if self.advertises() {
            next = next.min(self.next_advert);
        }
        for candidate in self.phase_deadlines() {
            if candidate > self.now {
                next = next.min(candidate);
            }
        }
        next
    }

    /// The daemon was told that it may exit.
    pub const fn is_done(&self) -> bool {
        self.exited
    }

    /// What this node does, as shown.
    pub fn role(&self) -> Role {
        match self.phase.now() {
            Phase::Stopped | Phase::Out => Role::Out,
            Phase::Active(_) | Phase::TakingOver(_) | Phase::HandingOver(_) => Role::Active,
            Phase::SteppingDown(_) if self.mode.mode == Mode::Maintenance => Role::Out,
            Phase::Standby | Phase::Bidding(_) | Phase::SteppingDown(_) | Phase::Receiving(_) => {
                if self.unfit_for_standby().is_empty() { Role::Standby } else { Role::Fault }
            }
        }
    }

    /// Clients are answered here and now, as far as this node knows.
    pub fn serving(&self) -> bool {
        matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_))
            && self.gate.connected
            && self.gate.state.open
            && self.database.report.reachable
            && self.database.report.writable
    }

    pub(super) fn peer_id(&self) -> NodeId {
        super::action::other(self.settings.me)
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn send(&mut self, message: PeerMessage) {
        self.act(Action::SendPeer(message));
    }

    /// Puts a step into its lane and remembers what it is for.
    pub(super) fn start(&mut self, step: Step, deadline: Duration, purpose: Purpose) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, purpose);
        self.gate.note_start(&step, ticket, self.now);
        self.database.note_start(&step, ticket);
        self.act(Action::Start { ticket, step, deadline });
        ticket
    }

    /// A step for this is under way.
    pub(super) fn awaits(&self, purpose: &Purpose) -> bool {
        self.tickets.values().any(|other| other == purpose)
    }

    /// Writes the durable facts as they stand now.
    pub(super) fn persist(&mut self, purpose: Purpose) -> Ticket {
        let facts = self.durable;
        self.start(Step::Record(RecordStep::Persist(facts)), Duration::from_secs(2), purpose)
    }

    pub(super) fn next_operation(&mut self) -> u64 {
        // The run's identity keeps operation numbers of two runs, and of two nodes, apart.
        self.next_operation += 1;
        self.instance.0.wrapping_mul(1_000_003).wrapping_add(self.next_operation)
    }

    /// Says a decision.
    pub(super) fn tell(&mut self, why: Why) {
        self.last_why = why.clone();
        self.act(Action::Tell(why));
    }

    /// Says something that may be true for long, once for each distinct text.
    pub(super) fn tell_once(&mut self, topic: &'static str, why: Why) {
        if self.told.get(topic) != Some(&why.text) {
            self.told.insert(topic.into(), why.text.clone());
            self.tell(why);
        }
    }

    /// Forgets that something was said, so that it is said again when it comes again.
    pub(super) fn untell(&mut self, topic: &'static str) {
        self.told.remove(topic);
    }

    fn on_started(&mut self, found: Found) {
        self.instance = found.instance;
        self.started = Some(self.now);
        self.state_lost = found.durable.is_none();
        self.durable = found.durable.unwrap_or_default();
        // A standby that was away may have missed a revocation: only the active can make it eligible again.
        self.durable.eligible = None;
        self.mode.mode = found.mode.mode;
        self.mode.problem = found.mode.problem.clone();
        self.mode.actor = found.mode.actor.clone();
        self.mode.reason = found.mode.reason.clone();
        self.mode.since = self.now;
        self.next_heartbeat = self.now;
        self.next_advert = self.now;
        self.gate.connected = true;
        self.gate.state = found.gate;
        let (lease, advert) = (self.settings.lease, self.settings.advert_interval);
        self.wait.sign_of_life(&self.settings, lease, advert, self.now);
        self.services.part = self.part_at_start(found.started);
        if let Some(problem) = found.mode.problem {
            self.tell(Why::new(Code::ModeGarbage, problem));
        }
        if found.mode.interrupted {
            // A crash half way through a change: the change is finished.
            let (mode, actor) = (self.mode.mode, self.mode.actor.clone());
            self.write_mode(mode, &actor, "finished a change that was interrupted");
        }
        self.consider(Matter::Nothing);
    }

    fn on_peer_up(&mut self, instance: InstanceId) {
        self.peer.up = true;
        if self.peer.instance != instance {
            self.answer_without_peer("was started anew");
        }
        self.peer.instance = instance;
        self.next_heartbeat = self.now;
    }

    fn on_peer_down(&mut self) {
        self.peer.up = false;
    }

    fn on_check(&mut self, report: super::event::CheckReport) {
        if !report.passed && self.check_is_void(&report.name) {
            self.checks.note(report, self.now);
        } else if let Some(check) = self.checks.take(report, self.now) {
            let name = check.settings.name.clone();
            let detail = check.last.as_ref().map(|(report, _)| report.detail.clone()).unwrap_or_default();
            let why = match check.verdict.healthy() {
                Some(false) => Why::new(Code::CheckFailed, format!("check {name} fails: {detail}")),
                _ => Why::new(Code::CheckPassed, format!("check {name} passes")),
            };
            self.tell(why);
        }
    }

    fn on_gateway(&mut self, answered: u32, asked: u32) {
        self.gateway.asked = asked;
        self.gateway.answered = answered;
        if answered >= self.settings.gateway_need {
            if self.gateway.silent_at.is_some_and(|silent| Some(silent) > self.gateway.answered_at) {
                self.listen_anew();
            }
            self.gateway.answered_at = Some(self.now);
            self.untell("gateway");
        } else {
            self.gateway.silent_at = Some(self.now);
            let text = format!("{answered} of {asked} gateway targets answer");
            self.tell_once("gateway", Why::new(Code::GatewaySilent, text));
        }
    }

    /// The loop itself was away: the host slept, or the process was stopped.
    fn on_resumed(&mut self, gap: Duration) {
        self.listen_anew();
        if gap <= self.settings.lease {
            return;
        }
        let text = format!("this node was paused for {} ms, longer than its lease", gap.as_millis());
        self.tell(Why::new(Code::NodePaused, text.clone()));
        self.consider(Matter::Paused(text));
    }

    /// A restart hands nothing over: the lease bridges it. Whoever wants a fence at every stop gets one here too.
    fn on_restart(&mut self) {
        if self.stopping.is_none() && self.settings.on_stop == OnStop::Handover {
            self.settings.on_stop = OnStop::Keep;
        }
        self.on_stop();
    }

    /// Nothing but settings changes: no role, no lease, no verdict.
    fn on_reload(&mut self, fresh: Settings) {
        let on_stop = self.stopping.map(|_| self.settings.on_stop);
        let mut settings = self.settings.clone().reloaded(fresh);
        // A stop that is under way ends as it began.
        settings.on_stop = on_stop.unwrap_or(settings.on_stop);
        self.database.verdict.count_to(settings.database);
        self.checks.reload(&settings.checks);
        self.settings = settings;
        // Not the reason for what this node is: it stays what it was.
        self.act(Action::Tell(Why::new(Code::ConfigReloaded, "the configuration was reloaded")));
    }

    fn on_stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(self.now);
            let text = match self.settings.on_stop {
                OnStop::Handover => "the daemon was told to stop: hand over",
                OnStop::Keep => "the daemon was told to stop: keep the gate for the restart",
                OnStop::Fence => "the daemon was told to stop: step down",
            };
            self.tell(Why::new(Code::StopAsked, text));
        }
    }

    pub(super) fn exit(&mut self) {
        if !self.exited {
            self.exited = true;
            self.act(Action::Exit);
        }
    }

    fn on_step_ended(&mut self, ticket: Ticket, result: StepResult) {
        let Some(purpose) = self.tickets.remove(&ticket) else {
            return;
        };
        self.note_effect(&purpose, &result);
        self.gate.note_end(ticket, &result);
        self.database.note_end(ticket);
        self.dispatch_step(purpose, result);
    }
}
