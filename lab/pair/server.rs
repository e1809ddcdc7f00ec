//! The MariaDB server of a node: its first data folder (made once and cached), its `my.cnf`, start, and statements
//! through the local socket as root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use super::machine::Machine;
use super::tools::{Tools, output, run};

/// The schema that the API and the writers use.
const APPLICATION: &str = "\
CREATE DATABASE appdb;
CREATE TABLE appdb.writes (id BIGINT UNSIGNED PRIMARY KEY, server INT UNSIGNED NOT NULL) ENGINE=InnoDB;
CREATE TABLE appdb.health (server INT UNSIGNED PRIMARY KEY, seen TIMESTAMP(3)) ENGINE=InnoDB;
CREATE USER app@'%' IDENTIFIED BY 'app';
CREATE USER app@localhost IDENTIFIED BY 'app';
GRANT SELECT, INSERT, UPDATE, DELETE ON appdb.* TO app@'%';
GRANT SELECT, INSERT, UPDATE, DELETE ON appdb.* TO app@localhost;
";

/// What the keepalived set-ups need besides: their replication account and the account of their checker.
const KEEPALIVED: &str = "\
CREATE USER repl@'%' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl@'%';
CREATE USER lab@localhost IDENTIFIED BY 'lab';
GRANT SELECT ON appdb.* TO lab@localhost;
";

/// The part of `my.cnf` that a plain machine needs: nothing there is the distribution's own.
const PLACES: &str = "\
[client]
socket = /run/mysqld/mysqld.sock
[mysqld]
user = root
datadir = /var/lib/mysql
socket = /run/mysqld/mysqld.sock
pid_file = /run/mysqld/mysqld.pid
log_error = /var/log/mysqld.log
tmpdir = /var/tmp
";

/// The part that every set-up shares. `skip_name_resolve` keeps a dead resolver out of the figures.
const COMMON: &str = "\
bind_address = 0.0.0.0
skip_name_resolve = 1
log_bin = binlog
relay_log = relay
log_slave_updates = 1
binlog_format = ROW
gtid_strict_mode = 1
innodb_log_file_size = 16M
innodb_buffer_pool_size = 64M
performance_schema = 0
max_connections = 400
";

/// What `apd` wants of a server (docs/operating.md): read-only until apd says otherwise, no replica that starts alone.
const MANAGED: &str = "\
binlog_row_image = FULL
sync_binlog = 1
innodb_flush_log_at_trx_commit = 1
read_only = 1
skip_slave_start = 1
event_scheduler = OFF
rpl_semi_sync_master_enabled = 0
rpl_semi_sync_slave_enabled = 1
rpl_semi_sync_master_wait_point = AFTER_SYNC
rpl_semi_sync_slave_kill_conn_timeout = 1
slave_net_timeout = 3
slave_parallel_threads = 4
slave_parallel_mode = optimistic
extra_port = 3307
extra_max_connections = 5
";

/// Which first data a server gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// As `mariadb-install-db` leaves it: what `apctl bootstrap` starts from.
    Empty,
    /// With the application's schema and the accounts of the keepalived set-ups.
    Prepared,
}

impl Template {
    fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Prepared => "prepared",
        }
    }

    /// The cached data folder, made at the first call on this machine.
    pub fn folder(self, tools: &Tools) -> Result<PathBuf> {
        let cache = tools.programs.parent().context("no target folder")?.join("lab");
        fs::create_dir_all(&cache)?;
        let lock = fs::File::create(cache.join("template.lock"))?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let version = run(tools.command("mariadbd").arg("--version"))?;
        let version = version.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
        let folder = cache.join(format!("template-3-{}-{version}", self.word()));
        if !folder.is_dir() {
            let draft = cache.join(format!("draft-{}", std::process::id()));
            let made = self.make(tools, &draft);
            if made.is_err() {
                let _gone = fs::remove_dir_all(&draft);
            }
            made?;
            fs::rename(&draft, &folder)?;
        }
        Ok(folder)
    }

    fn make(self, tools: &Tools, draft: &Path) -> Result<()> {
        run(tools
            .command("mariadb-install-db")
            .args([
                "--no-defaults",
                "--user=root",
                "--force", // no need that the host can resolve its own name
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
            ])
            .args(["--auth-root-socket-user=root", "--innodb-log-file-size=16M"])
            .arg(format!("--datadir={}", draft.display())))?;
        if self == Self::Empty {
            return Ok(());
        }
        let statements = draft.join("prepare.sql");
        fs::write(&statements, format!("{APPLICATION}{KEEPALIVED}SHUTDOWN;\n").replace(";\n", ";\n\n"))?;
        let mut command = tools.command("mariadbd");
        command
            .args(["--no-defaults", "--user=root", "--skip-networking", "--innodb-log-file-size=16M"])
            .args(["--skip-log-bin", "--socket=prepare.sock"])
            .arg(format!("--datadir={}", draft.display()))
            .arg(format!("--init-file={}", statements.display()));
        run(&mut command)?;
        fs::remove_file(&statements)?;
        Ok(())
    }
}

