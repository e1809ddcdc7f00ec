//! HTTP/1.1 from a snapshot: the health endpoints, status, history, metrics, and commands (INTERFACE.md
//! section 3). The control socket and the HTTP port serve the same; what a caller may change differs.
//!
//! Errors are `application/problem+json` (RFC 9457) with a stable `code`.

mod changes;
mod events;
mod inquiries;
mod openapi;
mod operations;
mod patience;
mod query;
mod reads;
mod reply;
mod routes;

use crate::decision::code::Code;
use crate::decision::time::Instant;
use crate::decision::why::Why;
use crate::io::control_socket::{Caller, ControlRequest, HttpState, Inquiry, Snapshot};
use crate::io::journal::JournalHandle;
use crate::wire::control::Status;
use crate::wire::control::findings;
use crate::wire::control::health::LOOP_STUCK_MS;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use operations::Operations;
use patience::Patient;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, watch};

/// A request's head must be complete within this time; an idle connection is closed after it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// About the largest head of a request, bytes: a read more may come in before it is refused.
const HEAD_MAX: usize = 32 * 1024;
/// A client that takes nothing of its answer for this long is left.
const READ_PATIENCE: Duration = Duration::from_secs(20);

/// What every connection shares.
pub struct Service {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    commands: mpsc::Sender<ControlRequest>,
    inquiries: mpsc::Sender<Inquiry>,
    journal: JournalHandle,
    clock: fn() -> Instant,
    token: Option<Token>,
    http: watch::Receiver<HttpState>,
    operations: Operations,
    /// Where `/redirect` sends clients while the peer serves.
    peer_url: String,
    /// Clients that may follow the events at once.
    event_places: Arc<Semaphore>,
}

impl Service {
    /// Made once, by the control server.
    pub fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        (commands, inquiries): (mpsc::Sender<ControlRequest>, mpsc::Sender<Inquiry>),
        journal: JournalHandle,
        clock: fn() -> Instant,
        token: Option<&SecretString>,
        peer_url: String,
        http: watch::Receiver<HttpState>,
    ) -> Self {
        Self {
            snapshots,
            commands,
            inquiries,
            journal,
            clock,
            token: token.and_then(Token::new),
            http,
            operations: Operations::new(),
            peer_url,
            event_places: Arc::new(Semaphore::new(events::CLIENTS)),
        }
    }

    /// Answers one connection until it ends.
    pub async fn serve<S>(self: Arc<Self>, stream: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let answer = service_fn(move |request| {
            let service = Arc::clone(&self);
            let caller = caller.clone();
            async move { Ok::<_, Infallible>(routes::answer(&service, &caller, request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream, READ_PATIENCE)), answer)
            .await;
        if let Err(error) = served {
            tracing::debug!("a connection of the admin thread ended: {error}");
        }
    }

    fn snapshot(&self) -> (Arc<Snapshot>, Instant) {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        (snapshot, (self.clock)())
    }

    /// The status at this moment, with what only this side of the daemon knows.
    fn status(&self) -> Status {
        let (snapshot, now) = self.snapshot();
        let mut status = snapshot.status_at(now);
        if status.age_ms >= LOOP_STUCK_MS {
            let stuck =
                format!("the control loop has said nothing for {} ms: all below is that old", status.age_ms);
            status.warnings.push(Why::new(Code::LoopStuck, stuck));
        }
        if let Some(problem) = self.journal.health().problem {
            // What the loop said of it lacks the remedy, and may be older.
            status.warnings.retain(|why| !matches!(why.code, Code::JournalProblem | Code::JournalFailing));
            let why = Why::new(Code::JournalFailing, problem).resolved_by(
                "free space in node.state_dir or make it writable; the journal then goes on by itself",
            );
            status.warnings.push(why);
        }
        if let Some(problem) = self.http.borrow().problem.clone() {
            let why = Why::new(Code::HttpNotListening, problem)
                .resolved_by("free the port, or put another address into http.listen and restart apd");
            status.warnings.push(why);
        }
        findings::complete(&mut status);
        status
    }
}

/// The bearer token, kept as a keyed digest: compared in constant time, never printed.
struct Token {
    key: hmac::Key,
    expected: hmac::Tag,
}

impl Token {
    /// `None` when the system has no random numbers to make a key of: then nobody has the token.
    fn new(token: &SecretString) -> Option<Self> {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).ok()?;
        let expected = hmac::sign(&key, token.expose_secret().trim().as_bytes());
        Some(Self { key, expected })
    }

    fn is(&self, given: &str) -> bool {
        hmac::verify(&self.key, given.as_bytes(), self.expected.as_ref()).is_ok()
    }
}
