//! The promises of the pair, broken by no seed: runs `src/simulation/`. `SEED=n` replays one run with a trace, `SEEDS=n` sets how many are run.

use apd_simulator::simulation::{BUGS, Bug, MARKS, Outcome, run};
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The seeds of two threads; each run is on its own.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<(u64, Outcome)> {
    let one = |from: u64| {
        let seeds = seeds.clone();
        move || {
            seeds
                .skip(from as usize)
                .step_by(2)
                .map(|seed| (seed, run(seed, None, false)))
                .collect::<Vec<_>>()
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(one(0)), scope.spawn(one(1))];
        workers.into_iter().flat_map(|worker| worker.join().expect("a run panicked")).collect()
    })
}

fn replay(seed: u64, bug: Option<Bug>) -> ! {
    let outcome = run(seed, bug, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    println!("seed {seed}: {} s, named {:?}, {:?}", outcome.seconds, outcome.named, outcome.violation);
    std::process::exit(i32::from(outcome.violation.is_some()));
}

#[test]
fn the_pair_keeps_its_promises() {
    if let Some(seed) = number("SEED") {
        let bug = number("BUG").map(|index| BUGS[index as usize].0);
        replay(seed, bug);
    }
    let count = number("SEEDS").unwrap_or(SEEDS);
    let first = number("FIRST").unwrap_or(1);
    let outcomes = run_all(first..first + count);
    let mut marks: BTreeSet<&str> = BTreeSet::new();
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    let mut broken: Vec<(u64, String)> = Vec::new();
    let mut seconds = 0;
    for (seed, outcome) in outcomes {
        marks.extend(&outcome.marks);
        seconds += outcome.seconds;
        for code in outcome.named {
            *named.entry(code).or_default() += 1;
        }
        broken.extend(outcome.violation.map(|text| (seed, text)));
    }
    println!("{count} seeds, {seconds} simulated seconds; runs that ended in a named state: {named:?}");
    broken.sort();
    for (seed, text) in broken.iter().take(40) {
        println!("SEED={seed} {text}");
    }
    assert!(
        broken.is_empty(),
        "{} of {count} seeds break a promise; SEED={} replays",
        broken.len(),
        broken[0].0
    );
    let missed: Vec<_> = MARKS.iter().filter(|mark| !marks.contains(*mark)).collect();
    assert!(count < SEEDS || missed.is_empty(), "situations that were never met: {missed:?}");
}

#[test]
fn one_seed_is_one_run() {
    let trace = |seed| run(seed, None, true).trace;
    for seed in [1, 7] {
        assert!(trace(seed) == trace(seed), "seed {seed} ran in two ways");
    }
}

#[test]
fn the_checkers_bite() {
    if number("SEED").is_some() {
        return;
    }
    for (bug, within) in BUGS {
        let caught =
            (1..=*within).find_map(|seed| run(seed, Some(*bug), false).violation.map(|text| (seed, text)));
        let (seed, text) = caught.unwrap_or_else(|| panic!("{bug:?} was not caught within {within} seeds"));
        println!("{bug:?}: caught by seed {seed}: {text}");
    }
}
