//! CreatePartitions (KIP-195).

use super::topics::unknown_topic;
use super::{Controller, Plan, Refusal, duplicates};
use crate::metadata::image::Topic;
use crate::metadata::placement::Placement;
use crate::metadata::records::{PartitionState, Record, at};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use std::collections::BTreeSet;

/// The most partitions of a topic that one request may ask for.
const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

impl Controller {
    /// Plans more partitions for topics.
    pub fn plan_create_partitions(
        &self,
        request: &CreatePartitionsRequest,
    ) -> Plan<CreatePartitionsResponse> {
        let repeated = duplicates(request.topics.iter().map(|topic| &topic.name));
        let mut answered = BTreeSet::new();
        let mut records = Vec::new();
        let mut results = Vec::new();
        for topic in &request.topics {
            let planned = if repeated.contains(&topic.name) {
                if !answered.insert(&topic.name) {
                    continue;
                }
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else {
                self.plan_more_partitions(topic)
            };
            let mut result = CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() };
            match planned {
                Ok(planned) => records.extend(planned),
                Err(refusal) => {
                    result.error_code = refusal.code;
                    result.error_message = Some(refusal.message);
                }
            }
            results.push(result);
        }
        if request.validate_only {
            records.clear();
        }
        Plan { records, response: CreatePartitionsResponse { throttle_time_ms: 0, results } }
    }

    fn plan_more_partitions(&self, wanted: &CreatePartitionsTopic) -> Result<Vec<Record>, Refusal> {
        let topic = self.latest.topic(&wanted.name).ok_or_else(unknown_topic)?;
        let have = topic.partition_count();
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidPartitions, message));
        if wanted.count == have {
            return invalid(format!("Topic already has {have} partition(s)."));
        }
        if wanted.count < have {
            return invalid(format!(
                "The topic {} currently has {have} partition(s); {} would not be an increase.",
                wanted.name, wanted.count
            ));
        }
        if wanted.count > PARTITIONS_PER_TOPIC_MAX {
            return invalid(format!("A topic may have at most {PARTITIONS_PER_TOPIC_MAX} partitions."));
        }
        let states = self.new_states(topic, have, wanted)?;
        let record = |(index, state)| Record::Partition { partition: at(topic.id, index), state };
        Ok((have..).zip(states).map(record).collect())
    }

    fn new_states(
        &self,
        topic: &Topic,
        have: i32,
        wanted: &CreatePartitionsTopic,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let factor = topic.partitions.values().next().map_or(1, |first| first.replicas.len());
        let Some(assignments) = &wanted.assignments else {
            let [a, b, c, d, e, f, g, h, ..] = topic.id.0;
            // Where the topic's first partitions were placed from, so that new ones continue the round.
            let placement = Placement::new(&self.latest, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
            let factor = i16::try_from(factor).unwrap_or(i16::MAX);
            return (have..wanted.count)
                .map(|index| self.place_partition(&placement, index, factor))
                .collect();
        };
        let more = wanted.count - have;
        if i32::try_from(assignments.len()) != Ok(more) {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                ),
            ));
        }
        (have..)
            .zip(assignments)
            .map(|(index, assignment)| self.assigned_partition(index, &assignment.broker_ids, factor))
            .collect()
    }
}
