//! Who may write: `read_only` on and off, and the end of clients' sessions.

use super::connection::Connection;
use super::session::{Failure, Fields};
use super::statement::statement;
use super::{Database, clients};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two rounds of KILL.
const KILL_PAUSE: Duration = Duration::from_millis(1);
/// How long a stage may take to say that it has ended.
const STAGE_END: Duration = Duration::from_millis(500);

impl Database {
    pub(super) async fn allow_writes(&self, until: Instant) -> Result<(), Failure> {
        self.say(statement!("allow_writes"), until).await?;
        if is_read_only(&self.control, until).await? {
            return Err(Failure::Other(
                "the server took `SET GLOBAL read_only=0` and is read-only all the same".into(),
            ));
        }
        self.hush(false);
        Ok(())
    }

    /// A server that is read-only already is left alone: its readers are not disturbed.
    pub(super) async fn forbid_writes(&self, until: Instant) -> Result<(), Failure> {
        self.hush(true);
        if !is_read_only(&self.spare, until).await? {
            self.forbid_and_kill(until).await?;
        }
        // A stage that a handover left behind would hold up the replica. It ends with a connection that cannot say so.
        if let Err(failure) = self.end_stage(until.min(Instant::now() + STAGE_END)).await {
            tracing::debug!(%failure, "a stage, if one was left, ended with its connection");
        }
        self.remember(|memory| memory.frozen = None);
        Ok(())
    }

    /// `read_only=1` waits for every running write; the sessions that run them are ended beside it.
    pub(super) async fn forbid_and_kill(&self, until: Instant) -> Result<(), Failure> {
        self.kill_own_rows(until).await;
        // Not on the control connection: the one that holds a backup stage may not do it (1192).
        let forbidden = AtomicBool::new(false);
        let forbidding = async {
            let outcome = self.fence.ask(statement!("forbid_writes"), until).await;
            forbidden.store(true, Ordering::Release);
            outcome
        };
        // Ends after a whole round, so that the spare connection is not lost in the middle of one.
        let killing = async {
            while !forbidden.load(Ordering::Acquire) {
                self.end_clients(u64::MAX, until).await?;
                sleep(KILL_PAUSE).await;
            }
            Ok::<(), Failure>(())
        };
        let (outcome, killed) = tokio::join!(forbidding, killing);
        outcome?;
        killed?;
        // Sessions that come from here on found the server read-only; those before must all go.
        let rows = self.spare.ask(clients::sessions(), until).await?;
        let newest = rows.iter().filter_map(|row| row.number("id")).max().unwrap_or(u64::MAX);
        while self.end_clients(newest, until).await? > 0 {
            sleep(KILL_PAUSE).await;
        }
        if !is_read_only(&self.spare, until).await? {
            return Err(Failure::Other("somebody else opened the server for writes again".into()));
        }
        Ok(())
    }

    /// Ends client sessions up to `newest`; how many there were.
    async fn end_clients(&self, newest: u64, until: Instant) -> Result<usize, Failure> {
        let rows = self.spare.ask(clients::sessions(), until).await?;
        let mut ids = clients::to_end(&self.settings, &rows);
        ids.retain(|id| *id <= newest);
        if let Some(kill) = clients::kill(&ids) {
            self.spare.ask(kill, until).await?;
        }
        Ok(ids.len())
    }

    /// A heartbeat row in flight would be committed after `read_only=1`, because apd's account bypasses it.
    pub(super) async fn kill_own_rows(&self, until: Instant) {
        let id = self.rows.id();
        if id == 0 {
            return;
        }
        let killed = self.spare.ask(statement!("kill_connection", id = id), until).await;
        if let Err(failure) = killed
            && failure.code() != Some(1094)
        {
            tracing::warn!(%failure, "could not end apd's own heartbeat connection");
        }
        self.rows.renew();
    }
}

/// Reads `read_only` back. What is not known to mean "writable" means read-only.
pub(super) async fn is_read_only(connection: &Connection, until: Instant) -> Result<bool, Failure> {
    let rows = connection.ask(statement!("read_only"), until).await?;
    Ok(read_only_value(rows.first().unwrap_or(&Fields::default())))
}

/// The same of a row that was read already.
pub(super) fn read_only_value(row: &Fields) -> bool {
    !matches!(row.text("read_only").to_ascii_uppercase().as_str(), "0" | "OFF")
}
