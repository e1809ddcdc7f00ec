//! The pair on machines that boot a real systemd: units as installed, power-on, reboot, stop, restart and kill.
//! The names of the tests are the rows of the requirements that they prove. Each act prints what clients saw of it.

#[path = "support/lab.rs"]
mod lab;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::pair::boot;
use lab::pair::network::VIRTUAL;
use lab::pair::tools::now_ns;
use lab::{BOUND_MS, Lab, WATCH};
use serde_json::Value;

/// What a planned handover may cost clients.
const PLANNED_MS: u64 = 500;
/// The four capabilities of both units: NET_ADMIN, NET_RAW, IPC_LOCK, SYS_NICE.
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 23;

/// Prints what clients saw since `from`: a row of the table in docs/operating.md.
fn report(lab: &Lab, act: &str, from: u64) -> Result<()> {
    let (sql, api) = (lab.outage_ms("sql", from)?, lab.outage_ms("api", from)?);
    println!("ACT | {act} | {sql} ms | {api} ms |");
    Ok(())
}

fn property(lab: &Lab, index: usize, unit: &str, name: &str) -> Result<String> {
    let text = lab.shell(index, &format!("systemctl show --property={name} --value {unit}"))?;
    Ok(text.trim().to_owned())
}

/// The journal of a unit since the boot, oldest first.
fn journal(lab: &Lab, index: usize, unit: &str) -> Result<Vec<Value>> {
    let text = lab.shell(index, &format!("journalctl --boot --unit={unit} --output=json --no-pager"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// When the line with this code was written, microseconds since the boot of this machine.
fn told_at(lines: &[Value], code: &str) -> Result<u64> {
    let line =
        lines.iter().find(|line| line["CODE"] == code).with_context(|| format!("no line with {code}"))?;
    line["__MONOTONIC_TIMESTAMP"].as_str().context("no time")?.parse().context("no number")
}

/// Same role, same epoch, and clients that noticed nothing worth a failover.
fn unmoved(lab: &Lab, active: usize, epoch: &Value, from: u64) -> Result<()> {
    lab.eventually("apd is up again", || Ok(lab.role(active).is_ok_and(|role| role == "active")))?;
    lab.stays_served_by(active)?;
    let now = &lab.status(active)?["node"]["epoch"];
    ensure!(now == epoch, "epoch {epoch} became {now}\n{}", lab.pair.logs());
    lab.outage_at_most(from, PLANNED_MS)?;
    lab.pair.wait_redundant(lab::PATIENCE)?;
    lab.one_writer()
}

/// Units as installed: clean, hardened, without root, with four capabilities; systemd is told what goes on; the journal
/// has lines with fields and an entry in the catalogue; apd's user may do with units what the polkit rule says, no more.
#[test]
fn r0_33_r4_20_r4_22_units_journal_and_privileges() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let verify = "systemd-analyze verify /usr/lib/systemd/system/apd*.service 2>&1";
    let complaints = lab.shell(active, verify)?;
    ensure!(complaints.is_empty(), "systemd-analyze verify says:\n{complaints}");
    for unit in ["apd.service", "apd-gate.service", "apd-fence.service", "apd-service@start:api.service"] {
        let text = lab.shell(active, &format!("systemd-analyze security --no-pager {unit} | tail -n 1"))?;
        let figure = text.split_whitespace().find_map(|word| word.parse::<f64>().ok()).context(text)?;
        println!("EXPOSURE | {unit} | {figure} |");
        ensure!(figure < 3.0, "the exposure of {unit} is {figure}");
        if !["apd.service", "apd-gate.service"].contains(&unit) {
            continue;
        }
        for index in 0..2 {
            let process = property(&lab, index, unit, "MainPID")?;
            let status = lab.shell(index, &format!("cat /proc/{process}/status"))?;
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            ensure!(!field("Uid:").contains(&"0".to_owned()), "{unit} runs as root");
            let effective = u64::from_str_radix(&field("CapEff:").concat(), 16)?;
            ensure!(effective == CAPABILITIES, "{unit} has capabilities {effective:x}");
            ensure!(
                property(&lab, index, unit, "NRestarts")? == "0",
                "{unit} was restarted\n{}",
                lab.pair.logs()
            );
        }
    }
    told_to_systemd(&lab, active)?;
    may_do_with_units(&lab, 1 - active)?;
    let lines = journal(&lab, active, "apd")?;
    let line =
        lines.iter().find(|line| line["CODE"] == "takeover.done").context("no takeover in the journal")?;
    ensure!(line["EPOCH"] == "1" && line["PRIORITY"].is_string(), "{line}");
    let number = line["MESSAGE_ID"].as_str().context("no number for the catalogue")?;
    let explained =
        lab.shell(active, &format!("journalctl --update-catalog; journalctl --dump-catalog {number}"))?;
    ensure!(explained.contains("Subject: takeover.done"), "{explained}");
    let metrics = lab.shell(active, "curl -sf http://127.0.0.1:7410/metrics")?;
    ensure!(metrics.contains("apd_role{role=\"active\"} 1"), "{metrics}");
    let left = lab.status(active)?["warnings"].to_string();
    ensure!(!left.contains("may not write"), "the data folder's disk is not watched: {left}");
    Ok(())
}

fn told_to_systemd(lab: &Lab, active: usize) -> Result<()> {
    for (index, role) in [(active, "active"), (1 - active, "standby")] {
        let text = property(lab, index, "apd", "StatusText")?;
        ensure!(text.starts_with(&format!("{role} in epoch")), "systemctl status says {text}");
        ensure!(property(lab, index, "apd", "WatchdogUSec")? == "5s", "systemd watches nothing");
    }
    Ok(())
}

/// Nothing but the oneshot unit that acts for it, and of that only the acts there are.
fn may_do_with_units(lab: &Lab, index: usize) -> Result<()> {
    let as_apd =
        |line: &str| lab.shell(index, &format!("setpriv --reuid=apd --regid=apd --init-groups {line} 2>&1"));
    for unit in [
        "api.service",
        "mariadb.service",
        "apd-gate.service",
        "dbus.service",
        "apd-service@dance:api.service",
    ] {
        for verb in ["start", "stop"] {
            let refused = as_apd(&format!("systemctl --no-ask-password {verb} {unit}"));
            ensure!(refused.is_err(), "apd's user may {verb} {unit}");
        }
    }
    for verb in ["restart", "kill", "mask"] {
        let refused = as_apd(&format!("systemctl --no-ask-password {verb} apd-service@start:api.service"));
        ensure!(refused.is_err(), "apd's user may {verb} what acts for it");
    }
    // No service has that name, so what it may start fails; systemctl says so, and apctl why.
    let Err(failed) = as_apd("systemctl --no-ask-password start apd-service@start:nobody.service") else {
        bail!("a service that nobody configured was started")
    };
    ensure!(!format!("{failed:#}").contains("authentication"), "{failed:#}");
    let said = property(lab, index, "apd-service@start:nobody.service", "StatusText")?;
    ensure!(said == "there is no [[service]] named nobody", "{said}");
    Ok(())
}

/// `systemctl restart` hands nothing over, nor does a kill of apd or of its gate: each is back within the lease.
/// `systemctl stop` hands over in order, and the node comes back as standby.
#[test]
fn r1_24_r1_79_r4_23_stop_hands_over_and_restart_does_not() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let epoch = lab.status(active)?["node"]["epoch"].clone();
    for (act, line) in [
        ("`systemctl restart apd` on the active", "systemctl restart apd"),
        ("`kill -9` of apd on the active", "systemctl kill --signal=KILL apd"),
        ("`kill -9` of apd-gate on the active", "systemctl kill --signal=KILL apd-gate"),
        ("`systemctl restart apd-gate` on the active", "systemctl restart apd-gate"),
    ] {
        let from = now_ns();
        lab.shell(active, line)?;
        unmoved(&lab, active, &epoch, from).with_context(|| act.to_owned())?;
        report(&lab, act, from)?;
    }
    for (act, line) in [
        ("`systemctl restart apd` on the standby", "systemctl restart apd"),
        ("`kill -9` of apd on the standby", "systemctl kill --signal=KILL apd"),
        ("`systemctl stop apd` on the standby", "systemctl stop apd; systemctl start apd"),
    ] {
        let from = now_ns();
        lab.shell(1 - active, line)?;
        lab.wait_role(1 - active, "standby")?;
        unmoved(&lab, active, &epoch, from).with_context(|| act.to_owned())?;
        report(&lab, act, from)?;
    }
    let from = now_ns();
    lab.shell(active, "systemctl stop apd")?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(from, PLANNED_MS)?;
    report(&lab, "`systemctl stop apd` on the active", from)?;
    ensure!(!lab.holds_address(active)? && lab.read_only(active)?, "something was left behind");
    ensure!(property(&lab, active, "apd", "Result")? == "success", "apd did not stop well");
    lab.shell(active, "systemctl start apd")?;
    lab.wait_role(active, "standby")?;
    lab.stays_served_by(1 - active)?;
    lab.pair.wait_redundant(lab::PATIENCE)?;
    lab.one_writer()?;
    (0..2).try_for_each(|index| lab.nothing_lost(index))
}

/// A reboot of the standby is nothing to clients; a reboot of the active hands over while its server still runs. Power
/// lost on the active: a failover; the node that returns does not take over, and says that it is in maintenance.
#[test]
fn r1_21_r1_22_r4_23_reboots_and_power_loss() -> Result<()> {
    let mut lab = Lab::booted()?;
    let active = lab.active()?;
    let standby = 1 - active;
    let from = now_ns();
    shut_down(&mut lab, standby)?;
    power_on(&mut lab, standby)?;
    lab.wait_role(standby, "standby")?;
    lab.stays_served_by(active)?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    ensure!(lab.read_only(standby)? && !lab.holds_address(standby)?, "the standby serves");
    report(&lab, "reboot of the standby", from)?;
    lab.outage_at_most(from, PLANNED_MS)?;

    let from = now_ns();
    shut_down(&mut lab, active)?;
    lab.wait_served_by(standby)?;
    power_on(&mut lab, active)?;
    lab.wait_role(active, "standby")?;
    lab.stays_served_by(standby)?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    report(&lab, "reboot of the active", from)?;
    lab.outage_at_most(from, PLANNED_MS)?;
    (0..2).try_for_each(|index| lab.wait_mode(index, "ap"))?;

    let from = now_ns();
    lab.pair.power_off(standby)?;
    lab.wait_served_by(active)?;
    report(&lab, "power loss of the active", from)?;
    lab.outage_at_most(from, BOUND_MS)?;
    power_on(&mut lab, standby)?;
    lab.wait_mode(standby, "maintenance")?;
    lab.wait_role(standby, "out")?;
    lab.stays_served_by(active)?;
    ensure!(lab.read_only(standby)? && !lab.holds_address(standby)?, "the loser serves");
    let shown = lab.apctl(standby, &["status"])?;
    ensure!(shown.contains("apctl rejoin"), "the way back is not shown:\n{shown}");
    report(&lab, "power loss of the active, and its return", from)?;
    lab.one_writer()
}

/// An orderly power-off, as `systemctl reboot` begins with.
fn shut_down(lab: &mut Lab, index: usize) -> Result<()> {
    lab.shell(index, "systemctl poweroff --no-block")?;
    let machine = lab.pair.nodes[index].machine()?;
    lab.eventually("the machine is off", || Ok(!machine.is_on()))?;
    lab.pair.power_off(index)
}

fn power_on(lab: &mut Lab, index: usize) -> Result<()> {
    lab.pair.power_on(index)?;
    let took = boot::wait_booted(lab.pair.nodes[index].machine()?).with_context(|| lab.pair.logs())?;
    println!("BOOT | {} | {took} |", lab.pair.nodes[index].name);
    Ok(())
}

/// Total loss of power. Both return at once: one of them serves, and everything was started in its order, the address
/// last. Only the older one returns: it waits for proof and serves nobody. Without its interface apd waits for that.
#[test]
fn r1_20_r1_25_r1_62_power_on_of_both_of_one_and_without_a_network() -> Result<()> {
    let mut lab = Lab::booted()?;
    (0..2).try_for_each(|index| lab.pair.power_off(index))?;
    let from = now_ns();
    (0..2).try_for_each(|index| lab.pair.power_on(index))?;
    lab.pair.wait_serving(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    report(&lab, "power-on of both (all was off)", from)?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    let active = lab.active()?;
    in_order(&lab, active)?;

    // The standby first, so that it lacks what the active then writes.
    let standby = 1 - active;
    shut_down(&mut lab, standby)?;
    let newest = lab.pair.attempts()?.len();
    lab.eventually("the active goes on alone", || Ok(lab.pair.attempts()?.len() > newest + 100))?;
    lab.pair.power_off(active)?;
    let from = now_ns();
    lab.pair.power_on_without_cable(standby)?;
    // The gate comes first, and apd after it.
    lab.eventually("the gate waits for its address", || {
        Ok(property(&lab, standby, "apd-gate", "StatusText")
            .is_ok_and(|text| text.starts_with("waits for the network")))
    })?;
    lab.pair.switch.plug(lab.pair.nodes[standby].machine()?, standby as u8 + 1)?;
    boot::wait_booted(lab.pair.nodes[standby].machine()?).with_context(|| lab.pair.logs())?;
    lab.eventually("the older node says why it does not serve", || {
        Ok(lab.status(standby).is_ok_and(|status| status["warnings"].to_string().contains("boot.unproven")))
    })?;
    std::thread::sleep(WATCH);
    ensure!(lab.pair.serving()?.is_none(), "the older node serves\n{}", lab.pair.logs());
    ensure!(lab.read_only(standby)? && !lab.holds_address(standby)?, "the older node is open");
    power_on(&mut lab, active)?;
    lab.wait_served_by(active)?;
    report(&lab, "power-on of the older node alone, the newer one later", from)?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    lab.one_writer()?;
    (0..2).try_for_each(|index| lab.nothing_lost(index))
}

/// Server, API, gate, apd, and the address last, by the clock of one machine.
fn in_order(lab: &Lab, index: usize) -> Result<()> {
    let mut times = Vec::new();
    for unit in ["mariadb", "api", "apd"] {
        let time: u64 = property(lab, index, unit, "ActiveEnterTimestampMonotonic")?.parse()?;
        times.push((unit, time));
    }
    let done = told_at(&journal(lab, index, "apd")?, "takeover.done")?;
    times.push(("the address", done));
    ensure!(times.is_sorted_by_key(|(_, time)| *time), "not in their order: {times:?}");
    let gate: u64 = property(lab, index, "apd-gate", "ActiveEnterTimestampMonotonic")?.parse()?;
    ensure!(gate <= times[2].1, "the gate came after apd");
    Ok(())
}

/// The cable of the active goes and comes, then flaps: at most one switch, no return to the old active.
#[test]
fn r1_23_interface_down_and_up() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let name = lab.pair.nodes[active].name;
    let from = now_ns();
    lab.pair.switch.port(name, false)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(from, BOUND_MS)?;
    report(&lab, "cable of the active pulled", from)?;
    let epoch = lab.status(1 - active)?["node"]["epoch"].clone();
    for round in 0..20 {
        lab.pair.switch.port(name, round % 2 == 0)?;
        std::thread::sleep(Duration::from_millis(150));
    }
    lab.pair.switch.port(name, true)?;
    lab.wait_mode(active, "maintenance")?;
    lab.stays_served_by(1 - active)?;
    ensure!(lab.status(1 - active)?["node"]["epoch"] == epoch, "the roles moved again");
    lab.one_writer()
}

/// apd dies and its configuration has become invalid: it is not tried again and again, and the peer serves. With the
/// configuration put right it comes back as the loser.
#[test]
fn r1_09_r1_24_a_configuration_that_became_invalid() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    lab.shell(active, "cp -p /etc/apd/apd.toml /root/ && echo '[clutser]' >>/etc/apd/apd.toml")?;
    let from = now_ns();
    lab.shell(active, "systemctl kill --signal=KILL apd")?;
    lab.wait_served_by(1 - active)?;
    report(&lab, "`kill -9` of apd, which then finds an invalid configuration", from)?;
    lab.outage_at_most(from, BOUND_MS)?;
    lab.eventually("apd has failed", || Ok(property(&lab, active, "apd", "ActiveState")? == "failed"))?;
    ensure!(property(&lab, active, "apd", "NRestarts")? == "1", "an invalid configuration was tried again");
    lab.eventually("the server is read-only", || lab.read_only(active))?;
    ensure!(!lab.holds_address(active)?, "the address was left behind");
    lab.shell(active, "cp -p /root/apd.toml /etc/apd/ && systemctl start apd")?;
    lab.wait_mode(active, "maintenance")?;
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}

