//! `GET /events`: what a client is told, when, and what becomes of one that does not listen.

use super::control::{Daemon, Setup, active_at, frozen_clock, standby_at, until};
use super::http::{get, socket, tcp};
use apd::decision::code::Code;
use apd::decision::time::Instant;
use apd::decision::why::Why;
use apd::io::journal::Entry;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// One event as it stands on the wire.
#[derive(Debug, Default)]
struct Told {
    id: Option<i64>,
    name: String,
    data: Value,
}

/// A client that reads the wire by itself. HTTP/1.0, so that nothing stands between the lines.
struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn open(daemon: &Daemon, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(daemon.http_address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: apd\r\n{headers}\r\n").unwrap();
        let mut client = Self { lines: BufReader::new(stream) };
        let head: Vec<String> =
            std::iter::from_fn(|| Some(client.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains("200"), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        client
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ended");
        line.trim_end().to_owned()
    }

    /// The next event; comments and the time to wait are passed over.
    fn next(&mut self) -> Told {
        let mut told = Told::default();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some(("id", id)) => told.id = Some(id.parse().unwrap()),
                Some(("event", name)) => name.clone_into(&mut told.name),
                Some(("data", data)) => told.data = serde_json::from_str(data).unwrap(),
                Some(("retry", milliseconds)) => assert!(milliseconds.parse::<u32>().unwrap() > 0),
                None if line.is_empty() && !told.name.is_empty() => return told,
                None if line.is_empty() || line == ":" => {}
                _ => panic!("no line of an event: {line}"),
            }
        }
    }

    fn next_named(&mut self, name: &str) -> Told {
        loop {
            let told = self.next();
            if told.name == name {
                return told;
            }
        }
    }
}

fn decide(daemon: &Daemon, text: &str) {
    daemon.journal.record(Entry::decision(Instant(1), 7, &Why::new(Code::PeerSilent, text)));
    assert!(daemon.block_on(daemon.journal.flush(Duration::from_secs(10))), "the journal is written");
}

#[test]
fn a_client_is_told_of_each_change_of_the_pair_and_each_decision() {
    let daemon = Daemon::start(Setup::default());
    decide(&daemon, "before the client came");
    let mut client = Client::open(&daemon, "/events", "");
    let state = client.next();
    assert_eq!((state.name.as_str(), state.id), ("state", None));
    assert_eq!(state.data, get(&daemon, "/cluster").json());
    assert_eq!(state.data["active"], "db1");
    // What grows older is no change: the next state is the other role.
    daemon.snapshots.send_replace(Arc::new(active_at(frozen_clock())));
    daemon.snapshots.send_replace(Arc::new(standby_at(frozen_clock())));
    let state = client.next();
    assert_eq!((state.name.as_str(), &state.data["active"]), ("state", &Value::from("db1")));
    assert_eq!(state.data["nodes"][0]["role"], "standby");
    decide(&daemon, "a line\nand another: \"db1\"");
    let told = client.next();
    assert_eq!(
        (told.name.as_str(), &told.data["text"]),
        ("decision", &Value::from("a line\nand another: \"db1\""))
    );
    assert_eq!(told.data["code"], "peer.silent");
    assert_eq!(told.id, told.data["id"].as_i64());
    assert!(told.id > Some(1), "what was before is not told: {told:?}");
}

