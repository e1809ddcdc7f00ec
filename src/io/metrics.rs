//! `/metrics`: the snapshot as Prometheus text, or as OpenMetrics where the scraper accepts that.
//!
//! Written by hand over the snapshot: every value is computed at the time of the answer, and there is no
//! registry that the control loop would have to keep.

use super::journal::JournalHealth;
use crate::decision::words::{Mode, Role};
use crate::wire::control::{Counters, Match, NodeState, Status};
use std::fmt::Write as _;
use std::time::Duration;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Content type and text.
pub fn render(
    status: &Status,
    counters: &Counters,
    journal: &JournalHealth,
    snapshot_age: Duration,
    open_metrics: bool,
) -> (&'static str, String) {
    let mut page = Page { text: String::with_capacity(8 * 1024), open_metrics };
    node(&mut page, status);
    database(&mut page, status);
    checks(&mut page, status, counters);
    services(&mut page, status);
    peer(&mut page, status, counters);
    totals(&mut page, counters);
    page.gauge("snapshot_age_seconds", "Since the control loop last spoke", snapshot_age.as_secs_f64());
    page.flag("journal_ok", "The journal is written", journal.problem.is_none());
    page.family("journal_dropped", Kind::Counter, "Journal entries that found no room");
    page.sample("journal_dropped_total", &[], journal.dropped as f64);
    if open_metrics {
        page.text.push_str("# EOF\n");
    }
    (if open_metrics { OPEN_METRICS } else { PROMETHEUS }, page.text)
}

fn node(page: &mut Page, status: &Status) {
    let node = &status.node;
    page.info("build", "Version of the daemon", &[("version", &status.version)]);
    page.info(
        "node",
        "Who this is",
        &[("cluster", &status.cluster), ("node", &node.name), ("peer", &status.peer.name)],
    );
    let roles =
        [Role::Active, Role::Standby, Role::Fault, Role::Out].map(|role| (role.word(), role == node.role));
    page.states("role", "What this node does", &roles);
    let modes = [Mode::Ap, Mode::Maintenance, Mode::Standalone].map(|mode| (mode.word(), mode == node.mode));
    page.states("mode", "What the operator allows", &modes);
    page.gauge("epoch", "Number of the newest known activity", node.epoch as f64);
    page.gauge(
        "lease_remaining_seconds",
        "Until the lease ends unless renewed",
        node.lease_remaining_ms.map_or(0.0, seconds),
    );
    page.flag("gate_open", "Clients get through", node.gate_open);
    page.flag("vip_held", "The virtual addresses are on the interface", node.vip_held);
    page.flag("link_usable", "The interface is up, with carrier and address", node.link_usable);
    page.flag("solo", "This node holds the right to serve alone", node.solo);
    page.flag("eligible", "This node may bid when the active goes silent", node.eligible);
    page.flag("guarded", "Too many automatic failovers: none until cleared", status.guarded);
    if let Some((answered, asked)) = node.gateway {
        page.gauge(
            "gateway_targets_answered",
            "Gateway targets that answered the last probe",
            f64::from(answered),
        );
        page.gauge("gateway_targets", "Gateway targets asked", f64::from(asked));
    }
    page.gauge("warnings", "Findings that apctl status shows", status.warnings.len() as f64);
    let level = status.protection.level.word();
    page.info(
        "protection",
        "Who may go on alone",
        &[("level", level), ("durability", &status.protection.durability)],
    );
}

fn database(page: &mut Page, status: &Status) {
    let database = &status.node.database;
    page.flag("database_reachable", "The server answered the last probe", database.reachable);
    page.flag(
        "database_writable",
        "The server takes writes, verified",
        database.reachable && database.writable,
    );
    if let Some(replica) = &database.replica {
        page.flag("replica_running", "Both replication threads run", replica.receiving && replica.applying);
    }
    if let Some(lag) = database.lag_ms {
        page.gauge("replication_lag_seconds", "Age of the newest applied heartbeat row", seconds(lag));
    }
    if let Some(in_sync) = database.in_sync {
        page.flag("in_sync", "The standby has acknowledged everything", in_sync);
    }
}

fn checks(page: &mut Page, status: &Status, counters: &Counters) {
    page.family("check_ok", Kind::Gauge, "Verdict after rise and fall");
    for check in &status.node.checks {
        page.sample("check_ok", &[("check", &check.name)], bit(check.ok));
    }
    page.family("check_duration_seconds", Kind::Gauge, "How long the last probe took");
    for check in &status.node.checks {
        if let Some(took) = check.took_ms {
            page.sample("check_duration_seconds", &[("check", &check.name)], took / 1e3);
        }
    }
    page.family(
        "check_failures",
        Kind::Gauge,
        "Failed probes since this node last took over, or since the start",
    );
    for (check, failures) in &counters.check_failures {
        page.sample("check_failures", &[("check", check)], *failures as f64);
    }
}

