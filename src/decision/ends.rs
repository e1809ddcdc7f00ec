//! What ends an activity, or the way to one, with no time for a handover: one function for each row that says so.

use super::node::Node;
use super::phase::{Cause, Phase, Purpose};
use super::table::Matter;
use std::time::Duration;

/// How long the last one standing bears a database that does not answer.
const SLOW_PATIENCE: Duration = Duration::from_secs(3);

const GATE_CLOSED: &str = "the gate is closed: its lease was lost";
const ISOLATED: &str = "neither the peer nor the gateway targets answer";
const LEASE_OVER: &str = "the lease ran out before it could be renewed";

impl Node {
    pub(super) fn link_is_unusable(&self) -> bool {
        self.link.as_ref().is_some_and(|(link, _)| !link.usable)
    }

    pub(super) fn link_text(&self) -> String {
        let detail = self.link.as_ref().map(|(link, _)| link.detail.as_str()).unwrap_or_default();
        format!("the interface is unusable: {detail}")
    }

    pub(super) fn database_text(&self) -> String {
        format!("the database is not healthy: {}", self.database.report.detail)
    }

    /// A dead server ends an activity at once. A slow one ends it when the peer could do better; the last one
    /// standing bears it for a while, because a pause hurts its clients less than a reset.
    pub(super) fn database_ends_activity(&self) -> bool {
        if self.database.verdict.healthy() != Some(false) || self.is_cold() {
            return false;
        }
        let long = self.database.unhealthy_since.is_some_and(|since| self.now >= since + SLOW_PATIENCE);
        let serving = matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_));
        self.database.report.dead || !serving || long || self.peer_can_serve()
    }

    /// Nobody but a peer that takes over forbids writes on a server that was not started anew.
    pub(super) fn fenced_by_peer(&self) -> bool {
        let Phase::Active(active) = self.phase.now() else { return false };
        let report = &self.database.report;
        let heard = self.now < self.lease.last_acknowledged + self.settings.heartbeat * 3;
        let same_run = active.wrote_in_run == Some(report.restarts);
        report.reachable && !report.writable && same_run && !heard && !active.chore_running
    }

    pub(super) fn end_by_link(&mut self) -> Phase {
        let text = self.link_text();
        self.step_down(Cause::Link, text)
    }

    pub(super) fn end_by_database(&mut self) -> Phase {
        let text = self.database_text();
        self.step_down(Cause::Database, text)
    }

    pub(super) fn end_by_gate(&mut self) -> Phase {
        self.step_down(Cause::LeaseLost, GATE_CLOSED.into())
    }

    pub(super) fn end_isolated(&mut self) -> Phase {
        self.step_down(Cause::Isolated, ISOLATED.into())
    }

    pub(super) fn end_by_lease(&mut self) -> Phase {
        self.step_down(Cause::LeaseLost, LEASE_OVER.into())
    }

    pub(super) fn end_by_stop(&mut self) -> Phase {
        self.step_down(Cause::Stop, "the daemon stops".into())
    }

    pub(super) fn end_by_pause(&mut self) -> Phase {
        let text = match std::mem::take(&mut self.course.matter) {
            Matter::Paused(text) => text,
            other => format!("{other:?}"),
        };
        self.step_down(Cause::Paused, text)
    }

    pub(super) fn end_fenced(&mut self) -> Phase {
        let text = "the database was made read-only by someone else while the peer is silent";
        self.step_down(Cause::Fenced, text.into())
    }

    // While handing over: the peer is told first.

    /// The activity ends at once. The peer must not go on waiting for a release that will never come.
    fn abort_and_end(&mut self, cause: Cause, text: String) -> Phase {
        self.abort_handover();
        self.answer_switchover(false, &text);
        self.step_down(cause, text)
    }

    pub(super) fn abort_by_link(&mut self) -> Phase {
        let text = self.link_text();
        self.abort_and_end(Cause::Link, text)
    }

    pub(super) fn abort_by_database(&mut self) -> Phase {
        let text = self.database_text();
        self.abort_and_end(Cause::Database, text)
    }

    pub(super) fn abort_by_gate(&mut self) -> Phase {
        self.abort_and_end(Cause::LeaseLost, GATE_CLOSED.into())
    }

    pub(super) fn abort_isolated(&mut self) -> Phase {
        self.abort_and_end(Cause::Isolated, ISOLATED.into())
    }

    pub(super) fn abort_by_lease(&mut self) -> Phase {
        self.abort_and_end(Cause::LeaseLost, LEASE_OVER.into())
    }

    // On the way up.

    pub(super) fn fail_by_link(&mut self) -> Phase {
        let text = self.link_text();
        self.fail_takeover(Cause::Link, text)
    }

    pub(super) fn fail_by_database(&mut self) -> Phase {
        let text = self.database_text();
        self.fail_takeover(Cause::Database, text)
    }

    /// A slow network is no fault that an operator would have to clear.
    pub(super) fn fail_without_lease(&mut self) -> Phase {
        self.fail_takeover(Cause::Isolated, "the peer did not grant a lease".into())
    }

    pub(super) fn fail_by_step(&mut self) -> Phase {
        match std::mem::take(&mut self.course.matter) {
            Matter::StepFailed(cause, text) => self.fail_takeover(cause, text),
            other => self.fail_takeover(Cause::TakeoverFailed, format!("{other:?}")),
        }
    }

    pub(super) fn end_for_mode(&mut self) -> Phase {
        let text = format!("{} during the takeover", self.no_part_text());
        self.step_down(Cause::Mode, text)
    }

    pub(super) fn yield_in_contact(&mut self) -> Phase {
        self.step_down(Cause::NewerEpoch, "the peer serves already".into())
    }

    pub(super) fn end_without_consent(&mut self) -> Phase {
        self.step_down(Cause::Isolated, "the peer fell silent before the gate was opened".into())
    }

    pub(super) fn end_cut_off(&mut self) -> Phase {
        self.step_down(Cause::Isolated, "no gateway target answers any more".into())
    }

    /// Someone serves: a takeover that has not opened yet ends.
    pub(super) fn meet_life(&mut self) -> Phase {
        let what = self.peer.proof_of_life.as_ref().map(|(what, _)| what.clone()).unwrap_or_default();
        let text = format!("someone serves while this node takes over: {what}");
        // What was recorded for this takeover is no right for another one.
        self.durable.solo = None;
        self.persist(Purpose::Record);
        self.step_down(Cause::TakeoverFailed, text)
    }

    pub(super) fn fail_takeover(&mut self, cause: Cause, text: String) -> Phase {
        // What ends a takeover from outside says nothing about the next one.
        self.failures += u32::from(cause == Cause::TakeoverFailed);
        self.retry_at = self.now + Duration::from_secs(1) * self.failures.clamp(1, 10);
        let why = self.why_of_row(format!("the takeover failed: {text}"));
        if self.failures >= 3 {
            self.latched = Some(why.clone());
        }
        self.tell(why);
        self.step_down(cause, text)
    }
}
