//! nf_tables by netlink: the elements of the gate's sets, refreshed without a subprocess.
//!
//! The tables themselves are installed as text (`gate::tables`); this file knows only their sets:
//! `lease` (an element with a timeout: the gate is open while it lives), `guard` (below) and `cut`.
//! Kernel interface: include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h. Measured on Linux 6.18:
//! a batch takes 0.03 to 0.2 ms; freeing what a batch deleted waits for RCU, but not on our thread.
//!
//! **Two facts that a caller must know.** A timeout is counted in the kernel's ticks, rounded down, so an
//! element dies up to two ticks early and never late; and a timeout of less than a tick would be rounded
//! to 0, which means *for ever*: [`Timeout`] cannot be made that short.

use super::netlink::{
    ACKNOWLEDGE, Builder, CREATE, EXCLUSIVE, Message, NetlinkError, REQUEST, Socket, attribute, attributes,
};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use nix::time::{ClockId, clock_getres};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
const GET_SET: u16 = 10;
const NEW_SET_ELEMENT: u16 = 12;
const GET_SET_ELEMENT: u16 = 13;
const DELETE_SET_ELEMENT: u16 = 14;
/// NFNLGRP_NFTABLES is group 7.
const NOTIFICATIONS: u32 = 1 << 6;
const NAME: u16 = 1;

const INET: u8 = 1;
const ARP: u8 = 3;
/// Keys in the inet table are `meta nfproto`: NFPROTO_IPV4 and NFPROTO_IPV6.
const INET_KEYS: [&[u8]; 2] = [&[2], &[10]];
/// The key in the arp table is `meta protocol`: ETH_P_ARP, in network order.
const ARP_KEY: &[u8] = &[0x08, 0x06];

/// How long an element lives: whole milliseconds, and never less than a tick of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(u64);

impl Timeout {
    /// `None` if `time` is shorter than a tick, which the kernel would take for endless.
    pub fn new(time: Duration, tick: Duration) -> Option<Self> {
        let milliseconds = u64::try_from(time.as_millis()).ok()?;
        (Duration::from_millis(milliseconds) >= tick && milliseconds > 0).then_some(Self(milliseconds))
    }

    /// The shortest there is: one tick, in whole milliseconds.
    pub fn one(tick: Duration) -> Self {
        Self(u64::try_from(tick.as_micros().div_ceil(1000)).unwrap_or(1).max(1))
    }

    /// As a time.
    pub fn time(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// The kernel's tick: the resolution of its coarse clock (clock_getres(2)), 1 to 10 ms.
pub fn tick() -> Duration {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(Duration::from_millis(10), |time| Duration::from(time).max(Duration::from_millis(1)))
}

/// Why the lease was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// More than a slice passed since the guard was placed. Place it again, read the clock again.
    #[error("the guard is gone")]
    GuardGone,
    /// The lease's element is gone: the lease is lost.
    #[error("the lease's element is gone")]
    LeaseGone,
    /// An element lives already, so this would be no takeover.
    #[error("a lease's element lives already")]
    LeaseLives,
    /// The tables are gone, or something else is wrong.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// The lease's element, found alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// What its writer noted with it.
    pub note: String,
    /// How much longer it lives.
    pub remaining: Duration,
}

/// What a batch does with one set.
#[derive(Clone, Copy)]
enum Change<'a> {
    Delete {
        family: u8,
        set: &'a str,
        key: &'a [u8],
    },
    Add {
        family: u8,
        set: &'a str,
        key: &'a [u8],
        timeout: Option<Timeout>,
        note: &'a str,
        must_be_new: bool,
    },
    Flush {
        family: u8,
        set: &'a str,
    },
}

/// The sets of one pair of tables, `inet NAME` and (where the kernel has that family) `arp NAME`.
#[derive(Debug)]
pub struct Sets {
    socket: Socket,
    events: Socket,
    table: String,
    arp: bool,
}

impl Sets {
    /// For the tables called `table`. Opens sockets only; the tables may come later.
    pub fn new(table: &str) -> Result<Self, NetlinkError> {
        let socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
        let events = Socket::subscribe(SockProtocol::NetlinkNetFilter, NOTIFICATIONS)?;
        events.ignore_caused_by(socket.port())?;
        Ok(Self { socket, events, table: table.to_owned(), arp: true })
    }

