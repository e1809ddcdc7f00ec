//! The services that apd manages: units of systemd, containers of docker or podman, commands.
//!
//! Starting and stopping needs root, which the daemon under systemd does not have. There it starts the oneshot unit
//! `apd-service@ACT.service`, which is all that its user may do with units, and that one runs `apctl local-service ACT`
//! as root, which comes here again and acts itself. A daemon that runs as root acts itself at once. How a service is
//! doing is seen without any right.

mod command;
mod container;
mod policy;
mod systemd;
mod watch;

use crate::config::checked::{Config, Means, Service};
use crate::decision::action::{StepOutput, StepResult};
use crate::decision::service::{ServiceReport, ServiceState, ServiceStep, UnitPolicy};
use container::{Engine, engine_socket};
use policy::{Managed, Record};
use std::collections::BTreeMap;
use std::path::PathBuf;
use systemd::Systemd;
use tokio::time::{Instant, timeout_at};

/// Where systemd keeps what tells that it runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// Where unit files lie.
const ROOT: &str = "/";

/// Why something was not done, for people.
type Outcome<T> = Result<T, String>;

/// All managed services of this node.
#[derive(Debug)]
pub struct Services {
    services: Vec<Service>,
    systemd: Systemd,
    engine: Engine,
    record: PathBuf,
    root: bool,
}

impl Services {
    /// The services of a configuration. Nothing is opened before it is needed: a bus or an engine that comes later is
    /// found then.
    pub fn new(config: &Config) -> Self {
        Self {
            services: config.services.clone(),
            systemd: Systemd::default(),
            engine: Engine::new(engine_socket()),
            record: config.paths.state_dir.join("units"),
            root: nix::unistd::geteuid().is_root(),
        }
    }

    /// The same, with an engine that listens elsewhere.
    #[must_use]
    pub fn at_engine(mut self, socket: PathBuf) -> Self {
        self.engine = Engine::new(socket);
        self
    }

