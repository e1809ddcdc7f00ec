//! (filled by the commits that follow)
pub mod control_socket;
pub mod http;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod notify;
