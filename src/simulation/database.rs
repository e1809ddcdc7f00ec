//! A MariaDB server as the pair sees it: commits with (domain, server, sequence), a binary log, `read_only`, a
//! stage that pauses commits, and one replica with a relay log, asynchronous or not (`semisync.rs`).

use super::semisync::{DrawnSemiSync, SemiSync, Whose};
use crate::decision::event::{DatabaseReport, ReplicaReport};
use crate::decision::gtid::{Gtid, GtidState};
use crate::decision::words::Epoch;
use std::collections::{BTreeSet, VecDeque};

/// What a transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A client's write, by its unique number.
    Data(u32),
    /// A heartbeat row of this activity.
    Heartbeat(Epoch),
    /// A row of the ledger.
    Ledger(Epoch),
}

/// One transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub gtid: Gtid,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Hung,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    No,
    Stage,
    /// The fall-back: read_only stands in for the stage.
    ReadOnly,
}

/// Replica threads and relay log.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub receiving: bool,
    pub connected: bool,
    pub applying: bool,
    pub relay: VecDeque<Transaction>,
    pub received: Option<Gtid>,
    pub error: String,
    /// Since when the primary is not reached.
    pub lost_at: Option<u64>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Server {
    pub id: u32,
    pub health: Health,
    pub read_only: bool,
    pub frozen: Frozen,
    pub binlog: Vec<Transaction>,
    /// Transactions before this index are no longer in the log's files.
    pub purged: usize,
    pub data: BTreeSet<u32>,
    pub state: GtidState,
    pub slave_position: Option<Gtid>,
    pub replica: Option<Replica>,
    pub accepts_own: bool,
    pub restarts: u64,
    /// Commits of clients that wait for the end of a stage.
    pub waiting: Vec<u32>,
    /// Activity and count of heartbeat rows that arrived by replication.
    pub beats: (Epoch, u64),
    pub ledger: Epoch,
    /// Writes that ever arrived in the relay log.
    pub received: BTreeSet<u32>,
    /// Since when a client's long statement runs.
    pub long_write: Option<u64>,
    /// Until when one that was killed is rolled back.
    pub rolls_back_until: u64,
    pub semi_sync: SemiSync,
    /// Since when a stage is asked for that waits behind a commit.
    pub stage_asked: Option<u64>,
}

impl Server {
    /// Of another server, and not applied here.
    pub fn lacks(&self, gtid: Option<Gtid>) -> bool {
        gtid.is_some_and(|gtid| self.slave_position.is_none_or(|applied| applied.sequence < gtid.sequence))
    }

    /// The newest that the receiving thread has taken.
    pub fn received(&self) -> Option<Gtid> {
        self.replica.as_ref().and_then(|replica| replica.received)
    }

    pub fn new(id: u32) -> Self {
        Self {
            id,
            health: Health::Up,
            read_only: true,
            frozen: Frozen::No,
            binlog: Vec::new(),
            purged: 0,
            data: BTreeSet::new(),
            state: GtidState::default(),
            slave_position: None,
            replica: None,
            accepts_own: false,
            restarts: 0,
            waiting: Vec::new(),
            beats: (Epoch::default(), 0),
            ledger: Epoch::default(),
            received: BTreeSet::new(),
            long_write: None,
            rolls_back_until: 0,
            semi_sync: SemiSync::default(),
            stage_asked: None,
        }
    }

    /// As its administrator has it.
    pub fn configured(id: u32, drawn: Option<DrawnSemiSync>) -> Self {
        let semi_sync = SemiSync::configured(drawn);
        Self { accepts_own: semi_sync.replica, semi_sync, ..Self::new(id) }
    }

    pub fn up(&self) -> bool {
        self.health == Health::Up
    }

    /// A client's commit would be acknowledged now.
    pub fn takes_writes(&self) -> bool {
        self.up() && !self.read_only && self.frozen != Frozen::Stage
    }

    pub fn last(&self) -> Option<Gtid> {
        self.binlog.last().map(|transaction| transaction.gtid)
    }

    pub fn binlog_position(&self) -> GtidState {
        self.last().into_iter().collect()
    }

