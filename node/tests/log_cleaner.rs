//! Compaction on real files: what stays, where, and for how long.

use highwater::disk::{RealDisk, Submitted};
use highwater::log::{
    CleaningRules, CleaningStep, DataDir, DataDirConfig, FileRegion, Log, LogConfig, LogContext, OpenFiles,
};
use highwater_core::batch::{Builder, Codec, records, stamp};
use highwater_core::ids::{
    BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TopicId,
    TopicPartition,
};
use highwater_core::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

const TP: TopicPartition = TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(0) };

fn compacted() -> LogConfig {
    LogConfig {
        segment_bytes: 600,
        index_interval_bytes: 100,
        is_compact_policy: true,
        is_delete_policy: false,
        dirty_billionths_min: 10_000_000,
        delete_retention_ms: 1000,
        ..LogConfig::default()
    }
}

fn open(root: &std::path::Path, config: LogConfig) -> (DataDir, Log) {
    let context = LogContext { disk: Arc::new(RealDisk), files: OpenFiles::new(32) };
    let dir_config = DataDirConfig {
        path: root.to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        cluster_id_if_new: Some("c".to_owned()),
        directory_id_if_new: DirectoryId([7; 16]),
        initial_controllers_if_new: None,
        available_bytes_min: 0,
    };
    let dir = DataDir::open(context, &dir_config).unwrap();
    let log = dir.open_log("t", TP, config, Timestamp(0)).unwrap().0;
    (dir, log)
}

/// Appends one batch of these keys and values.
fn put(log: &mut Log, codec: Codec, pairs: &[(&str, Option<&str>)]) {
    let mut builder = Builder::new(codec);
    for (key, value) in pairs {
        builder.push(Timestamp(1), Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    put_batch(log, builder);
}

fn put_batch(log: &mut Log, builder: Builder) {
    let batch = stamp(&builder.build(), log.end(), LeaderEpoch(0), None);
    let appended = log.append(&batch.header, batch.head(), batch.rest(), Timestamp(0));
    assert!(matches!(appended, Submitted::Done(Ok(_))));
}

fn rules(log: &Log) -> CleaningRules {
    CleaningRules { bound: log.end(), producer_offsets: BTreeSet::new(), keys_max: 1000 }
}

/// One whole pass, in small steps; whether there was anything to do.
fn clean_with(log: &mut Log, rules: CleaningRules, now: i64) -> bool {
    let Some(mut cleaning) = log.plan_cleaning(rules, Timestamp(now)) else { return false };
    loop {
        match cleaning.step(100).unwrap() {
            CleaningStep::More => {}
            CleaningStep::Swap => assert!(log.swap_cleaned(&mut cleaning).unwrap()),
            CleaningStep::Done => break,
        }
    }
    log.finish_cleaning(cleaning);
    true
}

fn clean(log: &mut Log, now: i64) -> bool {
    let rules = rules(log);
    clean_with(log, rules, now)
}

/// Every record of the log: offset, key, value.
fn contents(log: &Log) -> Vec<(i64, String, Option<String>)> {
    let plan = log.read(log.log_start(), 1 << 20, log.end(), true).unwrap();
    regions(&plan.regions)
}

fn regions(regions: &[FileRegion]) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    for region in regions {
        let mut piece = vec![0; region.len];
        region.read_into(&mut piece).unwrap();
        let mut bytes = bytes::Bytes::from(piece);
        while let Ok(batch) = records(&bytes) {
            let size = batch.batch().size_bytes();
            assert!(highwater_core::batch::crc_holds(&bytes[..size]));
            found.extend(
                batch.map(Result::unwrap).map(|r| (r.offset.0, text(r.key.unwrap()), r.value.map(text))),
            );
            bytes = bytes.slice(size..);
        }
    }
    found
}

#[test]
fn the_newest_record_of_each_key_stays_at_its_offset() {
    for codec in [Codec::None, Codec::Gzip, Codec::Lz4, Codec::Snappy, Codec::Zstd] {
        let root = tempfile::tempdir().unwrap();
        let (dir, mut log) = open(root.path(), compacted());
        for round in 0..10 {
            let value = format!("round {round}");
            let value = value.as_str();
            put(
                &mut log,
                codec,
                &[("a", Some(value)), ("b", Some(value)), ("once", Some("x"))][..2 + usize::from(round == 3)],
            );
        }
        log.roll(Timestamp(0)).unwrap();
        put(&mut log, codec, &[("a", Some("active"))]);
        let end = log.end();
        let before = log.read(Offset(0), 1 << 20, end, true).unwrap();
        let all = regions(&before.regions);
        assert!(clean(&mut log, 0));
        let want = [
            (8, "once".to_owned(), Some("x".to_owned())),
            (19, "a".to_owned(), Some("round 9".to_owned())),
            (20, "b".to_owned(), Some("round 9".to_owned())),
            (21, "a".to_owned(), Some("active".to_owned())),
        ];
        assert_eq!(contents(&log), want, "{codec:?}");
        assert_eq!((log.end(), log.cleaned_through()), (end, Offset(21)));
        assert_eq!(regions(&before.regions), all, "whoever reads meanwhile reads on");
        assert!(!clean(&mut log, 0), "what is clean is not cleaned again");
        log.close().unwrap();
        drop(log);
        dir.close().unwrap();
        let (_dir, log) = open(root.path(), compacted());
        assert_eq!(contents(&log), want);
        assert_eq!((log.end(), log.cleaned_through()), (end, Offset(21)));
    }
}

#[test]
fn reads_begin_at_the_next_record_that_is_left() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), compacted());
    for _ in 0..30 {
        put(&mut log, Codec::None, &[("k", Some("v"))]);
    }
    put(&mut log, Codec::None, &[("active", Some("v"))]);
    log.roll(Timestamp(0)).unwrap();
    assert!(clean(&mut log, 0));
    for from in 0..30 {
        let plan = log.read(Offset(from), 1 << 20, log.end(), true).unwrap();
        let found: Vec<i64> = regions(&plan.regions).into_iter().map(|r| r.0).collect();
        assert_eq!(found, [29, 30], "from {from}");
    }
}

