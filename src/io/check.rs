//! Runs one `[[check]]`: asks again and again, and reports each answer. One runner for all kinds, so that interval,
//! timeout and the counting of failures mean the same everywhere; what is asked is in the folder.

mod command;
mod gateway;
mod http;
mod pace;
mod tcp;
mod unit;

pub use pace::Pace;

use crate::config::checked::{Check, Probe};
use crate::decision::event::CheckReport;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What asking once brought.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    /// What was asked is well.
    passed: bool,
    /// It is certainly gone: no need to count further failures.
    certain: bool,
    /// One line.
    detail: String,
}

impl Outcome {
    fn passed(detail: impl Into<String>) -> Self {
        Self { passed: true, certain: false, detail: detail.into() }
    }

    fn failed(detail: impl Into<String>) -> Self {
        Self { passed: false, certain: false, detail: detail.into() }
    }
}

/// Asks for ever, the first time at once, and reports each answer; returns when nobody listens to the reports.
/// Needs a tokio runtime with I/O and timer.
///
/// The interval counts from start to start, and one question is never asked while another is under way. Sooner,
/// after 100 ms at most, while failures are being counted (fewer than `fall` in a row); and at once when what is
/// checked tells that it changed.
pub async fn run(check: Check, sink: mpsc::Sender<CheckReport>) {
    let Check { name, timing, probe, .. } = check;
    let mut prober = Prober::new(&name, probe);
    let mut pace = Pace::new(timing);
    loop {
        let start = Instant::now();
        let Outcome { passed, certain, detail } = prober.ask(start, timing.timeout).await;
        let pause = pace.after(passed, certain);
        let report = CheckReport { name: name.clone(), passed, certain, detail, took: start.elapsed() };
        if sink.send(report).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep_until(start + pause) => {}
            () = prober.told() => {}
            () = sink.closed() => return,
        }
    }
}

/// What is asked.
enum Prober {
    Http(http::HttpProber),
    Tcp(tcp::TcpProber),
    Command(command::CommandProber),
    Unit(unit::UnitProber),
    Gateway(gateway::Targets),
}

impl Prober {
    fn new(name: &str, probe: Probe) -> Self {
        match probe {
            Probe::Http(probe) => Prober::Http(http::HttpProber::new(probe)),
            Probe::Tcp(probe) => Prober::Tcp(tcp::TcpProber(probe)),
            Probe::Command(probe) => Prober::Command(command::CommandProber::new(name, probe)),
            Probe::Unit(probe) => Prober::Unit(unit::UnitProber::new(probe)),
            Probe::Gateway(probe) => Prober::Gateway(gateway::Targets::new(probe)),
        }
    }

    /// Asks once. No answer within `limit` is a failure, whatever is asked.
    async fn ask(&mut self, start: Instant, limit: Duration) -> Outcome {
        let late = if matches!(self, Prober::Gateway(_)) { 2 * limit } else { limit };
        let asked = async {
            match &mut *self {
                Prober::Http(prober) => prober.outcome().await,
                Prober::Tcp(prober) => prober.outcome().await,
                Prober::Command(prober) => prober.outcome().await,
                Prober::Unit(prober) => prober.outcome().await,
                // It bounds itself, because it can say how many have answered by then.
                Prober::Gateway(prober) => prober.outcome(limit).await,
            }
        };
        if let Ok(outcome) = timeout_at(start + late, asked).await {
            return outcome;
        }
        self.forget();
        Outcome::failed(format!("no answer within {limit:?}"))
    }

    /// The answer that was not waited for must not be taken for one to the next question.
    fn forget(&mut self) {
        match self {
            Prober::Http(prober) => prober.forget(),
            Prober::Unit(prober) => prober.forget(),
            Prober::Tcp(_) | Prober::Command(_) | Prober::Gateway(_) => {}
        }
    }

    /// Waits until what is checked tells that it changed. Cancel-safe.
    async fn told(&mut self) {
        match self {
            Prober::Http(prober) => prober.told().await,
            Prober::Unit(prober) => prober.told().await,
            Prober::Tcp(_) | Prober::Command(_) | Prober::Gateway(_) => std::future::pending().await,
        }
    }
}
