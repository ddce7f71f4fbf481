//! The partition log on real files: what a broker asks of it, told as stories.

use bytes::Bytes;
use highwater::disk::{Disk, RealDisk, Submitted};
use highwater::log::{
    DataDir, DataDirConfig, FlushScope, Log, LogConfig, LogContext, LogError, OpenFiles, ReadPlan,
    RecoveryReport,
};
use highwater_core::batch::{Builder, Codec, StampedBatch, records, stamp};
use highwater_core::ids::{
    BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition,
};
use highwater_core::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

const TP: TopicPartition = TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(0) };

/// A data directory with one log, which can be closed, crashed and opened again.
struct House {
    root: tempfile::TempDir,
    config: LogConfig,
    dir: Option<DataDir>,
}

impl House {
    fn new(config: LogConfig) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut house = Self { root, config, dir: None };
        house.enter();
        house
    }

    fn enter(&mut self) {
        self.dir = Some(DataDir::open(context(64), &self.dir_config()).unwrap());
    }

    fn dir_config(&self) -> DataDirConfig {
        DataDirConfig {
            path: self.root.path().join("data"),
            node_id: BrokerId(1),
            cluster_id: None,
            cluster_id_if_new: Some("cluster-of-the-test".to_owned()),
            directory_id_if_new: DirectoryId([7; 16]),
            initial_controllers_if_new: None,
            available_bytes_min: 0,
        }
    }

    fn dir(&self) -> &DataDir {
        self.dir.as_ref().unwrap()
    }

    fn open(&self) -> (Log, RecoveryReport) {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<(Log, RecoveryReport), LogError> {
        self.dir().open_log("t", TP, self.config.clone(), Timestamp(0))
    }

    /// The process dies; the machine does not.
    fn crash(&mut self, log: Log) {
        drop(log);
        self.dir = None;
        self.enter();
    }

    fn close(&mut self, mut log: Log) {
        log.close().unwrap();
        drop(log);
        self.dir.take().unwrap().close().unwrap();
        self.enter();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("data/t-0").join(name)
    }

    fn files(&self) -> Vec<String> {
        RealDisk.list(&self.root.path().join("data/t-0")).unwrap().into_iter().map(|e| e.name).collect()
    }
}

fn context(open_max: usize) -> LogContext {
    LogContext { disk: Arc::new(RealDisk), files: OpenFiles::new(open_max) }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 1000, index_interval_bytes: 200, ..LogConfig::default() }
}

/// A batch with one record per timestamp, whose values are their offsets.
fn batch(base: Offset, epoch: i32, timestamps: &[i64], codec: Codec) -> StampedBatch {
    let mut builder = Builder::new(codec);
    for (i, timestamp) in timestamps.iter().enumerate() {
        let value = format!("value {}", base.0 + i as i64);
        builder.push(Timestamp(*timestamp), Some(b"key"), Some(value.as_bytes()), &[]);
    }
    stamp(&builder.build(), base, LeaderEpoch(epoch), None)
}

fn append(log: &mut Log, epoch: i32, timestamps: &[i64]) -> Result<Offset, LogError> {
    append_batch(log, &batch(log.end(), epoch, timestamps, Codec::None))
}

fn append_batch(log: &mut Log, batch: &StampedBatch) -> Result<Offset, LogError> {
    match log.append(&batch.header, batch.head(), batch.rest(), Timestamp(0)) {
        Submitted::Done(result) => result.map(|appended| appended.end),
        Submitted::Pending(_) => panic!("real files answer at once"),
    }
}

/// Appends batches of two records until the log ends at `end`.
fn fill(log: &mut Log, end: i64) {
    while log.end().0 < end {
        let at = log.end().0;
        append(log, 0, &[at, at + 1]).unwrap();
    }
}

