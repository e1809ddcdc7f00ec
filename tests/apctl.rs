//! The real `apctl` against a real control server: what it prints and how it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/control.rs"]
mod control;

use apd::decision::action::Answer;
use apd::decision::event::Command;
use apd::decision::words::Mode;
use apd::io::control_socket::ControlRequest;
use control::{Daemon, Setup, active_at, alone_at, apctl_command, frozen_clock, standby_at, until};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Output, Stdio};

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

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, wanted, "{name} differs; if that is meant: UPDATE_GOLDEN=1 cargo test --test apctl");
}

#[test]
fn status_of_a_healthy_pair_fits_wide_and_narrow_and_json() {
    let daemon = Daemon::start(Setup::default());
    golden("status_healthy_wide.txt", &out(&daemon.apctl(&["status"])));
    let narrow = apctl_command()
        .env("COLUMNS", "60")
        .arg("--socket")
        .arg(daemon.socket())
        .arg("status")
        .output()
        .unwrap();
    golden("status_healthy_narrow.txt", &out(&narrow));
    let longest = out(&narrow).lines().map(|line| line.chars().count()).max().unwrap();
    assert!(longest <= 60, "a line has {longest} columns");
    golden("status_healthy.json", &out(&daemon.apctl(&["status", "-o", "json"])));
    golden("status_healthy.yaml", &out(&daemon.apctl(&["status", "-o", "yaml"])));
}

#[test]
fn status_of_a_degraded_pair_says_first_what_is_wrong_and_what_resolves_it() {
    let daemon = Daemon::start(Setup { snapshot: alone_at(frozen_clock()), ..Setup::default() });
    let page = out(&daemon.apctl(&["status"]));
    golden("status_alone.txt", &page);
    let first: Vec<&str> = page.lines().take(6).collect();
    assert!(first[0].contains("db2 serves clients"), "{page}");
    assert!(first.iter().any(|line| line.contains("[check.failed]")), "{page}");
    assert!(first.iter().any(|line| line.contains("-> apctl rejoin")), "{page}");
}

#[test]
fn status_of_the_standby() {
    let daemon = Daemon::start(Setup { snapshot: standby_at(frozen_clock()), ..Setup::default() });
    golden("status_standby.txt", &out(&daemon.apctl(&["status"])));
}

#[test]
fn status_json_has_the_shape_that_scripts_rely_on() {
    let daemon = Daemon::start(Setup::default());
    let status = json(&daemon.apctl(&["status", "-o", "json"]));
    // INTERFACE.md section 2, to the letter.
    for (pointer, wanted) in [
        ("/schema_version", serde_json::json!(1)),
        ("/cluster", "shop".into()),
        ("/node/name", "db1".into()),
        ("/node/role", "active".into()),
        ("/node/mode", "ap".into()),
        ("/node/epoch", 7.into()),
        ("/node/state", "Running".into()),
        ("/node/vip_held", true.into()),
        ("/node/gate_open", true.into()),
        ("/node/lease_remaining_ms", 430.into()),
        ("/node/database/reachable", true.into()),
        ("/node/database/writable", true.into()),
        ("/node/database/gtid", "0-1-1042".into()),
        ("/node/database/replica", serde_json::Value::Null),
        ("/node/database/lag_ms", serde_json::Value::Null),
        ("/node/database/in_sync", serde_json::Value::Null),
        ("/node/checks/0/name", "api".into()),
        ("/node/checks/0/ok", true.into()),
        ("/node/checks/0/age_ms", 210.into()),
        ("/peer/name", "db2".into()),
        ("/peer/state", "Standby".into()),
        ("/peer/role", "standby".into()),
        ("/peer/mode", "ap".into()),
        ("/peer/epoch", 7.into()),
        ("/peer/match", "Match".into()),
        ("/peer/heartbeat_age_ms", 40.into()),
        ("/protection/level", "gateway".into()),
        ("/protection/durability", "async".into()),
        ("/protection/single_faults/0/fault", "power loss of db1".into()),
        ("/protection/single_faults/0/outcome", "failover".into()),
        ("/protection/single_faults/0/data_loss", "possible".into()),
    ] {
        assert_eq!(status.pointer(pointer), Some(&wanted), "{pointer}");
    }
    assert!(status.pointer("/node/why").unwrap().is_string());
}

#[test]
fn explain_answers_whole_and_in_part() {
    let daemon = Daemon::start(Setup::default());
    golden("explain.txt", &out(&daemon.apctl(&["explain"])));
    let part = daemon.apctl(&["explain", "--what-if", "peer-down"]);
    assert_eq!(out(&part), "what if peer-down\n  - this node goes on alone\n");
    let unknown = daemon.apctl(&["explain", "--why-not", "emperor"]);
    assert_eq!(code(&unknown), 2);
    assert!(err(&unknown).contains("known are: standby"), "{unknown:?}");
}

