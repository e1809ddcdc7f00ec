//! `[gateway]`, `[log]`, `[node]`, and the ports to gate: what lies around the pair.

use super::nodes::host_address;
use super::{Scene, checks};
use crate::config::checked::{
    Check, Gateway, GatewayMethod, Lease, Log, LogFormat, MariaDb, MariaDbEndpoint, Node, Paths,
};
use crate::config::problem::Origin;
use crate::config::typed::{GatewayMethodWord, LogFormatWord, LogLevel, ProtectionWord};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// The probe targets: as written, else the default route's next hop.
pub fn gateway(scene: &mut Scene<'_>, nodes: Option<&(Node, Node)>) -> Gateway {
    let written = scene.file.gateway.clone();
    let path = ["gateway", "targets"];
    let mut targets = self::targets(scene, &path, &written.targets, nodes, written.method);
    let needed = scene.file.cluster.protection == ProtectionWord::Gateway;
    if written.targets.is_empty() && needed && !scene.is_broken(&["gateway"]) {
        let next_hop = scene.sources.default_route.clone().map(|(next_hop, _)| next_hop);
        match next_hop {
            Some(next_hop) => {
                scene.file.gateway.targets = vec![next_hop.to_string()];
                scene.filled(&path, Origin::Host("next hop of the default route"));
                targets.push(next_hop);
                // A virtual address that is the router's was reported where it is written.
                if !scene.is_broken(&["cluster", "virtual_addresses"]) {
                    target(scene, &path, next_hop, nodes);
                }
            }
            None => scene.refuse_for_now(
                &path,
                "protection = \"gateway\" needs something to probe, and this host has no default route",
                "write targets = [\"192.168.33.1\"] under [gateway], or protection = \"vrrp\"",
            ),
        }
    }
    let need = written.need;
    if need as usize > targets.len() && !targets.is_empty() && !scene.is_broken(&["gateway"]) {
        let what = format!("{need} targets must answer, but there are only {}", targets.len());
        scene.refuse(&["gateway", "need"], what, format!("write {} or less, or more targets", targets.len()));
    }
    Gateway { targets, need, method: method(written.method) }
}

/// How targets are asked.
pub const fn method(written: GatewayMethodWord) -> GatewayMethod {
    match written {
        GatewayMethodWord::Arp => GatewayMethod::Arp,
        GatewayMethodWord::Icmp => GatewayMethod::Icmp,
    }
}

/// The addresses of a list of targets; each must prove something.
pub fn targets(
    scene: &mut Scene<'_>,
    key: &[&str],
    written: &[String],
    nodes: Option<&(Node, Node)>,
    method: GatewayMethodWord,
) -> Vec<Ipv4Addr> {
    let mut targets: Vec<Ipv4Addr> = Vec::new();
    for (index, text) in written.iter().enumerate() {
        let position = (index + 1).to_string();
        let path = [key, &[position.as_str()]].concat();
        let Some(address) = host_address(scene, &path, text) else { continue };
        if targets.contains(&address) {
            scene.refuse(&path, format!("{address} is written twice"), "leave one of them out");
        }
        targets.push(address);
        target(scene, &path, address, nodes);
        on_link(scene, &path, address, nodes, method);
    }
    targets
}

/// A target proves that this node reaches others than the pair itself.
fn target(scene: &mut Scene<'_>, path: &[&str], address: Ipv4Addr, nodes: Option<&(Node, Node)>) {
    let text = address.to_string();
    let is_virtual = |written: &String| written.split(['/', '%']).next() == Some(&*text);
    let owner = nodes.and_then(|(me, peer)| [me, peer].into_iter().find(|node| node.address == address));
    let what = match owner {
        Some(node) => format!("{address} is node {} itself and proves nothing about the network", node.name),
        None if scene.file.cluster.virtual_addresses.iter().any(is_virtual) => {
            format!("{address} is a virtual address of this pair and proves nothing about the network")
        }
        None => return,
    };
    scene.refuse(path, what, "write targets outside of the pair, as the router or a switch");
}

