//! What the metadata log says, replayed: immutable for everybody but the replay.

use super::cow_map::CowMap;
use super::failures::{Failures, Health};
use super::features::{FORMAT_CLIENT_METRICS, FORMAT_FEATURE, FORMAT_REPLICA_HEALTH};
use super::records::{
    BrokerRegistration, BrokerState, ConfigResource, PartitionState, QuotaEntity, Record, at,
};
use super::topic_name::collision_key;
use crate::config::{BrokerConfig, ConfigMap, Layers, TopicConfig};
use crate::ids::{BrokerEpoch, BrokerId, Offset, PartitionIndex, ProducerId, TopicId, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions, 0 and on.
    pub partitions: CowMap<PartitionIndex, PartitionState>,
}

impl Topic {
    /// How many partitions it has.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition indexes are i32")
    }
}

/// The replay of a metadata log up to an offset. A clone costs a few reference counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataImage {
    offset: Offset,
    cluster_id: Option<Arc<str>>,
    topics: CowMap<Arc<str>, Arc<Topic>>,
    names: CowMap<TopicId, Arc<str>>,
    /// Names with '.' or '_', by what they would be with '_' alone.
    collisions: CowMap<String, Arc<str>>,
    configs: CowMap<ConfigResource, Arc<ConfigMap>>,
    quotas: CowMap<QuotaEntity, Arc<BTreeMap<String, f64>>>,
    brokers: CowMap<BrokerId, Arc<BrokerRegistration>>,
    /// Brokers whose registration was never let in, with the last epoch before it that was.
    never_let_in: CowMap<BrokerId, BrokerEpoch>,
    features: CowMap<String, i16>,
    next_producer_id: ProducerId,
    pub(super) failures: Failures,
}

/// No settings.
const NO_CONFIG: &ConfigMap = &ConfigMap::new();

impl MetadataImage {
    /// The end of the log that this is the replay of.
    pub const fn offset(&self) -> Offset {
        self.offset
    }

    /// The cluster's id; `None` before the first record.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics of this and later names.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.iter_from(name).map(|(_, topic)| topic)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// A partition by its topic's id.
    pub fn partition(&self, partition: TopicPartition) -> Option<&PartitionState> {
        self.topic_by_id(partition.topic_id)?.partitions.get(&partition.partition)
    }

    /// Another topic whose name would be this one's in metrics.
    pub fn colliding_topic(&self, name: &str) -> Option<&str> {
        self.collisions.get(&collision_key(name)?).map(|other| &**other).filter(|other| *other != name)
    }

    /// The registration of a broker.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// The last registration of a broker under which it may have led or been in an ISR. It is the present one, unless that
    /// was never let in: then nothing was promised on its word, and its process may never have heard of it.
    pub fn served_epoch(&self, id: BrokerId) -> Option<BrokerEpoch> {
        let before = self.never_let_in.get(&id).copied();
        before.or_else(|| self.broker(id).map(|registration| registration.epoch))
    }

    /// All registered brokers in the order of their ids.
    pub fn brokers(&self) -> impl Iterator<Item = (BrokerId, &Arc<BrokerRegistration>)> {
        self.brokers.iter().map(|(id, registration)| (*id, registration))
    }

    /// Whether a broker's replica can neither lead nor be in an ISR, because its log failed in the broker's present life.
    pub fn is_failed(&self, partition: TopicPartition, broker: BrokerId) -> bool {
        self.failures.contains(partition, broker)
    }

    /// All replicas of which [`MetadataImage::is_failed`] holds.
    pub fn failed_replicas(&self) -> impl Iterator<Item = (TopicPartition, BrokerId)> {
        let failed = self.failures.iter().filter(|(_, _, health)| health.is_failed);
        failed.map(|(partition, broker, _)| (partition, broker))
    }

    /// What is set for a resource.
    pub fn config(&self, resource: &ConfigResource) -> &ConfigMap {
        self.configs.get(resource).map_or(NO_CONFIG, |config| config)
    }

