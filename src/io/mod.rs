//! One file or folder for each thing outside; no decisions.

pub mod address;
pub mod netlink;
pub mod nft;
pub mod sock_destroy;
