//! AddPartitionsToTxn (24), AddOffsetsToTxn (25), EndTxn (26) and TxnOffsetCommit (28) of a broker on which no
//! transactional id exists.
//!
//! There is no transaction coordinator yet: InitProducerId gives no producer a transactional id. What clients ask
//! of a transaction is therefore checked and answered as Kafka does for an id that it has never seen: for good, with
//! no error that clients would retry. Old clients (librdkafka) also look for these APIs before they speak of
//! idempotence at all.

use super::Call;
use highwater_core::ids::PartitionIndex;
use highwater_core::metadata::MetadataImage;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult, AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult, EndTxnRequest, EndTxnResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

/// The first version of AddPartitionsToTxn that carries many transactions (KIP-890).
const BATCHED_SINCE: i16 = 4;

/// Serves AddPartitionsToTxn. Whether a transaction is to be joined or only looked at (`verify_only`) makes no
/// difference when there is none.
pub(super) fn add_partitions(call: Call<'_>, request: AddPartitionsToTxnRequest) {
    let image = call.node.image();
    let exists = |topic: &str, partition| has_partition(&image, topic, partition);
    let response = if call.responder.version() < BATCHED_SINCE {
        AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: added(
                &request.v3_and_below_transactional_id,
                request.v3_and_below_topics,
                exists,
            ),
            ..Default::default()
        }
    } else {
        let results = request.transactions.into_iter().map(|transaction| AddPartitionsToTxnResult {
            topic_results: added(&transaction.transactional_id, transaction.topics, exists),
            transactional_id: transaction.transactional_id,
        });
        AddPartitionsToTxnResponse { results_by_transaction: results.collect(), ..Default::default() }
    };
    call.responder.send(&response);
}

/// Serves AddOffsetsToTxn.
pub(super) fn add_offsets(call: Call<'_>, request: &AddOffsetsToTxnRequest) {
    let error_code = unmapped(&request.transactional_id);
    call.responder.send(&AddOffsetsToTxnResponse { error_code, ..Default::default() });
}

/// Serves EndTxn.
pub(super) fn end(call: Call<'_>, request: &EndTxnRequest) {
    let error_code = unmapped(&request.transactional_id);
    call.responder.send(&EndTxnResponse { error_code, ..Default::default() });
}

/// Serves TxnOffsetCommit.
pub(super) fn commit_offsets(call: Call<'_>, request: TxnOffsetCommitRequest) {
    let image = call.node.image();
    let topics = committed(request, |topic, partition| has_partition(&image, topic, partition));
    call.responder.send(&TxnOffsetCommitResponse { topics, ..Default::default() });
}

fn has_partition(image: &MetadataImage, topic: &str, partition: i32) -> bool {
    image.topic(topic).is_some_and(|topic| topic.partitions.contains_key(&PartitionIndex(partition)))
}

/// What is said of a transactional id that no producer was given.
fn unmapped(transactional_id: &str) -> ErrorCode {
    match transactional_id.is_empty() {
        true => ErrorCode::InvalidRequest,
        false => ErrorCode::InvalidProducerIdMapping,
    }
}

/// What became of partitions for one transaction: a partition that does not exist spoils it for all others.
fn added(
    transactional_id: &str,
    topics: Vec<AddPartitionsToTxnTopic>,
    exists: impl Fn(&str, i32) -> bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let is_whole = topics.iter().all(|topic| topic.partitions.iter().all(|&p| exists(&topic.name, p)));
    let verdict = |topic: &str, partition| match () {
        () if !exists(topic, partition) => ErrorCode::UnknownTopicOrPartition,
        () if !is_whole => ErrorCode::OperationNotAttempted,
        () => unmapped(transactional_id),
    };
    let result = |topic: AddPartitionsToTxnTopic| AddPartitionsToTxnTopicResult {
        results_by_partition: topic
            .partitions
            .iter()
            .map(|&partition_index| AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: verdict(&topic.name, partition_index),
            })
            .collect(),
        name: topic.name,
    };
    topics.into_iter().map(result).collect()
}

