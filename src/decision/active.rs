//! The node that serves: its lease, its heartbeats and advertisements, and what ends its activity.

use super::action::{Action, AddressStep, DatabaseStep, Lane, Step, StepResult};
use super::code::Code;
use super::node::Node;
use super::peer::{Heartbeat, PeerFacts, PeerMessage};
use super::phase::{Cause, Phase, Purpose};
use super::settings::OnStop;
use super::time::Instant;
use super::why::Why;
use super::words::{Mode, Protection, Role};
use std::time::Duration;

/// How long a standby's replica may stand still before its right to bid is revoked.
const REVOKE_AFTER: Duration = Duration::from_secs(1);
/// How long a stop waits for a peer that follows and cannot quite serve yet.
const STOP_WAIT: Duration = Duration::from_secs(1);
/// How long the last one standing bears a database that does not answer.
const SLOW_PATIENCE: Duration = Duration::from_secs(3);

impl Node {
    /// Rules that hold in every phase.
    pub(super) fn common_rules(&mut self) {
        self.forget_lost_contact();
        self.lift_leftover_cut();
        self.write_again();
    }

    /// Rules of a node that serves.
    pub(super) fn active_rules(&mut self) {
        if let Some((cause, text)) = self.must_step_down() {
            self.step_down(cause, text);
            return;
        }
        self.keep_lease();
        self.chore_rules();
        self.repair_database_role();
        self.grant_eligibility();
        if self.stopping.is_some() {
            self.stop_as_active();
        } else if self.mode.mode == Mode::Maintenance {
            self.leave_for_maintenance();
        } else {
            self.give_up_if_unwell();
        }
    }

    /// What ends an activity at once, with no time for a handover.
    pub(super) fn must_step_down(&self) -> Option<(Cause, String)> {
        if let Some(facts) = self.fresh_facts().filter(|facts| facts.epoch > self.durable.epoch) {
            let text = format!("the peer opened epoch {}", facts.epoch);
            return Some((Cause::NewerEpoch, text));
        }
        if let Some((link, _)) = self.link.as_ref().filter(|(link, _)| !link.usable) {
            return Some((Cause::Link, format!("the interface is unusable: {}", link.detail)));
        }
        if self.database_ends_activity() {
            let text = format!("the database is not healthy: {}", self.database.report.detail);
            return Some((Cause::Database, text));
        }
        if !matches!(self.phase, Phase::Active(_) | Phase::HandingOver(_)) {
            return None;
        }
        if self.gate.connected && !self.gate.state.open {
            return Some((Cause::LeaseLost, "the gate is closed: its lease was lost".into()));
        }
        if self.now >= self.lease.end && !self.may_go_solo() {
            return Some((Cause::Isolated, "neither the peer nor the gateway targets answer".into()));
        }
        if self.now >= self.lease.end + self.settings.slice() {
            return Some((Cause::LeaseLost, "the lease ran out before it could be renewed".into()));
        }
        None
    }

    /// A dead server ends an activity at once. A slow one ends it when the peer could do better; the last one
    /// standing bears it for a while, because a pause hurts its clients less than a reset.
    fn database_ends_activity(&self) -> bool {
        if self.database.verdict.healthy() != Some(false) {
            return false;
        }
        let long = self.database.unhealthy_since.is_some_and(|since| self.now >= since + SLOW_PATIENCE);
        let serving = matches!(self.phase, Phase::Active(_) | Phase::HandingOver(_));
        self.database.report.dead || !serving || long || self.peer_can_serve()
    }

    /// The peer's acknowledgements renew the lease by themselves; when they stop, the level says who may go on.
    fn keep_lease(&mut self) {
        let silent = self.now >= self.lease.last_acknowledged + self.settings.heartbeat * 3 / 2;
        let Phase::Active(active) = &self.phase else { return };
        let (recorded, recording) = (active.solo_recorded, active.solo_recording);
        if !silent && self.mode.mode != Mode::Standalone {
            self.untell("solo");
            return;
        }
        if silent && self.settings.protection == Protection::Gateway && self.mode.mode != Mode::Standalone {
            self.probe_gateway_when_stale();
        }
        if !recorded && !recording && self.may_go_solo() {
            self.durable.solo = Some(self.durable.epoch);
            if let Phase::Active(active) = &mut self.phase {
                active.solo_recording = true;
            }
            self.persist(Purpose::Solo);
            if self.mode.mode != Mode::Standalone {
                let why = Why::new(Code::Solo, "the peer no longer acknowledges: this node goes on alone");
                self.tell_once("solo", why);
            }
        }
    }

