//! Plain reads of one partition from its leader: an offset by its kind, and the records from an offset on.

use crate::client::{Client, To, TopicInfo};
use bytes::Bytes;
use highwater_core::batch::{self, BatchHeader};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    FetchPartition, FetchRequest, FetchTopic, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};

/// The first offset that is kept.
pub const EARLIEST: i64 = -2;
/// The offset behind the last readable record.
pub const LATEST: i64 = -1;

/// What a fetch got of one partition.
#[derive(Clone, Debug)]
pub struct Read {
    /// The partition's error.
    pub code: ErrorCode,
    /// What its leader told to be committed.
    pub high_watermark: i64,
    /// The records at and behind the offset asked for, with their offsets.
    pub records: Vec<(i64, Bytes)>,
}

/// What a leader told of a partition's offsets.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The offset asked for.
    pub offset: i64,
    /// The epoch that the leader was asked in, and led in.
    pub leader_epoch: i32,
}

/// The offset of one of the two kinds above; nothing if the answer does not come or is an error.
pub async fn list_offset(
    client: &mut Client,
    topic: &TopicInfo,
    partition: i32,
    timestamp: i64,
) -> Option<Listed> {
    let (leader, leader_epoch) = client.leader(topic.key(partition)).await?;
    let asked =
        ListOffsetsPartition { partition_index: partition, current_leader_epoch: leader_epoch, timestamp };
    let topics = vec![ListOffsetsTopic { name: topic.name.clone(), partitions: vec![asked] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, timeout_ms: 1000, ..Default::default() };
    let answer = client.ask(To::Broker(leader), &request).await?;
    let found = answer.topics.first()?.partitions.first()?;
    client.heed(found.error_code);
    (!found.error_code.is_error()).then_some(Listed { offset: found.offset, leader_epoch })
}

/// The records from `at` on, as many as one fetch brings; nothing if the answer does not come.
pub async fn read_from(client: &mut Client, topic: &TopicInfo, partition: i32, at: i64) -> Option<Read> {
    let (leader, current_leader_epoch) = client.leader(topic.key(partition)).await?;
    let asked = FetchPartition {
        partition,
        current_leader_epoch,
        fetch_offset: at,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topics = vec![FetchTopic { topic: topic.name.clone(), topic_id: topic.id, partitions: vec![asked] }];
    let request =
        FetchRequest { max_wait_ms: 100, min_bytes: 1, session_epoch: -1, topics, ..Default::default() };
    let answer = client.ask(To::Broker(leader), &request).await?;
    let data = answer.responses.first()?.partitions.first()?;
    client.heed(data.error_code);
    let mut bytes = data.records.clone().unwrap_or_default();
    let mut records = Vec::new();
    while let Ok(header) = BatchHeader::parse(&bytes) {
        if header.size_bytes() > bytes.len() {
            break;
        }
        let batch = bytes.split_to(header.size_bytes());
        for record in batch::records(&batch).ok()? {
            let record = record.ok()?;
            if record.offset.0 >= at {
                records.push((record.offset.0, record.value.unwrap_or_default()));
            }
        }
    }
    Some(Read { code: data.error_code, high_watermark: data.high_watermark, records })
}
