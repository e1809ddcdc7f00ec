//! The gate process against a real kernel: what clients get, and when they no longer get it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/echo.rs"]
mod echo;
#[path = "support/gate.rs"]
mod gate;
#[path = "support/netns.rs"]
mod netns;

use apd::decision::event::GateReport;
use apd::io::{clock, sys};
use apd::wire::gate::FromGate;
use echo::{connect, reaches, serve, use_until_end};
use gate::*;
use netns::{eventually, neighbour};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

/// What a busy test machine may add to a bound.
const ALLOWANCE: Duration = Duration::from_millis(60);
const SLICE: Duration = LEASE.checked_div(8).unwrap();

/// Not a test: the gate process that the others start.
#[test]
#[ignore = "started by the other tests"]
fn gate_process() {
    run_gate_if_told();
}

fn client_connection(scene: &Scene) -> TcpStream {
    let limit = Duration::from_secs(1);
    connect(&scene.client, VIRTUAL, DATABASE_PORT, limit).expect("the open gate lets clients in")
}

#[test]
fn clients_are_served_while_the_lease_lives_and_reset_at_its_end() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (_process, mut daemon) = scene.gate();
    assert!(!daemon.state().open);
    assert!(!reaches(&scene.client, NODE, DATABASE_PORT), "closed at the start");

    let end = daemon.open(7, LEASE);
    let state = daemon.state();
    assert!(state.open && state.address_held, "{state:?}");
    assert_eq!((state.epoch, state.lease_end), (epoch(7), end));
    let to_address = use_until_end(client_connection(&scene), Duration::from_secs(3));
    let node_port = connect(&scene.client, NODE, DATABASE_PORT, Duration::from_secs(1)).unwrap();
    let to_node = use_until_end(node_port, Duration::from_secs(3));
    let mut end = end;
    for _ in 0..10 {
        std::thread::sleep(LEASE / 4);
        end = daemon.renew(7, LEASE);
    }
    let reason = daemon.expect_lease_lost(7);
    assert!(clock::now() >= end - Duration::from_millis(25), "lost early: {reason}");
    for used in [to_address, to_node] {
        let ended = used.join().unwrap();
        assert!(ended.last_answered <= end + SLICE + ALLOWANCE, "{ended:?}, the lease ended at {end:?}");
        assert!(ended.last_answered + LEASE >= end, "cut early: {ended:?}, the lease ended at {end:?}");
        assert_eq!(ended.error, ErrorKind::ConnectionReset, "{ended:?}");
        assert!(ended.seen <= end + LEASE, "{ended:?}, the lease ended at {end:?}");
    }
    assert!(!scene.holds_address());
    assert!(!reaches(&scene.client, NODE, DATABASE_PORT));
    assert!(!daemon.state().open);
}

#[test]
fn what_needs_no_lease_passes_while_closed() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    serve(&scene.node, 9999);
    serve(&scene.peer, DATABASE_PORT);
    let (_process, _daemon) = scene.gate();
    assert!(reaches(&scene.peer, NODE, DATABASE_PORT), "the peer's replica");
    assert!(reaches(&scene.node, PEER, DATABASE_PORT), "this node's replica");
    assert!(reaches(&scene.node, NODE, DATABASE_PORT), "an administrator on the node");
    assert!(reaches(&scene.node, std::net::Ipv4Addr::LOCALHOST, DATABASE_PORT));
    assert!(reaches(&scene.client, NODE, 9999), "a port that is not gated");
    assert!(!reaches(&scene.client, NODE, DATABASE_PORT), "a client");
}

