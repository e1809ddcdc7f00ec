//! Transactions that a dead server did not send any more, applied here under their own identifiers: when it
//! comes back it has nothing that this server lacks.

use super::Database;
use super::session::{Failure, Session};
use super::statement::{Statement, identifier, quote, statement};
use crate::io::binlog::Tail;
use crate::wire::binlog::{Events, HEADER, Header, Kind, Transaction, kind};
use crate::wire::binlog_query::{Query, integer_variable, random_seeds};
use std::fmt::Write as _;
use tokio::time::Instant;

/// Flag of a rows event: the last of its statement.
const STATEMENT_END: u8 = 1;
/// How a statement begins that repeats events.
const ROWS: &str = "BINLOG ";
/// A statement's text beyond this is sent by itself.
const PACKET: usize = 4 << 20;

impl Database {
    /// Applies the held tail in order and stops at the first error. What is here already is passed over, so
    /// that a second attempt goes on where the first one ended. Ends with how many were applied.
    pub(super) async fn apply_tail(&self, until: Instant) -> Result<u64, Failure> {
        let Some(tail) = self.remember(|memory| memory.tail.clone()) else {
            return Err(Failure::Other("no tail was fetched".into()));
        };
        let have = self.positions(&self.control, until).await?.everything();
        let mut session = Session::open(self.settings.local(), until).await?;
        session.rows(&statement!("tail_session"), until).await?;
        let mut applied = 0;
        let mut format = None;
        for (transaction, events, described) in tail.iter() {
            let gtid = transaction.gtid;
            if have.sequence(gtid.domain, gtid.server).is_some_and(|last| last >= gtid.sequence) {
                continue;
            }
            if format.replace(described) != Some(described) {
                session.rows(&rows_statement(described), until).await.map_err(|failure| {
                    Failure::Other(format!("the dead server's binary log format was refused: {failure}"))
                })?;
            }
            if let Err(failure) = apply(&mut session, &tail, transaction, events, until).await {
                return Err(stopped(applied, tail.transactions(), transaction, &failure));
            }
            applied += 1;
        }
        self.remember(|memory| memory.tail = None);
        Ok(applied)
    }
}

fn stopped(applied: u64, all: u64, transaction: &Transaction, failure: &Failure) -> Failure {
    if matches!(failure, Failure::TimedOut(_)) {
        return failure.clone();
    }
    Failure::Other(format!(
        "stopped at transaction {} after {applied} of {all} transactions of the tail: {failure}",
        transaction.gtid
    ))
}

async fn apply(
    session: &mut Session,
    tail: &Tail,
    transaction: &Transaction,
    events: &[u8],
    until: Instant,
) -> Result<(), Failure> {
    let checksum = if tail.has_checksums() { 4 } else { 0 };
    let outcome = match script(transaction, events, checksum) {
        Ok(statements) => send(session, statements, until).await,
        Err(why) => Err(Failure::Other(why)),
    };
    if outcome.is_err() && session.is_usable() {
        // Whatever stands half done must not be committed by the next statement.
        session.rows(&Statement::composed("rollback", "ROLLBACK".into()), until).await?;
    }
    outcome
}

/// Sends a transaction's statements, in as few packets as can be: a BINLOG statement must be the last of its
/// packet, because the server forgets there that more follow.
async fn send(session: &mut Session, statements: Vec<String>, until: Instant) -> Result<(), Failure> {
    let mut packet = String::new();
    let mut packet_ends = false;
    for statement in statements {
        if !packet.is_empty() && (packet_ends || packet.len() + statement.len() > PACKET) {
            let full = std::mem::take(&mut packet);
            session.rows(&Statement::composed("apply_tail", full), until).await?;
        }
        if !packet.is_empty() {
            packet.push_str(";\n");
        }
        packet.push_str(&statement);
        packet_ends = statement.starts_with(ROWS);
    }
    session.rows(&Statement::composed("apply_tail", packet), until).await.map(|_| ())
}

