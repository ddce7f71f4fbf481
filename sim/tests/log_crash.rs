//! The partition log on a disk that loses what was not synced, crashed between any two disk operations.
//!
//! O40: after a crash the log is a prefix of what was written and covers everything flushed; no half batch, no
//! invention. O41: rot below the recovery point is reported and nothing is cut. O36: of each key the newest
//! record below the end is there, at its offset.

use bytes::Bytes;
use highwater::disk::{Disk, Submitted};
use highwater::log::{
    CleaningRules, CleaningStep, DataDir, DataDirConfig, FlushScope, Log, LogConfig, LogContext, LogError,
    OpenFiles,
};
use highwater_core::batch::{Builder, Codec, crc_holds, records, stamp};
use highwater_core::ids::{
    BrokerId, DirectoryId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition,
};
use highwater_core::time::Timestamp;
use highwater_sim::disk::{DiskFaults, SimDisk};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TP: TopicPartition = TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(0) };
const NOW: Timestamp = Timestamp(1_000_000);

#[derive(Clone, Debug)]
enum Step {
    /// A batch of so many records with values of so many bytes.
    Append(u8, u16),
    Roll,
    Flush,
    Checkpoint,
    /// Cut off the last so many offsets; an epoch begins, as always after a truncation.
    Truncate(u8),
    /// Move the log start up by so many offsets.
    AdvanceStart(u8),
    Clean,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4u8, 1..900u16).prop_map(|(n, size)| Step::Append(n, size)),
        1 => Just(Step::Roll),
        3 => Just(Step::Flush),
        2 => Just(Step::Checkpoint),
        1 => (1..8u8).prop_map(Step::Truncate),
        1 => (1..8u8).prop_map(Step::AdvanceStart),
        2 => Just(Step::Clean),
    ]
}

/// One life of a node: what it does, after how many disk operations it dies, and whether power goes with it.
#[derive(Clone, Debug)]
struct Life {
    steps: Vec<Step>,
    dies_after: u64,
    is_power_cut: bool,
}

fn life() -> impl Strategy<Value = Life> {
    (prop::collection::vec(step(), 1..40), 0..160u64, any::<bool>())
        .prop_map(|(steps, dies_after, is_power_cut)| Life { steps, dies_after, is_power_cut })
}

/// What the log held at some moment: offset to key and value.
type Contents = BTreeMap<i64, (Vec<u8>, Vec<u8>)>;

/// What the log may turn out to be after a crash.
#[derive(Clone, Debug, Default)]
struct Model {
    now: Contents,
    /// What was there before a step that a kill cut short: a power cut may bring it back until there was a flush.
    revivable: Option<Contents>,
    end: i64,
    log_start: i64,
    /// The log start that the device knows.
    log_start_kept: i64,
    flushed: i64,
    /// The end of the log at its last cleaning.
    cleaned: i64,
    epoch: i32,
    written: u32,
    is_compacted: bool,
}

struct Node {
    dir: DataDir,
    log: Log,
}

fn open_dir(disk: &SimDisk) -> Result<DataDir, String> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let context = LogContext { disk, files: OpenFiles::new(4) };
    let dir_config = DataDirConfig {
        path: PathBuf::from("/data"),
        node_id: BrokerId(1),
        cluster_id: None,
        cluster_id_if_new: Some("c".to_owned()),
        directory_id_if_new: DirectoryId([7; 16]),
        initial_controllers_if_new: None,
        available_bytes_min: 0,
    };
    DataDir::open(context, &dir_config).map_err(|e| e.to_string())
}

fn start(disk: &SimDisk, config: LogConfig) -> Result<Node, String> {
    let dir = open_dir(disk)?;
    let (log, _) = dir.open_log("t", TP, config, NOW).map_err(|e| e.to_string())?;
    Ok(Node { dir, log })
}

fn config(is_compacted: bool) -> LogConfig {
    LogConfig {
        segment_bytes: 2000,
        index_interval_bytes: 200,
        file_delete_delay_ms: 0,
        is_compact_policy: is_compacted,
        dirty_billionths_min: 1_000_000,
        ..LogConfig::default()
    }
}

