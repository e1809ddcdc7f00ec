//! MariaDB's binary log, as far as a rescue needs it: whole transactions with their identifiers, the tables
//! that they touch, and where they lie. Layout: <https://mariadb.com/kb/en/replication-protocol/>, checked
//! against 10.11 servers.
//!
//! Pure: bytes in, facts out. What is torn at the end of a file (a server was killed there) ends the reading
//! without an error; what cannot be read at all (encryption, another format) is refused by name.

use super::binlog_query::Query;
use crate::decision::gtid::{Gtid, GtidState};
use std::collections::BTreeSet;
use std::ops::Range;

/// First bytes of a binary log.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
/// Bytes before every event's body.
pub const HEADER: usize = 19;
/// Longest event that is believed: `max_allowed_packet` ends at 1 GiB.
pub const LONGEST: u32 = 1 << 30;

const CHECKSUM: usize = 4;
/// `LOG_EVENT_BINLOG_IN_USE_F`: set in the format event while the file is written; not in its checksum.
const IN_USE: u16 = 1;

/// Kinds of events that are told apart.
pub mod kind {
    #![allow(missing_docs)] // The names are the server's own (`log_event.h`).
    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const INTVAR: u8 = 5;
    pub const RAND: u8 = 13;
    pub const USER_VAR: u8 = 14;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const XA_PREPARE: u8 = 38;
    pub const ANNOTATE_ROWS: u8 = 160;
    pub const CHECKPOINT: u8 = 161;
    pub const GTID: u8 = 162;
    pub const GTID_LIST: u8 = 163;
    pub const START_ENCRYPTION: u8 = 164;
    pub const QUERY_COMPRESSED: u8 = 165;
    pub const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub const DELETE_ROWS_COMPRESSED: u8 = 171;

    /// Rows of a table, plain or compressed.
    pub const fn is_rows(kind: u8) -> bool {
        matches!(
            kind,
            WRITE_ROWS_V1..=DELETE_ROWS_V1
                | WRITE_ROWS..=DELETE_ROWS
                | WRITE_ROWS_COMPRESSED_V1..=DELETE_ROWS_COMPRESSED
        )
    }
}

/// Why a binary log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BinlogError {
    /// The first bytes are others.
    #[error("this is no binary log: it does not begin with fe 62 69 6e")]
    NotABinlog,
    /// `encrypt_binlog`.
    #[error("the binary log is encrypted (encrypt_binlog): its transactions cannot be read without the key")]
    Encrypted,
    /// Something that no server writes.
    #[error("the binary log is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset of the event.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// What stands before every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Seconds since 1970.
    pub timestamp: u32,
    /// See [`kind`].
    pub kind: u8,
    /// `server_id` of the server where it was written first.
    pub server: u32,
    /// Whole length, this header included.
    pub length: u32,
    /// `LOG_EVENT_*_F`.
    pub flags: u16,
}

impl Header {
    /// Reads a header; `None` if there are fewer than 19 bytes, or the length is impossible: a torn tail.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER)?;
        let header = Header {
            timestamp: number(bytes, 0, 4)? as u32,
            kind: bytes[4],
            server: number(bytes, 5, 4)? as u32,
            length: number(bytes, 9, 4)? as u32,
            flags: number(bytes, 17, 2)? as u16,
        };
        (header.length as usize >= HEADER && header.length <= LONGEST).then_some(header)
    }
}

/// What a transaction consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rows only.
    Rows,
    /// Statements that are to be run again, perhaps rows too.
    Statement,
    /// One statement outside a transaction: CREATE, ALTER, GRANT and the like.
    Definition,
    /// A prepared XA transaction, or events that this reader does not know.
    Other,
}

/// One complete transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its identifier.
    pub gtid: Gtid,
    /// What it consists of.
    pub kind: Kind,
    /// Where its events lie in the file, the GTID event first.
    pub range: Range<u64>,
    /// Schema and name of every table that its rows touch.
    pub tables: BTreeSet<(String, String)>,
    /// The statements' text, where they are statements.
    pub statements: Vec<String>,
}

