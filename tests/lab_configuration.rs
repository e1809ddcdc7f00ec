//! What an operator may set, on a running pair: interfaces of different names, secrets that nobody sees, paths of one's
//! own, unicast and multicast, settings that both nodes must share, and the wait for the peer.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use anyhow::{Context, Result, bail, ensure};
use lab::Lab;
use lab::pair::fault::Target;
use lab::pair::network::{GATEWAY, VIRTUAL};
use serde_json::Value;

/// Interfaces are called differently on both hosts, with one configuration file; name, addresses and passwords are keys of
/// their own. No password is in a command line, an environment, the journal or the recording, also after a failover.
#[test]
fn r1_66_r1_67_r1_68_r1_69_r1_70_r1_71_r1_72_interfaces_differ_and_passwords_stay_secret() -> Result<()> {
    let mut lab = Lab::booted_only(|text| text)?;
    let rename = format!(
        "ip link set eth0 down; ip link set eth0 name lan7; ip link set lan7 up; ip route replace default via {GATEWAY}"
    );
    lab.shell(1, &rename)?;
    lab.bring_up()?;
    let same = lab.shell(0, "cat /etc/apd/apd.toml")? == lab.shell(1, "cat /etc/apd/apd.toml")?;
    ensure!(same, "the configuration differs between the nodes");
    let effective = lab.shell(1, "apctl config show --effective --origin")?;
    ensure!(effective.contains("interface = \"lan7\""), "{effective}");
    let active = lab.active()?;
    lab.apctl(active, &["switchover", "--yes"])?;
    lab.wait_served_by(1 - active)?;
    let on = lab.shell(1, &format!("ip -o -4 address show to {VIRTUAL}"))?
        + &lab.shell(0, &format!("ip -o -4 address show to {VIRTUAL}"))?;
    ensure!(on.contains(if active == 0 { "lan7" } else { "eth0" }), "the address is on {on}");
    lab.pair.wait_redundant(lab::PATIENCE)?;
    lab.pair.power_off(1 - active)?;
    lab.wait_served_by(active)?;
    no_password_is_seen(&lab, active)
}

fn no_password_is_seen(lab: &Lab, index: usize) -> Result<()> {
    let files = lab.shell(index, "ls /etc/apd/*.password")?;
    ensure!(files.lines().count() >= 2, "{files}");
    for file in files.lines() {
        let password = lab.shell(index, &format!("cat {file}"))?;
        let password = password.trim();
        ensure!(password.len() > 8, "{file} holds no password");
        // The password is not on a command line of the test either: it would find itself.
        let seen = lab.shell(
            index,
            &format!(
                "for look in 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ' 'journalctl --all --output=json' \
                 'cat /var/lib/apd/journal.db /var/lib/apd/journal.db-wal /var/lib/apd/state' \
                 'sh -c \"zcat -f /var/lib/apd/recording/*\"' \
                 'apctl status -o json' 'apctl config show --effective'; do \
                   if eval $look 2>/dev/null | grep -qaFf {file}; then echo $look; fi; \
                 done"
            ),
        )?;
        ensure!(seen.is_empty(), "{file} is seen in {seen}");
    }
    Ok(())
}

/// Mode file, state and run folder lie where the operator wants them, and nothing is written elsewhere.
#[test]
fn r1_73_paths_are_configurable() -> Result<()> {
    let paths = "[node]\nstate_dir = \"/opt/pair/state\"\nrun_dir = \"/opt/pair/run\"\nmode_file = \"/opt/ap-mode\"\n";
    let lab = Lab::prepared(|text| text.replace("[nodes.db1]", &format!("{paths}\n[nodes.db1]")))?;
    (0..2).try_for_each(|index| lab.shell(index, "mkdir -p /opt/pair/state /opt/pair/run").map(|_| ()))?;
    lab.bring_up()?;
    let active = lab.active()?;
    for index in 0..2 {
        let mode = lab.shell(index, "cat /opt/ap-mode")?;
        ensure!(mode.trim() == "ap", "the mode file holds {mode}");
        lab.shell(index, "test -e /opt/pair/state/journal.db && test -S /opt/pair/run/apd.sock")?;
        ensure!(
            lab.shell(index, "test -e /var/lib/apd/mode -o -e /run/apd/apd.sock").is_err(),
            "a default path is used"
        );
    }
    lab.apctl(1 - active, &["mode", "maintenance", "--yes"])?;
    let mode = lab.shell(1 - active, "cat /opt/ap-mode")?;
    ensure!(mode.trim() == "maintenance", "the mode file holds {mode}");
    lab.stays_served_by(active)
}