impl Model {
    fn append(&mut self, log: &mut Log, count: u8, size: u16) -> Result<(), LogError> {
        let mut builder = Builder::new(if size.is_multiple_of(3) { Codec::Lz4 } else { Codec::None });
        let mut added = Vec::new();
        for i in 0..count {
            let key = vec![b'k', (self.written % 5) as u8];
            let mut value = format!("{} ", self.written).into_bytes();
            value.resize(usize::from(size).max(value.len()), b'.');
            builder.push(NOW, Some(&key), Some(&value), &[]);
            added.push((self.end + i64::from(i), (key, value)));
            self.written += 1;
        }
        let batch = stamp(&builder.build(), Offset(self.end), LeaderEpoch(self.epoch), None);
        match log.append(&batch.header, batch.head(), batch.rest(), NOW) {
            Submitted::Done(Ok(appended)) => assert_eq!(appended.end.0, self.end + i64::from(count)),
            Submitted::Done(Err(error)) => return Err(error),
            Submitted::Pending(_) => panic!("the disk is not slow here"),
        }
        self.now.extend(added);
        self.end += i64::from(count);
        Ok(())
    }

    /// Carries out a step on the log and notes what may be found from now on.
    fn step(&mut self, node: &mut Node, disk: &SimDisk, step: &Step) -> Result<(), LogError> {
        let log = &mut node.log;
        match step {
            Step::Append(count, size) => self.append(log, *count, *size)?,
            Step::Roll => log.roll(NOW)?,
            Step::Flush => {
                if let Some(job) = log.flush_job(FlushScope::All) {
                    let result = job.run(disk);
                    let through = log.flushed(&job.note, result)?;
                    if !disk.is_frozen() {
                        self.flushed = through.0;
                        self.revivable = None;
                    }
                }
            }
            Step::Checkpoint => {
                node.dir.recovery_points().write()?;
                self.start_kept(log, disk);
            }
            Step::Truncate(n) => {
                // The cleaner stays below the high watermark, and no replica truncates below that.
                let to = (self.end - i64::from(*n)).max(self.log_start).max(self.cleaned);
                self.flushed = self.flushed.min(to);
                let end = log.truncate_to(Offset(to), NOW)?.0;
                self.now.retain(|offset, _| *offset < end);
                self.end = end;
                self.flushed = self.flushed.min(end);
                self.log_start = self.log_start.min(end);
                self.log_start_kept = self.log_start_kept.min(end);
                self.epoch += 1;
            }
            Step::AdvanceStart(n) => {
                let to = (self.log_start + i64::from(*n)).min(self.end);
                log.advance_log_start(Offset(to), NOW)?;
                self.log_start = log.log_start().0;
                node.dir.recovery_points().write()?;
                self.start_kept(log, disk);
                log.remove_doomed(NOW)?;
            }
            Step::Clean => {
                self.cleaned = self.end;
                Self::clean(log)?;
            }
        }
        Ok(())
    }

    fn start_kept(&mut self, log: &Log, disk: &SimDisk) {
        if !disk.is_frozen() {
            self.log_start_kept = log.log_start().0;
        }
    }

    fn clean(log: &mut Log) -> Result<(), LogError> {
        let rules = CleaningRules { bound: log.end(), producer_offsets: BTreeSet::new(), keys_max: 1000 };
        let Some(mut cleaning) = log.plan_cleaning(rules, NOW) else { return Ok(()) };
        loop {
            match cleaning.step(500)? {
                CleaningStep::More => {}
                CleaningStep::Swap => drop(log.swap_cleaned(&mut cleaning)?),
                CleaningStep::Done => break,
            }
        }
        log.finish_cleaning(cleaning);
        Ok(())
    }

    /// Whether the log found is one that this life may have left; what was found becomes the truth.
    fn check(&mut self, log: &Log, crossing: &Model, is_power_cut: bool) -> Result<(), TestCaseError> {
        let found = contents(log);
        let end = log.end().0;
        let start = log.log_start().0;
        let floor = self.flushed.min(crossing.flushed);
        prop_assert!(end >= floor, "ends at {end}, but {floor} was flushed");
        if !is_power_cut {
            let least = self.end.min(crossing.end);
            prop_assert!(end >= least, "a kill alone lost records from {end} to {least}");
        }
        let kept = self.log_start_kept.min(crossing.log_start_kept);
        prop_assert!(start >= kept.min(end), "the log start {start} went back below {kept}");
        prop_assert!(
            start <= self.log_start.max(crossing.log_start),
            "the log start {start} was never so high"
        );
        let mut candidates = vec![&self.now, &crossing.now];
        candidates.extend(self.revivable.iter().filter(|_| is_power_cut));
        prop_assert!(
            candidates.iter().any(|candidate| is_prefix(&found, candidate, start, end, self.is_compacted)),
            "offsets {:?} from {start} to {end} are none of {:?}",
            found.keys().collect::<Vec<_>>(),
            candidates.iter().map(|c| (c.keys().next(), c.keys().last())).collect::<Vec<_>>()
        );
        if is_power_cut {
            self.revivable = None;
        } else if crossing.now != found {
            self.revivable = Some(crossing.now.clone());
        }
        self.now = found;
        self.end = end;
        self.log_start = start;
        self.log_start_kept = kept.min(start);
        self.flushed = log.flushed_through().0;
        self.cleaned = self.cleaned.min(end);
        // As after every election.
        self.epoch = self.epoch.max(crossing.epoch) + 1;
        self.written = self.written.max(crossing.written);
        Ok(())
    }
}

