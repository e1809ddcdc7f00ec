//! Golden vectors of seven independent origins, forged packets, and what holds for any bytes.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr};

const OURS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 100), Ipv4Addr::new(10, 77, 0, 101)];
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

fn context(version: Version) -> Context<'static> {
    Context {
        source: SOURCE,
        destination: DESTINATION,
        ttl: 255,
        accept_lower_ttl: false,
        version,
        virtual_router_id: 51,
        password: None,
        addresses: &OURS,
    }
}

fn advertisement(version: Version) -> Advertisement {
    Advertisement {
        version,
        virtual_router_id: 51,
        priority: 150,
        interval: Duration::from_secs(1),
        addresses: OURS.to_vec(),
    }
}

fn message(version: Version) -> Vec<u8> {
    encode(&advertisement(version), SOURCE, DESTINATION, None)
}

/// Makes the checksum right again after a change, so that the change itself is what is judged.
fn resummed(mut message: Vec<u8>) -> Vec<u8> {
    message[6..8].fill(0);
    let start = if message[0] >> 4 == 3 { pseudo_header(SOURCE, DESTINATION, message.len()) } else { 0 };
    let checksum = !ones_complement_sum(start, &message);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    message
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn vectors() -> Vec<Value> {
    let text = include_str!("../../tests/data/vrrp-vectors.json");
    serde_json::from_str(text).unwrap()
}

fn number(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap_or_else(|| panic!("{} has no {key}", vector["name"]))
}

fn ip(vector: &Value, key: &str) -> Option<IpAddr> {
    vector[key].as_str().map(|text| text.parse().unwrap())
}

#[test]
fn every_vector_decodes_to_what_it_says_and_encodes_to_its_bytes() {
    let mut decoded = 0;
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let message = bytes(vector["hex"].as_str().unwrap());
        if vector.get("trailer").is_some() {
            continue; // `the_hmac_trailer_of_keepalived_is_named_by_its_length`
        }
        if name.contains("v6") {
            six(&vector, &message);
            continue;
        }
        let four = |key, default| match ip(&vector, key) {
            Some(IpAddr::V4(address)) => address,
            None => default,
            Some(IpAddr::V6(_)) => panic!("{name}"),
        };
        let version = Version::from_number(number(&vector, "version") as u8).unwrap();
        let password = name
            .contains("pass")
            .then(|| Password::new(if name.starts_with("mt") { "abcdefgh" } else { "secret12" }));
        let context = Context {
            source: four("src", SOURCE),
            destination: four("dst", MULTICAST_GROUP),
            virtual_router_id: number(&vector, "vrid") as u8,
            password: password.as_ref(),
            ..context(version)
        };
        if name == "pcpp-v2-noauthdata" {
            let expected = Rejection::Length { expected: 28, actual: 20 };
            assert_eq!(decode(&message, &context), Err(expected), "{name}");
            continue;
        }
        let got = decode(&message, &context).unwrap_or_else(|error| panic!("{name}: {error}"));
        let unit = if vector["unit"] == "s" { 1000 } else { 10 };
        assert_eq!(
            got.advertisement.interval,
            Duration::from_millis(number(&vector, "adver") * unit),
            "{name}"
        );
        assert_eq!(u64::from(got.advertisement.priority), number(&vector, "priority"), "{name}");
        assert_eq!(got.advertisement.addresses.len() as u64, number(&vector, "count"), "{name}");
        let form = match vector["checksum_form"].as_str().unwrap() {
            "pseudo" => ChecksumForm::PseudoHeader,
            "message" => ChecksumForm::Message,
            other => panic!("{name}: {other}"),
        };
        assert_eq!(got.checksum, form, "{name}");
        assert_eq!(got.addresses_match, got.advertisement.addresses == OURS, "{name}");
        if version == Version::V2 || form == ChecksumForm::PseudoHeader {
            let again = encode(&got.advertisement, context.source, context.destination, context.password);
            assert_eq!(again, message, "{name}");
        }
        decoded += 1;
    }
    assert_eq!(decoded, 19, "no vector may fall out unseen");
}

/// IPv6 comes later; until then such a message is refused, and its sum shows that the arithmetic holds.
fn six(vector: &Value, message: &[u8]) {
    let name = vector["name"].as_str().unwrap();
    let virtual_router_id = number(vector, "vrid") as u8;
    let context = Context { virtual_router_id, ..context(Version::V3) };
    assert!(matches!(decode(message, &context), Err(Rejection::Length { .. })), "{name}");
    if vector["checksum_form"] == "unknown" {
        return;
    }
    let group: Ipv6Addr = "ff02::12".parse().unwrap();
    let Some(IpAddr::V6(source)) = ip(vector, "src") else { panic!("{name}") };
    let pseudo: u32 = source.segments().iter().chain(&group.segments()).map(|word| u32::from(*word)).sum();
    let start = pseudo + u32::from(PROTOCOL) + message.len() as u32;
    assert_eq!(ones_complement_sum(start, message), 0xffff, "{name}");
}

