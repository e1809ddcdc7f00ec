//! Reading recordings: the files of a ring, the members of a file, the lines of a member.

use crate::decision::replay::Record;
use crate::wire::recording;
use flate2::bufread::GzDecoder;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest member that is read; what the recorder writes is far below.
const MEMBER: u64 = 64 << 20;

/// Where a file is no recording any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Damage {
    /// Where the member begins.
    pub offset: usize,
    /// What is wrong with it.
    pub what: String,
}

/// The files of a ring, oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".jsonl.gz") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The members of a file, each with the place where it begins.
#[derive(Debug)]
pub struct Members<'a> {
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    /// Of a file that was read.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { all: bytes, rest: bytes }
    }
}

impl Iterator for Members<'_> {
    type Item = Result<(usize, Vec<u8>), Damage>;

    /// After damage there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.all.len() - self.rest.len();
        let mut decoder = GzDecoder::new(self.rest);
        let mut member = Vec::new();
        let read = (&mut decoder).take(MEMBER).read_to_end(&mut member);
        let what = match read {
            Ok(_) if member.len() as u64 == MEMBER => Some("it is longer than any recording".to_owned()),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Some("it is cut off".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        self.rest = if what.is_some() { &[] } else { decoder.into_inner() };
        Some(match what {
            Some(what) => Err(Damage { offset, what }),
            None => Ok((offset, member)),
        })
    }
}

/// The records of a member, each with the number of its line, counted from 1; or the first thing that is none.
pub fn lines(member: &[u8]) -> impl Iterator<Item = Result<(usize, Record), String>> + '_ {
    let lines = member.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines.map(|(index, line)| match recording::decode(line) {
        Ok(record) => Ok((index + 1, record)),
        Err(error) => Err(format!("line {}: {error}", index + 1)),
    })
}
