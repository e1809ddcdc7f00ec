//! What a set-up costs when nothing happens: memory and processor time of its daemons and all their children.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::pair::setup::Setup;
use crate::pair::tools::Tools;
use crate::pair::{Pair, Plan};

/// Clock ticks of `/proc/PID/stat` in a second; 100 on every Linux that Rust's std runs on.
const TICKS: f64 = 100.0;

/// The cost of one node's daemons.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// The set-up.
    pub setup: String,
    /// `active` or `standby`.
    pub role: String,
    /// Resident memory of all its processes together, MB (10^6 bytes).
    pub resident_mb: f64,
    /// The same with shared pages divided among their users.
    pub proportional_mb: f64,
    /// Processor seconds for each minute, ended children included.
    pub cpu_s_per_min: f64,
    /// Which processes.
    pub processes: Vec<String>,
}

/// Brings a pair up, lets the clients fall silent, and measures for `span`.
pub fn measure(tools: &Tools, setup: Setup, span: Duration) -> Result<Vec<Cost>> {
    let pair = Pair::up(tools, &Plan::new(setup))?;
    let active = pair.wait_serving(Duration::from_secs(10))?;
    pair.stop_writers()?;
    std::thread::sleep(Duration::from_secs(3));
    let numbers = |index: usize| -> Result<Vec<(i32, String)>> {
        let found = setup.resident(pair.nodes[index].machine()?);
        Ok(found.into_iter().map(|process| (process.number, process.command)).collect())
    };
    let watched = [numbers(0)?, numbers(1)?];
    let began = Instant::now();
    let before: Vec<f64> = watched.iter().map(|node| cpu_seconds(node)).collect::<Result<_>>()?;
    std::thread::sleep(span);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let mut costs = Vec::new();
    for (index, node) in watched.iter().enumerate() {
        let memory = |field| node.iter().map(|(number, _)| memory_mb(*number, field)).sum::<Result<f64>>();
        costs.push(Cost {
            setup: setup.word().to_owned(),
            role: if index == active { "active" } else { "standby" }.to_owned(),
            resident_mb: memory("Rss:")?,
            proportional_mb: memory("Pss:")?,
            cpu_s_per_min: (cpu_seconds(node)? - before[index]) / minutes,
            processes: node.iter().map(|(_, command)| command.clone()).collect(),
        });
    }
    Ok(costs)
}

/// Fields 14 to 17 of `/proc/PID/stat`: own time and that of children that have ended, user and system; seconds.
fn cpu_seconds(processes: &[(i32, String)]) -> Result<f64> {
    let mut ticks = 0.0;
    for (number, command) in processes {
        let text = fs::read_to_string(format!("/proc/{number}/stat"))
            .with_context(|| format!("{command} has ended"))?;
        let (_, rest) = text.rsplit_once(") ").context("/proc/PID/stat has no name")?;
        ticks += rest.split(' ').skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(ticks / TICKS)
}

fn memory_mb(number: i32, field: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{number}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
