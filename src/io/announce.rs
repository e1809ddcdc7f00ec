//! ARP for the virtual addresses: telling the neighbours who has them now, and asking whether someone
//! else still answers for them.

use super::packet_socket::{Error, PacketSocket};
use crate::wire::arp::{Arp, MacAddr, Operation};
use std::io;
use std::net::Ipv4Addr;

/// Sends announcements ("gratuitous ARP"). When, and how often, is the driver's affair.
#[derive(Debug)]
pub struct Announcer {
    interface: String,
    socket: PacketSocket,
}

impl Announcer {
    /// Opens a packet socket on `interface`. Needs a tokio runtime.
    pub fn open(interface: &str) -> Result<Self, Error> {
        Ok(Self { interface: interface.to_owned(), socket: PacketSocket::open(interface, &[])? })
    }

    /// Opens it anew, for an interface that was removed and made again.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.socket = PacketSocket::open(&self.interface, &[])?;
        Ok(())
    }

    /// Announces that this interface has `address`: one request to all (15 us). Does not wait. Errors:
    /// ENETDOWN while the interface is down; ENODEV or ENXIO when it is gone: [`Self::reopen`].
    pub fn announce(&self, address: Ipv4Addr) -> io::Result<()> {
        self.socket.send(&Arp::announcement(self.socket.hardware_address()?, address))
    }
}

/// Somebody else uses a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub address: Ipv4Addr,
    /// Who; prints as `aa:bb:cc:dd:ee:ff`.
    pub by: MacAddr,
    /// How it was said.
    pub kind: ClaimKind,
}

/// How a claim was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// A reply, to our probe or to another's question: the claimant's kernel answers for the address.
    Answer,
    /// An announcement: the claimant has just taken the address.
    Announcement,
    /// A request sent from the address: the claimant's kernel uses it.
    Use,
}

/// Asks who has the virtual addresses (RFC 5227 probes), and listens to who claims them.
///
/// Our own kernel's packets are told apart by the hardware address. Another node's *probe* claims nothing
/// and is no claim here: two standbys may ask at the same time.
#[derive(Debug)]
pub struct ProbeForLife {
    interface: String,
    addresses: Vec<Ipv4Addr>,
    socket: PacketSocket,
}

impl ProbeForLife {
    /// Opens a packet socket on `interface` for these addresses. Needs a tokio runtime.
    pub fn open(interface: &str, addresses: &[Ipv4Addr]) -> Result<Self, Error> {
        let socket = PacketSocket::open(interface, addresses)?;
        Ok(Self { interface: interface.to_owned(), addresses: addresses.to_vec(), socket })
    }

    /// Opens it anew, for an interface that was removed and made again.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.socket = PacketSocket::open(&self.interface, &self.addresses)?;
        Ok(())
    }

    /// Asks once for every address. Does not wait; answers come from [`Self::claimed`]. The first error is
    /// returned after all were tried.
    pub fn probe(&self) -> io::Result<()> {
        let hardware = self.socket.hardware_address()?;
        let mut result = Ok(());
        for address in &self.addresses {
            result = result.and(self.socket.send(&Arp::probe(hardware, *address)));
        }
        result
    }

    /// Waits for the next claim by someone else. Cancel-safe. An error (the interface went down or away)
    /// comes once, and the next call waits again.
    pub async fn claimed(&self) -> io::Result<Claim> {
        loop {
            let arp = self.socket.receive().await?;
            // Asked at each packet, because the hardware address may change; packets that pass the filter
            // are rare.
            if arp.sender_hardware != self.socket.hardware_address()? && self.addresses.contains(&arp.sender)
            {
                return Ok(Claim { address: arp.sender, by: arp.sender_hardware, kind: kind(&arp) });
            }
        }
    }
}

fn kind(arp: &Arp) -> ClaimKind {
    match arp.operation {
        _ if arp.sender == arp.target => ClaimKind::Announcement,
        Operation::Reply => ClaimKind::Answer,
        Operation::Request => ClaimKind::Use,
    }
}
