//! Announcements, and whether someone else answers for a virtual address.

use crate::netns::{Lan, Namespace, eventually, neighbour};
use crate::{LIMIT, run, soon};
use apd::io::announce::{Announcer, Claim, ClaimKind, ProbeForLife};
use apd::io::sys;
use apd::wire::arp::{self, Arp};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 101);

struct Nodes {
    lan: Lan,
    one: Namespace,
    two: Namespace,
}

fn nodes(label: &str) -> Nodes {
    let lan = Lan::new(label);
    let one = lan.node("one", "10.9.0.1/24");
    let two = lan.node("two", "10.9.0.2/24");
    Nodes { lan, one, two }
}

fn announcer(node: &Namespace) -> Announcer {
    node.inside(|| Announcer::open("eth0")).expect("root may open packet sockets")
}

fn probe_for_life(node: &Namespace) -> ProbeForLife {
    node.inside(|| ProbeForLife::open("eth0", &[OTHER_VIP, VIP])).expect("root may open packet sockets")
}

async fn claimed(probe: &ProbeForLife) -> Claim {
    soon("a claim", probe.claimed()).await.expect("the interface is up")
}

fn claim(address: Ipv4Addr, node: &Namespace, kind: ClaimKind) -> Claim {
    Claim { address, by: node.mac("eth0").parse().expect("a MAC address"), kind }
}

#[test]
fn an_announcement_moves_the_address_in_a_neighbours_cache_at_once() {
    let nodes = nodes("garp");
    let client = nodes.lan.node("client", "10.9.0.9/24");
    nodes.one.ip("addr add 10.9.0.100/32 dev eth0");
    // The client talks to the virtual address, and so learns who has it.
    let socket = client.inside(|| UdpSocket::bind("10.9.0.9:0")).expect("bound");
    eventually("the client knows the first node", LIMIT, || {
        socket.send_to(b"hello", (VIP, 9)).is_ok() && neighbour(&client, VIP) == Some(nodes.one.mac("eth0"))
    });
    run(async {
        let (one, two) = (announcer(&nodes.one), announcer(&nodes.two));
        // To and fro within the kernel's locktime of one second, in which it ignores replies.
        for (node, announcer) in [(&nodes.two, &two), (&nodes.one, &one), (&nodes.two, &two)] {
            announcer.announce(VIP).expect("sent");
            eventually("the client knows the new place", LIMIT, || {
                neighbour(&client, VIP) == Some(node.mac("eth0"))
            });
        }
    });
}

#[test]
fn a_probe_is_answered_by_whoever_has_the_address() {
    let nodes = nodes("answer");
    nodes.two.ip("addr add 10.9.0.100/32 dev eth0");
    run(async {
        let probe = probe_for_life(&nodes.one);
        probe.probe().expect("sent");
        assert_eq!(claimed(&probe).await, claim(VIP, &nodes.two, ClaimKind::Answer));
        // A probe teaches nobody anything: it carries no sender address.
        assert_eq!(neighbour(&nodes.two, VIP), None);
    });
}

#[test]
fn silence_means_that_nobody_has_it_and_our_own_packets_are_no_claims() {
    let nodes = nodes("silence");
    nodes.one.ip("addr add 10.9.0.101/32 dev eth0");
    run(async {
        let (ours, theirs) = (probe_for_life(&nodes.one), probe_for_life(&nodes.two));
        // Nobody has VIP; OTHER_VIP is our own; both nodes ask; we announce. None of it is a claim to us.
        ours.probe().expect("sent");
        theirs.probe().expect("sent");
        announcer(&nodes.one).announce(VIP).expect("sent");
        announcer(&nodes.two).announce(OTHER_VIP).expect("sent");
        // What came before would be seen before.
        assert_eq!(claimed(&ours).await, claim(OTHER_VIP, &nodes.two, ClaimKind::Announcement));
        // The other node heard our kernel answer its probe, and then our announcement.
        assert_eq!(claimed(&theirs).await, claim(OTHER_VIP, &nodes.one, ClaimKind::Answer));
        assert_eq!(claimed(&theirs).await, claim(VIP, &nodes.one, ClaimKind::Announcement));
    });
}