    /// `gtid_binlog_state` with `gtid_slave_pos`.
    pub fn everything(&self) -> GtidState {
        let mut all = self.state.clone();
        self.slave_position.into_iter().for_each(|gtid| all.insert(gtid));
        all
    }

    /// Of the next transaction of this server's own.
    pub fn next_gtid(&self) -> Gtid {
        let newest = self.last().map_or(0, |gtid| gtid.sequence);
        let sequence = newest.max(self.slave_position.map_or(0, |gtid| gtid.sequence)) + 1;
        Gtid { domain: 0, server: self.id, sequence }
    }

    /// In the binary log.
    pub fn log(&mut self, transaction: Transaction) {
        self.state.insert(transaction.gtid);
        self.binlog.push(transaction);
    }

    /// Committed: to be seen.
    pub fn engine(&mut self, transaction: Transaction, whose: Whose) {
        match transaction.content {
            Content::Data(id) => {
                self.data.insert(id);
            }
            Content::Ledger(epoch) => self.ledger = self.ledger.max(epoch),
            Content::Heartbeat(_) => {}
        }
        if whose != Whose::Replica {
            return;
        }
        self.slave_position = Some(transaction.gtid);
        if let Content::Heartbeat(epoch) = transaction.content {
            let count = if self.beats.0 == epoch { self.beats.1 } else { 0 };
            self.beats = (epoch, count + 1);
        }
    }

    /// Applies what waits in the relay log, `most` transactions at a time.
    pub fn apply(&mut self, most: usize, now: u64) {
        for _ in 0..most {
            if self.semi_sync.has(Whose::Replica) {
                return;
            }
            let Some(replica) = self.replica.as_mut().filter(|replica| replica.applying) else { return };
            let Some(transaction) = replica.relay.pop_front() else { return };
            if transaction.gtid.server == self.id && !self.accepts_own {
                // The trap: an event with one's own id is passed over in silence.
                self.slave_position = Some(transaction.gtid);
                continue;
            }
            if self.last().is_some_and(|last| transaction.gtid.sequence <= last.sequence) {
                let replica = self.replica.as_mut().expect("taken above");
                replica.relay.push_front(transaction);
                replica.applying = false;
                replica.error = format!("1950 out of order: {}", transaction.gtid);
                return;
            }
            self.enter(transaction, Whose::Replica, now);
        }
    }

    /// Receives what `primary` has beyond the position; the caller has seen that it is reached.
    pub fn receive(&mut self, primary: &Server) {
        let position = self.slave_position;
        let Some(replica) = self.replica.as_mut().filter(|replica| replica.receiving) else { return };
        let from = match replica.received.or(position) {
            None if primary.purged == 0 => 0,
            None => return replica.refuse("1236 the log does not go back to the beginning"),
            Some(gtid) => match primary.binlog.iter().rposition(|other| other.gtid == gtid) {
                Some(index) if index + 1 >= primary.purged => index + 1,
                _ => return replica.refuse("1236 the primary does not have this position"),
            },
        };
        replica.connected = true;
        replica.lost_at = None;
        for transaction in &primary.binlog[from..] {
            replica.relay.push_back(*transaction);
            if let Content::Data(id) = transaction.content {
                self.received.insert(id);
            }
            replica.received = Some(transaction.gtid);
        }
    }

    /// The write is here, or on its way to be applied.
    pub fn holds(&self, id: u32) -> bool {
        let mut relay = self.replica.iter().flat_map(|replica| &replica.relay);
        self.logged(id) || relay.any(|one| one.content == Content::Data(id))
    }

    /// The write is here, or in the binary log and about to be.
    pub fn logged(&self, id: u32) -> bool {
        let mut waits = self.semi_sync.waits.iter();
        self.data.contains(&id) || waits.any(|one| one.transaction.content == Content::Data(id))
    }

    /// Every write that is here, those among them that wait.
    pub fn writes(&self) -> BTreeSet<u32> {
        let mut writes = self.data.clone();
        for one in &self.semi_sync.waits {
            if let Content::Data(id) = one.transaction.content {
                writes.insert(id);
            }
        }
        writes
    }

