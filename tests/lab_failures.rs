//! Every failure point of the active and of the standby, on real servers under load: who serves afterwards, how long
//! clients waited, that never two servers took writes, and that nobody pre-empts.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::pair::fault::{Fault, Target};
use lab::pair::network::GATEWAY;
use lab::pair::record;
use lab::pair::tools::now_ns;
use lab::{BOUND_MS, Lab};
use nix::sys::signal::Signal;

/// Replication is asynchronous: a loss of power may take with it what was acknowledged in the last instant.
const LOST_WITH_POWER: usize = 10;

/// After a failover: the other node serves alone, and the loser is in maintenance, read-only, without the address.
fn failed_over(lab: &Lab, loser: usize) -> Result<()> {
    lab.wait_mode(1 - loser, "standalone")?;
    lab.wait_mode(loser, "maintenance")?;
    lab.eventually("the loser's database is read-only", || lab.read_only(loser))?;
    ensure!(!lab.holds_address(loser)?, "the loser has the address");
    ensure!(lab.role(loser)? != "active", "the loser calls itself active");
    lab.one_writer()
}

/// The node that returns stays what it is; the other one keeps serving.
fn no_preemption(lab: &Lab, loser: usize) -> Result<()> {
    lab.stays_served_by(1 - loser)?;
    failed_over(lab, loser)
}

#[test]
fn r1_07_r1_22_r1_33_r1_43_power_off_and_return() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::PowerOff, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    lab.wait_mode(1 - active, "standalone")?;
    let told = lab.apctl(1 - active, &["timeline", "-o", "json"])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    // Counted from the last sign of life, as the takeover wait is (516 ms), not from when silence was noticed.
    let outage = told["client_outage_ms"].as_f64().context("no outage is told")?;
    ensure!((515.0..BOUND_MS as f64).contains(&outage), "apctl timeline tells an outage of {outage} ms");
    let replica = lab::pair::server::replica(lab.pair.nodes[1 - active].machine()?)?;
    lab.eventually("the survivor follows nobody", || {
        Ok(lab::pair::server::replica(lab.pair.nodes[1 - active].machine()?)?.is_empty())
    })
    .with_context(|| format!("{replica:?}"))?;
    lab.heal(Fault::PowerOff, active)?;
    no_preemption(&lab, active)?;
    lab.replays()?;
    let why = lab.status(active)?["node"]["why"].to_string();
    ensure!(why.len() > 4, "the returned node gives no reason for its maintenance");
    let lost = lab.lost(1 - active)?;
    ensure!(lost <= LOST_WITH_POWER, "{lost} acknowledged writes are lost");
    Ok(())
}

/// The link of the active goes in one of several ways, and comes back.
fn link_loss(
    down: impl FnOnce(&mut Lab, usize) -> Result<()>,
    up: impl FnOnce(&mut Lab, usize) -> Result<()>,
) -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = now_ns();
    down(&mut lab, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    lab.eventually("the database of the cut-off node is read-only", || lab.read_only(active))?;
    lab.eventually("the cut-off node is not active", || Ok(lab.role(active)? != "active"))?;
    ensure!(!lab.holds_address(active)?, "the cut-off node has the address");
    up(&mut lab, active)?;
    no_preemption(&lab, active)
}

#[test]
fn r1_08_r1_23_r1_42_r1_63_interface_down_and_up() -> Result<()> {
    link_loss(
        |lab, active| lab.inject(Fault::NicDown, active).map(|_| ()),
        |lab, active| lab.heal(Fault::NicDown, active),
    )
}

#[test]
fn r1_08_r1_23_cable_out_and_in() -> Result<()> {
    link_loss(
        |lab, active| lab.inject(Fault::Cable, active).map(|_| ()),
        |lab, active| lab.heal(Fault::Cable, active),
    )
}

#[test]
fn r1_08_r1_63_addresses_flushed_and_restored() -> Result<()> {
    link_loss(
        |lab, active| lab.shell(active, "ip -4 address flush dev eth0").map(|_| ()),
        |lab, active| {
            let line = format!(
                "ip address add 10.77.0.{}/24 dev eth0; ip route replace default via {GATEWAY}",
                active + 1
            );
            lab.shell(active, &line).map(|_| ())
        },
    )
}

