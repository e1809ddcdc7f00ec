//! Closed list of what can be done. The driver carries these out; it adds nothing of its own.
//!
//! Work that takes time is a [`Step`] in a [`Lane`]. Within a lane nothing overtakes: a step starts
//! after the one before it has ended. Every start has a [`Ticket`] that comes back with its end.

use super::gtid::GtidState;
use super::peer::PeerMessage;
use super::service::ServiceStep;
use super::time::Instant;
use super::why::Why;
use super::words::{Epoch, Mode, NodeId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of one started step; unique within a run of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);

/// Number of one operator's command, given by the driver and answered by [`Action::Answer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub u64);

/// Queues of work that never overtakes within itself. The address lane is apart from the database
/// lane, so that a hung database never pins the address to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Durable facts and the mode file.
    Record,
    /// Gate and virtual address, through the gate process.
    Address,
    /// The local MariaDB server.
    Database,
    /// The peer's MariaDB server and the peer's disk, from here.
    Remote,
    /// The services that this node starts and stops.
    Units,
}

/// One piece of work with an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "lane", content = "step")]
pub enum Step {
    /// Work of [`Lane::Record`].
    Record(RecordStep),
    /// Work of [`Lane::Address`].
    Address(AddressStep),
    /// Work of [`Lane::Database`].
    Database(DatabaseStep),
    /// Work of [`Lane::Remote`].
    Remote(RemoteStep),
    /// Work of [`Lane::Units`].
    Units(ServiceStep),
}

impl Step {
    /// The queue in which this step waits its turn.
    pub const fn lane(&self) -> Lane {
        match self {
            Step::Record(_) => Lane::Record,
            Step::Address(_) => Lane::Address,
            Step::Database(_) => Lane::Database,
            Step::Remote(_) => Lane::Remote,
            Step::Units(_) => Lane::Units,
        }
    }
}

/// What must be on disk before an effect that rests on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStep {
    /// Write the facts to the two-slot state file (O_DSYNC).
    Persist(DurableFacts),
    /// Write the mode file: `being WORD`, then `WORD`, each by temp file, fsync, rename, fsync of the folder.
    SetMode {
        /// The new mode.
        mode: Mode,
        /// Who asked: `operator NAME`, or `apd`.
        actor: String,
        /// Why, in words.
        reason: String,
    },
    /// What an operator said of this node's part, for as long as the host is up.
    SetPart {
        /// Started, or stopped.
        started: bool,
    },
}

/// What survives the daemon: epoch, solo, eligible and the like (DESIGN.md section 3, "Durable facts").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DurableFacts {
    /// Newest epoch known here, one's own or the peer's.
    pub epoch: Epoch,
    /// The epoch in which this node holds the right to serve alone, if it does.
    pub solo: Option<Epoch>,
    /// When it went on alone the other node still held the right to take over, and may have used it since: then
    /// `solo` keeps a gate open, and is no proof once the gate is closed.
    #[serde(default)]
    pub solo_shared: bool,
    /// The epoch for which the active granted this node the right to bid, if it did; or that of this node's own takeover, which
    /// rested on such a right and has not opened the gate.
    pub eligible: Option<Epoch>,
    /// A switchover that was past its point of no return: this node is standby of that epoch.
    pub handed_over: Option<Epoch>,
    /// The data folder is being rebuilt: never eligible.
    pub rebuilding: bool,
    /// Maintenance was entered by apd itself (the automatic edge), so that `rejoin` may leave it.
    pub maintenance_by_apd: bool,
}

/// What the gate process can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressStep {
    /// Add the gate's element (a takeover: the only act that may add one) and the virtual addresses.
    Open {
        /// Activity that it serves.
        epoch: Epoch,
        /// When the lease ends unless renewed.
        lease_end: Instant,
    },
    /// Delete the element, reset the clients' connections, remove the virtual addresses; done when verified.
    Close,
    /// Cut the replication stream between this node's server and the peer's, both ways.
    CutStream,
    /// Lift the cut.
    LiftCut,
}

