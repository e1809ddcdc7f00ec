//! A service that runs on the active alone, as the simulation knows it: its start takes time and may fail, its stop
//! may hang until it is killed, it ends by itself. And what must hold: never on both nodes while they see each other,
//! no gate open before it was started.

use super::bugs::Bug;
use super::lanes::{Tried, failed, ok};
use super::plan::{Fault, Plan, Protocol, What, Who};
use super::random::Random;
use super::world::{MS, World};
use crate::decision::action::StepOutput;
use crate::decision::event::Event;
use crate::decision::service::{RunsOn, ServiceReport, ServiceSettings, ServiceState, ServiceStep};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Its name.
const SHOP: &str = "shop";
/// A failed start excuses a gate that opens without it for so long.
const EXCUSED: u64 = 300_000 * MS;

/// The pair's service, as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnService {
    /// Local restarts.
    pub restarts: u32,
    /// Percent of its starts that fail.
    pub fails: u64,
    /// How long a stop takes.
    pub stop_ms: u64,
    /// Then it is killed.
    pub stop_timeout_ms: u64,
}

/// The service on one host.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub runs: bool,
    /// It does not start.
    pub broken: u32,
    stopping_since: Option<u64>,
    failed_at: Option<u64>,
}

impl DrawnService {
    /// A share of the seeds has one; what the seed stands for otherwise does not change by it.
    pub fn draw(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x0073_686f_7073);
        random.percent(25).then(|| Self {
            restarts: random.below(3) as u32,
            fails: random.pick(&[0, 0, 10, 30]),
            stop_ms: random.pick(&[1, 20, 20, 300, 1_500, 60_000]),
            stop_timeout_ms: random.pick(&[1_000, 2_000, 4_000]),
        })
    }

    /// What happens to it, beside the plan's faults.
    pub fn faults(seed: u64, plan: &Plan) -> Vec<Fault> {
        let mut random = Random::new(seed ^ 0x6661_756c_7473);
        let mut faults = Vec::new();
        for round in 1..=plan.rounds() {
            if random.percent(60) {
                let what = random.pick(&[What::ServiceEnds, What::ServiceEnds, What::ServiceBreaks]);
                let who = random.pick(&[Who::Active, Who::Active, Who::Db1, Who::Db2]);
                let (at_ms, for_ms) = (random.below(4_000), random.between(100, 9_000));
                faults.push(Fault {
                    round,
                    at_ms,
                    for_ms,
                    what,
                    who,
                    protocol: None,
                    both_ways: false,
                    amount: 0,
                });
            }
        }
        faults
    }

    /// As the decision has it.
    pub fn settings(&self) -> ServiceSettings {
        ServiceSettings {
            name: SHOP.into(),
            runs_on: RunsOn::Active,
            restarts: self.restarts,
            stop_timeout: Duration::from_millis(self.stop_timeout_ms),
            order: 10,
        }
    }
}

impl World {
    fn drawn_service(&self) -> Option<&DrawnService> {
        self.configuration.service.as_ref()
    }

    /// One step of the lane `units`.
    pub fn perform_service(&mut self, host: usize, step: &ServiceStep) -> Tried {
        let Some(drawn) = self.drawn_service().cloned() else { return failed("this pair has no service") };
        match step {
            ServiceStep::Start { .. } if self.bug == Some(Bug::ServiceStartLies) => ok(StepOutput::Done),
            ServiceStep::Start { .. } => {
                // A fresh pair comes up whole: what goes wrong begins with the first fault.
                let chance = if self.checkers.fault_at.is_some() { drawn.fails } else { 0 };
                let fails = self.random.percent(chance) || self.hosts[host].service.broken > 0;
                if fails {
                    self.mark("a service did not start");
                    self.hosts[host].service.failed_at = Some(self.now);
                    return failed("exit code 1");
                }
                self.service_starts(host);
                ok(StepOutput::Done)
            }
            ServiceStep::Stop { .. } if self.bug == Some(Bug::ServiceStopLies) => ok(StepOutput::Done),
            ServiceStep::Stop { .. } | ServiceStep::Kill { .. } => {
                let limit = drawn.stop_ms.min(drawn.stop_timeout_ms) * MS;
                let now = self.now;
                let service = &mut self.hosts[host].service;
                let since = *service.stopping_since.get_or_insert(now);
                if service.runs && now < since + limit {
                    return Tried::Wait((since + limit - now).max(MS));
                }
                if drawn.stop_ms > drawn.stop_timeout_ms {
                    self.mark("a service was killed");
                }
                self.service_ends(host);
                ok(StepOutput::Done)
            }
            ServiceStep::Policy { .. } => ok(StepOutput::Done),
        }
    }

