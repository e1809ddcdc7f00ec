//! ICMP echo (RFC 792): the question "are you there?" to a gateway, and its answer.

use pnet::packet::Packet;
use pnet::packet::icmp::echo_reply::EchoReplyPacket;
use pnet::packet::icmp::echo_request::MutableEchoRequestPacket;
use pnet::packet::icmp::{IcmpPacket, IcmpTypes, checksum};

/// Length of a request.
pub const LENGTH: usize = 8;

/// One echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Tells programs apart.
    pub identifier: u16,
    /// Tells questions apart.
    pub sequence: u16,
}

impl Echo {
    /// The payload of an IP packet that asks.
    pub fn request(self) -> [u8; LENGTH] {
        let mut message = [0; LENGTH];
        let mut request = MutableEchoRequestPacket::new(&mut message).expect("8 bytes are an echo request");
        request.set_icmp_type(IcmpTypes::EchoRequest);
        request.set_identifier(self.identifier);
        request.set_sequence_number(self.sequence);
        let sum = checksum(&IcmpPacket::new(request.packet()).expect("8 bytes are an ICMP packet"));
        request.set_checksum(sum);
        message
    }

    /// Reads the payload of an IP packet; `None` unless it is an intact echo reply.
    pub fn parse_reply(message: &[u8]) -> Option<Self> {
        let reply = EchoReplyPacket::new(message)?;
        let intact = reply.get_checksum() == checksum(&IcmpPacket::new(message)?);
        (intact && reply.get_icmp_type() == IcmpTypes::EchoReply)
            .then(|| Self { identifier: reply.get_identifier(), sequence: reply.get_sequence_number() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_what_ping_sends() {
        // type 8, code 0, checksum, identifier 0x1234, sequence 1
        let expected = [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1];
        assert_eq!(Echo { identifier: 0x1234, sequence: 1 }.request(), expected);
        assert_eq!(Echo::parse_reply(&expected), None, "a request is no reply");
    }

    #[test]
    fn an_intact_reply_is_read_and_a_damaged_one_is_not() {
        // As above with type 0: the checksum grows by 0x0800.
        let mut reply = [0, 0, 0xed, 0xca, 0x12, 0x34, 0, 1];
        assert_eq!(Echo::parse_reply(&reply), Some(Echo { identifier: 0x1234, sequence: 1 }));
        assert_eq!(Echo::parse_reply(&reply[..7]), None);
        reply[7] = 2;
        assert_eq!(Echo::parse_reply(&reply), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic(message in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Echo::parse_reply(&message);
        }
    }
}
