//! A MariaDB server as the stories need it: transactions in an order, some of them apd's own notes, a replica
//! that brings them over, and the ends of the steps of the database lane.

use apd::decision::action::{Comparison, DatabaseStep, StepOutput, StepResult};
use apd::decision::event::{DatabaseReport, ReplicaReport};
use apd::decision::gtid::{Gtid, GtidState};
use apd::decision::words::Epoch;
use std::time::Duration;

/// What a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It answers.
    Well,
    /// It does not answer, and its connections stand.
    Hung,
    /// It is gone.
    Dead,
}

/// One transaction; a note touches the schema `apd` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub gtid: Gtid,
    pub note: bool,
}

/// The replica's two threads.
#[derive(Clone, Copy, Debug)]
pub struct Replica {
    pub receiving: bool,
    pub applying: bool,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Server {
    pub number: u32,
    pub life: Life,
    pub read_only: bool,
    pub log: Vec<Transaction>,
    /// Received and not applied.
    pub relay: Vec<Transaction>,
    /// Newest transactions that the replica was not sent (asynchronous replication).
    pub unsent: Vec<Gtid>,
    pub replica: Option<Replica>,
    pub ledger: Epoch,
    pub restarts: u64,
    pub frozen: bool,
    /// Fetched from the peer's disk, to be applied.
    pub tail: Vec<Transaction>,
}

impl Server {
    /// An empty server that takes no writes.
    pub fn new(number: u32) -> Self {
        Self {
            number,
            life: Life::Dead,
            read_only: true,
            log: Vec::new(),
            relay: Vec::new(),
            unsent: Vec::new(),
            replica: None,
            ledger: Epoch::default(),
            restarts: 0,
            frozen: false,
            tail: Vec::new(),
        }
    }

    /// It starts as it is configured: read-only, and no replica thread runs.
    pub fn start(&mut self) {
        self.life = Life::Well;
        self.read_only = true;
        self.frozen = false;
        self.restarts += 1;
        self.unsent.clear();
        self.relay.clear();
        if let Some(replica) = &mut self.replica {
            *replica = Replica { receiving: false, applying: false };
        }
    }

    /// What it has.
    pub fn gtid(&self) -> GtidState {
        self.log.iter().map(|transaction| transaction.gtid).collect()
    }

    /// Whether ordinary users can write now.
    pub fn writable(&self) -> bool {
        self.life == Life::Well && !self.read_only
    }

    /// One transaction of its own.
    pub fn write(&mut self, note: bool) -> Gtid {
        let last = self.log.iter().map(|transaction| transaction.gtid.sequence).max().unwrap_or(0);
        let gtid = Gtid { domain: 0, server: self.number, sequence: last + 1 };
        self.log.push(Transaction { gtid, note });
        gtid
    }

    /// Whether this transaction is here.
    pub fn has(&self, gtid: Gtid) -> bool {
        self.log.iter().any(|transaction| transaction.gtid == gtid)
    }

    /// Takes what the primary sends; true if a note came that is applied.
    pub fn replicate(&mut self, primary: &Server, connected: bool) -> bool {
        let Some(replica) = self.replica.filter(|_| self.life == Life::Well) else { return false };
        if replica.receiving && connected && primary.life == Life::Well {
            for transaction in &primary.log {
                let gtid = transaction.gtid;
                let known = self.has(gtid) || self.relay.iter().any(|relayed| relayed.gtid == gtid);
                if !known && !primary.unsent.contains(&gtid) {
                    self.relay.push(*transaction);
                }
            }
        }
        replica.applying && self.apply()
    }

    fn apply(&mut self) -> bool {
        let note = self.relay.iter().any(|transaction| transaction.note);
        self.log.append(&mut self.relay);
        note
    }

    /// What one probe finds.
    pub fn report(&self, connected: bool) -> DatabaseReport {
        let reachable = self.life == Life::Well;
        if !reachable {
            let (dead, detail) = match self.life {
                Life::Dead => (true, "connection refused"),
                _ => (false, "no answer within 500 ms"),
            };
            return DatabaseReport { reachable, dead, detail: detail.into(), ..DatabaseReport::default() };
        }
        let gtid = self.gtid();
        DatabaseReport {
            reachable,
            writable: !self.read_only,
            server_id: self.number,
            version: "10.11".into(),
            binlog_position: gtid.position(),
            replica: self.replica.map(|replica| ReplicaReport {
                receiving: replica.receiving && connected,
                connecting: replica.receiving && !connected,
                applying: replica.applying,
                received: gtid.position(),
                applied: gtid.position(),
                ..ReplicaReport::default()
            }),
            gtid,
            restarts: self.restarts,
            ..DatabaseReport::default()
        }
    }

