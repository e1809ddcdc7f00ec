//! One takeover, switchover or step-down step by step, computed from journal entries:
//! `apctl timeline`, `GET /timeline`.
//!
//! The story of epoch E is found by its entries: those that carry E, and before them what led there
//! (`peer.silent`, `bid.*`, `switchover.*`, ...), which still carries the epoch before. Times come from the
//! boot clock of the node, so that they are exact to the microsecond whatever the wall clock does.

use super::SCHEMA_VERSION;
use super::history::{EntryKind, HistoryEntry};
use serde::{Deserialize, Serialize};

/// One change of activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The epoch that it opened (on the node that gave its role up: that it made room for).
    pub epoch: u64,
    /// `takeover`, `switchover` or `step-down`.
    pub kind: String,
    /// Code of the decision that it began with.
    pub reason: String,
    /// The same in one sentence.
    pub text: String,
    /// Wall clock of the first entry, RFC 3339.
    pub started_at: String,
    /// From the first entry to the one that ended it (or the last), milliseconds.
    pub total_ms: f64,
    /// An ending decision (`*.done`, `*.failed`, `*.aborted`) was recorded.
    pub complete: bool,
    /// The outage that clients saw as far as this node can tell, milliseconds.
    pub client_outage_ms: Option<f64>,
    /// Accepted writes lost (RPO), in transactions; `None` if unknown.
    pub lost: Option<u64>,
    /// In order of their beginning.
    pub steps: Vec<TimelineStep>,
}

/// One line of a [`Timeline`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineStep {
    /// Since the first entry, milliseconds.
    pub at_ms: f64,
    /// Step name or decision code.
    pub name: String,
    /// How long it took, milliseconds; `None` of a decision, or of a step that has not ended.
    pub took_ms: Option<f64>,
    /// `ok`, `failed`, `timed out`, `running`; `decided` of a decision.
    pub result: String,
    /// One sentence, if there is one.
    pub text: String,
}

/// What led to an epoch is looked for this far back, nanoseconds.
const LEAD_MAX_NS: u64 = 60_000_000_000;
/// After the end, work off the critical path still belongs to the story while it follows this closely.
const TRAIL_GAP_NS: u64 = 5_000_000_000;
/// Codes that may begin a story.
const BEGINNINGS: [&str; 7] =
    ["peer.", "bid.", "takeover.", "switchover.", "step_down.", "stepdown.", "failover."];

fn begins(code: &str) -> bool {
    BEGINNINGS.iter().any(|prefix| code.starts_with(prefix))
}

fn ends(entry: &HistoryEntry) -> bool {
    entry.kind == EntryKind::Decision
        && ["takeover.", "switchover.", "step_down."].iter().any(|story| entry.code.starts_with(story))
        && [".done", ".failed", ".aborted"].iter().any(|end| entry.code.ends_with(end))
}

/// The newest epoch among `entries` (oldest first) that a story ended in.
pub fn newest_story(entries: &[HistoryEntry]) -> Option<u64> {
    entries.iter().rev().find(|entry| ends(entry)).map(|entry| entry.epoch)
}

/// The story of `epoch`, from `entries` in the order of recording; `None` if they tell none.
pub fn timeline(epoch: u64, entries: &[HistoryEntry]) -> Option<Timeline> {
    let story = story_of(epoch, entries)?;
    let first = story.first()?;
    let begun = first.boot_ns;
    let ending = story.iter().rev().find(|entry| ends(entry));
    let last = ending.or(story.last())?;
    let kind = if story.iter().any(|entry| entry.code.starts_with("switchover.")) {
        "switchover"
    } else if story.iter().any(|entry| entry.code.starts_with("takeover.")) {
        "takeover"
    } else {
        "step-down"
    };
    let reason = story.iter().find(|entry| entry.kind == EntryKind::Decision).unwrap_or(first);
    let mut timeline = Timeline {
        schema_version: SCHEMA_VERSION,
        epoch,
        kind: kind.to_owned(),
        reason: reason.code.clone(),
        text: reason.text.clone(),
        started_at: first.at.clone(),
        total_ms: milliseconds(last.boot_ns.saturating_sub(begun)),
        complete: ending.is_some(),
        client_outage_ms: None,
        lost: number(&story, "lost_transactions").map(|lost| lost as u64),
        steps: steps(&story, begun),
    };
    timeline.client_outage_ms = number(&story, "client_outage_ms")
        .map(rounded)
        .or_else(|| outage(kind, &story, &timeline.steps, begun));
    Some(timeline)
}

