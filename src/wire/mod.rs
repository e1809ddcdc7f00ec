//! (filled by the commits that follow)
pub mod control;
