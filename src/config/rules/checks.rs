//! `[[check]]`: what is asked, how often, and what a failure means.

mod http;

use super::{NAME_REMEDY, Scene, is_name, program, surroundings, url};
use crate::config::checked::{
    Check, CommandProbe, Gateway, GatewayProbe, Node, Probe, TcpProbe, Timing, UnitProbe,
};
use crate::config::typed::{self, CheckKind, GatewayMethodWord, Period, RoleWord};
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
        CheckKind::Http | CheckKind::Tcp | CheckKind::Unit => (1000, 500, 2, 2),
        // To start a program takes its time on a busy host, and is no news of the service.
        CheckKind::Command => (1000, 5000, 2, 2),
        CheckKind::Mariadb => (500, 500, 1, 2),
        CheckKind::Link => (100, 100, 1, 1),
        CheckKind::Gateway => (1000, 200, 1, 1),
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
        // Other gateways than those on which the right to go on alone rests are a check like any other.
        if kind == CheckKind::Gateway && written.name != kind.word() {
            checks.probes.extend(added(scene, &written, kind, timing, nodes));
            continue;
        }
        if BUILT_IN.contains(&kind) {
            if let Some((_, other)) = seen.iter().find(|(seen, _)| *seen == kind) {
                let what =
                    format!("there are two checks of type \"{}\", the other one is \"{other}\"", kind.word());
                scene.refuse(&["check", &written.name, "type"], what, "leave one of them out");
            }
            seen.push((kind, written.name.clone()));
            built_in(scene, &written, kind, nodes);
        }
        match kind {
            CheckKind::Mariadb => checks.mariadb = timing,
            CheckKind::Link => checks.link = timing,
            CheckKind::Gateway => checks.gateway = timing,
            CheckKind::Http | CheckKind::Tcp | CheckKind::Command | CheckKind::Unit => {
                checks.probes.extend(added(scene, &written, kind, timing, nodes));
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
    let mut default = default_timing(kind);
    let written = &mut scene.file.check[index];
    if kind == CheckKind::Gateway && written.name != kind.word() {
        (default.rise, default.fall) = (2, 2);
    }
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
    use CheckKind::{Command, Gateway, Http, Link, Tcp, Unit};
    let given: [(&str, &[CheckKind], bool); 14] = [
        ("url", &[Http], written.url.is_some()),
        ("method", &[Http, Gateway], written.method.is_some()),
        ("status", &[Http], written.status.is_some()),
        ("body_contains", &[Http], written.body_contains.is_some()),
        ("json", &[Http], written.json.is_some()),
        ("host", &[Http], written.host.is_some()),
        ("tls", &[Http], written.tls.is_some()),
        ("address", &[Tcp], written.address.is_some()),
        ("argv", &[Command], written.argv.is_some()),
        ("user", &[Command], written.user.is_some()),
        ("unit", &[Unit], written.unit.is_some()),
        ("targets", &[Gateway], written.targets.is_some()),
        ("need", &[Gateway], written.need.is_some()),
        ("interface", &[Link], written.interface.is_some()),
    ];
    for (key, owners, _) in given.into_iter().filter(|(_, owners, given)| *given && !owners.contains(&kind)) {
        let owners: Vec<String> = owners.iter().map(|kind| format!("\"{}\"", kind.word())).collect();
        let what = format!(
            "`{key}` belongs to checks of type {}, and this is \"{}\"",
            owners.join(" or "),
            kind.word()
        );
        scene.refuse(&["check", &written.name, key], what, "leave it out");
    }
}

/// The checks that exist by default decide alone: no weight, both roles, this node's interface.
fn built_in(scene: &mut Scene<'_>, written: &typed::Check, kind: CheckKind, nodes: Option<&(Node, Node)>) {
    let name = written.name.as_str();
    if written.weight != 0 {
        let what = "not yet supported: a weight of this check";
        scene.refuse(&["check", name, "weight"], what, "leave it out: its failure means not fit");
    }
    if written.roles.as_deref().is_some_and(|roles| !on_both(roles)) {
        let what = "not yet supported: this check for one role only";
        scene.refuse(&["check", name, "roles"], what, "leave it out: it counts in both roles");
    }
    let own = [("targets", written.targets.is_some()), ("need", written.need.is_some())];
    for (key, _) in own.into_iter().chain([("method", written.method.is_some())]).filter(|(_, given)| *given)
    {
        let remedy = "write it under [gateway], or give this check another name";
        scene.refuse(
            &["check", name, key],
            "the check that exists by default asks what [gateway] says",
            remedy,
        );
    }
    at_once(scene, written, kind);
    if let (Some(interface), Some((me, _))) = (&written.interface, nodes)
        && *interface != me.interface
    {
        let what = format!("not yet supported: another interface than the node's own, {}", me.interface);
        scene.refuse(&["check", name, "interface"], what, "leave it out");
    }
}

/// What the kernel tells of the link, and an answer on which a lease may hang, counts at once.
fn at_once(scene: &mut Scene<'_>, written: &typed::Check, kind: CheckKind) {
    let Timing { interval, timeout, rise, fall } = default_timing(kind);
    let other = |written: Option<Period>, default| written.is_some_and(|written| written.0 != default);
    let counted = [("rise", written.rise, rise), ("fall", written.fall, fall)]
        .map(|(key, written, default)| (key, written.is_some_and(|written| written != default)));
    let timed =
        [("interval", other(written.interval, interval)), ("timeout", other(written.timeout, timeout))];
    let changed: Vec<(&str, bool)> = match kind {
        CheckKind::Link => timed.into_iter().chain(counted).collect(),
        CheckKind::Gateway => counted.to_vec(),
        _ => return,
    };
    for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        let remedy = "leave it out; a check of type = \"gateway\" under another name counts";
        scene.refuse(
            &["check", &written.name, key],
            "this check counts at once, and always as often",
            remedy,
        );
    }
}

