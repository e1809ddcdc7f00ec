//! Resets TCP connections by sock_diag (sock_diag(7), SOCK_DESTROY; needs CONFIG_INET_DIAG_DESTROY).
//!
//! The client gets a reset at once instead of a hang, as long as the address is still local; the server's
//! thread gets ECONNABORTED and ends the session.

use super::netlink::{Builder, NetlinkError, Socket};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TCP: u8 = 6;
/// Every state with a peer: not CLOSE (7), LISTEN (10) or TIME_WAIT (6).
const CONNECTED_STATES: u32 = 0b1_1011_0011_1110;
const IDENTITY: usize = 48;

/// One TCP connection, seen from this host. An IPv4 address that a dual-stack socket shows as
/// `::ffff:a.b.c.d` is given as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

/// A socket that finds and resets connections.
#[derive(Debug)]
pub struct Resetter {
    socket: Socket,
}

impl Resetter {
    /// Opens the socket.
    pub fn new() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(SockProtocol::NetlinkSockDiag)? })
    }

    /// Resets every connection that `matches`; returns how many. EOPNOTSUPP: this kernel cannot.
    pub fn reset(&mut self, matches: impl Fn(&Connection) -> bool) -> Result<usize, NetlinkError> {
        let mut count = 0;
        for family in [IPV4, IPV6] {
            let found = self.socket.dump(BY_FAMILY, |builder| request(builder, family, &[0; IDENTITY]))?;
            for message in found {
                let Some((connection, identity)) = read(&message.payload) else { continue };
                if matches(&connection) && self.destroy(family, &identity)? {
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// False if the connection is gone already.
    fn destroy(&mut self, family: u8, identity: &[u8; IDENTITY]) -> Result<bool, NetlinkError> {
        match self.socket.request(DESTROY, 0, |builder| request(builder, family, identity)) {
            Ok(()) => Ok(true),
            Err(NetlinkError::Refused { errno: Errno::ENOENT | Errno::ENOTCONN, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// struct inet_diag_req_v2.
fn request(builder: &mut Builder, family: u8, identity: &[u8; IDENTITY]) {
    builder.raw(&[family, TCP, 0, 0]);
    builder.raw(&CONNECTED_STATES.to_ne_bytes());
    builder.raw(identity);
}

/// struct inet_diag_msg: family, state, timer, retransmissions, then the identity.
fn read(payload: &[u8]) -> Option<(Connection, [u8; IDENTITY])> {
    let family = *payload.first()?;
    let identity: [u8; IDENTITY] = payload.get(4..4 + IDENTITY)?.try_into().ok()?;
    let end = |port: usize, address: usize| {
        let port = u16::from_be_bytes([identity[port], identity[port + 1]]);
        Some(SocketAddr::new(address_at(&identity, address, family)?, port))
    };
    Some((Connection { local: end(0, 4)?, remote: end(2, 20)? }, identity))
}

fn address_at(identity: &[u8; IDENTITY], offset: usize, family: u8) -> Option<IpAddr> {
    let bytes: [u8; 16] = identity.get(offset..offset + 16)?.try_into().ok()?;
    if family == IPV4 {
        let [a, b, c, d, ..] = bytes;
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let address = Ipv6Addr::from(bytes);
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_read_as_ipv4() {
        let mut payload = vec![IPV6, 1, 0, 0];
        payload.extend_from_slice(&3306u16.to_be_bytes());
        payload.extend_from_slice(&40000u16.to_be_bytes());
        payload.extend_from_slice(&Ipv4Addr::new(10, 0, 0, 100).to_ipv6_mapped().octets());
        payload.extend_from_slice(&Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets());
        payload.extend_from_slice(&[0; 12]);
        let (connection, _) = read(&payload).unwrap();
        assert_eq!(connection.local, "10.0.0.100:3306".parse().unwrap());
        assert_eq!(connection.remote, "10.0.0.9:40000".parse().unwrap());
    }

    #[test]
    fn a_short_answer_is_no_connection() {
        assert!(read(&[IPV4; 20]).is_none());
    }
}
