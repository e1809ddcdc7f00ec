//! One file or folder for each thing outside; no decisions.

pub mod address;
pub mod announce;
pub mod clock;
pub mod gate_link;
pub mod gateway;
pub mod http_probe;
pub mod link;
pub mod netlink;
pub mod nft;
pub mod sock_destroy;
pub mod sys;
pub mod timer;
pub mod vrrp_socket;