/// The offsets of all records that a reader sees from `from` on.
fn offsets(log: &Log, from: i64, bytes_max: usize, until: i64) -> Vec<i64> {
    let plan = log.read(Offset(from), bytes_max, Offset(until), true).unwrap();
    let mut bytes = Vec::new();
    for region in &plan.regions {
        let mut piece = vec![0; region.len];
        region.read_into(&mut piece).unwrap();
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes.len(), plan.bytes);
    let mut bytes = Bytes::from(bytes);
    let mut found = Vec::new();
    while let Ok(batch) = records(&bytes) {
        let size = batch.batch().size_bytes();
        for record in batch {
            let record = record.unwrap();
            assert_eq!(record.value.unwrap(), format!("value {}", record.offset));
            found.push(record.offset.0);
        }
        bytes = bytes.slice(size..);
    }
    found
}

/// The sizes of the batches that are in a plan from beginning to end.
fn batch_sizes(plan: &ReadPlan) -> impl Iterator<Item = usize> {
    let mut bytes = Vec::new();
    for region in &plan.regions {
        let at = bytes.len();
        bytes.resize(at + region.len, 0);
        region.read_into(&mut bytes[at..]).unwrap();
    }
    let mut rest = Bytes::from(bytes);
    std::iter::from_fn(move || {
        let size = records(&rest).ok()?.batch().size_bytes();
        rest = rest.slice(size..);
        Some(size)
    })
}

fn flush(log: &mut Log) {
    let job = log.flush_job(FlushScope::All).unwrap();
    let result = job.run(&RealDisk);
    log.flushed(&job.note, result).unwrap();
}

#[test]
fn what_is_appended_is_read_from_any_offset_across_segments() {
    let house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    assert!(log.segments().len() > 3);
    assert_eq!(log.segments().map(|s| s.bytes).sum::<u64>(), log.size_bytes());
    for from in 0..100 {
        let first = from / 2 * 2;
        assert_eq!(offsets(&log, from, 1 << 20, 100), (first..100).collect::<Vec<_>>(), "from {from}");
        assert_eq!(
            offsets(&log, from, 1 << 20, 60),
            (first..60).collect::<Vec<_>>(),
            "below 60, from {from}"
        );
    }
    assert_eq!(offsets(&log, 100, 1 << 20, 100), [0; 0]);
    assert!(matches!(log.read(Offset(101), 1, Offset(101), true), Err(LogError::OutOfRange { .. })));
}

/// A limit falls inside a batch as a rule; what the index knows of boundaries spares sending that batch twice.
#[test]
fn large_reads_end_at_a_batch_boundary_and_miss_nothing() {
    let house = House::new(LogConfig { segment_bytes: 300 << 10, ..LogConfig::default() });
    let (mut log, _) = house.open();
    fill(&mut log, 12_000);
    flush(&mut log);
    fill(&mut log, 16_000);
    assert!(log.segments().len() > 2);
    for bytes_max in [64 << 10, 70_001, 150_000, 299_999, 400_000] {
        let (mut from, mut reads) = (0, 0);
        while from < 16_000 {
            let plan = log.read(Offset(from), bytes_max, Offset(16_000), true).unwrap();
            assert!(plan.bytes <= bytes_max && plan.bytes_there <= bytes_max);
            let whole: usize = batch_sizes(&plan).sum();
            assert_eq!(plan.bytes, whole, "from {from}: no batch is cut");
            let found = offsets(&log, from, bytes_max, 16_000);
            let end = from + i64::try_from(found.len()).unwrap();
            assert_eq!(found, (from..end).collect::<Vec<_>>());
            if end < 16_000 {
                assert_eq!(plan.bytes_there, bytes_max, "who waits for so much has it");
                assert!(plan.bytes + (8 << 10) > bytes_max, "at most an index interval is left out");
            }
            // Another reader far away in between.
            assert_eq!(offsets(&log, 16_000 - from / 2 * 2 - 2, 100, 16_000)[0], 16_000 - from / 2 * 2 - 2);
            (from, reads) = (end, reads + 1);
        }
        assert!(reads > 1);
    }
}