fn on_both(roles: &[RoleWord]) -> bool {
    roles.contains(&RoleWord::Active) && roles.contains(&RoleWord::Standby)
}

/// A check that an operator added.
fn added(
    scene: &mut Scene<'_>,
    written: &typed::Check,
    kind: CheckKind,
    timing: Timing,
    nodes: Option<&(Node, Node)>,
) -> Option<Check> {
    let name = written.name.as_str();
    let roles = written.roles.clone().unwrap_or_else(|| vec![RoleWord::Active, RoleWord::Standby]);
    if roles.is_empty() {
        let remedy = "write roles = [\"active\", \"standby\"], or leave the check out";
        scene.refuse(&["check", name, "roles"], "an empty list: the check counts nowhere", remedy);
    }
    let probe = match kind {
        CheckKind::Http => http::probe(scene, written).map(Probe::Http),
        CheckKind::Tcp => tcp(scene, written).map(Probe::Tcp),
        CheckKind::Command => command(scene, written).map(Probe::Command),
        CheckKind::Unit => unit(scene, written).map(Probe::Unit),
        CheckKind::Gateway => gateway(scene, written, nodes).map(Probe::Gateway),
        CheckKind::Mariadb | CheckKind::Link => None,
    }?;
    if let Some(entry) = scene.file.check.iter_mut().find(|entry| entry.name == name) {
        entry.roles = Some(roles.clone());
        if let Probe::Http(probe) = &probe {
            entry.method = Some(probe.method.clone());
            entry.status = Some(probe.status.clone());
        }
        if let Probe::Command(probe) = &probe {
            entry.user = Some(probe.user.clone());
        }
    }
    Some(Check {
        name: name.to_owned(),
        timing,
        weight: written.weight,
        on_active: roles.contains(&RoleWord::Active),
        on_standby: roles.contains(&RoleWord::Standby),
        probe,
    })
}

fn tcp(scene: &mut Scene<'_>, written: &typed::Check) -> Option<TcpProbe> {
    let key = ["check", written.name.as_str(), "address"];
    let text = required(scene, &key, written.address.as_ref(), "write address = \"127.0.0.1:6379\"")?;
    let Some((host, port)) = url::host_and_port(text) else {
        scene.refuse(&key, "host or port cannot be read", "write both, as \"127.0.0.1:6379\"");
        return None;
    };
    target(scene, &key, &host);
    Some(TcpProbe { host, port })
}

