//! The services that run on the active alone, on the way up, over and down: started when the database takes writes
//! and before the gate opens, stopped before the role is handed on, never on both nodes while they see each other.

use super::code::Code;
use super::node::Node;
use super::phase::{Cause, Phase};
use super::service::RunsOn;
use super::service_rules::START;
use super::services::Managed;
use super::table::Matter;
use super::takeover::TakeoverStep;
use super::why::Why;
use super::words::{Mode, Role};
use std::time::Duration;

/// How long the server that is started in a takeover may take until it answers.
const ANSWERS: Duration = Duration::from_secs(130);
/// Beyond what the peer's stops may take: until its next heartbeat tells of it.
const HEARD: Duration = Duration::from_secs(2);

impl Node {
    /// Some service of the role may run here.
    pub(super) fn runs_role_services(&self) -> bool {
        self.services.of_role().any(Managed::lives)
    }

    fn role_services_rest(&self) -> bool {
        self.services.of_role().all(Managed::rests)
    }

    /// The peer says that its own may still run.
    pub(super) fn peer_runs_role_services(&self) -> bool {
        self.fresh_facts().is_some_and(|facts| facts.role_services)
    }

    /// The peer could have the role back.
    fn peer_could_take_it_back(&self) -> bool {
        let only_here = matches!(self.phase.now(), Phase::TakingOver(takeover) if takeover.only_here);
        !only_here && self.fresh_facts().is_some_and(|facts| facts.fit && facts.mode == Mode::Ap)
    }

    // On the way up.

    /// A cold standby's server comes first: started by the rule of the services, waited for here.
    pub(super) fn wait_for_cold_database(&mut self) -> bool {
        let cold = self.services.database().is_some_and(|one| one.settings.runs_on == RunsOn::Active);
        if !cold || self.database.report.reachable {
            self.next_takeover_step();
            return true;
        }
        false
    }

    /// Those that run on the active alone, one after the other; true: all run, or are done without.
    pub(super) fn start_role_services(&mut self) -> bool {
        let now = self.now;
        let allowance = self.services.stop_allowance() + HEARD;
        let Phase::TakingOver(takeover) = self.phase.within() else { return false };
        let waited = now.since(*takeover.services_since.get_or_insert(now)) >= allowance;
        let mut given_up = Vec::new();
        for index in 0..self.services.all.len() {
            let service = &self.services.all[index];
            if !service.is_of_role() || (service.runs() && service.doing.is_none()) {
                continue;
            }
            if self.peer_runs_role_services() && !waited {
                return false;
            }
            if service.lives() || now < service.again_at && service.fault.is_none() {
                return false;
            }
            if service.fault.is_some() {
                given_up.push(service.settings.name.clone());
                continue;
            }
            self.begin_start(index);
            return false;
        }
        if !given_up.is_empty() {
            let text = format!("nobody else can serve: the gate opens without {}", given_up.join(", "));
            self.tell(Why::new(Code::ServiceLastOne, text));
        }
        self.next_takeover_step();
        true
    }

    /// Clients are served from here on; what was concluded before about what only the active does says nothing.
    pub(super) fn begin_service_of_role(&mut self) {
        self.services.resting_since = None;
        self.services.active_since = Some(self.now);
        let checks = self.settings.checks.iter();
        let of_role: Vec<String> = match self.services.all.is_empty() {
            true => Vec::new(),
            false => {
                checks.filter(|one| one.on_active && !one.on_standby).map(|one| one.name.clone()).collect()
            }
        };
        of_role.iter().for_each(|name| self.checks.forget(name));
    }

