//! (filled by the commits that follow)
pub mod control_socket;
pub mod journal;
