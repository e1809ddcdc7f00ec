//! One worker for each lane of slow work. Nothing overtakes within a lane; a step that only waits gives way to
//! one that forbids writes, because a step-down must never queue behind a drain.

use super::bulk;
use crate::decision::action::{DatabaseStep, RemoteStep, StepResult, Ticket};
use crate::decision::event::Event;
use crate::decision::service::ServiceStep;
use crate::io::mariadb::Database;
use crate::io::peer_link::LinkSettings;
use crate::io::service::Services;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One step in a queue.
#[derive(Debug)]
pub struct Queued<S> {
    /// Comes back with the end.
    pub ticket: Ticket,
    /// What to do.
    pub step: S,
    /// Counted from its begin.
    pub deadline: Duration,
}

/// What a lane is told.
#[derive(Debug)]
pub enum Order<S> {
    /// Do this after what is queued.
    Start(Queued<S>),
    /// Give this up.
    Abandon(Ticket),
}

/// The three lanes of the `work` runtime.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// The local server.
    pub database: UnboundedSender<Order<DatabaseStep>>,
    /// The peer's side.
    pub remote: UnboundedSender<Order<RemoteStep>>,
    /// The services.
    pub units: UnboundedSender<Order<ServiceStep>>,
}

impl Lanes {
    /// Starts the workers on the present runtime.
    pub fn spawn(
        database: &Arc<Database>,
        services: Arc<Services>,
        link: LinkSettings,
        events: &UnboundedSender<Event>,
    ) -> Self {
        let (to_database, database_orders) = unbounded_channel();
        let (to_remote, remote_orders) = unbounded_channel();
        let (to_units, units_orders) = unbounded_channel();
        let local = database.clone();
        tokio::spawn(work(
            database_orders,
            events.clone(),
            DatabaseStep::gives_way_to,
            move |step: DatabaseStep, deadline| {
                let database = local.clone();
                async move { database.perform(&step, deadline).await }
            },
        ));
        let far = database.clone();
        let link = Arc::new(link);
        tokio::spawn(work(
            remote_orders,
            events.clone(),
            |_, _| false,
            move |step: RemoteStep, deadline| {
                let (database, link) = (far.clone(), link.clone());
                async move {
                    match step {
                        RemoteStep::FetchTail { have } => bulk::fetch(&database, &link, have, deadline).await,
                        step => database.perform_remote(&step, deadline).await,
                    }
                }
            },
        ));
        tokio::spawn(work(
            units_orders,
            events.clone(),
            ServiceStep::gives_way_to,
            move |step: ServiceStep, deadline| {
                let services = services.clone();
                async move { services.perform(&step, tokio::time::Instant::now() + deadline).await }
            },
        ));
        Self { database: to_database, remote: to_remote, units: to_units }
    }
}

async fn work<S, F, R>(
    mut orders: UnboundedReceiver<Order<S>>,
    events: UnboundedSender<Event>,
    yields: fn(&S, &S) -> bool,
    mut perform: F,
) where
    S: Clone + Send + 'static,
    F: FnMut(S, Duration) -> R,
    R: Future<Output = StepResult>,
{
    let mut queue: VecDeque<Queued<S>> = VecDeque::new();
    loop {
        let queued = match queue.pop_front() {
            Some(queued) => queued,
            None => match orders.recv().await {
                Some(Order::Start(queued)) => queued,
                Some(Order::Abandon(_)) => continue,
                None => return,
            },
        };
        let step = perform(queued.step.clone(), queued.deadline);
        tokio::pin!(step);
        let result = loop {
            tokio::select! {
                result = &mut step => break result,
                order = orders.recv() => match order {
                    Some(Order::Start(next)) => {
                        let gives_way = yields(&queued.step, &next.step);
                        queue.push_back(next);
                        if gives_way {
                            break StepResult::TimedOut;
                        }
                    }
                    Some(Order::Abandon(ticket)) if ticket == queued.ticket => break StepResult::TimedOut,
                    Some(Order::Abandon(ticket)) => {
                        if let Some(index) = queue.iter().position(|other| other.ticket == ticket) {
                            queue.remove(index);
                            let _ = events.send(Event::StepEnded { ticket, result: StepResult::TimedOut });
                        }
                    }
                    None => return,
                },
            }
        };
        if events.send(Event::StepEnded { ticket: queued.ticket, result }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::action::StepOutput;
    use std::sync::Mutex;
    use tokio::sync::Notify;

    /// A lane whose steps end when they are told to, and note when they begin.
    #[tokio::test]
    async fn nothing_overtakes_and_what_waits_gives_way() {
        let (events, mut ended) = unbounded_channel();
        let (orders, receiver) = unbounded_channel();
        let (begun, go) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (note, wait) = (begun.clone(), go.clone());
        tokio::spawn(work(receiver, events, DatabaseStep::gives_way_to, move |step: DatabaseStep, _| {
            note.lock().expect("not poisoned").push(step.clone());
            let wait = wait.clone();
            async move {
                if step == DatabaseStep::Drain {
                    wait.notified().await;
                }
                StepResult::Ok(StepOutput::Done)
            }
        }));
        let start = |ticket, step| {
            let queued = Queued { ticket: Ticket(ticket), step, deadline: Duration::from_secs(1) };
            orders.send(Order::Start(queued)).expect("the lane lives");
        };
        start(1, DatabaseStep::Drain);
        start(2, DatabaseStep::StopApplying);
        start(3, DatabaseStep::AllowWrites);
        tokio::task::yield_now().await;
        assert_eq!(*begun.lock().expect("not poisoned"), [DatabaseStep::Drain], "the rest waits its turn");
        start(4, DatabaseStep::ForbidWrites);
        let mut results = Vec::new();
        while results.len() < 4 {
            let Some(Event::StepEnded { ticket, result }) = ended.recv().await else {
                panic!("the lane ended")
            };
            results.push((ticket.0, result == StepResult::TimedOut));
        }
        assert_eq!(results, [(1, true), (2, false), (3, false), (4, false)]);
        assert_eq!(begun.lock().expect("not poisoned").last(), Some(&DatabaseStep::ForbidWrites));
    }
}
