//! The configured checks, each a task of its own. A reload starts anew what it changed, and leaves the others alone.

use crate::config::checked::{Check, Config};
use crate::decision::event::{CheckReport, Event};
use crate::io::check;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Runs the checks of the present configuration until nobody listens.
pub async fn run(mut configs: watch::Receiver<Arc<Config>>, events: UnboundedSender<Event>) {
    let (reports, mut reported) = mpsc::channel(16);
    let mut running = BTreeMap::new();
    let config = configs.borrow_and_update().clone();
    adjust(&mut running, &config.checks, &reports);
    loop {
        tokio::select! {
            Some(report) = reported.recv() => {
                if events.send(Event::Check(report)).is_err() {
                    return;
                }
            }
            Ok(()) = configs.changed() => {
                let config = configs.borrow_and_update().clone();
                adjust(&mut running, &config.checks, &reports);
            }
            else => return,
        }
    }
}

/// Ends what is not wanted as it is, and starts what is missing.
fn adjust(
    running: &mut BTreeMap<String, (Check, AbortHandle)>,
    wanted: &[Check],
    reports: &mpsc::Sender<CheckReport>,
) {
    running.retain(|_, (check, task)| {
        let stays = wanted.contains(check);
        if !stays {
            task.abort();
        }
        stays
    });
    for check in wanted {
        running.entry(check.name.clone()).or_insert_with(|| {
            let task = tokio::spawn(check::run(check.clone(), reports.clone()));
            (check.clone(), task.abort_handle())
        });
    }
}
