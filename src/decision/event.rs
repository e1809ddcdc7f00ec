//! Closed list of what can happen to a node.

use super::action::{CommandId, DurableFacts, StepResult, Ticket};
use super::gtid::GtidState;
use super::peer::PeerMessage;
use super::service::ServiceReport;
use super::settings::Settings;
use super::time::Instant;
use super::words::{Epoch, InstanceId, Mode};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::time::Duration;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first event of a run: what was found at the start.
    Started(Found),
    /// A valid VRRP advertisement of our virtual router arrived.
    Advert(Advert),
    /// The peer link is up (handshake done, cluster name and address checked).
    PeerUp {
        /// The peer's run.
        instance: InstanceId,
    },
    /// The peer link is down.
    PeerDown,
    /// A message over the peer link.
    Peer(PeerMessage),
    /// The gate process reports.
    Gate(GateReport),
    /// The state of the network interface changed, or was read again.
    Link(LinkReport),
    /// The database watcher reports: at every probe, and at once when the server dies.
    Database(DatabaseReport),
    /// One probe of one configured check ended.
    Check(CheckReport),
    /// What a service does: at each change, and at least each second.
    Service(ServiceReport),
    /// Gateway targets were probed.
    Gateway {
        /// How many answered.
        answered: u32,
        /// How many were asked.
        asked: u32,
    },
    /// Proof of life: someone answered ARP for a virtual address that this node does not hold.
    AddressClaimed {
        /// Who, as `aa:bb:cc:dd:ee:ff`.
        by: String,
    },
    /// Proof of life: a heartbeat row of the peer's epoch was received and applied after the watch began.
    StreamAlive,
    /// A started step ended.
    StepEnded {
        /// Which.
        ticket: Ticket,
        /// How.
        result: StepResult,
    },
    /// The mode file was read: at the start of a run it is in [`Found`]; later when it changed.
    ModeFile(ModeReading),
    /// An operator commands.
    Command {
        /// For the answer.
        id: CommandId,
        /// What.
        command: Command,
        /// Who, from the socket's peer credentials.
        actor: String,
    },
    /// The configuration was read again: what these settings say holds from now on, where it can change in a run
    /// ([`Settings::reloaded`]).
    Reload(Box<Settings>),
    /// The daemon was told to stop (SIGTERM, SIGINT).
    Stop,
    /// The daemon was told to stop, and the service manager starts it again at once.
    Restart,
    /// The loop itself did not run for `gap` (the host or the process was paused).
    Resumed {
        /// How long.
        gap: Duration,
    },
    /// The time that `next_deadline` named has come.
    Deadline,
}

/// What a run of the daemon starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// This run.
    pub instance: InstanceId,
    /// The state file; `None` if it was lost or unreadable in both slots.
    pub durable: Option<DurableFacts>,
    /// The mode file.
    pub mode: ModeReading,
    /// The gate, as the gate process holds it.
    pub gate: GateState,
    /// What an operator said since the host booted: `apctl start` or `apctl stop`.
    #[serde(default)]
    pub started: Option<bool>,
}

/// The mode file, as read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeReading {
    /// The mode to obey; garbage, an empty or an unreadable file reads as maintenance.
    pub mode: Mode,
    /// `Some` when the file was no plain mode word: what was wrong with it.
    pub problem: Option<String>,
    /// The file held `being WORD`: a change was interrupted; `mode` is WORD.
    pub interrupted: bool,
    /// Who set it: an actor that apd recorded, or `a hand` when it was edited.
    pub actor: String,
    /// Why, if recorded.
    pub reason: String,
}

/// One advertisement, decoded and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// It comes from the configured peer.
    pub from_peer: bool,
    /// 0 resigns, 255 owns.
    pub priority: u8,
    /// The sender's interval (v3: centiseconds, v2: seconds on the wire).
    pub interval: Duration,
}

/// State of the gate, from the gate process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateState {
    /// The element lives.
    pub open: bool,
    /// The activity that it serves; meaningful while open.
    pub epoch: Epoch,
    /// When it ends unless renewed.
    pub lease_end: Instant,
    /// The virtual addresses are on the interface.
    pub address_held: bool,
    /// The replication stream is cut.
    pub stream_cut: bool,
}

