//! The gate process, `apd-gate`: sole writer of the gate and of the virtual addresses (DESIGN.md section 3).
//!
//! * The gate is a pair of nftables tables ([`tables`]) that are shut unless an element with a timeout lives:
//!   packets to and from the virtual addresses, packets of other hosts than the peer to and from the gated
//!   ports, and ARP for the virtual addresses.
//! * The daemon hands over lease ends; the element is written so that it never outlives them by more than a
//!   slice, whatever this process or the host is held up by ([`lease`]).
//! * At the end of a lease, or when told to close: element, connections, addresses, in this order
//!   ([`kernel`]); at a lease's end the database too ([`fence`]). Never because the daemon is gone.
//! * Killed with SIGKILL or SIGTERM it leaves everything as it is: a new one within the lease goes on where it
//!   stopped, and without one the kernel shuts the gate at the lease's end and drops the address 2 s later.

pub mod fence;
pub mod kernel;
pub mod lease;
pub mod local;
pub mod plan;
pub mod process;
pub mod server;
pub mod tables;

pub use local::{Outcome, local_fence, remove_everything};

use crate::config::checked::Config;
use crate::io::sys;
use anyhow::Context;
use fence::Fence;
use kernel::Kernel;
use nix::fcntl::{Flock, FlockArg};
use plan::Plan;
use process::Process;
use server::Server;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Above the daemon's thread: a renewal that came is written before the next is made.
const PRIORITY: i32 = 51;

/// Runs the gate process; returns only with an error. Logging is the caller's.
pub fn run(config: &Config) -> anyhow::Result<()> {
    // Neither the daemon's terminal nor its process group shall take this one along. Fails for a process
    // that leads a session already, as under systemd: well too.
    let _ = nix::unistd::setsid();
    let plan = Plan::new(config);
    std::fs::create_dir_all(&plan.run_dir)
        .with_context(|| format!("cannot create {} (node.run_dir)", plan.run_dir.display()))?;
    let _lock = lock(&plan.run_dir.join("gate.lock"))?;
    let socket = config.paths.gate_socket();
    let server = Server::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    let fence = Fence::new(config.mariadb.clone()).context("eventfd")?;
    if config.lease.realtime {
        become_realtime();
    }
    let (kernel, lacking) = Kernel::new(plan).context("the gate needs CAP_NET_ADMIN")?;
    let process = Process::start(kernel, server, fence, lacking);
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    process.run()
}

/// The priority first: a living lease may wait for this process, and locking the memory reads all of it in.
fn become_realtime() {
    match sys::make_realtime(PRIORITY) {
        sys::Scheduling::RoundRobin(priority) => tracing::debug!(priority, "real-time"),
        other => tracing::warn!(?other, "the gate process is not real-time: CAP_SYS_NICE or LimitRTPRIO"),
    }
    if let Err(error) = sys::lock_memory() {
        tracing::warn!(%error, "the gate process's memory is not locked: CAP_IPC_LOCK or LimitMEMLOCK");
    }
}

/// Holds the lock as long as the process lives: two gate processes would undo each other's work.
fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let open = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = open.with_context(|| format!("cannot open {}", path.display()))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, errno)| {
        let holder = std::io::read_to_string(file).unwrap_or_default();
        anyhow::anyhow!(
            "another gate process (process id {}) holds {}: {errno}",
            holder.trim(),
            path.display()
        )
    })?;
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}
