//! What was decided, to log and journal: decisions with their reason, steps with their duration, and events that
//! are not mere routine.

use super::alerts::AlertQueue;
use crate::decision::action::{Action, Step, StepResult, Ticket};
use crate::decision::code::Code;
use crate::decision::event::{DatabaseReport, Event};
use crate::decision::peer::PeerMessage;
use crate::decision::time::Instant;
use crate::decision::why::{Severity, Why};
use crate::io::journal::{Entry, JournalHandle};
use crate::io::log;
use std::collections::BTreeMap;

/// Writes both; never waits.
#[derive(Debug)]
pub struct Recorder {
    journal: JournalHandle,
    alerts: AlertQueue,
    running: BTreeMap<Ticket, (Step, Instant)>,
    /// What was last recorded of things that are reported again and again.
    seen: BTreeMap<String, String>,
    /// Codes of the newest warnings, for the status.
    pub warnings: BTreeMap<String, Why>,
    /// Takeovers by reason, for metrics.
    pub takeovers: BTreeMap<String, u64>,
    /// How long the last takeover took, from its right to service, milliseconds.
    pub takeover_ms: Option<f64>,
    takeover_began: Option<Instant>,
    /// The outage that clients saw at the last takeover, as far as this node can tell, milliseconds.
    pub client_outage_ms: Option<f64>,
    /// Last sign of the peer on any path.
    heard_at: Option<Instant>,
    /// Since when nobody has served, as far as this node can tell.
    unserved_since: Option<Instant>,
    /// Failed probes of each check since this node last took over, or since the start; for metrics.
    pub check_failures: BTreeMap<String, u64>,
}

impl Recorder {
    /// Records into `journal`, and passes on to `alerts` what people should know at once.
    pub fn new(journal: JournalHandle, alerts: AlertQueue) -> Self {
        Self {
            journal,
            alerts,
            running: BTreeMap::new(),
            seen: BTreeMap::new(),
            warnings: BTreeMap::new(),
            takeovers: BTreeMap::new(),
            takeover_ms: None,
            takeover_began: None,
            client_outage_ms: None,
            heard_at: None,
            unserved_since: None,
            check_failures: BTreeMap::new(),
        }
    }

    /// The journal, for its health.
    pub const fn journal(&self) -> &JournalHandle {
        &self.journal
    }

    /// The alerts, for what is wrong with them.
    pub const fn alerts(&self) -> &AlertQueue {
        &self.alerts
    }

    /// An event, before it is handled. Heartbeats, adverts and repeated readings are routine.
    pub fn event(&mut self, event: &Event, epoch: u64, now: Instant) {
        match event {
            Event::StepEnded { ticket, result } => self.step_ended(*ticket, result, epoch, now),
            Event::Peer(PeerMessage::Heartbeat(heartbeat)) => {
                self.heard_at = Some(now);
                self.unserved_since = self.unserved_since.filter(|_| !heartbeat.facts.serving);
            }
            Event::Peer(PeerMessage::Acknowledge(_)) => self.heard_at = Some(now),
            Event::Advert(advert) if advert.from_peer => self.heard_at = Some(now),
            Event::Advert(_) | Event::Deadline => {}
            Event::Database(report) => self.changed("database", database_text(report), epoch, now),
            Event::Check(report) => {
                let text = format!("{} {}", if report.passed { "passed" } else { "failed" }, report.detail);
                self.changed(&format!("check.{}", report.name), text, epoch, now);
                *self.check_failures.entry(report.name.clone()).or_default() += u64::from(!report.passed);
            }
            Event::Service(report) => {
                let text = format!("{} {}", report.state.word(), report.detail);
                self.changed(&format!("service.{}", report.name), text, epoch, now);
            }
            Event::Gateway { answered, asked } => {
                self.changed("gateway", format!("{answered} of {asked} answer"), epoch, now);
            }
            Event::AddressClaimed { .. } | Event::StreamAlive => {
                self.changed("life", format!("{event:?}"), epoch, now);
            }
            other => {
                let entry = Entry::event(now, epoch, event_code(other), format!("{other:?}"));
                self.journal.record(entry);
            }
        }
    }

    /// Records what differs from what was last said of the same thing.
    fn changed(&mut self, what: &str, text: String, epoch: u64, now: Instant) {
        if self.seen.get(what) != Some(&text) {
            self.journal.record(Entry::event(now, epoch, &format!("event.{what}"), text.clone()));
            self.seen.insert(what.to_owned(), text);
        }
    }

    fn step_ended(&mut self, ticket: Ticket, result: &StepResult, epoch: u64, now: Instant) {
        let Some((step, began)) = self.running.remove(&ticket) else { return };
        let took = now.since(began);
        self.journal.record(Entry::step_ended(now, epoch, ticket, &step, took, result));
        if !matches!(result, StepResult::Ok(_)) {
            tracing::warn!(code = "step.failed", took_ms = took.as_millis(), "{step:?}: {result:?}");
        }
    }

    /// An action, before it is carried out.
    pub fn action(&mut self, action: &Action, epoch: u64, now: Instant) {
        match action {
            Action::Start { ticket, step, .. } => {
                self.journal.record(Entry::step_started(now, epoch, *ticket, step));
                self.running.insert(*ticket, (step.clone(), now));
            }
            Action::Tell(why) => self.decision(why, epoch, now),
            Action::Announce | Action::StopAnnouncing => {
                self.journal.record(Entry::action(now, epoch, "announce", format!("{action:?}")));
            }
            Action::Answer { answer, .. } if answer.is_last() => {
                self.journal.record(Entry::action(now, epoch, "answer", format!("{answer:?}")));
            }
            _ => {}
        }
    }

