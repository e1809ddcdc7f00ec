//! The HTTP prober against a small real server that answers well, badly, late, or not at all.

use crate::netns::Namespace;
use crate::{LIMIT, run, soon};
use apd::config::checked::{Check, HttpProbe, Probe, Timing};
use apd::decision::event::CheckReport;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Long enough that no regular probe falls into the test.
const NEVER: Duration = Duration::from_secs(3600);

/// A server of blocking threads. `kill` is what a killed process looks like from outside.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: Mutex<Vec<TcpStream>>,
    accepted: AtomicU32,
    requests: Mutex<Vec<String>>,
    dead: AtomicBool,
    /// Answer `GET /switch` with 500, and that the database is gone at `GET /json`.
    broken: AtomicBool,
}

impl Server {
    fn start(node: &Namespace) -> Self {
        let listener = node.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("loopback is up");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let inner = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.dead.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { return };
                inner.accepted.fetch_add(1, Ordering::SeqCst);
                inner.connections.lock().expect("no panic").push(stream.try_clone().expect("cloned"));
                let inner = Arc::clone(&inner);
                thread::spawn(move || serve(&stream, &inner));
            }
        });
        Self { address, shared }
    }

    fn accepted(&self) -> u32 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// The listener goes first, so that whoever sees a connection close finds nobody.
    fn kill(&self, node: &Namespace) {
        self.shared.dead.store(true, Ordering::SeqCst);
        let _wake = node.inside(|| TcpStream::connect(self.address));
        let start = Instant::now();
        while node.inside(|| TcpStream::connect(self.address)).is_ok() {
            assert!(start.elapsed() < LIMIT, "the listener closes");
        }
        for connection in self.shared.connections.lock().expect("no panic").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if reader.read_line(&mut request).ok()? == 0 {
                return None;
            }
        }
        shared.requests.lock().expect("no panic").push(request.clone());
        let path = request.split_whitespace().nth(1)?;
        let (status, extra, body) = match path {
            "/500" => ("500 Internal Server Error", "", String::new()),
            "/204" => ("204 No Content", "", String::new()),
            "/switch" if shared.broken.load(Ordering::SeqCst) => ("500 Broken", "", String::new()),
            "/json" if shared.broken.load(Ordering::SeqCst) => {
                ("200 OK", "", r#"{"status":{"database":"gone"}}"#.to_owned())
            }
            "/json" => ("200 OK", "", r#"{"status":{"database":"up","lag":0}}"#.to_owned()),
            "/big" => ("200 OK", "", "x".repeat(1 << 20)),
            "/close" | "/rude" => ("200 OK", "Connection: close\r\n", String::new()),
            "/hang" => {
                thread::sleep(NEVER);
                return None;
            }
            "/slow" => {
                // A first line in time, and the rest never: the deadline is for the whole.
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
                stream.write_all(head.as_bytes()).ok()?;
                while stream.write_all(b".").is_ok() {
                    thread::sleep(Duration::from_millis(20));
                }
                return None;
            }
            "/garbage" => {
                stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").ok()?;
                return None;
            }
            _ => ("200 OK", "", "all is well".to_owned()),
        };
        let extra = if path == "/rude" { "" } else { extra };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{extra}Content-Length: {length}\r\n\r\n");
        stream.write_all(answer.as_bytes()).ok()?;
        if !request.starts_with("HEAD") {
            stream.write_all(body.as_bytes()).ok()?;
        }
        if path == "/close" || path == "/rude" {
            stream.shutdown(Shutdown::Both).ok()?;
        }
    }
}

fn check(server: SocketAddr, path: &str, interval: Duration, timeout: Duration) -> Check {
    Check {
        name: "api".to_owned(),
        timing: Timing { interval, timeout, rise: 2, fall: 3 },
        weight: 0,
        on_active: true,
        on_standby: true,
        probe: Probe::Http(HttpProbe {
            host: server.ip().to_string(),
            port: server.port(),
            path: path.to_owned(),
            method: "GET".to_owned(),
            status: vec![200],
            body_contains: None,
            json: None,
            host_header: None,
            tls: None,
        }),
    }
}

/// Starts a prober on this test's runtime. Its sockets are made later, so the whole test is in the namespace.
fn start(check: Check) -> mpsc::Receiver<CheckReport> {
    let (sink, reports) = mpsc::channel(64);
    tokio::spawn(apd::io::check::run(check, sink));
    reports
}

async fn next(reports: &mut mpsc::Receiver<CheckReport>) -> CheckReport {
    soon("a report", reports.recv()).await.expect("the prober runs")
}

