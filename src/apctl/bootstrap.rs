//! `apctl bootstrap`: accounts, grants, schema and replication on two servers. Run as root on each node in
//! turn with the same configuration; a second run says that all is so already.
//!
//! Nothing here destroys data: where both servers have some and neither is a part of the other, it refuses.

mod passwords;
mod plan;
mod report;

pub use report::{BootstrapError, Outcome};

use crate::config::checked::{Config, MariaDbEndpoint};
use crate::config::typed;
use crate::decision::gtid::GtidState;
use crate::io::mariadb::accounts::Accounts;
use crate::io::mariadb::clone::{Copy, drop_database};
use crate::io::mariadb::session::{Failure, Fields, Session};
use crate::io::mariadb::statement::{Statement, identifier, quote, statement};
use crate::io::mariadb::{DatabaseSettings, endpoint_options};
use plan::{Next, facts, marker};
use secrecy::{ExposeSecret, SecretString};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// One statement's patience; those that move data have none.
const LIMIT: Duration = Duration::from_secs(30);
/// A server that does not answer within this is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What the command line adds to the configuration.
#[derive(Clone, Debug)]
pub struct BootstrapOptions {
    /// Socket of the local server, where the configuration names host and port.
    pub socket: PathBuf,
    /// Administrator's account, by unix_socket.
    pub administrator: String,
    /// `mariadb.password_file`; `None`: unix_socket authentication.
    pub password_file: Option<PathBuf>,
    /// `mariadb.replication_password_file`.
    pub replication_password_file: PathBuf,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Where `mariadb` and `mariadb-dump` are, if not in PATH.
    pub tools: Option<PathBuf>,
}

impl BootstrapOptions {
    /// From the configuration as written: where it names no file for the replica's password, one is made in
    /// `node.state_dir`, where the configuration looks for it too.
    pub fn new(written: &typed::File) -> BootstrapOptions {
        let file = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        let made = || written.node.state_dir.join("replication.password");
        BootstrapOptions {
            socket: PathBuf::from("/run/mysqld/mysqld.sock"),
            administrator: "root".to_owned(),
            password_file: file(&written.mariadb.password_file),
            replication_password_file: file(&written.mariadb.replication_password_file).unwrap_or_else(made),
            dry_run: false,
            tools: None,
        }
    }
}

