//! Operations: each command has a number under which its progress and end can be asked for, by the caller who
//! waits, by one whose connection broke, and by a colleague.

use super::Service;
use super::query::Query;
use super::reply::{Reply, json, problem};
use crate::decision::action::Answer;
use crate::io::clock;
use crate::wire::control::{Operation, Outcome};
use hyper::StatusCode;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Ended operations that are still known.
const KEPT: usize = 64;
/// Longest wait that one request may ask for.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(600);

/// All operations of this run of the daemon.
pub(super) struct Operations {
    /// Tells runs of the daemon apart in the number.
    run: String,
    known: Mutex<Known>,
}

struct Known {
    count: u64,
    operations: VecDeque<watch::Sender<Operation>>,
}

impl Operations {
    pub(super) fn new() -> Self {
        let seconds = u64::try_from(clock::wall().as_second()).unwrap_or(0);
        let known = Mutex::new(Known { count: 0, operations: VecDeque::new() });
        Self { run: format!("{:04x}", seconds & 0xffff), known }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new number, for an operation that is not begun yet.
    pub(super) fn next_id(&self) -> String {
        let mut known = self.known();
        known.count += 1;
        format!("{}-{}", self.run, known.count)
    }

    /// Makes the operation known and follows its answers.
    pub(super) fn begin(
        &self,
        id: String,
        command: &str,
        actor: &str,
        replies: mpsc::Receiver<Answer>,
    ) -> watch::Receiver<Operation> {
        let started_at = format!("{:.3}", clock::wall());
        let (sender, receiver) = watch::channel(Operation::begun(id, command, actor, started_at));
        let mut known = self.known();
        known.operations.push_back(sender.clone());
        while known.operations.len() > KEPT {
            // The oldest that has ended goes; one that runs is never forgotten.
            let Some(ended) =
                known.operations.iter().position(|operation| operation.borrow().outcome != Outcome::Running)
            else {
                break;
            };
            known.operations.remove(ended);
        }
        tokio::spawn(follow(sender, replies));
        receiver
    }

    fn find(&self, id: &str) -> Option<watch::Receiver<Operation>> {
        self.known()
            .operations
            .iter()
            .find(|operation| operation.borrow().id == id)
            .map(watch::Sender::subscribe)
    }

    fn all(&self) -> Vec<Operation> {
        self.known().operations.iter().map(|operation| operation.borrow().clone()).collect()
    }
}

async fn follow(operation: watch::Sender<Operation>, mut replies: mpsc::Receiver<Answer>) {
    while let Some(answer) = replies.recv().await {
        let last = answer.is_last();
        operation.send_modify(|operation| operation.take(answer));
        if last {
            return;
        }
    }
    let dropped =
        Answer::Failed("the daemon dropped the command without an answer; look at apctl history".to_owned());
    operation.send_modify(|operation| operation.take(dropped));
}

/// Waits until the operation has more than `seen` lines of progress or has ended, at most `wait`.
pub(super) async fn news(
    operation: &mut watch::Receiver<Operation>,
    seen: usize,
    wait: Duration,
) -> Operation {
    let news = operation
        .wait_for(|operation| operation.outcome != Outcome::Running || operation.progress.len() > seen);
    // Time out, or the daemon is ending: what is known now is the answer.
    drop(tokio::time::timeout(wait.min(WAIT_MAX), news).await);
    operation.borrow().clone()
}

/// `GET /operations`.
pub(super) fn list(service: &Service) -> Reply {
    json(StatusCode::OK, &service.operations.all())
}

/// `GET /operations/ID?wait=10s&seen=3`.
pub(super) async fn read(service: &Service, id: &str, query: &Query) -> Reply {
    match service.operations.find(id) {
        None => {
            let detail =
                format!("operation {id} is not known: it ended long ago, or before the daemon was restarted");
            problem(StatusCode::NOT_FOUND, "E_NO_OPERATION", detail, "apctl history shows what became of it")
        }
        Some(mut operation) => {
            json(StatusCode::OK, &news(&mut operation, query.seen, query.wait.unwrap_or_default()).await)
        }
    }
}