fn command(scene: &mut Scene<'_>, written: &typed::Check) -> Option<CommandProbe> {
    let name = written.name.as_str();
    let argv = program::argv(scene, &["check", name, "argv"], written.argv.as_deref().unwrap_or_default());
    let user = written.user.as_deref().unwrap_or("nobody");
    let user = program::user(scene, &["check", name, "user"], user);
    Some(CommandProbe { argv: argv?, user })
}

fn unit(scene: &mut Scene<'_>, written: &typed::Check) -> Option<UnitProbe> {
    const REMEDY: &str = "write its whole name, as unit = \"shop-api.service\"";
    let key = ["check", written.name.as_str(), "unit"];
    let unit = required(scene, &key, written.unit.as_ref(), REMEDY)?;
    if !is_unit(unit) {
        scene.refuse(&key, format!("{unit:?} is no name of a unit"), REMEDY);
        return None;
    }
    Some(UnitProbe { unit: unit.clone() })
}

/// systemd.unit(5): letters, digits and a few signs, and one of the known endings.
fn is_unit(text: &str) -> bool {
    const ENDINGS: [&str; 9] =
        ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer"];
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let ending = text.rsplit_once('.').filter(|(name, _)| !name.is_empty());
    ending.is_some_and(|(_, ending)| ENDINGS.contains(&ending)) && text.len() < 256 && text.bytes().all(fits)
}

/// Targets of its own, or those of `[gateway]`, which are known later ([`fill_targets`]).
fn gateway(
    scene: &mut Scene<'_>,
    written: &typed::Check,
    nodes: Option<&(Node, Node)>,
) -> Option<GatewayProbe> {
    let name = written.name.as_str();
    let method = match written.method.as_deref() {
        None => scene.file.gateway.method,
        Some("arp") => GatewayMethodWord::Arp,
        Some("icmp") => GatewayMethodWord::Icmp,
        Some(word) => {
            let what = format!("{word:?} is no way to ask a gateway");
            scene.refuse(&["check", name, "method"], what, "write \"arp\" or \"icmp\"");
            return None;
        }
    };
    let key = ["check", name, "targets"];
    let texts = written.targets.clone().unwrap_or_default();
    let targets = surroundings::targets(scene, &key, &texts, nodes, method);
    let need = written.need.unwrap_or(scene.file.gateway.need);
    if need as usize > targets.len() && targets.len() == texts.len() && !texts.is_empty() {
        let what = format!("{need} targets must answer, but there are only {}", targets.len());
        let remedy = format!("write {} or less, or more targets", targets.len());
        scene.refuse(&["check", name, "need"], what, remedy);
    }
    let (me, _) = nodes?;
    let gateway = Gateway { targets, need, method: surroundings::method(method) };
    Some(GatewayProbe { interface: me.interface.clone(), source: me.address, gateway })
}

/// Gateway checks without targets of their own ask those of `[gateway]`.
pub fn fill_targets(scene: &mut Scene<'_>, checks: &mut [Check], known: &Gateway) {
    for check in checks {
        let Probe::Gateway(probe) = &mut check.probe else { continue };
        let key = ["check", check.name.as_str(), "targets"];
        if !probe.gateway.targets.is_empty() || scene.is_broken(&key) || scene.is_broken(&["gateway"]) {
            continue;
        }
        probe.gateway.targets.clone_from(&known.targets);
        let there = known.targets.len();
        if there == 0 {
            let remedy = "write targets = [\"192.168.33.1\"] here or under [gateway]";
            scene.refuse(&key, "there is nothing to ask", remedy);
        } else if probe.gateway.need as usize > there {
            let what = format!("{} targets must answer, but [gateway] has only {there}", probe.gateway.need);
            let remedy = format!("write {there} or less, or targets of its own");
            scene.refuse(&["check", &check.name, "need"], what, remedy);
        }
    }
}

fn required<'w>(
    scene: &mut Scene<'_>,
    key: &[&str],
    written: Option<&'w String>,
    remedy: &str,
) -> Option<&'w String> {
    if written.is_none() && !scene.is_broken(key) {
        scene.refuse(key, "missing", remedy);
    }
    written
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
    let (host, port) = match &check.probe {
        Probe::Http(probe) => (&probe.host, probe.port),
        Probe::Tcp(probe) => (&probe.host, probe.port),
        Probe::Command(_) | Probe::Unit(_) | Probe::Gateway(_) => return None,
    };
    host.parse().is_ok_and(is_local).then_some(port)
}
