//! Reading the journal, on a connection of its own: a stalled writer does not hold a reader up for long.

use super::entry::wall_clock;
use super::file::options;
use super::{JournalError, JournalHandle};
use crate::decision::why::Severity;
use crate::wire::control::timeline::timeline;
use crate::wire::control::{EntryKind, History, HistoryEntry, SCHEMA_VERSION, Timeline};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, SqliteConnection};
use std::sync::atomic::Ordering;

/// Which entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only of this epoch.
    pub epoch: Option<u64>,
    /// Only of these kinds; empty: all.
    pub kinds: Vec<EntryKind>,
    /// The newest so many, at most 10000.
    pub limit: u32,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self { epoch: None, kinds: vec![EntryKind::Decision], limit: 100 }
    }
}

/// Most entries in one answer.
const LIMIT_MAX: u32 = 10_000;
/// Entries before the end of a story that may belong to it.
const LEAD_ROWS: i64 = 5_000;
/// Entries after the end of a story that may belong to it.
const TRAIL_ROWS: i64 = 1_000;

impl JournalHandle {
    /// The newest entries that `query` asks for, oldest first. When the file cannot be read, what waits in
    /// memory, with the problem beside it.
    pub async fn history(&self, query: &HistoryQuery) -> History {
        let limit = query.limit.clamp(1, LIMIT_MAX);
        // Before the first try of the task the daemon has only just begun: all there is waits in memory.
        let begun = self.shared.tried.load(Ordering::Acquire);
        let (read, mut problem) = match self.read_history(query, limit).await {
            Err(_unfinished) if !begun => (Vec::new(), None),
            Ok(entries) => (entries, self.health().problem),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let last = read.last().map_or(0, |entry| entry.id);
        let wanted = |entry: &HistoryEntry| {
            query.epoch.is_none_or(|epoch| entry.epoch == epoch)
                && (query.kinds.is_empty() || query.kinds.contains(&entry.kind))
        };
        let mut entries = read;
        entries.extend(self.waiting(begun, last).into_iter().filter(wanted));
        let surplus = entries.len().saturating_sub(limit as usize);
        entries.drain(..surplus);
        if let Some(problem) = &mut problem {
            problem.truncate(problem.floor_char_boundary(400));
        }
        History { schema_version: SCHEMA_VERSION, entries, problem }
    }

    /// At most `limit` entries that were written after `id`, oldest first; only of `kinds`, if any are named.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn after(
        &self,
        id: i64,
        kinds: &[EntryKind],
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        let query = sqlx::query(
            "SELECT * FROM entry WHERE id > ?1 AND (?2 = '' OR instr(?2, ',' || kind || ',') > 0) \
             ORDER BY id LIMIT ?3",
        );
        self.read(query.bind(id).bind(listed(kinds)).bind(limit)).await
    }

    /// The id of the newest entry in the file; 0 if there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn newest(&self) -> Result<i64, JournalError> {
        let mut connection = self.connect().await?;
        let newest =
            sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM entry").fetch_one(&mut connection).await;
        connection.close().await.ok();
        newest.map_err(|source| self.failed(source))
    }

    /// The story of `epoch`, or the newest story; `None` if the journal tells none.
    ///
    /// # Errors
    /// When the file cannot be read and memory holds no such story either.
    pub async fn timeline(&self, epoch: Option<u64>) -> Result<Option<Timeline>, JournalError> {
        let begun = self.shared.tried.load(Ordering::Acquire);
        let (mut entries, failure) = match self.read_story(epoch).await {
            Ok(entries) => (entries, None),
            Err(_unfinished) if !begun => (Vec::new(), None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let last = entries.last().map_or(0, |entry| entry.id);
        entries.extend(self.waiting(begun, last));
        let told = timeline(epoch, &entries);
        match (told, failure) {
            (None, Some(error)) => Err(error),
            (told, _) => Ok(told),
        }
    }

    async fn connect(&self) -> Result<SqliteConnection, JournalError> {
        options(self.path()).read_only(true).connect().await.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: sqlx::Error) -> JournalError {
        JournalError::Database { path: self.path().to_owned(), source }
    }

    async fn read_history(
        &self,
        query: &HistoryQuery,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        let newest_first = sqlx::query(
            "SELECT * FROM entry WHERE (?1 IS NULL OR epoch = ?1) \
             AND (?2 = '' OR instr(?2, ',' || kind || ',') > 0) ORDER BY id DESC LIMIT ?3",
        )
        .bind(query.epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX)))
        .bind(listed(&query.kinds))
        .bind(limit);
        let mut entries = self.read(newest_first).await?;
        entries.reverse();
        Ok(entries)
    }

    async fn read_story(&self, epoch: Option<u64>) -> Result<Vec<HistoryEntry>, JournalError> {
        // Around the end of the story; which entries belong to it is decided on the entries themselves.
        let query = sqlx::query(
            "WITH story AS (SELECT COALESCE( \
               (SELECT MAX(id) FROM entry WHERE kind = 'decision' AND epoch = ?1 \
                 AND code IN ('takeover.done', 'switchover.done')), \
               (SELECT MAX(id) FROM entry WHERE kind = 'decision' AND (?1 IS NULL OR epoch = ?1) \
                 AND code IN ('takeover.done', 'switchover.done', 'step_down.done', 'takeover.failed')), \
               (SELECT MAX(id) FROM entry WHERE ?1 IS NULL OR epoch = ?1)) AS ended) \
             SELECT entry.* FROM entry, story WHERE kind IN ('decision', 'step') \
             AND id BETWEEN story.ended - ?2 AND story.ended + ?3 ORDER BY id",
        )
        .bind(epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX)))
        .bind(LEAD_ROWS)
        .bind(TRAIL_ROWS);
        self.read(query).await
    }

    /// What a query finds, in its order.
    async fn read(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<HistoryEntry>, JournalError> {
        let mut connection = self.connect().await?;
        let rows = query.fetch_all(&mut connection).await;
        connection.close().await.ok();
        Ok(rows.map_err(|source| self.failed(source))?.iter().map(entry).collect())
    }
}

/// Kinds as the queries look for them: `,event,,step,`.
fn listed(kinds: &[EntryKind]) -> String {
    kinds.iter().map(|kind| format!(",{kind},")).collect()
}

/// A row as it is read. The columns are our own: what does not fit reads as empty, never as a failure.
fn entry(row: &SqliteRow) -> HistoryEntry {
    let text = |name: &str| row.try_get::<String, _>(name).unwrap_or_default();
    let number = |name: &str| row.try_get::<i64, _>(name).unwrap_or_default();
    let unix_ms = number("unix_ms");
    HistoryEntry {
        id: number("id"),
        unix_ms,
        at: wall_clock(unix_ms),
        boot_ns: u64::try_from(number("boot_ns")).unwrap_or(0),
        epoch: u64::try_from(number("epoch")).unwrap_or(0),
        kind: text("kind").parse().unwrap_or(EntryKind::Event),
        code: text("code"),
        severity: match text("severity").as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        },
        text: text("text"),
        details: serde_json::from_str(&text("details")).unwrap_or(serde_json::Value::Null),
    }
}
