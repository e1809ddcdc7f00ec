//! The local server's settings and accounts.

use crate::config::checked::Config;
use crate::io::mariadb::Database;
use crate::wire::control::doctor::Symptom;
use std::collections::BTreeMap;
use std::time::Duration;

const AREA: &str = "database";
/// Both questions together.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks the server.
pub(super) async fn look(database: &Database, config: &Config) -> Vec<Symptom> {
    match database.settings_and_accounts(LIMIT).await {
        Err(error) => {
            vec![
                Symptom::error(AREA, format!("the server was not asked for its settings: {error}"))
                    .resolved_by(
                        "start MariaDB, or look at its error log; apctl bootstrap --dry-run shows the grants",
                    ),
            ]
        }
        Ok((settings, accounts)) => {
            let mut found = judge(&settings);
            found.push(privileged(accounts, config));
            found
        }
    }
}

fn judge(settings: &BTreeMap<String, String>) -> Vec<Symptom> {
    let value = |name: &str| settings.get(name).map_or("", String::as_str);
    let mut found = Vec::new();
    let on = |name: &str| ["ON", "1"].contains(&value(name));
    for (name, why) in [
        ("log_bin", "nobody can follow this server"),
        ("log_slave_updates", "the two servers cannot be compared exactly"),
        ("gtid_strict_mode", "errant transactions pass unnoticed"),
    ] {
        if !on(name) {
            let text = format!("{name} is off: {why}");
            found.push(
                Symptom::error(AREA, text).resolved_by(format!("{name} = 1 under [mariadb] in my.cnf")),
            );
        }
    }
    for (name, lost) in [
        ("sync_binlog", "a power loss can lose the end of the binary log"),
        ("innodb_flush_log_at_trx_commit", "a power loss can lose the last commits"),
    ] {
        if value(name) != "1" {
            let text = format!("{name} is {}: {lost}", value(name));
            found.push(
                Symptom::warning(AREA, text).resolved_by(format!("{name} = 1 under [mariadb] in my.cnf")),
            );
        }
    }
    let bound = value("bind_address");
    if on("skip_networking") || ["localhost", "::1"].contains(&bound) || bound.starts_with("127.") {
        let text =
            format!("the server listens on this host only (bind_address {bound}): the peer cannot follow it");
        found
            .push(Symptom::error(AREA, text).resolved_by("bind_address = 0.0.0.0 under [mariadb] in my.cnf"));
    }
    if value("extra_port") == "0" {
        let text = "there is no extra_port: when all connections are in use, nobody can log in to look";
        let remedy = "extra_port = 3307 and extra_max_connections = 5 under [mariadb] in my.cnf";
        found.push(Symptom::note(AREA, text).resolved_by(remedy));
    }
    if !found.iter().any(|symptom| symptom.grade > crate::wire::control::doctor::Grade::Note) {
        found.insert(
            0,
            Symptom::good(AREA, format!("the settings of MariaDB {} are in order", value("version"))),
        );
    }
    found
}

/// Accounts that `read_only` does not stop: administrators have them, applications must not.
fn privileged(accounts: Result<Vec<String>, String>, config: &Config) -> Symptom {
    let own = [config.mariadb.user.as_str(), "root", "mariadb.sys", "mysql"];
    match accounts {
        Err(error) => {
            Symptom::warning(AREA, format!("accounts that bypass read_only cannot be seen: {error}"))
                .resolved_by("apctl bootstrap grants apd what it lacks")
        }
        Ok(accounts) => {
            let others: Vec<&str> = accounts
                .iter()
                .map(String::as_str)
                .filter(|account| !own.iter().any(|own| account.split('@').next() == Some(own)))
                .collect();
            if others.is_empty() {
                return Symptom::good(AREA, "no account of an application bypasses read_only");
            }
            let text = format!(
                "accounts that bypass read_only, and so can write to a standby: {}",
                others.join(", ")
            );
            Symptom::warning(AREA, text)
                .resolved_by("revoke READ_ONLY ADMIN and SUPER from those that applications use")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::doctor::Grade;

    #[test]
    fn each_setting_that_costs_something_is_named_with_its_remedy() {
        let good = [
            ("log_bin", "ON"),
            ("log_slave_updates", "ON"),
            ("gtid_strict_mode", "ON"),
            ("sync_binlog", "1"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("bind_address", "0.0.0.0"),
            ("skip_networking", "OFF"),
            ("extra_port", "3307"),
            ("version", "10.11.6-MariaDB"),
        ];
        let settings = |change: Option<(&str, &str)>| -> BTreeMap<String, String> {
            let all = good.iter().copied().chain(change);
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let well = judge(&settings(None));
        assert_eq!((well.len(), well[0].grade), (1, Grade::Good), "{well:?}");
        for (name, value, grade) in [
            ("log_bin", "OFF", Grade::Error),
            ("gtid_strict_mode", "OFF", Grade::Error),
            ("sync_binlog", "0", Grade::Warning),
            ("bind_address", "127.0.0.1", Grade::Error),
            ("extra_port", "0", Grade::Note),
        ] {
            let found = judge(&settings(Some((name, value))));
            let named = found.iter().find(|symptom| symptom.text.contains(name)).unwrap();
            assert_eq!(named.grade, grade, "{name}");
            assert!(named.remedy.contains(name), "{name}");
        }
    }
}