    /// Whether there is anything to manage.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The names, in the order in which they start.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| service.settings.name.as_str())
    }

    /// Carries a step out. It ends by the deadline; what has not ended then goes on in systemd or in the engine, and a
    /// command is killed.
    pub async fn perform(&self, step: &ServiceStep, deadline: Instant) -> StepResult {
        let done = async {
            match self.is_mine(step) {
                true => self.act(step, deadline).await,
                false => self.systemd.ask_oneshot(&act_of(step)).await,
            }
        };
        match timeout_at(deadline, done).await {
            Ok(Ok(())) => StepResult::Ok(StepOutput::Done),
            Ok(Err(text)) => StepResult::Failed(text),
            Err(_) => StepResult::TimedOut,
        }
    }

    /// Whether this process may do it itself.
    fn is_mine(&self, step: &ServiceStep) -> bool {
        if self.root {
            return true;
        }
        let name = match step {
            ServiceStep::Start { name } | ServiceStep::Stop { name } | ServiceStep::Kill { name } => name,
            ServiceStep::Policy { .. } => return false,
        };
        let means = self.find(name).map(|service| &service.means);
        matches!(means, Ok(Means::Container(_))) && self.engine.may_be_asked()
    }

    async fn act(&self, step: &ServiceStep, deadline: Instant) -> Outcome<()> {
        match step {
            ServiceStep::Start { name } => {
                let service = self.find(name)?;
                match &service.means {
                    Means::Unit(unit) => self.systemd.start(unit).await,
                    Means::Container(container) => self.engine.start(container).await,
                    Means::Commands { start, status, .. } => {
                        command::start(start, status.as_deref(), deadline).await
                    }
                }
            }
            ServiceStep::Stop { name } => {
                let service = self.find(name)?;
                let patience = service.settings.stop_timeout;
                match &service.means {
                    Means::Unit(unit) => self.systemd.stop(unit, patience).await,
                    Means::Container(container) => self.engine.stop(container, patience).await,
                    Means::Commands { stop, kill, status, .. } => {
                        command::stop(stop, kill.as_deref(), status.as_deref(), patience).await
                    }
                }
            }
            ServiceStep::Kill { name } => {
                let service = self.find(name)?;
                match &service.means {
                    Means::Unit(unit) => self.systemd.kill(unit).await,
                    Means::Container(container) => self.engine.kill(container).await,
                    Means::Commands { kill, status, .. } => {
                        command::kill(name, kill.as_deref(), status.as_deref()).await
                    }
                }
            }
            ServiceStep::Policy { policy } => self.apply(*policy).await,
        }
    }

    /// What boot and hands may do with the units. Done half way, it is finished by the next one, for the record of how
    /// it was before is older than the first change.
    async fn apply(&self, policy: UnitPolicy) -> Outcome<()> {
        let mut record = Record::read(&self.record)?;
        let units: Vec<&str> = self.units().collect();
        if units.is_empty() && record.is_empty() {
            return Ok(());
        }
        let mut sockets = BTreeMap::new();
        for unit in &units {
            for socket in self.systemd.sockets(unit).await? {
                let listens = self.systemd.seen(&socket).await?.active == "active";
                sockets.insert(socket, listens);
            }
        }
        let services = units.iter().map(|unit| Managed { unit, listens: false });
        let triggers = sockets.iter().map(|(unit, listens)| Managed { unit, listens: *listens });
        let managed: Vec<Managed<'_>> = services.chain(triggers).collect();
        let left = record.apply(policy, &managed, ROOT.as_ref(), &self.record)?;
        if left.reload {
            self.systemd.reload().await?;
        }
        if policy != UnitPolicy::Restored {
            // A socket that listens would start its service for whoever connects.
            for (socket, _) in sockets.iter().filter(|(_, listens)| **listens) {
                self.systemd.stop_job(socket).await?;
            }
        }
        for socket in &left.listen {
            self.systemd.start_job(socket).await?;
        }
        record.settle(policy, &managed, &self.record)
    }

    /// How a service is doing now.
    pub async fn state(&self, name: &str) -> ServiceReport {
        let seen = match self.find(name) {
            Ok(service) => self.look(service).await,
            Err(text) => Err(text),
        };
        let (state, detail) = seen.unwrap_or_else(|text| (ServiceState::Unknown, text));
        ServiceReport { name: name.to_owned(), state, detail }
    }

    async fn look(&self, service: &Service) -> Outcome<(ServiceState, String)> {
        match &service.means {
            Means::Unit(unit) => self.systemd.state(unit).await,
            Means::Container(container) => self.engine.state(container).await,
            Means::Commands { status, .. } => command::state(status.as_deref()).await,
        }
    }

    fn find(&self, name: &str) -> Outcome<&Service> {
        let found = self.services.iter().find(|service| service.settings.name == name);
        found.ok_or_else(|| format!("there is no [[service]] named {name}"))
    }

    fn units(&self) -> impl Iterator<Item = &str> {
        self.services.iter().filter_map(|service| match &service.means {
            Means::Unit(unit) => Some(unit.as_str()),
            Means::Container(_) | Means::Commands { .. } => None,
        })
    }
}

/// A step in one word, as `apctl local-service` reads it and the instance of the oneshot unit holds it.
pub fn act_of(step: &ServiceStep) -> String {
    match step {
        ServiceStep::Start { name } => format!("start:{name}"),
        ServiceStep::Stop { name } => format!("stop:{name}"),
        ServiceStep::Kill { name } => format!("kill:{name}"),
        ServiceStep::Policy { policy } => format!("policy:{}", policy.word()),
    }
}

/// The step of an act; `None` for a word that is none.
pub fn step_of(verb: &str, object: &str) -> Option<ServiceStep> {
    let name = object.to_owned();
    Some(match verb {
        "start" => ServiceStep::Start { name },
        "stop" => ServiceStep::Stop { name },
        "kill" => ServiceStep::Kill { name },
        "policy" => {
            let all = [UnitPolicy::Disabled, UnitPolicy::Masked, UnitPolicy::Restored];
            ServiceStep::Policy { policy: all.into_iter().find(|policy| policy.word() == object)? }
        }
        _ => return None,
    })
}