#[test]
fn killed_it_leaves_a_gate_that_shuts_itself() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (mut process, mut daemon) = scene.gate();
    let end = daemon.open(7, LEASE);
    let used = use_until_end(client_connection(&scene), Duration::from_millis(800));
    process.kill();
    let killed = std::time::Instant::now();
    let ended = used.join().unwrap();
    assert!(ended.last_answered <= end + SLICE + ALLOWANCE, "{ended:?}, the lease ended at {end:?}");
    assert!(ended.last_answered + LEASE >= end, "{ended:?}, the lease ended at {end:?}");
    // Who comes back at once, with the old ARP entry, is refused: nothing hangs until its SYN is sent again.
    let refused = connect(&scene.client, VIRTUAL, DATABASE_PORT, Duration::from_millis(900)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // The address may stay for two seconds, and is silent.
    scene.client.ip("neigh flush all");
    assert!(!reaches(&scene.client, VIRTUAL, DATABASE_PORT));
    assert_eq!(neighbour(&scene.client, VIRTUAL), None, "somebody answered ARP");
    eventually("the kernel drops the address", Duration::from_secs(4), || !scene.holds_address());
    assert!(killed.elapsed() < Duration::from_millis(3000), "{:?}", killed.elapsed());
}

#[test]
fn no_answer_leaves_after_the_lease_though_nobody_asks_and_nobody_watches() {
    let scene = Scene::new();
    echo::tell_time(&scene.node, DATABASE_PORT);
    let (mut process, mut daemon) = scene.gate();
    let end = daemon.open(7, LEASE);
    let connections = [VIRTUAL, NODE]
        .map(|address| connect(&scene.client, address, DATABASE_PORT, Duration::from_secs(1)).unwrap());
    process.kill();
    for connection in connections {
        let newest = echo::newest_time(connection, Duration::from_millis(800));
        assert!(newest <= end + SLICE, "{newest:?} was told, the lease ended at {end:?}");
        assert!(newest + Duration::from_millis(100) >= end, "silent early: {newest:?}, {end:?}");
    }
}

#[test]
fn stopped_it_cannot_keep_the_gate_open_and_waking_up_opens_nothing() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (process, mut daemon) = scene.gate();
    let end = daemon.open(7, LEASE);
    let used = use_until_end(client_connection(&scene), Duration::from_millis(800));
    process.signal(Signal::SIGSTOP);
    // Renewals that it will find when it wakes up.
    let mut renewed = end;
    for _ in 0..3 {
        renewed = daemon.renew(7, LEASE);
    }
    let ended = used.join().unwrap();
    assert!(ended.last_answered <= end + SLICE + ALLOWANCE, "{ended:?}, the lease ended at {end:?}");
    eventually("the kernel drops the address", Duration::from_secs(4), || !scene.holds_address());
    assert!(clock::now() > renewed);
    process.signal(Signal::SIGCONT);
    daemon.expect_lease_lost(7);
    assert!(!reaches(&scene.client, NODE, DATABASE_PORT));
    assert!(!scene.holds_address());
}

#[test]
fn stopped_and_woken_within_the_lease_it_goes_on() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (process, mut daemon) = scene.gate();
    let lease = Duration::from_secs(2);
    daemon.open(7, lease);
    let mut used = client_connection(&scene);
    process.signal(Signal::SIGSTOP);
    daemon.renew(7, lease);
    std::thread::sleep(lease / 2);
    process.signal(Signal::SIGCONT);
    let end = daemon.renew(7, lease);
    eventually("the renewal is taken", Duration::from_secs(1), || daemon.state().lease_end == end);
    assert!(daemon.state().open);
    echo::answers(&mut used, Duration::from_secs(1)).unwrap();
}

#[test]
fn a_new_process_goes_on_with_the_living_lease() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (mut process, mut daemon) = scene.gate();
    let lease = Duration::from_secs(3);
    let end = daemon.open(7, lease);
    daemon.cut().unwrap();
    let mut used = client_connection(&scene);
    process.kill();
    let (_second, mut daemon) = scene.gate();
    let state = daemon.state();
    assert!(state.open && state.address_held && state.stream_cut, "{state:?}");
    assert_eq!((state.epoch, state.lease_end), (epoch(7), end));
    echo::answers(&mut used, Duration::from_secs(1)).expect("no connection was lost");
    let end = daemon.renew(7, lease);
    eventually("renewed", Duration::from_secs(1), || daemon.state().lease_end == end);
    assert_eq!(daemon.expect_lease_lost(7), "it was not renewed in time");
}

