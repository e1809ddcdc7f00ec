//! A daemon of canned answers on a socket of the test's own: what it tells is always the same, to the letter.

use super::control::{active_at, frozen_clock};
use super::operator::{configuration, examination, full};
use apd::decision::action::Answer;
use apd::decision::why::Severity;
use apd::wire::control::{
    EntryKind, History, HistoryEntry, Operation, Problem, SCHEMA_VERSION, Timeline, TimelineStep,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An answer: its status and its body.
pub type Told = (u16, Value);

/// The daemon; it ends with the test.
pub struct Canned {
    folder: TempDir,
}

impl Canned {
    /// Answers each request by its method, path and body.
    pub fn serve(tell: fn(&str, &str, &Value) -> Told) -> Self {
        let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join("apd.sock")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream, tell));
            }
        });
        Self { folder }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("apd.sock")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// One connection, one request: apctl opens one for each.
fn answer(mut stream: UnixStream, tell: fn(&str, &str, &Value) -> Told) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        if let Some(number) = line.to_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, told) = tell(method, path, &serde_json::from_slice(&body).unwrap_or_default());
    let text = told.to_string();
    let head =
        format!("HTTP/1.1 {status} Told\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
    // A caller that has given up hears nothing.
    let _gone = stream.write_all((head + &text).as_bytes());
}

fn ok(page: &impl Serialize) -> Told {
    (200, serde_json::to_value(page).unwrap())
}

fn problem(status: u16, code: &str, detail: &str, remedy: &str) -> Told {
    let problem = Problem {
        r#type: "about:blank".into(),
        title: "problem".into(),
        status,
        detail: detail.into(),
        code: code.into(),
        remedy: remedy.into(),
        operation: None,
    };
    (status, serde_json::to_value(problem).unwrap())
}

/// The pair of the pages: everything that can be asked of a daemon.
pub fn shop(method: &str, path: &str, body: &Value) -> Told {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match (method, path) {
        ("GET", "/status") => {
            let mut status = full().status;
            // What was probed this very moment is younger than any question.
            status.node.database.age_ms = Some(0);
            status.node.checks.iter_mut().for_each(|check| check.age_ms = Some(0));
            ok(&status)
        }
        ("GET", "/explain") => ok(&active_at(frozen_clock()).explain),
        ("GET", "/history") => ok(&history(query)),
        ("GET", "/timeline") => match query {
            "" => ok(&timeline()),
            "epoch=6" => ok(&unfinished()),
            _ => problem(404, "E_NO_TIMELINE", "nothing is recorded of epoch 9", "apctl history"),
        },
        ("GET", "/log-level") => (200, json!({"schema_version": SCHEMA_VERSION, "level": "info"})),
        ("POST", "/log-level") => (200, json!({"schema_version": SCHEMA_VERSION, "level": body["level"]})),
        ("GET", "/doctor") => ok(&examination()),
        ("GET", "/peer/doctor") => problem(
            502,
            "E_PEER_UNREACHABLE",
            "db1 does not answer",
            "apctl status shows what is known of it",
        ),
        ("GET", "/configuration") => (200, configuration(false)),
        ("GET", "/peer/configuration") => (200, configuration(true)),
        ("GET", "/operations") => ok(&vec![operation("switchover", body), operation("clear", body)]),
        ("GET", "/operations/3f2a-1") => ok(&operation("switchover", body)),
        ("GET", _) => problem(404, "E_NO_OPERATION", "operation 3f2a-9 is not known", "apctl history"),
        (_, path) => ok(&operation(path.trim_start_matches('/'), body)),
    }
}

