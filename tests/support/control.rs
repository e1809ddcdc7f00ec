//! A real control server in this process, on a socket of the test's own, with a snapshot that the test makes
//! and a command sink that answers as the test says.
#![allow(dead_code, reason = "each test binary uses a part")]

use apd::decision::action::Answer;
use apd::decision::time::Instant;
use apd::decision::words::{Mode, Protection, Role};
use apd::io::control_socket::{ControlHandle, ControlRequest, ControlServer, Inquiry, Snapshot};
use apd::io::journal::{Journal, JournalHandle};
use apd::wire::control::{
    CheckStatus, Counters, Evidence, Explain, Match, NextDeadline, NodeState, PeerDatabase, PeerStatus,
    ReplicaStatus, Rule, Status, meter,
};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

pub const TOKEN: &str = "correct-horse-battery-staple";

/// The kernel's boot clock.
pub fn boot_clock() -> Instant {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
    Instant(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// A clock that stands still, so that pages can be compared to the letter.
pub fn frozen_clock() -> Instant {
    Instant::from_millis(3_600_000)
}

/// How the command sink answers: what it returns is sent; without a last answer the operation runs on.
pub type Sink = fn(&ControlRequest) -> Vec<Answer>;

pub struct Daemon {
    pub folder: TempDir,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub journal: JournalHandle,
    pub asked: Arc<Mutex<Vec<ControlRequest>>>,
    handle: Option<ControlHandle>,
    runtime: Runtime,
}

pub struct Setup {
    pub snapshot: Snapshot,
    pub clock: fn() -> Instant,
    pub sink: Sink,
    /// How questions are answered that need no decision.
    pub inquire: fn(Inquiry),
    pub token: Option<&'static str>,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub peer_url: String,
    /// Any free port, if none is named.
    pub listen: Option<SocketAddr>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            snapshot: active_at(frozen_clock()),
            clock: frozen_clock,
            sink: done,
            inquire: reload_done,
            token: None,
            tls: None,
            peer_url: String::new(),
            listen: None,
        }
    }
}

pub fn done(_request: &ControlRequest) -> Vec<Answer> {
    vec![Answer::Progress("half way".to_owned()), Answer::Done("it is done".to_owned())]
}

/// A reload that changes one key; nothing else is answered.
pub fn reload_done(inquiry: Inquiry) {
    if let Inquiry::Reload { replies, .. } = inquiry {
        replies.try_send(Answer::Progress("check.api.interval: 1s -> 500ms".to_owned())).unwrap();
        replies.try_send(Answer::Done("reloaded: 1 key changed".to_owned())).unwrap();
    }
}

impl Daemon {
    pub fn start(setup: Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("apd-control-").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let journal = runtime.block_on(async { Journal::spawn(folder.path().join("journal.db")) });
        let (snapshots, receiver) = watch::channel(Arc::new(setup.snapshot));
        let (commands, mut requests) = mpsc::channel::<ControlRequest>(8);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let sink = setup.sink;
        runtime.spawn(async move {
            while let Some(request) = requests.recv().await {
                for answer in sink(&request) {
                    request.replies.try_send(answer).unwrap();
                }
                kept.lock().unwrap().push(request);
            }
        });
        let (inquiries, mut inquired) = mpsc::channel(8);
        let inquire = setup.inquire;
        runtime.spawn(async move {
            while let Some(inquiry) = inquired.recv().await {
                inquire(inquiry);
            }
        });
        let server = ControlServer {
            socket: folder.path().join("apd.sock"),
            listen: Some(setup.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))),
            token: setup.token.map(Into::into),
            tls: setup.tls,
            peer_url: setup.peer_url,
            snapshots: receiver,
            commands,
            inquiries,
            journal: journal.clone(),
            clock: setup.clock,
        };
        let handle = Some(server.start().unwrap());
        Self { folder, snapshots, journal, asked, handle, runtime }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("apd.sock")
    }

    pub fn http_address(&self) -> SocketAddr {
        let handle = self.handle.as_ref().unwrap();
        until("the HTTP port listens", || handle.http().address)
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn stop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop();
        }
    }

    /// Runs the real apctl against this daemon, without a terminal, in UTC, 100 columns wide.
    pub fn apctl(&self, arguments: &[&str]) -> Output {
        apctl_command().arg("--socket").arg(self.socket()).args(arguments).output().unwrap()
    }
}

pub fn apctl_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apctl"));
    command.env("TZ", "UTC").env("COLUMNS", "100").env_remove("APD_SOCKET");
    command
}

