//! The description of the interface, held against what is really answered.

use super::control::{Daemon, Setup, alone_at, frozen_clock, standby_at};
use super::http::{Reply, get, socket, tcp};
use super::validator::Validator;
use apd::decision::code::Code;
use apd::decision::time::Instant;
use apd::decision::why::Why;
use apd::io::journal::Entry;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// INTERFACE: what is promised, and what was added to it.
const READS: &[&str] = &[
    "/primary",
    "/active",
    "/read-write",
    "/replica",
    "/standby",
    "/read-only",
    "/health",
    "/liveness",
    "/readiness",
    "/status",
    "/cluster",
    "/history",
    "/explain",
    "/events",
    "/metrics",
    "/openapi.json",
    "/redirect",
    "/timeline",
    "/operations",
    "/operations/{id}",
];

fn description(daemon: &Daemon) -> Value {
    let reply = get(daemon, "/openapi.json");
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, "application/json"));
    reply.json()
}

/// The answer is one that the description names, of the content and the shape that it names.
fn is_described(whole: &Value, path: &str, method: &str, reply: &Reply) {
    let described = &whole["paths"][path][method];
    assert!(described.is_object(), "{method} {path} is not described");
    let content_type = reply.headers["content-type"].split(';').next().unwrap();
    let by_status = described["responses"].get(reply.status.to_string());
    let response = by_status.or_else(|| described["responses"].get("default")).unwrap();
    let content = response["content"].get(content_type);
    let content =
        content.unwrap_or_else(|| panic!("{method} {path}: {content_type} is not described: {reply:?}"));
    if content_type.ends_with("json") {
        let breach = Validator::of_part(whole, &content["schema"]).breach(&reply.json());
        assert!(breach.is_none(), "{method} {path}: {}\n{}", breach.unwrap(), reply.body);
    }
}

#[test]
fn the_description_names_exactly_what_is_served() {
    let daemon = Daemon::start(Setup::default());
    let whole = description(&daemon);
    assert_eq!(whole["openapi"], "3.1.0");
    let named: BTreeSet<&str> = whole["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in READS {
        assert!(named.contains(path), "{path} is not described");
    }
    for (path, methods) in whole["paths"].as_object().unwrap() {
        let methods: BTreeSet<&str> = methods.as_object().unwrap().keys().map(String::as_str).collect();
        let address = path.replace("{id}", "1-1");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            // A change on a false condition changes nothing, an unfinished stream is not read.
            let reply = match (path.as_str(), method) {
                ("/events", "GET") => continue,
                _ => socket(&daemon, method, &address, "If-Match: \"0\"\r\n", ""),
            };
            let is_there = methods.contains(method.to_lowercase().as_str());
            assert_eq!(reply.status != 405, is_there, "{method} {path}: {reply:?}");
            assert!(
                reply.status != 404 || reply.body.contains("E_NO_") || method == "HEAD",
                "{method} {path}: {reply:?}"
            );
        }
        let reads = methods == BTreeSet::from(["get", "head"]);
        assert!(reads == READS.contains(&path.as_str()), "{path}: {methods:?}");
        assert!(reads || methods == BTreeSet::from(["post"]), "{path}: {methods:?}");
    }
    assert!(daemon.asked.lock().unwrap().is_empty());
}

#[test]
fn every_answer_is_of_the_shape_that_is_described() {
    let daemon = Daemon::start(Setup::default());
    let whole = description(&daemon);
    daemon.journal.record(Entry::decision(Instant(1), 7, &Why::new(Code::TakeoverDone, "took over")));
    assert!(daemon.block_on(daemon.journal.flush(Duration::from_secs(10))));
    let post = |path: &str, body: &str| socket(&daemon, "POST", path, "", body);
    is_described(&whole, "/clear", "post", &post("/clear?wait=5s", ""));
    is_described(&whole, "/reload", "post", &post("/reload?wait=5s", ""));
    is_described(&whole, "/mode", "post", &post("/mode", "{"));
    let begun = post("/switchover", r#"{"reason":"test"}"#);
    is_described(&whole, "/switchover", "post", &begun);
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    let ended = get(&daemon, &format!("/operations/{id}?wait=5s"));
    is_described(&whole, "/operations/{id}", "get", &ended);
    is_described(&whole, "/operations/{id}", "get", &get(&daemon, "/operations/none"));
    let active = super::control::active_at(frozen_clock());
    for snapshot in [active, standby_at(frozen_clock()), alone_at(frozen_clock())] {
        daemon.snapshots.send_replace(Arc::new(snapshot));
        for path in READS.iter().filter(|path| !path.contains('{') && **path != "/events") {
            is_described(&whole, path, "get", &get(&daemon, path));
        }
    }
    // The examination bites.
    let verdict = Validator::of_part(&whole, &json!({"$ref": "#/components/schemas/Verdict"}));
    let told = get(&daemon, "/primary").json();
    assert_eq!(verdict.breach(&told), None);
    for (field, value) in [("ok", json!(1)), ("role", json!("boss")), ("more", json!(1))] {
        let mut other = told.clone();
        other[field] = value;
        assert!(verdict.breach(&other).is_some(), "{other}");
    }
}

#[test]
fn what_may_be_asked_is_described_and_heard() {
    let daemon = Daemon::start(Setup::default());
    let whole = description(&daemon);
    for (path, methods) in whole["paths"].as_object().unwrap() {
        let Some(read) = methods.get("get") else { continue };
        for parameter in read["parameters"].as_array().unwrap() {
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap();
                // Each is read: what it cannot be is refused.
                let reply = tcp(&daemon, "GET", &format!("{}?{name}=-x-", path.replace("{id}", "1")), "", "");
                reply.problem(400, "E_USAGE");
            }
        }
    }
}
