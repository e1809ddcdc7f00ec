//! One look at the server, as a `DatabaseReport`.

use super::clients::{self, Client, host_matches};
use super::files::Disks;
use super::heartbeat::Pulse;
use super::ledger::newest_epoch;
use super::replica::{Replica, read_replica};
use super::session::{Failure, Fields};
use super::statement::{Statement, statement};
use super::writes::read_only_value;
use super::{Database, Positions};
use crate::decision::event::{DatabaseReport, ReplicaReport};
use crate::decision::words::Epoch;
use crate::io::binlog::Bookmark;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// READ_ONLY ADMIN and SUPER in `mysql.global_priv`.
const READ_ONLY_ADMIN: u64 = 1 << 33;
const SUPER: u64 = 1 << 15;

/// How many of the last looks' places in the binary log are kept.
const BOOKMARKS: usize = 16;

/// What is kept from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The newest report.
    pub last: DatabaseReport,
    disks: Option<Disks>,
    /// Connection on which the last look was made: another one may mean another run of the server.
    connection: u32,
    /// Binary log file of the last look.
    file: String,
    /// When the server was started, to about a second.
    started: Option<Instant>,
    /// `read_only` was not set when the server started.
    starts_writable: bool,
    /// The replica ran by itself after a start of the server.
    starts_replica: bool,
    privileged: Privileged,
}

/// Clients that `read_only` does not stop, as last looked for.
#[derive(Debug, Default)]
struct Privileged {
    looked: Option<Instant>,
    clients: Vec<String>,
    /// Why they cannot be seen.
    unseen: Option<String>,
}

/// What one look brought.
struct Sight {
    /// Where the binary log ends; `None` without one.
    end: Option<Fields>,
    row: Fields,
    replica: Option<Replica>,
    lag: Option<Duration>,
}

/// A commit that takes less is slow, not stuck: disks pause for some hundred milliseconds now and then.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// How often clients that bypass `read_only` are looked for: they are a warning, and no reason to act at once.
const PRIVILEGED_EVERY: Duration = Duration::from_secs(2);

impl Database {
    /// Looks at everything; `Err` when the server did not answer.
    pub(super) async fn look(
        &self,
        looks: &mut Looks,
        pulse: &Pulse,
        timeout: Duration,
    ) -> Result<DatabaseReport, Failure> {
        let until = Instant::now() + timeout;
        let Sight { end, row, replica, lag } = self.see(until).await?;
        let positions = Positions::read(&row)?;
        self.note_place(end.as_ref(), &positions);
        let file = end.as_ref().map_or("", |end| end.text("file"));
        self.notice_restart(looks, &row, file, replica.as_ref(), until).await?;
        looks.file = file.to_owned();
        self.notice_folders(looks, &row, timeout);
        let mut report = DatabaseReport {
            reachable: true,
            dead: false,
            detail: String::new(),
            writable: !read_only_value(&row),
            server_id: row.number("server_id").unwrap_or(0),
            version: row.text("version").to_owned(),
            gtid: positions.everything(),
            binlog_position: positions.binlog,
            replica: replica.map(|replica| replica_report(replica, lag)),
            restarts: looks.last.restarts,
            write_stalled: None,
            privileged_clients: Vec::new(),
            warnings: warnings(&row, looks),
            ledger: self.ledger(looks, until).await?,
        };
        let waiting = pulse.waiting().filter(|waiting| *waiting > timeout.max(WRITE_PATIENCE));
        if waiting.is_some() || looks.privileged.is_due() {
            let sessions = self.probe.ask(clients::sessions(), until).await?;
            self.judge_writes(&mut report, waiting, &sessions);
            self.notice_privileged(looks, &report.version, &sessions, until).await?;
        }
        report.detail = if report.detail.is_empty() { pulse.failure() } else { report.detail };
        judge_disks(&mut report, looks, timeout);
        report.privileged_clients.clone_from(&looks.privileged.clients);
        report.warnings.extend(looks.privileged.unseen.clone());
        looks.last = report.clone();
        Ok(report)
    }

    /// Read once a run: afterwards nobody knows more than this daemon.
    async fn ledger(&self, looks: &Looks, until: Instant) -> Result<Epoch, Failure> {
        if !looks.last.version.is_empty() {
            return Ok(looks.last.ledger);
        }
        match newest_epoch(&self.probe, &self.settings.schema, until).await {
            // No right to read it: nothing is known.
            Err(Failure::Server { .. }) => Ok(Epoch::default()),
            other => other,
        }
    }

    /// Everything that each look needs, in one packet: asked one after the other it would be the larger part of
    /// what an idle node costs.
    async fn see(&self, until: Instant) -> Result<Sight, Failure> {
        let age = statement!("heartbeat_age", schema = self.schema(), node = self.settings.node.0);
        let parts = [statement!("binlog_end"), statement!("probe"), statement!("replica_status"), age];
        match self.probe.ask_all(Statement::joined("look", &parts), until).await {
            Ok(answer) => Sight::read([0, 1, 2, 3].map(|index| answer.rows_of(index))),
            Err(Failure::Server { .. }) => self.see_apart(parts, until).await,
            Err(failure) => Err(failure),
        }
    }

