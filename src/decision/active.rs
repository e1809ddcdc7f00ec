//! The node that serves: its lease, its heartbeats and advertisements, and what ends its activity.

use super::action::{Action, AddressStep, DatabaseStep, Lane, Step, StepResult};
use super::code::Code;
use super::node::Node;
use super::peer::{Heartbeat, PeerFacts, PeerMessage};
use super::phase::{Cause, Phase, Purpose};
use super::settings::{OnStop, Settings};
use super::time::Instant;
use super::why::Why;
use super::words::{Mode, Protection, Role};
use std::time::Duration;

/// How long a standby's replica may stand still before its right to bid is revoked.
const REVOKE_AFTER: Duration = Duration::from_secs(1);
/// How long a stop waits for a peer that follows and cannot quite serve yet.
const STOP_WAIT: Duration = Duration::from_secs(1);

impl Node {
    /// Rules that hold in every phase.
    pub(super) fn common_rules(&mut self) {
        self.forget_lost_contact();
        self.service_rules();
        self.lift_leftover_cut();
        self.write_again();
    }

    /// What a node that serves does whatever happened: its lease, and what is left of its takeover.
    pub(super) fn keep_serving(&mut self) {
        self.keep_lease();
        self.thaw_again();
        self.chore_rules();
    }

    /// ... and its server's role, and the standby's right to bid.
    pub(super) fn keep_pair(&mut self) {
        self.repair_database_role();
        self.grant_eligibility();
    }

    /// The peer's acknowledgements renew the lease by themselves; when they stop, the level says who may go on.
    pub(super) fn keep_lease(&mut self) {
        let silent = self.now >= self.lease.last_acknowledged + self.settings.heartbeat * 3 / 2;
        let Some(active) = self.activity() else { return };
        let (recorded, recording) = (active.solo_recorded, active.solo_recording);
        if !silent && self.mode.mode != Mode::Standalone {
            self.untell("solo");
            return;
        }
        if silent && self.settings.protection == Protection::Gateway && self.mode.mode != Mode::Standalone {
            self.probe_gateway_when_stale();
        }
        if recorded {
            self.unshare_solo();
        }
        if !recorded && !recording && self.may_go_solo() {
            self.go_solo();
            if let Some(active) = self.activity() {
                active.solo_recording = true;
            }
            self.persist(Purpose::Solo);
            if self.mode.mode != Mode::Standalone {
                let why = Why::new(Code::Solo, "the peer no longer acknowledges: this node goes on alone");
                self.tell_once("solo", why);
            }
        }
    }

    /// Notes the right to serve alone, and whether the peer has a right at the same time.
    pub(super) fn go_solo(&mut self) {
        let epoch = self.durable.epoch;
        if self.durable.solo == Some(epoch) {
            return;
        }
        self.durable.solo = Some(epoch);
        self.durable.solo_shared = self.peer_holds_right();
    }

    /// The peer was granted the right to take over in this epoch, or nobody knows whether it was.
    fn peer_holds_right(&self) -> bool {
        let epoch = self.durable.epoch;
        let said = self.peer.eligible_sent.is_some_and(|(granted, of, _)| granted && of == epoch);
        said || self.peer.facts.as_ref().is_none_or(|facts| facts.eligible == Some(epoch))
    }

    /// A right that was not used for so long is not used any more: from here on nobody else has one.
    fn unshare_solo(&mut self) {
        let shared = self.durable.solo_shared && self.durable.solo == Some(self.durable.epoch);
        if shared && !self.contact() && self.right_there_lapsed(self.lease.last_acknowledged) {
            self.durable.solo_shared = false;
            self.persist(Purpose::Record);
        }
    }

    fn probe_gateway_when_stale(&mut self) {
        // While the lease rests on the answers every millisecond counts; afterwards once a lease is enough.
        let recorded = matches!(self.phase.now(), Phase::Active(active) if active.solo_recorded);
        let relaxed = recorded && !self.peer_may_bid();
        let every = if relaxed { self.settings.lease } else { self.settings.lease / 4 };
        let newest = self.gateway.answered_at.max(self.gateway.silent_at).max(self.gateway.probed_at);
        self.probe_gateway_again(newest, every);
    }

    /// Asks the targets, unless the newest question or answer is younger than that.
    pub(super) fn probe_gateway_again(&mut self, newest: Option<Instant>, every: Duration) {
        if newest.is_none_or(|at| self.now >= at + every) {
            self.gateway.probed_at = Some(self.now);
            self.act(Action::ProbeGateway);
        }
    }

