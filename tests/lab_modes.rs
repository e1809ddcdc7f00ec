//! Modes, boot and return: the mode file and what it obeys, who may start alone, what a rejoin proves and refuses.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use lab::pair::fault::{Fault, Target};

/// A short wait for the peer, so that a boot without one is watched for longer than it.
fn impatient(text: String) -> String {
    text.replace("[cluster]\n", "[cluster]\npeer_wait = \"1s\"\n")
}

/// A node alone at its first start has no proof, and so does not serve; an operator who vouches gives it. The second
/// node that comes up then is no second active.
#[test]
fn r1_20_r1_21_boot_alone_needs_proof() -> Result<()> {
    let lab = Lab::prepared(impatient)?;
    lab.pair.start_daemon(0)?;
    lab.eventually("the daemon answers", || Ok(lab.status(0).is_ok()))?;
    lab.pair.start_writers()?;
    std::thread::sleep(Duration::from_secs(4));
    ensure!(!lab.holds_address(0)? && lab.read_only(0)?, "a node alone served without any proof");
    let (code, _) = lab.apctl_code(0, &["mode", "standalone", "--yes"])?;
    ensure!(code == 6, "standalone with the peer unseen must be refused without --peer-is-off, but: {code}");
    lab.apctl(0, &["mode", "standalone", "--peer-is-off", "--yes"])?;
    lab.wait_served_by(0)?;
    lab.pair.start_daemon(1)?;
    lab.eventually("the second node answers", || Ok(lab.status(1).is_ok()))?;
    lab.stays_served_by(0)?;
    ensure!(
        lab.role(1)? != "active" && !lab.holds_address(1)? && lab.read_only(1)?,
        "the second node is active"
    );
    lab.one_writer()
}

/// Both lose their power, the standby first: it must not serve alone with its older data, whatever its priority.
#[test]
fn r1_25_newest_data_wins_after_a_total_loss_of_power() -> Result<()> {
    let mut lab = Lab::up_with(|text| impatient(text).replace("priority = 110\n", "priority = 50\n"))?;
    let active = lab.active()?;
    let older = 1 - active;
    lab.inject(Fault::StandbyPowerOff, active)?;
    lab.stays_served_by(active)?;
    lab.pair.power_off(active)?;
    lab.pair.power_on(older)?;
    lab.eventually("the older node answers", || Ok(lab.status(older).is_ok()))?;
    std::thread::sleep(Duration::from_secs(4));
    ensure!(!lab.holds_address(older)? && lab.read_only(older)?, "the node with the older data serves");
    lab.pair.power_on(active)?;
    lab.wait_served_by(active)?;
    lab.one_writer()?;
    lab.nothing_lost(active)
}

/// Both start at once after a total loss: exactly one serves, and nothing that was acknowledged is missing.
#[test]
fn r1_25_both_return_at_once() -> Result<()> {
    let mut lab = Lab::up_with(impatient)?;
    let active = lab.active()?;
    lab.pair.stop_writers()?;
    let before = lab.pair.rows(active)?;
    lab.eventually("the standby has everything", || Ok(lab.pair.rows(1 - active)? == before))?;
    lab.pair.power_off(active)?;
    lab.pair.power_off(1 - active)?;
    for index in 0..2 {
        lab.pair.power_on(index)?;
    }
    lab.eventually("one node is active", || {
        let roles = [lab.role(0)?, lab.role(1)?];
        Ok(roles.iter().filter(|role| *role == "active").count() == 1)
    })?;
    let active = usize::from(lab.role(1)? == "active");
    lab.eventually("it holds the address", || lab.holds_address(active))?;
    ensure!(!lab.holds_address(1 - active)?, "both hold the address");
    ensure!(before.is_subset(&lab.pair.rows(active)?), "rows are missing");
    Ok(())
}

/// A node with a transaction that the other one lacks is refused, with its identity; nothing is thrown away.
#[test]
fn r1_34_r1_48_a_divergent_node_is_refused() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    lab.inject(Fault::ApiKill, active)?;
    lab.wait_served_by(1 - active)?;
    lab.heal(Fault::ApiKill, active)?;
    lab.wait_mode(active, "maintenance")?;
    // The application's root account, which read_only does not stop.
    lab.sql(active, "INSERT INTO appdb.writes VALUES (7, 7)")?;
    let identity = lab.sql(active, "SELECT @@gtid_binlog_pos")?;
    let (code, text) = lab.apctl_code(active, &["rejoin", "--yes"])?;
    ensure!(code == 6, "a divergent node was not refused: {code} {text}");
    let number = identity.rsplit('-').next().context("no GTID")?;
    ensure!(text.contains(number), "the errant transaction {identity} is not named: {text}");
    ensure!(lab.pair.rows(active)?.contains(&7), "the errant row is gone");
    ensure!(lab.mode(active)? == "maintenance", "it left maintenance");
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}

