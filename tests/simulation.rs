//! The promises of the pair, broken by no seed: runs `src/simulation/`.
//!
//! The first 2,000 seeds always run; then more until `APD_SIMULATION_SECONDS` are over (`make test`: 60). `SEED=n`
//! replays one with its story, `PLAN=file` one that is kept (with another seed's chances), `BUG=name` puts a bug in, `MINIMISE=n` writes a
//! small plan into tests/regressions. With `SURVIVORS=1` a seed stands for a run in which one node goes for good.

use apd_simulator::decision::settings::{OnStop, OnUndrained};
use apd_simulator::decision::words::Protection;
use apd_simulator::simulation::{BUGS, Bug, Drawn, MARKS, Outcome, Plan, minimise, predict, run, run_plan};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many seeds run in any case.
const SEEDS: u64 = 2_000;

/// No more than these are run against the clock: the same ones on every machine that is quick enough.
const MOST: u64 = 20_000;

/// How many runs the minimiser may take.
const TRIES: u32 = 1_500;

/// One kept run.
#[derive(Debug, Serialize, Deserialize)]
struct Regression {
    /// What it shows, for people.
    about: String,
    /// With a bug in the harness it must break this promise; without, it must break none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    breaks: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bug: Option<Bug>,
    plan: Plan,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn bug() -> Option<Bug> {
    let name = std::env::var("BUG").ok()?;
    let known = BUGS.iter().find(|(bug, _)| format!("{bug:?}") == name);
    Some(known.unwrap_or_else(|| panic!("no bug is called {name}")).0)
}

fn regressions() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/regressions")
}

/// The promise that a violation names: what stands before the colon.
fn promise(violation: &str) -> String {
    violation.split(&[':', ' '][..]).next().unwrap_or_default().to_owned()
}

/// All that many seeds came to.
#[derive(Default)]
struct Sum {
    count: u64,
    seconds: u64,
    marks: BTreeSet<&'static str>,
    named: BTreeMap<String, u64>,
    broken: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: std::thread::Result<Outcome>) {
        self.count += 1;
        match outcome {
            Err(_) => self.broken.push((seed, "panic: the run panicked".into())),
            Ok(outcome) => {
                self.seconds += outcome.seconds;
                self.marks.extend(outcome.marks);
                for code in outcome.named {
                    *self.named.entry(code).or_default() += 1;
                }
                self.broken.extend(outcome.violation.map(|text| (seed, text)));
            }
        }
    }
}

/// What a seed stands for.
type Draw = fn(u64) -> Plan;

/// As `SURVIVORS` says.
fn drawn() -> Draw {
    if std::env::var_os("SURVIVORS").is_some() { Plan::draw_survivor } else { Plan::draw }
}

