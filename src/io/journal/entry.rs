//! One entry, as it is recorded.

use crate::decision::action::{Step, StepOutput, StepResult, Ticket};
use crate::decision::code::Code;
use crate::decision::time::Instant;
use crate::decision::why::{Severity, Why};
use crate::wire::control::history::step_name;
use crate::wire::control::{EntryKind, HistoryEntry};
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest text and longest details of one entry, bytes; what is longer is cut.
const TEXT_MAX: usize = 8 * 1024;

/// One line for the journal. The wall clock is read when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub(super) unix_ms: i64,
    pub(super) at: Instant,
    pub(super) epoch: u64,
    pub(super) kind: EntryKind,
    pub(super) code: String,
    pub(super) severity: Severity,
    pub(super) text: String,
    pub(super) details: Map<String, Value>,
    pub(super) durable: bool,
}

impl Entry {
    /// An entry without facts, of no weight, not marked durable.
    pub fn new(kind: EntryKind, at: Instant, epoch: u64, code: &str, text: impl Into<String>) -> Self {
        Self {
            unix_ms: crate::io::clock::wall().as_millisecond(),
            at,
            epoch,
            kind,
            code: code.to_owned(),
            severity: Severity::Info,
            text: text.into(),
            details: Map::new(),
            durable: false,
        }
    }

    /// Something happened.
    pub fn event(at: Instant, epoch: u64, code: &str, text: impl Into<String>) -> Self {
        Self::new(EntryKind::Event, at, epoch, code, text)
    }

    /// Something was done that has no end of its own.
    pub fn action(at: Instant, epoch: u64, code: &str, text: impl Into<String>) -> Self {
        Self::new(EntryKind::Action, at, epoch, code, text)
    }

    /// Something was decided; marked durable.
    pub fn decision(at: Instant, epoch: u64, why: &Why) -> Self {
        let mut entry =
            Self::new(EntryKind::Decision, at, epoch, why.code.word(), why.text.clone()).durable();
        entry.severity = why.severity;
        if why.remedy.is_empty() { entry } else { entry.with("remedy", why.remedy.clone()) }
    }

    /// A step began.
    pub fn step_started(at: Instant, epoch: u64, ticket: Ticket, step: &Step) -> Self {
        Self::new(EntryKind::Step, at, epoch, step_name(step), "")
            .with("phase", "start")
            .with("ticket", ticket.0)
    }

    /// A step ended, `took` after its lane began it. The facts that it brought back are kept.
    pub fn step_ended(
        at: Instant,
        epoch: u64,
        ticket: Ticket,
        step: &Step,
        took: Duration,
        result: &StepResult,
    ) -> Self {
        let entry = Self::new(EntryKind::Step, at, epoch, step_name(step), "")
            .with("phase", "end")
            .with("ticket", ticket.0)
            .with("took_ms", (took.as_secs_f64() * 1e5).round() / 100.0);
        match result {
            StepResult::Ok(output) => {
                let entry = entry.with("result", "ok");
                match output {
                    StepOutput::Done => entry,
                    StepOutput::Position(position) => entry.with("position", position.to_string()),
                    StepOutput::Unreachable => entry.with("unreachable", true),
                    StepOutput::Tail { transactions } => entry.with("transactions", *transactions),
                    StepOutput::Comparison(comparison) => {
                        entry.with("comparison", serde_json::to_value(comparison).unwrap_or(Value::Null))
                    }
                }
            }
            StepResult::Failed(text) => {
                Self { severity: Severity::Warning, text: text.clone(), ..entry.with("result", "failed") }
            }
            StepResult::TimedOut => Self { severity: Severity::Warning, ..entry.with("result", "timed out") },
        }
    }

    /// With one more fact.
    #[must_use]
    pub fn with(mut self, name: &str, fact: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), fact.into());
        self
    }

    /// With another weight.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Marked: on disk once its batch is committed.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// `count` entries found no room.
    pub(super) fn lost(count: u64) -> Self {
        Self::event(
            Instant::ZERO,
            0,
            Code::JournalLost.word(),
            format!("{count} entries were not recorded: the disk did not take them in time"),
        )
        .severity(Code::JournalLost.severity())
        .with("count", count)
    }

    pub(super) fn text_cut(&self) -> &str {
        let mut end = self.text.len().min(TEXT_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }

    /// The facts as JSON, `None` if there are none; facts that are too long are replaced by a note.
    pub(super) fn details_json(&self) -> Option<String> {
        if self.details.is_empty() {
            return None;
        }
        let json = Value::Object(self.details.clone()).to_string();
        if json.len() <= TEXT_MAX { Some(json) } else { Some(format!("{{\"cut\":{}}}", json.len())) }
    }

    pub(super) fn as_read(&self, id: i64) -> HistoryEntry {
        HistoryEntry {
            id,
            unix_ms: self.unix_ms,
            at: wall_clock(self.unix_ms),
            boot_ns: self.at.0,
            epoch: self.epoch,
            kind: self.kind,
            code: self.code.clone(),
            severity: self.severity,
            text: self.text.clone(),
            details: if self.details.is_empty() { Value::Null } else { Value::Object(self.details.clone()) },
        }
    }
}

/// RFC 3339 with milliseconds, UTC.
pub(super) fn wall_clock(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_out_of_range) => String::new(),
    }
}
