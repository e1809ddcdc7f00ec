//! Services: what this node starts and stops beside the database, in which role, and what is known of them.
//!
//! Only what the operator lists as `[[service]]` is managed. The database's server is one of them when a service
//! names its unit; else its own unit starts it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In which role a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunsOn {
    /// On both nodes: started when the node takes part.
    Both,
    /// On the active alone: started in a takeover, stopped before the role is handed on.
    Active,
    /// Kept stopped.
    Never,
}

impl RunsOn {
    /// The word, as written in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            RunsOn::Both => "both",
            RunsOn::Active => "active",
            RunsOn::Never => "never",
        }
    }
}

/// One service, as the decision needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// Its name.
    pub name: String,
    /// In which role it runs.
    pub runs_on: RunsOn,
    /// Local restarts before the role is given up.
    pub restarts: u32,
    /// Then it is killed.
    pub stop_timeout: Duration,
    /// Lower starts first, and stops last.
    pub order: u32,
}

/// What a node does with its services at boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// Starts them and comes up as standby.
    #[default]
    Standby,
    /// Nothing, until `apctl start`.
    Manual,
}

/// What becomes of running services when the mode becomes maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaintenanceServices {
    /// They go on.
    #[default]
    Keep,
    /// They are stopped.
    Stop,
}

/// What a service does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// It runs.
    Running,
    /// On its way up.
    Starting,
    /// On its way down.
    Stopping,
    /// It does not run, and nothing is wrong with that.
    Stopped,
    /// It ended by itself, or did not start.
    Failed,
    /// It does not run, and nobody may start it.
    Masked,
    /// Nobody can tell.
    #[default]
    Unknown,
}

impl ServiceState {
    /// The word, as shown.
    pub const fn word(self) -> &'static str {
        match self {
            ServiceState::Running => "running",
            ServiceState::Starting => "starting",
            ServiceState::Stopping => "stopping",
            ServiceState::Stopped => "stopped",
            ServiceState::Failed => "failed",
            ServiceState::Masked => "masked",
            ServiceState::Unknown => "unknown",
        }
    }

    /// Some part of it may run.
    pub const fn lives(self) -> bool {
        matches!(self, ServiceState::Running | ServiceState::Starting | ServiceState::Stopping)
    }
}

/// What is seen of a service: at each change, and at least each second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// The service's name, as configured.
    pub name: String,
    /// What it does.
    pub state: ServiceState,
    /// One line: what its manager says of it.
    pub detail: String,
}

/// What boot and hands may do with the managed units, and with their sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitPolicy {
    /// Boot does not start them: apd does.
    Disabled,
    /// Neither boot nor hand starts them.
    Masked,
    /// Exactly what they were before apd changed it.
    Restored,
}

impl UnitPolicy {
    /// The word, as written in the instance of the oneshot unit.
    pub const fn word(self) -> &'static str {
        match self {
            UnitPolicy::Disabled => "disabled",
            UnitPolicy::Masked => "masked",
            UnitPolicy::Restored => "restored",
        }
    }
}

/// What can be asked of the services; one at a time, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStep {
    /// Ends well once it runs: unit active, container running, start command 0 and status 0.
    Start {
        /// Which.
        name: String,
    },
    /// Stop it, and kill it after its `stop_timeout`. Ends well only when it does not run any more.
    Stop {
        /// Which.
        name: String,
    },
    /// End it at once.
    Kill {
        /// Which.
        name: String,
    },
    /// Of all managed units.
    Policy {
        /// What boot and hands may do.
        policy: UnitPolicy,
    },
}

impl ServiceStep {
    /// Whether it is given up, while it runs, when `next` is queued: a start that is still waited for, for the stop
    /// of the same service. The one exception to the order of the lane.
    pub fn gives_way_to(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Start { name }, Self::Stop { name: other } | Self::Kill { name: other }) => name == other,
            _ => false,
        }
    }
}
