//! What the service manager is told (sd_notify(3)). Without one (`NOTIFY_SOCKET` unset) every call does nothing.

use sd_notify::NotifyState;
use std::time::Duration;

/// The daemon answers and takes part.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`reloaded`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("the monotonic clock: {error}"),
    }
}

/// Whatever came of it, the reload is over; the line for `systemctl status` stays as it was.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The daemon is on its way out.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Stopping takes longer: the manager waits this much more from now.
pub fn extend_timeout(by: Duration) {
    tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))]);
}

/// The control loop turns; call it at least every [`watchdog_interval`], from that loop only.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// Half of `WatchdogSec=` of this process, if the manager watches it (sd_watchdog_enabled(3)).
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|period| period / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}
