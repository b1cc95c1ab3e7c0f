//! Packets as bytes: each field at its place, and whatever is malformed refused.

use proptest::prelude::*;
use quorate_stdx::Rng;

use super::*;
use crate::ShardId;

fn id(seed: u64) -> NodeId {
    NodeId::random(&mut Rng::new(seed))
}

fn header() -> Header {
    Header {
        sender: id(1),
        current_epoch: Epoch(0x0102_0304_0506_0708),
        config_epoch: Epoch(9),
        offset: 77,
        slots: [0, 1, 16383].into_iter().collect(),
        primary: None,
        ip: Some("10.0.0.1".into()),
        port: 6379,
        second_port: 0,
        bus_port: 16379,
        flags: NodeFlags::PRIMARY.and(NodeFlags::MYSELF),
        state_ok: true,
        paused: false,
        force_ack: false,
        knows_extensions: true,
    }
}

fn entry(seed: u64) -> Gossip {
    Gossip {
        node: id(seed),
        ping_sent: 1,
        pong_received: 2,
        ip: Some("fe80::1".into()),
        port: 7000,
        second_port: 7001,
        bus_port: 17000,
        flags: NodeFlags::REPLICA.and(NodeFlags::SUSPECTED),
    }
}

fn full(body: Body) -> Packet {
    Packet { header: Some(Box::new(header())), body }
}

/// One of each kind.
fn samples() -> Vec<Packet> {
    let published = |sharded| Published { sharded, channel: b"news".to_vec(), message: vec![0; 300] };
    let extensions = vec![
        Extension::Hostname("a.example".into()),
        Extension::HumanName("one".into()),
        Extension::Forgotten { node: id(7), seconds: 60 },
        Extension::Shard(ShardId::random(&mut Rng::new(8))),
        Extension::ClientIpv4("10.0.0.9".into()),
        Extension::ClientIpv6(String::new()),
        Extension::Unknown(999, vec![1; 16]),
    ];
    let heartbeat = |kind| Body::Heartbeat { kind, entries: vec![entry(2), entry(3)], extensions: extensions.clone() };
    let mut module = vec![0; 13];
    module[11] = 4;
    module.extend([1, 2, 3, 4]);
    vec![
        full(heartbeat(Heartbeat::Ping)),
        full(heartbeat(Heartbeat::Pong)),
        full(Body::Heartbeat { kind: Heartbeat::Meet, entries: Vec::new(), extensions: Vec::new() }),
        full(Body::Fail(id(4))),
        full(Body::Publish(published(false))),
        full(Body::Publish(published(true))),
        Packet { header: None, body: Body::Publish(published(true)) },
        full(Body::AuthRequest),
        full(Body::AuthAck),
        full(Body::Update { config_epoch: Epoch(5), node: id(6), slots: Slots::all() }),
        full(Body::ManualStart),
        full(Body::Module(module)),
    ]
}

fn encoded(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    bytes
}

#[test]
fn what_was_encoded_is_decoded_again() {
    for packet in samples() {
        let bytes = encoded(&packet);
        assert_eq!(length(&bytes), Ok(Some(bytes.len())));
        assert_eq!(Packet::decode(&bytes), Ok(Some(packet)));
    }
}

