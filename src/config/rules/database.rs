//! `[mariadb]`: how the local server is reached, and what is done when it is in the way.

use super::{Scene, secret, services};
use crate::config::checked::{MariaDb, MariaDbEndpoint, Node};
use crate::config::problem::Origin;
use crate::config::typed::{self, LongTransactionsThen, OnUndrainedWord, Period};
use crate::decision::settings::OnUndrained;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

const SOCKET: &str = "/run/mysqld/mysqld.sock";

/// Where `apctl bootstrap` puts the password that it makes, below `state_dir`.
const MADE_PASSWORD: &str = "replication.password";

/// Checks the table.
pub fn check(scene: &mut Scene<'_>, me: Option<&Node>) -> MariaDb {
    let written = scene.file.mariadb.clone();
    let endpoint = endpoint(scene, &written, me);
    names(scene, &written);
    let password = secret::read(scene, &["mariadb", "password_file"], &written.password_file);
    let tls = ["mariadb", "tls", "ca_file"];
    let tls_ca_file = scene.optional_path(&tls, &written.tls.ca_file);
    if written.tls.required && tls_ca_file.is_none() {
        let what = "TLS is required, but nothing says which certificates to trust";
        scene.refuse(&tls, what, "write ca_file, or leave `required` out");
    }
    let (hour, zero) = (Period::seconds(3600), Period::ZERO);
    let long = &written.long_transactions;
    MariaDb {
        endpoint,
        user: written.user.clone(),
        password,
        replication_user: written.replication_user.clone(),
        replication_password: replication_password(scene, &written),
        schema: written.schema.clone(),
        tls_ca_file,
        tls_required: written.tls.required,
        drain_timeout: scene.period(
            &["mariadb", "drain_timeout"],
            written.drain_timeout,
            Period::milliseconds(100),
            hour,
        ),
        on_undrained: match written.on_undrained {
            OnUndrainedWord::Wait => OnUndrained::Wait,
            OnUndrainedWord::Promote => OnUndrained::Promote,
            OnUndrainedWord::Refuse => OnUndrained::Refuse,
        },
        long_transactions_wait: scene.period(
            &["mariadb", "long_transactions", "wait"],
            long.wait,
            zero,
            hour,
        ),
        long_transactions_kill: long.then == LongTransactionsThen::Kill,
        max_lag_for_switchover: scene.period(
            &["mariadb", "max_lag_for_switchover"],
            written.max_lag_for_switchover,
            zero,
            hour,
        ),
        server_unit: services::server_unit(scene),
    }
}

fn endpoint(scene: &mut Scene<'_>, written: &typed::MariaDb, me: Option<&Node>) -> MariaDbEndpoint {
    let Some(host) = &written.host else {
        if written.port.is_some() {
            let remedy = "write host = \"127.0.0.1\" beside it, or leave port out to use the socket";
            scene.refuse(&["mariadb", "port"], "a port without host", remedy);
        }
        let socket = match &written.socket {
            Some(socket) => scene.absolute(&["mariadb", "socket"], socket),
            None => {
                scene.file.mariadb.socket = Some(PathBuf::from(SOCKET));
                PathBuf::from(SOCKET)
            }
        };
        return MariaDbEndpoint::Socket(socket);
    };
    let path = ["mariadb", "host"];
    if written.socket.is_some() {
        scene.refuse(&path, "both socket and host are written", "leave one of them out");
    }
    if written.password_file.as_os_str().is_empty() {
        let what = "over TCP a password is needed: unix_socket authentication works over the socket only";
        scene.refuse(
            &["mariadb", "password_file"],
            what,
            "write password_file, or use socket instead of host",
        );
    }
    let address = match host.as_str() {
        "localhost" => Some(Ipv4Addr::LOCALHOST),
        text => text.parse().ok(),
    };
    let port = written.port.unwrap_or(3306);
    scene.file.mariadb.port = Some(port);
    let Some(address) = address else {
        scene.refuse(
            &path,
            format!("{host:?} is no IPv4 address"),
            "write \"127.0.0.1\"; names are not looked up",
        );
        return MariaDbEndpoint::Tcp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    };
    let local = address.is_loopback()
        || me.is_none_or(|me| me.address == address || *me.mariadb_address.ip() == address)
        || scene.sources.holder(address).is_some();
    if !local {
        let what =
            format!("{address} is not an address of this host, but this must be the node's own server");
        scene.warn(&path, what, "write \"127.0.0.1\", or use socket");
    }
    MariaDbEndpoint::Tcp(SocketAddrV4::new(address, port))
}

/// What goes into statements must be plain.
fn names(scene: &mut Scene<'_>, written: &typed::MariaDb) {
    for (key, user) in [("user", &written.user), ("replication_user", &written.replication_user)] {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if user.is_empty() || user.len() > 80 || !user.chars().all(plain) {
            let remedy = "use letters, digits, `_`, `.` and `-`, 80 at most";
            scene.refuse(&["mariadb", key], format!("{user:?} cannot be an account of apd"), remedy);
        }
    }
    if written.user == written.replication_user {
        let what = format!("{:?} is the account of apd too", written.replication_user);
        scene.refuse(
            &["mariadb", "replication_user"],
            what,
            "use an account that can replicate and nothing else",
        );
    }
    let schema = &written.schema;
    let plain = schema.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let system = ["mysql", "sys", "information_schema", "performance_schema"];
    if schema.is_empty() || schema.len() > 64 || !plain || system.contains(&&*schema.to_lowercase()) {
        let what = format!("{schema:?} cannot be the schema of apd");
        scene.refuse(&["mariadb", "schema"], what, "use letters, digits and `_`, 64 at most, as \"apd\"");
    }
}

/// As written; where nothing is written, what `apctl bootstrap` made.
fn replication_password(scene: &mut Scene<'_>, written: &typed::MariaDb) -> Option<secrecy::SecretString> {
    let path = ["mariadb", "replication_password_file"];
    if !written.replication_password_file.as_os_str().is_empty() {
        return secret::read_if_made(scene, &path, &written.replication_password_file);
    }
    let made = scene.file.node.state_dir.join(MADE_PASSWORD);
    let exists = made.strip_prefix("/").is_ok_and(|below| scene.sources.root.join(below).exists());
    if !exists {
        return None;
    }
    scene.file.mariadb.replication_password_file.clone_from(&made);
    scene.filled(&path, Origin::Host("made by apctl bootstrap"));
    secret::read_if_made(scene, &path, &made)
}
