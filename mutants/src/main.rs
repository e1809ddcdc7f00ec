//! Mutation testing of the decision: does a test fail when one thing in it is wrong?
//!
//! All mutants are compiled into one program, each behind its number, so that a mutant costs a run of the tests and
//! no build. Only the decision, the simulator and the stories are in it (they need no other layer), which is why it
//! builds in a minute. `make mutants` runs it; MUTANTS=all or a number, SAMPLE_SEED=n and ONLY=n choose.

mod plant;
mod run;

use plant::{Mutant, Plant};
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::args().nth(1).ok_or("usage: apd-mutants ROOT TARGET")?);
    let target = PathBuf::from(env::args().nth(2).ok_or("usage: apd-mutants ROOT TARGET")?);
    let place = target.join("mutants");
    let mutants = build(&root, &place)?;
    let programs = run::compile(&place, &target.join("mutants-build"))?;
    let chosen = choose(mutants)?;
    run::all(&programs, &chosen, &place)
}

/// The program with its mutants: the decision rewritten, the rest as it is.
fn build(root: &Path, place: &Path) -> Result<Vec<Mutant>, Box<dyn Error>> {
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    let mut plant = Plant::default();
    planted(&mut plant, &root.join("src/decision"), &place.join("src/decision"), "")?;
    copy(&root.join("src/simulation"), &place.join("src/simulation"))?;
    copy(&root.join("tests/scenarios"), &place.join("tests/scenarios"))?;
    // The simulator is a part of the same package here.
    let stories = fs::read_to_string(root.join("tests/scenarios.rs"))?;
    fs::write(place.join("tests/scenarios.rs"), stories + "\nextern crate apd as apd_simulator;\n")?;
    copy(&root.join("tests/regressions"), &place.join("tests/regressions"))?;
    // The settings of the stories' pair.
    copy(&root.join("tests/support"), &place.join("tests/support"))?;
    fs::create_dir_all(place.join("src/wire"))?;
    fs::copy(root.join("src/wire/recording.rs"), place.join("src/wire/recording.rs"))?;
    fs::write(place.join("src/lib.rs"), include_str!("../parts/lib.rs"))?;
    fs::write(place.join("tests/seeds.rs"), include_str!("../parts/seeds.rs"))?;
    fs::write(place.join("Cargo.toml"), include_str!("../parts/manifest.toml"))?;
    fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock"))?;
    Ok(plant.mutants)
}

/// A folder of the decision, and what is below it.
fn planted(plant: &mut Plant, from: &Path, to: &Path, above: &str) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    let mut paths: Vec<PathBuf> =
        fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().ok_or("a file has a name")?.to_string_lossy().into_owned();
        let target = to.join(&name);
        if path.is_dir() {
            planted(plant, &path, &target, &format!("{above}{name}/"))?;
        } else {
            fs::write(target, plant.file(&format!("{above}{name}"), &fs::read_to_string(&path)?)?)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().ok_or("a file has a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// The sample: the same for the same seed and the same source.
fn choose(mut mutants: Vec<Mutant>) -> Result<Vec<Mutant>, Box<dyn Error>> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    println!("{} mutants", mutants.len());
    if let Some(only) = number("ONLY") {
        mutants.retain(|mutant| u64::from(mutant.number) == only);
        return Ok(mutants);
    }
    if env::var("MUTANTS").is_ok_and(|text| text == "all") {
        return Ok(mutants);
    }
    let count = number("MUTANTS").unwrap_or(300);
    let mut state = number("SAMPLE_SEED").unwrap_or(1);
    // Fisher and Yates with splitmix64.
    for left in (1..mutants.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mutants.swap(left, usize::try_from((word ^ (word >> 31)) % (left as u64 + 1))?);
    }
    mutants.truncate(usize::try_from(count)?);
    mutants.sort_by_key(|mutant| mutant.number);
    Ok(mutants)
}
