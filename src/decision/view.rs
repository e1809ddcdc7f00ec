//! What is shown of a node: one plain value, made from the same state that decides.

use super::event::{DatabaseReport, GateState};
use super::node::Node;
use super::peer::PeerFacts;
use super::phase::Phase;
use super::service_view::{Readiness, ServiceView};
use super::table::RowNumber;
use super::time::Instant;
use super::why::Why;
use super::words::{Epoch, Mode, Role};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A snapshot of the node. Times are absolute on this host's clock, so that whoever shows it can give ages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// When it was taken.
    pub taken: Instant,
    /// What the node does.
    pub role: Role,
    /// Where it is in its life, one word.
    pub phase: String,
    /// What the operator allows.
    pub mode: Mode,
    /// What is wrong with the mode file, if something is.
    pub mode_problem: Option<String>,
    /// Who set the mode.
    pub mode_actor: String,
    /// Why.
    pub mode_reason: String,
    /// Newest epoch known.
    pub epoch: Epoch,
    /// This node may serve alone in its epoch.
    pub solo: bool,
    /// The epoch for which this node may bid.
    pub eligible: Option<Epoch>,
    /// Clients are answered.
    pub serving: bool,
    /// The gate.
    pub gate: GateState,
    /// The gate process answers.
    pub gate_connected: bool,
    /// What the gate cannot do here.
    pub gate_degraded: Option<String>,
    /// The end of the lease, as earned.
    pub lease_end: Instant,
    /// The local server.
    pub database: DatabaseReport,
    /// Its verdict.
    pub database_healthy: Option<bool>,
    /// When it last reported.
    pub database_at: Option<Instant>,
    /// Configured checks.
    pub checks: Vec<CheckView>,
    /// What this node starts and stops.
    #[serde(default)]
    pub services: Vec<ServiceView>,
    /// What a takeover here would begin with; `None` without services.
    #[serde(default)]
    pub readiness: Option<Readiness>,
    /// What the starts of a takeover took when they were last measured here.
    #[serde(default)]
    pub starts_take: Option<Duration>,
    /// The interface; `None` before its first report.
    pub link: Option<(bool, String)>,
    /// Gateway targets: answered, asked.
    pub gateway: (u32, u32),
    /// The peer link is up.
    pub peer_up: bool,
    /// Heartbeats arrive.
    pub contact: bool,
    /// What the peer last said.
    pub peer: Option<PeerFacts>,
    /// When.
    pub heartbeat_at: Option<Instant>,
    /// First heartbeat of the present contact.
    pub contact_since: Option<Instant>,
    /// Last advertisement.
    pub advert_at: Option<Instant>,
    /// Last acknowledgement of our heartbeats.
    pub acknowledged_at: Option<Instant>,
    /// Both configurations agree; `None` before contact.
    pub configuration_matches: Option<bool>,
    /// The last decision.
    pub why: Why,
    /// What keeps this node from serving, were it asked; empty: nothing.
    pub not_active_because: Vec<String>,
    /// The latched fault.
    pub latched: Option<Why>,
    /// Too many automatic failovers.
    pub guarded: bool,
    /// No takeover before this.
    pub not_before: Instant,
    /// What the node waits for next.
    pub next_deadline: Instant,
    /// The last row of the transition table that moved this node, and when.
    pub moved: Option<(RowNumber, Instant)>,
    /// The rows that could move it next.
    pub next_moves: Vec<NextMove>,
    /// Things an operator should know and that go on: code and text.
    pub warnings: Vec<(String, String)>,
}

/// A row that could move a node, and how its conditions stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextMove {
    /// Which.
    pub row: RowNumber,
    /// Whether each of its conditions holds, in their order; `None` for those that speak of an event to come.
    pub holds: Vec<Option<bool>>,
}

/// One check, as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// Its name.
    pub name: String,
    /// Verdict; `None` before the first.
    pub ok: Option<bool>,
    /// Last result.
    pub detail: String,
    /// When.
    pub at: Option<Instant>,
    /// How long the probe took.
    pub took: Duration,
}

/// What of the node is worth showing at once when it changes; made at every event, so it owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headline {
    role: Role,
    mode: Mode,
    phase: &'static str,
    epoch: u64,
    serving: bool,
    contact: bool,
    eligible: bool,
    solo: bool,
    latched: bool,
    database: Option<bool>,
    configuration_matches: Option<bool>,
}

impl Node {
    /// The node in short.
    pub fn headline(&self) -> Headline {
        Headline {
            role: self.role(),
            mode: self.mode.mode,
            phase: self.phase.state().word(),
            epoch: self.durable.epoch.number,
            serving: self.serving(),
            contact: self.contact(),
            eligible: self.durable.eligible == Some(self.durable.epoch),
            solo: self.durable.solo.is_some(),
            latched: self.latched.is_some(),
            database: self.database.verdict.healthy(),
            configuration_matches: self.configuration_matches(),
        }
    }

    fn configuration_matches(&self) -> Option<bool> {
        self.peer.facts.as_ref().map(|facts| facts.config_hash == self.settings.config_hash)
    }

    /// What this node does, once a change is complete: a takeover may still fail, and a step-down is not over before
    /// the gate is shut. `None` on the way. For those who act on a role, as hooks do.
    pub fn settled_role(&self) -> Option<Role> {
        match self.phase.now() {
            Phase::Stopped | Phase::TakingOver(_) | Phase::SteppingDown(_) | Phase::Receiving(_) => None,
            Phase::Out | Phase::Standby | Phase::Bidding(_) | Phase::Active(_) | Phase::HandingOver(_) => {
                Some(self.role())
            }
        }
    }

