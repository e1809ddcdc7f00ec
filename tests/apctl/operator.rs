//! The verbs that make `apctl` whole: what each prints, wide, narrow and for programs, and how it ends.

use super::control::{Daemon, Setup, apctl_command, done, frozen_clock, standby_at};
use super::pages::golden;
use super::{code, err, json, out};
use apd::decision::action::Answer;
use apd::decision::code::Code;
use apd::decision::why::Why;
use apd::io::control_socket::{Inquiry, Snapshot, Unanswered};
use apd::wire::control::doctor::{Examination, Symptom};
use apd::wire::control::{OperationStatus, ServiceStatus, TakeoverTime};
use apd::wire::peer::Page;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A daemon that was asked for a reload of a file with errors, whose peer has another `peer_wait`, and which is ill.
fn ill(inquiry: Inquiry) {
    match inquiry {
        Inquiry::Reload { replies, .. } => {
            let refused = Answer::Refused {
                code: "E_CONFIG_INVALID".into(),
                reason: "apd.toml:3: cluster.nmae: unknown key\n    remedy: write name\n1 error".into(),
                remedy: "apctl config check".into(),
            };
            replies.try_send(refused).unwrap();
        }
        Inquiry::LogLevel { level, reply } => {
            reply.send(Ok(level.unwrap_or_else(|| "info".into()))).unwrap();
        }
        Inquiry::Page { page, of_peer, reply } => {
            let answer = match (page, of_peer) {
                (Page::Doctor, false) => Ok(serde_json::to_value(examination()).unwrap()),
                (Page::Configuration, of_peer) => Ok(configuration(of_peer)),
                _ => Err(Unanswered::PeerUnreachable("the peer (10.0.0.2:7411) did not answer".into())),
            };
            reply.send(answer).unwrap();
        }
    }
}

pub fn examination() -> Examination {
    let symptoms = vec![
        Symptom::good("configuration", "/etc/apd/apd.toml is valid, and is what runs"),
        Symptom::error(
            "network",
            "advertisements blocked: the active's heartbeats arrive over TCP, its VRRP packets do not",
        )
        .resolved_by("nft add rule inet filter input ip protocol 112 accept"),
        Symptom::warning("database", "sync_binlog is 0: a power loss can lose the end of the binary log")
            .resolved_by("sync_binlog = 1 under [mariadb] in my.cnf"),
        Symptom::note("privileges", "SELinux is enforcing; it need not be turned off"),
    ];
    Examination::new("db1", symptoms)
}

pub fn configuration(of_peer: bool) -> Value {
    let (node, wait, hash) =
        if of_peer { ("db2", "30s", "00000000000000b2") } else { ("db1", "10s", "00000000000000a1") };
    json!({"schema_version": 1, "node": node, "hash": hash, "version": "test", "keys": {
        "cluster.name": {"value": "shop", "origin": "/etc/apd/apd.toml:2", "shared": true},
        "cluster.peer_wait": {"value": wait, "origin": "/etc/apd/apd.toml:4", "shared": true},
        "node.name": {"value": node, "origin": "host: its name", "shared": false},
    }})
}

fn patient() -> Daemon {
    Daemon::start(Setup { inquire: ill, ..Setup::default() })
}

fn narrow(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = apctl_command();
    command.env("COLUMNS", "60").arg("--socket").arg(daemon.socket()).args(arguments);
    let output = command.output().unwrap();
    let longest = out(&output).lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(longest <= 60, "a line has {longest} columns");
    output
}

#[test]
fn reload_tells_what_changed_and_refuses_with_3() {
    let daemon = Daemon::start(Setup::default());
    let output = daemon.apctl(&["reload"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "reloaded: 1 key changed\n"), "{output:?}");
    assert!(err(&output).contains("check.api.interval: 1s -> 500ms"), "{output:?}");
    let refused = patient().apctl(&["reload"]);
    assert_eq!(code(&refused), 3, "{refused:?}");
    assert!(err(&refused).contains("cluster.nmae") && err(&refused).contains("config check"), "{refused:?}");
    let refused = json(&patient().apctl(&["reload", "-o", "json"]));
    assert_eq!((&refused["code"], &refused["outcome"]), (&"E_CONFIG_INVALID".into(), &"refused".into()));
}

