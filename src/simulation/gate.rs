//! The gate process and the kernel beneath it: the element lives until the lease's end plus at most one slice,
//! closes by itself, is opened only by `Open`, and survives the daemon and the gate process.

use super::bugs::Bug;
use super::world::{Happening, MS, World};
use crate::decision::action::{StepOutput, StepResult, Ticket};
use crate::decision::event::{Event, GateReport, GateState};
use crate::decision::time::Instant;
use crate::decision::words::Epoch;

/// What the daemon says to the gate process.
#[derive(Clone, Debug)]
pub enum ToGate {
    Open {
        run: u64,
        ticket: Ticket,
        epoch: Epoch,
        end: Instant,
        solo: bool,
        /// The services of the role were seen to when the order left: it may be obeyed late.
        served: bool,
    },
    /// `solo`: the record was on disk when the order left.
    Renew {
        run: u64,
        epoch: Epoch,
        end: Instant,
        solo: bool,
    },
    Close {
        run: u64,
        ticket: Ticket,
    },
    Cut {
        run: u64,
        ticket: Ticket,
        cut: bool,
    },
}

impl ToGate {
    /// The daemon's run that sent it.
    const fn run(&self) -> u64 {
        match self {
            Self::Open { run, .. }
            | Self::Renew { run, .. }
            | Self::Close { run, .. }
            | Self::Cut { run, .. } => *run,
        }
    }
}

/// Gate process, element and address of one host.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    pub alive: bool,
    pub run: u64,
    /// Noted with the element: it survives the process.
    pub lease: Option<(Epoch, Instant)>,
    /// True time at which the kernel's element ends.
    pub element: u64,
    pub address: bool,
    pub cut: bool,
    pub serial: u64,
    pub last_at: u64,
    /// What the process takes longer for at present, in ns.
    pub slow: u64,
    /// Orders that the daemon waits for.
    pub pending: Vec<u64>,
}

impl Gate {
    pub fn open(&self, now: u64) -> bool {
        now < self.element
    }

    /// Someone who asks for the address gets an answer from here.
    pub fn answers(&self, now: u64) -> bool {
        self.open(now) && self.address
    }

    pub fn state(&self, now: u64) -> GateState {
        let (epoch, lease_end) = self.lease.unwrap_or_default();
        GateState {
            open: self.lease.is_some() && self.open(now),
            epoch,
            lease_end,
            address_held: self.address,
            stream_cut: self.cut,
        }
    }
}

impl World {
    /// From the daemon; orders stay in order.
    pub fn order_gate(&mut self, host: usize, message: ToGate, deadline: u64) {
        let ticket = match &message {
            ToGate::Open { ticket, run, .. }
            | ToGate::Close { ticket, run }
            | ToGate::Cut { ticket, run, .. } => Some((*ticket, *run)),
            ToGate::Renew { .. } => None,
        };
        if let Some((ticket, run)) = ticket {
            if !self.hosts[host].gate.alive {
                let result = StepResult::Failed("the gate process does not answer".into());
                self.tell(1, host, run, Event::StepEnded { ticket, result });
                return;
            }
            self.hosts[host].gate.pending.push(ticket.0);
            self.at(deadline, Happening::AddressDeadline { host, run, ticket: ticket.0 });
        }
        let unordered = self.bug == Some(Bug::UnorderedSteps);
        let jitter = if unordered { self.random.micros(0, 80_000) } else { 0 };
        let delay = self.random.micros(50, 600) + self.hosts[host].gate.slow + jitter;
        let now = self.now;
        let gate = &mut self.hosts[host].gate;
        gate.last_at = if unordered { now + delay } else { (now + delay).max(gate.last_at + 1) };
        let (at, gate_run) = (gate.last_at, gate.run);
        self.at(at - now, Happening::Gate { host, gate_run, message });
    }

    pub fn address_late(&mut self, host: usize, run: u64, ticket: u64) {
        let pending = &mut self.hosts[host].gate.pending;
        if let Some(index) = pending.iter().position(|other| *other == ticket) {
            pending.remove(index);
            let event = Event::StepEnded { ticket: Ticket(ticket), result: StepResult::TimedOut };
            self.deliver(host, run, event);
        }
    }

