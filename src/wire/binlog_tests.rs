//! Tests of the binary log's reader, on events that are composed here; real files are read in
//! `tests/mariadb_rescue.rs`.

use super::*;
use proptest::prelude::*;

/// Composes a log byte by byte, as the server would.
struct Log {
    bytes: Vec<u8>,
    checksums: bool,
}

impl Log {
    fn new(checksums: bool) -> Log {
        let mut log = Log { bytes: MAGIC.to_vec(), checksums: true };
        let mut body = vec![4, 0];
        body.resize(2 + 50 + 4 + 1 + 40, 0);
        body.push(u8::from(checksums));
        log.event(kind::FORMAT_DESCRIPTION, 1, &body);
        log.checksums = checksums;
        log
    }

    fn event(&mut self, kind: u8, server: u32, body: &[u8]) -> &mut Self {
        let length = HEADER + body.len() + if self.checksums { CHECKSUM } else { 0 };
        let mut event = 7_u32.to_le_bytes().to_vec();
        event.push(kind);
        event.extend(server.to_le_bytes());
        event.extend((length as u32).to_le_bytes());
        event.extend(0_u32.to_le_bytes());
        event.extend(0_u16.to_le_bytes());
        event.extend(body);
        if self.checksums {
            let mut crc = Crc::default();
            crc.add(&event);
            event.extend(crc.value().to_le_bytes());
        }
        self.bytes.extend(event);
        self
    }

    fn gtid(&mut self, server: u32, sequence: u64, flags: u8) -> &mut Self {
        let mut body = sequence.to_le_bytes().to_vec();
        body.extend(0_u32.to_le_bytes());
        body.extend([flags, 0, 0, 0, 0, 0, 0]);
        self.event(kind::GTID, server, &body)
    }

    fn table(&mut self, schema: &str, table: &str) -> &mut Self {
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0];
        for text in [schema, table] {
            body.push(text.len() as u8);
            body.extend(text.as_bytes());
            body.push(0);
        }
        self.event(kind::TABLE_MAP, 1, &body).event(kind::WRITE_ROWS_V1, 1, &[9; 20])
    }

    fn query(&mut self, text: &str) -> &mut Self {
        let mut body = vec![3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 5, 0];
        body.extend([0, 0, 0, 0, 4]); // options
        body.extend(b"shop\0");
        body.extend(text.as_bytes());
        self.event(kind::QUERY, 1, &body)
    }

    fn xid(&mut self) -> &mut Self {
        self.event(kind::XID, 1, &9_u64.to_le_bytes())
    }

    fn read(&self) -> Result<(Vec<Transaction>, bool), BinlogError> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for (offset, event) in Events::of_file(&self.bytes)? {
            match parser.take(offset, event)? {
                Told::Completed(transaction) => found.push(transaction),
                Told::Torn => return Ok((found, true)),
                _ => {}
            }
        }
        Ok((found, false))
    }
}

fn sample(checksums: bool) -> Log {
    let mut log = Log::new(checksums);
    log.gtid(1, 5, 0).table("shop", "orders").xid();
    log.gtid(1, 6, 1).query("CREATE TABLE t (x INT)");
    log.gtid(2, 7, 0).query("INSERT INTO orders VALUES (1)").query("COMMIT");
    log.gtid(1, 8, 0).table("apd", "heartbeat").xid();
    log
}

#[test]
fn transactions_are_found_with_kind_tables_and_place() {
    for checksums in [true, false] {
        let log = sample(checksums);
        let (found, torn) = log.read().expect("readable");
        assert!(!torn);
        let kinds: Vec<_> = found.iter().map(|found| (found.gtid.to_string(), found.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("0-1-5".to_owned(), Kind::Rows),
                ("0-1-6".to_owned(), Kind::Definition),
                ("0-2-7".to_owned(), Kind::Statement),
                ("0-1-8".to_owned(), Kind::Rows)
            ]
        );
        assert_eq!(found[0].tables.iter().next(), Some(&("shop".to_owned(), "orders".to_owned())));
        assert!(
            !found[0].touches_only("apd") && found[3].touches_only("apd") && !found[1].touches_only("apd")
        );
        assert_eq!(found[0].range.end, found[1].range.start);
        assert_eq!(found[3].range.end, log.bytes.len() as u64);
        assert_eq!(found[1].statements, ["CREATE TABLE t (x INT)"]);
    }
}

#[test]
fn a_tail_cut_anywhere_yields_only_whole_transactions() {
    let whole = sample(true);
    let ends: Vec<u64> = whole.read().expect("readable").0.iter().map(|found| found.range.end).collect();
    for length in MAGIC.len()..whole.bytes.len() {
        let cut = Log { bytes: whole.bytes[..length].to_vec(), checksums: true };
        let (found, _) = cut.read().expect("a torn tail is no error");
        let complete = ends.iter().filter(|end| **end <= length as u64).count();
        assert_eq!(found.len(), complete, "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_ends_the_reading_at_its_event() {
    let mut log = sample(true);
    let second = log.read().expect("readable").0[1].range.clone();
    log.bytes[second.start as usize + HEADER + 1] ^= 4;
    let (found, torn) = log.read().expect("readable");
    assert!(torn);
    assert_eq!(found.len(), 1);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let mut log = Log::new(true);
    log.event(kind::START_ENCRYPTION, 1, &[0; 17]);
    assert_eq!(log.read().unwrap_err(), BinlogError::Encrypted);
    assert!(matches!(Events::of_file(b"SQLite format 3"), Err(BinlogError::NotABinlog)));
}

#[test]
fn the_state_before_a_file_is_read() {
    let mut log = Log::new(true);
    let mut body = 2_u32.to_le_bytes().to_vec();
    for (server, sequence) in [(1_u32, 100_u64), (2, 50)] {
        body.extend(0_u32.to_le_bytes());
        body.extend(server.to_le_bytes());
        body.extend(sequence.to_le_bytes());
    }
    log.event(kind::GTID_LIST, 1, &body);
    let mut parser = Parser::default();
    let told: Vec<_> =
        Events::of_file(&log.bytes).unwrap().map(|(at, event)| parser.take(at, event).unwrap()).collect();
    assert_eq!(told[1], Told::Before("0-1-100,0-2-50".parse().unwrap()));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut parser = Parser::default();
        let _ = Events::of_file(&bytes).map(Iterator::count);
        for (offset, event) in Events::of_part(&bytes) {
            let _ = parser.take(offset, event);
        }
        let _ = parser.take(0, &bytes);
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        events in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..12)
    ) {
        let mut log = Log::new(false);
        for (kind, body) in &events {
            log.event(*kind, 1, body);
        }
        let _ = log.read();
    }

    #[test]
    fn a_changed_byte_never_panics(at in 4_usize..400, value in any::<u8>()) {
        let mut log = sample(false);
        let at = at % log.bytes.len();
        log.bytes[at] = value;
        let _ = log.read();
    }
}
