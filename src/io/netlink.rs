//! Netlink for the gate: one socket, messages written and read by hand (RFC 3549; linux/netlink.h).
//!
//! The gate process refreshes its lease many times a second on a thread that must never wait for a
//! runtime, so these are plain blocking calls with a bound, and no allocation beyond one buffer.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvfrom,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use thiserror::Error;

/// This is a request (NLM_F_REQUEST).
pub const REQUEST: u16 = 0x1;
/// An acknowledgement is wanted (NLM_F_ACK).
pub const ACKNOWLEDGE: u16 = 0x4;
/// All objects are wanted (NLM_F_DUMP).
pub const DUMP: u16 = 0x300;
/// Replace what exists (NLM_F_REPLACE).
pub const REPLACE: u16 = 0x100;
/// Fail when it exists (NLM_F_EXCL).
pub const EXCLUSIVE: u16 = 0x200;
/// Create it (NLM_F_CREATE).
pub const CREATE: u16 = 0x400;

const DUMP_INTERRUPTED: u16 = 0x10;
const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The kernel fills at most 32 KiB for one answer to a dump.
const BUFFER: usize = 32 * 1024;
const ANSWER_WITHIN_SECONDS: i64 = 1;
const DUMP_ATTEMPTS: u32 = 5;

/// What went wrong with netlink.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetlinkError {
    /// A call on the socket failed.
    #[error("netlink: {call}: {errno}; the gate needs CAP_NET_ADMIN and a kernel with netlink")]
    Socket {
        /// Which call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// The kernel refused a request.
    #[error("netlink: the kernel refused request {request} of its batch: {errno}")]
    Refused {
        /// Which message of the batch, counted from 0.
        request: u32,
        /// Why.
        errno: Errno,
    },
    /// The kernel did not answer within a second.
    #[error("netlink: no answer from the kernel within {ANSWER_WITHIN_SECONDS} s")]
    Silent,
    /// A dump was interrupted by changes each time it was tried.
    #[error("netlink: what was read kept changing; read again")]
    Restless,
}

impl NetlinkError {
    /// The kernel's reason, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            NetlinkError::Socket { errno, .. } | NetlinkError::Refused { errno, .. } => Some(*errno),
            NetlinkError::Silent | NetlinkError::Restless => None,
        }
    }
}

/// Messages under construction.
#[derive(Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// Writes one message: header, then what `body` writes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        body(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Writes bytes as they are: the fixed head of a message.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes one attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested_as(kind, |builder| builder.raw(value));
    }

    /// Writes an attribute that holds a NUL-terminated string.
    pub fn string(&mut self, kind: u16, value: &str) {
        self.nested_as(kind, |builder| {
            builder.raw(value.as_bytes());
            builder.raw(&[0]);
        });
    }

    /// Writes an attribute that holds attributes.
    pub fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.nested_as(kind | NESTED, body);
    }

    fn nested_as(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// One message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// Reads the messages in `bytes`; stops at the first that is not whole.
pub fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while let Some(length) = number(rest, 0).and_then(|length| usize::try_from(length).ok()) {
        if length < HEADER || length > rest.len() {
            break;
        }
        found.push(Message {
            kind: u16::from_ne_bytes([rest[4], rest[5]]),
            flags: u16::from_ne_bytes([rest[6], rest[7]]),
            sequence: number(rest, 8).unwrap_or(0),
            payload: rest[HEADER..length].to_vec(),
        });
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
    }
    found
}