#[test]
fn the_first_batch_is_whole_if_wanted_and_the_limit_holds_for_the_rest() {
    let house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    assert_eq!(offsets(&log, 4, 1, 100), [4, 5], "a batch larger than the limit comes whole");
    assert!(log.read(Offset(4), 1, Offset(100), false).unwrap().regions.is_empty());
    let plan = log.read(Offset(0), 500, Offset(100), true).unwrap();
    assert_eq!(plan.bytes, 500);
    assert_eq!(plan.first_offset, Some(Offset(0)));
}

#[test]
fn a_clean_restart_reads_nothing_and_goes_on_where_it_ended() {
    let mut house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    house.close(log);
    assert!(house.dir().last_run().was_clean);
    let (mut log, report) = house.open();
    assert_eq!(report.cut, None);
    assert_eq!(report.indexes_rebuilt, 0);
    assert!(report.bytes_read < 400, "only what lies behind the last index entry: {}", report.bytes_read);
    assert_eq!(log.end(), Offset(100));
    fill(&mut log, 120);
    assert_eq!(offsets(&log, 50, 1 << 20, 120), (50..120).collect::<Vec<_>>());
}

#[test]
fn a_killed_process_loses_nothing_and_only_unflushed_bytes_are_read() {
    let mut house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 80);
    flush(&mut log);
    house.dir().recovery_points().write().unwrap();
    let flushed_bytes = log.size_bytes();
    fill(&mut log, 100);
    let unflushed_bytes = log.size_bytes() - flushed_bytes;
    house.crash(log);
    assert!(!house.dir().last_run().was_clean);
    let (log, report) = house.open();
    assert_eq!(log.end(), Offset(100));
    assert!(report.bytes_read < unflushed_bytes + 1000, "{report:?}");
    assert_eq!(offsets(&log, 0, 1 << 20, 100), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_batch_is_cut_and_reported() {
    let mut house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 6);
    house.crash(log);
    let path = house.file("00000000000000000000.log");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 5).unwrap();
    let (mut log, report) = house.open();
    let cut = report.cut.unwrap();
    assert_eq!((cut.end, log.end()), (Offset(4), Offset(4)));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), cut.position);
    fill(&mut log, 8);
    assert_eq!(offsets(&log, 0, 1 << 20, 8), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_bad_batch_in_front_of_good_ones_is_corruption_and_nothing_is_cut() {
    let mut house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 20);
    house.crash(log);
    let path = house.file("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    for at in [70, 10, 16] {
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = house.try_open().unwrap_err();
        assert!(matches!(error, LogError::Corrupt(_)), "byte {at}: {error}");
        assert!(error.to_string().contains("00000000000000000000.log is corrupt at byte 0"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was cut");
        bytes[at] ^= 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(house.open().0.end(), Offset(20));
}

#[test]
fn missing_or_bad_bytes_below_the_recovery_point_are_corruption() {
    let mut house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 20);
    house.close(log);
    let last = house.files().into_iter().rfind(|f| f.ends_with(".log")).unwrap();
    let path = house.file(&last);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(house.try_open(), Err(LogError::Corrupt(_))), "a cut segment");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(house.try_open(), Err(LogError::Corrupt(_))), "a lost segment");
    std::fs::write(&path, &bytes).unwrap();
    house.open();
    std::fs::remove_dir_all(house.file("")).unwrap();
    assert!(matches!(house.try_open(), Err(LogError::Corrupt(_))), "a lost directory");
}

#[test]
fn lost_and_damaged_indexes_are_rebuilt() {
    for damage in [
        |path: PathBuf| std::fs::remove_file(path).unwrap(),
        |path: PathBuf| std::fs::write(path, b"").unwrap(),
        |path: PathBuf| {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[30] ^= 1;
            std::fs::write(path, bytes).unwrap();
        },
        |path: PathBuf| {
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 3;
            bytes[last] ^= 1;
            std::fs::write(path, bytes).unwrap();
        },
    ] {
        let mut house = House::new(small_segments());
        let (mut log, _) = house.open();
        fill(&mut log, 100);
        house.close(log);
        for name in house.files().into_iter().filter(|f| f.ends_with(".index")) {
            damage(house.file(&name));
        }
        let (log, report) = house.open();
        assert!(report.bytes_read > 0);
        for from in 0..100 {
            assert_eq!(offsets(&log, from, 1 << 20, 100).first(), Some(&(from / 2 * 2)));
        }
    }
}