#[test]
fn no_daemon_is_4_and_the_mode_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("apd.toml");
    let mode_file = folder.path().join("mode");
    let place = folder.path().display();
    std::fs::write(&config, format!("[node]\nrun_dir = \"{place}\"\nmode_file = \"{place}/mode\"\n"))
        .unwrap();
    let apctl =
        |arguments: &[&str]| apctl_command().arg("--config").arg(&config).args(arguments).output().unwrap();
    for verb in [
        &["status"][..],
        &["explain"],
        &["history"],
        &["timeline"],
        &["is-active"],
        &["switchover"],
        &["clear"],
    ] {
        let output = apctl(verb);
        assert_eq!(code(&output), 4, "{verb:?}: {output:?}");
        assert!(err(&output).contains("apd.sock"), "{verb:?}: {output:?}");
    }
    assert_eq!(code(&apctl(&["mode", "ap"])), 4);
    for (text, word, note) in [
        ("standalone\n", "standalone", "read from"),
        ("being ap\n", "ap", "interrupted"),
        ("", "maintenance", "maintenance"),
        ("gArBaGe", "maintenance", "no mode"),
    ] {
        std::fs::write(&mode_file, text).unwrap();
        let output = apctl(&["mode"]);
        assert_eq!((code(&output), out(&output)), (0, format!("{word}\n")), "{text:?}");
        assert!(err(&output).contains(note), "{text:?}: {output:?}");
    }
    let error = json(&apctl(&["status", "-o", "json"]));
    assert_eq!(error["schema_version"], 1);
    assert_eq!(error["code"], "E_DAEMON_UNREACHABLE");
    assert_eq!(error["exit"], 4);
}

#[test]
fn a_change_that_is_done_is_0_with_its_progress_on_standard_error() {
    let daemon = with(control::done);
    let output = daemon.apctl(&["switchover", "--reason", "kernel update", "--timeout", "7s"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "it is done\n"), "{output:?}");
    assert_eq!(err(&output), "... half way\n");
    let asked = daemon.asked.lock().unwrap();
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name;
    assert_eq!(asked[0].actor, format!("operator {user}"));
    let wanted = Command::Switchover {
        reason: "kernel update".to_owned(),
        timeout: std::time::Duration::from_secs(7),
        dry_run: false,
    };
    assert_eq!(asked[0].command, wanted);
}

#[test]
fn every_end_of_an_operation_has_its_exit_code() {
    fn refused(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Refused {
            code: "E_PEER_UNSEEN".to_owned(),
            reason: "db2 cannot be seen".to_owned(),
            remedy: "--peer-is-off overrides".to_owned(),
        }]
    }
    fn peer(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::PeerUnreachable("db2 does not answer".to_owned())]
    }
    fn failed(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Failed("the freeze was refused".to_owned())]
    }
    fn degraded(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Degraded("done, but db2 does not follow".to_owned())]
    }
    fn already(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Already("the mode is ap".to_owned())]
    }
    fn running(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Progress("waiting for catch-up".to_owned())]
    }
    let cases: [(control::Sink, &[&str], i32, &str); 8] = [
        (refused, &["failover", "--force"], 6, "E_PEER_UNSEEN"),
        (peer, &["switchover"], 9, "E_PEER_UNREACHABLE"),
        (failed, &["switchover"], 1, "E_FAILED"),
        (degraded, &["rejoin"], 7, ""),
        (already, &["mode", "ap"], 0, ""),
        (already, &["mode", "ap", "--exit-code"], 10, ""),
        (running, &["rejoin", "--timeout", "300ms"], 8, ""),
        (control::done, &["failover"], 6, "E_NEEDS_FORCE"),
    ];
    for (sink, arguments, wanted, stable) in cases {
        let daemon = with(sink);
        let people = daemon.apctl(arguments);
        assert_eq!(code(&people), wanted, "{arguments:?}: {people:?}");
        if wanted != 0 && wanted != 7 && wanted != 10 {
            assert!(!err(&people).is_empty() && out(&people).is_empty(), "{arguments:?}: {people:?}");
        }
        let programs = daemon.apctl(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code(&programs), wanted, "{arguments:?}: {programs:?}");
        let value = json(&programs);
        assert_eq!((&value["schema_version"], &value["code"]), (&1.into(), &stable.into()), "{value}");
    }
}

