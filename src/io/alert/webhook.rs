//! Alerts by HTTP: one POST of JSON, which any status from 200 to 299 takes.

use crate::config::checked;
use crate::io::tls::Trusting;
use crate::wire::alert::AlertMessage;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// For one POST: connection, request and answer.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// Posts to one URL, which is never shown: it may hold a secret.
#[derive(Debug)]
pub struct Webhook {
    url: checked::Webhook,
    trusting: Option<Trusting>,
}

impl Webhook {
    /// Nothing is connected yet.
    pub(super) fn new(url: checked::Webhook) -> Self {
        let trusting = url.tls.clone().map(Trusting::new);
        Self { url, trusting }
    }

    /// Posts once.
    pub(super) async fn post(&mut self, message: &AlertMessage) -> Result<(), String> {
        let checked::Webhook { host, port, path, .. } = &self.url;
        let body = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        let request = Request::post(path.expose_secret())
            .header(HOST, format!("{host}:{port}"))
            .header(USER_AGENT, concat!("apd/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "the URL cannot be asked for".to_owned())?;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        let status = match &mut self.trusting {
            None => send(stream, request).await?,
            Some(trusting) => {
                let stream = trusting.connect(host, stream).await.map_err(|error| error.to_string())?;
                send(stream, request).await?
            }
        };
        if (200..300).contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<u16, String> {
    let failed = |error: hyper::Error| format!("the connection failed: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Dropped with this future, and the connection with it.
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await.map_err(failed)?;
    Ok(answer.status().as_u16())
}