#[test]
fn a_truncated_log_ends_at_a_batch_and_goes_on_in_a_new_epoch() {
    let mut house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    flush(&mut log);
    house.dir().recovery_points().write().unwrap();
    assert_eq!(
        log.truncate_to(Offset(200), Timestamp(0)).unwrap(),
        Offset(100),
        "beyond the end is nothing to cut"
    );
    assert_eq!(
        log.truncate_to(Offset(51), Timestamp(0)).unwrap(),
        Offset(50),
        "the batch of 50 and 51 goes whole"
    );
    assert_eq!(log.flushed_through(), Offset(50));
    while log.end().0 < 70 {
        append(&mut log, 1, &[1]).unwrap();
    }
    assert_eq!(offsets(&log, 40, 1 << 20, 70), (40..70).collect::<Vec<_>>());
    house.crash(log);
    let (mut log, report) = house.open();
    assert_eq!((log.end(), report.cut), (Offset(70), None));
    assert_eq!(log.epoch_last(), LeaderEpoch(1));
    assert_eq!(log.truncate_to(Offset(0), Timestamp(0)).unwrap(), Offset(0));
    assert_eq!(log.epoch_last(), LeaderEpoch::NONE);
    assert_eq!(log.size_bytes(), 0);
}

#[test]
fn batches_that_do_not_continue_the_log_are_refused() {
    let house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    append(&mut log, 5, &[1, 2]).unwrap();
    for (base, epoch) in [(1, 5), (2, 4)] {
        let stale = batch(Offset(base), epoch, &[1], Codec::None);
        assert!(matches!(append_batch(&mut log, &stale), Err(LogError::OutOfOrder { .. })));
    }
    assert_eq!(
        append_batch(&mut log, &batch(Offset(10), 5, &[1], Codec::None)).unwrap(),
        Offset(11),
        "gaps are legal"
    );
}

#[test]
fn segments_roll_by_size_time_index_and_offset() {
    let roll = |config: LogConfig, append_all: &dyn Fn(&mut Log)| {
        let house = House::new(config);
        let (mut log, _) = house.open();
        append_all(&mut log);
        log.segments().map(|s| s.base.0).collect::<Vec<_>>()
    };
    let by_time = LogConfig { segment_ms: 100, ..LogConfig::default() };
    assert_eq!(
        roll(by_time, &|log| {
            for t in [1000, 1050, 1100, 1101, 1150] {
                append(log, 0, &[t]).unwrap();
            }
        }),
        [0, 3]
    );
    let by_index = LogConfig { index_interval_bytes: 1, segment_index_bytes_max: 24, ..LogConfig::default() };
    assert_eq!(
        roll(by_index, &|log| fill(log, 20)).len(),
        3,
        "three entries and the batch before them make a segment of four"
    );
    assert_eq!(
        roll(LogConfig::default(), &|log| {
            append(log, 0, &[1]).unwrap();
            append_batch(log, &batch(Offset(i64::from(i32::MAX)), 0, &[1], Codec::None)).unwrap();
            append_batch(log, &batch(Offset(i64::from(i32::MAX) + 1), 0, &[1], Codec::None)).unwrap();
            append_batch(log, &batch(Offset(1 << 40), 0, &[1], Codec::None)).unwrap();
        }),
        [0, 1 << 31, 1 << 40]
    );
}

