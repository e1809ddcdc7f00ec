//! The active is silent: looking for life, and waiting out its lease.
//!
//! A bid costs nothing that matters: until the proofs of life have failed it only looks. The applying thread is
//! stopped as late as the wait allows, and goes on when the bid is called off: the receiving thread was never
//! stopped, so the relay log stands. Where the old active's server can be reached nothing is prepared: it is
//! fenced first, and the stream is cut after that (the cut would keep the fence out too).

use super::action::{Action, DatabaseStep, Lane, RemoteStep, Step, StepOutput, StepResult};
use super::node::Node;
use super::phase::{Phase, Purpose, outcome};
use super::takeover::{Prepared, Right, TakeoverKind};
use super::time::Instant;
use super::words::{Mode, Protection};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Several questions for the address fit into it.
const SHORTEST_LOOK: Duration = Duration::from_millis(40);

/// The active is silent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bid {
    number: u64,
    began: Instant,
    right: Right,
    prepared: Prepared,
    /// When preparation that changes something began, if it did.
    cutting: Option<Instant>,
    ready: bool,
    /// The wait was over before the bid began: there is time to hear whether the old active's server answers.
    #[serde(default)]
    late: bool,
    /// Whether it does is known.
    #[serde(default)]
    answered: bool,
}

/// Preparations of a bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BidStep {
    Reach,
    Drain,
    DrainAgain,
    Stop,
}

impl Node {
    pub(super) fn bid(&mut self) -> Phase {
        let right = self.right_in_silence().expect("the row asks for a right");
        self.begin_bid(right)
    }

    pub(super) fn force_bid(&mut self) -> Phase {
        self.begin_bid(Right::Operator)
    }

    /// The active is silent and this node has the right: look, and wait out the lease.
    fn begin_bid(&mut self, right: Right) -> Phase {
        let number = self.next_operation();
        let began = self.now;
        let late = self.bid_ends_at() <= began;
        self.look_for_life();
        let wait = self.bid_ends_at().since(self.now).as_millis();
        self.say(format!(
            "the peer is silent on every path: bid by right of {}, {wait} ms to wait out",
            right.code()
        ));
        self.start(
            Step::Remote(RemoteStep::ReachServer),
            Duration::from_millis(250),
            Purpose::Bid(number, BidStep::Reach),
        );
        if self.database.report.replica.is_some() {
            self.start_bid_step(number, BidStep::Drain);
        }
        let prepared = Prepared::default();
        Phase::Bidding(Bid {
            number,
            began,
            right,
            prepared,
            cutting: None,
            ready: false,
            late,
            answered: false,
        })
    }

    /// However long ago the wait ran out: nobody takes over without having looked for life.
    pub(super) fn look_for_life(&mut self) {
        let look = self.settings.heartbeat.max(SHORTEST_LOOK);
        self.wait.not_before = self.wait.not_before.max(self.now + look);
        self.watch_for_life(true);
        if self.settings.protection == Protection::Gateway {
            self.act(Action::ProbeGateway);
        }
    }

    fn start_bid_step(&mut self, number: u64, step: BidStep) {
        let drain = self.settings.drain_timeout;
        let (work, deadline) = match step {
            BidStep::Reach => (Step::Remote(RemoteStep::ReachServer), Duration::from_millis(250)),
            BidStep::Drain | BidStep::DrainAgain => (Step::Database(DatabaseStep::Drain), drain),
            BidStep::Stop => (Step::Database(DatabaseStep::StopApplying), Duration::from_secs(2)),
        };
        self.start(work, deadline, Purpose::Bid(number, step));
    }

    /// When the takeover right begins, silence provided.
    pub(super) fn bid_ends_at(&self) -> Instant {
        self.wait.not_before + self.settings.failover_hold
    }

    /// When a bid begins to prepare what it must undo if it is called off.
    pub(super) fn bid_cuts_at(&self) -> Instant {
        let latest = self.bid_ends_at() - Duration::from_millis(40);
        latest.max(self.wait.lease_dead + Duration::from_millis(2))
    }

    const fn bid_in_hand(&self) -> Option<&Bid> {
        match self.phase.now() {
            Phase::Bidding(bid) => Some(bid),
            _ => None,
        }
    }

    pub(super) fn bid_is_forced(&self) -> bool {
        self.bid_in_hand().is_some_and(|bid| bid.right == Right::Operator)
    }

    pub(super) fn bid_is_prepared(&self) -> bool {
        self.bid_in_hand().is_some_and(|bid| bid.ready)
    }

    pub(super) fn bid_begins_to_prepare(&self) -> bool {
        let begins = |bid: &Bid| bid.cutting.is_none() && (bid.answered || !bid.late);
        self.bid_in_hand().is_some_and(begins) && self.now >= self.bid_cuts_at()
    }

    /// A proof that came before the preparation began moved its begin; one that comes after it undoes it.
    pub(super) fn life_shown_in_preparation(&self) -> bool {
        let cutting = self.bid_in_hand().and_then(|bid| bid.cutting);
        let proof = self.peer.proof_of_life.as_ref().map(|(_, at)| *at);
        cutting.is_some_and(|began| proof.is_some_and(|at| at >= began))
    }