    /// One after the other: there is no ledger yet, or a right is lacking; the rest is seen.
    async fn see_apart(&self, parts: [Statement; 4], until: Instant) -> Result<Sight, Failure> {
        let [end, probe, replica, age] = parts;
        let optional = async |statement| match self.probe.ask(statement, until).await {
            Err(Failure::Server { .. }) => Ok(Vec::new()),
            outcome => outcome,
        };
        let end = optional(end).await?;
        let row = self.probe.ask(probe, until).await?;
        let replica = self.probe.ask(replica, until).await?;
        Sight::read([&end, &row, &replica, &optional(age).await?])
    }

    /// Remembers where the binary log ended at the last looks.
    fn note_place(&self, end: Option<&Fields>, positions: &Positions) {
        let Some(offset) = end.and_then(|end| end.number("position")) else { return };
        let file = end.map_or("", |end| end.text("file")).to_owned();
        let mark = Bookmark { file, offset, state: positions.state.clone() };
        self.remember(|memory| {
            // Logs that were reset begin anew, under the same names.
            if memory.bookmarks.back().is_some_and(|last| !mark.state.covers(&last.state)) {
                memory.bookmarks.clear();
            }
            memory.bookmarks.push_back(mark);
            while memory.bookmarks.len() > BOOKMARKS {
                memory.bookmarks.pop_front();
            }
        });
    }

    /// A new connection may mean a new run of the server: its uptime tells.
    async fn notice_restart(
        &self,
        looks: &mut Looks,
        row: &Fields,
        file: &str,
        replica: Option<&Replica>,
        until: Instant,
    ) -> Result<(), Failure> {
        let connection = self.probe.id();
        if connection == looks.connection && looks.started.is_some() {
            return Ok(());
        }
        let rows = self.probe.ask(statement!("uptime"), until).await?;
        let uptime =
            rows.first().and_then(|row| row.number("value")).map_or(Duration::ZERO, Duration::from_secs);
        let origin = self.probe.ask(statement!("read_only_origin"), until).await?;
        let origin = origin.first().map_or("", |row| row.text("origin")).to_owned();
        let started = Instant::now().checked_sub(uptime).unwrap_or_else(Instant::now);
        // Uptime counts whole seconds. From each start on connections are numbered anew, and there is
        // another binary log file.
        let fresh = uptime < Duration::from_secs(5) && looks.file != file;
        let restarted = looks.started.is_some_and(|before| {
            started > before + Duration::from_secs(2) || connection <= looks.connection || fresh
        });
        let first = looks.started.is_none();
        looks.connection = connection;
        if first || restarted {
            looks.started = Some(started);
        }
        if restarted {
            looks.last.restarts += 1;
            self.remember(|memory| memory.started_replica = false);
        }
        if first || restarted {
            looks.starts_writable = match origin.as_str() {
                "COMPILE-TIME" => true,
                "SQL" => looks.starts_writable,
                _ => !read_only_value(row),
            };
            let ours = self.remember(|memory| memory.started_replica);
            looks.starts_replica = restarted && !ours && replica.is_some_and(|replica| replica.applying);
        }
        Ok(())
    }