/// apd and its gate process are frozen, and then stopped by force: the kernel has shut the gate long before, the peer
/// serves, and the fence unit makes the server read-only.
#[test]
fn r1_09_r1_24_a_stop_that_fails_is_fenced() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    lab.shell(
        active,
        "mkdir -p /run/systemd/system/apd.service.d && \
         printf '[Service]\\nTimeoutStopSec=1s\\n' >/run/systemd/system/apd.service.d/impatient.conf && \
         systemctl daemon-reload && systemctl mask --runtime apd-gate 2>&1",
    )?;
    let from = now_ns();
    lab.shell(active, "systemctl kill --signal=STOP apd apd-gate")?;
    lab.shell(active, "systemctl stop apd; systemctl kill --signal=KILL apd-gate")?;
    lab.wait_served_by(1 - active)?;
    report(&lab, "apd and apd-gate frozen, then stopped by force", from)?;
    // Nobody resets the clients' connections: they find out by their own timeouts.
    lab.outage_at_most(from, 2 * BOUND_MS)?;
    lab.eventually("the fence has run", || {
        let ran = property(&lab, active, "apd-fence", "ExecMainExitTimestampMonotonic")? != "0";
        Ok(ran && property(&lab, active, "apd-fence", "ActiveState")? == "inactive")
    })?;
    ensure!(
        property(&lab, active, "apd-fence", "Result")? == "success",
        "the fence failed\n{}",
        lab.pair.logs()
    );
    ensure!(lab.read_only(active)? && !lab.holds_address(active)?, "the node is open");
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}