    /// The newest transactions never reached the disk; the numbers of the writes among them.
    pub fn lose_newest(&mut self, count: usize) -> Vec<u32> {
        let keep = self.binlog.len().saturating_sub(count).max(self.purged);
        let gone = self.binlog.split_off(keep);
        if gone.is_empty() {
            return Vec::new();
        }
        self.state = self.binlog.iter().map(|transaction| transaction.gtid).collect();
        self.slave_position = self.slave_position.and(self.last());
        self.ledger = Epoch::default();
        for transaction in &self.binlog {
            if let Content::Ledger(epoch) = transaction.content {
                self.ledger = self.ledger.max(epoch);
            }
        }
        let data = gone.iter().filter_map(|transaction| match transaction.content {
            Content::Data(id) => Some(id),
            Content::Heartbeat(_) | Content::Ledger(_) => None,
        });
        let data: Vec<u32> = data.collect();
        for id in &data {
            self.data.remove(id);
        }
        data
    }

    /// All that was received is applied.
    pub fn drained(&self) -> bool {
        let waits = self.semi_sync.has(Whose::Replica);
        !waits && self.replica.as_ref().is_none_or(|replica| replica.relay.is_empty())
    }

    /// The process ends.
    pub fn die(&mut self) {
        self.health = Health::Dead;
        self.long_write = None;
        self.rolls_back_until = 0;
        self.waiting.clear();
        self.end_waiting();
        self.stage_asked = None;
        self.frozen = Frozen::No;
        if let Some(replica) = &mut self.replica {
            (replica.receiving, replica.connected, replica.applying) = (false, false, false);
        }
    }

    /// The process starts as the pair configures it: read-only, replica threads stopped. How many commits had waited
    /// for an acknowledgement, and the writes that a recovery as a replica has cut off.
    pub fn start(&mut self) -> (usize, Vec<u32>) {
        if self.health != Health::Dead {
            return (0, Vec::new());
        }
        self.health = Health::Up;
        self.read_only = true;
        self.accepts_own = self.semi_sync.replica;
        self.restarts += 1;
        self.recover()
    }

    /// `RESET MASTER` and the restored state; false if data would be lost.
    pub fn forget_tail(&mut self, common: &GtidState, unchecked: bool) -> bool {
        let beyond = |transaction: &Transaction| {
            let gtid = transaction.gtid;
            common.sequence(gtid.domain, gtid.server).unwrap_or(0) < gtid.sequence
        };
        let is_data = |transaction: &&Transaction| matches!(transaction.content, Content::Data(_));
        if self
            .binlog
            .iter()
            .filter(|transaction| beyond(transaction))
            .any(|transaction| is_data(&transaction))
        {
            if !unchecked {
                return false;
            }
            let gone: Vec<Content> =
                self.binlog.iter().filter(|one| beyond(one)).map(|one| one.content).collect();
            self.data.retain(|id| !gone.contains(&Content::Data(*id)));
        }
        self.replica = None;
        self.binlog.retain(|transaction| !beyond(transaction));
        self.purged = self.binlog.len();
        self.state = common.clone();
        self.slave_position = self.last();
        true
    }

    /// One probe of a server that answers.
    pub fn report(&self) -> DatabaseReport {
        let replica = self.replica.as_ref().map(|replica| ReplicaReport {
            receiving: replica.receiving && replica.connected,
            connecting: replica.receiving && !replica.connected,
            applying: replica.applying,
            primary: "peer".into(),
            received: replica.received.or(self.slave_position).into_iter().collect(),
            applied: self.slave_position.into_iter().collect(),
            lag: None,
            error: replica.error.clone(),
        });
        DatabaseReport {
            reachable: true,
            writable: !self.read_only,
            server_id: self.id,
            gtid: self.everything(),
            binlog_position: self.binlog_position(),
            replica,
            restarts: self.restarts,
            ledger: self.ledger,
            ..DatabaseReport::default()
        }
    }
}

impl Replica {
    fn refuse(&mut self, error: &str) {
        self.receiving = false;
        self.connected = false;
        self.error = error.into();
    }
}