/// What the local MariaDB server can be asked for. The statements are in `sql/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseStep {
    /// Wait until all that was completely received (`Gtid_IO_Pos`) is applied. Leaves the replica as it was.
    /// Ends with [`StepOutput::Position`] of what is applied.
    Drain,
    /// `STOP SLAVE SQL_THREAD`: frees the locks of a half-received transaction. The receiving thread stays up.
    StopApplying,
    /// Undo of [`DatabaseStep::StopApplying`]: `START SLAVE SQL_THREAD`, only while the receiving thread runs.
    ResumeApplying,
    /// `read_only=0`, verified by read-back.
    AllowWrites,
    /// Insert the epoch into the replicated ledger.
    WriteEpoch {
        /// The new activity.
        epoch: Epoch,
        /// Reason code of the takeover.
        reason: String,
    },
    /// `read_only=1`, bounded in the server, with KILL CONNECTION of client sessions beside it; verified.
    ForbidWrites,
    /// BACKUP STAGE up to BLOCK_COMMIT on a connection that is kept; ends with [`StepOutput::Position`]
    /// (`gtid_binlog_pos`). Falls back to `read_only=1` plus KILL CONNECTION where the stage is refused.
    Freeze,
    /// Undo of [`DatabaseStep::Freeze`].
    Thaw,
    /// After a freeze: KILL CONNECTION of all client sessions, `read_only=1` verified, stage ended, and
    /// the position asserted unchanged. Ends with [`StepOutput::Position`].
    Seal,
    /// Wait until `position` is applied (`MASTER_GTID_WAIT`).
    WaitFor {
        /// A `gtid_binlog_pos` of the peer.
        position: GtidState,
    },
    /// Full stop and reset of the replica, off the critical path.
    ForgetPrimary,
    /// Replicate from the peer: read-only verified first; `gtid_slave_pos` set when given; then
    /// CHANGE MASTER and START. With `None` the server's own position stands.
    Follow {
        /// Where to start.
        position: Option<GtidState>,
        /// Accept events that carry this server's own id (it lost a tail of its own transactions).
        own_tail_lost: bool,
    },
    /// Drop this node's binary log tail that holds nothing but `apd` schema rows which the peer lacks:
    /// RESET MASTER and restore `common` as binlog state and position.
    ForgetOwnTail {
        /// The state that both nodes have.
        common: GtidState,
    },
    /// Apply transactions that were read from the dead server's binary log, with their own GTIDs.
    ApplyTail,
}

impl DatabaseStep {
    /// It only waits, for the server or for somebody's lock: nothing is half done when it is given up.
    pub const fn waits(&self) -> bool {
        matches!(
            self,
            Self::Drain
                | Self::WaitFor { .. }
                | Self::ApplyTail
                | Self::ForgetPrimary
                | Self::Follow { .. }
                | Self::Freeze
        )
    }

    /// Whether it is given up, while it runs, when `next` is queued: what only waits, for what forbids or undoes.
    /// The one exception to the order of a lane.
    pub const fn gives_way_to(&self, next: &Self) -> bool {
        self.waits() && matches!(next, Self::ForbidWrites | Self::Thaw)
    }
}

/// What is asked of the peer's side from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteStep {
    /// See whether the peer's server answers: connect and ask, change nothing. Ends with
    /// [`StepOutput::Done`] or [`StepOutput::Unreachable`].
    ReachServer,
    /// Fence the peer's server by SQL: `read_only=1`, KILL CONNECTION. Ends well also when the server
    /// cannot be reached ([`StepOutput::Unreachable`]).
    FenceServer,
    /// Fetch the tail of the peer's binary log over the peer link: transactions beyond `have`.
    /// Ends with [`StepOutput::Tail`]; [`DatabaseStep::ApplyTail`] then applies what was fetched.
    FetchTail {
        /// What this node has received and applied.
        have: GtidState,
    },
    /// Compare both servers exactly, per (domain, server). Ends with [`StepOutput::Comparison`].
    Compare,
}