    /// How both servers relate, seen from this one.
    pub fn compare(&self, other: &Server) -> Comparison {
        let (mine, theirs) = (self.gtid(), other.gtid());
        let lacks = |transaction: &&Transaction| !other.has(transaction.gtid);
        let only_here: Vec<&Transaction> = self.log.iter().filter(lacks).collect();
        let common =
            self.log.iter().map(|transaction| transaction.gtid).filter(|gtid| other.has(*gtid)).collect();
        Comparison {
            errant: only_here.iter().filter(|one| !one.note).map(|one| one.gtid.to_string()).collect(),
            own_notes: only_here.iter().filter(|one| one.note).count() as u64,
            own_tail_lost: other.log.iter().any(|one| one.gtid.server == self.number && !self.has(one.gtid)),
            common,
            peer_ledger: other.ledger,
            my_ledger: self.ledger,
            mine,
            theirs,
        }
    }

    /// The effect of a step of the database lane, at its end.
    pub fn perform(&mut self, step: &DatabaseStep) -> StepResult {
        let done = StepResult::Ok(StepOutput::Done);
        match step {
            DatabaseStep::Drain => {
                if !self.relay.is_empty() && !self.replica.is_some_and(|replica| replica.applying) {
                    return StepResult::Failed("the applying thread does not run".into());
                }
                self.apply();
                return StepResult::Ok(StepOutput::Position(self.gtid().position()));
            }
            DatabaseStep::StopApplying => self.threads(|replica| replica.applying = false),
            DatabaseStep::ResumeApplying => {
                if self.replica.is_some_and(|replica| !replica.receiving) {
                    return StepResult::Failed("the receiving thread does not run".into());
                }
                self.threads(|replica| replica.applying = true);
            }
            DatabaseStep::AllowWrites => self.read_only = false,
            DatabaseStep::ForbidWrites => self.read_only = true,
            DatabaseStep::WriteEpoch { epoch, .. } => {
                self.ledger = *epoch;
                self.write(true);
            }
            DatabaseStep::Freeze => {
                self.frozen = true;
                return StepResult::Ok(StepOutput::Position(self.gtid().position()));
            }
            DatabaseStep::Thaw => self.frozen = false,
            DatabaseStep::Seal => {
                (self.read_only, self.frozen) = (true, false);
                return StepResult::Ok(StepOutput::Position(self.gtid().position()));
            }
            DatabaseStep::WaitFor { position } => {
                let applies = self.replica.is_some_and(|replica| replica.applying);
                return match self.gtid().reaches(position) {
                    true => done,
                    false if applies => StepResult::TimedOut,
                    false => StepResult::Failed("this server follows nobody".into()),
                };
            }
            DatabaseStep::ForgetPrimary => self.replica = None,
            DatabaseStep::Follow { .. } => self.replica = Some(Replica { receiving: true, applying: true }),
            DatabaseStep::ForgetOwnTail { common } => self.log.retain(|one| {
                common
                    .sequence(one.gtid.domain, one.gtid.server)
                    .is_some_and(|last| one.gtid.sequence <= last)
            }),
            DatabaseStep::ApplyTail => {
                let tail = std::mem::take(&mut self.tail);
                self.log.extend(tail);
            }
        }
        done
    }

    fn threads(&mut self, change: impl FnOnce(&mut Replica)) {
        if let Some(replica) = &mut self.replica {
            change(replica);
        }
    }
}

/// How long a step takes that meets no trouble.
pub const fn usual(step: &DatabaseStep) -> Duration {
    Duration::from_millis(match step {
        DatabaseStep::StopApplying | DatabaseStep::ResumeApplying | DatabaseStep::Thaw => 2,
        DatabaseStep::AllowWrites | DatabaseStep::WriteEpoch { .. } | DatabaseStep::WaitFor { .. } => 3,
        DatabaseStep::Drain | DatabaseStep::ForbidWrites | DatabaseStep::Seal => 5,
        DatabaseStep::Freeze | DatabaseStep::ApplyTail => 8,
        DatabaseStep::ForgetPrimary | DatabaseStep::ForgetOwnTail { .. } => 20,
        DatabaseStep::Follow { .. } => 40,
    })
}
