//! Services as units of a real systemd: what apd's user has done by its oneshot unit, what boot and hands may do with
//! managed units, and how the earlier state comes back.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::pair::boot;
use lab::{Lab, SERVICES};

/// Units that behave badly: one ignores SIGTERM and is always started again, one cannot start.
const BAD_SERVICES: &str = "
[[service]]
name = \"stubborn\"
unit = \"stubborn.service\"
stop_timeout = \"1s\"

[[service]]
name = \"broken\"
unit = \"broken.service\"
";
const STUBBORN: &str = "[Service]\nRestart=always\nRestartSec=0\nTimeoutStopSec=300\n\
    ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n";
const BROKEN: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'exit 7'\n";

fn managed(text: String) -> String {
    text + SERVICES
}

/// Has an act done as the daemon does it: as its user, by the oneshot unit. What went wrong is in the unit's status.
fn act(lab: &Lab, index: usize, act: &str) -> Result<()> {
    let unit = format!("apd-service@{act}.service");
    let line = format!(
        "setpriv --reuid=apd --regid=apd --init-groups systemctl --no-ask-password start {unit} || \
         {{ systemctl show --property=StatusText --value {unit}; exit 1; }} 2>&1"
    );
    lab.shell(index, &line).map(|_| ())
}

fn active(lab: &Lab, index: usize, unit: &str) -> Result<String> {
    lab.shell(index, &format!("systemctl is-active {unit} || true")).map(|word| word.trim().to_owned())
}

/// How boot and hands see the units: enable states, every link of an operator's, and what listens.
fn earlier(lab: &Lab, index: usize) -> Result<String> {
    lab.shell(
        index,
        "for unit in mariadb.service mariadb.socket api.service; do \
           echo $unit $(systemctl is-enabled $unit) $(systemctl show --property=UnitFileState,LoadState $unit); \
         done; \
         systemctl is-active mariadb.socket; \
         find /etc/systemd /run/systemd/system -type l -printf '%p -> %l\\n' | sort",
    )
}

fn reboot(lab: &mut Lab, index: usize) -> Result<()> {
    lab.shell(index, "systemctl poweroff --no-block")?;
    let machine = lab.pair.nodes[index].machine()?;
    lab.eventually("the machine is off", || Ok(!machine.is_on()))?;
    lab.pair.power_off(index)?;
    lab.pair.power_on(index)?;
    boot::wait_booted(lab.pair.nodes[index].machine()?).with_context(|| lab.pair.logs())?;
    Ok(())
}

/// Masked: neither hand nor socket nor boot starts a managed unit, wherever its file lies, and what runs goes on.
/// Disabled: boot does not start it, apd does. Restored: every link is where it was, and the socket listens again.
#[test]
fn r1_30_r1_31_units_are_masked_disabled_and_restored_exactly() -> Result<()> {
    let mut lab = Lab::booted_only(managed)?;
    let index = 0;
    lab.shell(index, "systemctl stop mariadb && systemctl enable mariadb.socket 2>&1 && systemctl start mariadb.socket && systemctl start mariadb")?;
    let before = earlier(&lab, index)?;
    ensure!(before.matches(" enabled ").count() == 3, "{before}");

    act(&lab, index, "policy:masked")?;
    for unit in ["mariadb.service", "api.service"] {
        ensure!(active(&lab, index, unit)? == "active", "{unit} does not go on");
        let state = lab.shell(index, &format!("systemctl is-enabled {unit} || true"))?;
        ensure!(state.trim() == "masked", "{unit} is {state}");
    }
    ensure!(active(&lab, index, "mariadb.socket")? == "inactive", "the socket would start the server");
    act(&lab, index, "stop:database")?;
    act(&lab, index, "stop:api")?;
    for unit in ["mariadb.service", "mysql.service", "mariadb.socket", "api.service"] {
        let refused = lab.shell(index, &format!("systemctl start {unit} 2>&1"));
        ensure!(refused.is_err(), "{unit} was started by hand while it is masked");
    }
    let refused = act(&lab, index, "start:api");
    let Err(refused) = refused else { bail!("a masked unit was started") };
    ensure!(format!("{refused:#}").contains("masked"), "{refused:#}");
    reboot(&mut lab, index)?;
    for unit in ["mariadb.service", "mariadb.socket", "api.service"] {
        ensure!(active(&lab, index, unit)? == "inactive", "boot started {unit} while it is masked");
    }

    act(&lab, index, "policy:disabled")?;
    for unit in ["mariadb.service", "mariadb.socket", "api.service"] {
        let state = lab.shell(index, &format!("systemctl is-enabled {unit} || true"))?;
        ensure!(state.trim() == "disabled", "{unit} is {state}");
    }
    reboot(&mut lab, index)?;
    ensure!(active(&lab, index, "mariadb.service")? == "inactive", "boot started a disabled unit");
    act(&lab, index, "start:database")?;
    act(&lab, index, "start:api")?;
    ensure!(active(&lab, index, "mariadb.service")? == "active", "the server does not run");

    act(&lab, index, "stop:database")?;
    act(&lab, index, "policy:restored")?;
    let after = earlier(&lab, index)?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    ensure!(lab.shell(index, "test -e /var/lib/apd/units").is_err(), "the record is left behind");
    reboot(&mut lab, index)?;
    lab.eventually("boot starts them as before", || {
        Ok(active(&lab, index, "mariadb.service")? == "active"
            && active(&lab, index, "api.service")? == "active")
    })
}

/// A unit that ignores SIGTERM is killed after its time with apd and not after systemd's 300 s, and is down when the stop is done, although systemd would start
/// it again; a start that fails is told in words, and counts for no limit of systemd's.
#[test]
fn r0_09_r0_10_r0_12_units_that_do_not_stop_and_units_that_do_not_start() -> Result<()> {
    let lab = Lab::booted_only(|text| text + BAD_SERVICES)?;
    let index = 0;
    for (name, text) in [("stubborn", STUBBORN), ("broken", BROKEN)] {
        let file = format!("/etc/systemd/system/{name}.service");
        std::fs::write(lab.pair.nodes[index].machine()?.path(&file), text)?;
    }
    lab.shell(index, "systemctl daemon-reload")?;
    for (verb, limits) in [("stop", 1_000..60_000), ("kill", 0..60_000)] {
        act(&lab, index, "start:stubborn")?;
        ensure!(active(&lab, index, "stubborn")? == "active", "it does not run");
        let begin = Instant::now();
        act(&lab, index, &format!("{verb}:stubborn"))?;
        let took = begin.elapsed().as_millis();
        println!("DOWN | {verb} | {took} ms |");
        ensure!(limits.contains(&took), "{verb} took {took} ms");
        ensure!(["inactive", "failed"].contains(&&*active(&lab, index, "stubborn")?), "it runs after {verb}");
        std::thread::sleep(Duration::from_millis(500));
        ensure!(["inactive", "failed"].contains(&&*active(&lab, index, "stubborn")?), "it was started again");
    }
    for _ in 0..8 {
        let Err(failed) = act(&lab, index, "start:broken") else { bail!("a broken unit was started") };
        ensure!(format!("{failed:#}").contains("broken.service: the job ended with failed"), "{failed:#}");
    }
    lab.shell(
        index,
        "sed -i 's/exit 7/exit 0/' /etc/systemd/system/broken.service && systemctl daemon-reload",
    )?;
    act(&lab, index, "start:broken")?;
    let shown = lab.shell(index, "apctl local-service status")?;
    ensure!(shown.contains("running broken: active (exited)"), "{shown}");
    Ok(())
}
