//! Batches as clients send them: what is taken, what is refused and with which words.

use bytes::Bytes;
use highwater_core::batch::{
    Attributes, BatchError, BatchHeader, Builder, Codec, Compression, HEADER_BYTES, Header, Recompression,
    Record, RecordError, Rules, Scratch, TimestampType, ValidBatch, crc_holds, records, stamp, validate,
    validate_with,
};
use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use highwater_core::time::Timestamp;
use proptest::prelude::*;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn rules() -> Rules {
    Rules { now: NOW, ..Rules::default() }
}

fn batch_of(codec: Codec, values: &[&str]) -> ValidBatch {
    let mut builder = Builder::new(codec);
    for (i, value) in values.iter().enumerate() {
        builder.push(Timestamp(NOW.0 + i as i64), Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// The batch's bytes with some changed and the CRC made right again.
fn altered(batch: &ValidBatch, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.bytes().to_vec();
    change(&mut bytes);
    if bytes.len() >= HEADER_BYTES {
        let crc = highwater_core::batch::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes.into()
}

/// A batch whose records section is `section`, as a client that lies would send it.
fn with_records(codec: Codec, count: i32, section: &[u8]) -> Bytes {
    altered(&batch_of(Codec::None, &["x"]), |bytes| {
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(section);
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[21..23].copy_from_slice(&codec.id().to_be_bytes());
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
    })
}

fn refusal(bytes: Bytes, rules: &Rules) -> BatchError {
    validate(bytes, rules).expect_err("the batch must be refused")
}

fn all(bytes: &Bytes) -> Vec<Record> {
    records(bytes).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_codec_is_taken_as_sent_and_reads_back() {
    for codec in CODECS {
        let sent = batch_of(codec, &["one", "two", "three"]);
        let taken = validate(sent.bytes().clone(), &rules()).unwrap();
        assert_eq!(taken.bytes().as_ptr(), sent.bytes().as_ptr(), "{codec:?}: shared, not copied");
        assert_eq!(taken.header(), sent.header());
        let values: Vec<_> = all(taken.bytes()).into_iter().map(|r| (r.offset.0, r.value.unwrap())).collect();
        assert_eq!(values, [(0, Bytes::from("one")), (1, Bytes::from("two")), (2, Bytes::from("three"))]);
    }
}

#[test]
fn plain_snappy_as_librdkafka_sends_it_is_taken() {
    let plain = batch_of(Codec::None, &["one", "two"]);
    let packed = snap::raw::Encoder::new().compress_vec(&plain.bytes()[HEADER_BYTES..]).unwrap();
    let taken = validate(with_records(Codec::Snappy, 2, &packed), &rules()).unwrap();
    assert_eq!(all(taken.bytes()).len(), 2);
}

#[test]
fn a_request_holds_exactly_one_whole_batch_of_todays_format() {
    let good = batch_of(Codec::None, &["a", "b"]);
    let bytes = good.bytes();
    for cut in [0, 1, 16, 60, 61, bytes.len() - 1] {
        assert_eq!(refusal(bytes.slice(..cut), &rules()), BatchError::Missing, "cut at {cut}");
    }
    let twice = Bytes::from([&bytes[..], bytes].concat());
    assert_eq!(refusal(twice, &rules()), BatchError::Several);
    for magic in [0, 1] {
        let old = altered(&good, |b| b[16] = magic);
        assert_eq!(refusal(old.clone(), &rules()), BatchError::OldFormat(magic as i8));
        assert_eq!(refusal(old, &rules()).code(), ErrorCode::InvalidRecord);
    }
    let unknown = altered(&good, |b| b[16] = 7);
    assert_eq!(refusal(unknown, &rules()).code(), ErrorCode::CorruptMessage);
    let endless = altered(&good, |b| b[8..12].copy_from_slice(&i32::MAX.to_be_bytes()));
    assert_eq!(refusal(endless, &rules()), BatchError::Missing);
}

#[test]
fn what_the_header_claims_must_hold() {
    type Change = fn(&mut Vec<u8>);
    let table: &[(&str, Change, ErrorCode)] = &[
        ("count above records", |b| b[57..61].copy_from_slice(&3i32.to_be_bytes()), ErrorCode::InvalidRecord),
        ("offset delta above count", |b| b[26] = 7, ErrorCode::InvalidRecord),
        (
            "count and delta agree, records do not",
            |b| {
                b[23..27].copy_from_slice(&999i32.to_be_bytes());
                b[57..61].copy_from_slice(&1000i32.to_be_bytes());
            },
            ErrorCode::InvalidRecord,
        ),
        (
            "no records",
            |b| {
                b[23..27].copy_from_slice(&(-1i32).to_be_bytes());
                b[57..61].copy_from_slice(&0i32.to_be_bytes());
            },
            ErrorCode::InvalidRecord,
        ),
        ("control", |b| b[22] |= 0x20, ErrorCode::InvalidRecord),
        ("transactional", |b| b[22] |= 0x10, ErrorCode::InvalidTxnState),
        ("delete horizon", |b| b[22] |= 0x40, ErrorCode::InvalidRecord),
        ("codec 5", |b| b[22] |= 5, ErrorCode::UnsupportedCompressionType),
        ("base offset", |b| b[7] = 1, ErrorCode::InvalidRecord),
        ("id without sequence", |b| b[43..51].copy_from_slice(&5i64.to_be_bytes()), ErrorCode::InvalidRecord),
    ];
    for (what, change, code) in table {
        let bytes = altered(&batch_of(Codec::None, &["a", "b"]), change);
        assert_eq!(refusal(bytes, &rules()).code(), *code, "{what}");
    }
}

#[test]
fn a_wrong_crc_is_corruption() {
    let mut bytes = batch_of(Codec::None, &["a"]).bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(bytes.into(), &rules()).code(), ErrorCode::CorruptMessage);
}

#[test]
fn lying_record_lengths_are_refused_without_allocating() {
    let max = [0xfe, 0xff, 0xff, 0xff, 0x0f]; // i32::MAX
    let table: &[(&str, Vec<u8>)] = &[
        ("length beyond the batch", [&max[..], &[0; 8]].concat()),
        ("negative length", vec![0x01, 0, 0, 0, 0, 0, 0]),
        ("endless number", vec![0xff; 40]),
        ("key beyond the record", [&[14, 0, 0, 0][..], &max].concat()),
        ("value beyond the record", vec![14, 0, 0, 0, 1, 40, 0, 0]),
        ("header count beyond the record", [&[18, 0, 0, 0, 1, 1][..], &max].concat()),
        ("negative header count", vec![12, 0, 0, 0, 1, 1, 1]),
        ("a header without key", vec![16, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("bytes behind the fields", vec![14, 0, 0, 0, 1, 1, 0, 9]),
        ("bytes behind the records", vec![12, 0, 0, 0, 1, 1, 0, 9]),
        ("offset delta 1 first", vec![12, 0, 0, 2, 1, 1, 0]),
        ("no record at all", vec![]),
    ];
    for (what, section) in table {
        let error = refusal(with_records(Codec::None, 1, section), &rules());
        assert!(matches!(error, BatchError::Records { .. }), "{what}: {error}");
        let mut packed = zstd::encode_all(&section[..], 1).unwrap();
        let error = refusal(with_records(Codec::Zstd, 1, &packed), &rules());
        assert!(matches!(error, BatchError::Records { .. }), "{what}, compressed: {error}");
        packed.truncate(3);
        refusal(with_records(Codec::Zstd, 1, &packed), &rules());
    }
    assert!(
        validate(with_records(Codec::None, 1, &[12, 0, 0, 0, 1, 1, 0]), &rules()).is_ok(),
        "the honest one"
    );
}

#[test]
fn garbage_is_no_codecs_output() {
    for codec in &CODECS[1..] {
        let error = refusal(with_records(*codec, 1, b"this is not compressed data at all"), &rules());
        assert_eq!(error.code(), ErrorCode::InvalidRecord, "{codec:?}");
    }
}

#[test]
fn a_bomb_goes_off_in_a_small_window() {
    // one record with 64 MiB of zeroes, in a few KiB
    let size = 64 << 20;
    let mut section = Vec::new();
    let varint = |out: &mut Vec<u8>, value: u64| {
        let mut raw = value << 1;
        while raw >= 0x80 {
            out.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        out.push(raw as u8);
    };
    varint(&mut section, size + 9);
    section.extend_from_slice(&[0, 0, 0, 1]);
    varint(&mut section, size);
    section.extend(std::iter::repeat_n(0, size as usize));
    section.push(0);
    let packed = zstd::encode_all(&section[..], 1).unwrap();
    let bytes = with_records(Codec::Zstd, 1, &packed);
    assert!(bytes.len() < 16 << 10);
    let tight = Rules { decompressed_bytes_max: 1 << 20, ..rules() };
    let error = refusal(bytes.clone(), &tight);
    assert_eq!(error, BatchError::Records { index: 0, fault: "a record is longer than its batch" });
    assert!(validate(bytes, &rules()).is_ok(), "within the limit it is an odd batch, but a batch");

    // many small records beyond the limit: the stream is cut while it runs
    let record = [12, 0, 0, 0, 1, 1, 0];
    let many = zstd::encode_all(&record.repeat(300_000)[..], 1).unwrap();
    let error = refusal(with_records(Codec::Zstd, 300_000, &many), &tight);
    assert!(matches!(error, BatchError::Records { .. } | BatchError::Bomb { .. }), "{error}");
}

#[test]
fn zstd_needs_a_request_that_knows_it() {
    let old = Rules { takes_zstd: false, ..rules() };
    assert_eq!(refusal(batch_of(Codec::Zstd, &["a"]).bytes().clone(), &old), BatchError::ZstdTooOld);
    assert!(validate(batch_of(Codec::Lz4, &["a"]).bytes().clone(), &old).is_ok());
}

#[test]
fn size_limits_are_the_topics() {
    let bytes = batch_of(Codec::None, &["0123456789"]).bytes().clone();
    let exact = Rules { batch_bytes_max: bytes.len(), ..rules() };
    assert!(validate(bytes.clone(), &exact).is_ok());
    let small = Rules { batch_bytes_max: bytes.len() - 1, ..rules() };
    assert_eq!(refusal(bytes.clone(), &small).code(), ErrorCode::MessageTooLarge);
    let segment = Rules { segment_bytes_max: bytes.len() - 1, ..rules() };
    assert_eq!(refusal(bytes, &segment).code(), ErrorCode::RecordListTooLarge);
}

#[test]
fn compacted_topics_want_keys_and_say_which_record_has_none() {
    let compacted = Rules { is_compacted: true, ..rules() };
    let mut builder = Builder::new(Codec::Gzip);
    for key in [Some(&b"k"[..]), None, Some(b""), None] {
        builder.push(NOW, key, Some(b"v"), &[]);
    }
    let bytes = builder.build().bytes().clone();
    assert!(validate(bytes.clone(), &rules()).is_ok());
    let error = refusal(bytes, &compacted);
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
    let message = "Compacted topic cannot accept message without key".to_string();
    assert_eq!(
        error.record_errors(),
        [RecordError { index: 1, message: message.clone() }, RecordError { index: 3, message }]
    );
}

/// As Kafka 4.3 answers: a producer that may send the batch again in time is told so, whatever else is wrong.
#[test]
fn a_wrong_timestamp_decides_the_code_wherever_it_is() {
    let mut builder = Builder::new(Codec::None);
    builder.push(NOW, None, None, &[]);
    builder.push(Timestamp(NOW.0 + 1_000_000_000), Some(b"key"), None, &[]);
    let compacted = Rules { is_compacted: true, ..rules() };
    let error = refusal(builder.build().bytes().clone(), &compacted);
    assert_eq!((error.code(), error.record_errors().len()), (ErrorCode::InvalidTimestamp, 2));
    let mut builder = Builder::new(Codec::None);
    builder.push(Timestamp(NOW.0 + 1_000_000_000), None, None, &[]);
    let error = refusal(builder.build().bytes().clone(), &compacted);
    assert_eq!(error.code(), ErrorCode::InvalidRecord, "of a record without a key nothing else is looked at");
}

/// Java reads none of these, and would stop at them for ever.
#[test]
fn lz4_frames_that_are_not_whole_or_of_linked_blocks_are_refused() {
    use std::io::Write;
    let plain = batch_of(Codec::None, &["x"]);
    let frame = |info| {
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&plain.bytes()[HEADER_BYTES..]).unwrap();
        encoder.finish().unwrap()
    };
    let info = lz4_flex::frame::FrameInfo::new();
    let independent = frame(info.clone().block_mode(lz4_flex::frame::BlockMode::Independent));
    assert!(validate(with_records(Codec::Lz4, 1, &independent), &rules()).is_ok());
    for odd in [
        frame(info.block_mode(lz4_flex::frame::BlockMode::Linked)),
        independent[..independent.len() - 4].to_vec(),
        independent[..independent.len() - 1].to_vec(),
    ] {
        let error = refusal(with_records(Codec::Lz4, 1, &odd), &rules());
        assert!(matches!(error, BatchError::Decompression { codec: "lz4" }), "{error}");
    }
}

#[test]
fn timestamps_stay_within_the_topics_limits() {
    let rules = Rules { timestamp_before_ms_max: 1000, timestamp_after_ms_max: 60_000, ..rules() };
    for (offset, ok) in [(0, true), (-1000, true), (-1001, false), (60_000, true), (60_001, false)] {
        let mut builder = Builder::new(Codec::None);
        builder.push(NOW, None, None, &[]);
        builder.push(Timestamp(NOW.0 + offset), None, None, &[]);
        let built = builder.build();
        let bytes = built.bytes().clone();
        let outcome = validate(bytes.clone(), &rules);
        assert_eq!(outcome.is_ok(), ok, "{offset}");
        if let Err(error) = outcome {
            assert_eq!((error.code(), error.record_errors()[0].index), (ErrorCode::InvalidTimestamp, 1));
        }
        let append = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules };
        let claims = altered(&built, |bytes| bytes[22] |= 8);
        assert_eq!(
            refusal(claims.clone(), &append).code(),
            ErrorCode::InvalidTimestamp,
            "that is the broker's to say"
        );
        if let Ok(taken) = validate(claims, &rules) {
            assert_eq!(
                taken.header().attributes.timestamp_type(),
                TimestampType::CreateTime,
                "and here it is not so"
            );
        }
        assert!(validate(bytes, &append).is_ok(), "with LogAppendTime the producer's time does not matter");
    }
    let mut untimed = Builder::new(Codec::None);
    untimed.push(Timestamp::NONE, None, None, &[]);
    assert!(validate(untimed.build().bytes().clone(), &rules).is_ok(), "no timestamp is no wrong timestamp");
}

#[test]
fn a_max_timestamp_that_lies_is_set_right_over_the_same_records() {
    let sent = batch_of(Codec::Lz4, &["a", "b"]);
    let lying = altered(&sent, |b| b[35..43].copy_from_slice(&i64::MAX.to_be_bytes()));
    let taken = validate(lying.clone(), &rules()).unwrap();
    assert_eq!(taken.header().max_timestamp, Timestamp(NOW.0 + 1));
    let stamped = stamp(&taken, Offset(5), LeaderEpoch(2), None);
    assert_eq!(stamped.head().len(), HEADER_BYTES);
    assert_eq!(stamped.rest().as_ptr(), lying[HEADER_BYTES..].as_ptr(), "record bytes are shared");
    assert!(crc_holds(&joined(&stamped)));
}

fn joined(stamped: &highwater_core::batch::StampedBatch) -> Bytes {
    [stamped.head(), stamped.rest()].concat().into()
}

#[test]
fn stamping_sets_offset_and_epoch_outside_the_crc() {
    let sent = batch_of(Codec::Zstd, &["a", "b"]);
    let stamped = stamp(&sent, Offset(41), LeaderEpoch(3), None);
    assert_eq!(stamped.head().len(), 16);
    assert_eq!(stamped.rest().as_ptr(), sent.bytes()[16..].as_ptr());
    assert_eq!(stamped.size_bytes(), sent.size_bytes());
    let stored = joined(&stamped);
    assert!(crc_holds(&stored));
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!(header, stamped.header);
    assert_eq!(
        (header.base_offset, header.next_offset(), header.leader_epoch),
        (Offset(41), Offset(43), LeaderEpoch(3))
    );
    assert_eq!(all(&stored).last().unwrap().offset, Offset(42));
}

#[test]
fn log_append_time_is_the_time_of_all_records() {
    let sent = batch_of(Codec::Gzip, &["a", "b"]);
    let later = Timestamp(NOW.0 + 77);
    let stored = joined(&stamp(&sent, Offset(0), LeaderEpoch(0), Some(later)));
    assert!(crc_holds(&stored));
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(all(&stored).iter().all(|r| r.timestamp == later));
}

#[test]
fn the_topics_codec_overrides_the_producers() {
    let long = "a rather repetitive value ".repeat(20);
    for from in CODECS {
        for to in CODECS {
            let sent = batch_of(from, &[&long, &long, &long]);
            for level in [None, Some(1), Some(9)] {
                let to = Compression { codec: to, level };
                let rules = Rules { recompression: Recompression::To(to), ..rules() };
                let taken = validate(sent.bytes().clone(), &rules).unwrap();
                assert_eq!(taken.header().attributes.codec(), Ok(to.codec));
                assert!(crc_holds(taken.bytes()));
                assert_eq!(all(taken.bytes()), all(sent.bytes()), "{from:?} to {to:?}");
                let kept = taken.bytes().as_ptr() == sent.bytes().as_ptr();
                assert_eq!(kept, from == to.codec, "what is in the right codec is kept as it is");
            }
        }
    }
    let plain =
        Rules { recompression: Recompression::To(Codec::None.into()), batch_bytes_max: 1000, ..rules() };
    let small = batch_of(Codec::Zstd, &[&long, &long, &long]);
    assert!(small.size_bytes() < 1000);
    let code = refusal(small.bytes().clone(), &plain).code();
    assert_eq!(code, ErrorCode::MessageTooLarge, "it would not fit once decompressed");
}

#[test]
fn idempotent_batches_are_numbered_to_their_last_record() {
    let mut builder =
        Builder::new(Codec::None).idempotent(ProducerId(7), ProducerEpoch(0), Sequence(i32::MAX));
    builder.push(NOW, None, Some(b"a"), &[]);
    builder.push(NOW, None, Some(b"b"), &[]);
    let taken = validate(builder.build().bytes().clone(), &rules()).unwrap();
    assert!(taken.header().has_producer_id());
    assert_eq!(taken.header().last_sequence(), Sequence(0));
}

#[test]
fn a_cleaned_batch_keeps_offsets_ids_and_end() {
    let mut builder = Builder::new(Codec::Lz4).idempotent(ProducerId(7), ProducerEpoch(1), Sequence(4));
    for i in 0..5 {
        builder.push(Timestamp(NOW.0 + i), Some(&[i as u8]), Some(b"v"), &[]);
    }
    let stored = joined(&stamp(&builder.build(), Offset(100), LeaderEpoch(6), None));
    let original = BatchHeader::parse(&stored).unwrap();
    let mut retained = Builder::retaining(&original);
    let kept: Vec<_> = all(&stored).into_iter().filter(|r| r.offset.0 % 2 == 1).collect();
    kept.iter().for_each(|r| retained.keep(r));
    let cleaned = retained.build();
    assert!(crc_holds(cleaned.bytes()));
    assert_eq!(all(cleaned.bytes()), kept);
    let header = cleaned.header();
    assert_eq!((header.base_offset, header.next_offset()), (Offset(100), Offset(105)));
    assert_eq!((header.producer_id, header.last_sequence()), (ProducerId(7), Sequence(8)));
    assert_eq!((header.record_count, header.leader_epoch), (2, LeaderEpoch(6)));
}

/// Readers take a codec at its word, and cannot decompress nothing.
#[test]
fn a_batch_that_is_kept_for_its_numbers_has_no_codec_and_its_time() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = Builder::new(codec).idempotent(ProducerId(7), ProducerEpoch(1), Sequence(4));
        for i in 0..5 {
            builder.push(Timestamp(NOW.0 + i), Some(b"k"), Some(b"v"), &[]);
        }
        let stored = joined(&stamp(&builder.build(), Offset(100), LeaderEpoch(6), None));
        let original = BatchHeader::parse(&stored).unwrap();
        let with_horizon = Builder::retaining(&original).delete_horizon(Timestamp(1));
        for emptied in [Builder::retaining(&original).build(), with_horizon.build()] {
            assert!(crc_holds(emptied.bytes()));
            let header = emptied.header();
            assert_eq!((header.next_offset(), header.record_count), (Offset(105), 0));
            assert_eq!((header.attributes, emptied.size_bytes()), (Attributes::default(), 61), "{codec:?}");
            assert_eq!(
                (header.base_timestamp, header.max_timestamp),
                (Timestamp::NONE, original.max_timestamp)
            );
            assert_eq!((header.producer_id, header.last_sequence()), (ProducerId(7), Sequence(8)));
            assert!(all(emptied.bytes()).is_empty());
            // What was emptied by a release that left the codec is emptied again.
            let mut sealed = BatchHeader { attributes: original.attributes, ..*header };
            sealed.seal(&[]);
            assert!(all(&Bytes::copy_from_slice(&sealed.encode())).is_empty());
            assert_eq!(Builder::retaining(&sealed).build().bytes(), emptied.bytes());
        }
    }
}

fn nullable_bytes(len_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..len_max))
}

type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn parts() -> impl Strategy<Value = Vec<Parts>> {
    let header = (proptest::collection::vec(any::<u8>(), 0..10), nullable_bytes(10));
    let headers = proptest::collection::vec(header, 0..3);
    let record = (-1_000_000..1_000_000i64, nullable_bytes(20), nullable_bytes(3000), headers);
    proptest::collection::vec(record, 1..20)
}

fn built(codec: Codec, parts: &[Parts]) -> ValidBatch {
    let mut builder = Builder::new(codec);
    for (delta, key, value, headers) in parts {
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| Header { key: k.clone().into(), value: v.clone().map(Bytes::from) })
            .collect();
        builder.push(Timestamp(NOW.0 + delta), key.as_deref(), value.as_deref(), &headers);
    }
    builder.build()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What the builder writes is valid, kept as it is and reads back as it was pushed.
    #[test]
    fn what_is_built_is_valid(parts in parts(), codec in 0..5usize) {
        let sent = built(CODECS[codec], &parts);
        let taken = validate(sent.bytes().clone(), &rules()).unwrap();
        prop_assert_eq!(taken.header(), sent.header());
        let read = all(taken.bytes());
        prop_assert_eq!(read.len(), parts.len());
        for (i, (record, (delta, key, value, headers))) in read.iter().zip(&parts).enumerate() {
            prop_assert_eq!(record.offset, Offset(i as i64));
            prop_assert_eq!(record.timestamp, Timestamp(NOW.0 + delta));
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
            let back: Vec<_> = record.headers.iter().map(|h| (h.key.to_vec(), h.value.as_ref().map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&back, headers);
        }
    }

    /// Bytes altered under a right CRC never panic; if they are taken, all of their records can be read.
    #[test]
    fn altered_bytes_are_refused_or_read_in_full(
        parts in parts(), codec in 0..5usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = altered(&built(CODECS[codec], &parts), |bytes| {
            for (at, to) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *to;
            }
        });
        let mut scratch = Scratch::new();
        if let Ok(taken) = validate_with(&mut scratch, bytes, &rules()) {
            prop_assert_eq!(records(taken.bytes()).unwrap().filter(Result::is_ok).count(), taken.header().record_count as usize);
        }
        let next = batch_of(CODECS[codec], &["after"]);
        prop_assert!(validate_with(&mut scratch, next.bytes().clone(), &rules()).is_ok(), "the scratch is clean");
    }
}

