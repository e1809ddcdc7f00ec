//! The transition table: what moves a node from one state to another, and what keeps it where it is.
//!
//! Nothing else changes the phase. An event is noted first; where a handler says so, the rows that name its class
//! are tried; then, whatever happened, the rows of `Any`. The first row of the present state whose conditions all
//! hold is carried out: a move, or `Stay`, which ends the search. A row that says `GoOn` does what its state has to
//! do by then and lets the rows after it be tried. After a move the rows of the new state follow at once.
//!
//! `docs/transitions.md` is written from these rows, `apctl explain` shows those that can come next.

mod rows;

use super::code::Code;
pub use super::guard::Guard;
use super::node::Node;
use super::phase::{Cause, Phase};
pub use super::state::{Class, State};
use super::time::Instant;
use super::view::NextMove;
use super::why::Why;
use super::words::Epoch;
pub use rows::ROWS;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// Where the node is.
    pub from: State,
    /// What happened.
    pub on: On,
    /// What must hold, all of it.
    pub when: &'static [Guard],
    /// Where the node is afterwards.
    pub to: To,
    /// The reason that is given, where one is.
    pub code: Option<Code>,
    /// What is done.
    run: Run,
}

/// What a row waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// One of these, at the place where its handler asks.
    Events(&'static [Class]),
    /// Whatever happened, once it is noted.
    Any,
}

/// Where a row leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Into this state.
    Move(State),
    /// Nowhere; the search ends.
    Stay,
    /// Nowhere; the search goes on.
    GoOn,
}

/// What a row does.
#[derive(Clone, Copy)]
enum Run {
    /// Ends the phase and gives the new one.
    Enter(fn(&mut Node) -> Phase),
    /// Changes something within the phase.
    Do(fn(&mut Node)),
}

impl fmt::Debug for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Run::Enter(_) => "Enter",
            Run::Do(_) => "Do",
        })
    }
}

/// Number of a row: its place in [`ROWS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowNumber(pub u16);

impl RowNumber {
    /// The row; `None` if another version of this program counted it.
    pub fn row(self) -> Option<&'static Row> {
        ROWS.get(usize::from(self.0))
    }
}

/// The phase, which only the table replaces.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Place(Phase);

impl Place {
    /// Before the start.
    pub(super) const STOPPED: Place = Place(Phase::Stopped);

    pub(super) const fn now(&self) -> &Phase {
        &self.0
    }

    /// For what changes within the phase.
    pub(super) const fn within(&mut self) -> &mut Phase {
        &mut self.0
    }

    pub(super) const fn state(&self) -> State {
        self.0.state()
    }
}

/// What the table did, and is about.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Course {
    /// Rows that were carried out for the last event, in order.
    fired: Vec<RowNumber>,
    /// The last move, and when.
    pub(super) moved: Option<(RowNumber, Instant)>,
    #[serde(skip)]
    class: Option<Class>,
    #[serde(skip)]
    firing: Option<RowNumber>,
    /// What the event in hand brings besides facts about the world.
    #[serde(skip)]
    pub(super) matter: Matter,
}

/// What an event brings besides facts about the world; for guards, and for what their rows do.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Matter {
    #[default]
    Nothing,
    /// A request that nothing stands against.
    Request(Request),
    /// The peer knows a newer epoch than this one.
    NewerEpoch { before: Epoch, epoch: Epoch },
    /// The daemon stood still for longer than its lease.
    Paused(String),
    /// A step of a takeover failed for good.
    StepFailed(Cause, String),
    /// The peer's ledger has an epoch of which this node had not heard.
    Outrun(Epoch),
    /// A handover cannot go on.
    HandoverFailed(String),
    /// The peer serves in this epoch.
    Opened(Epoch),
    /// The old active's release: its server was made read-only.
    Released { operation: u64, read_only: bool },
}

/// A request that was looked at and may be granted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Request {
    /// The number of a switchover, where it has one.
    pub(super) operation: Option<u64>,
    /// The pair stays (ap, ap).
    pub(super) planned: bool,
    /// In the operator's words.
    pub(super) reason: String,
}

impl Row {
    fn holds(&self, node: &Node) -> bool {
        self.when.iter().all(|guard| guard.holds(node))
    }
}

impl Node {
    /// An event begins: what the one before brought is forgotten.
    pub(super) fn begin_event(&mut self, class: Class) {
        self.course.fired.clear();
        self.course.class = Some(class);
    }

    /// What the event brought has had its effect.
    pub(super) fn end_event(&mut self) {
        self.course.class = None;
        self.course.matter = Matter::Nothing;
    }

    /// Tries the rows that name the class of the event in hand; whether one moved the node.
    pub(super) fn consider(&mut self, matter: Matter) -> bool {
        let Some(class) = self.course.class else { return false };
        self.course.matter = matter;
        self.search(|on| matches!(on, On::Events(classes) if classes.contains(&class)))
    }

    /// Tries the rows of `Any`; whether one moved the node.
    pub(super) fn look(&mut self) -> bool {
        self.search(|on| on == On::Any)
    }

    fn search(&mut self, named: impl Fn(On) -> bool) -> bool {
        let from = self.phase.state();
        for (number, row) in ROWS.iter().enumerate() {
            if row.from != from || !named(row.on) || !row.holds(self) {
                continue;
            }
            self.carry_out(number, row);
            if row.to != To::GoOn {
                return matches!(row.to, To::Move(_));
            }
        }
        false
    }

    /// The only place where the phase is replaced.
    fn carry_out(&mut self, number: usize, row: &'static Row) {
        let number = RowNumber(u16::try_from(number).unwrap_or(u16::MAX));
        self.course.firing = Some(number);
        match row.run {
            Run::Do(run) => run(self),
            Run::Enter(run) => {
                let phase = run(self);
                assert!(row.to == To::Move(phase.state()), "{row:?} leads to {:?}", phase.state());
                self.phase = Place(phase);
                self.course.moved = Some((number, self.now));
            }
        }
        self.course.firing = None;
        self.course.fired.push(number);
    }

    /// The reason that the row in hand carries, with the facts.
    pub(super) fn why_of_row(&self, text: impl Into<String>) -> Why {
        let code = self.course.firing.and_then(RowNumber::row).and_then(|row| row.code);
        Why::new(code.expect("what says something is named by rows that carry a reason"), text)
    }

    /// Says why the row in hand is carried out.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        let why = self.why_of_row(text);
        self.tell(why);
    }

    /// The rows that could move this node next, and how their conditions stand.
    pub(super) fn next_moves(&self) -> Vec<NextMove> {
        let from = self.phase.state();
        let mut moves = Vec::new();
        for (number, row) in (0..).map(RowNumber).zip(ROWS) {
            if row.from == from && matches!(row.to, To::Move(_)) {
                let stands = |guard: &Guard| (!guard.of_event()).then(|| guard.holds(self));
                moves.push(NextMove { row: number, holds: row.when.iter().map(stands).collect() });
            }
        }
        moves
    }

    /// Rows that were carried out for the last event, in order.
    pub fn fired(&self) -> &[RowNumber] {
        &self.course.fired
    }
}

#[cfg(test)]
mod tests;
