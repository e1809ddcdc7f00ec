//! The durable facts on disk: a small preallocated file of two slots, written in turn with O_DSYNC.
//!
//! Preallocated and never grown, so that it works on a full disk; two slots, so that a torn write costs the
//! newer facts at most, which were not yet promised to anybody.

use crate::decision::action::DurableFacts;
use crate::wire::state::{SLOT, decode, encode};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the facts cannot be kept.
#[derive(Debug, Error)]
#[error("state file {path}: {act}: {source}; node.state_dir must be a folder that apd may write")]
pub struct StateFileError {
    path: PathBuf,
    act: &'static str,
    source: io::Error,
}

/// The open file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    serial: u64,
}

impl StateFile {
    /// Opens or makes the file; gives the newest facts that are whole, `None` if there are none, and a line
    /// for every slot that should have been whole and is not.
    ///
    /// # Errors
    /// When the file cannot be opened, made or read.
    pub fn open(path: &Path) -> Result<(Self, Option<DurableFacts>, Vec<String>), StateFileError> {
        let failed = |act| move |source| StateFileError { path: path.to_owned(), act, source };
        let fresh = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_DSYNC)
            .open(path)
            .map_err(failed("open"))?;
        if fresh {
            file.write_all_at(&[0; 2 * SLOT], 0).map_err(failed("preallocate"))?;
            file.sync_all().map_err(failed("fsync"))?;
            let folder =
                path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("fsync of its folder"))?;
        }
        let mut newest: Option<(DurableFacts, u64)> = None;
        let mut problems = Vec::new();
        for index in 0..2 {
            let mut slot = [0; SLOT];
            match file.read_exact_at(&mut slot, index * SLOT as u64) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(failed("read")(error)),
            }
            match decode(&slot) {
                Ok(found) if newest.is_none_or(|(_, serial)| found.1 > serial) => newest = Some(found),
                Ok(_) => {}
                Err(_) if slot == [0; SLOT] => {}
                Err(error) => problems.push(format!("state file {}: slot {index}: {error}", path.display())),
            }
        }
        let serial = newest.map_or(0, |(_, serial)| serial);
        Ok((Self { path: path.to_owned(), file, serial }, newest.map(|(facts, _)| facts), problems))
    }

    /// Writes the facts into the older slot; they are on disk when this returns.
    ///
    /// # Errors
    /// When the disk does not take them; the newer slot stands then.
    pub fn write(&mut self, facts: &DurableFacts) -> Result<(), StateFileError> {
        let serial = self.serial + 1;
        let offset = (serial % 2) * SLOT as u64;
        self.file.write_all_at(&encode(facts, serial), offset).map_err(|source| StateFileError {
            path: self.path.clone(),
            act: "write",
            source,
        })?;
        self.serial = serial;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::words::{Epoch, NodeId};

    fn facts(number: u64) -> DurableFacts {
        DurableFacts { epoch: Epoch { number, node: NodeId(1) }, ..Default::default() }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state");
        let (mut file, found, _) = StateFile::open(&path).expect("made");
        assert_eq!(found, None);
        for number in 1..=5 {
            file.write(&facts(number)).expect("written");
            let (_, found, problems) = StateFile::open(&path).expect("opened again");
            assert_eq!((found, problems.len()), (Some(facts(number)), 0));
        }
        // Tear the newest slot (serial 5 lies in slot 1): the older one counts, and the damage is said.
        let raw = OpenOptions::new().write(true).open(&path).expect("opened");
        raw.write_all_at(b"torn", SLOT as u64 + 30).expect("torn");
        let (_, found, problems) = StateFile::open(&path).expect("opened again");
        assert_eq!((found, problems.len()), (Some(facts(4)), 1));
    }
}