    /// Whether there is an arp table to keep in step.
    pub fn with_arp(&mut self, arp: bool) {
        self.arp = arp;
    }

    /// True if anyone else changed anything in nf_tables since the last call. Polls [`Self::as_fd`].
    pub fn changed(&mut self) -> bool {
        self.events.drain()
    }

    /// Places the guard: an element that a following [`Self::renew`] or [`Self::open`] needs alive. If one
    /// lives already it stays as it is and dies the sooner.
    pub fn place_guard(&mut self, timeout: Timeout) -> Result<(), NetlinkError> {
        let timeout = Some(timeout);
        self.batch(&[Change::Add {
            family: INET,
            set: "guard",
            key: INET_KEYS[0],
            timeout,
            note: "",
            must_be_new: false,
        }])
    }

    /// Gives the living lease a new timeout: one transaction that fails as a whole when the guard or the
    /// lease's element is gone.
    pub fn renew(&mut self, timeout: Timeout, note: &str) -> Result<(), LeaseError> {
        let mut changes = vec![self.take_guard()];
        changes.extend(self.keys().map(|(family, key)| Change::Delete { family, set: "lease", key }));
        changes.extend(self.keys().map(|(family, key)| lease_element(family, key, timeout, note, false)));
        self.batch(&changes).map_err(|error| match error {
            NetlinkError::Refused { request: 1, errno: Errno::ENOENT } => self.guard_or_lease_gone(),
            NetlinkError::Refused { errno: Errno::ENOENT, .. } => LeaseError::LeaseGone,
            other => LeaseError::Netlink(other),
        })
    }

    /// Starts a lease: one transaction that fails as a whole when the guard is gone or a lease lives.
    pub fn open(&mut self, timeout: Timeout, note: &str) -> Result<(), LeaseError> {
        let mut changes = vec![self.take_guard()];
        changes.extend(self.keys().map(|(family, key)| lease_element(family, key, timeout, note, true)));
        self.batch(&changes).map_err(|error| match error {
            NetlinkError::Refused { request: 1, errno: Errno::ENOENT } => LeaseError::GuardGone,
            NetlinkError::Refused { errno: Errno::EEXIST, .. } => LeaseError::LeaseLives,
            other => LeaseError::Netlink(other),
        })
    }

    /// Ends the lease at once, whether or not one lives.
    pub fn close(&mut self) -> Result<(), NetlinkError> {
        let mut changes = vec![Change::Flush { family: INET, set: "lease" }];
        if self.arp {
            changes.push(Change::Flush { family: ARP, set: "lease" });
        }
        self.batch(&changes)
    }

    /// The lease's element, if it lives in every table.
    pub fn living(&mut self) -> Result<Option<Living>, NetlinkError> {
        let mut least: Option<Living> = None;
        for (family, key) in self.keys().collect::<Vec<_>>() {
            let found = self.elements(family, "lease")?.into_iter().find(|element| element.key == key);
            let Some(found) = found.and_then(|element| element.living()) else { return Ok(None) };
            if least.as_ref().is_none_or(|least| found.remaining < least.remaining) {
                least = Some(found);
            }
        }
        Ok(least)
    }

    /// Cuts the replication stream, or lifts the cut.
    pub fn cut_stream(&mut self, cut: bool) -> Result<(), NetlinkError> {
        if cut {
            self.batch(&[Change::Add {
                family: INET,
                set: "cut",
                key: INET_KEYS[0],
                timeout: None,
                note: "",
                must_be_new: false,
            }])
        } else {
            self.batch(&[Change::Flush { family: INET, set: "cut" }])
        }
    }

    /// Whether the replication stream is cut.
    pub fn stream_is_cut(&mut self) -> Result<bool, NetlinkError> {
        Ok(self.elements(INET, "cut")?.iter().any(|element| element.key == INET_KEYS[0]))
    }

