//! DescribeLogDirs (35): what lies where, and how full the disk is (KIP-113, KIP-827). AlterReplicaLogDirs (34): a node
//! has one directory, so there is nowhere to move to, and where a replica lies it may stay.

use super::Call;
use crate::partition::Partition;
use highwater_core::ids::PartitionIndex;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterReplicaLogDir, AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsPartition,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use highwater_protocol::topics::TopicRef;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Serves a request: the sizes of the partitions asked for, or of all.
pub(super) fn describe(call: Call<'_>, request: DescribeLogDirsRequest) {
    let node = call.node;
    let partitions: Vec<Arc<Partition>> = match request.topics {
        None => node.registry().all(),
        Some(topics) => topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (TopicRef::Name(&topic.topic), *index)))
            .filter_map(|(topic, index)| node.registry().find(topic, index).ok())
            .collect(),
    };
    let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in partitions {
        let Ok(size) = partition.size_bytes() else { continue };
        topics.entry(partition.topic().clone()).or_default().push(DescribeLogDirsPartition {
            partition_index: partition.id().partition.0,
            partition_size: i64::try_from(size).unwrap_or(i64::MAX),
            offset_lag: 0,
            is_future_key: false,
        });
    }
    let as_bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let (total_bytes, usable_bytes) = match node.data_dir().space() {
        Ok(space) => (as_bytes(space.total), as_bytes(space.available)),
        Err(_) => (-1, -1),
    };
    let result = DescribeLogDirsResult {
        error_code: ErrorCode::None,
        log_dir: node.data_dir().path().display().to_string(),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic { name: name.to_string(), partitions })
            .collect(),
        total_bytes,
        usable_bytes,
        ..Default::default()
    };
    call.responder.send(&DescribeLogDirsResponse { results: vec![result], ..Default::default() });
}

/// Serves AlterReplicaLogDirs.
pub(super) fn alter(call: Call<'_>, request: &AlterReplicaLogDirsRequest) {
    let node = call.node;
    let image = node.image();
    let is_elsewhere = |topic: &str, index: i32| {
        image.topic(topic).is_some_and(|topic| topic.partitions.contains_key(&PartitionIndex(index)))
    };
    let verdict = |dir: &AlterReplicaLogDir, topic: &str, index: i32| {
        if std::path::Path::new(&dir.path) != node.data_dir().path() {
            return ErrorCode::LogDirNotFound;
        }
        match node.registry().find(TopicRef::Name(topic), index) {
            Ok(_) => ErrorCode::None,
            // Kafka keeps the old code for this request.
            Err(ErrorCode::UnknownTopicOrPartition) if is_elsewhere(topic, index) => {
                ErrorCode::ReplicaNotAvailable
            }
            Err(code) => code,
        }
    };
    let mut results: BTreeMap<&str, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let verdicts = topic.partitions.iter().map(|index| AlterReplicaLogDirPartitionResult {
                partition_index: *index,
                error_code: verdict(dir, &topic.name, *index),
            });
            results.entry(&topic.name).or_default().extend(verdicts);
        }
    }
    let results = results
        .into_iter()
        .map(|(name, partitions)| AlterReplicaLogDirTopicResult { topic_name: name.to_owned(), partitions });
    call.responder.send(&AlterReplicaLogDirsResponse { throttle_time_ms: 0, results: results.collect() });
}
