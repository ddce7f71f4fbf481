//! Reading: which bytes of which files answer a fetch, and where timestamps are.

use super::Log;
use super::error::{Corruption, LogError};
use super::file::FileRegion;
use super::scan::{Headers, Located};
use super::segment::Segment;
use bytes::Bytes;
use highwater_core::batch::{BatchHeader, records};
use highwater_core::ids::{LeaderEpoch, Offset};
use highwater_core::time::Timestamp;

/// Smaller answers are cut anywhere: looking for a boundary costs more than it spares.
const CUT_BYTES_MIN: usize = 64 << 10;

/// Which bytes answer a fetch.
#[derive(Clone, Debug, Default)]
pub struct ReadPlan {
    /// Whole batches, the first of which holds the offset asked for; cut at the size asked for, as in Kafka
    /// maybe inside the last batch, but at a batch boundary near it where the index knows one: what is cut off a
    /// batch would be sent again.
    pub regions: Vec<FileRegion>,
    /// The sum of the regions' lengths.
    pub bytes: usize,
    /// What was there to be sent within the size asked for, with what was cut off.
    pub bytes_there: usize,
    /// The base offset of the first batch, if there is one.
    pub first_offset: Option<Offset>,
}

/// Where a timestamp was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The epoch of its batch.
    pub epoch: LeaderEpoch,
}