/// Sets this node up, as far as it can be from here.
///
/// # Errors
/// See [`BootstrapError`]. A run that was broken off can be run again.
pub async fn bootstrap(
    config: &Config,
    options: BootstrapOptions,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Outcome, BootstrapError> {
    let addresses = vec![config.me.address, config.peer.address];
    let site = Site {
        settings: DatabaseSettings::from(config),
        addresses,
        me: config.me.name.clone(),
        peer: config.peer.name.clone(),
    };
    bootstrap_site(site, options, progress).await
}

/// The two servers, seen from this node.
#[derive(Clone, Debug)]
pub struct Site {
    /// How both are reached; passwords in it are not used.
    pub settings: DatabaseSettings,
    /// Both nodes' addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// This node's name.
    pub me: String,
    /// The peer's.
    pub peer: String,
}

/// As [`bootstrap`], on what it takes from the configuration.
///
/// # Errors
/// See [`BootstrapError`].
pub async fn bootstrap_site(
    site: Site,
    options: BootstrapOptions,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Outcome, BootstrapError> {
    let mut run = Run::open(site, options).await?;
    run.check_settings().await?;
    let mut plan = Vec::new();
    if !run.is_installed().await? {
        plan.push(format!("install accounts, grants and the schema {} here", run.site.settings.schema));
        if !run.options.dry_run {
            run.write_passwords()?;
            run.install().await?;
            progress("accounts, grants and schema are installed");
        }
    }
    let next = run.next_step().await?;
    plan.push(next.says(&run.site));
    if run.options.dry_run {
        return Ok(Outcome::Plan(plan));
    }
    let changed = plan.len() > 1;
    run.carry_out(next, changed, progress).await
}

struct Run {
    site: Site,
    options: BootstrapOptions,
    accounts: Accounts,
    here: Session,
}

fn until() -> Instant {
    Instant::now() + LIMIT
}

impl Run {
    async fn open(mut site: Site, options: BootstrapOptions) -> Result<Run, BootstrapError> {
        let socket = match &site.settings.endpoint {
            MariaDbEndpoint::Socket(path) => path.clone(),
            MariaDbEndpoint::Tcp(_) => options.socket.clone(),
        };
        let options = BootstrapOptions { socket, ..options };
        let endpoint = MariaDbEndpoint::Socket(options.socket.clone());
        let opts = endpoint_options(&endpoint, &options.administrator, None).into();
        let opened = Session::open(opts, Instant::now() + CONNECT_LIMIT).await;
        let here = opened.map_err(|failure| server_failure(&site.me, failure))?;
        let secret = |path: &PathBuf| {
            passwords::read_or_make(path).map_err(|error| BootstrapError::File { path: path.clone(), error })
        };
        let password = options.password_file.as_ref().map(secret).transpose()?;
        let replication_password = secret(&options.replication_password_file)?;
        site.settings.password = password.clone();
        site.settings.replication_password = Some(replication_password.clone());
        let accounts = Accounts {
            schema: site.settings.schema.clone(),
            user: site.settings.user.clone(),
            password,
            replication_user: site.settings.replication_user.clone(),
            replication_password,
            addresses: site.addresses.clone(),
        };
        Ok(Run { site, options, accounts, here })
    }

    async fn say(&mut self, statement: Statement) -> Result<Vec<Fields>, BootstrapError> {
        let failed = |failure| server_failure(&self.site.me, failure);
        self.here.rows(&statement, until()).await.map_err(failed)
    }

    /// All that is wrong at once.
    async fn check_settings(&mut self) -> Result<(), BootstrapError> {
        let rows = self.say(statement!("probe")).await?;
        let row = rows.first().cloned().unwrap_or_default();
        let mut wrong = Vec::new();
        for (name, line) in [
            ("log_bin", "log_bin = bin"),
            ("log_slave_updates", "log_slave_updates = 1"),
            ("gtid_strict_mode", "gtid_strict_mode = 1"),
        ] {
            if !row.is_on(name) {
                wrong.push(format!(
                    "{name} is off on {}: write `{line}` below [mariadb] and restart it",
                    self.site.me
                ));
            }
        }
        if row.text("binlog_format") != "ROW" {
            wrong
                .push(format!("binlog_format is {}: write `binlog_format = ROW`", row.text("binlog_format")));
        }
        if row.number::<u32>("server_id") == Some(0) {
            wrong.push("server_id is 0: write `server_id = 1` on one node and `2` on the other".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(BootstrapError::Settings(wrong)) }
    }

    /// Accounts log in with these passwords, and the schema is current.
    async fn is_installed(&mut self) -> Result<bool, BootstrapError> {
        let current = self.accounts.schema_is_current(&mut self.here, until()).await;
        if !current.map_err(|failure| server_failure(&self.site.me, failure))? {
            return Ok(false);
        }
        let local = MariaDbEndpoint::Socket(self.options.socket.clone());
        let control = endpoint_options(&local, &self.accounts.user, self.accounts.password.as_ref());
        let limit = Instant::now() + CONNECT_LIMIT;
        // With unix_socket authentication only apd's own user can log in: the account's existence must do.
        let control = self.accounts.password.is_none() || Session::open(control.into(), limit).await.is_ok();
        Ok(control && self.replication_password_fits().await?)
    }

    /// `PASSWORD()` of what the file holds is what the account has: it cannot log in locally.
    async fn replication_password_fits(&mut self) -> Result<bool, BootstrapError> {
        let password = self.accounts.replication_password.expose_secret().to_owned();
        let text = format!(
            "SELECT COUNT(*) AS fits FROM mysql.global_priv WHERE User = {} AND Host IN ({}) \
             AND JSON_VALUE(Priv, '$.authentication_string') = PASSWORD({})",
            quote(&self.accounts.replication_user),
            self.addresses(),
            quote(&password)
        );
        let rows = self.say(Statement::composed("replication_account", text)).await?;
        let expected = self.site.addresses.iter().collect::<std::collections::BTreeSet<_>>().len();
        Ok(rows.first().and_then(|row| row.number("fits")) == Some(expected))
    }

    fn addresses(&self) -> String {
        let quoted: Vec<_> = self.site.addresses.iter().map(|address| quote(&address.to_string())).collect();
        quoted.join(", ")
    }

    fn write_passwords(&self) -> Result<(), BootstrapError> {
        let write = |path: &PathBuf, password: &SecretString| {
            passwords::write_if_missing(path, password)
                .map_err(|error| BootstrapError::File { path: path.clone(), error })
        };
        if let (Some(path), Some(password)) = (&self.options.password_file, &self.accounts.password) {
            write(path, password)?;
        }
        write(&self.options.replication_password_file, &self.accounts.replication_password)
    }

    async fn install(&mut self) -> Result<(), BootstrapError> {
        let installed = self.accounts.install(&mut self.here, until()).await;
        installed.map_err(|failure| server_failure(&self.site.me, failure))
    }

    async fn next_step(&mut self) -> Result<Next, BootstrapError> {
        let replica = self.say(statement!("replica_status")).await?;
        let follows = replica.iter().any(|row| {
            row.text("master_host") == self.site.settings.peer.ip().to_string()
                && row.number("master_port") == Some(self.site.settings.peer.port())
                && row.text("slave_io_running") == "Yes"
                && row.is_on("slave_sql_running")
        });
        if follows {
            return Ok(Next::Nothing("this server follows the peer already"));
        }
        let mut peer = match self.open_peer().await {
            Ok(peer) => peer,
            Err(failure) => return Ok(Next::PeerUnknown(failure.to_string())),
        };
        let sessions = self.say(statement!("sessions")).await?;
        if sessions.iter().any(|row| row.text("command").starts_with("Binlog Dump")) {
            return Ok(Next::Nothing("the peer follows this server already"));
        }
        let mine = facts(&mut self.here, &self.site.settings.schema).await;
        let mine = mine.map_err(|failure| server_failure(&self.site.me, failure))?;
        let theirs = facts(&mut peer, &self.site.settings.schema).await;
        let theirs = theirs.map_err(|failure| server_failure(&self.site.peer, failure))?;
        plan::judge(&self.site, &mine, &theirs)
    }

    async fn open_peer(&self) -> Result<Session, Failure> {
        let user = &self.accounts.replication_user;
        let opts = self.site.settings.remote_as(user, Some(&self.accounts.replication_password));
        Session::open(opts, Instant::now() + CONNECT_LIMIT).await
    }

    async fn carry_out(
        &mut self,
        next: Next,
        changed: bool,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Outcome, BootstrapError> {
        let says = next.says(&self.site);
        match next {
            Next::Nothing(why) if changed => Ok(Outcome::Following(why.to_owned())),
            Next::Nothing(why) => Ok(Outcome::AlreadySo(why.to_owned())),
            Next::PeerUnknown(_) | Next::PeerCopiesFromHere => Ok(Outcome::RunOnPeer(says)),
            Next::Follow(position) => {
                progress(&says);
                self.follow(&position).await?;
                Ok(Outcome::Following(says))
            }
            Next::CopyFromPeer { databases, bytes, .. } => {
                progress(&says);
                let position = self.copy(&databases, bytes, progress).await?;
                self.follow(&position).await?;
                Ok(Outcome::Following(format!(
                    "this server is a copy of {}'s and follows it",
                    self.site.peer
                )))
            }
        }
    }

    /// Replaces what is here by a copy of the peer's databases and accounts. Only for a server without data
    /// of its own, or whose data was saved.
    async fn copy(
        &mut self,
        databases: &[String],
        bytes: u64,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<GtidState, BootstrapError> {
        self.forget_replication().await?;
        self.say(statement!("not_in_binlog")).await?;
        let marker = marker(&self.site.settings.schema);
        let leftover = facts(&mut self.here, &self.site.settings.schema).await;
        let leftover = leftover.map_err(|failure| server_failure(&self.site.me, failure))?;
        if leftover.names.contains(&marker) {
            progress("an earlier copy was not finished: starting over");
            for name in leftover.names.iter().filter(|name| **name != marker) {
                self.say(drop_database(name)).await?;
            }
        }
        self.say(statement!("clone_begin", marker = identifier(&marker))).await?;
        let before = self.peer_accounts().await?;
        let source = Source::of(self);
        let copy = source.copy();
        let mut moved = |now: u64| progress(&format!("{} MiB of about {} MiB", now >> 20, bytes >> 20));
        let position = copy.databases(databases, &mut moved).await?;
        copy.accounts().await?;
        if self.peer_accounts().await? != before {
            return Err(BootstrapError::Refused {
                reason: format!("accounts were changed on {} during the copy", self.site.peer),
                remedy: "run `apctl bootstrap` again".to_owned(),
            });
        }
        let server = self.peer_server_id().await?;
        self.say(statement!("events_of_the_primary", server = server)).await?;
        // The binary log here holds nothing that a client wrote, and would stand against the position.
        self.say(statement!("reset_binlog")).await?;
        self.say(statement!("set_position", position = quote(&position.to_string()))).await?;
        self.say(statement!("clone_end", marker = identifier(&marker))).await?;
        progress(&format!("the data is copied as of {position}"));
        Ok(position)
    }

    async fn peer_value(&self, statement: Statement, column: &str) -> Result<String, BootstrapError> {
        let failed = |failure| server_failure(&self.site.peer, failure);
        let mut peer = self.open_peer().await.map_err(failed)?;
        let rows = peer.rows(&statement, until()).await.map_err(failed)?;
        Ok(rows.first().map_or_else(String::new, |row| row.text(column).to_owned()))
    }

    async fn peer_accounts(&self) -> Result<String, BootstrapError> {
        self.peer_value(statement!("accounts_checksum"), "checksum").await
    }

    async fn peer_server_id(&self) -> Result<u32, BootstrapError> {
        Ok(self.peer_value(statement!("probe"), "server_id").await?.parse().unwrap_or(0))
    }

    async fn forget_replication(&mut self) -> Result<(), BootstrapError> {
        self.say(statement!("forbid_writes")).await?;
        if !self.say(statement!("replica_status")).await?.is_empty() {
            self.say(statement!("stop_replica")).await?;
            self.say(statement!("forget_primary")).await?;
        }
        Ok(())
    }

    async fn follow(&mut self, position: &GtidState) -> Result<(), BootstrapError> {
        self.forget_replication().await?;
        self.say(statement!("set_position", position = quote(&position.to_string()))).await?;
        let follow = self.site.settings.follow_statement(&self.accounts.replication_password);
        self.say(follow).await?;
        self.say(statement!("start_replica")).await?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let rows = self.say(statement!("replica_status")).await?;
            let row = rows.first().cloned().unwrap_or_default();
            if row.text("slave_io_running") == "Yes" && row.is_on("slave_sql_running") {
                return Ok(());
            }
            let errors = format!("{} {}", row.text("last_io_error"), row.text("last_sql_error"));
            if Instant::now() > deadline || !errors.trim().is_empty() && !row.is_on("slave_sql_running") {
                return Err(BootstrapError::Refused {
                    reason: format!("replication from {} does not run: {}", self.site.peer, errors.trim()),
                    remedy: "see SHOW SLAVE STATUS here".to_owned(),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What [`struct@Copy`] borrows.
struct Source {
    settings: DatabaseSettings,
    password: SecretString,
    socket: PathBuf,
    administrator: String,
    scratch: PathBuf,
    tools: Option<PathBuf>,
}

impl Source {
    fn of(run: &Run) -> Source {
        let beside = run.options.replication_password_file.parent().map(PathBuf::from);
        Source {
            settings: run.site.settings.clone(),
            password: run.accounts.replication_password.clone(),
            socket: run.options.socket.clone(),
            administrator: run.options.administrator.clone(),
            scratch: beside.unwrap_or_else(std::env::temp_dir),
            tools: run.options.tools.clone(),
        }
    }

    fn copy(&self) -> Copy<'_> {
        Copy {
            source: self.settings.peer,
            user: &self.settings.replication_user,
            password: &self.password,
            tls_ca_file: self.settings.tls_ca_file.as_deref(),
            socket: &self.socket,
            administrator: &self.administrator,
            scratch: &self.scratch,
            tools: self.tools.as_deref(),
        }
    }
}

fn server_failure(server: &str, failure: Failure) -> BootstrapError {
    BootstrapError::Server { server: server.to_owned(), failure }
}
