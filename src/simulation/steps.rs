//! What each step does to the servers.

use super::bugs::{self, Bug};
use super::database::{Content, Frozen, Health, Replica, Transaction};
use super::lanes::{Tried, failed, ok};
use super::plan::Protocol;
use super::semisync::Whose;
use super::world::{MS, World};
use crate::decision::action::{Comparison, DatabaseStep, RemoteStep, StepOutput};
use crate::decision::gtid::{Gtid, GtidState, Missing};
use std::collections::BTreeMap;

impl World {
    pub fn perform_database(&mut self, host: usize, step: &DatabaseStep) -> Tried {
        match step {
            DatabaseStep::Drain => self.drain(host),
            DatabaseStep::StopApplying => {
                if self.hosts[host].server.semi_sync.has(Whose::Replica) {
                    return Tried::Wait(10 * MS);
                }
                if let Some(replica) = &mut self.hosts[host].server.replica {
                    replica.applying = false;
                }
                ok(StepOutput::Done)
            }
            DatabaseStep::ResumeApplying => self.resume_applying(host),
            DatabaseStep::AllowWrites if self.bug == Some(Bug::AllowLies) => ok(StepOutput::Done),
            DatabaseStep::AllowWrites => {
                self.hosts[host].server.read_only = false;
                self.hush(host, false);
                ok(StepOutput::Done)
            }
            DatabaseStep::WriteEpoch { epoch, .. } => self.write_epoch(host, *epoch),
            DatabaseStep::ForbidWrites => {
                self.hush(host, true);
                match self.rolls_back(host) {
                    0 => {
                        self.forbid(host);
                        self.hosts[host].server.frozen = Frozen::No;
                        ok(StepOutput::Done)
                    }
                    wait => Tried::Wait(wait),
                }
            }
            DatabaseStep::Freeze => self.freeze(host),
            DatabaseStep::Thaw => self.thaw(host),
            DatabaseStep::Seal => self.seal(host),
            DatabaseStep::WaitFor { position } => self.wait_for(host, position),
            DatabaseStep::ForgetPrimary
            | DatabaseStep::Follow { .. }
            | DatabaseStep::ForgetOwnTail { .. }
                if self.hosts[host].server.semi_sync.has(Whose::Replica) =>
            {
                // STOP SLAVE waits for the applying thread's commit.
                Tried::Wait(10 * MS)
            }
            DatabaseStep::ForgetPrimary => {
                self.hosts[host].server.replica = None;
                ok(StepOutput::Done)
            }
            DatabaseStep::Follow { position, own_tail_lost } => {
                self.follow(host, position.as_ref(), *own_tail_lost)
            }
            DatabaseStep::ForgetOwnTail { common } => {
                if !self.hosts[host].server.read_only {
                    return failed("a server that takes writes must not forget");
                }
                let before = self.hosts[host].server.data.len();
                let unchecked = self.bug == Some(Bug::DataForgotten);
                let forgot = self.hosts[host].server.forget_tail(common, unchecked);
                if self.hosts[host].server.data.len() < before {
                    self.break_promise(format!("S4: db{} forgets data that was not saved", host + 1));
                }
                if forgot { ok(StepOutput::Done) } else { failed("not forgotten, because it is data") }
            }
            DatabaseStep::ApplyTail => self.apply_tail(host),
        }
    }