    /// Whether the level lets this node serve without the peer's acknowledgement, now.
    pub(super) fn may_go_solo(&self) -> bool {
        if self.mode.mode == Mode::Standalone {
            return true;
        }
        match self.settings.protection {
            Protection::Vrrp => true,
            // An answer must be fresh: the targets speak for the moment, not for the past.
            Protection::Gateway => {
                let fresh = self.lease.last_acknowledged;
                self.gateway.answered_at.is_some_and(|at| at > fresh) && !self.targets_silent()
            }
        }
    }

    pub(super) fn on_solo_recorded(&mut self, result: &StepResult) {
        let recorded = matches!(result, StepResult::Ok(_));
        let holds = recorded && self.durable.solo == Some(self.durable.epoch);
        if let Some(active) = self.activity() {
            active.solo_recording = false;
            active.solo_recorded = holds;
        }
        if recorded {
            self.renew_by_solo();
        } else {
            self.durable.solo = None;
            self.tell_once("state", Why::new(Code::StateUnwritable, "the state file cannot be written"));
        }
    }

    fn renew_by_solo(&mut self) {
        let solo = match self.phase.now() {
            Phase::Active(active) => active.solo_recorded,
            Phase::HandingOver(handing_over) => handing_over.solo_recorded(),
            Phase::TakingOver(_) => self.durable.solo == Some(self.durable.epoch),
            _ => false,
        };
        if solo && self.may_go_solo() {
            let answered = self.gateway.answered_at.unwrap_or(self.now);
            let rests_on = if self.peer_may_bid() { answered } else { self.now };
            self.extend_lease(rests_on + self.settings.lease);
        }
    }

    /// At `gateway`, soon after contact was lost, the peer may be waiting out this node's lease. Then a lease
    /// rests on the targets' answers as it did on the peer's: a node that is cut off must be shut in time.
    fn peer_may_bid(&self) -> bool {
        self.settings.protection == Protection::Gateway
            && self.mode.mode != Mode::Standalone
            && self.now < self.lease.last_acknowledged + self.eligible_lapse() + self.settings.lease * 2
    }

