//! What is true of a cluster, as the harness saw it: what was committed, who led when. The nodes know nothing of it.

use crate::check::log::LogDump;
use crate::check::metadata::KnownTopics;
use crate::check::quorum::{self, QuorumLedger, QuorumView};
use crate::check::replication::{self, ReplicaView};
use crate::check::{coordinator, metadata, records};
use crate::client::World;
use crate::history::PartitionKey;
use crate::machine::{self, Machine};
use highwater::node::Node;
use highwater::partition::Partition;
use highwater_core::ids::{BrokerId, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::metadata::{BrokerState, METADATA_TOPIC, MetadataImage, PartitionState};
use highwater_protocol::Uuid;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The internal topic that is compacted: batches of one log may be gone that another one still has.
const COMPACTED: &str = "__consumer_offsets";

/// Nobody's id: in this epoch nobody may lead.
const NOBODY: i32 = -1;

/// The ledger of a run.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// The largest high watermark that any leader ever had.
    committed: BTreeMap<PartitionKey, i64>,
    /// Who led in each epoch.
    leaders: BTreeMap<(PartitionKey, i32), i32>,
    /// The newest epoch of each broker, and where in the metadata log it was seen.
    broker_epochs: BTreeMap<BrokerId, (Offset, i64)>,
    topics: KnownTopics,
    quorum: QuorumLedger,
    /// The newest metadata that any node had applied so far. Those who had may be down, and those who run behind.
    newest: Option<Arc<MetadataImage>>,
    /// Whose process ran when it last looked, by node.
    incarnations: BTreeMap<i32, [u8; 8]>,
}

/// One partition: its name, and its replicas on nodes that run and whose disk still takes what they write.
struct Seen {
    topic: String,
    views: Vec<ReplicaView>,
    /// Replicas may be elected that lack records.
    is_expendable: bool,
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
pub(crate) fn newest_image(machines: &[Machine]) -> Option<Arc<MetadataImage>> {
    sound(machines).map(|(_, node)| node.image()).max_by_key(|image| image.offset())
}

/// Whether the broker's registration is that of the process that runs, and it may lead. One that has died counts as active
/// in the metadata until its session ends; it does not here.
pub(crate) fn is_active(machine: &Machine, image: &MetadataImage) -> bool {
    machine.node().is_some()
        && image.broker(BrokerId(machine.id())).is_some_and(|registration| {
            registration.incarnation.ends_with(&machine.incarnation())
                && registration.state == BrokerState::Active
        })
}

/// Whether every partition that counts on a node has another replica in sync whose present process is active.
pub(crate) fn has_others(machines: &[Machine], image: &MetadataImage, node: i32) -> bool {
    let is_running = |broker: &BrokerId| machines.iter().any(|m| m.id() == broker.0 && is_active(m, image));
    let is_other = |broker: &BrokerId| broker.0 != node && is_running(broker);
    let states = image.topics().flat_map(|topic| topic.partitions.iter().map(|(_, state)| state));
    let counts = |members: &[BrokerId]| members.contains(&BrokerId(node));
    states
        .filter(|state| counts(&state.isr) || counts(&state.elr))
        .all(|state| state.isr.iter().any(is_other))
}

impl Truth {
    /// Looks at all replicas side by side, without their records (O5, O7 to O10, O12 to O14, O25, O37 to O39). Cheap enough for
    /// every few milliseconds of a run.
    pub(crate) fn look(&mut self, world: &World, machines: &[Machine], min_isr: usize) {
        let seen = see(world, machines);
        for (key, Seen { topic, views, is_expendable }) in &seen {
            for view in views {
                let mut history = world.history();
                history.judge("O13", replication::bounds_are_in_order(topic, view));
                history.judge("O8", replication::one_leader_per_epoch(topic, *key, view, &mut self.leaders));
                if view.leads_in.is_some() && !is_expendable {
                    let committed = self.committed.entry(*key).or_default();
                    *committed = (*committed).max(view.high_watermark);
                }
            }
        }
        self.look_at_metadata(world, machines, min_isr);
        self.look_at_quorum(world, machines);
        self.newest =
            newest_image(machines).into_iter().chain(self.newest.take()).max_by_key(|image| image.offset());
        self.look_at_coordinators(world, machines);
        if let Some(image) = self.newest.clone() {
            world.history().coordinator_count =
                image.topic(COMPACTED).map_or(0, |topic| topic.partition_count());
            self.look_at_members(world, machines, &image, &seen, min_isr);
        }
        let incarnations = machines.iter().map(|machine| (machine.id(), machine.incarnation())).collect();
        let before = std::mem::replace(&mut self.incarnations, incarnations);
        look_at_acks(world, machines, &seen, &before, min_isr);
    }

