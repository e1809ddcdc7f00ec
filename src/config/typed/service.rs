//! `[[service]]` as written. One struct for the three ways to run a service: that exactly one of them is given is
//! checked by `rules`.

use super::{Period, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Unique.
    #[schemars(required)]
    pub name: String,
    /// systemd unit.
    pub unit: Option<String>,
    /// Or container of docker or podman.
    pub container: Option<String>,
    /// Or commands, without a shell: start.
    pub start: Option<Vec<String>>,
    /// Or commands: stop.
    pub stop: Option<Vec<String>>,
    /// Or commands: kill.
    pub kill: Option<Vec<String>>,
    /// Or commands: status; exit code 0 means that it runs.
    pub status: Option<Vec<String>>,
    /// In which role it runs.
    pub runs_on: RunsOn,
    /// A stop that takes longer is followed by a kill.
    pub stop_timeout: Period,
    /// Local restarts before the role is given up.
    #[schemars(range(min = 0, max = 100))]
    pub restarts: u32,
    /// Lower starts first, and stops last.
    #[schemars(range(min = 0, max = 1000))]
    pub order: u32,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            name: String::new(),
            unit: None,
            container: None,
            start: None,
            stop: None,
            kill: None,
            status: None,
            runs_on: RunsOn::Both,
            stop_timeout: Period::seconds(10),
            restarts: 2,
            order: 10,
        }
    }
}

words!(
    /// Words of `runs_on`.
    RunsOn { Both, Active, Never }
);
