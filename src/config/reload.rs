//! A reload: the configuration is read and checked whole; what may change in a run is taken, the rest is named.
//!
//! What may not change is what the peer counts on (who the nodes are, the timing of election and lease), what was
//! opened at the start (addresses, ports, files, accounts), and every key that nobody has yet taught to change.

use super::flat::{self, Change, is_below};
use super::problem::Problems;
use super::{ConfigErrors, Loaded, Sources, judge, layers, load};
use serde_json::Value as Json;

/// Keys that change in a run, with all that is below them.
const LIVE: &[&[&str]] = &[
    &["cluster", "peer_wait"],
    &["cluster", "failover_hold"],
    &["cluster", "max_failovers_per_hour"],
    &["cluster", "rejoin"],
    &["nodes", "*", "labels"],
    &["vrrp", "garp"],
    &["lease", "on_stop"],
    &["lease", "restart_grace"],
    &["mariadb", "drain_timeout"],
    &["mariadb", "on_undrained"],
    &["mariadb", "max_lag_for_switchover"],
    &["gateway"],
    &["check"],
    &["hook"],
    &["alerts"],
    &["log", "level"],
];

/// What a reload comes to.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What the daemon runs on from now.
    pub loaded: Loaded,
    /// Keys that have changed.
    pub applied: Vec<Change>,
    /// Keys that are written otherwise, and take effect only at a restart.
    pub pending: Vec<Change>,
}

/// Reads the configuration again.
///
/// # Errors
/// Everything that is wrong with it; what runs stays as it is.
pub fn reload(running: &Loaded, sources: &Sources) -> Result<Reloaded, ConfigErrors> {
    let fresh = load(sources)?;
    let changes = flat::changes(&flat::keys(&running.effective), &flat::keys(&fresh.effective));
    let (applied, pending): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| is_below(&change.path, LIVE));
    if pending.is_empty() {
        return Ok(Reloaded { loaded: fresh, applied, pending });
    }
    let mut loaded = blended(running, &fresh, sources)?;
    // A check on another port adds that port; but the gate process has its list from its own start.
    loaded.config.lease.gate_ports.clone_from(&running.config.lease.gate_ports);
    loaded.effective.file.lease.gate_ports.clone_from(&running.effective.file.lease.gate_ports);
    Ok(Reloaded { loaded, applied, pending })
}

/// What runs, with the live keys of `fresh`; checked as a whole, because it is neither of the two.
fn blended(running: &Loaded, fresh: &Loaded, sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let value = |loaded: &Loaded| serde_json::to_value(&loaded.merged.file).unwrap_or_default();
    let both = blend(&value(running), &value(fresh), &mut Vec::new());
    let file = match serde_json::from_value(both) {
        Ok(file) => file,
        // Both were read from this very shape.
        Err(_) => return Ok(running.clone()),
    };
    let is_live = |path: &[String]| is_below(path, LIVE);
    let origins = running.merged.origins.blended(&fresh.merged.origins, is_live);
    judge(sources, &[], layers::Merged { file, origins }, Problems::default())
}

