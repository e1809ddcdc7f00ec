//! The real `apctl`, the real control server and the real journal, over real sockets and disks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bootstrap;
mod canned;
mod changes;
mod configuration;
#[path = "../support/control.rs"]
mod control;
mod events;
mod golden;
mod host;
mod http;
mod journal;
mod manual;
#[path = "../support/mariadb.rs"]
mod mariadb;
mod metrics;
#[path = "../support/netns.rs"]
mod netns;
mod notify;
mod openapi;
mod operator;
mod pages;
mod reload;
mod replay;
mod schema;
#[path = "../support/settings.rs"]
mod settings;
mod tls;
mod validator;
mod watch;

use control::{Daemon, Setup};
use std::process::Output;

fn with(sink: control::Sink) -> Daemon {
    Daemon::start(Setup { sink, ..Setup::default() })
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"))
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
