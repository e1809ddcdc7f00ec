//! What the daemon tells its host: the service manager and the log. Both are settled by the environment of a
//! process, so that each is looked at in a child.

use apd::config::checked::LogFormat;
use apd::io::{log, notify};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

fn child(test: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env("APD_TEST_CHILD", "1")
        .envs(environment.iter().copied());
    command.env_remove("JOURNAL_STREAM").env_remove("RUST_LOG").output().unwrap()
}

fn is_child() -> bool {
    std::env::var_os("APD_TEST_CHILD").is_some()
}

#[test]
fn child_that_notifies() {
    if is_child() {
        notify::ready("active in epoch 7");
        notify::status("db1 is active");
        notify::watchdog();
        notify::extend_timeout(Duration::from_secs(3));
        notify::stopping("handing over");
        assert_eq!(notify::watchdog_interval(), Some(Duration::from_secs(1)));
    }
}

#[test]
fn the_service_manager_hears_what_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let watchdog = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
    let output = child("host::child_that_notifies", &watchdog);
    assert!(output.status.success(), "{output:?}");
    socket.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = socket.recv(&mut buffer) {
        heard.push(String::from_utf8_lossy(&buffer[..length]).trim().to_owned());
    }
    assert_eq!(
        heard,
        [
            "READY=1\nSTATUS=active in epoch 7",
            "STATUS=db1 is active",
            "WATCHDOG=1",
            "EXTEND_TIMEOUT_USEC=3000000",
            "STOPPING=1\nSTATUS=handing over",
        ]
    );
}

#[test]
fn child_that_logs() {
    if is_child() {
        let format = match std::env::var("APD_TEST_FORMAT").unwrap().as_str() {
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            _ => LogFormat::Journald,
        };
        assert!(log::init("no=such=level", format).unwrap_err().to_string().contains("the levels are"));
        log::init("info", format).unwrap();
        tracing::warn!(code = "peer.silent", epoch = 7, "db2 is silent");
        tracing::debug!("below the level");
        assert!(log::init("info", format).is_err(), "twice");
    }
}

#[test]
fn log_lines_have_the_format_that_was_asked_for() {
    let lines = |format: &str| {
        let output = child("host::child_that_logs", &[("APD_TEST_FORMAT", format)]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let json = lines("json");
    let line = json.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{json}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["fields"]["code"], "peer.silent");
    assert_eq!(line["fields"]["message"], "db2 is silent");
    assert_eq!(line["level"], "WARN");
    for format in ["text", "journald"] {
        // Without a journal, journald's lines are text.
        let text = lines(format);
        assert!(text.contains("WARN db2 is silent code=\"peer.silent\" epoch=7"), "{text}");
        assert!(!text.contains("below the level") && !text.contains('\x1b'), "{text}");
    }
}
