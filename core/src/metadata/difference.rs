//! What lies between two images, as records: for whoever acts on records and has missed some behind a snapshot.

use super::image::{MetadataImage, Topic};
use super::records::{BrokerRegistration, BrokerState, ConfigResource, Record, at};
use crate::ids::BrokerId;
use std::collections::BTreeSet;

impl MetadataImage {
    /// Records that lead from `before` to this image, whatever really happened in between.
    pub fn changes_since(&self, before: &Self) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(id) = self.cluster_id().filter(|id| before.cluster_id() != Some(*id)) {
            records.push(Record::Cluster { id: id.to_owned() });
        }
        self.feature_changes(before, &mut records);
        self.broker_changes(before, &mut records);
        let gone = before.topics().filter(|topic| self.topic_by_id(topic.id).is_none());
        records.extend(gone.map(|topic| Record::RemoveTopic { id: topic.id }));
        for topic in self.topics() {
            topic_changes(topic, before.topic_by_id(topic.id).map(|known| &**known), &mut records);
        }
        self.config_changes(before, &mut records);
        self.quota_changes(before, &mut records);
        if self.next_producer_id() != before.next_producer_id() {
            records.push(Record::ProducerIds { next: self.next_producer_id() });
        }
        records.extend(self.failures.changes_since(&before.failures));
        records
    }

    fn feature_changes(&self, before: &Self, records: &mut Vec<Record>) {
        let has = |image: &Self, name: &str| image.features().any(|(known, _)| known == name);
        for (name, level) in self.features() {
            if !before.features().any(|known| known == (name, level)) {
                records.push(Record::Feature { name: name.to_owned(), level });
            }
        }
        for (name, _) in before.features().filter(|(name, _)| !has(self, name)) {
            records.push(Record::Feature { name: name.to_owned(), level: 0 });
        }
    }

    fn broker_changes(&self, before: &Self, records: &mut Vec<Record>) {
        for (id, known) in before.brokers().filter(|(id, _)| self.broker(*id).is_none()) {
            records.push(Record::UnregisterBroker { id, epoch: known.epoch });
        }
        for (id, now) in self.brokers() {
            records.extend(self.registration_since(before, id, now));
        }
    }

    /// Records that lead from what `before` knows of a broker to what this image does: whether it was ever let in shows
    /// in them only.
    pub(super) fn registration_since(
        &self,
        before: &Self,
        id: BrokerId,
        now: &BrokerRegistration,
    ) -> Vec<Record> {
        let register = |epoch, state| {
            let registration = BrokerRegistration { epoch, state, ..now.clone() };
            Record::RegisterBroker { id, registration }
        };
        let change = |state| Record::BrokerChange { id, epoch: now.epoch, state };
        let served = self.served_epoch(id).unwrap_or(now.epoch);
        let is_news = before.served_epoch(id) != Some(served);
        let is_fenced_again = served == now.epoch && now.state != BrokerState::Active;
        match before.broker(id) {
            Some(known) if **known == *now && !is_news => Vec::new(),
            Some(known) if known.epoch == now.epoch && is_fenced_again && is_news => {
                vec![change(BrokerState::Active), change(now.state)]
            }
            Some(known) if known.epoch == now.epoch => vec![change(now.state)],
            Some(_) if is_fenced_again => vec![register(now.epoch, BrokerState::Active), change(now.state)],
            _ if served != now.epoch && is_news => {
                vec![register(served, BrokerState::Active), register(now.epoch, now.state)]
            }
            _ => vec![register(now.epoch, now.state)],
        }
    }

    fn config_changes(&self, before: &Self, records: &mut Vec<Record>) {
        let resources: BTreeSet<&ConfigResource> =
            self.config_resources().chain(before.config_resources()).collect();
        for resource in resources {
            let is_gone = matches!(resource, ConfigResource::Topic(id) if self.topic_by_id(*id).is_none());
            if is_gone {
                continue;
            }
            let (then, now) = (before.config(resource), self.config(resource));
            let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
            for name in names.into_iter().filter(|name| then.get(*name) != now.get(*name)) {
                let (resource, value) = (resource.clone(), now.get(name).cloned());
                records.push(Record::Config { resource, name: name.clone(), value });
            }
        }
    }

    fn quota_changes(&self, before: &Self, records: &mut Vec<Record>) {
        let entities: BTreeSet<_> = self.quotas().chain(before.quotas()).map(|(entity, _)| entity).collect();
        for entity in entities {
            let value = |image: &Self, key: &String| image.quota(entity).and_then(|q| q.get(key)).copied();
            let keys_of = |image| Self::quota(image, entity).into_iter().flat_map(|quota| quota.keys());
            let keys: BTreeSet<&String> = keys_of(before).chain(keys_of(self)).collect();
            for key in keys.into_iter().filter(|key| value(before, key) != value(self, key)) {
                let (entity, value) = (entity.clone(), value(self, key));
                records.push(Record::ClientQuota { entity, key: key.clone(), value });
            }
        }
    }
}

