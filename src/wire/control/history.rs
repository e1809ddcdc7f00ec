//! Journal entries as they are read: `apctl history`, `GET /history`.

use super::words;
use crate::decision::action::{AddressStep, DatabaseStep, RecordStep, RemoteStep, Step};
use crate::decision::service::ServiceStep;
use crate::decision::why::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What kind of thing an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// Something happened.
    Event,
    /// Something was decided, with its reason.
    Decision,
    /// Something was done that has no end of its own.
    Action,
    /// A step began or ended.
    Step,
}

impl EntryKind {
    /// The word, as stored and shown.
    pub const fn word(self) -> &'static str {
        match self {
            EntryKind::Event => "event",
            EntryKind::Decision => "decision",
            EntryKind::Action => "action",
            EntryKind::Step => "step",
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// A word that is no kind of entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of entry: the kinds are event, decision, action and step")]
pub struct UnknownKind(pub String);

impl FromStr for EntryKind {
    type Err = UnknownKind;
    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        match word {
            "event" => Ok(EntryKind::Event),
            "decision" => Ok(EntryKind::Decision),
            "action" => Ok(EntryKind::Action),
            "step" => Ok(EntryKind::Step),
            other => Err(UnknownKind(other.to_owned())),
        }
    }
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Counts up; order of recording.
    pub id: i64,
    /// Wall clock, milliseconds since 1970.
    pub unix_ms: i64,
    /// Wall clock, RFC 3339 with milliseconds, UTC.
    pub at: String,
    /// Nanoseconds since boot on this host: exact differences within one boot.
    pub boot_ns: u64,
    /// The epoch that this node knew then.
    pub epoch: u64,
    /// What kind of thing it records.
    pub kind: EntryKind,
    /// Stable code, for example `takeover.done`; of a step its name, `database.allow_writes`.
    pub code: String,
    /// How loud.
    #[schemars(with = "words::Severity")]
    pub severity: Severity,
    /// One sentence.
    pub text: String,
    /// Facts; `null` if none. Of a step: `phase` (`start`, `end`), `ticket`, `took_ms`, `result`.
    pub details: serde_json::Value,
}

/// Answer to `GET /history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Oldest first.
    pub entries: Vec<HistoryEntry>,
    /// What is wrong with the journal, if anything is; the entries then come from memory.
    pub problem: Option<String>,
}

/// Stable name of a step, as it stands in journal and timeline.
pub const fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Record(RecordStep::Persist(_)) => "record.persist",
        Step::Record(RecordStep::SetMode { .. }) => "record.set_mode",
        Step::Record(RecordStep::SetPart { .. }) => "record.set_part",
        Step::Address(AddressStep::Open { .. }) => "address.open",
        Step::Address(AddressStep::Close) => "address.close",
        Step::Address(AddressStep::CutStream) => "address.cut_stream",
        Step::Address(AddressStep::LiftCut) => "address.lift_cut",
        Step::Database(step) => database_step_name(step),
        Step::Remote(RemoteStep::ReachServer) => "remote.reach_server",
        Step::Remote(RemoteStep::FenceServer) => "remote.fence_server",
        Step::Remote(RemoteStep::FetchTail { .. }) => "remote.fetch_tail",
        Step::Remote(RemoteStep::Compare) => "remote.compare",
        Step::Units(ServiceStep::Start { .. }) => "units.start",
        Step::Units(ServiceStep::Stop { .. }) => "units.stop",
        Step::Units(ServiceStep::Kill { .. }) => "units.kill",
        Step::Units(ServiceStep::Policy { .. }) => "units.policy",
    }
}

const fn database_step_name(step: &DatabaseStep) -> &'static str {
    match step {
        DatabaseStep::Drain => "database.drain",
        DatabaseStep::StopApplying => "database.stop_applying",
        DatabaseStep::ResumeApplying => "database.resume_applying",
        DatabaseStep::AllowWrites => "database.allow_writes",
        DatabaseStep::WriteEpoch { .. } => "database.write_epoch",
        DatabaseStep::ForbidWrites => "database.forbid_writes",
        DatabaseStep::Freeze => "database.freeze",
        DatabaseStep::Thaw => "database.thaw",
        DatabaseStep::Seal => "database.seal",
        DatabaseStep::WaitFor { .. } => "database.wait_for",
        DatabaseStep::ForgetPrimary => "database.forget_primary",
        DatabaseStep::Follow { .. } => "database.follow",
        DatabaseStep::ForgetOwnTail { .. } => "database.forget_own_tail",
        DatabaseStep::ApplyTail => "database.apply_tail",
    }
}
