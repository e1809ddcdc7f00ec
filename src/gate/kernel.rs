//! Everything that the gate changes in the kernel: tables, the lease's element, virtual addresses, sockets.
//! Used by the gate process and, without it, by the local fence.

use super::lease::Lease;
use super::plan::Plan;
use super::tables::{Features, Tables, TablesError, run_nft};
use crate::config::checked::VirtualAddress;
use crate::io::address::{Addresses, Held, interface_index};
use crate::io::clock;
use crate::io::netlink::NetlinkError;
use crate::io::nft::{LeaseError, Sets, tick};
use crate::io::sock_destroy::{Connection, Resetter};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use thiserror::Error;

/// How long the kernel keeps a virtual address that nobody refreshes. It counts whole seconds.
pub const ADDRESS_LIFETIME: Duration = Duration::from_secs(2);
/// A write of the lease that finds its guard gone so often meets a host too slow for its slice.
const WRITE_ATTEMPTS: u32 = 10;

/// Why the lease is not in the kernel.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Its end has come, or is nearer than a tick.
    #[error("the lease has run out")]
    Expired,
    /// The element died, or someone else deleted it.
    #[error("its element in the kernel was gone")]
    Gone,
    /// Nobody opened that lease here.
    #[error("a lease that this process does not know lives in the kernel; `apctl local-fence` ends it")]
    Unknown,
    /// Each attempt took longer than a slice. The element that lives, if one does, still dies in time.
    #[error("the host was too slow: no write within a slice of {} ms", .0.as_millis())]
    Slow(Duration),
    /// Something else.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Whether a write may start a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A takeover, or the tables were installed anew under a lease that this process holds.
    Start,
    /// The element must live.
    Renew,
}

/// What was wrong with an address, and put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It was missing.
    Restored(Ipv4Addr),
    /// It was where it must not be.
    Removed(Ipv4Addr),
}

/// The kernel's side of the gate.
pub struct Kernel {
    plan: Plan,
    tables: Tables,
    tick: Duration,
    /// `None`: this host has no nf_tables.
    sets: Option<Sets>,
    addresses: Addresses,
    resetter: Option<Resetter>,
    /// The rules as the kernel described them when they were installed.
    installed: Option<Vec<u8>>,
}

impl Kernel {
    /// Opens what is needed; changes nothing. The texts say what this host cannot do.
    pub fn new(plan: Plan) -> Result<(Self, Vec<String>), NetlinkError> {
        let mut lacking = Vec::new();
        let sets = Sets::new(&plan.table)
            .map_err(|error| lacking.push(format!("no nf_tables ({error}): clients are not gated")))
            .ok();
        let resetter = Resetter::new()
            .map_err(|error| lacking.push(format!("connections cannot be reset ({error})")))
            .ok();
        let addresses = Addresses::new()?;
        let tables = Tables::new(&plan, Features::ALL[0]);
        let mut kernel = Self { plan, tables, tick: tick(), sets, addresses, resetter, installed: None };
        kernel.use_features(Features::ALL[0]);
        Ok((kernel, lacking))
    }

    fn use_features(&mut self, features: Features) {
        self.tables = Tables::new(&self.plan, features);
        if let Some(sets) = &mut self.sets {
            sets.with_arp(features.arp && !self.plan.addresses.is_empty());
        }
    }

    /// What the gate is for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The kernel's tick.
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// Whether there are tables to gate with.
    pub fn has_tables(&self) -> bool {
        self.sets.is_some()
    }

    /// Finds the tables of an earlier process as they must be; false if they are not.
    pub fn adopt_tables(&mut self) -> bool {
        Features::ALL.into_iter().any(|features| {
            self.use_features(features);
            self.installed = self.installed_rules();
            self.installed.is_some()
        })
    }

    /// Installs the tables, closed, for the first time. The text says what this host cannot do.
    pub fn install_first(&mut self, cut: bool) -> Option<String> {
        self.sets.as_ref()?;
        let mut first = None;
        for features in Features::ALL {
            self.use_features(features);
            match self.install(cut) {
                Ok(()) => return features.lacking().map(str::to_owned),
                Err(error) => {
                    let refused = matches!(error, TablesError::Refused(_));
                    first.get_or_insert(error);
                    if !refused {
                        break;
                    }
                }
            }
        }
        let first = first?;
        self.sets = None;
        Some(format!("no nftables ({first}): clients are not gated, only valid_lft and this process protect"))
    }