#[test]
fn a_tombstone_removes_its_key_and_goes_itself_after_its_time() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), compacted());
    put(&mut log, Codec::None, &[("gone", Some("1")), ("kept", Some("2"))]);
    put(&mut log, Codec::None, &[("gone", None)]);
    log.roll(Timestamp(0)).unwrap();
    assert!(clean(&mut log, 5000));
    let keys = |log: &Log| contents(log).into_iter().map(|r| (r.0, r.1)).collect::<Vec<_>>();
    assert_eq!(
        keys(&log),
        [(1, "kept".to_owned()), (2, "gone".to_owned())],
        "readers may still need the tombstone"
    );
    for (now, has_tombstone) in [(5999, true), (6000, false)] {
        put(&mut log, Codec::None, &[("end", Some("x"))]);
        log.roll(Timestamp(0)).unwrap();
        assert!(clean(&mut log, now));
        assert_eq!(keys(&log).iter().any(|(_, key)| key == "gone"), has_tombstone, "at {now}");
    }
    assert!(log.read_batch(Offset(1)).unwrap().is_some());
}

#[test]
fn nothing_at_or_above_the_bound_and_nothing_too_young_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), LogConfig { compaction_lag_ms_min: 100, ..compacted() });
    for _ in 0..4 {
        put(&mut log, Codec::None, &[("k", Some("v"))]);
        log.roll(Timestamp(0)).unwrap();
    }
    assert!(!clean(&mut log, 100), "records are of time 1: not old enough");
    let two = CleaningRules { bound: Offset(2), ..rules(&log) };
    assert!(clean_with(&mut log, two, 101));
    assert_eq!(contents(&log).iter().map(|r| r.0).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn markers_and_the_last_batches_of_producers_stay() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), compacted());
    let mut idempotent = Builder::new(Codec::None).idempotent(ProducerId(4), ProducerEpoch(1), Sequence(9));
    idempotent.push(Timestamp(1), Some(b"k"), Some(b"old"), &[]);
    put_batch(&mut log, idempotent);
    let mut marker = Builder::new(Codec::None)
        .idempotent(ProducerId(5), ProducerEpoch(0), Sequence(-1))
        .transactional()
        .control();
    marker.push(Timestamp(1), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[]);
    put_batch(&mut log, marker);
    put(&mut log, Codec::None, &[("other", Some("old"))]);
    put(&mut log, Codec::None, &[("k", Some("new")), ("other", Some("new"))]);
    put(&mut log, Codec::None, &[("last", Some("old"))]);
    log.roll(Timestamp(0)).unwrap();
    put(&mut log, Codec::None, &[("last", Some("new"))]);
    log.roll(Timestamp(0)).unwrap();
    let rules = CleaningRules { producer_offsets: BTreeSet::from([Offset(0)]), ..rules(&log) };
    assert!(clean_with(&mut log, rules, 0));
    let batches: Vec<_> = log.batches_from(Offset(0)).map(|b| b.unwrap().header).collect();
    let seen: Vec<_> = batches.iter().map(|b| (b.base_offset.0, b.last_offset().0, b.record_count)).collect();
    assert_eq!(seen[..3], [(0, 0, 0), (1, 1, 1), (3, 4, 2)], "emptied, marker, data: {seen:?}");
    assert_eq!((batches[0].producer_id, batches[0].base_sequence), (ProducerId(4), Sequence(9)));
}

