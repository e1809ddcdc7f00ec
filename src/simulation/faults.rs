//! What goes wrong: a plan drawn from the seed, begun and ended at its times.

use super::database::Health;
use super::network::Protocol;
use super::random::Random;
use super::settings::Drawn;
use super::world::{Happening, MS, World};
use crate::decision::action::CommandId;
use crate::decision::event::{Command, Event};
use crate::decision::words::Mode;

/// One kind of fault; the number is the host that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PowerOff(usize),
    PowerOffBoth,
    DaemonCrash(usize),
    DaemonPause(usize),
    DaemonStop(usize),
    GateCrash(usize),
    GateSlow(usize),
    ServerKill(usize),
    ServerHang(usize),
    NicDown(usize),
    Isolate(usize),
    ApiFails(usize),
    GatewayDown,
    /// One protocol, one way (`false`) or both.
    Cut(usize, Protocol, bool),
    /// VRRP and peer link, both ways; ARP and SQL still pass.
    NodesOnly,
    /// Every path between the nodes, while clients and gateway reach both.
    Partition,
    Loss(usize),
    Slow(usize),
    SlowDisk(usize),
    SlowApply(usize),
    Switchover(usize),
    /// An operator's maintenance, and back.
    Maintenance(usize),
}

/// A fault with its times, counted from the begin of its round.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub begin: u64,
    pub length: u64,
}

/// All faults of a run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub rounds: Vec<Vec<Fault>>,
    pub faults: Vec<Fault>,
    pub open: u32,
    /// Pure partitions that go on.
    pub partitions: u32,
    commands: u64,
}

impl Plan {
    pub fn draw(random: &mut Random, drawn: &Drawn) -> Self {
        let rounds = 1 + random.below(3);
        let lease = drawn.nodes[0].lease.as_nanos() as u64;
        let rounds = (0..rounds).map(|_| {
            let count = random.pick(&[1, 1, 1, 2, 2, 3, 4]);
            let mut start = 0;
            (0..count)
                .map(|_| {
                    // Often close together: what happens while something else goes on is what breaks.
                    start += random.pick(&[0, 20, 150, 400, 900, 3_000]) * MS + random.below(lease);
                    let kind = draw_kind(random);
                    Fault { kind, begin: start, length: length_of(kind, random, lease) }
                })
                .collect()
        });
        Self { rounds: rounds.collect(), ..Self::default() }
    }
}

fn length_of(kind: Kind, random: &mut Random, lease: u64) -> u64 {
    match kind {
        Kind::DaemonCrash(_)
        | Kind::DaemonPause(_)
        | Kind::GatewayDown
        | Kind::Cut(..)
        | Kind::GateSlow(_) => match random.below(3) {
            0 => random.below(lease),
            1 => random.between(lease, 4 * lease),
            _ => random.between(lease, 10_000 * MS + lease),
        },
        Kind::PowerOff(_) | Kind::PowerOffBoth => random.between(500 * MS, 20_000 * MS),
        Kind::ServerKill(_) => random.between(50 * MS, 8_000 * MS),
        Kind::Switchover(_) => 100 * MS,
        Kind::Maintenance(_) => random.between(2_000 * MS, 8_000 * MS),
        _ => random.between(lease / 2, 8_000 * MS + lease),
    }
}

fn draw_kind(random: &mut Random) -> Kind {
    let host = random.below(2) as usize;
    let both = random.percent(60);
    match random.below(31) {
        0..=2 => Kind::PowerOff(host),
        3 => Kind::PowerOffBoth,
        4..=5 => Kind::DaemonCrash(host),
        6..=7 => Kind::DaemonPause(host),
        8 => Kind::DaemonStop(host),
        9 => Kind::GateCrash(host),
        10 => Kind::GateSlow(host),
        11..=12 => Kind::ServerKill(host),
        13..=14 => Kind::ServerHang(host),
        15..=16 => Kind::NicDown(host),
        17 => Kind::Isolate(host),
        18 => Kind::ApiFails(host),
        19 => Kind::GatewayDown,
        20 => Kind::Cut(host, Protocol::Vrrp, both),
        21 => Kind::Cut(host, Protocol::Peer, both),
        22 => Kind::Cut(host, Protocol::Sql, both),
        23 => Kind::NodesOnly,
        24 => Kind::Partition,
        25 => Kind::Loss(host),
        26 => Kind::Slow(host),
        27 => Kind::SlowDisk(host),
        28 => Kind::SlowApply(host),
        29 => Kind::Switchover(host),
        _ => Kind::Maintenance(host),
    }
}

impl World {
    /// Begins the next round; false if there is none.
    pub fn next_round(&mut self) -> bool {
        let Some(round) = self.plan.rounds.pop() else { return false };
        for fault in round {
            self.plan.faults.push(fault);
            self.plan.open += 1;
            let number = self.plan.faults.len() - 1;
            self.at(fault.begin, Happening::Begin { fault: number });
        }
        true
    }

    pub fn command(&mut self, host: usize, command: Command) -> u64 {
        self.plan.commands += 1;
        let id = self.plan.commands;
        self.checkers.disturbed_at = self.now;
        self.trace(|| format!("db{} operator: {command:?}", host + 1));
        let run = self.hosts[host].run;
        let event = Event::Command { id: CommandId(id), command, actor: "operator".into() };
        self.at(1, Happening::Deliver { host, run, event });
        id
    }

    fn cut(&mut self, from: usize, protocol: Protocol, on: bool) {
        let count = &mut self.network.cut[from][protocol as usize];
        *count = if on { *count + 1 } else { *count - 1 };
    }

    fn cut_both(&mut self, protocols: &[Protocol], on: bool) {
        for protocol in protocols {
            self.cut(0, *protocol, on);
            self.cut(1, *protocol, on);
        }
    }

