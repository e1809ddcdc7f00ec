//! What can happen to an interface, and how soon it is seen.

use crate::netns::{Lan, Namespace};
use crate::{LIMIT, run};
use apd::decision::event::LinkReport;
use apd::io::link::LinkMonitor;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const ME: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// From the end of the command that changed something to the report; milliseconds on an idle machine.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

fn open(node: &Namespace) -> LinkMonitor {
    node.inside(|| LinkMonitor::open("eth0", ME)).expect("netlink is for everyone")
}

/// Waits for the report that says so; reports on the way there (down before gone) do not count.
async fn seen(monitor: &mut LinkMonitor, usable: bool, detail: &str) {
    let start = Instant::now();
    let mut last = monitor.read_now();
    let report = tokio::time::timeout(LIMIT, async {
        loop {
            last = monitor.changed().await;
            if last.detail.contains(detail) {
                return last.clone();
            }
        }
    });
    let report = report.await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {detail}"));
    assert_eq!(report.usable, usable, "{report:?}");
    assert!(start.elapsed() < SEEN_WITHIN, "{detail} after {:?}", start.elapsed());
    assert_eq!(monitor.read_now(), report);
}

#[test]
fn everything_that_makes_the_link_unusable_is_seen_within_a_second_and_so_is_its_end() {
    let lan = Lan::new("link");
    let me = lan.node("me", "10.9.0.1/24");
    run(async {
        let mut monitor = open(&me);
        let up = LinkReport { usable: true, detail: "up".to_owned() };
        assert_eq!(monitor.read_now(), up);
        seen(&mut monitor, true, "up").await;

        lan.unplug("me");
        seen(&mut monitor, false, "has no carrier").await;
        lan.plug("me");
        seen(&mut monitor, true, "up").await;

        me.ip("link set eth0 down");
        seen(&mut monitor, false, "is set down").await;
        me.ip("link set eth0 up");
        seen(&mut monitor, true, "up").await;

        me.ip("addr del 10.9.0.1/24 dev eth0");
        seen(&mut monitor, false, "10.9.0.1 is missing on eth0").await;
        me.ip("addr add 10.9.0.1/32 dev eth0");
        seen(&mut monitor, true, "up").await;

        me.ip("link del eth0");
        seen(&mut monitor, false, "eth0 does not exist").await;
        lan.attach(&me, "me", "eth0", "10.9.0.1/24");
        seen(&mut monitor, true, "up").await;

        // The other end goes away altogether.
        lan.switch.ip("link del me");
        seen(&mut monitor, false, "eth0 does not exist").await;
    });
}

#[test]
fn it_opens_before_the_interface_is_there() {
    let lan = Lan::new("later");
    let me = Namespace::new("me");
    run(async {
        let mut monitor = open(&me);
        seen(&mut monitor, false, "eth0 does not exist").await;
        lan.attach(&me, "me", "eth0", "10.9.0.1/24");
        seen(&mut monitor, true, "up").await;
    });
}

#[test]
fn another_interface_and_another_address_do_not_count() {
    let lan = Lan::new("other");
    let me = lan.node("me", "10.9.0.1/24");
    lan.attach(&me, "second", "eth1", "10.8.0.1/24");
    run(async {
        let mut monitor = open(&me);
        seen(&mut monitor, true, "up").await;
        lan.unplug("second");
        me.ip("addr add 10.9.0.100/32 dev eth0");
        me.ip("addr add 10.9.0.1/32 dev eth1");
        me.ip("link del eth1");
        // Had one of these been reported, it would come before this.
        me.ip("addr del 10.9.0.1/24 dev eth0");
        let report = tokio::time::timeout(LIMIT, monitor.changed()).await.expect("soon");
        assert_eq!(report.detail, "address 10.9.0.1 is missing on eth0");
    });
}

#[test]
fn a_storm_of_events_ends_in_the_right_picture() {
    let lan = Lan::new("storm");
    let me = lan.node("me", "10.9.0.1/24");
    run(async {
        let mut monitor = open(&me);
        seen(&mut monitor, true, "up").await;
        let mut batch = String::new();
        for round in 0..40 {
            for host in 1..=250 {
                let verb = if round % 2 == 0 { "add" } else { "del" };
                batch.push_str(&format!("addr {verb} 10.7.0.{host}/32 dev eth0\n"));
            }
        }
        batch.push_str("addr del 10.9.0.1/24 dev eth0\n");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), batch).expect("written");
        me.ip(&format!("-batch {}", file.path().display()));
        seen(&mut monitor, false, "10.9.0.1 is missing").await;
    });
}
