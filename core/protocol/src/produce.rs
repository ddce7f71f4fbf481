//! Produce without copies: a view of the request in its frame, and a writer of the response.
//!
//! The order of fields is that of [`ProduceRequest`] and [`ProduceResponse`], whose partitions are used as declared;
//! a test holds these against the declarations.

use bytes::Bytes;

use crate::field::{Field, Format};
use crate::header::ResponseHeader;
use crate::message::Message;
use crate::messages::{
    NodeEndpoint, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
};
use crate::reader::{DecodeError, Length, Reader};
use crate::text::Text;
use crate::topics::{Partitions, TopicRef, TopicsAt, TopicsWriter};
use crate::writer::{EncodeError, Writer};

/// A Produce request that stays in its frame. Records are slices of it, and nothing is allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct ProduceView {
    frame: Bytes,
    topics: TopicsAt,
    /// The transaction that the records belong to.
    pub transactional_id: Option<Text>,
    /// 0 (no answer at all), 1 or −1 (all in-sync replicas); not checked here.
    pub acks: i16,
    /// How long to wait for the replicas.
    pub timeout_ms: i32,
}

impl ProduceView {
    /// Reads and checks a request of `version`; the records in it are not looked at.
    pub fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !ProduceRequest::VERSIONS.contains(version) {
            return Err(DecodeError::UnsupportedVersion);
        }
        let format = ProduceRequest::format(version);
        let transactional_id = Text::read_nullable(r, format)?;
        let (acks, timeout_ms) = (r.i16()?, r.i32()?);
        let topics = TopicsAt::check::<PartitionProduceData>(r, format)?;
        if format.flexible {
            r.skip_tagged_fields()?;
        }
        Ok(Self { frame: r.frame().clone(), topics, transactional_id, acks, timeout_ms })
    }

    /// How many topics the request names, the ones without partitions included.
    pub fn topic_count(&self) -> usize {
        self.topics.count
    }

    /// The partitions with their records, in the request's order.
    pub fn partitions(&self) -> Partitions<'_, PartitionProduceData> {
        self.topics.walk(&self.frame)
    }
}

/// Writes a Produce response as a whole frame.
#[derive(Debug)]
pub struct ProduceResponseWriter {
    writer: Writer,
    format: Format,
    topics: TopicsWriter,
}

impl ProduceResponseWriter {
    /// Begins a response with `topics` topics.
    pub fn new(header: ResponseHeader, topics: usize) -> Self {
        let format = ProduceResponse::format(header.version);
        let mut writer = header.begin_frame();
        let topics = TopicsWriter::begin(&mut writer, format, topics);
        Self { writer, format, topics }
    }

    /// Begins a topic with `partitions` partitions, named as in the request.
    pub fn topic(&mut self, topic: TopicRef<'_>, partitions: usize) {
        self.topics.topic(&mut self.writer, topic, partitions);
    }

    /// What became of one partition's records.
    pub fn partition(&mut self, partition: &PartitionProduceResponse) {
        self.topics.partition();
        partition.write(&mut self.writer, self.format);
    }

    /// The frame, its length first. `node_endpoints` tells where the leaders named by partitions are (KIP-951).
    pub fn finish(
        mut self,
        throttle_time_ms: i32,
        node_endpoints: &Vec<NodeEndpoint>,
    ) -> Result<Bytes, EncodeError> {
        self.topics.end(&mut self.writer);
        self.writer.put_i32(throttle_time_ms);
        if self.format.flexible {
            write_node_endpoints(&mut self.writer, self.format, node_endpoints, 10);
        }
        self.writer.patch_frame_length(0);
        self.writer.finish()
    }
}

/// The tagged fields of a Produce or Fetch response: only where leaders are, since version `since` (KIP-951).
pub(crate) fn write_node_endpoints(
    w: &mut Writer,
    format: Format,
    endpoints: &Vec<NodeEndpoint>,
    since: i16,
) {
    if format.version < since || endpoints.is_empty() {
        return w.put_uvarint(0);
    }
    w.put_uvarint(1);
    w.put_tagged(0, |w| endpoints.write(w, format));
}

impl Text {
    pub(crate) fn read_nullable(r: &mut Reader<'_>, format: Format) -> Result<Option<Self>, DecodeError> {
        let length = if format.flexible { Length::Compact } else { Length::Short };
        match r.length(length)? {
            Some(n) => Self::read(r, n).map(Some),
            None => Ok(None),
        }
    }
}
