//! What holds the pair together: `apd` with one of its profiles, or one of three keepalived set-ups to compare with.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::machine::{Machine, Process};
use super::network::VIRTUAL;
use super::server::{self, Template};
use super::tools::{Tools, output, run};
use super::wait;

/// A way to hold the pair together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// `apd` with `profile = "default"`.
    ApdDefault,
    /// `apd` with `profile = "lan-fast"` and checks every 50 ms.
    ApdLanFast,
    /// keepalived as the source documents have it.
    Seed,
    /// keepalived as a careful operator has it.
    Tuned,
    /// keepalived with all that can be done from outside.
    Expert,
}

impl Setup {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [Self::ApdDefault, Self::ApdLanFast, Self::Seed, Self::Tuned, Self::Expert];

    /// The name on the command line and in the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::ApdDefault => "apd-default",
            Self::ApdLanFast => "apd-lan-fast",
            Self::Seed => "seed",
            Self::Tuned => "tuned",
            Self::Expert => "expert",
        }
    }

    /// Whether `apd` holds the pair.
    pub fn is_apd(self) -> bool {
        matches!(self, Self::ApdDefault | Self::ApdLanFast)
    }

    /// How long a fault of the active is watched: longer than the slowest detection of this set-up.
    pub fn watch(self) -> Duration {
        Duration::from_millis(match self {
            Self::ApdDefault => 4_000,
            Self::ApdLanFast => 3_000,
            Self::Seed => 9_000,
            Self::Tuned => 5_000,
            Self::Expert => 4_000,
        })
    }

    /// The first data of both servers.
    pub fn template(self) -> Template {
        if self.is_apd() { Template::Empty } else { Template::Prepared }
    }

    /// What follows the common `my.cnf`; none means what `apd` wants.
    pub fn server_extra(self, tools: &Tools, index: usize) -> Result<Option<String>> {
        if self.is_apd() {
            return Ok(None);
        }
        let path = tools.keepalived.join(self.word()).join(format!("n{}/my.cnf.extra", index + 1));
        Ok(Some(fs::read_to_string(&path).with_context(|| path.display().to_string())?))
    }

    /// Puts the set-up's own files onto a node's disk; `configuration` stands in for that of `apd`.
    pub fn install(
        self,
        tools: &Tools,
        disk: &Path,
        index: usize,
        configuration: Option<&str>,
    ) -> Result<()> {
        if self.is_apd() {
            let folder = disk.join("etc/apd");
            fs::create_dir_all(&folder)?;
            let text = configuration.map_or_else(|| self.configuration(), str::to_owned);
            return Ok(fs::write(folder.join("apd.toml"), text)?);
        }
        let folder = disk.join("etc/keepalived");
        fs::create_dir_all(&folder)?;
        let source = tools.keepalived.join(self.word()).join(format!("n{}/etc-ha", index + 1));
        for entry in fs::read_dir(&source).with_context(|| source.display().to_string())? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        fs::copy(tools.keepalived.join("minimysql.py"), folder.join("minimysql.py"))?;
        Ok(())
    }

    /// The configuration file of `apd`, the same on both nodes: the default profile with its checks as they come,
    /// every second; the fast one with checks to match.
    pub fn configuration(self) -> String {
        match self {
            // A timeout longer than the interval: a busy moment of this machine is no failure of a check.
            Self::ApdLanFast => configuration("lan-fast", "interval = \"50ms\"\ntimeout = \"250ms\""),
            _ => configuration("default", ""),
        }
    }

    /// Accounts, schema and replication between two servers that run; before the API and the daemons.
    pub fn bootstrap(self, tools: &Tools, nodes: [&Machine; 2]) -> Result<()> {
        let [first, second] = nodes;
        match self {
            Self::ApdDefault | Self::ApdLanFast => {
                apctl(tools, first, &["bootstrap", "--yes"]).context("on the first node")?;
                copy_passwords(first, second)?;
                apctl(tools, second, &["bootstrap", "--yes"]).context("on the second node")?;
                server::create_application(first)?;
                server::create_application(second)
            }
            Self::Seed => {
                server::statement(second, &format!("{} START SLAVE;", follow("10.77.0.1"))).map(|_| ())
            }
            Self::Tuned | Self::Expert => Ok(()),
        }
    }

    /// Starts the daemon (and what belongs to it) of a node.
    pub fn start_daemon(self, tools: &Tools, node: &Machine, disk: &Path) -> Result<()> {
        match self {
            Self::ApdDefault | Self::ApdLanFast => {
                if node.has_systemd() {
                    return node.shell("systemctl enable --now apd-gate apd 2>&1").map(|_| ());
                }
                let program = tools.program("apd").display().to_string();
                node.start(&disk.join("log/apd.log"), &program, &["--config", "/etc/apd/apd.toml"])
            }
            Self::Seed | Self::Tuned | Self::Expert => {
                if self == Self::Expert {
                    node.shell("echo 0 >/run/ha-weight")?;
                    node.start(&disk.join("log/checker.log"), "python3", &["/etc/keepalived/checker.py"])?;
                }
                let log = disk.join("log/keepalived.log");
                node.start(&log, "keepalived", &["-n", "-l", "-D"])?;
                // The node that is started first takes part first.
                wait("keepalived takes part", Duration::from_secs(10), || {
                    let text = fs::read_to_string(&log)?;
                    Ok(["Entering BACKUP", "Entering MASTER", "entering FAULT"]
                        .iter()
                        .any(|word| text.contains(word)))
                })
            }
        }
    }

    /// The processes of the daemon: of `apd` without its gate, of keepalived all.
    pub fn daemon(self, node: &Machine) -> Vec<Process> {
        if self.is_apd() { node.find("apd", "--config") } else { node.find("keepalived", "-n -l") }
    }

    /// The gate process; none with keepalived.
    pub fn gate(self, node: &Machine) -> Vec<Process> {
        if self.is_apd() { node.find("apd-gate", "") } else { Vec::new() }
    }

    /// Everything that the set-up keeps running besides the server and the API, for memory and processor time.
    pub fn resident(self, node: &Machine) -> Vec<Process> {
        let mut found = self.daemon(node);
        found.extend(self.gate(node));
        if self == Self::Expert {
            found.extend(node.find("python3", "checker.py"));
        }
        found
    }

    /// A planned swap of the roles. keepalived has none: its daemon is stopped on the active.
    pub fn switchover(self, tools: &Tools, active: &Machine) -> Result<()> {
        if self.is_apd() {
            return apctl(tools, active, &["switchover", "--yes"]).map(|_| ());
        }
        active.signal(&self.daemon(active), Signal::SIGTERM)
    }

    /// The state of a node as its own daemon and its own server tell it.
    pub fn state(self, tools: &Tools, node: &Machine) -> Value {
        let addresses = node.shell("ip -o -4 address show").unwrap_or_default();
        let database = server::statement(node, "SELECT @@read_only, @@gtid_current_pos")
            .map(|row| {
                let (read_only, position) = row.split_once('\t').unwrap_or((row.as_str(), ""));
                json!({"read_only": read_only, "gtid": position, "replica": replica(node)})
            })
            .unwrap_or_else(|error| json!({"error": format!("{error:#}")}));
        let status = if self.is_apd() {
            status(tools, node).unwrap_or_else(|e| json!(format!("{e:#}")))
        } else {
            Value::Null
        };
        json!({"on": true, "vip": addresses.contains(VIRTUAL), "database": database, "status": status})
    }

    /// What the survivor tells about the takeover: the newest timeline, or keepalived's notify log.
    pub fn timeline(self, tools: &Tools, node: &Machine, disk: &Path) -> Value {
        if !self.is_apd() {
            let log = fs::read_to_string(disk.join("log/notify.log")).unwrap_or_default();
            return log.lines().map(Value::from).collect();
        }
        apctl(tools, node, &["timeline", "-o", "json"])
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .unwrap_or_else(|error| json!(format!("{error:#}")))
    }
}

