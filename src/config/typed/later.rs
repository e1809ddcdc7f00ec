//! Tables whose feature is not built yet. Every key is known, so that a typing error is told from a key
//! that comes later; `check::later` refuses every value but the default.

use super::{Period, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[arbiter]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arbiter {
    /// etcd v3: `["https://10.0.0.9:2379"]`.
    pub endpoints: Vec<String>,
    /// Before every key.
    pub prefix: String,
    /// CA of the endpoints.
    pub ca_file: PathBuf,
    /// Client certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl Default for Arbiter {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: "/apd/".into(),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
        }
    }
}

/// `[fencing]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fencing {
    /// Confirms by exit code 0 that the peer is off.
    pub command: Vec<String>,
    /// No answer by then is no confirmation.
    pub timeout: Period,
}

impl Default for Fencing {
    fn default() -> Self {
        Self { command: Vec::new(), timeout: Period::seconds(30) }
    }
}

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Unique.
    #[schemars(required)]
    pub name: String,
    /// systemd unit.
    pub unit: Option<String>,
    /// Or container.
    pub container: Option<String>,
    /// Or commands: start.
    pub start: Option<Vec<String>>,
    /// Or commands: stop.
    pub stop: Option<Vec<String>>,
    /// Or commands: kill.
    pub kill: Option<Vec<String>>,
    /// Or commands: status.
    pub status: Option<Vec<String>>,
    /// In which role it runs.
    pub runs_on: RunsOn,
    /// Then it is killed.
    pub stop_timeout: Period,
    /// Local restarts before the role is given up.
    #[schemars(range(min = 0, max = 100))]
    pub restarts: u32,
    /// Lower starts first.
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

/// `[[hook]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hook {
    /// On which changes.
    pub on: Vec<HookWord>,
    /// What is run.
    pub argv: Vec<String>,
    /// Then it is killed.
    pub timeout: Period,
    /// As whom.
    pub user: String,
}

impl Default for Hook {
    fn default() -> Self {
        Self {
            on: vec![HookWord::Active, HookWord::Standby, HookWord::Fault, HookWord::Out, HookWord::Stop],
            argv: Vec::new(),
            timeout: Period::seconds(10),
            user: "nobody".into(),
        }
    }
}

words!(
    /// Words of `on`.
    HookWord { Active, Standby, Fault, Out, Stop }
);

/// `[[sync]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sync {
    /// File or folder.
    pub path: PathBuf,
    /// Not these.
    pub exclude: Vec<String>,
}

/// `[alerts]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// By mail.
    pub smtp: Smtp,
    /// By HTTP.
    pub webhook: Webhook,
}

/// `[alerts.smtp]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Smtp {
    /// Host and port.
    pub server: String,
    /// Sender.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// For the connection.
    pub connect_timeout: Period,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            server: "192.168.200.1:25".into(),
            from: String::new(),
            to: Vec::new(),
            connect_timeout: Period::seconds(30),
        }
    }
}

/// `[alerts.webhook]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Where alerts are posted.
    pub url: String,
}