/// Whether `found` is `candidate` from the log start up to `end`.
fn is_prefix(found: &Contents, candidate: &Contents, start: i64, end: i64, is_compacted: bool) -> bool {
    let wanted: Contents = candidate.range(start..end.max(start)).map(|(o, r)| (*o, r.clone())).collect();
    let found_above: Contents = found.range(start..).map(|(o, r)| (*o, r.clone())).collect();
    if !is_compacted {
        return wanted == found_above;
    }
    let is_subset = found_above.iter().all(|(offset, record)| wanted.get(offset) == Some(record));
    let mut newest = BTreeMap::new();
    for (offset, (key, _)) in &wanted {
        newest.insert(key.clone(), *offset);
    }
    is_subset && newest.values().all(|offset| found_above.contains_key(offset))
}

/// Every record that is left, by the bytes of its batch, which must be whole.
fn contents(log: &Log) -> Contents {
    let mut found = Contents::new();
    let plan =
        log.read(log.log_start(), usize::MAX >> 1, log.end(), true).expect("the log start is readable");
    for region in &plan.regions {
        let mut piece = vec![0; region.len];
        region.read_into(&mut piece).expect("what the log holds is readable");
        let mut bytes = Bytes::from(piece);
        while !bytes.is_empty() {
            let batch = records(&bytes).expect("only whole batches are left");
            let size = batch.batch().size_bytes();
            assert!(crc_holds(&bytes[..size]), "a batch with a bad checksum is served");
            for record in batch {
                let record = record.expect("a whole batch parses");
                let key = record.key.expect("all have keys").to_vec();
                let value = record.value.expect("all have values").to_vec();
                assert!(found.insert(record.offset.0, (key, value)).is_none(), "an offset occurs twice");
            }
            bytes = bytes.slice(size..);
        }
    }
    found
}

/// The index answers as a scan of all headers would.
fn check_index(log: &Log) -> Result<(), TestCaseError> {
    let batches: Vec<_> =
        log.batches_from(Offset(0)).map(|b| b.expect("headers are readable").header).collect();
    for offset in log.log_start().0..log.end().0 {
        let scanned = batches.iter().find(|b| b.last_offset().0 >= offset).map(|b| b.base_offset);
        let indexed = log.read(Offset(offset), 1, log.end(), true).expect("in range").first_offset;
        prop_assert_eq!(indexed, scanned, "offset {}", offset);
    }
    Ok(())
}

