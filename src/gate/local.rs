//! What must work without a daemon and without a gate process: the local fence, and leaving no trace.

use super::fence::fence_now;
use super::kernel::Kernel;
use super::plan::Plan;
use super::tables;
use crate::config::checked::Config;
use anyhow::Context;
use std::time::Duration;

/// The server may be hung; who waits for this command is a stopping service.
const DATABASE_WITHIN: Duration = Duration::from_secs(5);

/// What a local fence did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A lease lives, and the fence was asked for only if none does: nothing was done.
    LeaseLives,
    /// The fence was tried.
    Fenced {
        /// Gate closed and addresses removed, verified: how many connections were reset. Or what failed.
        network: Result<usize, String>,
        /// The database is read-only and its client sessions are ended. Or what failed.
        database: Result<(), String>,
    },
}

impl Outcome {
    /// Whether nothing is left to do by hand.
    pub fn is_complete(&self) -> bool {
        match self {
            Outcome::LeaseLives => true,
            Outcome::Fenced { network, database } => network.is_ok() && database.is_ok(),
        }
    }
}

/// Closes the gate, removes the virtual addresses and makes the database read-only, whatever daemon or gate
/// process lives: a gate process notices that its lease is gone and reports that.
///
/// With `if_lease_expired` nothing is done while a lease lives in the kernel.
pub fn local_fence(config: &Config, if_lease_expired: bool) -> anyhow::Result<Outcome> {
    let (mut kernel, _) = Kernel::new(Plan::new(config)).context("the local fence needs CAP_NET_ADMIN")?;
    // Without arp tables the lease is looked for in the others.
    kernel.adopt_tables();
    // A host without nftables shows a living lease only by the address, which goes 2 s after its keeper.
    if if_lease_expired && kernel.lease_lives().unwrap_or_else(|| kernel.addresses_held()) {
        return Ok(Outcome::LeaseLives);
    }
    let network = kernel.shut();
    let database = fence_now(&config.mariadb, DATABASE_WITHIN);
    Ok(Outcome::Fenced { network, database })
}

/// Deletes the gate's tables and the virtual addresses: for uninstalling, with no gate process running.
/// Whatever the tables kept away passes from then on.
pub fn remove_everything(config: &Config) -> anyhow::Result<()> {
    let plan = Plan::new(config);
    let (mut kernel, _) = Kernel::new(plan.clone()).context("removing the gate needs CAP_NET_ADMIN")?;
    kernel.remove_addresses()?;
    tables::remove(&plan.table)?;
    match std::fs::remove_file(plan.run_dir.join("gate.open")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
