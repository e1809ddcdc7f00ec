//! Who is told of changes, as written: `[[hook]]` and `[alerts]`.

use super::{CheckTls, Period, words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[[hook]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hook {
    /// On which changes of this node's role.
    pub on: Vec<HookWord>,
    /// Program (its whole path) and arguments; INSTANCE NAME STATE PRIORITY follow, as with keepalived.
    #[schemars(required)]
    pub argv: Vec<String>,
    /// Then it is killed.
    pub timeout: Period,
    /// Who runs it, where apd itself runs as root.
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
    /// Host and port of a relay that takes mail without a password.
    pub server: String,
    /// Sender.
    pub from: String,
    /// Recipients. Empty: no mail.
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
    /// Where alerts are posted. Empty: nowhere.
    pub url: String,
    /// File with the URL, where it holds a secret.
    pub url_file: PathBuf,
    /// With `https`: whose certificate is believed.
    pub tls: Option<CheckTls>,
}
