//! The pause of a planned switchover: commits wait, nobody gets an error, and it can be called off.

use super::session::Failure;
use super::statement::statement;
use super::writes::is_read_only;
use super::{Database, Frozen};
use crate::decision::gtid::GtidState;
use std::time::Duration;
use tokio::time::Instant;

/// The stage gets this part of the deadline before the fall-back begins.
const STAGE_SHARE: u32 = 2;
/// And never more than this: behind it stands a table lock or a backup, which does not end soon.
const STAGE_LIMIT: Duration = Duration::from_secs(1);

impl Database {
    pub(super) async fn freeze(&self, until: Instant) -> Result<GtidState, Failure> {
        self.hush(true);
        let left = until.saturating_duration_since(Instant::now());
        let stage_until = Instant::now() + (left / STAGE_SHARE).min(STAGE_LIMIT);
        let frozen = match self.control.ask(statement!("freeze"), stage_until).await {
            Ok(_) => Frozen::Stage,
            Err(failure) => {
                tracing::warn!(%failure, "no freeze by backup stage; read_only and KILL CONNECTION instead");
                self.end_stage(until).await?;
                // Only what is undone by opening again may be taken back by Thaw.
                if is_read_only(&self.spare, until).await? {
                    return Err(Failure::Other("the server is read-only already: nothing to freeze".into()));
                }
                self.remember(|memory| memory.frozen = Some(Frozen::ReadOnly));
                self.forbid_and_kill(until).await?;
                Frozen::ReadOnly
            }
        };
        let position = self.positions(&self.control, until).await?.binlog;
        self.remember(|memory| {
            memory.frozen = Some(frozen);
            memory.frozen_at = position.clone();
        });
        Ok(position)
    }

    pub(super) async fn thaw(&self, until: Instant) -> Result<(), Failure> {
        let frozen = self.remember(|memory| memory.frozen);
        self.end_stage(until).await?;
        if frozen == Some(Frozen::ReadOnly) {
            self.allow_writes(until).await?;
        }
        self.remember(|memory| memory.frozen = None);
        self.hush(false);
        Ok(())
    }

    pub(super) async fn seal(&self, until: Instant) -> Result<GtidState, Failure> {
        let Some(frozen) = self.remember(|memory| memory.frozen) else {
            return Err(Failure::Other("nothing is frozen: a freeze comes first".into()));
        };
        self.hush(true);
        if frozen == Frozen::Stage {
            // Ended while they wait for the stage, their transactions are rolled back, not committed.
            self.forbid_and_kill(until).await?;
            self.end_stage(until).await?;
        }
        let position = self.positions(&self.spare, until).await?.binlog;
        let before = self.remember(|memory| {
            memory.frozen = None;
            memory.frozen_at.clone()
        });
        if position != before {
            return Err(Failure::Other(format!(
                "the position moved from {before} to {position} while commits were paused: \
                 an account that bypasses read_only has written"
            )));
        }
        Ok(position)
    }

    /// Ends whatever stage the control connection holds; a connection that cannot say so is thrown away,
    /// and the stage ends with it.
    pub(super) async fn end_stage(&self, until: Instant) -> Result<(), Failure> {
        match self.control.ask(statement!("thaw"), until).await {
            // An error of the server says that no stage is held (4146).
            Err(Failure::Server { .. }) | Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
