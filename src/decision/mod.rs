//! What this node does, and why. Pure: no clock, file, socket, thread, async, log or hash map.
//!
//! The way in is [`node::Node`]: `handle(event, now)`, then `poll_action()` until it is empty, then
//! wait until `next_deadline()` or the next event. Reasons are data ([`why::Why`]), so that status,
//! log, metrics, journal and `apctl explain` all show what was decided.

pub mod action;
mod active;
mod bid;
mod chores;
pub mod code;
mod commands;
mod course;
mod ends;
pub mod event;
mod follow;
pub mod gtid;
mod guard;
pub mod health;
mod hearing;
pub mod lease;
pub mod node;
mod part;
pub mod peer;
pub mod phase;
mod receiving;
mod records;
mod rejoin;
pub mod replay;
mod reports;
mod role_services;
pub mod service;
mod service_rules;
pub mod service_view;
mod services;
pub mod settings;
mod standby;
pub mod state;
mod step_down;
mod switchover;
pub mod table;
mod takeover;
pub mod time;
pub mod view;
pub mod why;
pub mod words;
