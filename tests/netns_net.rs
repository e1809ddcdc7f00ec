//! The network side of `io`, against real sockets and real netlink in namespaces of its own.

#[path = "support/netns.rs"]
mod netns;

use netns::Lan;

#[test]
fn a_lan_carries_packets() {
    let lan = Lan::new("ping");
    let one = lan.node("one", "10.9.0.1/24");
    let _two = lan.node("two", "10.9.0.2/24");
    let output = one.command("ip").args(["neigh", "show"]).output().expect("nsenter runs");
    assert!(output.status.success());
    let socket = one.run(|| std::net::UdpSocket::bind("10.9.0.1:0").is_ok());
    assert!(socket, "the address is inside");
    assert!(std::net::UdpSocket::bind("10.9.0.1:0").is_err(), "and only inside");
}
