//! What operators ask of the daemon that needs no decision: a reload, the log level, pages about this node and about
//! the other one. It runs on the work threads; the control loop hears only what changed.

use super::bulk;
use super::doctor::{self, Answering, Patient};
use crate::config::checked::Config;
use crate::config::reload::Reloaded;
use crate::config::{ConfigErrors, Loaded, Sources, flat, reload};
use crate::decision::action::Answer;
use crate::decision::code::Code;
use crate::decision::why::Why;
use crate::io::control_socket::{Inquiry, Snapshot, Unanswered};
use crate::io::journal::{Entry, JournalHandle};
use crate::io::mariadb::Database;
use crate::io::peer_link::LinkSettings;
use crate::io::{clock, log, notify};
use crate::wire::control::SCHEMA_VERSION;
use crate::wire::peer::Page;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// The loop takes a new configuration at once, or it is stuck.
const TAKEN: Duration = Duration::from_secs(3);
/// The peer's doctor asks its server and its network first.
const PEER_ANSWER: Duration = Duration::from_secs(20);

/// A configuration on its way to the control loop, which says when it has taken it.
pub type Reload = (Arc<Config>, oneshot::Sender<()>);

/// What this task knows.
pub struct Host {
    /// The main configuration file.
    pub file: PathBuf,
    /// What the daemon runs on.
    pub running: Mutex<Loaded>,
    /// To the control loop.
    pub reloads: mpsc::Sender<Reload>,
    /// To checks and probes, after the loop has it.
    pub configs: watch::Sender<Arc<Config>>,
    /// For refusals.
    pub journal: JournalHandle,
    /// For the epoch.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// For its settings.
    pub database: Arc<Database>,
    /// To ask the peer.
    pub link: LinkSettings,
}

