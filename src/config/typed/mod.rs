//! The configuration as written: one struct for each table of INTERFACE.md section 1, with its defaults.
//!
//! These structs are the only list of keys. The JSON Schema is derived from them, and `shape` checks
//! every layer against that schema, so that all unknown keys and wrong types of all files are found in
//! one run. An `Option` is a key whose default depends on something else (profile, host, kind of check).

mod check;
mod later;
mod period;
mod service;
mod tell;

pub use check::{Check, CheckKind, CheckTls, JsonMatch, RoleWord};
pub use later::{Arbiter, Fencing, Sync};
pub use period::{FORMAT as PERIOD_FORMAT, Period};
pub use service::{RunsOn, Service};
pub use tell::{Alerts, Hook, HookWord, Smtp, Webhook};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The whole file, or all layers merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "apd.toml")]
pub struct File {
    /// What both nodes have in common.
    pub cluster: Cluster,
    /// One table for each of the two nodes.
    pub nodes: BTreeMap<String, Node>,
    /// What belongs to this host alone.
    pub node: Local,
    /// The election.
    pub vrrp: Vrrp,
    /// The right to be active, which expires by itself.
    pub lease: Lease,
    /// The database server of this node.
    pub mariadb: MariaDb,
    /// Probe targets of `protection = "gateway"`.
    pub gateway: Gateway,
    /// Not yet supported: the etcd of `protection = "arbiter"`.
    pub arbiter: Arbiter,
    /// Not yet supported: the command of `protection = "fencing"`.
    pub fencing: Fencing,
    /// Health checks. `mariadb`, `link` and `gateway` exist by default and can be tuned by that name.
    pub check: Vec<Check>,
    /// Units, containers or commands that apd starts and stops.
    pub service: Vec<Service>,
    /// Programs that are run when the role of this node changes.
    pub hook: Vec<Hook>,
    /// Not yet supported: paths that are copied from the active to the standby.
    pub sync: Vec<Sync>,
    /// Health endpoints, status and metrics over HTTP.
    pub http: Http,
    /// Who is told of what somebody should know.
    pub alerts: Alerts,
    /// The log.
    pub log: Log,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Name of the pair. Required; a peer with another name is refused.
    #[schemars(required)]
    pub name: Option<String>,
    /// The addresses that clients use, `ADDR[/LEN][%dev]`. Empty: roles without an address.
    pub virtual_addresses: Vec<String>,
    /// Who may go on alone when the nodes cannot see each other.
    pub protection: ProtectionWord,
    /// Whether the standby must acknowledge a commit.
    pub durability: Durability,
    /// Presets for advert / heartbeat / lease: lan-fast 20/20/80 ms, default 100/100/350 ms,
    /// tolerant 300 ms/300 ms/1 s, wan 1/1/3.5 s.
    pub profile: ProfileWord,
    /// Whether a returning node takes over from a healthy active.
    pub preempt: bool,
    /// How long it waits before it does.
    pub preempt_delay: Period,
    /// Whether the loser of a failover comes back by itself, when its data is proven to be a subset.
    pub rejoin: Rejoin,
    /// What happens to running services when maintenance begins.
    pub maintenance_services: MaintenanceServices,
    /// How a node comes up.
    pub boot: Boot,
    /// At start, wait this long for the peer before any claim.
    pub peer_wait: Period,
    /// Extra wait on top of detection.
    pub failover_hold: Period,
    /// More automatic failovers than this within an hour: guarded until cleared by hand or by time.
    #[schemars(range(min = 0, max = 1000))]
    pub max_failovers_per_hour: u32,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: None,
            virtual_addresses: Vec::new(),
            protection: ProtectionWord::Gateway,
            durability: Durability::Async,
            profile: ProfileWord::Default,
            preempt: false,
            preempt_delay: Period::ZERO,
            rejoin: Rejoin::Manual,
            maintenance_services: MaintenanceServices::Keep,
            boot: Boot::Standby,
            peer_wait: Period::seconds(10),
            failover_hold: Period::ZERO,
            max_failovers_per_hour: 3,
        }
    }
}