impl FromStr for Setup {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|setup| setup.word() == word) {
            Some(setup) => Ok(setup),
            None if word == "apd" => Ok(Self::ApdDefault),
            None => bail!("`{word}` is none of: {}", Self::ALL.map(Self::word).join(", ")),
        }
    }
}

/// Runs `apctl` on a node; a failure carries what it wrote.
pub fn apctl(tools: &Tools, node: &Machine, arguments: &[&str]) -> Result<String> {
    run(node.enter(&node.program(tools, "apctl")).args(arguments))
}

/// Runs `apctl` on a node whatever its exit code, which is returned with what it wrote on both outputs.
pub fn apctl_code(tools: &Tools, node: &Machine, arguments: &[&str]) -> Result<(i32, String)> {
    let output = output(node.enter(&node.program(tools, "apctl")).args(arguments))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

/// `apctl status -o json` of a node.
pub fn status(tools: &Tools, node: &Machine) -> Result<Value> {
    Ok(serde_json::from_str(&apctl(tools, node, &["status", "-o", "json"])?)?)
}

/// The two thread states and the errors of a node's replica, or null when it follows nobody.
fn replica(node: &Machine) -> Value {
    let fields = server::replica(node).unwrap_or_default();
    match fields.get("Slave_IO_Running") {
        None => Value::Null,
        Some(io) => {
            json!({"io": io, "sql": fields.get("Slave_SQL_Running"), "error": fields.get("Last_SQL_Error"),
                           "io_error": fields.get("Last_IO_Error")})
        }
    }
}

fn follow(address: &str) -> String {
    format!(
        "CHANGE MASTER TO MASTER_HOST='{address}', MASTER_USER='repl', MASTER_PASSWORD='repl', \
         MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos;"
    )
}

/// The second node gets the password files that `apctl bootstrap` generated on the first.
fn copy_passwords(from: &Machine, to: &Machine) -> Result<()> {
    for entry in fs::read_dir(from.path("/etc/apd"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "password") {
            run(std::process::Command::new("cp").arg("-a").arg(path).arg(to.path("/etc/apd")))?;
        }
    }
    Ok(())
}

/// Whether both nodes say that the standby may take over.
pub fn may_take_over(tools: &Tools, standby: &Machine, active: &Machine) -> Result<bool> {
    let (told, heard) = (status(tools, standby)?, status(tools, active)?);
    if told["node"]["role"] != "standby"
        || told["node"]["eligible"] != true
        || heard["peer"]["role"] != "standby"
    {
        return Ok(false);
    }
    // The standby's next heartbeat tells the active that it is caught up.
    Ok(apctl_code(tools, active, &["switchover", "--dry-run"])?.0 == 0)
}

/// A configuration of `apd` for the laboratory; `timing` are the keys of its two checks.
pub fn configuration(profile: &str, timing: &str) -> String {
    format!(
        r#"[cluster]
name = "lab"
virtual_addresses = ["{VIRTUAL}/24"]
profile = "{profile}"
max_failovers_per_hour = 1000

[nodes.db1]
address = "10.77.0.1"
priority = 110
[nodes.db2]
address = "10.77.0.2"

[mariadb]
user = "apd"
password_file = "/etc/apd/mariadb.password"
replication_password_file = "/etc/apd/replication.password"

[[check]]
name = "api"
type = "http"
url = "http://127.0.0.1:8080/health"
{timing}

[[check]]
name = "mariadb"
type = "mariadb"
{timing}

[log]
format = "text"
"#
    )
}
