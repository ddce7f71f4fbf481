//! The node's partitions follow the metadata: opened, configured and deleted as records are committed.

use crate::background;
use crate::listing::Listing;
use crate::log::LogError;
use crate::meta_store::Put;
use crate::node::Node;
use crate::partition::{Opened, Opening, Partition, Snapshot};
use crate::registry::Entry;
use highwater_core::config::TopicConfig;
use highwater_core::coordinator::CoordinatorShard;
use highwater_core::coordinator::group::{DeletedTopic, GroupCoordinator};
use highwater_core::ids::{BrokerId, TopicId, TopicPartition};
use highwater_core::metadata::{
    BrokerRegistration, BrokerState, Committed, ConfigResource, MetadataImage, PartitionState, Record, Topic,
};
use highwater_core::replica::Leadership;
use highwater_core::transport::PEER_LISTENER;
use highwater_protocol::Uuid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The internal topic of the group coordinator.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

impl Node {
    /// Opens everything that the image says this broker holds, and sweeps away what it does not know.
    pub(crate) fn open_partitions(&self) -> Result<(), LogError> {
        let image = self.image();
        let begun = self.clock().mono();
        self.sweep(&image)?;
        let mut sum = OpenedSum::default();
        for topic in image.topics() {
            self.open_topic(&image, topic, &mut sum);
        }
        let (partitions, offline) = self.registry().counts();
        let OpenedSum { bytes_read, bytes_replayed, bytes_cut, indexes_rebuilt } = sum;
        let took_ms = u64::try_from(self.clock().mono().since(begun).as_millis()).unwrap_or(u64::MAX);
        let stop = if self.data_dir().last_run().was_clean { "a clean" } else { "an unclean" };
        if partitions + offline > 0 {
            tracing::info!(
                partitions,
                offline,
                bytes_read,
                bytes_replayed,
                bytes_cut,
                indexes_rebuilt,
                took_ms,
                "logs are open after {stop} stop"
            );
        }
        let mut roles = RolesSum::default();
        for topic in image.topics() {
            self.give_roles(topic, &mut roles);
        }
        roles.tell();
        self.logs_are_open();
        Ok(())
    }

    /// Whether an image is as new as this process. An older one tells of topics that are gone, and of leaderships that
    /// are over: nothing is opened, led or swept away by it (CQ-07, PR-15).
    pub(crate) fn is_present(&self, image: &MetadataImage) -> bool {
        image.broker(self.id()).is_some_and(|registration| registration.incarnation == self.incarnation())
    }

    /// Directories whose topic is gone or has its replicas elsewhere, or which were being removed when the node stopped.
    fn sweep(&self, image: &MetadataImage) -> Result<(), LogError> {
        let (mut elsewhere, mut gone) = (Listing::default(), Listing::default());
        for found in self.data_dir().logs()? {
            if found.topic == highwater_core::metadata::METADATA_TOPIC {
                continue;
            }
            let Some(topic_id) = found.topic_id else { continue };
            let partition = image.partition(TopicPartition { topic_id, partition: found.partition });
            match partition {
                Some(state) if state.replicas.contains(&self.id()) => continue,
                Some(_) => elsewhere.add(&found.topic, found.partition),
                None => gone.add(&found.topic, found.partition),
            }
            self.data_dir().delete_stray(&found)?;
        }
        for (strays, why) in [(elsewhere, "replicas were moved elsewhere"), (gone, "topics were deleted")] {
            if !strays.is_empty() {
                tracing::warn!("removing stray logs of {strays}: their {why} while this node was away");
            }
        }
        for dir in self.data_dir().deleted()? {
            self.data_dir().remove_deleted(&dir)?;
        }
        Ok(())
    }

