//! `apctl config diff`: what runs against the file on disk, or with `--peer` what both nodes must share and do not.

use super::answers::Comparison;
use super::arguments::Common;
use super::client::Client;
use super::configuration::loaded_without_secrets;
use super::exit::{Exit, Failure};
use super::output::{Output, Tone};
use super::view::{clean, wrapped};
use crate::config::flat::{self, Difference, Setting};
use crate::wire::control::SCHEMA_VERSION;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The peer is asked through the daemon.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a daemon tells of its configuration.
#[derive(Debug, Deserialize)]
struct Told {
    node: String,
    hash: String,
    keys: BTreeMap<String, Setting>,
}

/// `config diff [--peer]`.
pub(super) fn diff(client: &Client, output: &Output, common: &Common, peer: bool) -> Result<Exit, Failure> {
    let running: Told = client.get("/configuration")?;
    let (here, there, hashes, differences) = if peer {
        let theirs: Told = client.get_slowly("/peer/configuration", PATIENCE)?;
        let differences = flat::differences(&running.keys, &theirs.keys);
        (running.node, theirs.node, [running.hash, theirs.hash], differences)
    } else {
        let loaded = loaded_without_secrets(common)?;
        let disk = flat::dotted_keys(&loaded.effective);
        let hash = format!("{:016x}", loaded.config.hash);
        let differences = all(&running.keys, &disk);
        ("running".to_owned(), "on disk".to_owned(), [running.hash, hash], differences)
    };
    let same = differences.is_empty() && (!peer || hashes[0] == hashes[1]);
    let found =
        Comparison { schema_version: SCHEMA_VERSION, same, names: [here, there], hashes, differences };
    output.show(&found, |output| page(output, &found))?;
    Ok(if same { Exit::OK } else { Exit::DEGRADED })
}

/// Every key that differs, shared or not.
fn all(mine: &BTreeMap<String, Setting>, theirs: &BTreeMap<String, Setting>) -> Vec<Difference> {
    let shared = |keys: &BTreeMap<String, Setting>| {
        keys.iter().map(|(key, setting)| (key.clone(), Setting { shared: true, ..setting.clone() })).collect()
    };
    flat::differences(&shared(mine), &shared(theirs))
}

fn page(output: &Output, found: &Comparison) -> String {
    let Comparison { names, hashes, differences, .. } = found;
    let word = if hashes[0] == hashes[1] { "the same" } else { "different" };
    let (here, there) = (clean(&names[0]), clean(&names[1]));
    let hash =
        format!("hash of the shared part: {word} ({here} {}, {there} {})", hashes[0], clean(&hashes[1]));
    let mut text = wrapped(&hash, "", output.width());
    if differences.is_empty() {
        text.push_str("no key differs\n");
    }
    for difference in differences {
        text.push_str(&format!("{}\n", output.paint(Tone::Strong, &clean(&difference.key))));
        for (name, setting) in [(&here, &difference.mine), (&there, &difference.theirs)] {
            let origin = setting.as_ref().map_or("", |setting| setting.origin.as_str());
            let line = format!("{} # {origin}", clean(&difference.shown(setting)));
            let value = wrapped(line.trim_end_matches([' ', '#']), "             ", output.width());
            text.push_str(&format!("  {name:<10} {}\n", value.trim()));
        }
    }
    text
}
