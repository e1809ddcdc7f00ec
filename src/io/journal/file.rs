//! The SQLite file of the journal: opening, appending, staying within bounds.

use super::{Entry, JournalError};
use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The schema of the file, `migrations/`.
static MIGRATIONS: sqlx::migrate::Migrator = {
    let mut migrations = sqlx::migrate!("./migrations");
    // A newer version of apd may have been here; its additions do not hurt.
    migrations.ignore_missing = true;
    migrations
};

/// How much the journal may hold; the oldest entries go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub rows: u64,
    /// Bytes of the file, without its write-ahead log (4 MB).
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 100_000, bytes: 32 * 1024 * 1024 }
    }
}

/// After this many entries the bounds are looked at.
const PRUNE_EVERY: u64 = 128;

/// An open journal.
#[derive(Debug)]
pub(super) struct JournalFile {
    path: PathBuf,
    connection: SqliteConnection,
    limits: Limits,
    /// Device and inode: tells when someone moved the file away.
    identity: (u64, u64),
    /// The connection is at `synchronous=FULL`.
    full: bool,
    since_prune: u64,
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(2))
        .disable_statement_logging()
}

impl JournalFile {
    /// Opens the file, brings its schema up to date. A file that is no database any more is moved aside
    /// (`.broken`) and begun anew.
    pub(super) async fn open(path: &Path, limits: Limits) -> Result<Self, JournalError> {
        match Self::open_as_it_is(path, limits).await {
            Err(JournalError::Database { source, .. }) if is_broken(&source) => {
                move_aside(path).await?;
                tracing::warn!(
                    code = "journal.broken",
                    "{} is damaged; it was moved aside as .broken",
                    path.display()
                );
                Self::open_as_it_is(path, limits).await
            }
            other => other,
        }
    }

    async fn open_as_it_is(path: &Path, limits: Limits) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Database { path: path.to_owned(), source };
        let mut connection = options(path)
            .create_if_missing(true)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("journal_size_limit", "4194304")
            .connect()
            .await
            .map_err(failed)?;
        MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(|source| match source {
            sqlx::migrate::MigrateError::Execute(source) => failed(source),
            source => JournalError::Schema { path: path.to_owned(), source },
        })?;
        let identity =
            identity(path).await.map_err(|source| JournalError::File { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            limits,
            identity,
            full: false,
            since_prune: PRUNE_EVERY,
        })
    }

    /// Nobody deleted or moved the file.
    pub(super) async fn is_still_there(&self) -> bool {
        identity(&self.path).await.is_ok_and(|identity| identity == self.identity)
    }

    /// Appends in one transaction; durable if one of them is marked.
    pub(super) async fn append(&mut self, batch: &[Entry]) -> Result<(), JournalError> {
        let result = self.append_all(batch).await;
        result.map_err(|source| JournalError::Database { path: self.path.clone(), source })
    }

    async fn append_all(&mut self, batch: &[Entry]) -> Result<(), sqlx::Error> {
        let full = batch.iter().any(|entry| entry.durable);
        if full != self.full {
            let pragma = if full { "PRAGMA synchronous=FULL" } else { "PRAGMA synchronous=NORMAL" };
            sqlx::query(pragma).execute(&mut self.connection).await?;
            self.full = full;
        }
        let mut transaction = self.connection.begin().await?;
        for entry in batch {
            sqlx::query(
                "INSERT INTO entry (unix_ms, boot_ns, epoch, kind, code, severity, text, details) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(entry.unix_ms)
            .bind(i64::try_from(entry.at.0).unwrap_or(i64::MAX))
            .bind(i64::try_from(entry.epoch).unwrap_or(i64::MAX))
            .bind(entry.kind.word())
            .bind(entry.code.as_str())
            .bind(entry.severity.word())
            .bind(entry.text_cut())
            .bind(entry.details_json())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        self.since_prune += batch.len() as u64;
        if self.since_prune >= PRUNE_EVERY {
            self.since_prune = 0;
            self.prune().await?;
        }
        Ok(())
    }

    /// Deletes the oldest entries beyond the bounds.
    async fn prune(&mut self) -> Result<(), sqlx::Error> {
        let rows = i64::try_from(self.limits.rows).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM entry WHERE id <= (SELECT MAX(id) FROM entry) - ?")
            .bind(rows)
            .execute(&mut self.connection)
            .await?;
        let mut shrunk = false;
        // Each round drops a quarter: 16 rounds leave a hundredth.
        for _ in 0..16 {
            if self.bytes_used().await? <= self.limits.bytes {
                break;
            }
            sqlx::query(
                "DELETE FROM entry WHERE id <= (SELECT MIN(id) + (MAX(id) - MIN(id)) / 4 FROM entry)",
            )
            .execute(&mut self.connection)
            .await?;
            shrunk = true;
        }
        if shrunk {
            sqlx::query("PRAGMA incremental_vacuum").execute(&mut self.connection).await?;
        }
        Ok(())
    }

    async fn bytes_used(&mut self) -> Result<u64, sqlx::Error> {
        let used: i64 = sqlx::query_scalar(
            "SELECT (pages.page_count - free.freelist_count) * size.page_size \
             FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(u64::try_from(used).unwrap_or(0))
    }
}

async fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = tokio::fs::metadata(path).await?;
    Ok((metadata.dev(), metadata.ino()))
}

/// SQLITE_CORRUPT (11) and SQLITE_NOTADB (26), extended codes included.
fn is_broken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

async fn move_aside(path: &Path) -> Result<(), JournalError> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    for suffix in ["-wal", "-shm"] {
        // They belong to the broken file; absent is well.
        tokio::fs::remove_file(with(suffix)).await.ok();
    }
    tokio::fs::rename(path, with(".broken"))
        .await
        .map_err(|source| JournalError::File { path: path.to_owned(), source })
}