/// The slice of decisions and steps that belong to `epoch`.
fn story_of(epoch: u64, entries: &[HistoryEntry]) -> Option<Vec<&HistoryEntry>> {
    let told: Vec<&HistoryEntry> =
        entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Decision | EntryKind::Step)).collect();
    let anchor = told.iter().position(|entry| entry.epoch == epoch)?;
    let anchored_at = told[anchor].boot_ns;
    let mut from = anchor;
    for index in (0..anchor).rev() {
        let entry = told[index];
        if ends(entry)
            || anchored_at.saturating_sub(entry.boot_ns) > LEAD_MAX_NS
            || entry.boot_ns > anchored_at
        {
            break;
        }
        if entry.kind == EntryKind::Decision && begins(&entry.code) {
            from = index;
        }
    }
    let mut to = anchor;
    let mut ended = false;
    for (index, entry) in told.iter().enumerate().skip(anchor) {
        let gap = entry.boot_ns.saturating_sub(told[to].boot_ns);
        if entry.epoch != epoch || (ended && gap > TRAIL_GAP_NS) || entry.boot_ns < told[to].boot_ns {
            break;
        }
        // What begins after the end is another story: only steps trail on.
        if ended && entry.kind == EntryKind::Decision && begins(&entry.code) {
            break;
        }
        ended |= ends(entry);
        to = index;
    }
    let story = &told[from..=to];
    story.iter().any(|entry| begins(&entry.code)).then(|| story.to_vec())
}

fn steps(story: &[&HistoryEntry], begun: u64) -> Vec<TimelineStep> {
    let mut steps: Vec<TimelineStep> = Vec::new();
    let mut open: Vec<(u64, usize)> = Vec::new();
    for entry in story {
        let at_ms = milliseconds(entry.boot_ns.saturating_sub(begun));
        if entry.kind == EntryKind::Decision {
            let text = entry.text.clone();
            steps.push(TimelineStep {
                at_ms,
                name: entry.code.clone(),
                took_ms: None,
                result: "decided".to_owned(),
                text,
            });
            continue;
        }
        let ticket = entry.details.get("ticket").and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
        let started = TimelineStep {
            at_ms,
            name: entry.code.clone(),
            took_ms: None,
            result: "running".to_owned(),
            text: entry.text.clone(),
        };
        if entry.details.get("phase").and_then(serde_json::Value::as_str) == Some("start") {
            open.push((ticket, steps.len()));
            steps.push(started);
            continue;
        }
        let known = open.iter().position(|(open, _)| *open == ticket).map(|at| open.swap_remove(at).1);
        let took = entry.details.get("took_ms").and_then(serde_json::Value::as_f64);
        let index = known.unwrap_or_else(|| {
            steps.push(started);
            steps.len() - 1
        });
        let step = &mut steps[index];
        let took = took.unwrap_or(at_ms - step.at_ms);
        if known.is_none() {
            step.at_ms = rounded((at_ms - took).max(0.0));
        }
        step.took_ms = Some(rounded(took));
        step.result =
            entry.details.get("result").and_then(serde_json::Value::as_str).unwrap_or("ok").to_owned();
        if !entry.text.is_empty() {
            step.text.clone_from(&entry.text);
        }
    }
    steps.sort_by(|left, right| left.at_ms.total_cmp(&right.at_ms));
    steps
}

/// From the last sign of the old active (or the pause of commits) to the open gate.
fn outage(kind: &str, story: &[&HistoryEntry], steps: &[TimelineStep], begun: u64) -> Option<f64> {
    let end_of = |name: &str| {
        steps
            .iter()
            .find(|step| step.name == name && step.result == "ok")
            .and_then(|step| Some(step.at_ms + step.took_ms?))
    };
    let until = end_of("address.open").or_else(|| {
        let done =
            story.iter().find(|entry| ["takeover.done", "switchover.done"].contains(&entry.code.as_str()))?;
        Some(milliseconds(done.boot_ns.saturating_sub(begun)))
    })?;
    let start_of = |name: &str| steps.iter().find(|step| step.name == name).map(|step| step.at_ms);
    let since = match kind {
        "switchover" => start_of("database.freeze").or_else(|| start_of("address.close"))?,
        "takeover" => {
            let silent = story.iter().find(|entry| entry.code == "peer.silent")?;
            let heard_before =
                silent.details.get("silent_ms").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
            milliseconds(silent.boot_ns.saturating_sub(begun)) - heard_before
        }
        _ => return None,
    };
    Some(rounded(until - since)).filter(|outage| *outage >= 0.0)
}

/// The last number that a decision of the story carries under `name`.
fn number(story: &[&HistoryEntry], name: &str) -> Option<f64> {
    story.iter().rev().find_map(|entry| entry.details.get(name).and_then(serde_json::Value::as_f64))
}

/// Milliseconds to a hundredth.
fn milliseconds(nanoseconds: u64) -> f64 {
    rounded(nanoseconds as f64 / 1e6)
}

fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 100.0).round() / 100.0
}