fn live_and_crash(seed: u64, lives: &[Life], is_compacted: bool) -> Result<(), TestCaseError> {
    let mut disk = SimDisk::new(seed);
    let mut model = Model { is_compacted, ..Model::default() };
    for life in lives {
        disk.freeze_after(life.dies_after);
        let mut before = model.clone();
        // The crash may fall into the start itself.
        if let Ok(mut node) = start(&disk, config(is_compacted)) {
            if !disk.is_frozen() {
                model.check(&node.log, &before, false)?;
            }
            for step in &life.steps {
                if disk.is_frozen() {
                    break;
                }
                before = model.clone();
                model
                    .step(&mut node, &disk, step)
                    .map_err(|e| TestCaseError::fail(format!("{step:?}: {e}")))?;
            }
        }
        disk = if life.is_power_cut { disk.power_cut() } else { disk.kill() };
        let node = start(&disk, config(is_compacted)).map_err(TestCaseError::fail)?;
        model.check(&node.log, &before, life.is_power_cut)?;
        check_index(&node.log)?;
        drop(node);
        disk = disk.kill();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_survives_crashes_between_any_two_operations(
        seed in any::<u64>(),
        lives in prop::collection::vec(life(), 1..4),
    ) {
        live_and_crash(seed, &lives, false)?;
    }

    #[test]
    fn a_compacted_log_survives_crashes_between_any_two_operations(
        seed in any::<u64>(),
        lives in prop::collection::vec(life(), 1..4),
    ) {
        live_and_crash(seed, &lives, true)?;
    }

    #[test]
    fn rot_below_the_recovery_point_is_reported_and_nothing_is_cut(
        sizes in prop::collection::vec(1..400u16, 1..20),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
        is_power_cut in any::<bool>(),
    ) {
        let disk = SimDisk::new(1);
        let mut model = Model::default();
        let one_segment = LogConfig { segment_bytes: 1 << 20, ..config(false) };
        let mut node = start(&disk, one_segment.clone()).map_err(TestCaseError::fail)?;
        for size in &sizes {
            model.append(&mut node.log, 1, *size).map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
        node.log.close().map_err(|e| TestCaseError::fail(e.to_string()))?;
        node.dir.recovery_points().write().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let len = node.log.size_bytes();
        let disk = if is_power_cut { disk.power_cut() } else { disk.kill() };
        let path = Path::new("/data/t-0/00000000000000000000.log");
        let index_path = Path::new("/data/t-0/00000000000000000000.index");
        // Without its index the whole segment has to be read again, below the recovery point.
        let _ = disk.remove(index_path);
        disk.flip_bit(path, at.index(len as usize) as u64, bit).expect("the segment is there");
        match start(&disk, one_segment) {
            Err(error) => prop_assert!(error.contains("is corrupt at byte"), "{}", error),
            // A batch's length, offset or epoch may rot into another that continues the log: the CRC covers
            // neither, so these bits are the index's to guard.
            Ok(node) => prop_assert!(node.log.end().0 >= model.end, "records were cut"),
        }
        prop_assert_eq!(disk.open(path, highwater::disk::OpenMode::Read).and_then(|f| f.len()).ok(), Some(len));
    }
}

/// A kill in the middle of a truncation left the page cache cut and the device not; the power cut at the next start
/// brought the tail back. Nobody was told of the truncation, and whoever follows compares epochs and cuts again.
#[test]
fn a_truncation_that_a_kill_cut_short_may_be_undone_by_a_power_cut() {
    use Step::*;
    let steps = vec![
        Append(1, 1),
        Truncate(1),
        Append(2, 1),
        Append(2, 1),
        Append(2, 431),
        Append(2, 223),
        Append(3, 89),
        Roll,
        Append(1, 161),
        Append(3, 1),
        Append(2, 1),
        Truncate(1),
        Append(2, 457),
        Checkpoint,
        Checkpoint,
        Append(1, 71),
        Roll,
        Flush,
        AdvanceStart(1),
        Append(1, 1),
        Checkpoint,
        Truncate(2),
    ];
    let lives = [
        Life { steps: vec![Append(1, 1)], dies_after: 17, is_power_cut: true },
        Life { steps, dies_after: 78, is_power_cut: false },
        Life { steps: vec![Append(1, 481)], dies_after: 5, is_power_cut: true },
    ];
    live_and_crash(10_259_034_937_449_112_478, &lives, false).expect("a sound log");
}

#[test]
fn a_full_disk_takes_the_log_offline_and_loses_nothing_acknowledged() {
    let disk = SimDisk::new(3);
    let mut model = Model::default();
    let mut node = start(&disk, config(false)).expect("a fresh disk");
    disk.inject(DiskFaults { capacity_bytes: Some(20_000), ..DiskFaults::default() });
    let error = loop {
        if let Err(error) = model.append(&mut node.log, 1, 300) {
            break error;
        }
    };
    assert!(error.is_disk_full(), "{error}");
    assert!(error.to_string().starts_with("cannot append to /data/t-0/"), "{error}");
    assert!(matches!(model.append(&mut node.log, 1, 1), Err(LogError::Poisoned { .. })));
    let disk = disk.kill();
    disk.inject(DiskFaults::default());
    let node = start(&disk, config(false)).expect("the half batch is cut");
    assert_eq!(contents(&node.log), model.now);
}

#[test]
fn what_a_failed_sync_covered_is_never_called_flushed() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        let mut node = start(&disk, config(false)).expect("a fresh disk");
        disk.inject(DiskFaults { sync_error_permille: 300, ..DiskFaults::default() });
        for _ in 0..20 {
            if model.append(&mut node.log, 2, 100).is_err() {
                break;
            }
            let _ = model.step(&mut node, &disk, &Step::Flush);
        }
        let before = model.clone();
        let disk = disk.power_cut();
        disk.inject(DiskFaults::default());
        let node = start(&disk, config(false)).expect("an unclean end is no corruption");
        model.check(&node.log, &before, true).expect("everything flushed is there");
    }
}