    /// What cannot be started, and the peer could serve instead; without the server nobody could.
    pub(super) fn service_fails_takeover(&self) -> Option<String> {
        let Phase::TakingOver(takeover) = self.phase.now() else { return None };
        let faults = |database: bool| {
            let failed = |one: &&Managed| one.fault.is_some() && !one.runs() && one.database == database;
            let found = self.services.all.iter().filter(|one| database || one.is_of_role()).find(failed)?;
            let text = found.fault.as_deref().unwrap_or_default();
            Some(format!("service {}: {text}", found.settings.name))
        };
        match takeover.step()? {
            TakeoverStep::StartDatabase => faults(true).or_else(|| {
                let late = self.now >= takeover.began + ANSWERS;
                late.then(|| "the server was started and does not answer".into())
            }),
            TakeoverStep::StartServices if self.peer_could_take_it_back() => faults(false),
            _ => None,
        }
    }

    pub(super) fn fail_by_service(&mut self) -> Phase {
        let text = self.service_fails_takeover().unwrap_or_default();
        self.fail_takeover(Cause::TakeoverFailed, text)
    }

    /// This node cannot start a service, the peer could serve, and only rows of this side's attempt stand between.
    pub(super) fn keeps_role_from_peer(&self) -> bool {
        let Some(facts) = self.fresh_facts() else { return false };
        let report = &self.database.report;
        let ahead = report.gtid.covers(&facts.gtid) && !facts.gtid.covers(&report.gtid);
        let alone =
            facts.role != Role::Active && facts.fit && facts.mode == Mode::Ap && facts.database_reachable;
        let stuck = !self.service_faults().is_empty() && report.reachable && !report.writable;
        stuck && alone && ahead && !self.is_judged()
    }

    // Over to the peer.

    /// The peer is ready: first what runs on the active alone comes to rest, then commits are paused.
    pub(super) fn rest_or_freeze(&mut self) {
        if self.role_services_rest() {
            self.begin_freeze();
            return;
        }
        let until = self.now + self.services.stop_allowance();
        self.begin_resting(until);
    }

    /// Whatever happened: a handover that waits for its services goes on when they rest.
    pub(super) fn go_on_when_services_rest(&mut self) {
        let resting = matches!(self.phase.now(), Phase::HandingOver(over) if over.is_resting());
        if resting && self.role_services_rest() {
            // The peer must not wait for a heartbeat to learn that it may start its own.
            self.next_heartbeat = self.now;
            self.begin_freeze();
        }
    }

    /// A service that does not stop keeps the role here.
    pub(super) fn service_did_not_stop(&mut self, text: &str) {
        if matches!(self.phase.now(), Phase::HandingOver(over) if over.is_resting()) {
            self.consider(Matter::HandoverFailed(text.to_owned()));
        }
    }

    /// How much longer a switchover may take for its services: the stops here, or the starts there.
    pub(super) fn services_in_switchover(&self) -> (Duration, Duration) {
        let count = u32::try_from(self.services.of_role().count()).unwrap_or(u32::MAX);
        let starts = START.saturating_mul(count);
        (self.services.stop_allowance(), starts + self.services.stop_allowance())
    }

    /// The new side was released, and starts its own. One that serves by now, and whose word of it was lost, is there.
    pub(super) fn peer_is_on_its_way(&self) -> bool {
        let starts = self.services.of_role().next().is_some();
        starts && self.fresh_facts().is_some_and(|facts| facts.role == Role::Active && !facts.serving)
    }

    // Down.

    /// An orderly end of the activity: those of the role still run, and may be waited for.
    pub(super) fn role_services_hold_the_role(&self) -> bool {
        let since = self.services.resting_since.unwrap_or(self.now);
        self.runs_role_services() && self.now < since + self.services.stop_allowance()
    }

    pub(super) fn rest_role_services(&mut self) {
        let now = self.now;
        self.services.resting_since.get_or_insert(now);
        self.service_rules();
    }

    /// A service of the active that was given up and does not run, in words.
    pub(super) fn failed_service(&self) -> Option<String> {
        let failed = |one: &&Managed| one.fault.is_some() && !one.runs() && !one.database;
        let found = self.services.all.iter().find(failed)?;
        let text = found.fault.as_deref().unwrap_or_default();
        Some(format!("service {} failed: {text}", found.settings.name))
    }
}