/// Its clients would try the codec on nothing, and stop there for ever.
#[test]
fn a_batch_that_stays_without_records_has_no_codec() {
    let temp = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(temp.path(), compacted());
    let mut builder = Builder::new(Codec::Snappy).idempotent(ProducerId(7), ProducerEpoch(0), Sequence(0));
    builder.push(Timestamp(5), Some(b"a"), Some(b"old"), &[]);
    put_batch(&mut log, builder);
    put(&mut log, Codec::None, &[("a", Some("new"))]);
    log.roll(Timestamp(0)).unwrap();
    put(&mut log, Codec::None, &[("b", Some("active"))]);
    let mut rules = rules(&log);
    rules.producer_offsets = BTreeSet::from([Offset(0)]);
    assert!(clean_with(&mut log, rules, 10_000));
    let kept = log.batches_from(Offset(0)).next().expect("the producer's last batch").unwrap().header;
    assert_eq!((kept.base_offset, kept.record_count), (Offset(0), 0));
    assert_eq!(kept.attributes.codec(), Ok(Codec::None));
    assert_eq!(kept.max_timestamp, Timestamp(5), "by which its producer's time is reckoned");
}

/// Kafka's `>`: a ratio of 1 is how a log is kept from being cleaned.
#[test]
fn a_log_that_is_no_more_than_as_dirty_as_allowed_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let config = LogConfig { dirty_billionths_min: 1_000_000_000, ..compacted() };
    let (_dir, mut log) = open(temp.path(), config);
    for _ in 0..20 {
        put(&mut log, Codec::None, &[("a", Some("again and again"))]);
    }
    assert!(!clean(&mut log, 10_000));
}

#[test]
fn more_keys_than_a_pass_remembers_take_several_passes() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), compacted());
    for round in 0..3 {
        for key in 0..50 {
            put(&mut log, Codec::None, &[(&format!("key {key}"), Some(&format!("{round}")))]);
        }
    }
    log.roll(Timestamp(0)).unwrap();
    let mut passes = 0;
    let rules = CleaningRules { keys_max: 20, ..rules(&log) };
    while clean_with(&mut log, rules.clone(), 0) {
        passes += 1;
        assert!(passes < 50, "each pass gets further");
    }
    assert!(passes > 3);
    let found = contents(&log);
    assert_eq!(found.iter().map(|r| r.0).collect::<Vec<_>>(), (100..150).collect::<Vec<_>>());
}

#[test]
fn small_segments_become_one() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), compacted());
    for _ in 0..20 {
        put(&mut log, Codec::None, &[("k", Some("v"))]);
        log.roll(Timestamp(0)).unwrap();
    }
    assert!(clean(&mut log, 0));
    put(&mut log, Codec::None, &[("k", Some("v"))]);
    log.roll(Timestamp(0)).unwrap();
    assert!(clean(&mut log, 0));
    assert!(log.segments().len() <= 3, "{:?}", log.segments().collect::<Vec<_>>());
}

#[test]
fn a_copy_of_what_was_cut_meanwhile_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let (_dir, mut log) = open(root.path(), compacted());
    for _ in 0..20 {
        put(&mut log, Codec::None, &[("k", Some("v"))]);
    }
    log.roll(Timestamp(0)).unwrap();
    let rules = rules(&log);
    let mut cleaning = log.plan_cleaning(rules, Timestamp(0)).unwrap();
    while cleaning.step(100).unwrap() != CleaningStep::Swap {}
    log.truncate_to(Offset(3), Timestamp(0)).unwrap();
    assert!(!log.swap_cleaned(&mut cleaning).unwrap());
    assert_eq!(contents(&log).len(), 3);
    let left = std::fs::read_dir(root.path().join("t-0")).unwrap();
    assert!(left.flatten().all(|e| !e.file_name().to_string_lossy().contains("cleaned")));
}
