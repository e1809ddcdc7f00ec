//! Advertisements against a real keepalived: each side reads what the other one says, and obeys it.

use crate::netns::{Lan, Namespace};
use crate::tools::find_tool;
use crate::{LIMIT, run, soon};
use apd::io::vrrp_socket::{VrrpSettings, VrrpSocket};
use apd::wire::advert::{Advertisement, Password, Version};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

/// A keepalived of this test, ended with it.
struct Keepalived(Child);

impl Drop for Keepalived {
    fn drop(&mut self) {
        let process = Pid::from_raw(i32::try_from(self.0.id()).expect("a process number"));
        // It removes its address and ends its children; it may be gone already.
        let _ = kill(process, Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn start(
    node: &Namespace,
    folder: &Path,
    version: Version,
    multicast: bool,
    password: Option<&str>,
) -> Keepalived {
    let interval = if version == Version::V2 { "1" } else { "0.1" };
    let unicast = match multicast {
        true => String::new(),
        false => format!("unicast_src_ip {THEIRS}\n unicast_peer {{\n {OURS}\n }}\n"),
    };
    let password = password.map_or_else(String::new, |password| {
        format!("authentication {{\n auth_type PASS\n auth_pass {password}\n }}\n")
    });
    let number = if version == Version::V2 { 2 } else { 3 };
    let text = format!(
        "global_defs {{\n router_id theirs\n}}\nvrrp_instance VI {{\n state BACKUP\n version {number}\n interface eth0\n \
         virtual_router_id 51\n priority 150\n advert_int {interval}\n {unicast} {password} virtual_ipaddress {{\n \
         {VIP}/24\n }}\n}}\n"
    );
    let configuration = folder.join("keepalived.conf");
    std::fs::write(&configuration, text).expect("a folder of our own");
    let file = |name: &str| folder.join(name).display().to_string();
    let log = std::fs::File::create(folder.join("log")).expect("a folder of our own");
    let child = node
        .command(&find_tool("keepalived").display().to_string())
        .args(["-n", "-l", "-D", "-f", &file("keepalived.conf"), "-p", &file("pid"), "-r", &file("vrrp.pid")])
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a second handle"))
        .stdout(log)
        .spawn()
        .expect("keepalived starts");
    Keepalived(child)
}

fn is_master(node: &Namespace) -> bool {
    node.ip("-o -4 address show dev eth0").contains(&format!(" {VIP}/24 "))
}

/// Waits for keepalived to be master or not; does `meanwhile` every 50 ms.
async fn until(theirs: &Namespace, master: bool, meanwhile: impl Fn(), version: Version) {
    let deadline = Instant::now() + LIMIT;
    while is_master(theirs) != master {
        assert!(Instant::now() < deadline, "keepalived does not become master = {master} ({version:?})");
        meanwhile();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn converse(label: &str, version: Version, multicast: bool, password: Option<&'static str>) {
    let lan = Lan::new(label);
    let theirs = lan.node("theirs", "10.9.0.1/24");
    let node = lan.node("ours", "10.9.0.2/24");
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let settings = VrrpSettings {
            interface: "eth0".to_owned(),
            source: OURS,
            peer: THEIRS,
            virtual_router_id: 51,
            version,
            multicast,
            accept_lower_ttl: false,
            password: password.map(Password::new),
            addresses: vec![VIP],
        };
        let ours = node.inside(|| VrrpSocket::open(&settings)).expect("root may open raw sockets");
        let _keepalived = start(&theirs, folder.path(), version, multicast, password);
        until(&theirs, true, || {}, version).await;
        let heard = soon("an advertisement of keepalived", ours.receive()).await;
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        let heard = heard.unwrap_or_else(|error| panic!("{error}\n{}", log()));
        assert_eq!((heard.advert.source, heard.advert.priority), (THEIRS, 150));
        assert!(heard.advert.from_peer && heard.addresses_match);
        let say = |priority| {
            let interval = heard.advert.interval;
            let advertisement =
                Advertisement { version, virtual_router_id: 51, priority, interval, addresses: vec![VIP] };
            ours.send(&advertisement).expect("keepalived's node is reachable");
        };
        // A higher priority is obeyed; one that resigns (0) ends that after the skew time.
        until(&theirs, false, || say(200), version).await;
        say(0);
        until(&theirs, true, || {}, version).await;
        // A lower one is not: whoever is master stays it, and says so.
        let before = ours.counters().received();
        say(100);
        while ours.counters().received() < before + 2 {
            let heard = soon("its next advertisement", ours.receive()).await;
            assert!(heard.is_ok(), "{heard:?}\n{}", log());
        }
        assert!(is_master(&theirs), "{}", log());
    });
}

#[test]
fn keepalived_version_3_unicast() {
    converse("ka3u", Version::V3, false, None);
}

#[test]
fn keepalived_version_3_multicast() {
    converse("ka3m", Version::V3, true, None);
}

#[test]
fn keepalived_version_2_unicast_with_password() {
    converse("ka2u", Version::V2, false, Some("secret12"));
}

#[test]
fn keepalived_version_2_multicast() {
    converse("ka2m", Version::V2, true, None);
}