    pub fn gate_obeys(&mut self, host: usize, gate_run: u64, message: ToGate) {
        if !self.hosts[host].gate.alive || self.hosts[host].gate.run != gate_run {
            return;
        }
        if message.run() != self.hosts[host].run {
            // A new daemon has connected: what the one before it had sent and was not read went with its connection.
            return;
        }
        match message {
            ToGate::Open { run, ticket, epoch, end, solo, served } => {
                let result = self.gate_opens(host, epoch, end, served);
                if result.is_ok() {
                    self.look_at_lease(host, epoch, end, solo);
                }
                self.gate_answers(host, run, ticket, result);
            }
            ToGate::Renew { epoch, end, solo, .. } => {
                self.gate_renews(host, epoch, end, solo);
            }
            ToGate::Close { run, ticket } => {
                let lies = self.bug == Some(Bug::CloseLies);
                let gate = &mut self.hosts[host].gate;
                if !lies {
                    (gate.lease, gate.element, gate.address) = (None, 0, false);
                    gate.serial += 1;
                }
                self.trace(|| format!("db{} gate closed", host + 1));
                self.gate_answers(host, run, ticket, Ok(()));
            }
            ToGate::Cut { run, ticket, cut } => {
                self.hosts[host].gate.cut = cut;
                self.gate_answers(host, run, ticket, Ok(()));
            }
        }
    }

    fn gate_answers(&mut self, host: usize, run: u64, ticket: Ticket, result: Result<(), String>) {
        let pending = &mut self.hosts[host].gate.pending;
        let Some(index) = pending.iter().position(|other| *other == ticket.0) else { return };
        pending.remove(index);
        let result = result.map_or_else(StepResult::Failed, |()| StepResult::Ok(StepOutput::Done));
        let delay = self.random.micros(20, 300);
        self.tell(delay, host, run, Event::StepEnded { ticket, result });
    }

    fn gate_opens(&mut self, host: usize, epoch: Epoch, end: Instant, served: bool) -> Result<(), String> {
        let local = self.local(host);
        if let Some((present, until)) = self.hosts[host].gate.lease.filter(|(_, until)| *until > local) {
            if present != epoch {
                return Err(format!("the gate is open for epoch {present}"));
            }
            self.write_element(host, epoch, end.max(until), true);
            return Ok(());
        }
        if end <= local {
            return Err("the lease ended before it could be opened".into());
        }
        self.trace(|| format!("db{} gate OPEN epoch {epoch}", host + 1));
        self.hosts[host].gate.address = true;
        self.write_element(host, epoch, end, true);
        self.opened(host, epoch);
        if !served {
            let text = format!("R0-09: the gate of db{} opens before its service was started", host + 1);
            self.break_promise(text);
        }
        Ok(())
    }

    fn gate_renews(&mut self, host: usize, epoch: Epoch, end: Instant, solo: bool) {
        let local = self.local(host);
        let living = self.hosts[host].gate.open(self.now);
        match self.hosts[host].gate.lease.filter(|(_, until)| *until > local && living) {
            Some((present, until)) if present == epoch => {
                self.look_at_lease(host, epoch, end, solo);
                self.write_element(host, epoch, end.max(until), false);
            }
            _ if self.bug == Some(Bug::RenewalAdds) => {
                self.hosts[host].gate.address = true;
                self.write_element(host, epoch, end.max(local), false);
            }
            _ => {
                let report = GateReport::LeaseLost { epoch, reason: "the gate is closed".into() };
                self.gate_reports(host, report);
            }
        }
    }

    pub fn write_element(&mut self, host: usize, epoch: Epoch, end: Instant, opens: bool) {
        self.look_at_closed(host, opens);
        let slice = Self::nanos(self.hosts[host].settings.slice());
        // Mostly the element ends with the lease; after a pause inside the batch up to one slice later.
        let extra = if self.random.percent(15) { self.random.below(slice) } else { 0 };
        let at = self.true_time(host, end);
        let gate = &mut self.hosts[host].gate;
        gate.lease = Some((epoch, end));
        gate.element = at + extra;
        gate.serial += 1;
        let (serial, element) = (gate.serial, gate.element);
        if self.bug == Some(Bug::GateStaysOpen) {
            self.hosts[host].gate.element = u64::MAX;
            return;
        }
        let delay = at.saturating_sub(self.now) + 1;
        self.at(delay, Happening::GateEnd { host, serial });
        self.at(element.saturating_sub(self.now), Happening::Look);
    }

