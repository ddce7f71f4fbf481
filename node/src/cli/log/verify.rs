//! `highwater log verify`: a verdict on data as they lie on the disk.
//!
//! What is behind a log's recovery point was never promised to survive a power cut: damage there is a torn tail,
//! which the next start cuts off. Everywhere else damage is corruption, and what is missing is, too.

use super::super::output::{align_right, bytes, count, progress, table, text};
use super::super::{CliError, Output};
use super::places::{self, Lock, LogDir, Place, Segment};
use super::walk::{Next, Walk};
use crate::disk::RealDisk;
use crate::log::{
    FoundIndex, IndexFile, METADATA_FILE, RecoveryPoint, RecoveryPoints, decode_partition_metadata,
};
use clap::Args;
use highwater_core::batch::{BatchHeader, records};
use highwater_core::ids::{LeaderEpoch, Offset, TopicId, TopicPartition};
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Flags of `highwater log verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater log verify highwater-data
  highwater log verify highwater-data/orders-0 --records
  highwater log verify highwater-data --json | jq '.logs[] | select(.findings != [])'

While it runs no broker starts on the data. Exit codes: 0 whole, 1 corrupt, 2 not looked at.")]
pub(in crate::cli) struct VerifyArgs {
    /// A data directory, a partition's directory, or a segment file
    path: PathBuf,
    /// Read every record, too, which decompresses them
    #[arg(short, long)]
    records: bool,
    /// Look although a broker is running on the data; what it has not flushed yet is not judged
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Default, Serialize)]
struct Verdict {
    /// `whole`, `torn` (the next start cuts unflushed tails off) or `corrupt`.
    verdict: &'static str,
    logs: Vec<LogVerdict>,
}

#[derive(Debug, Default, Serialize)]
struct LogVerdict {
    log: String,
    segments: usize,
    batches: u64,
    records: i64,
    bytes: u64,
    log_start_offset: i64,
    log_end_offset: i64,
    /// Offsets that no batch has, as compaction leaves them.
    gaps: u64,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    /// False for a torn tail.
    is_corruption: bool,
    path: String,
    position: u64,
    offset: i64,
    cause: String,
}

/// Looks at everything and tells. Corruption is a failure.
pub(super) fn run(args: &VerifyArgs, output: Output) -> Result<(), CliError> {
    let data_dir = places::data_dir(&args.path);
    let lock = data_dir.as_deref().map(places::lock).transpose()?;
    let is_live = matches!(lock, Some(Lock::Taken));
    if is_live && !args.live {
        return Err(CliError::usage(format!(
            "a broker is running on {}: stop it first, or look at what it has flushed with --live",
            data_dir.unwrap_or_default().display()
        )));
    }
    let place = Place::find(&args.path)?;
    let mut verify =
        Verify { args, is_live, points: BTreeMap::new(), was_clean: false, bar: ProgressBar::hidden() };
    let verdict = verify.run(place, data_dir.as_deref())?;
    output.print(&verdict, |verdict| human(&args.path, verdict))?;
    match verdict.verdict {
        "corrupt" => Err(CliError::new(format!("{} is CORRUPT", args.path.display()))),
        _ => Ok(()),
    }
}

struct Verify<'a> {
    args: &'a VerifyArgs,
    is_live: bool,
    points: BTreeMap<TopicPartition, RecoveryPoint>,
    was_clean: bool,
    bar: ProgressBar,
}

/// How far a log has been followed.
struct Progress {
    /// Whose batches they should be; unknown for a file by itself.
    id: Option<TopicPartition>,
    /// The least offset that may come next; unknown before the first batch.
    next: Option<Offset>,
    epoch: LeaderEpoch,
    point: Option<RecoveryPoint>,
}

impl Verify<'_> {
    fn run(&mut self, place: Place, data_dir: Option<&Path>) -> Result<Verdict, CliError> {
        let mut damaged_points = None;
        if let Some(dir) = data_dir {
            match RecoveryPoints::read(&RealDisk, dir) {
                Ok((points, was_clean)) => (self.points, self.was_clean) = (points, was_clean),
                Err(error) => damaged_points = Some(error.to_string()),
            }
        }
        let is_whole_dir = matches!(place, Place::DataDir(_));
        let logs = match place {
            Place::DataDir(logs) => logs,
            Place::Log(log) => vec![log],
            Place::Segment(segment) => return self.lone_segment(&segment),
        };
        let len = logs.iter().flat_map(|log| &log.segments).map(|segment| segment.len).sum();
        self.bar = progress(
            Some(len),
            "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {msg}",
        );
        let mut verdict = Verdict::default();
        let mut ids = Vec::new();
        for log in &logs {
            self.bar.set_message(log.name());
            let (judged, id) = self.log(log)?;
            verdict.logs.push(judged);
            ids.extend(id.map(|topic_id| TopicPartition { topic_id, partition: log.partition }));
        }
        self.bar.finish_and_clear();
        if let (Some(cause), Some(dir)) = (damaged_points, data_dir) {
            verdict.logs.push(LogVerdict::of_dir(dir, cause));
        }
        if let Some(dir) = data_dir.filter(|_| is_whole_dir && !self.is_live) {
            let missing =
                self.points.iter().filter(|(tp, point)| point.flushed > point.log_start && !ids.contains(tp));
            for (tp, point) in missing {
                let cause = format!(
                    "partition {} of topic {} has no directory, but offsets {}..{} were flushed",
                    tp.partition, tp.topic_id, point.log_start, point.flushed
                );
                verdict.logs.push(LogVerdict::of_dir(dir, cause));
            }
        }
        Ok(verdict.judged())
    }

    /// A file by itself is followed from its own beginning.
    fn lone_segment(&self, segment: &Segment) -> Result<Verdict, CliError> {
        let mut progress = Progress { id: None, next: None, epoch: LeaderEpoch::NONE, point: None };
        let name = segment.path.display().to_string();
        let mut judged =
            LogVerdict { log: name, segments: 1, log_start_offset: segment.base.0, ..Default::default() };
        self.segment(segment, true, &mut progress, &mut judged)?;
        judged.log_end_offset = progress.next.unwrap_or(segment.base).0;
        Ok(Verdict { verdict: "", logs: vec![judged] }.judged())
    }

    fn log(&self, log: &LogDir) -> Result<(LogVerdict, Option<TopicId>), CliError> {
        let mut judged = LogVerdict { log: log.name(), segments: log.segments.len(), ..Default::default() };
        let metadata = log.path.join(METADATA_FILE);
        let topic_id = std::fs::read(&metadata).ok().and_then(|text| decode_partition_metadata(&text));
        if topic_id.is_none() {
            let cause = "the file that tells the topic's id is missing or damaged".to_owned();
            judged.find(true, &metadata, 0, -1, cause);
        }
        let partition = log.partition;
        let id = topic_id.map(|topic_id| TopicPartition { topic_id, partition });
        let point = id.and_then(|id| self.points.get(&id));
        let mut progress = Progress { id, next: None, epoch: LeaderEpoch::NONE, point: point.copied() };
        if let (Some(first), Some(point)) = (log.segments.first(), point)
            && first.base > point.log_start
            && !self.is_live
        {
            let cause = format!("the log begins here, but offset {} was not deleted", point.log_start);
            judged.find(true, &first.path, 0, first.base.0, cause);
        }
        let mut is_followed = true;
        for (i, segment) in log.segments.iter().enumerate() {
            // Behind damage nothing can be said about what is missing, but each file can be looked at.
            if !is_followed {
                progress.next = None;
            }
            is_followed = self.segment(segment, i + 1 == log.segments.len(), &mut progress, &mut judged)?;
        }
        let start = log.segments.first().map_or(Offset::ZERO, |segment| segment.base);
        judged.log_start_offset = point.map_or(start, |point| point.log_start).0;
        judged.log_end_offset = progress.next.unwrap_or(start).0.max(judged.log_start_offset);
        let has_damage = judged.findings.iter().any(|finding| finding.is_corruption);
        if let Some(point) = point
            && judged.log_end_offset < point.flushed.0
            && !has_damage
        {
            let cause = format!("the log ends here, but everything below {} was flushed", point.flushed);
            judged.find(true, &log.path, 0, judged.log_end_offset, cause);
        }
        Ok((judged, topic_id))
    }

    /// Follows one file. False if it could not be followed to its end.
    fn segment(
        &self,
        segment: &Segment,
        is_last: bool,
        progress: &mut Progress,
        judged: &mut LogVerdict,
    ) -> Result<bool, CliError> {
        let failed = |error| CliError::new(format!("{} cannot be read: {error}", segment.path.display()));
        let mut walk = match Walk::open(&segment.path) {
            Ok(walk) => walk,
            // Retention or compaction has removed it meanwhile.
            Err(error) if self.is_live && error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(failed(error)),
        };
        judged.bytes += walk.len;
        let mut next = progress.next.unwrap_or(segment.base).max(segment.base);
        if progress.next.is_some_and(|next| next > segment.base) {
            let cause = format!("the file begins at {}, inside the one before", segment.base);
            judged.find(true, &segment.path, 0, segment.base.0, cause);
        }
        let mut index = self.index(segment, is_last, progress, judged);
        loop {
            let position = walk.position;
            let mut hold = |end: u64, header: Option<&BatchHeader>, next: Offset, judged: &mut LogVerdict| {
                let Some((from, false)) = index.as_mut().and_then(|index| index.observe(end, header)) else {
                    return;
                };
                // What was never flushed may have been replaced since the index was written.
                if progress.point.is_none_or(|point| next <= point.flushed) || self.was_clean {
                    let cause =
                        "the batches up to the index's next entry are not those that were appended here";
                    judged.find(true, &segment.path, from, next.0, cause.to_owned());
                }
            };
            let cause = match walk.next().map_err(failed)? {
                Next::End => {
                    hold(position, None, next, judged);
                    break;
                }
                Next::Fault(cause) => cause,
                Next::Batch(found) => match self.check(&found, next, progress.epoch) {
                    Some(cause) => cause,
                    None => {
                        let header = &found.header;
                        hold(position, Some(header), next, judged);
                        let gap = header.base_offset.0 - next.0;
                        judged.gaps += if progress.next.is_some() { gap.unsigned_abs() } else { 0 };
                        judged.batches += 1;
                        judged.records += i64::from(header.record_count);
                        next = header.next_offset();
                        progress.next = Some(next);
                        progress.epoch = header.leader_epoch;
                        self.bar.inc(header.size_bytes() as u64);
                        continue;
                    }
                },
            };
            let was_flushed = progress.point.is_none_or(|point| next < point.flushed) || self.was_clean;
            let is_corruption = !is_last || was_flushed;
            progress.next = Some(next);
            // A running broker is just writing there.
            if is_corruption || !self.is_live {
                judged.find(is_corruption, &segment.path, position, next.0, cause);
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// The index beside a file, if it is there and the file's own.
    fn index(
        &self,
        segment: &Segment,
        is_last: bool,
        progress: &Progress,
        judged: &mut LogVerdict,
    ) -> Option<IndexFile> {
        let path = segment.path.with_extension("index");
        let bytes = std::fs::read(&path).ok().filter(|_| !self.is_live)?;
        match IndexFile::find(&bytes, progress.id?, segment.base) {
            FoundIndex::Own(index) => Some(index),
            FoundIndex::Foreign(other) if !is_last || self.was_clean => {
                let cause =
                    format!("this is the index of partition {} of topic {}", other.partition, other.topic_id);
                judged.find(true, &path, 0, segment.base.0, cause);
                None
            }
            FoundIndex::Foreign(_) | FoundIndex::Nothing => None,
        }
    }

    /// What is wrong with a batch that should continue a log at `next` in `epoch`.
    fn check(&self, found: &super::walk::Found, next: Offset, epoch: LeaderEpoch) -> Option<String> {
        let header = &found.header;
        if !found.crc_holds() {
            return Some("the batch's bytes do not have its checksum".to_owned());
        }
        if header.base_offset < next {
            return Some(format!(
                "the batch begins at offset {}, which the one before has, too",
                header.base_offset
            ));
        }
        if header.leader_epoch < epoch {
            return Some(format!("the batch is of epoch {}, the one before of {epoch}", header.leader_epoch));
        }
        if header.last_offset_delta < 0 {
            return Some(format!("the batch's last offset delta is {}", header.last_offset_delta));
        }
        if !self.args.records {
            return None;
        }
        let mut n = 0;
        let reader = match records(&found.bytes) {
            Ok(reader) => reader,
            Err(error) => return Some(error.to_string()),
        };
        for record in reader {
            match record {
                Ok(record) if record.offset < header.base_offset || record.offset > header.last_offset() => {
                    return Some(format!("a record at offset {} is outside its batch", record.offset));
                }
                Ok(_) => n += 1,
                Err(error) => return Some(error.to_string()),
            }
        }
        (n != header.record_count)
            .then(|| format!("the batch has {n} records, but tells of {}", header.record_count))
    }
}

impl LogVerdict {
    fn of_dir(dir: &Path, cause: String) -> Self {
        let mut judged = Self { log: "data directory".to_owned(), ..Self::default() };
        judged.find(true, dir, 0, -1, cause);
        judged
    }

    fn find(&mut self, is_corruption: bool, path: &Path, position: u64, offset: i64, cause: String) {
        let path = path.display().to_string();
        self.findings.push(Finding { is_corruption, path, position, offset, cause });
    }
}

impl Verdict {
    fn judged(mut self) -> Self {
        let mut findings =
            self.logs.iter().flat_map(|log| &log.findings).map(|finding| finding.is_corruption);
        self.verdict = match findings.clone().count() {
            0 => "whole",
            _ if findings.any(|is_corruption| is_corruption) => "corrupt",
            _ => "torn",
        };
        self
    }
}

fn human(path: &Path, verdict: &Verdict) -> String {
    let mut table =
        table(["LOG", "SEGMENTS", "BATCHES", "RECORDS", "SIZE", "LOG START", "LOG END", "GAPS", ""]);
    align_right(&mut table, &[1, 2, 3, 4, 5, 6, 7]);
    let is_shown = |log: &&LogVerdict| log.batches > 0 || !log.findings.is_empty();
    for log in verdict.logs.iter().filter(is_shown) {
        let corrupt = log.findings.iter().any(|finding| finding.is_corruption);
        let word = match log.findings.is_empty() {
            true => "ok",
            false if corrupt => "CORRUPT",
            false => "torn tail",
        };
        table.add_row([
            log.log.clone(),
            log.segments.to_string(),
            log.batches.to_string(),
            log.records.to_string(),
            bytes(log.bytes),
            log.log_start_offset.to_string(),
            log.log_end_offset.to_string(),
            log.gaps.to_string(),
            word.to_owned(),
        ]);
    }
    let empty = verdict.logs.len() - verdict.logs.iter().filter(is_shown).count();
    let mut out = if table.is_empty() { String::new() } else { text(&table) };
    if empty > 0 {
        out.push_str(&format!("and {}\n", count(empty as u64, "empty log", "empty logs")));
    }
    for finding in verdict.logs.iter().flat_map(|log| &log.findings) {
        let offset =
            if finding.offset >= 0 { format!(" (offset {})", finding.offset) } else { String::new() };
        out.push_str(&format!("{} at byte {}{offset}: {}\n", finding.path, finding.position, finding.cause));
    }
    let logs = count(verdict.logs.len() as u64, "log", "logs");
    let size = bytes(verdict.logs.iter().map(|log| log.bytes).sum());
    let path = path.display();
    out.push_str(&match verdict.verdict {
        "whole" => format!("{path} is whole: {logs}, {size}\n"),
        "torn" => {
            format!("{path} is whole but for tails that were never flushed; the next start cuts them off\n")
        }
        _ => format!("{path} is CORRUPT: no broker will serve the logs named above\n"),
    });
    out
}
