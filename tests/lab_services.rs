//! Services in the hands of a pair on real systemd: they follow mode and role, start and stop in order, are started again
//! and given up; what boot starts; and how long a takeover takes with what it has to start.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::pair::boot;
use lab::pair::network::VIRTUAL;
use lab::pair::tools::now_ns;
use lab::{BOUND_MS, Lab, SERVICES, WATCH};

/// A service of the active alone; a shell stands in for it.
const WORKER: &str = "
[[service]]
name = \"worker\"
unit = \"worker.service\"
runs_on = \"active\"
stop_timeout = \"1s\"
order = 30
";

/// Ends when it is told to.
const MILD: &str = "[Service]\nExecStart=/bin/sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'\n";
/// Only a kill ends it.
const STUBBORN: &str =
    "[Service]\nTimeoutStopSec=300\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'\n";

/// A pair with the unit of the worker on both machines, before its daemons start.
fn with_worker(unit: &str, services: &str) -> Result<Lab> {
    let lab = Lab::booted_only(|text| text + services)?;
    for index in 0..2 {
        let file = lab.pair.nodes[index].machine()?.path("/etc/systemd/system/worker.service");
        std::fs::write(file, unit)?;
        lab.shell(index, "systemctl daemon-reload")?;
    }
    lab.bring_up()?;
    Ok(lab)
}

fn is_active(lab: &Lab, index: usize, unit: &str) -> Result<bool> {
    Ok(lab.shell(index, &format!("systemctl is-active {unit} || true"))?.trim() == "active")
}

fn enabled(lab: &Lab, index: usize, unit: &str) -> Result<String> {
    lab.shell(index, &format!("systemctl is-enabled {unit} || true")).map(|word| word.trim().to_owned())
}

/// A moment of a unit on the clock that both machines share, microseconds.
fn moment(lab: &Lab, index: usize, unit: &str, name: &str) -> Result<u64> {
    let text =
        lab.shell(index, &format!("systemctl show --property={name}TimestampMonotonic --value {unit}"))?;
    Ok(text.trim().parse()?)
}

