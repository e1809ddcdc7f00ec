//! The one match from [`Action`] to what carries it out.

use super::lanes::{Lanes, Order, Queued};
use super::pair::Pair;
use super::record::RecordQueue;
use super::roles::RoleTeller;
use crate::decision::action::{Action, Answer, CommandId, RecordStep, Step, StepResult, Ticket};
use crate::decision::event::Event;
use crate::decision::time::Instant;
use crate::decision::words::{Epoch, NodeId};
use crate::io::control_socket::Inquiry;
use crate::io::journal::JournalHandle;
use crate::io::mariadb::Database;
use crate::io::{notify, service_manager};
use crate::wire::advert::{Advertisement, Version};
use crate::wire::peer::{Hello, Purpose};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::sync::watch;

/// Handles to everything that is not a socket of the loop.
#[derive(Debug)]
pub struct Effects {
    /// Database and remote lane.
    pub lanes: Lanes,
    /// Record lane.
    pub record: RecordQueue,
    /// To the loop's own inbox, for steps that end at once.
    pub events: UnboundedSender<Event>,
    /// Asks for a probe of the gateway targets now.
    pub probe_gateway: Sender<()>,
    /// What the heartbeat writer does.
    pub heartbeat: watch::Sender<Option<Epoch>>,
    /// What the watch over the replication stream does.
    pub stream: watch::Sender<Option<Epoch>>,
    /// For bulk data.
    pub database: Arc<Database>,
    /// Where bulk data is served.
    pub work: Handle,
    /// To be written out before the end.
    pub journal: JournalHandle,
    /// Where the peer's questions go that need no decision.
    pub inquiries: Sender<Inquiry>,
    /// Who waits for which command.
    pub answers: BTreeMap<CommandId, Sender<Answer>>,
    /// Mode changes that are being written.
    pub modes: BTreeSet<Ticket>,
    /// Who wants to know of this node's role.
    pub roles: RoleTeller,
}

impl Effects {
    /// Remembers who asked.
    pub fn expect_answer(&mut self, id: CommandId, replies: Sender<Answer>) {
        self.answers.insert(id, replies);
    }

    /// A mode change of our own is on its way to the file.
    pub fn writing_mode(&self) -> bool {
        !self.modes.is_empty()
    }

    /// A step ended; whether it was a writing of the mode file.
    pub fn step_ended(&mut self, ticket: Ticket) -> bool {
        self.modes.remove(&ticket)
    }

    /// SIGTERM came. Whether that is a stop or a restart is asked off the loop; the answer is an event.
    pub fn ask_whether_to_restart(&self) {
        let events = self.events.clone();
        self.work.spawn(async move {
            let restart = service_manager::restart_is_queued().await;
            notify::stopping(if restart { "stopping for a restart" } else { "stopping" });
            // The loop is gone only when it has nothing left to stop.
            let _ = events.send(if restart { Event::Restart } else { Event::Stop });
        });
    }

    /// Serves the peer's request for bulk data, off the loop.
    pub fn serve_bulk(&self, stream: TcpStream, hello: Hello) {
        let (database, inquiries) = (self.database.clone(), self.inquiries.clone());
        let Ok(stream) = stream.into_std() else { return };
        self.work.spawn(async move {
            // The stream was registered with the loop's runtime; the work runtime takes it over.
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            match hello.purpose {
                Purpose::Messages => {}
                Purpose::Tail { have } => super::bulk::serve(database, stream, have).await,
                Purpose::Page { page } => super::bulk::serve_page(inquiries, stream, page).await,
            }
        });
    }

    /// Lets what is on its way out get out, for `limit` at most.
    pub async fn drain(&self, limit: Duration) {
        self.journal.flush(limit).await;
        // Goodbye messages sit in their sockets' queues.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fn answer(&mut self, id: CommandId, answer: Answer) {
        let last = answer.is_last();
        if let Some(replies) = self.answers.get(&id) {
            // An operator who does not listen must not hold the loop up.
            let _ = replies.try_send(answer);
        }
        if last {
            self.answers.remove(&id);
        }
    }

