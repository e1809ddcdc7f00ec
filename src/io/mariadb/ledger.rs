//! The replicated ledger of activities, and the removal of a tail that holds nothing but such notes.

use super::connection::Connection;
use super::session::Failure;
use super::statement::{identifier, quote, statement};
use super::{Database, Positions, clients};
use crate::decision::gtid::GtidState;
use crate::decision::words::{Epoch, NodeId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A replica that is there acknowledges sooner.
const RECEIPT_PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at what the row waits for.
const LOOK: Duration = Duration::from_millis(20);

impl Database {
    pub(super) async fn write_epoch(
        &self,
        epoch: Epoch,
        reason: &str,
        until: Instant,
    ) -> Result<(), Failure> {
        let position = self.positions(&self.control, until).await?.binlog;
        let statement = statement!(
            "write_epoch",
            schema = self.schema(),
            number = epoch.number,
            node = epoch.node.0,
            reason = quote(reason),
            gtid = quote(&position.to_string()),
        );
        let row = self.say(statement, until);
        tokio::pin!(row);
        let ended = AtomicBool::new(false);
        let written = tokio::select! {
            biased;
            written = &mut row => written,
            ending = self.end_wait_for_replica(&ended, until) => {
                ending?;
                row.await
            }
        };
        let failure = match written {
            Err(failure) if ended.load(Ordering::Acquire) => failure,
            other => return other.map(|_| ()),
        };
        // Its session was ended while it waited: the row comes all the same, a moment after the connection has gone.
        while newest_epoch(&self.spare, &self.settings.schema, until).await? < epoch {
            if Instant::now() + LOOK > until {
                return Err(failure);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// A new active may have nobody yet who could acknowledge its row: with the session ended the commit goes on.
    /// Ends when that was done.
    async fn end_wait_for_replica(&self, ended: &AtomicBool, until: Instant) -> Result<(), Failure> {
        tokio::time::sleep(RECEIPT_PATIENCE).await;
        loop {
            let id = u64::from(self.control.id());
            let rows = self.spare.ask(clients::sessions(), until).await?;
            let ours = rows.iter().find(|row| row.number("id") == Some(id));
            if ours.is_some_and(clients::waits_for_replica) {
                ended.store(true, Ordering::Release);
                return self.spare.ask(statement!("kill_connection", id = id), until).await.map(|_| ());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Deletes this server's binary log when all that `common` lacks in it touches only apd's schema.
    pub(super) async fn forget_own_tail(&self, common: &GtidState, until: Instant) -> Result<(), Failure> {
        if !super::writes::is_read_only(&self.control, until).await? {
            return Err(Failure::Other(
                "a server that takes writes must not forget: read_only=1 first".into(),
            ));
        }
        let Positions { state, .. } = self.positions(&self.control, until).await?;
        let beyond = state.beyond(common);
        let inspected = self.inspect(&beyond, until).await?;
        if !inspected.data.is_empty() {
            return Err(Failure::Other(format!(
                "not forgotten, because it is data that only this node has: {}",
                inspected.data.join(", ")
            )));
        }
        self.forget_primary(until).await?;
        self.say(statement!("reset_binlog"), until).await?;
        self.say(statement!("set_binlog_state", state = quote(&common.to_string())), until).await?;
        let position = quote(&common.position().to_string());
        self.say(statement!("set_position", position = position), until).await.map(|_| ())
    }
}

/// Newest activity in the ledger that `connection` can read; none if there is no ledger.
pub(super) async fn newest_epoch(
    connection: &Connection,
    schema: &str,
    until: Instant,
) -> Result<Epoch, Failure> {
    let rows = connection.ask(statement!("newest_epoch", schema = identifier(schema)), until).await;
    epoch_of(rows)
}

/// The same from rows that were read otherwise. 1146, 1049: no such table or schema.
pub(super) fn epoch_of(rows: Result<Vec<super::session::Fields>, Failure>) -> Result<Epoch, Failure> {
    let rows = match rows {
        Err(failure) if matches!(failure.code(), Some(1146 | 1049)) => Vec::new(),
        other => other?,
    };
    Ok(rows.first().map_or_else(Epoch::default, |row| Epoch {
        number: row.number("number").unwrap_or(0),
        node: NodeId(row.number("node").unwrap_or(0)),
    }))
}
