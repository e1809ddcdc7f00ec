//! `[[check]]`: what is asked, how often, and what a failure means.

use super::{NAME_REMEDY, Scene, is_name};
use crate::config::checked::{Check, HttpProbe, Node, Probe, Timing};
use crate::config::typed::{self, CheckKind, Period, RoleWord};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// All checks.
#[derive(Debug)]
pub struct Checks {
    /// Those that the operator added.
    pub probes: Vec<Check>,
    /// The check `mariadb`.
    pub mariadb: Timing,
    /// The check `link`.
    pub link: Timing,
    /// The check `gateway`.
    pub gateway: Timing,
}

/// Interval, timeout, rise and fall where nothing is written.
const fn default_timing(kind: CheckKind) -> Timing {
    let (interval, timeout, rise, fall) = match kind {
        CheckKind::Http | CheckKind::Tcp | CheckKind::Command | CheckKind::Unit => (1000, 500, 2, 2),
        CheckKind::Mariadb => (500, 500, 1, 2),
        CheckKind::Link => (100, 100, 1, 1),
        CheckKind::Gateway => (1000, 200, 1, 2),
    };
    Timing { interval: Duration::from_millis(interval), timeout: Duration::from_millis(timeout), rise, fall }
}

const BUILT_IN: [CheckKind; 3] = [CheckKind::Mariadb, CheckKind::Link, CheckKind::Gateway];

/// Checks all entries, and fills in the three checks that exist by default.
pub fn check(scene: &mut Scene<'_>, nodes: Option<&(Node, Node)>) -> Checks {
    let mut checks = Checks {
        probes: Vec::new(),
        mariadb: default_timing(CheckKind::Mariadb),
        link: default_timing(CheckKind::Link),
        gateway: default_timing(CheckKind::Gateway),
    };
    let mut seen: Vec<(CheckKind, String)> = Vec::new();
    for index in 0..scene.file.check.len() {
        let written = scene.file.check[index].clone();
        let Some(kind) = kind(scene, &written) else { continue };
        scene.file.check[index].kind = Some(kind);
        let timing = timing(scene, index, kind);
        foreign_keys(scene, &written, kind);
        if BUILT_IN.contains(&kind) {
            if let Some((_, other)) = seen.iter().find(|(seen, _)| *seen == kind) {
                let what =
                    format!("there are two checks of type \"{}\", the other one is \"{other}\"", kind.word());
                scene.refuse(&["check", &written.name, "type"], what, "leave one of them out");
            }
            seen.push((kind, written.name.clone()));
            built_in(scene, &written, nodes);
        }
        match kind {
            CheckKind::Mariadb => checks.mariadb = timing,
            CheckKind::Link => checks.link = timing,
            CheckKind::Gateway => checks.gateway = timing,
            CheckKind::Http => checks.probes.extend(http_check(scene, &written, timing)),
            CheckKind::Tcp | CheckKind::Command | CheckKind::Unit => {
                let what = format!("not yet supported: checks of type \"{}\"", kind.word());
                let remedy = "use type = \"http\" on a health address of the service";
                scene.refuse(&["check", &written.name, "type"], what, remedy);
            }
        }
    }
    for kind in BUILT_IN.into_iter().filter(|kind| !seen.iter().any(|(seen, _)| seen == kind)) {
        let name = kind.word().to_owned();
        scene.file.check.push(typed::Check { name, kind: Some(kind), ..typed::Check::default() });
        let last = scene.file.check.len() - 1;
        timing(scene, last, kind);
    }
    checks
}

/// The type, which follows from the three reserved names.
fn kind(scene: &mut Scene<'_>, written: &typed::Check) -> Option<CheckKind> {
    let name = written.name.as_str();
    if !is_name(name) {
        scene.refuse(&["check", name, "name"], "this cannot be the name of a check", NAME_REMEDY);
    }
    let path = ["check", name, "type"];
    match (BUILT_IN.into_iter().find(|kind| kind.word() == name), written.kind) {
        (Some(reserved), Some(kind)) if kind != reserved => {
            let what = format!("the name \"{name}\" belongs to the check of that type");
            scene.refuse(&path, what, format!("write another name, or type = \"{name}\" to tune that check"));
            None
        }
        (Some(reserved), _) => Some(reserved),
        (None, Some(kind)) => Some(kind),
        (None, None) if scene.is_broken(&path) => None,
        (None, None) => {
            scene.refuse(&path, "missing", "write type = \"http\"");
            None
        }
    }
}

