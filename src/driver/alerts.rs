//! Sends what people should know to where they look. The loop puts an alert into a bounded queue and goes on; one
//! worker for each way delivers, and tries again with growing pauses while that fails.

use crate::config::checked::Alerts;
use crate::decision::code::Code;
use crate::decision::why::Why;
use crate::io::alert::{Channel, Kind};
use crate::io::clock;
use crate::wire::alert::{Alert, AlertMessage};
use crate::wire::control::SCHEMA_VERSION;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Alerts that wait: a night of trouble with a dead relay. The oldest go first.
const WAITING: usize = 256;
/// What one failover has to say comes within this, and goes out together.
const TOGETHER: Duration = Duration::from_secs(1);
/// The first pause after a failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Takes alerts. Never waits.
#[derive(Debug)]
pub struct AlertQueue {
    ways: Vec<Sender<Alert>>,
    problems: watch::Receiver<BTreeMap<&'static str, Why>>,
}

impl AlertQueue {
    /// Starts a worker for each way on the present runtime. A way that is not configured takes alerts and drops them: a
    /// reload may configure it.
    pub fn spawn(cluster: &str, node: &str, alerts: &watch::Receiver<Alerts>) -> Self {
        let (problems, shown) = watch::channel(BTreeMap::new());
        let ways = Kind::ALL.map(|kind| {
            let mut settings = alerts.clone();
            let way = kind.of(&settings.borrow_and_update());
            let (queue, alerts) = channel(WAITING);
            let worker = Worker {
                kind,
                way,
                settings,
                cluster: cluster.to_owned(),
                node: node.to_owned(),
                problems: problems.clone(),
                waiting: VecDeque::new(),
                dropped: 0,
            };
            tokio::spawn(worker.run(alerts));
            queue
        });
        Self { ways: ways.to_vec(), problems: shown }
    }

    /// Nobody is told.
    #[cfg(test)]
    pub fn to_nobody() -> Self {
        Self { ways: Vec::new(), problems: watch::channel(BTreeMap::new()).1 }
    }

    /// Takes a reason, if it is one that people should know at once.
    pub fn take(&self, why: &Why, epoch: u64) {
        if self.ways.is_empty() || !why.code.alerts(why.severity) {
            return;
        }
        let alert = Alert {
            code: why.code,
            severity: why.severity,
            text: why.text.clone(),
            remedy: why.remedy.clone(),
            epoch,
            time: clock::wall().to_string(),
        };
        for way in &self.ways {
            // The worker empties its queue even while it cannot deliver: this is full only when the host stands still.
            let _ = way.try_send(alert.clone());
        }
    }

    /// Ways that do not work now.
    pub fn problems(&self) -> Vec<Why> {
        self.problems.borrow().values().cloned().collect()
    }
}

struct Worker {
    kind: Kind,
    /// `None`: not configured.
    way: Option<Channel>,
    settings: watch::Receiver<Alerts>,
    cluster: String,
    node: String,
    problems: watch::Sender<BTreeMap<&'static str, Why>>,
    waiting: VecDeque<Alert>,
    dropped: u64,
}

impl Worker {
    async fn run(mut self, mut alerts: Receiver<Alert>) {
        loop {
            let first = tokio::select! {
                Ok(()) = self.settings.changed() => {
                    self.renew();
                    continue;
                }
                first = alerts.recv() => first,
            };
            let Some(first) = first else { return };
            self.keep(first);
            self.collect(&mut alerts, Instant::now() + TOGETHER).await;
            self.deliver(&mut alerts).await;
        }
    }

