//! Changes of many partitions at once, as one batch of records: what follows when a broker comes or goes.

use super::election::{Candidates, PartitionChange};
use super::{Controller, PlanContext};
use crate::config::TopicConfig;
use crate::guard;
use crate::ids::{BrokerId, PartitionIndex, TopicPartition};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::{ConfigResource, PartitionState, Record, at};
use std::collections::BTreeSet;

/// The setting of a broker that is being drained: it leads only where nobody else can, and gets no new replicas.
pub(super) const DRAINED: &str = "highwater.broker.drained";

/// The brokers as they will be once a plan is carried out.
pub(super) struct BrokersAfter<'a> {
    image: &'a MetadataImage,
    /// Not active any more.
    pub(super) gone: Vec<BrokerId>,
    /// Active from now on.
    pub(super) come: Option<BrokerId>,
    /// Being drained.
    pub(super) drained: BTreeSet<BrokerId>,
}

impl<'a> BrokersAfter<'a> {
    /// The brokers as they are.
    pub(super) fn new(image: &'a MetadataImage) -> Self {
        Self { image, gone: Vec::new(), come: None, drained: drained(image) }
    }

    /// All but these.
    pub(super) fn without(image: &'a MetadataImage, gone: &[BrokerId]) -> Self {
        Self { gone: gone.to_vec(), ..Self::new(image) }
    }

    /// And this one.
    pub(super) fn with(image: &'a MetadataImage, come: BrokerId) -> Self {
        Self { come: Some(come), ..Self::new(image) }
    }

    pub(super) fn is_active(&self, id: BrokerId) -> bool {
        let was_active = self.image.broker(id).is_some_and(|registration| registration.is_active());
        !self.gone.contains(&id) && (was_active || self.come == Some(id))
    }

    /// Whether a broker may lead a partition and be in its ISR.
    fn serves(&self, partition: TopicPartition, id: BrokerId) -> bool {
        self.is_active(id) && guard!(FailedReplicaLeadsNothing, !self.image.is_failed(partition, id))
    }
}

/// The brokers that are being drained.
pub(in crate::metadata) fn drained(image: &MetadataImage) -> BTreeSet<BrokerId> {
    let is_drained = |id: &BrokerId| {
        let value = image.config(&ConfigResource::Broker(*id)).get(DRAINED);
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    };
    image.brokers().map(|(id, _)| id).filter(is_drained).collect()
}

impl Controller {
    /// The records of what `change` makes of each partition that `concerns` picks. `brokers` are those who may lead
    /// and be in an ISR afterwards.
    pub(super) fn change_partitions(
        &self,
        context: PlanContext<'_>,
        brokers: &BrokersAfter<'_>,
        concerns: impl Fn(&PartitionState) -> bool,
        change: impl for<'c> Fn(PartitionChange<'c>) -> PartitionChange<'c>,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        for topic in self.latest.topics() {
            let mut config = None;
            for (index, before) in topic.partitions.iter().filter(|(_, state)| concerns(state)) {
                let config = config.get_or_insert_with(|| self.topic_config(context, topic));
                let partition = at(topic.id, index.0);
                if let Some(state) = changed(partition, before, config, brokers, &change) {
                    records.push(Record::PartitionChange { partition, state });
                }
            }
        }
        records
    }

    /// What `change` makes of one partition; `None` if nothing.
    pub(super) fn change_partition(
        &self,
        context: PlanContext<'_>,
        brokers: &BrokersAfter<'_>,
        (topic, index): (&Topic, PartitionIndex),
        before: &PartitionState,
        change: impl for<'c> Fn(PartitionChange<'c>) -> PartitionChange<'c>,
    ) -> Option<PartitionState> {
        changed(at(topic.id, index.0), before, &self.topic_config(context, topic), brokers, &change)
    }

    fn topic_config(&self, context: PlanContext<'_>, topic: &Topic) -> TopicConfig {
        self.latest.topic_config(context.node, context.fixed, topic.id)
    }
}

fn changed(
    partition: TopicPartition,
    before: &PartitionState,
    config: &TopicConfig,
    brokers: &BrokersAfter<'_>,
    change: &impl for<'c> Fn(PartitionChange<'c>) -> PartitionChange<'c>,
) -> Option<PartitionState> {
    let candidates = Candidates {
        is_active: &|id| brokers.serves(partition, id),
        is_drained: &|id| brokers.drained.contains(&id),
    };
    let blank =
        PartitionChange::new(before, config.insync_replicas_min, config.unclean_leader_election, &candidates);
    change(blank).build()
}