    fn open_topic(&self, image: &MetadataImage, topic: &Topic, sum: &mut OpenedSum) {
        // One for all partitions of a topic.
        let config = self.topic_config(image, topic);
        for (partition, state) in topic.partitions.iter() {
            if !state.replicas.contains(&self.id()) {
                continue;
            }
            let id = TopicPartition { topic_id: topic.id, partition: *partition };
            if self.registry().entry(id).is_none() {
                self.open_replica(topic, id, &config, sum);
            }
        }
    }

    pub(crate) fn topic_config(&self, image: &MetadataImage, topic: &Topic) -> Arc<TopicConfig> {
        Arc::new(image.topic_config(self.id(), self.fixed(), topic.id))
    }

    /// Opens a replica's log, or makes it. The controller is told if that fails.
    pub(crate) fn open_replica(
        &self,
        topic: &Topic,
        id: TopicPartition,
        config: &Arc<TopicConfig>,
        sum: &mut OpenedSum,
    ) {
        let broker_config = self.broker_config();
        let opening = Opening {
            data_dir: self.data_dir(),
            shell: self.shell(),
            broker: self.id(),
            topic: topic.name.clone(),
            id,
            config: config.clone(),
            broker_config: broker_config.clone(),
            snapshot: self.stored_snapshot(id),
            coordinator: (*topic.name == *OFFSETS_TOPIC).then(|| {
                let (group, shard) = crate::settings::group_config(&broker_config, config);
                CoordinatorShard::new(GroupCoordinator::new(group), shard)
            }),
        };
        let entry = match opening.open() {
            Ok(opened) => {
                sum.add(&opened);
                Entry::Online(opened.partition)
            }
            Err(error) => {
                tracing::error!(
                    topic = %topic.name,
                    partition = id.partition.0,
                    %error,
                    "the partition stays offline"
                );
                let why = error.to_string().into();
                if error.is_corruption() { Entry::Corrupt(why) } else { Entry::Offline(why) }
            }
        };
        let is_online = matches!(entry, Entry::Online(_));
        self.registry().insert(&topic.name, id, entry);
        if !is_online {
            self.membership().log_failed(id);
        }
    }

    fn give_roles(&self, topic: &Topic, roles: &mut RolesSum) {
        for (partition, state) in topic.partitions.iter() {
            let id = TopicPartition { topic_id: topic.id, partition: *partition };
            if let Some(partition) = self.registry().get(id) {
                self.take_role(&partition, state, roles);
            }
        }
    }

    pub(crate) fn take_role(&self, partition: &Partition, state: &PartitionState, roles: &mut RolesSum) {
        // A broken cell stays offline whatever the controller says.
        let _ = match state.leader {
            Some(leader) if leader == self.id() => {
                roles.leads += 1;
                let led = partition.lead(Leadership {
                    leader_epoch: state.leader_epoch,
                    partition_epoch: state.partition_epoch,
                    replicas: state.replicas.clone(),
                    isr: state.isr.clone(),
                });
                let inactive = inactive(&self.image(), partition.id(), state);
                led.and_then(|()| if inactive.is_empty() { Ok(()) } else { partition.inactive(inactive) })
            }
            leader => {
                match leader {
                    Some(leader) => *roles.follows.entry(leader).or_default() += 1,
                    None => roles.waits += 1,
                }
                partition.follow(leader, state.leader_epoch, state.partition_epoch)
            }
        };
    }

    /// A partition's replicas or leader changed: it comes here, goes, or takes another role.
    fn change_role(
        &self,
        image: &MetadataImage,
        id: TopicPartition,
        state: &PartitionState,
        roles: &mut RolesSum,
        unwanted: &mut Listing,
    ) {
        let Some(topic) = image.topic_by_id(id.topic_id) else { return };
        if !state.replicas.contains(&self.id()) {
            if let Some(entry) = self.registry().remove(id) {
                unwanted.add(&topic.name, id.partition);
                self.remove_replica(&topic.name, id, entry);
                self.ring_housekeeper();
            }
            return;
        }
        if self.registry().entry(id).is_none() {
            self.open_topic(image, topic, &mut OpenedSum::default());
        }
        if let Some(partition) = self.registry().get(id) {
            self.take_role(&partition, state, roles);
        }
    }

