//! What the lab tests share: a pair of their own, what its nodes tell, and what its clients saw.
//!
//! Each test builds a pair with real servers (about two seconds) and removes it, also when it panics. Tests run one
//! at a time on a machine, for they measure times on few cores; the lock is below the target folder.

#![allow(dead_code, reason = "each test program uses different parts of it")]

#[path = "../../lab/pair/mod.rs"]
pub mod pair;

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use pair::fault::{self, Fault, Target};
use pair::network::VIRTUAL;
use pair::setup::{self, Setup};
use pair::tools::{Tools, now_ns};
use pair::{Pair, Plan, record, server};

/// How long anything may take that is not itself measured.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// The lease bound of the default profile (0.52 s) and as much again for a loaded machine.
pub const BOUND_MS: u64 = 1_040;
/// How long a state that must not change is watched.
pub const WATCH: Duration = Duration::from_millis(2_500);

/// The server and the API of a node, in apd's hands.
pub const SERVICES: &str = "
[[service]]
name = \"database\"
unit = \"mariadb.service\"
order = 1

[[service]]
name = \"api\"
unit = \"api.service\"
order = 20
";

/// A pair for one test.
pub struct Lab {
    /// The pair.
    pub pair: Pair,
    began_ns: u64,
    _alone: Flock<File>,
}

impl Lab {
    /// A pair in service at `profile = "default"`.
    pub fn up() -> Result<Self> {
        Self::up_with(|text| text)
    }

    /// A pair in service, with a changed configuration.
    pub fn up_with(change: impl FnOnce(String) -> String) -> Result<Self> {
        let lab = Self::prepared(change)?;
        lab.bring_up()?;
        Ok(lab)
    }

    /// A pair in service on two machines that boot a real systemd, with everything that `make install` installs.
    pub fn booted() -> Result<Self> {
        Self::booted_with(|text| text)
    }

    /// The same, with a changed configuration.
    pub fn booted_with(change: impl FnOnce(String) -> String) -> Result<Self> {
        let lab = Self::booted_only(change)?;
        lab.bring_up()?;
        Ok(lab)
    }

    /// Two machines with a real systemd, their servers and APIs; no daemon has been started, no client writes.
    pub fn booted_only(change: impl FnOnce(String) -> String) -> Result<Self> {
        Self::build(change, true)
    }

    /// Starts the daemons and the clients of a prepared pair, and waits until it is in service and redundant.
    pub fn bring_up(&self) -> Result<()> {
        (0..2).try_for_each(|index| self.pair.start_daemon(index))?;
        self.pair.start_writers()?;
        self.pair.wait_serving(PATIENCE).with_context(|| self.pair.logs())?;
        self.pair.wait_redundant(PATIENCE).with_context(|| self.pair.logs())
    }

    /// Servers, accounts, replication and APIs are there; no daemon has been started, no client writes.
    pub fn prepared(change: impl FnOnce(String) -> String) -> Result<Self> {
        Self::build(change, false)
    }

    fn build(change: impl FnOnce(String) -> String, systemd: bool) -> Result<Self> {
        let tools = Tools::beside(Path::new(env!("CARGO_BIN_EXE_apd-lab")))?;
        let folder = tools.programs.parent().context("no target folder")?.join("lab");
        fs::create_dir_all(&folder)?;
        let alone = Flock::lock(File::create(folder.join("tests.lock"))?, FlockArg::LockExclusive);
        let alone = alone.map_err(|(_, error)| error)?;
        // Quick checks make short tests, and a timeout longer than the interval forgives a busy machine.
        let quick = "interval = \"100ms\"\ntimeout = \"300ms\"";
        let configuration = Some(change(setup::configuration("default", quick)));
        let pair = Pair::build(&tools, &Plan { configuration, systemd, ..Plan::new(Setup::ApdDefault) })?;
        pair.prepare().with_context(|| pair.logs())?;
        Ok(Self { pair, began_ns: now_ns(), _alone: alone })
    }

    /// Who serves the client now.
    pub fn active(&self) -> Result<usize> {
        self.pair.wait_serving(PATIENCE)
    }