/// What the gate process reports of its own accord.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateReport {
    /// Connected (again); its state.
    Connected(GateState),
    /// The gate process is gone; a new one is being started.
    Disconnected,
    /// The lease ended, or its element was found gone: the gate is closed.
    LeaseLost {
        /// The activity that it served.
        epoch: Epoch,
        /// One line.
        reason: String,
    },
    /// Someone else deleted a virtual address; it was put back.
    AddressRestored {
        /// Which.
        address: Ipv4Addr,
    },
    /// A virtual address was on the interface while the gate is closed; it was removed.
    AddressRemoved {
        /// Which.
        address: Ipv4Addr,
    },
    /// Someone else flushed the tables; they were installed again.
    TablesReinstalled,
    /// What the gate cannot do on this host, for the protection meter.
    Degraded {
        /// One line.
        reason: String,
    },
}

/// State of the network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The interface exists, is up, has carrier, and holds the node's own address.
    pub usable: bool,
    /// One line: what is wrong, or `up`.
    pub detail: String,
}

/// What one probe of the local server found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// The server answered within the probe's timeout.
    pub reachable: bool,
    /// The process is gone (connection refused or reset), not merely slow.
    pub dead: bool,
    /// One line about what is wrong, empty if nothing is.
    pub detail: String,
    /// The server takes writes from ordinary users.
    pub writable: bool,
    /// `server_id`.
    pub server_id: u32,
    /// Server version.
    pub version: String,
    /// `gtid_binlog_state` with `gtid_slave_pos` merged.
    pub gtid: GtidState,
    /// `gtid_binlog_pos`.
    pub binlog_position: GtidState,
    /// The replica, if one is configured.
    pub replica: Option<ReplicaReport>,
    /// Changes when the server was restarted (`Uptime` went back).
    pub restarts: u64,
    /// A heartbeat row write has been waiting this long for a reason that is sickness (not a backup lock).
    pub write_stalled: Option<Duration>,
    /// Accounts in use by clients that bypass read_only.
    pub privileged_clients: Vec<String>,
    /// `Gtid_strict_mode`, `log_slave_updates`, `read_only` at start and the like that are not as they must be.
    pub warnings: Vec<String>,
    /// Newest activity in this server's ledger when it was first looked at.
    #[serde(default)]
    pub ledger: Epoch,
}

/// `SHOW ALL SLAVES STATUS`, the part that decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// Receiving thread: `Yes`.
    pub receiving: bool,
    /// Receiving thread: `Connecting` or `Preparing`.
    pub connecting: bool,
    /// Applying thread runs.
    pub applying: bool,
    /// Host it follows.
    pub primary: String,
    /// Last completely received (`Gtid_IO_Pos`).
    pub received: GtidState,
    /// Last applied (`gtid_slave_pos`).
    pub applied: GtidState,
    /// Age of the newest applied heartbeat row; `None` if unknown.
    pub lag: Option<Duration>,
    /// `Last_IO_Error` or `Last_SQL_Error`, empty if none.
    pub error: String,
}

/// One probe of one check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check's name, as configured.
    pub name: String,
    /// It passed by its deadline.
    pub passed: bool,
    /// What is tested is certainly gone (connection refused): no need to count to `fall`.
    pub certain: bool,
    /// One line.
    pub detail: String,
    /// How long the probe took.
    pub took: Duration,
}

/// What an operator can ask of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Command {
    /// Change the mode.
    SetMode {
        /// To what.
        mode: Mode,
        /// Why.
        reason: String,
        /// `standalone` with the peer unseen: the operator vouches that it is off.
        peer_is_off: bool,
        /// Nag after this long in maintenance.
        nag_after: Option<Duration>,
    },
    /// Planned swap.
    Switchover {
        /// Why.
        reason: String,
        /// Give up after this long.
        timeout: Duration,
        /// Only look.
        dry_run: bool,
    },
    /// Take over here now.
    Failover {
        /// Why.
        reason: String,
        /// Must be given.
        force: bool,
        /// The operator accepts that transactions which the peer alone has are left behind.
        accept_data_loss: bool,
        /// The operator vouches that the unseen peer is off.
        peer_is_off: bool,
    },
    /// Back to (ap, ap).
    Rejoin {
        /// Why.
        reason: String,
        /// Only compare.
        dry_run: bool,
    },
    /// Clear a latched fault or the guarded state.
    Clear,
    /// Bring this node's services and its part in the election up.
    Start {
        /// Why.
        reason: String,
        /// Only look.
        dry_run: bool,
    },
    /// Hand over, and bring both down.
    Stop {
        /// Why.
        reason: String,
        /// Only look.
        dry_run: bool,
    },
}
