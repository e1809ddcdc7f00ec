//! The disks beneath the server: a full disk, a stall and a read-only file system are invisible to
//! `SELECT 1`. A thread of its own writes and syncs 4 KiB in each data folder, because a stalled disk holds
//! the writer for as long as it likes.

use nix::sys::statvfs::statvfs;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

/// The file that is written, synced and removed again.
const NAME: &str = ".apd-disk-probe";
/// Below this share of free space a warning is due.
const LOW_SHARE: u64 = 20;
/// Below this many bytes the disk counts as full.
const FULL: u64 = 1 << 20;

/// What the thread found last.
#[derive(Clone, Debug)]
struct Found {
    /// When all folders were last written and synced.
    last_success: Instant,
    /// Why the newest round failed; empty if it did not.
    problem: String,
    /// Folders that cannot be watched, and low space.
    warnings: Vec<String>,
}

/// Watch over some folders. The thread ends soon after this is dropped.
#[derive(Debug)]
pub(super) struct Disks {
    folders: Vec<PathBuf>,
    found: Arc<Mutex<Found>>,
}

impl Disks {
    /// Starts the thread.
    pub(super) fn watch(mut folders: Vec<PathBuf>, every: Duration) -> Disks {
        folders.sort();
        folders.dedup();
        let fresh = Found { last_success: Instant::now(), problem: String::new(), warnings: Vec::new() };
        let found = Arc::new(Mutex::new(fresh));
        let (seen, watched) = (Arc::downgrade(&found), folders.clone());
        let thread = std::thread::Builder::new().name("disks".into());
        if let Err(error) = thread.spawn(move || rounds(&watched, &seen, every)) {
            lock(&found).warnings.push(format!("the disks are not watched: {error}"));
        }
        Disks { folders, found }
    }

    /// Whether these folders are the watched ones.
    pub(super) fn watches(&self, folders: &[PathBuf]) -> bool {
        let mut folders = folders.to_vec();
        folders.sort();
        folders.dedup();
        folders == self.folders
    }

    /// How long no round has succeeded, if that is longer than `limit`, and why.
    pub(super) fn stalled(&self, limit: Duration) -> Option<(Duration, String)> {
        let found = lock(&self.found);
        let age = found.last_success.elapsed();
        let why = if found.problem.is_empty() { "writing to the disk hangs" } else { &found.problem };
        (age > limit).then(|| (age, why.to_owned()))
    }

    /// What the operator should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        lock(&self.found).warnings.clone()
    }
}

fn lock(found: &Mutex<Found>) -> std::sync::MutexGuard<'_, Found> {
    found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn rounds(folders: &[PathBuf], seen: &Weak<Mutex<Found>>, every: Duration) {
    while let Some(found) = seen.upgrade() {
        drop(found);
        let (mut problem, mut warnings) = (String::new(), Vec::new());
        for folder in folders {
            match probe(folder) {
                Ok(low) => warnings.extend(low),
                Err(Trouble::NotOurs(why)) => warnings.push(why),
                Err(Trouble::Sick(why)) => problem = why,
            }
        }
        let Some(found) = seen.upgrade() else { return };
        let mut found = lock(&found);
        if problem.is_empty() {
            found.last_success = Instant::now();
        }
        found.problem = problem;
        found.warnings = warnings;
        drop(found);
        std::thread::sleep(every);
    }
}

enum Trouble {
    /// apd may not write there: nothing is known about that disk.
    NotOurs(String),
    /// The disk is full, read-only or broken.
    Sick(String),
}

/// One round in one folder: `Ok` holds a warning about low space.
fn probe(folder: &Path) -> Result<Option<String>, Trouble> {
    let path = folder.join(format!("{NAME}.{}", std::process::id()));
    let written = write_and_sync(&path);
    let removed = fs::remove_file(&path);
    if let Err(error) = written {
        let shown = folder.display();
        return Err(match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::NotFound => Trouble::NotOurs(format!(
                "apd may not write in {shown} ({error}): its disk is not watched; \
                 let apd's user write there, for example by group mysql and mode 0770"
            )),
            _ => Trouble::Sick(format!("{shown}: {error}")),
        });
    }
    drop(removed);
    let space = statvfs(folder).map_err(|error| Trouble::Sick(format!("{}: {error}", folder.display())))?;
    let free = space.blocks_available() * space.fragment_size();
    let total = space.blocks() * space.fragment_size();
    if free < FULL {
        return Err(Trouble::Sick(format!("{}: the disk is full", folder.display())));
    }
    let low = total > 0 && free < total / LOW_SHARE;
    Ok(low.then(|| format!("{}: only {} MiB are free", folder.display(), free >> 20)))
}

fn write_and_sync(path: &Path) -> std::io::Result<()> {
    // A new file each time: blocks that exist already can be overwritten on a full disk.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(&[0x5a; 4096])?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writable_folder_is_fine_and_a_missing_one_is_said_to_be_unwatched() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(probe(folder.path()).is_ok());
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0, "nothing is left behind");
        assert!(matches!(probe(&folder.path().join("gone")), Err(Trouble::NotOurs(_))));
    }
}
