//! Fetch without copies: a view of the request in its frame, and a writer of the response as a list of pieces.
//!
//! The order of fields is that of [`FetchRequest`] and [`FetchResponse`]; a test holds these against the declarations.

use bytes::Bytes;

use crate::ErrorCode;
use crate::field::{Field, Format};
use crate::header::ResponseHeader;
use crate::message::Message;
use crate::messages::{
    FetchPartition, FetchRequest, FetchResponse, NodeEndpoint, PartitionData, ReplicaState,
};
use crate::produce::write_node_endpoints;
use crate::reader::{DecodeError, Length, Reader};
use crate::text::Text;
use crate::topics::{InTopic, Partitions, TopicRef, TopicsAt, TopicsWriter};
use crate::writer::{EncodeError, Writer};

/// A Fetch request that stays in its frame; nothing is allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchView {
    frame: Bytes,
    topics: TopicsAt,
    forgotten: Option<TopicsAt>,
    /// The cluster that the sender believes to speak with.
    pub cluster_id: Option<Text>,
    /// The follower that asks, with its broker epoch; −1 for a consumer.
    pub replica: ReplicaState,
    /// How long to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// How many bytes to wait for.
    pub min_bytes: i32,
    /// How many bytes to answer with at most; the first batch comes whole all the same (KIP-74).
    pub max_bytes: i32,
    /// 0 reads all that is committed to the log, 1 only what no open or aborted transaction wrote.
    pub isolation_level: i8,
    /// The fetch session, 0 for none (KIP-227).
    pub session_id: i32,
    /// 0 to begin a session, −1 to go without one or end it.
    pub session_epoch: i32,
    /// Where the client is (KIP-392).
    pub rack_id: Text,
}

impl FetchView {
    /// Reads and checks a request of `version`.
    pub fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !FetchRequest::VERSIONS.contains(version) {
            return Err(DecodeError::UnsupportedVersion);
        }
        let format = FetchRequest::format(version);
        let mut replica = ReplicaState::default();
        if version <= 14 {
            replica.replica_id = r.i32()?;
        }
        let (max_wait_ms, min_bytes, max_bytes, isolation_level) = (r.i32()?, r.i32()?, r.i32()?, r.i8()?);
        let (session_id, session_epoch) = if version >= 7 { (r.i32()?, r.i32()?) } else { (0, -1) };
        let topics = TopicsAt::check::<FetchPartition>(r, format)?;
        let forgotten = if version >= 7 { Some(TopicsAt::check::<i32>(r, format)?) } else { None };
        let rack_id = match version >= 11 {
            true => Text::read_nullable(r, format)?.ok_or(DecodeError::NullNotAllowed)?,
            false => Text::default(),
        };
        let mut cluster_id = None;
        if format.flexible {
            r.tagged_fields(|tag, r| {
                match tag {
                    0 => cluster_id = Text::read_nullable(r, format)?,
                    1 if version >= 15 => replica = ReplicaState::read(r, format)?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(Self {
            frame: r.frame().clone(),
            topics,
            forgotten,
            cluster_id,
            replica,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            rack_id,
        })
    }

    /// How many topics the request names, the ones without partitions included.
    pub fn topic_count(&self) -> usize {
        self.topics.count
    }

    /// The partitions to read, in the request's order.
    pub fn partitions(&self) -> Partitions<'_, FetchPartition> {
        self.topics.walk(&self.frame)
    }

    /// The partitions to drop from the session.
    pub fn forgotten(&self) -> impl Iterator<Item = InTopic<'_, i32>> {
        self.forgotten.iter().flat_map(|topics| topics.walk(&self.frame))
    }
}

/// A part of a response: bytes, or something that stands for bytes, such as a region of a file.
pub trait Piece: From<Bytes> {
    /// How many bytes it stands for.
    fn size(&self) -> usize;
}

impl Piece for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

/// Writes a Fetch response as a list of pieces: records are passed through as they are, all else is one buffer.
#[derive(Debug)]
pub struct FetchResponseWriter<P> {
    writer: Writer,
    format: Format,
    topics: TopicsWriter,
    /// The records, each with its place in the writer.
    records: Vec<(usize, P)>,
    records_size: usize,
}

impl<P: Piece> FetchResponseWriter<P> {
    /// Begins a response with `topics` topics. `error_code` and `session_id` are those of the fetch session.
    pub fn new(
        header: ResponseHeader,
        throttle_time_ms: i32,
        error_code: ErrorCode,
        session_id: i32,
        topics: usize,
    ) -> Self {
        let format = FetchResponse::format(header.version);
        let mut writer = header.begin_frame();
        writer.put_i32(throttle_time_ms);
        if format.version >= 7 {
            writer.put_i16(error_code.code());
            writer.put_i32(session_id);
        }
        let topics = TopicsWriter::begin(&mut writer, format, topics);
        Self { writer, format, topics, records: Vec::new(), records_size: 0 }
    }

