//! The tail of a dead server's binary log, over a connection of its own: this node asks, or is asked.

use crate::decision::action::{StepOutput, StepResult};
use crate::decision::gtid::GtidState;
use crate::io::binlog::{Tail, read_tail};
use crate::io::mariadb::Database;
use crate::io::peer_link::{LinkSettings, connect, read_frame};
use crate::wire::peer::{Purpose, TailHeader, encode};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A tail longer than this is no tail: the standby was not following.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Fetches the transactions beyond `have` and holds them for the local server.
pub async fn fetch(
    database: &Database,
    link: &LinkSettings,
    have: GtidState,
    deadline: Duration,
) -> StepResult {
    match timeout(deadline, receive(link, have)).await {
        Err(_) => StepResult::TimedOut,
        Ok(Err(text)) => StepResult::Failed(text),
        Ok(Ok(tail)) => {
            let transactions = tail.transactions();
            database.hold_tail(tail);
            StepResult::Ok(StepOutput::Tail { transactions })
        }
    }
}

async fn receive(link: &LinkSettings, have: GtidState) -> Result<Tail, String> {
    let purpose = Purpose::Tail { have };
    let (mut stream, _) = connect(link, purpose).await.map_err(|error| error.to_string())?;
    let header: TailHeader = read_frame(&mut stream).await.map_err(|error| error.to_string())?;
    let bytes = match header {
        TailHeader::Follows { bytes } if bytes <= LONGEST => bytes,
        TailHeader::Follows { bytes } => return Err(format!("the peer offers a tail of {bytes} bytes")),
        TailHeader::Unreadable { reason } => return Err(reason),
    };
    let mut tail = Vec::new();
    stream.take(bytes).read_to_end(&mut tail).await.map_err(|error| error.to_string())?;
    Tail::from_bytes(&tail).map_err(|error| error.to_string())
}

/// Answers the peer that asks for a tail; the server here is dead, its files are read from disk.
pub async fn serve(database: Arc<Database>, mut stream: TcpStream, have: GtidState) {
    let Some(basename) = database.binlog_basename() else {
        let reason = "the place of the binary logs was never learned: the server did not answer in this run";
        let _ = stream.write_all(&encode(&TailHeader::Unreadable { reason: reason.into() })).await;
        return;
    };
    // Seen while the server lived: what lies before, perhaps gigabytes, need not be read.
    let place = database.bookmark(&have);
    let read = tokio::task::spawn_blocking(move || {
        read_tail(&basename, &have, LONGEST, place.as_ref())
            .map(|tail| tail.to_bytes())
            .map_err(|error| error.to_string())
    });
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(reason)) => {
            let _ = stream.write_all(&encode(&TailHeader::Unreadable { reason })).await;
            return;
        }
        Err(error) => {
            let reason = format!("reading the binary log failed: {error}");
            let _ = stream.write_all(&encode(&TailHeader::Unreadable { reason })).await;
            return;
        }
    };
    let header = TailHeader::Follows { bytes: bytes.len() as u64 };
    if stream.write_all(&encode(&header)).await.is_ok() {
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    }
}
