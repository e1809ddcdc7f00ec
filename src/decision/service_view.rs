//! What is shown of the services, and of what a takeover here would have to start.

use super::node::Node;
use super::service::{RunsOn, ServiceState};
use super::services::Managed;
use super::time::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One service, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: ServiceState,
    /// What its manager says.
    pub detail: String,
    /// In which role it runs.
    pub runs_on: RunsOn,
    /// It is the database's server.
    pub database: bool,
    /// Local restarts that were used.
    pub restarts_used: u32,
    /// Of how many.
    pub restarts: u32,
    /// Why it was given up, until an operator clears it.
    pub fault: Option<String>,
    /// When it was last reported.
    pub at: Option<Instant>,
    /// How long its last start took.
    pub start_took: Option<Duration>,
}

/// What a takeover here would begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// The server is stopped.
    Cold,
    /// The server runs, something of the active does not.
    Warm,
    /// Everything runs.
    Hot,
}

impl Readiness {
    /// The word, as shown.
    pub const fn word(self) -> &'static str {
        match self {
            Readiness::Cold => "cold",
            Readiness::Warm => "warm",
            Readiness::Hot => "hot",
        }
    }
}

impl Node {
    pub(super) fn service_views(&self) -> Vec<ServiceView> {
        let view = |service: &Managed| ServiceView {
            name: service.settings.name.clone(),
            state: service.state,
            detail: service.detail.clone(),
            runs_on: service.settings.runs_on,
            database: service.database,
            restarts_used: service.used.min(service.settings.restarts),
            restarts: service.settings.restarts,
            fault: service.fault.clone(),
            at: service.at,
            start_took: service.start_took,
        };
        self.services.all.iter().map(view).collect()
    }

    /// How this node stands by; `None` without services.
    pub(super) fn readiness(&self) -> Option<Readiness> {
        let database = self.services.database();
        if self.services.all.is_empty() {
            None
        } else if database.is_some_and(|one| one.settings.runs_on == RunsOn::Active) {
            Some(Readiness::Cold)
        } else if self.services.of_role().next().is_some() {
            Some(Readiness::Warm)
        } else {
            Some(Readiness::Hot)
        }
    }

    /// What the starts of a takeover took when they were last measured here; `None`: some never were.
    pub(super) fn starts_take(&self) -> Option<Duration> {
        let started = |service: &&Managed| service.settings.runs_on == RunsOn::Active;
        self.services.all.iter().filter(started).map(|service| service.start_took).sum()
    }
}