/// What became of a group's offsets: each partition stands for itself.
fn committed(
    request: TxnOffsetCommitRequest,
    exists: impl Fn(&str, i32) -> bool,
) -> Vec<TxnOffsetCommitResponseTopic> {
    let of_known = match request.group_id.is_empty() {
        true => ErrorCode::InvalidGroupId,
        false => unmapped(&request.transactional_id),
    };
    let result = |topic: TxnOffsetCommitRequestTopic| TxnOffsetCommitResponseTopic {
        partitions: topic
            .partitions
            .iter()
            .map(|partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: match exists(&topic.name, partition.partition_index) {
                    true => of_known,
                    false => ErrorCode::UnknownTopicOrPartition,
                },
            })
            .collect(),
        name: topic.name,
    };
    request.topics.into_iter().map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_protocol::messages::TxnOffsetCommitRequestPartition;

    /// The only topic there is has the partitions 0 and 1.
    fn exists(topic: &str, partition: i32) -> bool {
        topic == "here" && (0..2).contains(&partition)
    }

    fn add(transactional_id: &str, topics: &[(&str, &[i32])]) -> Vec<(String, i32, ErrorCode)> {
        let topics = topics.iter().map(|(name, partitions)| AddPartitionsToTxnTopic {
            name: (*name).to_owned(),
            partitions: partitions.to_vec(),
        });
        let results = added(transactional_id, topics.collect(), exists).into_iter().flat_map(|topic| {
            let one = move |p: AddPartitionsToTxnPartitionResult| {
                (topic.name.clone(), p.partition_index, p.partition_error_code)
            };
            topic.results_by_partition.into_iter().map(one)
        });
        results.collect()
    }

    fn commit(
        transactional_id: &str,
        group_id: &str,
        topics: &[(&str, &[i32])],
    ) -> Vec<(String, i32, ErrorCode)> {
        let partition =
            |&index: &i32| TxnOffsetCommitRequestPartition { partition_index: index, ..Default::default() };
        let topics = topics.iter().map(|(name, partitions)| TxnOffsetCommitRequestTopic {
            name: (*name).to_owned(),
            partitions: partitions.iter().map(partition).collect(),
        });
        let request = TxnOffsetCommitRequest {
            transactional_id: transactional_id.to_owned(),
            group_id: group_id.to_owned(),
            topics: topics.collect(),
            ..Default::default()
        };
        let results = committed(request, exists).into_iter().flat_map(|topic| {
            let one = move |p: TxnOffsetCommitResponsePartition| {
                (topic.name.clone(), p.partition_index, p.error_code)
            };
            topic.partitions.into_iter().map(one)
        });
        results.collect()
    }

    fn expected(results: &[(&str, i32, ErrorCode)]) -> Vec<(String, i32, ErrorCode)> {
        results.iter().map(|&(topic, partition, code)| (topic.to_owned(), partition, code)).collect()
    }

    // All answers below were read from a running Apache Kafka 4.3.1.

    #[test]
    fn no_partition_joins_a_transaction_of_an_unknown_id() {
        use ErrorCode::{InvalidProducerIdMapping, InvalidRequest};
        let here: &[(&str, &[i32])] = &[("here", &[0, 1])];
        let both = |code| expected(&[("here", 0, code), ("here", 1, code)]);
        assert_eq!(add("tx", here), both(InvalidProducerIdMapping));
        assert_eq!(add("", here), both(InvalidRequest));
        assert_eq!(add("tx", &[]), []);
    }

    #[test]
    fn a_missing_partition_spoils_the_transaction_for_all_others() {
        use ErrorCode::{OperationNotAttempted, UnknownTopicOrPartition};
        assert_eq!(
            add("tx", &[("here", &[0, 99]), ("nowhere", &[0])]),
            expected(&[
                ("here", 0, OperationNotAttempted),
                ("here", 99, UnknownTopicOrPartition),
                ("nowhere", 0, UnknownTopicOrPartition),
            ])
        );
    }

    #[test]
    fn no_offset_is_committed_in_a_transaction_of_an_unknown_id() {
        use ErrorCode::{InvalidGroupId, InvalidProducerIdMapping, InvalidRequest, UnknownTopicOrPartition};
        let some: &[(&str, &[i32])] = &[("here", &[1, 99]), ("nowhere", &[0])];
        for (transactional_id, group_id, code) in
            [("tx", "g", InvalidProducerIdMapping), ("", "g", InvalidRequest), ("tx", "", InvalidGroupId)]
        {
            assert_eq!(
                commit(transactional_id, group_id, some),
                expected(&[
                    ("here", 1, code),
                    ("here", 99, UnknownTopicOrPartition),
                    ("nowhere", 0, UnknownTopicOrPartition),
                ])
            );
        }
        assert_eq!(commit("tx", "g", &[]), []);
    }
}
