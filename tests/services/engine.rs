//! A server that speaks the part of the Docker Engine API that apd uses, on a unix socket, as the API's reference has it:
//! status codes, bodies, chunked events. Containers are entries of a table; nothing runs.

use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One container.
#[derive(Clone, Debug)]
pub struct Container {
    /// `created`, `running`, `exited`, ...
    pub status: &'static str,
    /// Of its last end.
    pub exit_code: i64,
    /// How it takes a start or a stop.
    pub temper: Temper,
}

/// How a container takes what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// As it should.
    Good,
    /// Does not react to a stop, only to a kill.
    Stubborn,
    /// The engine cannot start it.
    Broken,
    /// Ends with 1 right after its start.
    Short,
}

#[derive(Default)]
struct Table {
    containers: Mutex<BTreeMap<String, Container>>,
    changed: Condvar,
    asked: Mutex<Vec<String>>,
}

/// The engine; it ends with the test.
pub struct Engine {
    pub socket: PathBuf,
    table: Arc<Table>,
}

impl Engine {
    pub fn listen(folder: &Path) -> Self {
        let socket = folder.join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let table = Arc::new(Table::default());
        let shared = table.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let table = shared.clone();
                std::thread::spawn(move || answer(&table, stream));
            }
        });
        Self { socket, table }
    }

    pub fn add(&self, name: &str, status: &'static str, temper: Temper) {
        self.set(name, Container { status, exit_code: 0, temper });
    }

    /// Changes a container as something outside of apd would.
    pub fn set(&self, name: &str, container: Container) {
        self.table.containers.lock().expect("a table").insert(name.into(), container);
        self.table.changed.notify_all();
    }

    pub fn status(&self, name: &str) -> &'static str {
        self.table.containers.lock().expect("a table")[name].status
    }

    /// Every request so far, as `METHOD PATH`.
    pub fn asked(&self) -> Vec<String> {
        self.table.asked.lock().expect("a table").clone()
    }
}

/// One connection, one request: apd opens one for each.
fn answer(table: &Table, stream: UnixStream) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    table.asked.lock().expect("a table").push(format!("{method} {path}"));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["events"]) => tell_events(table, stream),
        (method, ["containers", name, act]) => {
            let (status, body) = act_on(table, method, name, act, query);
            reply(stream, status, &body);
        }
        _ => reply(stream, "404 Not Found", &json!({"message": "page not found"}).to_string()),
    }
}

fn act_on(table: &Table, method: &str, name: &str, act: &str, query: &str) -> (&'static str, String) {
    const DONE: &str = "204 No Content";
    const ALREADY: &str = "304 Not Modified";
    let mut containers = table.containers.lock().expect("a table");
    let Some(found) = containers.get(name).cloned() else {
        return ("404 Not Found", json!({"message": format!("No such container: {name}")}).to_string());
    };
    let runs = found.status == "running";
    let mut put = |status, exit_code| {
        containers.insert(name.into(), Container { status, exit_code, ..found.clone() });
        table.changed.notify_all();
    };
    let none = String::new();
    match (method, act) {
        ("GET", "json") => {
            let state =
                json!({"Status": found.status, "Running": runs, "ExitCode": found.exit_code, "Error": ""});
            ("200 OK", json!({"Name": format!("/{name}"), "State": state}).to_string())
        }
        ("POST", "start") if runs => (ALREADY, none),
        ("POST", "start") if found.temper == Temper::Broken => (
            "500 Internal Server Error",
            json!({"message": "driver failed programming external connectivity"}).to_string(),
        ),
        ("POST", "start") if found.temper == Temper::Short => {
            put("exited", 1);
            (DONE, none)
        }
        ("POST", "start") => {
            put("running", 0);
            (DONE, none)
        }
        ("POST", "stop") if !runs => (ALREADY, none),
        ("POST", "stop") if found.temper == Temper::Stubborn && query != "t=0" => {
            // The engine answers when the container has ended.
            let ended = table.changed.wait_while(containers, |all| all[name].status == "running");
            drop(ended.expect("a table"));
            (DONE, none)
        }
        ("POST", "stop") => {
            put("exited", 0);
            (DONE, none)
        }
        ("POST", "kill") if !runs => {
            ("409 Conflict", json!({"message": format!("Container {name} is not running")}).to_string())
        }
        ("POST", "kill") => {
            put("exited", 137);
            (DONE, none)
        }
        ("POST", "wait") => {
            let ended = table.changed.wait_while(containers, |all| all[name].status == "running");
            let code = ended.expect("a table")[name].exit_code;
            ("200 OK", json!({"StatusCode": code}).to_string())
        }
        _ => ("404 Not Found", json!({"message": "page not found"}).to_string()),
    }
}

fn reply(mut stream: UnixStream, status: &str, body: &str) {
    let length = match status.starts_with("204") || status.starts_with("304") {
        true => String::new(),
        false => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
    };
    // A caller that has given up hears nothing.
    let _gone = write!(stream, "HTTP/1.1 {status}\r\n{length}\r\n{body}");
}

/// A chunk for each change, for as long as somebody reads.
fn tell_events(table: &Table, mut stream: UnixStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut containers = table.containers.lock().expect("a table");
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    loop {
        let before = format!("{containers:?}");
        let woken = table.changed.wait_timeout(containers, Duration::from_millis(200)).expect("a table");
        containers = woken.0;
        if format!("{containers:?}") != before {
            let line = json!({"Type": "container", "Action": "die"}).to_string() + "\n";
            if write!(stream, "{:x}\r\n{line}\r\n", line.len()).is_err() {
                return;
            }
        }
    }
}