    fn look_at_metadata(&mut self, world: &World, machines: &[Machine], min_isr: usize) {
        let images: Vec<_> = sound(machines).map(|(machine, node)| (machine.id(), node.image())).collect();
        for (at, (node, image)) in images.iter().enumerate() {
            let mut history = world.history();
            history.judge("O38", metadata::brokers_are_sound(*node, image, &mut self.broker_epochs));
            history.judge("O12", metadata::topic_ids_are_used_once(image, &mut self.topics));
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

    /// O39, without what lies in the logs.
    fn look_at_quorum(&mut self, world: &World, machines: &[Machine]) {
        let views: Vec<_> = sound(machines).filter_map(|(_, node)| QuorumView::of(node)).collect();
        let mut history = world.history();
        for view in &views {
            history.judge("O39", self.quorum.learn(view));
            history.judge("O39", quorum::majority_holds(view, &views));
        }
    }

    /// The newest epoch of the quorum that anybody leads or votes in: where votes were split nobody led.
    pub(crate) fn quorum_epoch(&self, machines: &[Machine]) -> i32 {
        let heard_of = sound(machines).filter_map(|(_, node)| node.controller().epoch());
        heard_of.map(|epoch| epoch.0).fold(self.quorum.newest_epoch(), i32::max)
    }

    /// Who leads the partitions of the coordinators, and whether those who acknowledged commits did (O8, O25).
    fn look_at_coordinators(&mut self, world: &World, machines: &[Machine]) {
        let mut history = world.history();
        let mut keys = BTreeMap::new();
        for (machine, node) in sound(machines) {
            for partition in node.registry().all().iter().filter(|p| &**p.topic() == COMPACTED) {
                keys.insert(partition.id().partition.0, key(partition));
                let Some(view) = ReplicaView::of(machine.id(), partition) else { continue };
                let verdict =
                    replication::one_leader_per_epoch(COMPACTED, key(partition), &view, &mut self.leaders);
                history.judge("O8", verdict);
                if let Some(epoch) = view.leads_in {
                    let newest = history.coordinators.entry(partition.id().partition.0).or_insert(epoch);
                    *newest = epoch.max(*newest);
                }
            }
        }
        for commit in std::mem::take(&mut history.fresh_commits) {
            let Some(key) = keys.get(&commit.partition) else { continue };
            let of_key = self.leaders.range((*key, 0)..=(*key, i32::MAX));
            let mut leaders: BTreeMap<i32, i32> =
                of_key.map(|((_, epoch), leader)| (*epoch, *leader)).collect();
            // Who was elected and gone before anybody looked is known from the metadata only.
            if let Some(state) = self.newest.as_deref().and_then(|image| state_of(image, *key)) {
                let elected = state.leader.map_or(NOBODY, |leader| leader.0);
                leaders.entry(state.leader_epoch.0).or_insert(elected);
            }
            history.judge("O25", coordinator::commit_is_of_current_coordinator(commit, &leaders));
        }
    }

    fn look_at_members(
        &self,
        world: &World,
        machines: &[Machine],
        image: &MetadataImage,
        seen: &BTreeMap<PartitionKey, Seen>,
        min_isr: usize,
    ) {
        for (key, Seen { topic, views, .. }) in seen {
            let Some(state) = state_of(image, *key) else { continue };
            for view in views.iter().filter(|view| view.is_online) {
                let verdict = replication::leader_waits_for_all(topic, view, state, min_isr);
                world.history().judge("O10", verdict);
            }
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
    /// O11, O13, O15, O17, O24, O39).
    pub(crate) fn compare(&self, world: &World, machines: &[Machine]) {
        let mut dumps: BTreeMap<PartitionKey, Vec<(ReplicaView, LogDump)>> = BTreeMap::new();
        let mut metadata_logs: Vec<(ReplicaView, LogDump)> = Vec::new();
        for (machine, node) in sound(machines) {
            machine::check_node(world, node);
            self.compare_changes_of_voters(world, node);
            match node.controller().inspect(|quorum, log| (quorum.high_watermark(), LogDump::of_log(log))) {
                Some((committed, Ok(dump))) => {
                    metadata_logs.push((ReplicaView::of_log(machine.id(), committed.0, &dump), dump));
                }
                Some((_, Err(what))) => world.history().complain("O41", what),
                None => {}
            }
            for partition in node.registry().all() {
                let Some(view) = ReplicaView::of(machine.id(), &partition).filter(|view| view.is_online)
                else {
                    continue;
                };
                match LogDump::of(&partition) {
                    Ok(dump) => {
                        let verdict = partition.inspect(|replica, _| {
                            replication::epochs_match_scan(partition.topic(), machine.id(), replica, &dump)
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
        for (at, (view, dump)) in metadata_logs.iter().enumerate() {
            for (other, other_dump) in &metadata_logs[..at] {
                let verdict = replication::logs_match(METADATA_TOPIC, (view, dump), (other, other_dump));
                world.history().judge("O39", verdict);
            }
        }
    }

    fn compare_changes_of_voters(&self, world: &World, node: &Node) {
        let Some(looked) = quorum::open_changes(node) else { return };
        let verdict =
            looked.and_then(|(epoch, changes)| self.quorum.one_change_of_voters(node.id(), epoch, &changes));
        world.history().judge("O39", verdict);
    }

    fn compare_replicas(&self, world: &World, key: PartitionKey, replicas: &[(ReplicaView, LogDump)]) {
        let mut history = world.history();
        let Some(known) = history.partitions.remove(&key) else { return };
        for (at, (view, dump)) in replicas.iter().enumerate() {
            for (other, other_dump) in &replicas[..at] {
                // Where replicas are elected that lack records, committed ones may be gone; equal names still
                // mean equal batches.
                let seen = |view: &ReplicaView| match known.is_expendable {
                    true => ReplicaView { high_watermark: 0, ..view.clone() },
                    false => view.clone(),
                };
                let (one, other) = ((&seen(view), dump), (&seen(other), other_dump));
                history.judge("O6", replication::logs_match(&known.topic, one, other));
            }
        }
        // Whoever was deposed and does not know it yet may hold what nobody else has; its successor's log is the one that
        // counts, and while nobody has taken that leadership up, nobody's does.
        let epoch = self.newest.as_ref().and_then(|image| Some(state_of(image, key)?.leader_epoch.0));
        if let Some((_, dump)) = replicas.iter().find(|(view, _)| view.leads_in == epoch && epoch.is_some()) {
            history.judge("O1", records::acked_records_stay(&known, dump));
            history.judge("O2", records::seen_records_stay(&known, dump));
            history.judge("O13", records::deleted_records_stay_away(&known, dump));
        }
        history.partitions.insert(key, known);
    }
}

fn see(world: &World, machines: &[Machine]) -> BTreeMap<PartitionKey, Seen> {
    let history = world.history();
    let is_expendable = |key| history.partitions.get(&key).is_some_and(|known| known.is_expendable);
    let mut seen: BTreeMap<PartitionKey, Seen> = BTreeMap::new();
    for (machine, node) in sound(machines) {
        for partition in node.registry().all().iter().filter(|partition| &**partition.topic() != COMPACTED) {
            let Some(view) = ReplicaView::of(machine.id(), partition) else { continue };
            let topic = || Seen {
                topic: partition.topic().to_string(),
                views: Vec::new(),
                is_expendable: is_expendable(key(partition)),
            };
            seen.entry(key(partition)).or_insert_with(topic).views.push(view);
        }
    }
    seen
}

/// The controller's word about a partition.
pub(crate) fn state_of(image: &MetadataImage, key: PartitionKey) -> Option<&PartitionState> {
    image.partition(TopicPartition { topic_id: TopicId(key.0.0), partition: PartitionIndex(key.1) })
}

/// O14: when a record is acknowledged, enough replicas hold it, and durably so if that is the policy. A machine that is
/// down or frozen may hold it: nobody can say. Nor of one whose present process the metadata do not know as active: its
/// leader counts what the last one held, though a power cut may have taken that since. Nor of one whose process is not that
/// of `before`: what the last one had synced and answered for, this one has yet to sync again.
fn look_at_acks(
    world: &World,
    machines: &[Machine],
    seen: &BTreeMap<PartitionKey, Seen>,
    before: &BTreeMap<i32, [u8; 8]>,
    min_isr: usize,
) {
    let acks = std::mem::take(&mut world.history().fresh_acks);
    let running = sound(machines).count();
    let image = newest_image(machines);
    for (key, offset) in acks {
        let Some(Seen { topic, views, .. }) = seen.get(&key) else { continue };
        let is_known = |node: i32| {
            machines.iter().filter(|machine| machine.id() == node).all(|machine| {
                before.get(&node) == Some(&machine.incarnation())
                    && image.as_ref().is_none_or(|image| is_active(machine, image))
            })
        };
        let holds = |view: &&ReplicaView| {
            let end = if world.is_durable { view.flushed } else { view.end };
            end > offset || !is_known(view.node)
        };
        // A node that has just started has not opened what it holds.
        let is_unseen = |id: &&BrokerId| views.iter().all(|view| view.node != id.0);
        let state = image.as_ref().and_then(|image| state_of(image, key));
        let unseen = state.map_or(0, |state| state.replicas.iter().filter(is_unseen).count());
        let holders = views.iter().filter(holds).count() + unseen.max(machines.len() - running);
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
pub(crate) fn is_in_sync_everywhere(machine: &Machine, image: &MetadataImage) -> bool {
    let id = BrokerId(machine.id());
    let mut states = image.topics().flat_map(|topic| topic.partitions.iter().map(|(_, state)| state));
    is_active(machine, image) && states.all(|state| !state.replicas.contains(&id) || state.isr.contains(&id))
}
