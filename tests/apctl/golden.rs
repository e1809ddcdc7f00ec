//! What each verb prints: wide, 60 columns narrow, and as JSON, held against `tests/golden/*`. The daemon is a page of
//! canned answers, so that no time and no number differs from run to run. `UPDATE_GOLDEN=1` writes the files.

use super::canned::{Canned, shop};
use super::configuration::configuration;
use super::control::apctl_command;
use super::pages::golden;
use super::{err, netns, out};
use std::path::Path;
use std::process::{Command, Output};

/// Options that ask for an answer, and their name.
pub const FORMS: [(&str, &str, &[&str]); 3] =
    [("wide", "100", &[]), ("narrow", "60", &[]), ("json", "100", &["-o", "json"])];

/// What was typed, how it ended, and what it said where, as one page. The folder of the test has no name in it.
pub fn told(words: &[&str], form: &str, output: &Output, folder: &Path) -> String {
    let mut page = format!("==== apctl {} [{form}]\n", words.join(" "));
    page.push_str(&out(output));
    for line in err(output).lines() {
        page.push_str(&format!("stderr: {line}\n"));
    }
    page.push_str(&format!("---- exit {}\n\n", output.status.code().unwrap_or(-1)));
    page.replace(&folder.display().to_string(), "FOLDER")
}

/// No line is too long for 60 columns. Standard error is the terminal's to wrap.
pub fn is_narrow(output: &Output) {
    let longest = out(output).lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(longest <= 60, "a line has {longest} columns: {}", out(output));
}

/// Each of these command lines in each form.
pub fn every_form(mut command: impl FnMut() -> Command, lines: &[&[&str]], folder: &Path) -> String {
    let mut pages = String::new();
    for words in lines {
        for (form, columns, more) in FORMS {
            let output = command().env("COLUMNS", columns).args(*words).args(more).output().unwrap();
            let page = told(words, form, &output, folder);
            // A plugin's answer is one line, and a configuration is a file.
            let is_file = words.starts_with(&["config", "show"]) || words.starts_with(&["config", "check"]);
            if form == "narrow" && words.first() != Some(&"check") && !is_file {
                is_narrow(&output);
            }
            if form == "json" {
                let value: serde_json::Value = serde_json::from_str(&out(&output))
                    .unwrap_or_else(|error| panic!("{words:?}: {error}\n{page}"));
                assert_eq!(value["schema_version"], 1, "{page}");
            }
            pages.push_str(&page);
        }
    }
    pages
}

/// The verbs that ask the daemon, against [`shop`].
fn asked(name: &str, lines: &[&[&str]]) {
    let daemon = Canned::serve(shop);
    let command = || {
        let mut command = apctl_command();
        command.arg("--socket").arg(daemon.socket());
        command
    };
    golden(name, &every_form(command, lines, daemon.folder()));
}

#[test]
fn status_with_all_that_it_can_tell() {
    asked("status_full.txt", &[&["status"]]);
}

#[test]
fn explain_answers_one_question() {
    asked(
        "explain_questions.txt",
        &[
            &["explain", "--why-not", "standby"],
            &["explain", "--what-if", "peer-down"],
            &["explain", "--why-not", "emperor"],
        ],
    );
}

#[test]
fn history_and_timeline() {
    asked(
        "history.txt",
        &[&["history"], &["history", "--all", "--epoch", "7"], &["history", "--epoch", "9"]],
    );
    asked("timeline.txt", &[&["timeline"], &["timeline", "6"], &["timeline", "9"]]);
}

#[test]
fn changes_and_how_they_end() {
    asked(
        "mode.txt",
        &[&["mode"], &["mode", "maintenance", "--dry-run"], &["mode", "maintenance", "--for", "2h"]],
    );
    asked("switchover.txt", &[&["switchover"], &["switchover", "--dry-run"]]);
    asked(
        "failover.txt",
        &[&["failover"], &["failover", "--force", "--dry-run"], &["failover", "--force", "--reason", "fire"]],
    );
    asked("rejoin.txt", &[&["rejoin"], &["rejoin", "--dry-run"], &["rejoin", "--reclone"]]);
    asked("start_stop.txt", &[&["start"], &["start", "--dry-run"], &["stop"], &["stop", "--dry-run"]]);
    asked("clear.txt", &[&["clear"], &["clear", "--exit-code"], &["clear", "--dry-run"]]);
    asked("reload.txt", &[&["reload"]]);
    asked("operation.txt", &[&["operation"], &["operation", "3f2a-1"], &["operation", "3f2a-9"]]);
}

#[test]
fn roles_checks_and_the_log() {
    asked("is_role.txt", &[&["is-active"], &["is-standby"]]);
    asked("check.txt", &[&["check"], &["check", "api"], &["check", "mariadb"], &["check", "nothing"]]);
    asked("log_level.txt", &[&["log-level"], &["log-level", "debug"]]);
    asked("doctor_peer.txt", &[&["doctor", "--peer"]]);
    asked("config_diff_peer.txt", &[&["config", "diff", "--peer"]]);
}

