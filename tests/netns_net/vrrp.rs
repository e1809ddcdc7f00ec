//! Advertisements over the wire, good and forged.

use crate::netns::{Lan, Namespace};
use crate::{run, soon};
use apd::io::sys;
use apd::io::vrrp_socket::{ReceiveError, Received, VrrpSettings, VrrpSocket};
use apd::wire::advert::{self, Advertisement, MULTICAST_GROUP, Password, Rejection, Version};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

const ONE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

fn settings(source: Ipv4Addr, peer: Ipv4Addr) -> VrrpSettings {
    VrrpSettings {
        interface: "eth0".to_owned(),
        source,
        peer,
        virtual_router_id: 51,
        version: Version::V3,
        multicast: false,
        accept_lower_ttl: false,
        password: None,
        addresses: vec![VIP],
    }
}

fn advertisement(version: Version) -> Advertisement {
    Advertisement {
        version,
        virtual_router_id: 51,
        priority: 150,
        interval: Duration::from_secs(1),
        addresses: vec![VIP],
    }
}

struct Pair {
    lan: Lan,
    one: Namespace,
    two: Namespace,
}

fn pair(label: &str) -> Pair {
    let lan = Lan::new(label);
    let one = lan.node("one", "10.9.0.1/24");
    let two = lan.node("two", "10.9.0.2/24");
    Pair { lan, one, two }
}

fn open(node: &Namespace, settings: &VrrpSettings) -> VrrpSocket {
    node.inside(|| VrrpSocket::open(settings)).expect("root may open raw sockets")
}

async fn received(socket: &VrrpSocket) -> Received {
    soon("an advertisement", socket.receive()).await.expect("a valid one")
}

fn count(socket: &VrrpSocket, reason: &str) -> u64 {
    let counters = socket.counters();
    let found = counters.rejected().find(|(name, _)| *name == reason);
    found.unwrap_or_else(|| panic!("no reason {reason}")).1
}

#[test]
fn advertisements_go_both_ways() {
    let nodes = pair("both");
    run(async {
        for (version, password, multicast) in [
            (Version::V3, None, false),
            (Version::V3, None, true),
            (Version::V2, None, false),
            (Version::V2, Some("secret12"), false),
            (Version::V2, Some("secret12"), true),
        ] {
            let make = |source, peer| {
                let password = password.map(Password::new);
                VrrpSettings { version, password, multicast, ..settings(source, peer) }
            };
            let one = open(&nodes.one, &make(ONE, TWO));
            let two = open(&nodes.two, &make(TWO, ONE));
            for (from, to, source) in [(&one, &two, ONE), (&two, &one, TWO)] {
                from.send(&advertisement(version)).expect("the peer is reachable");
                let got = received(to).await;
                assert_eq!((got.advert.source, got.advert.from_peer), (source, true));
                assert_eq!((got.advert.priority, got.advert.interval), (150, Duration::from_secs(1)));
                assert!(got.addresses_match);
            }
            // Had one heard itself, that would have come before what two sent.
            assert_eq!((one.counters().sent(), one.counters().received()), (1, 1), "{version:?} {multicast}");
        }
    });
}

#[test]
fn a_wait_that_was_cancelled_loses_nothing() {
    let nodes = pair("cancel");
    run(async {
        let one = open(&nodes.one, &settings(ONE, TWO));
        let two = open(&nodes.two, &settings(TWO, ONE));
        for _ in 0..20 {
            // Dropped before, while, and after the packet arrives: it is there for whoever asks next.
            let given_up = tokio::time::timeout(Duration::ZERO, two.receive()).await;
            assert!(given_up.is_err());
            one.send(&advertisement(Version::V3)).expect("sent");
            received(&two).await;
        }
        assert_eq!(two.counters().received(), 20);
    });
}

/// Sends IPv4 packets whose header is made by hand.
struct Forger(Socket);

impl Forger {
    fn new(node: &Namespace) -> Self {
        let protocol = Some(Protocol::from(libc::IPPROTO_RAW));
        Self(node.inside(|| Socket::new(Domain::IPV4, Type::RAW, protocol)).expect("a raw socket"))
    }

