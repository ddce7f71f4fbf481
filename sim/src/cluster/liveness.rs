//! What must work again once the faults end: every partition led and in sync, a fresh reader finds everything, replicas
//! and metadata become equal.

use super::{Cluster, truth};
use crate::check::{coordinator, liveness as check};
use crate::client::{Client, To, TopicInfo, World};
use crate::history::PartitionKey;
use crate::machine::Machine;
use crate::workload::reading::{EARLIEST, LATEST, list_offset, read_from};
use bytes::Bytes;
use highwater::node::Node;
use highwater_core::metadata::MetadataImage;
use highwater_core::replica::Role;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::DescribeGroupsRequest;
use std::collections::BTreeMap;

/// Ten times the largest time-out of a run, in steps of which nothing is expected.
const STEPS_MAX: u64 = 600;
const STEP_MS: u64 = 100;

/// How a group is called whose members all work.
const STABLE: &str = "Stable";

impl Cluster {
    /// L1, L2: there is one active controller, found in few elections, and every partition has a leader and all its
    /// replicas in sync.
    pub(crate) async fn await_health(&mut self) {
        let epoch_before = self.truth.quorum_epoch(&self.machines);
        let mut missing = String::new();
        for _ in 0..STEPS_MAX {
            self.pass(STEP_MS).await;
            if self.world.is_stopping() {
                return;
            }
            missing = match self.newest_image() {
                None => "no node has metadata".to_owned(),
                Some(image) => {
                    let ailing = self.controllers_ail().or_else(|| self.unheard_of(&image));
                    ailing.or_else(|| ailing_partition(&image)).unwrap_or_default()
                }
            };
            if missing.is_empty() {
                self.world.note("the cluster is whole");
                let epoch = self.truth.quorum_epoch(&self.machines);
                let verdict = check::few_elections(epoch_before, epoch);
                self.world.history().judge("L1", verdict);
                return;
            }
        }
        let after = STEPS_MAX * STEP_MS / 1000;
        self.world.history().complain("L2", format_args!("{after} s after the faults ended: {missing}"));
    }

    /// Why there is not one active controller that every node knows.
    fn controllers_ail(&self) -> Option<String> {
        let nodes: Vec<_> = self.machines.iter().filter_map(Machine::node).collect();
        let active = nodes.iter().filter(|node| node.controller().is_active()).count();
        let known: Vec<_> = nodes.iter().map(|node| node.controller().active_controller()).collect();
        check::one_active_controller(active, &known).err()
    }

    /// The node whose present process the metadata do not know as active, if there is one. Until they do they tell of its
    /// last life: a partition may count as whole whose replicas are found to lack something when they register.
    fn unheard_of(&self, image: &MetadataImage) -> Option<String> {
        let node = self.machines.iter().find(|machine| !truth::is_active(machine, image))?;
        Some(format!("node {} has not registered", node.id()))
    }

    /// L5, L6, L7: with nobody writing any more, replicas and metadata become equal, and nothing is being moved.
    pub(crate) async fn await_equality(&mut self) {
        let mut unequal = String::new();
        for _ in 0..STEPS_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(STEP_MS)).await;
            self.observe();
            unequal = self.inequality().unwrap_or_default();
            if unequal.is_empty() {
                return;
            }
        }
        self.world.history().complain("L6", unequal);
    }

    /// O43: waiting lists and timers are empty again once all clients are gone.
    pub(crate) async fn await_quiet(&self) {
        let mut waiting = String::new();
        for _ in 0..STEPS_MAX {
            let running = self.machines.iter().filter_map(Machine::node);
            waiting = running.filter_map(|node| who_waits(node)).next().unwrap_or_default();
            if waiting.is_empty() || self.world.is_stopping() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(STEP_MS)).await;
        }
        if !waiting.is_empty() {
            return self.world.history().complain("O43", waiting);
        }
    }

    fn inequality(&self) -> Option<String> {
        let mut ends: BTreeMap<PartitionKey, (i64, i32)> = BTreeMap::new();
        let mut offsets = Vec::new();
        for machine in &self.machines {
            let Some(node) = machine.node() else { continue };
            offsets.push(node.image().offset());
            for partition in node.registry().all() {
                let key = (highwater_protocol::Uuid(partition.id().topic_id.0), partition.id().partition.0);
                let end = partition.inspect(|_, log| log.settled_end().0).ok()?;
                let (known, other) = *ends.entry(key).or_insert((end, machine.id()));
                if known != end {
                    let (topic, id) = (partition.topic(), machine.id());
                    return Some(format!(
                        "{topic} {} ends at {known} on node {other} and at {end} on node {id}",
                        key.1
                    ));
                }
            }
        }
        if let Some(moving) = self.newest_image().and_then(|image| check::nothing_is_moving(&image).err()) {
            return Some(moving);
        }
        let first = offsets.first()?;
        (!offsets.iter().all(|offset| offset == first)).then(|| format!("metadata is applied to {offsets:?}"))
    }
}