#[test]
fn without_a_daemon() {
    let command = || {
        let mut command = apctl_command();
        command.args(["--socket", "/nonexistent/apd.sock", "--config", "/nonexistent/apd.toml"]);
        command
    };
    let lines: &[&[&str]] = &[
        &["status"],
        &["switchover"],
        &["check"],
        &["doctor"],
        &["config", "check"],
        &["config", "show", "--effective"],
        &["config", "show"],
        &["replay", "/nonexistent/recording"],
        &["simulate", "--fault", "meteorite"],
    ];
    golden("no_daemon.txt", &every_form(command, lines, Path::new("/nonexistent")));
}

/// The verbs that read the configuration of this host: 10.77.0.1 on `eth0`, where no server and no gate is.
#[test]
fn the_configuration_and_the_fence() {
    let daemon = Canned::serve(shop);
    let node = netns::Namespace::new("golden");
    node.ip("link add eth0 type veth peer name far");
    node.ip("addr add 10.77.0.1/24 dev eth0");
    node.ip("link set eth0 up");
    let file = configuration(daemon.folder(), "");
    let apctl = || {
        let mut command = node.command(env!("CARGO_BIN_EXE_apctl"));
        command.env("TZ", "UTC").arg("--config").arg(&file).arg("--socket").arg(daemon.socket());
        command
    };
    let lines: &[&[&str]] = &[
        &["config", "check"],
        &["config", "show"],
        &["config", "show", "--effective"],
        &["config", "show", "--origin"],
    ];
    golden("config.txt", &every_form(apctl, lines, daemon.folder()));
    golden("local_fence.txt", &every_form(apctl, &[&["local-fence"]], daemon.folder()));
    configuration(daemon.folder(), "[vrrp]\nversoin = 3\n[log]\nlevel = 7\n");
    golden(
        "config_broken.txt",
        &every_form(apctl, &[&["config", "check"], &["config", "show"]], daemon.folder()),
    );
}

/// What the oneshot units run, on a service that is a command.
#[test]
fn acts_on_services() {
    let daemon = Canned::serve(shop);
    let node = netns::Namespace::new("acts");
    node.ip("link add eth0 type veth peer name far");
    node.ip("addr add 10.77.0.1/24 dev eth0");
    node.ip("link set eth0 up");
    let service = "[log]\nlevel = \"error\"\nformat = \"text\"\n[[service]]\nname = \"worker\"\n\
                   start = [\"/bin/true\"]\nstop = [\"/bin/true\"]\nkill = [\"/bin/false\"]\n\
                   status = [\"/bin/true\"]\n";
    let file = configuration(daemon.folder(), service);
    let apctl = || {
        let mut command = node.command(env!("CARGO_BIN_EXE_apctl"));
        command.arg("--config").arg(&file);
        command
    };
    let lines: &[&[&str]] = &[
        &["local-service", "status"],
        &["local-service", "start", "worker"],
        &["local-service", "stop:worker"],
        &["local-service", "kill", "worker"],
        &["local-service", "policy", "masked"],
        &["local-service", "start", "nobody"],
        &["local-service", "dance", "worker"],
    ];
    golden("local_service.txt", &every_form(apctl, lines, daemon.folder()));
}

/// Verbs of INTERFACE.md that this version refuses.
#[test]
fn verbs_of_a_later_version() {
    let lines: &[&[&str]] =
        &[&["join"], &["solo"], &["peer"], &["salvage"], &["drill"], &["config", "import-keepalived"]];
    golden("later.txt", &every_form(apctl_command, lines, Path::new("/nonexistent")));
}

/// What is in a bundle, on a host without any program that it asks.
#[test]
fn what_a_bundle_holds() {
    let daemon = Canned::serve(shop);
    let file = daemon.folder().join("bundle.tar.gz");
    let command = || {
        // It never writes over another file.
        let _first = std::fs::remove_file(&file);
        let mut command = apctl_command();
        command.current_dir(daemon.folder()).env("PATH", "/nonexistent");
        command.args(["--config", "/nonexistent/apd.toml"]).arg("--socket").arg(daemon.socket());
        command
    };
    golden("bundle.txt", &every_form(command, &[&["bundle", "bundle.tar.gz"]], daemon.folder()));
}

/// The help of every verb, which has an example each: what an operator reads first.
#[test]
fn help_of_every_verb() {
    let mut pages = String::new();
    for words in std::iter::once(Vec::new()).chain(super::operator::verbs(&[])) {
        let help = |columns: &str| {
            apctl_command().env("COLUMNS", columns).args(&words).arg("--help").output().unwrap()
        };
        is_narrow(&help("60"));
        let output = help("100");
        pages.push_str(&format!("==== apctl {} --help\n{}\n", words.join(" "), out(&output)));
    }
    golden("help.txt", &pages);
}
