//! Elections that somebody asks for: ElectLeaders (KIP-183, KIP-460), rebalancing of leaders, draining of a broker.

use super::changes::BrokersAfter;
use super::election::Election;
use super::{Controller, Plan, PlanContext};
use crate::ids::{BrokerId, PartitionIndex};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::{PartitionState, Record, at};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use std::collections::{BTreeMap, BTreeSet};

/// The most leaders that are moved back at a time, as in Kafka.
const REBALANCED_PER_TURN_MAX: usize = 1000;

/// How many of the partitions that a broker should lead are led by others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imbalance {
    /// Partitions of which it is the first replica.
    pub preferred: usize,
    /// Those of them that another leads.
    pub elsewhere: usize,
}

/// The imbalance of each broker.
pub fn leader_imbalance(image: &MetadataImage) -> BTreeMap<BrokerId, Imbalance> {
    let mut brokers: BTreeMap<BrokerId, Imbalance> = BTreeMap::new();
    for state in image.topics().flat_map(|topic| topic.partitions.values()) {
        let Some(preferred) = state.preferred_leader() else { continue };
        let imbalance = brokers.entry(preferred).or_default();
        imbalance.preferred += 1;
        imbalance.elsewhere += usize::from(state.leader != Some(preferred));
    }
    brokers
}

impl Controller {
    /// Plans the elections of an ElectLeaders request.
    pub fn plan_elect_leaders(
        &self,
        context: PlanContext<'_>,
        request: &ElectLeadersRequest,
    ) -> Plan<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            _ => {
                let error_code = ErrorCode::InvalidRequest;
                let response = ElectLeadersResponse { error_code, ..Default::default() };
                return Plan { records: Vec::new(), response };
            }
        };
        let mut asked: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        match &request.topic_partitions {
            Some(topics) => {
                for topic in topics {
                    asked.entry(&topic.topic).or_default().extend(&topic.partitions);
                }
            }
            None => {
                asked.extend(self.latest.topics().map(|t| (&*t.name, (0..t.partition_count()).collect())));
            }
        }
        let is_all = request.topic_partitions.is_none();
        let brokers = BrokersAfter::new(&self.latest);
        let mut records = Vec::new();
        let mut results = Vec::new();
        for (name, indexes) in asked {
            let mut partition_result = Vec::new();
            for partition_id in indexes {
                let error_code = match self.plan_election(context, &brokers, name, partition_id, election) {
                    Ok(record) => {
                        records.push(record);
                        ErrorCode::None
                    }
                    // Of all partitions, those that need nothing are not worth a word.
                    Err(ErrorCode::ElectionNotNeeded) if is_all => continue,
                    Err(code) => code,
                };
                let error_message = match self.latest.topic(name) {
                    None => Some(format!("No such topic as {name}")),
                    Some(_) => message_of(error_code, name, partition_id),
                };
                partition_result.push(PartitionResult { partition_id, error_code, error_message });
            }
            if !partition_result.is_empty() {
                results.push(ReplicaElectionResult { topic: name.to_owned(), partition_result });
            }
        }
        let response = ElectLeadersResponse { replica_election_results: results, ..Default::default() };
        Plan { records, response }
    }

    fn plan_election(
        &self,
        context: PlanContext<'_>,
        brokers: &BrokersAfter<'_>,
        name: &str,
        index: i32,
        election: Election,
    ) -> Result<Record, ErrorCode> {
        let topic = self.latest.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let before =
            topic.partitions.get(&PartitionIndex(index)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let is_needed = match election {
            Election::Preferred => before.leader != before.preferred_leader(),
            Election::Online | Election::Unclean => before.leader.is_none(),
        };
        if !is_needed {
            return Err(ErrorCode::ElectionNotNeeded);
        }
        let after = self.change_partition(context, brokers, (topic, PartitionIndex(index)), before, |c| {
            c.election(election)
        });
        let is_done = |after: &PartitionState| match election {
            Election::Preferred => after.leader == after.preferred_leader(),
            Election::Online | Election::Unclean => after.leader.is_some(),
        };
        match after.filter(is_done) {
            Some(state) => Ok(Record::PartitionChange { partition: at(topic.id, index), state }),
            None if election == Election::Preferred => Err(ErrorCode::PreferredLeaderNotAvailable),
            None => Err(ErrorCode::EligibleLeadersNotAvailable),
        }
    }

    /// Plans that preferred leaders lead again (`auto.leader.rebalance.enable`), wherever they can; answers how
    /// many partitions move.
    pub fn plan_rebalance_leaders(&self, context: PlanContext<'_>) -> Plan<usize> {
        let brokers = BrokersAfter::new(&self.latest);
        let lacking: BTreeSet<BrokerId> = leader_imbalance(&self.latest)
            .into_iter()
            .filter(|(id, imbalance)| {
                brokers.is_active(*id) && !brokers.drained.contains(id) && imbalance.elsewhere > 0
            })
            .map(|(id, _)| id)
            .collect();
        if lacking.is_empty() {
            return Plan { records: Vec::new(), response: 0 };
        }
        let moves = |state: &PartitionState| {
            let preferred = state.preferred_leader();
            state.leader != preferred && preferred.is_some_and(|id| lacking.contains(&id))
        };
        let mut records =
            self.change_partitions(context, &brokers, moves, |change| change.election(Election::Preferred));
        records.truncate(REBALANCED_PER_TURN_MAX);
        Plan { response: records.len(), records }
    }

    /// The records by which a broker that is drained from now on leads no more where somebody else can.
    pub(super) fn drain(&self, context: PlanContext<'_>, id: BrokerId) -> Vec<Record> {
        let mut brokers = BrokersAfter::new(&self.latest);
        brokers.drained.insert(id);
        self.change_partitions(context, &brokers, |state| state.leader == Some(id), |change| change)
    }

    /// The records of what a topic's new settings mean for its partitions: with a lower `min.insync.replicas`
    /// records are acknowledged again that those who were eligible until now do not have; and where anyone may lead,
    /// somebody does.
    pub(super) fn reconsider_topic(&self, context: PlanContext<'_>, topic: &Topic) -> Vec<Record> {
        let brokers = BrokersAfter::new(&self.latest);
        let change = |(index, before): (&PartitionIndex, &PartitionState)| {
            let state = self.change_partition(context, &brokers, (topic, *index), before, |change| change)?;
            Some(Record::PartitionChange { partition: at(topic.id, index.0), state })
        };
        topic
            .partitions
            .iter()
            .filter(|(_, state)| state.leader.is_none() || !state.elr.is_empty())
            .filter_map(change)
            .collect()
    }
}

fn message_of(code: ErrorCode, topic: &str, partition: i32) -> Option<String> {
    let message = match code {
        ErrorCode::None => return None,
        ErrorCode::UnknownTopicOrPartition => format!("No such partition as {topic}-{partition}"),
        ErrorCode::ElectionNotNeeded => "Leader election not needed for topic partition.".to_owned(),
        ErrorCode::PreferredLeaderNotAvailable => "The preferred leader was not available.".to_owned(),
        _ => "Eligible topic partition leaders are not available.".to_owned(),
    };
    Some(message)
}
