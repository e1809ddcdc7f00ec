//! Frames of the peer link: a length of four bytes (big endian), then one JSON value.
//!
//! JSON, because both ends may be of different versions during an upgrade and a capture can be read by a
//! person; short frames, because nothing said here is long. Bulk data goes over connections of its own.

use crate::decision::gtid::GtidState;
use crate::decision::peer::PeerMessage;
use crate::decision::words::InstanceId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use thiserror::Error;

/// Version of what is said; both ends must speak the same.
pub const PROTOCOL: u32 = 1;
/// Longest frame, without its length, in bytes.
pub const LONGEST_FRAME: usize = 64 * 1024;

/// First frame of a connection, from the side that dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Both must be of one cluster.
    pub cluster: String,
    /// The dialling node's name.
    pub node: String,
    /// The dialling node's configured address.
    pub address: Ipv4Addr,
    /// The dialling daemon's run.
    pub instance: InstanceId,
    /// Its version, for the record.
    pub version: String,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Messages from the dialling side.
    Messages,
    /// One tail of the binary log: the transactions beyond these.
    Tail {
        /// What the asking side has.
        have: GtidState,
    },
    /// One page about the answering side, as JSON.
    Page {
        /// Which.
        page: Page,
    },
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Welcome {
    /// Go on.
    Accepted {
        /// The answering daemon's run.
        instance: InstanceId,
    },
    /// The connection is closed after this.
    Refused {
        /// What is wrong, and on which side.
        reason: String,
    },
}

/// What one node can ask about the other, beside its status: `GET /peer/NAME` on the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Page {
    /// The effective configuration, key by key, without secrets.
    Configuration,
    /// What the doctor finds there.
    Doctor,
    /// The wall clock.
    Clock,
}

/// What a bulk connection brings after the welcome: then `bytes` bytes follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkHeader {
    /// It follows.
    Follows {
        /// Length.
        bytes: u64,
    },
    /// It cannot be read.
    Unreadable {
        /// One line.
        reason: String,
    },
}

/// Bytes that are no frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Longer than anything that is said here.
    #[error(
        "a frame of {0} bytes on the peer link: at most {LONGEST_FRAME} are allowed; is it apd on the other side?"
    )]
    TooLong(usize),
    /// No JSON of the expected form.
    #[error("a frame of the peer link cannot be read: {0}; both nodes should run the same version")]
    Unreadable(String),
}

/// One frame, its length in front.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value).expect("what is said here has string keys only");
    let length = u32::try_from(frame.len() - 4).expect("a message is far shorter than 4 GiB");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Collects bytes and gives whole frames.
#[derive(Debug, Default)]
pub struct Frames(Vec<u8>);

impl Frames {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// When the length or the content is not what is said here; the connection is to be closed then.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(prefix) = self.0.first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > LONGEST_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if self.0.len() < 4 + length {
            return Ok(None);
        }
        let value = serde_json::from_slice(&self.0[4..4 + length])
            .map_err(|error| FrameError::Unreadable(error.to_string()))?;
        self.0.drain(..4 + length);
        Ok(Some(value))
    }

    /// What is left after the last frame: the beginning of bulk data.
    pub fn into_rest(self) -> Vec<u8> {
        self.0
    }
}

/// One message as a frame.
pub fn encode_message(message: &PeerMessage) -> Vec<u8> {
    encode(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::words::{Epoch, NodeId};
    use proptest::prelude::*;

    fn message() -> PeerMessage {
        PeerMessage::Eligible { epoch: Epoch { number: 7, node: NodeId(2) }, granted: true }
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = [message(), message()].iter().flat_map(encode_message).collect();
        for cut in 0..bytes.len() {
            let mut frames = Frames::default();
            let mut out = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                frames.push(part);
                while let Some(message) = frames.next_frame::<PeerMessage>().expect("valid") {
                    out.push(message);
                }
            }
            assert_eq!(out, [message(), message()]);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_collected() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_be_bytes());
        assert!(matches!(frames.next_frame::<PeerMessage>(), Err(FrameError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(_)) = frames.next_frame::<PeerMessage>() {}
        }
    }
}
