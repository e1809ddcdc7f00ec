//! Where a node is in its life, what each started step is for, and why an activity ends.

use super::action::{Lane, StepOutput, StepResult};
use super::bid::{Bid, BidStep};
use super::chores::Active;
use super::follow::FollowStep;
use super::node::Node;
use super::receiving::Receiving;
use super::rejoin::RejoinStep;
use super::services::Act;
use super::step_down::SteppingDown;
use super::switchover::{HandOverStep, HandingOver};
use super::takeover::TakingOver;
use serde::{Deserialize, Serialize};

/// Where a node is in its life.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Before the start, and after the end.
    Stopped,
    /// Mode maintenance.
    Out,
    /// Follows, or waits for proof, or is not fit; may bid.
    Standby,
    /// The active is silent: waiting out its lease and looking for proofs of life.
    Bidding(Bid),
    /// The old active asked: taking part in a switchover up to its point of no return.
    Receiving(Receiving),
    /// The right is held; effects follow in order.
    TakingOver(TakingOver),
    /// Serves.
    Active(Active),
    /// Serves, and hands over to the peer.
    HandingOver(HandingOver),
    /// On the way down.
    SteppingDown(SteppingDown),
}

/// Why an activity ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The local server is gone or does not answer.
    Database,
    /// A configured check fails and the peer could not take over in an orderly way.
    Check,
    /// The interface is unusable.
    Link,
    /// The lease ran out: neither the peer nor (at `gateway`) the targets answer.
    Isolated,
    /// The gate closed: its lease was lost.
    LeaseLost,
    /// The node was paused for longer than its lease.
    Paused,
    /// The peer opened a newer epoch.
    NewerEpoch,
    /// The operator's mode.
    Mode,
    /// The daemon stops.
    Stop,
    /// A takeover could not be completed.
    TakeoverFailed,
    /// A handover was completed: this side ends.
    HandedOver,
    /// An operator asked.
    Operator,
    /// Somebody else made the server read-only.
    Fenced,
}

impl Cause {
    /// Stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Cause::Database => "database",
            Cause::Check => "check",
            Cause::Link => "link",
            Cause::Isolated => "isolated",
            Cause::LeaseLost => "lease_lost",
            Cause::Paused => "paused",
            Cause::NewerEpoch => "newer_epoch",
            Cause::Mode => "mode",
            Cause::Stop => "stop",
            Cause::TakeoverFailed => "takeover_failed",
            Cause::HandedOver => "handed_over",
            Cause::Operator => "operator",
            Cause::Fenced => "fenced",
        }
    }
}

/// What a started step is for; its end goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Facts that nothing waits for.
    Record,
    /// The mode file.
    Mode,
    /// What an operator said of this node's part.
    Part,
    /// The right to go solo, before the first renewal that rests on it.
    Solo,
    /// Eligibility, before the active counts on it.
    Eligible,
    /// Preparation of a bid.
    Bid(u64, BidStep),
    /// One step of `TAKE_OVER`.
    TakeOver(u64),
    /// Off the critical path after a takeover.
    Chore(Lane),
    /// One step of a handover, old side.
    HandOver(u64, HandOverStep),
    /// Commits go on after a handover that was called off.
    Thaw,
    /// Waiting for the position, new side.
    Reach(u64),
    /// Step-down.
    Close,
    /// Step-down.
    Forbid,
    /// Step-down, repeated while the database does not obey.
    Undo(Lane),
    /// Bringing the replica in order.
    Follow(FollowStep),
    /// Rejoin.
    Rejoin(RejoinStep),
    /// What was done about a service, by its number.
    Service(u16, Act),
}

impl Node {
    /// The rows of the present state, tried until nothing moves the node any more.
    pub(super) fn apply_rules(&mut self) {
        for _ in 0..8 {
            self.common_rules();
            if !self.look() {
                break;
            }
        }
        self.send_on_time();
    }

    /// Sends the end of a step where it belongs.
    pub(super) fn dispatch_step(&mut self, purpose: Purpose, result: StepResult) {
        match purpose {
            Purpose::Record => self.on_recorded(&result),
            Purpose::Mode => self.on_mode_recorded(&result),
            Purpose::Part => self.on_part_recorded(&result),
            Purpose::Solo => self.on_solo_recorded(&result),
            Purpose::Eligible => self.on_eligible_recorded(&result),
            Purpose::Bid(bid, step) => self.on_bid_step(bid, step, result),
            Purpose::TakeOver(run) => self.on_takeover_step(run, result),
            Purpose::Chore(lane) => self.on_chore(lane, result),
            Purpose::HandOver(operation, step) => self.on_handover_step(operation, step, result),
            Purpose::Thaw => self.on_thawed(result),
            Purpose::Reach(operation) => self.on_reached(operation, &result),
            Purpose::Close => self.on_closed(result),
            Purpose::Forbid => self.on_forbidden(result),
            Purpose::Undo(_) => {}
            Purpose::Follow(step) => self.on_follow_step(step, result),
            Purpose::Rejoin(step) => self.on_rejoin_step(step, result),
            Purpose::Service(service, act) => self.on_service_step(service, act, result),
        }
    }

    /// What is known to be true of the world because a step ended well.
    pub(super) fn note_effect(&mut self, purpose: &Purpose, result: &StepResult) {
        let done = matches!(result, StepResult::Ok(_));
        if done && matches!(purpose, Purpose::Close) {
            self.gate.state.open = false;
            self.gate.state.address_held = false;
        }
    }
}

/// The output of a step that ended well, or why it did not.
pub(super) fn outcome(result: StepResult) -> Result<StepOutput, String> {
    match result {
        StepResult::Ok(output) => Ok(output),
        StepResult::Failed(text) => Err(text),
        StepResult::TimedOut => Err("did not end in time".into()),
    }
}
