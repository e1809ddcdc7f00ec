//! A node that does not serve: who may bid, when, and why not.
//!
//! The right to bid comes from the active's grant (`eligible`), from one's own durable solo record, from the
//! mode `standalone`, or, while both nodes see each other and neither is active, from having the better data.

use super::action::Action;
use super::code::Code;
use super::node::Node;
use super::peer::PeerFacts;
use super::phase::{Cause, Phase};
use super::table::Matter;
use super::takeover::{Right, TakeoverKind};
use super::time::Instant;
use super::why::Why;
use super::words::{Mode, NodeId, Protection, Role};
use std::time::Duration;

/// A standby that could not take over for this long after the last contact is no longer eligible: the old
/// active may have gone on alone meanwhile.
const ELIGIBLE_LAPSE: Duration = Duration::from_secs(5);

impl Node {
    /// The gate is open under a living lease of this node's own epoch.
    pub(super) fn own_lease_lives(&self) -> bool {
        let gate = self.gate.state;
        gate.open
            && gate.epoch == self.durable.epoch
            && self.durable.epoch.node == self.settings.me
            && gate.lease_end > self.now
            && self.mode.mode != Mode::Maintenance
    }

    pub(super) fn resume(&mut self) -> Phase {
        let gate = self.gate.state;
        self.lease.end = gate.lease_end;
        self.say(format!("the lease of epoch {} still lives: this node goes on as active", gate.epoch));
        self.become_active_again()
    }

    pub(super) fn shut_found_gate(&mut self) -> Phase {
        self.step_down(Cause::LeaseLost, "the gate was open at the start without a right to it".into())
    }

    pub(super) fn enter_standby(&mut self) -> Phase {
        Phase::Standby
    }

    pub(super) fn enter_out(&mut self) -> Phase {
        Phase::Out
    }

    /// The end of a run that serves nothing.
    pub(super) fn leave(&mut self) -> Phase {
        self.exit();
        Phase::Stopped
    }

    pub(super) fn nothing(&mut self) {}

    /// What a node that follows does whatever happened.
    pub(super) fn keep_following(&mut self) {
        self.lapse_eligibility();
        self.follow_rules();
        self.rejoin_rules();
    }

    /// What a node in maintenance does whatever happened.
    pub(super) fn keep_out(&mut self) {
        self.follow_rules();
        self.rejoin_rules();
        if let Some(nag_at) = self.mode.nag_at.filter(|at| self.now >= *at) {
            self.mode.nag_at = Some(nag_at + Duration::from_secs(3600));
            self.tell(Why::new(Code::MaintenanceLong, "maintenance lasts longer than was asked for"));
        }
    }

    pub(super) fn forget_blocked(&mut self) {
        self.untell("blocked");
    }

    /// Says what stands against a takeover, once.
    fn say_blocked_by(&mut self, text: &str) {
        let why = self.why_of_row(text);
        self.tell_once("blocked", why);
    }

    pub(super) fn say_blocked(&mut self) {
        if let Some(why) = self.blocked() {
            self.tell_once("blocked", why);
        }
    }

    pub(super) fn say_peer_unfit(&mut self) {
        if let InContact::PeerUnfit(text) = self.in_contact() {
            self.say_blocked_by(&text);
        }
    }

    pub(super) fn say_nobody_better(&mut self) {
        if let InContact::Unknown(text) = self.in_contact() {
            self.say_blocked_by(&text);
        }
    }

    pub(super) fn say_unproven(&mut self) {
        self.say_blocked_by("the peer is not seen and nothing proves that this node has the newest data");
    }

    /// The peer closed its gate and said so: no lease has to be waited out.
    pub(super) fn released_to_this_node(&self) -> bool {
        let Some(released) = self.peer.released.as_ref() else { return false };
        let granted = self.durable.eligible == Some(released.epoch);
        let current = released.epoch == self.durable.epoch && released.operation.is_none();
        current && granted && !self.peer_is_active()
    }

    pub(super) fn take_over_released(&mut self) -> Phase {
        self.begin_takeover(TakeoverKind::Released, Right::Released)
    }

    pub(super) fn take_over_in_contact(&mut self) -> Phase {
        let InContact::Mine(right) = self.in_contact() else { return Phase::Standby };
        self.begin_takeover(TakeoverKind::Contact, right)
    }

    pub(super) fn force_takeover(&mut self) -> Phase {
        self.begin_takeover(TakeoverKind::Forced, Right::Operator)
    }

