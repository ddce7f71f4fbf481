//! AlterPartition: a leader's changes of its ISR, as compare-and-set (KIP-497, KIP-841, KIP-903).
//!
//! A change is taken only if it comes from the leader of the partition as it is now, who has seen the partition as it
//! is now, and if every member it names is active in the very life in which it caught up. Anything else and an old
//! leader, a late request or a restarted follower would undo what was decided since (PR-07, PR-14).

use super::changes::BrokersAfter;
use super::{Controller, Plan, PlanContext};
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId, TopicPartition};
use crate::metadata::image::Topic;
use crate::metadata::peer::{
    AlterPartition, AlterPartitionRefusal, AlteredPartition, BrokerRefusal, IsrMember,
};
use crate::metadata::records::{PartitionState, Record};
use std::collections::BTreeSet;

/// What became of each item.
pub type AlteredPartitions = Vec<Result<AlteredPartition, AlterPartitionRefusal>>;

impl Controller {
    /// Plans the changes that a leader wants, each by itself.
    pub fn plan_alter_partitions(
        &self,
        context: PlanContext<'_>,
        sender: BrokerId,
        broker_epoch: BrokerEpoch,
        items: &[AlterPartition],
    ) -> Plan<Result<AlteredPartitions, BrokerRefusal>> {
        if let Err(why) = self.check_epoch(sender, broker_epoch) {
            return Plan { records: Vec::new(), response: Err(why) };
        }
        let mut seen = BTreeSet::new();
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            let planned = if seen.insert(item.partition) {
                self.plan_alter_partition(context, sender, item)
            } else {
                Err(AlterPartitionRefusal::StalePartitionEpoch)
            };
            results.push(planned.map(|state| {
                let altered = AlteredPartition {
                    leader: state.leader,
                    leader_epoch: state.leader_epoch,
                    partition_epoch: state.partition_epoch,
                    isr: state.isr.clone(),
                };
                records.push(Record::PartitionChange { partition: item.partition, state });
                altered
            }));
        }
        Plan { records, response: Ok(results) }
    }

    fn plan_alter_partition(
        &self,
        context: PlanContext<'_>,
        sender: BrokerId,
        item: &AlterPartition,
    ) -> Result<PartitionState, AlterPartitionRefusal> {
        let (topic, before) = self.known_partition(item.partition)?;
        check_epochs(sender, item, before)?;
        check_members(sender, item, before)?;
        if !item.isr.iter().all(|member| self.is_eligible(item.partition, *member)) {
            return Err(AlterPartitionRefusal::IneligibleReplica);
        }
        // In the order of the replicas, as everywhere.
        let in_isr = |replica: &BrokerId| item.isr.iter().any(|member| member.id == *replica);
        let isr: Vec<_> = before.replicas.iter().copied().filter(in_isr).collect();
        let brokers = BrokersAfter::new(&self.latest);
        let which = (topic, item.partition.partition);
        let after = self.change_partition(context, &brokers, which, before, |change| change.isr(isr.clone()));
        // A change to what is, is one nevertheless: the sender waits for an epoch beyond its own.
        Ok(after.unwrap_or_else(|| PartitionState {
            partition_epoch: crate::ids::PartitionEpoch(before.partition_epoch.0 + 1),
            ..before.clone()
        }))
    }

    fn known_partition(
        &self,
        partition: TopicPartition,
    ) -> Result<(&Topic, &PartitionState), AlterPartitionRefusal> {
        let topic =
            self.latest.topic_by_id(partition.topic_id).ok_or(AlterPartitionRefusal::UnknownTopicId)?;
        let state =
            topic.partitions.get(&partition.partition).ok_or(AlterPartitionRefusal::UnknownPartition)?;
        Ok((topic, state))
    }

    fn is_eligible(&self, partition: TopicPartition, member: IsrMember) -> bool {
        let Some(registration) = self.latest.broker(member.id) else { return false };
        guard!(IsrMemberActive, registration.is_active())
            && guard!(IsrMemberEpoch, registration.epoch == member.epoch)
            && guard!(IsrMemberHealthy, !self.latest.is_failed(partition, member.id))
    }
}

fn check_epochs(
    sender: BrokerId,
    item: &AlterPartition,
    before: &PartitionState,
) -> Result<(), AlterPartitionRefusal> {
    if item.leader_epoch > before.leader_epoch || item.partition_epoch > before.partition_epoch {
        return Err(AlterPartitionRefusal::NewerEpochs);
    }
    if !guard!(AlterPartitionLeaderEpoch, item.leader_epoch == before.leader_epoch) {
        return Err(AlterPartitionRefusal::FencedLeaderEpoch);
    }
    if !guard!(AlterPartitionLeader, before.leader == Some(sender)) {
        return Err(AlterPartitionRefusal::InvalidRequest);
    }
    if !guard!(AlterPartitionEpoch, item.partition_epoch == before.partition_epoch) {
        return Err(AlterPartitionRefusal::StalePartitionEpoch);
    }
    Ok(())
}

fn check_members(
    sender: BrokerId,
    item: &AlterPartition,
    before: &PartitionState,
) -> Result<(), AlterPartitionRefusal> {
    let mut seen = BTreeSet::new();
    let are_replicas =
        item.isr.iter().all(|member| before.replicas.contains(&member.id) && seen.insert(member.id));
    if are_replicas && seen.contains(&sender) { Ok(()) } else { Err(AlterPartitionRefusal::InvalidRequest) }
}
