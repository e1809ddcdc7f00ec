//! IPv4 addresses of interfaces by rtnetlink (rtnetlink(7)): list, put, remove, and be told of changes.
//!
//! A virtual address is put with a lifetime, so that the kernel removes it when nobody refreshes it.

use super::netlink::{CREATE, NetlinkError, REPLACE, Socket, attribute, number};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const IPV4: u8 = 2;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const CACHE_INFO: u16 = 6;
const FLAGS: u16 = 8;
/// IFA_F_NOPREFIXROUTE.
const NO_PREFIX_ROUTE: u32 = 0x200;
/// RTMGRP_LINK and RTMGRP_IPV4_IFADDR: an interface that comes back may need its address.
const NOTIFICATIONS: u32 = 0x1 | 0x10;

/// One address of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// Number of the interface.
    pub interface: u32,
}

impl Held {
    /// Whether `other` lies in this address's subnet.
    pub fn covers(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other) & mask
    }
}

/// Number of the interface of this name, if there is one now.
pub fn interface_index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

/// The addresses of this host.
#[derive(Debug)]
pub struct Addresses {
    socket: Socket,
    events: Socket,
}

impl Addresses {
    /// Opens the sockets.
    pub fn new() -> Result<Self, NetlinkError> {
        let socket = Socket::open(SockProtocol::NetlinkRoute)?;
        let events = Socket::subscribe(SockProtocol::NetlinkRoute, NOTIFICATIONS)?;
        events.ignore_caused_by(socket.port())?;
        Ok(Self { socket, events })
    }

    /// True if anyone else changed an address or an interface since the last call. Polls [`Self::as_fd`].
    pub fn changed(&mut self) -> bool {
        self.events.drain()
    }

    /// All IPv4 addresses.
    pub fn list(&mut self) -> Result<Vec<Held>, NetlinkError> {
        let found = self.socket.dump(GET_ADDRESS, |builder| builder.raw(&[IPV4, 0, 0, 0, 0, 0, 0, 0]))?;
        Ok(found
            .iter()
            .filter(|message| message.kind == NEW_ADDRESS)
            .filter_map(|m| read(&m.payload))
            .collect())
    }

    /// Puts an address, or refreshes it, for `lifetime` (whole seconds, at least 1).
    ///
    /// `prefix_route`: add the route to its subnet. Without it a virtual address can never become the
    /// source of the node's own connections; with it, it is the only source in a subnet of its own.
    pub fn put(&mut self, held: Held, lifetime: Duration, prefix_route: bool) -> Result<(), NetlinkError> {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX - 1).max(1).to_ne_bytes();
        let flags = if prefix_route { 0 } else { NO_PREFIX_ROUTE };
        self.socket.request(NEW_ADDRESS, CREATE | REPLACE, |builder| {
            builder.raw(&head(held));
            builder.attribute(LOCAL, &held.address.octets());
            builder.attribute(ADDRESS, &held.address.octets());
            builder.attribute(FLAGS, &flags.to_ne_bytes());
            // struct ifa_cacheinfo: preferred, valid, created, updated.
            builder.attribute(CACHE_INFO, &[seconds, seconds, [0; 4], [0; 4]].concat());
        })
    }

    /// Removes an address; one that is gone already is well.
    pub fn remove(&mut self, held: Held) -> Result<(), NetlinkError> {
        let removed = self.socket.request(DELETE_ADDRESS, 0, |builder| {
            builder.raw(&head(held));
            builder.attribute(LOCAL, &held.address.octets());
            builder.attribute(ADDRESS, &held.address.octets());
        });
        match removed {
            Err(NetlinkError::Refused { errno: Errno::EADDRNOTAVAIL | Errno::ENODEV, .. }) => Ok(()),
            other => other,
        }
    }
}

impl AsFd for Addresses {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// struct ifaddrmsg: family, prefix, flags, scope, interface.
fn head(held: Held) -> [u8; 8] {
    let [a, b, c, d] = held.interface.to_ne_bytes();
    [IPV4, held.prefix, 0, 0, a, b, c, d]
}

fn read(payload: &[u8]) -> Option<Held> {
    let body = payload.get(8..)?;
    let octets: [u8; 4] = attribute(body, LOCAL).or_else(|| attribute(body, ADDRESS))?.try_into().ok()?;
    Some(Held { address: octets.into(), prefix: *payload.get(1)?, interface: number(payload, 4)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_covers_what_lies_in_it() {
        let held = |prefix| Held { address: Ipv4Addr::new(192, 168, 33, 101), prefix, interface: 2 };
        assert!(held(24).covers(Ipv4Addr::new(192, 168, 33, 100)));
        assert!(!held(24).covers(Ipv4Addr::new(192, 168, 34, 100)));
        assert!(!held(32).covers(Ipv4Addr::new(192, 168, 33, 100)));
        assert!(held(0).covers(Ipv4Addr::new(10, 0, 0, 1)));
    }
}
