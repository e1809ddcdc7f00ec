//! Tables whose feature is not built yet. Every key is known, so that a typing error is told from a key
//! that comes later; `check::later` refuses every value but the default.

use super::Period;
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

/// `[[sync]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sync {
    /// File or folder.
    pub path: PathBuf,
    /// Not these.
    pub exclude: Vec<String>,
}
