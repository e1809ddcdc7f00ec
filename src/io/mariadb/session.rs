//! One connection to a server, used by one owner. Deadlines throw it away: a mysql_async connection whose
//! future was dropped would answer the next question with the last one's result.

use super::statement::{Statement, statement};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, Value};
use std::collections::BTreeMap;
use std::io::ErrorKind;
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

/// One row of a result: lower-cased column name to text; NULL is absent.
#[derive(Clone, Debug, Default)]
pub struct Fields(BTreeMap<String, String>);

impl Fields {
    /// The text of a column; empty if NULL or no such column.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A column as a number; `None` if NULL, absent or no number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.parse().ok()
    }

    /// A boolean variable: 1, ON, YES.
    pub fn is_on(&self, name: &str) -> bool {
        matches!(self.text(name).to_ascii_uppercase().as_str(), "1" | "ON" | "YES")
    }

    fn from_row(row: Row) -> Fields {
        let columns = row.columns();
        let values = row.unwrap_raw();
        let pairs = columns.iter().zip(values).filter_map(|(column, value)| {
            let text = match value? {
                Value::NULL => return None,
                Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Value::Int(number) => number.to_string(),
                Value::UInt(number) => number.to_string(),
                other => other.as_sql(true).trim_matches('\'').to_owned(),
            };
            Some((column.name_str().to_lowercase(), text))
        });
        Fields(pairs.collect())
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
        let left = until.saturating_duration_since(Instant::now());
        let text = format!("SET SESSION max_statement_time = {};\n{}", bound(left), statement.text());
        self.send(statement.name(), text, Some(until)).await
    }

    /// Sends `statement` without any bound: the caller watches over it by other means.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn rows_unbounded(&mut self, statement: &Statement) -> Result<Vec<Fields>, Failure> {
        let text = format!("SET SESSION max_statement_time = 0;\n{}", statement.text());
        self.send(statement.name(), text, None).await
    }

    async fn send(
        &mut self,
        what: &'static str,
        text: String,
        until: Option<Instant>,
    ) -> Result<Vec<Fields>, Failure> {
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

async fn exchange(conn: &mut Conn, text: String) -> Result<Vec<Fields>, mysql_async::Error> {
    let mut result = conn.query_iter(text).await?;
    let mut rows = Vec::new();
    loop {
        let set: Vec<Row> = result.collect().await?;
        if !set.is_empty() {
            rows = set;
        }
        if result.is_empty() {
            break;
        }
    }
    // An error of a later statement lies here still, and would come up at the next question otherwise.
    result.drop_result().await?;
    Ok(rows.into_iter().map(Fields::from_row).collect())
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
    fn the_server_gives_up_before_the_client() {
        assert_eq!(bound(Duration::from_millis(100)), "0.090");
        assert_eq!(bound(Duration::from_secs(10)), "9.950");
        assert_eq!(bound(Duration::ZERO), "0.005");
    }
}
