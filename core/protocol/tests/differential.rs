//! The `kafka-protocol` crate reads and writes the same bytes, wherever it knows the message.
//!
//! It is compared on well-formed messages only: it allocates what a hostile length asks for.

mod common;

use bytes::{Bytes, BytesMut};
use common::{Codec, Wire, codecs};
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use proptest::prelude::*;

/// What the crate makes of the bytes; none if it does not know the version of this message.
fn recode_theirs(codec: &Codec, key: ApiKey, version: i16, wire: &Bytes) -> Option<BytesMut> {
    let (mut bytes, mut out) = (wire.clone(), BytesMut::new());
    let done = if codec.is_request {
        RequestKind::decode(key, &mut bytes, version).and_then(|m| m.encode(&mut out, version))
    } else {
        ResponseKind::decode(key, &mut bytes, version).and_then(|m| m.encode(&mut out, version))
    };
    match done.map_err(|e| format!("{e:#}")) {
        Ok(()) => {
            assert!(bytes.is_empty(), "{} version {version}: {} bytes left over", codec.name, bytes.len());
            Some(out)
        }
        Err(e) if e.contains("specified version not supported") => None,
        Err(e) => panic!("{} version {version}: {e}", codec.name),
    }
}

/// How many pairs of message and version were compared.
fn compare_all(choices: &[u8]) -> usize {
    let mut compared = 0;
    for codec in codecs() {
        let Some(key) = codec.key.and_then(|key| ApiKey::try_from(key.code()).ok()) else { continue };
        for version in codec.versions.iter() {
            let wire = Bytes::from(Wire::message(&codec, version, choices, false));
            let Some(theirs) = recode_theirs(&codec, key, version, &wire) else { continue };
            assert_eq!(theirs, wire, "{} version {version}", codec.name);
            let ours = (codec.recode)(&wire, version).expect("round_trip.rs proves it").bytes;
            assert_eq!(ours, theirs, "{} version {version}", codec.name);
            compared += 1;
        }
    }
    compared
}

#[test]
fn the_oracle_knows_nearly_all() {
    let declared: usize =
        codecs().iter().filter(|c| c.key.is_some()).map(|c| c.versions.iter().count()).sum();
    let compared = compare_all(&[]);
    assert!(compared * 10 >= declared * 9, "only {compared} of {declared} are compared");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_oracle_agrees(choices in prop::collection::vec(any::<u8>(), 0..400)) {
        compare_all(&choices);
    }
}
