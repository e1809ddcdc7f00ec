//! HTTP with TLS, as configured: reads are open, changes need the token or a certificate that the CA has signed.

use super::control::{Daemon, Setup, TOKEN, alone_at, boot_clock, frozen_clock, standby_at};
use super::http::{Reply, exchange, get, request, tcp};
use apd::config::{Interface, Loaded, Sources, load};
use apd::decision::words::Role;
use apd::wire::control::NodeState;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

/// A host whose configuration ends in these lines, loaded as the daemon loads it.
fn loaded(lines: &str) -> (TempDir, Loaded) {
    loaded_with("", lines)
}

/// With `of_db2` in the table of the other node.
fn loaded_with(of_db2: &str, lines: &str) -> (TempDir, Loaded) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("etc/apd");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["server.pem", "server.key", "authority.pem"] {
        std::fs::copy(data(name), folder.join(name)).unwrap();
    }
    let main = "[cluster]\nname = \"shop\"\n[nodes.db1]\naddress = \"192.168.33.101\"\n\
                [gateway]\ntargets = [\"192.168.33.1\"]\n[nodes.db2]\naddress = \"192.168.33.102\"\n";
    std::fs::write(folder.join("apd.toml"), format!("{main}{of_db2}\n{lines}\n")).unwrap();
    let sources = Sources {
        main_file: folder.join("apd.toml"),
        environment: Vec::new(),
        flags: Vec::new(),
        hostname: "db1".into(),
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: vec![("192.168.33.101".parse().unwrap(), 24)],
        }],
        default_route: None,
        root: root.path().to_owned(),
        secrets_required: true,
    };
    let loaded = load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    (root, loaded)
}

const TLS: &str = "[http]\ntls = { cert_file = \"/etc/apd/server.pem\", key_file = \"/etc/apd/server.key\", \
                   client_ca_file = \"/etc/apd/authority.pem\" }";

fn daemon(token: Option<&'static str>) -> Daemon {
    let (_root, loaded) = loaded(TLS);
    let tls = loaded.config.http.tls;
    assert!(tls.is_some());
    Daemon::start(Setup { token, tls, ..Setup::default() })
}

