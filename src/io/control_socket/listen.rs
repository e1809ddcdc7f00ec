//! The socket file: made complete before it can be seen, removed when the server ends.

use super::ControlError;
use nix::unistd::{Gid, Group, chown};
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// Members of this group may change things.
pub const GROUP: &str = "apd";

/// The socket's place in the file system, removed on drop if it is still ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Binds under another name, sets owner and mode, then renames: nobody ever sees a socket with other
    /// rights, and one that a killed daemon left behind is replaced.
    pub(super) fn bind(path: &Path) -> Result<(UnixListener, Self), ControlError> {
        let failed = |act: &'static str| {
            let path = path.to_owned();
            move |source: std::io::Error| ControlError::Socket { path, act, source }
        };
        if UnixStream::connect(path).is_ok() {
            return Err(ControlError::AlreadyRunning(path.to_owned()));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let unnamed = PathBuf::from(name);
        // One of the same process id may be left from a killed run.
        std::fs::remove_file(&unnamed).ok();
        let listener = UnixListener::bind(&unnamed).map_err(failed("bind"))?;
        let made = Self::finish(&unnamed, path);
        let inode = made.inspect_err(|_| drop(std::fs::remove_file(&unnamed))).map_err(failed("set up"))?;
        Ok((listener, Self { path: path.to_owned(), inode }))
    }

    fn finish(unnamed: &Path, path: &Path) -> std::io::Result<u64> {
        if let Some(group) = group() {
            // Without the right to give it to the group, only its owner can connect, and root.
            if let Err(error) = chown(unnamed, None, Some(group)) {
                tracing::warn!(
                    code = "admin.group",
                    "the control socket cannot be given to group {GROUP}: {error}"
                );
            }
        }
        std::fs::set_permissions(unnamed, Permissions::from_mode(0o660))?;
        let inode = std::fs::metadata(unnamed)?.ino();
        std::fs::rename(unnamed, path)?;
        Ok(inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

pub(super) fn group() -> Option<Gid> {
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}
