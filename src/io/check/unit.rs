//! Asks systemd whether a unit runs, and is told by it when that changes.

use super::Outcome;
use crate::config::checked::UnitProbe;
use crate::io::service_manager::{MANAGER, SERVICE, property};
use futures_util::StreamExt;
use std::time::Duration;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
/// A unit that is being restarted changes a few times within this.
const SETTLED: Duration = Duration::from_millis(20);

/// Looks at what one `[[check]]` of type `unit` names.
pub(super) struct UnitProber {
    unit: String,
    watch: Option<Watch>,
}

/// A unit on a connection of its own.
struct Watch {
    bus: Connection,
    unit: OwnedObjectPath,
    changes: MessageStream,
}

impl UnitProber {
    /// Nothing is connected yet.
    pub(super) fn new(probe: UnitProbe) -> Self {
        Self { unit: probe.unit, watch: None }
    }

    /// Asks once.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match self.state().await {
            Ok((active, sub)) => {
                let passed = ["active", "reloading", "refreshing"].contains(&active.as_str());
                // Nothing is under way that could bring it up.
                let certain = ["failed", "inactive"].contains(&active.as_str());
                Outcome { passed, certain, detail: format!("{active} ({sub})") }
            }
            Err(error) => {
                self.forget();
                Outcome::failed(format!("systemd does not say: {error}"))
            }
        }
    }

    async fn state(&mut self) -> zbus::Result<(String, String)> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => Watch::open(&self.unit).await?,
        };
        let active = property(&watch.bus, &watch.unit, UNIT, "ActiveState").await?;
        let sub = property(&watch.bus, &watch.unit, UNIT, "SubState").await?;
        self.watch = Some(watch);
        Ok((String::try_from(active)?, String::try_from(sub)?))
    }

    /// An answer that comes too late belongs to no question.
    pub(super) fn forget(&mut self) {
        self.watch = None;
    }

    /// Waits until systemd says that something about the unit changed. Cancel-safe.
    pub(super) async fn told(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        if watch.changes.next().await.is_none() {
            // The bus is gone; the next question says so.
            self.watch = None;
            return;
        }
        while tokio::time::timeout(SETTLED, watch.changes.next()).await.is_ok_and(|more| more.is_some()) {}
    }
}

impl Watch {
    async fn open(unit: &str) -> zbus::Result<Self> {
        let bus = Connection::system().await?;
        let manager = Some("org.freedesktop.systemd1.Manager");
        // Without a subscriber systemd tells nobody of changes.
        bus.call_method(Some(SERVICE), MANAGER, manager, "Subscribe", &()).await?;
        let reply = bus.call_method(Some(SERVICE), MANAGER, manager, "LoadUnit", &unit).await?;
        let unit: OwnedObjectPath = reply.body().deserialize()?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(SERVICE)
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path(unit.clone())
            .build()?;
        let changes = MessageStream::for_match_rule(rule, &bus, None).await?;
        Ok(Self { bus, unit, changes })
    }
}