#[test]
fn the_hmac_trailer_of_keepalived_is_named_by_its_length() {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["name"] == "auth-hmac-ip4").unwrap();
    let mut message = bytes(vector["hex"].as_str().unwrap());
    let context = Context { source: Ipv4Addr::new(198, 51, 100, 10), ..context(Version::V3) };
    assert!(decode(&message, &context).is_ok());
    message.extend(bytes(vector["trailer"].as_str().unwrap()));
    assert_eq!(decode(&message, &context), Err(Rejection::Length { expected: 12, actual: 40 }));
}

/// `(what, bytes, context)` and why it must be rejected.
#[test]
fn forged_packets_are_rejected_for_the_right_reason() {
    fn with(version: Version, place: usize, value: u8) -> Vec<u8> {
        let mut message = message(version);
        message[place] = value;
        resummed(message)
    }
    fn cut(version: Version, length: usize) -> Vec<u8> {
        message(version)[..length].to_vec()
    }
    let (v2, v3) = (Version::V2, Version::V3);
    let mut broken_sum = message(v3);
    broken_sum[7] ^= 1;
    let mut trailing = message(v3);
    trailing.extend([0; 8]);
    let no_address =
        encode(&Advertisement { addresses: vec![], ..advertisement(v3) }, SOURCE, DESTINATION, None);
    let length = |expected, actual| Rejection::Length { expected, actual };
    let table = [
        ("nothing", vec![], v3, length(8, 0)),
        ("7 bytes", cut(v3, 7), v3, length(8, 7)),
        ("header only", cut(v3, 8), v3, length(16, 8)),
        ("half an address", cut(v3, 14), v3, length(16, 14)),
        ("8 bytes too many", resummed(trailing), v3, length(16, 24)),
        ("count larger", with(v3, 3, 3), v3, length(20, 16)),
        ("count smaller", with(v3, 3, 1), v3, length(12, 16)),
        ("no address", no_address, v3, Rejection::Count),
        ("version 2 to version 3", message(v2), v3, Rejection::Version(2)),
        ("version 3 to version 2", message(v3), v2, Rejection::Version(3)),
        ("version 4", with(v3, 0, 0x41), v3, Rejection::Version(4)),
        ("type 2", with(v3, 0, 0x32), v3, Rejection::Type(2)),
        ("wrong checksum", broken_sum, v3, Rejection::Checksum),
        ("another router", with(v3, 1, 52), v3, Rejection::VirtualRouterId(52)),
        ("interval 0, version 2", with(v2, 5, 0), v2, Rejection::Interval),
        ("interval 0, version 3", with(v3, 5, 0), v3, Rejection::Interval),
        (
            "interval 0 behind reserved bits",
            resummed({
                let mut message = message(v3);
                message[4] = 0xf0;
                message[5] = 0;
                message
            }),
            v3,
            Rejection::Interval,
        ),
        ("password where none is set", with(v2, 4, 1), v2, Rejection::Authentication),
        ("version 2 without its 8 bytes", cut(v2, 16), v2, length(24, 16)),
    ];
    for (what, message, version, expected) in table {
        assert_eq!(decode(&message, &context(version)), Err(expected), "{what}");
    }
}

#[test]
fn a_ttl_below_255_is_rejected_unless_allowed() {
    let routed = Context { ttl: 254, ..context(Version::V3) };
    assert_eq!(decode(&message(Version::V3), &routed), Err(Rejection::Ttl(254)));
    let allowed = Context { accept_lower_ttl: true, ..routed };
    assert!(decode(&message(Version::V3), &allowed).is_ok());
}

#[test]
fn carp_is_called_carp() {
    // OpenBSD, print-carp.c: version 2, type 1, vhid, advskew, authlen 7, pad, advbase, sum, counter, SHA-1.
    let mut carp = vec![0x21, 51, 0, 7, 0, 1, 0, 0];
    carp.resize(36, 0xa5);
    for version in [Version::V2, Version::V3] {
        assert_eq!(decode(&carp, &context(version)), Err(Rejection::Carp));
    }
}

