//! The heartbeat row: proof that commits work on the active, and a sign of life for the standby.

use super::Database;
use super::session::Failure;
use super::statement::statement;
use crate::decision::words::Epoch;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What the writer of heartbeat rows is doing, for the probe to judge.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When the write in flight began.
    waiting_since: Mutex<Option<Instant>>,
    /// Why the last write failed; empty if it did not.
    failure: Mutex<String>,
}

impl Pulse {
    pub(super) fn waiting(&self) -> Option<Duration> {
        lock(&self.waiting_since).map(|since| since.elapsed())
    }

    pub(super) fn failure(&self) -> String {
        lock(&self.failure).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Plain values: a panic elsewhere cannot have left them half changed.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Database {
    /// Writes a row every `every` while `epoch` is some. A write that waits is not given up: what it waits
    /// for says whether that is sickness, and the probe looks.
    pub(super) async fn write_heartbeats(
        &self,
        pulse: &Pulse,
        mut epoch: watch::Receiver<Option<Epoch>>,
        every: Duration,
    ) {
        let mut ticks = interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = epoch.changed() => if changed.is_err() { return },
            }
            let now = *epoch.borrow_and_update();
            match now {
                Some(now) if !self.quiet.load(Ordering::Acquire) => self.write_row(pulse, now).await,
                _ => *lock(&pulse.failure) = String::new(),
            }
        }
    }

    async fn write_row(&self, pulse: &Pulse, epoch: Epoch) {
        let row = statement!(
            "heartbeat_write",
            schema = self.schema(),
            node = self.settings.node.0,
            epoch_number = epoch.number,
            epoch_node = epoch.node.0,
        );
        *lock(&pulse.waiting_since) = Some(Instant::now());
        let outcome = self.rows.ask_unbounded(row).await;
        *lock(&pulse.waiting_since) = None;
        *lock(&pulse.failure) = match outcome {
            // 1205: a lock was held against it for as long as this connection waits for locks; it tries again.
            Ok(_) => String::new(),
            Err(failure @ Failure::Server { .. }) if !failure.is_bound() => failure.to_string(),
            Err(_) => String::new(),
        };
    }
}