impl Transaction {
    /// It changes nothing but rows of `schema`.
    pub fn touches_only(&self, schema: &str) -> bool {
        self.kind == Kind::Rows && self.tables.iter().all(|(database, _)| database == schema)
    }
}

/// What one event told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing by itself.
    Nothing,
    /// How the events that follow are written; comes first in every file.
    Format,
    /// The state before this file.
    Before(GtidState),
    /// A transaction begins.
    Begun(Gtid),
    /// The event completed a transaction.
    Completed(Transaction),
    /// The checksum does not fit: the event was not written to its end. Nothing after it counts.
    Torn,
}

/// Reads events one after the other.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    checksums: bool,
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    transaction: Transaction,
    standalone: bool,
}

impl Parser {
    /// Whether events carry a CRC32, as the format event said.
    pub fn checksums(&self) -> bool {
        self.checksums
    }

    /// Takes one whole event that lies at `offset`.
    ///
    /// # Errors
    /// [`BinlogError::Encrypted`], or [`BinlogError::Damaged`] for an event that no server writes.
    pub fn take(&mut self, offset: u64, event: &[u8]) -> Result<Told, BinlogError> {
        let damaged = |what| BinlogError::Damaged { at: offset, what };
        let header = Header::read(event).ok_or(damaged("no event header"))?;
        if header.length as usize != event.len() {
            return Err(damaged("the event's length is another"));
        }
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.open = None;
            self.checksums = has_checksums(event).ok_or(damaged("the format event is too short"))?;
        }
        if self.checksums && !checksum_fits(&header, event) {
            return Ok(Told::Torn);
        }
        let end = event.len() - if self.checksums { CHECKSUM } else { 0 };
        let body = event.get(HEADER..end).ok_or(damaged("the event is too short"))?;
        match header.kind {
            kind::FORMAT_DESCRIPTION => Ok(Told::Format),
            kind::START_ENCRYPTION => Err(BinlogError::Encrypted),
            kind::GTID_LIST => gtid_list(body).map(Told::Before).ok_or(damaged("the GTID list is too short")),
            kind::GTID => self
                .begin(&header, offset, body)
                .map(Told::Begun)
                .ok_or(damaged("the GTID event is too short")),
            _ => self
                .within(&header, offset + event.len() as u64, body)
                .ok_or(damaged("the event is too short")),
        }
    }

    fn begin(&mut self, header: &Header, offset: u64, body: &[u8]) -> Option<Gtid> {
        let gtid =
            Gtid { domain: number(body, 8, 4)? as u32, server: header.server, sequence: number(body, 0, 8)? };
        let standalone = *body.get(12)? & 1 != 0;
        let kind = if standalone { Kind::Definition } else { Kind::Rows };
        let transaction = Transaction {
            gtid,
            kind,
            range: offset..offset,
            tables: BTreeSet::new(),
            statements: Vec::new(),
        };
        self.open = Some(Open { transaction, standalone });
        Some(gtid)
    }

    /// An event within a transaction, or between two.
    fn within(&mut self, header: &Header, end: u64, body: &[u8]) -> Option<Told> {
        let Some(open) = self.open.as_mut() else { return Some(Told::Nothing) };
        let transaction = &mut open.transaction;
        transaction.range.end = end;
        let mut complete = false;
        match header.kind {
            kind::XID => complete = true,
            kind::XA_PREPARE => {
                transaction.kind = Kind::Other;
                complete = true;
            }
            kind::TABLE_MAP => {
                transaction.tables.insert(table_of(body)?);
            }
            kind::QUERY => {
                let text = Query::read(header.timestamp, body)?.text;
                let text = String::from_utf8_lossy(text).into_owned();
                complete = open.standalone || matches!(text.as_str(), "COMMIT" | "ROLLBACK");
                if !matches!(text.as_str(), "BEGIN" | "COMMIT" | "ROLLBACK") {
                    transaction.kind = transaction.kind.max(Kind::Statement);
                    transaction.statements.push(text);
                }
            }
            kind::QUERY_COMPRESSED => {
                transaction.kind = Kind::Other;
                complete = open.standalone;
            }
            kind::INTVAR | kind::RAND | kind::ANNOTATE_ROWS | kind::CHECKPOINT => {}
            rows if kind::is_rows(rows) => {}
            _ => transaction.kind = Kind::Other,
        }
        Some(match complete {
            true => self.open.take().map_or(Told::Nothing, |open| Told::Completed(open.transaction)),
            false => Told::Nothing,
        })
    }
}

