//! Checks that need a whole host: units of a real systemd. The names of the tests are the rows of the requirements
//! that they prove.

#[path = "support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::Lab;
use serde_json::Value;

/// Asked once an hour: whatever changes sooner was told by systemd.
const UNIT: &str = "
[[check]]
name = \"site\"
type = \"unit\"
unit = \"site.service\"
interval = \"1h\"
timeout = \"2s\"
weight = -10
rise = 1

[[check]]
name = \"whoami\"
type = \"command\"
argv = [\"/usr/bin/grep\", \"^CapEff\", \"/proc/self/status\"]
";

fn check(lab: &Lab, index: usize, name: &str) -> Result<Value> {
    let status = lab.status(index)?;
    let checks = status["node"]["checks"].as_array().context("no checks")?;
    checks.iter().find(|check| check["name"] == name).cloned().context("no check of that name")
}

fn wait_site(lab: &Lab, index: usize, ok: bool, detail: &str) -> Result<()> {
    lab.eventually(&format!("the unit is {detail}"), || {
        let check = check(lab, index, "site")?;
        Ok(check["ok"] == ok && check["detail"] == detail)
    })
}

/// A unit that stops, fails and starts again is known at once, by a daemon that is not root; a command has none of its
/// capabilities.
#[test]
fn r0_08_a_unit_is_told_by_systemd() -> Result<()> {
    let lab = Lab::booted_with(|text| text + UNIT)?;
    let active = lab.active()?;
    wait_site(&lab, active, false, "inactive (dead)")?;
    lab.shell(
        active,
        "printf '[Service]\\nExecStart=/usr/bin/sleep infinity\\n' >/run/systemd/system/site.service; \
         systemctl daemon-reload; systemctl start site",
    )?;
    wait_site(&lab, active, true, "active (running)")?;
    lab.shell(active, "systemctl kill --signal=KILL site")?;
    wait_site(&lab, active, false, "failed (failed)")?;
    lab.shell(active, "systemctl reset-failed site; systemctl start site")?;
    wait_site(&lab, active, true, "active (running)")?;
    lab.shell(active, "systemctl stop site")?;
    wait_site(&lab, active, false, "inactive (dead)")?;
    let command = check(&lab, active, "whoami")?;
    ensure!(command["ok"] == true, "{command}");
    ensure!(command["detail"] == "CapEff: 0000000000000000", "apd's capabilities are handed down: {command}");
    // The weight alone, with the peer's unit just as dead, moves nothing.
    lab.stays_served_by(active)?;
    ensure!(lab.role(active)? == "active", "the role was given up");
    lab.one_writer()
}
