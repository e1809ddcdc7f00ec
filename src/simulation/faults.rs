//! What goes wrong, begun and ended at the times of the plan.

use super::database::{Content, Health};
use super::plan::{Fault, Plan, Protocol, What, Who};
use super::semisync::Whose;
use super::world::{Happening, MS, World};
use crate::decision::action::{Answer, CommandId};
use crate::decision::event::{Command, Event};
use crate::decision::words::Mode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the plan of a run stands.
#[derive(Clone, Debug, Default)]
pub struct Course {
    faults: Vec<Fault>,
    rounds: u32,
    round: u32,
    /// Faults that have not ended.
    pub open: u32,
    /// Whom the first fault of the round struck that struck the active.
    same: Option<usize>,
    /// Whom each fault struck.
    struck: BTreeMap<usize, usize>,
    commands: u64,
    errant: u32,
}

/// Numbers from here on are writes of administrators.
pub const PRIVILEGED: u32 = u32::MAX - 10_000;

/// The protocols between the nodes.
const BETWEEN: [Protocol; 4] = [Protocol::Vrrp, Protocol::Peer, Protocol::Sql, Protocol::Arp];

impl Course {
    pub fn new(plan: &Plan) -> Self {
        Self { faults: plan.faults.clone(), rounds: plan.rounds(), ..Self::default() }
    }
}

impl World {
    /// Begins the next round; false if there is none.
    pub fn next_round(&mut self) -> bool {
        if self.course.round == self.course.rounds {
            return false;
        }
        self.course.round += 1;
        self.course.same = None;
        for number in 0..self.course.faults.len() {
            let fault = self.course.faults[number];
            if fault.round == self.course.round {
                self.course.open += 1;
                self.at(fault.at_ms * MS, Happening::Begin { fault: number });
            }
        }
        true
    }

    pub fn command(&mut self, host: usize, command: Command) -> u64 {
        self.course.commands += 1;
        let id = self.course.commands;
        self.checkers.disturbed_at = self.now;
        self.trace(|| format!("db{} operator: {command:?}", host + 1));
        if self.hosts[host].daemon.is_none() {
            // apctl finds nobody on the control socket, and says so.
            self.hosts[host].answers.insert(id, Answer::Failed("no daemon runs here".into()));
            return id;
        }
        let run = self.hosts[host].run;
        let event = Event::Command { id: CommandId(id), command, actor: "operator".into() };
        self.tell(1, host, run, event);
        id
    }

    /// The host that serves, or served last.
    pub fn serving(&self) -> usize {
        let last = self.checkers.last_active.map_or(0, |(host, _)| host);
        [0, 1].into_iter().find(|host| self.accepts(*host)).unwrap_or(last)
    }

    pub fn fault_begins(&mut self, number: usize) {
        let fault = self.course.faults[number];
        let host = match fault.who {
            Who::Db1 => 0,
            Who::Db2 => 1,
            Who::Active => {
                let serving = self.serving();
                self.course.same.get_or_insert(serving);
                serving
            }
            Who::Same => self.course.same.unwrap_or_else(|| self.serving()),
            Who::Standby => 1 - self.serving(),
        };
        self.course.struck.insert(number, host);
        self.checkers.disturbed_at = self.now;
        self.checkers.fault_at.get_or_insert(self.now);
        let serving = self.serving();
        self.checkers.struck_active.get_or_insert(serving);
        let kind = fault.what;
        self.trace(|| {
            let protocol = fault.protocol.map(|one| format!(" {one:?}")).unwrap_or_default();
            format!("FAULT {kind:?} db{}{protocol} {} for {} ms", host + 1, fault.amount, fault.for_ms)
        });
        self.at(fault.for_ms * MS, Happening::End { fault: number });
        if self.hosts[host].asleep.is_none() {
            self.leaves_for_good(host, fault);
            self.begin_at(host, fault);
        } else {
            self.course.struck.remove(&number);
        }
    }

