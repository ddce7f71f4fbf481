//! Fetch responses: heads are encoded, records are pointed at.

use crate::api::Responder;
use crate::api::responder::LENGTH_BYTES;
use crate::log::FileRegion;
use crate::partition::Fetched;
use bytes::Bytes;
use highwater_core::fetch::{FetchPartition, TopicKey};
use highwater_net_tcp::{FilePart, Part};
use highwater_protocol::fetch::{FetchResponseWriter, Piece};
use highwater_protocol::messages::{FetchResponseEpochEndOffset, PartitionData};
use highwater_protocol::topics::TopicRef;
use highwater_protocol::{ErrorCode, Uuid};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What became of one partition.
pub(super) struct PartitionAnswer {
    pub(super) wanted: FetchPartition,
    pub(super) outcome: Result<Fetched, ErrorCode>,
}

/// A piece of a response.
enum FetchPiece {
    Bytes(Bytes),
    Region(FileRegion),
}

impl From<Bytes> for FetchPiece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl Piece for FetchPiece {
    fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Region(region) => region.len,
        }
    }
}

/// A stretch of a segment file that the connection reads when its peer can take it.
#[derive(Debug)]
pub struct RegionPart(pub FileRegion);

impl FilePart for RegionPart {
    fn len(&self) -> u64 {
        self.0.len as u64
    }

    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len().saturating_sub(pos)).unwrap_or(0);
        let wanted = buf.len().min(left);
        self.0.file.handle()?.read_at(&mut buf[..wanted], self.0.from + pos)
    }
}

/// Answers with an error of the whole fetch: its session, or the request itself.
pub(super) fn send_error(responder: Responder, code: ErrorCode) {
    let writer = FetchResponseWriter::<FetchPiece>::new(responder.header(), 0, code, 0, 0);
    finish(responder, writer, Duration::ZERO);
}

/// Answers. With a throttle time the answer goes out at once, without records, and the client comes again later.
pub(super) fn send(
    responder: Responder,
    session_id: i32,
    answers: Vec<PartitionAnswer>,
    is_committed_only: bool,
    throttle: Duration,
) {
    let throttle_ms = i32::try_from(throttle.as_millis()).unwrap_or(i32::MAX);
    let topics = group(&answers);
    let header = responder.header();
    let mut writer = FetchResponseWriter::new(header, throttle_ms, ErrorCode::None, session_id, topics.len());
    let mut rest = answers.into_iter();
    for (topic, count) in topics {
        writer.topic(topic_ref(&topic), count);
        for answer in rest.by_ref().take(count) {
            let (data, regions) = partition(answer, is_committed_only);
            writer.partition(&data, regions.into_iter().map(FetchPiece::Region));
        }
    }
    finish(responder, writer, throttle);
}

/// Runs of partitions of one topic, in the order of the answers.
fn group(answers: &[PartitionAnswer]) -> Vec<(TopicKey, usize)> {
    let mut topics: Vec<(TopicKey, usize)> = Vec::new();
    for answer in answers {
        match topics.last_mut() {
            Some((topic, count)) if *topic == answer.wanted.topic => *count += 1,
            _ => topics.push((answer.wanted.topic.clone(), 1)),
        }
    }
    topics
}

fn topic_ref(topic: &TopicKey) -> TopicRef<'_> {
    match topic {
        TopicKey::Id(id) => TopicRef::Id(Uuid(id.0)),
        TopicKey::Name(name) => TopicRef::Name(name),
    }
}

fn partition(answer: PartitionAnswer, is_committed_only: bool) -> (PartitionData, Vec<FileRegion>) {
    let mut data = PartitionData {
        partition_index: answer.wanted.partition.0,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: is_committed_only.then(Vec::new),
        preferred_read_replica: -1,
        ..Default::default()
    };
    match answer.outcome {
        Err(code) => {
            data.error_code = code;
            (data, Vec::new())
        }
        Ok(fetched) => {
            data.high_watermark = fetched.bounds.high_watermark.0;
            data.last_stable_offset = fetched.bounds.last_stable_offset.0;
            data.log_start_offset = fetched.bounds.log_start.0;
            if let Some(preferred) = fetched.preferred {
                data.preferred_read_replica = preferred.0;
            }
            if let Some(end) = fetched.bounds.diverging {
                data.diverging_epoch =
                    FetchResponseEpochEndOffset { epoch: end.epoch.0, end_offset: end.end.0 };
            }
            (data, fetched.plan.regions)
        }
    }
}

fn finish(responder: Responder, writer: FetchResponseWriter<FetchPiece>, throttle: Duration) {
    let pieces = match writer.finish(&Vec::new()) {
        Ok(pieces) => pieces,
        Err(error) => return responder.refuse(error.to_string()),
    };
    let mut pieces = pieces.into_iter();
    let Some(FetchPiece::Bytes(head)) = pieces.next() else {
        unreachable!("a response begins with its header");
    };
    let parts = pieces
        .map(|piece| match piece {
            FetchPiece::Bytes(bytes) => Part::Bytes(bytes),
            FetchPiece::Region(region) => Part::File(Arc::new(RegionPart(region))),
        })
        .collect();
    responder.send_parts(head.slice(LENGTH_BYTES..), parts, throttle);
}
