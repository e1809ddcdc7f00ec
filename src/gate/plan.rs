//! What the gate needs of the configuration, in its own words.

use crate::config::checked::{Config, VirtualAddress};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What is gated, and for whom it stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the tables `inet` and `arp`; carries the virtual router id, so that pairs on one host coexist.
    pub table: String,
    /// The virtual addresses: everything to and from them is gated.
    pub addresses: Vec<VirtualAddress>,
    /// TCP ports of this node that are gated for other hosts than the peer.
    pub ports: Vec<u16>,
    /// The peer's addresses.
    pub peers: Vec<Ipv4Addr>,
    /// This node's database port: the peer's replica connects to it.
    pub own_database_port: u16,
    /// The peer's database port: this node's replica connects to it.
    pub peer_database_port: u16,
    /// Socket, lock and marker live here.
    pub run_dir: PathBuf,
}

impl Plan {
    /// From the configuration.
    pub fn new(config: &Config) -> Self {
        let mut peers = vec![config.peer.address, *config.peer.mariadb_address.ip()];
        peers.dedup();
        let mut ports = config.lease.gate_ports.clone();
        ports.sort_unstable();
        ports.dedup();
        Self {
            table: format!("apd_{}", config.vrrp.virtual_router_id),
            addresses: config.cluster.virtual_addresses.clone(),
            ports,
            peers,
            own_database_port: config.me.mariadb_address.port(),
            peer_database_port: config.peer.mariadb_address.port(),
            run_dir: config.paths.run_dir.clone(),
        }
    }

    /// Whether this is one of the virtual addresses.
    pub fn is_virtual(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|virtual_address| virtual_address.address == address)
    }
}
