//! Two files for old scripts: the state in keepalived's word, and the log of its notifications.
//!
//! Each write opens the file by its name, so a log that was rotated away is simply begun anew; no signal is needed.

use crate::wire::role_change::Word;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest text that could be a state.
const LONGEST: u64 = 64;

/// A file that does not take what it should.
#[derive(Debug, thiserror::Error)]
#[error("{key} {path}: {source}")]
pub struct RoleFileError {
    /// As in the configuration.
    pub key: &'static str,
    /// Which.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Replaces the file by the state's word, without newline: whoever reads it sees the old word or the new one.
///
/// # Errors
/// When the folder or the disk does not take it.
pub fn write_state(path: &Path, word: Word) -> Result<(), RoleFileError> {
    let failed = |source| RoleFileError { key: "node.state_file", path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        file.write_all(word.state().as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    write().map_err(failed)
}

/// What the state file held that is no state; `None` if it is one, or there is no file.
pub fn foreign_state(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    Word::ALL.iter().all(|word| word.state() != text).then_some(text)
}

/// Appends one line: `[2026-11-20 12:00:00] notify_master`, in the time of this host.
///
/// # Errors
/// When the folder or the disk does not take it.
pub fn append_notification(path: &Path, word: Word, at: Timestamp) -> Result<(), RoleFileError> {
    let failed = |source| RoleFileError { key: "node.transition_log", path: path.to_owned(), source };
    let time = at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    // One write of one line: whoever rotates or reads sees whole lines.
    let line = format!("[{time}] {}\n", word.notification());
    let append = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(path)?;
        file.write_all(line.as_bytes())
    };
    append().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_16_the_state_is_one_word_without_newline_and_never_half_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let reader = path.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let watching = std::thread::spawn(move || {
            let mut seen = std::collections::BTreeSet::new();
            while stopped.try_recv().is_err() {
                seen.extend(fs::read(&reader).ok());
            }
            seen
        });
        for _ in 0..50 {
            for word in Word::ALL {
                write_state(&path, word).unwrap();
                assert_eq!(fs::read(&path).unwrap(), word.state().as_bytes());
            }
        }
        stop.send(()).unwrap();
        for seen in watching.join().unwrap() {
            assert!(Word::ALL.iter().any(|word| word.state().as_bytes() == seen), "{seen:?} was seen");
        }
        let missing = write_state(&folder.path().join("no/such/folder"), Word::Stop).unwrap_err();
        assert!(missing.to_string().starts_with("node.state_file "), "{missing}");
    }

    #[test]
    fn r4_18_r4_21_lines_go_on_in_a_new_file_after_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("keepalived.log"), folder.path().join("keepalived.log.1"));
        let at: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let append = |word| append_notification(&path, word, at).unwrap();
        append(Word::Standby);
        append(Word::Active);
        fs::rename(&path, &old).unwrap();
        append(Word::Fault);
        // `copytruncate`: the same file, emptied.
        fs::copy(&path, &old).unwrap();
        fs::File::create(&path).unwrap();
        append(Word::Stop);
        fs::remove_file(&path).unwrap();
        append(Word::Active);
        let text = fs::read_to_string(&path).unwrap();
        let (time, rest) = text.strip_prefix('[').unwrap().split_once("] ").unwrap();
        assert_eq!(rest, "notify_master\n");
        jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).unwrap();
        assert_eq!(time.len(), 19, "{time}");
        assert!(fs::read_to_string(&old).unwrap().ends_with("] notify_fault\n"));
    }

    #[test]
    fn r4_19_an_unknown_word_is_noticed_and_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(foreign_state(&path), None, "no file");
        for (text, foreign) in [("MASTER", false), ("STOP\n", false), ("", true), ("STATE ERROR!!!", true)] {
            fs::write(&path, text).unwrap();
            assert_eq!(foreign_state(&path).is_some(), foreign, "{text:?}");
        }
        write_state(&path, Word::Standby).unwrap();
        assert_eq!(foreign_state(&path), None);
    }
}