#[test]
fn timestamps_are_found_exactly_inside_batches_too() {
    for codec in [Codec::None, Codec::Gzip, Codec::Lz4, Codec::Snappy, Codec::Zstd] {
        let house = House::new(small_segments());
        let (mut log, _) = house.open();
        assert_eq!(log.offset_for_timestamp(Timestamp(0)).unwrap(), None);
        assert_eq!(log.max_timestamp_offset().unwrap(), None);
        for base in (0..200).step_by(10) {
            let timestamps: Vec<i64> = (base..base + 10).map(|n| 1000 + 10 * n).collect();
            let next = batch(log.end(), 0, &timestamps, codec);
            append_batch(&mut log, &next).unwrap();
        }
        for (target, offset) in [(0, 0), (1000, 0), (1001, 1), (1010, 1), (1555, 56), (2990, 199)] {
            let found = log.offset_for_timestamp(Timestamp(target)).unwrap().unwrap();
            assert_eq!(
                (found.offset, found.timestamp),
                (Offset(offset), Timestamp(1000 + 10 * offset)),
                "{target}"
            );
        }
        assert_eq!(log.offset_for_timestamp(Timestamp(2991)).unwrap(), None);
        let late = batch(log.end(), 0, &[5, 9000, 9000, 7], codec);
        append_batch(&mut log, &late).unwrap();
        fill(&mut log, 230);
        assert_eq!(log.max_timestamp_offset().unwrap().unwrap().offset, Offset(201));
        log.advance_log_start(Offset(202), Timestamp(0)).unwrap();
        assert_eq!(
            log.max_timestamp_offset().unwrap().unwrap().offset,
            Offset(202),
            "deleted records do not count"
        );
        assert_eq!(log.offset_for_timestamp(Timestamp(1000)).unwrap().unwrap().offset, Offset(202));
    }
}

#[test]
fn retention_takes_whole_old_segments_and_the_log_start_stays_moved() {
    let config = LogConfig { retention_ms: Some(1000), file_delete_delay_ms: 500, ..small_segments() };
    let mut house = House::new(config);
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    let stats: Vec<_> = log.segments().collect();
    assert_eq!(log.retention_cut(Offset(100), Timestamp(500)), None);
    let now = Timestamp(stats[1].max_timestamp.0 + 1001);
    assert_eq!(log.retention_cut(Offset(100), now), Some(stats[1].end));
    assert_eq!(
        log.retention_cut(Offset(stats[1].end.0 - 1), now),
        Some(stats[0].end),
        "never beyond the bound"
    );
    log.advance_log_start(stats[1].end, now).unwrap();
    house.dir().recovery_points().write().unwrap();
    assert!(house.files().contains(&"00000000000000000000.log".to_owned()), "readers have time");
    assert_eq!(log.remove_doomed(now).unwrap(), Some(Timestamp(now.0 + 500)));
    assert_eq!(log.remove_doomed(Timestamp(now.0 + 500)).unwrap(), None);
    assert!(!house.files().contains(&"00000000000000000000.log".to_owned()));

    let far = Timestamp(1_000_000);
    assert_eq!(log.retention_cut(Offset(100), far), Some(Offset(100)), "the active segment too");
    log.advance_log_start(Offset(100), far).unwrap();
    assert_eq!((log.log_start(), log.end(), log.size_bytes()), (Offset(100), Offset(100), 0));
    house.dir().recovery_points().write().unwrap();
    house.crash(log);
    let (mut log, _) = house.open();
    assert_eq!((log.log_start(), log.end()), (Offset(100), Offset(100)), "offsets are never given again");
    assert_eq!(house.files().iter().filter(|f| f.ends_with(".log")).count(), 1);
    append(&mut log, 0, &[1]).unwrap();
    assert_eq!(offsets(&log, 100, 1 << 20, 101), [100]);
}

#[test]
fn retention_by_size_keeps_at_least_so_much() {
    let config = LogConfig { retention_bytes: Some(2500), ..small_segments() };
    let house = House::new(config);
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    let cut = log.retention_cut(Offset(100), Timestamp(0)).unwrap();
    log.advance_log_start(cut, Timestamp(0)).unwrap();
    assert!((2500..3500).contains(&log.size_bytes()), "{}", log.size_bytes());
    assert_eq!(log.retention_cut(Offset(100), Timestamp(0)), None);
}

