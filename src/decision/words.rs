//! The words that every part of the project uses: role, mode, epoch, and the names of levels.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves clients, or is on the way to it with the right already held.
    Active,
    /// Follows the active and may take over.
    Standby,
    /// Wants a role and is not fit for it; the reason is shown.
    Fault,
    /// Takes no part: mode maintenance, or stopped.
    Out,
}

impl Role {
    /// The word, as shown and as written in files.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Active => "active",
            Role::Standby => "standby",
            Role::Fault => "fault",
            Role::Out => "out",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Takes part in the election.
    Ap,
    /// Serves nothing, holds nothing, database read-only.
    Maintenance,
    /// Serves alone, needs no peer.
    Standalone,
}

impl Mode {
    /// The word, as shown and as written in the mode file.
    pub const fn word(self) -> &'static str {
        match self {
            Mode::Ap => "ap",
            Mode::Maintenance => "maintenance",
            Mode::Standalone => "standalone",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// A word that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no mode: the modes are ap, maintenance (m) and standalone (s)")]
pub struct UnknownMode(pub String);

impl FromStr for Mode {
    type Err = UnknownMode;
    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        match word {
            "ap" => Ok(Mode::Ap),
            "maintenance" | "m" => Ok(Mode::Maintenance),
            "standalone" | "s" => Ok(Mode::Standalone),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

/// Which of the two nodes: an index that both hosts compute alike, from the numeric order of the
/// nodes' addresses (lower address: `NodeId(1)`, higher: `NodeId(2)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u8);

/// Number of an activity, and the node that was active in it. Ordered by number; the node breaks a
/// tie that only a partition can create. `Epoch::default()` (0, no node) is before every activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// Counts activities of the pair; +1 at every takeover.
    pub number: u64,
    /// Who is active in it.
    pub node: NodeId,
}

impl Epoch {
    /// The epoch that `node` opens when it takes over after `self`.
    pub const fn next_for(self, node: NodeId) -> Epoch {
        Epoch { number: self.number + 1, node }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.number)
    }
}

/// Identity of one run of one daemon: random at each start, so that an acknowledgement for an
/// earlier run is never taken for one of this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

/// Who may go on alone (DESIGN.md section 1, "Protection levels"). The levels `peer`, `arbiter` and
/// `fencing` are known to the configuration and refused there until they are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// The active by itself, the standby after silence, as plain VRRP.
    Vrrp,
    /// As `vrrp`, but only a node whose probe targets answer.
    Gateway,
}

impl Protection {
    /// The word, as written in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Protection::Vrrp => "vrrp",
            Protection::Gateway => "gateway",
        }
    }
}
