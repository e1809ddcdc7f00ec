//! VRRP advertisements on the wire: version 2 (RFC 3768, with the authentication field of RFC 2338) and
//! version 3 (RFC 5798, RFC 9568), over IPv4.
//!
//! ```text
//!         0          1       2         3          4                5            6..8       8..
//! v2   0x21         VRID  priority  count   authentication type  seconds      checksum   addresses, 8 bytes
//! v3   0x31         VRID  priority  count   4 bits reserved, 12 bits of 1/100 s  "        addresses
//! ```
//!
//! The checksum of version 3 over IPv4 is the trap: keepalived, FRR, MikroTik and tcpdump include a
//! pseudo header, while RFC 9568 section 5.2.8, Cisco and Juniper do not. So: send it with the pseudo header,
//! accept both, and report which one the peer uses. Never skip it.
//!
//! CARP (the BSDs) has the same protocol number and the same first byte as version 2; it is told apart so
//! that nobody looks for a broken VRRP router.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// IP protocol number, of VRRP and CARP alike.
pub const PROTOCOL: u8 = 112;
/// Where multicast advertisements go (RFC 9568 section 5.1.1.2).
pub const MULTICAST_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// What the TTL must be (RFC 9568 section 5.1.1.3): a router on the way would have lowered it.
pub const TTL: u8 = 255;

const HEADER: usize = 8;
const AUTHENTICATION: usize = 8;
const TYPE_ADVERTISEMENT: u8 = 1;
const CARP_LENGTH: usize = 36;
const CARP_AUTHENTICATION_WORDS: u8 = 7;

/// Protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 3768: whole seconds, optional password.
    V2,
    /// RFC 5798 and 9568: hundredths of a second.
    V3,
}

impl Version {
    /// From the configured number; `None` unless 2 or 3.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            _ => None,
        }
    }

    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// The password of version 2, padded with zeros. It travels in clear text; it only keeps strangers apart.
#[derive(Clone)]
pub struct Password([u8; AUTHENTICATION]);

impl Password {
    /// Takes the first 8 bytes, as keepalived does.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; AUTHENTICATION];
        for (target, byte) in bytes.iter_mut().zip(text.bytes()) {
            *target = byte;
        }
        Self(bytes)
    }

    /// Takes the same time wherever the difference is.
    fn equals(&self, other: &[u8]) -> bool {
        let difference = self.0.iter().zip(other).fold(0, |all, (left, right)| all | (left ^ right));
        other.len() == AUTHENTICATION && std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password([REDACTED])")
    }
}

/// What one advertisement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Protocol version.
    pub version: Version,
    /// 1 to 255.
    pub virtual_router_id: u8,
    /// 0 resigns, 255 owns the addresses.
    pub priority: u8,
    /// v3: 10 ms to 40.95 s in steps of 10 ms; v2: 1 s to 255 s in whole seconds.
    pub interval: Duration,
    /// In the order of the configuration; receivers compare them as a set. 255 at most.
    pub addresses: Vec<Ipv4Addr>,
}

/// Which bytes the checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumForm {
    /// The message and an IPv4 pseudo header: keepalived, FRR, MikroTik.
    PseudoHeader,
    /// The message alone: every v2; v3 by the letter of RFC 9568, Cisco, Juniper.
    Message,
}

/// What the receiver knows about a packet beside its payload, and what it expects.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// From the IP header.
    pub source: Ipv4Addr,
    /// From the IP header.
    pub destination: Ipv4Addr,
    /// From the IP header.
    pub ttl: u8,
    /// Accept a TTL below 255.
    pub accept_lower_ttl: bool,
    /// Ours.
    pub version: Version,
    /// Ours.
    pub virtual_router_id: u8,
    /// Ours; version 2 only.
    pub password: Option<&'a Password>,
    /// Ours, in any order.
    pub addresses: &'a [Ipv4Addr],
}

/// A valid advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it says.
    pub advertisement: Advertisement,
    /// How its checksum was made.
    pub checksum: ChecksumForm,
    /// Its addresses are exactly ours, in whatever order. A difference is an alarm, no rejection: rejecting
    /// would make two masters of one typing error.
    pub addresses_match: bool,
}