    fn send(&self, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, payload: &[u8]) {
        let total = u16::try_from(20 + payload.len()).expect("short");
        let mut packet = vec![0x45, 0xc0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 1, 0, 0, ttl, advert::PROTOCOL, 0, 0]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(payload);
        let to = SockAddr::from(SocketAddrV4::new(destination, 0));
        self.0.send_to(&packet, &to).expect("the kernel fills in the header checksum and sends");
    }
}

fn message(change: impl FnOnce(&mut Advertisement)) -> Vec<u8> {
    let mut advertisement = advertisement(Version::V3);
    change(&mut advertisement);
    advert::encode(&advertisement, ONE, TWO, None)
}

#[test]
fn forged_packets_change_nothing_but_a_counter() {
    let nodes = pair("forged");
    let stranger = nodes.lan.node("stranger", "10.9.0.3/24");
    run(async {
        let two = open(&nodes.two, &settings(TWO, ONE));
        let forger = Forger::new(&nodes.one);
        let good = message(|_| {});
        let mut broken = good.clone();
        broken[2] = 255;
        let mut carp = vec![0x21, 51, 0, 7, 0, 1, 0, 0];
        carp.resize(36, 0);
        let version_2 = advert::encode(&advertisement(Version::V2), ONE, TWO, None);
        let foreign = advert::encode(&advertisement(Version::V3), STRANGER, TWO, None);
        let cases: [(&str, Ipv4Addr, u8, &[u8]); 8] = [
            ("length", ONE, 255, &good[..7]),
            ("length", ONE, 255, &good[..11]),
            ("ttl", ONE, 64, &good),
            ("checksum", ONE, 255, &broken),
            ("count", ONE, 255, &message(|advertisement| advertisement.addresses.clear())),
            ("carp", ONE, 255, &carp),
            ("version", ONE, 255, &version_2),
            ("foreign_source", STRANGER, 255, &foreign),
        ];
        for (reason, source, ttl, payload) in cases {
            let before = count(&two, reason);
            forger.send(source, TWO, ttl, payload);
            match soon(reason, two.receive()).await {
                Err(ReceiveError::Rejected { from, is_peer, why }) => {
                    assert_eq!((from, is_peer, why.reason()), (source, source == ONE, reason));
                }
                other => panic!("{reason}: {other:?}"),
            }
            assert_eq!(count(&two, reason), before + 1, "{reason}");
        }
        // From its own place on the network a stranger gets no further.
        Forger::new(&stranger).send(STRANGER, TWO, 255, &foreign);
        let answer = soon("the stranger's packet", two.receive()).await;
        assert!(
            matches!(answer, Err(ReceiveError::Rejected { why: Rejection::ForeignSource(STRANGER), .. })),
            "{answer:?}"
        );
        // Another router's packets, and fragments of bytes, end in the filter: the next is the good one.
        forger.send(ONE, TWO, 255, &message(|advertisement| advertisement.virtual_router_id = 52));
        forger.send(ONE, TWO, 255, &[0x31]);
        forger.send(ONE, TWO, 255, &[]);
        forger.send(ONE, TWO, 255, &good);
        assert_eq!(received(&two).await.advert.source, ONE);
        assert_eq!(two.counters().received(), 1);
        assert_eq!(two.counters().rejected().map(|(_, number)| number).sum::<u64>(), 9);
    });
}

#[test]
fn a_routed_advertisement_is_accepted_where_that_is_configured() {
    let nodes = pair("ttl");
    run(async {
        let two = open(&nodes.two, &VrrpSettings { accept_lower_ttl: true, ..settings(TWO, ONE) });
        Forger::new(&nodes.one).send(ONE, TWO, 64, &message(|_| {}));
        received(&two).await;
    });
}

#[test]
fn a_multicast_advertisement_of_another_router_is_heard_but_is_not_the_peers() {
    let nodes = pair("group");
    let stranger = nodes.lan.node("stranger", "10.9.0.3/24");
    run(async {
        let multicast = |source, peer| VrrpSettings { multicast: true, ..settings(source, peer) };
        let two = open(&nodes.two, &multicast(TWO, ONE));
        open(&stranger, &multicast(STRANGER, TWO)).send(&advertisement(Version::V3)).expect("sent");
        let got = received(&two).await;
        assert_eq!((got.advert.source, got.advert.from_peer), (STRANGER, false));
    });
}