/// Reads the attributes in `bytes` as (kind, value); stops at the first that is not whole.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & KIND_MASK;
        if length < 4 {
            return None;
        }
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number of the host's byte order at `offset`.
pub fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let slice = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(slice.try_into().ok()?))
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// One netlink socket.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket for requests.
    pub fn open(protocol: SockProtocol) -> Result<Self, NetlinkError> {
        let socket = Self::bound(protocol, 0, SockFlag::SOCK_CLOEXEC)?;
        setsockopt(&socket.descriptor, sockopt::ReceiveTimeout, &TimeVal::seconds(ANSWER_WITHIN_SECONDS))
            .map_err(failed("SO_RCVTIMEO"))?;
        Ok(socket)
    }

    /// Opens a non-blocking socket for notifications of the multicast groups in the mask `groups`.
    pub fn subscribe(protocol: SockProtocol, groups: u32) -> Result<Self, NetlinkError> {
        Self::bound(protocol, groups, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
    }

    fn bound(protocol: SockProtocol, groups: u32, flags: SockFlag) -> Result<Self, NetlinkError> {
        let descriptor =
            socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(failed("socket"))?;
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(failed("bind"))?;
        let port = getsockname::<NetlinkAddr>(descriptor.as_raw_fd()).map_err(failed("getsockname"))?.pid();
        Ok(Self { descriptor, port, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// The address that the kernel gave to this socket; notifications carry their causer's.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Takes `count` sequence numbers; returns the first.
    pub fn sequences(&mut self, count: u32) -> u32 {
        // Never 0, which notifications carry.
        if self.sequence > u32::MAX - count - 1 {
            self.sequence = 0;
        }
        let first = self.sequence + 1;
        self.sequence += count;
        first
    }

    /// Does one request and waits for its acknowledgement.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: impl FnOnce(&mut Builder),
    ) -> Result<(), NetlinkError> {
        let sequence = self.sequences(1);
        let mut builder = Builder::default();
        builder.message(kind, REQUEST | ACKNOWLEDGE | flags, sequence, body);
        self.exchange(&builder, sequence, sequence)
    }

    /// Sends a batch whose messages carry the sequence numbers `first..=last`, of which the last asks for
    /// an acknowledgement, and waits for that. The first refusal in the batch's order is the error. Where
    /// the first message only opens the batch, a refusal of it is one of the whole.
    pub fn exchange(&mut self, batch: &Builder, first: u32, last: u32) -> Result<(), NetlinkError> {
        self.send(batch.bytes())?;
        let mut refusal = None;
        loop {
            for message in self.receive()? {
                if message.kind != ERROR || !(first..=last).contains(&message.sequence) {
                    continue;
                }
                if let Some(errno) = error_in(&message.payload) {
                    let refused = NetlinkError::Refused { request: message.sequence - first, errno };
                    // A refusal of the first message is one of the whole batch: nothing else follows.
                    if message.sequence == first {
                        return Err(refused);
                    }
                    refusal.get_or_insert(refused);
                }
                if message.sequence == last {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Reads all objects that a request names.
    pub fn dump(&mut self, kind: u16, body: impl Fn(&mut Builder)) -> Result<Vec<Message>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(kind, &body)? {
                return Ok(found);
            }
        }
        Err(NetlinkError::Restless)
    }

    /// `None`: what was read changed meanwhile.
    fn dump_once(
        &mut self,
        kind: u16,
        body: &impl Fn(&mut Builder),
    ) -> Result<Option<Vec<Message>>, NetlinkError> {
        let sequence = self.sequences(1);
        let mut builder = Builder::default();
        builder.message(kind, REQUEST | DUMP, sequence, |builder| body(builder));
        self.send(builder.bytes())?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & DUMP_INTERRUPTED != 0;
                if message.kind == DONE || message.kind == ERROR {
                    match error_in(&message.payload) {
                        Some(Errno::EINTR) => interrupted = true,
                        Some(errno) => return Err(NetlinkError::Refused { request: 0, errno }),
                        None => {}
                    }
                    return Ok((!interrupted).then_some(found));
                }
                found.push(message);
            }
        }
    }

    /// Sends bytes to the kernel.
    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.descriptor.as_raw_fd(), bytes, &kernel, MsgFlags::empty()).map_err(failed("send"))?;
        Ok(())
    }

    /// Receives one datagram of messages from the kernel; what others sent is passed over.
    fn receive(&mut self) -> Result<Vec<Message>, NetlinkError> {
        loop {
            match recvfrom::<NetlinkAddr>(self.descriptor.as_raw_fd(), &mut self.buffer) {
                Ok((length, Some(sender))) if sender.pid() == 0 => {
                    return Ok(messages(&self.buffer[..length]));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(NetlinkError::Silent),
                Err(errno) => return Err(NetlinkError::Socket { call: "receive", errno }),
            }
        }
    }

    /// Empties a subscribed socket; true if something came, or was lost because too much came (ENOBUFS).
    /// The content does not matter: whoever is told reads the state again.
    pub fn drain(&mut self) -> bool {
        let mut anything = false;
        loop {
            match recvfrom::<NetlinkAddr>(self.descriptor.as_raw_fd(), &mut self.buffer) {
                Ok(_) | Err(Errno::ENOBUFS) => anything = true,
                Err(Errno::EINTR) => {}
                Err(_) => return anything,
            }
        }
    }

    /// Keeps notifications away that the socket with address `port` caused: the kernel drops them
    /// before they wake anyone (a classic BPF program on the field nlmsg_pid of the first message).
    pub fn ignore_caused_by(&self, port: u32) -> Result<(), NetlinkError> {
        use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
        use socket2::SockFilter;
        let code = |code: u32| u16::try_from(code).unwrap_or(0);
        // A load takes network byte order, netlink is in the host's.
        let wanted = u32::from_be_bytes(port.to_ne_bytes());
        let program = [
            SockFilter::new(code(BPF_LD | BPF_W | BPF_ABS), 0, 0, 12),
            SockFilter::new(code(BPF_JMP | BPF_JEQ | BPF_K), 0, 1, wanted),
            SockFilter::new(code(BPF_RET | BPF_K), 0, 0, 0),
            SockFilter::new(code(BPF_RET | BPF_K), 0, 0, u32::MAX),
        ];
        socket2::SockRef::from(&self.descriptor).attach_filter(&program).map_err(|error| {
            NetlinkError::Socket {
                call: "SO_ATTACH_FILTER",
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            }
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn error_in(payload: &[u8]) -> Option<Errno> {
    let code = i32::from_ne_bytes(payload.get(..4)?.try_into().ok()?);
    (code != 0).then(|| Errno::from_raw(code.saturating_neg()))
}

fn failed(call: &'static str) -> impl Fn(Errno) -> NetlinkError {
    move |errno| NetlinkError::Socket { call, errno }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut builder = Builder::default();
        builder.message(7, REQUEST, 42, |builder| {
            builder.raw(&[1, 2, 3, 4]);
            builder.string(1, "abc");
            builder.nested(2, |builder| builder.attribute(3, &[9]));
        });
        let read = messages(builder.bytes());
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (7, REQUEST, 42));
        let body = &read[0].payload[4..];
        assert_eq!(attribute(body, 1), Some(&b"abc\0"[..]));
        assert_eq!(attribute(body, 2).and_then(|nested| attribute(nested, 3)), Some(&[9u8][..]));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = messages(&bytes);
            let _ = attributes(&bytes).count();
        }
    }
}
