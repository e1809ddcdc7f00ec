//! The promises, looked at from outside: never what a node believes, only what the world does.

use super::faults::PRIVILEGED;
use super::world::{MS, World};
use crate::decision::peer::{Acknowledge, PeerMessage};
use crate::decision::settings::OnUndrained;
use crate::decision::time::Instant;
use crate::decision::words::{Epoch, Mode, Protection};
use std::collections::BTreeSet;

/// What the checkers remember.
#[derive(Debug, Default)]
pub struct Checkers {
    pub violation: Option<String>,
    /// Acknowledged writes that a promise allows to be lost: the asynchronous tail of a node that died.
    pub excused: BTreeSet<u32>,
    /// What a server took with it because it does not sync each transaction: such a pair may serve without it.
    pub unsynced: BTreeSet<u32>,
    /// Received, and not applied when that server ended: every start of a replica deletes the relay log, and what is in
    /// it is saved by nobody yet.
    left_in_relay: BTreeSet<u32>,
    /// Acknowledged because the peer had received them, not because the server had waited for too long.
    pub protected: BTreeSet<u32>,
    /// What was acknowledged to each host: the activity, and until when on that host's clock.
    granted: [(Epoch, Instant); 2],
    /// The newest number that each server had used when it lost its newest transactions.
    pub used: [u64; 2],
    /// A server that lost some goes on and uses their numbers again: nothing can tell the two histories apart.
    pub reused: bool,
    newest: Epoch,
    unwritable_since: [Option<u64>; 2],
    /// Both served in a partition: one of them loses what it took.
    pub forked: bool,
    /// Two open gates that began in a pure partition: also while clients reach only one of them.
    split: bool,
    /// Until when a pure partition, or what it leaves, excuses two writers.
    pub partition_until: u64,
    /// When anything was last out of order, or an operator asked for something.
    pub disturbed_at: u64,
    /// The other server can be reached from here since.
    reached_since: [Option<u64>; 2],
    /// The server takes writes since: from then on nothing of another one can be fetched any more.
    writable_since: [Option<u64>; 2],
    pub last_active: Option<(usize, u64)>,
    /// When each gate was last opened, the service of the role ran there, or there is none.
    opened_whole: [bool; 2],
    /// Until when a kernel timer that stood still excuses two writers.
    pub woke_until: u64,
    /// Hosts that stood still as a virtual machine, came back with an open gate or with the lease for one, and have not
    /// heard the peer since: nothing in them tells that time has passed. No level without synchronous replication
    /// promises more. When they came back, on their own clock, and in which epoch.
    pub unaware: [Option<(Instant, Epoch)>; 2],
    /// When each host was cut off from everybody while it served alone already.
    isolated_alone_at: [Option<u64>; 2],
    /// When each host was last in mode standalone.
    pub standalone_at: [Option<u64>; 2],
    /// Who was active when the first fault struck.
    pub struck_active: Option<usize>,
    /// Both daemons live and hear each other since.
    pub paired_since: Option<u64>,
    /// When the newest fault began.
    pub fault_at: Option<u64>,
}

impl Checkers {
    /// The other server did not answer in time from here.
    pub fn not_reached(&mut self, host: usize) {
        self.reached_since[host] = None;
    }

    /// The first broken promise counts.
    pub fn broken(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }
}

impl World {
    pub fn break_promise(&mut self, text: String) {
        self.trace(|| format!("BROKEN {text}"));
        let at = format!("{text} (at {} ms)", self.now / MS);
        self.checkers.broken(at);
    }

    /// After everything that happens.
    pub fn look(&mut self) {
        let accepts = [self.accepts(0), self.accepts(1)];
        for host in 0..2 {
            if self.hosts[host].mode == Mode::Standalone {
                self.checkers.standalone_at[host] = Some(self.now);
            }
        }
        if self.is_partition() {
            self.excuse_partition();
        }
        self.look_at_services();
        self.look_for_two(accepts);
        for (host, accepts) in accepts.into_iter().enumerate() {
            if accepts {
                self.checkers.last_active = Some((host, self.now));
            }
            self.look_at_server(host);
            let reached = self.reaches_server(host);
            let since = &mut self.checkers.reached_since[host];
            *since = if reached { since.or(Some(self.now)) } else { None };
            self.look_at_writability(host);
        }
    }

