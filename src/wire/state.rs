//! One slot of the state file: a magic, a version, a serial number, the facts as JSON, a checksum.
//!
//! Two slots are written in turn, so that a write that was torn by a power cut leaves the older one whole.

use crate::decision::action::DurableFacts;
use thiserror::Error;

/// Bytes of one slot; a power of two that holds the facts many times over.
pub const SLOT: usize = 4096;
const MAGIC: &[u8; 8] = b"apdstate";
const VERSION: u16 = 1;
const HEADER: usize = 8 + 2 + 2 + 8;

/// Why a slot gives no facts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SlotError {
    /// Never written, or written over by something else.
    #[error("not a slot of a state file")]
    Foreign,
    /// Written by a later version.
    #[error("written by a later version ({0}) of apd")]
    Later(u16),
    /// Torn or damaged.
    #[error("its checksum does not match: torn or damaged")]
    Damaged,
}

/// One slot's bytes. `serial` tells the newer of two.
pub fn encode(facts: &DurableFacts, serial: u64) -> [u8; SLOT] {
    let json = serde_json::to_vec(facts).expect("facts have string keys only");
    seal(&json, serial).expect("the facts are far shorter than a slot")
}

/// A slot with this content; `None` if it is too long for one.
pub fn seal(json: &[u8], serial: u64) -> Option<[u8; SLOT]> {
    if HEADER + json.len() + 32 > SLOT {
        return None;
    }
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..10].copy_from_slice(&VERSION.to_be_bytes());
    let length = u16::try_from(json.len()).expect("shorter than a slot");
    slot[10..12].copy_from_slice(&length.to_be_bytes());
    slot[12..20].copy_from_slice(&serial.to_be_bytes());
    slot[HEADER..HEADER + json.len()].copy_from_slice(json);
    let end = HEADER + json.len();
    let digest = ring::digest::digest(&ring::digest::SHA256, &slot[..end]);
    slot[end..end + 32].copy_from_slice(digest.as_ref());
    Some(slot)
}

/// The facts and the serial number of one slot.
///
/// # Errors
/// When the slot was never written, is of a later version, or is damaged.
pub fn decode(slot: &[u8]) -> Result<(DurableFacts, u64), SlotError> {
    let header = slot.get(..HEADER).ok_or(SlotError::Foreign)?;
    if &header[..8] != MAGIC {
        return Err(SlotError::Foreign);
    }
    let version = u16::from_be_bytes([header[8], header[9]]);
    if version > VERSION {
        return Err(SlotError::Later(version));
    }
    let length = usize::from(u16::from_be_bytes([header[10], header[11]]));
    let mut serial = [0; 8];
    serial.copy_from_slice(&header[12..20]);
    let end = HEADER + length;
    let sum = slot.get(end..end + 32).ok_or(SlotError::Damaged)?;
    if ring::digest::digest(&ring::digest::SHA256, &slot[..end]).as_ref() != sum {
        return Err(SlotError::Damaged);
    }
    let facts = serde_json::from_slice(&slot[HEADER..end]).map_err(|_| SlotError::Damaged)?;
    Ok((facts, u64::from_be_bytes(serial)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::words::{Epoch, NodeId};

    fn facts() -> DurableFacts {
        DurableFacts { epoch: Epoch { number: 9, node: NodeId(2) }, rebuilding: true, ..Default::default() }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let slot = encode(&facts(), 5);
        assert_eq!(decode(&slot), Ok((facts(), 5)));
        let used = HEADER + usize::from(u16::from_be_bytes([slot[10], slot[11]])) + 32;
        for index in 0..used {
            let mut torn = slot;
            torn[index] ^= 0x10;
            assert!(decode(&torn).is_err(), "byte {index}");
        }
        assert_eq!(decode(&[]), Err(SlotError::Foreign));
        assert_eq!(decode(&[0; SLOT]), Err(SlotError::Foreign));
    }
}
