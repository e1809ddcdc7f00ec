//! The gate process: one thread, one poll, and what it does about each thing that happens.

use super::fence::Fence;
use super::kernel::{Kernel, Repair, Write, WriteError};
use super::lease::Lease;
use super::server::Server;
use crate::decision::event::{GateReport, GateState};
use crate::decision::time::Instant;
use crate::decision::words::Epoch;
use crate::io::clock;
use crate::wire::gate::{FromGate, ToGate};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

/// While open, the virtual addresses get their lifetime anew this often.
const ADDRESS_REFRESH: Duration = Duration::from_millis(500);
/// While closed, and whatever notifications say, everything is looked at this often.
const LOOK_ROUND: Duration = Duration::from_secs(10);
/// A write of the lease that failed for a passing reason is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_millis(2);

const NOT_RENEWED: &str = "it was not renewed in time";

/// The gate process.
pub struct Process {
    kernel: Kernel,
    server: Server,
    fence: Fence,
    /// `Some`: the gate is open.
    lease: Option<Lease>,
    stream_cut: bool,
    /// What this host cannot do.
    lacking: Vec<String>,
    /// Exists while a lease is held: tells a later process that one was.
    marker: PathBuf,
    next_round: Instant,
    write_again: Option<Instant>,
}

/// What a poll found ready.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    tables: bool,
    addresses: bool,
    listener: bool,
    client: bool,
    fence: bool,
}

impl Process {
    /// Takes over what an earlier process left: a living lease goes on, a dead one is ended properly.
    pub fn start(kernel: Kernel, server: Server, fence: Fence, lacking: Vec<String>) -> Self {
        let marker = kernel.plan().run_dir.join("gate.open");
        let mut process = Self {
            kernel,
            server,
            fence,
            lease: None,
            stream_cut: false,
            lacking,
            marker,
            next_round: Instant::ZERO,
            write_again: None,
        };
        process.adopt();
        for lack in &process.lacking {
            tracing::error!("{lack}");
        }
        process
    }

    fn adopt(&mut self) {
        self.stream_cut = self.kernel.stream_is_cut();
        let intact = self.kernel.adopt_tables();
        let mut note = self.kernel.living_note();
        if !intact {
            self.lacking.extend(self.kernel.install_first(self.stream_cut));
        }
        let marked = std::fs::read_to_string(&self.marker).ok();
        // Without tables nothing in the kernel tells of a lease; the marker does.
        let gated = self.kernel.has_tables();
        if !gated {
            note = marked.clone();
        }
        if let Some(mut lease) = note.and_then(|note| Lease::adopt(&note, clock::now())) {
            // Installing closed the gate, and this lease was alive a moment ago and is not over: the write's
            // guard keeps the bound of `super::lease`.
            if intact || !gated || self.kernel.write(&mut lease, Write::Start).is_ok() {
                tracing::info!(epoch = lease.epoch.number, "a living lease of an earlier process goes on");
                self.lease = Some(lease);
                return;
            }
        }
        if let Some(marked) = marked {
            let epoch = Lease::epoch_in(&marked).unwrap_or_default();
            self.lose(epoch, "it ended while no gate process ran");
        }
    }