#[test]
fn a_refusal_names_its_override_and_a_time_out_its_operation() {
    fn refused(_: &ControlRequest) -> Vec<Answer> {
        let (code, reason) = ("E_PEER_UNSEEN".to_owned(), "db2 cannot be seen".to_owned());
        vec![Answer::Refused { code, reason, remedy: "--peer-is-off overrides".to_owned() }]
    }
    let output = with(refused).apctl(&["failover", "--force"]);
    assert_eq!(err(&output), "apctl: db2 cannot be seen\n       --peer-is-off overrides\n");

    fn running(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Progress("waiting for catch-up".to_owned())]
    }
    let daemon = with(running);
    let output = daemon.apctl(&["rejoin", "--timeout", "200ms"]);
    let id = daemon.asked.lock().unwrap()[0].operation.clone();
    assert!(err(&output).contains(&format!("apctl operation {id} --wait")), "{output:?}");
    // Its end can be waited for later, by anyone.
    daemon.asked.lock().unwrap()[0].replies.try_send(Answer::Done("caught up".to_owned())).unwrap();
    let output = daemon.apctl(&["operation", &id, "--wait", "5s"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "caught up\n"), "{output:?}");
    assert!(out(&daemon.apctl(&["operation"])).contains("rejoin"));
    assert_eq!(code(&daemon.apctl(&["operation", "ffff-99"])), 1);
}

