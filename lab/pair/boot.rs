//! Machines that boot a real systemd: systemd-nspawn inside a plain machine, with whose process 1 all of it ends.
//!
//! The distribution's tree (`lab/systemd/make-tree`) lies at the bottom, what `make install` puts in place above it,
//! the node's own disk on top. The network is that of the plain machine, so cables and switch are the same. nspawn
//! runs with the tree's own libraries, and nothing is registered with the machine that the lab runs on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::machine::{Blueprint, Machine};
use super::tools::{Tools, run};
use super::{server, wait};

/// How long systemd may take to begin, and to end its boot.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where a machine's control groups lie: one hierarchy of systemd's own, or the unified one.
const GROUPS: [&str; 3] = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// The unit of the application's API: started after the server, and stopped after apd.
const API: &str = "\
[Unit]
Description=API of the laboratory
After=network.target mariadb.service
Before=apd.service

[Service]
ExecStart=/usr/local/bin/apd-lab api
Restart=always
RestartSec=100ms

[Install]
WantedBy=multi-user.target
";

/// The lower layers of both nodes' disks.
pub struct Image {
    tree: PathBuf,
    installed: PathBuf,
}

impl Image {
    /// Installs this build, as `make install` does, into a layer in `folder`.
    pub fn make(tools: &Tools, folder: &Path) -> Result<Self> {
        let tree = tools.unpacked.with_file_name("systemd").join("tree");
        if !tree.is_dir() {
            bail!("{} is missing: run `make tree`", tree.display());
        }
        let installed = folder.join("installed");
        let (to, from) =
            (format!("DESTDIR={}", installed.display()), format!("PROGRAMS={}", tools.programs.display()));
        run(tools
            .command("make")
            .args(["--no-print-directory", "-s", "-C", env!("CARGO_MANIFEST_DIR")])
            .args(["install-built", &to, &from]))?;
        let programs = installed.join("usr/local/bin");
        fs::create_dir_all(&programs)?;
        fs::copy(tools.program("apd-lab"), programs.join("apd-lab"))?;
        Ok(Self { tree, installed })
    }

    /// Powers a machine on. systemd has begun when this returns; [`wait_booted`] waits for the end of the boot.
    pub fn boot(&self, tools: &Tools, blueprint: Blueprint<'_>) -> Result<Machine> {
        let disk = blueprint.disk.clone().context("a machine with systemd needs a disk")?;
        let (name, group) = (blueprint.name, group(blueprint.pair, blueprint.name));
        let beneath = Machine::power_on(tools, &Blueprint { disk: None, ..blueprint })?;
        for folder in ["upper", "work", "root"] {
            fs::create_dir_all(disk.join(folder))?;
        }
        let script = self.script(&disk, name, &group);
        beneath.start(&disk.join("log/boot.log"), "sh", &["-ec", &script])?;
        let mut process = None;
        let begun = wait("systemd begins", PATIENCE, || {
            process = init_beneath(&beneath);
            Ok(process.is_some())
        });
        let log = || fs::read_to_string(disk.join("log/boot.log")).unwrap_or_default();
        let process = begun.with_context(log).map(|()| process)?.context("systemd is gone")?;
        let mut machine = Machine::attach(tools, name, process);
        machine.beneath = Some(Box::new(beneath));
        Ok(machine)
    }

