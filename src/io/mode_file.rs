//! The mode file: one word, written atomically, watched with inotify.
//!
//! While a change runs the file holds `being WORD`. Beside it lies `FILE.by`, which keeps who set the mode and
//! why for as long as it speaks of the word that the file holds; an edit by hand has no such note.

use crate::decision::event::ModeReading;
use crate::decision::words::Mode;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A mode file longer than this is garbage.
const LONGEST: u64 = 64;

/// Why the mode cannot be written.
#[derive(Debug, Error)]
#[error("mode file {path}: {act}: {source}; node.mode_file must lie in a folder that apd may write")]
pub struct ModeFileError {
    path: PathBuf,
    act: &'static str,
    source: io::Error,
}

/// Who set a mode, and why.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    mode: String,
    actor: String,
    reason: String,
}

/// Where the forerunner kept its mode; read once, when there is no mode file yet.
pub const FORERUNNER: &str = "/opt/ap-mode";

/// Reads the mode of a fresh installation, where no file need exist: the forerunner's file if there is one,
/// else `ap`.
pub fn read_first(path: &Path, forerunner: &Path) -> ModeReading {
    if path.exists() {
        return read(path);
    }
    if forerunner.exists() {
        let reading = read(forerunner);
        return ModeReading { actor: forerunner.display().to_string(), ..reading };
    }
    ModeReading {
        mode: Mode::Ap,
        problem: None,
        interrupted: false,
        actor: "apd".into(),
        reason: "first start".into(),
    }
}

/// Reads the file. What is no plain mode word, a missing file too, reads as maintenance with what is wrong
/// with it; `being WORD` reads as WORD, interrupted.
pub fn read(path: &Path) -> ModeReading {
    // A note that cannot be read says nothing; the word counts.
    let note = fs::read(note_path(path)).unwrap_or_default();
    judge(read_short(path), &note, path)
}

/// What a file with this text, and this note beside it, says.
pub fn judge(text: io::Result<String>, note: &[u8], path: &Path) -> ModeReading {
    let reading = |mode: Mode, problem: Option<String>, interrupted| {
        let note: Option<Note> = serde_json::from_slice(note).ok();
        let note = note.filter(|note| note.mode == mode.word());
        let note = note.unwrap_or_else(|| Note { actor: "a hand".into(), ..Note::default() });
        ModeReading { mode, problem, interrupted, actor: note.actor, reason: note.reason }
    };
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let problem = format!("mode file {}: {error}", path.display());
            return reading(Mode::Maintenance, Some(problem), false);
        }
    };
    let (text, interrupted) = match text.trim().strip_prefix("being ") {
        Some(rest) => (rest.trim(), true),
        None => (text.trim(), false),
    };
    match text.parse() {
        Ok(mode) => reading(mode, None, interrupted),
        Err(_) if text.is_empty() => {
            reading(Mode::Maintenance, Some(format!("mode file {} is empty", path.display())), false)
        }
        Err(error) => {
            let problem = format!("mode file {}: {error}", path.display());
            reading(Mode::Maintenance, Some(problem), false)
        }
    }
}

fn read_short(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > LONGEST {
        let text = format!("{length} bytes long: a mode is one word");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    fs::read_to_string(path)
}

fn note_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".by");
    PathBuf::from(name)
}

/// Writes the mode: `being WORD`, the note, then `WORD`; each by temp file, fsync, rename, fsync of the folder.
///
/// # Errors
/// When the disk does not take it. The file holds the old word, or `being WORD`, then.
pub fn write(path: &Path, mode: Mode, actor: &str, reason: &str) -> Result<(), ModeFileError> {
    replace(path, format!("being {mode}\n").as_bytes())?;
    let note = Note { mode: mode.word().into(), actor: actor.into(), reason: reason.into() };
    let note = serde_json::to_vec(&note).expect("a note has string keys only");
    replace(&note_path(path), &note)?;
    replace(path, format!("{mode}\n").as_bytes())
}

fn replace(path: &Path, content: &[u8]) -> Result<(), ModeFileError> {
    let failed = |act| move |source| ModeFileError { path: path.to_owned(), act, source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&new)
        .map_err(failed("make the new file"))?;
    file.write_all(content).map_err(failed("write"))?;
    file.sync_all().map_err(failed("fsync"))?;
    fs::rename(&new, path).map_err(failed("rename"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("fsync of its folder"))
}

/// Watches the mode file's folder, because editors replace files instead of changing them.
#[derive(Debug)]
pub struct ModeWatch {
    inotify: Inotify,
}

impl ModeWatch {
    /// Starts watching.
    ///
    /// # Errors
    /// When the folder does not exist or inotify has no room (fs.inotify.max_user_instances).
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM;
        inotify.add_watch(folder, flags)?;
        Ok(Self { inotify })
    }

    /// The descriptor to wait on; readable when something in the folder changed.
    pub fn into_descriptor(self) -> OwnedFd {
        self.inotify.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: Option<&[u8]>, mode: Mode, problem: Option<&str>, interrupted: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mode");
        if let Some(content) = content {
            fs::write(&path, content).expect("written");
        }
        let reading = read(&path);
        assert_eq!((reading.mode, reading.interrupted), (mode, interrupted), "{content:?}");
        match problem {
            None => assert_eq!(reading.problem, None, "{content:?}"),
            Some(part) => {
                let said = reading.problem.expect("a problem");
                assert!(said.contains(part), "{said:?} should name {part:?}");
            }
        }
    }

    #[test]
    fn what_is_no_plain_word_is_maintenance_with_the_reason() {
        check(None, Mode::Maintenance, Some("No such file"), false);
        check(Some(b"ap\n"), Mode::Ap, None, false);
        check(Some(b"m"), Mode::Maintenance, None, false);
        check(Some(b"s"), Mode::Standalone, None, false);
        check(Some(b"being standalone\n"), Mode::Standalone, None, true);
        check(Some(b""), Mode::Maintenance, Some("empty"), false);
        check(Some(b"apple"), Mode::Maintenance, Some("`apple` is no mode"), false);
        check(Some(b"being nothing"), Mode::Maintenance, Some("`nothing`"), false);
        check(Some(b"\xff\xfe"), Mode::Maintenance, Some("mode file"), false);
        check(Some(&[b'a'; 5000]), Mode::Maintenance, Some("5000 bytes"), false);
    }

    #[test]
    fn a_fresh_installation_takes_over_the_forerunners_mode() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, old) = (folder.path().join("mode"), folder.path().join("ap-mode"));
        assert_eq!(read_first(&path, &old).mode, Mode::Ap);
        fs::write(&old, "s\n").expect("written");
        assert_eq!(read_first(&path, &old).mode, Mode::Standalone);
        fs::write(&path, "m\n").expect("written");
        assert_eq!(read_first(&path, &old).mode, Mode::Maintenance);
    }

    #[test]
    fn a_note_belongs_to_its_word_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mode");
        write(&path, Mode::Standalone, "operator root", "drill").expect("written");
        let reading = read(&path);
        assert_eq!((reading.actor.as_str(), reading.reason.as_str()), ("operator root", "drill"));
        fs::write(&path, "ap").expect("edited");
        assert_eq!(read(&path).actor, "a hand");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_with_its_place() {
        let error = write(Path::new("/proc/nowhere/mode"), Mode::Ap, "", "").expect_err("refused");
        assert!(error.to_string().contains("/proc/nowhere/mode"), "{error}");
    }
}