    pub(super) fn undo_preparation(&mut self) {
        self.undo_bid();
        self.set_cutting(false);
    }

    pub(super) fn prepare_takeover(&mut self) {
        let Some((number, prepared)) = self.bid_in_hand().map(|bid| (bid.number, bid.prepared)) else {
            return;
        };
        self.set_cutting(true);
        if self.settings.protection == Protection::Gateway {
            self.act(Action::ProbeGateway);
        }
        // A server that can be reached is fenced first, once the right is there: what it still sends counts.
        let early = self.database.report.replica.is_some() && !prepared.server_reachable;
        if early {
            self.start_bid_step(number, BidStep::DrainAgain);
        } else if let Phase::Bidding(bid) = self.phase.within() {
            bid.ready = true;
        }
    }

    /// The search for life goes on until the gate opens: the other node may bid at the same time.
    pub(super) fn take_over_after_bid(&mut self) -> Phase {
        let (right, prepared) =
            self.bid_in_hand().map(|bid| (bid.right, bid.prepared)).expect("the row is one of a bid");
        let kind = if right == Right::Operator { TakeoverKind::Forced } else { TakeoverKind::Silence };
        self.take_over(kind, right, prepared, None)
    }

    /// At `gateway` only an answer of this moment proves anything: it may be this node that was cut off, since the
    /// silence began or since the last proof of life.
    pub(super) fn targets_heard_in_bid(&self) -> bool {
        let Phase::Bidding(bid) = self.phase.now() else { return false };
        let exempt = bid.right == Right::Operator
            || self.settings.protection != Protection::Gateway
            || self.mode.mode == Mode::Standalone;
        exempt || self.gateway.answered_at.is_some_and(|at| at > bid.cutting.unwrap_or(bid.began))
    }

    /// Prepared, the wait is over, and the answer of the targets is missing: it may have been lost.
    pub(super) fn ask_targets_again(&mut self) {
        if !self.targets_heard_in_bid() {
            let asked = self.gateway.probed_at.max(self.bid_in_hand().and_then(|bid| bid.cutting));
            self.probe_gateway_again(asked, self.settings.lease / 4);
        }
    }

    fn set_cutting(&mut self, cutting: bool) {
        if let Phase::Bidding(bid) = self.phase.within() {
            bid.cutting = cutting.then_some(self.now);
            bid.ready = false;
        }
    }

    pub(super) fn on_bid_step(&mut self, number: u64, step: BidStep, result: StepResult) {
        let Phase::Bidding(bid) = self.phase.within() else { return };
        if bid.number != number {
            return;
        }
        let reached = outcome(result);
        match step {
            BidStep::Reach => {
                bid.answered = true;
                bid.prepared.server_reachable = reached == Ok(StepOutput::Done);
                if bid.prepared.server_reachable && bid.cutting.is_some() {
                    // It is fenced first, and what it still sends counts: nothing stays prepared.
                    (bid.prepared.stopped, bid.ready) = (false, true);
                    self.undo_bid();
                }
            }
            BidStep::Drain => {}
            BidStep::DrainAgain | BidStep::Stop if bid.prepared.server_reachable => {}
            BidStep::DrainAgain if bid.cutting.is_some() => match reached {
                Ok(_) => {
                    self.start_bid_step(number, BidStep::Stop);
                }
                // The takeover itself drains again and decides by `on_undrained`.
                Err(_) => bid.ready = true,
            },
            BidStep::Stop if bid.cutting.is_some() => {
                bid.prepared.stopped = reached.is_ok();
                bid.ready = true;
            }
            BidStep::DrainAgain | BidStep::Stop => {}
        }
    }

    pub(super) fn call_off_heard_bid(&mut self) -> Phase {
        self.call_off_bid("the peer is heard again")
    }

    pub(super) fn call_off_bid_for_mode(&mut self) -> Phase {
        self.call_off_bid(self.no_part_text())
    }

    pub(super) fn call_off_bid_to_stop(&mut self) -> Phase {
        self.call_off_bid("the daemon stops")
    }

    pub(super) fn call_off_blocked_bid(&mut self) -> Phase {
        let why = self.blocked().expect("the row asks for what blocks");
        let phase = self.call_off_bid(&why.text);
        self.tell_once("blocked", why);
        phase
    }

    fn call_off_bid(&mut self, because: &str) -> Phase {
        self.watch_for_life(false);
        if self.bid_in_hand().is_some_and(|bid| bid.cutting.is_some()) {
            self.undo_bid();
        }
        self.say(format!("the bid is called off: {because}"));
        Phase::Standby
    }

    /// Puts the replica back as it was; the receiving thread was never stopped, so the relay log stands.
    fn undo_bid(&mut self) {
        let limit = Duration::from_secs(2);
        self.start(Step::Database(DatabaseStep::ResumeApplying), limit, Purpose::Undo(Lane::Database));
    }
}