/// The interface itself goes, as when its driver is unloaded, and one of the same name comes.
#[test]
fn r1_63_interface_removed_and_made_again() -> Result<()> {
    link_loss(
        |lab, active| lab.shell(active, "ip link delete eth0").map(|_| ()),
        |lab, active| lab.pair.switch.plug(lab.pair.nodes[active].machine()?, active as u8 + 1),
    )
}

/// A link that flaps twenty times causes at most one switch.
#[test]
fn r1_23_a_flapping_link_switches_at_most_once() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    for _ in 0..20 {
        lab.inject(Fault::NicDown, active)?;
        std::thread::sleep(std::time::Duration::from_millis(150));
        lab.heal(Fault::NicDown, active)?;
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    lab.active()?;
    lab.one_writer()?;
    let mut servers: Vec<u32> =
        lab.pair.attempts()?.iter().filter(|one| one.accepted()).map(|one| one.server).collect();
    servers.dedup();
    ensure!(servers.len() <= 2, "the service moved {} times: {servers:?}", servers.len() - 1);
    Ok(())
}

/// A daemon that ends hands over; one that is killed or hangs loses its lease; started again it does not pre-empt.
fn daemon(fault: Fault, limit_ms: u64) -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(fault, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, limit_ms)?;
    lab.eventually(
        "the address has left the node without a live daemon",
        || Ok(!lab.holds_address(active)?),
    )?;
    lab.eventually("its database is read-only", || lab.read_only(active))?;
    lab.heal(fault, active)?;
    if fault == Fault::DaemonTerm {
        // An orderly stop is a planned switchover: the pair stays a pair.
        lab.stays_served_by(1 - active)?;
        lab.wait_mode(active, "ap")?;
        lab.wait_mode(1 - active, "ap")?;
        lab.eventually("the returned node follows, read-only", || lab.read_only(active))?;
        return lab.one_writer();
    }
    no_preemption(&lab, active)
}

#[test]
fn r1_09_r1_24_daemon_terminated_and_restarted() -> Result<()> {
    daemon(Fault::DaemonTerm, 500)
}

#[test]
fn r1_09_r1_24_daemon_killed_and_restarted() -> Result<()> {
    daemon(Fault::DaemonKill, BOUND_MS)
}

#[test]
fn r1_09_r1_24_daemon_stopped_and_continued() -> Result<()> {
    daemon(Fault::DaemonStop, BOUND_MS)
}

/// A daemon that is back before its lease has ended finds its gate open: nobody notices.
#[test]
fn r1_09_gate_process_killed() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::GateKill, active)?;
    lab.active()?;
    lab.outage_at_most(at, 2 * BOUND_MS)?;
    lab.eventually("the active has a gate process", || {
        let active = lab.active()?;
        Ok(!lab::pair::fault::processes(&lab.pair, active, Target::Gate)?.is_empty())
    })?;
    lab.one_writer()
}

/// A dead API: the database is fine, so nothing is lost.
#[test]
fn r1_10_r1_33_r1_34_api_killed_and_rejoined_under_load() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::ApiKill, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    failed_over(&lab, active)?;
    lab.heal(Fault::ApiKill, active)?;
    lab.rejoin(active)?;
    lab.stays_served_by(1 - active)?;
    lab.one_writer()?;
    (0..2).try_for_each(|index| lab.nothing_lost(index))
}

#[test]
fn r1_10_api_that_hangs() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::ApiHang, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, 2 * BOUND_MS)?;
    lab.heal(Fault::ApiHang, active)?;
    no_preemption(&lab, active)?;
    lab.nothing_lost(1 - active)
}

/// An API that answers 503, because it cannot read its table, is as good as dead.
#[test]
fn r1_10_api_that_answers_errors() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    let at = now_ns();
    lab.sql(active, "SET sql_log_bin = 0; RENAME TABLE appdb.health TO appdb.illness")?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    failed_over(&lab, active)?;
    lab.nothing_lost(1 - active)
}

/// An API whose answers come late, because it waits for a table, is as good as dead.
#[test]
fn r1_10_api_that_answers_slowly() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    let at = now_ns();
    let lock = "LOCK TABLES appdb.health WRITE; SELECT SLEEP(60)";
    lab.shell(active, &format!("setsid --fork mariadb -e '{lock}' >/dev/null 2>&1"))?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, 3 * BOUND_MS)?;
    failed_over(&lab, active)?;
    lab.nothing_lost(1 - active)
}

