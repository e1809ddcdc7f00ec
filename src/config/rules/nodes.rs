//! The two nodes: which one this host is, and that they cannot be taken for each other.

use super::{NAME_REMEDY, Scene, is_name};
use crate::config::checked::Node;
use crate::config::problem::Origin;
use crate::config::suggest::nearest;
use crate::config::typed;
use crate::decision::words::NodeId;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// Port of MariaDB where none is written.
const MARIADB_PORT: u16 = 3306;

/// This node and the other one.
pub fn check(scene: &mut Scene<'_>) -> Option<(Node, Node)> {
    let names: Vec<String> = scene.file.nodes.keys().cloned().collect();
    if names.len() != 2 && !scene.is_broken(&["nodes"]) {
        let what = format!("{} nodes are written, and a pair has exactly two", names.len());
        scene.refuse(
            &["nodes"],
            what,
            "write two tables, as [nodes.db1] and [nodes.db2], each with its address",
        );
    }
    let mut nodes: Vec<Node> = names.iter().filter_map(|name| node(scene, name)).collect();
    let (Ok([first, second]), 2) = (<&mut [Node; 2]>::try_from(nodes.as_mut_slice()), names.len()) else {
        return None;
    };
    differ(scene, first, second);
    let first_is_lower = first.address < second.address;
    first.id = NodeId(if first_is_lower { 1 } else { 2 });
    second.id = NodeId(if first_is_lower { 2 } else { 1 });
    let mine = mine(scene, &nodes)?;
    let peer = nodes.remove(1 - mine);
    let mut me = nodes.remove(0);
    me.interface = interface(scene, &me)?;
    Some((me, peer))
}

/// One node by itself.
fn node(scene: &mut Scene<'_>, name: &str) -> Option<Node> {
    let written: typed::Node = scene.file.nodes.get(name)?.clone();
    if !is_name(name) {
        scene.refuse(&["nodes", name], "this cannot be the name of a node", NAME_REMEDY);
    }
    let path = ["nodes", name, "address"];
    let address = match written.address {
        Some(text) => host_address(scene, &path, &text)?,
        None => {
            if !scene.is_broken(&path) {
                scene.refuse(
                    &path,
                    "missing",
                    "write address = \"192.168.33.101\", the node's own IPv4 address",
                );
            }
            return None;
        }
    };
    let mariadb_address = mariadb_address(scene, name, written.mariadb_address.as_deref(), address);
    if written.peer_port == mariadb_address.port() {
        scene.refuse(
            &["nodes", name, "peer_port"],
            format!("{} is the port of MariaDB too", written.peer_port),
            "choose another port, as 7411",
        );
    }
    Some(Node {
        id: NodeId::default(),
        name: name.to_owned(),
        address,
        interface: written.interface.unwrap_or_default(),
        priority: written.priority,
        mariadb_address,
        peer_port: written.peer_port,
        public_url: written.public_url,
        labels: written.labels.into_iter().collect(),
    })
}

/// An IPv4 address that a host can have in its network.
pub fn host_address(scene: &mut Scene<'_>, path: &[&str], text: &str) -> Option<Ipv4Addr> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if is_unicast(address) => return Some(address),
        Ok(IpAddr::V4(address)) => scene.refuse(
            path,
            format!("{address} is no address that a host has in a network"),
            "write the IPv4 address of a network interface, as \"192.168.33.101\"",
        ),
        Ok(IpAddr::V6(_)) => scene.refuse(path, "not yet supported: IPv6", "write an IPv4 address"),
        Err(_) => scene.refuse(
            path,
            format!("{text:?} is no IPv4 address"),
            "write four numbers, as \"192.168.33.101\"; names are not looked up",
        ),
    }
    None
}

/// Neither loopback nor multicast nor broadcast nor unspecified.
pub fn is_unicast(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224 && !address.is_loopback()
}

fn mariadb_address(
    scene: &mut Scene<'_>,
    name: &str,
    written: Option<&str>,
    address: Ipv4Addr,
) -> SocketAddrV4 {
    let path = ["nodes", name, "mariadb_address"];
    let default = SocketAddrV4::new(address, MARIADB_PORT);
    let Some(text) = written else {
        if let Some(node) = scene.file.nodes.get_mut(name) {
            node.mariadb_address = Some(default.to_string());
        }
        scene.filled(&path, Origin::Derived("the node's address"));
        return default;
    };
    let bare = || text.parse().ok().map(|address: Ipv4Addr| SocketAddrV4::new(address, MARIADB_PORT));
    match text.parse::<SocketAddrV4>().ok().or_else(bare) {
        Some(server) if server.port() != 0 && !server.ip().is_unspecified() => {
            if server.ip().is_loopback() {
                let what = format!(
                    "{server} is only reachable on {name} itself, but the other node replicates from here"
                );
                scene.warn(&path, what, "write an address that the other node can reach");
            }
            server
        }
        _ => {
            let remedy = format!("write IPv4 address and port, as \"{default}\"");
            scene.refuse(&path, format!("{text:?} is no address of a server"), remedy);
            default
        }
    }
}

