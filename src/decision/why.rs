//! Reasons as data: what was decided, with the facts that decided it.
//!
//! Each is made from a [`Code`] (journal, metrics, `explain`, the manual) and one sentence for a person.

use super::code::{Code, Remedy};
use serde::{Deserialize, Serialize};

/// Weight of a reason in log and alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// An operator should know.
    Warning,
    /// Service or redundancy is lost.
    Error,
}

impl Severity {
    /// The word, as written everywhere.
    pub const fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One decision with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Which reason; a stable word for programs, for example `takeover.started`.
    pub code: Code,
    /// One sentence, facts included.
    pub text: String,
    /// What resolves it, as a command where one does; empty if nothing need be done.
    pub remedy: String,
    /// How loud.
    pub severity: Severity,
}

impl Why {
    /// A reason as loud as its code, with the remedy that its code tells.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        let remedy = match code.remedy() {
            Remedy::Told(remedy) => remedy.to_owned(),
            Remedy::None | Remedy::Manual(_) => String::new(),
        };
        Self { code, text: text.into(), remedy, severity: code.severity() }
    }

    /// With a better remedy than its code knows.
    #[must_use]
    pub fn resolved_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Louder or quieter than its code.
    #[must_use]
    pub const fn weighing(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}
