//! The effective configuration as a list of keys, each with its value and where that came from: what two
//! configurations are compared by, whether of two nodes or of two moments.
//!
//! No secret can appear: files that hold secrets are named, not read, and URLs are covered as in `show`.

pub use super::problem::dotted;
use super::show::{Effective, without_secrets};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The value of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// As it takes effect.
    pub value: Json,
    /// `FILE:LINE`, `default`, `environment NAME`, ...
    pub origin: String,
    /// Both nodes must have the same.
    pub shared: bool,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted; entries of `[[check]]` and `[[service]]` go by their name.
    pub key: String,
    /// Its parts.
    #[serde(skip)]
    pub path: Vec<String>,
    /// `None`: there is no such key.
    pub old: Option<Setting>,
    /// `None`: there is no such key any more.
    pub new: Option<Setting>,
}

/// Keys that both nodes must have alike, as `hash` counts them.
const SHARED: &[&[&str]] = &[
    &["cluster"],
    &["nodes", "*", "address"],
    &["nodes", "*", "priority"],
    &["nodes", "*", "mariadb_address"],
    &["nodes", "*", "peer_port"],
    &["vrrp", "version"],
    &["vrrp", "virtual_router_id"],
    &["vrrp", "advert_interval"],
    &["vrrp", "multicast"],
    &["lease", "heartbeat"],
    &["lease", "duration"],
    &["lease", "restart_grace"],
    &["gateway"],
    &["mariadb", "schema"],
    &["mariadb", "replication_user"],
    &["check"],
];

/// Whether `path` is one of `patterns`, or lies below one; `*` stands for any part.
pub(super) fn is_below(path: &[String], patterns: &[&[&str]]) -> bool {
    let fits = |pattern: &&[&str]| {
        path.len() >= pattern.len()
            && pattern.iter().zip(path).all(|(wanted, part)| *wanted == "*" || wanted == part)
    };
    patterns.iter().any(fits)
}

/// Every key of the effective configuration, by its parts.
pub fn keys(effective: &Effective) -> BTreeMap<Vec<String>, Setting> {
    let mut keys = BTreeMap::new();
    // Keys are texts and values plain: it does not fail.
    let file = serde_json::to_value(&effective.file).unwrap_or_default();
    collect(&file, &mut Vec::new(), &mut |path, value| {
        let origin = effective.origins.effective(path);
        // What only one host knows, as its default route, is its own; so are the three checks of every host.
        let own = matches!(origin, super::Origin::Host(_))
            || matches!(path, [check, name, ..] if check == "check" && ["mariadb", "link", "gateway"].contains(&name.as_str()));
        let shared = !own && is_below(path, SHARED);
        let setting = Setting { value: covered(path, value), origin: origin.to_string(), shared };
        keys.insert(path.to_vec(), setting);
    });
    keys
}

/// Every key that differs, in their order.
pub fn changes(old: &BTreeMap<Vec<String>, Setting>, new: &BTreeMap<Vec<String>, Setting>) -> Vec<Change> {
    let mut paths: Vec<&Vec<String>> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let differs = |path: &&Vec<String>| {
        old.get(*path).map(|setting| &setting.value) != new.get(*path).map(|setting| &setting.value)
    };
    let change = |path: &Vec<String>| Change {
        key: dotted(path),
        path: path.clone(),
        old: old.get(path).cloned(),
        new: new.get(path).cloned(),
    };
    paths.into_iter().filter(differs).map(change).collect()
}

impl Change {
    /// One line: `check.api.interval: 1s -> 500ms`.
    pub fn line(&self) -> String {
        let shown = |setting: &Option<Setting>| setting.as_ref().map_or("(none)".to_owned(), Setting::shown);
        format!("{}: {} -> {}", self.key, shown(&self.old), shown(&self.new))
    }
}

impl Setting {
    /// The value as people write it.
    pub fn shown(&self) -> String {
        match &self.value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

fn collect(value: &Json, path: &mut Vec<String>, found: &mut impl FnMut(&[String], &Json)) {
    let named = |entries: &Vec<Json>| {
        !entries.is_empty() && entries.iter().all(|entry| entry.get("name").is_some_and(Json::is_string))
    };
    match value {
        Json::Null => {}
        Json::Object(table) => {
            for (key, value) in table {
                path.push(key.clone());
                collect(value, path, found);
                path.pop();
            }
        }
        Json::Array(entries) if named(entries) => {
            for entry in entries {
                path.push(entry.get("name").and_then(Json::as_str).unwrap_or_default().to_owned());
                collect(entry, path, found);
                path.pop();
            }
        }
        leaf => found(path, leaf),
    }
}

/// A URL may carry what should not be seen: in its query, and where alerts go, anywhere.
fn covered(path: &[String], value: &Json) -> Json {
    let Json::String(text) = value else { return value.clone() };
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["alerts", "webhook", "url"] if !text.is_empty() => "[REDACTED]".into(),
        [.., "url"] => without_secrets(text).into(),
        _ => value.clone(),
    }
}

/// One shared key that two nodes have otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// Dotted.
    pub key: String,
    /// This node's; `None`: it has no such key.
    pub mine: Option<Setting>,
    /// The other's.
    pub theirs: Option<Setting>,
}

impl Difference {
    /// A value of it, as people write it.
    pub fn shown(&self, setting: &Option<Setting>) -> String {
        setting.as_ref().map_or("(none)".to_owned(), Setting::shown)
    }
}

/// As [`keys`], each by its dotted name: how one node tells the other.
pub fn dotted_keys(effective: &Effective) -> BTreeMap<String, Setting> {
    keys(effective).into_iter().map(|(path, setting)| (dotted(&path), setting)).collect()
}

/// The keys that must be shared and are not, in their order.
pub fn differences(mine: &BTreeMap<String, Setting>, theirs: &BTreeMap<String, Setting>) -> Vec<Difference> {
    let names: std::collections::BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
    let mut differing = Vec::new();
    for key in names {
        let (here, there) = (mine.get(key), theirs.get(key));
        let shared = [here, there].into_iter().flatten().any(|setting| setting.shared);
        if shared && here.map(|setting| &setting.value) != there.map(|setting| &setting.value) {
            differing.push(Difference { key: key.clone(), mine: here.cloned(), theirs: there.cloned() });
        }
    }
    differing
}
