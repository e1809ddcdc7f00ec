//! The course of a run: boot, faults, heal, and then an operator who uses what the states name as remedy.
//! After every heal exactly one node serves within a bound, or a named state says what to do, and doing it helps.

use super::pace::Pace;
use super::plan::Plan;
use super::survivor::Survivor;
use super::world::{Happening, MS, World};
use crate::decision::action::Answer;
use crate::decision::code::Code;
use crate::decision::event::Command;
use crate::decision::words::Mode;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Boot,
    Faults,
    /// One host is gone for good.
    Left,
    Healing,
    Cleared,
    Forced,
    Rejoining,
    Switching,
    /// Nothing happens for a while, and nothing may change.
    Calm,
    Done,
}

/// Where the run stands.
#[derive(Debug)]
pub struct Judge {
    stage: Stage,
    since: u64,
    settled_since: Option<u64>,
    asked: Option<(usize, u64)>,
    tries: u32,
    active: usize,
    pub named: Vec<String>,
    swaps: bool,
    calm: bool,
    forces: u32,
    pub survivor: bool,
    pub left: Option<Survivor>,
}

/// How the pair stands, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// One serves, the other follows in mode ap.
    Whole(usize),
    /// One serves, the other is in maintenance or follows nobody.
    Alone(usize),
    None,
}

