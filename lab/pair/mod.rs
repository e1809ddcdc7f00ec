//! A pair on one machine: two nodes with real MariaDB servers, an API each, the daemons of a set-up, a switch, and
//! clients that write through the virtual address. Used by `apd-lab` and, as the same source, by the lab tests.

#![allow(dead_code, reason = "the tool and each test program use different parts of it")]

pub mod boot;
pub mod fault;
pub mod machine;
pub mod network;
pub mod record;
pub mod run;
pub mod server;
pub mod setup;
pub mod sweep;
pub mod tools;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use boot::Image;
use machine::{Blueprint, Machine};
use network::{Switch, VIRTUAL, hardware_address};
use record::Attempt;
use setup::Setup;
use tools::{Tools, now_ns};

/// How long any one step of building a pair may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The clients and the last parts of their addresses.
const CLIENTS: [(&str, u8); 3] = [("client", 10), ("pinned1", 11), ("pinned2", 12)];

/// A node of the pair.
pub struct Node {
    /// `db1` or `db2`.
    pub name: &'static str,
    /// The node's files; they outlive a power-off.
    pub disk: PathBuf,
    /// The machine while it is powered on.
    pub machine: Option<Machine>,
}

impl Node {
    /// The machine, or an error that names the node when it is powered off.
    pub fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().with_context(|| format!("{} is powered off", self.name))
    }
}

/// What a pair is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What holds it together.
    pub setup: Setup,
    /// Its unique name.
    pub name: String,
    /// Whether it outlives this process.
    pub persist: bool,
    /// The configuration of `apd`, if it is not the set-up's own.
    pub configuration: Option<String>,
    /// Whether the nodes boot a real systemd, with the units of this source installed.
    pub systemd: bool,
}

impl Plan {
    /// A pair with a name of its own that ends with this process.
    pub fn new(setup: Setup) -> Self {
        Self { setup, name: Pair::unique_name(), persist: false, configuration: None, systemd: false }
    }
}

/// A running pair.
pub struct Pair {
    /// Its unique name.
    pub name: String,
    /// Its folder in memory.
    pub folder: PathBuf,
    /// Where the programs are.
    pub tools: Tools,
    /// What holds it together.
    pub setup: Setup,
    /// `db1`, `db2`.
    pub nodes: [Node; 2],
    /// The network between the machines.
    pub switch: Switch,
    clients: Vec<Machine>,
    persist: bool,
    systemd: Option<Image>,
}

impl Pair {
    /// A name that no other pair on this machine has.
    pub fn unique_name() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Builds machines and cables, nothing runs on them yet.
    pub fn build(tools: &Tools, plan: &Plan) -> Result<Self> {
        let Plan { setup, name, persist, configuration, systemd } = plan;
        let (setup, persist) = (*setup, *persist);
        tools.require(&["mariadbd", "mariadb", "mariadb-install-db", "nft", "ip", "nsenter", "unshare"])?;
        sweep::stale();
        let folder = sweep::folder(name);
        if folder.exists() {
            bail!("a pair named {name} exists: `apd-lab down {name}`");
        }
        fs::create_dir_all(&folder)?;
        sweep::write_owner(&folder, persist)?;
        let on = |machine: &str, disk: Option<PathBuf>, remove: Option<PathBuf>| {
            Machine::power_on(tools, &Blueprint { name: machine, pair: name, disk, persist, remove })
        };
        let switch = Switch::build(on("switch", None, Some(folder.clone()))?)?;
        let mut clients = Vec::new();
        for (client, octet) in CLIENTS {
            let machine = on(client, None, None)?;
            switch.plug(&machine, octet)?;
            clients.push(machine);
        }
        let nodes = ["db1", "db2"].map(|name| Node { name, disk: folder.join(name), machine: None });
        let mut pair = Self {
            name: name.to_owned(),
            tools: tools.clone(),
            setup,
            nodes,
            switch,
            clients,
            persist,
            systemd: None,
            folder,
        };
        if *systemd {
            pair.systemd = Some(Image::make(tools, &pair.folder)?);
        }
        pair.pin_clients()?;
        for index in 0..2 {
            let disk = pair.nodes[index].disk.clone();
            fs::create_dir_all(disk.join("log"))?;
            if *systemd {
                boot::install(&disk, index, configuration.clone().unwrap_or_else(|| setup.configuration()))?;
            } else {
                let extra = setup.server_extra(tools, index)?;
                server::install(tools, &disk, setup.template(), index as u8 + 1, extra.as_deref())?;
                setup.install(tools, &disk, index, configuration.as_deref())?;
            }
            pair.plug_in(index)?;
        }
        pair.write_state()?;
        Ok(pair)
    }

