//! The configuration as the rest of the program may rely on it: every value is in range, every
//! relation between values holds, defaults and profile are applied, this node is known.
//!
//! INTERFACE.md section 1 names every key. What a later feature needs is refused while parsing and has no
//! place here yet.

mod tell;

pub use tell::{Alerts, Hook, Smtp, Webhook};

use crate::decision::service::{Boot, MaintenanceServices, ServiceSettings};
use crate::decision::settings::{OnStop, OnUndrained};
use crate::decision::words::{NodeId, Protection};
use secrecy::SecretString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A valid configuration, seen from this node.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[cluster]`.
    pub cluster: Cluster,
    /// This node.
    pub me: Node,
    /// The other node.
    pub peer: Node,
    /// `[node]`: where files are.
    pub paths: Paths,
    /// `[vrrp]`.
    pub vrrp: Vrrp,
    /// `[lease]`.
    pub lease: Lease,
    /// `[mariadb]`.
    pub mariadb: MariaDb,
    /// `[gateway]`.
    pub gateway: Gateway,
    /// `[[check]]`, without `mariadb`, `link` and `gateway`, which are below.
    pub checks: Vec<Check>,
    /// The check `mariadb` (exists by default).
    pub mariadb_check: Timing,
    /// The check `link` (exists by default).
    pub link_check: Timing,
    /// The regular gateway probe.
    pub gateway_check: Timing,
    /// `[[service]]`, in the order in which they start.
    pub services: Vec<Service>,
    /// `[http]`.
    pub http: Http,
    /// `[[hook]]`, in the order in which they are run.
    pub hooks: Vec<Hook>,
    /// `[alerts]`.
    pub alerts: Alerts,
    /// `[log]`.
    pub log: Log,
    /// Hash of the part that both nodes must share.
    pub hash: u64,
}

impl Config {
    /// The service that is the database server: the one that names its unit.
    pub fn database_service(&self) -> Option<&Service> {
        let is_server =
            |means: &Means| matches!(means, Means::Unit(unit) if *unit == self.mariadb.server_unit);
        self.services.iter().find(|service| is_server(&service.means))
    }
}

/// `[cluster]`.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Both nodes must have the same.
    pub name: String,
    /// May be empty: roles without an address.
    pub virtual_addresses: Vec<VirtualAddress>,
    /// Who may go on alone.
    pub protection: Protection,
    /// At start: wait this long for the peer before any claim.
    pub peer_wait: Duration,
    /// Extra wait on top of detection.
    pub failover_hold: Duration,
    /// Then `guarded`.
    pub max_failovers_per_hour: u32,
    /// `rejoin = "auto"`.
    pub rejoin_auto: bool,
    /// How the node comes up.
    pub boot: Boot,
    /// What becomes of running services in maintenance.
    pub maintenance_services: MaintenanceServices,
}

/// `ADDR[/LEN][%dev]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length, 1 to 32; 32 where none is written.
    pub prefix: u8,
    /// Interface on this node.
    pub device: String,
}

/// `[nodes.NAME]`.
#[derive(Clone, Debug)]
pub struct Node {
    /// 1: lower address, 2: higher.
    pub id: NodeId,
    /// NAME.
    pub name: String,
    /// VRRP source, peer link.
    pub address: Ipv4Addr,
    /// Interface that holds the address; for the peer as written, or empty.
    pub interface: String,
    /// 1 to 254.
    pub priority: u8,
    /// Where the other node replicates from.
    pub mariadb_address: SocketAddrV4,
    /// TCP port of the peer link.
    pub peer_port: u16,
    /// Where its clients reach its services; empty if not written.
    pub public_url: String,
    /// `labels = { key = "value" }`, in order.
    pub labels: Vec<(String, String)>,
}

/// `[node]`.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `state_dir`.
    pub state_dir: PathBuf,
    /// `run_dir`.
    pub run_dir: PathBuf,
    /// `mode_file`.
    pub mode_file: PathBuf,
    /// `state_file`, for old scripts.
    pub state_file: Option<PathBuf>,
    /// `transition_log`, for old tooling.
    pub transition_log: Option<PathBuf>,
}

impl Paths {
    /// `apctl` talks to the daemon here.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir.join("apd.sock")
    }

    /// The daemon talks to the gate process here.
    pub fn gate_socket(&self) -> PathBuf {
        self.run_dir.join("gate.sock")
    }

    /// The two-slot state file.
    pub fn durable_facts(&self) -> PathBuf {
        self.state_dir.join("state")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.state_dir.join("journal.db")
    }

    /// The folder of what the decision was told and did.
    pub fn recording(&self) -> PathBuf {
        self.state_dir.join("recording")
    }
}

/// `[vrrp]`.
#[derive(Clone, Debug)]
pub struct Vrrp {
    /// 2 or 3.
    pub version: u8,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// v3: 10 ms to 40.95 s; v2: whole seconds.
    pub advert_interval: Duration,
    /// Instead of unicast to the peer.
    pub multicast: bool,
    /// v2 only, 8 characters at most.
    pub auth_pass: Option<SecretString>,
    /// Accept a TTL below 255.
    pub accept_lower_ttl: bool,
    /// Gratuitous ARP.
    pub garp: Garp,
}

/// `garp = { ... }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garp {
    /// Packets at once.
    pub burst: u32,
    /// Then again after this long.
    pub delay: Duration,
    /// How many packets in each later round.
    pub repeat: u32,
    /// Then every so often while active; zero: never.
    pub refresh: Duration,
    /// Between packets of one burst.
    pub interval: Duration,
}