    /// Carries out what was committed, in order: the image is published first, so that nobody looks for a partition
    /// that it does not have.
    pub(crate) fn apply(&self, committed: &Committed) {
        let before = self.image();
        self.publish(committed.image.clone());
        for record in &committed.records {
            match record {
                Record::Cluster { id } => self.join_cluster(id),
                Record::RegisterBroker { id, registration } => self.follow_voter(*id, registration),
                _ => {}
            }
        }
        let Changes { roles, mut configured, are_settings, are_quotas, is_registration, is_activity } =
            Changes::of(&committed.records, self.id());
        if !self.roles().broker {
            // It holds no partitions.
        } else if self.are_logs_open() {
            self.change_roles(&before, &committed.image, &roles);
        } else if self.is_present(&committed.image)
            && let Err(error) = self.open_partitions()
        {
            self.halt(format!("the log directories cannot be listed: {error}"));
        }
        if is_activity {
            self.tell_inactive(&committed.image);
        }
        self.mend_replicas(&committed.image);
        if is_registration {
            self.replication().registered();
        }
        if are_settings {
            configured.extend(committed.image.topics().map(|topic| topic.id));
            self.replication().configure(&self.broker_config());
        }
        for id in configured {
            self.configure_topic(&committed.image, id);
        }
        if are_quotas || are_settings {
            self.throttles().configure(&self.broker_config(), &committed.image);
        }
        self.desk().applied(&before, committed);
        self.membership().applied(&committed.image);
        self.carried_out(committed.image.offset());
    }

    /// Brokers were fenced, let in, or are about to stop: leaders propose none but the active for an ISR.
    fn tell_inactive(&self, image: &MetadataImage) {
        for partition in self.registry().all() {
            if let Some(state) = image.partition(partition.id())
                && state.leader == Some(self.id())
                && state.replicas.len() > 1
            {
                // A broken cell leads nothing.
                let _ = partition.inactive(inactive(image, partition.id(), state));
            }
        }
    }

    /// Replicas come, go, and take other roles. What is deleted goes first: a new topic may have its name.
    fn change_roles(&self, before: &MetadataImage, image: &MetadataImage, changes: &RoleChanges) {
        let mut roles = RolesSum::default();
        let mut unwanted = Listing::default();
        self.remove_topics(before, &changes.removed);
        for id in &changes.opened {
            if let Some(topic) = image.topic_by_id(*id) {
                self.open_topic(image, topic, &mut OpenedSum::default());
                self.give_roles(topic, &mut roles);
            }
        }
        for (id, state) in &changes.changed {
            let was = before.partition(*id).map(|before| before.leader_epoch);
            let is_election = was != Some(state.leader_epoch);
            if let (false, Some(before)) = (is_election, before.partition(*id))
                && state.leader == Some(self.id())
            {
                self.replication().isr_changed(*id, &before.isr, &state.isr);
            }
            let mut unchanged = RolesSum::default();
            let told = if is_election { &mut roles } else { &mut unchanged };
            self.change_role(image, *id, state, told, &mut unwanted);
        }
        roles.tell();
        self.tell_removed(&unwanted, "their replicas are elsewhere now");
    }

    /// A broker has registered: if it votes, the voters' record follows its address.
    fn follow_voter(&self, id: BrokerId, registration: &BrokerRegistration) {
        if let Some(endpoint) = registration.endpoint(PEER_LISTENER) {
            self.controller().voter_is_at(id, vec![endpoint.clone()]);
        }
    }

    fn configure_topic(&self, image: &MetadataImage, id: TopicId) {
        if image.topic_by_id(id).is_none() {
            return;
        }
        let config = Arc::new(image.topic_config(self.id(), self.fixed(), id));
        let broker_config = self.broker_config();
        for partition in self.registry().of_topic(id) {
            let _ = partition.configure(config.clone(), &broker_config);
        }
    }