#[test]
fn log_level_is_shown_and_set() {
    let daemon = patient();
    assert_eq!(out(&daemon.apctl(&["log-level"])), "info\n");
    assert_eq!(out(&daemon.apctl(&["log-level", "debug"])), "debug\n");
    let wrong = daemon.apctl(&["log-level", "loud"]);
    assert_eq!(code(&wrong), 2);
    assert!(err(&wrong).contains("error, warn, info, debug, trace"), "{wrong:?}");
}

#[test]
fn doctor_says_the_worst_first_and_ends_as_bad_as_that() {
    let daemon = patient();
    let output = daemon.apctl(&["doctor"]);
    assert_eq!(code(&output), 1);
    golden("doctor_wide.txt", &out(&output));
    golden("doctor_narrow.txt", &out(&narrow(&daemon, &["doctor"])));
    golden("doctor.json", &out(&daemon.apctl(&["doctor", "-o", "json"])));
    let both = daemon.apctl(&["doctor", "--peer"]);
    assert_eq!(code(&both), 1);
    assert!(out(&both).contains("the other node: 1 wrong"), "{both:?}");
    let alone = apctl_command().args(["--socket", "/nonexistent/apd.sock", "doctor"]).output().unwrap();
    assert_eq!(code(&alone), 1);
    assert!(out(&alone).contains("daemon: /nonexistent/apd.sock"), "{alone:?}");
}

#[test]
fn config_diff_names_key_values_and_origins() {
    let daemon = patient();
    let output = daemon.apctl(&["config", "diff", "--peer"]);
    assert_eq!(code(&output), 7);
    golden("config_diff.txt", &out(&output));
    golden("config_diff.json", &out(&daemon.apctl(&["config", "diff", "--peer", "-o", "json"])));
}

#[test]
fn the_other_pages_fit_both_widths() {
    let daemon = Daemon::start(Setup { sink: done, ..Setup::default() });
    golden("explain_narrow.txt", &out(&narrow(&daemon, &["explain"])));
    golden("explain.json", &out(&daemon.apctl(&["explain", "-o", "json"])));
    golden("mode.json", &out(&daemon.apctl(&["mode", "-o", "json"])));
    golden("is_active.json", &out(&daemon.apctl(&["is-active", "-o", "json"])));
}

