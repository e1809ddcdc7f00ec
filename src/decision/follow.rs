//! Keeping a node that does not serve in its role: read-only, and following the active.
//!
//! Nothing is started on a guess: before a replica is started both servers are compared exactly, because a
//! start deletes the relay log and can hide a divergence behind "Yes/Yes" (reference: MariaDB, facts 1 and 4).

use super::action::{Comparison, DatabaseStep, RemoteStep, Step, StepOutput, StepResult};
use super::code::Code;
use super::gtid::GtidState;
use super::node::Node;
use super::peer::PeerFacts;
use super::phase::{Phase, Purpose, outcome};
use super::time::Instant;
use super::why::Why;
use super::words::{Mode, Role};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long between two attempts to bring the replica in order.
const RETRY: Duration = Duration::from_secs(3);

/// Where the following stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct FollowState {
    pub(super) busy: bool,
    pub(super) forbidding: bool,
    pub(super) next_try: Instant,
    /// When the policy `rejoin = "auto"` may try next.
    pub(super) next_rejoin: Instant,
    /// When both threads of the replica were last seen at work.
    pub(super) flowed_at: Option<Instant>,
    /// Since when the peer has newer data and cannot serve.
    #[serde(default)]
    behind_since: Option<Instant>,
    /// What keeps this node from following; shown as the reason of role `fault`.
    pub(super) problem: Option<String>,
    comparison: Option<Comparison>,
    /// Where both servers have something that the other lacks: this node's state, as it was judged.
    judged: Option<GtidState>,
    /// When a judgement that could not be given is asked for again.
    #[serde(default)]
    judge_again: Instant,
    restarts: u64,
}

impl FollowState {
    /// After a change of role everything is looked at anew.
    pub(super) fn reset(&mut self) {
        *self = FollowState { restarts: self.restarts, ..FollowState::default() };
    }
}

/// Steps of bringing the replica in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum FollowStep {
    /// Is what only this server has data, or nothing but notes of apd's own?
    Judge,
    Compare,
    Forget,
    Follow,
}

impl Node {
    pub(super) fn follow_rules(&mut self) {
        if self.database.at == Some(self.now)
            && self
                .database
                .report
                .replica
                .as_ref()
                .is_some_and(|replica| replica.receiving && replica.applying)
        {
            self.follow.flowed_at = Some(self.now);
        }
        let behind = self.peer_keeps_newer_data();
        self.follow.behind_since = self.follow.behind_since.or(Some(self.now)).filter(|_| behind);
        let report = &self.database.report;
        if !report.reachable {
            return;
        }
        if report.writable && !self.follow.forbidding {
            self.follow.forbidding = true;
            let text = "the database takes writes on a node that is not active: forbidden";
            self.tell(Why::new(Code::DatabaseRole, text));
            let step = Step::Database(DatabaseStep::ForbidWrites);
            self.start(step, Duration::from_secs(2), Purpose::Forbid);
            return;
        }
        if self.rejoin.is_some() || self.follow.busy || self.now < self.follow.next_try {
            return;
        }
        if self.follows_well() {
            if self.follow.problem.take().is_some() {
                self.untell("follow");
                let nobody = "there is no active to follow now";
                let text = if self.replica_well() { "the replica follows the active" } else { nobody };
                self.tell(Why::new(Code::FollowWell, text));
            }
            return;
        }
        if self.may_follow() {
            self.follow.busy = true;
            let step = Step::Remote(RemoteStep::Compare);
            self.start(step, Duration::from_secs(5), Purpose::Follow(FollowStep::Compare));
        }
    }

    /// The replica runs, from the peer, without error; or there is nobody to follow.
    pub(super) fn follows_well(&self) -> bool {
        let active = self.fresh_facts().is_some_and(|facts| facts.role == Role::Active && facts.serving);
        let fetches = self.follow.behind_since.is_some_and(|since| self.now >= since + RETRY);
        !(active || fetches) || self.replica_well()
    }

    /// The peer has all that is here and more, and cannot serve. Where that lasts, what it has is fetched, so that this
    /// node can.
    fn peer_keeps_newer_data(&self) -> bool {
        let mine = &self.database.report.gtid;
        self.fresh_facts().is_some_and(|facts| {
            let cannot = facts.role != Role::Active && (!facts.fit || facts.mode == Mode::Maintenance);
            cannot && facts.database_reachable && facts.gtid.covers(mine) && !mine.covers(&facts.gtid)
        })
    }

    /// Both threads of the replica work.
    pub(super) fn replica_well(&self) -> bool {
        self.database.report.replica.as_ref().is_some_and(|replica| {
            replica.applying && (replica.receiving || replica.connecting) && replica.error.is_empty()
        })
    }

