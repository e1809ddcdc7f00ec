//! What a run is made of, as plain data: the configuration and the faults. Drawn from a seed, shrunk by the
//! minimiser, written and read as text, so that a run outlives the generator that drew it.

use super::random::Random;
use super::semisync::DrawnSemiSync;
use super::services::DrawnService;
use super::settings::Drawn;
use serde::{Deserialize, Serialize};

/// One run before it is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of the small chances: how long each step and each packet takes, when clients write.
    pub seed: u64,
    /// A planned swap after some of the rounds.
    #[serde(default)]
    pub swaps: bool,
    /// The last fault takes a host away for good: the other one serves.
    #[serde(default, skip_serializing_if = "is_false")]
    pub survivor: bool,
    /// The pair's configuration.
    pub configuration: Drawn,
    /// Round by round; a round begins when the pair has healed from the one before.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
}

/// What happens to whom, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Counted from 1.
    pub round: u32,
    /// After the begin of the round.
    pub at_ms: u64,
    /// Until it ends.
    pub for_ms: u64,
    /// What.
    pub what: What,
    /// Whom it strikes.
    #[serde(default, skip_serializing_if = "Who::is_first")]
    pub who: Who,
    /// Of a link: what no longer passes as it should, leaving this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Of a link: the way back too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub both_ways: bool,
    /// Percent, or milliseconds, by what it is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub amount: u64,
}

/// Kinds of faults, and of what operators do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// No last word; what was not synced is gone.
    PowerOff,
    /// Both hosts at once.
    PowerOffBoth,
    /// The host sleeps: its boot clock goes on, its kernel timers do not.
    Suspend,
    /// The virtual machine stands still, clock and all.
    Freeze,
    /// kill -9 of the daemon.
    DaemonCrash,
    /// SIGSTOP of the daemon.
    DaemonPause,
    /// SIGTERM of the daemon, and its start.
    DaemonStop,
    /// kill -9 of the gate process.
    GateCrash,
    /// The gate process gets no processor; `amount` ms.
    GateSlow,
    /// kill -9 of the server.
    ServerKill,
    /// The server answers nobody.
    ServerHang,
    /// The server answers clients, and not the daemon.
    ConnectionHang,
    /// A statement of a client that runs as long as the fault: `read_only=1` waits for it, or for its rollback.
    LongWrite,
    /// An administrator writes past `read_only`.
    PrivilegedWrite,
    /// The interface goes down.
    NicDown,
    /// The cable beyond the interface.
    Isolate,
    /// The check of the API fails.
    ApiFails,
    /// No target answers anybody.
    GatewayDown,
    /// `protocol` does not pass.
    Cut,
    /// `amount` percent are lost; of all protocols if none is named.
    Loss,
    /// `amount` ms later.
    Delay,
    /// `amount` percent arrive twice, the second time late.
    Duplicate,
    /// VRRP and peer link, both ways; ARP and SQL still pass.
    NodesOnly,
    /// Every path between the nodes, while clients and gateway reach both.
    Partition,
    /// The state file is written slowly.
    SlowDisk,
    /// The state file and the mode file cannot be written.
    DiskFails,
    /// The state file is gone at the next start.
    StateLost,
    /// The replica applies one transaction at a time.
    SlowApply,
    /// A stranger on the network answers for the address.
    Stranger,
    /// An operator asks for a planned swap.
    Switchover,
    /// An operator's maintenance, and back.
    Maintenance,
    /// An operator's standalone, and back.
    Standalone,
    /// An operator takes over by force.
    Force,
    /// Somebody writes nonsense into the mode file, and repairs it.
    ModeGarbage,
    /// The service ends by itself, at the begin and at the end.
    ServiceEnds,
    /// The service ends, and does not start any more.
    ServiceBreaks,
}

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The first host.
    #[default]
    Db1,
    /// The second host.
    Db2,
    /// Whoever serves when the fault begins.
    Active,
    /// The other one.
    Standby,
    /// Whom the first fault of the round struck that struck the active.
    Same,
}

impl Fault {
    /// In the first round, for no time yet.
    pub(super) const fn plain(what: What, who: Who) -> Self {
        Self { round: 1, at_ms: 0, for_ms: 0, what, who, protocol: None, both_ways: false, amount: 0 }
    }
}

