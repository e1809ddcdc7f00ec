//! Services and the time to take over, as the status shows them.

use super::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it does: running, starting, stopping, stopped, failed, masked, unknown.
    #[schemars(with = "words::ServiceState")]
    pub state: String,
    /// In which role it runs: both, active, never.
    #[schemars(with = "words::RunsOn")]
    pub runs_on: String,
    /// Local restarts that were used.
    pub restarts_used: u32,
    /// Of how many.
    pub restarts: u32,
    /// Given up until an operator clears it, and why; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What its manager says of it.
    pub detail: String,
    /// Since it was last read.
    #[serde(default)]
    pub age_ms: Option<u64>,
    /// How long its last start took here.
    #[serde(default)]
    pub start_ms: Option<u64>,
}

/// How long a takeover here takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakeoverTime {
    /// What it begins with: cold, warm, hot.
    #[schemars(with = "words::Readiness")]
    pub readiness: String,
    /// Until the right is there after the active fell silent, at most.
    pub wait_ms: u64,
    /// What the starts took when they were last measured here; `None`: some never were.
    pub starts_ms: Option<u64>,
}

impl TakeoverTime {
    /// In words.
    pub fn words(&self) -> String {
        let starts = match self.starts_ms {
            Some(0) => "nothing to start".to_owned(),
            Some(starts) => format!("starts {starts} ms, as last measured"),
            None => "starts not measured yet".to_owned(),
        };
        format!("{}: wait {} ms, {starts}", self.readiness, self.wait_ms)
    }
}
