//! Bytes to types and back. Pure: no clock, file, socket, thread, async, log or hash map.

pub mod peer;
pub mod state;
pub mod advert;
pub mod arp;
pub mod control;
pub mod echo;
pub mod gate;