    /// `apctl status -o json` of a node.
    pub fn status(&self, index: usize) -> Result<Value> {
        setup::status(&self.pair.tools, self.pair.nodes[index].machine()?)
    }

    /// The role that a node tells.
    pub fn role(&self, index: usize) -> Result<String> {
        Ok(self.status(index)?["node"]["role"].as_str().context("no role")?.to_owned())
    }

    /// The mode that a node tells.
    pub fn mode(&self, index: usize) -> Result<String> {
        Ok(self.status(index)?["node"]["mode"].as_str().context("no mode")?.to_owned())
    }

    /// The word in a node's mode file.
    pub fn mode_file(&self, index: usize) -> Result<String> {
        self.shell(index, "cat /var/lib/apd/mode").map(|text| text.trim().to_owned())
    }

    /// Runs `apctl`; its failure is an error with what it said.
    pub fn apctl(&self, index: usize, arguments: &[&str]) -> Result<String> {
        setup::apctl(&self.pair.tools, self.pair.nodes[index].machine()?, arguments)
    }

    /// Runs `apctl` and returns its exit code and what it said.
    pub fn apctl_code(&self, index: usize, arguments: &[&str]) -> Result<(i32, String)> {
        setup::apctl_code(&self.pair.tools, self.pair.nodes[index].machine()?, arguments)
    }

    /// Runs a shell line on a node.
    pub fn shell(&self, index: usize, line: &str) -> Result<String> {
        self.pair.nodes[index].machine()?.shell(line)
    }

