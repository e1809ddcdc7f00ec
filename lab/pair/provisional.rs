//! A stand-in for `apctl bootstrap` while that verb says "not yet supported"; to be removed with its arrival.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::machine::Machine;
use super::server::statement;

/// Accounts, schema and replication, first node to second.
pub fn bootstrap(nodes: [(&Machine, &Path); 2]) -> Result<()> {
    let sql = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(name));
    let mut text =
        format!("SET SESSION sql_log_bin = 0;\n{};\n", sql("schema/0001_heartbeat_and_ledger.sql")?);
    text.push_str("REPLACE INTO {schema}.schema_version (version, applied) VALUES (1, UTC_TIMESTAMP(6));\n");
    for host in ["localhost", "127.0.0.1", "10.77.0.1", "10.77.0.2"] {
        let grants: &[(&str, &str)] = if host.starts_with("10") {
            &[("apd", "grant_peer"), ("apd_repl", "grant_replication")]
        } else {
            &[("apd", "grant_control"), ("apd", "grant_rescue")]
        };
        for (user, grant) in grants {
            let account = format!("'{user}'@'{host}'");
            let create = sql("create_account.sql")?.replace("{by}", &format!("BY '{user}-secret'"));
            let grant = sql(&format!("{grant}.sql"))?;
            text.push_str(&format!("{create};\n{grant};\n").replace("{account}", &account));
        }
    }
    let text = text.replace("{schema}", "apd");
    for (node, disk) in nodes {
        statement(node, &text)?;
        for (file, word) in [("mariadb", "apd-secret"), ("replication", "apd_repl-secret")] {
            let path = disk.join("etc/apd").join(format!("{file}.password"));
            fs::write(&path, format!("{word}\n"))?;
            super::tools::run(std::process::Command::new("chmod").arg("600").arg(&path))?;
        }
    }
    let follow = "CHANGE MASTER TO MASTER_HOST='10.77.0.1', MASTER_USER='apd_repl', MASTER_PASSWORD='apd_repl-secret', \
                  MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1; START SLAVE;";
    statement(nodes[1].0, follow).map(|_| ())
}