/// The server is killed, its host lives: what it had not sent is read from its disk, nothing is lost.
#[test]
fn r1_11_database_killed() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::DatabaseKill, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    lab.wait_mode(active, "maintenance")?;
    lab.heal(Fault::DatabaseKill, active)?;
    no_preemption(&lab, active)?;
    lab.nothing_lost(1 - active)
}

/// What ends the server ends its host a moment later, while the standby still applies what it has received: the right that
/// the active gave up with its last word is enough, although nobody acknowledges any more.
#[test]
fn r1_07_r1_11_database_killed_and_then_its_host() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let standby = 1 - active;
    let lock = "LOCK TABLES appdb.writes WRITE; SELECT SLEEP(4)";
    lab.shell(standby, &format!("setsid --fork mariadb -e '{lock}' >/dev/null 2>&1"))?;
    lab.eventually("the standby cannot apply", || {
        let waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata%'";
        Ok(lab.sql(standby, waits)?.trim() != "0")
    })?;
    lab.inject(Fault::DatabaseKill, active)?;
    lab.wait_mode(active, "maintenance")?;
    ensure!(!lab.holds_address(standby)?, "it did not wait for what it has received");
    lab.inject(Fault::PowerOff, active)?;
    lab.wait_served_by(standby)?;
    lab.wait_mode(standby, "standalone")?;
    lab.one_writer()?;
    lab.heal(Fault::PowerOff, active)?;
    no_preemption(&lab, active)?;
    lab.replays()
}

#[test]
fn r1_11_database_that_hangs() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::DatabaseHang, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, 3 * BOUND_MS)?;
    lab.heal(Fault::DatabaseHang, active)?;
    no_preemption(&lab, active)?;
    let lost = lab.lost(1 - active)?;
    ensure!(lost <= LOST_WITH_POWER, "{lost} acknowledged writes are lost");
    Ok(())
}

/// The data disk of the active fills up: commits wait for space, which is sickness, and the other node takes over.
#[test]
fn r1_11_disk_full() -> Result<()> {
    let lab = Lab::prepared(|text| text)?;
    for index in 0..2 {
        small_data_disk(&lab, index)?;
    }
    lab.bring_up()?;
    let active = lab.active()?;
    let at = now_ns();
    // The last byte too: a page that is there already can still be written, a growing log cannot.
    lab.shell(active, "dd if=/dev/zero of=/var/lib/mysql/filling bs=4096 status=none 2>/dev/null || true")?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, 6 * BOUND_MS)?;
    lab.wait_mode(1 - active, "standalone")?;
    lab.wait_mode(active, "maintenance")?;
    lab.eventually("the address has left the full node", || Ok(!lab.holds_address(active)?))?;
    lab.shell(active, "rm /var/lib/mysql/filling")?;
    lab.eventually("the loser's database is read-only", || lab.read_only(active))?;
    no_preemption(&lab, active)?;
    lab.nothing_lost(1 - active)
}

/// Moves a server's data to a disk with a few megabytes to spare.
fn small_data_disk(lab: &Lab, index: usize) -> Result<()> {
    lab.shell(index, "mariadb-admin shutdown")?;
    lab.eventually("the server has ended", || {
        Ok(lab::pair::fault::processes(&lab.pair, index, Target::Database)?.is_empty())
    })?;
    let line = "mkdir -p /run/small && size=$(du -sm /var/lib/mysql | cut -f1) && \
                mount -t tmpfs -o size=$((size + 40))m small /run/small && \
                cp -a --sparse=never /var/lib/mysql/. /run/small/ && mount --move /run/small /var/lib/mysql";
    lab.shell(index, line)?;
    lab.pair.start_server(index)
}

/// A backup lock and exhausted connections are not sickness: no failover.
#[test]
fn r1_11_locks_and_saturation_are_no_failover() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    lab.sql(active, "FLUSH TABLES WITH READ LOCK; SELECT SLEEP(3); UNLOCK TABLES")?;
    lab.wait_served_by(active)?;
    // One session of the administrator is there beforehand: nobody else would get in to undo it.
    let administrator = "SET GLOBAL max_connections = 10; SELECT SLEEP(3); SET GLOBAL max_connections = 400";
    lab.shell(active, &format!("setsid --fork mariadb -e '{administrator}' >/dev/null 2>&1"))?;
    // An error is the limit at work.
    lab.eventually("the limit is low", || {
        Ok(lab.sql(active, "SELECT @@max_connections").map_or(true, |limit| limit == "10"))
    })?;
    for _ in 0..12 {
        lab.shell(active, "setsid --fork mariadb -uapp -papp -e 'SELECT SLEEP(2)' >/dev/null 2>&1")?;
    }
    lab.eventually("the limit is as before", || {
        Ok(lab.sql(active, "SELECT @@max_connections").is_ok_and(|limit| limit == "400"))
    })?;
    lab.wait_served_by(active)?;
    let foreign =
        lab.pair.attempts()?.iter().filter(|one| one.accepted() && one.server as usize != active + 1).count();
    ensure!(foreign == 0, "the service moved");
    ensure!((lab.mode(0)?, lab.mode(1)?) == ("ap".to_owned(), "ap".to_owned()), "a mode changed");
    Ok(())
}

