//! Units of systemd over D-Bus (org.freedesktop.systemd1(5)): jobs are waited for by their signal, never by asking
//! again and again.

use super::{BOOTED, Outcome};
use crate::decision::service::ServiceState;
use futures_util::StreamExt;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{
    Connection, DynamicType, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant,
};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The daemon's unit.
const OWN: &str = "apd.service";
const SIGKILL: i32 = 9;
/// What is killed is gone by then, unless the kernel itself hangs.
const DEATH: Duration = Duration::from_secs(5);
/// The oneshot unit that acts as root for a daemon without rights.
const ONESHOT: &str = "apd-service@";

/// systemd of this host.
#[derive(Debug, Default)]
pub struct Systemd {
    bus: Mutex<Option<Connection>>,
}

/// What was seen of a unit.
#[derive(Debug, Default)]
pub struct Seen {
    /// `loaded`, `not-found`, `masked`, ...
    pub load: String,
    /// `active`, `inactive`, `failed`, ...
    pub active: String,
    /// In the words of its type.
    pub sub: String,
    /// Units that start it when they are touched.
    pub triggered_by: Vec<String>,
}

impl Systemd {
    /// The system's bus: one connection, and a new one when that has broken.
    pub async fn bus(&self) -> Outcome<Connection> {
        if !Path::new(BOOTED).exists() {
            return Err("no systemd runs on this host: use container, or start and stop".into());
        }
        let mut kept = self.bus.lock().await;
        if let Some(bus) = kept.as_ref() {
            return Ok(bus.clone());
        }
        let connect = async || -> zbus::Result<Connection> {
            let bus = Connection::system().await?;
            // Without this systemd sends no signals.
            bus.call_method(Some(SERVICE), PATH, Some(MANAGER), "Subscribe", &()).await?;
            Ok(bus)
        };
        let bus = connect().await.map_err(|error| format!("systemd: {}", told(error)))?;
        *kept = Some(bus.clone());
        Ok(bus)
    }

    /// Starts a unit; done once it is active.
    pub async fn start(&self, unit: &str) -> Outcome<()> {
        // What systemd counts against too many starts is for apd to count.
        let _never_failed = self.manager("ResetFailedUnit", &unit).await;
        self.start_job(unit).await?;
        let seen = self.seen(unit).await?;
        match seen.active.as_str() {
            "active" | "reloading" => Ok(()),
            other => Err(format!("{unit} is {other} ({}) after its start", seen.sub)),
        }
    }

    /// Stops a unit and what would start it again; kills it when it takes longer than that.
    pub async fn stop(&self, unit: &str, patience: Duration) -> Outcome<()> {
        for socket in self.sockets(unit).await? {
            self.stop_job(&socket).await?;
        }
        match timeout(patience, self.stop_job(unit)).await {
            Ok(result) => result?,
            Err(_) => {
                tracing::warn!(code = "service.killed", unit, "the unit did not stop in time and is killed");
                self.send_kill(unit).await?;
                // The stop goes on, and ends when the last process has.
                timeout(DEATH, self.stop_job(unit))
                    .await
                    .map_err(|_| format!("{unit} outlives a kill"))??;
            }
        }
        self.is_down(unit).await
    }

    /// Kills a unit at once, and keeps systemd from starting it again.
    pub async fn kill(&self, unit: &str) -> Outcome<()> {
        for socket in self.sockets(unit).await? {
            self.stop_job(&socket).await?;
        }
        if matches!(self.seen(unit).await?.active.as_str(), "inactive" | "failed") {
            return Ok(());
        }
        // The stop is queued first, so that `Restart=` does nothing.
        self.manager("StopUnit", &(unit, self.stop_mode().await)).await?;
        self.send_kill(unit).await?;
        timeout(DEATH, self.stop_job(unit)).await.map_err(|_| format!("{unit} outlives a kill"))??;
        self.is_down(unit).await
    }

    async fn send_kill(&self, unit: &str) -> Outcome<()> {
        match self.manager("KillUnit", &(unit, "all", SIGKILL)).await {
            Err(text) if text.contains("No such process") || text.contains("no process") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn is_down(&self, unit: &str) -> Outcome<()> {
        let seen = self.seen(unit).await?;
        match seen.active.as_str() {
            "inactive" | "failed" => Ok(()),
            other => Err(format!("{unit} is {other} ({}) after its stop", seen.sub)),
        }
    }

    /// Queues a start and waits for its end.
    pub async fn start_job(&self, unit: &str) -> Outcome<()> {
        self.job("StartUnit", unit, "replace").await
    }

    /// Queues a stop and waits for its end; a unit that does not exist is stopped.
    pub async fn stop_job(&self, unit: &str) -> Outcome<()> {
        match self.job("StopUnit", unit, self.stop_mode().await).await {
            Err(text) if text.contains("not loaded") => Ok(()),
            other => other,
        }
    }

    /// The job mode for a stop. While apd's own unit stops, a unit that it comes after (the database's server does so
    /// that a shutdown ends apd first) would wait for the end of apd, which waits for the unit's.
    async fn stop_mode(&self) -> &'static str {
        match self.property::<(u32, OwnedObjectPath)>(OWN, UNIT, "Job").await {
            Ok((number, _)) if number != 0 => "ignore-dependencies",
            _ => "replace",
        }
    }

    async fn job(&self, method: &str, unit: &str, mode: &str) -> Outcome<()> {
        let bus = self.bus().await?;
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .path(PATH)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()
            .map_err(told)?;
        // Listens before it asks: a job can end at once.
        let mut ended = MessageStream::for_match_rule(rule, &bus, None).await.map_err(told)?;
        let queued = self.manager(method, &(unit, mode)).await?;
        let job: OwnedObjectPath = queued.body().deserialize().map_err(told)?;
        while let Some(message) = ended.next().await {
            let message = message.map_err(told)?;
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) =
                message.body().deserialize().map_err(told)?;
            if path == job {
                return match result.as_str() {
                    "done" | "skipped" => Ok(()),
                    other => Err(format!("{unit}: the job ended with {other}; journalctl -u {unit}")),
                };
            }
        }
        Err("the bus was closed".into())
    }

