//! `GET /events`: server-sent events, so that a page, a script or a colleague sees a change when it happens.
//!
//! * `state`, without an id: the pair in short, at the beginning and whenever it is another one. It comes from the
//!   snapshot, so that it is told even while the journal's disk hangs.
//! * `event`, `decision`, `action`, `step`: a journal entry, once it is written, with its id. A client that comes back
//!   with `Last-Event-ID` is told first what it has missed.
//!
//! Each client has a short queue of its own. One that does not read in time is left; it comes back and misses nothing.

use super::Service;
use super::query::Query;
use super::reads::JOURNAL_WAIT;
use super::reply::{Reply, body, problem, stream};
use crate::io::journal::{HistoryQuery, JournalHandle};
use crate::wire::control::{Cluster, EntryKind, HistoryEntry};
use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

/// Clients at once; one more is a problem for it, not for those who are served.
pub(super) const CLIENTS: usize = 16;
/// Events that wait for one client.
const QUEUE: usize = 64;
/// Entries that are read at a time.
const BATCH: u32 = 32;
/// A journal that does not say its end by then is asked again behind the first state.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// A client that takes nothing for this long is left.
const PATIENCE: Duration = Duration::from_secs(10);
/// After this much silence a comment is sent: proxies keep the connection, and a client that is gone is noticed.
const SILENCE: Duration = Duration::from_secs(10);
/// The content type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// A client that lost its connection waits this long, milliseconds.
const RETRY_MS: u32 = 1_000;

/// The events of one client, as a body.
#[derive(Debug)]
pub struct EventBody {
    chunks: mpsc::Receiver<Bytes>,
    /// The client's place among all clients.
    _place: OwnedSemaphorePermit,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Begins the stream.
pub(super) async fn answer(
    service: &Arc<Service>,
    query: &Query,
    method: &Method,
    headers: &HeaderMap,
) -> Reply {
    let last = match headers.get("last-event-id").map(|id| id.to_str().map(str::parse::<i64>)) {
        None => query.after,
        Some(Ok(Ok(id))) => Some(id),
        Some(_) => {
            return problem(StatusCode::BAD_REQUEST, "E_USAGE", "Last-Event-ID is no id of an entry", "");
        }
    };
    if method == Method::HEAD {
        return body(StatusCode::OK, EVENT_STREAM, "");
    }
    let Ok(place) = Arc::clone(&service.event_places).try_acquire_owned() else {
        let detail = format!("{CLIENTS} clients follow the events already");
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "E_BUSY",
            detail,
            "close one of them, or ask /status",
        );
    };
    // Before the first state is told: whatever is decided after that one is told.
    let last = match last {
        Some(last) => Some(last),
        None => timeout(FIRST_WAIT, service.journal.newest()).await.ok().and_then(Result::ok),
    };
    let (sender, chunks) = mpsc::channel(QUEUE);
    let kinds = query.kinds.clone().unwrap_or_else(|| HistoryQuery::default().kinds);
    // Apart, so that the state is told while the journal's disk hangs.
    tokio::spawn(tell_states(Arc::clone(service), sender.clone()));
    tokio::spawn(tell_entries(service.journal.clone(), kinds, last, sender));
    stream(EVENT_STREAM, EventBody { chunks, _place: place })
}

/// The state whenever it is another one, until the client is gone.
async fn tell_states(service: Arc<Service>, sender: mpsc::Sender<Bytes>) {
    let mut snapshots = service.snapshots.clone();
    let mut shown = None;
    if send(&sender, format!("retry: {RETRY_MS}\n\n")).await.is_err() {
        return;
    }
    let mut silent_since = Instant::now();
    loop {
        snapshots.borrow_and_update();
        let cluster = Cluster::of(&service.status());
        let ageless = cluster.clone().ageless();
        let text = if shown.as_ref() != Some(&ageless) {
            shown = Some(ageless);
            format!("event: state\ndata: {}\n\n", serde_json::to_string(&cluster).unwrap_or_default())
        } else if silent_since.elapsed() >= SILENCE {
            ":\n\n".to_owned()
        } else {
            String::new()
        };
        if !text.is_empty() {
            if send(&sender, text).await.is_err() {
                return;
            }
            silent_since = Instant::now();
        }
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = sleep_until(silent_since + SILENCE) => {}
            () = sender.closed() => return,
        }
    }
}

/// Journal entries as they are written, from the one after `last` on; without one from now on.
async fn tell_entries(
    journal: JournalHandle,
    kinds: Vec<EntryKind>,
    mut last: Option<i64>,
    sender: mpsc::Sender<Bytes>,
) {
    let mut written = journal.written();
    loop {
        written.borrow_and_update();
        // What cannot be read now is read at the next news.
        let newest = timeout(JOURNAL_WAIT, journal.newest()).await.ok().and_then(Result::ok);
        last = match (last, newest) {
            (None, newest) => newest,
            // A journal that was begun anew counts from one again.
            (Some(last), Some(newest)) if newest < last => Some(0),
            (last, _) => last,
        };
        while let Some(after) = last {
            let read = timeout(JOURNAL_WAIT, journal.after(after, &kinds, BATCH)).await;
            let entries = read.ok().and_then(Result::ok).unwrap_or_default();
            for entry in &entries {
                if send(&sender, told(entry)).await.is_err() {
                    return;
                }
                last = Some(entry.id);
            }
            if entries.len() < BATCH as usize {
                break;
            }
        }
        tokio::select! {
            changed = written.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// The client is gone, or does not read.
struct Left;

async fn send(sender: &mpsc::Sender<Bytes>, text: String) -> Result<(), Left> {
    match timeout(PATIENCE, sender.send(Bytes::from(text))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Left),
    }
}

/// JSON has no line ends of its own, so that one line of data holds it.
fn told(entry: &HistoryEntry) -> String {
    let data = serde_json::to_string(entry).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {data}\n\n", entry.id, entry.kind)
}