#[test]
fn a_new_process_ends_what_a_dead_lease_left() {
    let scene = Scene::new();
    let (mut process, mut daemon) = scene.gate();
    let end = daemon.open(7, LEASE);
    process.kill();
    eventually("the lease is over", Duration::from_secs(2), || clock::now() > end);
    assert!(scene.holds_address(), "the address outlives a killed process by up to 2 s");
    let (_second, mut daemon) = scene.gate();
    assert!(!daemon.state().open);
    assert!(!scene.holds_address());
    // There is no server here to make read-only; that it was tried is what counts.
    let (fenced, error) =
        daemon.expect_within("DatabaseFenced", Duration::from_secs(15), |message| match message {
            FromGate::DatabaseFenced { epoch, error } => Some((*epoch, error.clone())),
            _ => None,
        });
    assert_eq!(fenced, epoch(7));
    assert!(error.unwrap().contains("read-only"));
}

#[test]
fn a_lease_is_kept_for_many_renewals_on_a_busy_host() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (process, mut daemon) = scene.gate();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let rounds = 25;
    let used = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // The daemon's thread is real-time too.
        let used = scope.spawn(|| {
            sys::make_realtime(50);
            daemon.open(7, LEASE);
            let used = use_until_end(client_connection(&scene), Duration::from_secs(3));
            let before = process.cpu();
            for _ in 0..rounds {
                std::thread::sleep(LEASE / 4);
                daemon.renew(7, LEASE);
                let state = daemon.state();
                assert!(state.open, "{state:?}");
            }
            println!("{:?} CPU for {rounds} renewals", process.cpu() - before);
            used
        });
        let used = used.join();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        used.unwrap()
    });
    assert!(!used.is_finished(), "the client's connection was cut: {:?}", used.join());
}

#[test]
fn refusals_are_clear() {
    let scene = Scene::new();
    let (process, mut daemon) = scene.gate();
    let refused = daemon.try_open(7, clock::now() - Duration::from_millis(1), LEASE).unwrap_err();
    assert!(refused.contains("ended"), "{refused}");
    let refused = daemon.try_open(7, clock::now() + Duration::from_secs(3600), LEASE).unwrap_err();
    assert!(refused.contains("at most"), "{refused}");
    assert!(!daemon.state().open && !scene.holds_address());

    daemon.renew(7, LEASE);
    assert_eq!(daemon.expect_lease_lost(7), "the gate is closed");
    let lease = Duration::from_secs(2);
    daemon.open(7, lease);
    let refused = daemon.try_open(8, clock::now() + lease, lease).unwrap_err();
    assert!(refused.contains("open for epoch 7"), "{refused}");
    daemon.renew(6, lease);
    assert_eq!(daemon.expect_lease_lost(6), "the gate is open for epoch 7");
    assert!(daemon.state().open, "another epoch's renewal changes nothing");

    daemon.close().unwrap();
    daemon.close().expect("closing what is closed is well");
    daemon.renew(7, lease);
    assert_eq!(daemon.expect_lease_lost(7), "the gate is closed", "a lease that is gone stays gone");
    assert!(!daemon.state().open);
    let second = scene.start_gate().child.wait().unwrap();
    assert!(!second.success(), "two gate processes");
    drop(process);
}

#[test]
fn one_daemon_at_a_time() {
    let scene = Scene::new();
    let (process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(3));
    // The same process connects again: its earlier connection is dead by its own word.
    let mut again = process.connect();
    assert!(again.state().open);
    drop(daemon);
    assert!(again.state().open, "the gate stays open when a daemon goes");
    let other = scene
        .node
        .command("python3")
        .args([
            "-c",
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(999))",
        ])
        .arg(&process.socket)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&other.stdout).into_owned();
    assert!(told.contains("refused") && told.contains(&std::process::id().to_string()), "{told}");
    assert!(again.state().open);
}

#[test]
fn an_address_that_someone_deletes_is_put_back() {
    let scene = Scene::new();
    let (_process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(5));
    scene.node.ip(&format!("addr del {VIRTUAL}/24 dev eth0"));
    daemon.expect_report(&GateReport::AddressRestored { address: VIRTUAL });
    let took = eventually("it is back", Duration::from_secs(1), || scene.holds_address());
    println!("restored after {took:?}");
    scene.node.ip("link set eth0 down");
    scene.node.ip("link set eth0 up");
    assert!(daemon.state().address_held);
}