    /// Has an act done by the oneshot unit, which runs as root. A caller that does not wait for it stops it.
    pub async fn ask_oneshot(&self, act: &str) -> Outcome<()> {
        let unit = format!("{ONESHOT}{act}.service");
        let end = Withdrawn { bus: self.bus().await?, unit: unit.clone(), armed: true };
        let result = self.start_job(&unit).await;
        end.disarm();
        let Err(text) = result else { return Ok(()) };
        // It says what went wrong in its status line.
        let said = self.property::<String>(&unit, "org.freedesktop.systemd1.Service", "StatusText").await;
        Err(said.ok().filter(|said| !said.is_empty()).unwrap_or(text))
    }

    /// The sockets and paths that would start this unit.
    pub async fn sockets(&self, unit: &str) -> Outcome<Vec<String>> {
        let mut found: Vec<String> = self
            .seen(unit)
            .await?
            .triggered_by
            .into_iter()
            .filter(|other| other.ends_with(".socket") || other.ends_with(".path"))
            .collect();
        // A socket that was never loaded is not known to the unit.
        if let Some(stem) = unit.strip_suffix(".service") {
            let socket = format!("{stem}.socket");
            if !found.contains(&socket) && self.seen(&socket).await?.load != "not-found" {
                found.push(socket);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Reads unit files again.
    pub async fn reload(&self) -> Outcome<()> {
        self.manager("Reload", &()).await.map(drop)
    }

    /// How a unit is doing.
    pub async fn state(&self, unit: &str) -> Outcome<(ServiceState, String)> {
        let seen = self.seen(unit).await?;
        if seen.load == "not-found" {
            return Ok((ServiceState::Unknown, format!("there is no unit {unit}")));
        }
        let state = match seen.active.as_str() {
            "active" | "reloading" => ServiceState::Running,
            "activating" => ServiceState::Starting,
            "deactivating" => ServiceState::Stopping,
            "failed" if seen.load != "masked" => ServiceState::Failed,
            _ if seen.load == "masked" => ServiceState::Masked,
            _ => ServiceState::Stopped,
        };
        Ok((state, format!("{} ({})", seen.active, seen.sub)))
    }

    /// What systemd knows of a unit now; it is loaded if it was not.
    pub async fn seen(&self, unit: &str) -> Outcome<Seen> {
        let path = self.object(unit).await?;
        let reply = self.call(path, PROPERTIES, "GetAll", &UNIT).await?;
        let mut all: HashMap<String, OwnedVariant> = reply.body().deserialize().map_err(told)?;
        let mut text = |name: &str| {
            let value = all.remove(name).and_then(|value| String::try_from(value).ok());
            value.unwrap_or_default()
        };
        let (load, active, sub) = (text("LoadState"), text("ActiveState"), text("SubState"));
        let triggered_by =
            all.remove("TriggeredBy").and_then(|value| value.try_into().ok()).unwrap_or_default();
        Ok(Seen { load, active, sub, triggered_by })
    }

    /// The object of a unit.
    pub async fn object(&self, unit: &str) -> Outcome<OwnedObjectPath> {
        let reply = self.manager("LoadUnit", &unit).await?;
        reply.body().deserialize().map_err(told)
    }

    async fn property<T: TryFrom<OwnedVariant>>(
        &self,
        unit: &str,
        interface: &str,
        name: &str,
    ) -> Outcome<T> {
        let path = self.object(unit).await?;
        let reply = self.call(path, PROPERTIES, "Get", &(interface, name)).await?;
        let value: OwnedVariant = reply.body().deserialize().map_err(told)?;
        T::try_from(value).map_err(|_| format!("{name} of {unit} is of another type"))
    }

    async fn manager<B: Serialize + DynamicType>(&self, method: &str, body: &B) -> Outcome<Message> {
        self.call(ObjectPath::from_static_str_unchecked(PATH).into(), MANAGER, method, body).await
    }

    async fn call<B: Serialize + DynamicType>(
        &self,
        path: OwnedObjectPath,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Outcome<Message> {
        let bus = self.bus().await?;
        let reply = bus.call_method(Some(SERVICE), &path, Some(interface), method, body).await;
        if matches!(reply, Err(zbus::Error::InputOutput(_))) {
            // The bus was restarted: the next call connects again.
            *self.bus.lock().await = None;
        }
        reply.map_err(told)
    }
}

/// The text alone: the name of a D-Bus error tells an operator nothing.
fn told(error: zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(text), _) => text,
        other => other.to_string(),
    }
}

/// Stops the oneshot unit of an act that nobody waits for any more.
struct Withdrawn {
    bus: Connection,
    unit: String,
    armed: bool,
}

impl Withdrawn {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Withdrawn {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (bus, unit) = (self.bus.clone(), std::mem::take(&mut self.unit));
        tokio::spawn(async move {
            let body = (unit.as_str(), "replace");
            let stop = bus.call_method(Some(SERVICE), PATH, Some(MANAGER), "StopUnit", &body);
            if let Ok(Err(error)) = timeout(DEATH, stop).await {
                tracing::warn!(code = "service.not_withdrawn", unit, "an act goes on: {error}");
            }
        });
    }
}
