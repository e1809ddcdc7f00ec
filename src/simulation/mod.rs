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
mod minimise;
mod network;
mod pace;
mod plan;
mod predict;
mod random;
mod receipts;
pub mod script;
mod semisync;
mod services;
mod settings;
mod sleep;
mod steps;
mod survivor;
mod watchers;
mod world;

pub use bugs::{ALL as BUGS, Bug};
pub use marks::NEEDED as MARKS;
pub use minimise::minimise;
pub use pace::Pace;
pub use plan::{Fault, Plan, Protocol, What, Who};
pub use predict::{FAULTS, Prediction, Spread, Transition, USUAL, predict};
pub use semisync::DrawnSemiSync;
pub use settings::{Configuration, Drawn};
pub use world::Outcome;

/// Runs one seed to its end, or to the first broken promise; with a bug put in on purpose, if one is named; with
/// the story of the run, if it is asked for.
pub fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Outcome {
    run_plan(&Plan::draw(seed), bug, trace)
}

/// Runs what the same seed stands for where one node goes for good.
pub fn run_survivor(seed: u64, bug: Option<Bug>, trace: bool) -> Outcome {
    run_plan(&Plan::draw_survivor(seed), bug, trace)
}

/// Runs one plan.
pub fn run_plan(plan: &Plan, bug: Option<Bug>, trace: bool) -> Outcome {
    world::World::new(plan, plan.configuration.configuration(), Pace::Harsh, bug, trace).run()
}
