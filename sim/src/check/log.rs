//! Oracles over a partition's log: what a crash left of it, and what the replica derived from it.

use bytes::Bytes;
use highwater::log::{Log, LogError};
use highwater::partition::Partition;
use highwater_core::batch::{self, BatchHeader};
use highwater_core::ids::ProducerId;
use highwater_core::replica::{Producers, Replica};
use std::collections::BTreeMap;

/// One batch as it lies in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedBatch {
    /// Its header.
    pub header: BatchHeader,
    /// The records' offsets and values.
    pub records: Vec<(i64, Bytes)>,
}

/// A log at one moment.
#[derive(Clone, Debug, Default)]
pub struct LogDump {
    /// The log start.
    pub start: i64,
    /// The log end.
    pub end: i64,
    /// What the log says is flushed.
    pub flushed: i64,
    /// Whether a write or sync has failed, or the outcome of an append is owed: what lies behind the end is unknown.
    pub is_tail_unknown: bool,
    /// The batches that reach into the log, in order.
    pub batches: Vec<DumpedBatch>,
}

impl LogDump {
    /// Reads a partition's log.
    pub fn of(partition: &Partition) -> Result<Self, String> {
        let dump = partition.inspect(|_, log| Self::read(log)).map_err(|broken| broken.to_string())?;
        dump.map_err(|error| format!("{}: the log does not read: {error}", partition.topic()))
    }

    /// Reads the log of metadata.
    pub fn of_log(log: &Log) -> Result<Self, String> {
        Self::read(log).map_err(|error| format!("the metadata log does not read: {error}"))
    }

    fn read(log: &Log) -> Result<Self, Box<dyn std::error::Error>> {
        let mut dump = Self {
            start: log.log_start().0,
            end: log.settled_end().0,
            flushed: log.flushed_through().0,
            is_tail_unknown: log.poisoned().is_some() || log.pending().is_some(),
            batches: Vec::new(),
        };
        for located in log.batches_from(log.log_start()) {
            let header = located?.header;
            if header.base_offset.0 >= dump.end {
                break;
            }
            let bytes = log.read_batch(header.base_offset)?.ok_or("a batch that was listed is gone")?;
            if !batch::crc_holds(&bytes) {
                return Err(
                    format!("O41: the batch at offset {} has a bad checksum", header.base_offset).into()
                );
            }
            let mut records = Vec::new();
            for record in batch::records(&bytes.into())? {
                let record = record?;
                records.push((record.offset.0, record.value.unwrap_or_default()));
            }
            dump.batches.push(DumpedBatch { header, records });
        }
        Ok(dump)
    }

    /// The values by offset, from the log start on.
    pub fn values(&self) -> BTreeMap<i64, Bytes> {
        let records = self.batches.iter().flat_map(|batch| &batch.records);
        records.filter(|(offset, _)| *offset >= self.start).cloned().collect()
    }
}

/// What a crash may have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: the process died and the page cache stayed.
    Nothing,
    /// Everything that was not flushed.
    Unflushed,
}

/// O40: after a crash the log is a prefix of what was written and covers everything that must have stayed.
/// `flushed` is what was durable at the moment of the crash.
pub fn log_is_a_prefix(
    topic: &str,
    before: &LogDump,
    after: &LogDump,
    cut: Cut,
    flushed: i64,
) -> Result<(), String> {
    let must_reach = if cut == Cut::Nothing { before.end } else { flushed };
    if after.end < must_reach {
        return Err(format!(
            "{topic}: the log ended at {} with {flushed} flushed, and ends at {} after {cut:?} was cut",
            before.end, after.end
        ));
    }
    if after.end > before.end && !before.is_tail_unknown {
        return Err(format!("{topic}: the log ended at {} and now ends at {}", before.end, after.end));
    }
    let (from, to) = (before.start.max(after.start), before.end.min(after.end));
    let within = |dump: &LogDump| -> Vec<DumpedBatch> {
        let inside = |b: &&DumpedBatch| b.header.base_offset.0 >= from && b.header.base_offset.0 < to;
        dump.batches.iter().filter(inside).cloned().collect()
    };
    let (old, new) = (within(before), within(after));
    if let Some((old, new)) = old.iter().zip(&new).find(|(old, new)| old != new) {
        return Err(format!("{topic}: the crash changed {:?} to {:?}", old.header, new.header));
    }
    if old.len() != new.len() {
        return Err(format!(
            "{topic}: of {} batches {} are left between {from} and {to}",
            old.len(),
            new.len()
        ));
    }
    Ok(())
}

/// O15: the producer state is a function of the log: what a full scan gives. Batches below the log start may still
/// be remembered, and nothing else may.
pub fn producers_match_scan(topic: &str, replica: &Replica, log: &Log) -> Result<(), String> {
    if log.pending().is_some() {
        return Ok(()); // the replica knows of appends that wait behind the one that is owed
    }
    if log.poisoned().is_some() {
        return Ok(()); // it serves nothing, and its last append is not in the log
    }
    let scanned = scan(log).map_err(|error| format!("{topic}: {error}"))?;
    let start = log.log_start();
    let live: BTreeMap<ProducerId, _> = replica.producers().iter().collect();
    for (id, producer) in scanned.iter() {
        let Some(known) = live.get(&id) else {
            return Err(format!("{topic}: producer {id} wrote to the log and is forgotten"));
        };
        let kept: Vec<_> = known.batches.iter().filter(|b| b.last_offset >= start).collect();
        let there: Vec<_> = producer.batches.iter().filter(|b| b.last_offset >= start).collect();
        if known.epoch != producer.epoch || kept != there {
            return Err(format!("{topic}: producer {id} is {known:?}, and {producer:?} by a scan"));
        }
    }
    for (id, producer) in &live {
        let of_the_log = producer.batches.iter().filter(|b| b.last_offset >= start).count();
        if of_the_log > 0 && scanned.iter().all(|(scanned, _)| scanned != *id) {
            return Err(format!("{topic}: producer {id} wrote nothing to the log and is {producer:?}"));
        }
    }
    Ok(())
}

fn scan(log: &Log) -> Result<Producers, LogError> {
    let mut producers = Producers::new();
    for located in log.batches_from(log.log_start()) {
        producers.observe(&located?.header);
    }
    Ok(producers)
}
