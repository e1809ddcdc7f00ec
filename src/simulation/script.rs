//! The database model on its own, moved by the lines of a script: the same lines move two real servers
//! (`tests/conformance.rs`), and both must answer alike. Nothing here decides anything.

use super::clients::Heard;
use super::database::{Content, Frozen, Health};
use super::lanes::Tried;
use super::pace::Pace;
use super::plan::Plan;
use super::semisync::{DrawnSemiSync, Whose};
use super::world::World;
use crate::decision::action::{DatabaseStep, RemoteStep, StepResult};
use crate::decision::gtid::GtidState;
use crate::decision::words::{Epoch, NodeId};
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
        let mut plan = Plan::draw(1);
        // The replica acknowledges; nobody waits for it before a script says so.
        plan.configuration.semi_sync = Some(DrawnSemiSync {
            timeout_ms: 0,
            starts_as_replica: false,
            relay_ms: DrawnSemiSync::quick_relay(),
            receipt_ms: DrawnSemiSync::quick_receipt(),
            no_stage: false,
        });
        let mut world = World::new(&plan, plan.configuration.configuration(), Pace::Harsh, None, false);
        // No gate stands between a script and its servers.
        for host in &mut world.hosts {
            host.gate.element = u64::MAX;
            (host.server.semi_sync.enabled, host.server.semi_sync.on) = (false, false);
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
            ["heard", "row"] => {
                let waits = self.world.hosts[host].server.semi_sync.has(Whose::Row);
                if waits { "waits" } else { "refused" }.into()
            }
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
            ["semi-sync" | "row" | "read-only" | "gate" | "peer" | "kill-client" | "kill-query", ..]
            | ["semi-sync-status" | "apply-waits" | "write-epoch", ..] => {
                self.say_of_semi_sync(host, words)?
            }
            ["stop-receiving"] => self.receives(host, false),
            ["start-receiving"] => self.receives(host, true),
            ["follow", "with-tail-lost"] => self.follow_from(host, host, true),
            ["follow"] => self.step(host, &DatabaseStep::Follow { position: None, own_tail_lost: false }),
            ["follow", "from-here"] => self.follow_from(host, host, false),
            ["follow", "from-there"] => self.follow_from(host, 1 - host, false),
            ["forget-primary"] => self.step(host, &DatabaseStep::ForgetPrimary),
            ["STOP", "SLAVE"] => self.threads(host, false),
            ["START", "SLAVE"] => self.threads(host, true),
            ["kill", "-9"] => {
                self.world.hosts[host].server.die();
                "ok".into()
            }
            ["start", role @ ..] => self.start(host, *role == ["as-replica"]),
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
                let server = &self.world.hosts[host].server;
                let relay = server.replica.as_ref().map_or(0, |replica| replica.relay.len());
                (relay + usize::from(server.semi_sync.has(Whose::Replica))).to_string()
            }
            ["replica"] => self.replica(host),
            ["writable"] => if self.world.hosts[host].server.read_only { "no" } else { "yes" }.into(),
            _ => return None,
        };
        self.settle();
        Some(answer)
    }

    fn start(&mut self, host: usize, as_replica: bool) -> String {
        let semi_sync = &mut self.world.hosts[host].server.semi_sync;
        // What a statement had switched on is off again.
        (semi_sync.starts_as_replica, semi_sync.enabled) = (as_replica, false);
        self.world.server_recovers(host);
        "ok".into()
    }

    /// What semi-synchronous replication is asked, and what may wait for it.
    fn say_of_semi_sync(&mut self, host: usize, words: &[&str]) -> Option<String> {
        let server = &mut self.world.hosts[host].server;
        Some(match words {
            ["semi-sync", timeout] => {
                server.semi_sync.timeout = timeout.parse::<u64>().ok()? * 1_000_000;
                server.semi_sync.on |= !server.semi_sync.enabled;
                server.semi_sync.enabled = true;
                "ok".into()
            }
            ["apply-waits"] => if server.semi_sync.has(Whose::Replica) { "yes" } else { "no" }.into(),
            ["semi-sync-status"] => if server.semi_sync.on { "on" } else { "off" }.into(),
            ["row"] => {
                let row = Content::Heartbeat(Epoch::default());
                if self.world.commit(host, row, Whose::Row) { "acknowledged" } else { "waits" }.into()
            }
            ["read-only", "alone"] if !server.semi_sync.waits.is_empty() => "failed".into(),
            ["read-only", "alone"] => {
                server.read_only = true;
                "ok".into()
            }
            ["gate", "fences"] => {
                self.world.hosts[host].gate.alive = true;
                let serial = self.world.hosts[host].gate.serial;
                self.world.gate_fence(host, serial);
                "ok".into()
            }
            ["peer", "fences"] => match self.world.remote_step(1 - host, &RemoteStep::FenceServer) {
                Tried::Ended(StepResult::Ok(_)) => "ok".into(),
                _ => "failed".into(),
            },
            ["kill-client", id] => self.kill(host, id.parse().ok()?, false),
            ["kill-query", id] => self.kill(host, id.parse().ok()?, true),
            ["write-epoch", number] => {
                let epoch = Epoch { number: number.parse().ok()?, node: NodeId(1) };
                self.step(host, &DatabaseStep::WriteEpoch { epoch, reason: "script".into() })
            }
            _ => return None,
        })
    }

    fn kill(&mut self, host: usize, id: u32, query: bool) -> String {
        self.world.kill_client(host, id, query);
        "ok".into()
    }

    /// The receiving thread alone.
    fn receives(&mut self, host: usize, run: bool) -> String {
        let Some(replica) = &mut self.world.hosts[host].server.replica else { return "failed".into() };
        replica.receiving = run;
        replica.connected &= run;
        "ok".into()
    }

    /// Replication does what it can.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.replicate();
            // A primary that is gone is noticed in the end.
            self.world.now += 4_000_000_000;
        }
    }

    fn replicate(&mut self) {
        for host in 0..2 {
            self.world.replica_tick(host);
            // Its receipt does not have to wait for the way back.
            self.world.receipt(1 - host, u64::MAX);
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
            let waits = !self.world.hosts[host].server.semi_sync.waits.is_empty();
            let answer = self.step(host, &DatabaseStep::Freeze);
            if waits || self.world.hosts[host].server.frozen != Frozen::ReadOnly {
                return answer;
            }
            self.step(host, &DatabaseStep::Thaw);
        }
    }

    fn follow_from(&mut self, host: usize, whose: usize, own_tail_lost: bool) -> String {
        let position: GtidState = self.world.hosts[whose].server.binlog_position();
        self.step(host, &DatabaseStep::Follow { position: Some(position), own_tail_lost })
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
        let heard = self.world.write(host, id);
        // A replica that is there acknowledges at once.
        self.replicate();
        match heard {
            Heard::Acknowledged => "acknowledged",
            Heard::Refused | Heard::Nobody => "refused",
            Heard::Nothing if self.world.clients.acknowledged.contains(&id) => "acknowledged",
            Heard::Nothing => {
                self.pending.insert(id, host);
                "waits"
            }
        }
        .into()
    }

    fn heard(&self, id: u32) -> String {
        let Some(host) = self.pending.get(&id) else { return "was answered".into() };
        let server = &self.world.hosts[*host].server;
        let waits = server.waiting.contains(&id) || server.semi_sync.has_client(id);
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
