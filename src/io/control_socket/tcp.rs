//! The HTTP port: plain, or with TLS where a certificate is configured.

use super::{ACCEPT_PAUSE, Caller, HttpState};
use crate::io::http::Service;
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Pause after a failed bind.
const BIND_PAUSE: Duration = Duration::from_secs(1);
/// A TLS handshake must be over within this time.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A client whose host has vanished is noticed after this long without an acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Listens and answers for ever. Without an address it only waits.
pub(super) async fn serve(
    listen: Option<SocketAddr>,
    tls: Option<Arc<ServerConfig>>,
    service: Arc<Service>,
    state: watch::Sender<HttpState>,
) {
    let Some(address) = listen else { return std::future::pending().await };
    let listener = bind(address, &state).await;
    let acceptor = tls.map(TlsAcceptor::from);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let (service, acceptor) = (Arc::clone(&service), acceptor.clone());
                tokio::spawn(async move {
                    connection(stream, from, acceptor, service).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(code = "admin.accept", "the HTTP port accepts nothing: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    service: Arc<Service>,
) {
    // Small answers, at once. Where the system knows no such option, the other bounds hold.
    stream.set_nodelay(true).ok();
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)).ok();
    let Some(acceptor) = acceptor else {
        return service.serve(stream, Caller::Tcp { address: from, certificate: None }).await;
    };
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = certificate(&stream);
            service.serve(stream, Caller::Tcp { address: from, certificate }).await;
        }
        Ok(Err(error)) => tracing::debug!("a TLS handshake with {from} failed: {error}"),
        Err(_elapsed) => tracing::debug!("a TLS handshake with {from} took too long"),
    }
}

/// The first half of the SHA-256 of the client's certificate. The verifier lets only those of the CA pass.
fn certificate(stream: &TlsStream<TcpStream>) -> Option<String> {
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates()?.first()?;
    Some(digest(&SHA256, shown.as_ref()).as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn bind(address: SocketAddr, state: &watch::Sender<HttpState>) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().ok();
                state.send_replace(HttpState { address, problem: None });
                return listener;
            }
            Err(error) => {
                let problem = format!("http.listen {address}: {error}; tried again every second");
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(code = "http.not_listening", "{problem}");
                }
                state.send_replace(HttpState { address: None, problem: Some(problem) });
                tokio::time::sleep(BIND_PAUSE).await;
            }
        }
    }
}
