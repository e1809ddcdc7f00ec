//! HTTP over real sockets: health endpoints, tokens, problems.

use super::control::{Daemon, Setup, TOKEN, active_at, boot_clock, standby_at};
use apd::decision::action::Answer;
use apd::decision::code::Code;
use apd::decision::event::Command;
use apd::decision::why::{Severity, Why};
use apd::decision::words::{Mode, Role};
use apd::io::control_socket::{ControlRequest, Snapshot};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// One answer, taken apart by hand: an independent reading of what the server sends.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// RFC 9457.
    pub fn problem(&self, status: u16, code: &str) -> serde_json::Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], "about:blank");
        assert!(
            !problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty()
        );
        problem
    }
}

pub fn exchange(mut stream: impl Read + Write, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    };
    Reply { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

/// Over TCP.
pub fn tcp(daemon: &Daemon, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let stream = TcpStream::connect(daemon.http_address()).unwrap();
    exchange(stream, &request(method, path, headers, body))
}

/// Over the control socket, as the user of this test.
pub fn socket(daemon: &Daemon, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    exchange(UnixStream::connect(daemon.socket()).unwrap(), &request(method, path, headers, body))
}

pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: apd\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

pub fn get(daemon: &Daemon, path: &str) -> Reply {
    tcp(daemon, "GET", path, "", "")
}

pub fn show(daemon: &Daemon, change: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = active_at(super::control::frozen_clock());
    change(&mut snapshot);
    daemon.snapshots.send_replace(Arc::new(snapshot));
}

#[test]
fn primary_asks_for_address_gate_lease_and_a_writable_database() {
    let daemon = Daemon::start(Setup::default());
    for path in ["/primary", "/active", "/read-write", "/read-only", "/health", "/liveness", "/readiness"] {
        let reply = get(&daemon, path);
        assert_eq!((reply.status, reply.json()["reason"].as_str()), (200, Some("ok")), "{path}: {reply:?}");
        assert_eq!(reply.headers["cache-control"], "no-store");
    }
    type Change = fn(&mut Snapshot);
    let refusals: [(&str, Change); 8] = [
        ("the role is standby", |snapshot| snapshot.status.node.role = Role::Standby),
        ("the virtual address is not held", |snapshot| snapshot.status.node.vip_held = false),
        ("the gate is closed", |snapshot| snapshot.status.node.gate_open = false),
        ("the lease has ended", |snapshot| snapshot.lease_end = None),
        ("the lease has ended", |snapshot| snapshot.lease_end = Some(snapshot.taken)),
        ("not verified writable", |snapshot| snapshot.status.node.database.writable = false),
        ("does not answer", |snapshot| snapshot.status.node.database.reachable = false),
        ("ms old", |snapshot| snapshot.status.node.database.age_ms = Some(5_001)),
    ];
    for (reason, change) in refusals {
        show(&daemon, change);
        let reply = get(&daemon, "/primary");
        assert_eq!(reply.status, 503, "{reason}: {reply:?}");
        assert!(reply.json()["reason"].as_str().unwrap().contains(reason), "{reason}: {reply:?}");
    }
    // Roles without an address need none.
    show(&daemon, |snapshot| {
        snapshot.status.node.vip_held = false;
        snapshot.status.addresses.clear();
    });
    assert_eq!(get(&daemon, "/primary").status, 200);
}

#[test]
fn primary_turns_503_at_lease_end_though_the_control_loop_is_stuck() {
    let daemon = Daemon::start(Setup { clock: boot_clock, ..Setup::default() });
    get(&daemon, "/liveness");
    // No other snapshot follows: the loop is stuck.
    let mut snapshot = active_at(boot_clock());
    let end = snapshot.taken + Duration::from_secs(1);
    snapshot.lease_end = Some(end);
    daemon.snapshots.send_replace(Arc::new(snapshot));
    let (mut yes, mut last_yes_begun) = (0, boot_clock());
    let refused = super::control::until("503", || {
        let begun = boot_clock();
        let reply = get(&daemon, "/primary");
        if reply.status == 200 {
            yes += 1;
            last_yes_begun = begun;
        }
        (reply.status == 503).then_some(reply)
    });
    assert!(yes > 0, "never 200");
    assert!(last_yes_begun < end, "200 to a question asked after the lease end");
    assert!(boot_clock() >= end, "503 {:?} before the lease end: {refused:?}", end.since(boot_clock()));
    assert!(refused.body.contains("the lease has ended"), "{refused:?}");
    let status = get(&daemon, "/status").json();
    assert_eq!(status["node"]["lease_remaining_ms"], 0);
    assert_eq!(status["node"]["gate_open"], false);
    // And a loop that says nothing for three seconds is shown as stuck.
    let warnings = super::control::until("loop.stuck", || {
        let warnings = get(&daemon, "/status").json()["warnings"].to_string();
        warnings.contains("loop.stuck").then_some(warnings)
    });
    assert!(warnings.contains("restart apd"), "{warnings}");
    assert_eq!(get(&daemon, "/liveness").status, 503);
}

#[test]
fn a_standby_serves_reads_within_the_lag_that_is_asked_for() {
    let daemon =
        Daemon::start(Setup { snapshot: standby_at(super::control::frozen_clock()), ..Setup::default() });
    for (path, status) in [
        ("/primary", 503),
        ("/replica", 200),
        ("/standby", 200),
        ("/standby?lag=800ms", 200),
        ("/standby?lag=799ms", 503),
        ("/replica?lag=2", 200),
        ("/read-only?lag=1s", 200),
        ("/read-only?lag=100ms", 503),
        ("/health", 200),
        ("/readiness", 200),
    ] {
        assert_eq!(get(&daemon, path).status, status, "{path}");
    }
    get(&daemon, "/standby?lag=soon").problem(400, "E_USAGE");
    let mut stopped = standby_at(super::control::frozen_clock());
    if let Some(replica) = &mut stopped.status.node.database.replica {
        (replica.applying, replica.error) = (false, "Error 1062: Duplicate entry".to_owned());
    }
    daemon.snapshots.send_replace(Arc::new(stopped));
    for path in ["/replica", "/health", "/read-only"] {
        let reply = get(&daemon, path);
        assert_eq!(reply.status, 503, "{path}");
        assert!(reply.body.contains("Error 1062"), "{reply:?}");
    }
}

#[test]
fn head_answers_as_get_without_a_body() {
    let daemon = Daemon::start(Setup::default());
    for path in ["/primary", "/status", "/metrics"] {
        let (head, get) = (tcp(&daemon, "HEAD", path, "", ""), get(&daemon, path));
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.headers["content-type"], get.headers["content-type"], "{path}");
    }
    assert_eq!(tcp(&daemon, "HEAD", "/replica", "", "").status, 503);
}

