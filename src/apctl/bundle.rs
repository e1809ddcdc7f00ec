//! `apctl bundle`: everything that somebody needs who looks at a pair from afar, in one archive. No secret is in it: none
//! is in what the daemon tells, and what this command reads is searched for the configured ones before it is packed.

use super::answers::Bundled;
use super::arguments::Common;
use super::client::Client;
use super::configuration::loaded_without_secrets;
use super::exit::Exit;
use super::exit::Failure;
use super::output::Output;
use super::place;
use super::view::{clean, wrapped};
use crate::config::{Sources, load, render_effective};
use crate::io::clock;
use crate::wire::control::SCHEMA_VERSION;
use flate2::Compression;
use flate2::write::GzEncoder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The doctor asks servers and networks.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the daemon tells, and the file that it goes into.
const PAGES: [(&str, &str); 8] = [
    ("status.json", "/status"),
    ("explain.json", "/explain"),
    ("history.json", "/history?kinds=all&limit=10000"),
    ("timeline.json", "/timeline"),
    ("operations.json", "/operations"),
    ("doctor.json", "/doctor"),
    ("configuration.json", "/configuration"),
    ("peer-configuration.json", "/peer/configuration"),
];
/// What the host tells, where it has the program.
const COMMANDS: [(&str, &[&str]); 5] = [
    (
        "log.txt",
        &[
            "journalctl",
            "--unit=apd",
            "--unit=apd-gate",
            "--since=-24h",
            "--no-pager",
            "--output=short-iso-precise",
        ],
    ),
    ("units.txt", &["systemctl", "--no-pager", "--lines=0", "status", "apd", "apd-gate", "mariadb"]),
    ("interfaces.txt", &["ip", "-statistics", "address"]),
    ("gate.txt", &["nft", "list", "table", "inet", "apd"]),
    ("kernel.txt", &["uname", "-a"]),
];
const COVER: &[u8] = b"[REDACTED]";

/// An archive that is being made.
struct Archive {
    tar: tar::Builder<GzEncoder<fs::File>>,
    folder: String,
    secrets: Vec<SecretString>,
    names: Vec<String>,
    missing: Vec<String>,
}

/// `bundle [FILE]`.
pub(super) fn bundle(
    client: &Client,
    output: &Output,
    common: &Common,
    file: Option<&Path>,
) -> Result<Exit, Failure> {
    let folder = format!("apd-bundle-{}", clock::wall().strftime("%Y%m%dT%H%M%SZ"));
    let file = file.map_or_else(|| PathBuf::from(format!("{folder}.tar.gz")), Path::to_owned);
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", file.display()));
    // Never over another file, and for its owner alone: it tells how a cluster is built.
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
    let tar = tar::Builder::new(GzEncoder::new(target, Compression::default()));
    let mut archive =
        Archive { tar, folder, secrets: secrets(common), names: Vec::new(), missing: Vec::new() };
    fill(&mut archive, client, common).map_err(failed)?;
    let (contains, missing) = (archive.names.clone(), archive.missing.clone());
    archive.tar.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
    let made = Bundled { schema_version: SCHEMA_VERSION, file, contains, missing };
    output.show(&made, |output| {
        let lines = made.missing.iter().map(|line| format!("not in it: {line}"));
        let sum = format!("{}: {} files, without secrets", made.file.display(), made.contains.len());
        lines.chain([sum]).map(|line| wrapped(&clean(&line), "", output.width())).collect()
    })?;
    Ok(if made.missing.is_empty() { Exit::OK } else { Exit::DEGRADED })
}

fn fill(archive: &mut Archive, client: &Client, common: &Common) -> std::io::Result<()> {
    let versions = json!({
        "apctl": env!("CARGO_PKG_VERSION"),
        "made_at": clock::wall().to_string(),
        "hostname": Sources::from_host(&common.config).hostname,
    });
    archive.text("versions.json", format!("{versions:#}\n").into_bytes())?;
    match loaded_without_secrets(common) {
        Ok(loaded) => archive.text("configuration.toml", render_effective(&loaded, true).into_bytes())?,
        Err(failure) => archive.text("configuration-errors.txt", failure.message.into_bytes())?,
    }
    for (name, path) in PAGES {
        match client.get_slowly::<Value>(path, PATIENCE) {
            Ok(page) => archive.text(name, format!("{page:#}\n").into_bytes())?,
            // A node that has never taken over has no story to tell.
            Err(failure) if failure.code == "E_NO_TIMELINE" => {}
            Err(failure) => archive.missing.push(format!("{name}: {}", failure.message)),
        }
    }
    for (name, words) in COMMANDS {
        // One that says no (no such unit, no such table) has said why: that is worth having too.
        let command = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        if let Ok(told) = command {
            archive.text(name, [told.stdout, told.stderr].concat())?;
        }
    }
    let folder = place::recordings(common);
    match fs::read_dir(&folder) {
        Ok(entries) => {
            for path in entries.flatten().map(|entry| entry.path()) {
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                // The newest is being written: as much of it as is there.
                let bytes = fs::read(&path)?;
                archive.add(&format!("recording/{name}"), &bytes)?;
            }
        }
        Err(error) => archive.missing.push(format!("recording: {}: {error}", folder.display())),
    }
    let missing = archive.missing.join("\n");
    archive.text("missing.txt", missing.into_bytes())
}

/// The configured secrets, as far as this caller may read them.
fn secrets(common: &Common) -> Vec<SecretString> {
    let Ok(loaded) = load(&Sources::from_host(&common.config).without_secrets()) else { return Vec::new() };
    let config = loaded.config;
    [config.mariadb.password, config.mariadb.replication_password, config.vrrp.auth_pass, config.http.token]
        .into_iter()
        .flatten()
        .filter(|secret| !secret.expose_secret().trim().is_empty())
        .collect()
}

impl Archive {
    /// A text, after every secret in it was covered.
    fn text(&mut self, name: &str, mut text: Vec<u8>) -> std::io::Result<()> {
        for secret in &self.secrets {
            text = covered(text, secret.expose_secret().trim().as_bytes());
        }
        self.add(name, &text)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(clock::wall().as_second()).unwrap_or(0));
        self.tar.append_data(&mut header, format!("{}/{name}", self.folder), bytes)?;
        self.names.push(name.to_owned());
        Ok(())
    }
}

fn covered(text: Vec<u8>, secret: &[u8]) -> Vec<u8> {
    let mut rest = text.as_slice();
    let mut result = Vec::with_capacity(rest.len());
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(COVER);
        rest = &rest[at + secret.len()..];
    }
    result.extend_from_slice(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::covered;

    #[test]
    fn a_secret_is_covered_wherever_it_stands() {
        let text = b"password=hunter2 hunter2hunter2".to_vec();
        let shown = String::from_utf8(covered(text, b"hunter2")).unwrap();
        assert_eq!(shown, "password=[REDACTED] [REDACTED][REDACTED]");
    }
}