/// Why a packet is no advertisement for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The IP header is incomplete, or contradicts the packet's length.
    #[error("the IP header is malformed")]
    IpHeader,
    /// Unicast, and not from the configured peer: perhaps another pair with the same virtual router id.
    #[error("it comes from {0}, which is not the configured peer; do two pairs share a virtual router id?")]
    ForeignSource(Ipv4Addr),
    /// Incomplete, or bytes left over.
    #[error("{actual} bytes instead of {expected}")]
    Length {
        /// As the address count and the version demand.
        expected: usize,
        /// As received.
        actual: usize,
    },
    /// A CARP packet, which looks like VRRP version 2.
    #[error("it is CARP, which shares the protocol number; no VRRP router of ours")]
    Carp,
    /// Another version than configured.
    #[error("version {0}; set `vrrp.version` alike on both nodes")]
    Version(u8),
    /// Not an advertisement.
    #[error("type {0} is no advertisement")]
    Type(u8),
    /// It crossed a router, or is forged.
    #[error("TTL {0} instead of 255; `vrrp.accept_lower_ttl = true` accepts routed unicast")]
    Ttl(u8),
    /// Neither form of checksum is right.
    #[error("the checksum is wrong")]
    Checksum,
    /// Another virtual router.
    #[error("virtual router id {0} is not ours")]
    VirtualRouterId(u8),
    /// Another type of authentication, or another password.
    #[error("the authentication differs; set `vrrp.auth_pass_file` alike on both nodes")]
    Authentication,
    /// RFC 9568 erratum 8301.
    #[error("interval 0")]
    Interval,
    /// RFC 9568 erratum 8299.
    #[error("no address")]
    Count,
}

impl Rejection {
    /// Every value of [`Self::reason`].
    pub const REASONS: [&str; 12] = [
        "ip_header",
        "foreign_source",
        "length",
        "carp",
        "version",
        "type",
        "ttl",
        "checksum",
        "virtual_router_id",
        "authentication",
        "interval",
        "count",
    ];

    /// The label of the metric `adverts_rejected_total`.
    pub fn reason(&self) -> &'static str {
        Self::REASONS[self.reason_index()]
    }

    /// The place of [`Self::reason`] in [`Self::REASONS`], for tables of counters.
    pub fn reason_index(&self) -> usize {
        match self {
            Self::IpHeader => 0,
            Self::ForeignSource(_) => 1,
            Self::Length { .. } => 2,
            Self::Carp => 3,
            Self::Version(_) => 4,
            Self::Type(_) => 5,
            Self::Ttl(_) => 6,
            Self::Checksum => 7,
            Self::VirtualRouterId(_) => 8,
            Self::Authentication => 9,
            Self::Interval => 10,
            Self::Count => 11,
        }
    }
}