/// apd alone stands still: the peer serves when the lease is over, and systemd, which hears nothing of the loop any more,
/// ends it and starts it again as the loser.
#[test]
fn r1_09_r1_24_a_daemon_that_hangs_is_started_again() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let process = property(&lab, active, "apd", "MainPID")?;
    let from = now_ns();
    lab.shell(active, "systemctl kill --signal=STOP apd")?;
    lab.wait_served_by(1 - active)?;
    report(&lab, "apd frozen on the active", from)?;
    lab.outage_at_most(from, BOUND_MS)?;
    lab.eventually("systemd has started another", || {
        let now = property(&lab, active, "apd", "MainPID")?;
        Ok(now != process && now != "0")
    })?;
    let told = lab.shell(active, "journalctl --boot --unit=apd --no-pager --output=cat")?;
    ensure!(told.to_lowercase().contains("watchdog timeout"), "it was not the watchdog:\n{told}");
    lab.wait_mode(active, "maintenance")?;
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}

/// The binary is replaced under write load, on the standby first: each process is restarted onto the new file, and
/// nothing is handed over.
#[test]
fn r4_22_r4_23_the_binary_is_replaced_under_write_load() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let epoch = lab.status(active)?["node"]["epoch"].clone();
    for (index, side) in [(1 - active, "standby"), (active, "active")] {
        // As a package does it: a new file under the old name, which the running processes keep.
        lab.shell(index, "cp /usr/sbin/apd /usr/sbin/apd.new && mv /usr/sbin/apd.new /usr/sbin/apd")?;
        for unit in ["apd", "apd-gate"] {
            let old = property(&lab, index, unit, "MainPID")?;
            let program = lab.shell(index, &format!("readlink /proc/{old}/exe"))?;
            ensure!(program.trim_end().ends_with("(deleted)"), "{unit} runs {program}");
            let from = now_ns();
            lab.shell(index, &format!("systemctl restart {unit}"))?;
            lab.wait_role(index, side)?;
            unmoved(&lab, active, &epoch, from).with_context(|| format!("{unit} on the {side}"))?;
            let new = property(&lab, index, unit, "MainPID")?;
            let same = lab.shell(index, &format!("test /proc/{new}/exe -ef /usr/sbin/apd"));
            ensure!(new != old && same.is_ok(), "{unit} does not run the new file");
            report(&lab, &format!("upgrade: `systemctl restart {unit}` on the {side}"), from)?;
        }
    }
    lab.one_writer()?;
    (0..2).try_for_each(|index| lab.nothing_lost(index))
}

