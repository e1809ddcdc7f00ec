//! What the peer's living server has and this one lacks is fetched before a takeover opens.

use super::{ASK_SILENT_PEER, Phase, TakeoverKind};
use crate::decision::action::{DatabaseStep, Step};
use crate::decision::event::ReplicaReport;
use crate::decision::gtid::GtidState;
use crate::decision::node::Node;
use std::time::Duration;

/// How long what a server has may take to arrive when that server is not well.
const UNSEEN: Duration = Duration::from_millis(300);

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

    /// The peer's server did not answer in time, and then this one did not for as long: that question proved nothing,
    /// and is asked again.
    pub(super) fn own_server_was_slow(&mut self) -> bool {
        let now = self.now;
        let Phase::TakingOver(takeover) = self.phase.within() else { return false };
        let slow = takeover.unanswered.take().is_some_and(|at| now >= at + ASK_SILENT_PEER);
        if slow {
            takeover.next -= ASK_BEFORE_CATCH_UP;
            takeover.ask_until = now + ASK_SILENT_PEER;
        }
        slow
    }

    /// What this server has received, applied or not.
    pub(super) fn arrived(&self) -> GtidState {
        let (report, none) = (&self.database.report, GtidState::default());
        report.gtid.union(report.replica.as_ref().map_or(&none, |replica| &replica.received))
    }

    /// Something has arrived since the peer's server was asked. Where nothing does in all that time, nothing will: a
    /// server whose disk is full answers, and tells of what it cannot send.
    pub(super) fn still_arrives(&self) -> bool {
        let Phase::TakingOver(takeover) = self.phase.now() else { return false };
        !takeover.arrived.covers(&self.arrived())
    }

    /// In contact, and the replica does not run, because a takeover before this one stopped it, or was never started
    /// again: what the peer has is fetched by following it. Not where this node has something of its own: the two
    /// histories have parted.
    pub(super) fn follow_peer(&self) -> Option<(Step, Duration)> {
        let Phase::TakingOver(takeover) = self.phase.now() else { return None };
        let (mine, theirs) = (&self.database.report.gtid, takeover.theirs.as_ref()?);
        let behind = theirs.covers(mine) && !mine.covers(theirs);
        let wanted = takeover.kind == TakeoverKind::Contact && behind && !self.replica_well();
        let own_tail_lost = takeover.own_tail_lost;
        let position = Some(mine.position());
        let step = Step::Database(DatabaseStep::Follow { position, own_tail_lost });
        wanted.then_some((step, Duration::from_secs(2)))
    }

    /// The replica was started a moment ago: the next look at the server will show it.
    pub(super) fn peer_is_followed(&mut self) {
        self.database.report.replica =
            Some(ReplicaReport { connecting: true, applying: true, ..ReplicaReport::default() });
    }

    /// What an active that gave up has and nothing brings here: the replica does not run, because this server was
    /// started anew a moment ago. It is put in order by a standby; a takeover that opened would leave it behind.
    pub(super) fn nothing_brings(&self, theirs: &GtidState) -> Option<String> {
        let released = matches!(self.phase.now(), Phase::TakingOver(on) if on.kind == TakeoverKind::Released);
        let runs = self.database.may_apply();
        let missing = theirs.distance_from(&self.database.report.gtid);
        (released && !runs && missing > 0).then(|| {
            format!("the peer's server has {missing} transactions more, and the replica here does not run")
        })
    }
}