/// What is the same on both would make them one.
fn differ(scene: &mut Scene<'_>, first: &Node, second: &Node) {
    let path = ["nodes", &second.name, "address"];
    if first.address == second.address {
        let what = format!("{} is the address of node {} too", second.address, first.name);
        scene.refuse(&path, what, "give each node its own address");
    } else if first.mariadb_address == second.mariadb_address {
        let what = format!("{} is the server of node {} too", second.mariadb_address, first.name);
        scene.refuse(&["nodes", &second.name, "mariadb_address"], what, "give each node its own server");
    }
}

/// Which of the nodes this host is: `node.name`, else the hostname, else an address that the host holds.
fn mine(scene: &mut Scene<'_>, nodes: &[Node]) -> Option<usize> {
    let names = nodes.iter().map(|node| format!("\"{}\"", node.name)).collect::<Vec<_>>().join(" or ");
    let hold = |node: &Node| scene.sources.holder(node.address).is_some();
    let held: Vec<usize> = (0..nodes.len()).filter(|index| hold(&nodes[*index])).collect();
    let hostname = scene.sources.hostname.to_lowercase();
    let short = hostname.split('.').next().unwrap_or_default();
    let by_hostname =
        nodes.iter().position(|node| [hostname.as_str(), short].contains(&&*node.name.to_lowercase()));
    let name = scene.file.node.name.clone();
    let (index, origin) = if !name.is_empty() {
        let Some(index) = nodes.iter().position(|node| node.name == name) else {
            let remedy = match nearest(&name, nodes.iter().map(|node| node.name.as_str())) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("write {names}"),
            };
            scene.refuse(&["node", "name"], format!("there is no [nodes.{name}]"), remedy);
            return None;
        };
        (index, scene.place(&["node", "name"]))
    } else if let Some(index) = by_hostname {
        (index, Origin::Host("hostname"))
    } else if let [index] = held[..] {
        (index, Origin::Host("the node's address is held here"))
    } else {
        let what = match held.len() {
            0 => format!(
                "this host is neither node: its hostname is \"{hostname}\", and it holds neither address"
            ),
            _ => "this host holds the addresses of both nodes".to_owned(),
        };
        let remedy = format!("set node.name to {names} in conf.d or as APD__NODE__NAME");
        scene.refuse_for_now(&["node", "name"], what, remedy);
        return None;
    };
    if let [other] = held[..]
        && other != index
    {
        let (me, other) = (&nodes[index], &nodes[other]);
        let what = format!(
            "this host would be node {} but holds {}, the address of {}",
            me.name, other.address, other.name
        );
        scene.refuse(
            &["node", "name"],
            what,
            format!("set node.name to \"{}\", or correct the addresses", other.name),
        );
        return None;
    }
    scene.file.node.name.clone_from(&nodes[index].name);
    scene.filled(&["node", "name"], origin);
    Some(index)
}

/// The interface of this node: as written, else the one that holds the address, else the only one.
fn interface(scene: &mut Scene<'_>, me: &Node) -> Option<String> {
    let path = ["nodes", &me.name, "interface"];
    let holder = scene.sources.holder(me.address).map(|interface| interface.name.clone());
    if !me.interface.is_empty() {
        match holder {
            Some(holder) if holder == me.interface => {}
            Some(holder) => {
                let what = format!("{} is on {holder}, not on {}", me.address, me.interface);
                scene.refuse(&path, what, format!("write \"{holder}\", or leave the key out"));
            }
            None => {
                let what = format!("{} does not hold {} at present", me.interface, me.address);
                scene.warn(&path, what, "bring the interface up; until then the node is not fit");
            }
        }
        return Some(me.interface.clone());
    }
    let others: Vec<&str> = scene
        .sources
        .interfaces
        .iter()
        .map(|interface| &*interface.name)
        .filter(|name| *name != "lo")
        .collect();
    let (name, origin) = match (holder, others.as_slice()) {
        (Some(holder), _) => (holder, Origin::Host("the interface that holds the node's address")),
        (None, [only]) => {
            let name = (*only).to_owned();
            let what =
                format!("no interface holds {} at present; {name} is the only one there is", me.address);
            scene.warn(
                &path,
                what,
                "bring the interface up, and write `interface` to be independent of that",
            );
            (name, Origin::Host("the only interface"))
        }
        (None, _) => {
            let what = format!("no interface holds {}, the address of this node", me.address);
            scene.refuse_for_now(
                &path,
                what,
                "write `interface`, correct the address, or bring the interface up",
            );
            return None;
        }
    };
    if let Some(node) = scene.file.nodes.get_mut(&me.name) {
        node.interface = Some(name.clone());
    }
    scene.filled(&path, origin);
    Some(name)
}