/// What may be armed: a few deadlines for each partition, each peer and each of what the node itself does.
fn armed_max(node: &Node) -> usize {
    50 + 10 * node.registry().all().len()
}

/// O43: with all clients gone, nobody waits any more for an answer or for news.
fn who_waits(node: &Node) -> Option<String> {
    let id = node.id();
    for partition in node.registry().all() {
        let held = partition.inspect_coordinator(|shard, _| shard.held_len()).unwrap_or(0);
        let (waiting, watching) = partition.waiting();
        let followers = partition.inspect(|replica, _| match replica.role() {
            Role::Leader(leader) => leader.replicas().len() - 1,
            Role::Follower(_) | Role::Offline(_) => 0,
        });
        // Clients' fetch sessions stay in the cache, and each watches what it last read.
        let watching_max = followers.unwrap_or(0) + node.fetches().counts().0;
        let what = format!("{} {} on node {id}", partition.topic(), partition.id().partition);
        if let Err(why) = check::nobody_waits(&what, waiting + held, watching, watching_max) {
            return Some(why);
        }
    }
    let (controller, forwarded) = (node.controller().waiting(), node.forwarder().waiting());
    let what = format!("the controller on node {id}");
    if let Err(why) = check::nobody_waits(&what, controller + forwarded, 0, 0) {
        return Some(why);
    }
    let (armed, max) = (node.timers().armed(), armed_max(node));
    (armed > max).then(|| format!("on node {id}, {armed} timers are armed; {max} may be"))
}

/// What a partition lacks, if one does.
fn ailing_partition(image: &MetadataImage) -> Option<String> {
    for topic in image.topics() {
        for (partition, state) in topic.partitions.iter() {
            if state.leader.is_none() || state.isr.len() < state.replicas.len() {
                return Some(format!("{} {partition} is {state:?}", topic.name));
            }
        }
    }
    None
}

/// L4, O23: a group whose members come and go is stable again and again, with every partition assigned exactly once.
pub(crate) async fn await_stable_group(mut client: Client, group: &str, partitions: i32) {
    let request = DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() };
    let mut last = "nobody answers".to_owned();
    for _ in 0..STEPS_MAX {
        if client.world.is_stopping() {
            return;
        }
        if let Some(answer) = client.ask(To::Coordinator(group), &request).await
            && let Some(found) = answer.groups.first()
        {
            client.heed(found.error_code);
            if found.error_code == ErrorCode::None && found.group_state == STABLE {
                let verdict = coordinator::stable_group_has_all(found, partitions);
                return client.world.history().judge("O23", verdict);
            }
            last = format!("{} {}", found.error_code, found.group_state);
        }
        tokio::time::sleep(std::time::Duration::from_millis(STEP_MS)).await;
    }
    client.world.history().complain("L4", format_args!("{group} does not become stable: {last}"));
}

/// O18, L9: a fresh reader finds every acknowledged record, and nothing that nobody sent.
pub(crate) async fn read_everything(mut client: Client, topics: Vec<TopicInfo>) {
    for topic in topics {
        for partition in 0..topic.partitions {
            let Some((start, found)) = read_partition(&mut client, &topic, partition).await else {
                client
                    .world
                    .history()
                    .complain("L9", format_args!("{} {partition} does not read", topic.name));
                return;
            };
            judge(&client.world, &topic, partition, start, &found);
        }
    }
}

fn judge(world: &World, topic: &TopicInfo, partition: i32, start: i64, found: &BTreeMap<i64, Bytes>) {
    let mut history = world.history();
    let Some(known) = history.partitions.remove(&topic.key(partition)) else { return };
    for (offset, value) in known.acked.range(start..) {
        if found.get(offset) != Some(value) {
            let there = found.contains_key(offset);
            let name = &topic.name;
            history.complain(
                "O18",
                format_args!(
                    "{name} {partition}: offset {offset} was acknowledged; is there anything: {there}"
                ),
            );
        }
    }
    if let Some((offset, _)) = found.iter().find(|(_, value)| !known.sent.contains(*value)) {
        history.complain("O17", format_args!("{} {partition}: nobody sent offset {offset}", topic.name));
    }
    history.partitions.insert(topic.key(partition), known);
}

async fn read_partition(
    client: &mut Client,
    topic: &TopicInfo,
    partition: i32,
) -> Option<(i64, BTreeMap<i64, Bytes>)> {
    let mut found = BTreeMap::new();
    for _ in 0..STEPS_MAX {
        if client.world.is_stopping() {
            return Some((i64::MAX, found));
        }
        let Some(start) = list_offset(client, topic, partition, EARLIEST).await else {
            client.pause().await;
            continue;
        };
        let Some(end) = list_offset(client, topic, partition, LATEST).await else {
            client.pause().await;
            continue;
        };
        let (start, end) = (start.offset, end.offset);
        let mut at = start;
        while at < end {
            let Some(read) = read_from(client, topic, partition, at).await else { break };
            let Some((last, _)) = read.records.last() else { break };
            at = last + 1;
            found.extend(read.records);
        }
        if at >= end {
            return Some((start, found));
        }
    }
    None
}