#[test]
fn our_own_packets_reflected_by_the_network_are_no_claims() {
    let nodes = nodes("mirror");
    let socket = nodes.two.inside(|| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None::<Protocol>).expect("a packet socket");
        let index = sys::interface_index("eth0").expect("it is there");
        socket.bind(&sys::packet_address(index, arp::ETHERTYPE)).expect("bound");
        socket
    });
    run(async {
        let probe = probe_for_life(&nodes.one);
        let ours = nodes.one.mac("eth0").parse().expect("a MAC address");
        socket.send(&Arp::announcement(ours, VIP).frame()).expect("sent");
        announcer(&nodes.two).announce(VIP).expect("sent");
        assert_eq!(claimed(&probe).await, claim(VIP, &nodes.two, ClaimKind::Announcement));
    });
}

#[test]
fn a_claim_is_noticed_without_asking() {
    let nodes = nodes("unasked");
    run(async {
        let probe = probe_for_life(&nodes.one);
        announcer(&nodes.two).announce(VIP).expect("sent");
        assert_eq!(claimed(&probe).await, claim(VIP, &nodes.two, ClaimKind::Announcement));
        // A kernel that sends from the address asks for its neighbours in its name.
        nodes.two.ip("addr add 10.9.0.100/32 dev eth0");
        let socket = nodes.two.inside(|| UdpSocket::bind((VIP, 0))).expect("bound");
        socket.send_to(b"hello", "10.9.0.77:9").expect("queued behind the question");
        assert_eq!(claimed(&probe).await, claim(VIP, &nodes.two, ClaimKind::Use));
    });
}

#[test]
fn a_wait_that_was_cancelled_loses_no_claim() {
    let nodes = nodes("cancel");
    nodes.two.ip("addr add 10.9.0.100/32 dev eth0");
    run(async {
        let probe = probe_for_life(&nodes.one);
        for _ in 0..20 {
            let given_up = tokio::time::timeout(Duration::ZERO, probe.claimed()).await;
            assert!(given_up.is_err(), "nobody was asked yet");
            probe.probe().expect("sent");
            assert_eq!(claimed(&probe).await, claim(VIP, &nodes.two, ClaimKind::Answer));
        }
    });
}

#[test]
fn a_link_that_goes_and_comes_is_an_error_that_passes() {
    let nodes = nodes("flap");
    nodes.two.ip("addr add 10.9.0.100/32 dev eth0");
    run(async {
        let mut probe = probe_for_life(&nodes.one);
        let mut announcer = announcer(&nodes.one);
        nodes.one.ip("link set eth0 down");
        probe.probe().expect_err("down");
        announcer.announce(VIP).expect_err("down");
        nodes.one.ip("link set eth0 up");
        probe.probe().expect("up again");
        let answer = match soon("an answer", probe.claimed()).await {
            Ok(claim) => claim,
            // The socket remembers that the interface was down, once.
            Err(_) => claimed(&probe).await,
        };
        assert_eq!(answer, claim(VIP, &nodes.two, ClaimKind::Answer));

        nodes.one.ip("link del eth0");
        probe.probe().expect_err("gone");
        announcer.announce(VIP).expect_err("gone");
        assert!(nodes.one.inside(|| probe.reopen()).is_err());
        nodes.lan.attach(&nodes.one, "one", "eth0", "10.9.0.1/24");
        nodes.one.inside(|| probe.reopen()).expect("back");
        nodes.one.inside(|| announcer.reopen()).expect("back");
        announcer.announce(OTHER_VIP).expect("sent");
        probe.probe().expect("sent");
        assert_eq!(claimed(&probe).await, claim(VIP, &nodes.two, ClaimKind::Answer));
    });
}

#[test]
fn an_interface_without_ethernet_is_refused_with_its_name() {
    let nodes = nodes("lo");
    run(async {
        let error = nodes.one.inside(|| Announcer::open("lo")).expect_err("no ARP on loopback");
        assert!(error.to_string().contains("lo"), "{error}");
        let error = nodes.one.inside(|| Announcer::open("eth7")).expect_err("no such interface");
        assert!(error.to_string().contains("eth7"), "{error}");
    });
}