    /// The tables' chains and rules, as the kernel describes them: equal bytes, equal rules. `None` if a
    /// table is missing.
    pub fn rules(&mut self) -> Result<Option<Vec<u8>>, NetlinkError> {
        let mut all = Vec::new();
        for &family in self.families() {
            for kind in [GET_TABLE, GET_CHAIN, GET_RULE] {
                let before = all.len();
                for message in self.ours(kind, family)? {
                    // The head ends with the generation of the whole rule set, which others change.
                    all.extend_from_slice(message.payload.get(4..).unwrap_or(&[]));
                }
                if all.len() == before {
                    return Ok(None);
                }
            }
        }
        Ok(Some(all))
    }

    /// How many rules the tables have, if both exist, are switched on, and carry the set called `mark`.
    pub fn marked(&mut self, mark: &str) -> Result<Option<usize>, NetlinkError> {
        let mark = [mark.as_bytes(), &[0]].concat();
        let mut rules = 0;
        for &family in self.families() {
            let set_name = |message: &Message| attribute(message.payload.get(4..)?, 2).map(<[u8]>::to_vec);
            if !self.ours(GET_SET, family)?.iter().any(|message| set_name(message).as_ref() == Some(&mark)) {
                return Ok(None);
            }
            let flags = |message: &Message| attribute(message.payload.get(4..)?, 2).map(<[u8]>::to_vec);
            if self.ours(GET_TABLE, family)?.iter().any(|table| flags(table).is_some_and(|f| f != [0; 4])) {
                return Ok(None);
            }
            rules += self.ours(GET_RULE, family)?.len();
        }
        Ok(Some(rules))
    }

    fn families(&self) -> &'static [u8] {
        if self.arp { &[INET, ARP] } else { &[INET] }
    }

    fn ours(&mut self, kind: u16, family: u8) -> Result<Vec<Message>, NetlinkError> {
        let table = self.table.clone();
        let mut found = self.socket.dump(message_kind(kind), |builder| {
            builder.raw(&head(family, 0));
            if kind == GET_RULE || kind == GET_SET {
                builder.string(NAME, &table);
            }
        })?;
        let name = [table.as_bytes(), &[0]].concat();
        found.retain(|message| {
            message.payload.first() == Some(&family)
                && message.payload.get(4..).and_then(|body| attribute(body, NAME)) == Some(name.as_slice())
        });
        Ok(found)
    }

    fn elements(&mut self, family: u8, set: &str) -> Result<Vec<Element>, NetlinkError> {
        let table = self.table.clone();
        let found = self.socket.dump(message_kind(GET_SET_ELEMENT), |builder| {
            builder.raw(&head(family, 0));
            builder.string(1, &table);
            builder.string(2, set);
        })?;
        let lists = found.iter().filter_map(|message| attribute(message.payload.get(4..)?, 3));
        Ok(lists.flat_map(|list| attributes(list).map(|(_, element)| Element::read(element))).collect())
    }

    /// Both are refused with the same word; a lease that lives tells which it was.
    fn guard_or_lease_gone(&mut self) -> LeaseError {
        match self.living() {
            Ok(Some(_)) => LeaseError::GuardGone,
            Ok(None) => LeaseError::LeaseGone,
            Err(error) => LeaseError::Netlink(error),
        }
    }

    fn take_guard(&self) -> Change<'static> {
        Change::Delete { family: INET, set: "guard", key: INET_KEYS[0] }
    }

    fn keys(&self) -> impl Iterator<Item = (u8, &'static [u8])> + use<> {
        let arp = self.arp.then_some((ARP, ARP_KEY));
        INET_KEYS.into_iter().map(|key| (INET, key)).chain(arp)
    }

    /// One transaction: all changes or none.
    fn batch(&mut self, changes: &[Change<'_>]) -> Result<(), NetlinkError> {
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let first = self.socket.sequences(count + 2);
        let last = first + count;
        let mut builder = Builder::default();
        builder.message(BATCH_BEGIN, REQUEST, first, |builder| builder.raw(&head(0, SUBSYSTEM)));
        for (sequence, change) in (first + 1..).zip(changes) {
            let acknowledge = if sequence == last { ACKNOWLEDGE } else { 0 };
            change.write(&mut builder, &self.table, acknowledge, sequence);
        }
        builder.message(BATCH_END, REQUEST, last + 1, |builder| builder.raw(&head(0, SUBSYSTEM)));
        self.socket.exchange(&builder, first, last)
    }
}

impl AsFd for Sets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