#[test]
fn passwords_must_be_equal_and_are_never_shown() {
    let password = Password::new("secret12-and-more");
    let sent = encode(&advertisement(Version::V2), SOURCE, DESTINATION, Some(&password));
    let check = |password: Option<Password>| {
        let context = Context { password: password.as_ref(), ..context(Version::V2) };
        decode(&sent, &context).map(|_| ())
    };
    assert_eq!(check(Some(Password::new("secret12"))), Ok(()), "the first eight bytes count");
    for other in ["secret1", "secret13", "Secret12", ""] {
        assert_eq!(check(Some(Password::new(other))), Err(Rejection::Authentication), "{other}");
    }
    assert_eq!(check(None), Err(Rejection::Authentication));
    let without = message(Version::V2);
    let expected = Context { password: Some(&password), ..context(Version::V2) };
    assert_eq!(decode(&without, &expected), Err(Rejection::Authentication));
    assert!(!format!("{password:?}").contains("secret"));
}

#[test]
fn another_address_list_is_reported_and_not_rejected() {
    for (addresses, matches) in [
        (vec![OURS[1], OURS[0]], true),
        (vec![OURS[0]], false),
        (vec![OURS[0], OURS[1], SOURCE], false),
        (vec![OURS[0], SOURCE], false),
    ] {
        let sent = encode(
            &Advertisement { addresses: addresses.clone(), ..advertisement(Version::V3) },
            SOURCE,
            DESTINATION,
            None,
        );
        let got = decode(&sent, &context(Version::V3)).unwrap();
        assert_eq!(got.addresses_match, matches, "{addresses:?}");
    }
}

#[test]
fn a_checksum_without_pseudo_header_is_accepted_in_version_3_and_named() {
    let mut sent = message(Version::V3);
    sent[6..8].fill(0);
    let checksum = !ones_complement_sum(0, &sent);
    sent[6..8].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(checksum, 0x2303, "as measured");
    assert_eq!(decode(&sent, &context(Version::V3)).unwrap().checksum, ChecksumForm::Message);
}

#[test]
fn reserved_bits_are_ignored() {
    let mut sent = message(Version::V3);
    sent[4] |= 0xf0;
    let got = decode(&resummed(sent), &context(Version::V3)).unwrap();
    assert_eq!(got.advertisement.interval, Duration::from_secs(1));
}

#[test]
fn reasons_are_distinct_words() {
    let mut reasons = Rejection::REASONS.to_vec();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), Rejection::REASONS.len());
    assert_eq!(Rejection::Ttl(1).reason(), "ttl");
    assert_eq!(Rejection::Count.reason(), "count");
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V2), Just(Version::V3)]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        version in any_version(),
        virtual_router_id in 1..=255_u8,
        priority: u8,
        steps in 1..=4095_u64,
        addresses in prop::collection::vec(any::<u32>().prop_map(Ipv4Addr::from_bits), 1..=255),
        source: u32,
        destination: u32,
        password in prop::option::of("[a-z]{0,10}"),
    ) {
        let (source, destination) = (Ipv4Addr::from_bits(source), Ipv4Addr::from_bits(destination));
        let password = password.as_deref().map(Password::new).filter(|_| version == Version::V2);
        let interval = match version {
            Version::V2 => Duration::from_secs(steps % 255 + 1),
            Version::V3 => Duration::from_millis(steps * 10),
        };
        let sent = Advertisement { version, virtual_router_id, priority, interval, addresses };
        let message = encode(&sent, source, destination, password.as_ref());
        let context = Context {
            source, destination, virtual_router_id, password: password.as_ref(),
            addresses: &sent.addresses, ..context(version)
        };
        let got = decode(&message, &context).unwrap();
        prop_assert_eq!(&got.advertisement, &sent);
        prop_assert!(got.addresses_match);
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(
        message in prop::collection::vec(any::<u8>(), 0..1200),
        version in any_version(),
    ) {
        let _ = decode(&message, &context(version));
    }

    /// Any single changed byte of a valid message is noticed, except where the change is not in what is
    /// checked: nothing is exempt in version 3 with its checksum over all.
    #[test]
    fn any_single_flip_is_noticed(place in 0..16_usize, flip in 1..=255_u8) {
        let mut sent = message(Version::V3);
        sent[place] ^= flip;
        prop_assert!(decode(&sent, &context(Version::V3)).is_err());
    }

    #[test]
    fn intervals_out_of_range_are_brought_into_it(version in any_version(), milliseconds in 0..10_000_000_u64) {
        let interval = Duration::from_millis(milliseconds);
        let message = encode(&Advertisement { interval, ..advertisement(version) }, SOURCE, DESTINATION, None);
        prop_assert!(decode(&message, &context(version)).is_ok());
    }
}
