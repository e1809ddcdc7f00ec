//! The raw sockets that carry VRRP advertisements over IPv4, unicast to the peer or multicast.
//!
//! Two sockets, as in keepalived: one that receives (bound to our own address or to the group, with a filter
//! so that other virtual routers cost nothing) and one that sends (bound to our own address, so that a
//! virtual address never becomes the source, with a filter that receives nothing, or its queue would fill).
//! Both are pinned to the interface by its index: an interface that was removed and made again needs
//! [`VrrpSocket::reopen`]; an address that went and came back does not.

use super::sys::{self, Watched};
use crate::decision::event::Advert;
use crate::wire::advert::{
    self, Advertisement, ChecksumForm, Context, MULTICAST_GROUP, PROTOCOL, Password, Rejection, Version,
};
use nix::sys::socket::MsgFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockFilter, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An advertisement with an IP header of the largest size is 60 + 8 + 4 * 255 + 8 bytes.
const LARGEST_PACKET: usize = 2048;
/// Internetwork control (RFC 9568 leaves it open; keepalived and routers use it).
const TYPE_OF_SERVICE: u32 = 0xc0;

/// What the sockets are opened with.
#[derive(Clone, Debug)]
pub struct VrrpSettings {
    /// Interface that carries the advertisements.
    pub interface: String,
    /// This node's own address on it.
    pub source: Ipv4Addr,
    /// The other node's address.
    pub peer: Ipv4Addr,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// Protocol version.
    pub version: Version,
    /// To 224.0.0.18 instead of the peer.
    pub multicast: bool,
    /// Accept a TTL below 255.
    pub accept_lower_ttl: bool,
    /// Version 2 only.
    pub password: Option<Password>,
    /// The virtual addresses of the configuration, in its order.
    pub addresses: Vec<Ipv4Addr>,
}

/// A valid advertisement, and what is remarkable about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// For the decision.
    pub advert: Advert,
    /// Whether the sender's checksum covers the pseudo header; for the status.
    pub checksum: ChecksumForm,
    /// The sender's virtual addresses are ours; if not, alarm.
    pub addresses_match: bool,
}

/// Why [`VrrpSocket::receive`] did not give an advertisement.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// A packet came that is no advertisement for us. It is counted.
    #[error("advertisement from {from} rejected: {why}")]
    Rejected {
        /// The source in its IP header.
        from: Ipv4Addr,
        /// It is the configured peer: it is alive, but misconfigured or impersonated. Never silence.
        is_peer: bool,
        /// Why.
        why: Rejection,
    },
    /// The socket failed.
    #[error("receiving advertisements")]
    Socket(#[from] io::Error),
}

/// Why the sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such interface now.
    #[error("interface {interface} does not exist: correct `interface` of this node, or create it")]
    Interface {
        /// As configured.
        interface: String,
        /// From the kernel.
        source: io::Error,
    },
    /// A system call was refused.
    #[error("cannot {step} for VRRP on {interface}; apd needs CAP_NET_RAW and CAP_NET_ADMIN")]
    Socket {
        /// What was tried.
        step: &'static str,
        /// As configured.
        interface: String,
        /// From the kernel.
        source: io::Error,
    },
}

/// Counters for metrics; shared, so that another thread may read them.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    send_errors: AtomicU64,
    received: AtomicU64,
    rejected: [AtomicU64; Rejection::REASONS.len()],
}

impl Counters {
    /// Advertisements that the kernel took.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Advertisements that it did not take.
    pub fn send_errors(&self) -> u64 {
        self.send_errors.load(Ordering::Relaxed)
    }

    /// Valid advertisements.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Rejected packets by reason: every reason, also those that never happened.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Rejection::REASONS.into_iter().zip(self.rejected.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The pair of sockets. Opened on, and used from, one tokio runtime.
#[derive(Debug)]
pub struct VrrpSocket {
    settings: VrrpSettings,
    receiver: Watched,
    sender: Socket,
    counters: Arc<Counters>,
}

impl VrrpSocket {
    /// Opens both sockets. The source address need not be there yet, the interface must.
    pub fn open(settings: &VrrpSettings) -> Result<Self, Error> {
        let (receiver, sender) = open_both(settings)?;
        Ok(Self { settings: settings.clone(), receiver, sender, counters: Arc::default() })
    }

    /// Opens both sockets anew, for an interface that was removed and made again. The counters go on; on
    /// failure the old sockets stay.
    pub fn reopen(&mut self) -> Result<(), Error> {
        (self.receiver, self.sender) = open_both(&self.settings)?;
        Ok(())
    }

    /// What was counted since [`Self::open`].
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The address to which advertisements go.
    pub fn destination(&self) -> Ipv4Addr {
        if self.settings.multicast { MULTICAST_GROUP } else { self.settings.peer }
    }