fn lease_element<'a>(
    family: u8,
    key: &'a [u8],
    timeout: Timeout,
    note: &'a str,
    must_be_new: bool,
) -> Change<'a> {
    Change::Add { family, set: "lease", key, timeout: Some(timeout), note, must_be_new }
}

impl Change<'_> {
    fn write(&self, builder: &mut Builder, table: &str, flags: u16, sequence: u32) {
        let (kind, family, set, flags) = match self {
            Change::Delete { family, set, .. } | Change::Flush { family, set } => {
                (DELETE_SET_ELEMENT, *family, *set, flags)
            }
            Change::Add { family, set, must_be_new, .. } => {
                let new = if *must_be_new { EXCLUSIVE } else { 0 };
                (NEW_SET_ELEMENT, *family, *set, flags | CREATE | new)
            }
        };
        builder.message(message_kind(kind), REQUEST | flags, sequence, |builder| {
            builder.raw(&head(family, 0));
            builder.string(1, table);
            builder.string(2, set);
            match self {
                Change::Flush { .. } => {}
                Change::Delete { key, .. } => write_element(builder, key, None, ""),
                Change::Add { key, timeout, note, .. } => write_element(builder, key, *timeout, note),
            }
        });
    }
}

/// NFTA_SET_ELEM_LIST_ELEMENTS with one element.
fn write_element(builder: &mut Builder, key: &[u8], timeout: Option<Timeout>, note: &str) {
    builder.nested(3, |builder| {
        builder.nested(1, |builder| {
            builder.nested(1, |builder| builder.attribute(1, key));
            if let Some(Timeout(milliseconds)) = timeout {
                builder.attribute(4, &milliseconds.to_be_bytes());
            }
            if !note.is_empty() {
                builder.attribute(6, &comment(note));
            }
        });
    });
}

/// User data as `nft` writes a comment, so that `nft list table` shows it: type 0, length, text, NUL.
fn comment(note: &str) -> Vec<u8> {
    let text = note.as_bytes().get(..note.len().min(120)).unwrap_or(&[]);
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], text, &[0]].concat()
}

/// One element, as dumped.
struct Element {
    key: Vec<u8>,
    remaining: Option<Duration>,
    note: String,
}

impl Element {
    fn read(bytes: &[u8]) -> Self {
        let key = attribute(bytes, 1).and_then(|key| attribute(key, 1)).unwrap_or(&[]).to_vec();
        let remaining = attribute(bytes, 5).and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
        let note = attribute(bytes, 6).and_then(|data| match data {
            [0, length, text @ ..] => text.get(..usize::from(*length).checked_sub(1)?),
            _ => None,
        });
        Self {
            key,
            remaining: remaining.map(Duration::from_millis),
            note: String::from_utf8_lossy(note.unwrap_or(&[])).into_owned(),
        }
    }

    /// An element without an end, or with none left, is not a lease.
    fn living(self) -> Option<Living> {
        let remaining = self.remaining.filter(|remaining| !remaining.is_zero())?;
        Some(Living { note: self.note, remaining })
    }
}

fn message_kind(kind: u16) -> u16 {
    SUBSYSTEM << 8 | kind
}

/// struct nfgenmsg: family, version 0, resource in network order.
fn head(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_below_one_tick_would_be_endless_and_cannot_be_made() {
        let tick = Duration::from_millis(4);
        assert_eq!(Timeout::new(Duration::from_micros(3999), tick), None);
        assert_eq!(Timeout::new(Duration::ZERO, tick), None);
        assert_eq!(Timeout::new(Duration::from_micros(4999), tick), Some(Timeout(4)));
    }

    #[test]
    fn the_tick_is_what_kernels_have() {
        let tick = tick();
        assert!((Duration::from_millis(1)..=Duration::from_millis(10)).contains(&tick), "{tick:?}");
    }

    #[test]
    fn a_note_survives_the_way_through_an_element() {
        let mut builder = Builder::default();
        write_element(&mut builder, &[2], Some(Timeout(350)), "epoch 7");
        let list = attribute(builder.bytes(), 3).unwrap();
        let element = Element::read(attribute(list, 1).unwrap());
        assert_eq!((element.key.as_slice(), element.note.as_str()), (&[2u8][..], "epoch 7"));
        assert!(element.living().is_none(), "an element without an expiration is not a lease");
    }
}
