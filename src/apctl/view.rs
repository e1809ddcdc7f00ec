//! Answers as people read them.

pub(super) mod explain;
pub(super) mod history;
pub(super) mod screen;
pub(super) mod simulate;
pub(super) mod status;
pub(super) mod timeline;

use super::output::{Output, Tone};
use comfy_table::{ContentArrangement, Table, presets};

/// A table without lines, no wider than the output.
fn table(output: &Output) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(output.width()).unwrap_or(u16::MAX));
    table
}

/// The table as text, without blanks at the ends of lines.
fn text(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What came over a wire, made safe for a terminal: a control sequence must not reach it.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// `40 ms`, `2.1 s`, `3 min 12 s`, `5 h 3 min`, `2 d 4 h`.
fn span(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Lines of `text` wrapped at blanks to `width`, each after `indent`.
pub(super) fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let room = width.saturating_sub(indent.chars().count()).max(20);
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push_str(&format!("{indent}{line}\n"));
    }
    lines
}

/// The same in a colour, without an indent.
pub(super) fn painted(tone: Tone, text: &str, output: &Output) -> String {
    wrapped(text, "", output.width()).lines().map(|line| output.paint(tone, line) + "\n").collect()
}