    /// Neither is active and both see each other: newest data first.
    pub(super) fn in_contact(&self) -> InContact {
        let Some(facts) = self.fresh_facts() else { return InContact::NotMine };
        let settled =
            self.peer.contact_since.is_some_and(|since| self.now >= since + 3 * self.settings.heartbeat);
        if !settled || !self.heard_since_idle() || self.blocked().is_some() {
            return InContact::NotMine;
        }
        if self.mode.mode == Mode::Standalone {
            return if !self.fork_is_judged(facts) {
                InContact::Unjudged
            } else if facts.mode != Mode::Standalone || self.durable.epoch > facts.epoch {
                InContact::Mine(Right::Standalone)
            } else {
                InContact::NotMine
            };
        }
        let peer_may = facts.fit && facts.mode != Mode::Maintenance;
        if facts.mode == Mode::Standalone {
            return InContact::NotMine;
        }
        let has_all = facts.database_reachable && self.database.report.gtid.covers(&facts.gtid);
        let may_instead =
            self.fitness_is_known() && has_all || self.durable.eligible == Some(self.durable.epoch);
        match self.preferred(facts) {
            Preferred::Me if self.fork_is_judged(facts) => InContact::Mine(Right::Contact),
            Preferred::Me => InContact::Unjudged,
            Preferred::Peer if !peer_may && may_instead => InContact::Mine(Right::Contact),
            Preferred::Peer if !peer_may => {
                InContact::PeerUnfit(format!("the peer has newer data and cannot serve: {}", facts.why))
            }
            Preferred::Peer => InContact::NotMine,
            Preferred::Unknown(text) => InContact::Unknown(text),
        }
    }

    /// Data superset first, then the epoch's node, then priority and address for a complete tie.
    fn preferred(&self, facts: &PeerFacts) -> Preferred {
        if self.is_cold() && !facts.database_reachable {
            return self.preferred_when_cold(facts);
        }
        if !self.database.report.reachable {
            return Preferred::Peer;
        }
        if !facts.database_reachable {
            let mine = self.durable.solo == Some(self.durable.epoch)
                || self.durable.eligible == Some(self.durable.epoch);
            return if mine {
                Preferred::Me
            } else {
                Preferred::Unknown("the peer's database does not answer, and it may have newer data".into())
            };
        }
        let mine = &self.database.report.gtid;
        let (cover, covered) = (mine.covers(&facts.gtid), facts.gtid.covers(mine));
        let was_active = if self.durable.epoch >= facts.epoch { self.durable.epoch } else { facts.epoch };
        match (cover, covered) {
            (true, false) => Preferred::Me,
            (false, true) => Preferred::Peer,
            _ if was_active.number > 0 && was_active.node == self.settings.me => Preferred::Me,
            _ if was_active.number > 0 => Preferred::Peer,
            (true, true) if self.settings.me > self.peer_id() => Preferred::Me,
            (true, true) => Preferred::Peer,
            (false, false) => {
                Preferred::Unknown("both databases have transactions that the other lacks".into())
            }
        }
    }

    /// Neither server runs: whoever served last has the newest data.
    fn preferred_when_cold(&self, facts: &PeerFacts) -> Preferred {
        let newest = self.durable.epoch.max(facts.epoch);
        let mine = if newest.number > 0 { newest.node } else { NodeId(2) } == self.settings.me;
        if mine { Preferred::Me } else { Preferred::Peer }
    }

    /// The peer is silent: what gives this node the right to go on alone.
    pub(super) fn right_in_silence(&self) -> Option<Right> {
        let epoch = self.durable.epoch;
        if self.mode.mode == Mode::Standalone {
            Some(Right::Standalone)
        } else if epoch.number > 0 && self.solo_is_proof() {
            Some(Right::Solo)
        } else if epoch.number > 0 && self.durable.eligible == Some(epoch) {
            Some(Right::Eligible)
        } else {
            None
        }
    }

    /// When the silence is long enough to begin a bid; at a start also the wait for the peer.
    pub(super) fn bid_time(&self) -> Option<Instant> {
        let heard = self.peer.heartbeat_at.max(self.peer.advert_at);
        let started = self.started?;
        let silence = heard.unwrap_or(started) + 3 * self.settings.heartbeat;
        Some(if heard.is_some_and(|at| at > started) { silence } else { started + self.settings.peer_wait })
    }