#[test]
fn deleted_records_inside_a_segment_stay_deleted() {
    let mut house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 20);
    log.advance_log_start(Offset(7), Timestamp(0)).unwrap();
    log.advance_log_start(Offset(3), Timestamp(0)).unwrap();
    assert_eq!(log.log_start(), Offset(7), "the log start never moves back");
    assert!(log.advance_log_start(Offset(21), Timestamp(0)).is_err());
    house.dir().recovery_points().write().unwrap();
    house.crash(log);
    let (log, _) = house.open();
    assert_eq!(log.log_start(), Offset(7));
    assert!(matches!(log.read(Offset(6), 100, Offset(20), true), Err(LogError::OutOfRange { .. })));
}

#[test]
fn headers_are_listed_for_rebuilding_what_derives_from_the_log() {
    let house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    let bases =
        |from| log.batches_from(Offset(from)).map(|b| b.unwrap().header.base_offset.0).collect::<Vec<_>>();
    assert_eq!(bases(0), (0..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(bases(51), (50..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(bases(100), [0; 0]);
}

#[test]
fn a_failed_sync_poisons_the_log_at_once() {
    let house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 4);
    let job = log.flush_job(FlushScope::All).unwrap();
    assert!(log.flushed(&job.note, Err(std::io::ErrorKind::Other.into())).is_err());
    assert!(matches!(append(&mut log, 0, &[1]), Err(LogError::Poisoned { .. })));
    assert!(log.flush_job(FlushScope::All).is_none(), "no second sync, which would lie");
    assert_eq!(log.flushed_through(), Offset(0));
    assert!(log.close().is_err(), "a poisoned log is never closed in order");
}

#[test]
fn a_segment_that_goes_while_it_waits_for_its_sync_needs_none() {
    let house = House::new(LogConfig { file_delete_delay_ms: 0, ..small_segments() });
    let (mut log, _) = house.open();
    // More files than may be open: those of the oldest segments are closed.
    fill(&mut log, 1000);
    let job = log.flush_job(FlushScope::All).unwrap();
    log.advance_log_start(Offset(900), Timestamp(1)).unwrap();
    assert_eq!(log.remove_doomed(Timestamp(1)).unwrap(), None);
    let synced = job.run(&RealDisk);
    assert_eq!(log.flushed(&job.note, synced).unwrap(), Offset(1000));
    append(&mut log, 0, &[1]).unwrap();
}

#[test]
fn a_flush_noted_before_a_cut_says_nothing_about_what_came_after() {
    let house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 10);
    let job = log.flush_job(FlushScope::All).unwrap();
    log.truncate_to(Offset(4), Timestamp(0)).unwrap();
    while log.end().0 < 10 {
        append(&mut log, 1, &[1]).unwrap();
    }
    assert_eq!(log.flushed(&job.note, Ok(())).unwrap(), Offset(0));
    flush(&mut log);
    assert_eq!(log.flushed_through(), Offset(10));
}

#[test]
fn many_logs_live_with_few_descriptors() {
    let root = tempfile::tempdir().unwrap();
    let context = context(16);
    let config = DataDirConfig {
        path: root.path().to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        cluster_id_if_new: Some("c".to_owned()),
        directory_id_if_new: DirectoryId([7; 16]),
        initial_controllers_if_new: None,
        available_bytes_min: 0,
    };
    let dir = DataDir::open(context.clone(), &config).unwrap();
    let mut logs: Vec<Log> = (0..100)
        .map(|n| {
            let tp = TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(n) };
            dir.open_log("many", tp, LogConfig::default(), Timestamp(0)).unwrap().0
        })
        .collect();
    for _ in 0..3 {
        for log in &mut logs {
            append(log, 0, &[1]).unwrap();
        }
        assert!(context.files.len() <= 16);
    }
    assert!(logs.iter().all(|log| offsets(log, 0, 1000, 3) == [0, 1, 2]));
    assert_eq!(dir.logs().unwrap().len(), 100);
}

#[test]
fn a_deleted_log_makes_room_for_another_of_its_name() {
    let house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 10);
    let plan = log.read(Offset(0), 1 << 20, Offset(10), true).unwrap();
    house.dir().delete_log(&mut log).unwrap();
    assert!(append(&mut log, 0, &[1]).is_err());
    let again = TopicPartition { topic_id: TopicId([8; 16]), ..TP };
    let (new, _) = house.dir().open_log("t", again, LogConfig::default(), Timestamp(0)).unwrap();
    assert_eq!(new.end(), Offset(0));
    let mut bytes = vec![0; plan.regions[0].len];
    plan.regions[0].read_into(&mut bytes).unwrap();
    let deleted = house.dir().deleted().unwrap();
    assert_eq!(deleted.len(), 1);
    house.dir().remove_deleted(&deleted[0]).unwrap();
    assert!(house.dir().deleted().unwrap().is_empty());
    let error = house.try_open().unwrap_err();
    assert!(error.to_string().contains("belongs to topic id"), "{error}");
}