    /// Builds a pair and brings it into service: the first node active, the second following, writers on.
    pub fn up(tools: &Tools, plan: &Plan) -> Result<Self> {
        let pair = Self::build(tools, plan)?;
        pair.prepare()?;
        for index in 0..2 {
            pair.start_daemon(index)?;
        }
        pair.start_writers()?;
        pair.wait_serving(PATIENCE).with_context(|| pair.logs())?;
        pair.wait_redundant(PATIENCE).with_context(|| pair.logs())?;
        Ok(pair)
    }

    /// Everything before the daemons: servers, accounts and replication, the APIs.
    pub fn prepare(&self) -> Result<()> {
        if self.systemd.is_some() {
            self.nodes.iter().try_for_each(|node| boot::wait_booted(node.machine()?).map(|_| ()))?;
        }
        self.start_servers()?;
        let machines = [self.nodes[0].machine()?, self.nodes[1].machine()?];
        self.setup.bootstrap(&self.tools, machines)?;
        self.start_apis()
    }

    /// Powers a node's machine on and plugs its cable in; nothing is started on it, except by its own systemd.
    fn plug_in(&mut self, index: usize) -> Result<()> {
        self.power_on_without_cable(index)?;
        self.switch.plug(self.nodes[index].machine()?, index as u8 + 1)
    }

    /// Powers a node's machine on; it has no interface until [`Switch::plug`].
    pub fn power_on_without_cable(&mut self, index: usize) -> Result<()> {
        let (name, disk) = (self.nodes[index].name, self.nodes[index].disk.clone());
        let blueprint =
            Blueprint { name, pair: &self.name, disk: Some(disk), persist: self.persist, remove: None };
        let machine = match &self.systemd {
            Some(image) => image.boot(&self.tools, blueprint)?,
            None => Machine::power_on(&self.tools, &blueprint)?,
        };
        self.nodes[index].machine = Some(machine);
        Ok(())
    }

    /// Starts both servers and waits until both answer.
    pub fn start_servers(&self) -> Result<()> {
        for node in &self.nodes {
            server::start(node.machine()?, &node.disk)?;
        }
        self.nodes.iter().try_for_each(|node| server::wait_ready(node.machine()?, &node.disk, PATIENCE))
    }

    fn start_apis(&self) -> Result<()> {
        (0..2).try_for_each(|index| self.start_api(index))?;
        (0..2).try_for_each(|index| self.wait_api(index))
    }

    /// Starts a node's API.
    pub fn start_api(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        if node.machine()?.has_systemd() {
            return node.machine()?.shell("systemctl enable --now api 2>&1").map(|_| ());
        }
        let program = self.tools.program("apd-lab").display().to_string();
        node.machine()?.start(
            &node.disk.join("log/api.log"),
            &program,
            &["api", "--pid-file", "/run/api.pid"],
        )
    }

    fn wait_api(&self, index: usize) -> Result<()> {
        let line = "curl -sf -m 1 -o /dev/null http://127.0.0.1:8080/health";
        wait("the API answers", PATIENCE, || Ok(self.nodes[index].machine()?.shell(line).is_ok()))
    }

    /// Starts a node's server and waits until it answers.
    pub fn start_server(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        server::start(node.machine()?, &node.disk)?;
        server::wait_ready(node.machine()?, &node.disk, PATIENCE)
    }

    /// Starts a node's daemon.
    pub fn start_daemon(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        self.setup.start_daemon(&self.tools, node.machine()?, &node.disk)
    }

    /// Cuts a node's power: everything in it stops at once, the carrier goes, and it dies without a word.
    pub fn power_off(&mut self, index: usize) -> Result<()> {
        let name = self.nodes[index].name;
        if let Some(machine) = &self.nodes[index].machine {
            machine.freeze();
        }
        self.switch.port(name, false)?;
        if let Some(mut machine) = self.nodes[index].machine.take() {
            machine.power_off();
        }
        // The port may have gone with the machine's end of the cable.
        let _already_gone = self.switch.unplug(name);
        Ok(())
    }

    /// Powers a node on again and starts what starts at boot: the server, the API, the daemon.
    pub fn power_on(&mut self, index: usize) -> Result<()> {
        self.plug_in(index)?;
        if self.systemd.is_some() {
            return Ok(());
        }
        self.start_server(index)?;
        self.start_api(index)?;
        self.wait_api(index)?;
        self.start_daemon(index)
    }

