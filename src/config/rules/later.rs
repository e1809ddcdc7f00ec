//! What is in the contract but not built yet is refused, never ignored: an operator who writes
//! `durability = "synced"` must not believe to have it. The default, written out, is accepted.

use super::Scene;
use crate::config::typed::{
    Alerts, Arbiter, Boot, Durability, Errant, Fencing, HttpTls, MaintenanceServices, MariaDb, Period,
    ProtectionWord,
};

const NOT_YET: &str = "not yet supported";

/// Refuses every key and word whose feature comes later.
pub fn refuse(scene: &mut Scene<'_>) {
    words(scene);
    tables(scene);
    lists(scene);
}

fn words(scene: &mut Scene<'_>) {
    let cluster = &scene.file.cluster;
    let mariadb = &scene.file.mariadb;
    let default_unit = MariaDb::default().server_unit;
    let found = [
        (
            matches!(
                cluster.protection,
                ProtectionWord::Peer | ProtectionWord::Arbiter | ProtectionWord::Fencing
            ),
            ["cluster", "protection"],
            "use \"gateway\" (or \"vrrp\")".to_owned(),
        ),
        (
            cluster.durability == Durability::Synced,
            ["cluster", "durability"],
            "use \"async\": a planned switchover loses nothing, a failover may lose the last commits".into(),
        ),
        (
            cluster.preempt,
            ["cluster", "preempt"],
            "leave it false; `apctl switchover` moves the role back in a planned way".into(),
        ),
        (
            cluster.preempt_delay != Period::ZERO,
            ["cluster", "preempt_delay"],
            "leave it out, or write \"0s\"".into(),
        ),
        (
            cluster.maintenance_services == MaintenanceServices::Stop,
            ["cluster", "maintenance_services"],
            "use \"keep\" and stop the services by hand".into(),
        ),
        (
            cluster.boot == Boot::Manual,
            ["cluster", "boot"],
            "use \"standby\"; `apctl mode maintenance` keeps a node out across boots".into(),
        ),
        (
            mariadb.errant == Errant::Reclone,
            ["mariadb", "errant"],
            "use \"stop\": the node stays in maintenance until the data is repaired by hand".into(),
        ),
        (
            mariadb.server_unit != default_unit,
            ["mariadb", "server_unit"],
            "leave it out: apd does not start or stop the server yet, the system's own unit does".into(),
        ),
    ];
    for (_, path, remedy) in found.into_iter().filter(|(refused, ..)| *refused) {
        scene.refuse(&path, NOT_YET, remedy);
    }
}

fn tables(scene: &mut Scene<'_>) {
    let file = &scene.file;
    let found = [
        (
            file.arbiter != Arbiter::default(),
            vec!["arbiter"],
            "leave this table out and use protection = \"gateway\"",
        ),
        (
            file.fencing != Fencing::default(),
            vec!["fencing"],
            "leave this table out and use protection = \"gateway\"",
        ),
        (
            file.alerts != Alerts::default(),
            vec!["alerts"],
            "leave [alerts.smtp] and [alerts.webhook] out; alert on the metrics instead",
        ),
        (
            file.http.tls != HttpTls::default(),
            vec!["http", "tls"],
            "leave it out and listen on 127.0.0.1, behind a proxy that speaks TLS",
        ),
    ];
    for (_, path, remedy) in found.into_iter().filter(|(refused, ..)| *refused) {
        scene.refuse(&path, NOT_YET, remedy);
    }
}

fn lists(scene: &mut Scene<'_>) {
    let file = &scene.file;
    let found = [
        (
            file.service.is_empty(),
            "service",
            "leave [[service]] out: the system's own units start the services",
        ),
        (
            file.hook.is_empty(),
            "hook",
            "leave [[hook]] out; `state_file` and `transition_log` serve old scripts",
        ),
        (file.sync.is_empty(), "sync", "leave [[sync]] out and copy the files by other means"),
    ];
    for (_, key, remedy) in found.into_iter().filter(|(empty, ..)| !empty) {
        scene.refuse(&[key], NOT_YET, remedy);
    }
}