fn timing(scene: &mut Scene<'_>, index: usize, kind: CheckKind) -> Timing {
    let default = default_timing(kind);
    let written = &mut scene.file.check[index];
    let name = written.name.clone();
    let interval = *written.interval.get_or_insert(Period(default.interval));
    // A short interval alone should not need a second key: the default timeout follows it down.
    let timeout = *written.timeout.get_or_insert(Period(default.timeout));
    let rise = *written.rise.get_or_insert(default.rise);
    let fall = *written.fall.get_or_insert(default.fall);
    let (least, hour) = (Period::milliseconds(10), Period::seconds(3600));
    scene.period(&["check", &name, "interval"], interval, least, hour);
    scene.period(&["check", &name, "timeout"], timeout, Period::milliseconds(1), hour);
    Timing { interval: interval.0, timeout: timeout.0, rise, fall }
}

/// Keys of another kind of check would be ignored, and so are refused.
fn foreign_keys(scene: &mut Scene<'_>, written: &typed::Check, kind: CheckKind) {
    use CheckKind::{Command, Http, Link, Tcp, Unit};
    let given = [
        ("url", Http, written.url.is_some()),
        ("method", Http, written.method.is_some()),
        ("status", Http, written.status.is_some()),
        ("body_contains", Http, written.body_contains.is_some()),
        ("json", Http, written.json.is_some()),
        ("host", Http, written.host.is_some()),
        ("tls", Http, written.tls.is_some()),
        ("address", Tcp, written.address.is_some()),
        ("argv", Command, written.argv.is_some()),
        ("user", Command, written.user.is_some()),
        ("unit", Unit, written.unit.is_some()),
        ("interface", Link, written.interface.is_some()),
    ];
    for (key, owner, _) in given.into_iter().filter(|(_, owner, given)| *given && *owner != kind) {
        let what = format!(
            "`{key}` belongs to checks of type \"{}\", and this is \"{}\"",
            owner.word(),
            kind.word()
        );
        scene.refuse(&["check", &written.name, key], what, "leave it out");
    }
}

/// The checks that exist by default decide alone: no weight, both roles, this node's interface.
fn built_in(scene: &mut Scene<'_>, written: &typed::Check, nodes: Option<&(Node, Node)>) {
    let name = written.name.as_str();
    if written.weight != 0 {
        let what = "not yet supported: a weight of this check";
        scene.refuse(&["check", name, "weight"], what, "leave it out: its failure means not fit");
    }
    if written.roles.as_deref().is_some_and(|roles| !on_both(roles)) {
        let what = "not yet supported: this check for one role only";
        scene.refuse(&["check", name, "roles"], what, "leave it out: it counts in both roles");
    }
    if let (Some(interface), Some((me, _))) = (&written.interface, nodes)
        && *interface != me.interface
    {
        let what = format!("not yet supported: another interface than the node's own, {}", me.interface);
        scene.refuse(&["check", name, "interface"], what, "leave it out");
    }
}

fn on_both(roles: &[RoleWord]) -> bool {
    roles.contains(&RoleWord::Active) && roles.contains(&RoleWord::Standby)
}

fn http_check(scene: &mut Scene<'_>, written: &typed::Check, timing: Timing) -> Option<Check> {
    let name = written.name.as_str();
    let roles = written.roles.clone().unwrap_or_else(|| vec![RoleWord::Active, RoleWord::Standby]);
    if roles.is_empty() {
        let remedy = "write roles = [\"active\", \"standby\"], or leave the check out";
        scene.refuse(&["check", name, "roles"], "an empty list: the check counts nowhere", remedy);
    }
    if written.tls.is_some() {
        let remedy = "leave it out, and check over http on this host";
        scene.refuse(&["check", name, "tls"], "not yet supported", remedy);
    }
    let probe = http_probe(scene, written)?;
    if let Some(entry) = scene.file.check.iter_mut().find(|entry| entry.name == name) {
        entry.roles = Some(roles.clone());
        entry.method = Some(probe.method.clone());
        entry.status = Some(probe.status.clone());
    }
    Some(Check {
        name: name.to_owned(),
        timing,
        weight: written.weight,
        on_active: roles.contains(&RoleWord::Active),
        on_standby: roles.contains(&RoleWord::Standby),
        probe: Probe::Http(probe),
    })
}

