//! `[cluster]`: the pair's name, its virtual addresses, and its patience.

use super::nodes::is_unicast;
use super::{NAME_REMEDY, Scene, is_name};
use crate::config::checked::{Cluster, Node, VirtualAddress};
use crate::config::typed::{self, Period, ProtectionWord, Rejoin};
use crate::decision::service::{Boot, MaintenanceServices};
use crate::decision::words::Protection;
use std::net::{IpAddr, Ipv4Addr};

/// Checks the table. Virtual addresses without `%dev` go to this node's interface.
pub fn check(scene: &mut Scene<'_>, nodes: Option<&(Node, Node)>) -> Cluster {
    let written = scene.file.cluster.clone();
    let name = written.name.unwrap_or_default();
    if name.is_empty() && !scene.is_broken(&["cluster", "name"]) {
        let remedy = "write name = \"shop\" under [cluster], the same on both nodes";
        scene.refuse(&["cluster", "name"], "missing", remedy);
    } else if !name.is_empty() && !is_name(&name) {
        scene.refuse(&["cluster", "name"], "this cannot be the name of a pair", NAME_REMEDY);
    }
    let hour = Period::seconds(3600);
    Cluster {
        name,
        virtual_addresses: virtual_addresses(scene, &written.virtual_addresses, nodes),
        protection: match written.protection {
            ProtectionWord::Vrrp => Protection::Vrrp,
            // The stricter levels were refused in `later`; the value is never used.
            ProtectionWord::Gateway
            | ProtectionWord::Peer
            | ProtectionWord::Arbiter
            | ProtectionWord::Fencing => Protection::Gateway,
        },
        peer_wait: scene.period(&["cluster", "peer_wait"], written.peer_wait, Period::ZERO, hour),
        failover_hold: scene.period(&["cluster", "failover_hold"], written.failover_hold, Period::ZERO, hour),
        max_failovers_per_hour: written.max_failovers_per_hour,
        rejoin_auto: written.rejoin == Rejoin::Auto,
        boot: match written.boot {
            typed::Boot::Standby => Boot::Standby,
            typed::Boot::Manual => Boot::Manual,
        },
        maintenance_services: match written.maintenance_services {
            typed::MaintenanceServices::Keep => MaintenanceServices::Keep,
            typed::MaintenanceServices::Stop => MaintenanceServices::Stop,
        },
    }
}

fn virtual_addresses(
    scene: &mut Scene<'_>,
    written: &[String],
    nodes: Option<&(Node, Node)>,
) -> Vec<VirtualAddress> {
    let interface = nodes.map_or("", |(me, _)| me.interface.as_str());
    let mut found: Vec<VirtualAddress> = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let position = (index + 1).to_string();
        let path = ["cluster", "virtual_addresses", position.as_str()];
        let Some(address) = virtual_address(scene, &path, text, interface) else { continue };
        if found.iter().any(|other| other.address == address.address) {
            scene.refuse(&path, format!("{} is written twice", address.address), "leave one of them out");
        }
        let owner =
            nodes.and_then(|(me, peer)| [me, peer].into_iter().find(|node| node.address == address.address));
        if let Some(node) = owner {
            let what = format!("{} is the own address of node {}", address.address, node.name);
            scene.refuse(&path, what, "choose an address that no host has: it moves between the nodes");
        }
        found.push(address);
    }
    if found.len() > 64 {
        let what = format!("{} virtual addresses do not fit in an advertisement", found.len());
        scene.refuse(&["cluster", "virtual_addresses"], what, "write 64 at most");
    }
    found
}

/// `ADDR[/LEN][%dev]`.
fn virtual_address(
    scene: &mut Scene<'_>,
    path: &[&str],
    text: &str,
    interface: &str,
) -> Option<VirtualAddress> {
    let (rest, device) = match text.split_once('%') {
        Some((rest, device)) => (rest, device),
        None => (text, interface),
    };
    let (address, prefix) = match rest.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse().ok().filter(|length| (1..=32).contains(length))),
        None => (rest, Some(32)),
    };
    let remedy =
        "write ADDRESS/LENGTH, as \"192.168.33.100/24\", and %DEVICE behind it for another interface";
    match (address.parse::<IpAddr>(), prefix) {
        (Ok(IpAddr::V6(_)), _) => {
            scene.refuse(path, "not yet supported: IPv6", "write an IPv4 address");
            None
        }
        (Ok(IpAddr::V4(address)), Some(prefix)) if is_unicast(address) => {
            if !is_device(device) && !interface.is_empty() {
                let what = format!("{device:?} cannot be the name of an interface");
                scene.refuse(path, what, "write the name that `ip link` shows behind the %");
                return None;
            }
            if text.contains('%') && !scene.sources.interfaces.iter().any(|known| known.name == device) {
                let what = format!("this host has no interface {device} at present");
                scene.warn(path, what, "correct the name behind the %, or create the interface");
            }
            collides(scene, path, address);
            Some(VirtualAddress { address, prefix, device: device.to_owned() })
        }
        (Ok(IpAddr::V4(address)), Some(_)) => {
            scene.refuse(path, format!("{address} is no address that a host can have in a network"), remedy);
            None
        }
        _ => {
            scene.refuse(path, format!("{text:?} is no virtual address"), remedy);
            None
        }
    }
}

/// The address must not be someone's for good.
fn collides(scene: &mut Scene<'_>, path: &[&str], address: Ipv4Addr) {
    if scene.sources.default_route.as_ref().is_some_and(|(next_hop, _)| *next_hop == address) {
        let what = format!("{address} is the next hop of this host's default route");
        scene.refuse(path, what, "choose an address that no host has: it moves between the nodes");
    }
}

/// Names of interfaces: 15 bytes, no slash, no white space (dev_valid_name of the kernel).
fn is_device(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
}