    fn service_starts(&mut self, host: usize) {
        let other = &self.hosts[1 - host];
        let twice = !self.hosts[host].service.runs && other.service.runs;
        self.hosts[host].service.runs = true;
        self.hosts[host].service.stopping_since = None;
        self.trace(|| format!("db{} service runs", host + 1));
        if twice && self.paired_for(2_500 * MS) {
            self.break_promise(format!("R0-09: the service starts on db{} while the other's runs", host + 1));
        }
    }

    /// It runs no more, whoever ended it.
    pub fn service_ends(&mut self, host: usize) {
        let service = &mut self.hosts[host].service;
        service.runs = false;
        service.stopping_since = None;
        self.trace(|| format!("db{} service rests", host + 1));
    }

    /// It ends by itself.
    pub fn service_dies(&mut self, host: usize) {
        if self.hosts[host].service.runs {
            self.hosts[host].service.failed_at = Some(self.now);
            self.service_ends(host);
            self.mark("a service ended by itself");
            self.report_service(host, MS);
        }
    }

    /// What the watch says.
    pub fn report_service(&mut self, host: usize, delay: u64) {
        if self.drawn_service().is_none() || !self.hosts[host].powered {
            return;
        }
        let service = &self.hosts[host].service;
        let state = match (service.runs, service.stopping_since) {
            (true, Some(_)) => ServiceState::Stopping,
            (true, None) => ServiceState::Running,
            (false, _) if service.broken > 0 => ServiceState::Failed,
            (false, _) => ServiceState::Stopped,
        };
        let report = ServiceReport { name: SHOP.into(), state, detail: state.word().into() };
        let run = self.hosts[host].run;
        self.tell(delay, host, run, Event::Service(report));
    }

    /// Both daemons live, and have heard each other for so long without anything out of order between them.
    fn paired_for(&self, time: u64) -> bool {
        let leases = 6 * Self::nanos(self.hosts[0].settings.lease);
        self.checkers.paired_since.is_some_and(|since| self.now >= since + time + leases)
    }

    /// After everything that happens: how long the nodes have seen each other, and what must hold then.
    pub fn look_at_services(&mut self) {
        let Some(drawn) = self.drawn_service() else { return };
        let patience = 9_000 * MS + 2 * drawn.stop_timeout_ms * MS;
        let lives = |host: usize| {
            let host = &self.hosts[host];
            host.asleep.is_none() && host.daemon.as_ref().is_some_and(|daemon| !daemon.paused)
        };
        let paired = lives(0) && lives(1) && self.network.is_clean() && self.round_trip(Protocol::Peer);
        let since = self.checkers.paired_since;
        self.checkers.paired_since = if paired { since.or(Some(self.now)) } else { None };
        let both = self.hosts[0].service.runs && self.hosts[1].service.runs;
        if both && self.paired_for(patience) {
            self.break_promise("R0-30: the service runs on both nodes, and they see each other".into());
        }
    }

    /// A gate is told to open: the service was started before, or could not be.
    pub fn service_seen_to(&self, host: usize) -> bool {
        let service = &self.hosts[host].service;
        let tried = service.failed_at.is_some_and(|at| self.now < at + EXCUSED);
        self.drawn_service().is_none() || service.runs || tried
    }
}
