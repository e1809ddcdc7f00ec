//! A gate process in a namespace of its own, and a daemon that speaks with it.
//!
//! The process is this very test binary, started again for one ignored test that runs `gate::run`: a real
//! process to kill and to stop, without a configuration file.

#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses a part of it; a test may panic")]

use crate::netns::{Lan, Namespace};
use apd::config::checked::*;
use apd::decision::event::{GateReport, GateState};
use apd::decision::settings::{OnStop, OnUndrained};
use apd::decision::time::Instant;
use apd::decision::words::{Epoch, NodeId, Protection};
use apd::io::clock;
use apd::io::gate_link::GateLink;
use apd::wire::gate::{FromGate, ToGate};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

pub const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
pub const DATABASE_PORT: u16 = 3306;
pub const API_PORT: u16 = 8085;
pub const LEASE: Duration = Duration::from_millis(350);

pub fn epoch(number: u64) -> Epoch {
    Epoch { number, node: NodeId(1) }
}

/// The configuration of NODE, with everything below `directory`.
pub fn config(directory: &Path) -> Config {
    let second = Duration::from_secs(1);
    let timing = Timing { interval: second, timeout: second, rise: 2, fall: 2 };
    Config {
        cluster: Cluster {
            name: "test".into(),
            virtual_addresses: vec![VirtualAddress { address: VIRTUAL, prefix: 24, device: "eth0".into() }],
            protection: Protection::Vrrp,
            peer_wait: second,
            failover_hold: Duration::ZERO,
            max_failovers_per_hour: 3,
            rejoin_auto: false,
            boot: apd::decision::service::Boot::Standby,
            maintenance_services: apd::decision::service::MaintenanceServices::Keep,
        },
        me: node(1, "db1", NODE),
        peer: node(2, "db2", PEER),
        paths: Paths {
            state_dir: directory.into(),
            run_dir: directory.join("run"),
            mode_file: directory.join("mode"),
            state_file: None,
            transition_log: None,
        },
        vrrp: Vrrp {
            version: 3,
            virtual_router_id: 51,
            advert_interval: Duration::from_millis(100),
            multicast: false,
            auth_pass: None,
            accept_lower_ttl: false,
            garp: Garp {
                burst: 5,
                delay: second,
                repeat: 1,
                refresh: Duration::ZERO,
                interval: Duration::ZERO,
            },
        },
        lease: Lease {
            heartbeat: Duration::from_millis(100),
            duration: LEASE,
            gate_ports: vec![DATABASE_PORT, API_PORT],
            realtime: true,
            restart_grace: second,
            on_stop: OnStop::Handover,
        },
        mariadb: database(directory),
        gateway: Gateway { targets: Vec::new(), need: 0, method: GatewayMethod::Arp },
        checks: Vec::new(),
        mariadb_check: timing,
        link_check: timing,
        gateway_check: timing,
        services: Vec::new(),
        http: Http {
            listen: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7410),
            token: None,
            tls: None,
            peer_url: String::new(),
        },
        hooks: Vec::new(),
        alerts: Alerts::default(),
        log: Log { level: "info".into(), format: LogFormat::Text },
        hash: 0,
    }
}

fn node(id: u8, name: &str, address: Ipv4Addr) -> Node {
    Node {
        id: NodeId(id),
        name: name.into(),
        address,
        interface: "eth0".into(),
        priority: 100,
        mariadb_address: SocketAddrV4::new(address, DATABASE_PORT),
        peer_port: 7411,
        public_url: String::new(),
        labels: Vec::new(),
    }
}

fn database(directory: &Path) -> MariaDb {
    let second = Duration::from_secs(1);
    MariaDb {
        endpoint: MariaDbEndpoint::Socket(directory.join("mysqld.sock")),
        user: "root".into(),
        password: None,
        replication_user: "apd_repl".into(),
        replication_password: None,
        schema: "apd".into(),
        tls_ca_file: None,
        tls_required: false,
        drain_timeout: second,
        on_undrained: OnUndrained::Wait,
        long_transactions_wait: second,
        long_transactions_kill: true,
        max_lag_for_switchover: second,
        server_unit: "mariadb.service".into(),
    }
}

