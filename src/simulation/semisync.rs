//! Semi-synchronous replication as measured (AFTER_SYNC, `wait_no_slave=ON`): a commit is in the binary log and
//! waits before it is in the engine, until its replica has received it, its time is over, or its session is killed.
//!
//! Two commits can be in the log so: one that waits and one behind it that holds the log. All others queue before it.

use super::database::{Content, Server, Transaction};
use super::random::Random;
use crate::decision::words::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Commits that can be in the binary log without being in the engine.
const IN_LOG: usize = 2;
/// The engine writes its own log at least so often, in ns.
const FLUSH: u64 = 1_000_000_000;

/// What an administrator has set on both servers, as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawnSemiSync {
    /// `rpl_semi_sync_master_timeout`.
    pub timeout_ms: u64,
    /// `init_rpl_role=SLAVE` in the servers' configuration: a crash cuts off what nobody had acknowledged.
    pub starts_as_replica: bool,
    /// The longest time until a transaction is in the relay log: the way there, and a disk that syncs it.
    #[serde(default = "DrawnSemiSync::quick_relay")]
    pub relay_ms: u64,
    /// The longest time from there to the acknowledgement.
    #[serde(default = "DrawnSemiSync::quick_receipt")]
    pub receipt_ms: u64,
    /// A stage is not to be had, since a backup holds it, say: a freeze is `read_only` at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_stage: bool,
}

impl DrawnSemiSync {
    /// One seed in three has it; what the seed stands for otherwise does not change by it.
    pub fn draw(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed ^ 0x7365_6d69_7379_6e63);
        random.percent(33).then(|| Self {
            timeout_ms: random.pick(&[300, 1_000, 3_000, 10_000]),
            starts_as_replica: random.percent(25),
            // A commit that waits for long is there whatever else begins.
            relay_ms: random.pick(&[Self::quick_relay(), 60, 90]),
            receipt_ms: random.pick(&[
                Self::quick_receipt(),
                Self::quick_receipt(),
                Self::quick_receipt(),
                60,
            ]),
            no_stage: random.percent(65),
        })
    }

    /// The same servers beside each other, with quick disks and no backup.
    pub const fn quick(self) -> Self {
        Self { relay_ms: Self::quick_relay(), receipt_ms: Self::quick_receipt(), no_stage: false, ..self }
    }

    /// A replica beside its primary, whose disk is quick.
    pub const fn quick_relay() -> u64 {
        3
    }

    /// The same for its acknowledgement.
    pub const fn quick_receipt() -> u64 {
        2
    }
}

/// Whose commit waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A client's write, through the gate of this activity.
    Client(u32, Epoch),
    /// The heartbeat row's connection.
    Row,
    /// The ledger's.
    Ledger,
    /// The applying thread.
    Replica,
    /// Nobody hears of it.
    Nobody,
}

/// One commit that is in the binary log and not in the engine.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub transaction: Transaction,
    pub whose: Whose,
    since: u64,
}

/// Where a server stands with it.
#[derive(Clone, Debug, Default)]
pub struct SemiSync {
    /// `rpl_semi_sync_master_enabled`.
    pub enabled: bool,
    /// `rpl_semi_sync_master_status`: off after a commit has waited for too long.
    pub on: bool,
    /// `rpl_semi_sync_master_timeout`, in ns.
    pub timeout: u64,
    /// `rpl_semi_sync_slave_enabled`: it acknowledges, and takes its own events back.
    pub replica: bool,
    pub starts_as_replica: bool,
    pub waits: VecDeque<Waiting>,
    /// Not in the log yet.
    queue: VecDeque<(Content, Whose)>,
    /// What the engine's own log has on disk: so many of the binary log's transactions.
    durable: usize,
    flushed_at: u64,
}

impl SemiSync {
    /// As the servers' configuration files have it.
    pub fn configured(drawn: Option<DrawnSemiSync>) -> Self {
        let Some(drawn) = drawn else { return Self::default() };
        Self {
            enabled: true,
            on: true,
            timeout: drawn.timeout_ms * 1_000_000,
            replica: true,
            starts_as_replica: drawn.starts_as_replica,
            ..Self::default()
        }
    }

    /// A commit would wait.
    fn holds(&self) -> bool {
        self.enabled && self.on
    }

    /// A commit of this kind waits.
    pub fn has(&self, whose: Whose) -> bool {
        self.waits.iter().any(|one| one.whose == whose) || self.queue.iter().any(|one| one.1 == whose)
    }

    /// The write of a client waits.
    pub fn has_client(&self, id: u32) -> bool {
        let is = |whose: &Whose| matches!(whose, Whose::Client(other, _) if *other == id);
        self.waits.iter().any(|one| is(&one.whose)) || self.queue.iter().any(|one| is(&one.1))
    }

    /// Since when the first waits.
    pub fn since(&self) -> Option<u64> {
        self.waits.front().map(|one| one.since)
    }

    /// The first that waits has waited for too long.
    pub fn is_over(&self, now: u64) -> bool {
        self.since().is_some_and(|since| now >= since + self.timeout)
    }