/// Builds the payload of one IP packet. An interval out of range is brought into it, and addresses beyond
/// the 255th are left out: the configuration refuses both. `password` counts for version 2 only.
pub fn encode(
    advertisement: &Advertisement,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    password: Option<&Password>,
) -> Vec<u8> {
    let count = advertisement.addresses.len().min(255);
    let mut message = Vec::with_capacity(HEADER + 4 * count + AUTHENTICATION);
    message.push(advertisement.version.number() << 4 | TYPE_ADVERTISEMENT);
    message.push(advertisement.virtual_router_id);
    message.push(advertisement.priority);
    message.push(u8::try_from(count).expect("255 at most, by the line above"));
    match advertisement.version {
        Version::V2 => {
            message.push(u8::from(password.is_some()));
            message.push(u8::try_from(advertisement.interval.as_secs().clamp(1, 255)).expect("clamped"));
        }
        Version::V3 => {
            let hundredths = (advertisement.interval.as_millis() / 10).clamp(1, 0x0fff);
            message.extend_from_slice(&u16::try_from(hundredths).expect("clamped").to_be_bytes());
        }
    }
    message.extend_from_slice(&[0, 0]);
    for address in &advertisement.addresses[..count] {
        message.extend_from_slice(&address.octets());
    }
    let start = match advertisement.version {
        Version::V2 => {
            // The eight bytes are there without a password too, or keepalived rejects the length.
            message.extend_from_slice(&password.map_or([0; AUTHENTICATION], |password| password.0));
            0
        }
        Version::V3 => pseudo_header(source, destination, message.len()),
    };
    let checksum = !ones_complement_sum(start, &message);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Checks and reads the payload of one IP packet. The order of the checks is the order of trust: what the
/// packet is, whether it is whole, whether it is for us, and only then what it says.
pub fn decode(message: &[u8], context: &Context<'_>) -> Result<Decoded, Rejection> {
    let Some((header, rest)) = message.split_first_chunk::<HEADER>() else {
        return Err(Rejection::Length { expected: HEADER, actual: message.len() });
    };
    let [version_and_type, virtual_router_id, priority, count, fourth, fifth, _, _] = *header;
    if version_and_type == 0x21 && message.len() == CARP_LENGTH && count == CARP_AUTHENTICATION_WORDS {
        return Err(Rejection::Carp);
    }
    if version_and_type >> 4 != context.version.number() {
        return Err(Rejection::Version(version_and_type >> 4));
    }
    if version_and_type & 0x0f != TYPE_ADVERTISEMENT {
        return Err(Rejection::Type(version_and_type & 0x0f));
    }
    let tail = if context.version == Version::V2 { AUTHENTICATION } else { 0 };
    let expected = HEADER + 4 * usize::from(count) + tail;
    if message.len() != expected {
        return Err(Rejection::Length { expected, actual: message.len() });
    }
    if context.ttl != TTL && !context.accept_lower_ttl {
        return Err(Rejection::Ttl(context.ttl));
    }
    let checksum = verify_checksum(message, context).ok_or(Rejection::Checksum)?;
    if virtual_router_id != context.virtual_router_id {
        return Err(Rejection::VirtualRouterId(virtual_router_id));
    }
    let (addresses, authentication) = rest.split_at(4 * usize::from(count));
    let interval = match context.version {
        Version::V2 => {
            verify_authentication(fourth, authentication, context.password)?;
            Duration::from_secs(u64::from(fifth))
        }
        // The four reserved bits are ignored on receipt (RFC 9568 section 5.2.6).
        Version::V3 => Duration::from_millis(u64::from(u16::from_be_bytes([fourth & 0x0f, fifth])) * 10),
    };
    if interval.is_zero() {
        return Err(Rejection::Interval);
    }
    if count == 0 {
        return Err(Rejection::Count);
    }
    let addresses: Vec<Ipv4Addr> =
        addresses.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from_octets(*octets)).collect();
    let addresses_match = same_set(&addresses, context.addresses);
    let advertisement =
        Advertisement { version: context.version, virtual_router_id, priority, interval, addresses };
    Ok(Decoded { advertisement, checksum, addresses_match })
}

fn verify_checksum(message: &[u8], context: &Context<'_>) -> Option<ChecksumForm> {
    // A message with a right checksum sums up to all ones.
    let start = pseudo_header(context.source, context.destination, message.len());
    if context.version == Version::V3 && ones_complement_sum(start, message) == 0xffff {
        return Some(ChecksumForm::PseudoHeader);
    }
    (ones_complement_sum(0, message) == 0xffff).then_some(ChecksumForm::Message)
}

fn verify_authentication(kind: u8, data: &[u8], password: Option<&Password>) -> Result<(), Rejection> {
    let accepted = match password {
        // The data is ignored without authentication (RFC 3768 section 5.3.6.1).
        None => kind == 0,
        Some(password) => kind == 1 && password.equals(data),
    };
    if accepted { Ok(()) } else { Err(Rejection::Authentication) }
}

fn same_set(left: &[Ipv4Addr], right: &[Ipv4Addr]) -> bool {
    left.iter().all(|address| right.contains(address)) && right.iter().all(|address| left.contains(address))
}

/// The sum of the IPv4 pseudo header: source, destination, zero, protocol, length (RFC 5798 section 5.2.8).
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> u32 {
    let length =
        u16::try_from(length).expect("a message has 8 + 4 * 255 + 8 bytes at most, or came in one packet");
    let mut sum = u32::from(PROTOCOL) + u32::from(length);
    for address in [source, destination] {
        sum += (address.to_bits() >> 16) + (address.to_bits() & 0xffff);
    }
    sum
}

/// The sum of RFC 1071, without the final complement. `bytes` are 64 KiB at most, so it cannot overflow.
fn ones_complement_sum(start: u32, bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut sum = start + pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum::<u32>();
    sum += odd.first().map_or(0, |byte| u32::from(*byte) << 8);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from(sum).expect("two folds leave 16 bits")
}

#[cfg(test)]
#[path = "advert_tests.rs"]
mod tests;
