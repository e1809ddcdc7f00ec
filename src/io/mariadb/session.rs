//! One connection to a server, used by one owner. Deadlines throw it away: a mysql_async connection whose
//! future was dropped would answer the next question with the last one's result.

use super::statement::{Statement, statement};
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Opts, Row, Value};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Why a statement or a connection attempt failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody listens there: the server does not run.
    #[error("no server listens: {0}")]
    Refused(String),
    /// The connection broke.
    #[error("{what}: the connection broke: {why}")]
    Lost {
        /// Which statement.
        what: &'static str,
        /// The error beneath.
        why: String,
        /// False: the server's end was closed before the statement was sent; it was not carried out.
        sent: bool,
    },
    /// No answer in time. The statement was killed in the server, where that was possible.
    #[error("{0}: no answer in time")]
    TimedOut(&'static str),
    /// The server answered with an error.
    #[error("{what}: MariaDB error {code}: {message}")]
    Server {
        /// Which statement.
        what: &'static str,
        /// MariaDB's error number.
        code: u16,
        /// Its text.
        message: String,
    },
    /// Anything else; the text says what and, where known, the remedy.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The server's error number, if it gave one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Failure::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The server has no connection left to give: alive, and saturated.
    pub fn is_saturation(&self) -> bool {
        matches!(self.code(), Some(1040 | 1203 | 1226))
    }

    /// The statement's own bound in the server (`max_statement_time`, `lock_wait_timeout`) ended it.
    pub fn is_bound(&self) -> bool {
        matches!(self.code(), Some(1969 | 1205))
    }

    /// The connection cannot be used any more.
    fn is_final(&self) -> bool {
        // 1053 shutdown, 1927 connection killed, 1317 interrupted by a kill.
        !matches!(self, Failure::Server { code, .. } if !matches!(code, 1053 | 1927 | 1317))
            || self.is_denial()
    }

    /// A privilege was missing. A connection keeps the global ones of its beginning (MariaDB manual, GRANT): what is
    /// granted now is seen by a new one.
    fn is_denial(&self) -> bool {
        matches!(self.code(), Some(1044 | 1142 | 1143 | 1227 | 1370))
    }

    fn from_client(what: &'static str, error: &mysql_async::Error) -> Failure {
        match error {
            mysql_async::Error::Server(server) => {
                Failure::Server { what, code: server.code, message: server.message.clone() }
            }
            mysql_async::Error::Io(mysql_async::IoError::Io(io))
                if matches!(io.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
            {
                Failure::Refused(io.to_string())
            }
            mysql_async::Error::Io(mysql_async::IoError::Io(io)) if io.kind() == ErrorKind::BrokenPipe => {
                Failure::Lost { what, why: io.to_string(), sent: false }
            }
            other => Failure::Lost { what, why: other.to_string(), sent: true },
        }
    }
}

/// One row of a result: column name, whatever its case, to text; NULL is absent. Made for every look, of some
/// sixty columns, of which a few are read: names are shared, not copied.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    columns: Arc<[Column]>,
    values: Vec<Option<String>>,
}

impl Fields {
    fn value(&self, name: &str) -> Option<&str> {
        let is_it = |column: &Column| column.name_ref().eq_ignore_ascii_case(name.as_bytes());
        self.values.get(self.columns.iter().position(is_it)?)?.as_deref()
    }

    /// The text of a column; empty if NULL or no such column.
    pub fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or_default()
    }

    /// A column as a number; `None` if NULL, absent or no number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name)?.parse().ok()
    }

    /// A boolean variable: 1, ON, YES.
    pub fn is_on(&self, name: &str) -> bool {
        ["1", "ON", "YES"].iter().any(|yes| self.text(name).eq_ignore_ascii_case(yes))
    }

    fn from_row(row: Row) -> Fields {
        let columns = row.columns();
        let text = |value| match value? {
            Value::NULL => None,
            Value::Bytes(bytes) => Some(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
            Value::Int(number) => Some(number.to_string()),
            Value::UInt(number) => Some(number.to_string()),
            other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
        };
        Fields { columns, values: row.unwrap_raw().into_iter().map(text).collect() }
    }
}

/// What the statements of one packet answered, in their order.
#[derive(Clone, Debug, Default)]
pub struct Answer(Vec<Vec<Fields>>);

impl Answer {
    /// The rows of the last statement that gave any.
    pub fn into_rows(self) -> Vec<Fields> {
        self.0.into_iter().rev().find(|rows| !rows.is_empty()).unwrap_or_default()
    }

    /// The rows of the statement at `index`, counted from 0; none if there is no such statement.
    pub fn rows_of(&self, index: usize) -> &[Fields] {
        self.0.get(index).map_or(&[], Vec::as_slice)
    }
}

/// A connection with a question under way. Dropped, it goes without asking the server: the usual drop waits
/// for the rest of a pending result, for ever if the server hangs. A plain thread has no runtime on which
/// the driver could wait.
struct Discarding(Option<Conn>);

impl Drop for Discarding {
    fn drop(&mut self) {
        if let Some(conn) = self.0.take() {
            std::thread::spawn(move || drop(conn));
        }
    }
}

