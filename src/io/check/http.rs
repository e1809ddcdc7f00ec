//! Asks a service over HTTP/1.1, plain or with TLS, whether it is well.
//!
//! Connecting, sending and reading share one deadline. Between two questions the connection stays open, and its
//! end is news: a process that dies closes it at once, long before the next question is due, so the service is
//! asked again at that moment. Only a refused connection is *certain* (nobody listens), and needs no second
//! failure to count.

use super::Outcome;
use crate::config::checked::HttpProbe;
use crate::io::tls::{self, Trusting};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A health page that is longer is not read further.
const LARGEST_BODY: usize = 64 * 1024;

/// Asks what one `[[check]]` of type `http` wants to know.
#[derive(Debug)]
pub(super) struct HttpProber {
    probe: HttpProbe,
    trusting: Option<Trusting>,
    connection: Option<Connection>,
}

impl HttpProber {
    /// Nothing is opened yet.
    pub(super) fn new(probe: HttpProbe) -> Self {
        let trusting = probe.tls.clone().map(Trusting::new);
        Self { probe, trusting, connection: None }
    }

    /// Asks once.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.ask().await {
            Ok(status) => Outcome::passed(format!("status {status}")),
            Err(failure) => {
                self.forget();
                Outcome { passed: false, certain: failure.is_certain(), detail: failure.to_string() }
            }
        }
    }

    /// An answer to this question must never be taken for one to the next.
    pub(super) fn forget(&mut self) {
        self.connection = None;
    }

    /// Waits until the service closes the kept connection unexpectedly. Cancel-safe.
    pub(super) async fn told(&mut self) {
        told_by_closing(&mut self.connection).await;
    }

    /// Asks once: over the kept connection if there is one; over a new one if that fails, because it may have
    /// been closed while the question was under way.
    async fn ask(&mut self) -> Result<u16, Failure> {
        if let Some(connection) = self.connection.take().filter(Connection::is_open) {
            match self.ask_over(connection).await {
                Err(Failure::Http(_)) => {}
                outcome => return outcome,
            }
        }
        let connection = self.connect().await?;
        self.ask_over(connection).await
    }

    async fn connect(&mut self) -> Result<Connection, Failure> {
        let HttpProbe { host, port, host_header, .. } = &self.probe;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Failure::Connect)?;
        // A request is one small packet, which must not wait for an acknowledgement.
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        match &mut self.trusting {
            None => Connection::over(stream).await,
            Some(trusting) => {
                let name = host_header.as_ref().unwrap_or(host);
                Connection::over(trusting.connect(name, stream).await.map_err(Failure::Tls)?).await
            }
        }
    }

    async fn ask_over(&mut self, mut connection: Connection) -> Result<u16, Failure> {
        let response = connection.sender.send_request(self.request()?).await.map_err(Failure::Http)?;
        let keeps_open = keeps_open(&response);
        let status = response.status().as_u16();
        if !self.probe.status.contains(&status) {
            return Err(Failure::Status(status));
        }
        let body = Limited::new(response.into_body(), LARGEST_BODY).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                // The rest stays unread, so this connection cannot be used again.
                return if self.reads_body() { Err(Failure::BodyTooLong) } else { Ok(status) };
            }
            Err(error) => {
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(error) => Failure::Http(*error),
                    Err(_) => Failure::BodyTooLong,
                });
            }
        };
        self.judge(&body)?;
        if keeps_open {
            connection.answered += 1;
            self.connection = Some(connection);
        }
        Ok(status)
    }

    fn reads_body(&self) -> bool {
        self.probe.body_contains.is_some() || self.probe.json.is_some()
    }

    fn judge(&self, body: &[u8]) -> Result<(), Failure> {
        if let Some(expected) = &self.probe.body_contains
            && !contains(body, expected.as_bytes())
        {
            return Err(Failure::BodyLacks(expected.clone()));
        }
        let Some((pointer, expected)) = &self.probe.json else { return Ok(()) };
        let value: serde_json::Value =
            serde_json::from_slice(body).map_err(|error| Failure::NotJson(error.to_string()))?;
        match value.pointer(pointer) {
            Some(value) if value == expected => Ok(()),
            Some(value) => Err(Failure::JsonDiffers {
                pointer: pointer.clone(),
                expected: expected.to_string(),
                actual: shortened(&value.to_string()),
            }),
            None => Err(Failure::JsonLacks(pointer.clone())),
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Failure> {
        let HttpProbe { host, port, path, method, host_header, tls, .. } = &self.probe;
        let default_port = if tls.is_some() { 443 } else { 80 };
        let authority = match host_header {
            Some(host) => host.clone(),
            None if *port == default_port => host.clone(),
            None => format!("{host}:{port}"),
        };
        Request::builder()
            .method(method.as_str())
            .uri(path.as_str())
            .header(HOST, authority)
            .header(USER_AGENT, concat!("apd/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, HeaderValue::from_static("*/*"))
            .body(Empty::new())
            .map_err(|error| Failure::Request(error.to_string()))
    }
}

/// One connection, and the task that drives it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
    answered: u32,
}

impl Connection {
    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Failure> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
        // How a connection ends is learned from the request, or does not matter.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver, answered: 0 })
    }

    fn is_open(&self) -> bool {
        !self.driver.is_finished() && !self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Waits until the service closes the kept connection unexpectedly. Cancel-safe.
///
/// A connection must have carried two answers for that: a server that closes after every answer without
/// saying so would otherwise be asked without a pause.
async fn told_by_closing(kept: &mut Option<Connection>) {
    match kept {
        Some(connection) if connection.answered >= 2 => {
            // The task ends when the connection does; its result says nothing more.
            let _ = (&mut connection.driver).await;
            *kept = None;
        }
        _ => std::future::pending().await,
    }
}

/// The server said nothing against using the connection again (RFC 9112 section 9.3).
fn keeps_open(response: &Response<Incoming>) -> bool {
    let close = response.headers().get_all(CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close")))
    });
    response.version() == Version::HTTP_11 && !close
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Tls(tls::Error),
    #[error("the connection failed: {0}")]
    Http(hyper::Error),
    #[error("cannot build the request: {0}")]
    Request(String),
    #[error("status {0}")]
    Status(u16),
    #[error("the body is longer than 64 KiB")]
    BodyTooLong,
    #[error("the body does not contain {0:?}")]
    BodyLacks(String),
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body has nothing at {0}")]
    JsonLacks(String),
    #[error("the body has {actual} at {pointer} instead of {expected}")]
    JsonDiffers { pointer: String, expected: String, actual: String },
}

impl Failure {
    fn is_certain(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

fn contains(body: &[u8], expected: &[u8]) -> bool {
    expected.is_empty() || body.windows(expected.len()).any(|window| window == expected)
}

/// One line of the report is for people; a whole document is not.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
