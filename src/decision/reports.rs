//! What the gate process and the database watcher report: noted, and said where an operator should know.

use super::action::{Action, DatabaseStep, Step, Ticket};
use super::code::Code;
use super::event::{DatabaseReport, GateReport, LinkReport};
use super::node::{DatabaseView, Node};
use super::why::Why;
use std::time::Duration;

/// The first report after a replica was started may have been read before it; the one after that was not.
const LOOKS_AFTER_FOLLOW: u8 = 2;

impl Node {
    pub(super) fn on_gate(&mut self, report: GateReport) {
        match report {
            GateReport::Connected(state) => {
                self.gate.connected = true;
                self.gate.state = state;
                self.untell("gate");
            }
            GateReport::Disconnected => {
                self.gate.connected = false;
                self.tell_once(
                    "gate",
                    Why::new(
                        Code::GateGone,
                        "the gate process is gone; the kernel closes the gate at lease end",
                    ),
                );
            }
            GateReport::LeaseLost { epoch, reason } => {
                self.gate.state.open = false;
                self.gate.state.address_held = false;
                self.tell(Why::new(Code::LeaseLost, format!("the lease of epoch {epoch} is lost: {reason}")));
            }
            GateReport::AddressRestored { address } => {
                self.act(Action::Announce);
                self.tell(Why::new(
                    Code::AddressRestored,
                    format!("{address} was deleted by someone else and is back"),
                ));
            }
            GateReport::AddressRemoved { address } => self.tell(Why::new(
                Code::AddressRemoved,
                format!("{address} was on the interface of a node that is not active and was removed"),
            )),
            GateReport::TablesReinstalled => self.tell(Why::new(
                Code::GateFlushed,
                "someone flushed the nftables rules of the gate; they are back",
            )),
            GateReport::Degraded { reason } => {
                self.gate.degraded = Some(reason.clone());
                self.tell_once("gate.degraded", Why::new(Code::GateDegraded, reason));
            }
        }
    }

    pub(super) fn on_link(&mut self, report: LinkReport) {
        let was_down = self.link.as_ref().is_some_and(|(link, _)| !link.usable);
        if was_down && report.usable {
            self.listen_anew();
        }
        self.link = Some((report, self.now));
    }

    /// A node that heard nothing because it was cut off has heard nothing yet: it listens as after a start.
    pub(super) fn listen_anew(&mut self) {
        let settings = &self.settings;
        self.wait.sign_of_life(settings, settings.lease, settings.advert_interval, self.now);
    }

    pub(super) fn on_database(&mut self, report: DatabaseReport) {
        let healthy = report.reachable && report.write_stalled.is_none();
        let before = self.database.verdict.healthy();
        self.database.verdict.take(healthy, report.dead);
        self.remember_position(&report);
        if report.reachable {
            self.database.looks_due = self.database.looks_due.saturating_sub(1);
        }
        self.database.report = report;
        self.database.at = Some(self.now);
        self.learn_from_ledger();
        let after = self.database.verdict.healthy();
        if before != after {
            self.database.unhealthy_since = (after == Some(false)).then_some(self.now);
            let detail = self.database.report.detail.clone();
            let rests = self.is_cold() || self.database_rests();
            self.tell(match after {
                Some(false) if rests => {
                    Why::new(Code::ServiceStopped, "the database rests: apd starts it in its time")
                }
                Some(false) => {
                    Why::new(Code::DatabaseUnhealthy, format!("the database is not healthy: {detail}"))
                }
                _ => Why::new(Code::DatabaseHealthy, "the database answers"),
            });
        }
        let privileged = self.database.report.privileged_clients.join(", ");
        if privileged.is_empty() {
            // Sessions come and go: what is quiet for a while is said anew when it comes again.
            if self.database.privileged_at.is_none_or(|at| self.now >= at + Duration::from_secs(600)) {
                self.untell("database.privileged");
            }
        } else {
            self.database.privileged_at = Some(self.now);
            self.tell_once(
                "database.privileged",
                Why::new(
                    Code::DatabasePrivileged,
                    format!("accounts that bypass read_only are in use by clients: {privileged}"),
                ),
            );
        }
    }