#[test]
fn wrong_paths_methods_and_bodies_are_problems() {
    let daemon = Daemon::start(Setup::default());
    get(&daemon, "/nothing").problem(404, "E_NOT_FOUND");
    get(&daemon, "/").problem(404, "E_NOT_FOUND");
    let reply = tcp(&daemon, "POST", "/status", "", "");
    reply.problem(405, "E_METHOD");
    assert_eq!(reply.headers["allow"], "GET, HEAD");
    let reply = tcp(&daemon, "GET", "/switchover", "", "");
    reply.problem(405, "E_METHOD");
    assert_eq!(reply.headers["allow"], "POST");
    socket(&daemon, "POST", "/mode", "", "{").problem(400, "E_USAGE");
    socket(&daemon, "POST", "/mode", "", "{}").problem(400, "E_USAGE");
    socket(&daemon, "POST", "/mode", "", r#"{"mode":"ap","mod":1}"#).problem(400, "E_USAGE");
    socket(&daemon, "POST", "/switchover", "", r#"{"timeout_ms":0}"#).problem(400, "E_USAGE");
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(20_000));
    socket(&daemon, "POST", "/switchover", "", &long).problem(413, "E_USAGE");
    get(&daemon, "/operations/nothing").problem(404, "E_NO_OPERATION");
    get(&daemon, "/timeline?epoch=99").problem(404, "E_NO_TIMELINE");
    assert!(daemon.asked.lock().unwrap().is_empty());
}

#[test]
fn tcp_changes_need_a_configured_and_given_token() {
    let without = Daemon::start(Setup::default());
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let body = r#"{"reason":"test"}"#;
    tcp(&without, "POST", "/switchover", "", body).problem(403, "E_NOT_PERMITTED");
    tcp(&without, "POST", "/switchover", &bearer, body).problem(403, "E_NOT_PERMITTED");

    let with = Daemon::start(Setup { token: Some(TOKEN), ..Setup::default() });
    let reply = tcp(&with, "POST", "/switchover", "", body);
    reply.problem(401, "E_NOT_PERMITTED");
    assert!(reply.headers["www-authenticate"].starts_with("Bearer"), "{reply:?}");
    for wrong in ["Bearer ", "Bearer correct-horse", "Basic Y29ycmVjdA==", TOKEN] {
        tcp(&with, "POST", "/switchover", &format!("Authorization: {wrong}\r\n"), body)
            .problem(401, "E_NOT_PERMITTED");
    }
    assert!(with.asked.lock().unwrap().is_empty());
    let reply = tcp(&with, "POST", "/switchover", &bearer, body);
    assert_eq!(reply.status, 202, "{reply:?}");
    let operation = reply.json();
    assert_eq!(reply.headers["location"], format!("/operations/{}", operation["id"].as_str().unwrap()));
    let id = operation["id"].as_str().unwrap().to_owned();
    let ended = get(&with, &format!("/operations/{id}?wait=5s&seen=9"));
    assert_eq!((ended.status, ended.json()["outcome"].as_str()), (200, Some("done")), "{ended:?}");
    assert_eq!(with.asked.lock().unwrap()[0].actor, "http 127.0.0.1");
}

#[test]
fn the_token_is_shown_nowhere() {
    let daemon = Daemon::start(Setup { token: Some(TOKEN), ..Setup::default() });
    tcp(&daemon, "POST", "/mode", &format!("Authorization: Bearer {TOKEN}\r\n"), r#"{"mode":"ap"}"#);
    for path in ["/status", "/explain", "/metrics", "/history?kinds=all", "/operations", "/health"] {
        assert!(!get(&daemon, path).body.contains(TOKEN), "{path}");
    }
    assert!(!format!("{:?}", daemon.asked.lock().unwrap()).contains(TOKEN));
}

#[test]
fn a_change_may_be_waited_for_and_its_refusal_is_a_problem() {
    fn by_verb(request: &ControlRequest) -> Vec<Answer> {
        vec![match &request.command {
            Command::Clear => Answer::Already("nothing was latched".to_owned()),
            Command::Rejoin { .. } => Answer::PeerUnreachable("db2 does not answer".to_owned()),
            Command::Failover { .. } => Answer::Refused {
                code: "E_PEER_UNSEEN".to_owned(),
                reason: "db2 cannot be seen".to_owned(),
                remedy: "peer_is_off overrides".to_owned(),
            },
            Command::SetMode { mode: Mode::Ap, .. } => Answer::Progress("on the way".to_owned()),
            _ => Answer::Failed("the freeze was refused".to_owned()),
        }]
    }
    let daemon = Daemon::start(Setup { sink: by_verb, ..Setup::default() });
    let post = |path: &str, body: &str| socket(&daemon, "POST", path, "", body);
    assert_eq!(post("/clear?wait=5s", "").status, 200);
    let problem = post("/failover?wait=5s", r#"{"force":true}"#).problem(409, "E_PEER_UNSEEN");
    assert_eq!(problem["remedy"], "peer_is_off overrides");
    assert!(problem["operation"].is_string(), "{problem}");
    post("/rejoin?wait=5s", "").problem(503, "E_PEER_UNREACHABLE");
    post("/switchover?wait=5s", "").problem(500, "E_FAILED");
    let running = post("/mode?wait=100ms", r#"{"mode":"ap"}"#);
    assert_eq!((running.status, running.json()["outcome"].as_str()), (202, Some("running")), "{running:?}");
}

#[test]
fn a_change_on_the_condition_of_another_epoch_is_refused() {
    let daemon = Daemon::start(Setup::default());
    assert_eq!(get(&daemon, "/status").headers["etag"], "\"7\"");
    let post = |epoch: &str| socket(&daemon, "POST", "/switchover", &format!("If-Match: {epoch}\r\n"), "");
    post("\"6\"").problem(412, "E_EPOCH_CHANGED");
    assert!(daemon.asked.lock().unwrap().is_empty());
    for epoch in ["\"7\"", "7", "*", "\"6\", \"7\""] {
        assert_eq!(post(epoch).status, 202, "{epoch}");
    }
}

#[test]
fn a_control_loop_that_takes_nothing_is_a_503_and_changes_nothing() {
    fn held(_: &ControlRequest) -> Vec<Answer> {
        std::thread::sleep(Duration::from_millis(400));
        Vec::new()
    }
    let daemon = Daemon::start(Setup { sink: held, ..Setup::default() });
    let busy =
        (0..20).map(|_| socket(&daemon, "POST", "/clear", "", "")).find(|reply| reply.status != 202).unwrap();
    busy.problem(503, "E_BUSY");
    assert_eq!(get(&daemon, "/status").status, 200);
}

#[test]
fn findings_show_what_the_state_shows_and_the_loops_own_words_win() {
    let daemon = Daemon::start(Setup::default());
    let codes = |daemon: &Daemon| -> Vec<String> {
        let status = get(daemon, "/status").json();
        let warnings = status["warnings"].as_array().unwrap();
        warnings.iter().map(|why| why["code"].as_str().unwrap().to_owned()).collect()
    };
    assert!(codes(&daemon).is_empty());
    show(&daemon, |snapshot| snapshot.status.peer.role = Some(Role::Active));
    assert_eq!(codes(&daemon), ["pair.split"]);
    // Silent since an epoch that is over: what it was then is not what it is.
    show(&daemon, |snapshot| {
        snapshot.status.peer.connected = false;
        snapshot.status.peer.epoch = snapshot.status.node.epoch.checked_sub(1);
    });
    assert_eq!(codes(&daemon), ["pair.alone"]);
    show(&daemon, |snapshot| {
        snapshot.status.node.role = Role::Fault;
        snapshot.status.node.link_usable = false;
        snapshot.status.guarded = true;
        snapshot.status.warnings =
            vec![Why::new(Code::NodeFault, "said by the loop itself").weighing(Severity::Warning)];
    });
    assert_eq!(codes(&daemon), ["pair.no_active", "link.down", "node.fault", "pair.guarded"]);
}

#[test]
fn a_second_daemon_is_refused_and_a_left_over_socket_is_replaced() {
    let mut daemon = Daemon::start(Setup::default());
    let other = |folder: &std::path::Path| {
        let snapshot = Arc::new(active_at(super::control::frozen_clock()));
        apd::io::control_socket::ControlServer {
            socket: folder.join("apd.sock"),
            listen: None,
            token: None,
            tls: None,
            peer_url: String::new(),
            snapshots: tokio::sync::watch::channel(snapshot).1,
            commands: tokio::sync::mpsc::channel(1).0,
            inquiries: tokio::sync::mpsc::channel(1).0,
            journal: daemon.journal.clone(),
            clock: super::control::frozen_clock,
        }
        .start()
    };
    let error = other(daemon.folder.path()).unwrap_err().to_string();
    assert!(error.contains("another apd answers here"), "{error}");
    // As a killed daemon leaves it: a socket that nobody listens on.
    let left = daemon.folder.path().join("left");
    std::fs::create_dir(&left).unwrap();
    drop(std::os::unix::net::UnixListener::bind(left.join("apd.sock")).unwrap());
    let handle = other(&left).unwrap();
    assert_eq!(
        exchange(UnixStream::connect(left.join("apd.sock")).unwrap(), &request("GET", "/status", "", ""))
            .status,
        200
    );
    handle.stop();
    assert!(!left.join("apd.sock").exists(), "removed at the end");
    daemon.stop();
    assert!(!daemon.socket().exists());
}

#[test]
fn a_taken_port_is_reported_and_bound_once_it_is_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let daemon = Daemon::start(Setup { listen: Some(address), ..Setup::default() });
    let found = || socket(&daemon, "GET", "/status", "", "").json()["warnings"].to_string();
    super::control::until("it is reported", || found().contains("http.not_listening").then_some(()));
    drop(taken);
    assert_eq!(daemon.http_address(), address);
    assert_eq!(get(&daemon, "/liveness").status, 200);
    assert!(!found().contains("http.not_listening"));
}
