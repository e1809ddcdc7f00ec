//! The active is silent: looking for life, and waiting out its lease.
//!
//! A bid costs nothing that matters: until the proofs of life have failed it only looks. The applying thread is
//! stopped as late as the wait allows, and goes on when the bid is called off: the receiving thread was never
//! stopped, so the relay log stands. Where the old active's server can be reached nothing is prepared: it is
//! fenced first, and the stream is cut after that (the cut would keep the fence out too).

use super::action::{Action, DatabaseStep, Lane, RemoteStep, Step, StepOutput, StepResult};
use super::code::Code;
use super::node::Node;
use super::phase::{Phase, Purpose, outcome};
use super::takeover::{Prepared, Right, TakeoverKind};
use super::time::Instant;
use super::why::Why;
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
    /// The active is silent and this node has the right: look, and wait out the lease.
    pub(super) fn begin_bid(&mut self, right: Right) {
        let number = self.next_operation();
        // However long ago the wait ran out: nobody takes over without having looked for life.
        let began = self.now;
        let look = self.settings.heartbeat.max(SHORTEST_LOOK);
        self.wait.not_before = self.wait.not_before.max(self.now + look);
        self.phase = Phase::Bidding(Bid {
            number,
            began,
            right,
            prepared: Prepared::default(),
            cutting: None,
            ready: false,
        });
        let wait = self.bid_ends_at().since(self.now).as_millis();
        self.tell(Why::new(
            Code::BidStarted,
            format!(
                "the peer is silent on every path: bid by right of {}, {wait} ms to wait out",
                right.code()
            ),
        ));
        self.watch_for_life(true);
        if self.settings.protection == Protection::Gateway {
            self.act(Action::ProbeGateway);
        }
        self.start(
            Step::Remote(RemoteStep::ReachServer),
            Duration::from_millis(250),
            Purpose::Bid(number, BidStep::Reach),
        );
        if self.database.report.replica.is_some() {
            self.start_bid_step(number, BidStep::Drain);
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

    pub(super) fn bid_rules(&mut self) {
        let Phase::Bidding(bid) = &self.phase else { return };
        let (number, right, prepared, cutting, ready) =
            (bid.number, bid.right, bid.prepared, bid.cutting, bid.ready);
        let heard = self.contact() || self.peer_is_active();
        if heard || self.mode.mode == Mode::Maintenance || self.stopping.is_some() {
            self.call_off_bid("the peer is heard again");
            return;
        }
        if let Some(why) = self.blocked().filter(|_| right != Right::Operator) {
            self.call_off_bid(&why.text);
            self.tell_once("blocked", why);
            return;
        }
        // A proof that came before the preparation began moved its begin; one that comes after it undoes it.
        let proof = self.peer.proof_of_life.as_ref().map(|(_, at)| *at);
        if cutting.is_some_and(|began| proof.is_some_and(|at| at >= began)) {
            self.undo_bid();
            self.set_cutting(false);
            return;
        }
        if cutting.is_none() && self.now >= self.bid_cuts_at() {
            self.set_cutting(true);
            if self.settings.protection == Protection::Gateway {
                self.act(Action::ProbeGateway);
            }
            // A server that can be reached is fenced first, once the right is there: what it still sends counts.
            let early = self.database.report.replica.is_some() && !prepared.server_reachable;
            if early {
                self.start_bid_step(number, BidStep::DrainAgain);
            } else if let Phase::Bidding(bid) = &mut self.phase {
                bid.ready = true;
            }
        }
        if ready && self.now >= self.bid_ends_at() && self.targets_heard_in_bid(right) {
            // The search for life goes on until the gate opens: the other node may bid at the same time.
            let kind = if right == Right::Operator { TakeoverKind::Forced } else { TakeoverKind::Silence };
            self.take_over(kind, right, prepared, None);
        }
    }

    /// At `gateway` an answer from before the silence proves nothing: it may be this node that was cut off.
    fn targets_heard_in_bid(&self, right: Right) -> bool {
        let Phase::Bidding(bid) = &self.phase else { return false };
        let exempt = right == Right::Operator
            || self.settings.protection != Protection::Gateway
            || self.mode.mode == Mode::Standalone;
        exempt || self.gateway.answered_at.is_some_and(|at| at > bid.began)
    }

    fn set_cutting(&mut self, cutting: bool) {
        if let Phase::Bidding(bid) = &mut self.phase {
            bid.cutting = cutting.then_some(self.now);
            bid.ready = false;
        }
    }

    pub(super) fn on_bid_step(&mut self, number: u64, step: BidStep, result: StepResult) {
        let Phase::Bidding(bid) = &mut self.phase else { return };
        if bid.number != number {
            return;
        }
        let reached = outcome(result);
        match step {
            BidStep::Reach => bid.prepared.server_reachable = reached == Ok(StepOutput::Done),
            BidStep::Drain => {}
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

    fn call_off_bid(&mut self, because: &str) {
        self.watch_for_life(false);
        let cutting = matches!(&self.phase, Phase::Bidding(bid) if bid.cutting.is_some());
        if cutting {
            self.undo_bid();
        }
        self.phase = Phase::Standby;
        self.tell(Why::new(Code::BidCalledOff, format!("the bid is called off: {because}")));
    }

    /// Puts the replica back as it was; the receiving thread was never stopped, so the relay log stands.
    fn undo_bid(&mut self) {
        let limit = Duration::from_secs(2);
        self.start(Step::Database(DatabaseStep::ResumeApplying), limit, Purpose::Undo(Lane::Database));
    }
}
