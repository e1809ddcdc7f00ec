//! The faults: what is done to the pair at the moment of the fault, and what is put right again afterwards.

use std::str::FromStr;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::machine::Process;
use super::network::{GATEWAY, batch};
use super::{Pair, network};

/// A fault of the active node unless its name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The node loses its power.
    PowerOff,
    /// Its interface is taken down on the node itself.
    NicDown,
    /// The switch takes its port down.
    Cable,
    /// SIGTERM to the daemon.
    DaemonTerm,
    /// SIGKILL to the daemon.
    DaemonKill,
    /// SIGSTOP to the daemon, SIGCONT later.
    DaemonStop,
    /// SIGKILL to the gate process; keepalived has none.
    GateKill,
    /// SIGKILL to the API.
    ApiKill,
    /// SIGSTOP to the API, SIGCONT later.
    ApiHang,
    /// SIGKILL to the server.
    DatabaseKill,
    /// SIGSTOP to the server, SIGCONT later.
    DatabaseHang,
    /// Nothing passes between the nodes; both reach the clients and the gateway.
    Partition,
    /// Nothing passes from or to the active; healed later.
    Isolation,
    /// The active loses its power and comes back later.
    Return,
    /// The standby loses its power.
    StandbyPowerOff,
    /// SIGKILL to the standby's server.
    StandbyDatabaseKill,
    /// A planned swap.
    Switchover,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::PowerOff,
        Self::NicDown,
        Self::Cable,
        Self::DaemonTerm,
        Self::DaemonKill,
        Self::DaemonStop,
        Self::GateKill,
        Self::ApiKill,
        Self::ApiHang,
        Self::DatabaseKill,
        Self::DatabaseHang,
        Self::Partition,
        Self::Isolation,
        Self::Return,
        Self::StandbyPowerOff,
        Self::StandbyDatabaseKill,
        Self::Switchover,
    ];

    /// The name on the command line and in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::PowerOff => "power-off",
            Self::NicDown => "nic-down",
            Self::Cable => "cable",
            Self::DaemonTerm => "daemon-term",
            Self::DaemonKill => "daemon-kill",
            Self::DaemonStop => "daemon-stop",
            Self::GateKill => "gate-kill",
            Self::ApiKill => "api-kill",
            Self::ApiHang => "api-hang",
            Self::DatabaseKill => "db-kill",
            Self::DatabaseHang => "db-hang",
            Self::Partition => "partition",
            Self::Isolation => "isolation",
            Self::Return => "return",
            Self::StandbyPowerOff => "standby-power-off",
            Self::StandbyDatabaseKill => "standby-db-kill",
            Self::Switchover => "switchover",
        }
    }

    /// Whether it is put right during the run, and the pair then watched again.
    pub fn heals(self) -> bool {
        matches!(
            self,
            Self::DaemonStop
                | Self::ApiHang
                | Self::DatabaseHang
                | Self::Partition
                | Self::Isolation
                | Self::Return
        )
    }

    /// Does it. `active` is the node that serves.
    pub fn inject(self, pair: &mut Pair, active: usize) -> Result<()> {
        match self {
            Self::PowerOff | Self::Return => pair.power_off(active),
            Self::StandbyPowerOff => pair.power_off(1 - active),
            Self::NicDown => batch(pair.nodes[active].machine()?, "link set eth0 down\n"),
            Self::Cable => pair.switch.port(pair.nodes[active].name, false),
            Self::Partition => pair.switch.cut_between(pair.nodes[0].name, pair.nodes[1].name),
            Self::Isolation => pair.switch.isolate(pair.nodes[active].name),
            Self::Switchover => pair.setup.switchover(&pair.tools, pair.nodes[active].machine()?),
            Self::DaemonTerm => signal(pair, active, Target::Daemon, Signal::SIGTERM),
            Self::DaemonKill => signal(pair, active, Target::Daemon, Signal::SIGKILL),
            Self::DaemonStop => signal(pair, active, Target::Daemon, Signal::SIGSTOP),
            Self::GateKill => signal(pair, active, Target::Gate, Signal::SIGKILL),
            Self::ApiKill => signal(pair, active, Target::Api, Signal::SIGKILL),
            Self::ApiHang => signal(pair, active, Target::Api, Signal::SIGSTOP),
            Self::DatabaseKill => signal(pair, active, Target::Database, Signal::SIGKILL),
            Self::DatabaseHang => signal(pair, active, Target::Database, Signal::SIGSTOP),
            Self::StandbyDatabaseKill => signal(pair, 1 - active, Target::Database, Signal::SIGKILL),
        }
    }

    /// Puts it right again, as far as an operator or the network would; `active` is the node that was hit.
    pub fn heal(self, pair: &mut Pair, active: usize) -> Result<()> {
        match self {
            Self::NicDown => {
                let lines = format!("link set eth0 up\nroute replace default via {GATEWAY}\n");
                network::batch(pair.nodes[active].machine()?, &lines)
            }
            Self::Cable => pair.switch.port(pair.nodes[active].name, true),
            Self::Partition | Self::Isolation => pair.switch.heal(),
            Self::Return | Self::PowerOff => pair.power_on(active),
            Self::StandbyPowerOff => pair.power_on(1 - active),
            Self::DaemonStop => signal(pair, active, Target::Daemon, Signal::SIGCONT),
            Self::ApiHang => signal(pair, active, Target::Api, Signal::SIGCONT),
            Self::DatabaseHang => signal(pair, active, Target::Database, Signal::SIGCONT),
            Self::DaemonTerm | Self::DaemonKill => pair.start_daemon(active),
            Self::ApiKill => pair.start_api(active),
            Self::DatabaseKill => pair.start_server(active),
            Self::StandbyDatabaseKill => pair.start_server(1 - active),
            Self::GateKill | Self::Switchover => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|fault| fault.word() == word) {
            Some(fault) => Ok(fault),
            None => bail!("`{word}` is none of: {}", Self::ALL.map(Self::word).join(", ")),
        }
    }
}

/// Which processes of a node a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The daemon, without its gate.
    Daemon,
    /// The gate process.
    Gate,
    /// The API.
    Api,
    /// The MariaDB server.
    Database,
}

/// The processes of a node that `target` names.
pub fn processes(pair: &Pair, index: usize, target: Target) -> Result<Vec<Process>> {
    let machine = pair.nodes[index].machine()?;
    Ok(match target {
        Target::Daemon => pair.setup.daemon(machine),
        Target::Gate => pair.setup.gate(machine),
        Target::Api => machine.find("apd-lab", " api"),
        Target::Database => machine.find("mariadbd", ""),
    })
}

/// Sends a signal to the processes of a node; none running is an error, for then nothing would be tested.
pub fn signal(pair: &Pair, index: usize, target: Target, signal: Signal) -> Result<()> {
    let found = processes(pair, index, target)?;
    if found.is_empty() {
        bail!("{target:?} does not run on {}", pair.nodes[index].name);
    }
    pair.nodes[index].machine()?.signal(&found, signal)
}
