//! `apctl replay`: a recording is fed through the decision again, and what it does is compared with what was done.

use super::answers;
use super::arguments::Common;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::place;
use crate::decision::replay::{Difference, Mismatch, Record, Replay};
use crate::io::recording::{self, Members};
use crate::wire::control::SCHEMA_VERSION;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What was replayed so far.
#[derive(Debug, Default)]
struct Replayed {
    replay: Replay,
    files: u64,
    from: Option<String>,
    version: String,
}

/// `replay [FILE | --state-dir DIR]`.
pub(super) fn replay(
    output: &Output,
    common: &Common,
    file: Option<&Path>,
    state_dir: Option<&Path>,
) -> Result<Exit, Failure> {
    let paths = match file {
        Some(file) => vec![file.to_owned()],
        None => ring(&state_dir.map_or_else(|| place::recordings(common), |state| state.join("recording")))?,
    };
    let mut replayed = Replayed::default();
    for path in &paths {
        replayed.file(path)?;
    }
    let (events, actions) = (replayed.replay.events, replayed.replay.actions);
    let value = answers::Replay {
        schema_version: SCHEMA_VERSION,
        code: "",
        same: true,
        files: replayed.files,
        from: replayed.from,
        recorded_by: replayed.version,
        events,
        actions,
    };
    output.show(&value, |_| format!("{events} events, {actions} actions: the same\n"))?;
    Ok(Exit::OK)
}

/// The files of a node's ring.
fn ring(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let paths = recording::files(folder).map_err(|error| unreadable(folder, &error.to_string()))?;
    if paths.is_empty() {
        return Err(unreadable(folder, "there is no recording"));
    }
    Ok(paths)
}

fn unreadable(path: &Path, what: &str) -> Failure {
    Failure::new(Exit::FAILED, "E_RECORDING", format!("{}: {what}", path.display()))
}

impl Replayed {
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error.to_string()))?;
        if bytes.is_empty() {
            return Err(unreadable(path, "it is empty"));
        }
        self.files += 1;
        for member in Members::of(&bytes) {
            let (offset, member) = member.map_err(|damage| self.damaged(path, &damage.to_string()))?;
            for line in recording::lines(&member) {
                let (number, record) = line.map_err(|what| {
                    let version = match self.version.as_str() {
                        "" | env!("CARGO_PKG_VERSION") => String::new(),
                        other => format!(" (recorded by apd {other})"),
                    };
                    self.damaged(path, &format!("byte {offset}, {what}{version}"))
                })?;
                if let Record::Begin(begin) = &record {
                    self.from.get_or_insert_with(|| begin.wall.clone());
                    self.version.clone_from(&begin.version);
                }
                self.feed(record).map_err(|what| differs(path, offset, number, &what))?;
            }
        }
        // The next file may go on in another process; here nothing may be left over.
        let left = self.replay.finish();
        left.map_err(|mismatch| differs(path, bytes.len(), 0, &sentence(&mismatch)))
    }

    /// A core that panics is a difference like any other; what was recorded tells how to get there.
    fn feed(&mut self, record: Record) -> Result<(), String> {
        let replay = &mut self.replay;
        match catch_unwind(AssertUnwindSafe(|| replay.feed(record))) {
            Ok(result) => result.map_err(|mismatch| sentence(&mismatch)),
            Err(_) => Err(match self.replay.told() {
                Some((at, event)) => format!("at {} the decision panics at {event:?}", seconds(at.0)),
                None => "the decision panics".to_owned(),
            }),
        }
    }

    fn damaged(&self, path: &Path, what: &str) -> Failure {
        let (events, actions) = (self.replay.events, self.replay.actions);
        let so_far = format!("up to there: {events} events, {actions} actions: the same");
        Failure::new(Exit::FAILED, "E_RECORDING", format!("{}: {what}; {so_far}", path.display()))
    }
}

fn differs(path: &Path, offset: usize, line: usize, what: &str) -> Failure {
    let place = format!("{}: byte {offset}, line {line}", path.display());
    Failure::new(Exit::FAILED, "E_REPLAY_DIFFERS", format!("{place}: {what}"))
}

/// Seconds since boot, as the recording counts.
fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09} s since boot", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

fn sentence(mismatch: &Mismatch) -> String {
    match mismatch {
        Mismatch::NotBegun => "an event or an action comes before any state".to_owned(),
        Mismatch::State { at } => {
            format!("the recording goes on from another state than was reached at {}", seconds(at.0))
        }
        Mismatch::Action(difference) => {
            let Difference { at, event, expected, got } = difference.as_ref();
            let said =
                |action: &Option<_>| action.as_ref().map_or("nothing more".into(), |one| format!("{one:?}"));
            format!(
                "the first difference is at {}\n  event:    {event:?}\n  expected: {}\n  got:      {}",
                seconds(at.0),
                said(expected),
                said(got)
            )
        }
    }
}
