//! Who is told what of commits that wait for the replica: receipts, the time that is over, and KILL.

use super::bugs::Bug;
use super::database::{Content, Frozen};
use super::lanes::{Tried, ok};
use super::semisync::{DrawnSemiSync, Waiting, Whose};
use super::world::{Happening, MS, World};
use crate::decision::action::StepOutput;
use crate::decision::words::Epoch;

/// A stage that does not begin for so long gives way to `read_only` (as `io/mariadb/freeze.rs`).
const STAGE_LIMIT: u64 = 1_000 * MS;
/// The ledger's row waits for so long, then its connection is ended (as `io/mariadb/ledger.rs`).
const LEDGER_LIMIT: u64 = 500 * MS;

impl World {
    /// A commit on the server of `host`; true if it is done, false if it waits.
    pub fn commit(&mut self, host: usize, content: Content, whose: Whose) -> bool {
        let now = self.now;
        let done = self.hosts[host].server.commit(content, whose, now);
        if !done {
            self.mark("a commit waited for the replica's acknowledgement");
            if self.bug == Some(Bug::AcknowledgedUnreceived) {
                let told = self.hosts[host].server.received_there(u64::MAX, now);
                self.tell_released(host, told, true);
            }
        }
        self.committed(host);
        done
    }

    /// The replica of `host` says what it has received.
    pub fn send_receipt(&mut self, host: usize) {
        let semi_sync = &self.hosts[host].server.semi_sync;
        if semi_sync.enabled && (!semi_sync.on || semi_sync.since().is_some()) {
            let drawn = self.configuration.semi_sync;
            let longest = drawn.map_or(DrawnSemiSync::quick_receipt(), |drawn| drawn.receipt_ms);
            let received = self.hosts[1 - host].server.replica.as_ref().and_then(|replica| replica.received);
            let sequence = received.map_or(0, |gtid| gtid.sequence);
            let delay = self.random.micros(50, 1_000 * longest);
            self.at(delay, Happening::Receipt { host, sequence });
        }
    }

    /// What the replica had received up to `sequence`, applied or not, is acknowledged if it has it still.
    pub fn receipt(&mut self, host: usize, sequence: u64) {
        let now = self.now;
        let replica = self.hosts[1 - host].server.replica.as_ref();
        let received = replica.filter(|one| one.receiving && one.connected).and_then(|one| one.received);
        let Some(received) = received.filter(|_| self.primary_reached(1 - host)) else { return };
        if !self.hosts[1 - host].server.semi_sync.replica || !self.hosts[1 - host].server.up() {
            return;
        }
        let reached = received.sequence.min(sequence);
        let server = &mut self.hosts[host].server;
        let told = server.received_there(reached, now);
        if server.comes_back(reached) {
            self.mark("commits wait again after the replica has caught up");
            self.trace(|| format!("db{} semi-synchronous again", host + 1));
        }
        self.tell_released(host, told, true);
    }

    /// What comes with time: the wait is over, the engine's log is written.
    pub fn semi_sync_tick(&mut self, host: usize) {
        let now = self.now;
        let server = &mut self.hosts[host].server;
        server.flush(now);
        if !server.semi_sync.is_over(now) {
            return;
        }
        if server.semi_sync.has(Whose::Replica) {
            self.mark("a standby waited for an acknowledgement that nobody sends");
        }
        self.mark("semi-synchronous replication was degraded");
        self.checkers.disturbed_at = now;
        self.trace(|| format!("db{} degrades: commits wait no more", host + 1));
        let told = self.hosts[host].server.degrade(now);
        self.tell_released(host, told, false);
    }

    /// Clients hear, if they are connected still: a gate that closed has reset them.
    fn tell_released(&mut self, host: usize, told: Vec<Waiting>, received: bool) {
        let gate = &self.hosts[host].gate;
        let through = gate.lease.unwrap_or_default().0;
        let connected = gate.open(self.now) && self.clients_reach(host);
        for one in &told {
            let Whose::Client(id, epoch) = one.whose else { continue };
            if !connected || epoch != through {
                continue;
            }
            if self.hosts[host].server.read_only {
                self.break_promise(format!("S2: db{} acknowledges write {id} after it was sealed", host + 1));
            }
            self.hears(id);
            self.heard_too_late(id, through);
            if received {
                self.checkers.protected.insert(id);
            }
        }
        if !told.is_empty() {
            self.committed(host);
        }
    }

