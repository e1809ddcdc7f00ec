//! The control socket and the HTTP port: where operators, scripts and load balancers ask.
//!
//! Both are served by one thread of its own (`admin`) from the last [`Snapshot`] that the control loop left,
//! so that an answer comes whatever the database, the disk or the loop itself is doing. A snapshot grows old
//! visibly, and what rests on the lease is judged by the clock at the time of the answer.

use crate::decision::action::Answer;
use crate::decision::event::Command;
use crate::decision::time::Instant;
use crate::wire::control::{Counters, Explain, Status};
use tokio::sync::mpsc;

/// The state of this node, as the control loop last left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What is shown. Ages are counted from `taken`.
    pub status: Status,
    /// Why it is so. Ages are counted from `taken`.
    pub explain: Explain,
    /// For `/metrics`.
    pub counters: Counters,
    /// When the control loop took it. It takes one at every change and at least once a second.
    pub taken: Instant,
    /// When the lease ends unless renewed: the exact figure behind `lease_remaining_ms`. `None`: no lease.
    pub lease_end: Option<Instant>,
}

/// A command of an operator, on its way to the control loop.
#[derive(Debug)]
pub struct ControlRequest {
    /// What.
    pub command: Command,
    /// Who: `operator NAME` from the socket's peer credentials, or `http ADDRESS` with the token.
    pub actor: String,
    /// Names the operation in `GET /operations/ID`.
    pub operation: String,
    /// For any number of [`Answer::Progress`] and one last answer.
    pub replies: mpsc::Sender<Answer>,
}