/// The statements that repeat a transaction; `Err` says what in it cannot be repeated.
fn script(transaction: &Transaction, events: &[u8], checksum: usize) -> Result<Vec<String>, String> {
    if transaction.kind == Kind::Other {
        return Err(
            "it holds events that cannot be repeated by statements (XA, compressed statements, LOAD DATA)"
                .into(),
        );
    }
    let gtid = transaction.gtid;
    let begin =
        statement!("tail_begin", domain = gtid.domain, server = gtid.server, sequence = gtid.sequence);
    let mut statements = vec![begin.text().to_owned()];
    let bracketed = transaction.kind != Kind::Definition;
    if bracketed {
        statements.push("BEGIN".to_owned());
    }
    let mut rows: Vec<u8> = Vec::new();
    for (_, event) in Events::of_part(events) {
        let Some(header) = Header::read(event) else { break };
        let body = event.get(HEADER..event.len().saturating_sub(checksum)).unwrap_or_default();
        match header.kind {
            kind::TABLE_MAP => rows.extend_from_slice(event),
            changed if kind::is_rows(changed) => {
                rows.extend_from_slice(event);
                if body.get(6).is_some_and(|flags| flags & STATEMENT_END != 0) {
                    statements.push(rows_statement(&rows).text().to_owned());
                    rows.clear();
                }
            }
            kind::QUERY => {
                let query = Query::read(header.timestamp, body).ok_or("a statement in it is cut short")?;
                if !matches!(query.text, b"BEGIN" | b"COMMIT" | b"ROLLBACK") {
                    statements.extend(in_context(&query)?);
                }
            }
            kind::INTVAR => {
                let (which, value) = integer_variable(body).ok_or("a variable in it is cut short")?;
                let name = if which == 1 { "last_insert_id" } else { "insert_id" };
                statements.push(format!("SET SESSION {name} = {value}"));
            }
            kind::RAND => {
                let (first, second) = random_seeds(body).ok_or("the seeds in it are cut short")?;
                statements.push(format!("SET SESSION rand_seed1 = {first}, rand_seed2 = {second}"));
            }
            _ => {}
        }
    }
    if bracketed {
        statements.push("COMMIT".to_owned());
    }
    Ok(statements)
}

/// A statement with the session state in which it ran first.
fn in_context(query: &Query<'_>) -> Result<Vec<String>, String> {
    if let Some(code) = query.unknown {
        return Err(format!(
            "a statement in it depends on session state number {code}, which is not known here"
        ));
    }
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| "a statement in it is not UTF-8".to_owned())
    };
    let mut set = format!(
        "SET SESSION timestamp = {}.{:06}, pseudo_thread_id = {}",
        query.timestamp,
        query.microseconds.unwrap_or(0),
        query.thread
    );
    let mut also = |name: &str, value: String| {
        write!(set, ", {name} = {value}").expect("writing to a String does not fail");
    };
    if let Some(options) = query.options {
        // Bits OPTION_AUTO_IS_NULL, OPTION_NO_FOREIGN_KEY_CHECKS, OPTION_RELAXED_UNIQUE_CHECKS.
        also("sql_auto_is_null", (options >> 14 & 1).to_string());
        also("foreign_key_checks", (!options >> 26 & 1).to_string());
        also("unique_checks", (!options >> 27 & 1).to_string());
    }
    if let Some([client, connection, server]) = query.character_set {
        also("character_set_client", client.to_string());
        also("collation_connection", connection.to_string());
        also("collation_server", server.to_string());
    }
    if let Some([increment, offset]) = query.auto_increment {
        also("auto_increment_increment", increment.to_string());
        also("auto_increment_offset", offset.to_string());
    }
    if let Some(zone) = query.time_zone {
        also("time_zone", quote(&text(zone)?));
    }
    if let Some(names) = query.time_names {
        also("lc_time_names", names.to_string());
    }
    let mut statements = Vec::new();
    if !query.database.is_empty() {
        statements.push(format!("USE {}", identifier(&text(query.database)?)));
    }
    if let Some(mode) = query.sql_mode {
        also("sql_mode", mode.to_string());
    }
    statements.push(set);
    if let Some(collation) = query.collation_database {
        statements.push(format!("SET SESSION collation_database = {collation}"));
    }
    statements.push(text(query.text)?);
    statements.push("SET SESSION sql_mode = '', timestamp = DEFAULT".to_owned());
    Ok(statements)
}

/// Events as the server takes them: whole, with their checksums.
fn rows_statement(events: &[u8]) -> Statement {
    Statement::composed("binlog", format!("{ROWS}'{}'", base64(events)))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let part = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for digit in 0..4 {
            match digit <= group.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_usual_one() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes), text);
        }
    }

    #[test]
    fn a_statement_runs_in_its_own_context() {
        let mut body = vec![3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 5, 0, 0, 0, 0, 0, 4];
        body.extend(b"shop\0DROP TABLE t");
        let query = Query::read(7, &body).expect("whole");
        assert_eq!(
            in_context(&query).expect("understood"),
            [
                "USE `shop`",
                "SET SESSION timestamp = 7.000000, pseudo_thread_id = 3, sql_auto_is_null = 0, \
                 foreign_key_checks = 0, unique_checks = 1",
                "DROP TABLE t",
                "SET SESSION sql_mode = '', timestamp = DEFAULT"
            ]
        );
    }
}