/// A change of mode that was cut short is finished or undone at the next start, never left half way.
#[test]
fn r1_35_a_half_written_mode_is_settled() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    let standby = 1 - active;
    lab.kill(standby, Target::Daemon)?;
    lab.shell(standby, "printf 'being maintenance' >/var/lib/apd/mode")?;
    lab.pair.start_daemon(standby)?;
    lab.eventually("the mode is whole again", || {
        let word = lab.mode_file(standby)?;
        Ok(["ap", "maintenance"].contains(&word.as_str()) && lab.mode(standby)? == word)
    })?;
    lab.stays_served_by(active)?;
    lab.one_writer()
}

/// The file is obeyed when it is edited by hand, also with the old words; what is no word is maintenance.
#[test]
fn r1_36_the_mode_file_by_hand() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    let standby = 1 - active;
    for garbage in ["printf 'bananas' >/var/lib/apd/mode", ": >/var/lib/apd/mode", "rm /var/lib/apd/mode"] {
        lab.shell(standby, garbage)?;
        lab.eventually(
            &format!("`{garbage}` means maintenance"),
            || Ok(lab.mode(standby)? == "maintenance"),
        )?;
        lab.shell(standby, "printf ap >/var/lib/apd/mode")?;
        lab.wait_role(standby, "standby")?;
    }
    lab.shell(standby, "printf m >/var/lib/apd/mode")?;
    lab.wait_role(standby, "out")?;
    ensure!(lab.mode(standby)? == "maintenance", "the old word m is not obeyed");
    lab.stays_served_by(active)?;
    lab.one_writer()
}

/// A pair of modes that must not be, made by hand, is explained and never becomes two writers.
#[test]
fn r1_37_two_standalones_are_no_two_writers() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    for index in [1 - active, active] {
        lab.shell(index, "printf standalone >/var/lib/apd/mode")?;
    }
    std::thread::sleep(lab::WATCH);
    lab.active()?;
    ensure!(!(lab.holds_address(0)? && lab.holds_address(1)?), "both hold the address");
    ensure!(lab.read_only(0)? || lab.read_only(1)?, "both databases take writes");
    let told = format!("{}{}", lab.warnings(0)?, lab.warnings(1)?);
    ensure!(told.contains("standalone"), "nobody explains the modes: {told}");
    lab.one_writer()
}

/// The address never is on a node whose database does not take writes (S6), watched through a takeover.
#[test]
fn r1_40_writable_before_the_address() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let survivor = 1 - active;
    lab.inject(Fault::PowerOff, active)?;
    // One look at both, address first: a database that becomes writable in between cannot hide a wrong order.
    let look = "a=$(ip -o -4 address show | grep -c 10.77.0.100/24 || true); \
                r=$(mariadb -NBe 'SELECT @@read_only'); echo \"$a $r\"";
    lab.eventually("the survivor holds the address", || {
        let seen = lab.shell(survivor, look)?;
        ensure!(seen.trim() != "1 1", "the address is there and the database is read-only");
        Ok(seen.trim() == "1 0")
    })?;
    lab.wait_served_by(survivor)?;
    lab.one_writer()
}

/// The server of a node that serves alone is restarted, comes up read-only as its my.cnf says, and is put right.
#[test]
fn r1_49_the_role_is_reconciled_after_a_restart_of_the_server() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let survivor = 1 - active;
    lab.inject(Fault::PowerOff, active)?;
    lab.wait_served_by(survivor)?;
    lab.wait_mode(survivor, "standalone")?;
    lab.kill(survivor, Target::Database)?;
    lab.pair.start_server(survivor)?;
    lab.wait_served_by(survivor)?;
    lab.eventually("the restarted server takes writes", || Ok(!lab.read_only(survivor)?))?;
    lab.wait_served_by(survivor)?;
    let replica = lab::pair::server::replica(lab.pair.nodes[survivor].machine()?)?;
    let running = replica.get("Slave_IO_Running").is_some_and(|state| state == "Yes");
    ensure!(!running, "an old replica thread runs on the active");
    lab.one_writer()
}