    /// Keeps positions of the last second: the peer's own report is up to a probe and a heartbeat old, and must
    /// not look behind for that.
    fn remember_position(&mut self, report: &DatabaseReport) {
        let second_ago = self.now - Duration::from_secs(1);
        let earlier = &mut self.database.earlier;
        if earlier.back().is_none_or(|(at, _)| self.now >= *at + Duration::from_millis(100)) {
            earlier.push_back((self.now, report.binlog_position.clone()));
        }
        while earlier.get(1).is_some_and(|(at, _)| *at <= second_ago) {
            earlier.pop_front();
        }
    }

    /// How many transactions the peer lacks of what this server had about a second ago; 0: it is caught up.
    pub(super) fn peer_behind(&self) -> u64 {
        let theirs = self.fresh_facts().map(|facts| facts.gtid.clone()).unwrap_or_default();
        match self.database.earlier.front() {
            Some((_, position)) if !theirs.reaches(position) => position.distance_from(&theirs).max(1),
            _ => 0,
        }
    }

    /// This server's newest transaction is its own, and nothing that an earlier primary sent waits beside it: a row
    /// that somebody wrote past `read_only` on a standby is no activity.
    pub(super) fn wrote_last(&self) -> bool {
        let report = &self.database.report;
        let idle = report.replica.as_ref().is_none_or(|replica| {
            let stopped = !replica.receiving && !replica.connecting && !replica.applying;
            stopped && report.gtid.covers(&replica.received)
        });
        if !idle || self.database.follows_unseen() {
            return false;
        }
        let mut newest = report.binlog_position.iter().peekable();
        newest.peek().is_some() && newest.all(|gtid| gtid.server == report.server_id)
    }
}

impl DatabaseView {
    /// A replica that is being started; only one step is in the lane at a time.
    pub(super) const fn note_start(&mut self, step: &Step, ticket: Ticket) {
        if matches!(step, Step::Database(DatabaseStep::Follow { .. })) {
            self.following = Some(ticket);
        }
    }

    /// Its start ended, well or not: a step that was too late may have had its effect.
    pub(super) fn note_end(&mut self, ticket: Ticket) {
        if self.following == Some(ticket) {
            (self.following, self.looks_due) = (None, LOOKS_AFTER_FOLLOW);
        }
    }

    /// A replica was started, or is being started, and the newest report may be of the time before it.
    pub(super) const fn follows_unseen(&self) -> bool {
        self.following.is_some() || self.looks_due > 0
    }

    /// There is a replica, or may be.
    pub(super) fn may_replicate(&self) -> bool {
        self.report.replica.is_some() || self.follows_unseen()
    }

    /// Its applying thread runs, or may.
    pub(super) fn may_apply(&self) -> bool {
        self.report.replica.as_ref().is_some_and(|replica| replica.applying) || self.follows_unseen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::peer::PeerFacts;
    use crate::decision::settings::tests::settings;
    use crate::decision::time::Instant;

    #[test]
    fn the_peer_lacks_what_was_here_a_second_ago() {
        let mut node = Node::new(settings());
        let gtids = |text: &str| text.parse().expect("a set of GTIDs");
        // Milliseconds, where this server is then, where the peer says to be, how far that is behind.
        let table: &[(u64, &str, &str, u64)] = &[
            (10_000, "0-1-10", "0-1-10", 0),
            (10_050, "0-1-15", "0-1-10", 0),
            (10_500, "0-1-20", "0-1-10", 0),
            (10_900, "0-1-30", "0-1-9", 1),
            (11_100, "0-1-30", "0-1-10", 0),
            (11_500, "0-1-30", "0-1-10", 10),
            (11_900, "0-1-30", "0-1-20", 10),
            (12_000, "0-1-31", "0-1-30", 0),
        ];
        for (now, here, there, behind) in table {
            node.now = Instant::from_millis(*now);
            let report = DatabaseReport { binlog_position: gtids(here), ..DatabaseReport::default() };
            node.remember_position(&report);
            let facts = node.facts();
            node.peer.heartbeat_at = Some(node.now);
            node.peer.facts = Some(PeerFacts { gtid: gtids(there), ..facts });
            assert_eq!(node.peer_behind(), *behind, "at {now}: {here} here, {there} there");
        }
    }
}
