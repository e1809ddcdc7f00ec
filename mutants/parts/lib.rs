//! The decision with all its mutants, the simulator, and the lines of a recording.
#![allow(clippy::all, unused, missing_docs)]

pub mod decision;
pub mod simulation;
/// What the stories replay through.
pub mod wire {
    pub mod recording;
}

static ACTIVE: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {
    std::env::var("APD_MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
});

/// Whether this mutant lives in this run.
pub fn mutant(number: u32) -> bool {
    *ACTIVE == number
}