/// One that has ended, each command in its own way.
fn operation(command: &str, body: &Value) -> Operation {
    let at = "2026-11-21T03:00:00.000Z".to_owned();
    let mut operation = Operation::begun("3f2a-1".into(), command, "root", at);
    let dry = body["dry_run"] == true;
    operation.take(Answer::Progress("the data of both nodes is compared".into()));
    operation.take(match command {
        "switchover" if dry => Answer::Done("it would work: about 30 ms without an answer".into()),
        "switchover" => Answer::Done("db2 is active in epoch 8; clients waited 27 ms".into()),
        "failover" => Answer::Refused {
            code: "E_DATA_LOSS".into(),
            reason: "db1 may have accepted writes that db2 has not received".into(),
            remedy: "apctl failover --force --accept-data-loss leaves them behind".into(),
        },
        "rejoin" if dry => Answer::PeerUnreachable("db1 does not answer".into()),
        "clear" => Answer::Already("nothing was latched".into()),
        "start" => Answer::Failed("api.service does not start: exited with 3".into()),
        "reload" => Answer::Degraded(
            "reloaded: 1 key changed; needs a restart: vrrp.version (systemctl restart apd keeps the lease)"
                .into(),
        ),
        _ => Answer::Done("it is done".into()),
    });
    operation
}

fn entry(
    id: i64,
    kind: EntryKind,
    code: &str,
    severity: Severity,
    text: &str,
    details: Value,
) -> HistoryEntry {
    HistoryEntry {
        id,
        unix_ms: 1_795_230_000_000 + id * 83,
        at: format!("2026-11-21T03:00:00.{:03}Z", id * 83),
        boot_ns: 1_000_000_000 + 83_000_000 * u64::try_from(id).unwrap(),
        epoch: 7,
        kind,
        code: code.into(),
        severity,
        text: text.into(),
        details,
    }
}

fn history(query: &str) -> History {
    use EntryKind::{Action, Decision, Event, Step};
    let silent = "no heartbeat for three intervals: the peer link is up but silent";
    let remedy = json!({"remedy": "look at db1: is it on, and does its network work?"});
    let ended = json!({"phase": "end", "took_ms": 2.2, "result": "ok", "ticket": 7});
    let mut entries = vec![
        entry(1, Decision, "peer.silent", Severity::Warning, silent, remedy),
        entry(2, Event, "advert", Severity::Info, "priority 100 from db1", Value::Null),
        entry(3, Action, "renew_lease", Severity::Info, "until 1.350 s since boot", Value::Null),
        entry(4, Step, "database.drain", Severity::Info, "everything received is applied", ended),
        entry(5, Decision, "check.failed", Severity::Error, "the check api fails: 500", Value::Null),
        entry(
            6,
            Decision,
            "takeover.done",
            Severity::Info,
            "active in epoch 7, 5 ms after the right",
            Value::Null,
        ),
    ];
    if !query.contains("kinds=all") {
        entries.retain(|entry| entry.kind == Decision);
    }
    if query.contains("epoch=9") {
        entries.clear();
    }
    let problem = query.contains("epoch=9").then(|| "the disk is full: 3 entries were dropped".to_owned());
    History { schema_version: SCHEMA_VERSION, entries, problem }
}

fn timeline() -> Timeline {
    let step = |at_ms, name: &str, took_ms, result: &str, text: &str| TimelineStep {
        at_ms,
        name: name.into(),
        took_ms,
        result: result.into(),
        text: text.into(),
    };
    Timeline {
        schema_version: SCHEMA_VERSION,
        epoch: 7,
        kind: "takeover".into(),
        reason: "peer.silent".into(),
        text: "no heartbeat for three intervals: the peer link is up but silent".into(),
        started_at: "2026-11-21T03:00:00.083Z".into(),
        total_ms: 221.5,
        complete: true,
        client_outage_ms: Some(521.6),
        lost: Some(0),
        steps: vec![
            step(0.0, "peer.silent", None, "decided", "the peer link is up but silent"),
            step(0.0, "remote.reach_server", Some(251.7), "failed", "db1:3306: no route to host"),
            step(0.0, "database.drain", Some(2.2), "ok", ""),
            step(216.0, "takeover.started", None, "decided", "takeover into epoch 7 by right of eligible"),
            step(216.5, "address.open", Some(0.4), "ok", ""),
            step(222.3, "database.forget_primary", None, "running", ""),
        ],
    }
}

fn unfinished() -> Timeline {
    let steps = timeline().steps.into_iter().take(2).collect();
    Timeline { epoch: 6, complete: false, client_outage_ms: None, lost: Some(3), steps, ..timeline() }
}
