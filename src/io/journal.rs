//! The journal of this node: every event, decision, action and step, in a small SQLite file.
//!
//! A journal must never hold anything up: [`JournalHandle::record`] puts an entry into a bounded channel and
//! returns; when the channel is full the entry is dropped and counted. One task owns the file. A full or
//! read-only disk is reported through [`JournalHandle::health`] and demotes nobody: entries wait in memory (the
//! oldest go first when there are too many), and the file is opened again until it takes them.
//!
//! Marked entries ([`Entry::durable`]) are on disk when their batch is committed (`synchronous=FULL`); the
//! others at the next checkpoint or marked entry (`NORMAL`), which a power cut may cost but a kill does not.

mod entry;
mod file;
mod read;

pub use entry::Entry;
pub use file::Limits;
pub use read::HistoryQuery;

use crate::wire::control::HistoryEntry;
use file::JournalFile;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Entries that wait for the task.
const CHANNEL: usize = 4096;
/// Entries that wait in memory for a disk that does not take them.
const PENDING_MAX: usize = 4096;
/// Entries in one transaction.
const BATCH: usize = 512;
/// After a failure the file is tried again this much later, doubled each time up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
/// The longest pause between tries.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A write that takes longer is reported as a stalled disk.
const STALLED: Duration = Duration::from_secs(2);

/// A journal that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite refuses.
    #[error("journal {path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The file has a schema that this version cannot bring up to date.
    #[error("journal {path}: {source}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: sqlx::migrate::MigrateError,
    },
    /// The folder or file cannot be reached.
    #[error("journal {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// How the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalHealth {
    /// What is wrong, in one line; `None` if nothing is. Never a reason to give a role up.
    pub problem: Option<String>,
    /// Entries lost since the start: the channel or the memory for a failing disk was full.
    pub dropped: u64,
}

/// What goes through the channel.
enum Message {
    Entry(Box<Entry>),
    Flush(oneshot::Sender<()>),
}

/// What the task and the readers share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Recorded and not yet on disk. Only the task and readers lock it, never a recorder.
    pending: Mutex<VecDeque<Entry>>,
    dropped: AtomicU64,
    /// The task has opened, or failed to open, the file at least once: it can be looked into.
    tried: AtomicBool,
    problem: watch::Sender<Option<String>>,
    /// Counts what was written, to wake those who follow.
    written: watch::Sender<u64>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, entry: Entry) {
        let mut pending = self.pending();
        if pending.len() >= PENDING_MAX {
            pending.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        pending.push_back(entry);
    }
}

/// The task that owns the file.
#[derive(Debug)]
pub struct Journal;

impl Journal {
    /// Starts the task on the present tokio runtime. Never fails: a file that cannot be opened is a problem
    /// that [`JournalHandle::health`] shows.
    pub fn spawn(path: impl Into<PathBuf>) -> JournalHandle {
        Self::spawn_with(path, Limits::default())
    }

