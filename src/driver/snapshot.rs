//! What the admin thread shows: made from the decision's own view, so that what is shown is what decides.

use super::hooks::HookQueue;
use super::inputs::Inputs;
use super::recorder::Recorder;
use super::service_status;
use crate::config::checked::Config;
use crate::decision::code::Code;
use crate::decision::node::Node;
use crate::decision::table::{On, Row, To};
use crate::decision::time::Instant;
use crate::decision::view::{Headline, View};
use crate::decision::why::Why;
use crate::decision::words::{Protection, Role};
use crate::io::control_socket::Snapshot;
use crate::wire::control::{
    CheckStatus, Condition, Counters, DatabaseStatus, Evidence, Explain, Match, NextDeadline, NodeState,
    OperationStatus, PeerDatabase, ReplicaStatus, Rule, Status, Transition, meter,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How old a snapshot may be; ages in it are counted on when it is shown.
const EVERY: Duration = Duration::from_millis(250);

/// What others have to say of what they were told.
#[derive(Clone, Copy, Debug)]
pub struct Told<'d> {
    /// Decisions, journal and alerts.
    pub recorder: &'d Recorder,
    /// Hooks, and files of old scripts.
    pub hooks: &'d HookQueue,
}

/// Publishes snapshots at every change that matters, and regularly.
#[derive(Debug)]
pub struct Publisher {
    config: Arc<Config>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    started_at: String,
    last: Instant,
    headline: Option<Headline>,
    phase: (String, Instant),
    stall_max: Duration,
    notified: String,
    takeover_wait: Duration,
}

impl Publisher {
    /// Publishes into `snapshots`.
    pub fn new(config: Arc<Config>, snapshots: watch::Sender<Arc<Snapshot>>) -> Self {
        let takeover_wait = crate::decision::lease::takeover_wait(
            &config.decision_settings(),
            config.lease.duration,
            config.vrrp.advert_interval,
        );
        Self {
            config,
            snapshots,
            started_at: crate::io::clock::wall().to_string(),
            last: Instant::ZERO,
            headline: None,
            phase: (String::new(), Instant::ZERO),
            stall_max: Duration::ZERO,
            notified: String::new(),
            takeover_wait,
        }
    }

    /// What is shown of another configuration from now on.
    pub fn reload(&mut self, config: Arc<Config>) {
        self.config = config;
    }

    /// A snapshot that says that the daemon starts.
    pub fn first(config: &Config) -> Snapshot {
        let cluster = &config.cluster;
        Snapshot {
            status: Status::starting(&cluster.name, &config.me.name, &config.peer.name, cluster.protection),
            explain: Explain::default(),
            counters: Counters::default(),
            taken: crate::io::clock::now(),
            lease_end: None,
        }
    }

    /// The loop woke up this much too late.
    pub fn stalled(&mut self, late: Duration) {
        self.stall_max = self.stall_max.max(late);
    }