/// `[lease]`.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// T_lease.
    pub duration: Duration,
    /// Ports that are gated for other hosts than the peer: the database's, every local http/tcp check's, `gate_ports`.
    pub gate_ports: Vec<u16>,
    /// SCHED_RR and mlockall where the limits allow.
    pub realtime: bool,
    /// Longest lease asked for a planned restart.
    pub restart_grace: Duration,
    /// What SIGTERM does.
    pub on_stop: OnStop,
}

/// How the local server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MariaDbEndpoint {
    /// Unix socket.
    Socket(PathBuf),
    /// TCP.
    Tcp(SocketAddrV4),
}

/// `[mariadb]`.
#[derive(Clone, Debug)]
pub struct MariaDb {
    /// Socket or host/port.
    pub endpoint: MariaDbEndpoint,
    /// Account of apd.
    pub user: String,
    /// `None`: unix_socket authentication.
    pub password: Option<SecretString>,
    /// Account of the replica.
    pub replication_user: String,
    /// Its password.
    pub replication_password: Option<SecretString>,
    /// Heartbeat and epoch ledger.
    pub schema: String,
    /// CA for TLS to the peer's server.
    pub tls_ca_file: Option<PathBuf>,
    /// Refuse without TLS.
    pub tls_required: bool,
    /// How long a takeover waits for the relay log.
    pub drain_timeout: Duration,
    /// And then.
    pub on_undrained: OnUndrained,
    /// Switchover: wait this long for long transactions.
    pub long_transactions_wait: Duration,
    /// ... and then kill them (or abort).
    pub long_transactions_kill: bool,
    /// A switchover is refused above this lag.
    pub max_lag_for_switchover: Duration,
    /// systemd unit of the server.
    pub server_unit: String,
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Explicit, or the default route's next hop.
    pub targets: Vec<Ipv4Addr>,
    /// How many must answer.
    pub need: u32,
    /// How they are probed.
    pub method: GatewayMethod,
}

/// `method = "arp" | "icmp"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayMethod {
    /// On the link.
    Arp,
    /// Echo request.
    Icmp,
}

/// Interval, timeout, rise and fall of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From start to start.
    pub interval: Duration,
    /// No answer by then is a failure.
    pub timeout: Duration,
    /// Consecutive passes to become healthy.
    pub rise: u32,
    /// Consecutive failures to become unhealthy.
    pub fall: u32,
}

/// `[[check]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Unique.
    pub name: String,
    /// When and how often.
    pub timing: Timing,
    /// 0: not fit; otherwise added to the priority.
    pub weight: i16,
    /// Counts on the active.
    pub on_active: bool,
    /// Counts on the standby.
    pub on_standby: bool,
    /// What is asked.
    pub probe: Probe,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `type = "http"`.
    Http(HttpProbe),
    /// `type = "tcp"`.
    Tcp(TcpProbe),
    /// `type = "command"`.
    Command(CommandProbe),
    /// `type = "unit"`.
    Unit(UnitProbe),
    /// `type = "gateway"`, under another name than that of the check that exists by default.
    Gateway(GatewayProbe),
}

/// `type = "http"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// From the URL.
    pub host: String,
    /// From the URL, or that of its scheme.
    pub port: u16,
    /// From the URL, with query.
    pub path: String,
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Statuses that pass.
    pub status: Vec<u16>,
    /// The body must contain this.
    pub body_contains: Option<String>,
    /// JSON pointer and the value it must have.
    pub json: Option<(String, serde_json::Value)>,
    /// `Host:` header, where it differs.
    pub host_header: Option<String>,
    /// `https`: whom to believe.
    pub tls: Option<CertificateTrust>,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateTrust {
    /// Authorities; `None`: those of the host.
    pub ca_file: Option<PathBuf>,
    /// False: anybody's.
    pub verify: bool,
}

/// `type = "tcp"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpProbe {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// `type = "command"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProbe {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// As whom, where apd may switch.
    pub user: String,
}

/// `type = "unit"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitProbe {
    /// Its whole name.
    pub unit: String,
}

/// `type = "gateway"` with targets of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayProbe {
    /// From here.
    pub interface: String,
    /// With this address.
    pub source: Ipv4Addr,
    /// Whom, how many, and how.
    pub gateway: Gateway,
}

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What a decision depends on.
    pub settings: ServiceSettings,
    /// How it is run.
    pub means: Means,
}

/// How a service is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// By systemd: a unit.
    Unit(String),
    /// By docker or podman: the name of a container.
    Container(String),
    /// By commands; the first word of each is the path of a program.
    Commands {
        /// Starts it.
        start: Vec<String>,
        /// Stops it.
        stop: Vec<String>,
        /// Ends it at once.
        kill: Option<Vec<String>>,
        /// Ends with 0 while it runs.
        status: Option<Vec<String>>,
    },
}

impl Means {
    /// The key that says so.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unit(_) => "unit",
            Self::Container(_) => "container",
            Self::Commands { .. } => "start",
        }
    }
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where the health endpoints listen.
    pub listen: SocketAddrV4,
    /// Bearer token for changes.
    pub token: Option<SecretString>,
    /// Certificate, key and CA of clients, ready to serve; `None`: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where `/redirect` sends clients of a peer that serves.
    pub peer_url: String,
}

/// `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// `format = ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Native fields to journald; text to stderr where there is no journal.
    Journald,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
