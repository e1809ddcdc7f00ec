//! What the daemon and the gate process say to each other: one JSON object a line over a Unix socket.
//!
//! Lines, because both ends are the same binary on the same host and a person can read them with `socat`;
//! short lines, because nothing here is long and a stuck peer must not make the other side grow.

use crate::decision::event::{GateReport, GateState};
use crate::decision::time::Instant;
use crate::decision::words::Epoch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Longest line, newline included, in bytes.
pub const LONGEST_LINE: usize = 4096;

/// Daemon to gate process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToGate {
    /// Open the gate and take the virtual addresses: the only message that may start a lease.
    Open {
        /// Comes back in the answer.
        ticket: u64,
        /// Activity that it serves.
        epoch: Epoch,
        /// When the lease ends unless renewed; must lie in the future.
        lease_end: Instant,
        /// T_lease: sets the slice.
        lease: Duration,
    },
    /// A later end for the living lease of this epoch. An earlier end than the present one changes nothing.
    /// A lease that is gone stays gone: the answer is [`GateReport::LeaseLost`].
    Renew {
        /// Activity that it serves.
        epoch: Epoch,
        /// The new end.
        lease_end: Instant,
    },
    /// Close the gate, reset the clients' connections, give up the virtual addresses.
    Close {
        /// Comes back in the answer.
        ticket: u64,
    },
    /// Cut the replication stream between this node's server and the peer's, both ways.
    CutStream {
        /// Comes back in the answer.
        ticket: u64,
    },
    /// Lift the cut.
    LiftCut {
        /// Comes back in the answer.
        ticket: u64,
    },
    /// Tell your state.
    Query,
}

/// Gate process to daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGate {
    /// A ticket's work is done and verified.
    Done {
        /// Echo.
        ticket: u64,
    },
    /// A ticket's work failed, or was refused.
    Failed {
        /// Echo.
        ticket: u64,
        /// One line: what, why, and the remedy where one is known.
        reason: String,
    },
    /// The gate as it is: the first message of every connection, and the answer to [`ToGate::Query`].
    State(GateState),
    /// Something happened that nobody asked for.
    Report(GateReport),
    /// After a lease was lost: the gate process made the local server read-only (or could not).
    DatabaseFenced {
        /// The activity that ended.
        epoch: Epoch,
        /// `None`: read-only now, sessions killed.
        error: Option<String>,
    },
    /// Another daemon is connected and alive; the gate process ends this connection.
    Refused {
        /// One line.
        reason: String,
    },
}

/// A line that is no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// No newline within [`LONGEST_LINE`] bytes.
    #[error(
        "a line of the gate socket is longer than {LONGEST_LINE} bytes; both ends must be the same version"
    )]
    TooLong,
    /// Not what this version understands.
    #[error(
        "a line of the gate socket is no message ({0}); restart apd and apd-gate, so that both are one version"
    )]
    Malformed(String),
}

/// One message as a line, newline included.
pub fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads messages from bytes as they come.
#[derive(Debug, Default)]
pub struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message. After an error nothing on this connection can be trusted: end it.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, LineError> {
        let Some(end) = self.pending.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
            return if self.pending.len() >= LONGEST_LINE { Err(LineError::TooLong) } else { Ok(None) };
        };
        let message = serde_json::from_slice(&self.pending[..end])
            .map_err(|error| LineError::Malformed(error.to_string()))?;
        self.pending.drain(..=end);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::words::NodeId;
    use proptest::prelude::*;

    const EPOCH: Epoch = Epoch { number: 7, node: NodeId(1) };

    #[test]
    fn every_message_survives_the_way_in_any_pieces() {
        let messages = vec![
            ToGate::Open {
                ticket: 1,
                epoch: EPOCH,
                lease_end: Instant(u64::MAX),
                lease: Duration::from_millis(350),
            },
            ToGate::Renew { epoch: EPOCH, lease_end: Instant(3) },
            ToGate::Close { ticket: 2 },
            ToGate::CutStream { ticket: 3 },
            ToGate::LiftCut { ticket: u64::MAX },
            ToGate::Query,
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(encode).collect();
        for piece in 1..bytes.len() {
            let mut lines = Lines::default();
            let mut read = Vec::new();
            for chunk in bytes.chunks(piece) {
                lines.push(chunk);
                while let Some(message) = lines.next_message::<ToGate>().unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_the_gate_says_survives_the_way() {
        let messages = vec![
            FromGate::Done { ticket: 1 },
            FromGate::Failed { ticket: 1, reason: "a\nb \u{1f512}".into() },
            FromGate::State(GateState { open: true, epoch: EPOCH, ..GateState::default() }),
            FromGate::Report(GateReport::LeaseLost { epoch: EPOCH, reason: "end".into() }),
            FromGate::Report(GateReport::TablesReinstalled),
            FromGate::DatabaseFenced { epoch: EPOCH, error: None },
            FromGate::Refused { reason: "busy".into() },
        ];
        let mut lines = Lines::default();
        for message in &messages {
            lines.push(&encode(message));
        }
        for message in messages {
            assert_eq!(lines.next_message().unwrap(), Some(message));
        }
    }

    #[test]
    fn an_endless_line_is_an_error_and_not_a_growing_buffer() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; LONGEST_LINE]);
        assert_eq!(lines.next_message::<ToGate>(), Err(LineError::TooLong));
    }

    #[test]
    fn a_message_of_another_version_is_named() {
        let mut lines = Lines::default();
        lines.push(b"{\"open_sesame\":1}\n");
        let error = lines.next_message::<ToGate>().unwrap_err();
        assert!(error.to_string().contains("open_sesame"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut lines = Lines::default();
            lines.push(&bytes);
            while let Ok(Some(_)) = lines.next_message::<FromGate>() {}
        }
    }
}