/// By default advertisements go to the other node alone; with `multicast` to the group of the protocol.
#[test]
fn r1_65_unicast_by_default_and_multicast_on_demand() -> Result<()> {
    let to = ["10.77.0.1", "10.77.0.2", "224.0.0.18"];
    for multicast in [false, true] {
        let lab = Lab::up_with(|text| match multicast {
            true => text.replace("[nodes.db1]", "[vrrp]\nmulticast = true\n\n[nodes.db1]"),
            false => text,
        })?;
        let active = lab.active()?;
        lab.pair.switch.count_adverts(&to)?;
        let wanted = if multicast { to[2] } else { to[1 - active] };
        lab.eventually("advertisements are counted", || Ok(lab.pair.switch.adverts(wanted)? > 20))?;
        for other in to.iter().filter(|other| **other != wanted) {
            let count = lab.pair.switch.adverts(other)?;
            ensure!(count == 0, "{count} advertisements went to {other}");
        }
        lab.stays_served_by(active)?;
    }
    Ok(())
}

/// What both nodes must share is one setting of the pair: where they differ, both say so, and the one that pre-empts
/// without a way back is refused before it starts.
#[test]
fn r1_64_settings_that_differ_between_the_nodes_are_told() -> Result<()> {
    let lab = Lab::up()?;
    let active = lab.active()?;
    let standby = 1 - active;
    lab.shell(standby, "cp /etc/apd/apd.toml /root/apd.toml && sed -i 's/^\\[cluster\\]/&\\nrejoin = \"auto\"/' /etc/apd/apd.toml")?;
    lab.kill(standby, Target::Daemon)?;
    lab.pair.start_daemon(standby)?;
    for index in 0..2 {
        lab.eventually("the mismatch is told", || {
            let status = lab.status(index).unwrap_or_default();
            let told = status["warnings"].to_string().contains("config.mismatch");
            Ok(told && status["peer"]["match"] == "Mismatch")
        })?;
    }
    lab.stays_served_by(active)?;
    lab.shell(standby, "sed -i 's/^\\[cluster\\]/&\\npreempt = true/' /etc/apd/apd.toml")?;
    let (code, said) = lab.apctl_code(standby, &["config", "check"])?;
    ensure!(code == 3 && said.contains("cluster.preempt"), "{code}: {said}");
    lab.shell(standby, "cp /root/apd.toml /etc/apd/apd.toml")?;
    lab.kill(standby, Target::Daemon)?;
    lab.pair.start_daemon(standby)?;
    (0..2).try_for_each(|index| {
        lab.eventually("they match again", || {
            Ok(lab.status(index).is_ok_and(|status| status["peer"]["match"] == "Match"))
        })
    })
}

/// A node that may serve alone waits for its peer first, exactly as long as it is told to.
#[test]
fn r3_09_the_wait_for_the_peer_is_exact() -> Result<()> {
    for seconds in [3, 6] {
        let mut lab = Lab::up_with(|text| {
            text.replace("[cluster]\n", &format!("[cluster]\npeer_wait = \"{seconds}s\"\n"))
        })?;
        let active = lab.active()?;
        lab.pair.power_off(active)?;
        lab.wait_served_by(1 - active)?;
        lab.wait_mode(1 - active, "standalone")?;
        lab.pair.power_off(1 - active)?;
        lab.pair.power_on(1 - active)?;
        lab.wait_served_by(1 - active)?;
        let waited = from_start_to_bid(&lab, 1 - active)?;
        println!("WAITED | {seconds} s | {waited} ms |");
        let exact = seconds * 1_000..seconds * 1_000 + 400;
        ensure!(exact.contains(&waited), "it waited {waited} ms for the peer instead of {seconds} s");
        lab.one_writer()?;
    }
    Ok(())
}

/// Between the newest start and the first step of the takeover that followed, by the node's own history.
fn from_start_to_bid(lab: &Lab, index: usize) -> Result<u64> {
    let history: Value =
        serde_json::from_str(&lab.apctl(index, &["history", "--all", "--limit", "10000", "-o", "json"])?)?;
    let entries = history["entries"].as_array().context("no entries")?;
    let time = |entry: &Value| entry["boot_ns"].as_u64();
    let start = entries.iter().rposition(|entry| entry["code"] == "event.started").context("no start")?;
    let bid = entries[start..]
        .iter()
        .find(|entry| entry["code"] == "takeover.started" || entry["code"] == "bid.started");
    match (time(&entries[start]), bid.and_then(time)) {
        (Some(start), Some(bid)) => Ok((bid - start) / 1_000_000),
        found => bail!("{found:?} in {history}"),
    }
}