/// Declares an enum of configuration words, written in lower case with dashes.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $word:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs, reason = "the words are explained at the key that takes them")]
        pub enum $name { $($(#[$note])* $word),+ }
    };
}
use words;

words!(
    /// Words of `protection`.
    ProtectionWord { Vrrp, Gateway, Peer, Arbiter, Fencing }
);
words!(
    /// Words of `durability`.
    Durability { Async, Synced }
);
words!(
    /// Words of `profile`.
    ProfileWord { LanFast, Default, Tolerant, Wan }
);
words!(
    /// Words of `rejoin`.
    Rejoin { Manual, Auto }
);
words!(
    /// Words of `maintenance_services`.
    MaintenanceServices { Keep, Stop }
);
words!(
    /// Words of `boot`.
    Boot { Standby, Manual }
);
words!(
    /// Words of `on_stop`.
    OnStopWord { Handover, Keep, Fence }
);
words!(
    /// Words of `on_undrained`.
    OnUndrainedWord { Wait, Promote, Refuse }
);
words!(
    /// Words of `long_transactions.then`.
    LongTransactionsThen { Kill, Abort }
);
words!(
    /// Words of `errant`.
    Errant { Stop, Reclone }
);
words!(
    /// Words of `[gateway] method`.
    GatewayMethodWord { Arp, Icmp }
);
words!(
    /// Words of `[log] level`.
    LogLevel { Error, Warn, Info, Debug, Trace }
);
words!(
    /// Words of `[log] format`.
    LogFormatWord { Journald, Json, Text }
);

/// `[nodes.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// The node's own IPv4 address: source of VRRP and of the peer link. Required.
    #[schemars(required)]
    pub address: Option<String>,
    /// Default: the interface that holds the address.
    pub interface: Option<String>,
    /// Equal is fine: then the higher address wins.
    #[schemars(range(min = 1, max = 254))]
    pub priority: u8,
    /// Where the other node replicates from. Default: `address` and port 3306.
    pub mariadb_address: Option<String>,
    /// TCP port of the peer link.
    #[schemars(range(min = 1, max = 65535))]
    pub peer_port: u16,
    /// Where clients reach this node's services, for `/redirect` on the other node: `https://db1.example.com/`. Empty:
    /// `/redirect` of this node itself.
    pub public_url: String,
    /// Free words, shown in status.
    pub labels: BTreeMap<String, String>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            address: None,
            interface: None,
            priority: 100,
            mariadb_address: None,
            peer_port: 7411,
            public_url: String::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// `[node]`: this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// Which of the nodes this host is. Empty: by hostname, else by address.
    pub name: String,
    /// Journal, durable facts, mode.
    pub state_dir: PathBuf,
    /// Control socket, role, state.
    pub run_dir: PathBuf,
    /// Default: `mode` below `state_dir`.
    pub mode_file: Option<PathBuf>,
    /// keepalived's words MASTER/BACKUP/FAULT/STOP without newline, for old scripts. Empty: none.
    pub state_file: PathBuf,
    /// Lines as `[YYYY-mm-dd HH:MM:SS] notify_master`, for old tooling. Empty: none.
    pub transition_log: PathBuf,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            name: String::new(),
            state_dir: PathBuf::from("/var/lib/apd"),
            run_dir: PathBuf::from("/run/apd"),
            mode_file: None,
            state_file: PathBuf::new(),
            transition_log: PathBuf::new(),
        }
    }
}

/// `[vrrp]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vrrp {
    /// Version of the protocol: RFC 3768 (2) or RFC 9568 (3).
    #[schemars(range(min = 2, max = 3))]
    pub version: u8,
    /// Must differ from every other VRRP router in the same network.
    #[schemars(range(min = 1, max = 255))]
    pub virtual_router_id: u8,
    /// Between advertisements. Default: from the profile. Version 3: 10 ms to 40.95 s in steps of 10 ms;
    /// version 2: whole seconds, 1 s to 255 s.
    pub advert_interval: Option<Period>,
    /// Multicast instead of unicast to the other node.
    pub multicast: bool,
    /// File with the password of version 2 (8 characters at most). Empty: none.
    pub auth_pass_file: PathBuf,
    /// Accept advertisements whose TTL is below 255.
    pub accept_lower_ttl: bool,
    /// Gratuitous ARP.
    pub garp: Garp,
}

impl Default for Vrrp {
    fn default() -> Self {
        Self {
            version: 3,
            virtual_router_id: 51,
            advert_interval: None,
            multicast: false,
            auth_pass_file: PathBuf::new(),
            accept_lower_ttl: false,
            garp: Garp::default(),
        }
    }
}

/// `garp = { ... }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Garp {
    /// Packets at once after a takeover.
    #[schemars(range(min = 1, max = 100))]
    pub burst: u32,
    /// A second round after this long. Zero: none.
    pub delay: Period,
    /// Packets of the second round and of each refresh.
    #[schemars(range(min = 0, max = 100))]
    pub repeat: u32,
    /// Again and again while active. Zero: never.
    pub refresh: Period,
    /// Between the packets of one burst.
    pub interval: Period,
}

impl Default for Garp {
    fn default() -> Self {
        Self { burst: 5, delay: Period::seconds(5), repeat: 1, refresh: Period::ZERO, interval: Period::ZERO }
    }
}