#[test]
fn a_virtual_address_never_becomes_the_source() {
    let nodes = pair("source");
    // The virtual address comes first and is the interface's primary one: the kernel would choose it.
    nodes.one.ip("addr flush dev eth0");
    nodes.one.ip("addr add 10.9.0.100/24 dev eth0");
    nodes.one.ip("addr add 10.9.0.1/24 dev eth0");
    let capture = nodes.two.inside(|| {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, None::<Protocol>).expect("a packet socket");
        let index = sys::interface_index("eth0").expect("it is there");
        socket.bind(&sys::packet_address(index, 0x0800)).expect("bound");
        socket.set_read_timeout(Some(crate::LIMIT)).expect("set");
        socket
    });
    run(async {
        for (multicast, destination) in [(false, TWO), (true, MULTICAST_GROUP)] {
            let one = open(&nodes.one, &VrrpSettings { multicast, ..settings(ONE, TWO) });
            one.send(&advertisement(Version::V3)).expect("sent");
            let packet = captured(&capture);
            assert_eq!(packet[..2], [0x45, 0xc0], "IPv4 without options, internetwork control");
            assert_eq!(packet[8..10], [255, 112], "TTL and protocol");
            assert_eq!(packet[12..16], ONE.octets(), "the source is the node's own address");
            assert_eq!(packet[16..20], destination.octets());
            let expected = advert::encode(&advertisement(Version::V3), ONE, destination, None);
            assert_eq!(packet[20..], expected);
        }
    });
}

/// The next VRRP packet that the interface receives.
fn captured(mut capture: &Socket) -> Vec<u8> {
    loop {
        let mut buffer = [0; 2048];
        let length = capture.read(&mut buffer).expect("a packet arrives");
        if length >= 20 && buffer[9] == advert::PROTOCOL {
            // Ethernet pads short frames; the header knows the length.
            let total = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
            return buffer[..total].to_vec();
        }
    }
}

#[test]
fn it_opens_before_the_address_is_there_and_survives_its_going() {
    let nodes = pair("address");
    nodes.two.ip("addr del 10.9.0.2/24 dev eth0");
    run(async {
        let one = open(&nodes.one, &settings(ONE, TWO));
        let two = open(&nodes.two, &settings(TWO, ONE));
        for _ in 0..2 {
            let error = two.send(&advertisement(Version::V3)).expect_err("no address to send from");
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "{error}");
            nodes.two.ip("addr add 10.9.0.2/24 dev eth0");
            two.send(&advertisement(Version::V3)).expect("it works again");
            received(&one).await;
            one.send(&advertisement(Version::V3)).expect("sent");
            received(&two).await;
            nodes.two.ip("addr del 10.9.0.2/24 dev eth0");
        }
        assert_eq!((two.counters().sent(), two.counters().send_errors()), (2, 2));
    });
}

#[test]
fn an_interface_that_was_removed_and_made_again_needs_a_reopening() {
    let nodes = pair("reopen");
    run(async {
        for multicast in [false, true] {
            let make = |source, peer| VrrpSettings { multicast, ..settings(source, peer) };
            let one = open(&nodes.one, &make(ONE, TWO));
            let mut two = open(&nodes.two, &make(TWO, ONE));
            nodes.two.ip("link del eth0");
            two.send(&advertisement(Version::V3)).expect_err("no interface");
            let error = nodes.two.inside(|| two.reopen()).expect_err("still none");
            assert!(error.to_string().contains("eth0"), "{error}");
            nodes.lan.attach(&nodes.two, "two", "eth0", "10.9.0.2/24");
            two.send(&advertisement(Version::V3)).expect_err("another interface of the same name");
            nodes.two.inside(|| two.reopen()).expect("it is back");
            two.send(&advertisement(Version::V3)).expect("sent");
            received(&one).await;
            one.send(&advertisement(Version::V3)).expect("sent");
            received(&two).await;
        }
    });
}