    /// What keeps a node with the right from using it; `None`: nothing.
    pub(super) fn blocked(&self) -> Option<Why> {
        let mut reasons = self.unfit();
        if self.durable.rebuilding {
            reasons.push("its data is being rebuilt".into());
        }
        if self.settings.protection == Protection::Gateway
            && self.mode.mode != Mode::Standalone
            && !self.contact()
            && self.targets_silent()
        {
            reasons.push("no gateway target answers: this node may be the isolated one".into());
        }
        if self.guarded() && !self.contact() {
            reasons.push(format!(
                "guarded: more than {} automatic failovers within an hour (apctl clear)",
                self.settings.max_failovers_per_hour
            ));
        }
        if reasons.is_empty() {
            return None;
        }
        Some(Why::new(Code::TakeoverBlocked, format!("this node does not take over: {}", reasons.join("; "))))
    }

    /// What makes this node unable to serve, whoever asks.
    pub(super) fn unfit(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some((link, _)) = self.link.as_ref().filter(|(link, _)| !link.usable) {
            reasons.push(format!("the interface is unusable: {}", link.detail));
        }
        let sick = self.database.verdict.healthy() != Some(true) || !self.database.report.reachable;
        if sick && !self.is_cold() {
            let detail = &self.database.report.detail;
            let detail = if detail.is_empty() { "no answer yet" } else { detail };
            reasons.push(format!("its database is not healthy: {detail}"));
        }
        if !self.gate.connected {
            reasons.push("its gate process does not answer".into());
        }
        reasons.extend(self.checks.faults(matches!(self.role_wanted(), Role::Active)));
        reasons.extend(self.service_faults());
        if self.mode.mode != Mode::Maintenance && !self.takes_part() {
            reasons.push(self.no_part_text().into());
        }
        if self.mode.left_unwritten {
            reasons.push("the mode file still says maintenance".into());
        }
        if let Some(why) = &self.latched {
            reasons.push(format!("latched: {} (apctl clear)", why.text));
        }
        reasons
    }

    fn role_wanted(&self) -> Role {
        match self.phase.now() {
            Phase::Active(_) | Phase::HandingOver(_) => Role::Active,
            _ => Role::Standby,
        }
    }

    /// What makes a standby a fault: unfit, or it does not follow although the active is there.
    pub(super) fn unfit_for_standby(&self) -> Vec<String> {
        let mut reasons = self.unfit();
        reasons.extend(self.follow.problem.iter().cloned());
        reasons
    }

    /// More automatic failovers within the hour than the operator allows.
    pub(super) fn guarded(&self) -> bool {
        let hour_ago = self.now - Duration::from_secs(3600);
        let recent = self.failovers.iter().filter(|at| **at >= hour_ago).count();
        recent >= usize::try_from(self.settings.max_failovers_per_hour).unwrap_or(usize::MAX)
    }

