//! Metadata (3) and DescribeTopicPartitions (75): which topics there are and who leads them.

use super::{Call, Responder};
use crate::node::Node;
use highwater_core::ids::TopicId;
use highwater_core::metadata::{answer_metadata, answer_topic_partitions};
use highwater_protocol::messages::{
    CreatableTopic, CreateTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};
use std::sync::Arc;

/// Serves Metadata. A topic that is to be made by being asked for is made first, so that the client's first answer
/// already has its leaders.
pub(super) fn handle(call: Call<'_>, request: MetadataRequest) {
    let image = call.node.image();
    let version = call.responder.version();
    let answer = answer_metadata(&image, call.node.asker(call.listener()), &request, version);
    if answer.auto_create.is_empty() {
        return call.responder.send(&answer.response);
    }
    let Some(call) = call.unless_active() else { return };
    let listener = call.conn.info.listener.clone();
    create_then_answer(call.node, listener, answer.auto_create, request, call.responder);
}

fn create_then_answer(
    node: &Arc<Node>,
    listener: Arc<str>,
    names: Vec<String>,
    mut request: MetadataRequest,
    responder: Responder,
) {
    let topics = names.into_iter().map(|name| CreatableTopic {
        name,
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    });
    let creation = CreateTopicsRequest { topics: topics.collect(), ..Default::default() };
    let ids: Vec<TopicId> = creation.topics.iter().map(|_| TopicId(node.uuid())).collect();
    // Whatever could not be made is told as missing, not tried again.
    request.allow_auto_topic_creation = false;
    let then = node.clone();
    node.controller().submit(
        |controller| controller.plan_create_topics(node.plan_context(), &creation, &ids),
        move |_| {
            let image = then.image();
            let answer = answer_metadata(&image, then.asker(&listener), &request, responder.version());
            responder.send(&answer.response);
        },
    );
}

/// Serves DescribeTopicPartitions (KIP-966).
pub(super) fn describe_topic_partitions(call: Call<'_>, request: &DescribeTopicPartitionsRequest) {
    let image = call.node.image();
    let response = answer_topic_partitions(&image, call.node.asker(call.listener()), request);
    call.responder.send(&response);
}
