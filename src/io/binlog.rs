//! The binary log of a server that is dead while its host lives: the tail that it did not send any more is
//! read from its files.

use crate::decision::gtid::{Gtid, GtidState};
use crate::wire::binlog::{BinlogError, Events, HEADER, Header, MAGIC, Parser, Told, Transaction};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes read from a file at a time.
const CHUNK: usize = 256 * 1024;

/// Why a tail could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The file system said no.
    #[error(
        "{path}: {error}; apd must be able to read the server's binary logs (group mysql and mode 0640, folder 0750)"
    )]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// The file's content cannot be used.
    #[error("{path}: {error}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: BinlogError,
    },
    /// Everything that is left begins after what the other side has.
    #[error("no binary log reaches back to {0}: the older ones were purged")]
    Purged(GtidState),
    /// There are no files of that name.
    #[error("{0}: no binary logs there")]
    None(PathBuf),
}

/// Whole transactions beyond what the other side has, as one log in memory: its bytes can travel as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    bytes: Vec<u8>,
    transactions: Vec<Transaction>,
    complete: bool,
}

impl Tail {
    /// How many transactions.
    pub fn transactions(&self) -> u64 {
        self.transactions.len() as u64
    }

    /// Whether all that the dead server had is in it; false when the limit cut it short.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether its events carry checksums.
    pub fn has_checksums(&self) -> bool {
        let mut parser = Parser::default();
        let first = Events::of_file(&self.bytes).ok().and_then(|mut events| events.next());
        // Only whole format events were put in.
        first.is_some_and(|(offset, event)| parser.take(offset, event).is_ok()) && parser.checksums()
    }

    /// The last identifier in it.
    pub fn last(&self) -> Option<Gtid> {
        self.transactions.last().map(|last| last.gtid)
    }

    /// For the peer link: one byte whether it is complete, then a binary log.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1);
        bytes.push(u8::from(self.complete));
        bytes.extend_from_slice(&self.bytes);
        bytes
    }

    /// Reads what [`Tail::to_bytes`] wrote. Whatever is no whole transaction is not in it.
    ///
    /// # Errors
    /// The bytes are no binary log.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tail, BinlogError> {
        let (complete, bytes) = bytes.split_first().ok_or(BinlogError::NotABinlog)?;
        let mut tail = Tail { bytes: bytes.to_vec(), transactions: Vec::new(), complete: *complete == 1 };
        let mut parser = Parser::default();
        for (offset, event) in Events::of_file(bytes)? {
            match parser.take(offset, event)? {
                Told::Completed(transaction) => tail.transactions.push(transaction),
                Told::Torn => {
                    tail.complete = false;
                    break;
                }
                _ => {}
            }
        }
        Ok(tail)
    }

    /// Each transaction with its events, and the format event that they were written under.
    pub fn iter(&self) -> impl Iterator<Item = (&Transaction, &[u8], &[u8])> {
        let formats: Vec<(u64, &[u8])> = Events::of_file(&self.bytes)
            .into_iter()
            .flatten()
            .filter(|(_, event)| Header::read(event).is_some_and(|header| is_format(&header)))
            .collect();
        self.transactions.iter().filter_map(move |transaction| {
            let range = transaction.range.start as usize..transaction.range.end as usize;
            let format = formats.iter().rev().find(|(offset, _)| *offset < transaction.range.start)?;
            Some((transaction, self.bytes.get(range)?, format.1))
        })
    }
}

fn is_format(header: &Header) -> bool {
    header.kind == crate::wire::binlog::kind::FORMAT_DESCRIPTION
}

/// A place in the binary log and the state there: what comes before need not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark {
    /// The file's name, without folder.
    pub file: String,
    /// Offset of an event that begins a transaction, or the file's end.
    pub offset: u64,
    /// `gtid_binlog_state` there.
    pub state: GtidState,
}

/// Reads what `have` lacks from the logs at `basename` (`@@log_bin_basename`), at most about `limit` bytes.
/// `have` must be exact, per (domain, server): the other side's `gtid_binlog_state` with what it received.
/// With a `bookmark` that `have` covers, the reading starts there. Blocks: for a helper thread.
///
/// # Errors
/// See [`TailError`].
pub fn read_tail(
    basename: &Path,
    have: &GtidState,
    limit: u64,
    bookmark: Option<&Bookmark>,
) -> Result<Tail, TailError> {
    let mut tail = Tail { bytes: MAGIC.to_vec(), transactions: Vec::new(), complete: true };
    for (file, start) in files_from(basename, have, bookmark)? {
        if !read_file(&file, start, have, limit, &mut tail)? {
            tail.complete = false;
            break;
        }
    }
    Ok(tail)
}

