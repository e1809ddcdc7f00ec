//! One node goes for good, after whatever else befell it: the other one, if it holds a right then and is well, serves.
//!
//! The other runs end in a whole pair, where what went wrong in a takeover is put right as soon as the nodes see each
//! other again. Here nobody comes back, which is what a pair is there for.

use super::judge::Stage;
use super::plan::{Fault, Plan, What, Who, length_of};
use super::random::Random;
use super::world::World;
use crate::decision::code::Code;
use crate::decision::words::{Mode, Role};

/// What may befall the active before it is gone.
const BEFORE: &[What] = &[
    What::ServerKill,
    What::ServerKill,
    What::ServerHang,
    What::ConnectionHang,
    What::LongWrite,
    What::NicDown,
    What::ApiFails,
    What::DaemonStop,
    What::DaemonCrash,
    What::DaemonPause,
    What::GateCrash,
    What::SlowDisk,
    What::Switchover,
];

/// Longer than any run, in ms.
const FOR_GOOD: u64 = 3_600_000;

/// How long a survivor may take, in seconds: its drain, its hold, three tries.
const BOUND: u64 = 120;

/// Who is left.
#[derive(Clone, Copy, Debug)]
pub struct Survivor {
    host: usize,
    /// It held a right when the other one went.
    right: bool,
}

impl Plan {
    /// The pair of [`Plan::draw`], whose active goes for good after up to two other faults.
    pub fn draw_survivor(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        let mut random = Random::new(seed ^ 0x6c65_6674);
        let lease = plan.configuration.lease_ms;
        (plan.swaps, plan.faults, plan.configuration.service) = (false, Vec::new(), None);
        let mut fault = |random: &mut Random, at_ms, what, who| {
            let for_ms = length_of(what, random, lease);
            plan.faults.push(Fault { at_ms, for_ms, ..Fault::plain(what, who) });
        };
        let (mut at_ms, mut who) = (1_000, Who::Active);
        if random.percent(40) {
            fault(&mut random, 900, What::SlowApply, Who::Standby);
        }
        for _ in 0..random.below(3) {
            let what = random.pick(BEFORE);
            fault(&mut random, at_ms, what, who);
            who = Who::Same;
            at_ms += random.pick(&[2, 20, 150, 400, 900, 3_000]) + random.below(lease);
        }
        plan.faults.push(Fault { at_ms, for_ms: FOR_GOOD, ..Fault::plain(What::PowerOff, who) });
        plan.survivor = true;
        plan
    }
}

impl World {
    /// A fault is about to take a host away for good.
    pub fn leaves_for_good(&mut self, host: usize, fault: Fault) {
        if fault.for_ms < FOR_GOOD || !self.judge.survivor {
            return;
        }
        let left = 1 - host;
        let right = self.is_well(left) && self.has_right(left);
        self.judge.left = Some(Survivor { host: left, right });
        self.trace(|| format!("LEFT db{}, with a right: {right}", left + 1));
    }

    fn is_well(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        host.daemon.as_ref().is_some_and(|daemon| !daemon.paused) && host.asleep.is_none() && host.server.up()
    }

    /// The active granted it, it went on alone before, or it is on its way up. A node that serves is another matter: its
    /// standby may use its own right, so it goes on only if it can note in time that it does so alone.
    fn has_right(&self, host: usize) -> bool {
        let Some(daemon) = self.hosts[host].daemon.as_ref() else { return false };
        let view = daemon.node.view();
        let noted =
            self.hosts[host].disk.is_some_and(|facts| facts.solo == Some(view.epoch) && !facts.solo_shared);
        let rises = view.role == Role::Active && !view.serving && view.phase == "taking_over";
        match view.mode {
            Mode::Maintenance => false,
            Mode::Standalone => true,
            Mode::Ap => !view.serving && view.eligible == Some(view.epoch) || view.solo && noted || rises,
        }
    }

    /// Nothing else goes on any more: it serves.
    pub fn survive(&mut self) {
        let Some(Survivor { host, right }) = self.judge.left else { return };
        if self.settled(self.accepts(host)) {
            self.mark("a survivor serves");
            self.finish();
        } else if self.waited(BOUND) {
            let said = self.hosts[host].said.as_ref().map_or("nothing", |why| why.code.word());
            let latched = self.hosts[host].said.as_ref().is_some_and(|why| why.code == Code::TakeoverFailed);
            if right && !latched {
                self.checkers
                    .broken(format!("L2: db{} is left with a right, and does not serve: {said}", host + 1));
            }
            self.judge.named.push(format!("left: {said}"));
            self.stage(Stage::Done);
        }
    }
}
