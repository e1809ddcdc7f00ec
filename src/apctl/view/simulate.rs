//! `apctl simulate`.

use super::super::answers::Simulation;
use super::super::output::{Output, Tone};
use super::{clean, painted, table, text, wrapped};
use comfy_table::{ColumnConstraint, Table};

/// Below this width, columns stand closer.
const NARROW: usize = 80;

/// A table of the faults, then the usual course of each.
pub fn render(report: &Simulation, output: &Output) -> String {
    let settings = format!(
        "lease {} ms, heartbeat {} ms, advertisement {} ms, protection {}; {} runs for each fault",
        report.lease_ms, report.heartbeat_ms, report.advert_ms, report.protection, report.seeds
    );
    let mut page = wrapped(&settings, "", output.width()) + "\n";
    let mut rows = table(output);
    rows.add_row(["fault", "outage: median", "95 %", "worst", "writes lost", "two writers", "not served"]);
    for prediction in &report.predictions {
        let (outage, lost) = (prediction.outage_ms, prediction.lost_writes);
        rows.add_row([
            prediction.fault.clone(),
            format!("{} ms", outage.median),
            format!("{} ms", outage.p95),
            format!("{} ms", outage.most),
            if lost.most == lost.least {
                lost.most.to_string()
            } else {
                format!("{} to {}", lost.least, lost.most)
            },
            runs(prediction.two_writers),
            runs(prediction.not_served),
        ]);
    }
    // A name is not broken in two; what is left of a narrow page are columns that stand closer.
    if output.width() < NARROW {
        for column in rows.column_iter_mut() {
            column.set_padding((0, 1));
        }
    }
    whole(&mut rows, 0);
    page.push_str(&text(&rows));
    for prediction in &report.predictions {
        page.push('\n');
        let heading = format!(
            "{}: {} ({} of {} runs go so)",
            prediction.fault, prediction.about, prediction.usual, prediction.seeds
        );
        page.push_str(&painted(Tone::Strong, &heading, output));
        let mut steps = table(output);
        for step in &prediction.transitions {
            let after = format!("  {:>6} ms", step.after_ms);
            steps.add_row([after, step.node.to_owned(), step.code.clone(), clean(&step.text)]);
        }
        whole(&mut steps, 2);
        page.push_str(&text(&steps));
        if let Some(broken) = &prediction.broken {
            let broken = format!("a promise is broken in one of the runs: {broken}");
            page.push_str(&output.paint(Tone::Bad, &wrapped(&broken, "  ", output.width())));
        }
    }
    page
}

/// This column is as wide as what stands in it.
fn whole(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

fn runs(count: u64) -> String {
    match count {
        0 => "never".into(),
        1 => "in 1 run".into(),
        count => format!("in {count} runs"),
    }
}