/// Events of a log that lies in memory, with their offsets. Ends at a torn tail.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Events<'a> {
    /// From the beginning of a file, magic included.
    ///
    /// # Errors
    /// [`BinlogError::NotABinlog`].
    pub fn of_file(bytes: &'a [u8]) -> Result<Self, BinlogError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(BinlogError::NotABinlog);
        }
        Ok(Events { bytes, offset: MAGIC.len() })
    }

    /// Events only, without magic, for example those of one transaction.
    pub fn of_part(bytes: &'a [u8]) -> Self {
        Events { bytes, offset: 0 }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = (u64, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset..)?;
        let header = Header::read(rest)?;
        let event = rest.get(..header.length as usize)?;
        let offset = self.offset as u64;
        self.offset += event.len();
        Some((offset, event))
    }
}

/// Little-endian number of `length` bytes at `at`.
pub(super) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The checksum algorithm stands before the format event's own checksum, which is always there.
fn has_checksums(event: &[u8]) -> Option<bool> {
    let at = event.len().checked_sub(CHECKSUM + 1).filter(|at| *at >= HEADER)?;
    Some(event[at] == 1)
}

fn checksum_fits(header: &Header, event: &[u8]) -> bool {
    let Some(at) = event.len().checked_sub(CHECKSUM).filter(|at| *at >= HEADER) else { return false };
    let mut crc = Crc::default();
    if header.kind == kind::FORMAT_DESCRIPTION {
        crc.add(&event[..17]);
        crc.add(&(header.flags & !IN_USE).to_le_bytes());
        crc.add(&event[HEADER..at]);
    } else {
        crc.add(&event[..at]);
    }
    Some(u64::from(crc.value())) == number(event, at, CHECKSUM)
}

/// CRC-32 as in IEEE 802.3.
struct Crc(u32);

impl Default for Crc {
    fn default() -> Self {
        Crc(!0)
    }
}

impl Crc {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let (mut value, mut bit) = (index as u32, 0);
            while bit < 8 {
                value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = Self::TABLE[((self.0 ^ u32::from(*byte)) & 0xff) as usize] ^ (self.0 >> 8);
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}

fn gtid_list(body: &[u8]) -> Option<GtidState> {
    let count = number(body, 0, 4)? & 0x0fff_ffff;
    (0..count as usize)
        .map(|index| {
            let at = 4 + index * 16;
            Some(Gtid {
                domain: number(body, at, 4)? as u32,
                server: number(body, at + 4, 4)? as u32,
                sequence: number(body, at + 8, 8)?,
            })
        })
        .collect()
}

/// Table id of 6 bytes, 2 of flags, then schema and table, each with its length and a zero byte.
fn table_of(body: &[u8]) -> Option<(String, String)> {
    let text = |at: usize| {
        let length = usize::from(*body.get(at)?);
        let bytes = body.get(at + 1..at + 1 + length)?;
        Some((String::from_utf8_lossy(bytes).into_owned(), at + 2 + length))
    };
    let (schema, next) = text(8)?;
    let (table, _) = text(next)?;
    Some((schema, table))
}

#[cfg(test)]
#[path = "binlog_tests.rs"]
mod tests;