    /// In maintenance a node follows on only if its data was handed over in order, or nobody took over from it.
    fn may_follow(&self) -> bool {
        match self.phase.now() {
            Phase::Standby => self.mode.mode == Mode::Ap,
            Phase::Out => {
                let handed_over = self.durable.handed_over == Some(self.durable.epoch);
                handed_over || !self.durable.maintenance_by_apd
            }
            _ => false,
        }
    }

    pub(super) fn on_follow_step(&mut self, step: FollowStep, result: StepResult) {
        self.follow.busy = false;
        self.follow.next_try = self.now + RETRY;
        if !matches!(self.phase.now(), Phase::Standby | Phase::Out) {
            return;
        }
        match (step, outcome(result)) {
            (FollowStep::Judge, Ok(StepOutput::Comparison(comparison))) => self.fork_judged(comparison),
            // Unjudged it counts as data.
            (FollowStep::Judge, _) => self.follow.judged = Some(self.database.report.gtid.clone()),
            (FollowStep::Compare, Ok(StepOutput::Comparison(comparison))) => self.follow_after(comparison),
            // After a judgement there is nobody to follow yet.
            (FollowStep::Forget, Ok(_)) if self.follow.comparison.is_none() => {}
            (FollowStep::Forget, Ok(_)) => self.start_following(),
            (FollowStep::Follow, Ok(_)) => {
                let text = format!("following {}", self.settings.peer_name);
                self.tell(Why::new(Code::FollowStarted, text));
            }
            (step, Ok(other)) => self.cannot_follow(format!("{step:?} brought {other:?}")),
            (step, Err(text)) => self.cannot_follow(format!("{step:?}: {text}")),
        }
    }

    fn follow_after(&mut self, comparison: Comparison) {
        if self.follows_well() || !self.may_follow() {
            // The comparison was long under way: nobody is to be followed any more.
            return;
        }
        if !comparison.errant.is_empty() {
            let list = comparison.errant.join(", ");
            self.cannot_follow(format!("diverged: only this node has {list}"));
            return;
        }
        let own_notes = comparison.own_notes > 0;
        let common = comparison.common.clone();
        self.follow.comparison = Some(comparison);
        if own_notes {
            self.follow.busy = true;
            let step = Step::Database(DatabaseStep::ForgetOwnTail { common });
            self.start(step, Duration::from_secs(10), Purpose::Follow(FollowStep::Forget));
        } else {
            self.start_following();
        }
    }

    /// Whether it is known that what only this server has is data. A takeover that failed leaves its row in the
    /// ledger: such notes must not win against writes that only the peer has.
    pub(super) fn fork_is_judged(&self, facts: &PeerFacts) -> bool {
        let mine = &self.database.report.gtid;
        let forked = !mine.covers(&facts.gtid) && !facts.gtid.covers(mine) && facts.database_reachable;
        !forked || self.follow.judged.as_ref() == Some(mine)
    }

    /// What only this server has was looked at, and is data.
    pub(super) fn is_judged(&self) -> bool {
        self.follow.judged.as_ref() == Some(&self.database.report.gtid)
    }

    /// Asks whether what only this server has is data.
    pub(super) fn judge_fork(&mut self) {
        if !self.follow.busy && self.now >= self.follow.judge_again {
            self.follow.busy = true;
            let step = Step::Remote(RemoteStep::Compare);
            self.start(step, Duration::from_secs(2), Purpose::Follow(FollowStep::Judge));
        }
    }

    fn fork_judged(&mut self, comparison: Comparison) {
        // Newer than the last probe.
        self.database.report.gtid = comparison.mine.clone();
        let under_way = !comparison.theirs.covers(&comparison.common);
        if comparison.errant.is_empty() && comparison.own_notes == 0 && under_way {
            // The peer has received it, and is about to apply it: then there is no fork.
            self.follow.judge_again = self.now + self.settings.heartbeat;
            return;
        }
        if !comparison.errant.is_empty() || comparison.own_notes == 0 {
            self.follow.judged = Some(comparison.mine);
            return;
        }
        self.tell(Why::new(
            Code::ForkNotes,
            "only notes of apd's own are here alone: the peer's data is newer",
        ));
        self.follow.busy = true;
        self.follow.comparison = None;
        self.database.report.gtid = comparison.common.clone();
        let step = Step::Database(DatabaseStep::ForgetOwnTail { common: comparison.common });
        self.start(step, Duration::from_secs(10), Purpose::Follow(FollowStep::Forget));
    }

    fn start_following(&mut self) {
        let Some(comparison) = self.follow.comparison.take() else { return };
        self.follow.busy = true;
        let position = Some(comparison.common.position());
        let step = DatabaseStep::Follow { position, own_tail_lost: comparison.own_tail_lost };
        self.start(Step::Database(step), Duration::from_secs(15), Purpose::Follow(FollowStep::Follow));
    }

    fn cannot_follow(&mut self, text: String) {
        let why = Why::new(Code::FollowFailed, format!("this node does not follow the active: {text}"));
        self.follow.problem = Some(text);
        self.tell_once("follow", why);
    }
}
