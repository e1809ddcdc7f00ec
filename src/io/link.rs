//! Watches the interface of this node: there, up, with carrier, with our own address.
//!
//! Netlink events say *when* to look; *what* is true is read anew each time, so that an event that was
//! lost (ENOBUFS) or misread cannot leave a wrong picture behind. A slow tick looks without any event:
//! for an ordinary network card the kernel may hold the event of a lost carrier back for up to a second
//! (net/core/link_watch.c), while the flag itself is right at once.
//!
//! All that runs on a thread of its own, because reading the flags takes the kernel's routing lock, and the
//! pair thread never waits on anything.

use super::sys;
use crate::decision::event::LinkReport;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::packet_core::{
    ErrorBuffer, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, Parseable,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkHeader, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// How often the state is read without an event.
pub const TICK: Duration = Duration::from_millis(100);

/// So many readings may fail before that is reported: a failure of reading is no failure of the link.
const FAILED_READINGS: u32 = 3;

const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const EVENT_BUFFER: usize = 1 << 20;

/// The state of one interface and of our address on it.
#[derive(Debug)]
pub struct LinkMonitor {
    reports: watch::Receiver<LinkReport>,
    ended: bool,
}

impl LinkMonitor {
    /// Reads the state and starts to watch it, in the network namespace of the calling thread, and as
    /// real-time as the calling thread. The watching ends when the monitor is dropped. The interface need not
    /// exist.
    pub fn open(interface: &str, address: Ipv4Addr) -> io::Result<Self> {
        let mut reader = Reader::open(interface, address)?;
        let first = reader.read()?;
        let (publish, mut reports) = watch::channel(first);
        reports.mark_changed();
        let priority = sys::realtime_priority();
        thread::Builder::new().name("link".to_owned()).spawn(move || {
            if let Some(priority) = priority {
                sys::make_realtime(priority);
            }
            reader.watch(&publish);
        })?;
        Ok(Self { reports, ended: false })
    }

    /// Waits until the state differs from what this function returned last; the first call returns at once.
    /// A state that came and went between two calls is not seen. Cancel-safe.
    pub async fn changed(&mut self) -> LinkReport {
        if self.ended {
            return std::future::pending().await;
        }
        if self.reports.changed().await.is_err() {
            self.ended = true;
            let detail = "the link monitor has ended: restart apd".to_owned();
            return LinkReport { usable: false, detail };
        }
        self.reports.borrow_and_update().clone()
    }

    /// The state as read last: at the last event, or at most [`TICK`] ago. Never waits.
    pub fn read_now(&self) -> LinkReport {
        self.reports.borrow().clone()
    }
}

/// The two netlink sockets, and what to look for.
struct Reader {
    interface: String,
    address: Ipv4Addr,
    events: Socket,
    requests: Socket,
    sequence: u32,
}

/// What is true of the interface.
enum State {
    Missing,
    Down,
    NoCarrier,
    NoAddress,
    Usable,
}

impl Reader {
    fn open(interface: &str, address: Ipv4Addr) -> io::Result<Self> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        // An overrun only means one more reading, but a small buffer would make it the rule on busy hosts.
        events.set_rx_buf_sz(EVENT_BUFFER)?;
        events.set_non_blocking(true)?;
        events.bind(&SocketAddr::new(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))?;
        let mut requests = Socket::new(NETLINK_ROUTE)?;
        requests.set_non_blocking(true)?;
        requests.bind_auto()?;
        requests.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { interface: interface.to_owned(), address, events, requests, sequence: 0 })
    }

    /// Looks at every event and every tick, until nobody listens any more.
    fn watch(&mut self, publish: &watch::Sender<LinkReport>) {
        let timeout = PollTimeout::try_from(TICK).expect("a tick is some milliseconds");
        let mut failed = 0;
        while !publish.is_closed() {
            let mut wait = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
            // An interrupted wait is one reading more.
            let _ = poll(&mut wait, timeout);
            self.drain_events();
            let report = match self.read() {
                Ok(report) => {
                    failed = 0;
                    report
                }
                Err(error) => {
                    failed += 1;
                    if let Ok(fresh) = Self::open(&self.interface, self.address) {
                        *self = fresh;
                    }
                    if failed < FAILED_READINGS {
                        continue;
                    }
                    let detail = format!("cannot read the state of {}: {error}", self.interface);
                    LinkReport { usable: false, detail }
                }
            };
            publish.send_if_modified(|last| {
                let differs = *last != report;
                *last = report;
                differs
            });
        }
    }

    /// Throws events away: they only say that it is time to look. ENOBUFS (events were lost) says the same.
    fn drain_events(&self) {
        let mut buffer = [0; 4096];
        loop {
            match self.events.recv(&mut &mut buffer[..], 0) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }

    fn read(&mut self) -> io::Result<LinkReport> {
        let state = self.state()?;
        let (interface, address) = (&self.interface, self.address);
        let detail = match state {
            State::Missing => format!("interface {interface} does not exist"),
            State::Down => format!("interface {interface} is set down"),
            State::NoCarrier => format!("interface {interface} has no carrier"),
            State::NoAddress => format!("address {address} is missing on {interface}"),
            State::Usable => "up".to_owned(),
        };
        Ok(LinkReport { usable: matches!(state, State::Usable), detail })
    }

    fn state(&mut self) -> io::Result<State> {
        let Some(link) = self.link()? else { return Ok(State::Missing) };
        if !link.flags.contains(LinkFlags::Up) {
            return Ok(State::Down);
        }
        // Not IFF_RUNNING, which the kernel may hold back for a second.
        if !link.flags.contains(LinkFlags::LowerUp) {
            return Ok(State::NoCarrier);
        }
        Ok(if self.holds_address(link.index)? { State::Usable } else { State::NoAddress })
    }

    /// RTM_GETLINK by name (rtnetlink(7)); `None` if there is no such interface.
    fn link(&mut self) -> io::Result<Option<LinkHeader>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(self.interface.clone()));
        let mut link = None;
        let result = self.request(RouteNetlinkMessage::GetLink(message), 0, |payload| {
            // Only the fixed header: attributes that a newer kernel adds cannot break it.
            link = LinkHeader::parse(payload).ok();
        });
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(link),
        }
    }

    /// RTM_GETADDR: is our address among those of this interface?
    fn holds_address(&mut self, index: u32) -> io::Result<bool> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        let ours = AddressAttribute::Local(IpAddr::V4(self.address));
        let mut found = false;
        self.request(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP, |payload| {
            if let Ok(address) = AddressMessage::parse(payload) {
                found |= address.header.index == index && address.attributes.contains(&ours);
            }
        })?;
        Ok(found)
    }

    /// Sends one request and hands the payload of each answer to `each`. The kernel answers within the call.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.requests.send(&bytes, 0)?;
        loop {
            let mut buffer = [0; 32 * 1024];
            let length = self.requests.recv(&mut &mut buffer[..], 0)?;
            if self.answer_ended(buffer.get(..length), flags & NLM_F_DUMP != 0, &mut each)? {
                return Ok(());
            }
        }
    }

    /// Reads one datagram; `true` when it was the last of the answer.
    fn answer_ended(
        &self,
        datagram: Option<&[u8]>,
        dump: bool,
        each: &mut impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed netlink answer");
        let mut rest = datagram.ok_or_else(malformed)?;
        let mut ended = false;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_| malformed())?;
            let length = usize::try_from(message.length()).map_err(|_| malformed())?;
            // What an earlier request that failed left behind is none of ours.
            if message.sequence_number() == self.sequence {
                match message.message_type() {
                    NLMSG_DONE => return Ok(true),
                    NLMSG_ERROR => {
                        let error = ErrorBuffer::new_checked(message.payload()).map_err(|_| malformed())?;
                        return match error.code() {
                            None => Ok(true),
                            Some(code) => Err(io::Error::from_raw_os_error(code.get().saturating_abs())),
                        };
                    }
                    _ => {
                        each(message.payload());
                        ended = !dump;
                    }
                }
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};
    use std::process::Command;

    /// In a network namespace of its own; what else can happen is in tests/netns_net.
    #[test]
    fn lost_events_cost_nothing_but_a_reading() {
        let outcome = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
            let mut reader = Reader::open("lo", Ipv4Addr::LOCALHOST).unwrap();
            reader.events.set_rx_buf_sz(1_u32).unwrap();
            assert_eq!(reader.read().unwrap().detail, "interface lo is set down");
            let addresses: String =
                (1..=200).map(|host| format!("addr add 127.0.9.{host}/32 dev lo\n")).collect();
            let batch = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(batch.path(), format!("link set lo up\n{addresses}")).unwrap();
            let status = Command::new("ip").arg("-batch").arg(batch.path()).status();
            assert!(status.expect("this test needs iproute2").success());
            let mut buffer = [0; 4096];
            let mut lost = false;
            for _ in 0..200 {
                let received = reader.events.recv(&mut &mut buffer[..], 0);
                lost |= received.is_err_and(|error| error.raw_os_error() == Some(libc::ENOBUFS));
            }
            assert!(lost, "the small buffer must have overrun for this test to mean anything");
            // Once more, this time through our own eyes.
            assert!(Command::new("ip").args(["addr", "flush", "dev", "lo"]).status().unwrap().success());
            reader.drain_events();
            assert_eq!(reader.read().unwrap().detail, "address 127.0.0.1 is missing on lo");
        });
        outcome.join().unwrap();
    }
}