    /// The server says where its files are; the disks beneath are watched from then on.
    fn notice_folders(&self, looks: &mut Looks, row: &Fields, timeout: Duration) {
        let parent = |name: &str| Path::new(row.text(name)).parent().map(Path::to_path_buf);
        let basename = PathBuf::from(row.text("log_bin_basename"));
        if !basename.as_os_str().is_empty() {
            self.remember(|memory| memory.basename = Some(basename));
        }
        let folders = [
            Some(PathBuf::from(row.text("datadir"))),
            parent("log_bin_basename"),
            parent("relay_log_basename"),
        ];
        let folders: Vec<_> = folders
            .into_iter()
            .flatten()
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.components().collect())
            .collect();
        if looks.disks.as_ref().is_none_or(|disks| !disks.watches(&folders)) {
            looks.disks = Some(Disks::watch(folders, timeout.max(Duration::from_millis(500))));
        }
    }

    /// Whether a heartbeat row has waited for so long for a reason that is sickness.
    fn judge_writes(&self, report: &mut DatabaseReport, waiting: Option<Duration>, sessions: &[Fields]) {
        let ours = sessions.iter().find(|row| row.number("id") == Some(self.rows.id()));
        let (Some(waiting), Some(thread)) = (waiting, ours) else { return };
        let state = thread.text("state");
        // A row behind another commit that waits only shows that it commits.
        if sessions.iter().any(clients::waits_for_replica) {
            report.warnings.push(
                "writes wait: the replica does not acknowledge them (semi-synchronous replication)"
                    .to_owned(),
            );
        } else if is_maintenance(state) {
            report.warnings.push(format!("writes wait: {state} (a backup or an administrator's lock)"));
        } else {
            report.write_stalled = Some(waiting);
            report.detail = format!("a heartbeat row waits for {} ms: {state}", waiting.as_millis());
        }
    }

    async fn notice_privileged(
        &self,
        looks: &mut Looks,
        version: &str,
        sessions: &[Fields],
        until: Instant,
    ) -> Result<(), Failure> {
        looks.privileged = Privileged { looked: Some(Instant::now()), ..Privileged::default() };
        match self.probe.ask(statement!("privileged_accounts", bypass = bypass(version)), until).await {
            Ok(accounts) => {
                let bypasses = |client: &Client<'_>| {
                    let mut matching = accounts.iter().filter(|account| account.text("user") == client.user);
                    matching.any(|account| host_matches(account.text("host"), client.host))
                };
                let clients = clients::clients(&self.settings, sessions).filter(bypasses);
                let seen: BTreeSet<_> =
                    clients.map(|client| format!("{}@{}", client.user, client.host)).collect();
                looks.privileged.clients = seen.into_iter().collect();
            }
            Err(Failure::Server { code: 1142 | 1143 | 1227, .. }) => {
                let unseen = "clients that bypass read_only cannot be seen: apd's account lacks SELECT on \
                              mysql.global_priv";
                looks.privileged.unseen = Some(unseen.to_owned());
            }
            Err(failure @ Failure::Server { .. }) => looks.privileged.unseen = Some(failure.to_string()),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

impl Sight {
    /// From the rows of each of its four statements.
    fn read([end, row, replica, age]: [&[Fields]; 4]) -> Result<Sight, Failure> {
        Ok(Sight {
            end: end.first().cloned(),
            row: row.first().cloned().unwrap_or_default(),
            replica: read_replica(replica)?,
            lag: age.first().and_then(|row| row.number("age")).map(Duration::from_micros),
        })
    }
}

impl Privileged {
    fn is_due(&self) -> bool {
        self.looked.is_none_or(|at| at.elapsed() >= PRIVILEGED_EVERY)
    }
}

fn replica_report(replica: Replica, lag: Option<Duration>) -> ReplicaReport {
    ReplicaReport {
        receiving: replica.receiving == "Yes",
        connecting: replica.receives() && replica.receiving != "Yes",
        applying: replica.applying,
        primary: replica.host,
        received: replica.received,
        applied: replica.applied,
        lag,
        error: replica.error,
    }
}

/// Whether a disk beneath the data hangs. A round of the disk thread takes its pause and the write itself.
fn judge_disks(report: &mut DatabaseReport, looks: &Looks, timeout: Duration) {
    let limit = timeout.max(Duration::from_millis(500)) * 2 + timeout;
    if let Some((stalled, why)) = looks.disks.as_ref().and_then(|disks| disks.stalled(limit)) {
        report.write_stalled = Some(report.write_stalled.unwrap_or_default().max(stalled));
        report.detail = why;
    }
}

/// States of a waiting thread that somebody asked for: a backup, or a lock taken by hand.
fn is_maintenance(state: &str) -> bool {
    let state = state.to_lowercase();
    ["backup lock", "global read lock", "metadata lock", "commit lock"]
        .iter()
        .any(|known| state.contains(known))
}

/// The bits of an account's access that `read_only` does not stop, in this version.
pub(super) fn bypass(version: &str) -> u64 {
    if before_10_11(version) { READ_ONLY_ADMIN | SUPER } else { READ_ONLY_ADMIN }
}

fn before_10_11(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (10, 11)
}

/// Settings that are not as the pair needs them.
fn warnings(row: &Fields, looks: &Looks) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, why) in [
        ("log_bin", "without a binary log nobody can follow this server"),
        ("log_slave_updates", "without it the two servers cannot be compared exactly"),
        ("gtid_strict_mode", "without it errant transactions pass unnoticed"),
    ] {
        if !row.is_on(name) {
            warnings.push(format!("{name} is off: {why}; set {name} = 1 in the server's configuration"));
        }
    }
    let format = row.text("binlog_format");
    if format != "ROW" {
        warnings.push(format!("binlog_format is {format}: set binlog_format = ROW"));
    }
    if looks.starts_writable {
        warnings
            .push("the server does not start read-only: set read_only = 1 in its configuration".to_owned());
    }
    if looks.starts_replica {
        warnings.push(
            "the replica started by itself, which deletes what the relay log held: set skip_slave_start = 1"
                .to_owned(),
        );
    }
    warnings.extend(looks.disks.iter().flat_map(Disks::warnings));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_not_sickness() {
        assert!(is_maintenance("Waiting for backup lock"));
        assert!(!is_maintenance("Commit"));
        assert!(!is_maintenance("Waiting for someone to free space"));
    }

    #[test]
    fn versions_are_ordered() {
        assert!(before_10_11("10.5.23-MariaDB"));
        assert!(!before_10_11("10.11.19-MariaDB-log"));
        assert!(!before_10_11("11.8.6-MariaDB"));
    }
}
