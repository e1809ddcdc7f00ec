//! Deterministic simulation of a pair: two decision cores in a small world with faults drawn from a seed, and
//! checkers that look only at the world. The same seed is the same run on every machine.
//!
//! It stands beside the driver: like the driver it feeds events to the decision and carries its actions out, but
//! into a model of hosts, network, kernel and MariaDB instead of real ones, with time that only jumps.

mod bugs;
mod checkers;
mod clients;
mod database;
mod faults;
mod gate;
mod host;
mod judge;
mod lanes;
mod marks;
mod network;
mod random;
pub mod script;
mod settings;
mod steps;
mod watchers;
mod world;

pub use bugs::{ALL as BUGS, Bug};
pub use marks::NEEDED as MARKS;
pub use world::Outcome;

/// Runs one seed to its end, or to the first broken promise; with a bug put in on purpose, if one is named; with
/// the story of the run, if it is asked for.
pub fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Outcome {
    world::World::new(seed, bug, trace).run()
}
