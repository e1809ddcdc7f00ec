//! Feeds what a run was told back through a fresh node, and compares what it does with what was done then.
//!
//! It works because the decision is pure: the same state, events and times give the same actions. Whoever changes
//! that (a clock, an order that differs from run to run, a fact that is not in the state) is found here.

use super::action::Action;
use super::event::Event;
use super::node::Node;
use super::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// One line of a recording.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The state before the events that follow.
    Begin(Box<Begin>),
    /// What the node was told.
    Event {
        /// When.
        at: Instant,
        /// What.
        event: Event,
    },
    /// What it said, after the last event, in order.
    Action(Action),
}

/// Where a recording begins.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// The version of apd that wrote it.
    pub version: String,
    /// Wall-clock time, for people.
    pub wall: String,
    /// The recording before this one ends where this one begins, without a gap.
    pub continues: bool,
    /// The whole state, settings included.
    pub node: Node,
}

/// Why a replay ended early.
#[derive(Debug, PartialEq)]
pub enum Mismatch {
    /// An event or an action came before any state.
    NotBegun,
    /// The node does something else than was recorded.
    Action(Box<Difference>),
    /// The recording goes on from another state than the one that was reached.
    State {
        /// The last event.
        at: Instant,
    },
}

/// The first thing that was done differently.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// The time of the event.
    pub at: Instant,
    /// The event.
    pub event: Event,
    /// What was recorded; `None`: nothing more.
    pub expected: Option<Action>,
    /// What the node does now; `None`: nothing more.
    pub got: Option<Action>,
}

/// A replay under way.
#[derive(Debug, Default)]
pub struct Replay {
    node: Option<Node>,
    told: Option<(Instant, Event)>,
    got: VecDeque<Action>,
    /// Events so far.
    pub events: u64,
    /// Actions so far that were the same.
    pub actions: u64,
}

impl Replay {
    /// Takes the next record.
    ///
    /// # Errors
    /// At the first thing that differs.
    pub fn feed(&mut self, record: Record) -> Result<(), Mismatch> {
        match record {
            Record::Begin(begin) => {
                self.finish()?;
                let reached = self.node.take();
                let same = reached.is_none_or(|reached| !begin.continues || reached == begin.node);
                if !same {
                    return Err(Mismatch::State { at: self.last() });
                }
                self.node = Some(begin.node);
            }
            Record::Event { at, event } => {
                self.finish()?;
                let node = self.node.as_mut().ok_or(Mismatch::NotBegun)?;
                self.events += 1;
                self.told = Some((at, event.clone()));
                node.handle(event, at);
                self.got.extend(std::iter::from_fn(|| node.poll_action()));
            }
            Record::Action(expected) => {
                let got = self.got.pop_front();
                if got.as_ref() != Some(&expected) {
                    return Err(self.difference(Some(expected), got));
                }
                self.actions += 1;
            }
        }
        Ok(())
    }

    /// After the last record: nothing may be left that was not recorded.
    ///
    /// # Errors
    /// When the node does more than was recorded.
    pub fn finish(&mut self) -> Result<(), Mismatch> {
        match self.got.pop_front() {
            Some(more) => Err(self.difference(None, Some(more))),
            None => Ok(()),
        }
    }

    /// The last event and its time, where there was one.
    pub const fn told(&self) -> Option<&(Instant, Event)> {
        self.told.as_ref()
    }

    fn last(&self) -> Instant {
        self.told.as_ref().map_or(Instant::ZERO, |(at, _)| *at)
    }

    fn difference(&self, expected: Option<Action>, got: Option<Action>) -> Mismatch {
        match &self.told {
            Some((at, event)) => {
                Mismatch::Action(Box::new(Difference { at: *at, event: event.clone(), expected, got }))
            }
            None => Mismatch::NotBegun,
        }
    }
}