/// What a step brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutput {
    /// Nothing but its end.
    Done,
    /// A position.
    Position(GtidState),
    /// The other side could not be reached; for [`RemoteStep::FenceServer`] an answer, not a failure.
    Unreachable,
    /// How many transactions were fetched.
    Tail {
        /// Complete transactions.
        transactions: u64,
    },
    /// How the two servers' data relate.
    Comparison(Comparison),
}

/// Result of an exact comparison of both servers, seen from this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// This server's `gtid_binlog_state` (with `gtid_slave_pos` merged for a fresh clone).
    pub mine: GtidState,
    /// The peer's.
    pub theirs: GtidState,
    /// Data transactions that only this node has, each as `domain-server-first..last`: never empty means diverged.
    pub errant: Vec<String>,
    /// Transactions that only this node has and that touch only the `apd` schema: not data.
    pub own_notes: u64,
    /// The peer has transactions with this server's own id which this server lost.
    pub own_tail_lost: bool,
    /// The state that both have; where to start following.
    pub common: GtidState,
    /// Newest epoch in the peer's ledger.
    pub peer_ledger: Epoch,
    /// Newest epoch in this server's ledger.
    pub my_ledger: Epoch,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// It did what it says.
    Ok(StepOutput),
    /// It failed; the text names the statement or call, the error and where a remedy is known that too.
    Failed(String),
    /// It did not end by its deadline. What it started may still take effect later; nothing else of its lane
    /// starts before the lane has made sure of it.
    TimedOut,
}

/// One thing to do now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Send one VRRP advertisement.
    SendAdvert {
        /// 0 resigns.
        priority: u8,
    },
    /// Send one message over the peer link; lost when it is down.
    SendPeer(PeerMessage),
    /// Hand the gate a new lease end. Never adds: a lost lease stays lost.
    RenewLease {
        /// Activity that it serves.
        epoch: Epoch,
        /// Absolute, on CLOCK_BOOTTIME.
        lease_end: Instant,
    },
    /// Put a step into its lane.
    Start {
        /// Comes back in [`super::event::Event::StepEnded`].
        ticket: Ticket,
        /// What to do.
        step: Step,
        /// Counted from when the lane begins it.
        deadline: Duration,
    },
    /// Give up on a started step: the lane abandons it and ends it as `TimedOut`.
    Abandon(Ticket),
    /// Probe the gateway targets now, beside their regular interval.
    ProbeGateway,
    /// Look for someone who answers ARP for the virtual addresses, and for fresh heartbeat rows, until told otherwise.
    WatchForLife {
        /// On or off.
        on: bool,
    },
    /// Announce the virtual addresses: gratuitous ARP, the configured burst, delay and refresh.
    Announce,
    /// Stop announcing (delayed and refresh bursts too).
    StopAnnouncing,
    /// What the database watcher shall do from now on.
    WatchDatabase {
        /// `Some`: write heartbeat rows of this epoch; `None`: write nothing.
        heartbeat_epoch: Option<Epoch>,
    },
    /// Tell the operator.
    Answer {
        /// Whom.
        id: CommandId,
        /// What.
        answer: Answer,
    },
    /// A decision with its reason, for log, journal, metrics, hooks.
    Tell(Why),
    /// The daemon may exit now.
    Exit,
}

/// Answer to an operator's command; the codes are INTERFACE.md's exit codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Still going on; one line for the operator, may come several times.
    Progress(String),
    /// Done (exit 0).
    Done(String),
    /// Done, but degraded (exit 7).
    Degraded(String),
    /// Already so (exit 0; 10 with `--exit-code`).
    Already(String),
    /// Refused because unsafe (exit 6); names the flag or command that resolves it.
    Refused {
        /// Stable code, `E_...`.
        code: String,
        /// Why.
        reason: String,
        /// What resolves it.
        remedy: String,
    },
    /// Failed (exit 1).
    Failed(String),
    /// The peer is not reachable and is needed (exit 9).
    PeerUnreachable(String),
}

impl Answer {
    /// Whether more follows.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Answer::Progress(_))
    }
}

/// Node that a message or fact speaks of, where both sides must agree on the index.
pub const fn other(node: NodeId) -> NodeId {
    NodeId(3 - node.0)
}