#[test]
fn an_address_that_someone_adds_is_removed() {
    let scene = Scene::new();
    let (_process, mut daemon) = scene.gate();
    assert!(!daemon.state().open);
    for prefix in [24, 32] {
        scene.node.ip(&format!("addr add {VIRTUAL}/{prefix} dev eth0"));
        daemon.expect_report(&GateReport::AddressRemoved { address: VIRTUAL });
        eventually("it is gone", Duration::from_secs(1), || !scene.holds_address());
    }
}

#[test]
fn the_virtual_address_never_becomes_the_source() {
    let scene = Scene::new();
    serve(&scene.peer, DATABASE_PORT);
    scene.node.ip("route add 10.77.0.0/24 via 10.9.0.2");
    scene.peer.ip("addr add 10.77.0.1/24 dev eth0");
    let (_process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(5));
    for target in [PEER, "10.77.0.1".parse().unwrap()] {
        let stream = connect(&scene.node, target, DATABASE_PORT, Duration::from_secs(1)).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), NODE, "towards {target}");
    }
    let shown = scene.node.ip("-o -4 addr show dev eth0");
    let line = shown.lines().find(|line| line.contains(&VIRTUAL.to_string())).unwrap();
    assert!(line.contains("secondary") && line.contains("/24"), "{line}");
}

#[test]
fn tables_that_someone_flushes_are_back_at_once() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (_process, mut daemon) = scene.gate();
    assert!(!daemon.state().open);
    for damage in ["flush ruleset", "delete chain inet apd_51 to_port", "flush table arp apd_51"] {
        if damage.starts_with("delete chain") {
            scene.nft("flush chain inet apd_51 to_port");
            daemon.expect_report(&GateReport::TablesReinstalled);
        } else {
            scene.nft(damage);
            daemon.expect_report(&GateReport::TablesReinstalled);
        }
        assert!(!reaches(&scene.client, NODE, DATABASE_PORT), "after {damage}");
    }
    // While open, nobody who is connected notices, and the lease still ends.
    daemon.open(7, LEASE);
    let used = use_until_end(client_connection(&scene), Duration::from_secs(3));
    for _ in 0..4 {
        scene.nft("flush ruleset");
        daemon.expect_report(&GateReport::TablesReinstalled);
        daemon.renew(7, LEASE);
        assert!(daemon.state().open);
    }
    let end = daemon.state().lease_end;
    assert!(!used.is_finished());
    daemon.expect_lease_lost(7);
    assert!(clock::now() >= end - Duration::from_millis(25));
    assert_eq!(used.join().unwrap().error, ErrorKind::ConnectionReset);
    assert!(!reaches(&scene.client, NODE, DATABASE_PORT));
}

#[test]
fn a_lease_whose_element_someone_deletes_is_lost() {
    let scene = Scene::new();
    let (_process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(5));
    scene.nft("flush set inet apd_51 lease");
    let reason = daemon.expect_lease_lost(7);
    assert!(reason.contains("deleted"), "{reason}");
    assert!(!scene.holds_address());
}

#[test]
fn closing_resets_clients_that_only_wait() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    serve(&scene.node, API_PORT);
    let (_process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(5));
    let second = Duration::from_secs(1);
    let waiting: Vec<_> = [(VIRTUAL, DATABASE_PORT), (VIRTUAL, API_PORT), (NODE, API_PORT)]
        .map(|(address, port)| connect(&scene.client, address, port, second).unwrap())
        .map(|mut stream| {
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
                let error = stream.read(&mut [0]).expect_err("a reset, not an orderly end");
                (clock::now(), error.kind())
            })
        })
        .into();
    let mut peer = connect(&scene.peer, NODE, DATABASE_PORT, second).unwrap();
    let asked = clock::now();
    daemon.close().unwrap();
    let took = clock::now().since(asked);
    println!("closed after {took:?}");
    assert!(took < Duration::from_millis(100), "{took:?}");
    for client in waiting {
        let (seen, error) = client.join().unwrap();
        assert_eq!(error, ErrorKind::ConnectionReset);
        assert!(seen.since(asked) < Duration::from_millis(100), "{:?}", seen.since(asked));
    }
    assert!(!scene.holds_address());
    echo::answers(&mut peer, second).expect("the peer's connection stays");
    // And again: a takeover after it.
    daemon.open(8, LEASE);
    assert!(reaches(&scene.client, VIRTUAL, DATABASE_PORT));
}

