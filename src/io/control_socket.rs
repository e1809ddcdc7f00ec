//! The control socket and the HTTP port: where operators, scripts and load balancers ask.
//!
//! Both are served by one thread of its own (`admin`) from the last [`Snapshot`] that the control loop left,
//! so that an answer comes whatever the database, the disk or the loop itself is doing. A snapshot grows old
//! visibly, and what rests on the lease is judged by the clock at the time of the answer.
//!
//! The socket is `run_dir/apd.sock`, 0660, group `apd` where that group exists. Who connects is known from the
//! kernel (SO_PEERCRED): root, the daemon's own user and members of the group may change things, others read.

mod caller;
mod listen;
mod tcp;

pub use caller::Caller;
pub use listen::GROUP;

use crate::decision::action::Answer;
use crate::decision::event::Command;
use crate::decision::time::Instant;
use crate::io::http::Service;
use crate::io::journal::JournalHandle;
use crate::wire::control::{Counters, Explain, Status};
use crate::wire::peer::Page;
use listen::SocketFile;
use secrecy::SecretString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// The state of this node, as the control loop last left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What is shown. Ages are counted from `taken`.
    pub status: Status,
    /// Why it is so. Ages are counted from `taken`.
    pub explain: Explain,
    /// For `/metrics`.
    pub counters: Counters,
    /// When the control loop took it. It takes one at every change and at least once a second.
    pub taken: Instant,
    /// When the lease ends unless renewed: the exact figure behind `lease_remaining_ms`. `None`: no lease.
    pub lease_end: Option<Instant>,
}

impl Snapshot {
    /// The status at `now`: older by what has passed, and without a gate once the lease has ended.
    pub fn status_at(&self, now: Instant) -> Status {
        let mut status = self.status.clone();
        // The exact end rules, not the rounded figure that was shown then.
        status.node.lease_remaining_ms = None;
        let mut status = status.aged(now.since(self.taken));
        let remaining = self.lease_end.map(|end| end.since(now));
        if remaining.is_none_or(|remaining| remaining.is_zero()) {
            status.node.gate_open = false;
        }
        // Begun milliseconds count: 0 is said only of a lease that has ended.
        status.node.lease_remaining_ms = remaining
            .map(|remaining| u64::try_from(remaining.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        status
    }

    /// The explanation at `now`.
    pub fn explain_at(&self, now: Instant) -> Explain {
        self.explain.clone().aged(now.since(self.taken))
    }
}

/// A command of an operator, on its way to the control loop.
#[derive(Debug)]
pub struct ControlRequest {
    /// What.
    pub command: Command,
    /// Who: `operator NAME` from the socket's peer credentials, or `http ADDRESS` with the token.
    pub actor: String,
    /// Names the operation in `GET /operations/ID`.
    pub operation: String,
    /// For any number of [`Answer::Progress`] and one last answer. Never await room in it: an operator who
    /// does not listen must not hold the control loop up (`try_send`).
    pub replies: mpsc::Sender<Answer>,
}

/// What is asked of the daemon and needs no decision: answered beside the control loop, on the work threads.
#[derive(Debug)]
pub enum Inquiry {
    /// Read the configuration again.
    Reload {
        /// Who asks.
        actor: String,
        /// For any number of [`Answer::Progress`] and one last answer.
        replies: mpsc::Sender<Answer>,
    },
    /// A page about this node, or about the other one.
    Page {
        /// Which.
        page: Page,
        /// The other node's.
        of_peer: bool,
        /// Its JSON.
        reply: oneshot::Sender<Result<serde_json::Value, Unanswered>>,
    },
    /// How much is logged; with a level, from now on.
    LogLevel {
        /// To be set.
        level: Option<String>,
        /// What is in force then, or why not.
        reply: oneshot::Sender<Result<String, String>>,
    },
}

/// Why a page is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The other node cannot be asked.
    #[error("{0}")]
    PeerUnreachable(String),
    /// It was asked, and failed.
    #[error("{0}")]
    Failed(String),
}

/// What the server is made of.
pub struct ControlServer {
    /// Where the socket goes.
    pub socket: PathBuf,
    /// Where HTTP listens, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Bearer token for changes over TCP.
    pub token: Option<SecretString>,
    /// Certificate, key and CA of clients for the HTTP port; `None`: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where `/redirect` sends clients while the peer serves.
    pub peer_url: String,
    /// What the control loop leaves.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Where commands go.
    pub commands: mpsc::Sender<ControlRequest>,
    /// Where questions go that need no decision.
    pub inquiries: mpsc::Sender<Inquiry>,
    /// For history and timeline.
    pub journal: JournalHandle,
    /// CLOCK_BOOTTIME.
    pub clock: fn() -> Instant,
}

/// Why the control server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon answers on the socket.
    #[error("{0}: another apd answers here; stop it first, or give this one another node.run_dir")]
    AlreadyRunning(PathBuf),
    /// The socket cannot be made.
    #[error("control socket {path}: {act}: {source}; node.run_dir must be a folder that apd may write")]
    Socket {
        /// Where.
        path: PathBuf,
        /// What failed.
        act: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The thread or its runtime cannot be made.
    #[error("the admin thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// A running control server. Dropping it stops the server.
#[derive(Debug)]
pub struct ControlHandle {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    http: watch::Receiver<HttpState>,
}

/// How the HTTP port is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpState {
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Why it does not (yet); it is tried again every second.
    pub problem: Option<String>,
}

impl ControlHandle {
    /// How the HTTP port is.
    pub fn http(&self) -> HttpState {
        self.http.borrow().clone()
    }

