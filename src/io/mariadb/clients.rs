//! Whose sessions there are, and how clients' sessions are ended.

use super::DatabaseSettings;
use super::session::Fields;
use super::statement::{Statement, statement};
use std::fmt::Write as _;

/// One line of the process list.
#[derive(Clone, Debug)]
pub(super) struct Client<'a> {
    pub id: u64,
    pub user: &'a str,
    /// Without the port.
    pub host: &'a str,
}

/// The sessions in `rows` that are clients': not apd's, not replication's, not the server's own, not dying
/// already. One that is still logging in has no transaction yet, and may be apd's.
pub(super) fn clients<'a>(
    settings: &'a DatabaseSettings,
    rows: &'a [Fields],
) -> impl Iterator<Item = Client<'a>> {
    let ours = [
        "",
        "system user",
        "event_scheduler",
        "unauthenticated user",
        &settings.user,
        &settings.replication_user,
    ];
    rows.iter()
        .filter(move |row| !ours.contains(&row.text("user")))
        .filter(|row| {
            let command = row.text("command");
            !matches!(command, "Killed" | "Daemon")
                && !command.starts_with("Binlog Dump")
                && !command.starts_with("Slave_")
        })
        .filter_map(|row| {
            let host = row.text("host");
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            Some(Client { id: row.number("id")?, user: row.text("user"), host })
        })
}

/// A commit that has reached the binary log and waits until the replica has received it.
pub(super) fn waits_for_replica(row: &Fields) -> bool {
    row.text("state").to_lowercase().contains("semi-sync ack")
}

/// Whose sessions a seal ends: the clients', and one of apd's own that waits for the replica, with which
/// `read_only=1` would wait too. It may be that of a daemon which is gone.
pub(super) fn to_end(settings: &DatabaseSettings, rows: &[Fields]) -> Vec<u64> {
    let ours = |row: &&Fields| row.text("user") == settings.user && row.text("command") != "Killed";
    let own =
        rows.iter().filter(ours).filter(|row| waits_for_replica(row)).filter_map(|row| row.number("id"));
    clients(settings, rows).map(|client| client.id).chain(own).collect()
}

/// The process list.
pub(super) fn sessions() -> Statement {
    statement!("sessions")
}

/// One statement that ends all of `ids`; `None` if there are none.
pub(super) fn kill(ids: &[u64]) -> Option<Statement> {
    let mut kills = String::new();
    for id in ids {
        write!(kills, "KILL CONNECTION {id}; ").expect("writing to a String does not fail");
    }
    (!ids.is_empty()).then(|| statement!("kill_sessions", kills = kills))
}

/// Whether `host` is one that the account's `pattern` (`%` and `_` as in LIKE) lets in.
pub(super) fn host_matches(pattern: &str, host: &str) -> bool {
    fn like(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some(('%', rest)), _) => (0..=text.len()).any(|skip| like(rest, &text[skip..])),
            (Some(('_', rest)), Some((_, others))) => like(rest, others),
            (Some((wanted, rest)), Some((found, others))) => wanted == found && like(rest, others),
            (Some(_), None) => false,
        }
    }
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    like(&lower(pattern), &lower(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_as_in_grants() {
        assert!(host_matches("%", "10.0.0.1"));
        assert!(host_matches("10.0.%", "10.0.0.1"));
        assert!(host_matches("localhost", "localhost"));
        assert!(!host_matches("localhost", "10.0.0.1"));
        assert!(!host_matches("10.0.0._", "10.0.0.12"));
    }

    #[test]
    fn all_kills_go_in_one_statement() {
        assert!(kill(&[]).is_none());
        let text = kill(&[4, 7]).expect("two").text().to_owned();
        assert!(text.contains("KILL CONNECTION 4; KILL CONNECTION 7;"), "{text}");
    }
}
