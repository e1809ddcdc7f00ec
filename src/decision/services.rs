//! The services of this node: which of them shall run in which state of its life, and what is known of each.
//!
//! What is done about the difference is in `service_rules`; what a takeover and a handover wait for is in
//! `role_services`.

use super::code::Code;
use super::node::Node;
use super::phase::Phase;
use super::service::{MaintenanceServices, RunsOn, ServiceReport, ServiceSettings, ServiceState, UnitPolicy};
use super::settings::OnStop;
use super::time::Instant;
use super::why::Why;
use super::words::Mode;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A report that was read before the last step ended may come after it.
const STALE: Duration = Duration::from_millis(300);
/// A service that ran for so long has proven that it can: its restarts count from nothing again.
const STEADY: Duration = Duration::from_secs(60);
/// How long a service may take until the check of its name passes.
const SETTLE: Duration = Duration::from_secs(5);
/// How long nobody's word about a service is waited for before it is started or stopped all the same.
const UNHEARD: Duration = Duration::from_secs(3);
/// Beyond `stop_timeout`: the kill and its end.
const KILL: Duration = Duration::from_secs(5);

/// All services, in the order of their starts.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Services {
    pub(super) all: Vec<Managed>,
    pub(super) part: Part,
    /// What boot and hands may do now, as far as it was said.
    pub(super) policy: Option<UnitPolicy>,
    pub(super) policing: bool,
    pub(super) police_at: Instant,
    /// The services of the role are stopped ahead of an orderly step-down, since.
    pub(super) resting_since: Option<Instant>,
    /// Since when nothing keeps this node from serving.
    pub(super) fit_since: Option<Instant>,
    /// Since when it serves.
    pub(super) active_since: Option<Instant>,
}

/// Whether this node takes part, and brings its services up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// It does.
    #[default]
    Up,
    /// Not before an operator says so (`boot = "manual"`).
    Waiting,
    /// Not any more: an operator stopped it.
    Down,
}

/// One service and what is known of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Managed {
    pub(super) settings: ServiceSettings,
    /// It is the database's server.
    pub(super) database: bool,
    pub(super) state: ServiceState,
    pub(super) detail: String,
    /// When it was last reported.
    pub(super) at: Option<Instant>,
    /// What is being done about it.
    pub(super) doing: Option<Act>,
    /// When the last of that began, and when it ended.
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) up_since: Option<Instant>,
    /// Local restarts since it last was steady.
    pub(super) used: u32,
    /// The next try.
    pub(super) again_at: Instant,
    /// Given up, until an operator clears it.
    pub(super) fault: Option<String>,
    /// How long its last start took.
    pub(super) start_took: Option<Duration>,
}

/// What is done about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Act {
    Start,
    Stop,
    Policy,
}

/// What shall become of a service now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Run,
    Rest,
    /// Whatever it does, it goes on.
    Leave,
}

impl Services {
    /// Nothing is known of any.
    pub(super) fn new(settings: &[ServiceSettings], database: Option<&str>) -> Self {
        let managed = |settings: &ServiceSettings| Managed {
            settings: settings.clone(),
            database: database == Some(settings.name.as_str()),
            state: ServiceState::Unknown,
            detail: String::new(),
            at: None,
            doing: None,
            began: Instant::ZERO,
            ended: Instant::ZERO,
            up_since: None,
            used: 0,
            again_at: Instant::ZERO,
            fault: None,
            start_took: None,
        };
        let mut all: Vec<Managed> = settings.iter().map(managed).collect();
        // Before everything else.
        all.sort_by_key(|service| !service.database);
        Self { all, ..Self::default() }
    }

    /// The database's server, if it is one of them.
    pub(super) fn database(&self) -> Option<&Managed> {
        self.all.iter().find(|service| service.database)
    }

    /// Those that run on the active alone.
    pub(super) fn of_role(&self) -> impl DoubleEndedIterator<Item = &Managed> {
        self.all.iter().filter(|service| service.is_of_role())
    }

    /// How long the stops of those that run on the active alone may take.
    pub(super) fn stop_allowance(&self) -> Duration {
        self.of_role().map(Managed::stop_limit).sum()
    }

    /// How long the stops of all may take.
    pub(super) fn stop_all_allowance(&self) -> Duration {
        self.all.iter().map(Managed::stop_limit).sum()
    }
}

impl Managed {
    /// It runs on the active alone. The server is apart: what it takes along are not a service's clients but the data.
    pub(super) fn is_of_role(&self) -> bool {
        self.settings.runs_on == RunsOn::Active && !self.database
    }

    /// The longest that a stop takes, kill included.
    pub(super) fn stop_limit(&self) -> Duration {
        self.settings.stop_timeout + KILL
    }