    /// The VRRP priority that this node advertises, the weights of failing checks included.
    pub fn priority(&self) -> u8 {
        self.checks.priority(self.settings.priority, self.role() == Role::Active)
    }

    /// What the operator allows.
    pub const fn mode(&self) -> Mode {
        self.mode.mode
    }

    /// The last decision.
    pub const fn why(&self) -> &Why {
        &self.last_why
    }

    /// The newest epoch known here.
    pub const fn epoch(&self) -> Epoch {
        self.durable.epoch
    }

    /// The end of the lease, as earned; [`Instant::ZERO`] without one.
    pub const fn lease_end(&self) -> Instant {
        self.lease.end
    }

    /// The node as it stands.
    pub fn view(&self) -> View {
        let checks = self.checks.0.iter().map(|check| {
            let last = check.last.as_ref();
            CheckView {
                name: check.settings.name.clone(),
                ok: check.verdict.healthy(),
                detail: last.map(|(report, _)| report.detail.clone()).unwrap_or_default(),
                at: last.map(|(_, at)| *at),
                took: last.map(|(report, _)| report.took).unwrap_or_default(),
            }
        });
        let facts = self.peer.facts.as_ref();
        View {
            taken: self.now,
            role: self.role(),
            phase: self.phase.state().word().into(),
            mode: self.mode.mode,
            mode_problem: self.mode.problem.clone(),
            mode_actor: self.mode.actor.clone(),
            mode_reason: self.mode.reason.clone(),
            epoch: self.durable.epoch,
            solo: self.durable.solo.is_some(),
            eligible: self.durable.eligible,
            serving: self.serving(),
            gate: self.gate.state,
            gate_connected: self.gate.connected,
            gate_degraded: self.gate.degraded.clone(),
            lease_end: self.lease.end,
            database: self.database.report.clone(),
            database_healthy: self.database.verdict.healthy(),
            database_at: self.database.at,
            checks: checks.collect(),
            services: self.service_views(),
            readiness: self.readiness(),
            starts_take: self.starts_take(),
            link: self.link.as_ref().map(|(link, _)| (link.usable, link.detail.clone())),
            gateway: (self.gateway.answered, self.gateway.asked),
            peer_up: self.peer.up,
            contact: self.contact(),
            peer: facts.cloned(),
            heartbeat_at: self.peer.heartbeat_at,
            contact_since: self.peer.contact_since,
            advert_at: self.peer.advert_at,
            acknowledged_at: Some(self.lease.last_acknowledged).filter(|at| *at > Instant::ZERO),
            configuration_matches: self.configuration_matches(),
            why: self.last_why.clone(),
            not_active_because: self.not_active_because(),
            latched: self.latched.clone(),
            guarded: self.guarded(),
            not_before: self.bid_ends_at(),
            next_deadline: self.next_deadline(),
            moved: self.course.moved,
            next_moves: self.next_moves(),
            warnings: self.told.iter().map(|(code, text)| (code.to_string(), text.clone())).collect(),
        }
    }

    /// Everything that keeps this node from serving now.
    fn not_active_because(&self) -> Vec<String> {
        if matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_)) {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        if self.mode.mode == Mode::Maintenance {
            reasons.push(format!("the mode is maintenance ({}: {})", self.mode.actor, self.mode.reason));
        }
        if self.mode.mode != Mode::Maintenance && !self.takes_part() {
            reasons.push(self.no_part_text().into());
        }
        if self.peer_is_active() {
            reasons.push("the peer is active (no pre-emption)".into());
        }
        let eligible = self.durable.eligible == Some(self.durable.epoch);
        if !eligible && self.durable.solo.is_none() {
            reasons.push("it holds no right to bid: the active has not called it caught up".into());
        } else if !eligible && self.durable.solo_shared && !self.solo_is_proof() {
            reasons.push(
                "it went on alone while the peer held the right to take over, which may have used it".into(),
            );
        }
        if let Some((what, _)) = &self.peer.proof_of_life {
            reasons.push(format!("the silent peer lives: {what}"));
        }
        if self.now < self.bid_ends_at() {
            let left = self.bid_ends_at().since(self.now).as_millis();
            reasons.push(format!("the peer's lease is waited out for {left} ms more"));
        }
        reasons.extend(self.blocked().map(|why| why.text));
        reasons
    }

    /// Points in time at which the present phase must be looked at again.
    pub(super) fn phase_deadlines(&self) -> Vec<Instant> {
        let heartbeat = self.settings.heartbeat;
        let mut deadlines = self.service_deadlines();
        deadlines.extend([self.retry_at, self.follow.next_try]);
        deadlines.extend(self.peer.heartbeat_at.map(|at| at + 3 * heartbeat));
        match self.phase.now() {
            Phase::Standby => deadlines.extend(self.bid_time()),
            Phase::Bidding(_) => deadlines.extend([self.bid_cuts_at(), self.bid_ends_at()]),
            Phase::Active(_) | Phase::HandingOver(_) | Phase::TakingOver(_) => {
                deadlines.push(self.bid_ends_at());
                deadlines.push(self.lease.end);
                deadlines.push(self.lease.end + self.settings.slice());
                deadlines.push(self.lease.last_acknowledged + heartbeat * 3 / 2);
            }
            Phase::Stopped | Phase::Out | Phase::Receiving(_) | Phase::SteppingDown(_) => {}
        }
        deadlines
    }
}