impl Host {
    /// Answers until nobody can ask any more.
    pub async fn run(self, mut inquiries: mpsc::Receiver<Inquiry>) {
        let host = Arc::new(self);
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(code = "reload.no_signal", "SIGHUP cannot be heard: {error}");
                return;
            }
        };
        loop {
            tokio::select! {
                inquiry = inquiries.recv() => match inquiry {
                    Some(inquiry) => drop(tokio::spawn(host.clone().answer(inquiry))),
                    None => return,
                },
                _ = hangup.recv() => {
                    let host = host.clone();
                    tokio::spawn(async move { host.reload("SIGHUP", None).await });
                }
            }
        }
    }

    async fn answer(self: Arc<Self>, inquiry: Inquiry) {
        match inquiry {
            Inquiry::Reload { actor, replies } => {
                let answer = self.reload(&actor, Some(&replies)).await;
                let _ = replies.try_send(answer);
            }
            Inquiry::LogLevel { level, reply } => {
                let set = level.as_deref().map_or(Ok(()), log::set_level);
                let _ = reply.send(set.map(|()| log::level()));
            }
            Inquiry::Page { page, of_peer: true, reply } => {
                let answer = bulk::fetch_page(&self.link, page, PEER_ANSWER).await;
                let _ = reply.send(answer.map_err(Unanswered::PeerUnreachable));
            }
            Inquiry::Page { page, of_peer: false, reply } => {
                let _ = reply.send(Ok(self.page(page).await));
            }
        }
    }

    async fn page(&self, page: Page) -> Value {
        match page {
            Page::Configuration => configuration(&*self.running.lock().await),
            Page::Clock => json!({"wall_ns": wall()}),
            Page::Doctor => self.examine().await,
        }
    }

    async fn examine(&self) -> Value {
        let patient = Patient {
            running: self.running.lock().await.clone(),
            file: self.file.clone(),
            snapshot: self.snapshots.borrow().clone(),
            database: self.database.clone(),
        };
        let ask = |page: Page, limit: Duration| -> Answering<'_> {
            Box::pin(bulk::fetch_page(&self.link, page, limit))
        };
        serde_json::to_value(doctor::examine(&patient, &ask).await).unwrap_or_default()
    }

    /// All or nothing: the new configuration is read and checked whole before anything changes.
    async fn reload(&self, actor: &str, replies: Option<&mpsc::Sender<Answer>>) -> Answer {
        let mut running = self.running.lock().await;
        notify::reloading();
        let (before, file) = (running.clone(), self.file.clone());
        let read = tokio::task::spawn_blocking(move || reload::reload(&before, &Sources::from_host(file)));
        let answer = match read.await {
            Ok(Ok(reloaded)) => self.take(&mut running, reloaded, actor, replies).await,
            Ok(Err(errors)) => self.refuse(actor, &errors),
            Err(error) => Answer::Failed(format!("reading the configuration failed: {error}")),
        };
        notify::reloaded();
        answer
    }

    async fn take(
        &self,
        running: &mut Loaded,
        reloaded: Reloaded,
        actor: &str,
        replies: Option<&mpsc::Sender<Answer>>,
    ) -> Answer {
        let Reloaded { loaded, applied, pending } = reloaded;
        let lines = applied.iter().map(flat::Change::line);
        let lines = lines.chain(pending.iter().map(|change| format!("{} (needs a restart)", change.line())));
        for line in lines {
            tracing::info!(code = "config.key", actor, "{line}");
            if let Some(replies) = replies {
                let _ = replies.try_send(Answer::Progress(line));
            }
        }
        if !applied.is_empty() {
            let config = Arc::new(loaded.config.clone());
            let (taken, told) = oneshot::channel();
            let sent = self.reloads.send((config.clone(), taken)).await;
            if sent.is_err() || tokio::time::timeout(TAKEN, told).await.is_err() {
                return Answer::Failed("the control loop does not take the configuration".to_owned());
            }
            self.configs.send_replace(config);
            if loaded.config.log.level != running.config.log.level
                && let Err(error) = log::set_level(&loaded.config.log.level)
            {
                tracing::warn!(code = "log.level", "{error}");
            }
        }
        *running = loaded;
        summary(applied.len(), &pending)
    }

    fn refuse(&self, actor: &str, errors: &ConfigErrors) -> Answer {
        let text = format!("a reload asked for by {actor} was refused: {errors}");
        let why = Why::new(Code::ConfigRefused, text);
        let epoch = self.snapshots.borrow().status.node.epoch;
        self.journal.record(Entry::decision(clock::now(), epoch, &why));
        let code = why.code.word();
        let message_id = log::message_id(code);
        tracing::error!(code, message_id, remedy = why.remedy, "{}", why.text);
        Answer::Refused {
            code: "E_CONFIG_INVALID".to_owned(),
            reason: format!("{errors}\nnothing was changed: the old configuration stays"),
            remedy: "correct it; apctl config check says whether it is right".to_owned(),
        }
    }
}

fn summary(applied: usize, pending: &[flat::Change]) -> Answer {
    let keys = |count: usize| if count == 1 { "1 key".to_owned() } else { format!("{count} keys") };
    if pending.is_empty() {
        return match applied {
            0 => Answer::Already("nothing has changed in the configuration".to_owned()),
            count => Answer::Done(format!("reloaded: {} changed", keys(count))),
        };
    }
    let names: Vec<&str> = pending.iter().map(|change| change.key.as_str()).collect();
    let gate = if names.contains(&"lease.gate_ports") {
        "; lease.gate_ports: systemctl restart apd-gate"
    } else {
        ""
    };
    Answer::Degraded(format!(
        "reloaded: {} changed; needs a restart: {} (systemctl restart apd keeps the lease{gate})",
        keys(applied),
        names.join(", "),
    ))
}

/// The page `configuration`.
fn configuration(loaded: &Loaded) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "node": loaded.config.me.name,
        "hash": format!("{:016x}", loaded.config.hash),
        "version": env!("CARGO_PKG_VERSION"),
        "keys": flat::dotted_keys(&loaded.effective),
    })
}

fn wall() -> i128 {
    clock::wall().as_nanosecond()
}
