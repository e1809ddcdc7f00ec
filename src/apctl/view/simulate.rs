//! `apctl simulate`.

use super::super::output::{Output, Tone};
use super::super::simulate::Report;
use super::{clean, table, text, wrapped};

/// A table of the faults, then the usual course of each.
pub fn render(report: &Report, output: &Output) -> String {
    let mut page = format!(
        "lease {} ms, heartbeat {} ms, advertisement {} ms, protection {}; {} runs for each fault\n\n",
        report.lease_ms, report.heartbeat_ms, report.advert_ms, report.protection, report.seeds
    );
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
    page.push_str(&text(&rows));
    for prediction in &report.predictions {
        page.push('\n');
        let heading = format!(
            "{}: {} ({} of {} runs go so)",
            prediction.fault, prediction.about, prediction.usual, prediction.seeds
        );
        page.push_str(&(output.paint(Tone::Strong, &heading) + "\n"));
        let mut steps = table(output);
        for step in &prediction.transitions {
            let after = format!("  {:>6} ms", step.after_ms);
            steps.add_row([after, step.node.to_owned(), step.code.clone(), clean(&step.text)]);
        }
        page.push_str(&text(&steps));
        if let Some(broken) = &prediction.broken {
            let broken = format!("a promise is broken in one of the runs: {broken}");
            page.push_str(&output.paint(Tone::Bad, &wrapped(&broken, "  ", output.width())));
        }
    }
    page
}

fn runs(count: u64) -> String {
    match count {
        0 => "never".into(),
        1 => "in 1 run".into(),
        count => format!("in {count} runs"),
    }
}
