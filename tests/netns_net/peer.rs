//! The peer link when the other side is a black hole: every wait on it has an end, and it comes back by itself.

use crate::netns::{Lan, Namespace};
use crate::tools::find_tool;
use crate::{LIMIT, run, soon};
use apd::decision::peer::{PeerMessage, Released};
use apd::decision::words::{Epoch, InstanceId};
use apd::io::peer_link::{LinkEvent, LinkSettings, PeerLink};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PORT: u16 = 7411;
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
const REDIAL: Duration = Duration::from_millis(100);
/// Sooner than the kernel would have asked again by itself.
const KERNEL: Duration = Duration::from_secs(3);

struct Nodes {
    lan: Lan,
    nodes: [Namespace; 2],
}

fn nodes(label: &str) -> Nodes {
    let lan = Lan::new(label);
    let nodes = ["db1", "db2"].map(|name| name.to_owned());
    let nodes = [0, 1].map(|index| lan.node(&nodes[index], &format!("{}/24", ADDRESSES[index])));
    Nodes { lan, nodes }
}

fn settings(index: usize) -> LinkSettings {
    LinkSettings {
        cluster: "shop".into(),
        node: format!("db{index}"),
        address: ADDRESSES[index],
        port: PORT,
        peer: SocketAddrV4::new(ADDRESSES[1 - index], PORT),
        instance: InstanceId(index as u64 + 1),
        redial: REDIAL,
    }
}

/// Everything that arrives is thrown away, everything that leaves too; the cable stays in.
fn hole(node: &Namespace) {
    let rules = "table inet hole {\nchain in { type filter hook input priority -300; policy drop; }\n\
                 chain out { type filter hook output priority -300; policy drop; }\n}\n";
    nft(node, rules);
}

fn fill(node: &Namespace) {
    nft(node, "delete table inet hole");
}

fn nft(node: &Namespace, rules: &str) {
    let program = find_tool("nft");
    let mut child = node
        .command(program.to_str().expect("a path in words"))
        .args(["-f", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("nft runs");
    child.stdin.take().expect("piped").write_all(rules.as_bytes()).expect("nft reads");
    assert!(child.wait().expect("nft ends").success(), "{rules}");
}

/// The other node's link on a thread of its own: it answers, and says nothing, until the test has ended.
struct Peer {
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(node: &Namespace, index: usize) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = node.spawn(move || {
            run(async {
                let mut link = PeerLink::open(settings(index)).expect("the port is free");
                while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    let _event = tokio::time::timeout(Duration::from_millis(50), link.next()).await;
                }
            });
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the peer's thread panicked");
        }
    }
}

async fn until_up(link: &mut PeerLink) {
    while !matches!(link.next().await, LinkEvent::Up(_)) {}
}

/// Says something every 20 ms, as heartbeats do, until the link is down.
async fn until_down(link: &mut PeerLink, says: bool) {
    let released = Released {
        epoch: Epoch::default(),
        operation: None,
        read_only: false,
        tail: false,
        reason: "stop.asked".into(),
    };
    let message = PeerMessage::Released(released);
    loop {
        match tokio::time::timeout(Duration::from_millis(20), link.next()).await {
            Ok(LinkEvent::Down) => return,
            Ok(_) => {}
            Err(_) if says => _ = link.send(&message),
            Err(_) => {}
        }
    }
}

/// Connecting: a dial into the hole is given up, so that the first one after it has gone succeeds at once, and not
/// when the kernel would have tried again, seconds later.
#[test]
fn r3_15_a_dial_into_a_black_hole_is_given_up() {
    let nodes = nodes("r315-connect");
    let [a, b] = &nodes.nodes;
    let _peer = Peer::start(b, 1);
    hole(b);
    a.run(|| {
        run(async {
            let mut link = PeerLink::open(settings(0)).expect("the port is free");
            // The kernel alone would ask again after 1, 3 and 7 s: this is in the longest pause.
            let early = tokio::time::timeout(Duration::from_millis(3_300), until_up(&mut link)).await;
            assert!(early.is_err(), "connected through a black hole");
            fill(b);
            let begun = Instant::now();
            soon("the link comes up", until_up(&mut link)).await;
            assert!(begun.elapsed() < KERNEL, "only after {:?}", begun.elapsed());
        });
    });
    drop(nodes.lan);
}

/// Asking: a peer that takes the connection and never answers is left, and asked again.
#[test]
fn r3_15_a_request_without_an_answer_is_given_up() {
    let nodes = nodes("r315-request");
    let [a, b] = &nodes.nodes;
    let mute = b.inside(|| TcpListener::bind((ADDRESSES[1], PORT))).expect("the port is free");
    let asked = std::thread::spawn(move || {
        let mut first = mute.accept().expect("the first dial").0;
        let begun = Instant::now();
        first.set_read_timeout(Some(LIMIT)).expect("set");
        let mut hello = Vec::new();
        // Ends when the other side gives up; what it said before is its greeting.
        first.read_to_end(&mut hello).expect("given up in time");
        let left_after = begun.elapsed();
        let _second = mute.accept().expect("asked again");
        (hello.len(), left_after)
    });
    let (length, left_after) = a.run(|| {
        run(async {
            let _link = PeerLink::open(settings(0)).expect("the port is free");
            while !asked.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        asked.join().expect("no panic")
    });
    assert!(length > 4, "it said nothing");
    assert!(left_after > Duration::from_millis(300), "left after {left_after:?}");
    drop(nodes.lan);
}

/// The other way round: a caller that says nothing is not listened to for ever.
#[test]
fn r3_15_a_caller_that_says_nothing_is_left() {
    let nodes = nodes("r315-caller");
    let [a, b] = &nodes.nodes;
    let _peer = Peer::start(b, 1);
    let left_after = a.run(|| {
        let begun = Instant::now();
        let mut caller = loop {
            match TcpStream::connect((ADDRESSES[1], PORT)) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < LIMIT, "{error}"),
            }
        };
        let begun = Instant::now();
        caller.set_read_timeout(Some(LIMIT)).expect("set");
        let mut nothing = Vec::new();
        caller.read_to_end(&mut nothing).expect("closed in time");
        assert!(nothing.is_empty());
        begun.elapsed()
    });
    assert!(left_after > Duration::from_millis(300), "left after {left_after:?}");
    drop(nodes.lan);
}

/// The stream: a peer that vanishes without a word is noticed, whether there was something to say or not, and the
/// link comes back when it does.
#[test]
fn r3_15_a_stream_into_a_black_hole_is_given_up_and_comes_back() {
    for (label, says) in [("r315-says", true), ("r315-idle", false)] {
        let nodes = nodes(label);
        let [a, b] = &nodes.nodes;
        let _peer = Peer::start(b, 1);
        a.run(|| {
            run(async {
                let mut link = PeerLink::open(settings(0)).expect("the port is free");
                soon("the link comes up", until_up(&mut link)).await;
                hole(b);
                let begun = Instant::now();
                soon("the link goes down", until_down(&mut link, says)).await;
                let noticed = begun.elapsed();
                assert!(noticed > Duration::from_secs(1), "a short silence is no end: {noticed:?}");
                fill(b);
                let begun = Instant::now();
                soon("the link comes back", until_up(&mut link)).await;
                assert!(begun.elapsed() < KERNEL, "back only after {:?}", begun.elapsed());
            });
        });
        drop(nodes.lan);
    }
}