fn blend(running: &Json, fresh: &Json, path: &mut Vec<String>) -> Json {
    if is_below(path, LIVE) {
        return fresh.clone();
    }
    let (Json::Object(mine), Json::Object(theirs)) = (running, fresh) else { return running.clone() };
    let blended = mine.iter().map(|(key, value)| {
        path.push(key.clone());
        let value = theirs.get(key).map_or_else(|| value.clone(), |fresh| blend(value, fresh, path));
        path.pop();
        (key.clone(), value)
    });
    Json::Object(blended.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;
    use std::net::Ipv4Addr;
    use std::path::Path;

    const FIRST: &str = r#"
[cluster]
name = "shop"
virtual_addresses = ["192.168.33.100/24"]
[nodes.db1]
address = "192.168.33.101"
[nodes.db2]
address = "192.168.33.102"
[[check]]
name = "api"
type = "http"
url = "http://127.0.0.1:8085/health?token=hunter2"
"#;

    fn sources(folder: &Path) -> Sources {
        Sources {
            main_file: folder.join("apd.toml"),
            environment: Vec::new(),
            flags: Vec::new(),
            hostname: "db1".into(),
            interfaces: vec![Interface {
                name: "eth0".into(),
                addresses: vec![(Ipv4Addr::new(192, 168, 33, 101), 24)],
            }],
            default_route: Some((Ipv4Addr::new(192, 168, 33, 1), "eth0".into())),
            root: "/".into(),
            secrets_required: true,
        }
    }

    fn keys(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.as_str()).collect()
    }

    #[test]
    fn what_may_change_changes_and_the_rest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path());
        let write = |text: &str| std::fs::write(folder.path().join("apd.toml"), text).unwrap();
        write(FIRST);
        let running = load(&sources).unwrap();
        let same = reload(&running, &sources).unwrap();
        assert!(same.applied.is_empty() && same.pending.is_empty(), "{same:?}");

        write(&format!("{FIRST}interval = \"300ms\"\ntimeout = \"200ms\"\n[log]\nlevel = \"debug\"\n"));
        let live = reload(&running, &sources).unwrap();
        assert_eq!(keys(&live.applied), ["check.api.interval", "check.api.timeout", "log.level"]);
        assert!(live.pending.is_empty());
        assert_ne!(live.loaded.config.hash, running.config.hash, "a check is shared");
        assert_eq!(live.loaded.config.checks[0].timing.interval.as_millis(), 300);

        let text = FIRST.replace("8085", "8086").replace("hunter2", "other");
        write(&format!("{text}[vrrp]\nvirtual_router_id = 52\n[lease]\nduration = \"900ms\"\n"));
        let both = reload(&live.loaded, &sources).unwrap();
        assert_eq!(
            keys(&both.applied),
            ["check.api.interval", "check.api.timeout", "check.api.url", "log.level"]
        );
        assert_eq!(keys(&both.pending), ["lease.duration", "lease.gate_ports", "vrrp.virtual_router_id"]);
        let config = &both.loaded.config;
        assert_eq!((config.vrrp.virtual_router_id, config.lease.duration.as_millis()), (51, 350));
        assert_eq!(config.lease.gate_ports, running.config.lease.gate_ports);
        let shown: String = both.applied.iter().map(Change::line).collect();
        assert!(shown.contains("[REDACTED]") && !shown.contains("hunter2"), "{shown}");
        // What waits for a restart goes on waiting.
        let again = reload(&both.loaded, &sources).unwrap();
        assert!(again.applied.is_empty(), "{again:?}");
        assert_eq!(keys(&again.pending), keys(&both.pending));

        write("[cluster]\nname = \"shop\"\nnmae = 1\n");
        let errors = reload(&running, &sources).unwrap_err();
        assert!(errors.problems.len() >= 2, "all at once: {errors}");
    }

    #[test]
    fn a_profile_that_waits_for_a_restart_does_not_leak_into_what_runs() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path());
        std::fs::write(folder.path().join("apd.toml"), FIRST).unwrap();
        let running = load(&sources).unwrap();
        let text =
            FIRST.replace("name = \"shop\"", "name = \"shop\"\nprofile = \"wan\"\npeer_wait = \"30s\"");
        std::fs::write(folder.path().join("apd.toml"), text).unwrap();
        let reloaded = reload(&running, &sources).unwrap();
        assert_eq!(keys(&reloaded.applied), ["cluster.peer_wait"]);
        assert_eq!(reloaded.loaded.config.lease.duration, running.config.lease.duration);
        assert_eq!(reloaded.loaded.config.decision_settings().heartbeat.as_millis(), 100);
        assert!(keys(&reloaded.pending).contains(&"cluster.profile"));
        assert!(keys(&reloaded.pending).contains(&"lease.heartbeat"));
    }
}