/// A fault on the standby never moves the address; it blocks a takeover, with a clear reason.
#[test]
fn r1_12_r1_45_faults_of_the_standby() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let standby = 1 - active;
    lab.inject(Fault::StandbyDatabaseKill, active)?;
    lab.wait_role(standby, "fault")?;
    lab.stays_served_by(active)?;
    ensure!(lab.mode_file(standby)? == "ap", "a fault of the standby must not change its mode");
    let warnings = lab.warnings(active)?;
    ensure!(warnings.contains(lab.pair.nodes[standby].name), "the active does not warn: {warnings}");
    lab.signal(active, Target::Database, Signal::SIGKILL)?;
    std::thread::sleep(lab::WATCH);
    ensure!(!lab.holds_address(standby)?, "a standby without a database took the address");
    ensure!(lab.role(standby)? == "fault", "the standby is {}", lab.role(standby)?);
    let why = lab.apctl(standby, &["explain", "--why-not", "active"])?;
    ensure!(why.to_lowercase().contains("database"), "no clear reason: {why}");
    lab.one_writer()
}

/// The standby's server was down while clients wrote, and the active's daemon dies before it has caught up. The server
/// there lives: what only it has is fetched before the standby serves alone.
#[test]
fn r1_12_what_a_server_without_its_daemon_has_is_fetched() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let standby = 1 - active;
    lab.inject(Fault::StandbyDatabaseKill, active)?;
    lab.wait_role(standby, "fault")?;
    lab.stays_served_by(active)?;
    lab.kill(active, Target::Daemon)?;
    lab.eventually("the gate of the dead daemon is shut", || Ok(!lab.holds_address(active)?))?;
    lab.apctl(standby, &["mode", "standalone", "--peer-is-off"])?;
    lab.pair.start_server(standby)?;
    lab.wait_served_by(standby)?;
    lab.one_writer()?;
    lab.nothing_lost(standby)
}

#[test]
fn r1_12_standby_loses_its_power_and_returns() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    lab.inject(Fault::StandbyPowerOff, active)?;
    lab.stays_served_by(active)?;
    lab.heal(Fault::StandbyPowerOff, active)?;
    lab.stays_served_by(active)?;
    lab.one_writer()?;
    lab.nothing_lost(active)
}

/// The active is cut off from everyone: it steps down by itself before the other one serves, and does not come back.
#[test]
fn r1_09_isolated_active_steps_down() -> Result<()> {
    let mut lab = Lab::up()?;
    let active = lab.active()?;
    let at = lab.inject(Fault::Isolation, active)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(at, BOUND_MS)?;
    lab.eventually(
        "the isolated node gave up",
        || Ok(!lab.holds_address(active)? && lab.read_only(active)?),
    )?;
    lab.heal(Fault::Isolation, active)?;
    no_preemption(&lab, active)
}

/// An active whose check fails gives up although pre-emption is off, also when the check only has a weight.
#[test]
fn r2_15_weights_and_no_preemption_do_not_deadlock() -> Result<()> {
    let mut lab = Lab::up_with(|text| text.replace("type = \"http\"\n", "type = \"http\"\nweight = -50\n"))?;
    let active = lab.active()?;
    lab.inject(Fault::ApiKill, active)?;
    lab.wait_served_by(1 - active)?;
    failed_over(&lab, active)?;
    let attempts = lab.pair.all_attempts()?;
    let followed: Vec<_> = attempts.iter().filter(|one| one.lane == "sql" && one.accepted()).collect();
    ensure!(!followed.is_empty(), "no write was acknowledged");
    ensure!(record::two_writers_ns(&attempts, 0) == 0, "two writers");
    lab.nothing_lost(1 - active)
}
