//! ISR proposals of this node's leaders on their way to the controller and back.
//!
//! Proposals gather until the channel takes them, so that a broker's failure makes a few requests and not one for each
//! partition. Nothing here retries: a leader proposes again until it is answered.

use super::report::{News, Reports};
use super::{ReplicationCounters, lock};
use crate::node::Node;
use crate::partition::IsrProposal;
use highwater_core::ids::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, TopicPartition};
use highwater_core::metadata::MetadataImage;
use highwater_core::metadata::peer::{AlterPartition, AlterPartitionRefusal, AlteredPartition, IsrMember};
use highwater_core::replica::{IsrAccepted, IsrMember as ProposedMember, IsrRefusal};
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};

/// The way to the active controller.
pub trait IsrChannel: Send + Sync {
    /// Asks for these changes, soon; the outcomes go to [`super::Replication::isr_answered`]. Changes may be lost.
    fn alter_partitions(&self, items: Vec<AlterPartition>);
}

/// What became of one proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrOutcome {
    /// The partition.
    pub partition: TopicPartition,
    /// The leader epoch that was proposed under.
    pub leader_epoch: LeaderEpoch,
    /// The registration that was to be followed.
    pub proposed_at: PartitionEpoch,
    /// What was proposed.
    pub proposed: Vec<IsrMember>,
    /// What the controller answered.
    pub result: Result<AlteredPartition, AlterPartitionRefusal>,
}

/// Where proposals go.
#[derive(Default)]
pub(super) struct Proposals {
    channel: Mutex<Option<Weak<dyn IsrChannel>>>,
    pub(super) reports: Arc<Reports>,
}

impl fmt::Debug for Proposals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proposals")
    }
}

impl Proposals {
    pub(super) fn set_channel(&self, channel: Weak<dyn IsrChannel>) {
        *lock(&self.channel) = Some(channel);
    }

    /// Sends a proposal on. Without a channel it is made again later.
    pub(super) fn propose(&self, node: &Node, partition: TopicPartition, proposal: IsrProposal) {
        let channel = lock(&self.channel).as_ref().and_then(Weak::upgrade);
        let Some(channel) = channel else { return };
        let image = node.image();
        self.note(node, &image, partition, &proposal);
        let IsrProposal { leader_epoch, partition_epoch, isr } = proposal;
        let isr = isr.iter().map(|member| self.member(node, &image, member)).collect();
        channel.alter_partitions(vec![AlterPartition { partition, leader_epoch, partition_epoch, isr }]);
    }

    /// Notes for the operator who is to leave, and why. Who has caught up is told of once it is in.
    fn note(&self, node: &Node, image: &MetadataImage, partition: TopicPartition, proposal: &IsrProposal) {
        let Some(state) = image.partition(partition) else { return };
        let Some(topic) = image.topic_by_id(partition.topic_id) else { return };
        let next: Vec<_> = proposal.isr.iter().map(|member| member.broker).collect();
        let lag_ms = node.broker_config().replica_lag_ms_max;
        for broker in without(&state.isr, &next) {
            self.reports.note(News::Lags { broker, lag_ms }, &topic.name, partition.partition);
        }
    }

    /// Counts, and notes for the operator, how the ISR of a partition that this broker leads has changed.
    pub(super) fn changed(
        &self,
        node: &Node,
        counters: &ReplicationCounters,
        partition: TopicPartition,
        before: &[BrokerId],
        after: &[BrokerId],
    ) {
        if without(before, after).next().is_some() {
            counters.isr_shrinks.fetch_add(1, Relaxed);
        }
        if without(after, before).next().is_some() {
            counters.isr_expands.fetch_add(1, Relaxed);
        }
        let image = node.image();
        let Some(topic) = image.topic_by_id(partition.topic_id) else { return };
        let left = without(before, after).map(|broker| News::Left { broker });
        let joined = without(after, before).map(|broker| News::Joined { broker });
        for news in left.chain(joined) {
            self.reports.note(news, &topic.name, partition.partition);
        }
    }

    /// A member with the life that is meant: the one that fetched, or the one that is registered.
    fn member(&self, node: &Node, image: &MetadataImage, member: &ProposedMember) -> IsrMember {
        let id = member.broker;
        let registered = || match id == node.id() {
            true => node.broker_epoch(),
            false => image.broker(id).map_or(BrokerEpoch(-1), |broker| broker.epoch),
        };
        IsrMember { id, epoch: member.broker_epoch.unwrap_or_else(registered) }
    }

    pub(super) fn answered(&self, node: &Node, counters: &ReplicationCounters, outcomes: Vec<IsrOutcome>) {
        for outcome in outcomes {
            let Some(partition) = node.registry().get(outcome.partition) else { continue };
            let answer = match outcome.result {
                Ok(AlteredPartition { leader_epoch, partition_epoch, isr, .. }) => {
                    Ok(IsrAccepted { leader_epoch, partition_epoch, isr })
                }
                Err(refusal) => {
                    counters.isr_failures.fetch_add(1, Relaxed);
                    let news = News::Refused { why: refusal.to_string() };
                    self.reports.note(news, partition.topic(), outcome.partition.partition);
                    Err(meaning(refusal))
                }
            };
            let member = |IsrMember { id, epoch }| ProposedMember { broker: id, broker_epoch: Some(epoch) };
            let proposed = outcome.proposed.into_iter().map(member).collect();
            partition.isr_answered(outcome.leader_epoch, outcome.proposed_at, proposed, answer);
        }
    }
}

/// What a refusal means to the leader that proposed.
const fn meaning(refusal: AlterPartitionRefusal) -> IsrRefusal {
    match refusal {
        AlterPartitionRefusal::UnknownTopicId
        | AlterPartitionRefusal::UnknownPartition
        | AlterPartitionRefusal::FencedLeaderEpoch
        | AlterPartitionRefusal::InvalidRequest
        | AlterPartitionRefusal::StalePartitionEpoch => IsrRefusal::Stale,
        AlterPartitionRefusal::NewerEpochs => IsrRefusal::Retry,
        AlterPartitionRefusal::IneligibleReplica => IsrRefusal::Ineligible,
    }
}

fn without<'a>(all: &'a [BrokerId], those: &'a [BrokerId]) -> impl Iterator<Item = BrokerId> + 'a {
    all.iter().copied().filter(|broker| !those.contains(broker))
}