    /// The rules in the kernel, if they are those of the plan.
    fn installed_rules(&mut self) -> Option<Vec<u8>> {
        let sets = self.sets.as_mut()?;
        // What is notified from here on is looked at later, so that nothing between is missed.
        sets.changed();
        let rules = sets.rules().ok().flatten()?;
        (sets.marked(&self.tables.mark) == Ok(Some(self.tables.rules))).then_some(rules)
    }

    /// Installs the tables, closed, in place of those there are.
    pub fn install(&mut self, cut: bool) -> Result<(), TablesError> {
        let text = if cut { self.tables.with_cut(&self.plan) } else { self.tables.text.clone() };
        run_nft(&text)?;
        self.installed = self.installed_rules();
        Ok(())
    }

    /// Empties the notifications about nf_tables; true if someone else changed something.
    pub fn tables_touched(&mut self) -> bool {
        self.sets.as_mut().is_some_and(Sets::changed)
    }

    /// Empties the notifications about addresses; true if someone else changed something.
    pub fn addresses_touched(&mut self) -> bool {
        self.addresses.changed()
    }

    /// Whether the tables are as they were installed.
    pub fn tables_intact(&mut self) -> bool {
        let Some(sets) = &mut self.sets else { return true };
        match sets.rules() {
            Ok(rules) => rules.is_some() && rules == self.installed,
            // Not known: they are not replaced for a hiccup of netlink.
            Err(_) => true,
        }
    }

    /// What an earlier process noted with the lease that lives, if one lives.
    pub fn living_note(&mut self) -> Option<String> {
        self.sets.as_mut()?.living().ok().flatten().map(|living| living.note)
    }

    /// Whether a lease's element lives. Without tables: unknown, `None`.
    pub fn lease_lives(&mut self) -> Option<bool> {
        self.sets.as_mut()?.living().ok().map(|living| living.is_some())
    }

    /// Whether the replication stream is cut.
    pub fn stream_is_cut(&mut self) -> bool {
        self.sets.as_mut().is_some_and(|sets| sets.stream_is_cut().unwrap_or(false))
    }

    /// Cuts the replication stream, or lifts the cut.
    pub fn cut_stream(&mut self, cut: bool) -> Result<(), String> {
        match &mut self.sets {
            Some(sets) => sets.cut_stream(cut).map_err(|error| error.to_string()),
            None if cut => Err("this host has no nftables to cut the stream with".into()),
            None => Ok(()),
        }
    }

    /// Writes the lease's element; the arithmetic is in [`super::lease`].
    pub fn write(&mut self, lease: &mut Lease, write: Write) -> Result<(), WriteError> {
        let Some(sets) = &mut self.sets else {
            lease.wrote(clock::now());
            return Ok(());
        };
        let mut write = write;
        for _ in 0..WRITE_ATTEMPTS {
            sets.place_guard(lease.guard(self.tick))?;
            let read = clock::now();
            let Some(timeout) = lease.timeout(read, self.tick) else { return Err(WriteError::Expired) };
            let written = match write {
                Write::Start => sets.open(timeout, &lease.note()),
                Write::Renew => sets.renew(timeout, &lease.note()),
            };
            match written {
                Ok(()) => {
                    lease.wrote(read);
                    if clock::now().since(read) <= lease.slice() {
                        return Ok(());
                    }
                    // Held up inside the call, perhaps for longer than the guard can vouch for.
                    write = Write::Renew;
                }
                Err(LeaseError::GuardGone) => {}
                Err(LeaseError::LeaseGone) => return Err(WriteError::Gone),
                Err(LeaseError::LeaseLives) => return Err(WriteError::Unknown),
                Err(LeaseError::Netlink(error)) => return Err(error.into()),
            }
        }
        Err(WriteError::Slow(lease.slice()))
    }

