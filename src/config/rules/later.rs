//! What is in the contract but not built yet is refused, never ignored: an operator who writes
//! `durability = "synced"` must not believe to have it. The default, written out, is accepted.

use super::Scene;
use crate::config::typed::{Arbiter, Durability, Errant, Fencing, Period, ProtectionWord};

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
            mariadb.errant == Errant::Reclone,
            ["mariadb", "errant"],
            "use \"stop\": the node stays in maintenance until the data is repaired by hand".into(),
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
    ];
    for (_, path, remedy) in found.into_iter().filter(|(refused, ..)| *refused) {
        scene.refuse(&path, NOT_YET, remedy);
    }
}

fn lists(scene: &mut Scene<'_>) {
    let file = &scene.file;
    let found = [(file.sync.is_empty(), "sync", "leave [[sync]] out and copy the files by other means")];
    for (_, key, remedy) in found.into_iter().filter(|(empty, ..)| !empty) {
        scene.refuse(&[key], NOT_YET, remedy);
    }
}
