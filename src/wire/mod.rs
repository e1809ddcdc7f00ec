//! Bytes to types and back. Pure: no clock, file, socket, thread, async, log or hash map.

pub mod advert;
pub mod alert;
pub mod arp;
pub mod binlog;
pub mod binlog_query;
pub mod control;
pub mod echo;
pub mod gate;
pub mod peer;
pub mod recording;
pub mod role_change;
pub mod state;
