//! This server as a replica: drain, stop and resume applying, follow, forget.
//!
//! The trap that rules this file: in GTID mode a START after *both* threads were stopped deletes the relay
//! log, acknowledged transactions included. So the applying thread is never stopped before a drain, the
//! receiving thread stays up while the applying one is stopped, and START is said only by
//! [`Database::follow`], where everything is received again, and by `resume_applying`, which looks first.

use super::connection::Connection;
use super::session::{Failure, Fields};
use super::statement::{quote, statement};
use super::writes::is_read_only;
use super::{Database, gtids};
use crate::decision::gtid::GtidState;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two looks at the replica while something is awaited.
const LOOK: Duration = Duration::from_millis(20);

/// `SHOW ALL SLAVES STATUS`, what is used of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub host: String,
    pub port: u16,
    /// `Yes`, `No`, `Connecting`, `Preparing`.
    pub receiving: String,
    pub applying: bool,
    pub received: GtidState,
    pub applied: GtidState,
    pub error: String,
    pub applying_error: String,
}

impl Replica {
    /// The receiving thread exists, connected or not.
    pub(super) fn receives(&self) -> bool {
        self.receiving != "No"
    }

    fn read(row: &Fields) -> Result<Replica, Failure> {
        let errors = [row.text("last_io_error"), row.text("last_sql_error")];
        Ok(Replica {
            host: row.text("master_host").to_owned(),
            port: row.number("master_port").unwrap_or(0),
            receiving: row.text("slave_io_running").to_owned(),
            applying: row.is_on("slave_sql_running"),
            received: gtids(row.text("gtid_io_pos"))?,
            applied: gtids(row.text("gtid_slave_pos"))?,
            error: errors.iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join("; "),
            applying_error: row.text("last_sql_error").to_owned(),
        })
    }
}

/// The replica of the unnamed connection; `None` if none is configured.
pub(super) async fn replica(connection: &Connection, until: Instant) -> Result<Option<Replica>, Failure> {
    read_replica(&connection.ask(statement!("replica_status"), until).await?)
}

/// The same from the rows of `replica_status`.
pub(super) fn read_replica(rows: &[Fields]) -> Result<Option<Replica>, Failure> {
    let mut unnamed = rows.iter().filter(|row| row.text("connection_name").is_empty());
    unnamed.next().map(Replica::read).transpose()
}

impl Database {
    /// Waits until all that was completely received is applied. A half-received transaction does not count:
    /// `Gtid_IO_Pos` excludes it.
    pub(super) async fn drain(&self, until: Instant) -> Result<GtidState, Failure> {
        loop {
            let Some(replica) = replica(&self.control, until).await? else {
                return Ok(self.positions(&self.control, until).await?.everything());
            };
            if replica.applied.reaches(&replica.received) && (replica.applying || replica.receives()) {
                return Ok(self.positions(&self.control, until).await?.everything());
            }
            if !replica.applying {
                return Err(not_applying(&replica));
            }
            self.wait_applied(&replica.received, until).await?;
        }
    }

    /// `MASTER_GTID_WAIT`, with a look at the applying thread beside it: the function does not end by itself
    /// when that thread stops.
    async fn wait_applied(&self, position: &GtidState, until: Instant) -> Result<(), Failure> {
        let left = until.saturating_duration_since(Instant::now());
        let seconds = (left.as_secs_f64() * 0.9).max(0.001);
        let wait = statement!(
            "wait_for",
            position = quote(&position.position().to_string()),
            seconds = format!("{seconds:.3}"),
        );
        let waiting = self.say(wait, until);
        let looking = async {
            loop {
                sleep(LOOK).await;
                match replica(&self.spare, until).await {
                    Ok(Some(replica)) if replica.applying => {}
                    Ok(Some(replica)) => break not_applying(&replica),
                    Ok(None) => {
                        break Failure::Other("the replica is gone while its position is awaited".into());
                    }
                    Err(failure) => break failure,
                }
            }
        };
        tokio::select! {
            biased;
            outcome = waiting => match outcome?.first().and_then(|row| row.number::<i64>("waited")) {
                Some(0) => Ok(()),
                _ => Err(Failure::TimedOut("wait_for")),
            },
            failure = looking => Err(failure),
        }
    }

