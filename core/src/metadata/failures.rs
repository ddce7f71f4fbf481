//! Replicas whose logs failed on a broker that goes on without them (KIP-858, with a log as the unit instead of a
//! directory of logs).
//!
//! A failure is one of a broker's registration: the next process opens the log anew and sees for itself. What is void
//! is not kept, so that whoever asks need not compare epochs.

use super::cow_map::CowMap;
use super::records::Record;
use crate::ids::{BrokerEpoch, BrokerId, TopicId, TopicPartition};

/// The failed replicas of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Failures(CowMap<(TopicPartition, BrokerId), BrokerEpoch>);

impl Failures {
    /// Whether the replica of this broker has failed.
    pub(super) fn contains(&self, partition: TopicPartition, broker: BrokerId) -> bool {
        self.0.contains_key(&(partition, broker))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TopicPartition, BrokerId, BrokerEpoch)> {
        self.0.iter().map(|((partition, broker), epoch)| (*partition, *broker, *epoch))
    }

    pub(super) fn set(
        &mut self,
        partition: TopicPartition,
        broker: BrokerId,
        epoch: BrokerEpoch,
        is_failed: bool,
    ) {
        if is_failed {
            self.0.insert((partition, broker), epoch);
        } else {
            self.0.remove(&(partition, broker));
        }
    }

    /// A broker has this registration from now on, or none.
    pub(super) fn broker_is(&mut self, broker: BrokerId, registered: Option<BrokerEpoch>) {
        self.remove(|_, of, epoch| of == broker && Some(epoch) != registered);
    }

    /// A partition has these replicas from now on.
    pub(super) fn replicas_are(&mut self, partition: TopicPartition, replicas: &[BrokerId]) {
        self.remove(|of, broker, _| of == partition && !replicas.contains(&broker));
    }

    /// A topic is gone.
    pub(super) fn topic_is_gone(&mut self, topic: TopicId) {
        self.remove(|of, _, _| of.topic_id == topic);
    }

    /// Few replicas are failed at a time, so all are looked at.
    fn remove(&mut self, is_void: impl Fn(TopicPartition, BrokerId, BrokerEpoch) -> bool) {
        let void: Vec<_> = self.iter().filter(|(of, broker, epoch)| is_void(*of, *broker, *epoch)).collect();
        for (partition, broker, _) in void {
            self.0.remove(&(partition, broker));
        }
    }

    /// Records whose replay is this, behind those of brokers and topics.
    pub(super) fn snapshot(&self) -> impl Iterator<Item = Record> {
        self.iter().map(|(partition, broker, epoch)| Record::ReplicaHealth {
            partition,
            broker,
            epoch,
            is_failed: true,
        })
    }

    /// Records that lead here from `before`, once the changes of brokers and topics are made.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<Record> {
        let health = |partition, broker, epoch, is_failed| Record::ReplicaHealth {
            partition,
            broker,
            epoch,
            is_failed,
        };
        let mended = before.iter().filter(|(partition, broker, _)| !self.contains(*partition, *broker));
        let failed = self.iter().filter(|(partition, broker, epoch)| {
            before.0.get(&(*partition, *broker)).is_none_or(|known| known != epoch)
        });
        let mended = mended.map(|(partition, broker, epoch)| health(partition, broker, epoch, false));
        mended
            .chain(failed.map(|(partition, broker, epoch)| health(partition, broker, epoch, true)))
            .collect()
    }
}
