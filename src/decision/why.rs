//! Reasons as data: what was decided, with the facts that decided it.
//!
//! Each has a stable code (journal, metrics, `explain`) and one sentence for a person.

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

/// One decision with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Stable code, for example `takeover.started`.
    pub code: String,
    /// One sentence, facts included.
    pub text: String,
    /// What resolves it, as a command where one does; empty if nothing need be done.
    pub remedy: String,
    /// How loud.
    pub severity: Severity,
}

impl Why {
    /// A reason for the record.
    pub fn info(code: &str, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into(), remedy: String::new(), severity: Severity::Info }
    }

    /// A reason that an operator should know.
    pub fn warning(code: &str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::info(code, text) }
    }

    /// A loss of service or redundancy.
    pub fn error(code: &str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, ..Self::info(code, text) }
    }

    /// With the command or act that resolves it.
    #[must_use]
    pub fn resolved_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}