    /// As [`Journal::spawn`], with bounds of its own.
    pub fn spawn_with(path: impl Into<PathBuf>, limits: Limits) -> JournalHandle {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let shared = Arc::new(Shared {
            path: path.into(),
            pending: Mutex::new(VecDeque::new()),
            dropped: AtomicU64::new(0),
            tried: AtomicBool::new(false),
            problem: watch::Sender::new(None),
            written: watch::Sender::new(0),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            receiver,
            limits,
            file: None,
            retry: RETRY_MIN,
            told_dropped: 0,
        };
        tokio::spawn(writer.run());
        JournalHandle { sender, shared }
    }
}

/// Records into and reads from the journal. Cheap to clone; usable from every thread.
#[derive(Clone, Debug)]
pub struct JournalHandle {
    sender: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

impl JournalHandle {
    /// Records an entry. Never blocks: an entry that finds no room is dropped and counted.
    pub fn record(&self, entry: Entry) {
        if self.sender.try_send(Message::Entry(Box::new(entry))).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the journal is now.
    pub fn health(&self) -> JournalHealth {
        JournalHealth {
            problem: self.shared.problem.borrow().clone(),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }

    /// Changes whenever entries have been written: for those who follow with [`JournalHandle::after`].
    pub fn written(&self) -> watch::Receiver<u64> {
        self.shared.written.subscribe()
    }

    /// Waits until all that was recorded before is on disk, at most `limit`; false if it is not by then.
    pub async fn flush(&self, limit: Duration) -> bool {
        let (done, flushed) = oneshot::channel();
        let wait = async { self.sender.send(Message::Flush(done)).await.is_ok() && flushed.await.is_ok() };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What waits in memory while the disk does not take it (or has not been tried: `begun` is false), as it
    /// will be read, with ids that go on after `last`. Otherwise it is on its way to the disk, and a reader
    /// might see it twice.
    fn waiting(&self, begun: bool, last: i64) -> Vec<HistoryEntry> {
        if begun && self.shared.problem.borrow().is_none() {
            return Vec::new();
        }
        let pending = self.shared.pending();
        (last + 1..).zip(pending.iter()).map(|(id, entry)| entry.as_read(id)).collect()
    }
}

struct Writer {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Message>,
    limits: Limits,
    file: Option<JournalFile>,
    retry: Duration,
    told_dropped: u64,
}

impl Writer {
    async fn run(mut self) {
        let mut waiters: Vec<oneshot::Sender<()>> = Vec::new();
        // The first try tells at once whether the disk can be written at all.
        let mut retry_at = self.try_write().await;
        loop {
            let (message, due) = match retry_at {
                None => (self.receiver.recv().await, true),
                // While the disk fails, new entries wait for the next try like the old ones.
                Some(at) => match tokio::time::timeout_at(at, self.receiver.recv()).await {
                    Ok(message) => (message, false),
                    Err(_elapsed) => {
                        retry_at = self.try_write().await;
                        self.wake(&mut waiters, retry_at.is_none());
                        continue;
                    }
                },
            };
            let Some(message) = message else {
                self.try_write().await;
                return;
            };
            self.take(message, &mut waiters);
            while let Ok(more) = self.receiver.try_recv() {
                self.take(more, &mut waiters);
            }
            if due {
                retry_at = self.try_write().await;
                self.wake(&mut waiters, retry_at.is_none());
            }
        }
    }

    /// Writes; `None` when all is on disk, otherwise when to try again.
    async fn try_write(&mut self) -> Option<tokio::time::Instant> {
        if self.write().await.is_ok() {
            self.retry = RETRY_MIN;
            return None;
        }
        let at = tokio::time::Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(RETRY_MAX);
        Some(at)
    }

    fn wake(&self, waiters: &mut Vec<oneshot::Sender<()>>, written: bool) {
        if written {
            for waiter in waiters.drain(..) {
                // Who waited may have given up.
                let _ = waiter.send(());
            }
        }
    }

    fn take(&self, message: Message, waiters: &mut Vec<oneshot::Sender<()>>) {
        match message {
            Message::Entry(entry) => self.shared.keep(*entry),
            Message::Flush(waiter) => waiters.push(waiter),
        }
    }

    /// Brings everything that waits to disk, and says so when it cannot.
    async fn write(&mut self) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        let result = {
            let work = self.write_all();
            tokio::pin!(work);
            loop {
                match tokio::time::timeout(STALLED, &mut work).await {
                    Ok(result) => break result,
                    Err(_elapsed) => {
                        let path = shared.path.display();
                        tell(&shared, Some(format!("journal {path}: the disk does not answer")));
                    }
                }
            }
        };
        shared.tried.store(true, Ordering::Release);
        match &result {
            Ok(()) => tell(&self.shared, None),
            Err(error) => {
                self.file = None;
                tell(&self.shared, Some(error.to_string()));
            }
        }
        result
    }

    async fn write_all(&mut self) -> Result<(), JournalError> {
        if let Some(file) = &self.file
            && !file.is_still_there().await
        {
            self.file = None;
        }
        if self.file.is_none() {
            self.file = Some(JournalFile::open(&self.shared.path, self.limits).await?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.told_dropped {
            let lost = Entry::lost(dropped - self.told_dropped);
            self.told_dropped = dropped;
            self.shared.pending().push_back(lost);
        }
        loop {
            let batch: Vec<Entry> = self.shared.pending().iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return Ok(());
            }
            file.append(&batch).await?;
            self.shared.pending().drain(..batch.len());
            self.shared.written.send_modify(|count| *count += 1);
        }
    }
}

/// Shows a problem, or that there is none any more, and logs each change once.
fn tell(shared: &Shared, problem: Option<String>) {
    shared.problem.send_if_modified(|shown| {
        if *shown == problem {
            return false;
        }
        match &problem {
            Some(problem) => {
                tracing::warn!(code = "journal.failing", "{problem}; nothing else depends on it")
            }
            None => tracing::info!(code = "journal.recovered", "the journal is written again"),
        }
        *shown = problem;
        true
    });
}