#[test]
fn a_daemon_that_ends_in_the_middle_is_4_and_names_the_operation() {
    fn running(_: &ControlRequest) -> Vec<Answer> {
        vec![Answer::Progress("begun".to_owned())]
    }
    let mut daemon = with(running);
    let child = apctl_command()
        .arg("--socket")
        .arg(daemon.socket())
        .args(["rejoin", "--timeout", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("the command arrives", || (!daemon.asked.lock().unwrap().is_empty()).then_some(()));
    daemon.stop();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 4, "{output:?}");
    let id = &daemon.asked.lock().unwrap()[0].operation;
    assert!(err(&output).contains(&format!("operation {id} had begun")), "{output:?}");
}

#[test]
fn mode_shows_and_changes() {
    let daemon = with(control::done);
    assert_eq!(out(&daemon.apctl(&["mode"])), "ap\n");
    assert_eq!(json(&daemon.apctl(&["mode", "-o", "json"]))["source"], "daemon");
    let output = daemon.apctl(&["mode", "m", "--reason", "disk", "--for", "2h"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let wanted = Command::SetMode {
        mode: Mode::Maintenance,
        reason: "disk".to_owned(),
        peer_is_off: false,
        nag_after: Some(std::time::Duration::from_secs(7200)),
    };
    assert_eq!(daemon.asked.lock().unwrap()[0].command, wanted);
    assert_eq!(code(&daemon.apctl(&["mode", "ap", "--for", "2h"])), 2);
    let wrong = daemon.apctl(&["mode", "active"]);
    assert_eq!(code(&wrong), 2);
    assert!(err(&wrong).contains("the modes are ap, maintenance (m) and standalone (s)"), "{wrong:?}");
}

#[test]
fn dry_run_changes_nothing_here_and_is_passed_on_where_the_daemon_can_look() {
    let daemon = with(control::done);
    for arguments in [&["mode", "maintenance"][..], &["failover", "--force"], &["clear"]] {
        let output = daemon.apctl(&[arguments, &["--dry-run"]].concat());
        assert_eq!(code(&output), 0, "{output:?}");
        assert!(
            out(&output).starts_with("now: db1 is active (mode ap, epoch 7); db2 is standby\n"),
            "{output:?}"
        );
    }
    assert!(daemon.asked.lock().unwrap().is_empty());
    daemon.apctl(&["switchover", "--dry-run"]);
    daemon.apctl(&["rejoin", "--dry-run"]);
    for request in daemon.asked.lock().unwrap().iter() {
        let dry = matches!(
            request.command,
            Command::Switchover { dry_run: true, .. } | Command::Rejoin { dry_run: true, .. }
        );
        assert!(dry, "{request:?}");
    }
    assert_eq!(daemon.asked.lock().unwrap().len(), 2);
}

#[test]
fn is_active_and_is_standby_answer_by_exit_code() {
    let active = Daemon::start(Setup::default());
    assert_eq!(code(&active.apctl(&["is-active"])), 0);
    assert_eq!(code(&active.apctl(&["is-standby"])), 3);
    let standby = Daemon::start(Setup { snapshot: standby_at(frozen_clock()), ..Setup::default() });
    assert_eq!(code(&standby.apctl(&["is-active"])), 3);
    assert_eq!(code(&standby.apctl(&["is-standby"])), 0);
}

#[test]
fn a_reader_that_goes_away_is_quiet() {
    let daemon = Daemon::start(Setup::default());
    for verb in ["status", "history", "explain"] {
        let mut child = apctl_command()
            .arg("--socket")
            .arg(daemon.socket())
            .arg(verb)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{verb}");
    }
}

#[test]
fn colours_only_where_asked() {
    let daemon = Daemon::start(Setup::default());
    assert!(!out(&daemon.apctl(&["status"])).contains('\x1b'));
    assert!(out(&daemon.apctl(&["status", "--color", "always"])).contains('\x1b'));
    let status =
        apctl_command().env("NO_COLOR", "1").arg("--socket").arg(daemon.socket()).arg("status").output();
    assert!(!out(&status.unwrap()).contains('\x1b'));
}

#[test]
fn what_the_peer_says_cannot_drive_the_terminal() {
    let mut snapshot = active_at(frozen_clock());
    snapshot.status.peer.why = "\x1b]0;owned\x07\x1b[2J".to_owned();
    let daemon = Daemon::start(Setup { snapshot, ..Setup::default() });
    assert!(!out(&daemon.apctl(&["status"])).contains('\x1b'));
}

#[test]
fn verbs_of_later_versions_are_refused_with_2() {
    for arguments in [
        &["watch"][..],
        &["start"],
        &["stop"],
        &["solo", "--peer-is-off"],
        &["join"],
        &["doctor", "--peer"],
        &["peer", "list"],
        &["salvage", "show", "3"],
        &["simulate", "--fault", "x"],
        &["drill", "peer-down"],
        &["replay", "file"],
        &["bundle"],
        &["reload"],
        &["log-level", "debug"],
        &["completions", "bash"],
        &["man"],
        &["config", "diff", "--peer"],
        &["config", "import-keepalived", "keepalived.conf"],
    ] {
        let output = apctl_command().args(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}: {output:?}");
        assert!(err(&output).contains("not yet supported"), "{arguments:?}: {output:?}");
    }
    let reclone = Daemon::start(Setup::default()).apctl(&["rejoin", "--reclone"]);
    assert_eq!(code(&reclone), 2);
    let unknown = apctl_command().arg("statsu").output().unwrap();
    assert_eq!(code(&unknown), 2);
    assert!(err(&unknown).contains("status"), "{unknown:?}");
}

#[test]
fn only_root_the_daemons_user_and_the_group_may_change_and_others_read() {
    let daemon = with(control::done);
    // The binary where everybody can reach it, as in an installation.
    let apctl = daemon.folder.path().join("apctl");
    std::fs::copy(env!("CARGO_BIN_EXE_apctl"), &apctl).unwrap();
    std::fs::set_permissions(&apctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = |arguments: &[&str]| {
        std::process::Command::new(&apctl)
            .uid(65534)
            .gid(65534)
            .arg("--socket")
            .arg(daemon.socket())
            .args(arguments)
            .output()
            .unwrap()
    };
    let mode = std::fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(code(&nobody(&["status"])), 5, "the file itself keeps others out");
    std::fs::set_permissions(daemon.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(code(&nobody(&["status"])), 0, "who can connect may read");
    let output = nobody(&["switchover"]);
    assert_eq!(code(&output), 5, "{output:?}");
    assert!(err(&output).contains("group apd"), "{output:?}");
    assert!(daemon.asked.lock().unwrap().is_empty());
}

#[test]
fn check_speaks_the_language_of_monitoring_plugins() {
    let daemon = Daemon::start(Setup { clock: control::boot_clock, ..Setup::default() });
    let fresh = |ok: bool, detail: &str| {
        let mut snapshot = active_at(control::boot_clock());
        snapshot.status.node.database.age_ms = Some(0);
        let check = &mut snapshot.status.node.checks[0];
        (check.ok, check.age_ms, check.detail) = (ok, Some(0), detail.to_owned());
        daemon.snapshots.send_replace(std::sync::Arc::new(snapshot));
    };
    // Probes are made while apctl waits for ones younger than its question.
    let ask = |arguments: &[&str], ok: bool, detail: &str| {
        let child = apctl_command()
            .arg("--socket")
            .arg(daemon.socket())
            .arg("check")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        until("apctl check ends", || {
            fresh(ok, detail);
            child.try_wait().unwrap()
        });
        child.wait_with_output().unwrap()
    };
    let output = ask(&["api"], true, "200 in 2 ms");
    assert_eq!((code(&output), out(&output).as_str()), (0, "api OK - 200 in 2 ms | 'api'=2.5ms\n"));
    let output = ask(&["api"], false, "500 | no");
    assert_eq!((code(&output), out(&output).as_str()), (2, "api CRITICAL - 500 / no | 'api'=2.5ms\n"));
    let output = ask(&[], true, "200 in 2 ms");
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).starts_with("apd OK - all 5 checks pass | "), "{output:?}");
    let output = ask(&["nonsense"], true, "");
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("there are: mariadb, link, gateway, pair, api"), "{output:?}");
    let down = apctl_command().args(["--socket", "/nonexistent/apd.sock", "check"]).output().unwrap();
    assert_eq!(code(&down), 3, "UNKNOWN: {down:?}");
}
