//! ARP over Ethernet (RFC 826), and the two special packets of RFC 5227: the announcement ("gratuitous
//! ARP") and the probe.
//!
//! An announcement is a *request*: Linux ignores an unasked reply to the broadcast address for the first
//! second after the last change of a neighbour (measured; net/ipv4/arp.c `arp_is_garp` and locktime), while a
//! request overrides at once.

use pnet::packet::MutablePacket;
use pnet::packet::Packet;
use pnet::packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use std::net::Ipv4Addr;

pub use pnet::util::MacAddr;

/// EtherType of ARP.
pub const ETHERTYPE: u16 = 0x0806;
/// Length of an Ethernet frame with one ARP packet, before the driver pads it.
pub const FRAME: usize = 14 + 28;

/// What an ARP packet asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// One ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Who sent it.
    pub sender_hardware: MacAddr,
    /// The address that the sender claims; `0.0.0.0` in a probe.
    pub sender: Ipv4Addr,
    /// Whom it answers; zero in a request.
    pub target_hardware: MacAddr,
    /// The address asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// An announcement: everyone who knows `address` learns that `hardware` has it now.
    pub fn announcement(hardware: MacAddr, address: Ipv4Addr) -> Self {
        // The target hardware address is broadcast, as keepalived sends it; receivers ignore it in a request.
        Self {
            operation: Operation::Request,
            sender_hardware: hardware,
            sender: address,
            target_hardware: MacAddr::broadcast(),
            target: address,
        }
    }

    /// A probe (RFC 5227 section 2.1.1): who has `address`? It claims nothing, so no neighbour learns from it.
    pub fn probe(hardware: MacAddr, address: Ipv4Addr) -> Self {
        Self::request(hardware, Ipv4Addr::UNSPECIFIED, address)
    }

    /// An ordinary request.
    pub fn request(hardware: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_hardware: hardware,
            sender,
            target_hardware: MacAddr::zero(),
            target,
        }
    }

    /// The broadcast Ethernet frame that carries it.
    pub fn frame(&self) -> [u8; FRAME] {
        let mut frame = [0; FRAME];
        let mut ethernet = MutableEthernetPacket::new(&mut frame).expect("a frame has an Ethernet header");
        ethernet.set_destination(MacAddr::broadcast());
        ethernet.set_source(self.sender_hardware);
        ethernet.set_ethertype(EtherTypes::Arp);
        let mut arp = MutableArpPacket::new(ethernet.payload_mut()).expect("28 bytes are an ARP packet");
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(match self.operation {
            Operation::Request => ArpOperations::Request,
            Operation::Reply => ArpOperations::Reply,
        });
        arp.set_sender_hw_addr(self.sender_hardware);
        arp.set_sender_proto_addr(self.sender);
        arp.set_target_hw_addr(self.target_hardware);
        arp.set_target_proto_addr(self.target);
        frame
    }

    /// Reads an Ethernet frame; `None` unless it is ARP for IPv4 over Ethernet. Padding is ignored.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        const REQUEST: ArpOperation = ArpOperations::Request;
        const REPLY: ArpOperation = ArpOperations::Reply;
        let ethernet = EthernetPacket::new(frame)?;
        if ethernet.get_ethertype() != EtherTypes::Arp {
            return None;
        }
        let arp = ArpPacket::new(ethernet.payload())?;
        let ethernet_for_ipv4 = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
            && arp.get_protocol_type() == EtherTypes::Ipv4
            && arp.get_hw_addr_len() == 6
            && arp.get_proto_addr_len() == 4;
        let operation = match arp.get_operation() {
            REQUEST => Operation::Request,
            REPLY => Operation::Reply,
            _ => return None,
        };
        ethernet_for_ipv4.then(|| Self {
            operation,
            sender_hardware: arp.get_sender_hw_addr(),
            sender: arp.get_sender_proto_addr(),
            target_hardware: arp.get_target_hw_addr(),
            target: arp.get_target_proto_addr(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);
    const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

    #[test]
    fn an_announcement_is_the_request_that_keepalived_sends() {
        let expected = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, // Ethernet
            0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, lengths, request
            2, 0, 0, 0, 0, 1, 10, 77, 0, 100, // sender
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 10, 77, 0, 100, // target
        ];
        assert_eq!(Arp::announcement(MAC, VIP).frame(), expected);
    }

    #[test]
    fn a_probe_claims_nothing() {
        let probe = Arp::parse(&Arp::probe(MAC, VIP).frame()).unwrap();
        assert_eq!((probe.sender, probe.target), (Ipv4Addr::UNSPECIFIED, VIP));
        assert_eq!(probe.target_hardware, MacAddr::zero());
        assert_eq!(probe.operation, Operation::Request);
    }

    #[test]
    fn padding_is_ignored_and_anything_else_is_no_arp() {
        let frame = Arp::request(MAC, Ipv4Addr::new(10, 77, 0, 1), VIP).frame();
        let mut padded = frame.to_vec();
        padded.resize(60, 0);
        assert_eq!(Arp::parse(&padded), Arp::parse(&frame));
        assert!(Arp::parse(&frame).is_some());
        // EtherType, hardware type, protocol type, lengths, operation.
        for place in [12, 13, 14, 15, 16, 17, 18, 19, 20] {
            let mut other = frame;
            other[place] ^= 0x40;
            assert_eq!(Arp::parse(&other), None, "byte {place}");
        }
        assert_eq!(Arp::parse(&frame[..41]), None);
    }

    proptest! {
        #[test]
        fn what_is_framed_is_parsed(reply: bool, mac: [u8; 6], sender: u32, other: [u8; 6], target: u32) {
            let arp = Arp {
                operation: if reply { Operation::Reply } else { Operation::Request },
                sender_hardware: MacAddr::from(mac),
                sender: Ipv4Addr::from_bits(sender),
                target_hardware: MacAddr::from(other),
                target: Ipv4Addr::from_bits(target),
            };
            prop_assert_eq!(Arp::parse(&arp.frame()), Some(arp));
        }

        #[test]
        fn any_bytes_are_answered_without_a_panic(frame in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Arp::parse(&frame);
        }
    }
}