    /// KILL CONNECTION of every session beside `read_only=1`, which waits behind them.
    pub fn kill_waiting(&mut self, host: usize) {
        if self.hosts[host].server.semi_sync.waits.is_empty() || self.bug == Some(Bug::SealSparesWaiting) {
            return;
        }
        self.mark("a seal met a commit that waited for its acknowledgement");
        let now = self.now;
        let told = self.hosts[host].server.kill_waiting(now);
        if self.bug == Some(Bug::KillAcknowledges) {
            self.tell_released(host, told, false);
        }
        self.committed(host);
    }

    /// The process starts: what waited is kept or cut off, by what the server was told to be.
    pub fn server_recovers(&mut self, host: usize) {
        let newest = self.hosts[host].server.last().map_or(0, |gtid| gtid.sequence);
        let (waited, gone) = self.hosts[host].server.start();
        let left = self.hosts[host].server.last().map_or(0, |gtid| gtid.sequence);
        if left < newest {
            self.mark("a start as replica cut off what nobody had acknowledged");
            self.trace(|| format!("db{} cuts off {newest} to {left}: {gone:?}", host + 1));
            self.loses(host, newest, gone);
            self.forgets_ledger();
        } else if waited > 0 {
            self.mark("a start as primary kept what nobody had acknowledged");
        }
    }

    /// KILL QUERY tells the client that all is well, KILL CONNECTION does not.
    pub fn kill_client(&mut self, host: usize, id: u32, query: bool) {
        let is = |whose: &Whose| matches!(whose, Whose::Client(other, _) if *other == id);
        let now = self.now;
        let told = self.hosts[host].server.kill_one(is, now);
        if query {
            self.tell_released(host, told, false);
        }
        self.committed(host);
    }

    /// The row of the ledger counts when it is in the log here, acknowledged or not.
    pub fn write_epoch(&mut self, host: usize, epoch: Epoch) -> Tried {
        let now = self.now;
        let server = &mut self.hosts[host].server;
        if server.frozen == Frozen::Stage {
            return Tried::Wait(5 * MS);
        }
        if self.bug == Some(Bug::EpochLost) {
            return ok(StepOutput::Done);
        }
        if server.semi_sync.has(Whose::Ledger) {
            if server.semi_sync.since().is_some_and(|since| now < since + LEDGER_LIMIT) {
                return Tried::Wait(5 * MS);
            }
            self.mark("the ledger was written with nobody to acknowledge it");
            self.hosts[host].server.kill_one(|whose| *whose == Whose::Ledger, now);
            self.committed(host);
            return if self.hosts[host].server.ledger >= epoch {
                ok(StepOutput::Done)
            } else {
                Tried::Wait(5 * MS)
            };
        }
        if server.ledger >= epoch || self.commit(host, Content::Ledger(epoch), Whose::Ledger) {
            return ok(StepOutput::Done);
        }
        Tried::Wait(5 * MS)
    }

    /// A stage waits behind commits that wait, and all others behind it; in the end `read_only` stands in for it.
    /// `None`: the stage begins.
    pub fn stage_waits(&mut self, host: usize) -> Option<Tried> {
        let now = self.now;
        let server = &mut self.hosts[host].server;
        if server.semi_sync.waits.is_empty() {
            server.stage_asked = None;
            return None;
        }
        let since = *server.stage_asked.get_or_insert(now);
        self.mark("a freeze waited behind a commit that waited");
        if now < since + STAGE_LIMIT {
            self.hosts[host].server.frozen = Frozen::Stage;
            return Some(Tried::Wait(10 * MS));
        }
        self.hosts[host].server.stage_asked = None;
        Some(self.freeze_by_read_only(host))
    }
}
