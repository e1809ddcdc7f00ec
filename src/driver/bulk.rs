//! What is too long or too slow for the peer link, over connections of their own: the tail of a dead server's binary
//! log, and pages about a node. This node asks, or is asked.

use crate::decision::action::{StepOutput, StepResult};
use crate::decision::gtid::GtidState;
use crate::io::binlog::{Tail, read_tail};
use crate::io::control_socket::Inquiry;
use crate::io::mariadb::Database;
use crate::io::peer_link::{LinkSettings, connect, read_frame};
use crate::wire::peer::{BulkHeader, Page, Purpose, encode};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// A tail longer than this is no tail: the standby was not following.
const LONGEST: u64 = 256 * 1024 * 1024;

/// A page longer than this is none.
const LONGEST_PAGE: u64 = 4 * 1024 * 1024;

/// Asks the peer for a page about itself.
///
/// # Errors
/// When it does not answer in time, or refuses; in words.
pub async fn fetch_page(link: &LinkSettings, page: Page, deadline: Duration) -> Result<Value, String> {
    let ask = async {
        let (mut stream, _) =
            connect(link, Purpose::Page { page }).await.map_err(|error| error.to_string())?;
        let header: BulkHeader = read_frame(&mut stream).await.map_err(|error| error.to_string())?;
        let bytes = match header {
            BulkHeader::Follows { bytes } if bytes <= LONGEST_PAGE => bytes,
            BulkHeader::Follows { bytes } => return Err(format!("it offers a page of {bytes} bytes")),
            BulkHeader::Unreadable { reason } => return Err(reason),
        };
        let mut text = Vec::new();
        stream.take(bytes).read_to_end(&mut text).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    };
    match timeout(deadline, ask).await {
        Ok(answer) => answer.map_err(|error| format!("the peer ({}) was asked: {error}", link.peer)),
        Err(_) => Err(format!("the peer ({}) did not answer within {} s", link.peer, deadline.as_secs())),
    }
}

/// Answers the peer that asks for a page about this node.
pub async fn serve_page(inquiries: mpsc::Sender<Inquiry>, mut stream: TcpStream, page: Page) {
    let (reply, answered) = oneshot::channel();
    let asked = inquiries.send(Inquiry::Page { page, of_peer: false, reply }).await;
    let answer = match (asked, answered.await) {
        (Ok(()), Ok(Ok(page))) => serde_json::to_vec(&page).map_err(|error| error.to_string()),
        (Ok(()), Ok(Err(error))) => Err(error.to_string()),
        _ => Err("the daemon is on its way out".to_owned()),
    };
    let (header, text) = match answer {
        Ok(text) => (BulkHeader::Follows { bytes: text.len() as u64 }, text),
        Err(reason) => (BulkHeader::Unreadable { reason }, Vec::new()),
    };
    if stream.write_all(&encode(&header)).await.is_ok() {
        let _ = stream.write_all(&text).await;
        let _ = stream.shutdown().await;
    }
}

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
    let header: BulkHeader = read_frame(&mut stream).await.map_err(|error| error.to_string())?;
    let bytes = match header {
        BulkHeader::Follows { bytes } if bytes <= LONGEST => bytes,
        BulkHeader::Follows { bytes } => return Err(format!("the peer offers a tail of {bytes} bytes")),
        BulkHeader::Unreadable { reason } => return Err(reason),
    };
    let mut tail = Vec::new();
    stream.take(bytes).read_to_end(&mut tail).await.map_err(|error| error.to_string())?;
    Tail::from_bytes(&tail).map_err(|error| error.to_string())
}

/// Answers the peer that asks for a tail; the server here is dead, its files are read from disk.
pub async fn serve(database: Arc<Database>, mut stream: TcpStream, have: GtidState) {
    let Some(basename) = database.binlog_basename() else {
        let reason = "the place of the binary logs was never learned: the server did not answer in this run";
        let _ = stream.write_all(&encode(&BulkHeader::Unreadable { reason: reason.into() })).await;
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
            let _ = stream.write_all(&encode(&BulkHeader::Unreadable { reason })).await;
            return;
        }
        Err(error) => {
            let reason = format!("reading the binary log failed: {error}");
            let _ = stream.write_all(&encode(&BulkHeader::Unreadable { reason })).await;
            return;
        }
    };
    let header = BulkHeader::Follows { bytes: bytes.len() as u64 };
    if stream.write_all(&encode(&header)).await.is_ok() {
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    }
}
