//! CreateTopics (19), DeleteTopics (20) and CreatePartitions (37): plans of the controller, answered when they are
//! committed and their partitions serve.

use super::Call;
use highwater_core::ids::TopicId;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    CreatableTopicResult, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
    CreateTopicsRequest, CreateTopicsResponse, DeletableTopicResult, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use std::time::Duration;

/// Serves CreateTopics.
pub(super) fn create(call: Call<'_>, request: CreateTopicsRequest) {
    let partitions: i32 = request
        .topics
        .iter()
        .map(|topic| match topic.assignments.len() {
            0 => topic.num_partitions.max(1),
            assigned => i32::try_from(assigned).unwrap_or(i32::MAX),
        })
        .fold(0, i32::saturating_add);
    if let Err(wait) = admit(&call, partitions) {
        let topics = request.topics.into_iter().map(|topic| CreatableTopicResult {
            name: topic.name,
            error_code: ErrorCode::ThrottlingQuotaExceeded,
            error_message: Some(quota_message()),
            ..Default::default()
        });
        let throttle_time_ms = millis(wait);
        let response = CreateTopicsResponse { throttle_time_ms, topics: topics.collect() };
        return call.responder.send_throttled(&response, wait);
    }
    let ids: Vec<TopicId> = request.topics.iter().map(|_| TopicId(call.node.uuid())).collect();
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_create_topics(node.plan_context(), &request, &ids),
        move |planned: Result<CreateTopicsResponse, _>| responder.send_planned(planned),
    );
}

/// Serves DeleteTopics.
pub(super) fn delete(call: Call<'_>, request: DeleteTopicsRequest) {
    let image = call.node.image();
    let named = request.topics.iter().filter_map(|topic| match &topic.name {
        Some(name) => image.topic(name),
        None => image.topic_by_id(TopicId(topic.topic_id.0)),
    });
    let listed = request.topic_names.iter().filter_map(|name| image.topic(name));
    let partitions = named.chain(listed).map(|topic| topic.partition_count()).fold(0, i32::saturating_add);
    if let Err(wait) = admit(&call, partitions) {
        let by_name = request.topic_names.into_iter().map(|name| (Some(name), Default::default()));
        let topics = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).chain(by_name);
        let responses = topics.map(|(name, topic_id)| DeletableTopicResult {
            name,
            topic_id,
            error_code: ErrorCode::ThrottlingQuotaExceeded,
            error_message: Some(quota_message()),
        });
        let response =
            DeleteTopicsResponse { throttle_time_ms: millis(wait), responses: responses.collect() };
        return call.responder.send_throttled(&response, wait);
    }
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_delete_topics(node.plan_context(), &request),
        move |planned: Result<DeleteTopicsResponse, _>| responder.send_planned(planned),
    );
}

/// Serves CreatePartitions.
pub(super) fn create_partitions(call: Call<'_>, request: CreatePartitionsRequest) {
    let image = call.node.image();
    let added = request.topics.iter().map(|topic| {
        let present = image.topic(&topic.name).map_or(0, |known| known.partition_count());
        topic.count.saturating_sub(present).max(0)
    });
    let added = added.fold(0, i32::saturating_add);
    if let Err(wait) = admit(&call, added) {
        let results = request.topics.into_iter().map(|topic| CreatePartitionsTopicResult {
            name: topic.name,
            error_code: ErrorCode::ThrottlingQuotaExceeded,
            error_message: Some(quota_message()),
        });
        let response =
            CreatePartitionsResponse { throttle_time_ms: millis(wait), results: results.collect() };
        return call.responder.send_throttled(&response, wait);
    }
    let (node, responder) = (call.node, call.responder);
    node.controller().submit(
        |controller| controller.plan_create_partitions(&request),
        move |planned: Result<CreatePartitionsResponse, _>| responder.send_planned(planned),
    );
}

/// Whether the client may make so many partitions come and go now (KIP-599).
fn admit(call: &Call<'_>, partitions: i32) -> Result<(), Duration> {
    let now = call.node.clock().mono();
    let (user, client_id) = (call.user(), call.client_id());
    let admitted = call.node.throttles().admit_mutations(now, user, client_id, f64::from(partitions));
    if let Err(wait) = admitted {
        tracing::debug!(
            user,
            client_id,
            address = %call.conn.info.peer.ip(),
            partitions,
            wait_ms = wait.as_millis(),
            "a client is over its controller mutation quota"
        );
    }
    admitted
}

fn quota_message() -> String {
    "the controller mutation quota has been exceeded".to_owned()
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
