//! The gate process as the loop sees it: connected or being brought back, and the address lane's steps in it.

use crate::decision::action::{AddressStep, StepOutput, StepResult, Ticket};
use crate::decision::event::{Event, GateReport, GateState};
use crate::decision::time::Instant;
use crate::decision::words::Epoch;
use crate::io::gate_link::{GateLink, spawn_gate};
use crate::wire::gate::{FromGate, ToGate};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;
use tokio::time;

/// Between two attempts to reach the gate process.
const RETRY: Duration = Duration::from_millis(20);
/// A gate process that was started gets this long to listen before another is started.
const START: Duration = Duration::from_secs(2);

/// The daemon's side of the gate.
#[derive(Debug)]
pub struct GateClient {
    socket: PathBuf,
    configuration: PathBuf,
    lease: Duration,
    /// False where systemd keeps the gate process.
    starts_process: bool,
    child: Option<Child>,
    started: Option<time::Instant>,
    link: Option<GateLink>,
    retry_at: time::Instant,
    greeted: bool,
    pending: BTreeMap<Ticket, Instant>,
    /// The newest lease end of an open gate: a gate process that was away for it is told as soon as it is back.
    lease_end: Option<(Epoch, Instant)>,
}

impl GateClient {
    /// Not connected yet; [`GateClient::next`] connects.
    pub fn new(socket: PathBuf, configuration: PathBuf, lease: Duration, starts_process: bool) -> Self {
        Self {
            socket,
            configuration,
            lease,
            starts_process,
            child: None,
            started: None,
            link: None,
            retry_at: time::Instant::now(),
            greeted: false,
            pending: BTreeMap::new(),
            lease_end: None,
        }
    }

    /// The next thing that the gate process says, or that it is gone. Cancel-safe.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            let Some(link) = &mut self.link else {
                time::sleep_until(self.retry_at).await;
                self.retry_at = time::Instant::now() + RETRY;
                self.reach().await;
                continue;
            };
            match link.next().await {
                Ok(message) => {
                    if let Some(event) = self.read(message) {
                        return vec![event];
                    }
                }
                Err(error) => {
                    tracing::warn!(code = "gate.link", "{error}");
                    return self.lose();
                }
            }
        }
    }

    async fn reach(&mut self) {
        if let Ok(link) = GateLink::connect(&self.socket).await {
            self.link = Some(link);
            self.greeted = false;
            return;
        }
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            tracing::warn!(code = "gate.ended", "the gate process ended: {status}");
            self.child = None;
            self.started = None;
        }
        let starting = self.started.is_some_and(|at| at.elapsed() < START);
        if self.starts_process && !starting {
            match spawn_gate(&self.configuration) {
                Ok(child) => self.child = Some(child),
                Err(error) => {
                    tracing::error!(code = "gate.start", "the gate process cannot be started: {error}")
                }
            }
            self.started = Some(time::Instant::now());
        }
    }

    fn read(&mut self, message: FromGate) -> Option<Event> {
        let ended = |ticket: u64, result| Event::StepEnded { ticket: Ticket(ticket), result };
        match message {
            FromGate::Done { ticket } => {
                self.pending.remove(&Ticket(ticket))?;
                Some(ended(ticket, StepResult::Ok(StepOutput::Done)))
            }
            FromGate::Failed { ticket, reason } => {
                self.pending.remove(&Ticket(ticket))?;
                Some(ended(ticket, StepResult::Failed(reason)))
            }
            FromGate::State(state) => Some(self.greet(state)),
            FromGate::Report(report) => Some(Event::Gate(report)),
            FromGate::DatabaseFenced { epoch, error } => {
                let text = error.unwrap_or_else(|| "read-only, sessions killed".into());
                tracing::warn!(
                    code = "gate.database_fenced",
                    epoch = epoch.number,
                    "after the lease: {text}"
                );
                None
            }
            FromGate::Refused { reason } => {
                tracing::error!(code = "gate.refused", "the gate process refuses this daemon: {reason}");
                None
            }
        }
    }

    fn greet(&mut self, state: GateState) -> Event {
        self.greeted = true;
        if let Some((epoch, end)) = self.lease_end
            && state.open
            && state.epoch == epoch
        {
            self.renew(epoch, end);
        }
        Event::Gate(GateReport::Connected(state))
    }

    /// The link is gone: every step of the lane ends, and the decision hears of it.
    fn lose(&mut self) -> Vec<Event> {
        self.link = None;
        self.retry_at = time::Instant::now();
        let result = || StepResult::Failed("the gate process is gone".into());
        let mut events: Vec<Event> = std::mem::take(&mut self.pending)
            .into_keys()
            .map(|ticket| Event::StepEnded { ticket, result: result() })
            .collect();
        if std::mem::take(&mut self.greeted) {
            events.push(Event::Gate(GateReport::Disconnected));
        }
        events
    }

    /// Hands a new lease end on, now or when the gate process is back.
    pub fn renew(&mut self, epoch: Epoch, lease_end: Instant) {
        self.lease_end = Some((epoch, lease_end));
        if let Some(link) = &mut self.link
            && let Err(error) = link.send(&ToGate::Renew { epoch, lease_end })
        {
            tracing::warn!(code = "gate.link", "{error}");
        }
    }

    /// Begins one step of the address lane; `Some` if it cannot even begin.
    pub fn start(&mut self, ticket: Ticket, step: AddressStep, until: Instant) -> Option<Event> {
        let number = ticket.0;
        let message = match step {
            AddressStep::Open { epoch, lease_end } => {
                ToGate::Open { ticket: number, epoch, lease_end, lease: self.lease }
            }
            AddressStep::Close => {
                self.lease_end = None;
                ToGate::Close { ticket: number }
            }
            AddressStep::CutStream => ToGate::CutStream { ticket: number },
            AddressStep::LiftCut => ToGate::LiftCut { ticket: number },
        };
        let failed = |text: String| Some(Event::StepEnded { ticket, result: StepResult::Failed(text) });
        let Some(link) = &mut self.link else {
            return failed("the gate process does not answer".into());
        };
        if let Err(error) = link.send(&message) {
            return failed(error.to_string());
        }
        self.pending.insert(ticket, until);
        None
    }

    /// When the next step's deadline passes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.values().min().copied()
    }

    /// Steps whose deadline has passed.
    pub fn overdue(&mut self, now: Instant) -> Vec<Event> {
        let late: Vec<Ticket> =
            self.pending.iter().filter(|(_, until)| now >= **until).map(|(ticket, _)| *ticket).collect();
        late.into_iter()
            .map(|ticket| {
                self.pending.remove(&ticket);
                Event::StepEnded { ticket, result: StepResult::TimedOut }
            })
            .collect()
    }
}