fn services(page: &mut Page, status: &Status) {
    let services = &status.node.services;
    if services.is_empty() {
        return;
    }
    page.family("service_running", Kind::Gauge, "The service runs on this node");
    for service in services {
        let runs = bit(service.state == "running");
        let labels = [("service", service.name.as_str()), ("runs_on", service.runs_on.as_str())];
        page.sample("service_running", &labels, runs);
    }
    page.family("service_restarts_used", Kind::Gauge, "Local restarts used since it was last steady");
    for service in services {
        page.sample("service_restarts_used", &[("service", &service.name)], f64::from(service.restarts_used));
    }
    page.family("service_failed", Kind::Gauge, "The service was given up until an operator clears it");
    for service in services {
        page.sample("service_failed", &[("service", &service.name)], bit(service.fault.is_some()));
    }
}

fn peer(page: &mut Page, status: &Status, counters: &Counters) {
    let peer = &status.peer;
    let states = [
        NodeState::Running,
        NodeState::Standby,
        NodeState::Faulted,
        NodeState::Unknown,
        NodeState::Disconnected,
    ];
    page.states(
        "peer_state",
        "The peer as last heard",
        &states.map(|state| (state.word(), state == peer.state)),
    );
    page.flag("peer_connected", "The peer link is up", peer.connected);
    let mut ages = counters.heartbeat_age_ms.clone();
    ages.extend(peer.heartbeat_age_ms.map(|age| ("link".to_owned(), age)));
    ages.extend(peer.advert_age_ms.map(|age| ("vrrp".to_owned(), age)));
    page.family("heartbeat_age_seconds", Kind::Gauge, "Since the peer was last heard, by path");
    for (path, age) in &ages {
        page.sample("heartbeat_age_seconds", &[("path", path)], seconds(*age));
    }
    page.info(
        "config_hash",
        "Configuration that both nodes must share",
        &[("hash", &format!("{:016x}", counters.config_hash))],
    );
    page.flag(
        "config_mismatch",
        "Version or configuration of the nodes differ",
        peer.r#match == Match::Mismatch,
    );
}

fn totals(page: &mut Page, counters: &Counters) {
    page.family("takeovers", Kind::Counter, "Takeovers of this node in this run, by reason");
    for (reason, count) in &counters.takeovers {
        page.sample("takeovers_total", &[("reason", reason)], *count as f64);
    }
    if let Some(took) = counters.takeover_ms {
        page.gauge("takeover_duration_seconds", "The last takeover, from its right to service", took / 1e3);
    }
    if let Some(outage) = counters.client_outage_ms {
        page.gauge("client_outage_seconds", "The outage that clients saw at the last takeover", outage / 1e3);
    }
    page.family("adverts_sent", Kind::Counter, "VRRP advertisements sent");
    page.sample("adverts_sent_total", &[], counters.adverts_sent as f64);
    page.family("adverts_received", Kind::Counter, "Valid VRRP advertisements received");
    page.sample("adverts_received_total", &[], counters.adverts_received as f64);
    page.family("adverts_rejected", Kind::Counter, "Refused VRRP advertisements, by reason");
    for (reason, count) in &counters.adverts_rejected {
        page.sample("adverts_rejected_total", &[("reason", reason)], *count as f64);
    }
    page.gauge(
        "loop_stall_seconds",
        "Longest time for which the control loop did not run",
        counters.loop_stall_max_ms / 1e3,
    );
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3
}

fn bit(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Counter,
    Info,
}

/// The text as it grows.
struct Page {
    text: String,
    open_metrics: bool,
}

impl Page {
    /// HELP and TYPE. In the older format counters and infos are named with their suffix there too, and only
    /// `gauge` and `counter` are types.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let (suffix, word) = match (self.open_metrics, kind) {
            (_, Kind::Gauge) => ("", "gauge"),
            (true, Kind::Counter) => ("", "counter"),
            (false, Kind::Counter) => ("_total", "counter"),
            (true, Kind::Info) => ("", "info"),
            (false, Kind::Info) => ("_info", "gauge"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(self.text, "# HELP apd_{name}{suffix} {help}.\n# TYPE apd_{name}{suffix} {word}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.text, "apd_{name}");
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, &[], value);
    }

    fn flag(&mut self, name: &str, help: &str, holds: bool) {
        self.gauge(name, help, bit(holds));
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.family(name, Kind::Info, help);
        self.sample(&format!("{name}_info"), labels, 1.0);
    }

    /// One sample for each state: `apd_role{role="active"} 1`. An OpenMetrics state set would have to name its
    /// label `apd_role`; the interface promises `role`, so that it is a gauge in both formats.
    fn states(&mut self, name: &str, help: &str, states: &[(&str, bool)]) {
        self.family(name, Kind::Gauge, help);
        let label = name.rsplit('_').next().unwrap_or(name);
        for (state, holds) in states {
            self.sample(name, &[(label, state)], bit(*holds));
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
