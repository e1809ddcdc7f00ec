//! A connection that is kept open: one task owns it, others ask through a channel. It is opened before it
//! is needed, opened again with back-off when it is lost, and thrown away whenever an answer is not awaited
//! to its end; its statement is then killed in the server from another connection.

use super::session::{Answer, Failure, Fields, Session};
use super::statement::{Statement, statement};
use mysql_async::Opts;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Longest that one attempt to connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// First and longest pause between attempts to connect.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A connection idle for longer is asked whether it still lives before a statement is trusted to it.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

struct Request {
    statement: Statement,
    /// `None`: as long as it takes.
    until: Option<Instant>,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

/// Handle of a kept connection.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: mpsc::Sender<Request>,
    id: Arc<AtomicU32>,
    renew: Arc<Notify>,
}

/// Where ids of connections go whose statement nobody waits for any more.
pub type Kills = mpsc::UnboundedSender<u32>;

impl Connection {
    /// Starts the task that owns the connection.
    pub fn start(opts: Opts, kills: Kills) -> Connection {
        let (requests, incoming) = mpsc::channel(16);
        let connection =
            Connection { requests, id: Arc::new(AtomicU32::new(0)), renew: Arc::new(Notify::new()) };
        let owner = Owner {
            opts,
            kills,
            incoming,
            id: connection.id.clone(),
            renew: connection.renew.clone(),
            session: None,
            attempt: None,
            next_attempt: Instant::now(),
            back_off: BACK_OFF.0,
            used: Instant::now(),
        };
        tokio::spawn(owner.run());
        connection
    }

    /// Sends `statement` and waits for its rows until `until`; the server's own bound lies a little before.
    /// Dropping the future kills the statement.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn ask(&self, statement: Statement, until: Instant) -> Result<Vec<Fields>, Failure> {
        self.request(statement, Some(until)).await.map(Answer::into_rows)
    }

    /// As [`Connection::ask`], with the rows of each statement of a joined one.
    ///
    /// # Errors
    /// See [`Failure`]: the first error of the server ends them all.
    pub async fn ask_all(&self, statement: Statement, until: Instant) -> Result<Answer, Failure> {
        self.request(statement, Some(until)).await
    }

    /// As [`Connection::ask`], for as long as it takes.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn ask_unbounded(&self, statement: Statement) -> Result<Vec<Fields>, Failure> {
        self.request(statement, None).await.map(Answer::into_rows)
    }

    async fn request(&self, statement: Statement, until: Option<Instant>) -> Result<Answer, Failure> {
        let what = statement.name();
        let gone = || Failure::Other(format!("{what}: the connection's task has ended"));
        let (answer, outcome) = oneshot::channel();
        self.requests.send(Request { statement, until, answer }).await.map_err(|_| gone())?;
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }

    /// `CONNECTION_ID()` of the present connection; 0 while there is none.
    pub fn id(&self) -> u32 {
        self.id.load(Ordering::Acquire)
    }

    /// Throws the connection away and opens a new one: the server was seen to die.
    pub fn renew(&self) {
        self.renew.notify_one();
    }
}

type Attempt = Pin<Box<dyn Future<Output = Result<Session, Failure>> + Send>>;

struct Owner {
    opts: Opts,
    kills: Kills,
    incoming: mpsc::Receiver<Request>,
    id: Arc<AtomicU32>,
    renew: Arc<Notify>,
    session: Option<Session>,
    attempt: Option<Attempt>,
    next_attempt: Instant,
    back_off: Duration,
    used: Instant,
}

impl Owner {
    async fn run(mut self) {
        loop {
            if self.session.is_none() && self.attempt.is_none() && Instant::now() >= self.next_attempt {
                self.begin_attempt();
            }
            let (connected, attempting) = (self.session.is_some(), self.attempt.is_some());
            tokio::select! {
                request = self.incoming.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = self.renew.notified() => self.discard(),
                outcome = wait_for(&mut self.attempt), if !connected => {
                    if let Err(failure) = self.end_attempt(outcome) {
                        tracing::trace!(%failure, "not connected");
                    }
                }
                () = sleep_until(self.next_attempt), if !connected && !attempting => {}
            }
        }
    }

    fn begin_attempt(&mut self) {
        let until = Instant::now() + CONNECT_LIMIT;
        self.attempt = Some(Box::pin(Session::open(self.opts.clone(), until)));
        self.next_attempt = until;
    }

