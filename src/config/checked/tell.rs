//! `[[hook]]` and `[alerts]`: who is told of changes.

use super::CertificateTrust;
use crate::wire::role_change::Word;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// `[[hook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// On which changes of this node's role.
    pub on: Vec<Word>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Then it is killed.
    pub timeout: Duration,
    /// As whom, where apd may switch.
    pub user: String,
}

/// `[alerts]`: the ways that are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    /// By mail.
    pub smtp: Option<Smtp>,
    /// By HTTP.
    pub webhook: Option<Webhook>,
}

/// `[alerts.smtp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// The relay.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Sender.
    pub from: String,
    /// Recipients, at least one.
    pub to: Vec<String>,
    /// For the connection.
    pub connect_timeout: Duration,
}

/// `[alerts.webhook]`.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// From the URL.
    pub host: String,
    /// From the URL, or that of its scheme.
    pub port: u16,
    /// From the URL, with query: many services put a secret there.
    pub path: SecretString,
    /// `https`: whom to believe.
    pub tls: Option<CertificateTrust>,
}

impl PartialEq for Webhook {
    fn eq(&self, other: &Self) -> bool {
        let rest = |one: &Self| (one.host.clone(), one.port, one.tls.clone());
        rest(self) == rest(other) && self.path.expose_secret() == other.path.expose_secret()
    }
}

impl Eq for Webhook {}
