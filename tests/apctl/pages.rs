//! What `apctl` prints of what it is told.

use super::control::{
    self, Daemon, Setup, active_at, alone_at, apctl_command, frozen_clock, standby_at, until,
};
use super::{code, err, json, out};
use std::path::Path;
use std::process::Stdio;

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` writes it.
pub fn golden(name: &str, text: &str) {
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
        ("", "maintenance", "empty"),
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
        &["solo", "--peer-is-off"][..],
        &["join"],
        &["peer", "list"],
        &["salvage", "show", "3"],
        &["drill", "peer-down"],
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