fn topic_changes(now: &Topic, before: Option<&Topic>, records: &mut Vec<Record>) {
    if before.is_none() {
        records.push(Record::Topic { id: now.id, name: now.name.to_string() });
    }
    for (index, state) in now.partitions.iter() {
        let partition = at(now.id, index.0);
        match before.and_then(|topic| topic.partitions.get(index)) {
            Some(known) if known == state => {}
            Some(_) => records.push(Record::PartitionChange { partition, state: state.clone() }),
            None => records.push(Record::Partition { partition, state: state.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BrokerEpoch, ProducerId, TopicId};
    use crate::metadata::{PartitionState, QuotaEntity};

    fn registration(epoch: i64) -> BrokerRegistration {
        BrokerRegistration {
            incarnation: [0; 16],
            epoch: BrokerEpoch(epoch),
            endpoints: Vec::new(),
            rack: None,
            state: BrokerState::Active,
            directory_id: [0; 16],
            features: Vec::new(),
        }
    }

    #[test]
    fn a_failure_is_one_of_a_brokers_life_and_of_a_replica() {
        let (id, one, two) = (TopicId([1; 16]), BrokerId(1), BrokerId(2));
        let state = PartitionState::new(vec![one, two], vec![two]);
        let failed = |epoch| Record::ReplicaHealth {
            partition: at(id, 0),
            broker: one,
            epoch: BrokerEpoch(epoch),
            is_failed: true,
            change: 1,
        };
        let image = MetadataImage::default().replayed(&[
            Record::RegisterBroker { id: one, registration: registration(5) },
            Record::Topic { id, name: "t".to_owned() },
            Record::Partition { partition: at(id, 0), state: state.clone() },
        ]);
        assert_eq!(image.replayed(&[failed(4)]).failed_replicas().count(), 0, "of an older life");
        let image = image.replayed(&[failed(5)]);
        assert!(image.is_failed(at(id, 0), one));
        assert_eq!(MetadataImage::restore(&image.snapshot(), image.offset()), image);
        let elsewhere = PartitionState { replicas: vec![two], ..state.elect(two) };
        for ends in [
            Record::RegisterBroker { id: one, registration: registration(6) },
            Record::UnregisterBroker { id: one, epoch: BrokerEpoch(5) },
            Record::RemoveTopic { id },
            Record::PartitionChange { partition: at(id, 0), state: elsewhere },
        ] {
            let after = image.replayed([&ends]);
            assert_eq!(after.failed_replicas().count(), 0, "{ends:?}");
            let led = image.replayed(&after.changes_since(&image));
            assert_eq!(led.failed_replicas().count(), 0, "{ends:?}");
        }
        let same = Record::RegisterBroker { id: one, registration: registration(5) };
        assert!(image.replayed(&[same]).is_failed(at(id, 0), one), "the same life registers again");
    }

    /// Every history of a broker of six events: it registers anew, is let in, is fenced, is forgotten.
    fn histories() -> Vec<Vec<MetadataImage>> {
        let id = BrokerId(1);
        let mut histories = vec![vec![MetadataImage::default()]];
        for step in 1..=6 {
            let fenced = BrokerRegistration { state: BrokerState::Fenced, ..registration(step) };
            let mut longer = Vec::new();
            for history in &histories {
                let now = &history[history.len() - 1];
                let mut events = vec![Record::RegisterBroker { id, registration: fenced.clone() }];
                if let Some(known) = now.broker(id) {
                    let epoch = known.epoch;
                    events.push(Record::BrokerChange { id, epoch, state: BrokerState::Active });
                    events.push(Record::BrokerChange { id, epoch, state: BrokerState::Fenced });
                    events.push(Record::UnregisterBroker { id, epoch });
                }
                let follow = |event| history.iter().cloned().chain([now.replayed([&event])]).collect();
                longer.extend(events.into_iter().map(follow));
            }
            histories = longer;
        }
        histories
    }

    #[test]
    fn whether_a_broker_was_ever_let_in_outlives_snapshots_and_gaps() {
        let id = BrokerId(1);
        let of_broker = |image: &MetadataImage| (image.broker(id).cloned(), image.served_epoch(id));
        for history in histories() {
            let last = &history[history.len() - 1];
            let restored = MetadataImage::restore(&last.snapshot(), last.offset());
            assert_eq!(of_broker(&restored), of_broker(last), "{history:#?}");
            for before in &history {
                let led = before.replayed(&last.changes_since(before));
                assert_eq!(of_broker(&led), of_broker(last), "{before:#?} {history:#?}");
            }
        }
    }

    fn config(topic: TopicId, value: Option<&str>) -> Record {
        let (resource, name) = (ConfigResource::Topic(topic), "retention.ms".to_owned());
        Record::Config { resource, name, value: value.map(str::to_owned) }
    }

    #[test]
    fn the_changes_lead_from_one_image_to_the_other() {
        let (old, kept, new) = (TopicId([1; 16]), TopicId([2; 16]), TopicId([3; 16]));
        let (one, two) = (BrokerId(1), BrokerId(2));
        let state = PartitionState::new(vec![one, two], vec![one, two]);
        let topic = |id: TopicId, name: &str| Record::Topic { id, name: name.to_owned() };
        let partition = |id, index| Record::Partition { partition: at(id, index), state: state.clone() };
        let registered = |id| Record::RegisterBroker { id, registration: registration(5) };
        let health = |id, broker, is_failed| Record::ReplicaHealth {
            partition: at(id, 0),
            broker,
            epoch: BrokerEpoch(5),
            is_failed,
            change: if is_failed { 1 } else { 2 },
        };
        let before = MetadataImage::default().replayed(&[
            registered(one),
            registered(two),
            Record::Cluster { id: "c".to_owned() },
            topic(old, "same-name"),
            partition(old, 0),
            config(old, Some("1")),
            topic(kept, "kept"),
            partition(kept, 0),
            config(kept, Some("1")),
            health(old, one, true),
            health(kept, one, true),
            Record::Feature { name: "gone".to_owned(), level: 1 },
            Record::ClientQuota { entity: QuotaEntity(vec![]), key: "k".to_owned(), value: Some(1.0) },
        ]);
        let after = before.replayed(&[
            Record::RemoveTopic { id: old },
            topic(new, "same-name"),
            partition(new, 0),
            Record::PartitionChange { partition: at(kept, 0), state: state.elect(two) },
            partition(kept, 1),
            config(kept, None),
            Record::Feature { name: "gone".to_owned(), level: 0 },
            Record::Feature { name: "new".to_owned(), level: 2 },
            Record::ClientQuota { entity: QuotaEntity(vec![]), key: "k".to_owned(), value: None },
            Record::ProducerIds { next: ProducerId(1000) },
            health(kept, one, false),
            health(kept, two, true),
        ]);
        assert!(after.is_failed(at(kept, 0), two) && !after.is_failed(at(old, 0), one));
        let changes = after.changes_since(&before);
        let same = |image: MetadataImage| MetadataImage::restore(&image.snapshot(), after.offset());
        assert_eq!(same(before.replayed(&changes)), same(after.clone()), "{changes:#?}");
        assert_eq!(after.changes_since(&after), []);
    }
}
