//! What every reader of bytes or text promises, one function for each: `fuzz/` looks for bytes that break it, and
//! `tests/corpora.rs` runs it over every input that was ever kept. A function returns whatever it is given, and
//! panics where a promise is broken: no reader panics, what is read can be written and read again as the same, and
//! what two ways of reading must agree on they agree on.

mod text;

pub use text::{configuration, control, gtid, mode};

use crate::decision::peer::PeerMessage;
use crate::decision::replay::{Record, Replay};
use crate::io::recording::{Members, lines};
use crate::wire::advert::{Advertisement, Context, Password, Version, decode, encode};
use crate::wire::arp::{self, Arp};
use crate::wire::binlog::{Events, Parser, Told};
use crate::wire::binlog_query::{Query, integer_variable, random_seeds};
use crate::wire::echo::Echo;
use crate::wire::gate::{FromGate, Lines, ToGate};
use crate::wire::peer::{BulkHeader, Frames, Hello, Welcome};
use crate::wire::{gate as gate_lines, peer as peer_frames, recording as recording_lines, state as slots};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::net::Ipv4Addr;

/// One reader, under the name of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("advert", advert),
    ("arp", arp),
    ("binlog", binlog),
    ("configuration", configuration),
    ("control", control),
    ("gate", gate),
    ("gtid", gtid),
    ("mode", mode),
    ("peer", peer),
    ("recording", recording),
    ("state", state),
];

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 102);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(192, 168, 33, 101);

/// VRRP. The first byte chooses version, password and checksum: a fuzzer does not guess a checksum, so for every
/// other input it is made right first.
pub fn advert(bytes: &[u8]) {
    let Some((choice, message)) = bytes.split_first() else { return };
    if message.len() > 1500 {
        return;
    }
    let password = Password::new("abcdefgh");
    let addresses = [Ipv4Addr::new(192, 168, 33, 100)];
    let version = if choice & 1 == 0 { Version::V3 } else { Version::V2 };
    let context = Context {
        version,
        virtual_router_id: 51,
        password: (choice & 2 != 0).then_some(&password),
        ttl: if choice & 4 == 0 { 255 } else { 64 },
        accept_lower_ttl: choice & 8 != 0,
        source: SOURCE,
        destination: DESTINATION,
        addresses: &addresses,
    };
    let mut message = message.to_vec();
    if choice & 16 != 0 && message.len() >= 8 {
        make_sum_right(&mut message);
    }
    let Ok(decoded) = decode(&message, &context) else { return };
    let again = encode(&decoded.advertisement, SOURCE, DESTINATION, context.password);
    let sane: Option<Advertisement> = decode(&again, &context).ok().map(|decoded| decoded.advertisement);
    assert_eq!(sane.as_ref(), Some(&decoded.advertisement), "what was read cannot be written and read again");
}

/// RFC 1071 over the message alone, which version 3 accepts too.
fn make_sum_right(message: &mut [u8]) {
    message[6..8].fill(0);
    let mut sum: u32 = 0;
    for pair in message.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap_or(0);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
}

/// ARP, and the reply to an ICMP echo.
pub fn arp(bytes: &[u8]) {
    if let Some(read) = Arp::parse(bytes) {
        assert_eq!(Arp::parse(&read.frame()), Some(read));
        assert!(bytes.len() >= arp::FRAME);
    }
    if let Some(echo) = Echo::parse_reply(bytes) {
        assert_eq!(Echo::parse_reply(&echo.request()), None, "a request is no reply");
    }
}

/// Frames between the nodes, in one piece and in two.
pub fn peer(bytes: &[u8]) {
    frames::<PeerMessage>(bytes);
    frames::<Hello>(bytes);
    frames::<Welcome>(bytes);
    frames::<BulkHeader>(bytes);
}

fn frames<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let read = |cut: usize| {
        let (mut frames, mut all) = (Frames::default(), Vec::<T>::new());
        for part in [&bytes[..cut], &bytes[cut..]] {
            frames.push(part);
            loop {
                match frames.next_frame() {
                    Ok(Some(value)) => all.push(value),
                    Ok(None) => break,
                    Err(_) => return all,
                }
            }
        }
        all
    };
    let whole = read(bytes.len());
    assert_eq!(whole, read(bytes.len() / 2), "the pieces in which bytes arrive do not matter");
    let mut again = Frames::default();
    for value in &whole {
        again.push(&peer_frames::encode(value));
        assert_eq!(again.next_frame::<T>().ok().flatten().as_ref(), Some(value));
    }
}

/// Lines between daemon and gate process.
pub fn gate(bytes: &[u8]) {
    gate_side::<ToGate>(bytes);
    gate_side::<FromGate>(bytes);
}

fn gate_side<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let mut reader = Lines::default();
    reader.push(bytes);
    while let Ok(Some(message)) = reader.next_message::<T>() {
        let mut again = Lines::default();
        again.push(&gate_lines::encode(&message));
        assert_eq!(again.next_message::<T>().ok().flatten(), Some(message));
    }
}

/// A slot of the state file: as it lies there, and as the content of a slot whose checksum is right.
pub fn state(bytes: &[u8]) {
    let sealed = slots::seal(bytes, 7);
    for slot in [Some(bytes), sealed.as_ref().map(<[u8; slots::SLOT]>::as_slice)].into_iter().flatten() {
        if let Ok((facts, serial)) = slots::decode(slot) {
            assert_eq!(slots::decode(&slots::encode(&facts, serial)), Ok((facts, serial)));
        }
    }
}

/// MariaDB's binary log: a file, or events without their file; and the body of a statement.
pub fn binlog(bytes: &[u8]) {
    if let Ok(events) = Events::of_file(bytes) {
        take_events(events, bytes.len() as u64);
    }
    take_events(Events::of_part(bytes), bytes.len() as u64);
    if let Some(query) = Query::read(0, bytes) {
        assert!(query.text.len() + query.database.len() < bytes.len());
    }
    let (_, _) = (integer_variable(bytes), random_seeds(bytes));
}

fn take_events(events: Events<'_>, length: u64) {
    let mut parser = Parser::default();
    let mut last = 0;
    for (offset, event) in events {
        assert!(offset >= last && offset + event.len() as u64 <= length, "events lie one after the other");
        last = offset + event.len() as u64;
        match parser.take(offset, event) {
            Ok(Told::Completed(transaction)) => {
                let range = &transaction.range;
                assert!(range.start < range.end && range.end <= last, "a transaction lies within its file");
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// A recording: as a file, and as its lines, which are also replayed.
pub fn recording(bytes: &[u8]) {
    let mut from = 0;
    for member in Members::of(bytes) {
        let offset = match member {
            Ok((offset, _)) => offset,
            Err(damage) => {
                assert!(!damage.what.is_empty());
                damage.offset
            }
        };
        assert!((from..bytes.len()).contains(&offset), "members lie one after the other");
        from = offset + 1;
    }
    let mut replay = Replay::default();
    for line in lines(bytes) {
        let Ok((_, record)) = line else { return };
        let mut again = Vec::new();
        match &record {
            Record::Begin(begin) => {
                recording_lines::begin(&mut again, &begin.wall, begin.continues, &begin.node);
                // What somebody made up may be beyond what a configuration allows; it is read, not lived.
                return;
            }
            Record::Event { at, event } => recording_lines::event(&mut again, *at, event),
            Record::Action(action) => recording_lines::action(&mut again, action),
        }
        again.pop();
        assert_eq!(recording_lines::decode(&again).as_ref(), Ok(&record));
        if replay.feed(record).is_err() {
            return;
        }
    }
}
