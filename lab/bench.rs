//! `make bench`: each fault several times with each set-up in one run on one machine, and the table of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::idle::{self, Cost};
use crate::pair::fault::Fault;
use crate::pair::run;
use crate::pair::setup::Setup;
use crate::pair::tools::Tools;

const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";
/// How long idle cost is measured.
const IDLE: Duration = Duration::from_secs(60);

/// What the bench is told on its command line.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many times each fault happens to each set-up.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Only these set-ups; may be repeated.
    #[arg(long = "setup")]
    setups: Vec<Setup>,
    /// Only these faults; may be repeated.
    #[arg(long = "fault")]
    faults: Vec<Fault>,
    /// Leave the idle cost out.
    #[arg(long)]
    no_idle: bool,
    /// Put the table into this file, between its marks.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Run nothing: make the table from the reports of an earlier run (`target/lab/bench.jsonl`).
    #[arg(long)]
    from: Option<PathBuf>,
}

/// The figures of one set-up under one fault, one entry for each run.
#[derive(Default)]
struct Cell {
    sql: Vec<f64>,
    api: Vec<f64>,
    lost: Vec<f64>,
    both: Vec<f64>,
    unserved: usize,
    failed: usize,
}

type Cells = BTreeMap<(usize, usize), Cell>;

/// Runs everything, keeps each report as a line of JSON below the target folder, and prints the table.
pub fn run(tools: &Tools, options: &Options) -> Result<()> {
    let setups = if options.setups.is_empty() { Setup::ALL.to_vec() } else { options.setups.clone() };
    let faults = if options.faults.is_empty() { Fault::ALL.to_vec() } else { options.faults.clone() };
    let mut kept = match &options.from {
        Some(path) => read(path, &setups, &faults)?,
        None => measure(tools, options, &setups, &faults)?,
    };
    kept.costs.sort_by_key(|cost| setups.iter().position(|setup| setup.word() == cost.setup));
    let mut text = table(&kept.cells, &setups, &faults)?;
    if !kept.costs.is_empty() {
        text.push_str(&cost_table(&kept.costs)?);
    }
    println!("{text}");
    options.write.as_deref().map_or(Ok(()), |path| insert(path, &text))
}

/// Everything that was measured.
#[derive(Default)]
struct Kept {
    cells: Cells,
    costs: Vec<Cost>,
}

fn measure(tools: &Tools, options: &Options, setups: &[Setup], faults: &[Fault]) -> Result<Kept> {
    let folder = tools.programs.parent().context("no target folder")?.join("lab");
    fs::create_dir_all(&folder)?;
    let mut raw = fs::File::create(folder.join("bench.jsonl"))?;
    let mut kept = Kept::default();
    if !options.no_idle {
        for setup in setups {
            let costs = idle::measure(tools, *setup, IDLE);
            for cost in costs.with_context(|| format!("idle cost of {}", setup.word()))? {
                writeln!(raw, "{}", serde_json::to_string(&cost)?)?;
                kept.costs.push(cost);
            }
        }
    }
    // Round by round, so that a drift of the machine falls on every set-up alike.
    for round in 1..=options.runs {
        for (row, fault) in faults.iter().enumerate() {
            for (column, setup) in setups.iter().enumerate() {
                if *fault == Fault::GateKill && !setup.is_apd() {
                    continue;
                }
                let cell = kept.cells.entry((row, column)).or_default();
                match run::run(tools, *setup, *fault) {
                    Ok(report) => {
                        eprintln!("{round}/{} {}", options.runs, report.line());
                        writeln!(raw, "{}", serde_json::to_string(&report)?)?;
                        cell.add(&serde_json::to_value(&report)?)?;
                    }
                    Err(error) => {
                        eprintln!("{round}/{} {} {}: {error:#}", options.runs, setup.word(), fault.word());
                        let failed =
                            serde_json::json!({"setup": setup.word(), "fault": fault.word(), "failed": true});
                        writeln!(raw, "{failed}")?;
                        cell.add(&failed)?;
                    }
                }
            }
        }
    }
    Ok(kept)
}