/// A client that trusts the CA of the tests, with a certificate of its own where one is named.
fn client(certificate: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(data("authority.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match certificate {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(data(&format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(data(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(daemon: &Daemon, client: Arc<ClientConfig>) -> Stream {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(daemon.http_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(ClientConnection::new(client, name).unwrap(), stream)
}

fn ask(
    daemon: &Daemon,
    certificate: Option<&str>,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Reply {
    exchange(connect(daemon, client(certificate)), &request(method, path, headers, body))
}

#[test]
fn reads_are_open_and_changes_need_a_certificate_or_the_token() {
    let daemon = daemon(Some(TOKEN));
    assert_eq!(ask(&daemon, None, "GET", "/primary", "", "").status, 200);
    let body = r#"{"reason":"test"}"#;
    ask(&daemon, None, "POST", "/switchover", "", body).problem(401, "E_NOT_PERMITTED");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(&daemon, None, "POST", "/switchover", &bearer, body).status, 202);
    assert_eq!(ask(&daemon, Some("client"), "POST", "/clear", "", "").status, 202);
    let stale = ask(&daemon, Some("client"), "POST", "/clear", "If-Match: \"6\"\r\n", "");
    stale.problem(412, "E_EPOCH_CHANGED");
    super::control::until("both have been asked", || (daemon.asked.lock().unwrap().len() == 2).then_some(()));
    let asked = daemon.asked.lock().unwrap();
    assert_eq!(asked[0].actor, "http 127.0.0.1");
    let digest = asked[1].actor.strip_prefix("http 127.0.0.1 certificate ").unwrap();
    assert!(digest.len() == 32 && digest.bytes().all(|digit| digit.is_ascii_hexdigit()), "{digest}");
}

#[test]
fn without_a_token_a_certificate_alone_may_change_things() {
    let daemon = daemon(None);
    ask(&daemon, None, "POST", "/clear", "", "").problem(403, "E_NOT_PERMITTED");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    ask(&daemon, None, "POST", "/clear", &bearer, "").problem(403, "E_NOT_PERMITTED");
    assert_eq!(ask(&daemon, Some("client"), "POST", "/clear?wait=5s", "", "").status, 200);
}

#[test]
fn a_certificate_of_somebody_else_and_a_client_without_tls_are_turned_away() {
    let daemon = daemon(Some(TOKEN));
    let mut stream = connect(&daemon, client(Some("foreign")));
    let sent = stream.write_all(request("POST", "/clear", "", "").as_bytes());
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() && (sent.is_err() || read.is_err()), "{sent:?} {read:?} {answer}");
    let mut plain = TcpStream::connect(daemon.http_address()).unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    plain.write_all(request("POST", "/clear", &bearer, "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Closed, or an alert: in any case no answer.
    plain.read_to_end(&mut answer).ok();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "{answer:?}");
    assert!(daemon.asked.lock().unwrap().is_empty());
    assert_eq!(ask(&daemon, None, "GET", "/liveness", "", "").status, 200);
}

/// Half-begun connections of all kinds: each is closed in time, and nobody else waits for it.
#[test]
fn slow_clients_hold_nobody_up() {
    for daemon in [daemon(None), Daemon::start(Setup { clock: boot_clock, ..Setup::default() })] {
        let mut idle: Vec<TcpStream> =
            (0..40).map(|_| TcpStream::connect(daemon.http_address()).unwrap()).collect();
        let mut half: Vec<TcpStream> = (0..20)
            .map(|_| {
                let mut stream = TcpStream::connect(daemon.http_address()).unwrap();
                stream.write_all(b"\x16\x03\x01GET /prim").unwrap();
                stream
            })
            .collect();
        // The control socket, which operators use, has places of its own.
        let begun = Instant::now();
        let reply = super::http::socket(&daemon, "GET", "/liveness", "", "");
        assert_eq!(reply.headers["content-type"], "application/json");
        // The server leaves them no sooner.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        for stream in idle.iter_mut().chain(&mut half) {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut rest = Vec::new();
            // Closed or reset, but within the server's limit.
            let ended = stream.read_to_end(&mut rest);
            let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!timed_out, "a silent connection is kept");
        }
    }
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let daemon = Daemon::start(Setup::default());
    let headers = format!("X-Long: {}\r\n", "x".repeat(200_000));
    let mut stream = TcpStream::connect(daemon.http_address()).unwrap();
    // The server may close before all of it is sent.
    stream.write_all(request("GET", "/status", &headers, "").as_bytes()).ok();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    assert!(read.is_err() || &answer == b"HTTP/1.1 431", "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(get(&daemon, "/status").status, 200);
}

/// The client's table: it moves only if its own node does not serve and the other one does.
#[test]
fn r3_25_clients_are_sent_to_the_other_node_only_if_it_serves() {
    let url = "https://db2.example.com/scada".to_owned();
    let daemon = Daemon::start(Setup { peer_url: url.clone(), ..Setup::default() });
    let redirect = || tcp(&daemon, "GET", "/redirect", "", "");
    assert_eq!(redirect().status, 200, "this node serves: stay");
    let mut standby = standby_at(frozen_clock());
    daemon.snapshots.send_replace(Arc::new(standby.clone()));
    let reply = redirect();
    assert_eq!((reply.status, reply.headers.get("location")), (307, Some(&url)), "{reply:?}");
    assert!(reply.body.contains("the role is standby"), "{reply:?}");
    // In maintenance it is silent for clients, and sends them on all the same.
    standby.status.node.role = Role::Out;
    daemon.snapshots.send_replace(Arc::new(standby.clone()));
    assert_eq!(redirect().status, 307);
    // The other one is known, and neither running nor heard.
    for (state, connected) in [
        (NodeState::Standby, true),
        (NodeState::Faulted, true),
        (NodeState::Disconnected, false),
        (NodeState::Running, false),
    ] {
        standby.status.peer.state = state;
        standby.status.peer.connected = connected;
        daemon.snapshots.send_replace(Arc::new(standby.clone()));
        let reply = redirect();
        assert_eq!((reply.status, reply.headers.get("location")), (503, None), "{state:?}: {reply:?}");
    }
    // Alone and serving: nobody to be sent to, and nobody need go.
    daemon.snapshots.send_replace(Arc::new(alone_at(frozen_clock())));
    assert_eq!(redirect().status, 200);
}

#[test]
fn r3_26_a_public_address_is_preferred() {
    let (_root, plain) = loaded("");
    assert_eq!(plain.config.http.peer_url, "http://192.168.33.102:7410/redirect");
    let (_root, secure) = loaded(TLS);
    assert_eq!(secure.config.http.peer_url, "https://192.168.33.102:7410/redirect");
    let (_root, public) = loaded_with("public_url = \"https://db2.example.com/\"", TLS);
    assert_eq!(public.config.http.peer_url, "https://db2.example.com/");
}
