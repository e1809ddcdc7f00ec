//! How the servers are reached, and as whom.

use super::statement::{Statement, quote, statement};
use crate::config::checked::{Config, MariaDbEndpoint};
use crate::decision::words::NodeId;
use mysql_async::{Opts, OptsBuilder, SslOpts};
use secrecy::{ExposeSecret, SecretString};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

/// The part of the configuration that MariaDB control needs.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// This node's index: the key of its heartbeat row.
    pub node: NodeId,
    /// The local server.
    pub endpoint: MariaDbEndpoint,
    /// The peer's server.
    pub peer: SocketAddrV4,
    /// Account of apd.
    pub user: String,
    /// Its password; `None`: unix_socket authentication, with which the peer's server cannot be reached.
    pub password: Option<SecretString>,
    /// Account of the replica.
    pub replication_user: String,
    /// Its password.
    pub replication_password: Option<SecretString>,
    /// Schema of heartbeat and ledger.
    pub schema: String,
    /// CA for TLS to the peer's server.
    pub tls_ca_file: Option<PathBuf>,
    /// Refuse the peer's server without TLS.
    pub tls_required: bool,
}

impl From<&Config> for DatabaseSettings {
    fn from(config: &Config) -> Self {
        let mariadb = &config.mariadb;
        DatabaseSettings {
            node: config.me.id,
            endpoint: mariadb.endpoint.clone(),
            peer: config.peer.mariadb_address,
            user: mariadb.user.clone(),
            password: mariadb.password.clone(),
            replication_user: mariadb.replication_user.clone(),
            replication_password: mariadb.replication_password.clone(),
            schema: mariadb.schema.clone(),
            tls_ca_file: mariadb.tls_ca_file.clone(),
            tls_required: mariadb.tls_required,
        }
    }
}

impl DatabaseSettings {
    /// For connections to the local server.
    pub fn local(&self) -> Opts {
        endpoint_options(&self.endpoint, &self.user, self.password.as_ref()).into()
    }

    /// For connections of apd's account to the peer's server.
    pub fn remote(&self) -> Opts {
        self.remote_as(&self.user, self.password.as_ref())
    }

    /// For connections of any account to the peer's server.
    pub fn remote_as(&self, user: &str, password: Option<&SecretString>) -> Opts {
        let endpoint = MariaDbEndpoint::Tcp(self.peer);
        let mut options = endpoint_options(&endpoint, user, password);
        if let Some(ca) = &self.tls_ca_file {
            let roots = vec![ca.clone().into()];
            let tls = SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(true);
            options = options.ssl_opts(tls);
        } else if self.tls_required {
            options = options.ssl_opts(SslOpts::default());
        }
        options.into()
    }
}

impl DatabaseSettings {
    /// What makes a server follow the peer's. Holds the password: never for a log.
    pub fn follow_statement(&self, password: &SecretString) -> Statement {
        let tls = match (&self.tls_ca_file, self.tls_required) {
            (Some(ca), _) => format!(
                ", MASTER_SSL = 1, MASTER_SSL_VERIFY_SERVER_CERT = 1, MASTER_SSL_CA = {}",
                quote(&ca.display().to_string())
            ),
            (None, true) => ", MASTER_SSL = 1".to_owned(),
            (None, false) => String::new(),
        };
        statement!(
            "follow",
            host = quote(&self.peer.ip().to_string()),
            port = self.peer.port(),
            user = quote(&self.replication_user),
            password = quote(password.expose_secret()),
            tls = tls,
        )
    }
}

/// Connection options for `endpoint`. `prefer_socket` is off: with it a TCP connection on loopback silently
/// becomes one through the socket. The two presets save a question at each connect.
pub fn endpoint_options(
    endpoint: &MariaDbEndpoint,
    user: &str,
    password: Option<&SecretString>,
) -> OptsBuilder {
    let options = OptsBuilder::default()
        .prefer_socket(false)
        .user(Some(user))
        .pass(password.map(|password| password.expose_secret().to_owned()))
        .max_allowed_packet(Some(1 << 26))
        .wait_timeout(Some(31_536_000))
        .stmt_cache_size(0)
        .tcp_keepalive(Some(Duration::from_secs(5)));
    match endpoint {
        MariaDbEndpoint::Socket(path) => options.socket(Some(path.display().to_string())),
        MariaDbEndpoint::Tcp(address) => {
            options.ip_or_hostname(address.ip().to_string()).tcp_port(address.port())
        }
    }
}