    /// Stops answering, removes the socket and waits for the thread.
    pub fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(code = "admin.panicked", "the admin thread had panicked");
        }
    }
}

impl Drop for ControlHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Connections at once on the control socket.
const SOCKET_CONNECTIONS: usize = 64;
/// Pause after a failed accept (no file descriptors, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl ControlServer {
    /// Binds the socket, then serves it and the HTTP port on a thread of its own. An HTTP port that cannot be
    /// bound (its address may come later) is tried again and shown in [`ControlHandle::http`].
    ///
    /// # Errors
    /// When the socket cannot be bound or another daemon answers on it.
    pub fn start(self) -> Result<ControlHandle, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(4)
            .thread_name("admin-names")
            .build()
            .map_err(ControlError::Thread)?;
        let (listener, file) = {
            let _inside = runtime.enter();
            SocketFile::bind(&self.socket)?
        };
        let (stop, stopped) = watch::channel(false);
        let (http_sender, http) = watch::channel(HttpState::default());
        let service = Arc::new(Service::new(
            self.snapshots,
            (self.commands, self.inquiries),
            self.journal,
            self.clock,
            self.token.as_ref(),
            self.peer_url,
            http.clone(),
        ));
        let (listen, tls) = (self.listen, self.tls);
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let socket = serve_socket(listener, Arc::clone(&service));
                    let tcp = tcp::serve(listen, tls, service, http_sender);
                    let mut stopped = stopped;
                    tokio::select! {
                        () = socket => {}
                        () = tcp => {}
                        _ = stopped.wait_for(|stop| *stop) => {}
                    }
                });
                drop(file);
                // Connections and name look-ups that are still open are not waited for.
                runtime.shutdown_background();
            })
            .map_err(ControlError::Thread)?;
        Ok(ControlHandle { stop, thread: Some(thread), http })
    }
}

async fn serve_socket(listener: UnixListener, service: Arc<Service>) {
    let room = Arc::new(Semaphore::new(SOCKET_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _address)) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    let caller = caller::of_socket(&stream);
                    service.serve(stream, caller).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(code = "admin.accept", "the control socket accepts nothing: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
