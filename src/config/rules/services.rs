//! `[[service]]` and `mariadb.server_unit`: what apd starts and stops, by exactly one means each.

use super::{NAME_REMEDY, Scene, is_name};
use crate::config::checked::{Means, Service};
use crate::config::typed::{self, Period, RunsOn as Word};
use crate::decision::service::{RunsOn, ServiceSettings};
use std::path::Path;

/// Endings of units that run something.
const ENDINGS: [&str; 4] = [".service", ".target", ".scope", ".slice"];

/// Checks all entries; the services in the order in which they start.
pub fn check(scene: &mut Scene<'_>) -> Vec<Service> {
    let written = scene.file.service.clone();
    let mut services: Vec<Service> = Vec::new();
    for entry in &written {
        if !is_name(&entry.name) {
            let path = ["service", &entry.name, "name"];
            scene.refuse(&path, "this cannot be the name of a service", NAME_REMEDY);
        }
        let stop_timeout = scene.period(
            &["service", &entry.name, "stop_timeout"],
            entry.stop_timeout,
            Period::milliseconds(100),
            Period::seconds(3600),
        );
        let Some(means) = means(scene, entry) else { continue };
        let other = services.iter().find(|other| alike(&other.means, &means));
        if let Some(other) = other.map(|other| other.settings.name.clone()) {
            let what = format!("service \"{other}\" is the same {}", means.word());
            let remedy = "leave one of them out: apd counts starts and restarts for each service";
            scene.refuse(&["service", &entry.name, means.word()], what, remedy);
        }
        let runs_on = match entry.runs_on {
            Word::Both => RunsOn::Both,
            Word::Active => RunsOn::Active,
            Word::Never => RunsOn::Never,
        };
        database(scene, entry, &means, runs_on);
        let settings = ServiceSettings {
            name: entry.name.clone(),
            runs_on,
            restarts: entry.restarts,
            stop_timeout,
            order: entry.order,
        };
        services.push(Service { settings, means });
    }
    // Stable: equals stay in the order of the file.
    services.sort_by_key(|service| service.settings.order);
    services
}

/// `mariadb.server_unit`.
pub fn server_unit(scene: &mut Scene<'_>) -> String {
    let unit = scene.file.mariadb.server_unit.clone();
    is_unit(scene, &["mariadb", "server_unit"], &unit, "mariadb.service");
    unit
}

/// The one means of a service.
fn means(scene: &mut Scene<'_>, entry: &typed::Service) -> Option<Means> {
    let name = entry.name.as_str();
    let commands = [("start", &entry.start), ("stop", &entry.stop)];
    let by_command = commands.iter().any(|(_, argv)| argv.is_some());
    let given = [entry.unit.is_some(), entry.container.is_some(), by_command];
    match given.iter().filter(|given| **given).count() {
        0 => {
            let remedy =
                "write unit = \"shop-api.service\", or container = \"shop-api\", or start and stop as lists";
            scene.refuse(&["service", name, "unit"], "nothing says what this service is", remedy);
            return None;
        }
        1 => {}
        _ => {
            let key = if entry.unit.is_some() { "unit" } else { "container" };
            let what = "a service is one of unit, container, or start and stop";
            scene.refuse(&["service", name, key], what, "leave the others out");
            return None;
        }
    }
    if !by_command {
        for (key, _) in
            [("kill", &entry.kill), ("status", &entry.status)].iter().filter(|(_, argv)| argv.is_some())
        {
            let what = format!("`{key}` belongs to services that are run by commands");
            scene.refuse(&["service", name, key], what, "leave it out, or write start and stop too");
        }
    }
    if let Some(unit) = &entry.unit {
        return is_unit(scene, &["service", name, "unit"], unit, "shop-api.service")
            .then(|| Means::Unit(unit.clone()));
    }
    if let Some(container) = &entry.container {
        return is_container(scene, name, container).then(|| Means::Container(container.clone()));
    }
    for (key, argv) in commands {
        if argv.is_none() {
            let what = "missing: a service that is run by commands needs start and stop";
            scene.refuse(
                &["service", name, key],
                what,
                format!("write {key} = [\"/usr/local/bin/shop\", \"{key}\"]"),
            );
        }
    }
    for (key, argv) in
        [("start", &entry.start), ("stop", &entry.stop), ("kill", &entry.kill), ("status", &entry.status)]
    {
        if let Some(argv) = argv {
            is_command(scene, &["service", name, key], argv);
        }
    }
    Some(Means::Commands {
        start: entry.start.clone()?,
        stop: entry.stop.clone()?,
        kill: entry.kill.clone(),
        status: entry.status.clone(),
    })
}

/// A whole name of a unit, as systemd.unit(5) has it, and none of apd's own.
fn is_unit(scene: &mut Scene<'_>, path: &[&str], unit: &str, example: &str) -> bool {
    let named = unit.len() <= 255
        && unit.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
        && !unit.contains("@.");
    let ending = ENDINGS.iter().find_map(|ending| unit.strip_suffix(ending));
    if !named || ending.is_none_or(str::is_empty) {
        let what = format!("{unit:?} is no whole name of a unit that runs");
        scene.refuse(path, what, format!("write it with its ending, as \"{example}\""));
        return false;
    }
    if ["apd.service", "apd-gate.service", "apd-fence.service"].contains(&unit)
        || unit.starts_with("apd-service@")
    {
        scene.refuse(path, "this is a unit of apd itself, which it never manages", "leave it out");
        return false;
    }
    true
}

fn is_container(scene: &mut Scene<'_>, name: &str, container: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let named = (1..=255).contains(&container.len())
        && container.bytes().all(fits)
        && container.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !named {
        let what = format!("{container:?} cannot be the name of a container");
        scene.refuse(&["service", name, "container"], what, "write the name that `docker ps` shows");
    }
    named
}

/// No shell looks for the program, so its whole path is needed.
fn is_command(scene: &mut Scene<'_>, path: &[&str], argv: &[String]) {
    const REMEDY: &str =
        "write a list of the program's whole path and its arguments, as [\"/usr/local/bin/shop\", \"start\"]";
    match argv.first() {
        None => scene.refuse(path, "an empty list names no program", REMEDY),
        Some(program) if !Path::new(program).is_absolute() => {
            scene.refuse(path, "the program is no absolute path", REMEDY);
        }
        Some(_) if argv.iter().any(|word| word.contains('\0')) => {
            scene.refuse(path, "an argument holds a NUL", REMEDY);
        }
        Some(_) => {}
    }
}

/// Without its server a node has no role at all.
fn database(scene: &mut Scene<'_>, entry: &typed::Service, means: &Means, runs_on: RunsOn) {
    let unit = &scene.file.mariadb.server_unit;
    if runs_on == RunsOn::Never && matches!(means, Means::Unit(own) if own == unit) {
        let what = format!("{unit} is the database server, and no role is possible without it");
        let remedy = "write runs_on = \"both\", or \"active\" for a cold standby, or leave the service out";
        scene.refuse(&["service", &entry.name, "runs_on"], what, remedy);
    }
}

fn alike(one: &Means, other: &Means) -> bool {
    match (one, other) {
        (Means::Unit(one), Means::Unit(other)) | (Means::Container(one), Means::Container(other)) => {
            one == other
        }
        (Means::Commands { start: one, .. }, Means::Commands { start: other, .. }) => one == other,
        _ => false,
    }
}
