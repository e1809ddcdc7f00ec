//! Passwords that bootstrap makes: a file each, for root and apd only.

use secrecy::{ExposeSecret, SecretString};
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Random bytes in a password that is made here; each becomes two hexadecimal digits.
const LENGTH: usize = 20;

/// The password in `path`, or a new one if there is no such file; nothing is written.
///
/// # Errors
/// The file is there and cannot be read, or is empty.
pub fn read_or_make(path: &Path) -> io::Result<SecretString> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "the file is empty: write a password, or remove it",
                ));
            }
            Ok(text.to_owned().into())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(),
        Err(error) => Err(error),
    }
}

/// Puts `password` into `path`, with the folder's owner and group, for that group where it is apd's; a file that exists
/// stays.
///
/// # Errors
/// The folder cannot be made or written.
pub fn write_if_missing(path: &Path, password: &SecretString) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", password.expose_secret())?;
    file.sync_all()?;
    // apd reads it as its own user or group, to whom the folder belongs where it does not belong to root.
    let owner = fs::metadata(folder)?;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
    let mode = if owner.uid() == 0 && owner.gid() != 0 { 0o640 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn make() -> io::Result<SecretString> {
    let mut bytes = [0_u8; LENGTH];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}