/// ARP reaches only what is on the same link.
fn on_link(
    scene: &mut Scene<'_>,
    path: &[&str],
    address: Ipv4Addr,
    nodes: Option<&(Node, Node)>,
    method: GatewayMethodWord,
) {
    let Some((me, _)) = nodes.filter(|_| method == GatewayMethodWord::Arp) else { return };
    let Some(interface) = scene.sources.holder(me.address) else { return };
    let within = |(held, length): &(Ipv4Addr, u8)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
        u32::from(*held) & mask == u32::from(address) & mask
    };
    if !interface.addresses.iter().any(within) {
        let what =
            format!("{address} is in none of the networks of {}, and ARP ends at the router", interface.name);
        scene.warn(path, what, "write method = \"icmp\", or a target in the same network");
    }
}

/// `[log]`.
pub fn log(scene: &mut Scene<'_>) -> Log {
    let level = match scene.file.log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let format = match scene.file.log.format {
        LogFormatWord::Journald => LogFormat::Journald,
        LogFormatWord::Json => LogFormat::Json,
        LogFormatWord::Text => LogFormat::Text,
    };
    Log { level: level.to_owned(), format }
}

/// `[node]`, but for the name.
pub fn paths(scene: &mut Scene<'_>) -> Paths {
    let written = scene.file.node.clone();
    let state_dir = scene.absolute(&["node", "state_dir"], &written.state_dir);
    let run_dir = scene.absolute(&["node", "run_dir"], &written.run_dir);
    let mode_file = match &written.mode_file {
        Some(file) => scene.absolute(&["node", "mode_file"], file),
        None => {
            let file = state_dir.join("mode");
            scene.file.node.mode_file = Some(file.clone());
            scene.filled(&["node", "mode_file"], Origin::Derived("state_dir"));
            file
        }
    };
    let state_file = scene.optional_path(&["node", "state_file"], &written.state_file);
    let transition_log = scene.optional_path(&["node", "transition_log"], &written.transition_log);
    let paths = Paths { state_dir, run_dir, mode_file, state_file, transition_log };
    // sun_path of unix(7) has 108 bytes, the last one for the end.
    let longest = [paths.control_socket(), paths.gate_socket()].iter().map(|path| length(path)).max();
    if longest.is_some_and(|length| length > 107) {
        let what = "the path is too long for the sockets in it (107 bytes each)";
        scene.refuse(&["node", "run_dir"], what, "choose a shorter one, as \"/run/apd\"");
    }
    paths
}

fn length(path: &Path) -> usize {
    path.as_os_str().len()
}

/// The ports to gate: the database's, those of every http check that asks this node, and those written.
pub fn gate_ports(
    scene: &mut Scene<'_>,
    lease: Lease,
    me: Option<&Node>,
    mariadb: &MariaDb,
    probes: &[Check],
) -> Lease {
    let Some(me) = me else { return lease };
    let listen: Option<SocketAddrV4> = scene.file.http.listen.parse().ok();
    let reserved = [
        (me.peer_port, "the peer link, and a node whose gate is closed must still hear its peer"),
        (listen.map_or(0, |listen| listen.port()), "the health endpoints, and a standby must answer there"),
    ];
    for (index, port) in lease.gate_ports.iter().enumerate() {
        let position = (index + 1).to_string();
        let path = ["lease", "gate_ports", position.as_str()];
        if let Some((_, what)) = reserved.iter().find(|(reserved, _)| reserved == port) {
            scene.refuse(&path, format!("{port} is the port of {what}"), "leave it out");
        } else if *port == 22 {
            let what = "a node whose gate is closed could not be reached by ssh any more";
            scene.warn(&path, what, "leave port 22 out unless that is wanted");
        }
    }
    let is_local = |address: Ipv4Addr| {
        address.is_loopback() || address == me.address || scene.sources.holder(address).is_some()
    };
    let mut ports = lease.gate_ports.clone();
    ports.push(me.mariadb_address.port());
    if let MariaDbEndpoint::Tcp(server) = &mariadb.endpoint
        && is_local(*server.ip())
    {
        ports.push(server.port());
    }
    ports.extend(probes.iter().filter_map(|probe| checks::local_port(probe, is_local)));
    ports.retain(|port| !reserved.iter().any(|(reserved, _)| reserved == port));
    ports.sort_unstable();
    ports.dedup();
    scene.file.lease.gate_ports.clone_from(&ports);
    if !scene.is_written(&["lease", "gate_ports"]) {
        scene.filled(
            &["lease", "gate_ports"],
            Origin::Derived("the ports of mariadb and of the local checks"),
        );
    }
    Lease { gate_ports: ports, ..lease }
}