    /// Also the server of an active that was down for so short a time that its gate stayed open takes writes anew.
    fn look_at_writability(&mut self, host: usize) {
        let server = &self.hosts[host].server;
        let since = &mut self.checkers.writable_since[host];
        if server.read_only {
            *since = None;
        } else if since.is_none() {
            *since = Some(self.now);
            let newest = server.last().map_or(0, |gtid| gtid.sequence);
            self.checkers.reused |= newest < self.checkers.used[host];
        }
    }

    /// S1: two that answer for the address are one step from two that write.
    fn look_for_two(&mut self, accepts: [bool; 2]) {
        if !(0..2).all(|host| self.hosts[host].gate.answers(self.now)) {
            self.checkers.split = false;
            return;
        }
        // Two that began in a partition end when they can hear each other again.
        let hears = |host: usize| self.hosts[host].daemon.as_ref().is_some_and(|daemon| !daemon.paused);
        let hear = hears(0) && hears(1) && self.round_trip(super::plan::Protocol::Peer);
        if self.checkers.split && !hear {
            self.excuse_partition();
        }
        let woke = self.checkers.unaware.iter().any(Option::is_some);
        if woke || self.now <= self.checkers.partition_until.max(self.checkers.woke_until) {
            self.checkers.split = true;
            self.checkers.forked = true;
            self.mark("two nodes serve in a pure partition");
        } else if self.answers(0) && self.answers(1) {
            self.break_promise(format!("S1: both nodes answer for the address, writable: {accepts:?}"));
        }
    }

    /// S6: nobody answers for long without a database that takes writes.
    fn look_at_server(&mut self, host: usize) {
        let server = &self.hosts[host].server;
        let useless = self.answers(host) && (!server.up() || server.read_only);
        let now = self.now;
        let since = &mut self.checkers.unwritable_since[host];
        *since = if useless { since.or(Some(now)) } else { None };
        let bound = 8_000 * MS + 4 * Self::nanos(self.hosts[host].settings.lease);
        if since.is_some_and(|since| now > since + bound) {
            self.break_promise(format!("S6: db{} answers without a writable database", host + 1));
        }
    }

    /// An acknowledgement left for `host`.
    pub fn acknowledged(&mut self, host: usize, acknowledge: &Acknowledge) {
        let end = acknowledge.sent + acknowledge.lease;
        let granted = &mut self.checkers.granted[host];
        if acknowledge.epoch > granted.0 {
            *granted = (acknowledge.epoch, end);
        } else if acknowledge.epoch == granted.0 {
            granted.1 = granted.1.max(end);
        }
    }

    /// S1: what keeps a gate open was acknowledged by the peer, counted from the send time, or rests on a durable
    /// record.
    pub fn look_at_lease(&mut self, host: usize, epoch: Epoch, end: Instant, solo: bool) {
        let (of, until) = self.checkers.granted[host];
        if !solo && (of != epoch || end > until) {
            self.break_promise(format!(
                "S1: db{} holds its gate open beyond what was acknowledged",
                host + 1
            ));
        }
    }

    /// The durable record of going on alone.
    pub fn solo_on_disk(&self, host: usize, epoch: Epoch) -> bool {
        self.hosts[host].disk.is_some_and(|facts| facts.solo == Some(epoch))
    }

    /// S1: what had closed stays closed, but for a takeover.
    pub fn look_at_closed(&mut self, host: usize, opens: bool) {
        if !opens && !self.hosts[host].gate.open(self.now) {
            self.break_promise(format!("S1: the gate of db{} had closed and opens again", host + 1));
        }
    }

    /// A host that stood still goes on as if nothing had been, with its gate open or about to be. If the other one has
    /// served meanwhile, or does before this one hears of it, each has writes of its own.
    pub fn goes_on_unaware(&mut self, host: usize) {
        let now = self.local(host);
        let mine = self.hosts[host].disk.map_or(Epoch::default(), |facts| facts.epoch);
        let serves = self.hosts[host].gate.open(self.now);
        let holds_lease = self.checkers.granted[host] >= (mine, now) || self.solo_on_disk(host, mine);
        if serves || holds_lease {
            self.checkers.unaware[host] = Some((now, mine));
            self.checkers.forked |= self.checkers.newest > mine;
        }
    }

