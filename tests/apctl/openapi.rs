//! The description of the interface, held against what is really answered.

use super::control::{Daemon, Setup, alone_at, frozen_clock, standby_at};
use super::http::{Reply, get, socket, tcp};
use apd::decision::code::Code;
use apd::decision::time::Instant;
use apd::decision::why::Why;
use apd::io::journal::Entry;
use serde_json::Value;
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

/// Follows `$ref`.
fn resolved<'v>(whole: &'v Value, schema: &'v Value) -> &'v Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(place) => {
            whole.pointer(place.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("no {place}"))
        }
        None => schema,
    }
}

/// What stands against `value` being of `schema`. Strict: fields that the schema does not name are a breach too.
pub fn breaches(whole: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let schema = resolved(whole, schema);
    let choices = ["anyOf", "oneOf"].into_iter().find_map(|key| schema.get(key)?.as_array());
    if let Some(choices) = choices {
        let fits = choices.iter().any(|choice| {
            let mut inner = Vec::new();
            breaches(whole, choice, value, place, &mut inner);
            inner.is_empty()
        });
        if !fits {
            found.push(format!("{place}: {value} is none of {schema}"));
        }
        return;
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        found.push(format!("{place}: {value} is not {constant}"));
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array)
        && !words.contains(value)
    {
        found.push(format!("{place}: {value} is none of {words:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let Some(wanted) = schema.get("type") {
        let fits = |word: &Value| word == kind || (kind == "integer" && word == "number");
        if !wanted.as_array().map_or_else(|| fits(wanted), |list| list.iter().any(fits)) {
            found.push(format!("{place}: {value} is no {wanted}"));
        }
    }
    if let (Value::Array(items), Some(item)) = (value, schema.get("items")) {
        for (index, value) in items.iter().enumerate() {
            breaches(whole, item, value, &format!("{place}/{index}"), found);
        }
    }
    let (Value::Object(fields), Some(properties)) = (value, schema.get("properties")) else { return };
    for (name, value) in fields {
        match properties.get(name) {
            Some(property) => breaches(whole, property, value, &format!("{place}/{name}"), found),
            None => found.push(format!("{place}/{name} is not described")),
        }
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            found.push(format!("{place}: {name} is missing"));
        }
    }
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
        let mut found = Vec::new();
        breaches(whole, &content["schema"], &reply.json(), "", &mut found);
        assert!(found.is_empty(), "{method} {path}: {found:#?}\n{}", reply.body);
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
    let mut found = Vec::new();
    let schema = &whole["components"]["schemas"]["Verdict"];
    breaches(
        &whole,
        schema,
        &serde_json::json!({"ok": 1, "epoch": 1, "role": "boss", "more": 1}),
        "",
        &mut found,
    );
    assert_eq!(found.len(), 4, "{found:#?}");
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