impl Judge {
    pub fn new(plan: &Plan) -> Self {
        Self {
            stage: Stage::Boot,
            since: 0,
            settled_since: None,
            asked: None,
            tries: 0,
            active: 0,
            named: Vec::new(),
            swaps: plan.swaps,
            calm: plan.seed.is_multiple_of(10),
            forces: 0,
            survivor: plan.survivor,
            left: None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// An operator has forced a takeover: what it leaves behind was accepted.
    pub fn forced(&self) -> bool {
        self.stage == Stage::Forced
    }
}

impl World {
    fn pair(&self) -> Pair {
        let active = match [self.accepts(0), self.accepts(1)] {
            [true, false] => 0,
            [false, true] => 1,
            _ => return Pair::None,
        };
        let (here, other) = (&self.hosts[active], &self.hosts[1 - active]);
        let follows = other.server.replica.as_ref().is_some_and(|replica| {
            replica.connected && replica.applying && replica.error.is_empty() && replica.relay.len() < 20
        });
        let modes = here.mode == Mode::Ap && other.mode == Mode::Ap;
        if follows && modes && other.server.read_only { Pair::Whole(active) } else { Pair::Alone(active) }
    }

    pub fn stage(&mut self, stage: Stage) {
        self.trace(|| format!("STAGE {stage:?}"));
        self.judge.stage = stage;
        self.judge.since = self.now;
        self.judge.settled_since = None;
        self.judge.asked = None;
        self.judge.tries = 0;
    }

    /// The same answer for two seconds.
    pub fn settled(&mut self, good: bool) -> bool {
        let now = self.now;
        let since = &mut self.judge.settled_since;
        *since = if good { since.or(Some(now)) } else { None };
        since.is_some_and(|since| now >= since + 2_000 * MS)
    }

    pub fn waited(&self, seconds: u64) -> bool {
        let lease = Self::nanos(self.hosts[0].settings.lease);
        self.now > self.judge.since + seconds * 1_000 * MS + 20 * lease
    }

    pub fn judge(&mut self) {
        self.at(100 * MS, Happening::Judge);
        let pair = self.pair();
        // A replica that does not know yet that its connection is gone makes no pair.
        let whole = matches!(pair, Pair::Whole(_)) && self.round_trip(super::plan::Protocol::Peer);
        self.checkers.forked &= !whole;
        match self.judge.stage {
            Stage::Boot => {
                if self.settled(matches!(pair, Pair::Whole(_))) {
                    self.begin_round();
                } else if self.waited(40) && self.takeovers_are_latched() {
                    // Steps that were too slow three times running: what the state names as remedy is used.
                    self.stage(Stage::Healing);
                } else if self.waited(40) {
                    self.checkers.broken(format!("L1: a fresh pair does not come up ({pair:?})"));
                }
            }
            Stage::Faults => {
                if self.judge.left.is_some() && self.course.open == 1 {
                    self.stage(Stage::Left);
                } else if self.course.open == 0 && self.pace == Pace::Measured {
                    self.stage(Stage::Done);
                } else if self.course.open == 0 {
                    self.stage(Stage::Healing);
                }
            }
            Stage::Left => self.survive(),
            Stage::Healing | Stage::Cleared | Stage::Forced => self.heal(pair),
            Stage::Rejoining => self.rejoin(pair),
            Stage::Switching => self.switch(pair),
            Stage::Calm => {
                if self.now > self.judge.since + 14_000 * MS {
                    self.finish();
                }
            }
            Stage::Done => {}
        }
    }

    fn begin_round(&mut self) {
        if self.next_round() {
            self.stage(Stage::Faults);
        } else {
            self.finish();
        }
    }

    pub fn finish(&mut self) {
        if let (Pair::Whole(active), Stage::Calm) = (self.pair(), self.judge.stage) {
            self.compare_data(active);
        }
        if self.judge.calm && self.judge.stage != Stage::Calm && matches!(self.pair(), Pair::Whole(_)) {
            return self.stage(Stage::Calm);
        }
        let lost: Vec<u32> = match self.pair() {
            // What only a divergent node has is named and can be saved there.
            Pair::Whole(active) | Pair::Alone(active) => {
                let missing = self.missing_at(active).into_iter();
                missing.filter(|id| !self.hosts[1 - active].server.data.contains(id)).collect()
            }
            Pair::None => Vec::new(),
        };
        if !lost.is_empty() && !self.checkers.reused {
            self.checkers.broken(format!("S5: acknowledged writes are gone at the end: {lost:?}"));
        }
        self.stage(Stage::Done);
    }

    /// A standby that follows has what the active acknowledged some seconds ago.
    fn compare_data(&mut self, active: usize) {
        let all = &self.clients.acknowledged;
        let (here, there) = (&self.hosts[active].server, &self.hosts[1 - active].server);
        let old = all.iter().take(all.len().saturating_sub(60));
        let lacks = old.filter(|id| here.data.contains(id) && !there.holds(**id)).count();
        if lacks > 0 && !self.checkers.reused {
            self.checkers.broken(format!("S2: the standby lacks {lacks} writes in silence"));
        }
    }

    fn heal(&mut self, pair: Pair) {
        // Every daemon runs again, and replication has had its time to come back.
        let good = match pair {
            Pair::Whole(_) => true,
            Pair::Alone(active) => self.hosts[1 - active].mode == Mode::Maintenance || self.waited(30),
            Pair::None => false,
        };
        if self.settled(good) {
            return self.healed(pair);
        }
        let bound = if self.judge.stage == Stage::Healing { 60 } else { 30 };
        if pair != Pair::None || !self.waited(bound) {
            return;
        }
        let named = self.named_state();
        match (self.judge.stage, named) {
            (_, None) => self.checkers.broken("L1: nobody serves and no state names a remedy".into()),
            (Stage::Healing, Some(code)) => {
                self.judge.named.push(code);
                self.stage(Stage::Cleared);
                self.command(0, Command::Clear);
                self.command(1, Command::Clear);
            }
            (Stage::Cleared, _) => self.force(),
            // It was on its way up by itself when it was asked, or a step was slow: asked again.
            (Stage::Forced, Some(_)) if self.judge.forces < 4 => self.force(),
            (_, Some(code)) => self.checkers.broken(format!("L1: a forced takeover does not help ({code})")),
        }
    }

    /// A service that was given up is repaired by now, says its operator.
    fn clear_given_up(&mut self) {
        if self.configuration.service.is_some() {
            self.command(0, Command::Clear);
            self.command(1, Command::Clear);
        }
    }

    fn healed(&mut self, pair: Pair) {
        self.clear_given_up();
        match pair {
            Pair::Whole(_) if self.judge.swaps && self.random.percent(60) => self.stage(Stage::Switching),
            Pair::Whole(_) => self.begin_round(),
            _ => self.stage(Stage::Rejoining),
        }
    }

    fn named_state(&self) -> Option<String> {
        let said = self.hosts.iter().filter_map(|host| host.said.as_ref());
        let codes: Vec<&str> = said.map(|why| why.code.word()).collect();
        (!codes.is_empty()).then(|| codes.join("+"))
    }

    /// Takeovers failed until a node gave up: a named state, whose remedy is `apctl clear`; or `apctl rejoin`, where the
    /// other node has taken over since.
    fn takeovers_are_latched(&self) -> bool {
        let says =
            |code| self.hosts.iter().any(|host| host.said.as_ref().is_some_and(|why| why.code == code));
        says(Code::TakeoverFailed)
            || says(Code::ModeLoser) && self.hosts.iter().any(|host| host.server.ledger.number > 3)
    }

    /// The node with more of what was acknowledged.
    fn force(&mut self) {
        let host = usize::from(self.hosts[1].server.data.len() > self.hosts[0].server.data.len());
        self.stage(Stage::Forced);
        self.judge.forces += 1;
        if self.hosts[host].mode == Mode::Maintenance {
            let command = Command::SetMode {
                mode: Mode::Ap,
                reason: "operator".into(),
                peer_is_off: false,
                nag_after: None,
            };
            self.command(host, command);
        }
        let command = Command::Failover {
            reason: "operator".into(),
            force: true,
            accept_data_loss: true,
            peer_is_off: false,
        };
        let id = self.command(host, command);
        self.judge.asked = Some((host, id));
    }

    /// What a command was answered, if one was asked.
    fn answered(&self) -> Option<&Answer> {
        let (host, id) = self.judge.asked?;
        self.hosts[host].answers.get(&id)
    }

    fn rejoin(&mut self, pair: Pair) {
        if self.settled(matches!(pair, Pair::Whole(_))) {
            self.mark("rejoined");
            return self.begin_round();
        }
        let Pair::Alone(active) = pair else {
            if pair == Pair::None && self.waited(60) {
                self.checkers.broken("L1: the service is lost while the other node rejoins".into());
            }
            return;
        };
        let loser = 1 - active;
        if matches!(self.answered(), Some(Answer::Refused { code, .. }) if code == "E_ERRANT") {
            return self.check_errant(active, loser);
        }
        if self.lost_what_was_purged(active, loser) {
            self.judge.named.push("rebuild".into());
            return self.finish();
        }
        let due = self.judge.asked.is_none()
            || (self.answered().is_some() && self.waited(4 * u64::from(self.judge.tries)));
        if self.judge.tries > 12 {
            let answer = self.answered().cloned();
            self.checkers.broken(format!("L1: db{} does not rejoin: {answer:?}", loser + 1));
        } else if due || self.waited(20 + 20 * u64::from(self.judge.tries)) {
            self.judge.tries += 1;
            let command = Command::Rejoin { reason: "operator".into(), dry_run: false };
            let id = self.command(loser, command);
            self.judge.asked = Some((loser, id));
        }
    }

    /// A server that does not sync its log lost transactions that the other one has, but no longer in its log: only a
    /// copy of the data helps, and the replica says so.
    fn lost_what_was_purged(&mut self, active: usize, loser: usize) -> bool {
        let (here, there) = (&self.hosts[active].server, &self.hosts[loser].server);
        let position = there.last().map_or(0, |gtid| gtid.sequence);
        let lost = self.checkers.used[loser] > position;
        let purged = here.purged > 0 && here.binlog[here.purged - 1].gtid.sequence > position;
        let said = matches!(self.answered(), Some(Answer::Failed(text)) if text.contains("1236"));
        lost && purged && said
    }

    /// Divergence is a named state; it must be true.
    fn check_errant(&mut self, active: usize, loser: usize) {
        let only_here =
            self.hosts[loser].server.writes().difference(&self.hosts[active].server.writes()).count();
        if only_here == 0 && !self.checkers.reused {
            self.checkers.broken("L1: rejoin is refused as divergent, but nothing is only there".into());
        }
        self.mark("divergence named");
        self.judge.named.push("E_ERRANT".into());
        self.finish();
    }

    /// Before the swap could be asked for, the active handed its role over by itself, because of a service that does not
    /// run, say: what the states name as remedy is used.
    fn no_longer_whole(&mut self, pair: Pair) {
        match pair {
            Pair::Alone(active) if self.hosts[1 - active].mode == Mode::Maintenance || self.waited(30) => {
                self.stage(Stage::Rejoining);
            }
            Pair::None if self.waited(20) => self.stage(Stage::Healing),
            _ => {}
        }
    }

    /// A planned swap in calm water: nothing is lost, the modes stay, and the other node serves.
    fn switch(&mut self, pair: Pair) {
        if self.judge.asked.is_none() {
            let Pair::Whole(active) = pair else { return self.no_longer_whole(pair) };
            self.judge.active = active;
            self.judge.tries += 1;
            let asked = self.random.below(2) as usize;
            let command = Command::Switchover {
                reason: "operator".into(),
                timeout: Duration::from_secs(10),
                dry_run: false,
            };
            let id = self.command(asked, command);
            self.judge.asked = Some((asked, id));
            return;
        }
        let swapped = matches!(pair, Pair::Whole(now) if now != self.judge.active);
        if self.settled(swapped) {
            self.mark("planned switchover");
            return self.begin_round();
        }
        let failed = self.answered().is_some_and(|answer| !matches!(answer, Answer::Done(_)));
        if failed
            && self.judge.tries < 10
            && matches!(pair, Pair::Whole(_))
            && self.waited(4 * u64::from(self.judge.tries))
        {
            self.judge.asked = None;
            self.clear_given_up();
        } else if failed && matches!(pair, Pair::Alone(_)) {
            // Called off late: gate and server were on their way down, and the other node took over.
            self.stage(Stage::Rejoining);
        } else if failed && pair == Pair::None && self.waited(20) {
            // The new side failed after the release, again and again: what the states name as remedy is used.
            self.stage(Stage::Healing);
        } else if self.waited(80) {
            let answer = self.answered().cloned();
            self.checkers.broken(format!("L1: a planned switchover does not end: {answer:?} ({pair:?})"));
        }
    }
}