    /// Begins a topic with `partitions` partitions, named as in the request.
    pub fn topic(&mut self, topic: TopicRef<'_>, partitions: usize) {
        self.topics.topic(&mut self.writer, topic, partitions);
    }

    /// One partition. Its records are `records`; those of `data` are not looked at. No records are written as none
    /// at all rather than as null, which some clients cannot read.
    pub fn partition(&mut self, data: &PartitionData, records: impl IntoIterator<Item = P>) {
        self.topics.partition();
        let first = self.records.len();
        self.records.extend(records.into_iter().filter(|piece| piece.size() > 0).map(|piece| (0, piece)));
        let size: usize = self.records[first..].iter().map(|(_, piece)| piece.size()).sum();
        self.records_size += size;
        self.write_partition(data, size);
        for (place, _) in &mut self.records[first..] {
            *place = self.writer.len();
        }
        if self.format.flexible {
            write_partition_tags(&mut self.writer, self.format, data);
        }
    }

    fn write_partition(&mut self, data: &PartitionData, records_size: usize) {
        let (w, format) = (&mut self.writer, self.format);
        let length = if format.flexible { Length::Compact } else { Length::Int };
        w.put_i32(data.partition_index);
        w.put_i16(data.error_code.code());
        w.put_i64(data.high_watermark);
        w.put_i64(data.last_stable_offset);
        if format.version >= 5 {
            w.put_i64(data.log_start_offset);
        }
        w.put_length(length, data.aborted_transactions.as_ref().map(Vec::len));
        for transaction in data.aborted_transactions.iter().flatten() {
            transaction.write(w, format);
        }
        if format.version >= 11 {
            w.put_i32(data.preferred_read_replica);
        }
        w.put_length(length, Some(records_size));
    }

    /// The frame, its length first. `node_endpoints` tells where the leaders named by partitions are (KIP-951).
    pub fn finish(mut self, node_endpoints: &Vec<NodeEndpoint>) -> Result<Vec<P>, EncodeError> {
        self.topics.end(&mut self.writer);
        if self.format.flexible {
            write_node_endpoints(&mut self.writer, self.format, node_endpoints, 16);
        }
        self.writer.patch_frame_length(self.records_size);
        let buffer = self.writer.finish()?;
        let mut pieces = Vec::with_capacity(2 * self.records.len() + 1);
        let mut written = 0;
        for (at, records) in self.records {
            if at > written {
                pieces.push(P::from(buffer.slice(written..at)));
                written = at;
            }
            pieces.push(records);
        }
        if written < buffer.len() {
            pieces.push(P::from(buffer.slice(written..)));
        }
        Ok(pieces)
    }
}

/// A partition's tagged fields: where the log diverged, who leads, which snapshot to take.
fn write_partition_tags(w: &mut Writer, format: Format, data: &PartitionData) {
    let none = PartitionData::default();
    let diverging = data.diverging_epoch != none.diverging_epoch;
    let leader = data.current_leader != none.current_leader;
    let snapshot = data.snapshot_id != none.snapshot_id;
    w.put_uvarint(u32::from(diverging) + u32::from(leader) + u32::from(snapshot));
    if diverging {
        w.put_tagged(0, |w| data.diverging_epoch.write(w, format));
    }
    if leader {
        w.put_tagged(1, |w| data.current_leader.write(w, format));
    }
    if snapshot {
        w.put_tagged(2, |w| data.snapshot_id.write(w, format));
    }
}
