//! Verbs that only look.

use super::answers::{Answers, LogLevel, ModeAnswer, ModeSource, RoleAnswer};
use super::arguments::Common;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone, print};
use super::{place, view};
use crate::decision::words::Role;
use crate::io::mode_file;
use crate::wire::control::{Explain, History, SCHEMA_VERSION, Timeline};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// `status`.
pub(super) fn status(client: &Client, output: &Output, watch: bool) -> Result<Exit, Failure> {
    loop {
        let status = client.status();
        if watch && output.is_table() {
            // Home and clear, as watch(1) does.
            print("\x1b[H\x1b[2J")?;
        }
        match status {
            Ok(status) => output.show(&status, |output| view::status::render(&status, output))?,
            // A daemon that restarts comes back into view.
            Err(failure) if watch && failure.exit == Exit::UNREACHABLE => output.failure(&failure),
            Err(failure) => return Err(failure),
        }
        if !watch {
            return Ok(Exit::OK);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// `explain`, whole or the answer to one question.
pub(super) fn explain(
    client: &Client,
    output: &Output,
    why_not: Option<&str>,
    what_if: Option<&str>,
) -> Result<Exit, Failure> {
    let explain: Explain = client.get("/explain")?;
    let answers = Answers {
        schema_version: SCHEMA_VERSION,
        why_not: answer("why-not", why_not, &explain.why_not)?,
        what_if: answer("what-if", what_if, &explain.what_if)?,
    };
    if why_not.is_none() && what_if.is_none() {
        output.show(&explain, |output| view::explain::render(&explain, output))?;
    } else {
        output.show(&answers, |output| view::explain::answers(&explain, why_not, what_if, output))?;
    }
    Ok(Exit::OK)
}

/// The one answer that `word` asks for; nothing, if nothing was asked.
fn answer(
    flag: &str,
    word: Option<&str>,
    known: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let Some(word) = word else { return Ok(BTreeMap::new()) };
    let lines = known.get(word).ok_or_else(|| {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none now".to_owned() } else { known.join(", ") };
        Failure::usage(format!("--{flag} {word}: no answer is known; known are: {known}"))
    })?;
    Ok(BTreeMap::from([(word.to_owned(), lines.clone())]))
}

/// `history`.
pub(super) fn history(
    client: &Client,
    output: &Output,
    epoch: Option<u64>,
    all: bool,
    limit: u32,
) -> Result<Exit, Failure> {
    let kinds = if all { "all" } else { "decision" };
    let epoch = epoch.map(|epoch| format!("&epoch={epoch}")).unwrap_or_default();
    let history: History = client.get(&format!("/history?kinds={kinds}&limit={limit}{epoch}"))?;
    if let Some(problem) = &history.problem {
        output.note(&output.paint(Tone::Warning, &format!("the journal is not whole: {problem}")));
    }
    output.show(&history, |output| view::history::render(&history, output))?;
    Ok(Exit::OK)
}

/// `timeline`.
pub(super) fn timeline(client: &Client, output: &Output, epoch: Option<u64>) -> Result<Exit, Failure> {
    let path = epoch.map_or("/timeline".to_owned(), |epoch| format!("/timeline?epoch={epoch}"));
    let timeline: Timeline = client.get(&path)?;
    output.show(&timeline, |output| view::timeline::render(&timeline, output))?;
    Ok(Exit::OK)
}

/// `log-level [LEVEL]`.
pub(super) fn log_level(client: &Client, output: &Output, level: Option<&str>) -> Result<Exit, Failure> {
    let shown: LogLevel = match level {
        None => client.get("/log-level")?,
        Some(level) => client.post("/log-level", &json!({ "level": level }))?,
    };
    output.show(&shown, |_| format!("{}\n", shown.level))?;
    Ok(Exit::OK)
}

/// `is-active`, `is-standby`.
pub(super) fn is_role(client: &Client, output: &Output, role: Role) -> Result<Exit, Failure> {
    let status = client.status()?;
    let is = status.node.role;
    let answer = RoleAnswer { schema_version: SCHEMA_VERSION, role: is, answer: is == role };
    output.show(&answer, |_| format!("{is}\n"))?;
    Ok(if is == role { Exit::OK } else { Exit::NO })
}

/// `mode` without an argument. The mode file is the mode: it is read where no daemon answers.
pub(super) fn mode(client: &Client, output: &Output, common: &Common) -> Result<Exit, Failure> {
    match client.status() {
        Ok(status) => {
            let node = &status.node;
            let answer = ModeAnswer {
                schema_version: SCHEMA_VERSION,
                mode: node.mode,
                note: node.mode_note.clone(),
                source: ModeSource::Daemon,
                peer_mode: status.peer.mode,
            };
            output.show(&answer, |_| format!("{}\n", node.mode))?;
            Ok(Exit::OK)
        }
        Err(failure) if failure.exit == Exit::UNREACHABLE => {
            let path = place::mode_file(common);
            let reading = mode_file::read_first(&path, Path::new(mode_file::FORERUNNER));
            let mode = reading.mode;
            let note = match (&reading.problem, reading.interrupted) {
                (Some(problem), _) => problem.clone(),
                (None, true) => "a change was interrupted".to_owned(),
                (None, false) => format!("{}: {}", reading.actor, reading.reason),
            };
            output.note(&format!("apctl: {}; read from {}: {note}", failure.message, path.display()));
            let answer = ModeAnswer {
                schema_version: SCHEMA_VERSION,
                mode,
                note,
                source: ModeSource::File,
                peer_mode: None,
            };
            output.show(&answer, |_| format!("{mode}\n"))?;
            Ok(Exit::OK)
        }
        Err(failure) => Err(failure),
    }
}
