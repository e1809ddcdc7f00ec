//! Checks of type `tcp`, `command` and `gateway` against real listeners, real programs and real neighbours. The names
//! of the tests are the rows of the requirements that they prove.

use crate::netns::{Lan, Namespace, eventually};
use crate::{LIMIT, run, soon};
use apd::config::checked::{
    Check, CommandProbe, Gateway, GatewayMethod, GatewayProbe, Probe, TcpProbe, Timing,
};
use apd::decision::event::CheckReport;
use apd::decision::health::Verdict;
use apd::decision::settings::Hysteresis;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Long enough that no regular question falls into the test.
const NEVER: Duration = Duration::from_secs(3600);

fn check(probe: Probe, interval: Duration, timeout: Duration) -> Check {
    let timing = Timing { interval, timeout, rise: 1, fall: 1 };
    Check { name: "test".into(), timing, weight: 0, on_active: true, on_standby: true, probe }
}

fn start(check: Check) -> mpsc::Receiver<CheckReport> {
    let (sink, reports) = mpsc::channel(64);
    tokio::spawn(apd::io::check::run(check, sink));
    reports
}

async fn next(reports: &mut mpsc::Receiver<CheckReport>) -> CheckReport {
    soon("a report", reports.recv()).await.expect("the runner goes on")
}

async fn once(probe: Probe, timeout: Duration) -> CheckReport {
    next(&mut start(check(probe, NEVER, timeout))).await
}

fn tcp(host: &str, port: u16) -> Probe {
    Probe::Tcp(TcpProbe { host: host.into(), port })
}

#[test]
fn r0_08_tcp_connects_is_refused_or_hears_nothing() {
    let node = Namespace::new("tcp");
    node.run(|| {
        run(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is up");
            let port = listener.local_addr().expect("bound").port();
            let report = once(tcp("127.0.0.1", port), LIMIT).await;
            assert!(report.passed && report.detail == "accepts connections", "{report:?}");
            drop(listener);
            let report = once(tcp("127.0.0.1", port), LIMIT).await;
            assert!(!report.passed && report.certain && report.detail.contains("refused"), "{report:?}");
            node.ip("link add veth0 type veth peer name veth1");
            node.ip("link set veth0 up");
            node.ip("link set veth1 up");
            node.ip("addr add 10.67.0.1/24 dev veth0");
            let timeout = Duration::from_millis(150);
            let report = once(tcp("10.67.0.9", 80), timeout).await;
            assert!(!report.passed && !report.certain, "{report:?}");
            assert_eq!(report.detail, "no answer within 150ms");
            assert!(report.took >= timeout && report.took < LIMIT / 2, "{report:?}");
        });
    });
}

/// A script of this test, which everybody may run.
fn script(folder: &Path, text: &str) -> Vec<String> {
    let path = folder.join(format!("script-{:x}", text.len()));
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a temporary folder takes files");
    for path in [&path, folder] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    vec![path.display().to_string(), "hunter2".into()]
}

fn command(argv: Vec<String>) -> Probe {
    Probe::Command(CommandProbe { argv, user: "nobody".into() })
}

#[test]
fn command_exit_code_decides_and_the_first_line_is_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Under systemd apd runs with such a priority; the thread of this test ends with it.
    crate::netns::run("renice", &format!("-n -5 -p {}", nix::unistd::gettid()));
    run(async {
        let table = [
            ("exit 0", true, "exit code 0"),
            ("echo 17 jobs wait; echo more; exit 0", true, "17 jobs wait"),
            ("echo too many jobs; exit 2", false, "exit code 2: too many jobs"),
            ("echo secret >&2; exit 1", false, "exit code 1"),
            ("kill -9 $$", false, "killed by signal 9"),
            ("id -un; id -Gn | grep -qx nogroup", true, "nobody"),
            ("cat; echo $APD_CHECK $HOME$CARGO", true, "test"),
            // More than a pipe holds, from a program that nobody reads to the end.
            ("yes line | head -c 300000", true, "line"),
            // The ambient and effective sets are empty, and so is the environment of apd.
            ("grep -q '^CapAmb:.*0000000000000000' /proc/self/status && nice", true, "0"),
        ];
        for (text, passes, detail) in table {
            let report = once(command(script(folder.path(), text)), LIMIT).await;
            assert!(report.passed == passes && !report.certain, "{text}: {report:?}");
            assert_eq!(report.detail, detail, "{text}");
        }
        let report = once(command(vec!["/nowhere/at/all".into(), "hunter2".into()]), LIMIT).await;
        assert!(!report.passed && report.detail.contains("/nowhere/at/all"), "{report:?}");
        assert!(!report.detail.contains("hunter2"), "{report:?}");
        let nobody = CommandProbe { argv: vec!["/bin/true".into()], user: "no-such-user".into() };
        let report = once(Probe::Command(nobody), LIMIT).await;
        assert!(!report.passed && report.detail.contains("no user"), "{report:?}");
    });
}