fn http_probe(scene: &mut Scene<'_>, written: &typed::Check) -> Option<HttpProbe> {
    let name = written.name.as_str();
    let method = written.method.clone().unwrap_or_else(|| "GET".into());
    if method.is_empty() || method.len() > 16 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let what = format!("{method:?} is no request method");
        scene.refuse(&["check", name, "method"], what, "write it in capitals, as \"GET\" or \"HEAD\"");
    }
    let status = written.status.clone().unwrap_or_else(|| vec![200]);
    if status.is_empty() {
        let what = "an empty list: no answer could pass";
        scene.refuse(&["check", name, "status"], what, "write the statuses that pass, as [200]");
    }
    let wants_body = written.body_contains.is_some() || written.json.is_some();
    if method == "HEAD" && wants_body {
        let what = "an answer to HEAD has no body to look at";
        scene.refuse(&["check", name, "method"], what, "write method = \"GET\"");
    }
    if written.body_contains.as_deref() == Some("") {
        let what = "an empty text stands in every body";
        scene.refuse(&["check", name, "body_contains"], what, "write the text to look for, or leave it out");
    }
    let json = written.json.as_ref().and_then(|json| json_match(scene, name, json));
    let plain = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !written.host.as_ref().is_none_or(plain) {
        scene.refuse(
            &["check", name, "host"],
            "this cannot be a Host header",
            "write a name, as \"shop.example\"",
        );
    }
    let Some(text) = &written.url else {
        let path = ["check", name, "url"];
        if !scene.is_broken(&path) {
            scene.refuse(&path, "missing", "write url = \"http://127.0.0.1:8085/health\"");
        }
        return None;
    };
    let (host, port, path) = url(scene, name, text)?;
    let (body_contains, host_header) = (written.body_contains.clone(), written.host.clone());
    Some(HttpProbe { host, port, path, method, status, body_contains, json, host_header })
}

/// JSON pointer and the value that must stand there.
fn json_match(
    scene: &mut Scene<'_>,
    name: &str,
    written: &typed::JsonMatch,
) -> Option<(String, serde_json::Value)> {
    let pointer = &written.pointer;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let what = format!("{pointer:?} is no JSON pointer");
        scene.refuse(&["check", name, "json", "pointer"], what, format!("write \"/{pointer}\""));
    }
    if written.equals.is_none() && !scene.is_broken(&["check", name, "json", "equals"]) {
        let remedy = "write the value that must stand there, as equals = \"ok\"";
        scene.refuse(&["check", name, "json", "equals"], "missing", remedy);
    }
    Some((pointer.clone(), written.equals.clone()?))
}

/// Host, port, and path with query. What the URL may hold of a password is never repeated.
fn url(scene: &mut Scene<'_>, name: &str, text: &str) -> Option<(String, u16, String)> {
    const REMEDY: &str = "write http://HOST:PORT/PATH, as \"http://127.0.0.1:8085/health\"";
    let key = ["check", name, "url"];
    let mut refuse = |what: &str, remedy: &str| {
        scene.refuse(&key, what, remedy);
        None
    };
    let Some((scheme, rest)) = text.split_once("://") else { return refuse("this is no URL", REMEDY) };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            return refuse(
                "not yet supported: https",
                "check over http on this host, as \"http://127.0.0.1:8085/health\"",
            );
        }
        _ => return refuse("checks of type \"http\" ask over http only", REMEDY),
    }
    if rest.contains('#') || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse("a URL has no white space, no `#` and no letters beyond ASCII here", REMEDY);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return refuse(
            "not yet supported: user and password in a URL",
            "leave them out; a health address should need none",
        );
    }
    if authority.starts_with('[') {
        return refuse("not yet supported: IPv6", "write an IPv4 address");
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)),
        None => (authority, Some(80)),
    };
    let named = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let (Some(port), true) = (port, !host.is_empty() && named(host)) else {
        return refuse("host or port cannot be read", REMEDY);
    };
    let path = match path {
        path if path.starts_with('/') => path.to_owned(),
        query => format!("/{query}"),
    };
    let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
    target(scene, &key, host);
    Some((host.to_owned(), port, path))
}

/// A check must ask this node, and must not hang on the resolver.
fn target(scene: &mut Scene<'_>, key: &[&str], host: &str) {
    let virtual_address = |written: &String| written.split(['/', '%']).next() == Some(host);
    if scene.file.cluster.virtual_addresses.iter().any(virtual_address) {
        let what = format!("{host} is a virtual address: this would check whichever node is active");
        scene.refuse(key, what, "write 127.0.0.1 or the node's own address");
    } else if host.parse::<IpAddr>().is_err() {
        let what =
            format!("{host} has to be looked up at every check, and a slow resolver is then a failed check");
        scene.warn(key, what, "write an IPv4 address, and the name as `host`");
    }
}

/// The port of a probe that asks this host.
pub fn local_port(check: &Check, is_local: impl Fn(Ipv4Addr) -> bool) -> Option<u16> {
    let Probe::Http(probe) = &check.probe;
    probe.host.parse().is_ok_and(is_local).then_some(probe.port)
}
