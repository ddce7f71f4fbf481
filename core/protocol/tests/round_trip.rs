//! Every message in every version: what is read is written again byte for byte.

mod common;

use bytes::Bytes;
use common::{Codec, Wire, codecs};
use proptest::prelude::*;

fn check_round_trip(codec: &Codec, version: i16, choices: &[u8]) {
    let wire = Bytes::from(Wire::message(codec, version, choices, false));
    let recoded = (codec.recode)(&wire, version).unwrap_or_else(|e| panic!("{} {version}: {e}", codec.name));
    assert_eq!(recoded.bytes, wire, "{} version {version}", codec.name);
    assert_eq!(recoded.left_over, 0, "{} version {version}", codec.name);
}

fn check_unknown_tags(codec: &Codec, version: i16, choices: &[u8]) {
    let with = Bytes::from(Wire::message(codec, version, choices, true));
    let without = Wire::message(codec, version, choices, false);
    let recoded = (codec.recode)(&with, version).unwrap_or_else(|e| panic!("{} {version}: {e}", codec.name));
    assert_eq!(recoded.bytes, without, "{} version {version}", codec.name);
    assert_eq!(recoded.left_over, 0, "{} version {version}", codec.name);
}

fn check_every_cut(codec: &Codec, version: i16, choices: &[u8]) {
    let wire = Bytes::from(Wire::message(codec, version, choices, false));
    for n in 0..wire.len() {
        assert!(
            (codec.decode)(&wire.slice(..n), version).is_err(),
            "{} version {version} of {} bytes cut to {n}",
            codec.name,
            wire.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_round_trips(choices in prop::collection::vec(any::<u8>(), 0..400)) {
        for codec in codecs() {
            for version in codec.versions.iter() {
                check_round_trip(&codec, version, &choices);
            }
        }
    }

    #[test]
    fn tagged_fields_that_nobody_knows_change_nothing(choices in prop::collection::vec(any::<u8>(), 0..400)) {
        for codec in codecs() {
            for version in codec.versions.iter() {
                check_unknown_tags(&codec, version, &choices);
            }
        }
    }

    #[test]
    fn a_message_that_ends_early_is_refused(choices in prop::collection::vec(any::<u8>(), 0..100)) {
        for codec in codecs() {
            for version in codec.versions.iter() {
                check_every_cut(&codec, version, &choices);
            }
        }
    }
}