/// An open connection.
pub struct Session {
    /// Idle: its usual drop takes leave of the server.
    conn: Option<Conn>,
    id: u32,
}

impl Session {
    /// Connects, authenticates and prepares the session.
    ///
    /// # Errors
    /// [`Failure::Refused`] if nobody listens, [`Failure::TimedOut`] at `until`, or the server's answer.
    pub async fn open(opts: Opts, until: Instant) -> Result<Session, Failure> {
        let conn = match timeout_at(until, Conn::new(opts)).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(Failure::from_client("connect", &error)),
            Err(_) => return Err(Failure::TimedOut("connect")),
        };
        if let Some(refusal) = refused(conn.server_version()) {
            return Err(Failure::Other(refusal));
        }
        let id = conn.id();
        let mut session = Session { conn: Some(conn), id };
        session.rows(&statement!("session"), until).await?;
        Ok(session)
    }

    /// `CONNECTION_ID()` of this connection.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it can still be used.
    pub fn is_usable(&self) -> bool {
        self.conn.is_some()
    }

    /// Sends `statement` with the server's own bound a little before `until` and reads the rows of its last
    /// result. After any failure but a plain error of the server the connection is gone.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn rows(&mut self, statement: &Statement, until: Instant) -> Result<Vec<Fields>, Failure> {
        self.answer(statement, Some(until)).await.map(Answer::into_rows)
    }

    /// As [`Session::rows`], without any bound: the caller watches over it by other means.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn rows_unbounded(&mut self, statement: &Statement) -> Result<Vec<Fields>, Failure> {
        self.answer(statement, None).await.map(Answer::into_rows)
    }

    /// As [`Session::rows`], with the rows of each statement of a joined one; `None` is without any bound.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn answer(&mut self, statement: &Statement, until: Option<Instant>) -> Result<Answer, Failure> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let bound = left.map_or_else(|| "0".to_owned(), bound);
        let text = format!("SET SESSION max_statement_time = {bound};\n{}", statement.text());
        self.send(statement.name(), text, until).await
    }

    async fn send(
        &mut self,
        what: &'static str,
        text: String,
        until: Option<Instant>,
    ) -> Result<Answer, Failure> {
        let lost = || Failure::Lost { what, why: "closed before".into(), sent: false };
        // Taken out while in flight: a dropped future must not leave a half-used connection behind.
        let mut flight = Discarding(self.conn.take());
        let conn = flight.0.as_mut().ok_or_else(lost)?;
        let answer = match until {
            Some(until) => match timeout_at(until, exchange(conn, text)).await {
                Ok(answer) => answer,
                Err(_) => return Err(Failure::TimedOut(what)),
            },
            None => exchange(conn, text).await,
        };
        let answer = answer.map_err(|error| Failure::from_client(what, &error));
        if !answer.as_ref().is_err_and(Failure::is_final) {
            self.conn = flight.0.take();
        }
        answer
    }
}

/// Why a server of this version cannot be served. Its greeting tells: MariaDB counts from 10, MySQL below.
fn refused((major, minor, patch): (u16, u16, u16)) -> Option<String> {
    (1..10).contains(&major).then(|| {
        format!(
            "the server is MySQL {major}.{minor}.{patch}, and apd needs MariaDB 10.5 or newer: MySQL knows no MariaDB \
             GTID; load a dump of its data into a MariaDB server, and name that one under [mariadb]"
        )
    })
}

async fn exchange(conn: &mut Conn, text: String) -> Result<Answer, mysql_async::Error> {
    let mut result = conn.query_iter(text).await?;
    // Our own SET, which has no rows.
    let _: Vec<Row> = result.collect().await?;
    let mut results = Vec::new();
    while !result.is_empty() {
        let rows: Vec<Row> = result.collect().await?;
        results.push(rows.into_iter().map(Fields::from_row).collect());
    }
    // An error of a later statement lies here still, and would come up at the next question otherwise.
    result.drop_result().await?;
    Ok(Answer(results))
}

/// The server's bound for a client that waits `left`: a little less, so that the server gives up first and
/// says so, and never 0, which means no bound. Seconds, as `max_statement_time` takes them.
fn bound(left: Duration) -> String {
    let margin = (left / 10).min(Duration::from_millis(50));
    format!("{:.3}", (left - margin).as_secs_f64().max(0.005))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_is_known_by_its_version() {
        for mysql in [(5, 7, 21), (8, 0, 36), (9, 1, 0)] {
            assert!(refused(mysql).is_some(), "{mysql:?}");
        }
        // The greeting of an unknown server is no proof.
        for other in [(10, 2, 14), (10, 11, 19), (11, 4, 2), (12, 0, 1), (0, 0, 0)] {
            assert_eq!(refused(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_server_gives_up_before_the_client() {
        assert_eq!(bound(Duration::from_millis(100)), "0.090");
        assert_eq!(bound(Duration::from_secs(10)), "9.950");
        assert_eq!(bound(Duration::ZERO), "0.005");
    }
}