    /// Runs for ever.
    pub fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.due(clock::now());
            let ready = self.wait()?;
            if ready.tables && self.kernel.tables_touched() {
                self.tables_changed();
            }
            if ready.addresses && self.kernel.addresses_touched() {
                self.look_at_addresses();
            }
            if ready.listener && self.server.accept() {
                self.welcome();
            }
            if ready.client {
                self.server.flush();
                for message in self.server.receive() {
                    self.obey(message);
                }
            }
            if ready.fence {
                self.fence_ended();
            }
        }
    }

    /// Sleeps until something happens or is due.
    fn wait(&self) -> anyhow::Result<Ready> {
        let writable = if self.server.wants_to_write() { PollFlags::POLLOUT } else { PollFlags::empty() };
        let mut waiting = vec![
            PollFd::new(self.kernel.addresses_descriptor(), PollFlags::POLLIN),
            PollFd::new(self.server.listener_descriptor(), PollFlags::POLLIN),
            PollFd::new(self.fence.as_fd(), PollFlags::POLLIN),
        ];
        let tables = self.kernel.tables_descriptor().map(|descriptor| {
            waiting.push(PollFd::new(descriptor, PollFlags::POLLIN));
            waiting.len() - 1
        });
        let client = self.server.client_descriptor().map(|descriptor| {
            waiting.push(PollFd::new(descriptor, PollFlags::POLLIN | writable));
            waiting.len() - 1
        });
        let left = self.next_deadline().since(clock::now());
        match ppoll(&mut waiting, Some(TimeSpec::from_duration(left)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => anyhow::bail!("ppoll: {errno}"),
        }
        let ready = |index: usize| waiting[index].any().unwrap_or(true);
        Ok(Ready {
            tables: tables.is_some_and(ready),
            addresses: ready(0),
            listener: ready(1),
            client: client.is_some_and(ready),
            fence: ready(2),
        })
    }

    fn next_deadline(&self) -> Instant {
        let lease = self.lease.as_ref();
        let write = self.write_again.or_else(|| lease.and_then(Lease::next_write));
        [lease.map(|lease| lease.end), write].into_iter().flatten().fold(self.next_round, Instant::min)
    }

    /// Does what is due.
    fn due(&mut self, now: Instant) {
        if self.lease.as_ref().is_some_and(|lease| lease.end <= now) {
            self.lost(NOT_RENEWED);
        }
        let write = self.write_again.or_else(|| self.lease.as_ref().and_then(Lease::next_write));
        if write.is_some_and(|at| at <= now) {
            self.write_lease(now);
        }
        if self.next_round <= now {
            // An address is refreshed only under a lease that lives in the kernel, which expires by itself.
            if self.lease.is_some() && self.kernel.lease_lives() == Some(false) {
                self.tables_changed();
            }
            self.look_at_addresses();
        }
    }

    fn write_lease(&mut self, now: Instant) {
        self.write_again = None;
        let Some(lease) = &mut self.lease else { return };
        match self.kernel.write(lease, Write::Renew) {
            Ok(()) => {}
            // Perhaps someone else flushed the tables a moment ago.
            Err(WriteError::Gone | WriteError::Netlink(_)) if !self.kernel.tables_intact() => {
                self.tables_changed();
            }
            Err(error @ (WriteError::Gone | WriteError::Unknown | WriteError::Expired)) => {
                self.lost(&error.to_string());
            }
            Err(error @ (WriteError::Slow(_) | WriteError::Netlink(_))) => {
                tracing::warn!(%error, "the lease could not be written; trying again until it ends");
                self.write_again = Some(now + WRITE_AGAIN);
            }
        }
    }

    /// Someone else changed something in nf_tables.
    fn tables_changed(&mut self) {
        if !self.kernel.tables_intact() {
            match self.kernel.install(self.stream_cut) {
                Ok(()) => self.report(GateReport::TablesReinstalled),
                Err(error) => self.report(GateReport::Degraded { reason: error.to_string() }),
            }
            // This process held the lease without a break and it is not over; what is gone is only the
            // kernel's copy. The write's guard keeps the bound of `super::lease`, as for a takeover.
            if let Some(lease) = &mut self.lease
                && let Err(error) = self.kernel.write(lease, Write::Start)
            {
                self.lost(&format!("someone else flushed the tables, and then: {error}"));
            }
        } else if self.lease.is_some() && self.kernel.lease_lives() == Some(false) {
            self.lost("its element was deleted, or ended early");
        }
    }

    /// Puts the addresses right: there while open, gone while closed.
    fn look_at_addresses(&mut self) {
        let now = clock::now();
        let open = self.lease.is_some();
        self.next_round = now + if open { ADDRESS_REFRESH } else { LOOK_ROUND };
        if open {
            match self.kernel.put_addresses() {
                Ok(repairs) => repairs.into_iter().for_each(|repair| self.repaired(repair)),
                Err(error) => tracing::warn!("{error}"),
            }
        } else {
            match self.kernel.remove_addresses() {
                Ok(strays) => strays.into_iter().for_each(|stray| self.repaired(Repair::Removed(stray))),
                Err(error) => {
                    tracing::warn!(%error, "stray virtual addresses");
                    self.next_round = now + ADDRESS_REFRESH;
                }
            }
        }
    }

    fn repaired(&mut self, repair: Repair) {
        self.report(match repair {
            Repair::Restored(address) => GateReport::AddressRestored { address },
            Repair::Removed(address) => GateReport::AddressRemoved { address },
        });
    }

    fn obey(&mut self, message: ToGate) {
        let answer = match message {
            ToGate::Open { ticket, epoch, lease_end, lease } => (ticket, self.open(epoch, lease_end, lease)),
            ToGate::Renew { epoch, lease_end } => return self.renew(epoch, lease_end),
            ToGate::Close { ticket } => (ticket, self.close()),
            ToGate::CutStream { ticket } => (ticket, self.cut_stream(true)),
            ToGate::LiftCut { ticket } => (ticket, self.cut_stream(false)),
            ToGate::Query => return self.send_state(),
        };
        self.server.send(&match answer {
            (ticket, Ok(())) => FromGate::Done { ticket },
            (ticket, Err(reason)) => FromGate::Failed { ticket, reason },
        });
    }

    fn open(&mut self, epoch: Epoch, end: Instant, duration: Duration) -> Result<(), String> {
        let now = clock::now();
        if let Some(present) = self.lease.as_mut().filter(|lease| lease.end > now) {
            if present.epoch != epoch {
                let (number, left) = (present.epoch, present.end.since(now).as_millis());
                return Err(format!(
                    "the gate is open for epoch {number} for {left} ms more; close it first"
                ));
            }
            return present.extend(end, now);
        }
        self.due(now);
        let mut lease = Lease::new(epoch, end, duration, now)?;
        self.fence.cancel();
        // The address first: it is silent until the element lives, and then serves at once.
        let opened = self.kernel.put_addresses().and_then(|_| self.start_lease(&mut lease));
        if let Err(error) = opened {
            let undone = self.kernel.shut();
            return Err(undone.err().map_or(error.clone(), |undo| format!("{error}; and then: {undo}")));
        }
        self.next_round = now + ADDRESS_REFRESH;
        if let Err(error) = std::fs::write(&self.marker, lease.note()) {
            tracing::warn!(%error, "cannot write {}", self.marker.display());
        }
        self.lease = Some(lease);
        Ok(())
    }

    fn start_lease(&mut self, lease: &mut Lease) -> Result<(), String> {
        match self.kernel.write(lease, Write::Start) {
            Ok(()) => return Ok(()),
            // Flushed a moment ago, and the notification is still unread.
            Err(WriteError::Netlink(_)) if !self.kernel.tables_intact() => self.tables_changed(),
            Err(error) => return Err(error.to_string()),
        }
        self.kernel.write(lease, Write::Start).map_err(|error| error.to_string())
    }

    fn renew(&mut self, epoch: Epoch, end: Instant) {
        let now = clock::now();
        let reason = match &mut self.lease {
            Some(lease) if lease.epoch == epoch && lease.end > now => match lease.extend(end, now) {
                Ok(()) => return self.due(now),
                Err(refused) => return tracing::error!("a renewal was refused: {refused}"),
            },
            Some(lease) if lease.epoch != epoch => format!("the gate is open for epoch {}", lease.epoch),
            Some(_) => return self.due(now),
            None => "the gate is closed".to_owned(),
        };
        self.report(GateReport::LeaseLost { epoch, reason });
    }

    fn close(&mut self) -> Result<(), String> {
        self.end_lease();
        let reset = self.kernel.shut()?;
        tracing::info!(reset, "the gate is closed");
        let _ = std::fs::remove_file(&self.marker);
        Ok(())
    }

    fn end_lease(&mut self) {
        self.lease = None;
        self.write_again = None;
        self.next_round = clock::now() + LOOK_ROUND;
    }

    fn cut_stream(&mut self, cut: bool) -> Result<(), String> {
        self.kernel.cut_stream(cut)?;
        self.stream_cut = cut;
        Ok(())
    }

    /// The lease that this process holds is over.
    fn lost(&mut self, reason: &str) {
        let Some(lease) = self.lease.take() else { return };
        // Elements die up to two ticks before their time: that is the end, and no riddle.
        let at_its_end = lease.end.since(clock::now()) <= self.kernel.tick() * 3;
        self.lose(lease.epoch, if at_its_end { NOT_RENEWED } else { reason });
    }

    fn lose(&mut self, epoch: Epoch, reason: &str) {
        self.end_lease();
        let shut = self.kernel.shut();
        if shut.is_err() {
            self.next_round = clock::now() + ADDRESS_REFRESH;
        }
        // The report leaves before the database is touched: the daemon's own connections are faster.
        self.report(GateReport::LeaseLost { epoch, reason: reason.to_owned() });
        if let Err(error) = shut {
            self.report(GateReport::Degraded { reason: error });
        }
        self.fence.start(epoch);
    }

    fn fence_ended(&mut self) {
        while let Some(fenced) = self.fence.ended() {
            match &fenced.error {
                Some(error) => tracing::error!("{error}"),
                None => {
                    tracing::info!("the database is read-only");
                    let _ = std::fs::remove_file(&self.marker);
                }
            }
            self.server.send(&FromGate::DatabaseFenced { epoch: fenced.epoch, error: fenced.error });
        }
    }

    fn welcome(&mut self) {
        self.send_state();
        for reason in self.lacking.clone() {
            self.server.send(&FromGate::Report(GateReport::Degraded { reason }));
        }
    }

    fn send_state(&mut self) {
        let now = clock::now();
        self.due(now);
        let open = self.lease.is_some() && self.kernel.lease_lives() != Some(false);
        let state = GateState {
            open,
            epoch: self.lease.as_ref().map(|lease| lease.epoch).unwrap_or_default(),
            lease_end: self.lease.as_ref().map(|lease| lease.end).unwrap_or_default(),
            address_held: self.kernel.addresses_held(),
            stream_cut: self.stream_cut,
        };
        self.server.send(&FromGate::State(state));
    }

    fn report(&mut self, report: GateReport) {
        match &report {
            GateReport::LeaseLost { epoch, reason } => {
                tracing::error!(epoch = epoch.number, reason, "lease lost")
            }
            other => tracing::warn!(?other, "gate"),
        }
        if self.server.connected() {
            self.server.send(&FromGate::Report(report));
        }
    }
}