    /// The connection is gone; the commit goes on without it.
    fn orphan(&mut self, is: impl Fn(&Whose) -> bool) {
        let all = self.waits.iter_mut().map(|one| &mut one.whose);
        all.chain(self.queue.iter_mut().map(|one| &mut one.1))
            .filter(|whose| is(whose))
            .for_each(|whose| *whose = Whose::Nobody);
    }
}

impl Server {
    /// A transaction of this server's own; true if it is committed, false if it waits for the replica.
    pub fn commit(&mut self, content: Content, whose: Whose, now: u64) -> bool {
        if self.semi_sync.waits.len() >= IN_LOG {
            self.semi_sync.queue.push_back((content, whose));
            return false;
        }
        let transaction = Transaction { gtid: self.next_gtid(), content };
        self.enter(transaction, whose, now)
    }

    /// Writes a transaction to the binary log; true if it is in the engine too.
    pub fn enter(&mut self, transaction: Transaction, whose: Whose, now: u64) -> bool {
        // What was committed before is flushed with this one's own first phase.
        self.semi_sync.durable = self.binlog.len() - self.semi_sync.waits.len();
        self.log(transaction);
        if self.semi_sync.holds() {
            self.semi_sync.waits.push_back(Waiting { transaction, whose, since: now });
            return false;
        }
        self.engine(transaction, whose);
        true
    }

    /// The first `count` that wait are committed, and what queued comes in behind them; who is told.
    fn release(&mut self, count: usize, now: u64) -> Vec<Waiting> {
        let released: Vec<Waiting> = self.semi_sync.waits.drain(..count).collect();
        for one in &released {
            self.engine(one.transaction, one.whose);
        }
        let mut told = released;
        while self.semi_sync.waits.len() < IN_LOG
            && let Some((content, whose)) = self.semi_sync.queue.pop_front()
        {
            let transaction = Transaction { gtid: self.next_gtid(), content };
            if self.enter(transaction, whose, now) {
                told.push(Waiting { transaction, whose, since: now });
            }
        }
        told
    }

    /// The replica has received everything up to `sequence`; who is told.
    pub fn received_there(&mut self, sequence: u64, now: u64) -> Vec<Waiting> {
        let reached = |one: &&Waiting| one.transaction.gtid.sequence <= sequence;
        let count = self.semi_sync.waits.iter().take_while(reached).count();
        self.release(count, now)
    }

    /// The time is over: everybody is told that all is well, and nobody waits from here on.
    pub fn degrade(&mut self, now: u64) -> Vec<Waiting> {
        self.semi_sync.on = false;
        self.release(self.semi_sync.waits.len(), now)
    }

    /// The replica has all that there is: from here on commits wait again. False if they did already.
    pub fn comes_back(&mut self, sequence: u64) -> bool {
        let back = self.semi_sync.enabled && !self.semi_sync.on;
        let caught_up = self.last().is_none_or(|last| last.sequence <= sequence);
        self.semi_sync.on |= back && caught_up;
        back && caught_up
    }

    /// KILL CONNECTION of all sessions: what waits is committed all the same; who would have been told.
    pub fn kill_waiting(&mut self, now: u64) -> Vec<Waiting> {
        let mut killed = Vec::new();
        while !self.semi_sync.waits.is_empty() {
            killed.extend(self.release(self.semi_sync.waits.len(), now));
        }
        killed
    }

    /// KILL of one session: told only if it is the first that waits, committed in its turn in any case.
    pub fn kill_one(&mut self, is: impl Fn(&Whose) -> bool, now: u64) -> Vec<Waiting> {
        if self.semi_sync.waits.front().is_some_and(|one| is(&one.whose)) {
            return self.release(1, now);
        }
        self.semi_sync.orphan(is);
        Vec::new()
    }

    /// The engine's own log reaches the disk by itself.
    pub fn flush(&mut self, now: u64) {
        if now >= self.semi_sync.flushed_at + FLUSH {
            self.semi_sync.flushed_at = now;
            self.semi_sync.durable = self.binlog.len() - self.semi_sync.waits.len();
        }
    }

    /// The process is gone: who waited hears nothing, and what was not in the log yet never was.
    pub fn end_waiting(&mut self) {
        // What the applying thread wrote carries its position along.
        self.semi_sync.orphan(|whose| *whose != Whose::Replica);
        self.semi_sync.queue.clear();
    }

    /// Crash recovery: as a primary all that is in the binary log is committed. As a replica what the engine had only
    /// prepared is cut off; the numbers of the writes among it.
    pub fn recover(&mut self) -> (usize, Vec<u32>) {
        let waits = std::mem::take(&mut self.semi_sync.waits);
        let (prepared, durable) = (waits.len(), self.semi_sync.durable.max(self.purged));
        let mut gone = Vec::new();
        if self.semi_sync.starts_as_replica {
            gone = self.lose_newest(self.binlog.len().saturating_sub(durable));
        }
        for one in waits {
            // Some may never have reached the disk.
            if self.binlog.iter().rev().take(IN_LOG).any(|other| other.gtid == one.transaction.gtid) {
                self.engine(one.transaction, one.whose);
            }
        }
        self.semi_sync.on = self.semi_sync.enabled;
        self.semi_sync.durable = self.binlog.len();
        (prepared, gone)
    }
}