    /// A daemon takes a message of the peer. One of a newer epoch tells it where it stands, and so does an
    /// acknowledgement, which a node that takes over does not give: of what was sent since, not of what was under way
    /// while the host stood still.
    pub fn heard(&mut self, host: usize, message: &PeerMessage) {
        let Some((woke, _)) = self.checkers.unaware[host] else { return };
        let mine = self.hosts[host].gate.lease.unwrap_or_default().0;
        let tells = match message {
            PeerMessage::Heartbeat(heartbeat) => heartbeat.facts.epoch > mine,
            PeerMessage::Acknowledge(acknowledge) => acknowledge.sent > woke,
            _ => false,
        };
        if tells {
            self.checkers.unaware[host] = None;
            let lease = Self::nanos(self.hosts[host].settings.lease);
            let until = self.now + 2 * lease + 2 * self.network.slowest();
            self.checkers.woke_until = self.checkers.woke_until.max(until);
        }
    }

    /// A server ends: what its relay log holds can be had of the other server alone.
    pub fn leaves_relay(&mut self, host: usize) {
        let server = &mut self.hosts[host].server;
        for one in server.replica.iter().flat_map(|replica| &replica.relay) {
            if let super::database::Content::Data(id) = one.content {
                server.received.remove(&id);
                self.checkers.left_in_relay.insert(id);
            }
        }
    }

    /// What a host knew of activities went with its state file: nobody can know it any more, unless the other host or
    /// a server does.
    pub fn forgets(&mut self, lost: usize) {
        self.knows_at_most(Some(lost));
    }

    /// The same, where a start as replica cut the ledger's newest row off that nobody had acknowledged.
    pub fn forgets_ledger(&mut self) {
        self.knows_at_most(None);
    }

    fn knows_at_most(&mut self, lost: Option<usize>) {
        let known = |host: usize| {
            let disk = self.hosts[host].disk.map_or(Epoch::default(), |facts| facts.epoch);
            self.hosts[host].server.ledger.max(if Some(host) == lost { Epoch::default() } else { disk })
        };
        let known = known(0).max(known(1));
        self.checkers.newest = self.checkers.newest.min(known);
        // An epoch that was acknowledged, never opened, and is forgotten everywhere comes after older ones then.
        for granted in &mut self.checkers.granted {
            if granted.0 > known {
                *granted = Default::default();
            }
        }
    }

    /// A host woke with its gate still open, and a commit that had waited since before ends there: the other one has
    /// taken over without it, and nothing in the host could tell.
    pub fn heard_too_late(&mut self, id: u32, epoch: Epoch) {
        let woke = self.checkers.unaware.iter().any(Option::is_some) || self.now <= self.checkers.woke_until;
        if epoch < self.checkers.newest && woke {
            self.checkers.excused.insert(id);
        }
    }

    /// A gate was opened: a takeover.
    pub fn opened(&mut self, host: usize, epoch: Epoch) {
        self.checkers.forked |= self.checkers.unaware[1 - host].is_some();
        // A node whose operator made it standalone serves whatever the other one does.
        let alone = |at: &Option<u64>| at.is_some_and(|at| self.now <= at + 3_000 * MS);
        if self.checkers.standalone_at.iter().any(alone) && !self.round_trip(super::plan::Protocol::Peer) {
            self.checkers.forked = true;
        }
        // A takeover that began after it came back is no longer what it came back with.
        self.checkers.unaware[host] = self.checkers.unaware[host].filter(|(_, mine)| epoch <= *mine);
        let partition = self.now <= self.checkers.partition_until;
        if epoch <= self.checkers.newest && !partition && !self.checkers.forked {
            let newest = self.checkers.newest;
            self.break_promise(format!("epoch {epoch:?} is opened after {newest:?}"));
        }
        self.checkers.newest = self.checkers.newest.max(epoch);
        if self.hosts[host].mode == Mode::Maintenance && self.now > self.hosts[host].mode_since + 1_000 * MS {
            self.break_promise(format!("S7: db{} opens in mode maintenance", host + 1));
        }
        let calm = self.now > self.checkers.disturbed_at + 10_000 * MS;
        let other_served =
            self.checkers.last_active.is_some_and(|(last, at)| last != host && self.now < at + 2_000 * MS);
        // One that opened because nobody else could, without what the role needs, is not healthy.
        let whole = self.checkers.opened_whole[1 - host] || self.hosts[1 - host].service.runs;
        self.checkers.opened_whole[host] =
            self.configuration.service.is_none() || self.hosts[host].service.runs;
        if calm && other_served && whole && !self.checkers.forked {
            self.break_promise(format!("S3: db{} takes over from a healthy active", host + 1));
        }
        let newest = self.hosts[host].server.last().map_or(0, |gtid| gtid.sequence);
        // The newest is the ledger's row by now.
        self.checkers.reused |= newest <= self.checkers.used[host];
        self.look_at_data(host);
    }