fn lives(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_command_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(async {
        let numbers = folder.path().join("numbers");
        std::fs::write(&numbers, "").expect("a temporary folder takes files");
        std::fs::set_permissions(&numbers, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
        let numbers = numbers.display();
        let argv = script(
            folder.path(),
            &format!("sleep 3600 & echo $! >>{numbers}; echo $$ >>{numbers}; trap '' TERM; sleep 3600"),
        );
        let timeout = Duration::from_millis(500);
        let report = once(command(argv), timeout).await;
        assert!(!report.passed && !report.certain, "{report:?}");
        assert_eq!(report.detail, "no answer within 500ms");
        assert!(report.took < LIMIT / 2, "{report:?}");
        let text = std::fs::read_to_string(folder.path().join("numbers")).expect("the script wrote it");
        let processes: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(processes.len(), 2, "it ran: {text:?}");
        eventually("all of the group is gone", LIMIT, || !processes.iter().any(|process| lives(process)));
    });
}

#[test]
fn questions_of_a_slow_command_never_overlap() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(async {
        let lock = folder.path().join("lock");
        let lock = lock.display();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
        let argv = script(folder.path(), &format!("mkdir {lock} || exit 1; sleep 0.1; rmdir {lock}"));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
        let mut reports = start(check(command(argv), Duration::from_millis(20), LIMIT));
        for _ in 0..4 {
            let report = next(&mut reports).await;
            assert!(report.passed, "{report:?}");
        }
    });
}

const ME: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 253);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);

fn gateway(targets: &[Ipv4Addr], need: u32, method: GatewayMethod) -> Probe {
    let gateway = Gateway { targets: targets.to_vec(), need, method };
    Probe::Gateway(GatewayProbe { interface: "eth0".into(), source: ME, gateway })
}

#[test]
fn r2_13_so_many_of_several_targets_must_answer() {
    let lan = Lan::new("quorum");
    let me = lan.node("me", "10.9.0.1/24");
    let _first = lan.node("first", "10.9.0.253/24");
    let _second = lan.node("second", "10.9.0.254/24");
    me.run(|| {
        run(async {
            let timeout = Duration::from_millis(300);
            for method in [GatewayMethod::Arp, GatewayMethod::Icmp] {
                let both = [FIRST, SECOND];
                for (need, unplugged, passes, detail) in [
                    (2, false, true, "2 of 2 answer, 2 must"),
                    (1, true, true, "1 of 2 answer, 1 must"),
                    (2, true, false, "1 of 2 answer, 2 must"),
                ] {
                    if unplugged {
                        lan.unplug("first");
                    }
                    let report = once(gateway(&both, need, method), timeout).await;
                    assert_eq!((report.passed, report.detail.as_str()), (passes, detail), "{method:?}");
                }
                lan.plug("first");
            }
        });
    });
}

/// Interval, timeout and fall are settings, and "more than three missed" is `fall = 4`: three answers that do not come
/// change nothing, the fourth does.
#[test]
fn r3_14_exactly_three_missed_pings_are_borne_and_four_are_not() {
    let lan = Lan::new("missed");
    let me = lan.node("me", "10.9.0.1/24");
    let _router = lan.node("router", "10.9.0.254/24");
    me.run(|| {
        run(async {
            let (interval, timeout) = (Duration::from_millis(200), Duration::from_millis(100));
            let mut check = check(gateway(&[SECOND], 1, GatewayMethod::Icmp), interval, timeout);
            check.timing.fall = 4;
            let mut verdict = Verdict::new(Hysteresis { rise: 1, fall: 4 });
            let mut reports = start(check);
            for missed in [3, 4] {
                while !next(&mut reports).await.passed {}
                verdict.take(true, false);
                lan.unplug("router");
                // One that was under way may still have been answered.
                let mut lost = 0;
                let begin = Instant::now();
                while lost < missed {
                    let report = next(&mut reports).await;
                    verdict.take(report.passed, report.certain);
                    lost = if report.passed { 0 } else { lost + 1 };
                    assert!(report.passed || report.took >= timeout, "{report:?}");
                }
                assert!(begin.elapsed() < LIMIT);
                assert_eq!(verdict.healthy(), Some(missed < 4), "{missed} in a row");
                lan.plug("router");
            }
        });
    });
}
