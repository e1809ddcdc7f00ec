//! Checks over TLS: whose certificate is believed, and what is said when it is not.

use crate::netns::Namespace;
use crate::{LIMIT, run, soon};
use apd::config::checked::{CertificateTrust, Check, HttpProbe, Probe, Timing};
use apd::decision::event::CheckReport;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// An authority, and a server that it has certified for these names.
struct Certified {
    authority: String,
    server: ServerConfig,
}

fn certified(names: &[&str]) -> Certified {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate =
        CertificateParams::new(names).expect("names").signed_by(&key, &authority).expect("signed");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has both versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("key and certificate belong together");
    Certified { authority: authority.pem(), server }
}

/// Serves 200 to whoever shakes hands; its port.
async fn serve(server: ServerConfig) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is up");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 1024];
                while let Ok(1..) = stream.read(&mut request).await {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

async fn ask(port: u16, ca_file: Option<PathBuf>, verify: bool, host: Option<&str>) -> CheckReport {
    let probe = Probe::Http(HttpProbe {
        host: "127.0.0.1".into(),
        port,
        path: "/".into(),
        method: "GET".into(),
        status: vec![200],
        body_contains: None,
        json: None,
        host_header: host.map(Into::into),
        tls: Some(CertificateTrust { ca_file, verify }),
    });
    let timing = Timing { interval: Duration::from_secs(3600), timeout: LIMIT, rise: 1, fall: 1 };
    let check = Check { name: "api".into(), timing, weight: 0, on_active: true, on_standby: true, probe };
    let (sink, mut reports) = mpsc::channel(1);
    tokio::spawn(apd::io::check::run(check, sink));
    soon("a report", reports.recv()).await.expect("the runner goes on")
}

#[test]
fn r0_08_a_certificate_is_believed_when_its_authority_is_and_it_is_for_this_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Namespace::new("tls");
    node.run(|| {
        run(async {
            let Certified { authority, server } = certified(&["127.0.0.1", "shop.example"]);
            let port = serve(server).await;
            let write = |name: &str, text: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).expect("a temporary folder takes files");
                Some(path)
            };
            let trusted = || write("ca.pem", &authority);
            let stranger = || write("other.pem", &certified(&["127.0.0.1"]).authority);
            // (authority, verified, Host, what is said; empty: it passes)
            let table = [
                (trusted(), true, None, ""),
                (trusted(), true, Some("shop.example"), ""),
                (trusted(), true, Some("other.example"), "not valid for name"),
                (stranger(), true, None, "invalid peer certificate"),
                (write("empty.pem", ""), true, None, "no certificate"),
                (Some(folder.path().join("missing.pem")), true, None, "missing.pem"),
                (None, false, Some("other.example"), ""),
            ];
            for (ca_file, verify, host, said) in table {
                let report = ask(port, ca_file, verify, host).await;
                assert_eq!(report.passed, said.is_empty(), "{host:?}: {report:?}");
                assert!(report.detail.contains(said) && !report.certain, "{host:?}: {report:?}");
            }
        });
    });
}

#[test]
fn what_speaks_no_tls_fails_the_check() {
    let node = Namespace::new("plain");
    node.run(|| {
        run(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback is up");
            let port = listener.local_addr().expect("bound").port();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                }
            });
            let report = ask(port, None, false, None).await;
            assert!(!report.passed && report.detail.starts_with("TLS: "), "{report:?}");
        });
    });
}
