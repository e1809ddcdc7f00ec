//! `apctl status`, to be read at three in the morning: whether clients are served, what is wrong with the
//! command that resolves it, then both nodes side by side, then what the next fault would do.

use super::super::output::{Output, Tone};
use super::{clean, painted, span, table, text, wrapped};
use crate::decision::why::{Severity, Why};
use crate::decision::words::Role;
use crate::wire::control::{CheckStatus, ServiceStatus, Status};
use comfy_table::Table;

/// The whole page.
pub fn render(status: &Status, output: &Output) -> String {
    let mut page = headline(status, output);
    for why in &status.warnings {
        page.push_str(&finding(why, output));
    }
    if let Some(operation) = &status.operation {
        let id = operation.id.as_ref().map(|id| format!(" (operation {id})")).unwrap_or_default();
        let line =
            format!("now: {}{id} for {}: {}", operation.name, span(operation.age_ms), clean(&operation.step));
        page.push_str(&painted(Tone::Strong, &line, output));
    }
    page.push('\n');
    page.push_str(&text(&nodes(status, output)));
    page.push('\n');
    page.push_str(&protection(status, output));
    page
}

/// One line: are clients served, by whom, and is somebody behind.
fn headline(status: &Status, output: &Output) -> String {
    let tone = match status.warnings.first().map(|why| why.severity) {
        None | Some(Severity::Info) => Tone::Good,
        Some(Severity::Warning) => Tone::Warning,
        Some(Severity::Error) => Tone::Bad,
    };
    painted(tone, &headline_of(status), output)
}

/// The same without colour.
pub(in super::super) fn headline_of(status: &Status) -> String {
    let (node, peer) = (&status.node, &status.peer);
    let worst = status.warnings.first().map(|why| why.severity);
    let serving = if node.role == Role::Active && node.gate_open && node.database.writable {
        format!("{} serves clients", node.name)
    } else if node.role == Role::Active {
        format!("{} is active and does NOT serve", node.name)
    } else if peer.role == Some(Role::Active) {
        format!("{} serves clients", peer.name)
    } else {
        "NOBODY is known to serve clients".to_owned()
    };
    let state = match worst {
        None | Some(Severity::Info) => "healthy".to_owned(),
        Some(_) => {
            let count = |severity| status.warnings.iter().filter(|why| why.severity == severity).count();
            let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
            match (errors, warnings) {
                (0, warnings) => format!("{warnings} to look at"),
                (errors, 0) => format!("{errors} wrong"),
                (errors, warnings) => format!("{errors} wrong, {warnings} to look at"),
            }
        }
    };
    format!("{}: {serving}, epoch {}: {state}", status.cluster, node.epoch)
}

fn finding(why: &Why, output: &Output) -> String {
    let (word, tone) = match why.severity {
        Severity::Error => ("WRONG", Tone::Bad),
        Severity::Warning => ("LOOK", Tone::Warning),
        Severity::Info => ("NOTE", Tone::Faint),
    };
    let body = wrapped(&format!("{} [{}]", clean(&why.text), why.code), "       ", output.width());
    let mut lines = format!("{} {}", output.paint(tone, &format!("{word:<6}")), body.trim_start());
    if !why.remedy.is_empty() {
        let remedy = wrapped(&clean(&why.remedy), "          ", output.width());
        lines.push_str(&format!("       {} {}", output.paint(Tone::Strong, "->"), remedy.trim_start()));
    }
    lines
}

fn nodes(status: &Status, output: &Output) -> Table {
    let mut table = table(output);
    for row in rows(status) {
        table.add_row(row);
    }
    table
}

