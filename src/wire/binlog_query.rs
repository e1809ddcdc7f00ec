//! A statement in the binary log, with the session state in which it ran.

use super::binlog::number;

/// One QUERY event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// Seconds since 1970, as the session saw them.
    pub timestamp: u32,
    /// Microseconds beyond that, where the statement used them.
    pub microseconds: Option<u32>,
    /// `CONNECTION_ID()` there: names of temporary tables depend on it.
    pub thread: u32,
    /// Default schema; empty if none.
    pub database: &'a [u8],
    /// The statement.
    pub text: &'a [u8],
    /// Bits of `foreign_key_checks`, `unique_checks` and `sql_auto_is_null`.
    pub options: Option<u32>,
    /// `sql_mode` as a number.
    pub sql_mode: Option<u64>,
    /// `character_set_client`, `collation_connection`, `collation_server` as numbers.
    pub character_set: Option<[u16; 3]>,
    /// `auto_increment_increment`, `auto_increment_offset`.
    pub auto_increment: Option<[u16; 2]>,
    /// `time_zone`, where the statement depends on it.
    pub time_zone: Option<&'a [u8]>,
    /// `lc_time_names` as a number.
    pub time_names: Option<u16>,
    /// `collation_database` as a number.
    pub collation_database: Option<u16>,
    /// A part of the session state that is not understood: the statement must not be run.
    pub unknown: Option<u8>,
}

impl<'a> Query<'a> {
    /// Reads the body of a QUERY event; `None` if it is cut short.
    pub fn read(timestamp: u32, body: &'a [u8]) -> Option<Query<'a>> {
        let database_length = usize::from(*body.get(8)?);
        let status_length = number(body, 11, 2)? as usize;
        let status = body.get(13..13 + status_length)?;
        let rest = body.get(13 + status_length..)?;
        let mut query = Query {
            timestamp,
            microseconds: None,
            thread: number(body, 0, 4)? as u32,
            database: rest.get(..database_length)?,
            text: rest.get(database_length + 1..)?,
            options: None,
            sql_mode: None,
            character_set: None,
            auto_increment: None,
            time_zone: None,
            time_names: None,
            collation_database: None,
            unknown: None,
        };
        query.read_status(status)?;
        Some(query)
    }

    /// The status variables (`Q_*_CODE` in `log_event.h`), each a code and its value.
    fn read_status(&mut self, status: &'a [u8]) -> Option<()> {
        let mut at = 0;
        while let Some(&code) = status.get(at) {
            at += 1;
            let text = |at: usize| {
                let length = usize::from(*status.get(at)?);
                Some((status.get(at + 1..at + 1 + length)?, length + 1))
            };
            let half = |at: usize| number(status, at, 2).map(|value| value as u16);
            at += match code {
                0 => {
                    self.options = Some(number(status, at, 4)? as u32);
                    4
                }
                1 => {
                    self.sql_mode = Some(number(status, at, 8)?);
                    8
                }
                // Catalog with a zero byte at its end, and without.
                2 => text(at)?.1 + 1,
                6 => text(at)?.1,
                3 => {
                    self.auto_increment = Some([half(at)?, half(at + 2)?]);
                    4
                }
                4 => {
                    self.character_set = Some([half(at)?, half(at + 2)?, half(at + 4)?]);
                    6
                }
                5 => {
                    let (zone, length) = text(at)?;
                    self.time_zone = Some(zone);
                    length
                }
                7 => {
                    self.time_names = Some(half(at)?);
                    2
                }
                8 => {
                    self.collation_database = Some(half(at)?);
                    2
                }
                // Tables of a multi-table update, and the size in the primary's log: not needed to run it.
                9 | 129 => 8,
                10 => 4,
                // Who ran it (user, host): matters for DEFINER, which the statement names itself.
                11 => {
                    let (_, user) = text(at)?;
                    user + text(at + user)?.1
                }
                128 => {
                    self.microseconds = Some(number(status, at, 3)? as u32);
                    3
                }
                // GTID flags 3.
                130 => 2,
                other => {
                    self.unknown = Some(other);
                    return Some(());
                }
            };
        }
        Some(())
    }
}

/// `LAST_INSERT_ID` (1) or `INSERT_ID` (2) for the next statement; `None` if it is cut short.
pub fn integer_variable(body: &[u8]) -> Option<(u8, u64)> {
    Some((*body.first()?, number(body, 1, 8)?))
}

/// The two seeds of RAND() for the next statement; `None` if they are cut short.
pub fn random_seeds(body: &[u8]) -> Option<(u64, u64)> {
    Some((number(body, 0, 8)?, number(body, 8, 8)?))
}