/// One probe of `path`, with a change to the check.
async fn once(server: &Server, path: &str, change: impl FnOnce(&mut HttpProbe)) -> CheckReport {
    let mut check = check(server.address, path, NEVER, LIMIT);
    let Probe::Http(probe) = &mut check.probe else { unreachable!("made above") };
    change(probe);
    next(&mut start(check)).await
}

fn in_namespace(label: &str, test: impl AsyncFnOnce(&Namespace) + Send) {
    let node = Namespace::new(label);
    node.run(|| run(test(&node)));
}

#[test]
fn what_is_asked_for_decides() {
    in_namespace("judge", async |node| {
        let server = Server::start(node);
        let server = &server;
        let passes = async |path, change: fn(&mut HttpProbe)| {
            let report = once(server, path, change).await;
            assert!(report.passed, "{path}: {report:?}");
            assert_eq!(report.name, "api");
        };
        passes("/", |_| {}).await;
        passes("/", |probe| probe.body_contains = Some("is well".to_owned())).await;
        passes("/204", |probe| probe.status = vec![200, 204]).await;
        passes("/json", |probe| probe.json = Some(("/status/database".to_owned(), json!("up")))).await;
        passes("/json", |probe| probe.json = Some(("/status/lag".to_owned(), json!(0)))).await;
        passes("/", |probe| probe.method = "HEAD".to_owned()).await;
        passes("/big", |_| {}).await;

        let fails = async |path, words: &str, change: fn(&mut HttpProbe)| {
            let report = once(server, path, change).await;
            assert!(!report.passed && !report.certain, "{path}: {report:?}");
            assert!(report.detail.contains(words), "{path}: {report:?}");
        };
        fails("/500", "status 500", |_| {}).await;
        fails("/", "status 200", |probe| probe.status = vec![204]).await;
        fails("/", "does not contain \"sick\"", |probe| probe.body_contains = Some("sick".to_owned())).await;
        fails("/", "not JSON", |probe| probe.json = Some(("/status".to_owned(), json!("up")))).await;
        fails("/json", "\"up\" at /status/database instead of \"down\"", |probe| {
            probe.json = Some(("/status/database".to_owned(), json!("down")));
        })
        .await;
        fails("/json", "nothing at /status/queue", |probe| {
            probe.json = Some(("/status/queue".to_owned(), json!("up")));
        })
        .await;
        fails("/big", "longer than 64 KiB", |probe| probe.body_contains = Some("x".to_owned())).await;
        fails("/garbage", "connection failed", |_| {}).await;
    });
}

#[test]
fn no_answer_by_the_deadline_is_a_failure() {
    in_namespace("late", async |node| {
        let server = Server::start(node);
        let timeout = Duration::from_millis(150);
        for path in ["/hang", "/slow"] {
            let report = next(&mut start(check(server.address, path, NEVER, timeout))).await;
            assert!(!report.passed && !report.certain, "{path}: {report:?}");
            assert_eq!(report.detail, "no answer within 150ms");
            assert!(report.took >= timeout && report.took < LIMIT / 2, "{path}: {report:?}");
        }
        // A host that swallows the connection attempt, as one that is off does.
        node.ip("link add veth0 type veth peer name veth1");
        node.ip("link set veth0 up");
        node.ip("link set veth1 up");
        node.ip("addr add 10.67.0.1/24 dev veth0");
        let nobody = SocketAddr::from(([10, 67, 0, 9], 80));
        let report = next(&mut start(check(nobody, "/", NEVER, timeout))).await;
        assert!(!report.passed && !report.certain, "{report:?}");
        assert_eq!(report.detail, "no answer within 150ms");
    });
}

#[test]
fn nobody_listening_is_certain() {
    in_namespace("refused", async |node| {
        let server = Server::start(node);
        server.kill(node);
        let report = next(&mut start(check(server.address, "/", NEVER, LIMIT))).await;
        assert!(!report.passed && report.certain, "{report:?}");
        assert!(report.took < LIMIT / 2);
    });
}

#[test]
fn one_connection_is_kept_and_its_headers_are_right() {
    in_namespace("kept", async |node| {
        let server = Server::start(node);
        let mut reports = start(check(server.address, "/health?deep=1", Duration::from_millis(20), LIMIT));
        for _ in 0..5 {
            assert!(next(&mut reports).await.passed);
        }
        assert_eq!(server.accepted(), 1);
        let request = server.shared.requests.lock().expect("no panic")[0].to_lowercase();
        assert!(request.starts_with("get /health?deep=1 http/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: {}\r\n", server.address)), "{request}");
        assert!(request.contains("\r\nuser-agent: apd/"), "{request}");
    });
}