    fn begin_at(&mut self, host: usize, fault: Fault) {
        match fault.what {
            What::PowerOff => self.power_off(host),
            What::PowerOffBoth => (0..2).for_each(|host| self.power_off(host)),
            What::StateLost => {
                self.power_off(host);
                self.hosts[host].disk = None;
                self.forgets(host);
            }
            What::Suspend => self.falls_asleep(host, false),
            What::Freeze => self.falls_asleep(host, true),
            What::DaemonCrash => self.daemon_dies(host),
            What::DaemonPause => self.daemon_pause(host),
            What::DaemonStop => {
                let run = self.hosts[host].run;
                self.deliver(host, run, Event::Stop);
            }
            What::GateCrash => self.gate_crash(host),
            What::ServerKill => self.server_dies(host),
            What::ServerHang if self.hosts[host].server.up() => {
                self.hosts[host].server.health = Health::Hung;
            }
            What::LongWrite if self.hosts[host].server.takes_writes() => {
                self.hosts[host].server.long_write = Some(self.now);
            }
            What::PrivilegedWrite => self.privileged_write(host),
            What::ServiceEnds => self.service_dies(host),
            What::Switchover => {
                let timeout = Duration::from_secs(10);
                let command = Command::Switchover { reason: "operator".into(), timeout, dry_run: false };
                self.command(host, command);
            }
            What::Maintenance => self.set_mode(host, Mode::Maintenance),
            What::Standalone => self.set_mode(host, Mode::Standalone),
            What::Force => {
                let (reason, force, no) = ("operator".into(), true, false);
                let command = Command::Failover { reason, force, accept_data_loss: no, peer_is_off: no };
                self.command(host, command);
            }
            What::ModeGarbage => {
                self.edit_mode(host, Mode::Maintenance, Some("no word that is known".into()))
            }
            _ => self.strike(host, fault, true),
        }
    }

    /// Faults whose end is their begin undone.
    fn strike(&mut self, host: usize, fault: Fault, on: bool) {
        let count = |counter: &mut u32| *counter = if on { *counter + 1 } else { counter.saturating_sub(1) };
        let amount = fault.amount;
        match fault.what {
            What::NicDown => {
                count(&mut self.network.nic_down[host]);
                self.tell_link(host);
            }
            What::Isolate => {
                count(&mut self.network.isolated[host]);
                self.excuse_isolation(host, on);
            }
            What::ApiFails => self.hosts[host].api = !on,
            What::ServiceBreaks => {
                count(&mut self.hosts[host].service.broken);
                if on {
                    self.service_dies(host);
                }
            }
            What::GatewayDown => count(&mut self.network.gateway_down),
            What::Stranger => count(&mut self.network.strangers),
            What::SlowDisk => count(&mut self.hosts[host].slow_disk),
            What::DiskFails => count(&mut self.hosts[host].disk_fails),
            What::SlowApply => count(&mut self.hosts[host].slow_apply),
            What::ConnectionHang => count(&mut self.hosts[host].connection_hangs),
            What::GateSlow => self.hosts[host].gate.slow = if on { amount * MS } else { 0 },
            What::Cut => {
                if let Some(protocol) = fault.protocol {
                    self.network.cut(host, protocol, on);
                    if fault.both_ways {
                        self.network.cut(1 - host, protocol, on);
                    }
                }
                if fault.protocol == Some(Protocol::Gateway) {
                    self.excuse_isolation(host, on);
                }
            }
            What::NodesOnly => self.cut_both(&BETWEEN[..2], on),
            What::Partition => self.cut_both(&BETWEEN, on),
            What::Loss | What::Delay | What::Duplicate => {
                for protocol in fault.protocol.map_or(BETWEEN.to_vec(), |protocol| vec![protocol]) {
                    let link = self.network.link_mut(host, protocol);
                    let (field, amount) = match fault.what {
                        What::Loss => (&mut link.loss, amount),
                        What::Delay => (&mut link.delay, amount * MS),
                        _ => (&mut link.twice, amount),
                    };
                    *field = if on { *field + amount } else { field.saturating_sub(amount) };
                }
            }
            _ => {}
        }
    }

    fn cut_both(&mut self, protocols: &[Protocol], on: bool) {
        for protocol in protocols {
            self.network.cut(0, *protocol, on);
            self.network.cut(1, *protocol, on);
        }
    }