    /// Each pinned client sends what is for the virtual address to one node, whoever holds the address: it is the
    /// client with an old ARP entry, which finds out whether a node still answers.
    fn pin_clients(&self) -> Result<()> {
        for (index, client) in self.clients.iter().skip(1).enumerate() {
            let hardware = hardware_address(index as u8 + 1);
            network::batch(
                client,
                &format!("neighbour replace {VIRTUAL} lladdr {hardware} nud permanent dev eth0\n"),
            )?;
        }
        Ok(())
    }

    /// Starts the writers: one that follows the address, and two that are pinned to one node each.
    pub fn start_writers(&self) -> Result<()> {
        let program = self.tools.program("apd-lab").display().to_string();
        for (index, client) in self.clients.iter().enumerate() {
            let log = self.record_path(index);
            let first = (index as u64 + 1) * 1_000_000_000_000;
            let mut lanes = vec![format!("sql=sql@{VIRTUAL}:3306"), format!("api=api@{VIRTUAL}:8080")];
            let mut period = "5";
            if index > 0 {
                period = "25";
                lanes = vec![
                    format!("pinned-sql-{index}=sql@{VIRTUAL}:3306"),
                    format!("pinned-api-{index}=api@{VIRTUAL}:8080"),
                    format!("direct-sql-{index}=sql@10.77.0.{index}:3306"),
                ];
            }
            let (first, log) = (first.to_string(), log.display().to_string());
            let mut arguments = vec!["writer", "--log", &log, "--period", period, "--first", &first];
            if index == 0 {
                arguments.push("--race");
            }
            lanes.iter().for_each(|lane| arguments.extend(["--lane", lane.as_str()]));
            client.start(&self.folder.join(format!("writer-{index}.log")), &program, &arguments)?;
        }
        Ok(())
    }

    /// The machine of the client that follows the address.
    pub fn client(&self) -> &Machine {
        &self.clients[0]
    }

    /// Stops the writers; their records are complete afterwards.
    pub fn stop_writers(&self) -> Result<()> {
        for client in &self.clients {
            let writers = client.find("apd-lab", "writer");
            client.signal(&writers, nix::sys::signal::Signal::SIGTERM)?;
            wait("the writers end", PATIENCE, || Ok(client.find("apd-lab", "writer").is_empty()))?;
        }
        Ok(())
    }

    fn record_path(&self, index: usize) -> PathBuf {
        self.folder.join(format!("record-{index}"))
    }

    /// The records of the client that follows the address.
    pub fn attempts(&self) -> Result<Vec<Attempt>> {
        record::read(&self.record_path(0))
    }

    /// The records of all clients.
    pub fn all_attempts(&self) -> Result<Vec<Attempt>> {
        let mut all = self.attempts()?;
        for index in 1..CLIENTS.len() {
            all.extend(record::read(&self.record_path(index))?);
        }
        Ok(all)
    }

    /// Which node acknowledged the newest write, if one was acknowledged in the last 300 ms in each of both lanes.
    pub fn serving(&self) -> Result<Option<usize>> {
        self.serving_since(0)
    }

    /// The same, of writes that were acknowledged at `earliest` or later.
    fn serving_since(&self, earliest: u64) -> Result<Option<usize>> {
        let since = now_ns().saturating_sub(300_000_000).max(earliest);
        let attempts = record::read_end(&self.record_path(0))?;
        let newest = |lane: &str| {
            attempts.iter().rev().find(|one| one.accepted() && one.lane == lane && one.end_ns >= since)
        };
        let (Some(sql), Some(api)) = (newest("sql"), newest("api")) else { return Ok(None) };
        Ok((sql.server == api.server).then_some(sql.server as usize - 1))
    }

    /// Waits until the client writes through the virtual address over both ways; returns the active node.
    pub fn wait_serving(&self, limit: Duration) -> Result<usize> {
        let (mut active, begun) = (None, now_ns());
        wait("the client can write", limit, || {
            active = self.serving_since(begun)?;
            Ok(active.is_some())
        })?;
        active.context("nobody serves")
    }

    /// Waits until this node serves the client.
    pub fn wait_served_by(&self, index: usize, limit: Duration) -> Result<()> {
        let (name, begun) = (self.nodes[index].name, now_ns());
        wait(&format!("{name} serves the client"), limit, || Ok(self.serving_since(begun)? == Some(index)))
    }

