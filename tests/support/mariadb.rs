//! Private MariaDB servers for tests: started in a folder of their own, killed by their process id.
#![allow(dead_code, clippy::unwrap_used)]

#[path = "tools.rs"]
pub mod tools;

pub use tools::find_tool;

use apd::config::checked::MariaDbEndpoint;
use apd::decision::words::NodeId;
use apd::io::mariadb::accounts::Accounts;
use apd::io::mariadb::session::{Fields, Session};
use apd::io::mariadb::statement::Statement;
use apd::io::mariadb::{DatabaseSettings, endpoint_options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Passwords of the test accounts; no test may find them anywhere that people read.
pub const PASSWORD: &str = "apd-Secret'1";
pub const REPLICATION_PASSWORD: &str = "repl-Secret\\2";

/// `--basedir` of a server that is neither the host's own nor behind a wrapper, which names its own.
fn base_of(tool: &Path) -> Option<PathBuf> {
    let base = tool.parent()?.parent()?;
    (base != Path::new("/usr") && base.join("share/mysql").is_dir()).then(|| base.to_path_buf())
}

/// An empty data folder, made once for each build folder.
fn template() -> PathBuf {
    let tool = find_tool("mariadb-install-db");
    let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb-template");
    if !template.join("mysql").is_dir() {
        let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let data = fresh.path().join("data");
        // A starting server deletes what looks like another's temporary tables: each needs a folder of its own.
        let temporary = fresh.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(&tool);
        command.args(["--no-defaults", "--user=root", "--skip-test-db", "--innodb-log-file-size=8M"]);
        command.args(["--auth-root-authentication-method=socket", "--auth-root-socket-user=root"]);
        command.arg(format!("--datadir={}", data.display()));
        command.args(base_of(&tool).map(|base| format!("--basedir={}", base.display())));
        command.env("TMPDIR", &temporary);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{}: {said:?}", tool.display());
        // Somebody else may have been quicker: then theirs is as good.
        let _ = std::fs::rename(&data, &template);
    }
    template
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// One running server.
pub struct Server {
    pub id: u32,
    pub port: u16,
    folder: tempfile::TempDir,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// An empty server, read-only as the pair's servers are.
    pub async fn start(id: u32) -> Server {
        Server::start_with(id, &[]).await
    }

    pub async fn start_with(id: u32, options: &[&str]) -> Server {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("apd-db-").tempdir_in(place).unwrap();
        copy_folder(&template(), &folder.path().join("data"));
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Server { id, port: 0, folder, options, child: None };
        for _ in 0..5 {
            // Somebody else may take the port before the server does.
            server.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            if server.try_begin().await {
                return server;
            }
        }
        panic!("the server did not start: {}", server.error_log());
    }

    /// Starts it again after `kill9` or `shutdown`.
    pub async fn begin(&mut self) {
        assert!(self.try_begin().await, "the server did not start: {}", self.error_log());
    }

    /// The same with options for this run alone.
    pub async fn begin_with(&mut self, options: &[&str]) {
        let before = self.options.len();
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self.begin().await;
        self.options.truncate(before);
    }

    async fn try_begin(&mut self) -> bool {
        let tool = find_tool("mariadbd");
        let folder = self.folder.path();
        let mut command = Command::new(&tool);
        command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"]);
        command.arg(format!("--datadir={}", folder.join("data").display()));
        command.args(base_of(&tool).map(|base| format!("--basedir={}", base.display())));
        // Never a shared one: a server deletes every temporary table of others in it when it starts.
        std::fs::create_dir_all(folder.join("tmp")).unwrap();
        command.arg(format!("--tmpdir={}", folder.join("tmp").display()));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(format!("--pid-file={}", folder.join("pid").display()));
        command.arg(format!("--log-error={}", folder.join("error.log").display()));
        command.args([format!("--port={}", self.port), format!("--server-id={}", self.id)]);
        command.args(["--log-bin=bin", "--relay-log=relay", "--log-slave-updates", "--binlog-format=ROW"]);
        command.args([
            "--gtid-strict-mode=1",
            "--read-only=1",
            "--skip-slave-start",
            "--slave-net-timeout=3",
        ]);
        command.args([
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--performance-schema=0",
        ]);
        command.args(["--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1", "--slave-parallel-threads=4"]);
        command.args(&self.options).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.try_root().await.is_none() {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some());
            if ended || Instant::now() > deadline {
                // A slow one must not answer on the socket later, at a port that is not the next one's.
                self.kill9();
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("running").id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The power of a process: no goodbye. Ends when it is gone.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    async fn try_root(&self) -> Option<Session> {
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        let endpoint = MariaDbEndpoint::Socket(self.socket());
        Session::open(endpoint_options(&endpoint, "root", None).into(), until).await.ok()
    }

    /// An administrator's connection.
    pub async fn root(&self) -> Session {
        // The place that is kept for administrators may still belong to one who is on the way out.
        for _ in 0..100 {
            if let Some(session) = self.try_root().await {
                return session;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no connection: {}", self.error_log())
    }

    /// How another account connects, through the socket.
    pub fn client_options(&self, user: &str, password: &str) -> mysql_async::Opts {
        let endpoint = MariaDbEndpoint::Socket(self.socket());
        let password = password.to_owned().into();
        endpoint_options(&endpoint, user, Some(&password)).into()
    }

    /// A connection as another account, through the socket.
    pub async fn session(&self, user: &str, password: &str) -> Session {
        let until = tokio::time::Instant::now() + Duration::from_secs(5);
        Session::open(self.client_options(user, password), until).await.unwrap()
    }

    /// Runs statements as root, each on a connection of its own with the others of the same call.
    pub async fn sql(&self, text: &str) -> Vec<Fields> {
        run(&mut self.root().await, text).await
    }

    /// One value of one row.
    pub async fn value(&self, text: &str) -> String {
        let rows = self.sql(&format!("SELECT ({text}) AS value")).await;
        rows.first().map(|row| row.text("value").to_owned()).unwrap_or_default()
    }

    /// `gtid_binlog_state`, sorted, so that two servers can be compared.
    pub async fn state(&self) -> apd::decision::gtid::GtidState {
        self.value("@@global.gtid_binlog_state").await.parse().unwrap()
    }

    /// Accounts and schema of apd, as bootstrap installs them.
    pub async fn install(&self) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        accounts().install(&mut self.root().await, until).await.unwrap();
    }

    pub fn settings(&self, node: u8, peer: SocketAddrV4) -> DatabaseSettings {
        DatabaseSettings {
            node: NodeId(node),
            endpoint: MariaDbEndpoint::Socket(self.socket()),
            peer,
            user: "apd".into(),
            password: Some(PASSWORD.to_owned().into()),
            replication_user: "apd_repl".into(),
            replication_password: Some(REPLICATION_PASSWORD.to_owned().into()),
            schema: "apd".into(),
            tls_ca_file: None,
            tls_required: false,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn accounts() -> Accounts {
    Accounts {
        schema: "apd".into(),
        user: "apd".into(),
        password: Some(PASSWORD.to_owned().into()),
        replication_user: "apd_repl".into(),
        replication_password: REPLICATION_PASSWORD.to_owned().into(),
        addresses: vec![Ipv4Addr::LOCALHOST],
    }
}

/// Runs a text and panics with the server's words if it fails.
pub async fn run(session: &mut Session, text: &str) -> Vec<Fields> {
    attempt(session, text).await.unwrap_or_else(|failure| panic!("{text}: {failure}"))
}

pub async fn attempt(
    session: &mut Session,
    text: &str,
) -> Result<Vec<Fields>, apd::io::mariadb::session::Failure> {
    session.rows_unbounded(&Statement::composed("test", text.to_owned())).await
}

/// Waits until `condition` holds; a test never waits for a fixed time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two servers with apd's view of each: `a` takes writes, `b` follows it.
pub struct Pair {
    pub a: Server,
    pub b: Server,
    pub on_a: std::sync::Arc<apd::io::mariadb::Database>,
    pub on_b: std::sync::Arc<apd::io::mariadb::Database>,
}

impl Pair {
    pub async fn start() -> Pair {
        Pair::start_with(&[]).await
    }

    pub async fn start_with(options: &[&str]) -> Pair {
        let (a, b) = tokio::join!(Server::start_with(1, options), Server::start_with(2, options));
        tokio::join!(a.install(), b.install());
        let on_a = std::sync::Arc::new(apd::io::mariadb::Database::connect(a.settings(1, b.address())));
        let on_b = std::sync::Arc::new(apd::io::mariadb::Database::connect(b.settings(2, a.address())));
        let pair = Pair { a, b, on_a, on_b };
        ok(&pair.on_a, DatabaseStep::AllowWrites).await;
        ok(&pair.on_b, DatabaseStep::Follow { position: Some(GtidState::default()), own_tail_lost: false })
            .await;
        pair.a
            .sql(
                "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(50));
                 CREATE USER app@localhost IDENTIFIED BY 'app';
                 GRANT ALL ON shop.* TO app@localhost",
            )
            .await;
        pair.caught_up().await;
        pair
    }

    /// Waits until `b` has applied all that `a` has.
    pub async fn caught_up(&self) {
        eventually("the replica has caught up", || async { self.a.state().await == self.b.state().await })
            .await;
    }
}

use apd::decision::action::{DatabaseStep, StepOutput, StepResult};
use apd::decision::gtid::GtidState;
use apd::io::mariadb::Database;

/// Long enough that only a hang exceeds it.
pub const LONG: Duration = Duration::from_secs(20);

/// Carries a step out and expects that it succeeds.
pub async fn ok(database: &Database, step: DatabaseStep) -> StepOutput {
    match database.perform(&step, LONG).await {
        StepResult::Ok(output) => output,
        other => panic!("{step:?}: {other:?}"),
    }
}

/// Carries a step out and expects that it fails; the reason.
pub async fn fails(database: &Database, step: DatabaseStep) -> String {
    match database.perform(&step, LONG).await {
        StepResult::Failed(reason) => reason,
        other => panic!("{step:?}: {other:?}"),
    }
}

impl Pair {
    /// Waits until `b` has applied what `a` has now, while `a` goes on.
    pub async fn caught_up_soon(&self) {
        let state = self.a.state().await;
        eventually("the replica has come this far", || async { self.b.state().await.covers(&state) }).await;
    }
}

/// How often a server is watched, and how long an answer may take; never changed.
pub fn timing(
    interval: Duration,
    timeout: Duration,
) -> tokio::sync::watch::Receiver<apd::config::checked::Timing> {
    let timing = apd::config::checked::Timing { interval, timeout, rise: 1, fall: 2 };
    tokio::sync::watch::channel(timing).1
}