/// Seeds from `first` on, in two threads: `least` of them, and up to [`MOST`] for as long as `time` lasts.
fn run_all(draw: Draw, first: u64, least: u64, time: Duration) -> Sum {
    let (begun, next, sum) = (Instant::now(), AtomicU64::new(first), Mutex::new(Sum::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + least && (seed >= first + MOST || begun.elapsed() >= time) {
                return;
            }
            let outcome = std::panic::catch_unwind(|| run_plan(&draw(seed), None, false));
            sum.lock().expect("no thread panics while it adds").add(seed, outcome);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let mut sum = sum.into_inner().expect("no thread panics while it adds");
    sum.broken.sort();
    sum
}

/// The story of one plan.
fn replay(plan: &Plan) -> ! {
    let (seed, outcome) = (plan.seed, run_plan(plan, bug(), true));
    println!("{}", toml::to_string(plan).expect("a plan is text"));
    for line in &outcome.trace {
        println!("{line}");
    }
    println!("seed {seed}: {} s, named {:?}, {:?}", outcome.seconds, outcome.named, outcome.violation);
    std::process::exit(i32::from(outcome.violation.is_some()));
}

/// A small plan that breaks the same promise, kept as a file; its name.
fn keep(seed: u64, bug: Option<Bug>) -> String {
    let plan = drawn()(seed);
    let text = run_plan(&plan, bug, false).violation.expect("the seed fails");
    let breaks = promise(&text);
    let fails = |plan: &Plan| {
        run_plan(plan, bug, false).violation.is_some_and(|violation| promise(&violation) == breaks)
    };
    let plan = minimise(&plan, TRIES, fails);
    let text = run_plan(&plan, bug, false).violation.expect("the minimised plan fails");
    let name = bug.map_or_else(|| format!("seed-{seed}"), |bug| format!("bug-{bug:?}").to_lowercase());
    let about = bug.map_or_else(|| text.clone(), |bug| format!("with the bug {bug:?}: {text}"));
    let breaks = if bug.is_some() { breaks } else { String::new() };
    let text = toml::to_string(&Regression { about, breaks, bug, plan }).expect("a plan is text");
    let file = regressions().join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("tests/regressions can be written");
    file.display().to_string()
}

#[test]
fn the_pair_keeps_its_promises() {
    if let Ok(name) = std::env::var("PLAN") {
        let text = std::fs::read_to_string(regressions().join(name)).expect("PLAN names a kept plan");
        let plan = toml::from_str::<Regression>(&text).expect("a kept plan").plan;
        replay(&Plan { seed: number("SEED").unwrap_or(plan.seed), ..plan });
    }
    if let Some(seed) = number("SEED") {
        replay(&drawn()(seed));
    }
    if let Some(seed) = number("MINIMISE") {
        println!("{}", keep(seed, bug()));
        return;
    }
    let least = number("SEEDS").unwrap_or(SEEDS);
    let time = Duration::from_secs(number("APD_SIMULATION_SECONDS").unwrap_or(0));
    let begun = Instant::now();
    let sum = run_all(drawn(), number("FIRST").unwrap_or(1), least, time);
    let (count, took) = (sum.count, begun.elapsed().as_secs());
    println!("runs that ended in a named state: {:?}", sum.named);
    for (seed, text) in sum.broken.iter().take(40) {
        println!("SEED={seed} {text}");
    }
    println!(
        "simulation: {count} seeds in {took} s, {} simulated seconds, {} violations",
        sum.seconds,
        sum.broken.len()
    );
    if let Some((seed, _)) = sum.broken.first() {
        panic!("SEED={seed} replays; kept as {}", keep(*seed, None));
    }
    let missed: Vec<_> = MARKS.iter().filter(|mark| !sum.marks.contains(*mark)).collect();
    assert!(count < SEEDS || missed.is_empty(), "situations that were never met: {missed:?}");
}

/// One node goes for good, and nobody comes back to put things right: the other one serves, if it has a right.
#[test]
fn what_is_left_serves() {
    if number("SEED").or(number("MINIMISE")).is_some() {
        return;
    }
    let sum = run_all(Plan::draw_survivor, 1, 5_000, Duration::ZERO);
    println!(
        "survivors: {} seeds, {} violations; without a right: {:?}",
        sum.count,
        sum.broken.len(),
        sum.named
    );
    assert_eq!(sum.broken, Vec::new());
    let served = sum.count - sum.named.values().sum::<u64>();
    assert!(served * 10 > sum.count * 8, "{served} of {} were left with a right", sum.count);
    for mark in ["a survivor serves", "takeover by right of released", "gone solo"] {
        assert!(sum.marks.contains(mark), "never met: {mark}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let trace = |seed| run(seed, None, true).trace;
    for seed in [1, 7] {
        assert!(trace(seed) == trace(seed), "seed {seed} ran in two ways");
    }
}

#[test]
fn a_plan_survives_being_written() {
    for plan in (1..200).map(Plan::draw).chain((1..50).map(Plan::draw_survivor)) {
        let text = toml::to_string(&plan).expect("a plan is text");
        assert_eq!(toml::from_str::<Plan>(&text).expect("and back"), plan, "{text}");
    }
}

#[test]
fn the_checkers_bite() {
    if number("SEED").or(number("MINIMISE")).is_some() {
        return;
    }
    for (bug, within) in BUGS {
        let caught =
            (1..=*within).find_map(|seed| run(seed, Some(*bug), false).violation.map(|text| (seed, text)));
        let (seed, text) = caught.unwrap_or_else(|| panic!("{bug:?} was not caught within {within} seeds"));
        println!("{bug:?}: caught by seed {seed} (bound {within}): {text}");
    }
}

/// Each kept plan with its own chances and with others, so that it still bites when the harness draws differently.
#[test]
fn what_once_failed_stays_found() {
    let mut count = 0;
    for entry in std::fs::read_dir(regressions()).expect("tests/regressions") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file");
        let kept: Regression =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        count += 1;
        let run = |seed| run_plan(&Plan { seed, ..kept.plan.clone() }, kept.bug, false).violation;
        let mut seeds = std::iter::once(kept.plan.seed).chain(1..40);
        if kept.bug.is_some() {
            let found = seeds.any(|seed| run(seed).is_some_and(|text| promise(&text) == kept.breaks));
            assert!(found, "{}: no longer breaks {}", path.display(), kept.breaks);
        } else if let Some((seed, text)) = seeds.find_map(|seed| Some((seed, run(seed)?))) {
            panic!("{} with seed {seed}: {text}", path.display());
        }
    }
    assert!(count > 0, "tests/regressions is empty");
}

/// The middle of the laboratory's outages over SQL, from its table in docs/performance.md: both profiles, in ms.
fn laboratory(fault: &str) -> [u64; 2] {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let text = std::fs::read_to_string(page).expect("docs/performance.md");
    let row =
        text.lines().find(|line| line.starts_with(&format!("| {fault} | "))).expect("a row of the table");
    let cell = |column| {
        let cell = row.split('|').nth(column).and_then(|cell: &str| cell.split_whitespace().next());
        cell.and_then(|number| number.parse().ok()).expect("a number of ms")
    };
    [cell(2), cell(3)]
}

/// What `apctl simulate` says is what the laboratory measured, within a factor of one and a half.
#[test]
fn predictions_are_those_of_the_laboratory() {
    for fault in ["power-off", "db-kill", "switchover"] {
        for (measured, (beat, lease_ms)) in laboratory(fault).into_iter().zip([(100, 350), (20, 80)]) {
            let drawn = Drawn {
                advert_ms: beat,
                heartbeat_ms: beat,
                lease_ms,
                protection: Protection::Gateway,
                peer_wait_ms: 10_000,
                failover_hold_ms: 0,
                max_failovers_per_hour: 3,
                on_stop: OnStop::Handover,
                restart_grace_ms: 5_000,
                drain_timeout_ms: 10_000,
                on_undrained: OnUndrained::Wait,
                rejoin_auto: false,
                priority: 100,
                weight: 0,
                on_standby: true,
                probe_ms: 250,
                check_ms: 500,
                relaxed_log: false,
                service: None,
                semi_sync: None,
            };
            let prediction = predict(fault, &drawn.configuration(), 200, || {}).expect("a known fault");
            let predicted = prediction.outage_ms.median;
            println!("{fault}, lease {lease_ms} ms: predicted {predicted} ms, measured {measured} ms");
            let close = predicted * 2 <= measured * 3 && measured * 2 <= predicted * 3;
            assert!(close, "{fault}, lease {lease_ms} ms: predicted {predicted} ms, measured {measured} ms");
        }
    }
}
