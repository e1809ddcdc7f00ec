//! The simulator's model of a database is honest: the same scripts move the model and two real servers, and each
//! line must be answered alike by both, and as it is written.
//!
//! `tests/conformance/*.txt`: a line is `> SERVER WHAT = ANSWER`; `a` takes writes at first, `b` follows it. What
//! is read (rows, threads, relay log) may take a real server a moment; what is done is answered once.
//! `APD_RECORD=1 cargo test --test conformance` writes what the real servers answer; `SCRIPT=14` plays one script.

#![allow(clippy::unwrap_used, reason = "a script that cannot be played fails")]

#[path = "support/mariadb.rs"]
mod mariadb;

use apd::config::checked::MariaDb;
use apd::decision::action::{DatabaseStep, RemoteStep, StepOutput, StepResult};
use apd::decision::gtid::GtidState;
use apd::decision::settings::OnUndrained;
use apd::decision::words::{Epoch, NodeId};
use apd::gate::fence::fence_now;
use apd::io::mariadb::Database;
use apd::simulation::script::Script;
use mariadb::{LONG, PASSWORD, Pair, Server, attempt};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long a real server may take until what is read is as it is written.
const PATIENCE: Duration = Duration::from_secs(20);
/// A stopped process says nothing, however long one waits.
const SILENCE: Duration = Duration::from_secs(1);

/// A replica acknowledges from the start; no primary waits before a script says so.
const SEMI_SYNC: &[&str] =
    &["--rpl-semi-sync-slave-enabled=1", "--rpl-semi-sync-master-wait-point=AFTER_SYNC"];
/// What gives up rather than wait for an acknowledgement that does not come.
const SHORT: Duration = Duration::from_secs(5);
/// Writes that wait, of clients and of apd itself; the second behind one that waits only shows that it commits.
const WAITING: &str = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                       WHERE USER IN ('app', 'apd') \
                       AND (STATE LIKE 'Waiting for %' OR STATE = 'Commit' AND TIME_MS > 1000)";
/// A heartbeat row of a daemon that is gone by the time of its commit.
const ROW: &str = "INSERT INTO apd.heartbeat (node, epoch_number, epoch_node, sequence, utc) \
                   VALUES (1, 1, 1, 1, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE sequence = sequence + 1";

/// One line of a script.
struct Line {
    written: String,
    host: usize,
    words: Vec<String>,
    answer: String,
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "the scripts are gone");
    let one = std::env::var("SCRIPT").unwrap_or_default();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&one)));
    paths
}

fn lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("# "), "{}: begins with what it shows", path.display());
    let commands = text.lines().filter_map(|line| line.strip_prefix("> "));
    commands
        .map(|line| {
            let (command, answer) = line.split_once(" = ").unwrap_or_else(|| panic!("no answer: {line}"));
            let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            let host = match words.remove(0).as_str() {
                "a" => 0,
                "b" => 1,
                other => panic!("no server: {other}"),
            };
            Line { written: line.to_owned(), host, words, answer: answer.to_owned() }
        })
        .collect()
}

