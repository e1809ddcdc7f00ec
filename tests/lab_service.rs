//! A healthy pair: one address, replication that follows the roles, planned swaps, and what `apctl` tells.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::pair::network::{VIRTUAL, hardware_address};
use lab::pair::tools::now_ns;
use lab::{BOUND_MS, Lab};

/// One address reaches the API and the database of the active only; it carries its prefix, and it is announced;
/// replication runs towards the standby, and turns round with the roles; either node holds either role, with the
/// same file on both.
#[test]
fn r1_01_r1_02_r1_03_r1_21_r1_41_r1_44_r1_46_address_and_replication_follow_the_role() -> Result<()> {
    let lab = Lab::up()?;
    let same = lab.shell(0, "cat /etc/apd/apd.toml")? == lab.shell(1, "cat /etc/apd/apd.toml")?;
    ensure!(same, "the configuration differs between the nodes");
    for _ in 0..2 {
        let active = lab.active()?;
        only_one_answers(&lab, active)?;
        standby_follows(&lab, 1 - active)?;
        let at = now_ns();
        lab.apctl(active, &["switchover", "--yes"]).with_context(|| lab.pair.logs())?;
        lab.wait_served_by(1 - active)?;
        lab.outage_at_most(at, 500)?;
        client_knows(&lab, 1 - active)?;
        lab.wait_role(active, "standby")?;
        lab.pair.wait_redundant(lab::PATIENCE)?;
    }
    lab.one_writer()?;
    (0..2).try_for_each(|index| lab.nothing_lost(index))?;
    (0..2).try_for_each(|index| {
        let mode = lab.mode(index)?;
        ensure!(mode == "ap", "a planned swap must keep (ap, ap), but node {index} is in {mode}");
        Ok(())
    })
}

/// Every answer for the address, also to clients pinned to one node, comes from the active.
fn only_one_answers(lab: &Lab, active: usize) -> Result<()> {
    let from = now_ns();
    std::thread::sleep(Duration::from_millis(500));
    let all = lab.pair.all_attempts()?;
    let fresh: Vec<_> = all.iter().filter(|one| one.accepted() && one.start_ns > from).collect();
    ensure!(fresh.len() > 50, "only {} writes in half a second", fresh.len());
    ensure!(fresh.iter().all(|one| one.server as usize == active + 1), "the standby acknowledged a write");
    ensure!(lab.holds_address(active)? && !lab.holds_address(1 - active)?, "the address is not on one node");
    ensure!(!lab.read_only(active)? && lab.read_only(1 - active)?, "not exactly the active takes writes");
    Ok(())
}

fn standby_follows(lab: &Lab, standby: usize) -> Result<()> {
    let fields = lab::pair::server::replica(lab.pair.nodes[standby].machine()?)?;
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    ensure!(field("Using_Gtid") != "No", "the replica does not use GTID");
    ensure!(
        field("Master_Host") == format!("10.77.0.{}", 2 - standby),
        "it follows {}",
        field("Master_Host")
    );
    let newest = lab.pair.attempts()?.iter().rev().find(|one| one.accepted()).context("no write")?.id;
    lab.eventually("the newest write is on the standby", || Ok(lab.pair.rows(standby)?.contains(&newest)))
}

/// The client's neighbour entry for the address names the new node.
fn client_knows(lab: &Lab, active: usize) -> Result<()> {
    let hardware = hardware_address(active as u8 + 1);
    let entry = lab.client("ip", &["neighbour", "show", VIRTUAL])?;
    ensure!(entry.contains(&hardware), "the client still knows {entry}");
    Ok(())
}

