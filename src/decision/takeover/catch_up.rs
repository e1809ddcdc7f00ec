//! What the peer's living server has and this one lacks is fetched before a takeover opens.

use super::{ASK_PEER, ASK_SILENT_PEER, Cause, Code, Matter, Phase, TakeoverKind, TakeoverStep, Why};
use crate::decision::action::{DatabaseStep, Step};
use crate::decision::gtid::GtidState;
use crate::decision::node::Node;
use std::time::Duration;

/// How long what a server has may take to arrive when that server is not well.
const UNSEEN: Duration = Duration::from_millis(300);

/// How long this server may take for an answer that costs it nothing, before it is taken for the slow one.
const SLOW: Duration = Duration::from_millis(20);

/// How often the start of the replica may take too long.
const MOST_FOLLOWS: u8 = 3;

/// How many steps before [`TakeoverStep::CatchUp`](super::TakeoverStep) the peer is asked.
pub(super) const ASK_BEFORE_CATCH_UP: usize = 2;

impl Node {
    /// The peer's server answers and may have what has not arrived here.
    pub(super) fn peer_server_lives(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        match takeover.kind {
            // A daemon that is gone, or cannot reach its server, says nothing about the server.
            TakeoverKind::Released => !takeover.tail,
            TakeoverKind::Contact => self.peer_sees_its_server(),
            TakeoverKind::Silence => takeover.prepared.server_reachable,
            TakeoverKind::Planned | TakeoverKind::Handover | TakeoverKind::Forced => false,
        }
    }

    /// The peer's daemon is heard, and its server answers it.
    pub(super) fn peer_sees_its_server(&self) -> bool {
        self.fresh_facts().is_some_and(|facts| facts.database_reachable)
    }

    /// Waits for what the peer's server has; not for long where its own daemon does not see it: one whose disk is full
    /// tells of what it cannot send. Where it did not answer at all, this server is asked what costs it nothing: it may
    /// be the slow one of the two.
    pub(super) fn catch_up_with_peer(&self, applying: bool) -> Option<(Step, Duration)> {
        let Phase::TakingOver(takeover) = self.phase.now() else { return None };
        if takeover.unanswered.is_some() {
            let position = self.database.report.gtid.clone();
            return Some((Step::Database(DatabaseStep::WaitFor { position }), self.settings.drain_timeout));
        }
        let position = takeover.theirs.clone().filter(|_| applying)?;
        let seen = takeover.kind != TakeoverKind::Released || self.peer_sees_its_server();
        let limit = if seen { self.settings.drain_timeout } else { self.settings.drain_timeout.min(UNSEEN) };
        Some((Step::Database(DatabaseStep::WaitFor { position }), limit))
    }

    /// The peer's server did not answer in time, and then this one was slow too: that question proved nothing, and is
    /// asked again. Once where it was a little slow, which it may always be; as often as it was as slow as the question.
    pub(super) fn own_server_was_slow(&mut self) -> bool {
        let now = self.now;
        let Phase::TakingOver(takeover) = self.phase.within() else { return false };
        let Some(took) = takeover.unanswered.take().map(|at| now.since(at)) else { return false };
        let slow = took >= ASK_SILENT_PEER || took >= SLOW && !takeover.asked_again;
        if slow {
            takeover.asked_again = true;
            takeover.next -= ASK_BEFORE_CATCH_UP;
            takeover.ask_until = now + ASK_SILENT_PEER;
        }
        slow
    }

    /// Neither server answered: it is this one that is silent, and what it was asked is asked again once it answers.
    /// How long that may take is a matter of `on_undrained`.
    pub(super) fn own_server_is_silent(&mut self, text: &str, timed_out: bool) {
        let now = self.now;
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        if !timed_out {
            self.next_takeover_step();
            return;
        }
        takeover.next -= ASK_BEFORE_CATCH_UP;
        takeover.ask_until = now + ASK_SILENT_PEER;
        self.on_undrained(&format!("the database here does not answer: {text}"), true);
    }

    /// What this server has received, applied or not.
    pub(in crate::decision) fn arrived(&self) -> GtidState {
        let (report, none) = (&self.database.report, GtidState::default());
        report.gtid.union(report.replica.as_ref().map_or(&none, |replica| &replica.received))
    }

    /// Something has arrived since the peer's server was asked. Where nothing does in all that time, nothing will: a
    /// server whose disk is full answers, and tells of what it cannot send.
    pub(super) fn still_arrives(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        !takeover.arrived.covers(&self.arrived())
    }

