//! The driver: one loop that waits, takes one event, lets the decision decide, carries out all actions, and
//! waits again. It adds no decision of its own.
//!
//! Three threads, so that none can hold another up:
//!
//! * `pair`: the loop, VRRP, the peer link, the gate link, netlink and the timer; real-time where allowed. It
//!   never waits for anything else. Advertisements and lease renewals leave together here, and stop together
//!   when the loop is stuck: a hung daemon looks dead.
//! * `work`: MariaDB, probes, the journal, files. Reached by lanes only.
//! * `admin`: the control socket and HTTP, answered from a snapshot.

mod alerts;
mod announcing;
mod bulk;
mod checks;
mod daemon;
mod doctor;
mod effects;
mod gate_client;
mod hooks;
mod host;
mod inputs;
mod lanes;
mod life;
mod pair;
mod record;
mod recorder;
mod roles;
mod service_status;
mod snapshot;

pub use daemon::{Started, run};