    fn remove_topics(&self, before: &MetadataImage, removed: &[TopicId]) {
        let (mut deleted, mut gone) = (Vec::new(), Listing::default());
        for id in removed {
            let Some(topic) = before.topic_by_id(*id) else { continue };
            for (id, entry) in self.registry().remove_topic(&topic.name, *id) {
                gone.add(&topic.name, id.partition);
                self.remove_replica(&topic.name, id, entry);
            }
            deleted.push(DeletedTopic { name: topic.name.to_string(), topic_id: Uuid(id.0) });
        }
        if !deleted.is_empty() {
            self.forget_offsets(&deleted);
            self.ring_housekeeper();
        }
        self.tell_removed(&gone, "their topics were deleted");
    }

    fn tell_removed(&self, partitions: &Listing, why: &str) {
        if !partitions.is_empty() {
            let delay_ms = self.broker_config().log_delete_delay_ms;
            tracing::info!("the logs of {partitions} go in {delay_ms} ms: {why}");
        }
    }

    /// Ends a replica and moves its files out of the way.
    fn remove_replica(&self, topic: &str, id: TopicPartition, entry: Entry) {
        if let Entry::Online(partition) = entry {
            partition.remove();
            match partition.with_log(|log| self.data_dir().delete_log(log)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(topic, %error, "the log's directory stays"),
                Err(broken) => tracing::error!(topic, error = %broken, "the log's directory stays"),
            }
        }
        self.forget_snapshot(id);
        self.membership().replica_removed(id);
    }

    /// Committed offsets of a deleted topic must not meet a new one of its name (OF-06).
    fn forget_offsets(&self, deleted: &[DeletedTopic]) {
        let image = self.image();
        let Some(offsets) = image.topic(OFFSETS_TOPIC) else { return };
        for partition in self.registry().of_topic(offsets.id) {
            let request = crate::partition::GroupRequest::TopicsDeleted(deleted.to_vec());
            partition.coordinate(request, Box::new(|_| {}));
        }
    }

