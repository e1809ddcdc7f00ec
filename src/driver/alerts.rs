//! Sends what people should know to where they look. The loop puts an alert into a bounded queue and goes on; one
//! worker for each way delivers, and tries again with growing pauses while that fails.

use crate::config::checked::Config;
use crate::decision::code::Code;
use crate::decision::why::Why;
use crate::io::alert::Channel;
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
    /// Starts a worker for each configured way on the present runtime.
    pub fn spawn(config: &Config) -> Self {
        let (problems, shown) = watch::channel(BTreeMap::new());
        let mut ways = Vec::new();
        for channel_of in Channel::all(&config.alerts) {
            let (queue, alerts) = channel(WAITING);
            let worker = Worker {
                way: channel_of,
                cluster: config.cluster.name.clone(),
                node: config.me.name.clone(),
                problems: problems.clone(),
                waiting: VecDeque::new(),
                dropped: 0,
            };
            tokio::spawn(worker.run(alerts));
            ways.push(queue);
        }
        Self { ways, problems: shown }
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
    way: Channel,
    cluster: String,
    node: String,
    problems: watch::Sender<BTreeMap<&'static str, Why>>,
    waiting: VecDeque<Alert>,
    dropped: u64,
}

impl Worker {
    async fn run(mut self, mut alerts: Receiver<Alert>) {
        while let Some(first) = alerts.recv().await {
            self.keep(first);
            self.collect(&mut alerts, Instant::now() + TOGETHER).await;
            let mut pause = FIRST_PAUSE;
            while !self.waiting.is_empty() {
                // What comes meanwhile waits in the queue.
                let message = self.message();
                match self.way.deliver(&message).await {
                    Ok(()) => {
                        let sent = message.alerts.len().min(self.waiting.len());
                        self.waiting.drain(..sent);
                        self.dropped -= message.dropped.min(self.dropped);
                        self.note(None);
                        pause = FIRST_PAUSE;
                    }
                    Err(problem) => {
                        self.note(Some(problem));
                        self.collect(&mut alerts, Instant::now() + pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
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
        let name = self.way.name();
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
    use crate::config::checked::{Alerts, Webhook};
    use crate::decision::why::Severity;

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

    #[test]
    fn the_oldest_go_when_too_many_wait() {
        let webhook = Webhook { host: "127.0.0.1".into(), port: 9, path: "/".to_owned().into(), tls: None };
        let way = Channel::all(&Alerts { smtp: None, webhook: Some(webhook) }).remove(0);
        let problems = watch::Sender::new(BTreeMap::new());
        let (cluster, node) = ("shop".into(), "db1".into());
        let mut worker = Worker { way, cluster, node, problems, waiting: VecDeque::new(), dropped: 0 };
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
