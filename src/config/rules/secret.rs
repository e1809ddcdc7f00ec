//! Secrets are read from files, never written in the configuration, and never shown.

use super::Scene;
use secrecy::{ExposeSecret, SecretString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Longest secret that is believed: more is a wrong file.
const LONGEST: usize = 1024;

/// Reads the secret in `file`, without the line's end. An empty `file` is no secret; `%d/NAME` is a systemd
/// credential of the unit.
pub fn read(scene: &mut Scene<'_>, path: &[&str], file: &Path) -> Option<SecretString> {
    read_or(scene, path, file, "write it there, readable for the user of apd only (chmod 600)", true)
}

/// The same for a secret that `apctl bootstrap` makes: until then its absence is only a warning.
pub fn read_if_made(scene: &mut Scene<'_>, path: &[&str], file: &Path) -> Option<SecretString> {
    read_or(scene, path, file, "`apctl bootstrap` makes it on both nodes", false)
}

fn read_or(
    scene: &mut Scene<'_>,
    path: &[&str],
    file: &Path,
    remedy: &str,
    must_exist: bool,
) -> Option<SecretString> {
    if file.as_os_str().is_empty() {
        return None;
    }
    let place = place(scene, path, file)?;
    let bytes = match std::fs::read(&place) {
        Ok(bytes) => bytes,
        Err(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let what = format!("{} cannot be read: {error}", file.display());
            let remedy = if missing { remedy } else { "let the user of apd read this file" };
            let required = scene.sources.secrets_required && (must_exist || !missing);
            if required {
                scene.refuse(path, what, remedy);
            } else {
                scene.warn(path, what, remedy);
            }
            return None;
        }
    };
    let mode = std::fs::metadata(&place).map_or(0, |about| about.permissions().mode());
    if mode & 0o007 != 0 {
        let what = format!("everybody on this host can use {} (mode {:03o})", file.display(), mode & 0o777);
        scene.warn(path, what, format!("chmod 600 {}, or 640 with a group", file.display()));
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.len() > LONGEST || text.contains(['\n', '\r', '\0']) {
        let what = match text.is_empty() {
            true => format!("{} is empty or no text", file.display()),
            false => format!("{} is not a single line of at most {LONGEST} characters", file.display()),
        };
        scene.refuse(path, what, "let the file hold the secret and nothing else");
        return None;
    }
    Some(SecretString::from(text.to_owned()))
}

/// How many bytes a secret has.
pub fn length(secret: &SecretString) -> usize {
    secret.expose_secret().len()
}

/// Where the file is on this host; `%d/NAME` is a systemd credential of the unit.
pub fn place(scene: &mut Scene<'_>, path: &[&str], file: &Path) -> Option<PathBuf> {
    let absolute = match file.strip_prefix("%d") {
        Ok(name) => match scene.sources.variable("CREDENTIALS_DIRECTORY") {
            Some(folder) => Path::new(folder).join(name),
            None => {
                let what = "%d stands for the credentials of a systemd unit, and this process has none";
                let remedy = "add LoadCredential= to the unit, or write the path of a file";
                match scene.sources.secrets_required {
                    true => scene.refuse(path, what, remedy),
                    false => scene.warn(path, what, remedy),
                }
                return None;
            }
        },
        Err(_) => scene.absolute(path, file),
    };
    let below_root = absolute.strip_prefix("/").ok()?;
    Some(scene.sources.root.join(below_root))
}
