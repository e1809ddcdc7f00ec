//! Each way to the peer on its own, so that "the network is broken" becomes "only this is blocked".

use crate::config::checked::{Config, GatewayMethod};
use crate::decision::words::Role;
use crate::io::clock;
use crate::io::gateway::GatewayProber;
use crate::wire::control::Status;
use crate::wire::control::doctor::Symptom;
use nix::sys::socket::{getsockopt, sockopt};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const AREA: &str = "network";
/// Longest wait on each way.
const LIMIT: Duration = Duration::from_millis(800);

/// How a way ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// There and back took so long.
    Open(Duration),
    /// The other host says that nobody listens.
    Refused,
    /// Nothing came back, or this host may not ask; in words.
    Silent(String),
}

impl Way {
    fn is_open(&self) -> bool {
        matches!(self, Way::Open(_))
    }
}

/// Everything that was tried.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    pub arp: Way,
    pub icmp: Way,
    pub peer_port: Way,
    pub database: Way,
    /// What the kernel knows of the path's longest packet.
    pub mtu: Option<u32>,
}

/// Tries every way to the peer.
pub(super) async fn look(config: &Config, status: &Status) -> Vec<Symptom> {
    let peer = config.peer.address;
    let port = SocketAddrV4::new(peer, config.peer.peer_port);
    let ((peer_port, mtu), (database, _), icmp, arp) = tokio::join!(
        connect(config.me.address, port),
        connect(config.me.address, config.peer.mariadb_address),
        probe(config, peer, GatewayMethod::Icmp),
        probe(config, peer, GatewayMethod::Arp),
    );
    let ways = Ways { arp, icmp, peer_port, database, mtu };
    let mut found = judge(config, &ways);
    found.push(adverts(config, status));
    found.extend(virtual_addresses(config, status).await);
    found
}

async fn connect(source: Ipv4Addr, to: SocketAddrV4) -> (Way, Option<u32>) {
    let begun = clock::now();
    let attempt = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        socket.connect(to.into()).await
    };
    match timeout(LIMIT, attempt).await {
        Ok(Ok(stream)) => (Way::Open(clock::now().since(begun)), mtu_of(&stream)),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => (Way::Refused, None),
        Ok(Err(error)) => (Way::Silent(error.to_string()), None),
        Err(_) => (Way::Silent(format!("no answer within {} ms", LIMIT.as_millis())), None),
    }
}

fn mtu_of(stream: &TcpStream) -> Option<u32> {
    getsockopt(stream, sockopt::IpMtu).ok().and_then(|mtu| u32::try_from(mtu).ok())
}

async fn probe(config: &Config, target: Ipv4Addr, method: GatewayMethod) -> Way {
    let prober = GatewayProber::open(&config.me.interface, config.me.address, &[target], 1, method);
    let mut prober = match prober {
        Ok(prober) => prober,
        Err(error) => return Way::Silent(error.to_string()),
    };
    let begun = clock::now();
    match prober.probe(LIMIT).await.answered {
        0 => Way::Silent(format!("no answer within {} ms", LIMIT.as_millis())),
        _ => Way::Open(clock::now().since(begun)),
    }
}