    /// The process closes what was not renewed.
    pub fn gate_end(&mut self, host: usize, serial: u64) {
        let gate = &self.hosts[host].gate;
        if !gate.alive || gate.serial != serial {
            return;
        }
        let Some((epoch, _)) = gate.lease else { return };
        if self.bug == Some(Bug::RenewalAdds) {
            return;
        }
        self.gate_loses(host, epoch, "it was not renewed in time");
    }

    fn gate_loses(&mut self, host: usize, epoch: Epoch, reason: &str) {
        self.mark("the gate closed at lease end");
        self.trace(|| format!("db{} gate lost epoch {epoch}: {reason}", host + 1));
        let gate = &mut self.hosts[host].gate;
        (gate.lease, gate.element, gate.address) = (None, 0, false);
        gate.serial += 1;
        let serial = gate.serial;
        self.gate_reports(host, GateReport::LeaseLost { epoch, reason: reason.into() });
        let delay = self.random.micros(500, 20_000);
        self.at(delay, Happening::GateFence { host, serial });
    }

    /// After the lease the process makes the server read-only, unless the gate was opened again.
    pub fn gate_fence(&mut self, host: usize, serial: u64) {
        let gate = &self.hosts[host].gate;
        if !gate.alive || gate.serial != serial || gate.lease.is_some() {
            return;
        }
        match self.hosts[host].server.health {
            super::database::Health::Up => {
                self.hosts[host].server.read_only = true;
                self.hosts[host].server.waiting.clear();
                self.kill_waiting(host);
            }
            super::database::Health::Hung => self.at(20 * MS, Happening::GateFence { host, serial }),
            super::database::Health::Dead => {}
        }
    }

    fn gate_reports(&mut self, host: usize, report: GateReport) {
        let run = self.hosts[host].run;
        let delay = self.random.micros(20, 300);
        self.tell(delay, host, run, Event::Gate(report));
    }

    pub fn gate_crash(&mut self, host: usize) {
        let run = self.hosts[host].run;
        let gate = &mut self.hosts[host].gate;
        if !gate.alive {
            return;
        }
        gate.alive = false;
        gate.run += 1;
        let pending = std::mem::take(&mut gate.pending);
        for ticket in pending {
            let result = StepResult::Failed("the gate process is gone".into());
            self.deliver(host, run, Event::StepEnded { ticket: Ticket(ticket), result });
        }
        self.deliver(host, run, Event::Gate(GateReport::Disconnected));
        let delay = self.random.micros(20_000, 400_000);
        self.at(delay, Happening::GateStart { host });
    }

    /// Adopts what lives, ends what is over.
    pub fn gate_start(&mut self, host: usize) {
        if self.hosts[host].gate.alive || !self.hosts[host].powered {
            return;
        }
        let (now, local) = (self.now, self.local(host));
        let gate = &mut self.hosts[host].gate;
        gate.alive = true;
        gate.slow = 0;
        gate.serial += 1;
        let (serial, living) = (gate.serial, gate.open(now));
        match gate.lease {
            Some(_) if self.bug == Some(Bug::AdoptsEndedLease) => self.goes_on_unchecked(host),
            Some((_, end)) if living && end > local => {
                let delay = self.true_time(host, end).saturating_sub(now) + 1;
                self.at(delay, Happening::GateEnd { host, serial });
                self.mark("the gate process adopted a living lease");
            }
            Some((epoch, _)) => self.gate_loses(host, epoch, "it ended while no gate process ran"),
            None => self.hosts[host].gate.address = false,
        }
        let state = self.hosts[host].gate.state(self.now);
        self.gate_reports(host, GateReport::Connected(state));
    }
}
