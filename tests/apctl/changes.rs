//! Verbs that change something: their ends, their confirmation, and who may.

use super::control::{self, Daemon, apctl_command, until};
use super::{code, err, json, out, with};
use apd::decision::action::Answer;
use apd::decision::event::Command;
use apd::decision::words::Mode;
use apd::io::control_socket::ControlRequest;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

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
        (control::done, &["failover"], 6, "E_FORCE"),
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

/// A terminal of util-linux's own making: `script` gives apctl one and ends as it ends.
fn on_a_terminal(daemon: &Daemon, arguments: &str, typed: &str) -> std::process::Output {
    use std::io::Write;
    let line = format!("{} --socket {} {arguments}", env!("CARGO_BIN_EXE_apctl"), daemon.socket().display());
    let mut child = std::process::Command::new("script")
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script of util-linux is installed");
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_change_asks_on_a_terminal_and_takes_only_yes() {
    let daemon = with(control::done);
    for typed in ["n\n", "\n", "maybe\n"] {
        let output = on_a_terminal(&daemon, "switchover", typed);
        assert_eq!(code(&output), 1, "{typed:?}: {output:?}");
        let page = out(&output);
        assert!(page.contains("now: db1 is active") && page.contains("Go on? [y/N]"), "{page}");
        assert!(page.contains("nothing was changed"), "{page}");
    }
    assert!(daemon.asked.lock().unwrap().is_empty());
    assert_eq!(code(&on_a_terminal(&daemon, "switchover", "y\n")), 0);
    let output = on_a_terminal(&daemon, "switchover --yes", "");
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(!out(&output).contains("Go on?"), "{output:?}");
    assert!(!out(&on_a_terminal(&daemon, "switchover --dry-run", "")).contains("Go on?"));
    assert_eq!(daemon.asked.lock().unwrap().len(), 3);
}
