//! Accounts, grants and the schema of apd on one server, installed by its administrator's connection.

use super::session::{Failure, Session};
use super::statement::{Statement, identifier, quote, statement};
use secrecy::{ExposeSecret, SecretString};
use std::net::Ipv4Addr;
use tokio::time::Instant;

/// Files of `sql/schema`, oldest first; the version is the place in this list, counted from 1.
const VERSIONS: [(&str, &str); 1] =
    [("schema/0001_heartbeat_and_ledger", include_str!("../../../sql/schema/0001_heartbeat_and_ledger.sql"))];

/// Who is to exist on a server.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Schema of heartbeat and ledger.
    pub schema: String,
    /// apd's account.
    pub user: String,
    /// Its password; `None`: unix_socket authentication, and no account for the peer.
    pub password: Option<SecretString>,
    /// The replica's account.
    pub replication_user: String,
    /// Its password.
    pub replication_password: SecretString,
    /// Both nodes' addresses: accounts are the same on both servers.
    pub addresses: Vec<Ipv4Addr>,
}

impl Accounts {
    /// Creates what is missing and sets passwords and grants; past the binary log.
    ///
    /// # Errors
    /// The administrator's account lacks a privilege, or the server a feature.
    pub async fn install(&self, session: &mut Session, until: Instant) -> Result<(), Failure> {
        session.rows(&statement!("not_in_binlog"), until).await?;
        self.install_schema(session, until).await?;
        let by = match &self.password {
            Some(password) => by_password(password),
            None => "VIA unix_socket".to_owned(),
        };
        for host in ["localhost", "127.0.0.1"] {
            if self.password.is_none() && host != "localhost" {
                continue;
            }
            let account = account(&self.user, host);
            create(session, &account, &by, until).await?;
            let control = statement!("grant_control", account = account, schema = identifier(&self.schema));
            session.rows(&control, until).await?;
            session.rows(&statement!("grant_rescue", account = account), until).await?;
        }
        for address in &self.addresses {
            let host = address.to_string();
            if self.password.is_some() {
                let account = account(&self.user, &host);
                create(session, &account, &by, until).await?;
                let peer = statement!("grant_peer", account = account, schema = identifier(&self.schema));
                session.rows(&peer, until).await?;
            }
            let account = account(&self.replication_user, &host);
            create(session, &account, &by_password(&self.replication_password), until).await?;
            session.rows(&statement!("grant_replication", account = account), until).await?;
        }
        Ok(())
    }

    /// Whether the schema is there in its newest version.
    ///
    /// # Errors
    /// The server did not answer.
    pub async fn schema_is_current(&self, session: &mut Session, until: Instant) -> Result<bool, Failure> {
        Ok(self.schema_version(session, until).await? == VERSIONS.len())
    }

    async fn schema_version(&self, session: &mut Session, until: Instant) -> Result<usize, Failure> {
        let asked = statement!("schema_version", schema = identifier(&self.schema));
        match session.rows(&asked, until).await {
            Ok(rows) => Ok(rows.first().and_then(|row| row.number("version")).unwrap_or(0)),
            Err(failure) if matches!(failure.code(), Some(1146 | 1049)) => Ok(0),
            Err(failure) => Err(failure),
        }
    }

    async fn install_schema(&self, session: &mut Session, until: Instant) -> Result<(), Failure> {
        let schema = identifier(&self.schema);
        let here = self.schema_version(session, until).await?;
        for (index, (name, text)) in VERSIONS.iter().enumerate().skip(here) {
            let values = [("schema", schema.clone())];
            session.rows(&Statement::render(name, text, &values), until).await?;
            session.rows(&statement!("schema_applied", schema = schema, version = index + 1), until).await?;
        }
        Ok(())
    }
}

async fn create(session: &mut Session, account: &str, by: &str, until: Instant) -> Result<(), Failure> {
    let create = statement!("create_account", account = account, by = by);
    session.rows(&create, until).await.map(|_| ()).map_err(super::replica::without_text)
}

fn account(user: &str, host: &str) -> String {
    format!("{}@{}", quote(user), quote(host))
}

fn by_password(password: &SecretString) -> String {
    format!("BY {}", quote(password.expose_secret()))
}
