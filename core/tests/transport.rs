//! Frames and hellos: the bytes that released versions sent, what is given back whole, and what is refused.

use bytes::Bytes;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, FORMATS, FRAME_HEADER_BYTES_MAX, FRAME_LENGTH_BYTES, FRAME_PARTS_MAX, Format, FormatRange, Frame,
    FrameError, FrameKind, HELLO_BYTES_MAX, Hello, HelloAnswer, HelloError, Notice, PeerAddress,
    PeerIdentity, Refusal,
};
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn identity() -> PeerIdentity {
    PeerIdentity { id: BrokerId(3), incarnation: [0xaa; 16], directory_id: [0xbb; 16] }
}

fn fetch_reply() -> Frame {
    let payload = vec![Bytes::from_static(b"batch"), Bytes::new(), Bytes::from_static(b"es")];
    Frame::with_payload(FrameKind::ReplicaFetchReply, 2, &b"header"[..], payload)
}

/// Without its length prefix.
fn content(frame: &Frame) -> Bytes {
    Format::V1.encode(frame).slice(FRAME_LENGTH_BYTES..)
}

#[test]
fn frames_of_released_versions() {
    let golden = [
        (Frame::new(FrameKind::Quorum, 0, &b"q"[..]), "00000009 01 00 0000 00000001 71"),
        (
            fetch_reply(),
            "00000021 03 02 0003 00000006 00000005 00000000 00000002 686561646572 6261746368 6573",
        ),
        (Notice::KeepAlive.frame(), "00000009 00 00 0000 00000001 00"),
        (Notice::Stopping.frame(), "00000009 00 00 0000 00000001 01"),
        (Notice::Refused(Refusal::Malformed).frame(), "0000000a 00 00 0000 00000002 0204"),
    ];
    for (frame, bytes) in golden {
        let encoded = Format::V1.encode(&frame);
        assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{frame:?}");
        assert_eq!(encoded.len() as u64, frame.wire_bytes(), "{frame:?}");
        assert_eq!(Format::V1.decode(content(&frame)), Ok(frame));
    }
    for (code, kind) in (1..).zip(FrameKind::ALL) {
        assert_eq!(kind.code(), code, "codes stay what they were");
        assert_eq!(FrameKind::of(code), Some(kind));
    }
}

#[test]
fn hellos_of_released_versions() {
    let (aa, bb) = ("aa".repeat(16), "bb".repeat(16));
    let hello = Hello {
        formats: FormatRange { min: 1, max: 1 },
        cluster_id: Some("c1".to_owned()),
        from: identity(),
        to: BrokerId(7),
        class: Class::Bulk,
        address: None,
    };
    assert_eq!(hex(&hello.encode()), format!("485750310029 0101 01026331 06{aa}{bb} 0e 01").replace(' ', ""));
    let blank = Hello { cluster_id: None, class: Class::Control, ..hello.clone() };
    assert_eq!(hex(&blank.encode()), format!("485750310026 0101 00 06{aa}{bb} 0e 00").replace(' ', ""));
    let address = Some(PeerAddress { host: "h".to_owned(), port: 300 });
    let placed = Hello { address, ..hello.clone() };
    let bytes = format!("48575031002d 0101 01026331 06{aa}{bb} 0e 01 0168 ac02").replace(' ', "");
    assert_eq!(hex(&placed.encode()), bytes);
    for hello in [hello, blank, placed] {
        let bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes), Ok(Some((hello, bytes.len()))));
    }
    let refused = |refusal, bytes: &str| (HelloAnswer::Refused(refusal), bytes.to_owned());
    let formats = FormatRange { min: 1, max: 3 };
    let accepted = HelloAnswer::Accepted { format: 1, cluster_id: Some("c1".into()), from: identity() };
    let golden = [
        (accepted, format!("48575031 0027 00 01 01026331 06{aa}{bb}")),
        refused(Refusal::ForeignCluster { ours: "c1".into() }, "48575031 0005 01 00 026331"),
        refused(
            Refusal::IdInUse { id: BrokerId(3), directory_id: [0xbb; 16] },
            &format!("48575031 0013 01 01 06{bb}"),
        ),
        refused(Refusal::UnsupportedFormat { ours: formats }, "48575031 0004 01 02 0103"),
        refused(Refusal::WrongNode { id: BrokerId(2) }, "48575031 0003 01 03 04"),
        refused(Refusal::Malformed, "48575031 0002 01 04"),
        refused(Refusal::Stopping, "48575031 0002 01 05"),
        refused(Refusal::Busy, "48575031 0002 01 06"),
    ];
    for (answer, bytes) in golden {
        let encoded = answer.encode([]);
        assert_eq!(hex(&encoded), bytes.replace(' ', ""), "{answer:?}");
        assert_eq!(HelloAnswer::decode(&encoded), Ok(Some((answer, Vec::new(), encoded.len()))));
    }
}