/// The reports of an earlier run.
fn read(path: &Path, setups: &[Setup], faults: &[Fault]) -> Result<Kept> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut kept = Kept::default();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{}, line {}", path.display(), number + 1);
        let report: Value = serde_json::from_str(line).with_context(place)?;
        if report.get("fault").is_none() {
            kept.costs.push(serde_json::from_value(report).with_context(place)?);
            continue;
        }
        let row = faults.iter().position(|fault| report["fault"] == fault.word());
        let column = setups.iter().position(|setup| report["setup"] == setup.word());
        if let (Some(row), Some(column)) = (row, column) {
            kept.cells.entry((row, column)).or_default().add(&report).with_context(place)?;
        }
    }
    Ok(kept)
}

impl Cell {
    /// Takes a run's report, as it is kept.
    fn add(&mut self, report: &Value) -> Result<()> {
        if report["failed"] == true {
            self.failed += 1;
            return Ok(());
        }
        let figure = |name: &str| report[name].as_f64().with_context(|| format!("{name} is missing"));
        self.sql.push(figure("outage_sql_ms")?);
        self.api.push(figure("outage_api_ms")?);
        self.lost.push(figure("lost")?);
        self.both.push(figure("two_writers_ms")?);
        self.unserved += usize::from(report["serving"] != true);
        Ok(())
    }

    /// `sql / api / lost / two writers`, medians; what went wrong is said.
    fn text(&self) -> String {
        if self.sql.is_empty() {
            return "failed".to_owned();
        }
        let figures =
            [&self.sql, &self.api, &self.lost, &self.both].map(|values| format!("{:.0}", median(values)));
        let mut text = figures.join(" / ");
        if self.unserved > 0 {
            let _infallible =
                write!(text, " ({} of {} not served at the end)", self.unserved, self.sql.len());
        }
        if self.failed > 0 {
            let _infallible = write!(text, " ({} runs failed)", self.failed);
        }
        text
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

fn table(cells: &Cells, setups: &[Setup], faults: &[Fault]) -> Result<String> {
    let counts = cells.values().map(|cell| cell.sql.len());
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    let runs = if least == most { most.to_string() } else { format!("{least} to {most}") };
    let mut text = format!(
        "Medians of {runs} runs: outage over SQL in ms / over the API in ms / acknowledged writes \
         lost / ms with two writers. The last column: the SQL outage of the better `apd` profile against the best of \
         the keepalived set-ups.\n\n| fault |"
    );
    setups.iter().try_for_each(|setup| write!(text, " {} |", setup.word()))?;
    writeln!(text, " ratio |\n|---|{}---|", "---|".repeat(setups.len()))?;
    for (row, fault) in faults.iter().enumerate() {
        write!(text, "| {} |", fault.word())?;
        for column in 0..setups.len() {
            write!(text, " {} |", cells.get(&(row, column)).map_or("-".to_owned(), Cell::text))?;
        }
        writeln!(text, " {} |", ratio(cells, setups, row))?;
    }
    Ok(text)
}

fn ratio(cells: &Cells, setups: &[Setup], row: usize) -> String {
    let best = |apd: bool| {
        let columns = (0..setups.len()).filter(|column| setups[*column].is_apd() == apd);
        let medians = columns.filter_map(|column| Some(median(&cells.get(&(row, column))?.sql)));
        medians.filter(|value| value.is_finite()).min_by(f64::total_cmp)
    };
    match (best(true), best(false)) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
        _ => "-".to_owned(),
    }
}

fn cost_table(costs: &[Cost]) -> Result<String> {
    let mut text = format!(
        "\nIdle cost of the daemons and everything they start, for each node, over {} s without clients:\n\n\
         | set-up | role | resident MB | proportional MB | CPU seconds a minute |\n|---|---|---|---|---|\n",
        IDLE.as_secs()
    );
    for cost in costs {
        let Cost { setup, role, resident_mb, proportional_mb, cpu_s_per_min, .. } = cost;
        writeln!(
            text,
            "| {setup} | {role} | {resident_mb:.1} | {proportional_mb:.1} | {cpu_s_per_min:.2} |"
        )?;
    }
    Ok(text)
}

/// Replaces what stands between the marks of a file.
fn insert(path: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (head, rest) =
        text.split_once(BEGIN).with_context(|| format!("{BEGIN} is missing in {}", path.display()))?;
    let (_, tail) =
        rest.split_once(END).with_context(|| format!("{END} is missing in {}", path.display()))?;
    Ok(fs::write(path, format!("{head}{BEGIN}\n{table}{END}{tail}"))?)
}