    pub fn fault_begins(&mut self, number: usize) {
        let fault = self.plan.faults[number];
        self.checkers.disturbed_at = self.now;
        self.trace(|| format!("FAULT {:?} for {} ms", fault.kind, fault.length / MS));
        self.at(fault.length, Happening::End { fault: number });
        match fault.kind {
            Kind::PowerOff(host) => self.power_off(host),
            Kind::PowerOffBoth => (0..2).for_each(|host| self.power_off(host)),
            Kind::DaemonCrash(host) => self.daemon_dies(host),
            Kind::DaemonPause(host) => self.daemon_pause(host),
            Kind::DaemonStop(host) => {
                let run = self.hosts[host].run;
                self.deliver(host, run, Event::Stop);
            }
            Kind::GateCrash(host) => self.gate_crash(host),
            Kind::GateSlow(host) => self.hosts[host].gate.slow = self.random.micros(20_000, 1_200_000),
            Kind::ServerKill(host) => self.server_dies(host),
            Kind::ServerHang(host) if self.hosts[host].server.up() => {
                self.hosts[host].server.health = Health::Hung;
            }
            Kind::Partition => {
                self.checkers.forked = true;
                self.plan.partitions += 1;
                self.cut_both(&[Protocol::Vrrp, Protocol::Peer, Protocol::Sql, Protocol::Arp], true);
            }
            Kind::Switchover(host) => {
                let timeout = std::time::Duration::from_secs(10);
                let command = Command::Switchover { reason: "operator".into(), timeout, dry_run: false };
                self.command(host, command);
            }
            Kind::Maintenance(host) => self.set_mode(host, Mode::Maintenance),
            kind => self.strike(kind, true),
        }
    }

    /// Faults whose end is their begin undone.
    fn strike(&mut self, kind: Kind, on: bool) {
        let count = |counter: &mut u32| *counter = if on { *counter + 1 } else { *counter - 1 };
        match kind {
            Kind::NicDown(host) => {
                count(&mut self.network.nic_down[host]);
                self.tell_link(host);
            }
            Kind::Isolate(host) => {
                count(&mut self.network.isolated[host]);
                self.excuse_isolation();
            }
            Kind::ApiFails(host) => self.hosts[host].api = !on,
            Kind::GatewayDown => count(&mut self.network.gateway_down),
            Kind::Cut(host, protocol, both) => {
                self.cut(host, protocol, on);
                if both {
                    self.cut(1 - host, protocol, on);
                }
            }
            Kind::NodesOnly => self.cut_both(&[Protocol::Vrrp, Protocol::Peer], on),
            Kind::Loss(host) => self.network.loss[host] = if on { self.random.between(5, 50) } else { 0 },
            Kind::Slow(host) => {
                self.network.slow[host] = if on { self.random.micros(5_000, 1_500_000) } else { 0 }
            }
            Kind::SlowDisk(host) => count(&mut self.hosts[host].slow_disk),
            Kind::SlowApply(host) => count(&mut self.hosts[host].slow_apply),
            _ => {}
        }
    }

    fn set_mode(&mut self, host: usize, mode: Mode) {
        let command =
            Command::SetMode { mode, reason: "operator".into(), peer_is_off: false, nag_after: None };
        self.command(host, command);
    }

    pub fn fault_ends(&mut self, number: usize) {
        let fault = self.plan.faults[number];
        self.checkers.disturbed_at = self.now;
        self.plan.open -= 1;
        self.trace(|| format!("ENDS {:?}", fault.kind));
        match fault.kind {
            Kind::PowerOff(host) => self.power_on(host),
            Kind::PowerOffBoth => {
                let late = self.random.pick(&[0, 300, 20_000]) * MS;
                let first = self.random.below(2) as usize;
                self.power_on(first);
                self.at(late, Happening::PowerOn { host: 1 - first });
            }
            Kind::DaemonCrash(host) | Kind::DaemonStop(host) => {
                // A daemon that takes its time to stop is given it.
                let wait = if self.hosts[host].daemon.is_some() { 15_000 * MS } else { 0 };
                self.at(wait, Happening::DaemonStart { host });
            }
            Kind::DaemonPause(host) => self.daemon_resume(host),
            Kind::GateCrash(host) => self.gate_start(host),
            Kind::GateSlow(host) => self.hosts[host].gate.slow = 0,
            Kind::ServerKill(host) => self.server_start(host),
            Kind::ServerHang(host) if self.hosts[host].server.health == Health::Hung => {
                self.server_wakes(host);
            }
            Kind::Partition => {
                self.plan.partitions -= 1;
                self.cut_both(&[Protocol::Vrrp, Protocol::Peer, Protocol::Sql, Protocol::Arp], false);
                self.excuse_partition();
            }
            Kind::Maintenance(host) => self.set_mode(host, Mode::Ap),
            kind => self.strike(kind, false),
        }
    }

    fn power_off(&mut self, host: usize) {
        self.daemon_dies(host);
        let state = &mut self.hosts[host];
        state.powered = false;
        state.server.die();
        let run = state.gate.run + 1;
        state.gate = super::gate::Gate { run, ..Default::default() };
        self.hang_up(host);
    }

    pub fn power_on(&mut self, host: usize) {
        if self.hosts[host].powered {
            return;
        }
        self.checkers.disturbed_at = self.now;
        self.hosts[host].powered = true;
        let offset = self.random.between(1, 60_000) * MS;
        self.hosts[host].boots(offset);
        self.gate_start(host);
        let server = self.random.micros(10_000, 4_000_000);
        self.at(server, Happening::ServerStart { host });
        let daemon = self.random.micros(10_000, 2_000_000);
        self.at(daemon, Happening::DaemonStart { host });
    }
}