#[test]
fn who_asks_for_nobody_is_told_where_others_are() {
    let answer = HelloAnswer::Refused(Refusal::WrongNode { id: BrokerId(2) });
    let at = |host: &str, port| PeerAddress { host: host.to_owned(), port };
    let (one, three) = (at("h", 300), at("h", 301));
    let encoded = answer.encode([(BrokerId(1), &one), (BrokerId(3), &three)]);
    assert_eq!(hex(&encoded), "48575031000d010304020168ac02060168ad02");
    let others = vec![(BrokerId(1), one), (BrokerId(3), three)];
    assert_eq!(HelloAnswer::decode(&encoded), Ok(Some((answer.clone(), others, encoded.len()))));

    // As many as there is room for, and none that no hello may name.
    let (long, endless) = (at(&"x".repeat(200), 1), at(&"x".repeat(256), 1));
    let many = (0..9).flat_map(|id| [(BrokerId(id), &long), (BrokerId(100 + id), &endless)]);
    let encoded = answer.encode(many);
    let (_, others, bytes) = HelloAnswer::decode(&encoded).expect("it is one").expect("it is whole");
    assert!(bytes <= HELLO_BYTES_MAX && bytes > HELLO_BYTES_MAX - 205, "{bytes}");
    assert_eq!(others.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn lengths_that_do_not_fit_are_refused_before_anything_is_made_of_them() {
    let decode = |bytes: &[u8]| Format::V1.decode(Bytes::copy_from_slice(bytes));
    let cases: [(&str, &[u8], FrameError); 8] = [
        ("nothing", &[], FrameError::Truncated),
        ("half of the fixed fields", &[1, 0, 0, 0], FrameError::Truncated),
        ("a kind of a later release", &[200, 0, 0, 0, 0, 0, 0, 0], FrameError::Kind(200)),
        ("65,535 parts of nothing", &[1, 0, 0xff, 0xff, 0, 0, 0, 0], FrameError::Parts(65_535)),
        ("16,384 parts in no bytes", &[1, 0, 0x40, 0, 0, 0, 0, 0], FrameError::Truncated),
        (
            "a header of 4 GiB",
            &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            FrameError::HeaderLength(u32::MAX as usize),
        ),
        (
            "two parts of 4 GiB",
            &[1, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7],
            FrameError::Fill { promised: 2 * u64::from(u32::MAX) + 1, present: 1 },
        ),
        ("a byte too many", &[1, 0, 0, 0, 0, 0, 0, 0, 9], FrameError::Fill { promised: 0, present: 1 }),
    ];
    for (story, bytes, error) in cases {
        assert_eq!(decode(bytes), Err(error), "{story}");
    }
}

#[test]
fn frames_beyond_a_limit_are_not_sent() {
    let header = |bytes| Frame::new(FrameKind::Quorum, 0, vec![0; bytes]);
    assert_eq!(header(FRAME_HEADER_BYTES_MAX).check(Class::Control), Ok(()));
    let long = FRAME_HEADER_BYTES_MAX + 1;
    assert_eq!(header(long).check(Class::Control), Err(FrameError::HeaderLength(long)));
    let parts =
        |parts| Frame::with_payload(FrameKind::ReplicaFetchReply, 0, Bytes::new(), vec![Bytes::new(); parts]);
    assert_eq!(parts(FRAME_PARTS_MAX).check(Class::Bulk), Ok(()));
    let many = FRAME_PARTS_MAX + 1;
    assert_eq!(parts(many).check(Class::Bulk), Err(FrameError::Parts(many)));
    // One shared mebibyte, many times over.
    let mebibyte = Bytes::from(vec![0; 1 << 20]);
    let heavy = Frame::with_payload(FrameKind::Quorum, 0, Bytes::new(), vec![mebibyte; 16]);
    assert!(matches!(heavy.check(Class::Control), Err(FrameError::Length(_))), "fixed fields count, too");
    assert_eq!(heavy.check(Class::Bulk), Ok(()));
}

#[test]
fn received_parts_are_slices_of_one_buffer() {
    let bytes = content(&fetch_reply());
    let within = |part: &Bytes| bytes.as_ptr_range().contains(&part.as_ptr());
    let frame = Format::V1.decode(bytes.clone()).expect("it was just encoded");
    assert!(within(&frame.header) && within(&frame.payload[0]) && within(&frame.payload[2]));
}

#[test]
fn a_hello_is_awaited_only_while_it_may_be_one() {
    let hello = Hello {
        formats: FORMATS,
        cluster_id: None,
        from: identity(),
        to: BrokerId(7),
        class: Class::Control,
        address: None,
    };
    let bytes = hello.encode();
    for cut in 0..bytes.len() {
        assert_eq!(Hello::decode(&bytes[..cut]), Ok(None), "{cut} bytes are not enough");
    }
    // A Kafka client that was told the wrong port: a length, then ApiVersions.
    assert_eq!(Hello::decode(&[0, 0, 0, 0x20, 0, 18]), Err(HelloError::Magic([0, 0, 0, 0x20])));
    assert_eq!(
        Hello::decode(b"G"),
        Err(HelloError::Magic([b'G', 0, 0, 0])),
        "an HTTP client, at its first byte"
    );
    assert_eq!(Hello::decode(b"HWP1\xff\xff"), Err(HelloError::Length(6 + 0xffff)));
    assert!(Hello::decode(b"HWP1\x00\x00").is_err(), "whole, and empty");
    // A cluster id of 2^63 bytes.
    let endless = b"HWP1\x00\x0d\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00";
    assert_eq!(Hello::decode(endless), Err(HelloError::Malformed));
    assert!(bytes.len() < HELLO_BYTES_MAX / 2, "room for later releases");
}

#[test]
fn notices_of_a_later_release_are_passed_over() {
    let later = Frame::new(FrameKind::Link, 0, vec![3, 1, 2]);
    assert_eq!(Notice::decode(&later), Ok(None));
    let newer = Frame::new(FrameKind::Link, 1, vec![0]);
    assert_eq!(Notice::decode(&newer), Ok(None));
    assert_eq!(Notice::decode(&Frame::new(FrameKind::Link, 0, Bytes::new())), Err(FrameError::Notice));
    assert_eq!(Notice::decode(&Frame::new(FrameKind::Link, 0, vec![2])), Err(FrameError::Notice));
}

fn frames() -> impl Strategy<Value = Frame> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let kind = prop::sample::select(FrameKind::ALL.to_vec());
    (kind, any::<u8>(), bytes(100), prop::collection::vec(bytes(40), 0..6)).prop_map(
        |(kind, version, header, payload)| {
            Frame::with_payload(kind, version, header, payload.into_iter().map(Bytes::from).collect())
        },
    )
}

proptest! {
    #[test]
    fn what_is_sent_arrives(frame in frames()) {
        prop_assert_eq!(Format::V1.decode(content(&frame)), Ok(frame));
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = Format::V1.decode(Bytes::from(bytes.clone())) {
            prop_assert_eq!(content(&frame), bytes, "there is one way to write a frame");
        }
    }

    #[test]
    fn a_damaged_frame_is_refused_or_as_long(frame in frames(), at in any::<prop::sample::Index>(), with: u8) {
        let mut bytes = content(&frame).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(damaged) = Format::V1.decode(Bytes::from(bytes)) {
            prop_assert_eq!(damaged.wire_bytes(), frame.wire_bytes());
        }
    }

    #[test]
    fn any_bytes_are_a_hello_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut whole = b"HWP1\x00".to_vec();
        whole.push(bytes.len() as u8);
        whole.extend(bytes);
        if let Ok(decoded) = Hello::decode(&whole) {
            prop_assert!(decoded.is_some_and(|(_, taken)| taken == whole.len()));
        }
        if let Ok(decoded) = HelloAnswer::decode(&whole) {
            prop_assert!(decoded.is_some_and(|(.., taken)| taken == whole.len()));
        }
    }
}
