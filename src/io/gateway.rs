//! Asks the gateway targets whether they are there, by ARP or by ICMP echo: whoever reaches none of them is
//! the isolated one.

use super::packet_socket::PacketSocket;
use super::sys::{self, Watched};
use crate::config::checked::GatewayMethod;
use crate::wire::arp::Arp;
use crate::wire::echo::Echo;
use nix::sys::socket::MsgFlags;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Why the prober could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open a socket to probe gateways from {interface}; apd needs CAP_NET_RAW, and the interface must exist"
)]
pub struct Error {
    /// As configured.
    pub interface: String,
    /// From the kernel.
    pub source: io::Error,
}

/// What one probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// How many targets answered; not more than were needed.
    pub answered: u32,
    /// How many were asked.
    pub asked: u32,
}

/// Probes the targets from one interface, with this node's own addresses as the sender.
#[derive(Debug)]
pub struct GatewayProber {
    interface: String,
    source: Ipv4Addr,
    targets: Vec<Ipv4Addr>,
    need: usize,
    method: GatewayMethod,
    sequence: u16,
    /// `None` while it cannot be opened: the interface is gone. Every probe tries again.
    socket: Option<ProbeSocket>,
}

#[derive(Debug)]
enum ProbeSocket {
    Arp(PacketSocket),
    Echo(EchoSocket),
}

#[derive(Debug)]
struct EchoSocket {
    receiver: Watched,
    sender: Socket,
    identifier: u16,
}

impl GatewayProber {
    /// Opens the socket. `source` is this node's own address on `interface`; a probe ends as soon as `need`
    /// of the targets have answered (0 or too many: all). Needs a tokio runtime with its timer.
    pub fn open(
        interface: &str,
        source: Ipv4Addr,
        targets: &[Ipv4Addr],
        need: u32,
        method: GatewayMethod,
    ) -> Result<Self, Error> {
        let need = match usize::try_from(need) {
            Ok(need) if (1..=targets.len()).contains(&need) => need,
            _ => targets.len(),
        };
        let mut prober = Self {
            interface: interface.to_owned(),
            source,
            targets: targets.to_vec(),
            need,
            method,
            sequence: 0,
            socket: None,
        };
        match prober.open_socket() {
            Ok(socket) => prober.socket = Some(socket),
            Err(error) => return Err(Error { interface: prober.interface, source: error }),
        }
        Ok(prober)
    }

    /// Asks every target once, and waits until enough have answered, or `timeout` is over. Sub-millisecond
    /// on a healthy link; at once, with none answered, if nothing can be sent. Cancel-safe: an answer that
    /// comes later is thrown away by the next probe.
    pub async fn probe(&mut self, timeout: Duration) -> Answered {
        let deadline = Instant::now() + timeout;
        let asked = u32::try_from(self.targets.len()).expect("the configuration bounds the targets");
        if self.ask().is_err() {
            // The interface may have been removed and made again since the socket was opened.
            self.socket = self.open_socket().ok();
            if self.ask().is_err() {
                return Answered { answered: 0, asked };
            }
        }
        let mut missing = self.targets.clone();
        while self.targets.len() - missing.len() < self.need {
            match timeout_at(deadline, self.answer()).await {
                Ok(Ok(address)) => missing.retain(|target| *target != address),
                // ENETDOWN comes once, and hides nothing: no answer will follow.
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
        let answered = self.targets.len() - missing.len();
        Answered { answered: u32::try_from(answered).expect("not more than were asked"), asked }
    }

    fn open_socket(&self) -> io::Result<ProbeSocket> {
        match self.method {
            GatewayMethod::Arp => PacketSocket::open(&self.interface, &self.targets)
                .map(ProbeSocket::Arp)
                .map_err(|error| error.source),
            GatewayMethod::Icmp => EchoSocket::open(&self.interface, self.source).map(ProbeSocket::Echo),
        }
    }

    /// Asks every target. Fails if none could be asked.
    fn ask(&mut self) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut result = Err(io::Error::from_raw_os_error(libc::ENODEV));
        match &self.socket {
            None => {}
            Some(ProbeSocket::Arp(socket)) => {
                socket.drain();
                let hardware = socket.hardware_address()?;
                for target in &self.targets {
                    result = result.or(socket.send(&Arp::request(hardware, self.source, *target)));
                }
            }
            Some(ProbeSocket::Echo(socket)) => {
                let echo = Echo { identifier: socket.identifier, sequence: self.sequence };
                for target in &self.targets {
                    let to = SockAddr::from(SocketAddrV4::new(*target, 0));
                    result = result.or(socket.sender.send_to(&echo.request(), &to).map(drop));
                }
            }
        }
        result
    }

    /// Waits for the next answer, from whomever. Cancel-safe.
    async fn answer(&self) -> io::Result<Ipv4Addr> {
        match &self.socket {
            None => std::future::pending().await,
            Some(ProbeSocket::Arp(socket)) => Ok(socket.receive().await?.sender),
            Some(ProbeSocket::Echo(socket)) => socket.answer(self.sequence).await,
        }
    }
}

impl EchoSocket {
    fn open(interface: &str, source: Ipv4Addr) -> io::Result<Self> {
        // Two probers of one process must not take each other's answers.
        static OPENED: AtomicU16 = AtomicU16::new(0);
        let identifier = (std::process::id() as u16).wrapping_add(OPENED.fetch_add(1, Ordering::Relaxed));
        sys::interface_index(interface)?;
        let socket = Socket::new(Domain::IPV4, Type::RAW.nonblocking().cloexec(), Some(Protocol::ICMPV4))?;
        socket.attach_filter(&only_replies_to(identifier))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        // An address that is not there now may come back; the probe fails meanwhile.
        socket.set_freebind_v4(true)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(source, 0)))?;
        Ok(Self { sender: socket.try_clone()?, receiver: Watched::new(socket)?, identifier })
    }

    async fn answer(&self, sequence: u16) -> io::Result<Ipv4Addr> {
        let expected = Some(Echo { identifier: self.identifier, sequence });
        self.receiver
            .when_readable(|socket| {
                loop {
                    let mut packet = [0; 128];
                    let length =
                        nix::sys::socket::recv(socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT)?;
                    let packet = &packet[..length];
                    let Some(fixed) = packet.first_chunk::<20>() else { continue };
                    let header = usize::from(fixed[0] & 0x0f) * 4;
                    if packet.get(header..).and_then(Echo::parse_reply) == expected {
                        return Ok(Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]));
                    }
                }
            })
            .await
    }
}

/// A filter that passes echo replies with this identifier; other programs' pings stay out.
fn only_replies_to(identifier: u16) -> [SockFilter; 7] {
    const HEADER_LENGTH_TO_X: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    const LOAD_BYTE_AT_X: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
    const LOAD_HALF_AT_X: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const ECHO_REPLY: u32 = 0;
    [
        SockFilter::new(HEADER_LENGTH_TO_X, 0, 0, 0),
        SockFilter::new(LOAD_BYTE_AT_X, 0, 0, 0),
        SockFilter::new(JUMP_IF_EQUAL, 0, 3, ECHO_REPLY),
        SockFilter::new(LOAD_HALF_AT_X, 0, 0, 4),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(identifier)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