    fn stored_snapshot(&self, id: TopicPartition) -> Option<Snapshot> {
        match self.meta_store().get(&snapshot_key(id)) {
            Ok(bytes) => Snapshot::decode(&bytes?),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint is unreadable; the log is read instead");
                None
            }
        }
    }

    pub(crate) fn forget_snapshot(&self, id: TopicPartition) {
        let put: Put = (snapshot_key(id), None);
        if let Err(error) = self.meta_store().put_batch(&[put]) {
            tracing::debug!(%error, "a deleted partition's checkpoint stays until it is overwritten");
        }
    }

    /// Stores what a partition derived from its log, so that the next start need not read it all.
    pub(crate) fn store_snapshot(&self, partition: &Partition) {
        let Ok(Some(snapshot)) = partition.snapshot() else { return };
        let put: Put = (snapshot_key(partition.id()), Some(snapshot.encode()));
        if let Err(error) = self.meta_store().put_batch(&[put]) {
            tracing::warn!(topic = %partition.topic(), %error, "a checkpoint was not stored");
        }
    }

    /// Flushes and closes every log. An error leaves the directory marked as not cleanly closed.
    pub(crate) fn close_partitions(&self) -> Result<(), LogError> {
        let first_error = Mutex::new(None);
        // Each flush waits for the device; side by side they share its commits.
        background::for_each(&self.registry().all(), |partition| {
            self.store_snapshot(partition);
            let closed = partition.with_log(crate::log::Log::close);
            let closed =
                closed.unwrap_or_else(|broken| Err(LogError::Poisoned { cause: broken.to_string() }));
            if let Err(error) = closed {
                tracing::error!(topic = %partition.topic(), partition = partition.id().partition.0, %error, "a log was not closed in order");
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// The replicas that may not be in an ISR, for their brokers' sake (KIP-841) or because their logs failed.
fn inactive(image: &MetadataImage, partition: TopicPartition, state: &PartitionState) -> Vec<BrokerId> {
    let is_active = |id: &BrokerId| {
        image.broker(*id).is_some_and(|broker| broker.state == BrokerState::Active)
            && !image.is_failed(partition, *id)
    };
    state.replicas.iter().copied().filter(|id| !is_active(id)).collect()
}

/// What opening many partitions took.
#[derive(Debug, Default)]
pub(crate) struct OpenedSum {
    bytes_read: u64,
    bytes_replayed: u64,
    bytes_cut: u64,
    indexes_rebuilt: usize,
}

impl OpenedSum {
    fn add(&mut self, opened: &Opened) {
        self.bytes_read += opened.report.bytes_read;
        self.bytes_replayed += opened.replayed_bytes;
        self.bytes_cut += opened.report.cut.as_ref().map_or(0, |cut| cut.bytes);
        self.indexes_rebuilt += opened.report.indexes_rebuilt;
    }
}

/// What committed records change here.
#[derive(Debug, Default)]
struct Changes {
    roles: RoleChanges,
    /// Topics with other settings.
    configured: BTreeSet<TopicId>,
    /// The broker's own settings are others.
    are_settings: bool,
    are_quotas: bool,
    /// This broker has registered, or was fenced or let in.
    is_registration: bool,
    /// Some broker has, or is gone.
    is_activity: bool,
}

impl Changes {
    fn of(records: &[Record], here: BrokerId) -> Self {
        let mut changes = Self::default();
        for record in records {
            match record {
                Record::Partition { partition, .. } => {
                    changes.roles.opened.insert(partition.topic_id);
                }
                Record::PartitionChange { partition, state } => {
                    changes.roles.changed.insert(*partition, state.clone());
                }
                Record::RemoveTopic { id } => changes.roles.removed.push(*id),
                Record::Config { resource: ConfigResource::Topic(id), .. } => {
                    changes.configured.insert(*id);
                }
                Record::Config {
                    resource: ConfigResource::Broker(_) | ConfigResource::BrokerDefault,
                    ..
                } => changes.are_settings = true,
                Record::ClientQuota { .. } => changes.are_quotas = true,
                Record::RegisterBroker { id, .. } | Record::BrokerChange { id, .. } => {
                    changes.is_activity = true;
                    changes.is_registration |= *id == here;
                }
                Record::UnregisterBroker { .. } | Record::ReplicaHealth { .. } => changes.is_activity = true,
                _ => {}
            }
        }
        changes
    }
}

/// What was committed of topics and their partitions.
#[derive(Debug, Default)]
struct RoleChanges {
    /// Topics with new partitions.
    opened: BTreeSet<TopicId>,
    /// Partitions with another leader, ISR or replicas.
    changed: BTreeMap<TopicPartition, PartitionState>,
    removed: Vec<TopicId>,
}

/// What a change of the metadata makes of the partitions here, for one line to the operator.
#[derive(Debug, Default)]
pub(crate) struct RolesSum {
    leads: usize,
    waits: usize,
    follows: BTreeMap<BrokerId, usize>,
}

impl RolesSum {
    pub(crate) fn tell(&self) {
        if self.leads > 0 {
            tracing::info!("now leading {}", many(self.leads));
        }
        for (leader, partitions) in &self.follows {
            tracing::info!("now following broker {leader} in {}", many(*partitions));
        }
        if self.waits > 0 {
            tracing::warn!("nobody leads {} here: they can be neither written nor read", many(self.waits));
        }
    }
}

fn many(partitions: usize) -> String {
    if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") }
}

/// A partition's key in the store of what can be rebuilt.
fn snapshot_key(id: TopicPartition) -> Vec<u8> {
    let mut key = b"replica/".to_vec();
    key.extend_from_slice(&id.topic_id.0);
    key.extend_from_slice(&id.partition.0.to_be_bytes());
    key
}
