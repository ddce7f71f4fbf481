//! Replicas whose logs failed on a broker that goes on without them (KIP-858, with a log as the unit instead of a
//! directory of logs).
//!
//! A failure is one of a broker's registration: the next process opens the log anew and sees for itself. What is void
//! is not kept, so that whoever asks need not compare epochs. That a replica was made anew is kept as long: a late copy
//! of the report of its failure is not to be believed.

use super::cow_map::CowMap;
use super::records::Record;
use crate::ids::{BrokerEpoch, BrokerId, TopicId, TopicPartition};

/// The failed replicas of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failures(CowMap<(TopicPartition, BrokerId), Health>);

/// What is known of a replica of which something was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) epoch: BrokerEpoch,
    pub(super) is_failed: bool,
    /// Its place among everything that was said under the registration.
    pub(super) change: u32,
}

impl Failures {
    /// Whether the replica of this broker has failed.
    pub(super) fn contains(&self, partition: TopicPartition, broker: BrokerId) -> bool {
        self.0.get(&(partition, broker)).is_some_and(|health| health.is_failed)
    }

    /// How much was said of a replica under the broker's present registration.
    pub(super) fn change(&self, partition: TopicPartition, broker: BrokerId) -> u32 {
        self.0.get(&(partition, broker)).map_or(0, |health| health.change)
    }

    /// All of which something was said.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TopicPartition, BrokerId, Health)> {
        self.0.iter().map(|((partition, broker), health)| (*partition, *broker, *health))
    }

    pub(super) fn set(&mut self, partition: TopicPartition, broker: BrokerId, health: Health) {
        self.0.insert((partition, broker), health);
    }

    /// A broker has this registration from now on, or none.
    pub(super) fn broker_is(&mut self, broker: BrokerId, registered: Option<BrokerEpoch>) {
        self.remove(|_, of, health| of == broker && Some(health.epoch) != registered);
    }

    /// A partition has these replicas from now on.
    pub(super) fn replicas_are(&mut self, partition: TopicPartition, replicas: &[BrokerId]) {
        self.remove(|of, broker, _| of == partition && !replicas.contains(&broker));
    }

    /// A topic is gone.
    pub(super) fn topic_is_gone(&mut self, topic: TopicId) {
        self.remove(|of, _, _| of.topic_id == topic);
    }

    /// Few replicas fail, so all are looked at.
    fn remove(&mut self, is_void: impl Fn(TopicPartition, BrokerId, Health) -> bool) {
        let void: Vec<_> =
            self.iter().filter(|(of, broker, health)| is_void(*of, *broker, *health)).collect();
        for (partition, broker, _) in void {
            self.0.remove(&(partition, broker));
        }
    }

    /// Records whose replay is this, behind those of brokers and topics.
    pub(super) fn snapshot(&self) -> impl Iterator<Item = Record> {
        self.iter().map(|(partition, broker, health)| record(partition, broker, health))
    }

    /// Records that lead here from `before`, once the changes of brokers and topics are made: nothing else ends what was
    /// said of a replica.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<Record> {
        let is_new = |(partition, broker, health): &(TopicPartition, BrokerId, Health)| {
            before.0.get(&(*partition, *broker)) != Some(health)
        };
        self.iter()
            .filter(is_new)
            .map(|(partition, broker, health)| record(partition, broker, health))
            .collect()
    }
}

fn record(partition: TopicPartition, broker: BrokerId, health: Health) -> Record {
    let Health { epoch, is_failed, change } = health;
    Record::ReplicaHealth { partition, broker, epoch, is_failed, change }
}