    /// Publishes, if something that matters changed or it is time.
    pub fn publish(&mut self, node: &Node, inputs: &Inputs, told: Told<'_>, now: Instant, at_once: bool) {
        let headline = Some(node.headline());
        if !at_once && self.headline == headline && now < self.last + EVERY {
            return;
        }
        self.last = now;
        self.headline = headline;
        let view = node.view();
        if self.phase.0 != view.phase {
            self.phase = (view.phase.clone(), now);
        }
        let status = self.status(&view, told);
        self.notify(&status);
        let snapshot = Snapshot {
            explain: self.explain(&view),
            counters: self.counters(&view, inputs, told.recorder, now),
            status,
            taken: now,
            lease_end: view.gate.open.then_some(view.lease_end),
        };
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// systemd's STATUS line follows the role.
    fn notify(&mut self, status: &Status) {
        let line = format!("{} in epoch {}: {}", status.node.role, status.node.epoch, status.node.why);
        if line != self.notified {
            crate::io::notify::status(&line);
            self.notified = line;
        }
    }

    fn status(&self, view: &View, told: Told<'_>) -> Status {
        let config = &self.config;
        let mut status = Status::starting(
            &config.cluster.name,
            &config.me.name,
            &config.peer.name,
            config.cluster.protection,
        );
        let now = view.taken;
        let node = &mut status.node;
        node.role = view.role;
        node.mode = view.mode;
        node.epoch = view.epoch.number;
        node.state = NodeState::of(view.role);
        node.vip_held = view.gate.address_held;
        node.gate_open = view.gate.open;
        node.lease_remaining_ms = view.gate.open.then(|| milliseconds(view.lease_end.since(now)));
        node.solo = view.solo;
        node.eligible = view.eligible == Some(view.epoch);
        (node.link_usable, node.link) = view.link.clone().unwrap_or((false, "not read yet".into()));
        node.gateway = Some(view.gateway).filter(|(_, asked)| *asked > 0);
        node.database = self.database(view);
        node.checks = checks(view, config);
        node.services = service_status::services(view);
        node.takeover = service_status::takeover(view, self.takeover_wait);
        node.mode_note = match &view.mode_problem {
            Some(problem) => problem.clone(),
            None => format!("{}: {}", view.mode_actor, view.mode_reason),
        };
        node.why = view.why.text.clone();
        peer(view, &mut status);
        status.guarded = view.guarded;
        status.operation = self.operation(view);
        status.addresses = config
            .cluster
            .virtual_addresses
            .iter()
            .map(|address| format!("{}/{}", address.address, address.prefix))
            .collect();
        status.started_at.clone_from(&self.started_at);
        let standing: Vec<&String> = view.warnings.iter().map(|(_, text)| text).collect();
        status.warnings = told.recorder.standing_warnings(&standing);
        status.warnings.extend(view.latched.clone());
        status.warnings.extend(service_status::warnings(view));
        if let Some(problem) = told.recorder.journal().health().problem {
            status.warnings.push(Why::new(Code::JournalProblem, problem));
        }
        status.warnings.extend(told.hooks.problems());
        status.warnings.extend(told.recorder.alerts().problems());
        status.warnings.extend(self.blocked_adverts(view));
        for warning in &view.database.warnings {
            status.warnings.push(Why::new(Code::DatabaseSetting, warning.clone()));
        }
        status.protection.limits.extend(view.gate_degraded.clone());
        status.protection.single_faults = meter(&status);
        status
    }

    /// Heartbeats alone keep the pair whole, but then it stands on one path: that is said. A few late advertisements
    /// are nobody's fault.
    fn blocked_adverts(&self, view: &View) -> Option<Why> {
        let quiet = self.config.vrrp.advert_interval * 5 + Duration::from_secs(1);
        let long = |since: Option<Instant>| since.is_some_and(|since| view.taken > since + quiet);
        let active = view.peer.as_ref().is_some_and(|peer| peer.role == Role::Active);
        let blocked = active && view.contact && view.peer_up && long(view.contact_since);
        let silent = view.advert_at.is_none() || long(view.advert_at);
        (blocked && silent).then(|| {
            let name = &self.config.peer.name;
            let text =
                format!("advertisements blocked: heartbeats of {name} arrive, its VRRP packets do not");
            Why::new(Code::VrrpBlocked, text)
        })
    }

    fn database(&self, view: &View) -> DatabaseStatus {
        let report = &view.database;
        let timing = self.config.mariadb_check;
        let replica = report.replica.as_ref();
        DatabaseStatus {
            reachable: report.reachable,
            writable: report.writable,
            gtid: report.binlog_position.to_string(),
            replica: replica.map(|replica| ReplicaStatus {
                primary: replica.primary.clone(),
                receiving: replica.receiving,
                applying: replica.applying,
                received: replica.received.to_string(),
                applied: replica.applied.to_string(),
                error: replica.error.clone(),
            }),
            lag_ms: replica.and_then(|replica| replica.lag).map(milliseconds),
            in_sync: None,
            version: report.version.clone(),
            detail: report.detail.clone(),
            age_ms: view.database_at.map(|at| milliseconds(view.taken.since(at))),
            fresh_for_ms: Some(milliseconds(timing.interval + timing.timeout + Duration::from_millis(500))),
        }
    }

    fn operation(&self, view: &View) -> Option<OperationStatus> {
        let name = match view.phase.as_str() {
            "bidding" => "bid",
            "taking_over" => "takeover",
            "handing_over" | "receiving" => "switchover",
            "stepping_down" => "step-down",
            _ => return None,
        };
        Some(OperationStatus {
            name: name.into(),
            id: None,
            step: view.why.text.clone(),
            age_ms: milliseconds(view.taken.since(self.phase.1)),
        })
    }

    fn explain(&self, view: &View) -> Explain {
        let now = view.taken;
        let age = |at: Option<Instant>| at.map(|at| milliseconds(now.since(at)));
        let evidence = |name: &str, value: String, age_ms| Evidence { name: name.into(), value, age_ms };
        let yes = |holds: bool| if holds { "yes".to_owned() } else { "no".to_owned() };
        let mut explain = Explain {
            state: format!("{} ({})", view.role, view.phase),
            since_ms: Some(milliseconds(now.since(self.phase.1))),
            rule: Rule { code: view.why.code.word().into(), text: view.why.text.clone() },
            ..Explain::default()
        };
        explain.evidence = vec![
            evidence("mode", format!("{} ({})", view.mode, view.mode_reason), None),
            evidence("epoch", view.epoch.to_string(), None),
            evidence("eligible", yes(view.eligible == Some(view.epoch)), None),
            evidence("solo", yes(view.solo), None),
            evidence("gate open", yes(view.gate.open), None),
            evidence("database healthy", yes(view.database_healthy == Some(true)), age(view.database_at)),
            evidence("peer heartbeat", yes(view.contact), age(view.heartbeat_at)),
            evidence("peer advertisement", yes(view.advert_at.is_some()), age(view.advert_at)),
            evidence("acknowledgement", yes(view.acknowledged_at.is_some()), age(view.acknowledged_at)),
            evidence("gateway", format!("{} of {} answer", view.gateway.0, view.gateway.1), None),
        ];
        explain.evidence.extend(service_status::evidence(view, self.takeover_wait));
        explain.last_transition = view.moved.and_then(|(number, at)| {
            Some(Transition { age_ms: age(Some(at)), ..transition(number.row()?, &[]) })
        });
        let next = view.next_moves.iter();
        explain.next_transitions =
            next.filter_map(|next| Some(transition(next.row.row()?, &next.holds))).collect();
        explain.next_deadline = Some(NextDeadline {
            name: "the next look at the state".into(),
            in_ms: milliseconds(view.next_deadline.since(now)),
        });
        explain.would_change.clone_from(&view.not_active_because);
        explain.why_not = BTreeMap::from([("active".into(), view.not_active_because.clone())]);
        explain.what_if = self.what_if(view);
        explain
    }

    fn what_if(&self, view: &View) -> BTreeMap<String, Vec<String>> {
        let wait = milliseconds(self.takeover_wait);
        let mut lines = Vec::new();
        if view.role == Role::Active {
            lines.push(match self.config.cluster.protection {
                Protection::Vrrp => "this node goes on alone".to_owned(),
                Protection::Gateway => "this node goes on alone while the gateway targets answer".to_owned(),
            });
        } else if view.not_active_because.iter().all(|reason| reason.contains("the peer is active")) {
            lines.push(format!("this node takes over {wait} ms after the last sign of life"));
        } else {
            lines.push("this node does not take over:".to_owned());
            lines.extend(view.not_active_because.iter().cloned());
        }
        BTreeMap::from([("peer-down".into(), lines)])
    }

    fn counters(&self, view: &View, inputs: &Inputs, recorder: &Recorder, now: Instant) -> Counters {
        let vrrp = inputs.vrrp.counters();
        let age = |at: Option<Instant>| at.map(|at| milliseconds(now.since(at)));
        let mut ages = BTreeMap::new();
        ages.extend(age(view.heartbeat_at).map(|age| ("link".to_owned(), age)));
        ages.extend(age(view.advert_at).map(|age| ("vrrp".to_owned(), age)));
        let lag = view.database.replica.as_ref().and_then(|replica| replica.lag);
        ages.extend(lag.map(|lag| ("stream".to_owned(), milliseconds(lag))));
        Counters {
            adverts_sent: vrrp.sent(),
            adverts_received: vrrp.received(),
            adverts_rejected: vrrp.rejected().map(|(reason, count)| (reason.to_owned(), count)).collect(),
            takeovers: recorder.takeovers.clone(),
            check_failures: recorder.check_failures.clone(),
            takeover_ms: recorder.takeover_ms,
            client_outage_ms: recorder.client_outage_ms,
            loop_stall_max_ms: self.stall_max.as_secs_f64() * 1e3,
            heartbeat_age_ms: ages,
            config_hash: self.config.hash,
        }
    }
}

/// A row in words; `holds` says how its conditions stand, where that is known.
fn transition(row: &Row, holds: &[Option<bool>]) -> Transition {
    let events = match row.on {
        On::Any => &[],
        On::Events(classes) => classes,
    };
    let to = match row.to {
        To::Move(state) => state,
        To::Stay | To::GoOn => row.from,
    };
    let when = row.when.iter().enumerate().map(|(place, guard)| Condition {
        text: guard.meaning().into(),
        holds: holds.get(place).copied().flatten(),
    });
    Transition {
        from: row.from.word().into(),
        to: to.word().into(),
        code: row.code.map(|code| code.word().into()).unwrap_or_default(),
        on: events.iter().map(|class| class.meaning().into()).collect(),
        when: when.collect(),
        age_ms: None,
    }
}

fn peer(view: &View, status: &mut Status) {
    let now = view.taken;
    let peer = &mut status.peer;
    peer.connected = view.peer_up;
    peer.heartbeat_age_ms = view.heartbeat_at.map(|at| milliseconds(now.since(at)));
    peer.advert_age_ms = view.advert_at.map(|at| milliseconds(now.since(at)));
    let Some(facts) = &view.peer else { return };
    peer.state = if view.contact { NodeState::of(facts.role) } else { NodeState::Disconnected };
    peer.role = Some(facts.role);
    peer.mode = Some(facts.mode);
    peer.epoch = Some(facts.epoch.number);
    peer.r#match = match view.configuration_matches {
        None => Match::Unknown,
        Some(true) => Match::Match,
        Some(false) => Match::Mismatch,
    };
    peer.fit = Some(facts.fit);
    peer.database = Some(PeerDatabase {
        reachable: facts.database_reachable,
        writable: facts.database_writable,
        replica_running: facts.replica_running,
        gtid: facts.gtid.to_string(),
    });
    peer.why.clone_from(&facts.why);
}

fn checks(view: &View, config: &Config) -> Vec<CheckStatus> {
    let active = view.role == Role::Active;
    let now = view.taken;
    let mut checks = vec![CheckStatus {
        name: "mariadb".into(),
        ok: view.database_healthy == Some(true),
        age_ms: view.database_at.map(|at| milliseconds(now.since(at))),
        detail: view.database.detail.clone(),
        took_ms: None,
        counts: true,
    }];
    checks.extend(view.checks.iter().map(|check| {
        let counts = config
            .checks
            .iter()
            .find(|configured| configured.name == check.name)
            .is_none_or(|configured| if active { configured.on_active } else { configured.on_standby });
        CheckStatus {
            name: check.name.clone(),
            ok: check.ok == Some(true),
            age_ms: check.at.map(|at| milliseconds(now.since(at))),
            detail: check.detail.clone(),
            took_ms: Some(check.took.as_secs_f64() * 1e3),
            counts,
        }
    }));
    checks
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
