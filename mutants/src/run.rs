//! Runs the tests once for each mutant.

use crate::plant::Mutant;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A run that lasts this many times as long as the unchanged one hangs: that is noticed too.
const HANGS: u32 = 12;

/// One test program and how long it takes unchanged.
pub struct Program {
    name: String,
    path: PathBuf,
    /// Which of its tests; all if none is named.
    tests: &'static [&'static str],
}

/// Builds the test programs: unit tests, stories, seeds, from quick to slow.
pub fn compile(place: &Path, target: &Path) -> Result<Vec<Program>, Box<dyn Error>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--no-run", "--message-format=json-render-diagnostics"])
        .current_dir(place)
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the program with the mutants does not build".into());
    }
    let mut programs: Vec<Program> = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let Some(path) = line.split("\"executable\":\"").nth(1).and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('-').next().unwrap_or_default().to_owned();
        // Without the thousands of seeds that look for rows of the table: they take longer than all else.
        let tests: &[&str] = if name == "scenarios" { &["every_story"] } else { &[] };
        programs.push(Program { name, path: path.into(), tests });
    }
    let rank = |name: &str| ["apd", "scenarios", "seeds"].iter().position(|one| *one == name);
    programs.sort_by_key(|program| rank(&program.name));
    Ok(programs)
}

/// What became of a mutant.
enum Fate {
    /// By which program.
    Caught(String),
    Hung(String),
    Survived,
}

fn one(program: &Program, mutant: u32, place: &Path, limit: Duration) -> std::io::Result<Option<bool>> {
    let mut child = Command::new(&program.path)
        .args(["--test-threads=1", "-q"])
        .args(program.tests)
        .current_dir(place)
        .env("APD_MUTANT", mutant.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn fate(programs: &[(&Program, Duration)], mutant: u32, place: &Path) -> std::io::Result<Fate> {
    for (program, limit) in programs {
        match one(program, mutant, place, *limit)? {
            Some(true) => {}
            Some(false) => return Ok(Fate::Caught(program.name.clone())),
            None => return Ok(Fate::Hung(program.name.clone())),
        }
    }
    Ok(Fate::Survived)
}

/// Runs all of `mutants`, two at a time, and says what became of them.
pub fn all(programs: &[Program], mutants: &[Mutant], place: &Path) -> Result<(), Box<dyn Error>> {
    let mut timed = Vec::new();
    for program in programs {
        let begun = Instant::now();
        if one(program, 0, place, Duration::from_secs(600))? != Some(true) {
            return Err(format!("{} fails without a mutant", program.name).into());
        }
        let took = begun.elapsed();
        println!("{}: {:.1} s unchanged", program.name, took.as_secs_f64());
        timed.push((program, took.max(Duration::from_millis(500)) * HANGS));
    }
    let (next, fates) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || -> std::io::Result<()> {
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let fate = fate(&timed, mutant.number, place)?;
            if matches!(fate, Fate::Survived) {
                println!("survived: {}", describe(mutant));
            }
            fates.lock().unwrap_or_else(|broken| broken.into_inner()).push((mutant, fate));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(std::io::Error::other("a worker panicked")))
        })
    })?;
    let fates = fates.into_inner().map_err(|_| "a worker panicked")?;
    report(&fates, place)
}

fn describe(mutant: &Mutant) -> String {
    let Mutant { number, file, line, function, what } = mutant;
    format!("#{number} src/decision/{file}:{line} {function}: {what}")
}

fn report(fates: &[(&Mutant, Fate)], place: &Path) -> Result<(), Box<dyn Error>> {
    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    let mut survivors = Vec::new();
    for (mutant, fate) in fates {
        let key = match fate {
            Fate::Caught(program) => format!("caught by {program}"),
            Fate::Hung(program) => format!("hung in {program}"),
            Fate::Survived => {
                survivors.push((mutant.number, describe(mutant)));
                "survived".to_owned()
            }
        };
        *by.entry(key).or_default() += 1;
    }
    survivors.sort();
    let lines: String = survivors.iter().map(|(_, line)| format!("{line}\n")).collect();
    fs::write(place.join("survivors.txt"), lines)?;
    println!("\n{} mutants: {by:?}", fates.len());
    let caught = fates.len() - survivors.len();
    println!("score: {:.1} %", 100.0 * caught as f64 / fates.len().max(1) as f64);
    Ok(())
}