#[test]
fn the_model_answers_as_it_is_written() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let mut model = Script::default();
        for line in lines(&path) {
            let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
            let answer = model.say(line.host, &words).unwrap_or_else(|| panic!("no line: {}", line.written));
            if answer != line.answer {
                wrong.push(format!("{}: {}: the model says `{answer}`", path.display(), line.written));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_servers_answer_as_it_is_written() {
    let record = std::env::var_os("APD_RECORD").is_some();
    let mut wrong = Vec::new();
    for path in scripts() {
        let mut real =
            Real { pair: Pair::start_with(SEMI_SYNC).await, pending: BTreeMap::new(), hung: [false; 2] };
        let mut text = std::fs::read_to_string(&path).unwrap();
        for line in lines(&path) {
            let answer = real.say(&line).await;
            if answer != line.answer {
                wrong.push(format!("{}: {}: the server says `{answer}`", path.display(), line.written));
                let command = line.written.split(" = ").next().unwrap();
                text = text.replacen(&line.written, &format!("{command} = {answer}"), 1);
            }
        }
        if record {
            std::fs::write(&path, text).unwrap();
        }
    }
    assert!(record || wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two real servers.
struct Real {
    pair: Pair,
    /// Writes whose clients heard nothing yet.
    pending: BTreeMap<String, JoinHandle<bool>>,
    hung: [bool; 2],
}

impl Real {
    fn server(&self, host: usize) -> &Server {
        [&self.pair.a, &self.pair.b][host]
    }

    fn server_mut(&mut self, host: usize) -> &mut Server {
        if host == 0 { &mut self.pair.a } else { &mut self.pair.b }
    }

    fn database(&self, host: usize) -> &Database {
        [&self.pair.on_a, &self.pair.on_b][host]
    }

    async fn say(&mut self, line: &Line) -> String {
        let host = line.host;
        let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["write", id] => self.write(host, id).await,
            ["heard", id] => self.heard(id, &line.answer).await,
            ["rows" | "relay" | "replica" | "writable" | "semi-sync-status" | "apply-waits"] => {
                self.read(host, words[0], &line.answer).await
            }
            ["allow"] => self.step(host, DatabaseStep::AllowWrites).await,
            ["forbid"] => self.step(host, DatabaseStep::ForbidWrites).await,
            ["freeze"] => self.step(host, DatabaseStep::Freeze).await,
            ["thaw"] => self.step(host, DatabaseStep::Thaw).await,
            ["seal"] => self.step(host, DatabaseStep::Seal).await,
            ["stage", "dies"] => self.sql(host, "KILL USER apd").await,
            ["drain"] => self.step(host, DatabaseStep::Drain).await,
            ["stop-applying"] => self.step(host, DatabaseStep::StopApplying).await,
            ["resume-applying"] => self.step(host, DatabaseStep::ResumeApplying).await,
            ["reach"] => {
                let position = self.position(1 - host).await;
                self.step(host, DatabaseStep::WaitFor { position }).await
            }
            ["semi-sync", timeout] => self.sql(host, &semi_sync(timeout)).await,
            ["kill-client" | "kill-query", id] => self.kill(host, words[0], id).await,
            ["read-only", "alone"] => {
                self.sql(host, "SET STATEMENT max_statement_time=1 FOR SET GLOBAL read_only = ON").await
            }
            ["gate", "fences"] => self.gate_fences(host).await,
            ["write-epoch", number] => self.write_epoch(host, number).await,
            ["peer", "fences"] => self.peer_fences(host).await,
            ["row"] => self.statement(host, "row", "apd", PASSWORD, ROW).await,
            ["stop-receiving"] => self.sql(host, "STOP SLAVE IO_THREAD").await,
            ["start-receiving"] => self.sql(host, "START SLAVE IO_THREAD").await,
            ["follow"] => self.follow(host, None).await,
            ["follow", "with-tail-lost"] => {
                let position = Some(self.position(host).await);
                self.step(host, DatabaseStep::Follow { position, own_tail_lost: true }).await
            }
            ["follow", "from-here"] => self.follow(host, Some(self.position(host).await)).await,
            ["follow", "from-there"] => self.follow(host, Some(self.position(1 - host).await)).await,
            ["forget-primary"] => self.step(host, DatabaseStep::ForgetPrimary).await,
            ["STOP", "SLAVE"] => self.sql(host, "STOP SLAVE").await,
            ["START", "SLAVE"] => self.sql(host, "START SLAVE").await,
            ["kill", "-9"] => {
                self.server_mut(host).kill9();
                "ok".into()
            }
            ["start"] => {
                self.server_mut(host).begin().await;
                "ok".into()
            }
            ["start", "as-replica"] => {
                self.server_mut(host).begin_with(&["--init-rpl-role=SLAVE"]).await;
                "ok".into()
            }
            ["hang"] => self.signal(host, Signal::SIGSTOP),
            ["wake"] => self.signal(host, Signal::SIGCONT),
            _ => panic!("no line: {}", line.written),
        }
    }

    fn signal(&mut self, host: usize, signal: Signal) -> String {
        self.server(host).signal(signal);
        self.hung[host] = signal == Signal::SIGSTOP;
        "ok".into()
    }

    async fn sql(&self, host: usize, text: &str) -> String {
        match attempt(&mut self.server(host).root().await, text).await {
            Ok(_) => "ok".into(),
            Err(_) => "failed".into(),
        }
    }

    /// Ends the session, or only the statement, of a client whose write waits.
    async fn kill(&self, host: usize, how: &str, id: &str) -> String {
        let what = if how == "kill-query" { "QUERY" } else { "CONNECTION" };
        let look = format!(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'app' AND INFO LIKE '%VALUES ({id},%'"
        );
        let session = self.server(host).value(&look).await;
        self.sql(host, &format!("KILL {what} {session}")).await
    }

    /// What the gate process does by itself when a lease was lost.
    async fn gate_fences(&self, host: usize) -> String {
        let settings = self.server(host).settings(1, self.server(1 - host).address());
        let database = MariaDb {
            endpoint: settings.endpoint,
            user: settings.user,
            password: settings.password,
            replication_user: settings.replication_user,
            replication_password: settings.replication_password,
            schema: settings.schema,
            tls_ca_file: None,
            tls_required: false,
            drain_timeout: LONG,
            on_undrained: OnUndrained::Wait,
            long_transactions_wait: LONG,
            long_transactions_kill: false,
            max_lag_for_switchover: LONG,
            server_unit: String::new(),
        };
        let fencing = tokio::task::spawn_blocking(move || fence_now(&database, Duration::from_secs(5)));
        if fencing.await.unwrap().is_ok() { "ok" } else { "failed" }.into()
    }

    async fn peer_fences(&self, host: usize) -> String {
        match self.database(1 - host).perform_remote(&RemoteStep::FenceServer, SHORT).await {
            StepResult::Ok(StepOutput::Done) => "ok".into(),
            _ => "failed".into(),
        }
    }

    async fn write_epoch(&self, host: usize, number: &str) -> String {
        let epoch = Epoch { number: number.parse().unwrap(), node: NodeId(1) };
        let reason = "script".into();
        match self.database(host).perform(&DatabaseStep::WriteEpoch { epoch, reason }, SHORT).await {
            StepResult::Ok(_) => "ok".into(),
            other => {
                println!("the epoch was not written: {other:?}");
                "failed".into()
            }
        }
    }

    async fn position(&self, host: usize) -> GtidState {
        self.server(host).value("@@global.gtid_binlog_pos").await.parse().unwrap()
    }

    async fn follow(&self, host: usize, position: Option<GtidState>) -> String {
        self.step(host, DatabaseStep::Follow { position, own_tail_lost: false }).await
    }

    async fn step(&self, host: usize, step: DatabaseStep) -> String {
        match self.database(host).perform(&step, LONG).await {
            StepResult::Ok(_) => "ok".into(),
            StepResult::Failed(_) => "failed".into(),
            StepResult::TimedOut => "waits".into(),
        }
    }

    async fn write(&mut self, host: usize, id: &str) -> String {
        self.statement(host, id, "app", "app", &insert(id)).await
    }

    /// A write on a connection of its own; it waits if the server says what it waits for.
    async fn statement(
        &mut self,
        host: usize,
        name: &str,
        user: &str,
        password: &str,
        statement: &str,
    ) -> String {
        let server = self.server(host);
        let (options, statement) = (server.client_options(user, password), statement.to_owned());
        let mut task = tokio::spawn(async move {
            let until = tokio::time::Instant::now() + 3 * PATIENCE;
            match apd::io::mariadb::session::Session::open(options, until).await {
                Ok(mut session) => attempt(&mut session, &statement).await.is_ok(),
                Err(_) => false,
            }
        });
        let others = self.pending.values().filter(|task| !task.is_finished()).count();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let look = if self.hung[host] { SILENCE } else { Duration::from_millis(20) };
            if let Ok(ended) = tokio::time::timeout(look, &mut task).await {
                return heard(ended.unwrap());
            }
            if self.hung[host] || server.value(WAITING).await.parse::<usize>().unwrap() > others {
                self.pending.insert(name.to_owned(), task);
                return "waits".into();
            }
            assert!(Instant::now() < deadline, "a write neither ended nor waited");
        }
    }

    async fn heard(&mut self, id: &str, expected: &str) -> String {
        let Some(task) = self.pending.get_mut(id) else { return "was answered".into() };
        // Where an answer is expected it has time to come; where none is, there is nothing to wait for.
        let patience = if expected == "waits" { Duration::from_millis(100) } else { PATIENCE };
        match tokio::time::timeout(patience, task).await {
            Ok(ended) => {
                self.pending.remove(id);
                heard(ended.unwrap())
            }
            Err(_) => "waits".into(),
        }
    }

    /// Reads until it is as it is written, for a while.
    async fn read(&self, host: usize, what: &str, expected: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.read_once(host, what).await;
            if answer == expected || Instant::now() > deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn read_once(&self, host: usize, what: &str) -> String {
        let server = self.server(host);
        match what {
            "rows" => {
                let rows =
                    server.value("SELECT GROUP_CONCAT(id ORDER BY id SEPARATOR ' ') FROM shop.orders").await;
                if rows.is_empty() || rows == "NULL" { "none".into() } else { rows }
            }
            "apply-waits" => {
                let waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST \
                             WHERE USER = 'system user' AND STATE LIKE 'Waiting for semi-sync ACK%'";
                if server.value(waits).await == "0" { "no" } else { "yes" }.into()
            }
            "semi-sync-status" => {
                let rows = server.sql("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_status'").await;
                rows.first().map_or("none", |row| row.text("value")).to_lowercase()
            }
            "writable" => if server.value("@@global.read_only").await == "0" { "yes" } else { "no" }.into(),
            _ => {
                let all = server.sql("SHOW ALL SLAVES STATUS").await;
                let Some(replica) = all.first() else {
                    return if what == "relay" { "0" } else { "none" }.into();
                };
                if what == "relay" {
                    let received: GtidState = replica.text("gtid_io_pos").parse().unwrap();
                    let applied: GtidState = server.value("@@global.gtid_slave_pos").await.parse().unwrap();
                    return received.distance_from(&applied).to_string();
                }
                let receives =
                    if replica.text("slave_io_running") == "No" { "does not receive" } else { "receives" };
                let applies =
                    if replica.text("slave_sql_running") == "Yes" { "applies" } else { "does not apply" };
                format!("{receives}, {applies}")
            }
        }
    }
}

/// Turned on on one server, with a time in ms after which it gives up.
fn semi_sync(timeout: &str) -> String {
    format!(
        "SET GLOBAL rpl_semi_sync_master_timeout = {timeout}; SET GLOBAL rpl_semi_sync_master_enabled = ON"
    )
}

fn insert(id: &str) -> String {
    format!("INSERT INTO shop.orders (id, text) VALUES ({id}, 'x')")
}

fn heard(acknowledged: bool) -> String {
    if acknowledged { "acknowledged" } else { "refused" }.into()
}