impl Log {
    /// Plans to read from the batch that holds `from` up to the batch boundary at or before `until` (exclusive;
    /// the high watermark, or what the reader may see), at most `bytes_max` bytes. With `is_first_whole` the first
    /// batch is given whole even if it is larger (KIP-74).
    ///
    /// Nothing is read but index entries and headers. Offsets outside the log are refused; an offset at or beyond
    /// `until` gives an empty plan.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        until: Offset,
        is_first_whole: bool,
    ) -> Result<ReadPlan, LogError> {
        let (start, end) = (self.log_start, self.end());
        if from < start || from > end {
            return Err(LogError::OutOfRange { offset: from, start, end });
        }
        let until = until.min(end);
        // Whoever asks for no bytes at all still gets the one batch (KIP-74).
        let bytes_max = if is_first_whole { bytes_max.max(1) } else { bytes_max };
        let mut plan = ReadPlan::default();
        if from >= until {
            return Ok(plan);
        }
        let first = self.segments.iter().rposition(|s| s.base <= from).unwrap_or(0);
        for (i, segment) in self.segments.iter().enumerate().skip(first) {
            if segment.base >= until {
                break;
            }
            let position = match plan.first_offset {
                Some(_) => 0,
                None => match self.place(segment, i, from)? {
                    Some(batch) if batch.header.base_offset < until => {
                        plan.first_offset = Some(batch.header.base_offset);
                        self.extend(&mut plan, segment, i, batch.position, until, bytes_max)?;
                        let first_bytes = batch.header.size_bytes();
                        if plan.bytes < first_bytes && !grow_first(&mut plan, first_bytes, is_first_whole) {
                            return Ok(ReadPlan::default());
                        }
                        continue;
                    }
                    Some(_) => break,
                    // Compaction left nothing from here to the segment's end.
                    None => continue,
                },
            };
            if plan.bytes_there >= bytes_max {
                break;
            }
            self.extend(&mut plan, segment, i, position, until, bytes_max)?;
        }
        Ok(plan)
    }

    /// Adds a segment's bytes from a batch boundary on, as far as `until` and the limit allow.
    fn extend(
        &self,
        plan: &mut ReadPlan,
        segment: &Segment,
        number: usize,
        from: u64,
        until: Offset,
        bytes_max: usize,
    ) -> Result<(), LogError> {
        let end = if until >= segment.end {
            segment.size
        } else {
            self.place(segment, number, until)?.map_or(segment.size, |batch| batch.position)
        };
        let room = bytes_max.saturating_sub(plan.bytes);
        let there = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut len = there.min(room);
        plan.bytes_there += len;
        if room < there && bytes_max >= CUT_BYTES_MIN {
            let boundary = segment.index.boundary_at_or_below(from + room as u64);
            let whole = usize::try_from(boundary.saturating_sub(from)).unwrap_or(room);
            // A first batch that is larger than the limit is the caller's to judge.
            if whole > 0 || plan.bytes > 0 {
                len = whole;
            }
        }
        if len > 0 {
            plan.regions.push(FileRegion { file: segment.file.clone(), from, len });
            plan.bytes += len;
        }
        Ok(())
    }

    /// The first batch of a segment whose last offset is not below `offset`; of the newest batches from memory.
    fn place(&self, segment: &Segment, number: usize, offset: Offset) -> Result<Option<Located>, LogError> {
        if number + 1 == self.segments.len()
            && let Some(oldest) = self.recent.front()
            && offset >= oldest.header.base_offset
        {
            let found = self.recent.partition_point(|batch| batch.header.last_offset() < offset);
            return Ok(self.recent.get(found).copied());
        }
        segment.locate(offset)
    }

    /// The headers of all batches from the one that holds `from` to the log end, in order: for rebuilding what
    /// is derived from the log (epochs, producers).
    pub fn batches_from(&self, from: Offset) -> BatchesFrom<'_> {
        let first = self.segments.iter().rposition(|s| s.base <= from).unwrap_or(0);
        BatchesFrom { segments: self.segments[first..].iter(), from, headers: None }
    }

    /// The header of the batch that ends right before `end`, if there is one.
    pub fn batch_before(&self, end: Offset) -> Result<Option<BatchHeader>, LogError> {
        let Some(batch) = self.batches_from(end.plus(-1)).next() else { return Ok(None) };
        Ok(Some(batch?.header).filter(|header| header.next_offset() == end))
    }

    /// One batch's bytes, checked against nothing: the caller knows what it asks for.
    pub fn read_batch(&self, at: Offset) -> Result<Option<Vec<u8>>, LogError> {
        let first = self.segments.iter().rposition(|s| s.base <= at).unwrap_or(0);
        for segment in &self.segments[first..] {
            if let Some(batch) = segment.locate(at)? {
                return segment.read_batch(&batch).map(Some);
            }
        }
        Ok(None)
    }

    /// The first record at or above the log start whose timestamp is at least `target` (`ListOffsets` by
    /// timestamp). Looks into batches, compressed ones too.
    pub fn offset_for_timestamp(&self, target: Timestamp) -> Result<Option<TimestampOffset>, LogError> {
        for segment in &self.segments {
            let Some(first) = segment.locate_timestamp(target)? else { continue };
            for batch in segment.headers(first.position)? {
                let batch = batch.map_err(|e| segment.read_error(e))?;
                if batch.header.max_timestamp < target || batch.header.last_offset() < self.log_start {
                    continue;
                }
                let found = self.record_in(segment, &batch, |timestamp| timestamp >= target)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp at or above the log start (KIP-734).
    pub fn max_timestamp_offset(&self) -> Result<Option<TimestampOffset>, LogError> {
        let mut largest: Option<(&Segment, Located)> = None;
        for segment in &self.segments {
            let candidate = if segment.base < self.log_start {
                self.max_timestamp_batch_after_start(segment)?
            } else if segment.index.max_timestamp() == Timestamp::NONE {
                None
            } else {
                segment.locate_timestamp(segment.index.max_timestamp())?
            };
            if let Some(batch) = candidate
                && largest.is_none_or(|(_, l)| l.header.max_timestamp < batch.header.max_timestamp)
            {
                largest = Some((segment, batch));
            }
        }
        let Some((segment, batch)) = largest else { return Ok(None) };
        self.record_in(segment, &batch, |timestamp| timestamp >= batch.header.max_timestamp)
    }

    /// In the segment that the log start lies in, its index counts deleted records too: look at the headers.
    fn max_timestamp_batch_after_start(&self, segment: &Segment) -> Result<Option<Located>, LogError> {
        let mut largest: Option<Located> = None;
        for batch in segment.headers(segment.index.position_of_offset(self.log_start))? {
            let batch = batch.map_err(|e| segment.read_error(e))?;
            let is_larger = largest.is_none_or(|l| l.header.max_timestamp < batch.header.max_timestamp);
            if batch.header.last_offset() >= self.log_start && is_larger {
                largest = Some(batch);
            }
        }
        Ok(largest)
    }

    fn record_in(
        &self,
        segment: &Segment,
        batch: &Located,
        is_wanted: impl Fn(Timestamp) -> bool,
    ) -> Result<Option<TimestampOffset>, LogError> {
        let bytes = Bytes::from(segment.read_batch(batch)?);
        let unreadable = |error: &dyn std::fmt::Display| {
            LogError::Corrupt(Corruption {
                path: segment.file.path(),
                position: batch.position,
                offset: batch.header.base_offset,
                cause: error.to_string(),
            })
        };
        for record in records(&bytes).map_err(|e| unreadable(&e))? {
            let record = record.map_err(|e| unreadable(&e))?;
            if record.offset >= self.log_start && is_wanted(record.timestamp) {
                let (offset, timestamp) = (record.offset, record.timestamp);
                return Ok(Some(TimestampOffset { offset, timestamp, epoch: batch.header.leader_epoch }));
            }
        }
        Ok(None)
    }
}

/// Lets a first batch that is larger than the limit through whole, if that is wanted.
fn grow_first(plan: &mut ReadPlan, first_bytes: usize, is_first_whole: bool) -> bool {
    if !is_first_whole {
        return false;
    }
    let Some(region) = plan.regions.first_mut() else { return false };
    region.len = first_bytes;
    plan.regions.truncate(1);
    plan.bytes = first_bytes;
    plan.bytes_there = first_bytes;
    true
}

/// See [`Log::batches_from`].
#[derive(Debug)]
pub struct BatchesFrom<'a> {
    segments: std::slice::Iter<'a, Segment>,
    from: Offset,
    headers: Option<(&'a Segment, Headers)>,
}

impl Iterator for BatchesFrom<'_> {
    type Item = Result<Located, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((segment, headers)) = &mut self.headers {
                match headers.next() {
                    Some(Ok(batch)) if batch.header.last_offset() < self.from => continue,
                    Some(batch) => return Some(batch.map_err(|e| segment.read_error(e))),
                    None => {}
                }
            }
            let segment = self.segments.next()?;
            let from = segment.index.position_of_offset(self.from);
            match segment.headers(from) {
                Ok(headers) => self.headers = Some((segment, headers)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
