//! One file or folder for each thing outside; no decisions.

pub mod announce;
pub mod clock;
pub mod gateway;
pub mod http_probe;
pub mod link;
pub mod packet_socket;
pub mod sys;
pub mod timer;
pub mod vrrp_socket;
