//! `apctl history`.

use super::super::output::{Output, Tone};
use super::{clean, wrapped};
use crate::decision::why::Severity;
use crate::wire::control::{EntryKind, History, HistoryEntry};

/// One entry a paragraph: when, in which epoch, what, why.
pub fn render(history: &History, output: &Output) -> String {
    if history.entries.is_empty() {
        return "nothing is recorded yet\n".to_owned();
    }
    history.entries.iter().map(|entry| line(entry, output)).collect()
}

fn line(entry: &HistoryEntry, output: &Output) -> String {
    let code = match entry.severity {
        Severity::Error => output.paint(Tone::Bad, &entry.code),
        Severity::Warning => output.paint(Tone::Warning, &entry.code),
        Severity::Info => output.paint(Tone::Strong, &entry.code),
    };
    let fact =
        |name: &str| entry.details.get(name).map(|value| value.to_string().trim_matches('"').to_owned());
    let about = match entry.kind {
        EntryKind::Decision => String::new(),
        EntryKind::Step => {
            let took = fact("took_ms").map(|took| format!(" in {took} ms")).unwrap_or_default();
            let result = fact("result").or_else(|| fact("phase")).unwrap_or_default();
            format!(" (step: {result}{took})")
        }
        kind => format!(" ({kind})"),
    };
    let before = format!("{}  {:>5}  ", time(entry), entry.epoch);
    let length = before.len() + entry.code.len() + about.len();
    let about = if length > output.width() { format!("\n   {about}") } else { about };
    let head = format!("{before}{code}{about}\n");
    let mut lines = head + &wrapped(&clean(&entry.text), "    ", output.width());
    if let Some(remedy) = fact("remedy") {
        lines.push_str(&wrapped(&format!("-> {}", clean(&remedy)), "    ", output.width()));
    }
    lines
}

/// The reader's own time zone.
pub(in super::super) fn time(entry: &HistoryEntry) -> String {
    jiff::Timestamp::from_millisecond(entry.unix_ms).map_or_else(
        |_out_of_range| entry.at.clone(),
        |at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    )
}
