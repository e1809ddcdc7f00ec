//! The database model on its own, moved by the lines of a script: the same lines move two real servers
//! (`tests/conformance.rs`), and both must answer alike. Nothing here decides anything.

use super::clients::Heard;
use super::database::{Frozen, Health};
use super::lanes::Tried;
use super::pace::Pace;
use super::plan::Plan;
use super::world::World;
use crate::decision::action::{DatabaseStep, StepResult};
use crate::decision::gtid::GtidState;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Looks at a step that is not done yet, before it is said to wait.
const LOOKS: u32 = 50;

/// Two servers: the first takes writes, the second follows it.
pub struct Script {
    world: World,
    /// Writes whose clients heard nothing yet, and where.
    pending: BTreeMap<u32, usize>,
}

impl Default for Script {
    fn default() -> Self {
        let plan = Plan::draw(1);
        let mut world = World::new(&plan, plan.configuration.configuration(), Pace::Harsh, None, false);
        // No gate stands between a script and its servers.
        for host in &mut world.hosts {
            host.gate.element = u64::MAX;
        }
        world.hosts[0].server.read_only = false;
        let mut script = Self { world, pending: BTreeMap::new() };
        script.step(1, &DatabaseStep::Follow { position: None, own_tail_lost: false });
        script
    }
}

impl Script {
    /// Does what one line says on one server (0 or 1); the answer. `None`: there is no such line.
    pub fn say(&mut self, host: usize, words: &[&str]) -> Option<String> {
        let answer = match words {
            ["write", id] => self.write(host, id.parse().ok()?),
            ["heard", id] => self.heard(id.parse().ok()?),
            ["allow"] => self.step(host, &DatabaseStep::AllowWrites),
            ["forbid"] => self.step(host, &DatabaseStep::ForbidWrites),
            ["freeze"] => self.freeze(host),
            ["thaw"] => self.step(host, &DatabaseStep::Thaw),
            ["seal"] => self.step(host, &DatabaseStep::Seal),
            ["stage", "dies"] => {
                // As when the daemon that holds it dies.
                self.world.hosts[host].server.frozen = Frozen::No;
                self.world.stage_ended(host);
                "ok".into()
            }
            ["drain"] => self.step(host, &DatabaseStep::Drain),
            ["stop-applying"] => self.step(host, &DatabaseStep::StopApplying),
            ["resume-applying"] => self.step(host, &DatabaseStep::ResumeApplying),
            ["reach"] => {
                let position = self.world.hosts[1 - host].server.binlog_position();
                self.step(host, &DatabaseStep::WaitFor { position })
            }
            ["follow"] => self.step(host, &DatabaseStep::Follow { position: None, own_tail_lost: false }),
            ["follow", "from-here"] => self.follow_from(host, host),
            ["follow", "from-there"] => self.follow_from(host, 1 - host),
            ["forget-primary"] => self.step(host, &DatabaseStep::ForgetPrimary),
            ["STOP", "SLAVE"] => self.threads(host, false),
            ["START", "SLAVE"] => self.threads(host, true),
            ["kill", "-9"] => {
                self.world.hosts[host].server.die();
                "ok".into()
            }
            ["start"] => {
                self.world.hosts[host].server.start();
                "ok".into()
            }
            ["hang"] => {
                self.world.hosts[host].server.health = Health::Hung;
                "ok".into()
            }
            ["wake"] => {
                self.world.server_wakes(host);
                "ok".into()
            }
            ["rows"] => self.rows(host),
            ["relay"] => {
                let replica = self.world.hosts[host].server.replica.as_ref();
                replica.map_or(0, |replica| replica.relay.len()).to_string()
            }
            ["replica"] => self.replica(host),
            ["writable"] => if self.world.hosts[host].server.read_only { "no" } else { "yes" }.into(),
            _ => return None,
        };
        self.settle();
        Some(answer)
    }

    /// Replication does what it can.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.world.replica_tick(0);
            self.world.replica_tick(1);
            // A primary that is gone is noticed in the end.
            self.world.now += 4_000_000_000;
        }
    }

    fn step(&mut self, host: usize, step: &DatabaseStep) -> String {
        match self.world.hosts[host].server.health {
            Health::Dead => return "failed".into(),
            Health::Hung => return "waits".into(),
            Health::Up => {}
        }
        for _ in 0..LOOKS {
            match self.world.perform_database(host, step) {
                Tried::Ended(StepResult::Ok(_)) => return "ok".into(),
                Tried::Ended(_) => return "failed".into(),
                Tried::Wait(_) => self.settle(),
            }
        }
        "waits".into()
    }

    /// With the stage: its stand-in is drawn now and then, and undone here.
    fn freeze(&mut self, host: usize) -> String {
        loop {
            let answer = self.step(host, &DatabaseStep::Freeze);
            if self.world.hosts[host].server.frozen != Frozen::ReadOnly {
                return answer;
            }
            self.step(host, &DatabaseStep::Thaw);
        }
    }

    fn follow_from(&mut self, host: usize, whose: usize) -> String {
        let position: GtidState = self.world.hosts[whose].server.binlog_position();
        self.step(host, &DatabaseStep::Follow { position: Some(position), own_tail_lost: false })
    }

    /// What an administrator types, around apd.
    fn threads(&mut self, host: usize, run: bool) -> String {
        let position = self.world.hosts[host].server.slave_position;
        let Some(replica) = &mut self.world.hosts[host].server.replica else { return "failed".into() };
        if run && !replica.receiving && !replica.applying {
            // Both were stopped: the server deletes its relay log.
            replica.relay.clear();
            replica.received = position;
        }
        (replica.receiving, replica.applying) = (run, run);
        replica.connected &= run;
        "ok".into()
    }

    fn write(&mut self, host: usize, id: u32) -> String {
        match self.world.write(host, id) {
            Heard::Acknowledged => "acknowledged",
            Heard::Refused | Heard::Nobody => "refused",
            Heard::Nothing => {
                self.pending.insert(id, host);
                "waits"
            }
        }
        .into()
    }

    fn heard(&self, id: u32) -> String {
        let Some(host) = self.pending.get(&id) else { return "was answered".into() };
        let waits = self.world.hosts[*host].server.waiting.contains(&id);
        let acknowledged = self.world.clients.acknowledged.contains(&id);
        match (waits, acknowledged) {
            (true, _) => "waits",
            (false, true) => "acknowledged",
            (false, false) => "refused",
        }
        .into()
    }

    fn rows(&self, host: usize) -> String {
        if !self.world.hosts[host].server.up() {
            return "unreachable".into();
        }
        let mut text = String::new();
        for id in &self.world.hosts[host].server.data {
            let _ = write!(text, " {id}");
        }
        if text.is_empty() { "none".into() } else { text.trim_start().into() }
    }

    fn replica(&self, host: usize) -> String {
        match &self.world.hosts[host].server.replica {
            None => "none".into(),
            Some(replica) => {
                let receives = if replica.receiving { "receives" } else { "does not receive" };
                let applies = if replica.applying { "applies" } else { "does not apply" };
                format!("{receives}, {applies}")
            }
        }
    }
}