/// `[lease]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lease {
    /// Between heartbeats. Default: from the profile.
    pub heartbeat: Option<Period>,
    /// How long the right lasts: at least 3 x heartbeat + 20 ms. Default: from the profile.
    pub duration: Option<Period>,
    /// Ports to gate besides the database's and every local http check's.
    #[schemars(inner(range(min = 1, max = 65535)))]
    pub gate_ports: Vec<u16>,
    /// Real-time scheduling and locked memory where the limits allow.
    pub realtime: bool,
    /// Longest lease asked of the peer for a planned restart.
    pub restart_grace: Period,
    /// What a stop of the daemon does while it is active.
    pub on_stop: OnStopWord,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            heartbeat: None,
            duration: None,
            gate_ports: Vec::new(),
            realtime: true,
            restart_grace: Period::seconds(5),
            on_stop: OnStopWord::Handover,
        }
    }
}

/// `[mariadb]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MariaDb {
    /// Unix socket of this node's server. Default: /run/mysqld/mysqld.sock, unless `host` is given.
    pub socket: Option<PathBuf>,
    /// IPv4 address of this node's server, instead of `socket`.
    pub host: Option<String>,
    /// Port at `host`. Default 3306.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Account of apd.
    pub user: String,
    /// File with its password. Empty: unix_socket authentication.
    pub password_file: PathBuf,
    /// Account with which the other node replicates.
    pub replication_user: String,
    /// File with its password.
    pub replication_password_file: PathBuf,
    /// Schema of the heartbeat and the epoch ledger.
    pub schema: String,
    /// TLS to the other node's server.
    pub tls: MariaDbTls,
    /// How long a takeover waits for the relay log.
    pub drain_timeout: Period,
    /// What happens when it is not drained by then.
    pub on_undrained: OnUndrainedWord,
    /// Transactions that are open when a switchover begins.
    pub long_transactions: LongTransactions,
    /// What to do with transactions that only this node has.
    pub errant: Errant,
    /// A switchover is refused above this lag.
    pub max_lag_for_switchover: Period,
    /// Unit of the server.
    pub server_unit: String,
}

impl Default for MariaDb {
    fn default() -> Self {
        Self {
            socket: None,
            host: None,
            port: None,
            user: "apd".into(),
            password_file: PathBuf::new(),
            replication_user: "apd_repl".into(),
            replication_password_file: PathBuf::new(),
            schema: "apd".into(),
            tls: MariaDbTls::default(),
            drain_timeout: Period::seconds(10),
            on_undrained: OnUndrainedWord::Wait,
            long_transactions: LongTransactions::default(),
            errant: Errant::Stop,
            max_lag_for_switchover: Period::seconds(10),
            server_unit: "mariadb.service".into(),
        }
    }
}

/// `tls = { ... }` of `[mariadb]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MariaDbTls {
    /// CA that signed the servers' certificates.
    pub ca_file: PathBuf,
    /// Refuse to replicate without TLS.
    pub required: bool,
}

/// `long_transactions = { ... }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LongTransactions {
    /// How long a switchover waits for them.
    pub wait: Period,
    /// And then: kill them, or abort the switchover.
    pub then: LongTransactionsThen,
}

impl Default for LongTransactions {
    fn default() -> Self {
        Self { wait: Period::seconds(2), then: LongTransactionsThen::Kill }
    }
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gateway {
    /// IPv4 addresses outside of the pair. Default: the default route's next hop.
    pub targets: Vec<String>,
    /// How many of them must answer.
    #[schemars(range(min = 1, max = 64))]
    pub need: u32,
    /// How they are asked.
    pub method: GatewayMethodWord,
}

impl Default for Gateway {
    fn default() -> Self {
        Self { targets: Vec::new(), need: 1, method: GatewayMethodWord::Arp }
    }
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// IPv4 address and port.
    pub listen: String,
    /// TLS 1.2 or 1.3, with client certificates where a CA is written.
    pub tls: HttpTls,
    /// File with the token for changes. Empty: only reads are served over TCP.
    pub token_file: PathBuf,
    /// Serve the page.
    pub page: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7410".into(),
            tls: HttpTls::default(),
            token_file: PathBuf::new(),
            page: true,
        }
    }
}

/// `tls = { ... }` of `[http]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTls {
    /// The server's certificate, then those between it and its CA (PEM). Empty: no TLS.
    pub cert_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
    /// CA of the client certificates that may change things without the token (PEM). Empty: none may.
    pub client_ca_file: PathBuf,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is worth a line.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormatWord,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormatWord::Journald }
    }
}