    fn set_mode(&mut self, host: usize, mode: Mode) {
        let command =
            Command::SetMode { mode, reason: "operator".into(), peer_is_off: false, nag_after: None };
        self.command(host, command);
    }

    /// Somebody edits the mode file.
    fn edit_mode(&mut self, host: usize, mode: Mode, problem: Option<String>) {
        self.hosts[host].garbage = problem;
        let now = self.now;
        self.hosts[host].set_mode(mode, now);
        self.mode_file_changes(host);
    }

    /// A row that no client was promised anything about.
    fn privileged_write(&mut self, host: usize) {
        if self.hosts[host].server.up() {
            self.course.errant += 1;
            let id = u32::MAX - self.course.errant;
            self.commit(host, Content::Data(id), Whose::Nobody);
        }
    }

    pub fn fault_ends(&mut self, number: usize) {
        let fault = self.course.faults[number];
        let sleeps = self.course.struck.get(&number).is_some_and(|host| self.hosts[*host].asleep.is_some());
        if sleeps && fault.what == What::DaemonPause {
            // Nobody can let a process go on in a host that stands still.
            return self.at(10 * MS, Happening::End { fault: number });
        }
        self.checkers.disturbed_at = self.now;
        self.course.open -= 1;
        let Some(host) = self.course.struck.remove(&number) else { return };
        self.trace(|| format!("ENDS {:?} db{}", fault.what, host + 1));
        match fault.what {
            What::PowerOff | What::StateLost => self.power_on(host),
            What::PowerOffBoth => {
                let late = self.random.pick(&[0, 300, 20_000]) * MS;
                let first = self.random.below(2) as usize;
                self.power_on(first);
                self.at(late, Happening::PowerOn { host: 1 - first });
            }
            What::Suspend | What::Freeze => self.wakes_up(host),
            What::DaemonCrash | What::DaemonStop => {
                // A daemon that takes its time to stop is given it.
                let wait = if self.hosts[host].daemon.is_some() { 15_000 * MS } else { 0 };
                self.at(wait, Happening::DaemonStart { host });
            }
            What::DaemonPause => self.daemon_resume(host),
            What::GateCrash => self.gate_start(host),
            What::ServerKill => self.server_start(host),
            What::ServerHang if self.hosts[host].server.health == Health::Hung => {
                self.server_wakes(host);
            }
            What::LongWrite => self.hosts[host].server.long_write = None,
            What::ServiceEnds => self.service_dies(host),
            What::Maintenance | What::Standalone => self.set_mode(host, Mode::Ap),
            What::ModeGarbage if self.hosts[host].garbage.is_some() => self.edit_mode(host, Mode::Ap, None),
            _ => self.strike(host, fault, false),
        }
    }

    fn power_off(&mut self, host: usize) {
        if !self.hosts[host].powered {
            return;
        }
        self.daemon_dies(host);
        self.leaves_relay(host);
        let lost = if self.configuration.relaxed_log { self.random.below(6) } else { 0 };
        let state = &mut self.hosts[host];
        state.powered = false;
        state.part = None;
        state.service.runs = false;
        state.server.die();
        let newest = state.server.last().map_or(0, |gtid| gtid.sequence);
        let gone = state.server.lose_newest(lost as usize);
        let run = state.gate.run + 1;
        state.gate = super::gate::Gate { run, ..Default::default() };
        if lost > 0 {
            self.loses(host, newest, gone);
        }
        self.hang_up(host);
    }

    /// A server is without its newest transactions, up to number `newest`: these writes among them.
    pub fn loses(&mut self, host: usize, newest: u64, gone: Vec<u32>) {
        let used = &mut self.checkers.used[host];
        *used = newest.max(*used);
        gone.iter().for_each(|id| {
            self.hosts[host].server.received.remove(id);
        });
        // What was never synced, and never arrived elsewhere, no promise covers.
        let there = &self.hosts[1 - host].server;
        self.checkers.unsynced.extend(&gone);
        let gone = gone.into_iter().filter(|id| !there.holds(*id)).collect::<Vec<_>>();
        self.checkers.excused.extend(gone);
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
