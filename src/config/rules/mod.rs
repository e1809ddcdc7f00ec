//! The rules that values must keep, alone and among each other. One file for each part; every rule runs,
//! so that all errors are found together, but nothing is said about what follows from an error that was
//! already reported.

mod checks;
mod cluster;
mod database;
mod http;
mod later;
mod nodes;
mod program;
mod secret;
mod services;
mod surroundings;
mod tell;
mod timing;
mod trust;
mod url;

use super::checked::Config;
use super::hash;
use super::problem::{KeyPath, Origin, Origins, Problems};
use super::sources::Sources;
use super::typed::{File, Period};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration while it is being checked. Rules fill in what follows from profile, host and other
/// keys, so that `file` ends as the effective configuration.
#[derive(Debug)]
pub struct Scene<'s> {
    /// Where everything came from.
    pub sources: &'s Sources,
    /// All layers merged.
    pub file: File,
    /// Where each key was written.
    pub origins: Origins,
    /// What is wrong so far.
    pub problems: Problems,
}

/// Runs every rule. `None`: at least one error makes the rest meaningless.
pub fn check(scene: &mut Scene<'_>) -> Option<Config> {
    later::refuse(scene);
    let nodes = nodes::check(scene);
    let me = nodes.as_ref().map(|(me, _)| me.clone());
    let (vrrp, lease) = timing::check(scene);
    let cluster = cluster::check(scene, nodes.as_ref());
    let mariadb = database::check(scene, me.as_ref());
    let mut checks = checks::check(scene, nodes.as_ref());
    let services = services::check(scene);
    let targets_as_written = scene.file.gateway.targets.clone();
    let gateway = surroundings::gateway(scene, nodes.as_ref());
    checks::fill_targets(scene, &mut checks.probes, &gateway);
    let http = http::check(scene, nodes.as_ref());
    let log = surroundings::log(scene);
    let paths = surroundings::paths(scene);
    let hooks = tell::hooks(scene);
    let alerts = tell::alerts(scene);
    let lease = surroundings::gate_ports(scene, lease, me.as_ref(), &mariadb, &checks.probes);
    timing::peer_wait(scene, &vrrp, &lease);
    let (me, peer) = nodes?;
    let hash = hash::of(&scene.file, &cluster, [&me, &peer], &targets_as_written);
    Some(Config {
        cluster,
        me,
        peer,
        paths,
        vrrp,
        lease,
        mariadb,
        gateway,
        checks: checks.probes,
        mariadb_check: checks.mariadb,
        link_check: checks.link,
        gateway_check: checks.gateway,
        services,
        http,
        hooks,
        alerts,
        log,
        hash,
    })
}

impl<'s> Scene<'s> {
    /// Before the first rule.
    pub fn new(sources: &'s Sources, file: File, origins: Origins, problems: Problems) -> Self {
        Scene { sources, file, origins, problems }
    }

    /// Where to point at for a key that may not be written.
    pub fn place(&self, path: &[&str]) -> Origin {
        let nearest = self.origins.nearest(&owned(path)).cloned();
        nearest.unwrap_or_else(|| Origin::File { path: self.sources.main_file.clone(), line: 1 })
    }

    /// This very key was written in some layer.
    pub fn is_written(&self, path: &[&str]) -> bool {
        self.origins.written(&owned(path)).is_some()
    }

    /// An error about a key.
    pub fn refuse(&mut self, path: &[&str], what: impl Into<String>, remedy: impl Into<String>) {
        let origin = self.place(path);
        self.problems.error(origin, &owned(path), what.into(), remedy.into());
    }

    /// An error about a key whose value follows from one of others: points at the first that is written.
    pub fn refuse_among(&mut self, paths: &[&[&str]], what: impl Into<String>, remedy: impl Into<String>) {
        let written = paths.iter().find(|path| self.is_written(path)).or(paths.first());
        let origin = written.map_or(Origin::Default, |path| self.place(path));
        let key = paths.first().map(|path| owned(path)).unwrap_or_default();
        self.problems.error(origin, &key, what.into(), remedy.into());
    }

    /// An error about the host as it is now, which may pass.
    pub fn refuse_for_now(&mut self, path: &[&str], what: impl Into<String>, remedy: impl Into<String>) {
        self.refuse(path, what, remedy);
        self.problems.last_may_pass();
    }

    /// Something about a key that deserves a second look.
    pub fn warn(&mut self, path: &[&str], what: impl Into<String>, remedy: impl Into<String>) {
        let origin = self.place(path);
        self.problems.warning(origin, &owned(path), what.into(), remedy.into());
    }

    /// An error about this key, or something in or around it, is known already.
    pub fn is_broken(&self, path: &[&str]) -> bool {
        self.problems.is_broken(&owned(path))
    }

    /// Notes where a value that was filled in came from.
    pub fn filled(&mut self, path: &[&str], origin: Origin) {
        self.origins.fill(owned(path), origin);
    }

    /// The duration, which must lie in a range.
    pub fn period(&mut self, path: &[&str], value: Period, least: Period, most: Period) -> Duration {
        if !(least..=most).contains(&value) {
            self.refuse(path, format!("{value} is out of range"), format!("write {least} to {most}"));
        }
        value.0
    }

    /// The path, which must be absolute: a daemon has no folder of its own that an operator could know.
    /// The message does not repeat it, for it may be a password written in place of its file.
    pub fn absolute(&mut self, path: &[&str], value: &Path) -> PathBuf {
        if !value.is_absolute() {
            self.refuse(path, "this is no absolute path", "write the whole path, beginning with /");
        }
        value.to_owned()
    }

    /// The path, or `None` for an empty one.
    pub fn optional_path(&mut self, path: &[&str], value: &Path) -> Option<PathBuf> {
        (!value.as_os_str().is_empty()).then(|| self.absolute(path, value))
    }
}

fn owned(path: &[&str]) -> KeyPath {
    path.iter().map(|part| (*part).to_owned()).collect()
}

/// A name that can stand in files, metrics and messages: letters, digits, `.`, `_`, `-`; 64 at most.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len())
        && text.bytes().all(fits)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

const NAME_REMEDY: &str =
    "use letters, digits, `.`, `_` and `-`, 64 at most, beginning with a letter or digit";
