//! What an operator said of this node's part (`apctl start`, `apctl stop`): one word in the run folder, which the
//! system empties at boot. So it outlives the daemon, and never the host's run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("part")
}

/// What was said since the host booted: started, or stopped; `None`: nothing, or nothing that can be read.
pub fn read(run_dir: &Path) -> Option<bool> {
    match fs::read_to_string(path(run_dir)).ok()?.trim() {
        "started" => Some(true),
        "stopped" => Some(false),
        _ => None,
    }
}

/// Notes it, whole or not at all.
///
/// # Errors
/// When the folder does not take it.
pub fn write(run_dir: &Path, started: bool) -> io::Result<()> {
    let (whole, half) = (path(run_dir), run_dir.join("part.new"));
    fs::write(&half, if started { "started\n" } else { "stopped\n" })?;
    fs::rename(half, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_again_and_nonsense_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        write(folder.path(), true).unwrap();
        assert_eq!(read(folder.path()), Some(true));
        write(folder.path(), false).unwrap();
        assert_eq!(read(folder.path()), Some(false));
        fs::write(path(folder.path()), "perhaps").unwrap();
        assert_eq!(read(folder.path()), None);
    }
}