    /// Some part of it may run, or is about to.
    pub(super) fn lives(&self) -> bool {
        self.state.lives() || self.doing.is_some()
    }

    /// It certainly does not run.
    pub(super) fn rests(&self) -> bool {
        self.doing.is_none()
            && matches!(self.state, ServiceState::Stopped | ServiceState::Failed | ServiceState::Masked)
    }

    pub(super) fn runs(&self) -> bool {
        self.state == ServiceState::Running
    }

    /// Its state is known, or nobody says it for too long to wait.
    pub(super) fn is_judged(&self, started: Instant, now: Instant) -> bool {
        self.state != ServiceState::Unknown || now >= started + UNHEARD
    }
}

impl Node {
    /// The operator lets this node take part.
    pub(super) fn takes_part(&self) -> bool {
        match (self.mode.mode, self.services.part) {
            (Mode::Maintenance, _) | (_, Part::Down) | (Mode::Ap, Part::Waiting) => false,
            (Mode::Standalone, Part::Waiting) | (_, Part::Up) => true,
        }
    }

    /// The database's server is stopped here on purpose: a cold standby.
    pub(super) fn is_cold(&self) -> bool {
        let serves = matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_));
        let started = matches!(self.phase.now(), Phase::TakingOver(takeover) if takeover.database_is_up());
        let cold = self.services.database().is_some_and(|one| one.settings.runs_on == RunsOn::Active);
        cold && !serves && !started && !self.database.report.reachable
    }

    /// The whole node goes down in order, services and all.
    pub(super) fn leaves_for_good(&self) -> bool {
        self.stopping.is_some() && self.settings.on_stop != OnStop::Keep
    }

    /// What shall become of a service now.
    pub(super) fn want(&self, service: &Managed) -> Want {
        let (runs_on, database) = (service.settings.runs_on, service.database);
        let kept = self.settings.maintenance_services == MaintenanceServices::Keep;
        match self.phase.now() {
            Phase::Stopped => Want::Leave,
            Phase::Out if self.mode.mode == Mode::Maintenance => match runs_on {
                RunsOn::Both if kept => Want::Leave,
                RunsOn::Active if kept && database => Want::Leave,
                _ => Want::Rest,
            },
            // On its way in.
            Phase::Out if self.services.part == Part::Waiting || self.takes_part() => Want::Leave,
            Phase::Out => Want::Rest,
            _ if runs_on == RunsOn::Never => Want::Rest,
            Phase::Standby if self.leaves_for_good() => Want::Rest,
            Phase::Standby | Phase::Bidding(_) | Phase::Receiving(_) => match runs_on {
                RunsOn::Both => Want::Run,
                _ => Want::Rest,
            },
            // Those of the role have their own step, and the server comes first.
            Phase::TakingOver(_) if service.is_of_role() => Want::Leave,
            Phase::Active(_) if service.is_of_role() && self.services.resting_since.is_some() => Want::Rest,
            Phase::HandingOver(over) if service.is_of_role() => {
                if over.services_rest() {
                    Want::Rest
                } else {
                    Want::Leave
                }
            }
            Phase::TakingOver(_) | Phase::Active(_) | Phase::HandingOver(_) => Want::Run,
            // A gate process that is slow to confirm holds nothing up: the kernel shuts at lease end.
            Phase::SteppingDown(down) if service.is_of_role() => {
                let shut = down.gate_is_shut() || !self.gate.state.open || self.now >= self.lease.end;
                if shut { Want::Rest } else { Want::Leave }
            }
            Phase::SteppingDown(_) => Want::Leave,
        }
    }

    pub(super) fn on_service(&mut self, report: ServiceReport) {
        let now = self.now;
        let Some(index) = self.services.all.iter().position(|one| one.settings.name == report.name) else {
            return;
        };
        let wanted = self.want(&self.services.all[index]);
        let service = &mut self.services.all[index];
        service.at = Some(now);
        service.detail = report.detail.clone();
        // While something is done about it, its end says what became of it.
        let contradicts = service.state.lives() != report.state.lives();
        if service.doing.is_some()
            || (contradicts && service.ended > Instant::ZERO && now < service.ended + STALE)
        {
            return;
        }
        if report.state == ServiceState::Unknown {
            // Nobody can tell: what was done last counts.
            return;
        }
        let before = std::mem::replace(&mut service.state, report.state);
        match report.state {
            ServiceState::Running => {
                let since = *service.up_since.get_or_insert(now);
                if now >= since + STEADY && service.fault.is_none() {
                    service.used = 0;
                }
            }
            ServiceState::Stopped | ServiceState::Failed | ServiceState::Masked => {
                service.up_since = None;
                if before.lives() && wanted == Want::Run {
                    let text = format!("it ended: {}", service.detail);
                    self.count_failure(index, &text);
                    self.checks.forget(&report.name);
                }
            }
            ServiceState::Starting | ServiceState::Stopping | ServiceState::Unknown => {}
        }
    }

    /// A service that shall run does not: it is tried again, until its restarts are used.
    pub(super) fn count_failure(&mut self, index: usize, text: &str) {
        let now = self.now;
        let service = &mut self.services.all[index];
        let name = service.settings.name.clone();
        service.used = service.used.saturating_add(1);
        let pause = pause_after(service.used);
        service.again_at = now + pause;
        let (used, allowed) = (service.used, service.settings.restarts);
        if used <= allowed {
            let text =
                format!("service {name}: {text}; restart {used} of {allowed} in {} ms", pause.as_millis());
            self.tell(Why::new(Code::ServiceRestart, text));
            return;
        }
        let first = service.fault.is_none();
        service.fault = Some(text.to_owned());
        if first {
            let text = format!("service {name}: {text}; its {allowed} restarts are used");
            self.tell(Why::new(Code::ServiceFailed, text));
        }
    }

    /// Services that were given up, in words.
    pub(super) fn service_faults(&self) -> Vec<String> {
        let all = self.services.all.iter();
        all.filter_map(|service| {
            let text = service.fault.as_ref()?;
            Some(format!("service {} failed: {text} (apctl clear)", service.settings.name))
        })
        .collect()
    }

    /// Whether a check that fails says nothing now: the service of its name rests on purpose, or is on its way up.
    pub(super) fn check_is_void(&self, name: &str) -> bool {
        let serves = matches!(self.phase.now(), Phase::Active(_) | Phase::HandingOver(_));
        let Some(service) = self.services.all.iter().find(|service| service.settings.name == name) else {
            return self.check_waits_for_role(name, serves);
        };
        let rests = match service.settings.runs_on {
            RunsOn::Both => false,
            RunsOn::Active => !serves,
            RunsOn::Never => true,
        };
        let settled = service.up_since.is_some_and(|since| self.now >= since + SETTLE);
        let rises = service.fault.is_none() && service.state != ServiceState::Unknown && !settled;
        rests || rises
    }

    /// A check that counts on the active alone asks what only the active's services answer, and those take their time.
    fn check_waits_for_role(&self, name: &str, serves: bool) -> bool {
        let of_role =
            self.settings.checks.iter().any(|one| one.name == name && one.on_active && !one.on_standby);
        let settled = self.services.active_since.is_some_and(|since| self.now >= since + SETTLE);
        !self.services.all.is_empty() && of_role && !(serves && settled)
    }

    /// A node that has just become fit may not have told its peer yet, nor been told.
    pub(super) fn fitness_is_known(&self) -> bool {
        let heard = 5 * self.settings.heartbeat;
        self.services.all.is_empty() || self.services.fit_since.is_some_and(|since| self.now >= since + heard)
    }

    /// The server does not answer, and nothing is wrong with that: apd has not started it, or has stopped it.
    pub(super) fn database_rests(&self) -> bool {
        let Some(service) = self.services.database() else { return false };
        let never_ran = service.start_took.is_none() && service.up_since.is_none();
        !service.runs() && service.fault.is_none() && (never_ran || self.want(service) != Want::Run)
    }

    /// Points in time at which a service must be looked at again.
    pub(super) fn service_deadlines(&self) -> Vec<Instant> {
        if self.services.all.is_empty() {
            return Vec::new();
        }
        let started = self.started.unwrap_or_default();
        let mut deadlines = vec![self.services.police_at, started + UNHEARD];
        for service in &self.services.all {
            deadlines.push(service.again_at);
            deadlines.extend(service.up_since.map(|since| since + SETTLE));
        }
        deadlines.extend(self.services.resting_since.map(|since| since + self.services.stop_allowance()));
        deadlines.extend(self.stopping.map(|at| at + self.services.stop_all_allowance()));
        deadlines
    }

    /// An operator cleared what was given up.
    pub(super) fn clear_service_faults(&mut self) -> bool {
        let now = self.now;
        let mut cleared = false;
        for service in &mut self.services.all {
            cleared |= service.fault.take().is_some();
            service.used = 0;
            service.again_at = now;
        }
        cleared
    }
}

/// Half a second, then twice as long each time, up to half a minute.
fn pause_after(used: u32) -> Duration {
    (Duration::from_millis(500) * 2_u32.saturating_pow(used.saturating_sub(1).min(6)))
        .min(Duration::from_secs(30))
}