    /// Whether the targets are known to be silent (a probe that is still unanswered is not silence yet).
    pub(super) fn targets_silent(&self) -> bool {
        match (self.gateway.answered_at, self.gateway.silent_at) {
            (Some(answered), Some(silent)) => silent > answered,
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    /// The peer's heartbeats arrive.
    pub(super) fn contact(&self) -> bool {
        self.peer.heartbeat_at.is_some_and(|at| self.now < at + 3 * self.settings.heartbeat)
    }

    /// Both sides were looked at after this node's own activity ended. A heartbeat from before may be the last of
    /// a contact that is gone, and its positions are those of a pair that still had an active.
    fn heard_since_idle(&self) -> bool {
        let heard_after = self.idle_since + self.settings.heartbeat;
        self.idle_since == Instant::ZERO
            || (self.peer.heartbeat_at.is_some_and(|at| at >= heard_after)
                && self.database.at.is_some_and(|at| at >= self.idle_since))
    }

    /// The peer's facts, while they are fresh.
    pub(super) fn fresh_facts(&self) -> Option<&PeerFacts> {
        self.peer.facts.as_ref().filter(|_| self.contact())
    }

    /// The peer says that it is active in the newest epoch, or advertises while its link is silent.
    pub(super) fn peer_is_active(&self) -> bool {
        let by_facts = self
            .fresh_facts()
            .is_some_and(|facts| facts.role == Role::Active && facts.epoch >= self.durable.epoch);
        by_facts || (!self.contact() && self.advertised_recently())
    }

    fn advertised_recently(&self) -> bool {
        let interval = self.peer.advert.map_or(self.settings.advert_interval, |advert| advert.interval);
        self.peer.advert.is_some_and(|advert| advert.priority > 0)
            && self.peer.advert_at.is_some_and(|at| self.now < at + 3 * interval)
    }

    /// How long after the last contact a standby may bid.
    pub(super) fn eligible_lapse(&self) -> Duration {
        ELIGIBLE_LAPSE.max(4 * self.settings.lease) + self.settings.failover_hold
    }

    /// This node went on alone in the newest epoch that it knows, and nobody can have taken over after it.
    pub(super) fn solo_is_proof(&self) -> bool {
        self.durable.solo == Some(self.durable.epoch) && !self.durable.solo_shared
    }

    /// The peer, which has acknowledged nothing since `last`, has lost its right to take over, or has used it long
    /// enough ago to be noticed by a node that serves.
    pub(super) fn right_there_lapsed(&self, last: Instant) -> bool {
        let heard =
            last.max(self.started.unwrap_or_default()).max(self.peer.heartbeat_at.unwrap_or_default());
        self.now >= heard + self.eligible_lapse() + self.settings.lease * 4 + Duration::from_secs(1)
    }

    fn lapse_eligibility(&mut self) {
        let Some(epoch) = self.durable.eligible else { return };
        // Advertisements alone do not carry a revocation; a stream that flows shows that none is due.
        // A takeover of this node's own that failed: the active had given up, or was waited out, before it began.
        let tried = (epoch.node == self.settings.me).then_some(self.retry_at);
        let heard = self.peer.heartbeat_at.max(self.started).max(self.follow.flowed_at).max(tried);
        let lapse = self.eligible_lapse();
        if heard.is_some_and(|at| self.now >= at + lapse) {
            self.durable.eligible = None;
            self.persist(super::phase::Purpose::Record);
            if self.solo_is_proof() {
                return;
            }
            let text = format!(
                "no contact for {} s and no takeover: the active of epoch {epoch} may have gone on alone, \
                 so this node no longer bids by itself",
                lapse.as_secs()
            );
            let why = Why::new(Code::EligibleLapsed, text);
            self.tell(why);
        }
    }

    /// Someone answered for the address, or wrote heartbeat rows, when the lease should have been dead.
    pub(super) fn on_proof_of_life(&mut self, topic: &'static str, what: String) {
        if self.now < self.wait.lease_dead || self.contact() {
            return;
        }
        self.peer.proof_of_life = Some((what.clone(), self.now));
        self.wait.proof_of_life(&self.settings, self.now);
        self.consider(Matter::Nothing);
        let text = format!("the peer is silent on VRRP and the peer link, but it lives: {what}");
        let why = Why::new(Code::ProofOfLife, text);
        self.tell_once(topic, why);
    }

    /// Rows that a takeover fetches of a server without its daemon arrive late, and prove nothing.
    pub(super) fn on_stream_alive(&mut self) {
        if !self.fetches_anew() {
            let text = "fresh heartbeat rows arrive in the replication stream";
            self.on_proof_of_life("life.stream", text.into());
        }
    }

    /// Looks for life while the active is silent, and not longer.
    pub(super) fn watch_for_life(&mut self, on: bool) {
        self.act(Action::WatchForLife { on });
    }
}

/// What follows from seeing each other while neither is active.
pub(super) enum InContact {
    /// This node serves, by this right.
    Mine(Right),
    /// Not before it is known whether what only this node has is data.
    Unjudged,
    /// The peer would, and cannot.
    PeerUnfit(String),
    /// Nobody by itself.
    Unknown(String),
    /// The peer, or it is too early to say.
    NotMine,
}

/// Who shall serve when both see each other and neither is active.
enum Preferred {
    Me,
    Peer,
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::settings::tests::settings;

    #[test]
    fn failovers_count_for_an_hour() {
        let minute = |number: u64| Instant::from_millis(number * 60_000);
        // When this node took over, what time it is, whether it may not by itself; three within an hour are allowed.
        let table: &[(&[u64], u64, bool)] = &[
            (&[], 100, false),
            (&[100, 110], 111, false),
            (&[100, 110, 120], 121, true),
            (&[100, 110, 120], 159, true),
            (&[100, 110, 120], 160, true),
            (&[100, 110, 120], 161, false),
            (&[100, 110, 120, 155], 165, true),
            (&[100, 110, 120, 155], 171, false),
        ];
        for (failovers, now, guarded) in table {
            let mut node = Node::new(settings());
            node.failovers.extend(failovers.iter().map(|at| minute(*at)));
            node.now = minute(*now);
            assert_eq!(node.guarded(), *guarded, "{failovers:?} at {now}");
        }
    }
}
