//! One number for the part of the configuration that both nodes must share. The nodes exchange it in every
//! heartbeat and show a mismatch. Each node's own part (`[node]`, interfaces, how the local server is
//! reached, `[http]`, `[log]`) and secrets do not count, nor what only one host knows, as its default route.

use super::checked::{Cluster, Node};
use super::typed::{Check, CheckKind, File};
use ring::digest::{SHA256, digest};
use serde_json::json;

/// The hash: the first 8 bytes of SHA-256 over the shared part, in the order of names and addresses.
/// `targets` are the gateway's as written.
pub fn of(file: &File, cluster: &Cluster, nodes: [&Node; 2], targets: &[String]) -> u64 {
    let addresses: Vec<_> =
        cluster.virtual_addresses.iter().map(|virtual_| (virtual_.address, virtual_.prefix)).collect();
    let mut nodes: Vec<_> = nodes
        .iter()
        .map(|node| json!([node.address, node.name, node.priority, node.mariadb_address, node.peer_port]))
        .collect();
    nodes.sort_by_key(ToString::to_string);
    // Those that exist by default are tuned on each node by itself.
    let own = |check: &&Check| match check.kind {
        Some(CheckKind::Mariadb | CheckKind::Link) => true,
        Some(kind @ CheckKind::Gateway) => check.name == kind.word(),
        _ => false,
    };
    let mut checks: Vec<_> = file.check.iter().filter(|check| !own(check)).collect();
    checks.sort_by(|left, right| left.name.cmp(&right.name));
    let lease = &file.lease;
    // A device behind a virtual address is each node's own.
    let own_cluster = super::typed::Cluster { virtual_addresses: Vec::new(), ..file.cluster.clone() };
    let shared = json!({
        "cluster": own_cluster,
        "virtual_addresses": addresses,
        "nodes": nodes,
        "vrrp": [
            json!(file.vrrp.version),
            json!(file.vrrp.virtual_router_id),
            json!(file.vrrp.advert_interval),
            json!(file.vrrp.multicast),
        ],
        "lease": [json!(lease.heartbeat), json!(lease.duration), json!(lease.restart_grace)],
        "gateway": [json!(targets), json!(file.gateway.need), json!(file.gateway.method)],
        "mariadb": [json!(file.mariadb.schema), json!(file.mariadb.replication_user)],
        "checks": checks,
    });
    // Objects of serde_json are sorted by key, so the text is the same on both nodes.
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest(&SHA256, shared.to_string().as_bytes()).as_ref()[..8]);
    u64::from_be_bytes(bytes)
}