/// On the way down read_only comes before the replica: where replication cannot be turned on, the old active stays
/// read-only and says why, and follows as soon as it can.
#[test]
fn r1_44_read_only_stands_where_the_replica_fails_to_start() -> Result<()> {
    let lab = Lab::up()?;
    let old = lab.active()?;
    let password = lab.shell(old, "cat /etc/apd/replication.password")?;
    let set = |index: usize, password: &str| {
        let accounts = "SELECT CONCAT(\"ALTER USER '\", User, \"'@'\", Host, \"' IDENTIFIED BY '%s';\") FROM mysql.user \
                        WHERE User = 'apd_repl'";
        let statements = lab.sql(index, accounts)?.replace("%s", password);
        ensure!(!statements.is_empty(), "no replication account");
        lab.sql(index, &statements)
    };
    set(old, "not this one")?;
    lab.apctl(old, &["switchover", "--yes"]).with_context(|| lab.pair.logs())?;
    lab.wait_served_by(1 - old)?;
    lab.eventually("the replica of the old active cannot log in", || {
        let fields = lab::pair::server::replica(lab.pair.nodes[old].machine()?)?;
        Ok(fields.get("Last_IO_Errno").is_some_and(|number| number == "1045"))
    })?;
    ensure!(lab.read_only(old)?, "the old active takes writes");
    ensure!(!lab.holds_address(old)?, "the old active has the address");
    lab.eventually("the old active says why", || Ok(lab.warnings(old)?.contains("Access denied")))?;
    set(1 - old, password.trim())?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    lab.one_writer()?;
    (0..2).try_for_each(|index| lab.nothing_lost(index))
}

/// `apctl mode` and `apctl status` show router, API and database of both nodes.
#[test]
fn r1_38_status_and_mode_in_words() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    for index in 0..2 {
        let mode = lab.apctl(index, &["mode"])?;
        ensure!(mode.split_whitespace().any(|word| word == "ap"), "apctl mode says {mode}");
        let status = lab.status(index)?;
        ensure!(status["schema_version"] == 1 && status["cluster"] == "lab", "{status}");
        ensure!(status["node"]["vip_held"] == (index == active), "{status}");
        ensure!(status["node"]["database"]["writable"] == (index == active), "{status}");
        ensure!(status["peer"]["state"] == if index == active { "Standby" } else { "Running" }, "{status}");
        ensure!(status["peer"]["match"] == "Match", "{status}");
        let checks = status["node"]["checks"].as_array().context("no checks")?;
        ensure!(checks.iter().any(|check| check["name"] == "api" && check["ok"] == true), "{status}");
        let table = lab.apctl(index, &["status"])?;
        for word in ["db1", "db2", "active", "standby", "api"] {
            ensure!(table.contains(word), "`{word}` is missing in:\n{table}");
        }
        let (code, _) = lab.apctl_code(index, &["is-active"])?;
        ensure!(code == if index == active { 0 } else { 3 }, "is-active ended with {code}");
        let (code, _) = lab.apctl_code(index, &["is-standby"])?;
        ensure!(code == if index == active { 3 } else { 0 }, "is-standby ended with {code}");
    }
    Ok(())
}

/// Someone else takes the address away, or adds it on the standby: put right within a second, and the service
/// comes back.
#[test]
fn r1_02_the_address_is_reconciled() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    let at = now_ns();
    lab.shell(active, &format!("ip address delete {VIRTUAL}/24 dev eth0"))?;
    lab.eventually("the address is back", || lab.holds_address(active))?;
    lab.wait_served_by(active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    lab.shell(1 - active, &format!("ip address add {VIRTUAL}/24 dev eth0"))?;
    lab.eventually("the address is off the standby", || Ok(!lab.holds_address(1 - active)?))?;
    lab.stays_served_by(active)?;
    lab.one_writer()
}

/// An application account that bypasses read_only is noticed where it is in use.
#[test]
fn r1_47_privileged_application_accounts_are_reported() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    lab.sql(
        active,
        "CREATE USER rooted@localhost IDENTIFIED BY 'rooted'; GRANT ALL ON *.* TO rooted@localhost",
    )?;
    let standby = 1 - active;
    lab.eventually("the account is on the standby", || {
        Ok(lab.sql(standby, "SELECT COUNT(*) FROM mysql.user WHERE user = 'rooted'")? == "1")
    })?;
    lab.shell(standby, "setsid --fork mariadb -urooted -prooted -e 'SELECT SLEEP(30)' >/dev/null 2>&1")?;
    lab.eventually("the standby warns of the account", || Ok(lab.warnings(standby)?.contains("rooted")))
}
