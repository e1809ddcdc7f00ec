//! Are the gateway targets there?

use crate::netns::{Lan, Namespace};
use crate::{LIMIT, run};
use apd::config::checked::GatewayMethod;
use apd::io::gateway::{Answered, GatewayProber};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const ME: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
const SILENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 253);
const BOTH: [GatewayMethod; 2] = [GatewayMethod::Arp, GatewayMethod::Icmp];

struct Nodes {
    lan: Lan,
    me: Namespace,
    router: Namespace,
}

fn nodes(label: &str) -> Nodes {
    let lan = Lan::new(label);
    let me = lan.node("me", "10.9.0.1/24");
    let router = lan.node("router", "10.9.0.254/24");
    Nodes { lan, me, router }
}

fn prober(node: &Namespace, targets: &[Ipv4Addr], need: u32, method: GatewayMethod) -> GatewayProber {
    node.inside(|| GatewayProber::open("eth0", ME, targets, need, method)).expect("root may open raw sockets")
}

#[test]
fn a_target_that_is_there_answers_long_before_the_timeout() {
    let nodes = nodes("there");
    run(async {
        for method in BOTH {
            let mut prober = prober(&nodes.me, &[ROUTER], 1, method);
            for _ in 0..5 {
                let start = Instant::now();
                assert_eq!(prober.probe(LIMIT).await, Answered { answered: 1, asked: 1 }, "{method:?}");
                assert!(start.elapsed() < LIMIT / 2);
            }
        }
    });
}

#[test]
fn enough_answers_end_the_probe_and_too_few_wait_for_the_timeout() {
    let nodes = nodes("need");
    run(async {
        for method in BOTH {
            let targets = [SILENT, ROUTER];
            let start = Instant::now();
            let answered = prober(&nodes.me, &targets, 1, method).probe(LIMIT).await;
            assert_eq!(answered, Answered { answered: 1, asked: 2 }, "{method:?}");
            assert!(start.elapsed() < LIMIT / 2, "the silent one is not waited for");

            let timeout = Duration::from_secs(1);
            let start = Instant::now();
            let answered = prober(&nodes.me, &targets, 2, method).probe(timeout).await;
            assert_eq!(answered, Answered { answered: 1, asked: 2 }, "{method:?}");
            assert!(start.elapsed() >= timeout);
        }
    });
}

#[test]
fn a_pulled_cable_silences_the_target_and_a_plugged_one_brings_it_back() {
    let nodes = nodes("cable");
    run(async {
        for method in BOTH {
            let mut prober = prober(&nodes.me, &[ROUTER], 1, method);
            assert_eq!(prober.probe(LIMIT).await.answered, 1);
            nodes.lan.unplug("router");
            assert_eq!(prober.probe(Duration::from_millis(50)).await.answered, 0, "{method:?}");
            nodes.lan.plug("router");
            assert_eq!(answered_again(&mut prober).await, 1, "{method:?}");
            // A router whose address went is no router, though its host is there.
            nodes.router.ip("addr del 10.9.0.254/24 dev eth0");
            assert_eq!(prober.probe(Duration::from_millis(50)).await.answered, 0, "{method:?}");
            nodes.router.ip("addr add 10.9.0.254/24 dev eth0");
            assert_eq!(answered_again(&mut prober).await, 1, "{method:?}");
        }
    });
}

/// The first probes may meet a kernel that still believes the neighbour to be gone.
async fn answered_again(prober: &mut GatewayProber) -> u32 {
    let start = Instant::now();
    loop {
        let answered = prober.probe(Duration::from_millis(200)).await.answered;
        if answered > 0 || start.elapsed() > LIMIT {
            return answered;
        }
    }
}

#[test]
fn an_interface_that_is_down_fails_at_once_and_one_made_again_is_found_again() {
    let lan = Lan::new("again");
    let _router = lan.node("router", "10.9.0.254/24");
    let me = lan.node("me", "10.9.0.1/24");
    for method in BOTH {
        // All inside, because the prober opens a new socket by itself.
        me.block_on(|| async {
            let open = || GatewayProber::open("eth0", ME, &[ROUTER], 1, method);
            let mut prober = open().expect("root may open raw sockets");
            assert_eq!(prober.probe(LIMIT).await.answered, 1);
            let start = Instant::now();
            me.ip("link set eth0 down");
            assert_eq!(prober.probe(2 * LIMIT).await.answered, 0, "{method:?}");
            assert!(start.elapsed() < LIMIT, "nothing can be sent, so nothing is waited for");
            me.ip("link set eth0 up");
            assert_eq!(answered_again(&mut prober).await, 1, "{method:?}");

            let start = Instant::now();
            me.ip("link del eth0");
            assert_eq!(prober.probe(2 * LIMIT).await.answered, 0, "{method:?}");
            assert!(start.elapsed() < LIMIT);
            let error = open().expect_err("it is gone");
            assert!(error.to_string().contains("eth0"), "{error}");
            lan.attach(&me, "me", "eth0", "10.9.0.1/24");
            assert_eq!(answered_again(&mut prober).await, 1, "{method:?}");
        });
    }
}
