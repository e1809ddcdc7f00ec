//! One run: a fresh pair, one fault, and the report of what the clients saw.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::fault::Fault;
use super::record;
use super::setup::Setup;
use super::tools::{Tools, now_ns};
use super::{Pair, Plan, wait};

/// Steady service before the fault.
const WARM: Duration = Duration::from_millis(1_000);
/// How long service must have been steady before a run ends, and the longest wait for that.
const STEADY: Duration = Duration::from_millis(700);
const STEADY_LIMIT: Duration = Duration::from_secs(15);

/// What one run showed. Times are milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The set-up.
    pub setup: &'static str,
    /// The fault.
    pub fault: &'static str,
    /// The longest time without an accepted write over SQL, from the fault on.
    pub outage_sql_ms: f64,
    /// The same over the API.
    pub outage_api_ms: f64,
    /// The longest such gaps before the fault: the noise of the machine.
    pub noise_sql_ms: f64,
    /// The same over the API.
    pub noise_api_ms: f64,
    /// Writes that were acknowledged, by all clients.
    pub accepted: usize,
    /// Those of them that the node which serves at the end does not have.
    pub lost: usize,
    /// How long both servers acknowledged writes at once.
    pub two_writers_ms: f64,
    /// Who served before and at the end.
    pub served_by: [Option<&'static str>; 2],
    /// Whether the client could write at the end.
    pub serving: bool,
    /// Milliseconds from the fault until it was injected completely (a switchover: until the command returned).
    pub injection_ms: f64,
    /// Both nodes at the end.
    pub state: Value,
    /// What the survivor tells about its steps.
    pub timeline: Value,
}

/// Builds a pair, lets one fault happen, and reports.
pub fn run(tools: &Tools, setup: Setup, fault: Fault) -> Result<Report> {
    let mut pair = Pair::up(tools, &Plan::new(setup))?;
    watch(&mut pair, fault)
}

/// Lets one fault happen to a pair in service, and reports; the writers are stopped at the end.
pub fn watch(pair: &mut Pair, fault: Fault) -> Result<Report> {
    let began = now_ns();
    std::thread::sleep(WARM);
    let active = pair.wait_serving(STEADY_LIMIT)?;
    let at = now_ns();
    fault.inject(pair, active).with_context(|| format!("cannot inject {}", fault.word()))?;
    let injected = now_ns();
    std::thread::sleep(pair.setup.watch());
    if fault.heals() {
        fault.heal(pair, active).with_context(|| format!("cannot heal {}", fault.word()))?;
        std::thread::sleep(pair.setup.watch().min(Duration::from_secs(4)));
    }
    let serving = wait_steady(pair);
    let until = now_ns();
    let last = pair.serving()?;
    pair.stop_writers()?;
    let followed = pair.attempts()?;
    let all = pair.all_attempts()?;
    let survivor = last.or_else(|| newest_server(&followed)).unwrap_or(active);
    let (lost, reachable) = match pair.rows(survivor) {
        Ok(present) => (record::lost(&all, &present), true),
        Err(_) => (all.iter().filter(|one| one.accepted()).count(), false),
    };
    let gap = |lane: &str, from, until| ms(record::longest_gap_ns(&followed, lane, from, until));
    Ok(Report {
        setup: pair.setup.word(),
        fault: fault.word(),
        outage_sql_ms: gap("sql", at, until),
        outage_api_ms: gap("api", at, until),
        noise_sql_ms: gap("sql", began, at),
        noise_api_ms: gap("api", began, at),
        accepted: all.iter().filter(|one| one.accepted()).count(),
        lost,
        two_writers_ms: ms(record::two_writers_ns(&all, began)),
        served_by: [Some(pair.nodes[active].name), last.map(|index| pair.nodes[index].name)],
        serving: serving && reachable,
        injection_ms: ms(injected - at),
        state: pair.state(),
        timeline: match &pair.nodes[survivor].machine {
            Some(machine) => pair.setup.timeline(&pair.tools, machine, &pair.nodes[survivor].disk),
            None => Value::Null,
        },
    })
}

/// Waits until the client has been served for a while by one node; false if that does not come.
fn wait_steady(pair: &Pair) -> bool {
    let mut since = None;
    wait("service is steady", STEADY_LIMIT, || {
        let serving = pair.serving()?;
        match (serving, since) {
            (Some(node), Some((before, at))) if node == before => {
                return Ok(now_ns() - at >= STEADY.as_nanos() as u64);
            }
            (Some(node), _) => since = Some((node, now_ns())),
            (None, _) => since = None,
        }
        Ok(false)
    })
    .is_ok()
}

fn newest_server(attempts: &[record::Attempt]) -> Option<usize> {
    attempts.iter().rev().find(|one| one.accepted()).map(|one| one.server as usize - 1)
}

fn ms(ns: u64) -> f64 {
    (ns as f64 / 100_000.0).round() / 10.0
}

impl Report {
    /// One line for a person.
    pub fn line(&self) -> String {
        format!(
            "{:12} {:18} outage sql {:8.1} ms, api {:8.1} ms (noise {:.1}/{:.1}); lost {} of {}; two writers {:.1} ms; \
             {} -> {}",
            self.setup,
            self.fault,
            self.outage_sql_ms,
            self.outage_api_ms,
            self.noise_sql_ms,
            self.noise_api_ms,
            self.lost,
            self.accepted,
            self.two_writers_ms,
            self.served_by[0].unwrap_or("nobody"),
            self.served_by[1].unwrap_or("nobody"),
        )
    }
}
