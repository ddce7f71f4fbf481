//! What is true of a cluster, as the harness saw it: what was committed, who led when. The nodes know nothing of it.

use crate::check::log::LogDump;
use crate::check::replication::{self, ReplicaView};
use crate::check::{metadata, records};
use crate::client::World;
use crate::history::PartitionKey;
use crate::machine::{self, Machine};
use highwater::node::Node;
use highwater::partition::Partition;
use highwater_core::ids::{BrokerId, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::metadata::{BrokerState, MetadataImage, PartitionState};
use highwater_protocol::Uuid;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The internal topic that is compacted: batches of one log may be gone that another one still has.
const COMPACTED: &str = "__consumer_offsets";

/// The ledger of a run.
#[derive(Debug, Default)]
pub struct Truth {
    /// The largest high watermark that any leader ever had.
    committed: BTreeMap<PartitionKey, i64>,
    /// Who led in each epoch.
    leaders: BTreeMap<(PartitionKey, i32), i32>,
    /// The newest epoch of each broker, and where in the metadata log it was seen.
    broker_epochs: BTreeMap<BrokerId, (Offset, i64)>,
}

/// One partition: its name, and its replicas on nodes that run and whose disk still takes what they write.
struct Seen {
    topic: String,
    views: Vec<ReplicaView>,
}

fn key(partition: &Partition) -> PartitionKey {
    (Uuid(partition.id().topic_id.0), partition.id().partition.0)
}

/// The machines whose node runs and whose disk takes what it writes.
fn sound(machines: &[Machine]) -> impl Iterator<Item = (&Machine, &Arc<Node>)> {
    let running = machines.iter().filter(|machine| !machine.disk().is_frozen());
    running.filter_map(|machine| Some((machine, machine.node()?)))
}

/// The newest metadata that any node has applied.
pub fn newest_image(machines: &[Machine]) -> Option<Arc<MetadataImage>> {
    sound(machines).map(|(_, node)| node.image()).max_by_key(|image| image.offset())
}

/// Whether the broker's registration is that of the process that runs, and it may lead.
fn is_active(machine: &Machine, image: &MetadataImage) -> bool {
    image.broker(BrokerId(machine.id())).is_some_and(|registration| {
        registration.incarnation == machine.incarnation() && registration.state == BrokerState::Active
    })
}

impl Truth {
    /// Looks at all replicas side by side, without their records (O5, O7, O8, O9, O13, O14, O37, O38). Cheap enough for
    /// every few milliseconds of a run.
    pub fn look(&mut self, world: &World, machines: &[Machine], min_isr: usize) {
        let seen = see(machines);
        for (key, Seen { topic, views }) in &seen {
            for view in views {
                let mut history = world.history();
                history.judge("O13", replication::bounds_are_in_order(topic, view));
                history.judge("O8", replication::one_leader_per_epoch(topic, *key, view, &mut self.leaders));
                if view.leads_in.is_some() {
                    let committed = self.committed.entry(*key).or_default();
                    *committed = (*committed).max(view.high_watermark);
                }
            }
        }
        self.look_at_metadata(world, machines, min_isr);
        if let Some(image) = newest_image(machines) {
            self.look_at_members(world, machines, &image, &seen);
        }
        look_at_acks(world, machines, &seen, min_isr);
    }

    fn look_at_metadata(&mut self, world: &World, machines: &[Machine], min_isr: usize) {
        let images: Vec<_> = sound(machines).map(|(machine, node)| (machine.id(), node.image())).collect();
        for (at, (node, image)) in images.iter().enumerate() {
            let mut history = world.history();
            history.judge("O38", metadata::brokers_are_sound(*node, image, &mut self.broker_epochs));
            for topic in image.topics() {
                for state in topic.partitions.iter().map(|(_, state)| state) {
                    let min_isr = min_isr.min(state.replicas.len());
                    history.judge("O9", replication::isr_is_sound(&topic.name, state, min_isr));
                }
            }
            for (other, other_image) in &images[..at] {
                history.judge("O37", metadata::images_are_equal((*node, image), (*other, other_image)));
            }
        }
    }

    fn look_at_members(
        &self,
        world: &World,
        machines: &[Machine],
        image: &MetadataImage,
        seen: &BTreeMap<PartitionKey, Seen>,
    ) {
        for (key, Seen { topic, views }) in seen {
            let Some(state) = state_of(image, *key) else { continue };
            let Some(committed) = self.committed.get(key) else { continue };
            for view in views {
                let member = BrokerId(view.node);
                let is_member = state.isr.contains(&member) || state.elr.contains(&member);
                let is_active = machines.iter().any(|m| m.id() == view.node && is_active(m, image));
                if is_member && is_active && view.is_online {
                    world.history().judge("O7", replication::member_is_complete(topic, view, *committed));
                }
            }
        }
    }

    /// Compares the records of all replicas, and holds the leaders against what clients were told (O1, O2, O3, O4, O6,
    /// O11, O13, O15, O17, O24).
    pub fn compare(&mut self, world: &World, machines: &[Machine]) {
        let mut dumps: BTreeMap<PartitionKey, Vec<(ReplicaView, LogDump)>> = BTreeMap::new();
        for (machine, node) in sound(machines) {
            machine::check_node(world, node);
            for partition in node.registry().all() {
                let Some(view) = ReplicaView::of(machine.id(), &partition).filter(|view| view.is_online)
                else {
                    continue;
                };
                match LogDump::of(&partition) {
                    Ok(dump) => {
                        let verdict = partition.inspect(|replica, _| {
                            replication::epochs_match_scan(
                                partition.topic(),
                                machine.id(),
                                replica.epochs(),
                                &dump,
                            )
                        });
                        world.history().judge("O11", verdict.unwrap_or(Ok(())));
                        dumps.entry(key(&partition)).or_default().push((view, dump));
                    }
                    Err(what) => world.history().complain("O41", what),
                }
            }
        }
        for (key, replicas) in &dumps {
            self.compare_replicas(world, *key, replicas);
        }
    }

    fn compare_replicas(&self, world: &World, key: PartitionKey, replicas: &[(ReplicaView, LogDump)]) {
        let mut history = world.history();
        let Some(known) = history.partitions.remove(&key) else { return };
        for (at, (view, dump)) in replicas.iter().enumerate() {
            for (other, other_dump) in &replicas[..at] {
                let verdict = replication::logs_match(&known.topic, (view, dump), (other, other_dump));
                history.judge("O6", verdict);
            }
        }
        let newest = replicas.iter().filter(|(view, _)| view.leads_in.is_some());
        if let Some((_, dump)) = newest.max_by_key(|(view, _)| view.leads_in) {
            history.judge("O1", records::acked_records_stay(&known, dump));
            history.judge("O2", records::seen_records_stay(&known, dump));
            history.judge("O13", records::deleted_records_stay_away(&known, dump));
        }
        history.partitions.insert(key, known);
    }
}

fn see(machines: &[Machine]) -> BTreeMap<PartitionKey, Seen> {
    let mut seen: BTreeMap<PartitionKey, Seen> = BTreeMap::new();
    for (machine, node) in sound(machines) {
        for partition in node.registry().all().iter().filter(|partition| &**partition.topic() != COMPACTED) {
            let Some(view) = ReplicaView::of(machine.id(), partition) else { continue };
            let topic = || Seen { topic: partition.topic().to_string(), views: Vec::new() };
            seen.entry(key(partition)).or_insert_with(topic).views.push(view);
        }
    }
    seen
}

/// The controller's word about a partition.
pub fn state_of(image: &MetadataImage, key: PartitionKey) -> Option<&PartitionState> {
    image.partition(TopicPartition { topic_id: TopicId(key.0.0), partition: PartitionIndex(key.1) })
}

/// O14: when a record is acknowledged, enough replicas hold it, and durably so if that is the policy. A machine that is
/// down or frozen may hold it: nobody can say.
fn look_at_acks(world: &World, machines: &[Machine], seen: &BTreeMap<PartitionKey, Seen>, min_isr: usize) {
    let acks = std::mem::take(&mut world.history().fresh_acks);
    let running = sound(machines).count();
    for (key, offset) in acks {
        let Some(Seen { topic, views }) = seen.get(&key) else { continue };
        let holds =
            |view: &&ReplicaView| if world.is_durable { view.flushed > offset } else { view.end > offset };
        let holders = views.iter().filter(holds).count() + (machines.len() - running);
        if holders < min_isr.min(machines.len()) {
            world.history().complain(
                "O14",
                format_args!(
                    "{topic} {}: offset {offset} was acknowledged, and {holders} replicas hold it: {views:?}",
                    key.1
                ),
            );
        }
    }
}

/// Whether a node is in sync in every partition of which it holds a replica.
pub fn is_in_sync_everywhere(machine: &Machine, image: &MetadataImage) -> bool {
    let id = BrokerId(machine.id());
    let mut states = image.topics().flat_map(|topic| topic.partitions.iter().map(|(_, state)| state));
    is_active(machine, image) && states.all(|state| !state.replicas.contains(&id) || state.isr.contains(&id))
}
