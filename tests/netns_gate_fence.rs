//! What the gate process does to a real server when a lease is lost, and what it does not do.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/mariadb.rs"]
mod mariadb;
#[path = "support/netns.rs"]
mod netns;

use apd::io::mariadb::session::Session;
use apd::wire::gate::FromGate;
use gate::*;
use mariadb::{Server, attempt, run};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Not a test: the gate process that the others start.
#[test]
#[ignore = "started by the other tests"]
fn gate_process() {
    run_gate_if_told();
}

/// A writable server where the node's configuration looks for it, with a client in it.
fn server(scene: &Scene, runtime: &Runtime) -> (Server, Session) {
    runtime.block_on(async {
        let server = Server::start(1).await;
        std::os::unix::fs::symlink(server.socket(), scene.directory.path().join("mysqld.sock")).unwrap();
        let setup = "SET GLOBAL read_only = OFF; CREATE DATABASE shop;
            CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT) ENGINE = InnoDB;
            CREATE USER app@localhost IDENTIFIED BY 'app'; GRANT ALL ON shop.* TO app@localhost";
        server.sql(setup).await;
        let mut client = server.session("app", "app").await;
        run(&mut client, "BEGIN; INSERT INTO shop.orders VALUES (NULL)").await;
        (server, client)
    })
}

fn expect_fenced(daemon: &mut Daemon, number: u64) -> Option<String> {
    daemon.expect_within("DatabaseFenced", Duration::from_secs(15), |message| match message {
        FromGate::DatabaseFenced { epoch, error } if epoch.number == number => Some(error.clone()),
        _ => None,
    })
}

#[test]
fn a_lost_lease_makes_the_database_read_only_and_ends_sessions() {
    let scene = Scene::new();
    let runtime = Runtime::new().unwrap();
    let (server, mut client) = server(&scene, &runtime);
    let (process, mut daemon) = scene.gate();
    daemon.open(7, LEASE);
    // The daemon's end alone is no reason.
    drop(daemon);
    std::thread::sleep(LEASE / 2);
    assert_eq!(runtime.block_on(server.value("@@global.read_only")), "0");
    let mut daemon = process.connect();
    let begun = Instant::now();
    assert_eq!(expect_fenced(&mut daemon, 7), None);
    println!("fenced {:?} after it connected again", begun.elapsed());
    assert_eq!(runtime.block_on(server.value("@@global.read_only")), "1");
    let ended = runtime.block_on(attempt(&mut client, "COMMIT"));
    assert!(ended.is_err(), "the session that wrote before was ended: {ended:?}");
    assert_eq!(runtime.block_on(server.value("SELECT COUNT(*) FROM shop.orders")), "0");
}

#[test]
fn an_orderly_close_leaves_the_database_to_the_daemon() {
    let scene = Scene::new();
    let runtime = Runtime::new().unwrap();
    let (server, mut client) = server(&scene, &runtime);
    let (_process, mut daemon) = scene.gate();
    daemon.open(7, LEASE);
    daemon.close().unwrap();
    assert!(daemon.next(LEASE * 2).is_none(), "nothing to tell");
    assert_eq!(runtime.block_on(server.value("@@global.read_only")), "0");
    runtime.block_on(attempt(&mut client, "COMMIT")).expect("a local session is nobody's client");
}

#[test]
fn the_local_fence_makes_it_read_only_without_a_gate_process() {
    let scene = Scene::new();
    let runtime = Runtime::new().unwrap();
    let (server, _client) = server(&scene, &runtime);
    let config = scene.config();
    let outcome = scene.node.run(move || apd::gate::local_fence(&config, true).unwrap());
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(runtime.block_on(server.value("@@global.read_only")), "1");
}