#[test]
fn a_log_that_could_not_be_emptied_can_still_be_looked_at() {
    let mut failed = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        let mut node = start(&disk, config(false)).expect("a fresh disk");
        for step in [Step::Append(2, 300), Step::Roll, Step::Append(2, 300), Step::Flush] {
            model.step(&mut node, &disk, &step).expect("nothing fails");
        }
        disk.inject(DiskFaults { sync_error_permille: 300, ..DiskFaults::default() });
        // A follower starts over behind its end, or below its start.
        let reset = node.log.reset_to(Offset(if seed % 2 == 0 { 40 } else { 0 }), NOW);
        failed += usize::from(reset.is_err());
        assert_eq!(reset.is_err(), node.log.poisoned().is_some());
        // Whoever describes the node's logs asks this of all of them.
        assert_eq!(node.log.settled_end(), node.log.end());
        assert!(node.log.segments().len() >= 1 && !node.log.is_dirty(FlushScope::All));
        let _ = node.log.read(node.log.log_start(), 1000, node.log.end(), true);
    }
    assert!(failed > 20, "only {failed} resets failed");
}

#[test]
fn an_index_entry_from_before_a_truncation_does_not_lead_recovery_astray() {
    // The log grows again to exactly the size that an entry saved before the cut speaks of.
    let steps = [
        Step::Append(1, 1),
        Step::Append(1, 400),
        Step::Append(1, 1),
        Step::Roll,
        Step::Truncate(2),
        Step::Append(1, 1),
        Step::Append(1, 328),
        Step::Flush,
        Step::Checkpoint,
    ];
    let disk = SimDisk::new(0);
    let mut model = Model::default();
    let mut node = start(&disk, config(false)).expect("a fresh disk");
    let mut third_batch_at = 0;
    for (i, step) in steps.iter().enumerate() {
        if i == 2 {
            third_batch_at = node.log.size_bytes();
        }
        model.step(&mut node, &disk, step).expect("nothing fails");
    }
    assert_eq!(node.log.size_bytes(), third_batch_at);
    let node = start(&disk.kill(), config(false)).expect("nothing is corrupt");
    assert_eq!(contents(&node.log), model.now);
}

#[test]
fn a_directory_that_got_its_name_back_gives_its_records_to_nobody() {
    // A topic was deleted and another of its name made. The power cut took the renaming of the old directory and its
    // identity, and left its records: without an identity they are nobody's (ST-07, PR-15).
    let successor = TopicPartition { topic_id: TopicId([8; 16]), ..TP };
    let mut nameless = 0;
    for seed in 0..400 {
        let disk = SimDisk::new(seed);
        let mut node = start(&disk, config(false)).expect("a fresh disk");
        Model::default().step(&mut node, &disk, &Step::Append(1, 300)).expect("nothing fails");
        disk.sync_dir(Path::new("/data")).now().expect("nothing fails");
        disk.sync_dir(Path::new("/data/t-0")).now().expect("nothing fails");
        node.dir.delete_log(&mut node.log).expect("nothing fails");
        node.dir.open_log("t", successor, config(false), NOW).expect("the name is free");
        let disk = disk.power_cut();
        let has_records = |entry: &highwater::disk::DirEntry| entry.name.ends_with(".log") && entry.len > 0;
        let left = disk.list(Path::new("/data/t-0")).unwrap_or_default();
        match open_dir(&disk).expect("the directory's own files are durable").open_log(
            "t",
            successor,
            config(false),
            NOW,
        ) {
            Ok((log, _)) => {
                nameless += usize::from(left.iter().any(has_records));
                assert_eq!(log.end(), Offset(0), "seed {seed}: the successor begins empty");
            }
            Err(error) => assert!(error.to_string().contains("belongs to topic id"), "{error}"),
        }
    }
    assert!(nameless > 10, "only {nameless} power cuts left records without an identity");
}
