//! Talking to the daemon: HTTP/1.1 over its control socket.

use super::exit::{Exit, Failure};
use crate::wire::control::{Operation, Problem, RequestBody, Status};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// The admin thread answers from memory: longer means that it does not answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The daemon on this node.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// Status and body of an answer.
struct Reply {
    status: StatusCode,
    body: Bytes,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When the process can have no event loop.
    pub fn new(socket: PathBuf) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("no event loop: {error}")))?;
        Ok(Self { socket, runtime })
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn status(&self) -> Result<Status, Failure> {
        self.get("/status")
    }

    /// `GET path`, as what it carries.
    ///
    /// # Errors
    /// When the daemon cannot be reached, refuses, or answers something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.exchange(Method::GET, path, None, None, ANSWER)?)
    }

    /// As [`Client::get`], for an answer that may take up to `wait` longer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_slowly<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, Failure> {
        self.read(self.exchange(Method::GET, path, None, None, ANSWER + wait)?)
    }

    /// `POST /name`: begins an operation, only if the pair still is in `epoch`.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub fn begin(&self, name: &str, body: &RequestBody, epoch: Option<u64>) -> Result<Operation, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        self.read(self.exchange(Method::POST, &format!("/{name}"), Some(body), epoch, ANSWER)?)
    }

    /// `POST path`, as what it carries.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::failed(error.to_string()))?;
        self.read(self.exchange(Method::POST, path, Some(body), None, ANSWER)?)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        epoch: Option<u64>,
        limit: Duration,
    ) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "apd");
        if let Some(epoch) = epoch {
            request = request.header(IF_MATCH, format!("\"{epoch}\""));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| Failure::usage(format!("{path}: {error}")))?;
        let socket = self.socket.display();
        self.runtime.block_on(async {
            match tokio::time::timeout(limit, self.send(request)).await {
                Ok(reply) => reply,
                Err(_elapsed) => Err(unreachable(format!("{socket}: the daemon does not answer"))),
            }
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let socket = self.socket.display();
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => not_permitted(format!("{socket}: {error}")),
            _ => unreachable(format!("{socket}: {error}")),
        })?;
        let broken = |error: hyper::Error| unreachable(format!("{socket}: {error}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(broken)?.to_bytes();
            Ok(Reply { status, body })
        };
        let reply = answered.await;
        connection.abort();
        reply
    }

    fn read<T: DeserializeOwned>(&self, reply: Reply) -> Result<T, Failure> {
        if !reply.status.is_success() {
            return Err(problem(reply.status, &reply.body));
        }
        serde_json::from_slice(&reply.body).map_err(|error| {
            Failure::failed(format!("{}: not understood: {error}", self.socket.display()))
                .resolved_by("apctl and the running apd should be of the same version: restart apd")
        })
    }
}

fn unreachable(message: String) -> Failure {
    Failure::new(Exit::UNREACHABLE, "E_DAEMON_UNREACHABLE", message)
        .resolved_by("start apd (systemctl start apd), or name its socket with --socket")
}

fn not_permitted(message: String) -> Failure {
    Failure::new(Exit::NOT_PERMITTED, "E_NOT_PERMITTED", message)
        .resolved_by("use sudo, or join the group apd")
}

/// What the daemon said no with.
fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let exit = match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Exit::USAGE,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NOT_PERMITTED,
        StatusCode::BAD_GATEWAY => Exit::PEER_UNREACHABLE,
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Exit::REFUSED,
        _ => Exit::FAILED,
    };
    match problem {
        Some(problem) => {
            Failure { exit, code: problem.code, message: problem.detail, remedy: problem.remedy }
        }
        None => Failure::new(exit, "E_FAILED", format!("the daemon answers {status}")),
    }
}