    /// Waits until the node that does not serve follows the other one and, with `apd`, may take over.
    pub fn wait_redundant(&self, limit: Duration) -> Result<()> {
        wait("the standby follows and may take over", limit, || {
            let Some(active) = self.serving()? else { return Ok(false) };
            let standby = self.nodes[1 - active].machine()?;
            let fields = server::replica(standby)?;
            let runs = |name: &str| fields.get(name).is_some_and(|state| state == "Yes");
            if !runs("Slave_IO_Running") || !runs("Slave_SQL_Running") {
                return Ok(false);
            }
            if !self.setup.is_apd() {
                return Ok(true);
            }
            setup::may_take_over(&self.tools, standby, self.nodes[active].machine()?)
        })
    }

    /// The identities that a node's server has.
    pub fn rows(&self, index: usize) -> Result<HashSet<u64>> {
        let text = server::statement(self.nodes[index].machine()?, "SELECT id FROM appdb.writes")?;
        text.lines().map(|line| line.parse().with_context(|| line.to_owned())).collect()
    }

    /// The state of both nodes.
    pub fn state(&self) -> Value {
        let one = |node: &Node| match &node.machine {
            Some(machine) => self.setup.state(&self.tools, machine),
            None => json!({"on": false}),
        };
        json!({"db1": one(&self.nodes[0]), "db2": one(&self.nodes[1])})
    }

    /// The last lines of the daemons' logs, for a message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            if let Some(machine) = node.machine.as_ref().filter(|machine| machine.has_systemd()) {
                let line = "journalctl -o short-precise --no-hostname -n 60 --no-pager 2>&1";
                text.push_str(&format!(
                    "--- {} journal\n{}\n",
                    node.name,
                    machine.shell(line).unwrap_or_default()
                ));
            }
            for log in ["boot.log", "apd.log", "keepalived.log", "notify.log", "api.log", "mysqld.out"] {
                let Ok(lines) = fs::read_to_string(node.disk.join("log").join(log)) else { continue };
                let tail: Vec<&str> = lines.lines().rev().take(25).collect();
                text.push_str(&format!("--- {} {log}\n", node.name));
                tail.iter().rev().for_each(|line| text.push_str(&format!("{line}\n")));
            }
        }
        text
    }

    /// Copies both nodes' logs and the clients' records out of the pair's folder, for a look at what went wrong.
    fn keep_logs(&self, folder: &std::path::Path) {
        let copy = |from: PathBuf, to: PathBuf| {
            let made = fs::create_dir_all(&to);
            let copied =
                made.and_then(|()| std::process::Command::new("cp").arg("-a").arg(from).arg(to).status());
            if let Err(error) = copied {
                eprintln!("cannot keep logs in {}: {error}", folder.display());
            }
        };
        for node in &self.nodes {
            copy(node.disk.join("log"), folder.join(node.name));
            copy(node.disk.join("var/lib/apd"), folder.join(node.name));
        }
        copy(self.record_path(0), folder.to_path_buf());
    }

    fn write_state(&self) -> Result<()> {
        let mut machines: Vec<&Machine> = self.clients.iter().collect();
        machines.push(&self.switch.machine);
        machines.extend(self.nodes.iter().filter_map(|node| node.machine.as_ref()));
        let processes: serde_json::Map<String, Value> =
            machines.into_iter().map(|machine| (machine.name.clone(), json!(machine.process))).collect();
        let text = json!({"name": self.name, "setup": self.setup.word(), "machines": processes});
        Ok(fs::write(self.folder.join("lab.json"), text.to_string())?)
    }

    /// Lets the pair live on when this value is dropped.
    pub fn leave(mut self) {
        self.persist = true;
        self.switch.machine.leave();
        self.clients.iter_mut().for_each(Machine::leave);
        self.nodes.iter_mut().filter_map(|node| node.machine.as_mut()).for_each(Machine::leave);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.persist {
            return;
        }
        for node in &mut self.nodes {
            node.machine.take();
        }
        if let Some(folder) = std::env::var_os("APD_LAB_KEEP_LOGS") {
            self.keep_logs(&PathBuf::from(folder).join(&self.name));
        }
        self.clients.clear();
        self.switch.machine.power_off();
        boot::remove_groups(&self.name);
        // Left over it would be swept by the next pair.
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// Waits until `done` says so, looking every 10 ms; the error names what was waited for.
pub fn wait(what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done().with_context(|| format!("while waiting until {what}"))? {
        if Instant::now() > deadline {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
