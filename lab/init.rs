//! Process 1 of a machine of the laboratory: it gives the machine its own folders, name and loopback, reaps what
//! dies, and ends (and with it everything in the machine) when the laboratory that owns it is gone.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What process 1 is told on its command line.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// The pair it belongs to; it tells this machine from those of other pairs.
    #[arg(long)]
    pair: String,
    /// The machine's host name.
    #[arg(long)]
    name: String,
    /// The machine's disk: it outlives a power-off. Without one the machine has only the network.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// A tree laid over `/usr`.
    #[arg(long)]
    overlay: Option<PathBuf>,
    /// Stay when the owner is gone (standard input is then not watched).
    #[arg(long)]
    persist: bool,
    /// A folder to remove when the owner is gone.
    #[arg(long)]
    remove: Option<PathBuf>,
}

/// Sets the machine up, reports its process number as seen from outside, and stays.
pub fn run(options: &Options) -> Result<()> {
    // The process number outside: `/proc` is still the one of the machine below.
    let outside = fs::read_link("/proc/self").context("/proc is not mounted")?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().context("cannot block SIGCHLD")?;
    nix::unistd::sethostname(&options.name).context("cannot set the host name")?;
    mount_kernel_folders()?;
    if let Some(disk) = &options.disk {
        mount_disk(disk, options.overlay.as_deref(), &options.name)?;
    }
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("cannot run ip")?;
    anyhow::ensure!(status.success(), "cannot raise the loopback device");
    tracing::debug!(pair = options.pair, name = options.name, "ready");
    println!("ready {}", outside.display());
    std::io::stdout().flush()?;
    if !options.persist {
        watch_owner(options.remove.clone());
    }
    loop {
        children.wait().context("sigwait")?;
        reap();
    }
}

/// Collects every child that has ended.
fn reap() {
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Ends the machine when standard input, a pipe held by the owner, is closed: also after `kill -9` of the owner.
fn watch_owner(remove: Option<PathBuf>) {
    std::thread::spawn(move || {
        let mut byte = [0u8; 1];
        while matches!(std::io::stdin().read(&mut byte), Ok(count) if count > 0) {}
        if let Some(folder) = remove {
            // The other machines of this laboratory end at the same moment; then the folder can go.
            for _ in 0..50 {
                std::thread::sleep(Duration::from_millis(50));
                if fs::remove_dir_all(&folder).is_ok() || !folder.exists() {
                    break;
                }
            }
        }
        std::process::exit(0);
    });
}

fn mount_kernel_folders() -> Result<()> {
    let none: Option<&str> = None;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("cannot mount /proc")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).context("cannot mount /sys")?;
    Ok(())
}

/// Gives the machine its own `/etc`, `/var`, `/opt`, `/run` and `/var/lib/mysql`, so that standard paths work.
fn mount_disk(disk: &Path, overlay: Option<&Path>, name: &str) -> Result<()> {
    let none: Option<&str> = None;
    if let Some(tree) = overlay {
        let options = format!("lowerdir={}:/usr", tree.display());
        mount(Some("overlay"), "/usr", Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))
            .context("cannot lay the unpacked tools over /usr")?;
    }
    for folder in ["etc", "var"] {
        let (upper, work) = (disk.join(folder), disk.join(format!("{folder}.work")));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!("lowerdir=/{folder},upperdir={},workdir={}", upper.display(), work.display());
        let target = format!("/{folder}");
        mount(Some("overlay"), target.as_str(), Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot lay the machine's own folder over /{folder}"))?;
    }
    for (own, target) in [("mysql", "/var/lib/mysql"), ("opt", "/opt"), ("log", "/var/log")] {
        let own = disk.join(own);
        fs::create_dir_all(&own)?;
        fs::create_dir_all(target)?;
        mount(Some(&own), target, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("cannot bind {target}"))?;
    }
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("cannot mount /run")?;
    for folder in ["/run/mysqld", "/run/apd", "/run/lock"] {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    fs::write("/etc/hostname", format!("{name}\n"))?;
    fs::write("/etc/hosts", format!("127.0.0.1 localhost\n127.0.1.1 {name}\n"))?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    if !groups.lines().any(|line| line.starts_with("apd:")) {
        fs::write("/etc/group", format!("{groups}apd:x:990:\n"))?;
    }
    Ok(())
}