/// The files to read, oldest first, and where to start in each.
fn files_from(
    basename: &Path,
    have: &GtidState,
    bookmark: Option<&Bookmark>,
) -> Result<Vec<(PathBuf, u64)>, TailError> {
    let files = list(basename)?;
    let mut wanted: Vec<(PathBuf, u64)> = Vec::new();
    for file in files.into_iter().rev() {
        let marked = bookmark.filter(|mark| {
            have.covers(&mark.state) && file.file_name().is_some_and(|name| name == mark.file.as_str())
        });
        if let Some(mark) = marked {
            wanted.push((file, mark.offset));
            wanted.reverse();
            return Ok(wanted);
        }
        let before = state_before(&file)?;
        wanted.push((file, 0));
        if have.covers(&before) {
            wanted.reverse();
            return Ok(wanted);
        }
    }
    Err(TailError::Purged(have.clone()))
}

/// All files of the log, oldest first.
fn list(basename: &Path) -> Result<Vec<PathBuf>, TailError> {
    let folder = basename.parent().unwrap_or(Path::new("."));
    let prefix = format!("{}.", basename.file_name().unwrap_or_default().to_string_lossy());
    let failed = |error| TailError::File { path: folder.to_path_buf(), error };
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) =
            name.strip_prefix(&prefix).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        else {
            continue;
        };
        files.extend(number.parse().ok().map(|number| (number, entry.path())));
    }
    if files.is_empty() {
        return Err(TailError::None(basename.to_path_buf()));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Reads events of one file, one after the other.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    parser: Parser,
    event: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> Result<Reader, TailError> {
        let failed = |error| TailError::File { path: path.to_path_buf(), error };
        let mut file = BufReader::with_capacity(CHUNK, File::open(path).map_err(failed)?);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic).map_err(failed)?;
        if magic != MAGIC {
            return Err(TailError::Content { path: path.to_path_buf(), error: BinlogError::NotABinlog });
        }
        let offset = MAGIC.len() as u64;
        Ok(Reader { path: path.to_path_buf(), file, offset, parser: Parser::default(), event: Vec::new() })
    }

    /// The next event's offset and meaning; its bytes are in `self.event`. `None` at the end, torn or not.
    fn next(&mut self) -> Result<Option<(u64, Told)>, TailError> {
        let mut header = [0; HEADER];
        if !self.fill(&mut header)? {
            return Ok(None);
        }
        let Some(parsed) = Header::read(&header) else { return Ok(None) };
        let mut event = std::mem::take(&mut self.event);
        event.clear();
        event.extend_from_slice(&header);
        // Not more memory at once than there is in the file: a torn length may claim anything.
        let wanted = u64::from(parsed.length) - HEADER as u64;
        let failed = |error| TailError::File { path: self.path.clone(), error };
        let read = (&mut self.file).take(wanted).read_to_end(&mut event).map_err(failed)?;
        self.event = event;
        if (read as u64) < wanted {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += u64::from(parsed.length);
        let told = self.parser.take(offset, &self.event);
        match told {
            Ok(Told::Torn) => Ok(None),
            Ok(told) => Ok(Some((offset, told))),
            Err(error) => Err(TailError::Content { path: self.path.clone(), error }),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, TailError> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(TailError::File { path: self.path.clone(), error }),
        }
    }

    fn seek(&mut self, offset: u64) -> Result<(), TailError> {
        let failed = |error| TailError::File { path: self.path.clone(), error };
        self.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        self.offset = offset;
        Ok(())
    }
}

/// What was there before the file began. A file without a list (the server died while it began) begins
/// where nothing is known: everything may be in it.
fn state_before(path: &Path) -> Result<GtidState, TailError> {
    let mut reader = Reader::open(path)?;
    while let Some((_, told)) = reader.next()? {
        match told {
            Told::Before(state) => return Ok(state),
            Told::Begun(_) => break,
            _ => {}
        }
    }
    Ok(GtidState::default())
}

/// Adds the transactions of one file that `have` lacks. False when `limit` is reached.
fn read_file(
    path: &Path,
    start: u64,
    have: &GtidState,
    limit: u64,
    tail: &mut Tail,
) -> Result<bool, TailError> {
    let mut reader = Reader::open(path)?;
    let mut open: Vec<u8> = Vec::new();
    let mut wanted = false;
    let mut format_due = None;
    while let Some((offset, told)) = reader.next()? {
        match told {
            Told::Format => {
                format_due = Some(reader.event.clone());
                if start > offset + reader.event.len() as u64 {
                    reader.seek(start)?;
                }
            }
            Told::Begun(gtid) => {
                wanted = have.sequence(gtid.domain, gtid.server).is_none_or(|last| last < gtid.sequence);
                open.clear();
                if wanted {
                    open.extend_from_slice(&reader.event);
                }
            }
            Told::Completed(mut transaction) if wanted => {
                open.extend_from_slice(&reader.event);
                if tail.bytes.len() as u64 + open.len() as u64 > limit {
                    return Ok(false);
                }
                tail.bytes.extend(format_due.take().unwrap_or_default());
                let start = tail.bytes.len() as u64;
                tail.bytes.extend_from_slice(&open);
                transaction.range = start..tail.bytes.len() as u64;
                tail.transactions.push(transaction);
                wanted = false;
            }
            _ if wanted => open.extend_from_slice(&reader.event),
            _ => {}
        }
    }
    Ok(true)
}
