//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455).
//!
//! While a reassignment is under way a partition has its old and its new replicas. It is complete when the new ones
//! are in the ISR: every change of the partition looks whether it is ([`super::election`]).

use super::changes::BrokersAfter;
use super::topics::unknown_topic;
use super::{Controller, Plan, PlanContext, Refusal};
use crate::ids::{BrokerId, PartitionIndex};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::{PartitionState, Record, at};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
    OngoingTopicReassignment, ReassignablePartition, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use std::collections::BTreeSet;

impl Controller {
    /// Plans reassignments that are begun, changed and cancelled, each partition by itself.
    pub fn plan_alter_reassignments(
        &self,
        context: PlanContext<'_>,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Plan<AlterPartitionReassignmentsResponse> {
        let mut seen = BTreeSet::new();
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for asked in &request.topics {
            let topic = self.latest.topic(&asked.name);
            let mut partitions = Vec::new();
            for partition in &asked.partitions {
                let is_first = seen.insert((&asked.name, partition.partition_index));
                let planned = match topic {
                    _ if !is_first => {
                        Err(Refusal::new(ErrorCode::InvalidRequest, "The partition is named more than once."))
                    }
                    Some(topic) => self.plan_reassignment(
                        context,
                        topic,
                        partition,
                        request.allow_replication_factor_change,
                    ),
                    None => Err(Refusal {
                        message: format!("Unable to find a topic named {}.", asked.name),
                        ..unknown_topic()
                    }),
                };
                let mut response = ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    ..Default::default()
                };
                match planned {
                    Ok(record) => records.extend(record),
                    Err(refusal) => {
                        response.error_code = refusal.code;
                        response.error_message = Some(refusal.message);
                    }
                }
                partitions.push(response);
            }
            responses.push(ReassignableTopicResponse { name: asked.name.clone(), partitions });
        }
        let response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            responses,
            ..Default::default()
        };
        Plan { records, response }
    }

    fn plan_reassignment(
        &self,
        context: PlanContext<'_>,
        topic: &Topic,
        asked: &ReassignablePartition,
        may_change_factor: bool,
    ) -> Result<Option<Record>, Refusal> {
        let index = PartitionIndex(asked.partition_index);
        let before = topic.partitions.get(&index).ok_or_else(|| Refusal {
            message: format!("Unable to find partition {}:{index}.", topic.name),
            ..unknown_topic()
        })?;
        let (replicas, adding, removing) = match &asked.replicas {
            Some(target) => self.target(before, target, may_change_factor)?,
            None => cancelled(before)?,
        };
        let brokers = BrokersAfter::new(&self.latest);
        let after = self.change_partition(context, &brokers, (topic, index), before, |change| {
            change.replicas(replicas.clone(), adding.clone(), removing.clone())
        });
        Ok(after.map(|state| Record::PartitionChange { partition: at(topic.id, index.0), state }))
    }

    /// Replicas, those added and those removed, on the way to `target`.
    fn target(
        &self,
        before: &PartitionState,
        target: &[i32],
        may_change_factor: bool,
    ) -> Result<ReplicaLists, Refusal> {
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        if target.is_empty() {
            return invalid("The manual partition assignment includes an empty replica list.".to_owned());
        }
        let mut seen = BTreeSet::new();
        for id in target {
            if self.latest.broker(BrokerId(*id)).is_none() {
                return invalid(format!(
                    "The manual partition assignment includes broker {id}, but no such broker is registered."
                ));
            }
            if !seen.insert(*id) {
                return invalid(format!(
                    "The manual partition assignment includes the broker {id} more than once."
                ));
            }
        }
        let stable: Vec<_> =
            before.replicas.iter().copied().filter(|id| !before.adding.contains(id)).collect();
        let factor = stable.len();
        if !may_change_factor && target.len() != factor {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "The replication factor is changed from {factor} to {}, which the request does not allow.",
                    target.len()
                ),
            ));
        }
        let mut replicas: Vec<_> = target.iter().copied().map(BrokerId).collect();
        let adding = replicas.iter().copied().filter(|id| !stable.contains(id)).collect();
        let gone = |id: &BrokerId| !replicas.contains(id);
        // Who was added by a reassignment that this one replaces, and is wanted no more, goes at once.
        let removing: Vec<_> = stable.iter().copied().filter(gone).collect();
        replicas.extend(&removing);
        Ok((replicas, adding, removing))
    }
}

/// All replicas, those of them that are added, those that are removed.
type ReplicaLists = (Vec<BrokerId>, Vec<BrokerId>, Vec<BrokerId>);

/// The replicas from before the reassignment that is under way.
fn cancelled(before: &PartitionState) -> Result<ReplicaLists, Refusal> {
    if !before.is_reassigned() {
        return Err(Refusal::new(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        ));
    }
    let stays = |id: &BrokerId| !before.adding.contains(id);
    if !before.isr.iter().chain(&before.elr).any(stays) {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            "Unable to cancel the reassignment: none of the replicas from before it is in sync.",
        ));
    }
    Ok((before.replicas.iter().copied().filter(stays).collect(), Vec::new(), Vec::new()))
}

/// Answers ListPartitionReassignments: those under way, of the partitions asked for or of all.
pub fn answer_reassignments(
    image: &MetadataImage,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let ongoing = |topic: &Topic, wanted: &dyn Fn(i32) -> bool| {
        let partitions =
            topic.partitions.iter().filter(|(index, state)| state.is_reassigned() && wanted(index.0));
        let partitions: Vec<_> = partitions
            .map(|(index, state)| OngoingPartitionReassignment {
                partition_index: index.0,
                replicas: numbers(&state.replicas),
                adding_replicas: numbers(&state.adding),
                removing_replicas: numbers(&state.removing),
            })
            .collect();
        let name = topic.name.to_string();
        (!partitions.is_empty()).then_some(OngoingTopicReassignment { name, partitions })
    };
    let topics = match &request.topics {
        None => image.topics().filter_map(|topic| ongoing(topic, &|_| true)).collect(),
        Some(asked) => asked
            .iter()
            .filter_map(|asked| {
                ongoing(image.topic(&asked.name)?, &|index| asked.partition_indexes.contains(&index))
            })
            .collect(),
    };
    ListPartitionReassignmentsResponse { topics, ..Default::default() }
}

fn numbers(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}
