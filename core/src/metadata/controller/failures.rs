//! Replicas whose logs failed: who leads instead, and when such a replica may come back (design rule 11, KIP-858).
//!
//! A broker whose log of one partition failed goes on with the others, so that its session says nothing about it: it
//! tells. Its replica leaves ISR and ELR where another complete one is left, and somebody else leads. The last complete
//! one stays what it is, as with Kafka's last member of an ISR: what its log still has may be all there is.
//!
//! While nodes of releases that know nothing of this may be in the cluster, none of it is written: see
//! [`FORMAT_FEATURE`](crate::metadata::FORMAT_FEATURE).

use super::brokers::counts_on;
use super::changes::BrokersAfter;
use super::election::Lost;
use super::{Controller, Plan, PlanContext};
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId};
use crate::metadata::peer::{BrokerRefusal, ReplicaHealth};
use crate::metadata::records::Record;
use std::collections::BTreeMap;

impl Controller {
    /// Plans what follows from logs that failed on a broker, and from replicas that were made anew. What is known
    /// already, and what concerns no replica of the broker, changes nothing.
    pub fn plan_replica_health(
        &self,
        context: PlanContext<'_>,
        sender: BrokerId,
        broker_epoch: BrokerEpoch,
        items: &[ReplicaHealth],
    ) -> Plan<Result<(), BrokerRefusal>> {
        if let Err(why) = self.check_epoch(sender, broker_epoch) {
            return Plan { records: Vec::new(), response: Err(why) };
        }
        if !self.latest.takes_replica_health() {
            return Plan { records: Vec::new(), response: Err(BrokerRefusal::UnsupportedVersion) };
        }
        let mut news: BTreeMap<_, ReplicaHealth> = BTreeMap::new();
        for item in items {
            let newest = news.entry(item.partition).or_insert(*item);
            if newest.change < item.change {
                *newest = *item;
            }
        }
        let brokers = BrokersAfter::without(&self.latest, &[sender]);
        let mut records = Vec::new();
        for (partition, ReplicaHealth { is_failed, change, .. }) in news {
            let Some(topic) = self.latest.topic_by_id(partition.topic_id) else { continue };
            let Some(before) = topic.partitions.get(&partition.partition) else { continue };
            // A late copy of what was said before, or it is made anew and nobody knows that it had failed.
            let is_late =
                !guard!(HealthReportInOrder, change > self.latest.failures.change(partition, sender));
            let is_news = !is_late && (is_failed || self.latest.is_failed(partition, sender));
            if !before.replicas.contains(&sender) || !is_news {
                continue;
            }
            if !is_failed && !guard!(MendedOutsideIsr, !counts_on(before, sender)) {
                continue;
            }
            records.push(Record::ReplicaHealth {
                partition,
                broker: sender,
                epoch: broker_epoch,
                is_failed,
                change,
            });
            if is_failed {
                // In a new epoch, whoever leads: what it knows of the failed log's progress would let the empty one that
                // comes in its place join the ISR.
                let lost = Lost { broker: sender, is_everything: false };
                let which = (&**topic, partition.partition);
                let state = self.change_partition(context, &brokers, which, before, |change| {
                    change.without_inactive().lost(lost).renewed()
                });
                records.extend(state.map(|state| Record::PartitionChange { partition, state }));
            }
        }
        Plan { records, response: Ok(()) }
    }
}