    /// The replica does not run, because a takeover before this one stopped it, or was never started again: what the
    /// peer has is fetched by following it. Not where this node has something of its own: the two histories have
    /// parted.
    pub(super) fn fetch_from_peer(&mut self) -> Option<(Step, Duration)> {
        let idle = !self.replica_well();
        let may_go = self.nothing_waits_here();
        let Phase::TakingOver(takeover) = self.phase.within() else { return None };
        let (mine, theirs) = (&self.database.report.gtid, takeover.theirs.as_ref()?);
        let behind = theirs.covers(mine) && !mine.covers(theirs);
        let wanted = match takeover.kind {
            TakeoverKind::Contact => takeover.nothing_applies || idle,
            TakeoverKind::Silence | TakeoverKind::Released => takeover.nothing_applies || idle && may_go,
            TakeoverKind::Planned | TakeoverKind::Handover | TakeoverKind::Forced => false,
        };
        let first = takeover.follows == 0;
        let missing = theirs.distance_from(mine);
        if wanted && missing > 0 && !behind && !mine.covers(theirs) {
            let text = format!(
                "what only the peer's server has ({missing} transactions) stays there: the histories have parted"
            );
            self.tell_once("behind", Why::new(Code::TakeoverBehind, text));
            return None;
        }
        if !behind || !wanted || !(first || std::mem::take(&mut takeover.follow_again)) {
            return None;
        }
        takeover.follows += 1;
        let (position, own_tail_lost) = (Some(mine.position()), takeover.own_tail_lost);
        let step = Step::Database(DatabaseStep::Follow { position, own_tail_lost });
        Some((step, Duration::from_secs(2)))
    }

    /// The replica was started by this takeover: what it brings may be old.
    pub(in crate::decision) fn fetches_anew(&self) -> bool {
        matches!(self.phase.now(), Phase::TakingOver(takeover) if takeover.follows > 0)
    }

    /// A new start deletes the relay log. What is being applied from it must not go: nobody stands for the server that
    /// could send it again.
    fn nothing_waits_here(&self) -> bool {
        let applied = self.database.report.gtid.covers(&self.arrived());
        !self.database.may_apply() || (applied && !self.database.follows_unseen())
    }

    /// Asked to wait for what the peer's server has, this one said that nothing applies it, whatever the last look at it
    /// says: the peer is followed after all. Otherwise it is told, and left behind.
    pub(super) fn not_caught_up(&mut self, text: &str, timed_out: bool) {
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        let may_follow = takeover.follows == 0 || takeover.follow_again;
        if !timed_out && may_follow && !takeover.nothing_applies {
            takeover.nothing_applies = true;
            takeover.next -= 1;
            return;
        }
        let text = format!("what only the peer's server has does not arrive: {text}");
        self.tell(Why::new(Code::TakeoverBehind, text));
        self.next_takeover_step();
    }

    /// What the peer's living server has cannot be fetched. In contact a later try may do better; out of it nobody else is
    /// left to serve, so the takeover goes on without it, as it does without a server that does not answer.
    /// Where it took too long it is this server that is slow, and the peer's is asked again before the next attempt.
    pub(super) fn peer_is_not_followed(&mut self, text: &str, timed_out: bool) {
        let (contact, now) = (self.contact(), self.now);
        let Phase::TakingOver(takeover) = self.phase.within() else { return };
        if timed_out && takeover.follows < MOST_FOLLOWS {
            takeover.follow_again = true;
            takeover.next -= 1;
            takeover.ask_until = now + ASK_PEER;
            return;
        }
        takeover.follow_failed = true;
        if contact || takeover.kind == TakeoverKind::Contact {
            let text = format!("{:?}: {text}", TakeoverStep::FollowPeer);
            self.consider(Matter::StepFailed(Cause::TakeoverFailed, text));
            return;
        }
        takeover.theirs = None;
        let text = format!("what only the peer's server has is not fetched: {text}");
        self.tell(Why::new(Code::TakeoverBehind, text));
        self.next_takeover_step();
    }

    /// What an active that gave up has and nothing brings here: the replica does not run, and the histories have parted. A
    /// takeover that opened would leave it behind.
    pub(super) fn nothing_brings(&self, theirs: &GtidState) -> Option<String> {
        let released = matches!(self.phase.now(), Phase::TakingOver(on) if on.kind == TakeoverKind::Released);
        let mine = &self.database.report.gtid;
        let missing = theirs.distance_from(mine);
        (released && !self.database.may_apply() && !theirs.covers(mine) && missing > 0).then(|| {
            format!("the peer's server has {missing} transactions more, and lacks some of this one: no replica runs")
        })
    }
}
