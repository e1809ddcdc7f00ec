//! What the doctor found: `apctl doctor`, `GET /doctor`.

use super::SCHEMA_VERSION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// It costs something, or will.
    Warning,
    /// Service or redundancy is lost, or would be at the next fault.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Symptom {
    /// Which part: `configuration`, `privileges`, `database`, `network`, `timing`, `clock`, `pair`.
    pub area: String,
    /// How bad.
    pub grade: Grade,
    /// One sentence, facts included.
    pub text: String,
    /// What resolves it; empty if nothing need be done.
    #[serde(default)]
    pub remedy: String,
}

impl Symptom {
    /// Without a remedy.
    pub fn new(area: &str, grade: Grade, text: impl Into<String>) -> Self {
        Self { area: area.to_owned(), grade, text: text.into(), remedy: String::new() }
    }

    /// As it should be.
    pub fn good(area: &str, text: impl Into<String>) -> Self {
        Self::new(area, Grade::Good, text)
    }

    /// Worth knowing.
    pub fn note(area: &str, text: impl Into<String>) -> Self {
        Self::new(area, Grade::Note, text)
    }

    /// It costs something.
    pub fn warning(area: &str, text: impl Into<String>) -> Self {
        Self::new(area, Grade::Warning, text)
    }

    /// Something is lost.
    pub fn error(area: &str, text: impl Into<String>) -> Self {
        Self::new(area, Grade::Error, text)
    }

    /// With what resolves it.
    #[must_use]
    pub fn resolved_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// Everything that was looked at on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Examination {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whose.
    pub node: String,
    /// In the order of the areas.
    pub symptoms: Vec<Symptom>,
}

impl Examination {
    /// Of this node.
    pub fn new(node: &str, symptoms: Vec<Symptom>) -> Self {
        Self { schema_version: SCHEMA_VERSION, node: node.to_owned(), symptoms }
    }

    /// The worst of it.
    pub fn worst(&self) -> Grade {
        self.symptoms.iter().map(|symptom| symptom.grade).max().unwrap_or(Grade::Good)
    }
}