/// A node with a gate, its peer, and a client, on one switch.
pub struct Scene {
    pub lan: Lan,
    pub node: Namespace,
    pub peer: Namespace,
    pub client: Namespace,
    pub directory: tempfile::TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let lan = Lan::new("gate");
        let node = lan.node("node", &format!("{NODE}/24"));
        let peer = lan.node("peer", &format!("{PEER}/24"));
        let client = lan.node("client", &format!("{CLIENT}/24"));
        Self { lan, node, peer, client, directory: tempfile::tempdir().unwrap() }
    }

    pub fn config(&self) -> Config {
        config(self.directory.path())
    }

    /// Starts the gate process, with the program path `search`.
    pub fn start_gate_with_path(&self, search: &str) -> GateProcess {
        let program = std::env::current_exe().unwrap();
        let child = self
            .node
            .command("env")
            .arg(format!("PATH={search}"))
            .arg(format!("APD_TEST_GATE={}", self.directory.path().display()))
            .arg(program)
            .args(["--ignored", "--exact", "gate_process", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        GateProcess { child, socket: self.config().paths.gate_socket() }
    }

    pub fn start_gate(&self) -> GateProcess {
        self.start_gate_with_path(&std::env::var("PATH").unwrap())
    }

    /// A gate process, and a daemon that is connected to it.
    pub fn gate(&self) -> (GateProcess, Daemon) {
        let process = self.start_gate();
        let mut daemon = process.connect();
        // It listens before it has looked at the kernel; it speaks after that.
        daemon.state();
        (process, daemon)
    }

    /// The virtual addresses on the node, as `ip` shows them.
    pub fn holds_address(&self) -> bool {
        self.node.ip("-o -4 addr show").contains(&format!(" {VIRTUAL}/"))
    }

    /// `nft ARGUMENTS` on the node.
    pub fn nft(&self, arguments: &str) -> String {
        let output = self.node.command("nft").args(arguments.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "nft {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// What the started process does; for the test called `gate_process`.
pub fn run_gate_if_told() {
    let Some(directory) = std::env::var_os("APD_TEST_GATE") else { return };
    let error = apd::gate::run(&config(&PathBuf::from(directory))).unwrap_err();
    eprintln!("gate process: {error:#}");
    std::process::exit(1);
}

/// Killed on drop.
pub struct GateProcess {
    pub child: Child,
    pub socket: PathBuf,
}

impl GateProcess {
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.id(), signal).unwrap();
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Connects as soon as it listens.
    pub fn connect(&self) -> Daemon {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let link = loop {
            match runtime.block_on(GateLink::connect(&self.socket)) {
                Ok(link) => break link,
                Err(error) if std::time::Instant::now() > deadline => panic!("no gate process: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Daemon { runtime, link, ticket: 0 }
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for GateProcess {
    fn drop(&mut self) {
        let _ = kill(self.id(), Signal::SIGCONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon's side.
pub struct Daemon {
    runtime: tokio::runtime::Runtime,
    link: GateLink,
    ticket: u64,
}

impl Daemon {
    pub fn send(&mut self, message: &ToGate) {
        let _context = self.runtime.enter();
        self.link.send(message).unwrap();
    }

    /// The next message, if one comes within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<FromGate> {
        let wait = async { tokio::time::timeout(limit, self.link.next()).await };
        self.runtime.block_on(wait).ok().map(|message| message.unwrap())
    }

    /// The first message that `wanted` takes; others are passed over.
    pub fn expect<T>(&mut self, what: &str, wanted: impl Fn(&FromGate) -> Option<T>) -> T {
        self.expect_within(what, Duration::from_secs(5), wanted)
    }

    pub fn expect_within<T>(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&FromGate) -> Option<T>,
    ) -> T {
        let deadline = std::time::Instant::now() + limit;
        let mut others = Vec::new();
        while let Some(left) = deadline.checked_duration_since(std::time::Instant::now()) {
            let Some(message) = self.next(left) else { break };
            if let Some(found) = wanted(&message) {
                return found;
            }
            others.push(message);
        }
        panic!("no {what} within {limit:?}; there came {others:?}");
    }

    pub fn expect_report(&mut self, wanted: &GateReport) {
        self.expect(&format!("{wanted:?}"), |message| {
            matches!(message, FromGate::Report(report) if report == wanted).then_some(())
        });
    }

    pub fn expect_lease_lost(&mut self, number: u64) -> String {
        self.expect("LeaseLost", |message| match message {
            FromGate::Report(GateReport::LeaseLost { epoch, reason }) if epoch.number == number => {
                Some(reason.clone())
            }
            _ => None,
        })
    }

    pub fn state(&mut self) -> GateState {
        self.send(&ToGate::Query);
        self.expect("state", |message| match message {
            FromGate::State(state) => Some(*state),
            _ => None,
        })
    }

    fn ask(&mut self, message: impl FnOnce(u64) -> ToGate) -> Result<(), String> {
        self.ticket += 1;
        let wanted = self.ticket;
        self.send(&message(wanted));
        self.expect("answer", |message| match message {
            FromGate::Done { ticket } if *ticket == wanted => Some(Ok(())),
            FromGate::Failed { ticket, reason } if *ticket == wanted => Some(Err(reason.clone())),
            _ => None,
        })
    }

    /// Opens for `lease` from now on; returns the end.
    pub fn open(&mut self, number: u64, lease: Duration) -> Instant {
        let lease_end = clock::now() + lease;
        self.try_open(number, lease_end, lease).unwrap();
        lease_end
    }

    pub fn try_open(&mut self, number: u64, lease_end: Instant, lease: Duration) -> Result<(), String> {
        self.ask(|ticket| ToGate::Open { ticket, epoch: epoch(number), lease_end, lease })
    }

    pub fn renew(&mut self, number: u64, lease: Duration) -> Instant {
        let lease_end = clock::now() + lease;
        self.send(&ToGate::Renew { epoch: epoch(number), lease_end });
        lease_end
    }

    pub fn close(&mut self) -> Result<(), String> {
        self.ask(|ticket| ToGate::Close { ticket })
    }

    pub fn cut(&mut self) -> Result<(), String> {
        self.ask(|ticket| ToGate::CutStream { ticket })
    }

    pub fn lift(&mut self) -> Result<(), String> {
        self.ask(|ticket| ToGate::LiftCut { ticket })
    }
}