    fn fail(&self, ticket: Ticket, text: &str) {
        let _ = self.events.send(Event::StepEnded { ticket, result: StepResult::Failed(text.into()) });
    }

    fn record(&mut self, ticket: Ticket, step: RecordStep) {
        if matches!(step, RecordStep::SetMode { .. }) {
            self.modes.insert(ticket);
        }
        if self.record.send((ticket, step)).is_err() {
            self.fail(ticket, "the record thread ended");
        }
    }
}

impl Pair {
    /// Carries out one action. Nothing here waits.
    pub(super) fn carry_out(&mut self, action: Action, now: Instant) {
        match action {
            Action::SendAdvert { priority } => self.send_advert(priority),
            Action::SendPeer(message) => {
                self.inputs.peer.send(&message);
            }
            Action::RenewLease { epoch, lease_end } => self.inputs.gate.renew(epoch, lease_end),
            Action::Start { ticket, step, deadline } => self.start(ticket, step, deadline, now),
            Action::Abandon(ticket) => {
                let _ = self.effects.lanes.database.send(Order::Abandon(ticket));
                let _ = self.effects.lanes.remote.send(Order::Abandon(ticket));
                let _ = self.effects.lanes.units.send(Order::Abandon(ticket));
            }
            Action::ProbeGateway => {
                // A probe that is already asked for is as good.
                let _ = self.effects.probe_gateway.try_send(());
            }
            Action::WatchForLife { on } => self.watch_for_life(on, now),
            Action::Announce => self.announcing.begin(now),
            Action::StopAnnouncing => self.announcing.stop(),
            Action::WatchDatabase { heartbeat_epoch } => {
                self.effects.heartbeat.send_replace(heartbeat_epoch);
            }
            Action::Answer { id, answer } => self.effects.answer(id, answer),
            Action::Tell(_) => {}
            Action::Exit => self.finish(),
        }
    }

    fn send_advert(&self, priority: u8) {
        let vrrp = &self.config.vrrp;
        let addresses = self.config.cluster.virtual_addresses.iter();
        let advertisement = Advertisement {
            version: if vrrp.version == 2 { Version::V2 } else { Version::V3 },
            virtual_router_id: vrrp.virtual_router_id,
            priority,
            interval: vrrp.advert_interval,
            addresses: addresses.map(|virtual_address| virtual_address.address).collect(),
        };
        if let Err(error) = self.inputs.vrrp.send(&advertisement) {
            tracing::debug!(code = "vrrp.send", "an advertisement did not leave: {error}");
        }
    }

    fn start(&mut self, ticket: Ticket, step: Step, deadline: Duration, now: Instant) {
        match step {
            Step::Record(step) => self.effects.record(ticket, step),
            Step::Address(step) => {
                if let Some(event) = self.inputs.gate.start(ticket, step, now + deadline) {
                    let _ = self.effects.events.send(event);
                }
            }
            Step::Database(step) => {
                let order = Order::Start(Queued { ticket, step, deadline });
                if self.effects.lanes.database.send(order).is_err() {
                    self.effects.fail(ticket, "the database lane ended");
                }
            }
            Step::Units(step) => {
                let order = Order::Start(Queued { ticket, step, deadline });
                if self.effects.lanes.units.send(order).is_err() {
                    self.effects.fail(ticket, "the units lane ended");
                }
            }
            Step::Remote(step) => {
                let order = Order::Start(Queued { ticket, step, deadline });
                if self.effects.lanes.remote.send(order).is_err() {
                    self.effects.fail(ticket, "the remote lane ended");
                }
            }
        }
    }

    fn watch_for_life(&mut self, on: bool, now: Instant) {
        self.life.turn(on, now);
        let epoch = self.node.epoch();
        let peer = NodeId(3 - self.config.me.id.0);
        // Rows of the peer's activity only: our own prove nothing about it.
        let watched = on.then_some(epoch).filter(|epoch| epoch.node == peer);
        self.effects.stream.send_replace(watched);
    }
}