    /// Every resource for which something is set.
    pub fn config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.iter().map(|(resource, _)| resource)
    }

    /// Every client quota.
    pub fn quotas(&self) -> impl Iterator<Item = (&QuotaEntity, &BTreeMap<String, f64>)> {
        self.quotas.iter().map(|(entity, values)| (entity, &**values))
    }

    /// The quotas of exactly this entity.
    pub fn quota(&self, entity: &QuotaEntity) -> Option<&BTreeMap<String, f64>> {
        self.quotas.get(entity).map(|values| &**values)
    }

    /// The finalized features (KIP-584).
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// The finalized level of a feature; 0 if it has none.
    pub fn level(&self, feature: &str) -> i16 {
        self.features.get(feature).copied().unwrap_or_default()
    }

    /// Whether every node reads that a replica's log failed, so that it may be written (see [`FORMAT_FEATURE`]).
    pub fn takes_replica_health(&self) -> bool {
        self.level(FORMAT_FEATURE) >= FORMAT_REPLICA_HEALTH
    }

    /// Whether every node reads settings of clients' metrics, so that they may be written (see [`FORMAT_FEATURE`]).
    pub fn takes_client_metrics(&self) -> bool {
        self.level(FORMAT_FEATURE) >= FORMAT_CLIENT_METRICS
    }

    /// The first producer id that is not given out.
    pub const fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// The settings of a broker by who made them; `fixed` are those of its file, environment and command line.
    pub fn layers<'a>(&'a self, broker: BrokerId, fixed: &'a ConfigMap) -> Layers<'a> {
        Layers {
            dynamic: self.config(&ConfigResource::Broker(broker)),
            dynamic_default: self.config(&ConfigResource::BrokerDefault),
            fixed,
        }
    }

    /// The effective settings of a topic as a broker with these `fixed` settings sees it.
    pub fn topic_config(&self, broker: BrokerId, fixed: &ConfigMap, topic: TopicId) -> TopicConfig {
        TopicConfig::resolve(&self.layers(broker, fixed), self.config(&ConfigResource::Topic(topic)))
    }

    /// The effective settings of a broker with these `fixed` settings.
    pub fn broker_config(&self, broker: BrokerId, fixed: &ConfigMap) -> BrokerConfig {
        BrokerConfig::resolve(&self.layers(broker, fixed))
    }

    /// Takes one record.
    ///
    /// # Panics
    /// If the record contradicts those before it: plans never do, so this log is not the controller's.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::Cluster { id } => {
                assert!(
                    self.cluster_id.as_deref().is_none_or(|known| known == id),
                    "the cluster's id changed"
                );
                self.cluster_id = Some(id.as_str().into());
            }
            Record::Topic { id, name } => self.replay_topic(*id, name),
            Record::RemoveTopic { id } => self.replay_remove_topic(*id),
            Record::Partition { partition, state } => {
                let before =
                    self.topic_mut(partition.topic_id).partitions.insert(partition.partition, state.clone());
                assert!(before.is_none(), "{partition:?} was created twice");
            }
            Record::PartitionChange { partition, state } => self.replay_partition_change(*partition, state),
            Record::Config { resource, name, value } => self.replay_config(resource, name, value.as_ref()),
            Record::ClientQuota { entity, key, value } => self.replay_client_quota(entity, key, *value),
            Record::RegisterBroker { id, registration } => self.replay_register_broker(*id, registration),
            Record::BrokerChange { id, epoch, state } => self.replay_broker_change(*id, *epoch, *state),
            Record::UnregisterBroker { id, epoch } => {
                if self.brokers.get(id).is_some_and(|registration| registration.epoch == *epoch) {
                    self.brokers.remove(id);
                    self.never_let_in.remove(id);
                    self.failures.broker_is(*id, None);
                }
            }
            Record::ProducerIds { next } => {
                assert!(*next >= self.next_producer_id, "producer ids were given out twice");
                self.next_producer_id = *next;
            }
            Record::Feature { name, level: 0 } => {
                self.features.remove(name.as_str());
            }
            Record::Feature { name, level } => {
                self.features.insert(name.clone(), *level);
            }
            Record::ReplicaHealth { partition, broker, epoch, is_failed, change } => {
                let health = Health { epoch: *epoch, is_failed: *is_failed, change: *change };
                self.replay_replica_health(*partition, *broker, health);
            }
        }
        self.offset = self.offset.plus(1);
    }

    /// Passes over records of the quorum itself, which take offsets in the log and are no metadata.
    pub fn pass(&mut self, records: i64) {
        self.offset = self.offset.plus(records);
    }

    /// The image after these records.
    #[must_use]
    pub fn replayed<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut image = self.clone();
        for record in records {
            image.replay(record);
        }
        image
    }

    /// Records whose replay is this image: a snapshot. Its own offset is lost; see [`MetadataImage::restore`].
    pub fn snapshot(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.cluster_id.iter().map(|id| Record::Cluster { id: id.to_string() }));
        records.extend(self.features().map(|(name, level)| Record::Feature { name: name.to_owned(), level }));
        for (id, registration) in self.brokers() {
            records.extend(self.registration_since(&Self::default(), id, registration));
        }
        for topic in self.topics() {
            records.push(Record::Topic { id: topic.id, name: topic.name.to_string() });
            for (index, state) in topic.partitions.iter() {
                records.push(Record::Partition { partition: at(topic.id, index.0), state: state.clone() });
            }
        }
        for (resource, config) in self.configs.iter() {
            for (name, value) in config.iter() {
                let (resource, name) = (resource.clone(), name.clone());
                records.push(Record::Config { resource, name, value: Some(value.clone()) });
            }
        }
        for (entity, values) in self.quotas() {
            for (key, value) in values {
                records.push(Record::ClientQuota {
                    entity: entity.clone(),
                    key: key.clone(),
                    value: Some(*value),
                });
            }
        }
        if self.next_producer_id != ProducerId::default() {
            records.push(Record::ProducerIds { next: self.next_producer_id });
        }
        records.extend(self.failures.snapshot());
        records
    }

    /// The image of a snapshot that ends at `offset`.
    pub fn restore<'a>(snapshot: impl IntoIterator<Item = &'a Record>, offset: Offset) -> Self {
        Self { offset, ..Self::default().replayed(snapshot) }
    }

    /// Panics if the image contradicts itself.
    pub fn assert_invariants(&self) {
        assert_eq!(self.topics.len(), self.names.len(), "one id for each name");
        for topic in self.topics() {
            assert_eq!(self.names.get(&topic.id), Some(&topic.name), "the id leads back to the name");
            let indexes = topic.partitions.iter().map(|(index, _)| index.0);
            assert!(
                indexes.eq(0..topic.partition_count()),
                "partitions of {} are numbered from 0",
                topic.name
            );
            for (index, state) in topic.partitions.iter() {
                let is_failed = |broker: &BrokerId| self.is_failed(at(topic.id, index.0), *broker);
                assert!(!state.isr.iter().any(is_failed), "no failed replica is in the ISR");
                assert!(
                    state.isr.iter().all(|broker| state.replicas.contains(broker)),
                    "the ISR are replicas"
                );
                assert!(
                    state.elr.iter().all(|broker| state.replicas.contains(broker)),
                    "the ELR are replicas"
                );
                assert!(
                    !state.isr.iter().any(|broker| state.elr.contains(broker)),
                    "ISR and ELR are disjoint"
                );
                assert!(
                    state.leader.is_none_or(|leader| state.isr.contains(&leader)),
                    "the leader is in the ISR"
                );
            }
        }
        for resource in self.config_resources() {
            if let ConfigResource::Topic(id) = resource {
                assert!(self.names.contains_key(id), "settings belong to a topic");
            }
            assert!(!self.config(resource).is_empty(), "what has no settings is not kept");
        }
    }

    fn topic_mut(&mut self, id: TopicId) -> &mut Topic {
        let topic = self.names.get(&id).and_then(|name| self.topics.get_mut(name));
        Arc::make_mut(topic.unwrap_or_else(|| panic!("no topic has the id {id}")))
    }

    fn replay_topic(&mut self, id: TopicId, name: &str) {
        let name: Arc<str> = name.into();
        let topic = Topic { id, name: name.clone(), partitions: CowMap::default() };
        assert!(
            self.topics.insert(name.clone(), Arc::new(topic)).is_none(),
            "topic {name} was created twice"
        );
        assert!(self.names.insert(id, name.clone()).is_none(), "topic id {id} was given twice");
        if let Some(key) = collision_key(&name) {
            self.collisions.insert(key, name);
        }
    }

    fn replay_remove_topic(&mut self, id: TopicId) {
        let name = self.names.remove(&id).unwrap_or_else(|| panic!("no topic has the id {id}"));
        self.topics.remove(&name);
        self.configs.remove(&ConfigResource::Topic(id));
        self.failures.topic_is_gone(id);
        if let Some(key) = collision_key(&name) {
            self.collisions.remove(&key);
        }
    }

    fn replay_partition_change(&mut self, partition: TopicPartition, state: &PartitionState) {
        let before = self.topic_mut(partition.topic_id).partitions.get_mut(&partition.partition);
        let before = before.unwrap_or_else(|| panic!("there is no {partition:?}"));
        assert!(before.partition_epoch < state.partition_epoch, "the epoch of {partition:?} rises");
        assert!(before.leader_epoch <= state.leader_epoch, "the leader epoch of {partition:?} went back");
        *before = state.clone();
        self.failures.replicas_are(partition, &state.replicas);
    }

    fn replay_replica_health(&mut self, partition: TopicPartition, broker: BrokerId, health: Health) {
        let is_registered =
            self.broker(broker).is_some_and(|registration| registration.epoch == health.epoch);
        let is_held = self.partition(partition).is_some_and(|state| state.replicas.contains(&broker));
        if is_registered && is_held {
            self.failures.set(partition, broker, health);
        }
    }

    fn replay_config(&mut self, resource: &ConfigResource, name: &str, value: Option<&String>) {
        let mut config = self.configs.get(resource).cloned().unwrap_or_default();
        let entries = Arc::make_mut(&mut config);
        match value {
            Some(value) => entries.insert(name.to_owned(), value.clone()),
            None => entries.remove(name),
        };
        if config.is_empty() {
            self.configs.remove(resource);
        } else {
            self.configs.insert(resource.clone(), config);
        }
    }

    fn replay_client_quota(&mut self, entity: &QuotaEntity, key: &str, value: Option<f64>) {
        let mut quota = self.quotas.get(entity).cloned().unwrap_or_default();
        let values = Arc::make_mut(&mut quota);
        match value {
            Some(value) => values.insert(key.to_owned(), value),
            None => values.remove(key),
        };
        if quota.is_empty() {
            self.quotas.remove(entity);
        } else {
            self.quotas.insert(entity.clone(), quota);
        }
    }

    fn replay_register_broker(&mut self, id: BrokerId, registration: &BrokerRegistration) {
        let served = self.served_epoch(id);
        let before = self.brokers.insert(id, Arc::new(registration.clone()));
        let is_same_life = before.as_ref().is_some_and(|before| {
            before.epoch == registration.epoch && before.incarnation == registration.incarnation
        });
        let is_later = before.is_none_or(|before| before.epoch < registration.epoch);
        assert!(is_same_life || is_later, "the epoch of broker {id} went back");
        if registration.state == BrokerState::Active {
            self.never_let_in.remove(&id);
        } else if !is_same_life && let Some(served) = served {
            self.never_let_in.insert(id, served);
        }
        self.failures.broker_is(id, Some(registration.epoch));
    }

    fn replay_broker_change(&mut self, id: BrokerId, epoch: BrokerEpoch, state: BrokerState) {
        if let Some(registration) =
            self.brokers.get_mut(&id).filter(|registration| registration.epoch == epoch)
        {
            Arc::make_mut(registration).state = state;
            if state == BrokerState::Active {
                self.never_let_in.remove(&id);
            }
        }
    }
}