#[test]
fn the_replication_stream_is_cut_both_ways_and_lifted() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    serve(&scene.peer, DATABASE_PORT);
    serve(&scene.peer, 9999);
    let (_process, mut daemon) = scene.gate();
    let second = Duration::from_secs(1);
    let mut towards = connect(&scene.node, PEER, DATABASE_PORT, second).unwrap();
    let mut from = connect(&scene.peer, NODE, DATABASE_PORT, second).unwrap();
    daemon.cut().unwrap();
    assert!(daemon.state().stream_cut);
    let short = Duration::from_millis(100);
    assert!(echo::answers(&mut towards, short).is_err() && echo::answers(&mut from, short).is_err());
    assert!(!reaches(&scene.node, PEER, DATABASE_PORT) && !reaches(&scene.peer, NODE, DATABASE_PORT));
    assert!(reaches(&scene.node, PEER, 9999), "only the stream");
    scene.nft("flush ruleset");
    daemon.expect_report(&GateReport::TablesReinstalled);
    assert!(!reaches(&scene.node, PEER, DATABASE_PORT), "still cut after a flush");
    daemon.lift().unwrap();
    assert!(!daemon.state().stream_cut);
    assert!(reaches(&scene.node, PEER, DATABASE_PORT) && reaches(&scene.peer, NODE, DATABASE_PORT));
}

#[test]
fn the_local_fence_needs_nobody() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let (_process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(20));
    let used = use_until_end(client_connection(&scene), Duration::from_secs(3));
    let fence = |only_if_expired| {
        let config = scene.config();
        scene.node.run(move || apd::gate::local_fence(&config, only_if_expired).unwrap())
    };
    assert_eq!(fence(true), apd::gate::Outcome::LeaseLives);
    assert!(daemon.state().open);
    let apd::gate::Outcome::Fenced { network, database } = fence(false) else { panic!("not fenced") };
    assert!(network.is_ok(), "{network:?}");
    assert!(database.is_err(), "there is no server here");
    assert_eq!(used.join().unwrap().error, ErrorKind::ConnectionReset);
    daemon.expect_lease_lost(7);
    assert!(!scene.holds_address() && !daemon.state().open);
    assert!(matches!(fence(true), apd::gate::Outcome::Fenced { .. }), "no lease lives any more");
}

#[test]
fn nothing_is_left_behind() {
    let scene = Scene::new();
    let (mut process, mut daemon) = scene.gate();
    daemon.open(7, Duration::from_secs(20));
    process.kill();
    assert!(scene.nft("list ruleset").contains("apd_51"));
    let config = scene.config();
    scene.node.run(move || apd::gate::remove_everything(&config).unwrap());
    assert_eq!(scene.nft("list ruleset"), "");
    assert!(!scene.holds_address());
}

#[test]
fn a_host_without_nftables_is_told_of_and_still_serves() {
    let scene = Scene::new();
    serve(&scene.node, DATABASE_PORT);
    let process = scene.start_gate_with_path("/nonexistent");
    let mut daemon = process.connect();
    daemon.expect("Degraded", |message| match message {
        FromGate::Report(GateReport::Degraded { reason }) => reason.contains("nftables").then_some(()),
        _ => None,
    });
    daemon.open(7, LEASE);
    assert!(reaches(&scene.client, VIRTUAL, DATABASE_PORT));
    daemon.expect_lease_lost(7);
    assert!(!scene.holds_address());
    assert!(daemon.cut().is_err());
}
