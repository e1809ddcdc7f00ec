//! One file or folder for each thing outside; no decisions.

pub mod address;
pub mod announce;
pub mod binlog;
pub mod clock;
pub mod control_socket;
pub mod gate_link;
pub mod gateway;
pub mod http;
pub mod http_probe;
pub mod journal;
pub mod link;
pub mod log;
pub mod mariadb;
pub mod metrics;
pub mod mode_file;
pub mod netlink;
pub mod nft;
pub mod notify;
pub mod packet_socket;
pub mod peer_link;
pub mod recording;
pub mod sock_destroy;
pub mod state_file;
pub mod sys;
pub mod timer;
pub mod vrrp_socket;