/// What the ways say together.
pub(super) fn judge(config: &Config, ways: &Ways) -> Vec<Symptom> {
    let peer = &config.peer;
    let any_tcp =
        [&ways.peer_port, &ways.database].iter().any(|way| matches!(way, Way::Open(_) | Way::Refused));
    let reaches = any_tcp || ways.icmp.is_open();
    let mut found = vec![
        tcp("peer link", peer.peer_port, &ways.peer_port, reaches, &format!("start apd on {}", peer.name)),
        tcp(
            "MariaDB",
            peer.mariadb_address.port(),
            &ways.database,
            reaches,
            "start MariaDB there; see its bind_address",
        ),
    ];
    found.push(match (&ways.icmp, any_tcp) {
        (Way::Open(took), _) => {
            Symptom::good(AREA, format!("{} answers ICMP echo in {}", peer.address, ms(*took)))
        }
        (_, true) if config.gateway.method == GatewayMethod::Icmp => {
            let text = "only ICMP is blocked between the nodes, and gateway.method is \"icmp\"";
            Symptom::warning(AREA, text).resolved_by("allow ICMP echo, or use gateway.method = \"arp\"")
        }
        (_, true) => Symptom::note(AREA, "only ICMP is blocked between the nodes: apd does not need it"),
        (Way::Refused | Way::Silent(_), false) => {
            Symptom::error(AREA, format!("{} answers neither ICMP echo nor TCP", peer.address))
                .resolved_by("look at host, cable, switch and firewall between the nodes")
        }
    });
    found.push(match (&ways.arp, reaches) {
        (Way::Open(took), true) => {
            Symptom::good(AREA, format!("{} answers ARP in {}", peer.address, ms(*took)))
        }
        (Way::Open(_), false) => Symptom::error(
            AREA,
            "the peer answers ARP and nothing else: a firewall drops all IP packets between the nodes",
        )
        .resolved_by(firewall(config)),
        (_, true) => Symptom::note(
            AREA,
            "the peer answers no ARP: it is behind a router, and proofs of life by ARP do not work",
        ),
        (_, false) => Symptom::error(AREA, "the peer does not answer ARP either: host or cable"),
    });
    if let Some(mtu) = ways.mtu {
        found.push(Symptom::good(
            AREA,
            format!("the path to the peer takes packets of {mtu} bytes, as far as this host knows"),
        ));
    }
    found.push(Symptom::note(AREA, "what must pass between the nodes").resolved_by(firewall(config)));
    found
}

fn tcp(name: &str, port: u16, way: &Way, reaches: bool, start: &str) -> Symptom {
    match way {
        Way::Open(took) => Symptom::good(AREA, format!("{name} (TCP {port}) answers in {}", ms(*took))),
        Way::Refused => {
            Symptom::error(AREA, format!("{name} (TCP {port}): nobody listens there")).resolved_by(start)
        }
        Way::Silent(why) if reaches => {
            Symptom::error(AREA, format!("{name} (TCP {port}) is blocked, other packets pass: {why}"))
                .resolved_by(format!("on both nodes: nft add rule inet filter input tcp dport {port} accept"))
        }
        Way::Silent(why) => Symptom::error(AREA, format!("{name} (TCP {port}): {why}")),
    }
}

/// Rules for both nodes.
fn firewall(config: &Config) -> String {
    format!(
        "nft add rule inet filter input ip saddr {{ {}, {} }} ip protocol 112 accept; the same with tcp dport {{ {}, {} }} accept",
        config.me.address,
        config.peer.address,
        config.peer.peer_port,
        config.peer.mariadb_address.port(),
    )
}

/// Heartbeats without advertisements: the one path is open, the other is blocked.
pub(super) fn adverts(config: &Config, status: &Status) -> Symptom {
    let peer = &status.peer;
    let late = config.vrrp.advert_interval * 5 + Duration::from_secs(1);
    let heard = peer.advert_age_ms.is_some_and(|age| u128::from(age) <= late.as_millis());
    match (peer.role, peer.connected) {
        (Some(Role::Active), true) if !heard => {
            let text = "advertisements blocked: the active's heartbeats arrive over TCP, its VRRP packets (IP protocol 112) do not";
            Symptom::error(AREA, text).resolved_by(firewall(config))
        }
        (Some(Role::Active), _) if heard => Symptom::good(AREA, "the active's advertisements arrive"),
        _ if status.node.role == Role::Active => Symptom::note(
            AREA,
            "this node advertises; whether it is heard the other one knows: apctl doctor --peer",
        ),
        _ => Symptom::note(AREA, "no active is heard, so no advertisements are due"),
    }
}

/// Whether the peer's virtual addresses can be seen from here, as clients in this network would.
async fn virtual_addresses(config: &Config, status: &Status) -> Vec<Symptom> {
    let serving = status.peer.role == Some(Role::Active) && status.peer.connected;
    if !serving || status.node.vip_held {
        return Vec::new();
    }
    let mut found = Vec::new();
    for virtual_address in &config.cluster.virtual_addresses {
        let address = virtual_address.address;
        found.push(match probe(config, address, GatewayMethod::Arp).await {
            Way::Open(_) => Symptom::good(AREA, format!("{address} on the active is answered for")),
            _ => Symptom::error(AREA, format!("{address} is on the active, and nobody answers for it here: the network drops what comes from it"))
                .resolved_by("allow the address on both ports (OpenStack: --allowed-address; clouds: a HAVIP; switches: port security)"),
        });
    }
    found
}

fn ms(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}