/// A filter that drops the advertisements is no reason to take over: the pair hears each other on the peer link.
#[test]
fn r1_06_advertisements_dropped_by_a_firewall() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let epoch = lab.status(active)?["node"]["epoch"].clone();
    let rules = "nft add table inet wall && nft add chain inet wall in '{ type filter hook input priority 0; }' && \
                 nft add rule inet wall in ip protocol 112 drop";
    let from = now_ns();
    (0..2).try_for_each(|index| lab.shell(index, rules).map(|_| ()))?;
    lab.stays_served_by(active)?;
    unmoved(&lab, active, &epoch, from)?;
    let held = (lab.holds_address(active)?, lab.holds_address(1 - active)?);
    ensure!(held == (true, false), "{VIRTUAL} is on {held:?}");
    report(&lab, "advertisements dropped by a firewall on both", from)
}

/// `systemctl reload` waits for the end: a change takes effect without a change of role, a file with errors is refused
/// and the unit goes on; SIGHUP of systemd's own making is not needed.
#[test]
fn r2_11_systemctl_reload() -> Result<()> {
    let lab = Lab::booted()?;
    let active = lab.active()?;
    let (epoch, from) = (lab.status(active)?["node"]["epoch"].clone(), now_ns());
    let process = property(&lab, active, "apd.service", "MainPID")?;
    for index in 0..2 {
        let file = "/etc/apd/apd.toml";
        lab.shell(index, &format!("sed -i 's/interval = \"100ms\"/interval = \"150ms\"/' {file}"))?;
        lab.shell(index, "systemctl reload apd")?;
        let history = lab.apctl(index, &["history"])?;
        ensure!(history.contains("config.reloaded"), "{history}");
    }
    lab.shell(active, "echo nonsense >>/etc/apd/apd.toml; ! systemctl reload apd")?;
    ensure!(lab.apctl(active, &["history"])?.contains("config.refused"));
    for (name, wanted) in [("ActiveState", "active"), ("SubState", "running"), ("MainPID", process.as_str())]
    {
        let now = property(&lab, active, "apd.service", name)?;
        ensure!(now == wanted, "{name} is {now}");
    }
    lab.eventually("both agree again", || Ok(lab.status(active)?["peer"]["match"] == "Match"))?;
    report(&lab, "`systemctl reload apd` on both", from)?;
    unmoved(&lab, active, &epoch, from)
}
