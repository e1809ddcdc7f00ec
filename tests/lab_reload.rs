//! The configuration is changed while clients write: `apctl reload`, SIGHUP, and what both refuse.
//! The names of the tests are the rows of the requirements that they prove.

#[path = "support/lab.rs"]
mod lab;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::Lab;
use lab::pair::fault::Target;
use lab::pair::tools::now_ns;
use nix::sys::signal::Signal;

const FILE: &str = "/etc/apd/apd.toml";

impl Lab {
    fn edit(&self, index: usize, change: &str) -> Result<String> {
        self.shell(index, &format!("sed -i '{change}' {FILE}"))
    }

    /// No attempt of the client since `from` failed, and there were many; all were acknowledged by one node.
    fn nothing_failed(&self, from: u64, active: usize) -> Result<()> {
        std::thread::sleep(Duration::from_millis(500));
        let attempts = self.pair.attempts()?;
        let fresh: Vec<_> = attempts.iter().filter(|one| one.start_ns > from).collect();
        ensure!(fresh.len() > 50, "only {} writes", fresh.len());
        let failed = fresh.iter().filter(|one| !one.accepted() || one.server as usize != active + 1).count();
        ensure!(failed == 0, "{failed} of {} writes failed\n{}", fresh.len(), self.pair.logs());
        Ok(())
    }
}

/// A check's interval is changed under load: the address stays, no request fails, and until the other node has the same
/// file the mismatch is shown. What cannot change in a run is named. A file with errors is refused whole.
#[test]
fn r2_11_reload_under_load() -> Result<()> {
    let lab = Lab::up()?;
    let (active, epoch) = (lab.active()?, lab.status(0)?["node"]["epoch"].clone());
    let from = now_ns();
    let (code, text) = lab.apctl_code(active, &["reload"])?;
    ensure!((code, text.contains("nothing has changed")) == (0, true), "{code}: {text}");

    lab.edit(active, "s/interval = \"100ms\"/interval = \"150ms\"/")?;
    let (code, text) = lab.apctl_code(active, &["reload"])?;
    ensure!(code == 0 && text.contains("check.api.interval: 100ms -> 150ms"), "{code}: {text}");
    for index in 0..2 {
        lab.eventually("the mismatch is shown", || {
            Ok(lab.status(index)?["peer"]["match"] == "Mismatch"
                && lab.warnings(index)?.contains("config diff --peer"))
        })?;
    }
    lab.edit(1 - active, "s/interval = \"100ms\"/interval = \"150ms\"/")?;
    lab.signal(1 - active, Target::Daemon, Signal::SIGHUP)?;
    for index in 0..2 {
        lab.eventually("both agree again", || Ok(lab.status(index)?["peer"]["match"] == "Match"))?;
    }

    let good = lab.shell(active, &format!("cat {FILE}"))?;
    lab.edit(
        active,
        "s/interval = \"150ms\"/interval = \"soon\"/; s/^\\[cluster\\]/[cluster]\\nprofil = 1/",
    )?;
    let (code, text) = lab.apctl_code(active, &["reload"])?;
    ensure!(code == 3, "a file with errors ended with {code}: {text}");
    for word in ["soon", "profil", "apd.toml:", "remedy:", "the old configuration stays"] {
        ensure!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
    lab.signal(active, Target::Daemon, Signal::SIGHUP)?;
    lab.eventually("the refusal of a signal's reload is in the history", || {
        let history = lab.apctl(active, &["history"])?;
        Ok(history.contains("config.refused") && history.contains("SIGHUP"))
    })?;
    ensure!(lab.status(active)?["peer"]["match"] == "Match", "a refused reload changed something");

    std::fs::write(lab.pair.nodes[active].disk.join("etc/apd/apd.toml"), good)?;
    lab.edit(
        active,
        "s/^\\[cluster\\]/[vrrp]\\nvirtual_router_id = 99\\n[cluster]/; s/^format = \"text\"/&\\nlevel = \"debug\"/",
    )?;
    let (code, text) = lab.apctl_code(active, &["reload"])?;
    ensure!(code == 7, "a key that needs a restart ended with {code}: {text}");
    for word in
        ["vrrp.virtual_router_id: 51 -> 99 (needs a restart)", "systemctl restart apd keeps the lease"]
    {
        ensure!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
    ensure!(lab.apctl(active, &["log-level"])?.trim() == "debug", "log.level is live");
    ensure!(lab.apctl(active, &["log-level", "warn"])?.trim() == "warn", "log-level sets");
    ensure!(lab.apctl(active, &["log-level"])?.trim() == "warn", "log-level shows");

    lab.nothing_failed(from, active)?;
    ensure!(lab.status(active)?["node"]["epoch"] == epoch, "a reload changed the epoch");
    ensure!(lab.role(active)? == "active" && lab.role(1 - active)? == "standby");
    ensure!(lab.holds_address(active)?);
    lab.one_writer()?;
    lab.replays()
}