    /// The warnings whose texts still stand, the worst first.
    pub fn standing_warnings(&self, standing: &[&String]) -> Vec<Why> {
        let mut warnings: Vec<Why> =
            self.warnings.values().filter(|why| standing.contains(&&why.text)).cloned().collect();
        warnings.sort_by_key(|why| std::cmp::Reverse(why.severity));
        warnings
    }

    fn decision(&mut self, why: &Why, epoch: u64, now: Instant) {
        let entry = self.with_outage(Entry::decision(now, epoch, why), why.code, now);
        self.journal.record(entry);
        self.alerts.take(why, epoch);
        let (code, text, remedy) = (why.code.word(), why.text.as_str(), why.remedy.as_str());
        let message_id = log::message_id(code);
        match why.severity {
            Severity::Info => tracing::info!(code, message_id, epoch, remedy, "{text}"),
            Severity::Warning => tracing::warn!(code, message_id, epoch, remedy, "{text}"),
            Severity::Error => tracing::error!(code, message_id, epoch, remedy, "{text}"),
        }
        if why.code == Code::TakeoverStarted {
            let reason = text.rsplit(' ').next().unwrap_or("unknown").to_owned();
            *self.takeovers.entry(reason).or_default() += 1;
            self.takeover_began = Some(now);
        } else if why.code == Code::TakeoverDone {
            // A new activity is judged by what it does itself.
            self.check_failures.values_mut().for_each(|failures| *failures = 0);
            self.takeover_ms = self.takeover_began.take().map(|began| now.since(began).as_secs_f64() * 1e3);
        }
        if why.severity > Severity::Info {
            self.warnings.insert(code.to_owned(), why.clone());
        }
    }

    /// From the peer's last sign of life (or its word that its gate is closed) to the end of a takeover nobody has
    /// served: the story of the takeover is told with that.
    fn with_outage(&mut self, entry: Entry, code: Code, now: Instant) -> Entry {
        let milliseconds = |since: Instant| (now.since(since).as_secs_f64() * 1e5).round() / 100.0;
        match code {
            Code::PeerSilent => {
                self.unserved_since = self.heard_at;
                match self.heard_at {
                    Some(heard) => entry.with("silent_ms", milliseconds(heard)),
                    None => entry,
                }
            }
            Code::PeerReleased => {
                self.unserved_since = Some(now);
                entry
            }
            Code::BidCalledOff => {
                self.unserved_since = None;
                entry
            }
            Code::TakeoverDone => {
                self.client_outage_ms = self.unserved_since.take().map(milliseconds);
                match self.client_outage_ms {
                    Some(outage) => entry.with("client_outage_ms", outage),
                    None => entry,
                }
            }
            _ => entry,
        }
    }
}

fn database_text(report: &DatabaseReport) -> String {
    let replica = report.replica.as_ref().map_or_else(
        || "no replica".to_owned(),
        |replica| {
            format!(
                "replica of {}: receiving {}, applying {}, {}",
                replica.primary, replica.receiving, replica.applying, replica.error
            )
        },
    );
    format!(
        "reachable {}, dead {}, writable {}, {replica}; {}",
        report.reachable, report.dead, report.writable, report.detail
    )
}

const fn event_code(event: &Event) -> &'static str {
    match event {
        Event::Started(_) => "event.started",
        Event::PeerUp { .. } => "event.peer_up",
        Event::PeerDown => "event.peer_down",
        Event::Peer(_) => "event.peer_message",
        Event::Gate(_) => "event.gate",
        Event::Link(_) => "event.link",
        Event::ModeFile(_) => "event.mode_file",
        Event::Command { .. } => "event.command",
        Event::Reload(_) => "event.reload",
        Event::Stop => "event.stop",
        Event::Restart => "event.restart",
        Event::Resumed { .. } => "event.resumed",
        _ => "event",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::event::CheckReport;
    use crate::io::journal::Journal;
    use std::time::Duration;

    #[tokio::test]
    async fn r4_17_failed_probes_are_counted_anew_from_a_takeover_on() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::spawn(folder.path().join("journal.db"));
        let mut recorder = Recorder::new(journal, AlertQueue::to_nobody());
        let probe = |recorder: &mut Recorder, passed| {
            let (name, detail) = ("vip".to_owned(), String::new());
            let report = CheckReport { name, passed, certain: false, detail, took: Duration::ZERO };
            recorder.event(&Event::Check(report), 1, Instant::ZERO);
            recorder.check_failures["vip"]
        };
        assert_eq!([true, false, false, true].map(|passed| probe(&mut recorder, passed)), [0, 1, 2, 2]);
        let tell = |recorder: &mut Recorder, code| {
            recorder.action(&Action::Tell(Why::new(code, "a test")), 2, Instant::ZERO);
        };
        tell(&mut recorder, Code::TakeoverStarted);
        assert_eq!(recorder.check_failures["vip"], 2, "it may still fail");
        tell(&mut recorder, Code::TakeoverDone);
        assert_eq!(recorder.check_failures["vip"], 0);
        assert_eq!(probe(&mut recorder, false), 1);
    }
}
