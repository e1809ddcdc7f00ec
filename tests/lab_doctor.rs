//! What `apctl doctor`, `config diff --peer` and `bundle` say of a real pair, whole and with single paths blocked.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use serde_json::Value;

impl Lab {
    /// What the doctor finds on this node, each as `GRADE AREA: TEXT -> REMEDY`.
    fn doctor(&self, index: usize, arguments: &[&str]) -> Result<(i32, Vec<String>)> {
        let words = [&["doctor", "-o", "json"][..], arguments].concat();
        let (code, text) = self.apctl_code(index, &words)?;
        let value: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let nodes = value["nodes"].as_array().context("no nodes")?;
        let symptoms = nodes.iter().flat_map(|node| node["symptoms"].as_array().into_iter().flatten());
        let word = |symptom: &Value, name: &str| symptom[name].as_str().unwrap_or_default().to_owned();
        let lines = symptoms.map(|symptom| {
            let (grade, area) = (word(symptom, "grade"), word(symptom, "area"));
            format!("{grade} {area}: {} -> {}", word(symptom, "text"), word(symptom, "remedy"))
        });
        Ok((code, lines.collect()))
    }

    fn eventually_finds(&self, index: usize, grade: &str, part: &str) -> Result<()> {
        let mut last = Vec::new();
        let found = self.eventually(&format!("the doctor says {grade}: {part}"), || {
            last = self.doctor(index, &[])?.1;
            Ok(last.iter().any(|line| line.starts_with(grade) && line.contains(part)))
        });
        found.with_context(|| last.join("\n"))
    }

    /// Drops what matches, in both directions, on one node.
    fn block(&self, index: usize, matches: &str) -> Result<String> {
        self.shell(
            index,
            &format!(
                "nft add table ip blocked
                 nft 'add chain ip blocked in {{ type filter hook input priority -10; }}'
                 nft 'add chain ip blocked out {{ type filter hook output priority -10; }}'
                 nft add rule ip blocked in {matches} drop
                 nft add rule ip blocked out {matches} drop"
            ),
        )
    }

    fn unblock(&self, index: usize) -> Result<String> {
        self.shell(index, "nft delete table ip blocked")
    }
}

/// Each path on its own: ICMP alone is no fault, VRRP alone is named before it matters, and so is the peer port.
#[test]
fn r0_32_r1_05_r1_06_r3_03_the_doctor_tells_which_path_is_blocked() -> Result<()> {
    let lab = Lab::up()?;
    let (active, standby) = (lab.active()?, 1 - lab.active()?);
    let (_, well) = lab.doctor(standby, &["--peer"])?;
    for part in [
        "good configuration: /etc/apd/apd.toml is valid, and is what runs",
        "good privileges: apd has the four capabilities",
        "privileges: SELinux",
        "good gate: ",
        "good database: no account of an application bypasses read_only",
        "good network: peer link (TCP 7411) answers in",
        "good network: MariaDB (TCP 3306) answers in",
        "answers ICMP echo in",
        "answers ARP in",
        "good network: the active's advertisements arrive",
        "good network: 10.77.0.100 on the active is answered for",
        "good network: packets of full size pass",
        "packets of 1500 bytes",
        "timing: a real-time thread wakes at most",
        "good clock: the peer's clock is",
        "good pair: both nodes have the same shared configuration",
        "ip protocol 112 accept",
        "this node advertises; whether it is heard the other one knows",
    ] {
        ensure!(well.iter().any(|line| line.contains(part)), "`{part}` is missing in:\n{}", well.join("\n"));
    }
    ensure!(!well.iter().any(|line| line.starts_with("error")), "{}", well.join("\n"));

    lab.block(standby, "meta l4proto icmp")?;
    lab.eventually_finds(standby, "note network", "only ICMP is blocked between the nodes")?;
    lab.unblock(standby)?;

    lab.block(standby, "meta l4proto 112")?;
    lab.eventually_finds(standby, "error network", "advertisements blocked")?;
    lab.eventually("status warns of it too", || Ok(lab.warnings(standby)?.contains("vrrp.blocked")))?;
    ensure!(lab.role(active)? == "active" && lab.role(standby)? == "standby", "one path is enough");
    let (code, _) = lab.doctor(standby, &[])?;
    ensure!(code == 1, "an error ended with {code}");
    lab.unblock(standby)?;
    lab.eventually("it is gone", || Ok(!lab.warnings(standby)?.contains("vrrp.blocked")))?;

    lab.block(standby, "tcp dport 7411")?;
    lab.eventually_finds(standby, "error network", "peer link (TCP 7411) is blocked, other packets pass")?;
    let (code, _) = lab.apctl_code(standby, &["config", "diff", "--peer"])?;
    ensure!(code == 9, "a peer that cannot be asked ended with {code}");
    lab.unblock(standby)?;
    lab.one_writer()
}

/// A key that differs is named with both values and both places; the bundle carries everything but secrets.
#[test]
fn r1_64_drift_is_named_and_the_bundle_has_no_secret() -> Result<()> {
    let lab = Lab::up()?;
    let (code, text) = lab.apctl_code(0, &["config", "diff", "--peer"])?;
    ensure!(code == 0 && text.contains("no key differs"), "{code}: {text}");
    lab.shell(1, "sed -i 's/max_failovers_per_hour = 1000/max_failovers_per_hour = 7/' /etc/apd/apd.toml")?;
    let (code, text) = lab.apctl_code(1, &["config", "diff"])?;
    ensure!(code == 7 && text.contains("cluster.max_failovers_per_hour"), "{code}: {text}");
    lab.eventually_finds(1, "warning configuration", "cluster.max_failovers_per_hour")?;
    lab.apctl(1, &["reload"])?;
    let (code, text) = lab.apctl_code(0, &["config", "diff", "--peer"])?;
    ensure!(code == 7, "a difference ended with {code}: {text}");
    for part in [
        "cluster.max_failovers_per_hour",
        "db1",
        "1000 # /etc/apd/apd.toml:",
        "db2",
        "7 # /etc/apd/apd.toml:",
    ] {
        ensure!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    lab.eventually_finds(0, "warning pair", "cluster.max_failovers_per_hour is 1000 here and 7 on the peer")?;

    lab.apctl(0, &["bundle", "/var/lib/apd/bundle.tar.gz"])?;
    let names =
        lab.shell(0, "cd /var/lib/apd && tar -xzf bundle.tar.gz && cd apd-bundle-* && find . -type f")?;
    for name in [
        "status.json",
        "doctor.json",
        "history.json",
        "configuration.toml",
        "peer-configuration.json",
        "recording/",
    ] {
        ensure!(names.contains(name), "`{name}` is missing in:\n{names}");
    }
    let found = lab.shell(
        0,
        // The newest part of the recording is still being written: what of it can be read is read.
        "cd /var/lib/apd/apd-bundle-*
         for part in recording/*; do gzip -dc < $part > $part.plain 2>/dev/null || true; done
         for file in /etc/apd/*.password; do [ -s $file ] || exit 3; grep -rlF \"$(cat $file)\" . || true; done
         find recording -name '*.plain' -size +0 | wc -l",
    )?;
    ensure!(found.trim().parse::<u32>().is_ok_and(|recordings| recordings > 0), "a secret is in: {found}");
    let (code, _) = lab.apctl_code(0, &["bundle", "/var/lib/apd/bundle.tar.gz"])?;
    ensure!(code == 1, "a bundle was written over another");
    Ok(())
}