    /// Until nothing waits any more, by the way that is configured then.
    async fn deliver(&mut self, alerts: &mut Receiver<Alert>) {
        let mut pause = FIRST_PAUSE;
        while !self.waiting.is_empty() {
            if self.settings.has_changed().unwrap_or(false) {
                self.renew();
            }
            // What comes meanwhile waits in the queue.
            let message = self.message();
            let Some(way) = &mut self.way else {
                self.waiting.clear();
                self.dropped = 0;
                return;
            };
            match way.deliver(&message).await {
                Ok(()) => {
                    let sent = message.alerts.len().min(self.waiting.len());
                    self.waiting.drain(..sent);
                    self.dropped -= message.dropped.min(self.dropped);
                    self.note(None);
                    pause = FIRST_PAUSE;
                }
                Err(problem) => {
                    self.note(Some(problem));
                    let mut settings = self.settings.clone();
                    tokio::select! {
                        () = self.collect(alerts, Instant::now() + pause) => {}
                        Ok(()) = settings.changed() => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// The way that is configured now. What waits goes by it.
    fn renew(&mut self) {
        self.way = self.kind.of(&self.settings.borrow_and_update());
        let name = self.kind.name();
        self.problems.send_if_modified(|shown| shown.remove(name).is_some());
    }

    fn message(&self) -> AlertMessage {
        AlertMessage {
            schema_version: SCHEMA_VERSION,
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            alerts: self.waiting.iter().cloned().collect(),
            dropped: self.dropped,
        }
    }

    /// Takes what comes until then.
    async fn collect(&mut self, alerts: &mut Receiver<Alert>, until: Instant) {
        while let Ok(more) = timeout_at(until, alerts.recv()).await {
            match more {
                Some(alert) => self.keep(alert),
                // The daemon ends; what waits is tried once more, and no longer.
                None => return sleep_until(until).await,
            }
        }
    }

    fn keep(&mut self, alert: Alert) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(alert);
    }

    fn note(&self, problem: Option<String>) {
        let name = self.kind.name();
        let why = problem.map(|problem| Why::new(Code::AlertFailed, format!("{name}: {problem}")));
        self.problems.send_if_modified(|shown| {
            let before = shown.get(name).cloned();
            if before == why {
                return false;
            }
            match &why {
                Some(why) => {
                    tracing::warn!(code = why.code.word(), "{}", why.text);
                    shown.insert(name, why.clone());
                }
                None => {
                    tracing::info!(code = "alert.delivered", "{name}: alerts are delivered again");
                    shown.remove(name);
                }
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::Webhook;
    use crate::decision::why::Severity;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    fn alert(number: u64) -> Alert {
        Alert {
            code: Code::TakeoverDone,
            severity: Severity::Warning,
            text: number.to_string(),
            remedy: String::new(),
            epoch: number,
            time: String::new(),
        }
    }

    fn to(webhook: Webhook) -> Alerts {
        Alerts { smtp: None, webhook: Some(webhook) }
    }

    /// A receiver, and the way to it.
    async fn receiver() -> (TcpListener, Alerts) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let path = "/".to_owned().into();
        (listener, to(Webhook { host: "127.0.0.1".into(), port, path, tls: None }))
    }

    /// Takes one POST with this status; its text.
    async fn take(listener: &TcpListener, status: &str) -> String {
        let soon = Duration::from_secs(20);
        let (mut stream, _) = timeout(soon, listener.accept()).await.expect("an alert in time").unwrap();
        let mut text = String::new();
        while !text.contains("\"dropped\"") || !text.trim_end().ends_with('}') {
            let mut part = [0; 4096];
            let length = timeout(soon, stream.read(&mut part)).await.unwrap().unwrap();
            assert!(length > 0, "cut off: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..length]));
        }
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        text
    }

    /// What a dead receiver did not take goes to the one that a reload names, at once.
    #[tokio::test]
    async fn r2_11_a_reload_changes_where_alerts_go() {
        let (first, way) = receiver().await;
        let (settings, current) = watch::channel(way);
        let queue = AlertQueue::spawn("shop", "db1", &current);
        queue.take(&Why::new(Code::TakeoverDone, "one"), 7);
        assert!(take(&first, "200 OK").await.contains("\"one\""));
        queue.take(&Why::new(Code::TakeoverDone, "two"), 8);
        take(&first, "500 No").await;
        let mut problems = queue.problems.clone();
        timeout(Duration::from_secs(20), problems.wait_for(|shown| !shown.is_empty()))
            .await
            .unwrap()
            .unwrap();
        let (second, way) = receiver().await;
        settings.send_replace(way);
        assert!(take(&second, "200 OK").await.contains("\"two\""));
        assert!(queue.problems().is_empty(), "{:?}", queue.problems());
    }

    /// What a reload takes the way from goes nowhere, and waits for nothing.
    #[tokio::test]
    async fn without_a_way_no_alert_waits() {
        let (kind, settings) = (Kind::Smtp, watch::channel(Alerts::default()).1);
        let mut worker = Worker {
            kind,
            way: None,
            settings,
            cluster: "shop".into(),
            node: "db1".into(),
            problems: watch::Sender::new(BTreeMap::new()),
            waiting: VecDeque::new(),
            dropped: 3,
        };
        worker.keep(alert(1));
        worker.deliver(&mut channel(1).1).await;
        assert!(worker.waiting.is_empty() && worker.dropped == 0);
    }

    #[test]
    fn the_oldest_go_when_too_many_wait() {
        let webhook = Webhook { host: "127.0.0.1".into(), port: 9, path: "/".to_owned().into(), tls: None };
        let (kind, settings) = (Kind::Webhook, watch::channel(to(webhook)).1);
        let way = kind.of(&settings.borrow());
        let problems = watch::Sender::new(BTreeMap::new());
        let (cluster, node) = ("shop".into(), "db1".into());
        let waiting = VecDeque::new();
        let mut worker = Worker { kind, way, settings, cluster, node, problems, waiting, dropped: 0 };
        let many = WAITING as u64 + 7;
        (0..many).for_each(|number| worker.keep(alert(number)));
        let message = worker.message();
        assert_eq!((message.alerts.len(), message.dropped), (WAITING, 7));
        assert_eq!((message.alerts[0].epoch, message.alerts[WAITING - 1].epoch), (7, many - 1));
    }

    /// What people must know, whoever gives it; and what would only wake them.
    #[test]
    fn r4_06_what_is_lost_alerts_and_what_goes_on_does_not() {
        for code in [
            Code::TakeoverDone,
            Code::ModeLoser,
            Code::RejoinFailed,
            Code::TakeoverBlocked,
            Code::TakeoverFailed,
            Code::PeerSilent,
            Code::DatabaseUnhealthy,
            Code::StateUnwritable,
            Code::LeaseLost,
            Code::CheckFailed,
        ] {
            assert!(code.alerts(code.severity()), "{code}");
        }
        for code in [Code::Start, Code::Eligible, Code::BidStarted, Code::TakeoverDraining, Code::AlertFailed]
        {
            assert!(!code.alerts(code.severity()), "{code}");
        }
        assert!(Code::Eligible.alerts(Severity::Error), "what is said louder than usual is worth it");
    }
}
