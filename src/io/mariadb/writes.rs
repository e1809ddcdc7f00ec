//! Who may write: `read_only` on and off, and the end of clients' sessions.

use super::connection::Connection;
use super::session::{Failure, Fields};
use super::statement::{Statement, quote, statement};
use super::{Database, DatabaseSettings};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two rounds of KILL.
const KILL_PAUSE: Duration = Duration::from_millis(2);

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
        self.remember(|memory| memory.frozen = None);
        Ok(())
    }

    /// `read_only=1` waits for every running write; the sessions that run them are ended beside it.
    pub(super) async fn forbid_and_kill(&self, until: Instant) -> Result<(), Failure> {
        let kill = kill_clients(&self.settings, u64::MAX);
        self.kill_own_rows(until).await;
        // Not on the control connection: the one that holds a backup stage may not do it (1192).
        let forbidding = self.fence.ask(statement!("forbid_writes"), until);
        let killing = async {
            loop {
                if let Err(failure) = self.spare.ask(kill.clone(), until).await {
                    break failure;
                }
                sleep(KILL_PAUSE).await;
            }
        };
        tokio::select! {
            outcome = forbidding => outcome.map(|_| ())?,
            failure = killing => return Err(failure),
        }
        // Sessions that come from here on found the server read-only; those before must all go.
        let rows = self.spare.ask(statement!("newest_session"), until).await?;
        let newest = rows.first().and_then(|row| row.number("newest")).unwrap_or(u64::MAX);
        self.end_clients(&self.spare, newest, until).await?;
        if !is_read_only(&self.spare, until).await? {
            return Err(Failure::Other("somebody else opened the server for writes again".into()));
        }
        Ok(())
    }

    /// Ends client sessions up to `newest`, again and again, until none is left.
    pub(super) async fn end_clients(
        &self,
        connection: &Connection,
        newest: u64,
        until: Instant,
    ) -> Result<(), Failure> {
        let kill = kill_clients(&self.settings, newest);
        loop {
            let rows = connection.ask(kill.clone(), until).await?;
            if rows.first().and_then(|row| row.number::<u64>("clients")) == Some(0) {
                return Ok(());
            }
            sleep(KILL_PAUSE).await;
        }
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

/// KILL of every client session up to `newest`, and how many are left.
pub(super) fn kill_clients(settings: &DatabaseSettings, newest: u64) -> Statement {
    let clients = statement!(
        "clients",
        user = quote(&settings.user),
        replication_user = quote(&settings.replication_user),
        newest = newest,
    );
    statement!("kill_clients", clients = clients.text())
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