    /// Sends one advertisement now, without waiting. Errors: ENODEV or ENXIO, the interface is gone
    /// ([`Self::reopen`] when it is back); EINVAL, our source address is gone; ENETDOWN, ENETUNREACH; and
    /// WouldBlock, the queue is full.
    pub fn send(&self, advertisement: &Advertisement) -> io::Result<()> {
        let destination = self.destination();
        let password = self.settings.password.as_ref();
        let message = advert::encode(advertisement, self.settings.source, destination, password);
        let to = SockAddr::from(SocketAddrV4::new(destination, 0));
        // A group is on the link by definition; a unicast peer may be behind a router.
        let flags = if self.settings.multicast { libc::MSG_DONTROUTE } else { 0 };
        match self.sender.send_to_with_flags(&message, &to, flags) {
            Ok(_) => {
                self.counters.sent.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.counters.send_errors.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Waits for the next packet. Cancel-safe: a packet is consumed only in the poll that returns it.
    pub async fn receive(&self) -> Result<Received, ReceiveError> {
        let mut packet = [0; LARGEST_PACKET];
        let length = self.receiver.when_readable(|socket| Ok(receive_now(socket, &mut packet)?)).await?;
        self.judge(&packet[..length])
    }

    fn judge(&self, packet: &[u8]) -> Result<Received, ReceiveError> {
        let Some(header) = IpHeader::read(packet) else {
            return Err(self.reject(Ipv4Addr::UNSPECIFIED, Rejection::IpHeader));
        };
        let is_peer = header.source == self.settings.peer;
        if !self.settings.multicast && !is_peer {
            return Err(self.reject(header.source, Rejection::ForeignSource(header.source)));
        }
        let context = Context {
            source: header.source,
            destination: header.destination,
            ttl: header.ttl,
            accept_lower_ttl: self.settings.accept_lower_ttl,
            version: self.settings.version,
            virtual_router_id: self.settings.virtual_router_id,
            password: self.settings.password.as_ref(),
            addresses: &self.settings.addresses,
        };
        let decoded =
            advert::decode(header.payload, &context).map_err(|why| self.reject(header.source, why))?;
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        Ok(Received {
            advert: Advert {
                source: header.source,
                from_peer: is_peer,
                priority: decoded.advertisement.priority,
                interval: decoded.advertisement.interval,
            },
            checksum: decoded.checksum,
            addresses_match: decoded.addresses_match,
        })
    }

    fn reject(&self, from: Ipv4Addr, why: Rejection) -> ReceiveError {
        self.counters.rejected[why.reason_index()].fetch_add(1, Ordering::Relaxed);
        ReceiveError::Rejected { from, is_peer: from == self.settings.peer, why }
    }
}

/// What a raw socket gives before the payload: the IPv4 header, as received (raw(7)).
struct IpHeader<'a> {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ttl: u8,
    payload: &'a [u8],
}

impl<'a> IpHeader<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let fixed: &[u8; 20] = packet.first_chunk()?;
        let length = usize::from(fixed[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if fixed[0] >> 4 != 4 || length < 20 || total != packet.len() {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        Some(Self {
            source: address(12),
            destination: address(16),
            ttl: fixed[8],
            payload: packet.get(length..)?,
        })
    }
}

fn receive_now(socket: &OwnedFd, packet: &mut [u8]) -> nix::Result<usize> {
    nix::sys::socket::recv(socket.as_raw_fd(), packet, MsgFlags::MSG_DONTWAIT)
}

fn open_both(settings: &VrrpSettings) -> Result<(Watched, Socket), Error> {
    let index = sys::interface_index(&settings.interface)
        .map_err(|source| Error::Interface { interface: settings.interface.clone(), source })?;
    let refused = |step| move |source| Error::Socket { step, interface: settings.interface.clone(), source };
    let receiver = open_receiver(settings, index).map_err(refused("open the receiving socket"))?;
    let receiver = Watched::new(receiver).map_err(refused("watch the receiving socket"))?;
    let sender = open_sender(settings).map_err(refused("open the sending socket"))?;
    Ok((receiver, sender))
}

fn open_receiver(settings: &VrrpSettings, interface_index: u32) -> io::Result<Socket> {
    let socket = raw_socket(settings)?;
    // Before anything can arrive.
    socket.attach_filter(&only_router(settings.virtual_router_id))?;
    // Or groups that other programs joined would leak in.
    socket.set_multicast_all_v4(false)?;
    if settings.multicast {
        socket.bind(&SockAddr::from(SocketAddrV4::new(MULTICAST_GROUP, 0)))?;
        let interface = InterfaceIndexOrAddress::Index(interface_index);
        socket.join_multicast_v4_n(&MULTICAST_GROUP, &interface)?;
    } else {
        socket.bind(&SockAddr::from(SocketAddrV4::new(settings.source, 0)))?;
    }
    Ok(socket)
}

fn open_sender(settings: &VrrpSettings) -> io::Result<Socket> {
    let socket = raw_socket(settings)?;
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
    socket.set_recv_buffer_size(0)?;
    socket.set_tos_v4(TYPE_OF_SERVICE)?;
    socket.set_ttl_v4(u32::from(advert::TTL))?;
    socket.set_multicast_ttl_v4(u32::from(advert::TTL))?;
    socket.set_multicast_loop_v4(false)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(settings.source, 0)))?;
    Ok(socket)
}

fn raw_socket(settings: &VrrpSettings) -> io::Result<Socket> {
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket.bind_device(Some(settings.interface.as_bytes()))?;
    // So that the order in which interface, address and daemon come up does not matter.
    socket.set_freebind_v4(true)?;
    Ok(socket)
}

const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A filter that passes our virtual router only. The packet begins with its IP header; one that is too
/// short for the filter's loads is dropped by it (bpf(2), classic).
fn only_router(virtual_router_id: u8) -> [SockFilter; 5] {
    const HEADER_LENGTH_TO_X: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    const LOAD_BYTE_AT_X: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    [
        SockFilter::new(HEADER_LENGTH_TO_X, 0, 0, 0),
        SockFilter::new(LOAD_BYTE_AT_X, 0, 0, 1),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(virtual_router_id)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