#[test]
fn each_field_has_its_place() {
    let mut header = header();
    header.primary = Some(id(5));
    header.paused = true;
    header.state_ok = false;
    let bytes = encoded(&Packet { header: Some(Box::new(header)), body: Body::Fail(id(4)) });
    assert_eq!(bytes.len(), HEADER + 40);
    assert_eq!(&bytes[..16], b"RCmb\0\0\x08\xf8\0\x01\x18\xeb\0\x03\0\0");
    assert_eq!(bytes[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((bytes[31], bytes[39]), (9, 77));
    assert_eq!(bytes[40..80], id(1).digits());
    assert_eq!((bytes[80], bytes[2127]), (3, 128));
    assert_eq!(bytes[2128..2168], id(5).digits());
    assert_eq!(&bytes[2168..2177], b"10.0.0.1\0");
    assert_eq!(bytes[2248..2250], 16379u16.to_be_bytes());
    assert_eq!(bytes[2250..2252], [0, 0x11]);
    assert_eq!(bytes[2252..2256], [1, 5, 0, 0]);
    assert_eq!(bytes[2256..], id(4).digits());
}

#[test]
fn lengths_are_those_of_redis() {
    let of = |body| encoded(&full(body)).len();
    assert_eq!(of(Body::AuthRequest), 2256);
    assert_eq!(of(Body::Update { config_epoch: Epoch(0), node: id(1), slots: Slots::none() }), 2256 + 2096);
    let heartbeat = |entries, extensions| Body::Heartbeat { kind: Heartbeat::Ping, entries, extensions };
    assert_eq!(of(heartbeat(vec![entry(1)], vec![])), 2256 + 104);
    assert_eq!(of(heartbeat(vec![], vec![Extension::Shard(id(1))])), 2256 + 48);
    assert_eq!(of(heartbeat(vec![], vec![Extension::Forgotten { node: id(1), seconds: 1 }])), 2256 + 56);
    assert_eq!(of(heartbeat(vec![], vec![Extension::Hostname("1234567".into())])), 2256 + 16);
    assert_eq!(of(heartbeat(vec![], vec![Extension::Hostname("12345678".into())])), 2256 + 24);
    let published = Published { sharded: false, channel: b"c".to_vec(), message: b"m".to_vec() };
    assert_eq!(of(Body::Publish(published.clone())), 2256 + 10);
    assert_eq!(encoded(&Packet { header: None, body: Body::Publish(published) }).len(), 26);
}

#[test]
fn a_packet_of_a_version_or_type_to_come_is_passed_over() {
    let mut bytes = encoded(&full(Body::AuthAck));
    bytes[9] = 2;
    assert_eq!(Packet::decode(&bytes), Ok(None));
    bytes[9] = 1;
    bytes[13] = 11;
    assert_eq!(Packet::decode(&bytes), Ok(None));
}

#[test]
fn a_packet_that_was_cut_off_anywhere_is_refused() {
    for packet in samples() {
        let whole = encoded(&packet);
        let shortest = if packet.header.is_some() { HEADER } else { LIGHT_HEADER };
        for end in 0..whole.len() {
            let mut cut = whole[..end].to_vec();
            assert!(!matches!(Packet::decode(&cut), Ok(Some(_))), "{packet:?} at {end}");
            if end < shortest {
                continue;
            }
            cut[4..8].copy_from_slice(&(end as u32).to_be_bytes());
            assert!(Packet::decode(&cut).is_err(), "{packet:?} at {end} with that length");
        }
    }
}

#[test]
fn counts_and_lengths_that_lie_are_refused() {
    let whole = encoded(&samples()[0]);
    let change = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        Packet::decode(&changed)
    };
    let extensions = HEADER + 2 * 104;
    assert!(change(14, &[255, 255]).is_err(), "entries");
    assert!(change(14, &[0, 0]).is_err(), "entries that are not counted");
    assert!(change(2214, &[255, 255]).is_err(), "extensions");
    assert!(change(2214, &[0, 1]).is_err(), "extensions that are not counted");
    for length in [0u32, 7, 9, 12, u32::MAX, 1 << 20] {
        assert!(change(extensions, &length.to_be_bytes()).is_err(), "an extension of {length} bytes");
    }
    assert_eq!(change(0, b"HTTP"), Err(Malformed::Signature));
    assert_eq!(length(b"GET / HTTP/1.1"), Err(Malformed::Signature));
    assert_eq!(length(b"RC"), Ok(None));
    assert!(change(4, &u32::MAX.to_be_bytes()).is_err());
    assert!(change(40, b"x").is_err(), "a sender that is none");
    assert!(change(2168, b"1\n2").is_err(), "an address with a line's end");
    assert!(change(2168, &[b'1'; 46]).is_err(), "an address without its end");
    let mut published = encoded(&samples()[4]);
    published[HEADER..HEADER + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(Packet::decode(&published).is_err(), "a channel's length");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(kind in 0u16..12, light: bool, counts: (u16, u16), rest in prop::collection::vec(any::<u8>(), 0..3000)) {
        let mut bytes = [&b"RCmb\0\0\0\0\0\x01\0\0\0\0\0\0"[..], &rest].concat();
        let length = (bytes.len() as u32).to_be_bytes();
        bytes[4..8].copy_from_slice(&length);
        bytes[12..14].copy_from_slice(&(kind | if light { LIGHT } else { 0 }).to_be_bytes());
        bytes[14..16].copy_from_slice(&counts.0.to_be_bytes());
        let _ = Packet::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_is_refused_or_read_and_written_alike(sample in 0usize..12, at: prop::sample::Index, to: u8) {
        let mut bytes = encoded(&samples()[sample]);
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(Some(packet)) = Packet::decode(&bytes) {
            let again = encoded(&packet);
            prop_assert_eq!(Packet::decode(&again), Ok(Some(packet)));
        }
    }
}
