//! Every story is also a replay: what a node is told and does goes through the recording's own lines into a second
//! node, which must do the same. Now and then the second node goes on from the recorded state alone.

use apd::decision::action::Action;
use apd::decision::event::Event;
use apd::decision::node::Node;
use apd::decision::replay::Replay;
use apd::decision::time::Instant;
use apd::wire::recording;

/// Events between two recorded states.
const STATE_EVERY: u64 = 200;

/// What the story replays of one host.
#[derive(Debug, Default)]
pub struct Recorder {
    replay: Replay,
    run: Option<u64>,
    line: Vec<u8>,
}

impl Recorder {
    /// An event, before the node is told.
    pub fn event(&mut self, run: u64, node: &Node, event: &Event, now: Instant) {
        let continues = self.run.replace(run) == Some(run);
        if !continues || self.replay.events.is_multiple_of(STATE_EVERY) {
            // The state that was reached is compared with the real one, which then takes its place.
            recording::begin(&mut self.line, "a story", continues, node);
            self.again();
        }
        recording::event(&mut self.line, now, event);
        self.again();
    }

    /// What the node did.
    pub fn actions(&mut self, actions: &[Action]) {
        for action in actions {
            recording::action(&mut self.line, action);
            self.again();
        }
        self.replay.finish().unwrap_or_else(|mismatch| panic!("the replay does more: {mismatch:?}"));
    }

    fn again(&mut self) {
        let line = std::mem::take(&mut self.line);
        let record = recording::decode(&line[..line.len() - 1]).unwrap();
        self.replay.feed(record).unwrap_or_else(|mismatch| panic!("the replay differs: {mismatch:?}"));
    }
}