/// Puts a data folder and a `my.cnf` onto the disk of a node that has none yet.
pub fn install(
    tools: &Tools,
    disk: &Path,
    template: Template,
    server_id: u8,
    extra: Option<&str>,
) -> Result<()> {
    let data = disk.join("mysql");
    if !data.join("mysql").is_dir() {
        fs::create_dir_all(disk)?;
        let source = template.folder(tools)?;
        run(Command::new("cp").args(["-a", "--sparse=always", "-T"]).arg(source).arg(&data))?;
    }
    let folder = disk.join("etc/mysql");
    fs::create_dir_all(&folder)?;
    let text = format!("{PLACES}{COMMON}server_id = {server_id}\n{}\n", extra.unwrap_or(MANAGED));
    // The distribution's own my.cnf is a link into /etc/alternatives: the node's file stands in front of it.
    fs::write(folder.join("my.cnf"), text)?;
    Ok(())
}

/// What stands in `mariadb.conf.d` of a node with the distribution's own server.
pub fn drop_in(server_id: u8) -> String {
    format!("[mysqld]\n{COMMON}{MANAGED}server_id = {server_id}\n")
}

/// Starts the server of a node; `wait_ready` tells when it answers.
pub fn start(node: &Machine, disk: &Path) -> Result<()> {
    if node.has_systemd() {
        return node.shell("systemctl start mariadb").map(|_| ());
    }
    node.start(&disk.join("log/mysqld.out"), "mariadbd", &["--defaults-file=/etc/mysql/my.cnf"])
}

/// Waits until the server answers on its socket.
pub fn wait_ready(node: &Machine, disk: &Path, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    let socket = node.path("/run/mysqld/mysqld.sock");
    loop {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() && statement(node, "SELECT 1").is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let log = ["log/mysqld.log", "log/mysqld.out"]
                .map(|name| fs::read_to_string(disk.join(name)).unwrap_or_default())
                .join("\n");
            let tail: Vec<&str> = log.lines().rev().take(8).collect();
            bail!("mariadbd on {} does not answer: {}", node.name, tail.join(" / "));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs statements as root through the local socket and returns the rows, columns separated by tabs.
pub fn statement(node: &Machine, sql: &str) -> Result<String> {
    client(node, &["--skip-column-names", "--execute", sql])
}

/// The fields of a node's replica (`SHOW ALL SLAVES STATUS`) by name; empty when it follows nobody.
pub fn replica(node: &Machine) -> Result<BTreeMap<String, String>> {
    let text = client(node, &["--vertical", "--execute", "SHOW ALL SLAVES STATUS"])?;
    let fields = text.lines().filter_map(|line| line.trim().split_once(": "));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn client(node: &Machine, arguments: &[&str]) -> Result<String> {
    let mut command = node.enter("timeout");
    command.args(["-s", "KILL", "10", "mariadb", "--batch"]).args(arguments);
    let output = output(&mut command)?;
    if !output.status.success() {
        bail!("on {}: {arguments:?}: {}", node.name, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Creates the application's schema on a server without a trace in its binary log, so that both nodes can be
/// given the same one before they replicate.
pub fn create_application(node: &Machine) -> Result<()> {
    statement(node, &format!("SET sql_log_bin = 0;\n{APPLICATION}")).map(|_| ())
}
