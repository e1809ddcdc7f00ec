//! Lines of a recording: JSON, one record a line (`decision::replay::Record`).
//!
//! JSON with the names of its fields, compressed as a whole: what repeats in it costs next to nothing on disk, and
//! `zcat` shows it to a person.

use crate::decision::action::Action;
use crate::decision::event::Event;
use crate::decision::node::Node;
use crate::decision::replay::Record;
use crate::decision::time::Instant;
use serde::Serialize;

/// [`Record`] without owning anything: what the loop writes.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Written<'a> {
    Begin { version: &'a str, wall: &'a str, continues: bool, node: &'a Node },
    Event { at: Instant, event: &'a Event },
    Action(&'a Action),
}

/// A line that is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {what}")]
pub struct LineError {
    /// Counted from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// Appends the state from which the next events start.
pub fn begin(lines: &mut Vec<u8>, wall: &str, continues: bool, node: &Node) {
    append(lines, &Written::Begin { version: env!("CARGO_PKG_VERSION"), wall, continues, node });
}

/// Appends an event.
pub fn event(lines: &mut Vec<u8>, at: Instant, event: &Event) {
    append(lines, &Written::Event { at, event });
}

/// Appends an action.
pub fn action(lines: &mut Vec<u8>, action: &Action) {
    append(lines, &Written::Action(action));
}

fn append(lines: &mut Vec<u8>, written: &Written<'_>) {
    let before = lines.len();
    // Writing to memory does not fail; a value that JSON cannot say would, and leaves no half line.
    if serde_json::to_writer(&mut *lines, written).is_err() {
        lines.truncate(before);
        return;
    }
    lines.push(b'\n');
}

/// Reads one line, without its end.
///
/// # Errors
/// When it is no record; a recording of another version of apd may hold what this one does not know.
pub fn decode(line: &[u8]) -> Result<Record, LineError> {
    serde_json::from_slice(line)
        .map_err(|error| LineError { column: error.column(), what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::settings::tests::settings;
    use crate::decision::words::Epoch;

    #[test]
    fn what_is_written_is_read_again() {
        let mut node = Node::new(settings());
        let mut lines = Vec::new();
        begin(&mut lines, "2026-01-01T00:00:00Z", true, &node);
        let now = Instant::from_millis(7);
        let claimed = Event::AddressClaimed { by: "02:00:00:00:00:01".into() };
        event(&mut lines, now, &claimed);
        let renewal = Action::RenewLease { epoch: Epoch::default(), lease_end: now };
        action(&mut lines, &renewal);
        let records: Vec<Record> = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| decode(line).expect("a record"))
            .collect();
        let [Record::Begin(begun), told, said] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((begun.continues, &begun.node), (true, &node));
        assert_eq!(told, &Record::Event { at: now, event: claimed });
        assert_eq!(said, &Record::Action(renewal));
        node.handle(Event::Deadline, now);
        assert_ne!(begun.node, node, "a state that went on is another");
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_place() {
        let error = decode(b"{\"action\":\"exit\"").expect_err("cut off");
        assert_eq!(error.column, 16);
        assert!(decode(b"{\"action\":\"dance\"}").is_err());
    }
}
