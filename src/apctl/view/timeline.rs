//! `apctl timeline`: one takeover in milliseconds.

use super::super::output::{Output, Tone};
use super::{clean, painted, table, text, wrapped};
use crate::wire::control::{Timeline, TimelineStep};
use comfy_table::{Cell, CellAlignment};

/// Heading, steps, sum.
pub fn render(timeline: &Timeline, output: &Output) -> String {
    let heading = format!("epoch {}: {}, begun {}", timeline.epoch, timeline.kind, timeline.started_at);
    let mut page = painted(Tone::Strong, &heading, output);
    page.push_str(&wrapped(&format!("{}: {}", timeline.reason, clean(&timeline.text)), "", output.width()));
    let mut rows = table(output);
    rows.add_row(["at ms", "took ms", "step", "result", ""].map(Cell::new));
    for step in &timeline.steps {
        rows.add_row(cells(step));
    }
    for column in 0..2 {
        if let Some(column) = rows.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    page.push_str(&text(&rows));
    page.push_str(&sum(timeline, output));
    page
}

fn cells(step: &TimelineStep) -> [Cell; 5] {
    let took = step.took_ms.map(|took| format!("{took:.1}")).unwrap_or_default();
    [
        Cell::new(format!("{:.1}", step.at_ms)),
        Cell::new(took),
        Cell::new(&step.name),
        Cell::new(if step.result == "decided" { "" } else { &step.result }),
        Cell::new(clean(&step.text)),
    ]
}

fn sum(timeline: &Timeline, output: &Output) -> String {
    let mut lines = format!("total {:.1} ms", timeline.total_ms);
    if !timeline.complete {
        lines.push_str(" so far (no end is recorded)");
    }
    match timeline.client_outage_ms {
        Some(outage) => lines.push_str(&format!("; clients saw an outage of about {outage:.1} ms")),
        None => lines.push_str("; the outage that clients saw is not known here"),
    }
    match timeline.lost {
        Some(0) => lines.push_str("; no accepted write lost"),
        Some(lost) => lines.push_str(&format!("; accepted writes lost: {lost}")),
        None => {}
    }
    painted(Tone::Strong, &lines, output)
}