    /// S5: what is acknowledged and here to be had is not left behind.
    fn look_at_data(&mut self, host: usize) {
        let missing = self.missing_at(host);
        if missing.is_empty() {
            return;
        }
        let promotes = self.checkers.reused || self.hosts[host].settings.on_undrained == OnUndrained::Promote;
        let server = &self.hosts[host].server;
        let in_relay = server.replica.as_ref().is_some_and(|replica| {
            replica
                .relay
                .iter()
                .any(|one| matches!(one.content, super::database::Content::Data(id) if missing.contains(&id)))
        });
        // What once was received and is thrown away was acknowledged to be here.
        let received = missing.iter().any(|id| server.received.contains(id));
        if (in_relay || received) && !promotes && !self.checkers.forked && !self.judge.forced() {
            self.break_promise(format!(
                "S5: db{} opens with acknowledged writes that it had received",
                host + 1
            ));
        }
        self.look_at_protected(host, &missing, promotes);
        let there = &self.hosts[1 - host].server.data;
        let unsynced = &self.checkers.unsynced;
        let to_be_had = missing.iter().filter(|id| there.contains(id) && !unsynced.contains(id)).count();
        let bound = 3_000 * MS + 4 * Self::nanos(self.hosts[host].settings.lease);
        let until = self.checkers.writable_since[host].unwrap_or(self.now);
        let reached = self.checkers.reached_since[host].is_some_and(|since| until > since + bound);
        let contact = self.round_trip(super::plan::Protocol::Peer);
        // What an administrator wrote past `read_only` parted the histories: either side has something of its own.
        let parted = self.hosts[host].server.data.range(PRIVILEGED..).any(|id| !there.contains(id));
        let excused = promotes || parted || self.checkers.forked || self.judge.forced();
        if to_be_had > 0 && reached && contact && !excused {
            self.break_promise(format!(
                "S5: db{} opens without {to_be_had} acknowledged writes that the other server has",
                host + 1
            ));
        }
        self.trace(|| {
            format!("db{} opens without {} acknowledged writes: {missing:?}", host + 1, missing.len())
        });
        self.mark("an asynchronous tail was lost");
        self.checkers.excused.extend(missing);
    }

    /// S2: what the receipt of this very node has acknowledged is here.
    fn look_at_protected(&mut self, host: usize, missing: &[u32], promotes: bool) {
        let checkers = &self.checkers;
        let received = &self.hosts[host].server.received;
        let left = |id: &u32| checkers.left_in_relay.contains(id) && !received.contains(id);
        let gone = |id: &u32| checkers.unsynced.contains(id) || left(id);
        let covered = |id: &&u32| checkers.protected.contains(id) && !gone(id);
        let lost = missing.iter().filter(covered).count();
        if lost > 0 && !promotes && !checkers.forked && !self.judge.forced() {
            self.break_promise(format!(
                "S2: db{} opens without {lost} writes that its receipt had acknowledged",
                host + 1
            ));
        }
    }

    /// Two nodes that cannot hear each other while both are heard: the level does not promise S1 then, nor
    /// for the time that it takes to notice the heal.
    pub fn excuse_partition(&mut self) {
        self.checkers.forked = true;
        let settings = &self.hosts[0].settings;
        let leases = 4 * Self::nanos(settings.lease) + 4 * Self::nanos(settings.heartbeat);
        self.checkers.partition_until = self.now + 1_500 * MS + leases;
    }

    /// An isolated node goes on by itself at `vrrp`, and everywhere in mode standalone (until its lease of that time
    /// is over): when its port comes back, both serve until it notices. So does one that had gone on alone by the
    /// targets' answers before, and was then cut off for less than its lease.
    pub fn excuse_isolation(&mut self, host: usize, begins: bool) {
        let (settings, now) = (&self.hosts[host].settings, self.now);
        let lease = Self::nanos(settings.lease);
        let of = self.hosts[host].gate.lease.unwrap_or_default().0;
        let solo = self.hosts[host].gate.open(now) && self.solo_on_disk(host, of);
        let isolated = &mut self.checkers.isolated_alone_at[host];
        if begins {
            *isolated = solo.then_some(now);
        }
        let shortly = solo && isolated.is_some_and(|at| now <= at + lease + Self::nanos(settings.slice()));
        let alone =
            shortly && !begins || self.checkers.standalone_at[host].is_some_and(|at| now <= at + 4 * lease);
        if alone || settings.protection == Protection::Vrrp {
            self.excuse_partition();
        }
    }
}
