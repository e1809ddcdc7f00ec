//! How services are doing: told at once by systemd and by the engine, looked at each second all the same.

use super::container::Events;
use super::{Outcome, Services};
use crate::config::checked::{Means, Service};
use crate::decision::event::Event;
use crate::decision::service::{ServiceReport, ServiceState};
use futures_util::StreamExt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use zbus::MessageStream;
use zbus::message::Type;

/// From look to look where nobody tells anything.
const LOOK: Duration = Duration::from_secs(1);
/// A look that takes longer has seen nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// What happens at once is looked at once.
const SETTLE: Duration = Duration::from_millis(10);

/// Who tells of changes.
enum Teller {
    Systemd(watch::Receiver<()>),
    Engine(Events),
    Nobody,
}

impl Services {
    /// Reports each service at each change and at least each second, until nobody listens.
    pub async fn watch(self: Arc<Self>, events: UnboundedSender<Event>) {
        let mut tasks = JoinSet::new();
        for index in 0..self.services.len() {
            let (services, events) = (self.clone(), events.clone());
            tasks.spawn(async move {
                services.watch_one(&services.services[index], &events).await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn watch_one(&self, service: &Service, events: &UnboundedSender<Event>) {
        let name = &service.settings.name;
        let mut teller = Teller::Nobody;
        loop {
            if matches!(teller, Teller::Nobody) {
                // Without one the next second tries again; the look says what is wrong.
                teller = timeout(PATIENCE, self.teller(service))
                    .await
                    .ok()
                    .and_then(Result::ok)
                    .unwrap_or(Teller::Nobody);
            }
            let next = Instant::now() + LOOK;
            let report = timeout(PATIENCE, self.state(name)).await.unwrap_or_else(|_| ServiceReport {
                name: name.clone(),
                state: ServiceState::Unknown,
                detail: format!("no answer within {} s", PATIENCE.as_secs()),
            });
            if events.send(Event::Service(report)).is_err() {
                return;
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = teller.told() => sleep_until(Instant::now() + SETTLE).await,
                () = events.closed() => return,
            }
        }
    }

    async fn teller(&self, service: &Service) -> Outcome<Teller> {
        Ok(match &service.means {
            Means::Unit(unit) => {
                let bus = self.systemd.bus().await?;
                let path = self.systemd.object(unit).await?;
                let rule = zbus::MatchRule::builder()
                    .msg_type(Type::Signal)
                    .path(path)
                    .interface("org.freedesktop.DBus.Properties")
                    .member("PropertiesChanged")
                    .build()
                    .map_err(|error| error.to_string())?;
                let stream = MessageStream::for_match_rule(rule, &bus, None).await;
                Teller::Systemd(changes(stream.map_err(|error| error.to_string())?))
            }
            Means::Container(container) => Teller::Engine(self.engine.events(container).await?),
            Means::Commands { .. } => Teller::Nobody,
        })
    }
}

/// What a stream tells, as one mark. The stream is always read: one that is full would hold up all that comes over the
/// connection, answers too.
fn changes(mut stream: MessageStream) -> watch::Receiver<()> {
    let (told, changes) = watch::channel(());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(_)) => { told.send_replace(()); }
                    _ => return,
                },
                () = told.closed() => return,
            }
        }
    });
    changes
}

impl Teller {
    /// Returns when something has changed; never where nobody tells.
    async fn told(&mut self) {
        let goes_on = match self {
            Self::Systemd(changes) => changes.changed().await.is_ok(),
            Self::Engine(events) => events.next().await,
            Self::Nobody => pending().await,
        };
        if !goes_on {
            *self = Self::Nobody;
        }
    }
}