impl Who {
    fn is_first(&self) -> bool {
        *self == Self::Db1
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Advertisements.
    Vrrp,
    /// The link between the daemons.
    Peer,
    /// Replication, and what one daemon says to the other's server.
    Sql,
    /// Who has the address.
    Arp,
    /// Clients and this host.
    Client,
    /// The probe targets and this host.
    Gateway,
}

impl Plan {
    /// Everything that a seed stands for.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let configuration = Drawn::draw(&mut random);
        let rounds = 1 + random.below(3) as u32;
        let mut faults = Vec::new();
        for round in 1..=rounds {
            let count = random.pick(&[1, 1, 1, 2, 2, 3, 4]);
            let mut at_ms = 0;
            for _ in 0..count {
                // Often close together: what happens while something else goes on is what breaks.
                at_ms += random.pick(&[0, 20, 150, 400, 900, 3_000]) + random.below(configuration.lease_ms);
                faults.push(draw_fault(&mut random, &configuration, round, at_ms));
            }
        }
        let mut plan = Self { seed, swaps: random.percent(50), survivor: false, configuration, faults };
        plan.configuration.service = DrawnService::draw(seed);
        plan.configuration.semi_sync = DrawnSemiSync::draw(seed);
        if plan.configuration.service.is_some() {
            let more = DrawnService::faults(seed, &plan);
            plan.faults.extend(more);
        }
        plan
    }

    /// The number of rounds.
    pub fn rounds(&self) -> u32 {
        self.faults.iter().map(|fault| fault.round).max().unwrap_or(0)
    }
}

fn draw_fault(random: &mut Random, configuration: &Drawn, round: u32, at_ms: u64) -> Fault {
    let what = draw_what(random);
    let who = random.pick(&[Who::Db1, Who::Db2, Who::Active, Who::Standby]);
    let protocols = [Protocol::Vrrp, Protocol::Peer, Protocol::Sql, Protocol::Arp, Protocol::Client];
    let protocol = match what {
        What::Cut => Some(match random.below(11) {
            10 => Protocol::Gateway,
            other => protocols[other as usize / 2],
        }),
        What::Loss if random.percent(50) => None,
        What::Loss => Some(random.pick(&protocols)),
        What::Delay if random.percent(50) => None,
        What::Delay => Some(random.pick(&[Protocol::Vrrp, Protocol::Peer])),
        What::Duplicate => Some(Protocol::Vrrp),
        _ => None,
    };
    let amount = match what {
        What::GateSlow => random.between(20, 1_200),
        What::Loss => random.between(5, 50),
        What::Delay => random.between(5, 1_500),
        What::Duplicate => random.between(20, 100),
        _ => 0,
    };
    let both_ways = what == What::Cut && random.percent(60);
    let for_ms = length_of(what, random, configuration.lease_ms);
    Fault { round, at_ms, for_ms, what, who, protocol, both_ways, amount }
}

pub(super) fn length_of(what: What, random: &mut Random, lease: u64) -> u64 {
    match what {
        What::DaemonCrash
        | What::DaemonPause
        | What::GatewayDown
        | What::Cut
        | What::GateSlow
        | What::Suspend
        | What::Freeze
        | What::ConnectionHang => match random.below(3) {
            0 => random.below(lease),
            1 => random.between(lease, 4 * lease),
            _ => random.between(lease, 10_000 + lease),
        },
        What::PowerOff | What::PowerOffBoth | What::StateLost => random.between(500, 20_000),
        What::ServerKill => random.between(50, 8_000),
        What::Switchover | What::PrivilegedWrite | What::Force => 100,
        What::Maintenance | What::Standalone => random.between(2_000, 8_000),
        What::LongWrite => random.between(100, 4_000),
        _ => random.between(lease / 2, 8_000 + lease),
    }
}

fn draw_what(random: &mut Random) -> What {
    const WEIGHTS: &[(What, u64)] = &[
        (What::PowerOff, 6),
        (What::PowerOffBoth, 2),
        (What::Suspend, 2),
        (What::Freeze, 2),
        (What::DaemonCrash, 4),
        (What::DaemonPause, 4),
        (What::DaemonStop, 2),
        (What::GateCrash, 2),
        (What::GateSlow, 2),
        (What::ServerKill, 4),
        (What::ServerHang, 4),
        (What::ConnectionHang, 2),
        (What::LongWrite, 2),
        (What::PrivilegedWrite, 1),
        (What::NicDown, 4),
        (What::Isolate, 2),
        (What::ApiFails, 2),
        (What::GatewayDown, 2),
        (What::Cut, 8),
        (What::Loss, 3),
        (What::Delay, 3),
        (What::Duplicate, 1),
        (What::NodesOnly, 2),
        (What::Partition, 2),
        (What::SlowDisk, 2),
        (What::DiskFails, 1),
        (What::StateLost, 1),
        (What::SlowApply, 2),
        (What::Stranger, 1),
        (What::Switchover, 3),
        (What::Maintenance, 2),
        (What::Standalone, 1),
        (What::Force, 1),
        (What::ModeGarbage, 1),
    ];
    let total = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut left = random.below(total);
    for (what, weight) in WEIGHTS {
        if left < *weight {
            return *what;
        }
        left -= weight;
    }
    What::PowerOff
}
