//! An AF_PACKET socket for ARP on one interface (packet(7)): what the announcer, the probe for life and the
//! gateway prober have in common.

use super::sys::{self, Watched};
use crate::wire::arp::{Arp, ETHERTYPE, FRAME, MacAddr};
use nix::sys::socket::MsgFlags;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

/// Why a socket for ARP could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open a packet socket on {interface}; apd needs CAP_NET_RAW, and an Ethernet interface of this name"
)]
pub struct Error {
    /// As configured.
    pub interface: String,
    /// From the kernel.
    pub source: io::Error,
}

/// The socket, bound to the interface by its index. An interface that was removed and made again needs a
/// new one.
#[derive(Debug)]
pub(super) struct PacketSocket {
    interface: String,
    socket: Watched,
    /// Kept to ask for the hardware address: nix and socket2 take different types of socket.
    asking: Socket,
}

impl PacketSocket {
    /// Receives every ARP packet whose *sender* address is one of `senders`; nothing if there is none.
    pub(super) fn open(interface: &str, senders: &[Ipv4Addr]) -> Result<Self, Error> {
        Self::try_open(interface, senders).map_err(|source| Error { interface: interface.to_owned(), source })
    }

    fn try_open(interface: &str, senders: &[Ipv4Addr]) -> io::Result<Self> {
        let index = sys::interface_index(interface)?;
        // Protocol 0: nothing arrives until the filter stands and `bind` names the protocol.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None::<Protocol>)?;
        socket.attach_filter(&only_senders(senders))?;
        if senders.is_empty() {
            socket.set_recv_buffer_size(0)?;
        }
        socket.bind(&sys::packet_address(index, ETHERTYPE))?;
        let asking = socket.try_clone()?;
        sys::hardware_address(&asking, interface)?;
        Ok(Self { interface: interface.to_owned(), socket: Watched::new(socket)?, asking })
    }

    /// The interface's present hardware address: bonds and operators change it.
    pub(super) fn hardware_address(&self) -> io::Result<MacAddr> {
        sys::hardware_address(&self.asking, &self.interface).map(MacAddr::from)
    }

    /// Sends one frame without waiting.
    pub(super) fn send(&self, arp: &Arp) -> io::Result<()> {
        let frame = arp.frame();
        match self.asking.send(&frame) {
            // The kernel notes on the socket that the interface went down, and says so once, also after it
            // came back: the first announcement of a takeover must not be lost to that.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => self.asking.send(&frame).map(drop),
            outcome => outcome.map(drop),
        }
    }

    /// Waits for the next ARP packet. Cancel-safe. ENETDOWN is given once when the interface goes down.
    pub(super) async fn receive(&self) -> io::Result<Arp> {
        self.socket
            .when_readable(|socket| {
                loop {
                    let mut frame = [0; FRAME];
                    let length =
                        nix::sys::socket::recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT)?;
                    if let Some(arp) = Arp::parse(&frame[..length]) {
                        return Ok(arp);
                    }
                }
            })
            .await
    }

    /// Throws away what has arrived.
    pub(super) fn drain(&self) {
        let mut frame = [0; FRAME];
        let descriptor = self.socket.descriptor().as_raw_fd();
        while nix::sys::socket::recv(descriptor, &mut frame, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
}

/// A filter that passes ARP packets with one of these sender addresses. Busy networks carry thousands of
/// ARP packets a second, and the pair thread shall not wake for them.
fn only_senders(senders: &[Ipv4Addr]) -> Vec<SockFilter> {
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const SENDER_ADDRESS: u32 = 14 + 14;
    let mut filter = vec![SockFilter::new(LOAD_WORD, 0, 0, SENDER_ADDRESS)];
    for sender in senders {
        filter.push(SockFilter::new(JUMP_IF_EQUAL, 0, 1, sender.to_bits()));
        filter.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    }
    filter.push(SockFilter::new(RETURN, 0, 0, 0));
    filter
}
