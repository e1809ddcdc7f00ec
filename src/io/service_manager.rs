//! What systemd has in mind for this daemon, asked over D-Bus: SIGTERM alone does not tell a stop from a restart.

use std::time::Duration;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

/// systemd on the bus.
pub(crate) const SERVICE: &str = "org.freedesktop.systemd1";
/// Its one manager object.
pub(crate) const MANAGER: &str = "/org/freedesktop/systemd1";
/// A manager that does not answer by then has most likely a whole host to stop.
const ANSWER: Duration = Duration::from_millis(500);

/// Whether systemd is going to start this daemon again at once: the job of its unit is a restart. No answer, no
/// systemd, or no job at all (a signal by hand) is no.
pub async fn restart_is_queued() -> bool {
    // Set by systemd alone, and taken along by nothing else that starts the daemon.
    if std::env::var_os("INVOCATION_ID").is_none() {
        return false;
    }
    match tokio::time::timeout(ANSWER, job_type()).await {
        Ok(Ok(job)) => job.as_deref() == Some("restart"),
        Ok(Err(error)) => {
            tracing::warn!(code = "stop.job_unknown", "systemd was asked why the daemon stops: {error}");
            false
        }
        Err(_late) => {
            tracing::warn!(code = "stop.job_unknown", "systemd did not say in time why the daemon stops");
            false
        }
    }
}

/// The type of the job that runs for this process's unit, as in org.freedesktop.systemd1(5); `None` without one.
async fn job_type() -> zbus::Result<Option<String>> {
    let bus = Connection::system().await?;
    let manager = Some("org.freedesktop.systemd1.Manager");
    let own = std::process::id();
    let reply = bus.call_method(Some(SERVICE), MANAGER, manager, "GetUnitByPID", &own).await?;
    let unit: OwnedObjectPath = reply.body().deserialize()?;
    let job = property(&bus, &unit, "org.freedesktop.systemd1.Unit", "Job").await?;
    let (number, job): (u32, OwnedObjectPath) = job.try_into()?;
    if number == 0 {
        return Ok(None);
    }
    let kind = property(&bus, &job, "org.freedesktop.systemd1.Job", "JobType").await?;
    Ok(Some(String::try_from(kind)?))
}

/// Reads one property of one object of systemd.
pub(crate) async fn property(
    bus: &Connection,
    object: &OwnedObjectPath,
    interface: &str,
    name: &str,
) -> zbus::Result<OwnedVariant> {
    let properties = Some("org.freedesktop.DBus.Properties");
    let reply = bus.call_method(Some(SERVICE), object, properties, "Get", &(interface, name)).await?;
    reply.body().deserialize()
}
