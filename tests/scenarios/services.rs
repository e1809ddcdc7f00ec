//! The services of a story: what runs on each host, what is wrong with it, and the ends of the steps of its lane.

use apd::decision::action::{StepOutput, StepResult};
use apd::decision::service::{RunsOn, ServiceReport, ServiceSettings, ServiceState, ServiceStep, UnitPolicy};
use apd::decision::settings::Settings;
use std::time::Duration;

/// One service on one host.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub runs: bool,
    /// It does not start.
    pub broken: bool,
    /// Until it is down.
    pub stops_in: Duration,
    stop_timeout: Duration,
}

/// Those of one host.
#[derive(Debug, Default)]
pub struct Services {
    all: Vec<Service>,
    policy: Option<UnitPolicy>,
}

impl Services {
    /// None runs.
    pub fn new(settings: &Settings) -> Self {
        let service = |settings: &ServiceSettings| Service {
            name: settings.name.clone(),
            runs: false,
            broken: false,
            stops_in: Duration::from_millis(20),
            stop_timeout: settings.stop_timeout,
        };
        Self { all: settings.services.iter().map(service).collect(), policy: None }
    }

    /// The one of that name.
    pub fn named(&mut self, name: &str) -> &mut Service {
        self.all.iter_mut().find(|one| one.name == name).unwrap_or_else(|| panic!("no service: {name}"))
    }

    pub fn runs(&self, name: &str) -> bool {
        self.all.iter().any(|one| one.name == name && one.runs)
    }

    /// Those that run.
    pub fn running(&self) -> Vec<&str> {
        self.all.iter().filter(|one| one.runs).map(|one| one.name.as_str()).collect()
    }

    /// A power cut.
    pub fn lose_power(&mut self) {
        self.all.iter_mut().for_each(|one| one.runs = false);
    }

    /// What the watch says of each.
    pub fn reports(&self) -> Vec<ServiceReport> {
        let masked = self.policy == Some(UnitPolicy::Masked);
        let report = |one: &Service| {
            let (state, detail) = match (one.runs, masked) {
                (true, _) => (ServiceState::Running, "active (running)"),
                (false, true) => (ServiceState::Masked, "masked"),
                (false, false) if one.broken => (ServiceState::Failed, "failed (exit code 1)"),
                (false, false) => (ServiceState::Stopped, "inactive (dead)"),
            };
            ServiceReport { name: one.name.clone(), state, detail: detail.into() }
        };
        self.all.iter().map(report).collect()
    }

    /// How long a step takes.
    pub fn duration(&self, step: &ServiceStep) -> Duration {
        match step {
            ServiceStep::Start { .. } => Duration::from_millis(30),
            ServiceStep::Stop { name } => {
                let one = self.all.iter().find(|one| one.name == *name);
                one.map_or(Duration::ZERO, |one| one.stops_in.min(one.stop_timeout))
            }
            ServiceStep::Kill { .. } | ServiceStep::Policy { .. } => Duration::from_millis(5),
        }
    }

    /// The effect of a step, at its end.
    pub fn perform(&mut self, step: &ServiceStep) -> StepResult {
        match step {
            ServiceStep::Start { name } if self.policy == Some(UnitPolicy::Masked) => {
                return StepResult::Failed(format!("{name} is masked"));
            }
            ServiceStep::Start { name } if self.named(name).broken => {
                return StepResult::Failed("exit code 1".into());
            }
            ServiceStep::Start { name } => self.named(name).runs = true,
            ServiceStep::Stop { name } | ServiceStep::Kill { name } => self.named(name).runs = false,
            ServiceStep::Policy { policy } => self.policy = Some(*policy),
        }
        StepResult::Ok(StepOutput::Done)
    }
}

/// What a story says of a service: its name, and in which role it runs.
pub fn configured(name: &str, runs_on: &str) -> ServiceSettings {
    let runs_on = match runs_on {
        "both" => RunsOn::Both,
        "active" => RunsOn::Active,
        "never" => RunsOn::Never,
        _ => panic!("no role: {runs_on}"),
    };
    ServiceSettings {
        name: name.into(),
        runs_on,
        restarts: 2,
        stop_timeout: Duration::from_secs(5),
        order: 10,
    }
}
