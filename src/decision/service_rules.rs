//! Makes the services what they shall be: one rule for whatever happened, beside the steps of takeover and handover.
//!
//! Stops come first, the last started one first; then what boot and hands may do; then starts, in their order.

use super::action::{Step, StepResult};
use super::code::Code;
use super::node::Node;
use super::phase::{Phase, Purpose, outcome};
use super::service::{ServiceState, ServiceStep, UnitPolicy};
use super::services::{Act, Want};
use super::time::Instant;
use super::why::Why;
use super::words::Mode;
use std::time::Duration;

/// How long a start may take.
pub(super) const START: Duration = Duration::from_secs(30);
/// ... of the database's server, which may have to recover.
const START_DATABASE: Duration = Duration::from_secs(120);
/// Before a stop, or a change of what boot may do, is tried again.
const AGAIN: Duration = Duration::from_secs(5);

impl Node {
    /// Begins what is missing.
    pub(super) fn service_rules(&mut self) {
        if self.services.all.is_empty() || matches!(self.phase.now(), Phase::Stopped) {
            return;
        }
        let fit = self.unfit().is_empty();
        let now = self.now;
        self.services.fit_since = fit.then(|| self.services.fit_since.unwrap_or(now));
        self.stop_services();
        self.go_on_when_services_rest();
        self.police_units();
        self.start_services();
    }

    fn stop_services(&mut self) {
        let (started, now) = (self.started.unwrap_or_default(), self.now);
        for index in (0..self.services.all.len()).rev() {
            let service = &self.services.all[index];
            let begun = service.doing == Some(Act::Stop);
            let due = service.again_at <= now || service.doing == Some(Act::Start);
            let judged = service.is_judged(started, now);
            if self.want(service) == Want::Rest && !service.rests() && !begun && judged && due {
                self.begin_stop(index);
            }
        }
    }

    fn begin_stop(&mut self, index: usize) {
        let service = &self.services.all[index];
        let (name, limit) = (service.settings.name.clone(), service.stop_limit());
        self.begin_act(index, Act::Stop, ServiceStep::Stop { name }, limit);
    }

    /// Begins the start of a service, whatever was wrong with it.
    pub(super) fn begin_start(&mut self, index: usize) {
        let service = &self.services.all[index];
        let (name, limit) =
            (service.settings.name.clone(), if service.database { START_DATABASE } else { START });
        self.begin_act(index, Act::Start, ServiceStep::Start { name }, limit);
    }

    fn begin_act(&mut self, index: usize, act: Act, step: ServiceStep, limit: Duration) {
        let service = &mut self.services.all[index];
        service.doing = Some(act);
        service.began = self.now;
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        self.start(Step::Units(step), limit, Purpose::Service(number, act));
    }

    /// What boot and hands may do. A unit that is being stopped keeps its definition until it rests.
    fn police_units(&mut self) {
        let wanted = match (self.mode.mode, self.phase.now()) {
            (Mode::Maintenance, Phase::Out) => UnitPolicy::Masked,
            (Mode::Maintenance, _) => return,
            // What was masked becomes exactly what it was, and then apd's again.
            _ if self.services.policy == Some(UnitPolicy::Masked) => UnitPolicy::Restored,
            _ => UnitPolicy::Disabled,
        };
        let stopping = self.services.all.iter().any(|service| {
            service.doing == Some(Act::Stop) || (self.want(service) == Want::Rest && service.state.lives())
        });
        let services = &mut self.services;
        if services.policing || services.policy == Some(wanted) || stopping || self.now < services.police_at {
            return;
        }
        services.policing = true;
        services.policy = Some(wanted);
        let step = Step::Units(ServiceStep::Policy { policy: wanted });
        self.start(step, AGAIN * 2, Purpose::Service(u16::MAX, Act::Policy));
    }

    fn start_services(&mut self) {
        let (started, now) = (self.started.unwrap_or_default(), self.now);
        let last_one = matches!(self.phase.now(), Phase::Active(_)) && !self.peer_can_serve();
        for index in 0..self.services.all.len() {
            let service = &self.services.all[index];
            if service.doing.is_some() {
                // In their order: the next one waits for this one.
                return;
            }
            if self.want(service) == Want::Run && !service.is_judged(started, now) {
                // In their order, also while the first reports come: the next one may be known sooner.
                return;
            }
            let tried = service.fault.is_none() || last_one;
            // After a partition the other node's may still be on its way to rest.
            let alone = !(service.is_of_role() && self.peer_runs_role_services());
            let due = now >= service.again_at && tried && alone;
            if self.want(service) == Want::Run && !service.state.lives() && due {
                self.begin_start(index);
                return;
            }
        }
    }

    pub(super) fn on_service_step(&mut self, index: u16, act: Act, result: StepResult) {
        let (now, result) = (self.now, outcome(result));
        if act == Act::Policy {
            return self.on_policed(result.err());
        }
        let index = usize::from(index);
        let Some(service) = self.services.all.get_mut(index) else { return };
        if act == Act::Start && service.doing == Some(Act::Stop) {
            // It gave way.
            return;
        }
        service.doing = None;
        service.ended = now;
        let name = service.settings.name.clone();
        let took = now.since(service.began).as_millis();
        match (act, result) {
            (Act::Start, Ok(_)) => {
                service.state = ServiceState::Running;
                service.up_since = Some(now);
                service.start_took = Some(now.since(service.began));
                self.tell(Why::new(Code::ServiceStarted, format!("service {name} runs, after {took} ms")));
            }
            (Act::Start, Err(text)) => {
                service.state = ServiceState::Failed;
                service.up_since = None;
                service.detail = text.clone();
                self.count_failure(index, &format!("it did not start: {text}"));
            }
            (_, Ok(_)) => {
                service.state = ServiceState::Stopped;
                service.up_since = None;
                // Stopped on purpose: its next start is no restart.
                service.again_at = now;
                self.untell("service.stop");
                self.tell(Why::new(Code::ServiceStopped, format!("service {name} rests, after {took} ms")));
            }
            (_, Err(text)) => {
                service.again_at = now + AGAIN;
                // Whether it had an effect is not known: what is heard from here on says what became of it.
                service.ended = Instant::ZERO;
                let text = format!("service {name} does not stop: {text}");
                self.tell_once("service.stop", Why::new(Code::ServiceStuck, text.clone()));
                self.service_did_not_stop(&text);
            }
        }
    }

    fn on_policed(&mut self, error: Option<String>) {
        self.services.policing = false;
        let Some(text) = error else { return self.untell("service.policy") };
        self.services.policy = None;
        self.services.police_at = self.now + AGAIN;
        let text = format!("what boot and hands may do with the services could not be set: {text}");
        self.tell_once("service.policy", Why::new(Code::ServicePolicy, text));
    }

    /// The end of this node's part, or of its run, waits for its services; not for ever.
    pub(super) fn services_hold_the_end(&self) -> bool {
        let asked = self.stopping.unwrap_or(self.now);
        let lives = self.services.all.iter().any(|one| self.want(one) == Want::Rest && one.lives());
        lives && self.now < asked + self.services.stop_all_allowance()
    }
}