    fn probe_gateway_when_stale(&mut self) {
        // While the lease rests on the answers every millisecond counts; afterwards once a lease is enough.
        let recorded = matches!(&self.phase, Phase::Active(active) if active.solo_recorded);
        let relaxed = recorded && !self.peer_may_bid();
        let every = if relaxed { self.settings.lease } else { self.settings.lease / 4 };
        let newest = self.gateway.answered_at.max(self.gateway.silent_at).max(self.gateway.probed_at);
        let asked_again = newest.is_none_or(|at| self.now >= at + every);
        if asked_again {
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
        if let Phase::Active(active) = &mut self.phase {
            active.solo_recording = false;
            active.solo_recorded = recorded && self.durable.solo == Some(self.durable.epoch);
        }
        if recorded {
            self.renew_by_solo();
        } else {
            self.durable.solo = None;
            self.tell_once("state", Why::new(Code::StateUnwritable, "the state file cannot be written"));
        }
    }

    fn renew_by_solo(&mut self) {
        let solo = match &self.phase {
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
        let open = matches!(self.phase, Phase::Active(_) | Phase::HandingOver(_)) && self.gate.state.open;
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
        let heard = self.now < self.lease.last_acknowledged + self.settings.heartbeat * 3;
        let Phase::Active(active) = &mut self.phase else { return };
        if writable {
            active.wrote_in_run = Some(run);
        } else if report.reachable && active.wrote_in_run == Some(run) && !heard && !active.chore_running {
            // Nobody but a peer that takes over forbids writes on a server that was not started anew.
            let text = "the database was made read-only by someone else while the peer is silent";
            self.step_down(Cause::Fenced, text.into());
            return;
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
            if let Phase::Active(active) = &mut self.phase {
                active.chore_running = true;
            }
        }
        self.database.report.replica = None;
        self.tell(Why::new(Code::DatabaseRole, "the server did not have the active's role: put right"));
        if let Phase::Active(active) = &mut self.phase {
            active.chores.extend(chores);
        }
    }

    /// Grants the standby the right to bid while it is caught up; revokes it when it is not.
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
        let Phase::Active(active) = &mut self.phase else { return };
        // A replica that has just lost this server may be the first to know that this server died: a right that
        // was revoked then would be missing a moment later.
        active.peer_stopped_since = stopped.then_some(active.peer_stopped_since.unwrap_or(self.now));
        let stopped_long = active.peer_stopped_since.is_some_and(|since| self.now >= since + REVOKE_AFTER);
        let recording = active.solo_recording;
        let lost = in_maintenance || stopped_long;
        if self.durable.solo.is_some() && (knows || caught_up) {
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
        if let Phase::Active(active) = &mut self.phase
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

    /// What makes the peer the better active, in words; `None`: nothing.
    pub(super) fn reason_to_give_up(&self) -> Option<String> {
        let faults = self.checks.faults(true);
        if !faults.is_empty() {
            return Some(faults.join("; "));
        }
        let peer_priority = self.peer.advert.map_or(self.settings.priority, |advert| advert.priority);
        let outweighed = self.checks.outweighed(self.settings.priority, peer_priority);
        outweighed.then(|| "the weights of failing checks make the peer the better active".into())
    }

    /// An active whose API fails while its database is fine hands over; the last one standing stays.
    fn give_up_if_unwell(&mut self) {
        let Some(text) = self.reason_to_give_up() else {
            self.untell("last_one");
            return;
        };
        if self.peer_can_serve() && self.now >= self.retry_at && !self.guarded() {
            self.begin_handover(Cause::Check, text, None);
        } else if !self.peer_can_serve() {
            let text = format!("{text}; but the peer cannot serve: this node serves what it can");
            self.tell_once("last_one", Why::new(Code::LastOneStanding, text));
        }
    }

    fn peer_nearly_serves(&self) -> bool {
        let asked = self.stopping.unwrap_or(self.now);
        let follows = self.fresh_facts().is_some_and(|facts| {
            facts.fit && facts.mode == Mode::Ap && facts.replica_running && facts.role == Role::Standby
        });
        follows && self.now < asked + STOP_WAIT
    }

    fn stop_as_active(&mut self) {
        match self.settings.on_stop {
            OnStop::Handover if self.peer_can_serve() && self.now >= self.retry_at => {
                self.begin_handover(Cause::Stop, "the daemon stops".into(), None);
            }
            // A peer that follows and was only just granted the right, or refused a moment ago, is worth waiting for.
            OnStop::Handover if self.peer_nearly_serves() => {}
            OnStop::Handover | OnStop::Fence => self.step_down(Cause::Stop, "the daemon stops".into()),
            OnStop::Keep => {
                // The heartbeats of a stopping node ask for `restart_grace`; one acknowledgement is enough.
                let asked = self.stopping.unwrap_or(self.now);
                let granted = self.lease.end >= asked + self.settings.restart_grace / 2;
                // On disk: a lease must not rest on what a crash would forget.
                let solo = matches!(&self.phase, Phase::Active(active) if active.solo_recorded);
                if solo && self.may_go_solo() {
                    self.extend_lease(self.now + self.settings.restart_grace);
                }
                if granted || solo || self.now >= asked + Duration::from_secs(1) {
                    self.exit();
                }
            }
        }
    }

    /// Mode maintenance on the active: switch over first, or say why not.
    fn leave_for_maintenance(&mut self) {
        if self.peer_can_serve() && self.now >= self.retry_at {
            self.begin_handover(Cause::Mode, "the mode is maintenance".into(), None);
        } else {
            let text = "the mode is maintenance, but the peer cannot serve: this node goes on until it can";
            self.tell_once("maintenance", Why::new(Code::MaintenanceLastOne, text));
        }
    }

    /// Whether advertisements leave this node.
    pub(super) fn advertises(&self) -> bool {
        matches!(self.phase, Phase::TakingOver(_) | Phase::Active(_) | Phase::HandingOver(_))
    }

    /// Heartbeats and advertisements whose time has come; lease renewals leave with them.
    pub(super) fn send_on_time(&mut self) {
        if self.started.is_none() || matches!(self.phase, Phase::Stopped) {
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
            let priority = self.checks.priority(self.settings.priority);
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
        match &self.phase {
            Phase::Active(_) | Phase::HandingOver(_) => true,
            Phase::TakingOver(takeover) => takeover.epoch_recorded(),
            _ => false,
        }
    }

    /// What this node says of itself.
    pub fn facts(&self) -> PeerFacts {
        let report = &self.database.report;
        let replica = report.replica.as_ref();
        let announced = match &self.phase {
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
