//! What this node does, and why. Pure: no clock, file, socket, thread, async, log or hash map.
//!
//! The way in is [`node::Node`]: `handle(event, now)`, then `poll_action()` until it is empty, then
//! wait until `next_deadline()` or the next event. Reasons are data ([`why::Why`]), so that status,
//! log, metrics, journal and `apctl explain` all show what was decided.

pub mod action;
pub mod event;
pub mod gtid;
pub mod peer;
pub mod settings;
pub mod time;
pub mod why;
pub mod words;