/// What is known of both nodes: its name, this node's, the other's.
pub(in super::super) fn rows(status: &Status) -> Vec<[String; 3]> {
    let (node, peer) = (&status.node, &status.peer);
    let database = &node.database;
    let unheard = || "-".to_owned();
    let mut rows = Vec::new();
    let mut row = |name: &str, mine: String, theirs: String| {
        rows.push([name.to_owned(), clean(&mine), clean(&theirs)]);
    };
    row("", format!("{} (this node)", node.name), peer.name.clone());
    row("role", node.role.to_string(), peer.role.map_or_else(unheard, |role| role.to_string()));
    row("mode", node.mode.to_string(), peer.mode.map_or_else(unheard, |mode| mode.to_string()));
    row("state", node.state.word().to_owned(), peer.state.word().to_owned());
    row("epoch", node.epoch.to_string(), peer.epoch.map_or_else(unheard, |epoch| epoch.to_string()));
    if !status.addresses.is_empty() {
        let held = if node.vip_held { "held" } else { "not held" };
        row("address", format!("{} {held}", status.addresses.join(" ")), unheard());
    }
    let gate = match (node.gate_open, node.lease_remaining_ms) {
        (true, Some(left)) => format!("open, lease {left} ms"),
        (true, None) => "open".to_owned(),
        (false, _) => "closed".to_owned(),
    };
    row("gate", gate, unheard());
    let theirs = peer.database.as_ref();
    row(
        "database",
        my_database(status),
        theirs.map_or_else(unheard, |database| words(database.reachable, database.writable)),
    );
    row("gtid", short(&database.gtid), theirs.map_or_else(unheard, |database| short(&database.gtid)));
    row(
        "replica",
        my_replica(status),
        theirs.map_or_else(unheard, |database| running(database.replica_running)),
    );
    if let Some(in_sync) = database.in_sync {
        row("in sync", if in_sync { "yes" } else { "no" }.to_owned(), unheard());
    }
    let age = |age: Option<u64>| age.map_or("never heard".to_owned(), |age| format!("{} ago", span(age)));
    let heard = format!("heartbeat {}, advert {}", age(peer.heartbeat_age_ms), age(peer.advert_age_ms));
    let link = if node.link_usable && node.link.is_empty() { "up".to_owned() } else { node.link.clone() };
    row("link", link, heard);
    if let Some((answered, asked)) = node.gateway {
        row("gateway", format!("{answered} of {asked} answer"), unheard());
    }
    for check in &node.checks {
        row(&format!("check {}", check.name), check_words(check), unheard());
    }
    for service in &node.services {
        row(&format!("service {}", service.name), service_words(service), unheard());
    }
    if let Some(takeover) = &node.takeover {
        row("takeover", takeover.words(), unheard());
    }
    row("match", unheard(), format!("{:?}", peer.r#match).to_lowercase());
    row("why", node.why.clone(), peer.why.clone());
    rows
}

fn words(reachable: bool, writable: bool) -> String {
    match (reachable, writable) {
        (false, _) => "does not answer",
        (true, true) => "writable",
        (true, false) => "read-only",
    }
    .to_owned()
}

fn my_database(status: &Status) -> String {
    let database = &status.node.database;
    let words = words(database.reachable, database.writable);
    if database.detail.is_empty() { words } else { format!("{words}: {}", database.detail) }
}

fn running(runs: bool) -> String {
    if runs { "running" } else { "not running" }.to_owned()
}

fn my_replica(status: &Status) -> String {
    let database = &status.node.database;
    let Some(replica) = &database.replica else { return "none".to_owned() };
    let lag = database.lag_ms.map_or("lag unknown".to_owned(), |lag| format!("lag {}", span(lag)));
    let words = format!("{} from {}, {lag}", running(replica.receiving && replica.applying), replica.primary);
    if replica.error.is_empty() { words } else { format!("{words}: {}", replica.error) }
}

fn check_words(check: &CheckStatus) -> String {
    let verdict = if check.ok { "ok" } else { "FAILS" };
    let age = check.age_ms.map_or("not asked yet".to_owned(), |age| format!("{} ago", span(age)));
    let counts = if check.counts { "" } else { ", does not count in this role" };
    let detail =
        if check.ok || check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
    format!("{verdict}, {age}{counts}{detail}")
}

fn service_words(service: &ServiceStatus) -> String {
    let used = match service.restarts_used {
        0 => String::new(),
        used => format!(", {used} of {} restarts used", service.restarts),
    };
    let fault = service.fault.as_ref().map(|text| format!(", GIVEN UP: {text}")).unwrap_or_default();
    format!("{}, runs on {}{used}{fault}", service.state, service.runs_on)
}

/// A GTID list is one line here; `-o json` has it whole.
fn short(gtid: &str) -> String {
    match gtid.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &gtid[..end]),
        None if gtid.is_empty() => "-".to_owned(),
        None => gtid.to_owned(),
    }
}

fn protection(status: &Status, output: &Output) -> String {
    let protection = &status.protection;
    let heading = format!("protection {}, durability {}", protection.level.word(), protection.durability);
    let mut page = output.paint(Tone::Strong, &heading) + "\n";
    let mut faults = table(output);
    for fault in &protection.single_faults {
        let loss = if fault.data_loss == "none" { "no write lost" } else { "writes may be lost" };
        faults.add_row([clean(&fault.fault), clean(&fault.outcome), loss.to_owned()]);
    }
    if !protection.single_faults.is_empty() {
        page.push_str(&text(&faults));
    }
    for limit in &protection.limits {
        page.push_str(&wrapped(&clean(limit), "  ", output.width()));
    }
    page
}
