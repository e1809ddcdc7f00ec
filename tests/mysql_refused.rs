//! A MySQL server where a MariaDB should be: said by its name, with what to do, at every place where it is met.
//!
//! MySQL is in no Debian, so that a small server speaks its greeting here, lets everybody in and answers each
//! statement as MySQL answers what it does not know.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/netns.rs"]
mod netns;

use apd::config::checked::{MariaDbEndpoint, Timing};
use apd::decision::words::NodeId;
use apd::io::mariadb::{Database, DatabaseSettings};
use netns::Namespace;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What every client may: protocol 4.1, secure connection, and the name of the method.
const CAPABILITIES: u32 = 0x0008_a200 | 0x8;

fn packet(stream: &mut UnixStream, sequence: u8, body: &[u8]) -> std::io::Result<()> {
    let length = (body.len() as u32).to_le_bytes();
    stream.write_all(&[&length[..3], &[sequence], body].concat())
}

fn read_packet(stream: &mut UnixStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
    stream.read_exact(&mut body)?;
    Ok((head[3], body))
}

fn greeting(version: &str) -> Vec<u8> {
    let [low, high] = [CAPABILITIES as u16, (CAPABILITIES >> 16) as u16].map(u16::to_le_bytes);
    let salt = b"abcdefghijklmnopqrst";
    [
        &[10][..],
        version.as_bytes(),
        &[0, 7, 0, 0, 0],
        &salt[..8],
        &[0],
        &low,
        &[45, 2, 0],
        &high,
        &[21],
        &[0; 10],
        &salt[8..],
        &[0],
        b"mysql_native_password\0",
    ]
    .concat()
}

fn serve(mut stream: UnixStream, version: &str) -> std::io::Result<()> {
    const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
    packet(&mut stream, 0, &greeting(version))?;
    let (sequence, _who) = read_packet(&mut stream)?;
    packet(&mut stream, sequence + 1, OK)?;
    loop {
        let (sequence, asked) = read_packet(&mut stream)?;
        match asked.first() {
            Some(1) | None => return Ok(()),
            Some(3) => {
                let text = b"\xff\xa9\x04#HY000Unknown system variable 'max_statement_time'";
                packet(&mut stream, sequence + 1, text)?;
            }
            Some(_) => packet(&mut stream, sequence + 1, OK)?,
        }
    }
}

/// Serves until the test process ends.
fn start(socket: &Path, version: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            // A client that goes away is its own affair.
            std::thread::spawn(move || drop(serve(stream, version)));
        }
    });
}

/// What the daemon's watch says of such a server.
async fn reported(socket: &Path) -> String {
    let settings = DatabaseSettings {
        node: NodeId(1),
        endpoint: MariaDbEndpoint::Socket(socket.to_owned()),
        peer: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9),
        user: "apd".into(),
        password: None,
        replication_user: "apd_repl".into(),
        replication_password: None,
        schema: "apd".into(),
        tls_ca_file: None,
        tls_required: false,
    };
    let database = Arc::new(Database::connect(settings));
    let (sender, mut reports) = mpsc::channel(8);
    let (_heartbeat, epochs) = watch::channel(None);
    let every = Duration::from_millis(50);
    let timing = Timing { interval: every, timeout: Duration::from_secs(5), rise: 1, fall: 2 };
    let (_kept, timings) = tokio::sync::watch::channel(timing);
    let task = tokio::spawn(database.watch(timings, sender, epochs, every));
    let report = tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.unwrap().unwrap();
    task.abort();
    assert!(!report.reachable && !report.writable, "{report:?}");
    report.detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_60_mysql_is_refused_by_its_name() {
    for version in ["5.7.21", "8.0.36-0ubuntu0.22.04.1", "9.1.0"] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("mysqld.sock");
        start(&socket, version);
        let detail = reported(&socket).await;
        let number = version.split('-').next().unwrap();
        for part in [&format!("the server is MySQL {number}"), "MariaDB 10.5 or newer", "dump"] {
            assert!(detail.contains(part), "{part:?} in {detail:?}");
        }
        let bootstrap = bootstrap(folder.path(), &socket);
        assert!(bootstrap.contains(&format!("the server is MySQL {number}")), "{bootstrap}");
    }
}

/// `apctl bootstrap` on the same server.
fn bootstrap(folder: &Path, socket: &Path) -> String {
    let file = folder.join("apd.toml");
    let text = format!(
        "[cluster]\nname = \"shop\"\nprotection = \"vrrp\"\n[nodes.db1]\naddress = \"192.168.33.101\"\n\
         [nodes.db2]\naddress = \"192.168.33.102\"\n[node]\nname = \"db1\"\n[mariadb]\nuser = \"apd\"\n\
         socket = \"{}\"\npassword_file = \"{}\"\nreplication_password_file = \"{}\"\n",
        socket.display(),
        folder.join("apd.password").display(),
        folder.join("replication.password").display(),
    );
    std::fs::write(&file, text).unwrap();
    // A host that has the node's address.
    let host = Namespace::new("r160");
    host.ip("link add eth0 type bridge");
    host.ip("link set eth0 up");
    host.ip("addr add 192.168.33.101/24 dev eth0");
    let output = host
        .command(env!("CARGO_BIN_EXE_apctl"))
        .args(["--config", file.to_str().unwrap(), "bootstrap", "--yes"])
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}
