//! Very many seeds of the simulator, for a machine that has an hour: `make seeds SEEDS=1000000 FIRST=1`; with
//! `SURVIVORS=1` of the runs in which one node goes for good.
//!
//! `make test` runs some twenty thousand of the same seeds. Each violation is printed with its seed, which
//! `SEED=n cargo nextest run --test simulation` tells as a story. Exit code 1 when there was one.

use apd_simulator::simulation::{run, run_survivor};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How many seeds lie between two lines of progress.
const PROGRESS: u64 = 10_000;

fn number(name: &str, default: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => {
            text.parse().map_err(|_| format!("{name}={text}: not a whole number; leave it out for {default}"))
        }
    }
}

fn main() -> ExitCode {
    let (first, count) = match (number("FIRST", 1), number("SEEDS", 100_000)) {
        (Ok(first), Ok(count)) => (first, count),
        (Err(text), _) | (_, Err(text)) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let survivors = std::env::var_os("SURVIVORS").is_some();
    // A run that panics is reported with its seed, like any other that breaks a promise.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, broken, seconds) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            if seed > first && (seed - first).is_multiple_of(PROGRESS) {
                let broken = broken.load(Ordering::Relaxed);
                println!(
                    "{} of {count} seeds in {} s, {broken} violations",
                    seed - first,
                    begun.elapsed().as_secs()
                );
            }
            let violation = match std::panic::catch_unwind(|| {
                if survivors { run_survivor(seed, None, false) } else { run(seed, None, false) }
            }) {
                Ok(outcome) => {
                    seconds.fetch_add(outcome.seconds, Ordering::Relaxed);
                    outcome.violation
                }
                Err(_) => Some("the run panicked".to_owned()),
            };
            if let Some(text) = violation {
                broken.fetch_add(1, Ordering::Relaxed);
                println!("SEED={seed} {text}");
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (broken, seconds) = (broken.into_inner(), seconds.into_inner());
    println!(
        "seeds {first} to {}: {count} in {} s, {seconds} simulated seconds, {broken} violations",
        first + count - 1,
        begun.elapsed().as_secs()
    );
    ExitCode::from(u8::from(broken > 0))
}