    pub(super) async fn wait_for(&self, position: &GtidState, until: Instant) -> Result<(), Failure> {
        loop {
            // By position only what was applied counts: an errant transaction of one's own has a high
            // sequence number too.
            let here = self.positions(&self.control, until).await?;
            if here.everything().covers(position) || here.applied.reaches(position) {
                return Ok(());
            }
            match replica(&self.control, until).await? {
                Some(replica) if replica.applying => self.wait_applied(position, until).await?,
                Some(replica) => return Err(not_applying(&replica)),
                None => {
                    return Err(Failure::Other(format!(
                        "{position} cannot arrive: this server follows nobody"
                    )));
                }
            }
        }
    }

    pub(super) async fn stop_applying(&self, until: Instant) -> Result<(), Failure> {
        self.say(statement!("stop_applying"), until).await.map(|_| ())
    }

    pub(super) async fn resume_applying(&self, until: Instant) -> Result<(), Failure> {
        match replica(&self.control, until).await? {
            None => Err(Failure::Other("nothing to resume: this server follows nobody".into())),
            Some(replica) if replica.applying => Ok(()),
            Some(replica) if !replica.receives() => Err(Failure::Other(
                "both replica threads are stopped: a START would delete the relay log; follow again instead"
                    .into(),
            )),
            Some(_) => self.say(statement!("resume_applying"), until).await.map(|_| ()),
        }
    }

    pub(super) async fn forget_primary(&self, until: Instant) -> Result<(), Failure> {
        if replica(&self.control, until).await?.is_some() {
            self.say(statement!("stop_replica"), until).await?;
            self.say(statement!("forget_primary"), until).await?;
        }
        Ok(())
    }

    pub(super) async fn follow(
        &self,
        position: Option<&GtidState>,
        own_tail_lost: bool,
        until: Instant,
    ) -> Result<(), Failure> {
        if !is_read_only(&self.control, until).await? {
            return Err(Failure::Other(
                "a server that takes writes must not follow: read_only=1 first".into(),
            ));
        }
        let replica = replica(&self.control, until).await?;
        if let Some(replica) = &replica {
            let target = replica.host == self.settings.peer.ip().to_string()
                && replica.port == self.settings.peer.port();
            let nothing_to_set = position.is_none() && !own_tail_lost;
            if target && nothing_to_set && replica.receives() && replica.applying {
                self.remember(|memory| memory.started_replica = true);
                return Ok(());
            }
            self.say(statement!("stop_replica"), until).await?;
        }
        if own_tail_lost {
            self.say(statement!("accept_own_events"), until).await?;
        }
        if let Some(position) = position {
            let position = quote(&position.position().to_string());
            self.say(statement!("set_position", position = position), until).await.map_err(diverged)?;
        }
        self.change_primary(until).await?;
        self.say(statement!("start_replica"), until).await?;
        self.remember(|memory| memory.started_replica = true);
        Ok(())
    }

    async fn change_primary(&self, until: Instant) -> Result<(), Failure> {
        let Some(password) = &self.settings.replication_password else {
            return Err(Failure::Other(
                "no replication password: set mariadb.replication_password_file".into(),
            ));
        };
        let follow = self.settings.follow_statement(password);
        self.say(follow, until).await.map(|_| ()).map_err(without_text)
    }
}

/// A syntax error quotes the statement, and this one holds a password.
pub(super) fn without_text(failure: Failure) -> Failure {
    match failure {
        Failure::Server { what, code: code @ (1064 | 1149), .. } => {
            Failure::Server { what, code, message: "the statement was not understood".into() }
        }
        other => other,
    }
}

fn diverged(failure: Failure) -> Failure {
    match failure {
        Failure::Server { what, code: code @ (1947 | 1948), message } => Failure::Server {
            what,
            code,
            message: format!("this server has transactions that the primary lacks: {message}"),
        },
        other => other,
    }
}

fn not_applying(replica: &Replica) -> Failure {
    let error = match replica.applying_error.as_str() {
        "" => "it was stopped",
        error => error,
    };
    Failure::Other(format!("the applying thread does not run: {error}"))
}
