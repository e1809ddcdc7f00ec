//! Proof of life through the database: a heartbeat row of the peer's activity that was received *and*
//! applied after the watch began. A row that merely waited in the relay log proves nothing, however late it is applied:
//! rows count once all that had been received when the watch began is applied.

use super::Database;
use super::replica::replica;
use super::session::Failure;
use super::statement::statement;
use crate::decision::gtid::GtidState;
use crate::decision::words::Epoch;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

/// Between two looks while the watch is on.
const LOOK: Duration = Duration::from_millis(10);
/// One look must be over by then.
const LIMIT: Duration = Duration::from_millis(200);

/// One look.
struct Seen {
    received: GtidState,
    applied: GtidState,
    /// Read after the two.
    sequence: u64,
}

/// What newer rows are newer than.
struct Begin {
    received: GtidState,
    /// All that had been received then is applied.
    applied: bool,
    sequence: u64,
}

impl Database {
    /// While `wanted` names an activity: looks every 10 ms for a fresh row of it, and sends one signal for
    /// each row that was received and applied since the watch began. Ends when `wanted` is closed.
    pub async fn stream_alive(&self, mut wanted: watch::Receiver<Option<Epoch>>, signal: mpsc::Sender<()>) {
        loop {
            let epoch = *wanted.borrow_and_update();
            let Some(epoch) = epoch else {
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            };
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = self.look_for_life(epoch, &signal) => {}
            }
        }
    }

    async fn look_for_life(&self, epoch: Epoch, signal: &mpsc::Sender<()>) {
        let mut begin: Option<Begin> = None;
        loop {
            if let Ok(Some(now)) = self.stream_position(epoch).await {
                let begin = begin.get_or_insert(Begin {
                    received: now.received,
                    applied: false,
                    sequence: now.sequence,
                });
                if begin.applied && now.sequence > begin.sequence && signal.send(()).await.is_err() {
                    return;
                }
                begin.applied = begin.applied || now.applied.reaches(&begin.received);
                begin.sequence = now.sequence;
            }
            sleep(LOOK).await;
        }
    }

    async fn stream_position(&self, epoch: Epoch) -> Result<Option<Seen>, Failure> {
        let until = Instant::now() + LIMIT;
        let row = statement!(
            "heartbeat_sequence",
            schema = self.schema(),
            node = epoch.node.0,
            epoch_number = epoch.number,
            epoch_node = epoch.node.0,
        );
        let Some(replica) = replica(&self.rows, until).await? else { return Ok(None) };
        let rows = self.rows.ask(row, until).await?;
        let sequence = rows.first().and_then(|row| row.number("sequence")).unwrap_or(0);
        Ok(Some(Seen { received: replica.received, applied: replica.applied, sequence }))
    }
}