#[test]
fn pages_for_operators_are_not_served_over_tcp() {
    use std::io::{Read, Write};
    let daemon = patient();
    for path in ["/configuration", "/doctor", "/peer/doctor", "/log-level"] {
        let mut stream = std::net::TcpStream::connect(daemon.http_address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: apd\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
}

/// The verbs that `--help` lists, with those below them.
pub fn verbs(prefix: &[&str]) -> Vec<Vec<String>> {
    let help = apctl_command().args(prefix).arg("--help").output().unwrap();
    let help = out(&help);
    let Some(list) = help.split("Commands:\n").nth(1) else { return Vec::new() };
    let list = list.split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .flat_map(|name| {
            let words = [prefix, &[name]].concat();
            let own: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            [vec![own], verbs(&words)].concat()
        })
        .collect()
}

/// mandoc with all that it can find, and groff with every warning, which is what `man --warnings` shows.
fn linters_have_nothing_to_say(pages: &[PathBuf]) {
    let share = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/root/usr/share/groff/current");
    let of_groff = ["-ww", "-z", "-man", "-Tutf8"].map(OsString::from).to_vec();
    // An unpacked one looks for its files beside itself.
    let beside =
        [("-F", "font"), ("-M", "tmac")].map(|(option, folder)| [option.into(), share.join(folder).into()]);
    let of_groff = if share.is_dir() { [of_groff, beside.concat()].concat() } else { of_groff };
    for (linter, options) in
        [("mandoc", ["-T", "lint", "-W", "all"].map(OsString::from).to_vec()), ("groff", of_groff)]
    {
        let said =
            Command::new(super::mariadb::find_tool(linter)).args(options).args(pages).output().unwrap();
        assert!(said.status.success(), "{linter}: {said:?}");
        assert!(said.stdout.is_empty() && said.stderr.is_empty(), "{linter}: {}{}", out(&said), err(&said));
    }
}

#[test]
fn every_verb_has_an_example_a_page_and_completions() {
    let all = verbs(&[]);
    assert!(all.len() > 25, "{all:?}");
    let folder = tempfile::tempdir().unwrap();
    let written = apctl_command().args(["man", "--to"]).arg(folder.path()).output().unwrap();
    assert_eq!(code(&written), 0, "{written:?}");
    let pages: BTreeSet<String> = folder
        .path()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for verb in &all {
        let help = out(&apctl_command().args(verb).arg("--help").output().unwrap());
        let example = help.lines().find(|line| line.starts_with("Example: apctl "));
        assert!(example.is_some(), "{verb:?} has no example:\n{help}");
        let page = format!("apctl-{}.1", verb.join("-"));
        assert!(pages.contains(&page), "{page} is missing in {pages:?}");
    }
    assert_eq!(pages.len(), all.len() + 1, "{pages:?}");
    // Named by the guide, if not by the help.
    let hidden = out(&apctl_command().args(["local-service", "--help"]).output().unwrap());
    assert!(hidden.contains("\nExample: apctl local-service"), "{hidden}");
    linters_have_nothing_to_say(&pages.iter().map(|page| folder.path().join(page)).collect::<Vec<_>>());
    let bash = out(&apctl_command().args(["completions", "bash"]).output().unwrap());
    assert!(all.iter().all(|verb| bash.contains(verb.last().unwrap())), "{bash}");
    let checked = Command::new("bash").arg("-nc").arg(&bash).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// Written by hand, unlike those of apctl: it must not fall behind the help.
#[test]
fn the_daemon_has_a_page_that_names_every_option() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/apd.8");
    let page = std::fs::read_to_string(&path).unwrap().replace("\\-", "-");
    let help = out(&Command::new(env!("CARGO_BIN_EXE_apd")).arg("--help").output().unwrap());
    let options: Vec<&str> = help
        .split(|one: char| !one.is_alphanumeric() && one != '-')
        .filter(|word| word.starts_with("--"))
        .collect();
    assert!(options.len() >= 4, "{help}");
    for option in options {
        assert!(page.contains(option), "systemd/apd.8 does not name {option}");
    }
    assert!(page.contains("APD_CONFIG"), "systemd/apd.8 does not name the environment");
    linters_have_nothing_to_say(&[path]);
}

#[test]
fn a_bundle_without_a_daemon_holds_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = patient();
    let file = folder.path().join("bundle.tar.gz");
    let config = folder.path().join("apd.toml");
    let place = folder.path().display();
    let text = format!(
        "[cluster]\nname = \"shop\"\n[nodes.db1]\naddress = \"127.0.0.2\"\n[node]\nstate_dir = \"{place}\"\n\
         [mariadb]\npassword_file = \"{place}/password\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let words = ["bundle", file.to_str().unwrap(), "-o", "json", "--config", config.to_str().unwrap()];
    let made = daemon.apctl(&words);
    assert_eq!(code(&made), 7, "the peer does not answer: {made:?}");
    let contains = json(&made)["contains"].to_string();
    for name in [
        "status.json",
        "explain.json",
        "history.json",
        "doctor.json",
        "configuration-errors.txt",
        "missing.txt",
    ] {
        assert!(contains.contains(name), "{name}: {contains}");
    }
    let unpacked = Command::new("tar").arg("-tzf").arg(&file).output().unwrap();
    assert!(unpacked.status.success() && out(&unpacked).contains("/status.json"), "{unpacked:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(code(&daemon.apctl(&words)), 1, "never over another file");
}

/// A status in which everything is told that can be.
pub fn full() -> Snapshot {
    let mut snapshot = standby_at(frozen_clock());
    let status = &mut snapshot.status;
    let service = |name: &str, state: &str, fault: Option<&str>| ServiceStatus {
        name: name.into(),
        state: state.into(),
        runs_on: if fault.is_some() { "active" } else { "both" }.into(),
        restarts_used: 1,
        restarts: 2,
        fault: fault.map(Into::into),
        detail: "exited with 3".into(),
        age_ms: Some(900),
        start_ms: Some(210),
    };
    status.node.services =
        vec![service("api", "running", None), service("worker", "failed", Some("it ended three times"))];
    status.node.takeover =
        Some(TakeoverTime { readiness: "warm".into(), wait_ms: 650, starts_ms: Some(210) });
    let operation = OperationStatus {
        name: "rejoin".into(),
        id: Some("3f2a-1".into()),
        step: "the data of both nodes is compared".into(),
        age_ms: 1_200,
    };
    status.operation = Some(operation);
    status.guarded = true;
    status.protection.limits = vec!["no ARP filter: the kernel lacks nftables' netdev family".into()];
    status.warnings = vec![Why::new(Code::PairAlone, "db1 is silent")];
    snapshot
}