    /// Runs a program in the network of the client.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Result<String> {
        pair::tools::run(self.pair.client().in_network(program).args(arguments))
    }

    /// Runs statements as root on a node.
    pub fn sql(&self, index: usize, statements: &str) -> Result<String> {
        server::statement(self.pair.nodes[index].machine()?, statements)
    }

    /// Whether a node's interface has the virtual address.
    pub fn holds_address(&self, index: usize) -> Result<bool> {
        Ok(self.shell(index, "ip -o -4 address show")?.contains(&format!(" {VIRTUAL}/24 ")))
    }

    /// Whether a node's server refuses writes.
    pub fn read_only(&self, index: usize) -> Result<bool> {
        Ok(self.sql(index, "SELECT @@read_only")? != "0")
    }

    /// Injects a fault of the active.
    pub fn inject(&mut self, fault: Fault, active: usize) -> Result<u64> {
        let at = now_ns();
        fault.inject(&mut self.pair, active)?;
        Ok(at)
    }

    /// Puts a fault right again.
    pub fn heal(&mut self, fault: Fault, active: usize) -> Result<()> {
        fault.heal(&mut self.pair, active)
    }

    /// Sends a signal to the processes of a node.
    pub fn signal(&self, index: usize, target: Target, signal: nix::sys::signal::Signal) -> Result<()> {
        fault::signal(&self.pair, index, target, signal)
    }

    /// Kills the processes of a node and waits until they are gone with all that they held.
    pub fn kill(&self, index: usize, target: Target) -> Result<()> {
        let processes = fault::processes(&self.pair, index, target)?;
        self.signal(index, target, nix::sys::signal::Signal::SIGKILL)?;
        self.eventually("the killed processes are gone", || {
            Ok(!processes.iter().any(|process| pair::machine::lives(process.number)))
        })
    }

    /// Waits until a condition holds; the error names it and carries the daemons' logs.
    pub fn eventually(&self, what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
        pair::wait(what, PATIENCE, done).with_context(|| self.pair.logs())
    }

    /// Waits until a node tells this role.
    pub fn wait_role(&self, index: usize, role: &str) -> Result<()> {
        let name = self.pair.nodes[index].name;
        self.eventually(&format!("{name} is {role}"), || Ok(self.role(index).is_ok_and(|word| word == role)))
    }

    /// Waits until a node tells this mode and its file says so.
    pub fn wait_mode(&self, index: usize, mode: &str) -> Result<()> {
        let name = self.pair.nodes[index].name;
        self.eventually(&format!("{name} is in mode {mode}"), || {
            Ok(self.mode(index).is_ok_and(|word| word == mode)
                && self.mode_file(index).is_ok_and(|word| word == mode))
        })
    }

    /// Waits until a node serves the client.
    pub fn wait_served_by(&self, index: usize) -> Result<()> {
        self.pair.wait_served_by(index, PATIENCE).with_context(|| self.pair.logs())
    }

    /// That this node keeps serving the client while it is watched.
    pub fn stays_served_by(&self, index: usize) -> Result<()> {
        let from = now_ns();
        std::thread::sleep(WATCH);
        let attempts = self.pair.attempts()?;
        let others = attempts
            .iter()
            .filter(|one| one.accepted() && one.start_ns > from && one.server as usize != index + 1)
            .count();
        ensure!(others == 0, "{others} writes were acknowledged by the other node\n{}", self.pair.logs());
        let gap = self.outage_ms("sql", from)?;
        ensure!(gap < BOUND_MS, "the client was not served for {gap} ms\n{}", self.pair.logs());
        Ok(())
    }

    /// The longest time since `from_ns` in which the client had no answer, ms.
    pub fn outage_ms(&self, lane: &str, from_ns: u64) -> Result<u64> {
        Ok(record::longest_gap_ns(&self.pair.attempts()?, lane, from_ns, now_ns()) / 1_000_000)
    }

    /// That the outage since `from_ns` over SQL and over the API was at most this long.
    pub fn outage_at_most(&self, from_ns: u64, limit_ms: u64) -> Result<()> {
        let (sql, api) = (self.outage_ms("sql", from_ns)?, self.outage_ms("api", from_ns)?);
        ensure!(
            sql <= limit_ms && api <= limit_ms,
            "out for {sql} ms (SQL), {api} ms (API)\n{}",
            self.pair.logs()
        );
        Ok(())
    }

    /// That no two servers acknowledged writes at once, ever since the start.
    pub fn one_writer(&self) -> Result<()> {
        let both = record::two_writers_ns(&self.pair.all_attempts()?, self.began_ns) / 1_000_000;
        ensure!(both == 0, "two servers acknowledged writes at once for {both} ms\n{}", self.pair.logs());
        Ok(())
    }

    /// That both nodes would decide the same again: `apctl replay` of what they recorded until now.
    pub fn replays(&self) -> Result<()> {
        for index in 0..2 {
            let text = self.apctl(index, &["replay"])?;
            let events: u64 = text.split(' ').next().unwrap_or_default().parse().context("no count")?;
            ensure!(events > 100 && text.trim_end().ends_with("actions: the same"), "{text}");
        }
        Ok(())
    }

    /// How many acknowledged writes a node does not have; the writers are stopped, and replication has ended.
    pub fn lost(&self, index: usize) -> Result<usize> {
        self.pair.stop_writers()?;
        Ok(record::lost(&self.pair.all_attempts()?, &self.pair.rows(index)?))
    }

    /// That a node has every acknowledged write. The writers are stopped.
    pub fn nothing_lost(&self, index: usize) -> Result<()> {
        self.pair.stop_writers()?;
        let all = self.pair.all_attempts()?;
        self.eventually("every acknowledged write is there", || {
            Ok(record::lost(&all, &self.pair.rows(index)?) == 0)
        })
    }

    /// Brings the pair back to (ap, ap) from the node that is in maintenance.
    pub fn rejoin(&self, index: usize) -> Result<()> {
        self.wait_mode(index, "maintenance")?;
        self.eventually(
            "the nodes hear each other",
            || Ok(self.status(index)?["peer"]["connected"] == true),
        )?;
        self.apctl(index, &["rejoin", "--yes"]).with_context(|| self.pair.logs())?;
        (0..2).try_for_each(|node| self.wait_mode(node, "ap"))?;
        self.pair.wait_redundant(PATIENCE).with_context(|| self.pair.logs())
    }

    /// The newest warnings of a node as one text.
    pub fn warnings(&self, index: usize) -> Result<String> {
        Ok(self.status(index)?["warnings"].to_string())
    }
}