#[test]
fn a_client_that_comes_back_misses_nothing() {
    let daemon = Daemon::start(Setup::default());
    for number in 0..100 {
        decide(&daemon, &format!("decision {number}"));
    }
    daemon.journal.record(Entry::event(Instant(2), 7, "peer.heard", "no decision"));
    decide(&daemon, "decision 100");
    let mut client = Client::open(&daemon, "/events", "Last-Event-ID: 40\r\n");
    let told: Vec<Told> = (0..61).map(|_| client.next_named("decision")).collect();
    let texts: Vec<String> = told.iter().map(|told| told.data["text"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (40..=100).map(|number| format!("decision {number}")).collect();
    assert_eq!(texts, expected);
    assert!(told.windows(2).all(|pair| pair[0].id < pair[1].id), "in order");
    // The same by the address, and with every kind of entry.
    let mut client = Client::open(&daemon, "/events?after=99&kinds=all", "");
    assert_eq!(client.next_named("decision").data["text"], "decision 99");
    assert_eq!(client.next_named("event").data["text"], "no decision");
    assert_eq!(client.next_named("decision").data["text"], "decision 100");
    // One whose journal was begun anew is told the new one.
    let mut client = Client::open(&daemon, "/events?after=100000", "");
    assert_eq!(client.next_named("decision").data["text"], "decision 0");
}

#[test]
fn the_state_is_told_while_the_journal_cannot_be_read() {
    let daemon = Daemon::start(Setup::default());
    decide(&daemon, "written");
    for end in ["", "-wal", "-shm"] {
        std::fs::remove_file(daemon.folder.path().join(format!("journal.db{end}"))).ok();
    }
    std::fs::create_dir(daemon.folder.path().join("journal.db")).unwrap();
    let mut client = Client::open(&daemon, "/events?after=0", "");
    assert_eq!(client.next().name, "state");
    daemon.snapshots.send_replace(Arc::new(standby_at(frozen_clock())));
    assert_eq!(client.next().data["nodes"][0]["role"], "standby");
}

#[test]
fn silence_is_broken_by_comments_and_a_head_has_no_body() {
    let daemon = Daemon::start(Setup::default());
    let head = tcp(&daemon, "HEAD", "/events", "", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.headers["content-type"], "text/event-stream");
    get(&daemon, "/events?kinds=everything").problem(400, "E_USAGE");
    tcp(&daemon, "GET", "/events", "Last-Event-ID: soon\r\n", "").problem(400, "E_USAGE");
    tcp(&daemon, "POST", "/events", "", "").problem(405, "E_METHOD");
    let mut client = Client::open(&daemon, "/events", "");
    assert_eq!(client.next().name, "state");
    let silent = std::time::Instant::now();
    assert_eq!(client.line(), ":");
    assert!(silent.elapsed() > Duration::from_secs(5), "a comment after {:?}", silent.elapsed());
}

#[test]
fn clients_are_counted_and_others_are_served_beside_them() {
    let daemon = Daemon::start(Setup::default());
    let mut clients: Vec<Client> = (0..16).map(|_| Client::open(&daemon, "/events", "")).collect();
    get(&daemon, "/events").problem(503, "E_BUSY");
    // Both ways in stay open for everything else.
    assert_eq!(get(&daemon, "/primary").status, 200);
    assert_eq!(socket(&daemon, "GET", "/status", "", "").status, 200);
    assert!(clients.iter_mut().all(|client| client.next().name == "state"));
    // A place is free once a client has gone.
    drop(clients.pop());
    until("a place is free", || {
        let mut stream = TcpStream::connect(daemon.http_address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /events HTTP/1.0\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (&head == b"HTTP/1.0 200").then_some(())
    });
}

#[test]
fn a_client_that_reads_nothing_is_left_and_its_place_is_free_again() {
    let daemon = Daemon::start(Setup::default());
    // Far more than the buffers of the kernel hold.
    let text = "x".repeat(4000);
    for _ in 0..300 {
        daemon.journal.record(Entry::decision(Instant(1), 7, &Why::new(Code::PeerSilent, &text)));
    }
    assert!(daemon.block_on(daemon.journal.flush(Duration::from_secs(10))));
    let deaf: Vec<UnixStream> = (0..16)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            write!(stream, "GET /events?after=0 HTTP/1.0\r\n\r\n").unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.0 200");
            stream
        })
        .collect();
    get(&daemon, "/events").problem(503, "E_BUSY");
    // They are left within the server's patience; nobody waits for them.
    let begun = std::time::Instant::now();
    let mut served = 0;
    loop {
        assert_eq!(get(&daemon, "/primary").status, 200);
        served += 1;
        let mut stream = TcpStream::connect(daemon.http_address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /events HTTP/1.0\r\n\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        if &head == b"HTTP/1.0 200" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "deaf clients keep their places");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(served > 1 && begun.elapsed() > Duration::from_secs(5), "{served} in {:?}", begun.elapsed());
    drop(deaf);
}
