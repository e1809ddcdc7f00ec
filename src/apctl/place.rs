//! Where the daemon's socket and mode file are.
//!
//! Read from the configuration files without judging them: a file that was broken by hand a minute ago must
//! not keep an operator from the daemon that runs.

use super::arguments::Common;
use std::path::{Path, PathBuf};

/// The control socket: `--socket`, else `apd.sock` in the configured or default `node.run_dir`.
pub fn socket(common: &Common) -> PathBuf {
    common.socket.clone().unwrap_or_else(|| {
        node_key(&common.config, "run_dir")
            .map_or_else(|| PathBuf::from("/run/apd"), PathBuf::from)
            .join("apd.sock")
    })
}

/// The mode file: `node.mode_file`, else `mode` in `node.state_dir`.
pub fn mode_file(common: &Common) -> PathBuf {
    node_key(&common.config, "mode_file").map_or_else(
        || {
            let state = node_key(&common.config, "state_dir");
            state.map_or_else(|| PathBuf::from("/var/lib/apd"), PathBuf::from).join("mode")
        },
        PathBuf::from,
    )
}

/// The folder of the recordings: below `node.state_dir`.
pub fn recordings(common: &Common) -> PathBuf {
    let state = node_key(&common.config, "state_dir");
    state.map_or_else(|| PathBuf::from("/var/lib/apd"), PathBuf::from).join("recording")
}

/// A key of `[node]`: environment first, then the last of `conf.d`, then the main file.
fn node_key(config: &Path, key: &str) -> Option<String> {
    if let Ok(value) = std::env::var(format!("APD__NODE__{}", key.to_uppercase())) {
        return Some(value);
    }
    let folder = config.parent().unwrap_or(Path::new("/")).join("conf.d");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files.insert(0, config.to_owned());
    files.iter().rev().find_map(|file| {
        let table: toml::Table = std::fs::read_to_string(file).ok()?.parse().ok()?;
        Some(table.get("node")?.get(key)?.as_str().filter(|value| !value.is_empty())?.to_owned())
    })
}