#[test]
fn a_sync_that_a_deletion_overtakes_is_no_disk_failure() {
    let house = House::new(LogConfig::default());
    let (mut log, _) = house.open();
    fill(&mut log, 10);
    let job = log.flush_job(FlushScope::All).unwrap();
    house.dir().delete_log(&mut log).unwrap();
    let gone = house.dir().deleted().unwrap();
    house.dir().remove_deleted(&gone[0]).unwrap();
    let result = job.run(&*house.dir().context().disk);
    assert!(result.is_err(), "its directory is gone");
    assert_eq!(
        log.flushed(&job.note, result).unwrap(),
        Offset(0),
        "nothing was made durable, and nothing failed"
    );
}

/// The log of another partition of the same shape: the same offsets and sizes, other records.
fn neighbour(house: &House) -> Log {
    let tp = TopicPartition { partition: PartitionIndex(1), ..TP };
    let (mut log, _) = house.dir().open_log("t", tp, house.config.clone(), Timestamp(0)).unwrap();
    while log.end().0 < 100 {
        let at = 5000 + log.end().0;
        append(&mut log, 0, &[at, at + 1]).unwrap();
    }
    log
}

/// Puts a file of the other partition in the place of this one's.
fn misdirect(house: &House, name: &str) {
    let other = house.root.path().join("data/t-1").join(name);
    std::fs::copy(other, house.file(name)).unwrap();
}

fn cause_of(result: Result<impl std::fmt::Debug, LogError>) -> String {
    match result {
        Err(LogError::Corrupt(corruption)) => corruption.to_string(),
        other => panic!("batches of another partition pass for this one's: {other:?}"),
    }
}

#[test]
fn a_finished_segment_of_another_partition_is_refused_when_it_is_read() {
    let mut house = House::new(small_segments());
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    let second = log.segments().nth(1).unwrap();
    neighbour(&house).close().unwrap();
    house.close(log);
    misdirect(&house, &format!("{:020}.log", second.base.0));
    let (log, _) = house.open();
    let read = |from: Offset| log.read(from, 1 << 20, from.plus(2), true);
    // Behind the last entry of an index nothing is known; all before it is.
    for from in (second.base.0..second.end.0 - 4).step_by(2) {
        let cause = cause_of(read(Offset(from)));
        assert!(cause.contains("are not those that were appended here"), "{cause}");
    }
    assert_eq!(offsets(&log, 0, 1 << 20, second.base.0), (0..second.base.0).collect::<Vec<_>>());
    let third = second.end.0;
    assert_eq!(offsets(&log, third, 1 << 20, 100), (third..100).collect::<Vec<_>>());
}

#[test]
fn an_active_segment_of_another_partition_is_refused_at_the_start() {
    let mut house = House::new(LogConfig { index_interval_bytes: 200, ..LogConfig::default() });
    let (mut log, _) = house.open();
    fill(&mut log, 100);
    neighbour(&house).close().unwrap();
    house.close(log);
    misdirect(&house, "00000000000000000000.log");
    let cause = cause_of(house.try_open());
    assert!(cause.contains("are not those that were appended here"), "{cause}");
    misdirect(&house, "00000000000000000000.index");
    let cause = cause_of(house.try_open());
    assert!(cause.contains("this is the index of partition 1"), "{cause}");
}
