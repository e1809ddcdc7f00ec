//! Makes the local database read-only after a lease was lost, whether or not a daemon lives.
//!
//! It runs on a thread of its own with a runtime of its own, so that a hung server never holds up the gate.
//! Everything is bounded, and a new activity cancels it: a fence of the lost lease must not close the
//! database of the next one.

use crate::config::checked::MariaDb;
use crate::decision::words::Epoch;
use crate::io::mariadb::endpoint_options;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::cell::Cell;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::Notify;

/// One attempt: connect, read-only, sessions ended.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(2);
/// All attempts; whoever is active by then must have said so.
const TRIED_FOR: Duration = Duration::from_secs(10);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);
const BETWEEN_ROUNDS: Duration = Duration::from_millis(20);

/// How a fence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The activity that had ended.
    pub epoch: Epoch,
    /// `None`: read-only, sessions ended.
    pub error: Option<String>,
}

/// Starts fences and tells how they ended.
pub struct Fence {
    database: MariaDb,
    running: Option<Arc<Notify>>,
    sender: Sender<Fenced>,
    ended: Receiver<Fenced>,
    wake: Arc<EventFd>,
}

impl Fence {
    /// For the configured server. Connects to nothing yet.
    pub fn new(database: MariaDb) -> nix::Result<Self> {
        let (sender, ended) = channel();
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { database, running: None, sender, ended, wake: Arc::new(wake) })
    }

    /// Begins to fence after the activity `epoch`.
    pub fn start(&mut self, epoch: Epoch) {
        self.cancel();
        let cancelled = Arc::new(Notify::new());
        let (sender, wake, database) = (self.sender.clone(), self.wake.clone(), self.database.clone());
        let told = cancelled.clone();
        let started = std::thread::Builder::new().name("fence".into()).spawn(move || {
            if let Some(result) = run(&database, TRIED_FOR, told.notified()) {
                let _ = sender.send(Fenced { epoch, error: result.err() });
                let _ = wake.write(1);
            }
        });
        match started {
            Ok(_) => self.running = Some(cancelled),
            Err(error) => {
                let _ = self.sender.send(Fenced { epoch, error: Some(format!("no thread: {error}")) });
                let _ = self.wake.write(1);
            }
        }
    }

    /// Stops a fence that is still running. A statement that it sent may take effect for one second more.
    pub fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.notify_one();
        }
        while self.ended().is_some() {}
    }

    /// A fence that ended since the last call.
    pub fn ended(&mut self) -> Option<Fenced> {
        let _ = self.wake.read();
        self.ended.try_recv().ok()
    }
}

impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Fences now, on this thread; gives up after `limit`.
pub fn fence_now(database: &MariaDb, limit: Duration) -> Result<(), String> {
    run(database, limit, std::future::pending()).unwrap_or(Ok(()))
}

/// `None`: cancelled.
fn run(
    database: &MariaDb,
    limit: Duration,
    cancelled: impl Future<Output = ()>,
) -> Option<Result<(), String>> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(Err(format!("no runtime: {error}"))),
    };
    runtime.block_on(async {
        tokio::select! {
            () = cancelled => None,
            result = attempts(database, limit) => Some(result),
        }
    })
}

async fn attempts(database: &MariaDb, limit: Duration) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let error = match tokio::time::timeout(ATTEMPT_WITHIN, attempt(database)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ATTEMPT_WITHIN.as_secs()),
        };
        if tokio::time::Instant::now() + BETWEEN_ATTEMPTS >= deadline {
            return Err(format!("the local server was not made read-only: {error}"));
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// Read-only waits for running writes, and their sessions are being ended meanwhile: neither waits for the
/// other. Sessions that came before read-only took effect are ended by one more round after it.
async fn attempt(database: &MariaDb) -> Result<(), mysql_async::Error> {
    let (mut first, mut second) =
        tokio::try_join!(Conn::new(options(database)), Conn::new(options(database)))?;
    let forbidden = Cell::new(false);
    let forbid = async {
        first.query_drop(statement(include_str!("../../sql/fence.sql"))).await?;
        forbidden.set(true);
        Ok(())
    };
    let end = async {
        loop {
            let last = forbidden.get();
            end_sessions(&mut second, database).await?;
            if last {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_ROUNDS).await;
        }
    };
    tokio::try_join!(forbid, end).map(drop)
}

async fn end_sessions(connection: &mut Conn, database: &MariaDb) -> Result<(), mysql_async::Error> {
    let sessions: Vec<u64> = connection
        .exec(
            statement(include_str!("../../sql/fence_sessions.sql")),
            (database.user.as_str(), database.replication_user.as_str()),
        )
        .await?;
    for session in sessions {
        match connection.query_drop(format!("KILL CONNECTION {session}")).await {
            // 1094: it ended by itself.
            Err(mysql_async::Error::Server(error)) if error.code == 1094 => {}
            other => other?,
        }
    }
    Ok(())
}

/// The statement of a file of `sql/`, without its comment lines.
fn statement(file: &str) -> String {
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with("--")).collect();
    lines.join(" ")
}

fn options(database: &MariaDb) -> OptsBuilder {
    endpoint_options(&database.endpoint, &database.user, database.password.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_have_no_comments_left() {
        let forbid = statement(include_str!("../../sql/fence.sql"));
        assert_eq!(forbid, "SET STATEMENT max_statement_time=1 FOR SET GLOBAL read_only = ON");
        assert!(statement(include_str!("../../sql/fence_sessions.sql")).starts_with("SELECT ID"));
    }
}