    /// Moves the lease end forward and hands it to the gate process.
    pub(super) fn extend_lease(&mut self, end: Instant) {
        let open =
            matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_)) && self.gate.state.open;
        if let Some(lease_end) = self.lease.extend(end)
            && open
        {
            self.act(Action::RenewLease { epoch: self.durable.epoch, lease_end });
        }
    }

    /// A promoted server that was restarted comes up read-only, with old replica threads: put right.
    fn repair_database_role(&mut self) {
        let report = &self.database.report;
        let wrong_replica = report.replica.is_some();
        let (writable, run) = (report.reachable && report.writable, report.restarts);
        let Phase::Active(active) = self.phase.within() else { return };
        if writable {
            active.wrote_in_run = Some(run);
        }
        let busy = active.repairing || active.chore_running || !active.chores.is_empty();
        if busy || !report.reachable || (report.writable && !wrong_replica) {
            return;
        }
        let mut chores = Vec::new();
        if wrong_replica {
            chores.push(super::chores::Chore::ForgetPrimary);
        }
        if !report.writable {
            let step = Step::Database(DatabaseStep::AllowWrites);
            self.start(step, Duration::from_secs(1), Purpose::Chore(Lane::Database));
            self.database.report.writable = true;
            if let Phase::Active(active) = self.phase.within() {
                active.chore_running = true;
            }
        }
        self.database.report.replica = None;
        self.tell(Why::new(Code::DatabaseRole, "the server did not have the active's role: put right"));
        if let Phase::Active(active) = self.phase.within() {
            active.chores.extend(chores);
        }
    }

    /// Grants the standby the right to bid while it is caught up; revokes it when it is not, or when this node is to
    /// serve alone.
    fn grant_eligibility(&mut self) {
        let epoch = self.durable.epoch;
        let behind = self.peer_behind();
        let Some(facts) = self.fresh_facts() else { return };
        let caught_up = facts.replica_running
            && facts.database_reachable
            && facts.mode == Mode::Ap
            && facts.epoch == epoch
            && facts.role != Role::Active
            && behind == 0;
        let knows = facts.eligible == Some(epoch);
        let in_maintenance = facts.mode != Mode::Ap;
        let stopped = !facts.replica_running;
        let Phase::Active(active) = self.phase.within() else { return };
        // A replica that has just lost this server may be the first to know that this server died: a right that
        // was revoked then would be missing a moment later.
        active.peer_stopped_since = stopped.then_some(active.peer_stopped_since.unwrap_or(self.now));
        let stopped_long = active.peer_stopped_since.is_some_and(|since| self.now >= since + REVOKE_AFTER);
        let recording = active.solo_recording;
        let lost = in_maintenance || stopped_long;
        if self.mode.mode == Mode::Standalone {
            // It serves alone, whatever becomes of the path to the peer.
            if knows {
                self.say_eligible(false);
            }
        } else if self.durable.solo.is_some() && (knows || caught_up) {
            // Both rights at once would let the staler node serve after a second failure.
            if self.now < self.lease.last_acknowledged + self.settings.heartbeat * 3 / 2 {
                self.clear_solo();
            }
        } else if caught_up && !knows {
            if !recording {
                self.say_eligible(true);
            }
        } else if lost && knows {
            self.say_eligible(false);
        }
    }

    fn say_eligible(&mut self, granted: bool) {
        let epoch = self.durable.epoch;
        let again = self.peer.eligible_sent.is_none_or(|(said, for_epoch, at)| {
            (said, for_epoch) != (granted, epoch) || self.now >= at + Duration::from_millis(500)
        });
        if again {
            self.peer.eligible_sent = Some((granted, epoch, self.now));
            self.send(PeerMessage::Eligible { epoch, granted });
        }
    }

    /// The pair is a pair again: the right to serve alone ends before the standby's right to bid begins.
    fn clear_solo(&mut self) {
        if self.mode.mode == Mode::Standalone {
            return;
        }
        if let Phase::Active(active) = self.phase.within()
            && !active.solo_recording
        {
            active.solo_recording = true;
            active.solo_recorded = false;
            self.durable.solo = None;
            self.persist(Purpose::Solo);
        }
    }

    /// The peer could take over now, without loss.
    pub(super) fn peer_can_serve(&self) -> bool {
        self.fresh_facts().is_some_and(|facts| {
            facts.fit
                && facts.mode == Mode::Ap
                && facts.replica_running
                && facts.eligible == Some(self.durable.epoch)
        })
    }

    /// One line: what keeps the peer from serving.
    pub(super) fn why_peer_cannot_serve(&self) -> String {
        let Some(facts) = self.fresh_facts() else { return "the peer is not reachable".into() };
        if facts.mode != Mode::Ap {
            format!("the peer's mode is {}", facts.mode)
        } else if !facts.fit {
            format!("the peer is not fit: {}", facts.why)
        } else if !facts.replica_running {
            "the peer's replica does not run".into()
        } else if facts.eligible != Some(self.durable.epoch) {
            "the peer is not caught up yet".into()
        } else {
            "the peer can serve".into()
        }
    }

    /// What makes the peer the better active, in words; `None`: nothing.
    pub(super) fn reason_to_give_up(&self) -> Option<String> {
        let faults = self.checks.faults(true);
        if !faults.is_empty() {
            return Some(faults.join("; "));
        }
        if let Some(text) = self.failed_service() {
            return Some(text);
        }
        let Settings { priority, peer_priority, .. } = self.settings;
        let peer_now = self.fresh_facts().and_then(|facts| facts.priority).unwrap_or(peer_priority);
        let outweighed = self.checks.outweighed(priority, peer_priority, peer_now);
        outweighed.then(|| "the weights of failing checks make the peer the better active".into())
    }

    /// An active whose API fails while its database is fine hands over; the last one standing stays.
    pub(super) fn hand_over_unwell(&mut self) -> Phase {
        let text = self.reason_to_give_up().unwrap_or_default();
        self.begin_handover(Cause::Check, text, None)
    }

    pub(super) fn say_last_one(&mut self) {
        let text = self.reason_to_give_up().unwrap_or_default();
        let why = self.why_of_row(format!("{text}; but the peer cannot serve: this node serves what it can"));
        self.tell_once("last_one", why);
    }

    pub(super) fn forget_last_one(&mut self) {
        self.untell("last_one");
    }

    /// A peer that follows and was only just granted the right, or refused a moment ago, is worth waiting for.
    pub(super) fn peer_nearly_serves(&self) -> bool {
        let asked = self.stopping.unwrap_or(self.now);
        let follows = self.fresh_facts().is_some_and(|facts| {
            facts.fit && facts.mode == Mode::Ap && facts.replica_running && facts.role == Role::Standby
        });
        follows && self.now < asked + STOP_WAIT
    }

    pub(super) fn hand_over_to_stop(&mut self) -> Phase {
        self.begin_handover(Cause::Stop, "the daemon stops".into(), None)
    }

    /// The heartbeats of a stopping node ask for `restart_grace`; one acknowledgement is enough.
    pub(super) fn stop_keeping_gate(&mut self) {
        let asked = self.stopping.unwrap_or(self.now);
        let granted = self.lease.end >= asked + self.settings.restart_grace / 2;
        // On disk: a lease must not rest on what a crash would forget.
        let solo = matches!(self.phase.now(), Phase::Active(active) if active.solo_recorded);
        // Not beyond what the peer waits for, if the peer may take over.
        if solo && self.may_go_solo() && !self.durable.solo_shared {
            self.extend_lease(self.now + self.settings.restart_grace);
        }
        if granted || solo || self.now >= asked + Duration::from_secs(1) {
            self.exit();
        }
    }

    pub(super) fn hand_over_for_mode(&mut self) -> Phase {
        let text = self.no_part_text().to_owned();
        self.begin_handover(Cause::Mode, text, None)
    }

    pub(super) fn say_last_one_for_mode(&mut self) {
        let text =
            format!("{}, but the peer cannot serve: this node goes on until it can", self.no_part_text());
        let why = self.why_of_row(text);
        self.tell_once("maintenance", why);
    }

    /// Whether advertisements leave this node.
    pub(super) fn advertises(&self) -> bool {
        matches!(self.phase.now(), Phase::TakingOver(_) | Phase::Active(_) | Phase::HandingOver(_))
    }

    /// Heartbeats and advertisements whose time has come; lease renewals leave with them.
    pub(super) fn send_on_time(&mut self) {
        if self.started.is_none() || matches!(self.phase.now(), Phase::Stopped) {
            return;
        }
        if self.now >= self.next_heartbeat {
            self.next_heartbeat = next_tick(self.next_heartbeat, self.settings.heartbeat, self.now);
            self.send_heartbeat();
            self.renew_by_solo();
            // They leave together: the peer's wait counts from the later of both.
            if self.next_advert <= self.now + self.settings.heartbeat / 2 {
                self.next_advert = self.now;
            }
        }
        if self.advertises() && self.now >= self.next_advert {
            self.next_advert = next_tick(self.next_advert, self.settings.advert_interval, self.now);
            let priority = self.priority();
            self.act(Action::SendAdvert { priority });
        }
    }

    fn send_heartbeat(&mut self) {
        self.lease.sequence += 1;
        let stopping = self.stopping.is_some() && self.settings.on_stop == OnStop::Keep;
        let lease = if stopping { self.settings.restart_grace } else { self.settings.lease };
        let heartbeat = Heartbeat {
            instance: self.instance,
            sequence: self.lease.sequence,
            sent: self.now,
            lease: self.asks_for_lease().then_some(lease),
            facts: self.facts(),
        };
        self.send(PeerMessage::Heartbeat(heartbeat));
    }

    /// A lease is asked for only once the epoch is on disk.
    fn asks_for_lease(&self) -> bool {
        match self.phase.now() {
            Phase::Active(_) | Phase::HandingOver(_) => true,
            Phase::TakingOver(takeover) => takeover.epoch_recorded(),
            _ => false,
        }
    }

    /// What this node says of itself.
    pub fn facts(&self) -> PeerFacts {
        let report = &self.database.report;
        let replica = report.replica.as_ref();
        let announced = match self.phase.now() {
            Phase::TakingOver(takeover) if !takeover.epoch_recorded() => takeover.epoch_before(),
            _ => self.durable.epoch,
        };
        PeerFacts {
            role: if self.asks_for_lease() { Role::Active } else { self.role_without_claim() },
            mode: self.mode.mode,
            epoch: announced,
            serving: self.serving(),
            fit: self.unfit().is_empty(),
            solo: self.durable.solo == Some(self.durable.epoch),
            eligible: self.durable.eligible,
            database_reachable: report.reachable,
            database_writable: report.writable,
            replica_running: replica
                .is_some_and(|replica| replica.applying && replica.receiving && replica.error.is_empty()),
            gtid: report.gtid.clone(),
            priority: Some(self.checks.priority(self.settings.priority, self.role() == Role::Active)),
            role_services: self.runs_role_services(),
            config_hash: self.settings.config_hash,
            why: self.last_why.text.clone(),
        }
    }

    fn role_without_claim(&self) -> Role {
        match self.role() {
            Role::Active => Role::Standby,
            role => role,
        }
    }

    /// Closes the gate without changing the phase; for a gate that is open without a right.
    pub(super) fn close_gate(&mut self) {
        let step = Step::Address(AddressStep::Close);
        self.start(step, Duration::from_secs(1), Purpose::Close);
    }
}

/// The next of a regular series of ticks that lies after `now`; ticks that were missed are not made up for.
fn next_tick(last: Instant, interval: Duration, now: Instant) -> Instant {
    let next = last + interval;
    if next > now { next } else { now + interval }
}