    /// Runs in the namespaces of the plain machine, so its mounts are gone with that.
    fn script(&self, disk: &Path, name: &str, group: &str) -> String {
        let (tree, installed, disk) = (self.tree.display(), self.installed.display(), disk.display());
        let libraries = format!("{tree}/usr/lib/x86_64-linux-gnu");
        let libraries = match self.tree.join("usr/lib/aarch64-linux-gnu").is_dir() {
            true => libraries.replace("x86_64", "aarch64"),
            false => libraries,
        };
        let loader = match self.tree.join("lib64/ld-linux-x86-64.so.2").exists() {
            true => format!("{tree}/lib64/ld-linux-x86-64.so.2"),
            false => format!("{tree}/lib/ld-linux-aarch64.so.1"),
        };
        // A machine hides the control groups beneath its own /sys. Each needs a group of its own, or two machines
        // would take the units of one for those of the other.
        format!(
            "umount /sys\n\
             for base in {}; do\n\
               [ -e $base/cgroup.procs ] || continue\n\
               mkdir -p $base/{group}; echo $$ >$base/{group}/cgroup.procs\n\
             done\n\
             mount -t overlay overlay -o lowerdir={installed}:{tree},upperdir={disk}/upper,workdir={disk}/work {disk}/root\n\
             exec {loader} --library-path {libraries}:{libraries}/systemd {tree}/usr/bin/systemd-nspawn --quiet \
               --directory={disk}/root --boot --register=no --keep-unit --console=pipe --hostname={name} \
               --network-namespace-path=/proc/1/ns/net --capability=CAP_NET_ADMIN,CAP_IPC_LOCK\n",
            GROUPS.join(" ")
        )
    }
}

/// Puts a node's own files onto its disk: what an operator writes before the first boot.
pub fn install(disk: &Path, index: usize, configuration: String) -> Result<()> {
    let etc = disk.join("upper/etc");
    let wanted = etc.join("systemd/system");
    for folder in [
        etc.join("apd"),
        etc.join("mysql/mariadb.conf.d"),
        wanted.clone(),
        disk.join("upper/var/log/journal"),
    ] {
        fs::create_dir_all(folder)?;
    }
    // Lines go to the journal, as they do by default.
    fs::write(etc.join("apd/apd.toml"), configuration.replace("format = \"text\"", "format = \"journald\""))?;
    fs::write(etc.join("mysql/mariadb.conf.d/90-apd.cnf"), server::drop_in(index as u8 + 1))?;
    fs::write(wanted.join("api.service"), API)?;
    // With one of its own a machine boots for the first time but once, and enables nothing by itself.
    fs::write(etc.join("machine-id"), format!("{:032x}\n", 0xa9d0 + index))?;
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n")?;
    for timer in [
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "e2scrub_all.timer",
        "fstrim.timer",
        "dpkg-db-backup.timer",
    ] {
        symlink("/dev/null", wanted.join(timer))?;
    }
    Ok(())
}

/// Waits until the boot has ended, and says how long it took by systemd's own account.
pub fn wait_booted(machine: &Machine) -> Result<String> {
    wait("the boot ends", PATIENCE, || {
        let state = machine.shell("systemctl is-system-running || true")?;
        Ok(["running", "degraded"].contains(&state.trim()))
    })?;
    machine.shell("systemd-analyze time | head -n 1").map(|line| line.trim().to_owned())
}

/// The control group of a machine, below each of [`GROUPS`].
fn group(pair: &str, name: &str) -> String {
    format!("apd-lab-{pair}-{name}")
}

/// Removes the control groups that the machines of a pair have left behind.
pub fn remove_groups(pair: &str) {
    for base in GROUPS.iter().filter(|base| Path::new(base).join("cgroup.procs").exists()) {
        for name in ["db1", "db2"] {
            let group = Path::new(base).join(group(pair, name));
            if group.is_dir() {
                // The deepest first; a group that is in use stays.
                let _removed = Command::new("find")
                    .arg(group)
                    .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
                    .output();
            }
        }
    }
}

/// The process 1 of the machine within a plain machine, numbered outside: it has a process namespace of its own, and
/// has become systemd.
fn init_beneath(beneath: &Machine) -> Option<i32> {
    let spawner =
        beneath.processes().into_iter().find(|process| process.command.contains("systemd-nspawn"))?;
    let own = fs::read_link(format!("/proc/{}/ns/pid", beneath.process)).ok()?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let parent: i32 = rest.split(' ').nth(1)?.parse().ok()?;
        let inside = fs::read_link(entry.path().join("ns/pid")).is_ok_and(|space| space != own);
        (parent == spawner.number && inside && head.ends_with("(systemd")).then_some(number)
    })
}
