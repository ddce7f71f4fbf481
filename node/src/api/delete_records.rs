//! DeleteRecords (21): moves log starts up (KIP-107). Answered once every replica in sync has done so and the new
//! starts would survive a crash; a partition whose replicas take longer than the request's time-out is answered with
//! REQUEST_TIMED_OUT, though its records are gone.

use super::gathering::{Answer, Gathering};
use super::{Call, Responder};
use crate::node::Node;
use crate::partition::Waiter;
use highwater_core::ids::Offset;
use highwater_core::metadata::is_internal;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use highwater_protocol::topics::TopicRef;
use std::sync::Arc;

/// Serves a request.
pub(super) fn handle(call: Call<'_>, request: DeleteRecordsRequest) {
    let pending = Gathering::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for (t, topic) in request.topics.iter().enumerate() {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (p, asked) in topic.partitions.iter().enumerate() {
            let found = call.node.registry().find(TopicRef::Name(&topic.name), asked.partition_index);
            let done = match found {
                Err(code) => Some(Err(code)),
                // The broker's own state is not a client's to cut.
                Ok(_) if is_internal(&topic.name) => Some(Err(ErrorCode::InvalidTopicException)),
                Ok(partition) => partition.delete_records(Offset(asked.offset), || {
                    pending.expect_one();
                    let pending = pending.clone();
                    Waiter::Deleted(Box::new(move |result| pending.complete(((t, p), result))))
                }),
            };
            partitions.push(answer(asked.partition_index, done.unwrap_or(Err(ErrorCode::RequestTimedOut))));
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions });
    }
    let deadline = call.deadline(request.timeout_ms);
    let answer = Pending { node: call.node.clone(), responder: call.responder, topics };
    pending.start_until(answer, deadline, call.node.timers());
}

fn answer(partition_index: i32, result: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match result {
        Ok(low) => (low.0, ErrorCode::None),
        Err(code) => (-1, code),
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code }
}

/// A request some of whose partitions wait for their replicas.
struct Pending {
    node: Arc<Node>,
    responder: Responder,
    topics: Vec<DeleteRecordsTopicResult>,
}

impl Answer for Pending {
    /// The places of topic and partition in the request, and what became of the partition.
    type Part = ((usize, usize), Result<Offset, ErrorCode>);

    fn add(&mut self, ((t, p), result): Self::Part) {
        let slot = &mut self.topics[t].partitions[p];
        *slot = answer(slot.partition_index, result);
    }

    /// Notes the new log starts durably, on a thread that may block, then answers.
    fn finish(self) {
        let Self { node, responder, topics } = self;
        let points = node.data_dir().recovery_points().clone();
        node.jobs().submit(move || {
            let mut response = DeleteRecordsResponse { topics, ..Default::default() };
            if let Err(error) = points.write() {
                tracing::error!(%error, "the new log starts could not be written");
                for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    if partition.error_code == ErrorCode::None {
                        partition.error_code = ErrorCode::KafkaStorageError;
                    }
                }
            }
            responder.send(&response);
        });
    }
}
