//! One takeover, switchover or step-down step by step, computed from journal entries:
//! `apctl timeline`, `GET /timeline`.
//!
//! A story is found from its end (`takeover.done`, `switchover.done`, `step_down.done`, ...) backwards to what led
//! there (`peer.silent`, `check.failed`, ...), which still carries the epoch before. Times come from the boot
//! clock of the node, so that they are exact whatever the wall clock does.

use super::SCHEMA_VERSION;
use super::history::{EntryKind, HistoryEntry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One change of activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Codes with which the act itself begins.
const ACTS: [&str; 4] = ["takeover.started", "switchover.started", "step_down", "failover.forced"];
/// Codes that lead to an act when they stand closely before it.
const LEADS: [&str; 9] = [
    "peer.silent",
    "peer.released",
    "bid.started",
    "takeover.right",
    "check.failed",
    "database.unhealthy",
    "lease.lost",
    "stop.asked",
    "node.paused",
];
/// Codes that end an act and open an epoch.
const OPENINGS: [&str; 2] = ["takeover.done", "switchover.done"];
/// Codes that end an act otherwise.
const ENDINGS: [&str; 2] = ["step_down.done", "takeover.failed"];
/// Codes behind which another story lies.
const BREAKS: [&str; 2] = ["bid.called_off", "switchover.called_off"];
/// Between what led to an act and the act, nanoseconds: longer, and it led elsewhere.
const LEAD_GAP_NS: u64 = 15_000_000_000;
/// No act takes longer, nanoseconds.
const ACT_MAX_NS: u64 = 3_600_000_000_000;
/// After the end, work off the critical path still belongs to the story while it follows this closely.
const TRAIL_GAP_NS: u64 = 5_000_000_000;

fn decided(entry: &HistoryEntry, codes: &[&str]) -> bool {
    entry.kind == EntryKind::Decision && codes.contains(&entry.code.as_str())
}

fn ends(entry: &HistoryEntry) -> bool {
    decided(entry, &OPENINGS) || decided(entry, &ENDINGS)
}

/// The story of `epoch`, or the newest one, from `entries` in the order of recording; `None` if they tell none.
pub fn timeline(epoch: Option<u64>, entries: &[HistoryEntry]) -> Option<Timeline> {
    let told: Vec<&HistoryEntry> =
        entries.iter().filter(|entry| matches!(entry.kind, EntryKind::Decision | EntryKind::Step)).collect();
    let (story, complete) = story_of(epoch, &told)?;
    let first = story.first()?;
    let begun = first.boot_ns;
    let last = story.iter().rev().find(|entry| ends(entry)).or(story.last())?;
    let reason = story.iter().find(|entry| entry.kind == EntryKind::Decision).unwrap_or(first);
    let kind = kind(story);
    let steps = steps(story, begun);
    let said = number(story, "client_outage_ms").map(rounded);
    Some(Timeline {
        schema_version: SCHEMA_VERSION,
        epoch: last.epoch,
        kind: kind.to_owned(),
        reason: reason.code.clone(),
        text: reason.text.clone(),
        started_at: first.at.clone(),
        total_ms: milliseconds(last.boot_ns.saturating_sub(begun)),
        complete,
        client_outage_ms: said.or_else(|| outage(kind, story, &steps, begun)),
        lost: number(story, "lost_transactions").map(|lost| lost as u64),
        steps,
    })
}

fn kind(story: &[&HistoryEntry]) -> &'static str {
    // The side that takes over in a switchover says `takeover`, and waits for a position of the other.
    let swaps =
        |entry: &&HistoryEntry| entry.code.starts_with("switchover.") || entry.code == "database.wait_for";
    if story.iter().any(swaps) {
        "switchover"
    } else if story.iter().any(|entry| entry.code.starts_with("takeover.")) {
        "takeover"
    } else {
        "step-down"
    }
}

/// The slice of decisions and steps that tells the story, and whether it has ended.
fn story_of<'a, 'b>(
    epoch: Option<u64>,
    told: &'a [&'b HistoryEntry],
) -> Option<(&'a [&'b HistoryEntry], bool)> {
    let of = |entry: &HistoryEntry| epoch.is_none_or(|epoch| entry.epoch == epoch);
    let end = match epoch {
        None => told.iter().rposition(|entry| ends(entry)),
        Some(_) => told
            .iter()
            .rposition(|entry| decided(entry, &OPENINGS) && of(entry))
            .or_else(|| told.iter().rposition(|entry| ends(entry) && of(entry))),
    };
    // What began in that epoch may have ended in another, or not yet.
    let act = || told.iter().rposition(|entry| decided(entry, &ACTS) && of(entry));
    let end = match end {
        Some(end) => end,
        None => match told.iter().skip(act()?).position(|entry| ends(entry)) {
            Some(after) => act()? + after,
            None => return Some((&told[beginning(told, act()?)..], false)),
        },
    };
    let act = told[..end].iter().rposition(|entry| decided(entry, &ACTS) || ends(entry));
    let act = act
        .filter(|act| decided(told[*act], &ACTS) && near(told[*act], told[end], ACT_MAX_NS))
        .unwrap_or(end);
    Some((&told[beginning(told, act)..=trail(told, end)], true))
}

fn near(earlier: &HistoryEntry, later: &HistoryEntry, limit: u64) -> bool {
    earlier.boot_ns <= later.boot_ns && later.boot_ns - earlier.boot_ns <= limit
}

/// Where what led to the act begins.
fn beginning(told: &[&HistoryEntry], act: usize) -> usize {
    let mut from = act;
    for index in (0..act).rev() {
        let entry = told[index];
        if ends(entry) || decided(entry, &BREAKS) || !near(entry, told[index + 1], LEAD_GAP_NS) {
            break;
        }
        if decided(entry, &LEADS) || decided(entry, &ACTS) {
            from = index;
        }
    }
    from
}

/// Where the work off the critical path ends.
fn trail(told: &[&HistoryEntry], end: usize) -> usize {
    let mut to = end;
    for (index, entry) in told.iter().enumerate().skip(end + 1) {
        let another = decided(entry, &LEADS) || decided(entry, &ACTS) || ends(entry);
        if another || !near(told[to], entry, TRAIL_GAP_NS) {
            break;
        }
        to = index;
    }
    to
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
        "switchover" => {
            ["database.freeze", "address.close", "database.wait_for"].into_iter().find_map(start_of)?
        }
        "takeover" => {
            let lost =
                |entry: &&&HistoryEntry| ["peer.silent", "peer.released"].contains(&entry.code.as_str());
            let lost = story.iter().find(lost).or(story.first())?;
            let heard_before =
                lost.details.get("silent_ms").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
            milliseconds(lost.boot_ns.saturating_sub(begun)) - heard_before
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