/// Batches that Apache Kafka's Java client wrote, one per codec.
fn java_batches() -> Vec<(Codec, Bytes)> {
    let lines = include_str!("golden/java_batches.txt").lines().filter(|line| !line.starts_with('#'));
    let batches = lines.map(|line| {
        let (name, hex) = line.split_once(' ').unwrap();
        let codec = *CODECS.iter().find(|codec| codec.name() == name).unwrap();
        let bytes = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        });
        (codec, bytes.collect())
    });
    batches.collect()
}

#[test]
fn batches_of_the_java_client_are_taken_and_read() {
    let batches = java_batches();
    assert_eq!(batches.len(), CODECS.len());
    for (codec, bytes) in &batches {
        let taken = validate(bytes.clone(), &rules()).unwrap();
        let header = taken.header();
        assert_eq!(taken.bytes().as_ptr(), bytes.as_ptr(), "{codec:?}: kept as sent");
        assert_eq!(header.attributes.codec(), Ok(*codec));
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(4711), ProducerEpoch(2)));
        assert_eq!((header.base_sequence, header.last_sequence()), (Sequence(9), Sequence(11)));
        assert_eq!(header.max_timestamp, Timestamp(NOW.0 + 5));
        let header_of_first = Header { key: "h".into(), value: Some("x".into()) };
        let want = [
            (NOW.0, Some("k1"), Some("value one value one value one"), vec![header_of_first]),
            (NOW.0 + 5, None, None, vec![]),
            (NOW.0 + 3, Some(""), Some(""), vec![]),
        ];
        for (record, (time, key, value, headers)) in all(bytes).iter().zip(want) {
            assert_eq!(record.timestamp, Timestamp(time));
            assert_eq!(record.key.as_deref(), key.map(str::as_bytes));
            assert_eq!(record.value.as_deref(), value.map(str::as_bytes));
            assert_eq!(record.headers, headers);
        }
    }
}

#[test]
fn the_builder_writes_what_java_writes() {
    let (_, java) = java_batches().into_iter().find(|(codec, _)| *codec == Codec::None).unwrap();
    let mut builder = Builder::new(Codec::None).idempotent(ProducerId(4711), ProducerEpoch(2), Sequence(9));
    let header = Header { key: "h".into(), value: Some("x".into()) };
    builder.push(NOW, Some(b"k1"), Some(b"value one value one value one"), &[header]);
    builder.push(Timestamp(NOW.0 + 5), None, None, &[]);
    builder.push(Timestamp(NOW.0 + 3), Some(b""), Some(b""), &[]);
    assert_eq!(builder.build().bytes(), &java);
}
