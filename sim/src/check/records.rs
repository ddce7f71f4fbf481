//! Oracles over records: what was acknowledged, what was read, what lies in the log.

use super::log::LogDump;
use crate::history::PartitionHistory;
use bytes::Bytes;
use highwater_core::ids::Sequence;
use std::collections::{BTreeMap, BTreeSet};

fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(value.split(|b| *b == b'.').next().unwrap_or_default()).into_owned()
}

/// O1: each acks=all record acknowledged stays at its offset with its bytes, until something may delete it.
pub fn acked_records_stay(history: &PartitionHistory, log: &LogDump) -> Result<(), String> {
    let kept_from = log.start;
    if kept_from > history.removable_before && !history.is_retained && kept_from > 0 {
        return Err(format!(
            "{}: the log starts at {kept_from}, and nobody asked to delete beyond {}",
            history.topic, history.removable_before
        ));
    }
    let found = log.values();
    for (offset, value) in history.acked.range(kept_from..) {
        match found.get(offset) {
            Some(there) if there == value => {}
            Some(there) => {
                return Err(format!(
                    "{}: offset {offset} was acknowledged as {} and holds {}",
                    history.topic,
                    text(value),
                    text(there)
                ));
            }
            None => {
                return Err(format!(
                    "{}: acknowledged record {} is not at offset {offset}; the log is {} to {}",
                    history.topic,
                    text(value),
                    log.start,
                    log.end
                ));
            }
        }
    }
    Ok(())
}

/// O13: what a request deleted, and was answered for, stays deleted: a log that is long enough starts there or later.
pub fn deleted_records_stay_away(history: &PartitionHistory, log: &LogDump) -> Result<(), String> {
    let floor = history.removed_before.min(log.end);
    never_decreases(&history.topic, "log start", floor, log.start)
}

/// O2: what any reader saw at an offset is what every reader sees there later, and what the produce answer said.
pub fn readers_agree(history: &PartitionHistory, offset: i64, value: &Bytes) -> Result<(), String> {
    for (who, known) in [("a reader saw", &history.seen), ("a producer was told of", &history.acked)] {
        if let Some(known) = known.get(&offset).filter(|known| *known != value) {
            return Err(format!(
                "{}: at offset {offset} {who} {}, a reader now sees {}",
                history.topic,
                text(known),
                text(value)
            ));
        }
    }
    Ok(())
}

/// O2 on the log itself, at rest: it holds what readers saw.
pub fn seen_records_stay(history: &PartitionHistory, log: &LogDump) -> Result<(), String> {
    let found = log.values();
    for (offset, value) in history.seen.range(log.start..) {
        if found.get(offset) != Some(value) {
            let there = found.get(offset).map_or_else(|| "nothing".to_owned(), text);
            return Err(format!(
                "{}: a reader saw {} at offset {offset}, where the log now has {there}",
                history.topic,
                text(value)
            ));
        }
    }
    Ok(())
}

/// O3: a sequence occurs once per producer and epoch, and an idempotent producer's value once.
pub fn no_duplicates(topic: &str, log: &LogDump) -> Result<(), String> {
    let mut sequences = BTreeSet::new();
    let mut values = BTreeSet::new();
    for batch in &log.batches {
        let header = &batch.header;
        if !header.has_producer_id() {
            continue;
        }
        for delta in 0..=header.last_offset_delta {
            let Sequence(sequence) = header.base_sequence.plus(delta);
            if !sequences.insert((header.producer_id, header.producer_epoch, sequence)) {
                return Err(format!(
                    "{topic}: sequence {sequence} of producer {} occurs again at offset {}",
                    header.producer_id, header.base_offset
                ));
            }
        }
        for (offset, value) in &batch.records {
            if !values.insert(value.clone()) {
                return Err(format!("{topic}: {} occurs again at offset {offset}", text(value)));
            }
        }
    }
    Ok(())
}

/// O4: an idempotent producer's records lie in the order sent. Values are `producer-number.padding`.
pub fn sends_are_in_order(topic: &str, log: &LogDump) -> Result<(), String> {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for batch in log.batches.iter().filter(|batch| batch.header.has_producer_id()) {
        for (offset, value) in &batch.records {
            let name = text(value);
            let Some((producer, number)) = name.split_once('-') else { continue };
            let number: u64 = number.parse().map_err(|_| format!("{topic}: nobody sent {name}"))?;
            if let Some(before) = last.insert(producer.to_owned(), number).filter(|before| *before >= number)
            {
                return Err(format!("{topic}: {name} at offset {offset} lies behind number {before}"));
            }
        }
    }
    Ok(())
}

/// O17: only bytes that somebody sent are there.
pub fn only_sent_records(history: &PartitionHistory, log: &LogDump) -> Result<(), String> {
    match log.values().iter().find(|(_, value)| !history.sent.contains(*value)) {
        Some((offset, value)) => {
            Err(format!("{}: nobody sent {} at offset {offset}", history.topic, text(value)))
        }
        None => Ok(()),
    }
}

/// O5, O13: a bound of the log that a client is told is not below what was told before it asked.
pub fn never_decreases(topic: &str, what: &str, floor: i64, told: i64) -> Result<(), String> {
    if told < floor {
        return Err(format!("{topic}: the {what} is {told} after {floor} had been told"));
    }
    Ok(())
}

/// O16: who reads from a position on is given every record from there on. Nothing that clients write to here is
/// compacted or transactional, so offsets have no gaps.
pub fn none_is_skipped(
    topic: &str,
    position: i64,
    offsets: impl IntoIterator<Item = i64>,
) -> Result<(), String> {
    for (next, offset) in (position..).zip(offsets) {
        if offset != next {
            return Err(format!("{topic}: read from {position} on, offset {next} was skipped to {offset}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_skipped_is_noticed() {
        assert!(none_is_skipped("t", 3, [3, 4, 5]).is_ok());
        assert!(none_is_skipped("t", 3, []).is_ok());
        assert!(none_is_skipped("t", 3, [4, 5]).is_err());
        assert!(none_is_skipped("t", 3, [3, 5]).is_err());
        assert!(none_is_skipped("t", 3, [3, 3]).is_err());
    }
}
