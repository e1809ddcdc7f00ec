//! `src/decision/` and `src/simulation/` of `apd`, compiled once more in a package of their own, because cargo
//! optimises by package only: what needs thousands of seeds runs here at full speed, with every overflow check on.

#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    reason = "the library's own lints judge this code, where it is at home"
)]

#[path = "../src/decision/mod.rs"]
pub mod decision;
#[path = "../src/simulation/mod.rs"]
pub mod simulation;
