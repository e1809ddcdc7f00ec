//! What gives the right to a takeover, how it came about, and the order of its effects: data that the rules of
//! `takeover` follow.

use serde::{Deserialize, Serialize};

/// What gives the right to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Right {
    /// The active granted it, and is silent.
    Eligible,
    /// The active granted it, and reported its gate closed.
    Released,
    /// This node's own durable solo record is at the newest known epoch.
    Solo,
    /// Mode standalone.
    Standalone,
    /// Both see each other, neither is active, and this node's data is the better.
    Contact,
    /// An operator forces it.
    Operator,
}

impl Right {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Right::Eligible => "eligible",
            Right::Released => "released",
            Right::Solo => "solo",
            Right::Standalone => "standalone",
            Right::Contact => "contact",
            Right::Operator => "operator",
        }
    }
}

/// How the takeover came about; decides which steps apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TakeoverKind {
    /// After a bid.
    Silence,
    /// The peer closed its gate and said so.
    Released,
    /// In contact, neither active.
    Contact,
    /// Switchover that an operator asked for: the pair stays (ap, ap).
    Planned,
    /// Switchover that a failed check caused.
    Handover,
    /// `apctl failover --force` or `mode standalone`.
    Forced,
}

impl TakeoverKind {
    /// The pair becomes (maintenance, standalone), whoever served before.
    pub(super) const fn ends_standalone(self) -> bool {
        matches!(
            self,
            TakeoverKind::Silence | TakeoverKind::Released | TakeoverKind::Handover | TakeoverKind::Forced
        )
    }
    /// The lease rests on the solo record from the beginning. After a release it rests on the peer's
    /// acknowledgement: a release that was long on its way must not open a second gate.
    pub(super) const fn solo_at_once(self) -> bool {
        matches!(self, TakeoverKind::Silence | TakeoverKind::Handover | TakeoverKind::Forced)
    }
    /// Counts towards `max_failovers_per_hour`.
    pub(super) const fn automatic(self) -> bool {
        matches!(self, TakeoverKind::Silence | TakeoverKind::Released | TakeoverKind::Handover)
    }
    /// The replica was already brought to the old active's last position.
    pub(super) const fn drained_before(self) -> bool {
        matches!(self, TakeoverKind::Planned | TakeoverKind::Handover)
    }
}

/// Steps of a takeover. The order is the promise; see DESIGN.md section 4, "Takeover".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakeoverStep {
    /// Epoch (and solo) on disk before any effect.
    PersistEpoch,
    /// Hold a lease: the peer's acknowledgement, or the solo record.
    HoldLease,
    /// A cold standby's server.
    StartDatabase,
    /// What the peer's living server has.
    AskPeer,
    /// ... is fetched, where no replica runs.
    FollowPeer,
    /// ... is received and applied.
    CatchUp,
    /// Nothing from the old active any more.
    CutStream,
    /// All that was received is applied.
    Drain,
    /// The dead server's tail, from its disk.
    FetchTail,
    /// ... applied.
    ApplyTail,
    /// Frees the locks of a half-received transaction.
    StopApplying,
    /// The old active's server, if it can be reached.
    FenceServer,
    /// `read_only=0`, verified.
    AllowWrites,
    /// The ledger.
    WriteEpoch,
    /// What runs on the active alone.
    StartServices,
    /// Gate and address: clients.
    OpenGate,
}

/// The order of effects.
pub(super) const TAKE_OVER: &[TakeoverStep] = &[
    TakeoverStep::PersistEpoch,
    TakeoverStep::HoldLease,
    TakeoverStep::StartDatabase,
    TakeoverStep::FenceServer,
    TakeoverStep::AskPeer,
    TakeoverStep::FollowPeer,
    TakeoverStep::CatchUp,
    TakeoverStep::CutStream,
    TakeoverStep::Drain,
    TakeoverStep::FetchTail,
    TakeoverStep::StopApplying,
    TakeoverStep::ApplyTail,
    TakeoverStep::AllowWrites,
    TakeoverStep::WriteEpoch,
    TakeoverStep::StartServices,
    TakeoverStep::OpenGate,
];

/// What a bid has done before the right is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) stopped: bool,
    /// The old active's server answers from here: it must be fenced.
    pub(super) server_reachable: bool,
}
