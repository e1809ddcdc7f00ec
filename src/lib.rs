//! `apd` couples a VRRP election with MariaDB replication control, so that two hosts serve one
//! virtual address and never two truths.
//!
//! Five layers, each may use only what stands to its right (`tests/architecture.rs` guards it):
//!
//! ```text
//! bin  ->  driver  ->  io  ->  wire  ->  decision
//! ```
//!
//! * [`decision`]: pure. What this node does, and why: events in, actions out, time an argument.
//! * [`wire`]: pure. Bytes to decision types and back.
//! * [`io`]: one file (or folder) for each thing outside; no decisions.
//! * [`driver`]: the loop that feeds events to the decision and carries its actions out.
//! * [`config`], [`apctl`], [`gate`] and [`simulation`] stand beside the driver; [`config::checked`] may be read by
//!   every layer except `decision` and `wire`. [`fuzz`] states what every reader promises, for `fuzz/` and the tests.

pub mod apctl;
pub mod config;
pub mod decision;
pub mod driver;
pub mod fuzz;
pub mod gate;
pub mod io;
pub mod simulation;
pub mod wire;