    /// After a failure the next attempt is due after the back-off.
    fn end_attempt(&mut self, outcome: Result<Session, Failure>) -> Result<(), Failure> {
        self.attempt = None;
        match outcome {
            Ok(session) => {
                self.id.store(session.id(), Ordering::Release);
                self.session = Some(session);
                self.back_off = BACK_OFF.0;
                self.used = Instant::now();
                Ok(())
            }
            Err(failure) => {
                self.next_attempt = Instant::now() + self.back_off;
                self.back_off = (self.back_off * 2).min(BACK_OFF.1);
                Err(failure)
            }
        }
    }

    fn discard(&mut self) {
        self.session = None;
        self.attempt = None;
        self.id.store(0, Ordering::Release);
        self.next_attempt = Instant::now();
        self.back_off = BACK_OFF.0;
    }

    async fn serve(&mut self, request: Request) {
        let Request { statement, until, mut answer } = request;
        let outcome = tokio::select! {
            outcome = self.attend(&statement, until) => Some(outcome),
            () = answer.closed() => None,
        };
        self.used = Instant::now();
        if self.session.as_ref().is_some_and(|session| !session.is_usable()) {
            let id = self.id();
            self.discard();
            let unfinished = matches!(outcome, None | Some(Err(Failure::TimedOut(_))));
            if unfinished && id != 0 && self.kills.send(id).is_err() {
                tracing::debug!(id, "nobody left to kill an abandoned statement");
            }
        }
        if let Some(outcome) = outcome {
            // The asker may have gone meanwhile; then nobody wants to know.
            let _ = answer.send(outcome);
        }
    }

    fn id(&self) -> u32 {
        self.session.as_ref().map_or(0, Session::id)
    }

    async fn attend(&mut self, statement: &Statement, until: Option<Instant>) -> Result<Answer, Failure> {
        self.check(until).await;
        match self.send(statement, until).await {
            // The server was started anew since: the statement never reached anybody.
            Err(Failure::Lost { sent: false, .. }) => {
                self.discard();
                self.send(statement, until).await
            }
            outcome => outcome,
        }
    }

    async fn send(&mut self, statement: &Statement, until: Option<Instant>) -> Result<Answer, Failure> {
        if self.session.is_none() {
            self.connect_by(until).await?;
        }
        let session = self.session.as_mut().ok_or(Failure::TimedOut("connect"))?;
        session.answer(statement, until).await
    }

    /// A connection that was idle may belong to a server that is gone: better to know before a statement
    /// rests on it, because a statement that broke half way is never repeated.
    async fn check(&mut self, until: Option<Instant>) {
        if self.used.elapsed() < TRUSTED_FOR {
            return;
        }
        let Some(session) = self.session.as_mut() else { return };
        let limit = Instant::now() + CONNECT_LIMIT;
        let until = until.map_or(limit, |until| until.min(limit));
        let ping = Statement::composed("ping", "DO 1".into());
        if session.rows(&ping, until).await.is_err() {
            self.discard();
        }
    }

    async fn connect_by(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        let until = until.unwrap_or_else(|| Instant::now() + CONNECT_LIMIT);
        if self.attempt.is_none() {
            self.attempt = Some(Box::pin(Session::open(self.opts.clone(), until)));
        }
        tokio::select! {
            outcome = wait_for(&mut self.attempt) => self.end_attempt(outcome),
            () = sleep_until(until) => Err(Failure::TimedOut("connect")),
        }
    }
}

/// Ends when the attempt ends; never, if there is none.
async fn wait_for(attempt: &mut Option<Attempt>) -> Result<Session, Failure> {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

/// Kills what nobody waits for any more, from whichever of `connections` can.
pub async fn kill_abandoned(mut ids: mpsc::UnboundedReceiver<u32>, connections: [Connection; 2]) {
    while let Some(id) = ids.recv().await {
        for connection in &connections {
            if connection.id() == 0 || connection.id() == id {
                continue;
            }
            let until = Instant::now() + Duration::from_millis(300);
            match connection.ask(statement!("kill_connection", id = id), until).await {
                // 1094: it ended by itself.
                Err(failure) if failure.code() != Some(1094) => {
                    tracing::debug!(id, %failure, "could not kill an abandoned statement");
                }
                _ => break,
            }
        }
    }
}