#[test]
fn a_configured_host_header_is_sent() {
    in_namespace("host", async |node| {
        let server = Server::start(node);
        let report = once(&server, "/", |probe| probe.host_header = Some("shop.example".to_owned())).await;
        assert!(report.passed);
        let request = server.shared.requests.lock().expect("no panic")[0].to_lowercase();
        assert!(request.contains("\r\nhost: shop.example\r\n"), "{request}");
    });
}

#[test]
fn a_process_that_dies_is_noticed_long_before_the_next_probe() {
    in_namespace("death", async |node| {
        let server = Server::start(node);
        let interval = Duration::from_secs(8);
        let mut reports = start(check(server.address, "/", interval, LIMIT));
        assert!(next(&mut reports).await.passed);
        assert!(next(&mut reports).await.passed);
        server.kill(node);
        let start = Instant::now();
        let report = next(&mut reports).await;
        assert!(!report.passed && report.certain, "{report:?}");
        assert!(start.elapsed() < interval / 2, "after {:?}", start.elapsed());
    });
}

#[test]
fn while_failures_are_counted_it_asks_again_soon_and_then_no_longer() {
    in_namespace("recount", async |node| {
        let server = Server::start(node);
        let interval = Duration::from_secs(6);
        let begin = Instant::now();
        let mut reports = start(check(server.address, "/500", interval, LIMIT));
        // fall = 3: the second and the third come after 100 ms each.
        for _ in 0..3 {
            assert!(!next(&mut reports).await.passed);
        }
        assert!(begin.elapsed() < interval, "after {:?}", begin.elapsed());
        assert!(begin.elapsed() >= Duration::from_millis(200));
        let counted = Instant::now();
        assert!(!next(&mut reports).await.passed);
        assert!(counted.elapsed() >= interval / 2, "after {:?}", counted.elapsed());
    });
}

#[test]
fn a_service_that_recovers_is_seen_at_the_regular_interval() {
    in_namespace("recover", async |node| {
        let server = Server::start(node);
        let mut reports = start(check(server.address, "/switch", Duration::from_millis(20), LIMIT));
        assert!(next(&mut reports).await.passed);
        server.shared.broken.store(true, Ordering::SeqCst);
        while next(&mut reports).await.passed {}
        server.shared.broken.store(false, Ordering::SeqCst);
        while !next(&mut reports).await.passed {}
    });
}

/// The service itself is alive and answers 200; what it says of its database decides.
#[test]
fn r1_80_a_living_api_with_a_dead_database_fails_its_check() {
    in_namespace("r1-80", async |node| {
        let server = Server::start(node);
        let mut check = check(server.address, "/json", Duration::from_millis(20), LIMIT);
        let Probe::Http(probe) = &mut check.probe else { unreachable!("made above") };
        probe.json = Some(("/status/database".to_owned(), json!("up")));
        let mut reports = start(check);
        assert!(next(&mut reports).await.passed);
        server.shared.broken.store(true, Ordering::SeqCst);
        let report = loop {
            let report = next(&mut reports).await;
            if !report.passed {
                break report;
            }
        };
        assert!(report.detail.contains("\"gone\" at /status/database"), "{report:?}");
    });
}

#[test]
fn a_server_that_closes_after_each_answer_is_not_asked_more_often() {
    in_namespace("close", async |node| {
        let server = Server::start(node);
        let interval = Duration::from_millis(200);
        for path in ["/close", "/rude"] {
            let begin = Instant::now();
            let mut reports = start(check(server.address, path, interval, LIMIT));
            for _ in 0..4 {
                let report = next(&mut reports).await;
                assert!(report.passed, "{path}: {report:?}");
            }
            assert!(begin.elapsed() >= 3 * interval, "{path}: four probes in {:?}", begin.elapsed());
        }
    });
}

#[test]
fn it_ends_when_nobody_listens_to_its_reports() {
    in_namespace("ends", async |node| {
        let server = Server::start(node);
        let (sink, mut reports) = mpsc::channel(1);
        let prober = tokio::spawn(apd::io::check::run(check(server.address, "/", NEVER, LIMIT), sink));
        assert!(next(&mut reports).await.passed);
        drop(reports);
        soon("the end of the prober", prober).await.expect("no panic");
    });
}