fn wait_states(lab: &Lab, index: usize, states: &[(&str, &str)]) -> Result<()> {
    lab.eventually(&format!("{index}: {states:?}"), || {
        for (unit, state) in states {
            if enabled(lab, index, unit)? != *state {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// An orderly power-off, then power and the end of the boot.
fn reboot(lab: &mut Lab, index: usize) -> Result<()> {
    lab.shell(index, "systemctl poweroff --no-block")?;
    let machine = lab.pair.nodes[index].machine()?;
    lab.eventually("the machine is off", || Ok(!machine.is_on()))?;
    lab.pair.power_off(index)?;
    power_on(lab, index)
}

fn power_on(lab: &mut Lab, index: usize) -> Result<()> {
    lab.pair.power_on(index)?;
    boot::wait_booted(lab.pair.nodes[index].machine()?).with_context(|| lab.pair.logs())?;
    Ok(())
}

/// In ap boot starts none of the units: apd does, and with `boot = "manual"` only when an operator says so.
#[test]
fn r1_30_in_ap_boot_starts_no_unit_and_manual_waits_for_start() -> Result<()> {
    let mut lab =
        Lab::booted_only(|text| text.replace("[cluster]\n", "[cluster]\nboot = \"manual\"\n") + SERVICES)?;
    for index in 0..2 {
        lab.pair.start_daemon(index)?;
        lab.eventually("the daemon answers", || Ok(lab.status(index).is_ok()))?;
        lab.apctl(index, &["start", "--yes"])?;
    }
    lab.pair.start_writers()?;
    lab.pair.wait_serving(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    let active = lab.active()?;
    let standby = 1 - active;
    for index in 0..2 {
        wait_states(&lab, index, &[("mariadb.service", "disabled"), ("api.service", "disabled")])?;
    }
    reboot(&mut lab, standby)?;
    lab.eventually("the daemon answers", || Ok(lab.status(standby).is_ok()))?;
    std::thread::sleep(WATCH);
    for unit in ["mariadb.service", "api.service"] {
        ensure!(!is_active(&lab, standby, unit)?, "{unit} was started by boot\n{}", lab.pair.logs());
    }
    ensure!(lab.mode_file(standby)? == "ap", "the mode became {}", lab.mode_file(standby)?);
    ensure!(lab.role(standby)? == "out", "it joined by itself as {}", lab.role(standby)?);
    lab.apctl(standby, &["start", "--yes"])?;
    lab.wait_role(standby, "standby")?;
    lab.eventually("the API runs", || is_active(&lab, standby, "api.service"))?;
    lab.stays_served_by(active)?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    an_operator_stops(&lab, active, standby)?;
    lab.one_writer()
}

/// `apctl stop` takes the standby out until `apctl start`, whatever restarts; the last one is refused it; an active
/// hands over first.
fn an_operator_stops(lab: &Lab, active: usize, standby: usize) -> Result<()> {
    let rests = |index: usize| {
        lab.eventually("the units have stopped", || {
            Ok(!is_active(lab, index, "mariadb.service")? && !is_active(lab, index, "api.service")?)
        })
    };
    lab.apctl(standby, &["stop", "--yes"])?;
    rests(standby)?;
    lab.shell(standby, "systemctl restart apd")?;
    lab.eventually("the daemon answers", || Ok(lab.status(standby).is_ok()))?;
    std::thread::sleep(WATCH);
    ensure!(lab.role(standby)? == "out", "it is back as {}", lab.role(standby)?);
    rests(standby)?;
    let (code, said) = lab.apctl_code(active, &["stop", "--yes"])?;
    ensure!(code == 6, "the last one was stopped, {code}: {said}");
    lab.stays_served_by(active)?;
    lab.apctl(standby, &["start", "--yes"])?;
    lab.wait_role(standby, "standby")?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    let from = now_ns();
    lab.apctl(active, &["stop", "--yes"]).with_context(|| lab.pair.logs())?;
    lab.wait_served_by(standby)?;
    lab.outage_at_most(from, 1_000)?;
    rests(active)
}

/// With the default a node that was rebooted starts its services, in their order, and comes up as standby.
#[test]
fn r1_21_r1_30_a_rebooted_standby_starts_its_services() -> Result<()> {
    let mut lab = Lab::booted_with(|text| text + SERVICES)?;
    let active = lab.active()?;
    let standby = 1 - active;
    reboot(&mut lab, standby)?;
    lab.wait_role(standby, "standby")?;
    lab.eventually("the API runs", || is_active(&lab, standby, "api.service"))?;
    let server = moment(&lab, standby, "mariadb.service", "ActiveEnter")?;
    let api = moment(&lab, standby, "api.service", "ActiveEnter")?;
    ensure!(
        server < api,
        "the API ran at {api} us, the server at {server}\n{}",
        lab.shell(
            standby,
            "journalctl --boot --no-pager --output=short-monotonic -u apd -u mariadb -u api -u 'apd-service@*'"
        )?
    );
    ensure!(enabled(&lab, standby, "mariadb.service")? == "disabled", "boot would start the server");
    lab.stays_served_by(active)?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    lab.one_writer()
}

/// Maintenance masks the units, and what runs goes on; the way back unmasks them.
#[test]
fn r1_31_maintenance_masks_and_the_way_back_unmasks() -> Result<()> {
    let lab = Lab::booted_with(|text| text + SERVICES)?;
    let active = lab.active()?;
    let standby = 1 - active;
    lab.apctl(standby, &["mode", "maintenance", "--yes"])?;
    wait_states(&lab, standby, &[("mariadb.service", "masked"), ("api.service", "masked")])?;
    for unit in ["mariadb.service", "api.service"] {
        ensure!(is_active(&lab, standby, unit)?, "{unit} does not go on");
    }
    lab.shell(standby, "systemctl stop api")?;
    ensure!(lab.shell(standby, "systemctl start api 2>&1").is_err(), "a hand started what is masked");
    std::thread::sleep(WATCH);
    ensure!(!is_active(&lab, standby, "api.service")?, "apd started what is masked");
    lab.rejoin(standby)?;
    wait_states(&lab, standby, &[("mariadb.service", "disabled"), ("api.service", "disabled")])?;
    lab.eventually("the API runs again", || is_active(&lab, standby, "api.service"))?;
    lab.stays_served_by(active)?;
    lab.one_writer()
}

/// The loser of a failover, here by a lost link, is in maintenance: units masked, database read-only.
#[test]
fn r1_42_the_loser_is_masked_and_read_only() -> Result<()> {
    let lab = Lab::booted_with(|text| text + SERVICES)?;
    let active = lab.active()?;
    let name = lab.pair.nodes[active].name;
    let from = now_ns();
    lab.pair.switch.port(name, false)?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(from, BOUND_MS)?;
    lab.pair.switch.port(name, true)?;
    lab.wait_mode(active, "maintenance")?;
    wait_states(&lab, active, &[("mariadb.service", "masked"), ("api.service", "masked")])?;
    ensure!(lab.read_only(active)?, "the loser's server takes writes");
    ensure!(!lab.holds_address(active)?, "the loser has the address");
    lab.stays_served_by(1 - active)?;
    lab.one_writer()
}

/// The survivor of a failover, in standalone, boots alone: boot starts no unit, apd does, and it serves without a peer.
#[test]
fn r1_32_standalone_boots_alone_and_serves() -> Result<()> {
    let mut lab =
        Lab::booted_with(|text| text.replace("[cluster]\n", "[cluster]\npeer_wait = \"2s\"\n") + SERVICES)?;
    let active = lab.active()?;
    let survivor = 1 - active;
    lab.pair.power_off(active)?;
    lab.wait_served_by(survivor)?;
    lab.wait_mode(survivor, "standalone")?;
    reboot(&mut lab, survivor)?;
    lab.wait_served_by(survivor)?;
    ensure!(lab.holds_address(survivor)? && !lab.read_only(survivor)?, "it does not serve");
    ensure!(lab.mode_file(survivor)? == "standalone", "the mode became {}", lab.mode_file(survivor)?);
    ensure!(enabled(&lab, survivor, "mariadb.service")? == "disabled", "boot started the server");
    lab.one_writer()
}

/// A service of the active runs on the active alone, and moves with the role: never on both, not for an instant.
#[test]
fn r0_09_r0_30_a_service_of_the_role_moves_with_it() -> Result<()> {
    let lab = with_worker(MILD, &format!("{SERVICES}{WORKER}"))?;
    for _ in 0..2 {
        let active = lab.active()?;
        lab.eventually("the worker runs on the active", || is_active(&lab, active, "worker.service"))?;
        ensure!(!is_active(&lab, 1 - active, "worker.service")?, "the worker runs on the standby");
        let from = now_ns();
        lab.apctl(active, &["switchover", "--yes"]).with_context(|| lab.pair.logs())?;
        lab.wait_served_by(1 - active)?;
        println!("ROLE | switchover with a worker | {} ms |", lab.outage_ms("sql", from)?);
        let stopped = moment(&lab, active, "worker.service", "InactiveEnter")?;
        let started = moment(&lab, 1 - active, "worker.service", "InactiveExit")?;
        ensure!(stopped <= started, "it ran on both for {} us", stopped - started);
        lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    }
    lab.one_writer()
}

/// A service that ignores SIGTERM is killed after its time, and the address leaves only then.
#[test]
fn r0_10_the_address_stays_until_the_service_has_stopped() -> Result<()> {
    let lab = with_worker(STUBBORN, WORKER)?;
    let active = lab.active()?;
    lab.eventually("the worker runs", || is_active(&lab, active, "worker.service"))?;
    let begin = now_ns();
    lab.apctl(active, &["switchover", "--yes"]).with_context(|| lab.pair.logs())?;
    lab.wait_served_by(1 - active)?;
    let took = (now_ns() - begin) / 1_000_000;
    println!("ROLE | switchover with a service that ignores SIGTERM | {took} ms |");
    ensure!(took >= 1_000, "it was not waited for: {took} ms");
    ensure!(!is_active(&lab, active, "worker.service")?, "the worker lives on");
    let stopped = moment(&lab, active, "worker.service", "InactiveEnter")?;
    let started = moment(&lab, 1 - active, "worker.service", "InactiveExit")?;
    ensure!(stopped <= started, "it ran on both for {} us", stopped - started);
    // Clients were served until it had stopped: the wait is no outage.
    lab.outage_at_most(begin, 900)?;
    lab.one_writer()
}

/// A service that ends again and again is started here twice, then the role is given up; it is latched until `apctl
/// clear`.
#[test]
fn r0_12_a_service_that_crashes_again_and_again() -> Result<()> {
    let lab = with_worker(MILD, WORKER)?;
    let active = lab.active()?;
    let kill = "systemctl kill --signal=KILL worker.service";
    for _ in 0..2 {
        lab.eventually("the worker runs", || is_active(&lab, active, "worker.service"))?;
        lab.shell(active, kill)?;
        lab.eventually("it has ended", || Ok(!is_active(&lab, active, "worker.service")?))?;
        lab.eventually("it was started again", || is_active(&lab, active, "worker.service"))?;
        ensure!(lab.active()? == active, "the role was given up at once");
    }
    lab.shell(active, kill)?;
    lab.wait_served_by(1 - active)?;
    lab.eventually("the worker runs there", || is_active(&lab, 1 - active, "worker.service"))?;
    lab.eventually("the fault is told", || Ok(lab.warnings(active)?.contains("service.failed")))?;
    ensure!(!is_active(&lab, active, "worker.service")?, "the worker runs on both");
    lab.apctl(active, &["clear", "--yes"])?;
    lab.eventually("the fault is cleared", || Ok(!lab.warnings(active)?.contains("service.failed")))?;
    lab.one_writer()
}

/// What `apctl status` says of a takeover by this node.
fn takeover(lab: &Lab, index: usize) -> Result<serde_json::Value> {
    Ok(lab.status(index)?["node"]["takeover"].clone())
}

/// How long a takeover takes by a hot standby, where everything runs, by a warm one, which has to start the API, and by a
/// cold one, which has to start the server; each tells what it is and what its starts take.
#[test]
fn r3_07_hot_warm_and_cold_standby() -> Result<()> {
    for word in ["hot", "warm"] {
        let warm = SERVICES.replace("unit = \"api.service\"", "unit = \"api.service\"\nruns_on = \"active\"");
        let services = if word == "hot" { SERVICES } else { &warm };
        let check = |text: String| match word {
            // A check of what only the active runs counts there alone.
            "warm" => text.replace("url = ", "roles = [\"active\"]\nurl = "),
            _ => text,
        };
        let mut lab = Lab::booted_with(|text| check(text) + services)?;
        let active = lab.active()?;
        let standby = 1 - active;
        ensure!(
            is_active(&lab, standby, "api.service")? == (word == "hot"),
            "{word}: the API of the standby"
        );
        let told = takeover(&lab, standby)?;
        ensure!(told["readiness"] == word && told["wait_ms"].is_u64(), "{word}: {told}");
        ensure!(word == "warm" || told["starts_ms"] == 0, "{word}: {told}");
        let from = now_ns();
        lab.pair.power_off(active)?;
        lab.wait_served_by(standby)?;
        let (sql, api) = (lab.outage_ms("sql", from)?, lab.outage_ms("api", from)?);
        println!("STANDBY | {word} | {sql} ms | {api} ms |");
        ensure!(sql <= 3 * BOUND_MS && api <= 3 * BOUND_MS, "{word}: {sql} ms, {api} ms");
        ensure!(is_active(&lab, standby, "api.service")?, "{word}: the API does not run");
        let told = takeover(&lab, standby)?;
        ensure!(told["starts_ms"].is_u64(), "{word}: the starts were measured: {told}");
        lab.one_writer()?;
    }
    a_cold_standby_waits_for_an_operator()
}

/// The server of one node rests while that node stands by: nothing proves that its data is the newest.
fn a_cold_standby_waits_for_an_operator() -> Result<()> {
    // The API cannot answer well beside a server that rests: its check counts on the active alone.
    let check = |text: String| text.replace("url = ", "roles = [\"active\"]\nurl = ");
    let mut lab = Lab::booted_with(|text| check(text) + SERVICES)?;
    let active = lab.active()?;
    let standby = 1 - active;
    let rests = "sed -i 's/^unit = \"mariadb.service\"/&\\nruns_on = \"active\"/' /etc/apd/apd.toml";
    lab.shell(standby, &format!("{rests} && systemctl restart apd"))?;
    lab.eventually("the server of the standby rests", || Ok(!is_active(&lab, standby, "mariadb.service")?))?;
    lab.wait_role(standby, "standby")?;
    let told = takeover(&lab, standby)?;
    ensure!(told["readiness"] == "cold", "{told}");
    lab.stays_served_by(active)?;
    lab.pair.power_off(active)?;
    std::thread::sleep(WATCH);
    ensure!(!is_active(&lab, standby, "mariadb.service")?, "it takes over without a proof");
    let from = now_ns();
    let words = ["failover", "--force", "--peer-is-off", "--accept-data-loss", "--yes"];
    lab.apctl(standby, &words).with_context(|| lab.pair.logs())?;
    lab.wait_served_by(standby)?;
    println!("STANDBY | cold | {} ms from the operator's word |", (now_ns() - from) / 1_000_000);
    ensure!(lab.holds_address(standby)?, "it serves without the address");
    lab.eventually("the server's unit is active", || is_active(&lab, standby, "mariadb.service"))?;
    // The server answers, and clients are served, before systemd says that its unit is active.
    lab.eventually("the start was measured", || {
        Ok(takeover(&lab, standby)?["starts_ms"].as_u64().is_some_and(|starts| starts > 0))
    })?;
    lab.one_writer()
}

/// An orderly stop of the active under load: no client that reaches an API by the address hears an error of the server,
/// for the gate shuts before the database stops taking writes; nothing is left behind.
#[test]
fn r1_79_an_orderly_stop_under_load() -> Result<()> {
    let lab = with_worker(MILD, &format!("{SERVICES}{WORKER}"))?;
    let active = lab.active()?;
    let codes = lab.pair.folder.join("codes");
    let ask = format!(
        "while :; do curl -s -m 0.5 -o /dev/null -w '%{{http_code}}\\n' http://{VIRTUAL}:8080/health; done"
    );
    lab.pair.client().start(&codes, "sh", &["-c", &ask])?;
    let answers = || Ok::<_, anyhow::Error>(std::fs::read_to_string(&codes)?.matches("200").count());
    lab.eventually("the API answers by the address", || Ok(answers()? > 20))?;
    let from = now_ns();
    lab.shell(active, "systemctl stop apd")?;
    lab.wait_served_by(1 - active)?;
    lab.outage_at_most(from, 1_000)?;
    let before = answers()?;
    lab.eventually("the API answers by the address again", || Ok(answers()? > before + 20))?;
    let text = std::fs::read_to_string(&codes)?;
    let errors: Vec<&str> = text.lines().filter(|code| code.starts_with('5')).collect();
    ensure!(errors.is_empty(), "clients heard {errors:?}");
    ensure!(!is_active(&lab, active, "worker.service")?, "the worker of the role was left behind");
    ensure!(!lab.holds_address(active)?, "the address was left behind");
    lab.one_writer()
}

/// A stop of apd ends its units in their order and in their own time, though the server's unit is one that apd's comes
/// after; so does a shutdown of the machine. Nobody is killed, nothing is refused.
#[test]
fn r1_79_r0_10_a_stop_and_a_shutdown_kill_no_unit() -> Result<()> {
    let mut lab = Lab::booted_with(|text| text + SERVICES)?;
    let standby = 1 - lab.active()?;
    let from = now_ns();
    lab.shell(standby, "systemctl stop apd")?;
    println!("STOP | with server and API | {} ms |", (now_ns() - from) / 1_000_000);
    for unit in ["mariadb.service", "api.service"] {
        let state = lab.shell(standby, &format!("systemctl show --property=ActiveState,Result {unit}"))?;
        ensure!(
            state.contains("ActiveState=inactive") && state.contains("Result=success"),
            "{unit}: {state}"
        );
    }
    lab.shell(standby, "systemctl start apd")?;
    for unit in ["mariadb.service", "api.service"] {
        // A start that is under way when the machine goes down is refused, as it must be.
        lab.eventually("the units run again", || is_active(&lab, standby, unit))?;
    }
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    reboot(&mut lab, standby)?;
    let told = lab.shell(standby, "journalctl --boot=-1 --no-pager --output=cat")?;
    for word in ["does not stop", "destructive", "is killed", "SIGKILL"] {
        ensure!(!told.contains(word), "`{word}` in the journal of the shutdown:\n{told}");
    }
    ensure!(told.contains("mariadbd: Shutdown complete"), "the server did not end in order:\n{told}");
    lab.eventually("the server is up again", || is_active(&lab, standby, "mariadb.service"))?;
    lab.pair.wait_redundant(lab::PATIENCE).with_context(|| lab.pair.logs())?;
    lab.one_writer()
}