    /// Shuts the gate: element, then connections (while the address is still local, so that their resets
    /// reach the clients), then addresses; verified. Goes on after a failure; returns all of them.
    pub fn shut(&mut self) -> Result<usize, String> {
        let mut failures = Vec::new();
        if let Some(sets) = &mut self.sets
            && let Err(error) = sets.close()
            && error.errno() != Some(Errno::ENOENT)
        {
            failures.push(format!("gate: {error}"));
        }
        let reset = self.reset_connections().unwrap_or_else(|error| {
            failures.push(format!("connections were not reset: {error}"));
            0
        });
        if let Err(error) = self.remove_addresses() {
            failures.push(format!("virtual addresses: {error}"));
        }
        if self.lease_lives() == Some(true) {
            failures.push("the gate's element still lives; `nft flush ruleset` would end it".into());
        }
        match self.held_addresses() {
            Ok(held) if held.is_empty() => {}
            Ok(held) => failures.push(format!("{} is still on an interface", held[0].address)),
            Err(error) => failures.push(error.to_string()),
        }
        if failures.is_empty() { Ok(reset) } else { Err(failures.join("; ")) }
    }

    /// Resets connections to a virtual address, and those of other hosts than the peer to gated ports.
    fn reset_connections(&mut self) -> Result<usize, NetlinkError> {
        let own: Vec<Ipv4Addr> = self.addresses.list()?.iter().map(|held| held.address).collect();
        let plan = &self.plan;
        let matches = |connection: &Connection| match (connection.local.ip(), connection.remote.ip()) {
            (IpAddr::V4(local), _) if plan.is_virtual(local) => true,
            (_, remote) if !plan.ports.contains(&connection.local.port()) || remote.is_loopback() => false,
            (_, IpAddr::V4(remote)) => !plan.peers.contains(&remote) && !own.contains(&remote),
            (IpAddr::V6(local), IpAddr::V6(remote)) => local != remote,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        };
        self.resetter.as_mut().map_or(Ok(0), |resetter| resetter.reset(matches))
    }

    /// The virtual addresses that are on any interface.
    fn held_addresses(&mut self) -> Result<Vec<Held>, NetlinkError> {
        let mut held = self.addresses.list()?;
        held.retain(|held| self.plan.is_virtual(held.address));
        Ok(held)
    }

    /// Removes the virtual addresses from every interface; returns those that were there.
    pub fn remove_addresses(&mut self) -> Result<Vec<Ipv4Addr>, NetlinkError> {
        let held = self.held_addresses()?;
        for one in &held {
            self.addresses.remove(*one)?;
        }
        Ok(held.iter().map(|held| held.address).collect())
    }

    /// Whether every virtual address is where it belongs.
    pub fn addresses_held(&mut self) -> bool {
        let Ok(held) = self.held_addresses() else { return false };
        !self.plan.addresses.is_empty()
            && self
                .plan
                .addresses
                .iter()
                .all(|wanted| placed(wanted).is_ok_and(|wanted| held.contains(&wanted)))
    }

    /// Puts the virtual addresses, or gives those that are there their lifetime anew, and removes them from
    /// wherever else they are. Returns what had to be put right.
    pub fn put_addresses(&mut self) -> Result<Vec<Repair>, String> {
        let list = self.addresses.list().map_err(|error| error.to_string())?;
        let wanted: Vec<Held> = self.plan.addresses.iter().map(placed).collect::<Result<_, String>>()?;
        let mut repairs = Vec::new();
        for stray in list.iter().filter(|held| self.plan.is_virtual(held.address) && !wanted.contains(held)) {
            self.addresses.remove(*stray).map_err(|error| error.to_string())?;
            repairs.push(Repair::Removed(stray.address));
        }
        for one in wanted {
            // Where the node has an address of its own in that network, a route of ours could only make the
            // virtual address the source of the node's connections.
            let reachable =
                list.iter().any(|held| !self.plan.is_virtual(held.address) && held.covers(one.address));
            self.addresses
                .put(one, ADDRESS_LIFETIME, !reachable)
                .map_err(|error| format!("{} cannot be put on its interface: {error}", one.address))?;
            if !list.contains(&one) {
                repairs.push(Repair::Restored(one.address));
            }
        }
        Ok(repairs)
    }

    /// Notifications of nf_tables, to poll.
    pub fn tables_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.sets.as_ref().map(AsFd::as_fd)
    }

    /// Notifications of addresses, to poll.
    pub fn addresses_descriptor(&self) -> BorrowedFd<'_> {
        self.addresses.as_fd()
    }
}

/// Where a virtual address belongs; interfaces may come and go, so the name is looked up each time.
fn placed(wanted: &VirtualAddress) -> Result<Held, String> {
    let interface = interface_index(&wanted.device)
        .ok_or_else(|| format!("there is no interface {} for {}", wanted.device, wanted.address))?;
    Ok(Held { address: wanted.address, prefix: wanted.prefix, interface })
}