    fn hush(&mut self, host: usize, quiet: bool) {
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.quiet = quiet;
        }
    }

    /// `read_only=1` waits for the running statement; KILL CONNECTION makes that its rollback. What is left, in ns.
    fn rolls_back(&mut self, host: usize) -> u64 {
        let now = self.now;
        let server = &mut self.hosts[host].server;
        if let Some(began) = server.long_write.take() {
            server.rolls_back_until = now + (now - began) / 2;
        }
        let left = server.rolls_back_until.saturating_sub(now);
        if left > 0 {
            self.mark("read_only waited for a rollback");
        }
        left
    }

    /// `read_only=1` and KILL CONNECTION: what waits is rolled back, not acknowledged.
    fn forbid(&mut self, host: usize) {
        let server = &mut self.hosts[host].server;
        server.read_only = true;
        server.waiting.clear();
        self.kill_waiting(host);
        self.trace(|| format!("db{} read-only", host + 1));
    }

    fn drain(&mut self, host: usize) -> Tried {
        if self.bug == Some(Bug::DrainRestarts) {
            bugs::restart_replica(&mut self.hosts[host].server);
        }
        let server = &self.hosts[host].server;
        let Some(replica) = &server.replica else { return ok(StepOutput::Position(server.everything())) };
        if self.bug == Some(Bug::DrainLies) {
            return ok(StepOutput::Position(server.everything()));
        }
        if server.drained() && (replica.applying || replica.receiving) {
            return ok(StepOutput::Position(server.everything()));
        }
        if !replica.applying {
            return failed("the applying thread does not run");
        }
        Tried::Wait(3 * MS)
    }

    fn resume_applying(&mut self, host: usize) -> Tried {
        match &mut self.hosts[host].server.replica {
            None => failed("this server follows nobody"),
            Some(replica) if replica.applying => ok(StepOutput::Done),
            Some(replica) if !replica.receiving => failed("both replica threads are stopped"),
            Some(replica) => {
                replica.applying = true;
                self.committed(1 - host);
                ok(StepOutput::Done)
            }
        }
    }

    fn freeze(&mut self, host: usize) -> Tried {
        self.hush(host, true);
        let waits = self.hosts[host].server.stage_asked.is_some();
        let refused =
            self.random.percent(10) || self.configuration.semi_sync.is_some_and(|drawn| drawn.no_stage);
        if !waits && refused {
            return self.freeze_by_read_only(host);
        }
        if let Some(tried) = self.stage_waits(host) {
            return tried;
        }
        self.hosts[host].server.frozen = Frozen::Stage;
        ok(StepOutput::Position(self.hosts[host].server.binlog_position()))
    }

    /// The stand-in for a stage that is not to be had.
    pub fn freeze_by_read_only(&mut self, host: usize) -> Tried {
        let server = &mut self.hosts[host].server;
        if server.read_only {
            server.frozen = Frozen::No;
            return failed("the server is read-only already: nothing to freeze");
        }
        server.frozen = Frozen::ReadOnly;
        self.forbid(host);
        ok(StepOutput::Position(self.hosts[host].server.binlog_position()))
    }

    fn thaw(&mut self, host: usize) -> Tried {
        let server = &mut self.hosts[host].server;
        if std::mem::replace(&mut server.frozen, Frozen::No) == Frozen::ReadOnly {
            server.read_only = false;
        }
        self.hush(host, false);
        self.stage_ended(host);
        ok(StepOutput::Done)
    }

    fn seal(&mut self, host: usize) -> Tried {
        let before = self.hosts[host].server.binlog_position();
        if self.hosts[host].server.frozen == Frozen::No {
            return failed("nothing is frozen");
        }
        self.hush(host, true);
        match self.rolls_back(host) {
            0 => {}
            wait => return Tried::Wait(wait),
        }
        let paused = std::mem::take(&mut self.hosts[host].server.waiting);
        self.forbid(host);
        if self.bug == Some(Bug::FreezeLeaks) {
            self.hosts[host].server.waiting = paused;
        }
        self.hosts[host].server.frozen = Frozen::No;
        ok(StepOutput::Position(before))
    }

    fn wait_for(&mut self, host: usize, position: &GtidState) -> Tried {
        let server = &self.hosts[host].server;
        let applied: GtidState = server.slave_position.into_iter().collect();
        if server.everything().covers(position) || applied.reaches(position) {
            return ok(StepOutput::Done);
        }
        match &server.replica {
            Some(replica) if replica.applying => Tried::Wait(3 * MS),
            Some(_) => failed("the applying thread does not run"),
            None => failed("this server follows nobody"),
        }
    }

    fn follow(&mut self, host: usize, position: Option<&GtidState>, own_tail_lost: bool) -> Tried {
        for id in std::mem::take(&mut self.hosts[host].server.waiting) {
            // Only what a seal did not kill is still here.
            self.commit_write(host, id);
        }
        let server = &mut self.hosts[host].server;
        if !server.read_only {
            return failed("a server that takes writes must not follow");
        }
        if let Some(position) = position {
            let wanted = position.position().iter().next();
            let newest = server.last().map_or(0, |gtid| gtid.sequence);
            if wanted.map_or(0, |gtid| gtid.sequence) < newest {
                return failed(format!("1947 this server has transactions that the primary lacks: {newest}"));
            }
            server.slave_position = wanted;
        }
        server.accepts_own |= own_tail_lost && self.bug != Some(Bug::OwnTailSkipped);
        server.replica = Some(Replica { receiving: true, applying: true, ..Replica::default() });
        self.trace(|| format!("db{} follows", host + 1));
        self.committed(1 - host);
        ok(StepOutput::Done)
    }

    fn apply_tail(&mut self, host: usize) -> Tried {
        let Some(daemon) = &mut self.hosts[host].daemon else { return failed("no daemon") };
        let count = daemon.tail.len() as u64;
        let (server, now) = (&mut self.hosts[host].server, self.now);
        for transaction in &daemon.tail {
            if !server.semi_sync.waits.is_empty() {
                // One after the other, each for as long as it takes.
                return Tried::Wait(10 * MS);
            }
            if server.state.covers(&GtidState::from_iter([transaction.gtid])) {
                continue;
            }
            if server.last().is_some_and(|last| transaction.gtid.sequence <= last.sequence) {
                let text = format!("stopped at transaction {}: 1950 out of order", transaction.gtid);
                daemon.tail.clear();
                return failed(&text);
            }
            server.enter(*transaction, Whose::Nobody, now);
        }
        if !server.semi_sync.waits.is_empty() {
            return Tried::Wait(10 * MS);
        }
        daemon.tail.clear();
        self.mark("the tail of a dead server was rescued");
        ok(StepOutput::Tail { transactions: count })
    }

    /// The peer's server answers a connection from here.
    pub fn reaches_server(&self, host: usize) -> bool {
        self.round_trip(Protocol::Sql) && self.hosts[1 - host].server.up()
    }

    pub fn remote_step(&mut self, host: usize, step: &RemoteStep) -> Tried {
        let reached = self.reaches_server(host);
        // A black hole or a server that hangs says nothing until the deadline.
        let refused = self.round_trip(Protocol::Sql) && self.hosts[1 - host].server.health == Health::Dead;
        match step {
            RemoteStep::FetchTail { have } => self.fetch_tail(host, have),
            _ if !reached && !refused => Tried::Wait(20 * MS),
            RemoteStep::ReachServer | RemoteStep::FenceServer if refused => ok(StepOutput::Unreachable),
            RemoteStep::ReachServer => ok(StepOutput::Done),
            RemoteStep::FenceServer => {
                self.mark("the old active's server was fenced by SQL");
                match self.rolls_back(1 - host) {
                    0 => {
                        self.forbid(1 - host);
                        ok(StepOutput::Done)
                    }
                    wait => Tried::Wait(wait),
                }
            }
            RemoteStep::Compare if refused => failed("the peer's server refuses the connection"),
            RemoteStep::Compare => match self.hosts[host].server.health {
                Health::Up => {
                    let mut comparison = self.compare(host);
                    if self.bug == Some(Bug::DataForgotten) {
                        bugs::call_notes(&mut comparison);
                    }
                    ok(StepOutput::Comparison(comparison))
                }
                Health::Hung => Tried::Wait(20 * MS),
                Health::Dead => failed("the server is gone"),
            },
        }
    }

    fn fetch_tail(&mut self, host: usize, have: &GtidState) -> Tried {
        let served = self.hosts[1 - host].daemon.as_ref().is_some_and(|daemon| !daemon.paused);
        if !self.round_trip(Protocol::Peer) {
            return Tried::Wait(20 * MS);
        }
        if !served {
            return failed("nobody serves the tail");
        }
        let lacks = |gtid: Gtid| have.sequence(gtid.domain, gtid.server).unwrap_or(0) < gtid.sequence;
        let tail: Vec<Transaction> =
            self.hosts[1 - host].server.binlog.iter().filter(|one| lacks(one.gtid)).copied().collect();
        let transactions = tail.len() as u64;
        if let Some(daemon) = &mut self.hosts[host].daemon {
            daemon.tail = tail;
        }
        ok(StepOutput::Tail { transactions })
    }

    /// As `io/mariadb/compare.rs`.
    fn compare(&self, host: usize) -> Comparison {
        let (here, there) = (&self.hosts[host].server, &self.hosts[1 - host].server);
        let (mine, theirs) = (here.everything(), there.everything());
        let applying = there.replica.iter().filter(|replica| replica.applying);
        let received: GtidState = applying.filter_map(|replica| replica.received).collect();
        let arrived = theirs.with_received(&received);
        let (errant, _) = judge(&here.binlog, &here.state.beyond(&theirs));
        let (_, own_notes) = judge(&here.binlog, &here.state.beyond(&arrived));
        let position = mine.position();
        let own_tail_lost = theirs.beyond(&mine).iter().filter(|run| run.server == here.id).any(|run| {
            position.iter().find(|gtid| gtid.domain == run.domain).is_none_or(|gtid| gtid.sequence < run.last)
        });
        let common = mine
            .iter()
            .filter_map(|gtid| {
                let sequence = arrived.sequence(gtid.domain, gtid.server)?.min(gtid.sequence);
                Some(Gtid { sequence, ..gtid })
            })
            .collect();
        Comparison {
            mine,
            theirs,
            errant,
            own_notes,
            own_tail_lost,
            common,
            peer_ledger: there.ledger,
            my_ledger: here.ledger,
        }
    }
}

/// Sorts what only this server has into data and notes.
fn judge(binlog: &[Transaction], beyond: &[Missing]) -> (Vec<String>, u64) {
    let mut data: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
    let mut notes = 0;
    for transaction in binlog {
        let gtid = transaction.gtid;
        let wanted = beyond.iter().any(|run| {
            (run.domain, run.server) == (gtid.domain, gtid.server)
                && gtid.sequence > run.after
                && gtid.sequence <= run.last
        });
        match transaction.content {
            _ if !wanted => {}
            Content::Data(_) => {
                let run = data.entry((gtid.domain, gtid.server)).or_insert((gtid.sequence, gtid.sequence));
                run.1 = gtid.sequence;
            }
            Content::Heartbeat(_) | Content::Ledger(_) => notes += 1,
        }
    }
    let errant =
        data.iter().map(|((domain, server), (first, last))| format!("{domain}-{server}-{first}..{last}"));
    (errant.collect(), notes)
}
