//! The watch over the local server: a look at each interval, and at once when the server dies.

use super::Database;
use super::heartbeat::Pulse;
use super::probe::Looks;
use super::session::{Failure, Session};
use super::statement::statement;
use crate::config::checked::{MariaDbEndpoint, Timing};
use crate::decision::event::DatabaseReport;
use crate::decision::words::Epoch;
use crate::io::check::Pace;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Between looks after the parked connection has ended. A dying server closes its sockets one after the other: for a
/// moment somebody still seems to listen.
const DYING: Duration = Duration::from_millis(10);
/// How long it is looked at as dying.
const DYING_FOR: Duration = Duration::from_secs(1);
/// Between attempts to park a connection while the server is away.
const PARK_PAUSE: Duration = Duration::from_millis(50);
/// Longest that a parked connection's opening may take.
const PARK_LIMIT: Duration = Duration::from_secs(2);

/// What happened to the parked connection.
enum Parked {
    /// It was opened: the server is there (again).
    Opened,
    /// It ended.
    Ended,
}

impl Database {
    /// Watches until `reports` is closed: one report for each interval (sooner while failures are counted), one as soon
    /// as the server has died, one as soon as it is back. A server that does not answer within the timeout is
    /// unreachable, not dead. `timing` can change on the way. While `heartbeat` names an activity, its rows are written
    /// every `heartbeat_every`.
    pub async fn watch(
        self: Arc<Self>,
        mut timing: watch::Receiver<Timing>,
        reports: mpsc::Sender<DatabaseReport>,
        heartbeat: watch::Receiver<Option<Epoch>>,
        heartbeat_every: Duration,
    ) {
        let pulse = Arc::new(Pulse::default());
        let (news, mut parked) = mpsc::channel(4);
        // Both end with this future, whichever way it ends.
        let mut beside = JoinSet::new();
        let (writer, beat) = (self.clone(), pulse.clone());
        beside.spawn(async move { writer.write_heartbeats(&beat, heartbeat, heartbeat_every).await });
        let parking = self.clone();
        beside.spawn(async move { parking.park(&news).await });
        let mut looks = Looks::default();
        let mut pace = Pace::new(*timing.borrow_and_update());
        let mut due = Instant::now();
        let mut dying_until = due;
        loop {
            let ended = tokio::select! {
                biased;
                news = parked.recv() => matches!(news, Some(Parked::Ended)),
                () = sleep_until(due) => false,
                Ok(()) = timing.changed() => {
                    pace = Pace::new(*timing.borrow_and_update());
                    false
                }
                () = reports.closed() => return,
            };
            let start = Instant::now();
            let limit = timing.borrow().timeout;
            let report = self.report(&mut looks, &pulse, limit, ended).await;
            let now = Instant::now();
            if ended {
                dying_until = now + DYING_FOR;
            }
            due = start + pace.after(report.reachable, report.dead);
            if now < dying_until && !report.reachable && !report.dead {
                due = now + DYING;
            }
            if reports.send(report).await.is_err() {
                return;
            }
        }
    }

    async fn report(
        &self,
        looks: &mut Looks,
        pulse: &Pulse,
        limit: Duration,
        parked_ended: bool,
    ) -> DatabaseReport {
        if parked_ended && let Some(why) = self.gone().await {
            self.renew_all();
            return silent(looks, true, format!("the server has died: {why}"));
        }
        match timeout(limit, self.look(looks, pulse, limit)).await {
            Ok(Ok(report)) => report,
            Ok(Err(Failure::TimedOut(_))) | Err(_) => {
                silent(looks, false, format!("no answer within {} ms", limit.as_millis()))
            }
            Ok(Err(failure)) => self.explain(looks, failure).await,
        }
    }

    async fn explain(&self, looks: &mut Looks, failure: Failure) -> DatabaseReport {
        match failure {
            Failure::Refused(why) => silent(looks, true, format!("no server listens: {why}")),
            failure if failure.is_saturation() => {
                let mut report = looks.last.clone();
                report.reachable = true;
                report.dead = false;
                report.warnings.push(format!("the server has no connection left: {failure}"));
                report
            }
            Failure::Lost { what, why, .. } => match self.gone().await {
                Some(gone) => {
                    self.renew_all();
                    silent(looks, true, format!("the server has died: {gone}"))
                }
                None => silent(looks, false, format!("{what}: {why}")),
            },
            failure => silent(looks, false, failure.to_string()),
        }
    }

    /// Why nobody can listen at the server's address; `None` if somebody may.
    async fn gone(&self) -> Option<String> {
        let attempt = async {
            match &self.settings.endpoint {
                MariaDbEndpoint::Socket(path) => UnixStream::connect(path).await.map(drop),
                MariaDbEndpoint::Tcp(address) => TcpStream::connect(address).await.map(drop),
            }
        };
        match timeout(Duration::from_millis(100), attempt).await {
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                Some(error.to_string())
            }
            _ => None,
        }
    }

    fn renew_all(&self) {
        for connection in [&self.control, &self.spare, &self.fence, &self.probe, &self.rows] {
            connection.renew();
        }
    }

    /// Keeps one connection that only waits. Its end is the news.
    async fn park(&self, news: &mpsc::Sender<Parked>) {
        loop {
            let opened = Session::open(self.settings.local(), Instant::now() + PARK_LIMIT).await;
            if let Ok(mut session) = opened {
                if news.send(Parked::Opened).await.is_err() {
                    return;
                }
                while session.rows_unbounded(&statement!("park")).await.is_ok() {}
                if news.send(Parked::Ended).await.is_err() {
                    return;
                }
            }
            sleep(PARK_PAUSE).await;
        }
    }
}

/// A report about a server that does not answer: what was known last, and nothing that needs an answer.
fn silent(looks: &mut Looks, dead: bool, detail: String) -> DatabaseReport {
    let mut report = looks.last.clone();
    report.reachable = false;
    report.dead = dead;
    report.detail = detail;
    report.write_stalled = None;
    report.writable &= !dead;
    if let Some(replica) = report.replica.as_mut().filter(|_| dead) {
        replica.receiving = false;
        replica.connecting = false;
        replica.applying = false;
    }
    report
}
