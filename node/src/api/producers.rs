//! InitProducerId (22) and DescribeProducers (61): who produces idempotently.

use super::Call;
use highwater_core::metadata::validate_topic_name;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, InitProducerIdRequest, InitProducerIdResponse,
    PartitionResponse, ProducerState, TopicResponse,
};
use highwater_protocol::topics::TopicRef;

/// Gives an idempotent producer its id (KIP-98). A transactional one is refused for good: transactions are not
/// served yet, and a retriable error would keep it waiting for ever.
pub(super) fn init_producer_id(call: Call<'_>, request: &InitProducerIdRequest) {
    let refused = |error_code| InitProducerIdResponse {
        error_code,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    if let Some(transactional_id) = &request.transactional_id {
        tracing::warn!(
            transactional_id,
            "transactions are not served yet: a transactional producer was refused"
        );
        let code = match transactional_id.is_empty() {
            true => ErrorCode::InvalidRequest,
            false => ErrorCode::TransactionalIdAuthorizationFailed,
        };
        return call.responder.send(&refused(code));
    }
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return call.responder.send(&refused(ErrorCode::InvalidRequest));
    }
    let response = match call.node.producer_ids().take() {
        Some(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
        // The next block is on its way from the controller.
        None => refused(ErrorCode::CoordinatorLoadInProgress),
    };
    call.node.refill_producer_ids();
    call.responder.send(&response);
}

/// Tells the producers that partitions remember (KIP-664).
pub(super) fn describe(call: Call<'_>, request: DescribeProducersRequest) {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let describe_one = |index: &i32| describe_partition(&call, &topic.name, *index);
        let partitions = topic.partition_indexes.iter().map(describe_one).collect();
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    call.responder.send(&DescribeProducersResponse { topics, ..Default::default() });
}

fn describe_partition(call: &Call<'_>, topic: &str, partition_index: i32) -> PartitionResponse {
    let found = call.node.registry().find(TopicRef::Name(topic), partition_index);
    match found.and_then(|partition| partition.active_producers()) {
        Err(error_code) => {
            let (error_code, message) = match validate_topic_name(topic) {
                Err(error) => (ErrorCode::InvalidTopicException, Some(error.to_string())),
                Ok(()) if error_code == ErrorCode::UnknownTopicOrPartition => {
                    (error_code, Some("This server does not host this topic-partition.".to_owned()))
                }
                Ok(()) => (error_code, None),
            };
            PartitionResponse { partition_index, error_code, error_message: message, ..Default::default() }
        }
        Ok(producers) => PartitionResponse {
            partition_index,
            active_producers: producers
                .into_iter()
                .map(|producer| ProducerState {
                    producer_id: producer.id.0,
                    producer_epoch: i32::from(producer.epoch.0),
                    last_sequence: producer.last_sequence.0,
                    last_timestamp: producer.last_timestamp.0,
                    coordinator_epoch: -1,
                    current_txn_start_offset: producer.transaction_start.0,
                })
                .collect(),
            ..Default::default()
        },
    }
}
