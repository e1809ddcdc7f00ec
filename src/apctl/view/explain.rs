//! `apctl explain`.

use super::super::output::{Output, Tone};
use super::{clean, painted, span, table, text, wrapped};
use crate::wire::control::{Explain, Transition};

/// The whole explanation.
pub fn render(explain: &Explain, output: &Output) -> String {
    let width = output.width();
    let since = explain.since_ms.map(|since| format!(" (for {})", span(since))).unwrap_or_default();
    let mut page = painted(Tone::Strong, &format!("{}{since}", clean(&explain.state)), output);
    if !explain.rule.code.is_empty() {
        page.push_str(&heading("rule that fired", output));
        page.push_str(&wrapped(
            &format!("{}: {}", explain.rule.code, clean(&explain.rule.text)),
            "  ",
            width,
        ));
    }
    if let Some(last) = &explain.last_transition {
        let age = last.age_ms.map(|age| format!(", {} ago", span(age))).unwrap_or_default();
        let line = format!("{} -> {} ({}{age}): {}", last.from, last.to, last.code, reasons(last));
        page.push_str(&heading("last transition", output));
        page.push_str(&wrapped(&clean(&line), "  ", width));
    }
    if !explain.next_transitions.is_empty() {
        page.push_str(&heading("what could move it next", output));
        for next in &explain.next_transitions {
            let on = if next.on.is_empty() { String::new() } else { format!("{}; ", next.on.join(", or ")) };
            let line = format!("-> {} ({}) if: {on}{}", next.to, next.code, reasons(next));
            page.push_str(&wrapped(&clean(&line), "  ", width));
        }
    }
    if !explain.evidence.is_empty() {
        page.push_str(&heading("evidence", output));
        let mut rows = table(output);
        for evidence in &explain.evidence {
            let age = evidence.age_ms.map(|age| format!("{} ago", span(age))).unwrap_or_default();
            rows.add_row([clean(&evidence.name), clean(&evidence.value), age]);
        }
        page.push_str(&text(&rows));
    }
    if let Some(next) = &explain.next_deadline {
        page.push_str(&heading("next, if nothing happens", output));
        page.push_str(&wrapped(&format!("in {}: {}", span(next.in_ms), clean(&next.name)), "  ", width));
    }
    page.push_str(&list("what would change it", &explain.would_change, output));
    for (role, lines) in &explain.why_not {
        page.push_str(&list(&format!("why not {role}"), lines, output));
    }
    for (fault, lines) in &explain.what_if {
        page.push_str(&list(&format!("what if {fault}"), lines, output));
    }
    page
}

/// The answers to `--why-not` and `--what-if` alone.
pub fn answers(explain: &Explain, why_not: Option<&str>, what_if: Option<&str>, output: &Output) -> String {
    let answer =
        |question: &str, word: Option<&str>, answers: &std::collections::BTreeMap<String, Vec<String>>| {
            word.and_then(|word| Some(list(&format!("{question} {word}"), answers.get(word)?, output)))
                .unwrap_or_default()
        };
    answer("why not", why_not, &explain.why_not) + &answer("what if", what_if, &explain.what_if)
}

/// The conditions of a row, and whether each holds.
fn reasons(row: &Transition) -> String {
    let conditions = row.when.iter().map(|condition| match condition.holds {
        Some(true) => format!("{} [yes]", condition.text),
        Some(false) => format!("{} [no]", condition.text),
        None => condition.text.clone(),
    });
    conditions.collect::<Vec<_>>().join(", ")
}

fn heading(words: &str, output: &Output) -> String {
    output.paint(Tone::Strong, words) + "\n"
}

fn list(words: &str, lines: &[String], output: &Output) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines = lines.iter().map(|line| {
        let body = wrapped(&clean(line), "    ", output.width());
        format!("  - {}", body.trim_start())
    });
    heading(words, output) + &lines.collect::<String>()
}