/// Waits for a condition, at most ten seconds.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A healthy pair, seen from its active, with 430 ms of lease left.
pub fn active_at(taken: Instant) -> Snapshot {
    let mut status = Status::starting("shop", "db1", "db2", Protection::Gateway);
    status.version = "test".to_owned();
    status.started_at = "2026-11-21T03:00:00.000Z".to_owned();
    status.addresses = vec!["192.168.33.100/24".to_owned()];
    let node = &mut status.node;
    node.role = Role::Active;
    node.mode = Mode::Ap;
    node.epoch = 7;
    node.state = NodeState::Running;
    node.vip_held = true;
    node.gate_open = true;
    node.lease_remaining_ms = Some(430);
    node.link_usable = true;
    node.link = "up".to_owned();
    node.gateway = Some((1, 1));
    node.why = "took over after db2 resigned".to_owned();
    node.mode_note = "set by operator root".to_owned();
    node.database.reachable = true;
    node.database.writable = true;
    node.database.gtid = "0-1-1042".to_owned();
    node.database.version = "10.11.6-MariaDB".to_owned();
    node.database.age_ms = Some(120);
    node.database.fresh_for_ms = Some(5_000);
    node.checks = vec![CheckStatus {
        name: "api".to_owned(),
        ok: true,
        age_ms: Some(210),
        detail: "200 in 2 ms".to_owned(),
        took_ms: Some(2.5),
        counts: true,
    }];
    well_standby(&mut status.peer);
    status.protection.single_faults = meter(&status);
    let (explain, counters) = (explain(), counters());
    Snapshot { status, explain, counters, taken, lease_end: Some(taken + Duration::from_millis(430)) }
}

fn explain() -> Explain {
    Explain {
        state: "db1 is active in epoch 7".to_owned(),
        since_ms: Some(192_000),
        rule: Rule { code: "takeover.done".to_owned(), text: "db2 released epoch 6".to_owned() },
        evidence: vec![Evidence {
            name: "heartbeat from db2".to_owned(),
            value: "acknowledged, epoch 7".to_owned(),
            age_ms: Some(40),
        }],
        next_deadline: Some(NextDeadline { name: "the lease ends".to_owned(), in_ms: 430 }),
        would_change: vec!["the check api fails twice: db2 takes over".to_owned()],
        why_not: [("standby".to_owned(), vec!["this node is active".to_owned()])].into(),
        what_if: [("peer-down".to_owned(), vec!["this node goes on alone".to_owned()])].into(),
        ..Explain::default()
    }
}

fn counters() -> Counters {
    Counters {
        adverts_sent: 1234,
        adverts_received: 17,
        adverts_rejected: [("checksum".to_owned(), 2)].into(),
        check_failures: [("api".to_owned(), 3)].into(),
        takeovers: [("peer.silent".to_owned(), 1)].into(),
        takeover_ms: Some(83.5),
        client_outage_ms: Some(498.0),
        loop_stall_max_ms: 3.25,
        heartbeat_age_ms: [("stream".to_owned(), 900)].into(),
        config_hash: 0xfeed,
    }
}

fn well_standby(peer: &mut PeerStatus) {
    peer.state = NodeState::Standby;
    peer.role = Some(Role::Standby);
    peer.mode = Some(Mode::Ap);
    peer.epoch = Some(7);
    peer.r#match = Match::Match;
    peer.heartbeat_age_ms = Some(40);
    peer.advert_age_ms = Some(60);
    peer.connected = true;
    peer.fit = Some(true);
    peer.why = "follows db1".to_owned();
    peer.database = Some(PeerDatabase {
        reachable: true,
        writable: false,
        replica_running: true,
        gtid: "0-1-1042".to_owned(),
    });
}

/// The same pair after db1 has died: this node, db2, serves alone, and its replica is gone.
pub fn alone_at(taken: Instant) -> Snapshot {
    let mut snapshot = active_at(taken);
    let status = &mut snapshot.status;
    status.node.name = "db2".to_owned();
    status.node.mode = Mode::Standalone;
    status.node.epoch = 8;
    status.node.why = "db1 was silent for 300 ms and the takeover wait had passed".to_owned();
    let peer = &mut status.peer;
    peer.name = "db1".to_owned();
    peer.state = NodeState::Standby;
    peer.role = Some(Role::Out);
    peer.state = NodeState::Disconnected;
    peer.mode = Some(Mode::Maintenance);
    peer.why = "the winner's epoch is newer".to_owned();
    peer.fit = Some(false);
    status.node.checks[0].ok = false;
    status.node.checks[0].detail = "connect 127.0.0.1:8085: Connection refused (os error 111)".to_owned();
    status.protection.single_faults = meter(status);
    snapshot
}

/// The standby of the healthy pair.
pub fn standby_at(taken: Instant) -> Snapshot {
    let mut snapshot = active_at(taken);
    snapshot.lease_end = None;
    let status = &mut snapshot.status;
    status.node.name = "db2".to_owned();
    status.node.role = Role::Standby;
    status.node.state = NodeState::Standby;
    status.node.vip_held = false;
    status.node.gate_open = false;
    status.node.lease_remaining_ms = None;
    status.node.eligible = true;
    status.node.database.writable = false;
    status.node.database.lag_ms = Some(800);
    status.node.database.replica = Some(ReplicaStatus {
        primary: "192.168.33.101".to_owned(),
        receiving: true,
        applying: true,
        received: "0-1-1042".to_owned(),
        applied: "0-1-1042".to_owned(),
        error: String::new(),
    });
    status.peer.name = "db1".to_owned();
    status.peer.role = Some(Role::Active);
    status.peer.state = NodeState::Running;
    status.peer.why = "took over after db2 resigned".to_owned();
    status.peer.database = Some(PeerDatabase {
        reachable: true,
        writable: true,
        replica_running: false,
        gtid: "0-1-1042".to_owned(),
    });
    status.node.why = "follows db1".to_owned();
    status.protection.single_faults = meter(status);
    snapshot
}
