//! What clients do in a run.

pub mod admin;
pub mod consumer;
pub mod group;
pub mod group_reader;
pub mod producer;
pub mod reading;
pub mod reshape;
pub mod told;

use crate::client::{Client, TopicInfo, World};
use crate::rng::Rng;
use crate::scenario::Reshape;
use admin::Operator;
use consumer::Consumer;
use group::{Member, RegisterClient};
use group_reader::GroupReader;
use madsim::runtime::NodeHandle;
use producer::Producer;
use reshape::Reshaper;
use std::sync::Arc;

/// The group whose members read and commit how far they came.
pub const READERS: &str = "group-readers";

/// What was begun.
#[derive(Debug, Default)]
pub struct Workload {
    /// The clients.
    pub tasks: Vec<madsim::task::JoinHandle<()>>,
    /// What they write to.
    pub topics: Vec<TopicInfo>,
    /// The groups that share the first topic and are stable once nothing goes wrong.
    pub groups: Vec<String>,
}

/// Makes the topics and starts everyone. Nothing if the run stops before the topics are there.
pub async fn begin(world: &Arc<World>, clients: &NodeHandle, rng: &mut Rng) -> Workload {
    let client = |name: &str, rng: &mut Rng| Client::new(world, rng.fork(), name);
    let mut setup = client("setup", rng);
    let created = clients.spawn(async move {
        let orders = admin::create(&mut setup, "orders", 2, &[]).await?;
        admin::find_coordinator(&mut setup, "group-members").await;
        let limits = [("retention.bytes", "3000"), ("segment.bytes", "1024")];
        let retained = admin::create(&mut setup, "retained", 1, &limits).await?;
        Some((orders, retained))
    });
    let Ok(Some((orders, retained))) = created.await else { return Workload::default() };
    name_topics(world, &[(&orders, false), (&retained, true)]);
    let group = |name: &str| format!("group-{name}");
    let mut tasks = Vec::new();
    for (name, topic, is_idempotent) in
        [("i1", &orders, true), ("i2", &orders, true), ("i3", &retained, true), ("plain", &orders, false)]
    {
        let producer = Producer::new(client(name, rng), topic.clone(), is_idempotent);
        tasks.push(clients.spawn(producer.run()));
    }
    for (name, topic, has_session) in [("c1", &orders, true), ("c2", &orders, false), ("c3", &retained, true)]
    {
        let consumer = Consumer::new(client(name, rng), topic.clone(), has_session);
        tasks.push(clients.spawn(consumer.run()));
    }
    for name in ["m1", "m2"] {
        let member = Member::new(client(name, rng), group("members"), orders.clone());
        tasks.push(clients.spawn(member.run()));
    }
    let register = RegisterClient::new(client("reg", rng), group("register"), orders.clone());
    tasks.push(clients.spawn(register.run()));
    tasks.push(clients.spawn(Operator::new(client("op", rng), orders.clone()).run()));
    Workload { tasks, topics: vec![orders, retained], groups: Vec::new() }
}

/// Tells the history of topics, and whether their records are deleted by size.
fn name_topics(world: &World, topics: &[(&TopicInfo, bool)]) {
    let mut history = world.history();
    for (topic, is_retained) in topics {
        for partition in 0..topic.partitions {
            let known = history.partition(topic.key(partition));
            known.topic.clone_from(&topic.name);
            known.is_retained = *is_retained;
        }
    }
}

/// Starts what only clusters have: a group that reads, unless a scenario tells of groups, and an operator who changes the
/// cluster's shape. All draws are from `rng`, which is no other's.
pub fn extend(
    world: &Arc<World>,
    clients: &NodeHandle,
    rng: &mut Rng,
    reshape: &[Reshape],
    is_told: bool,
    workload: &mut Workload,
) {
    let Some(orders) = workload.topics.first().cloned() else { return };
    let readers: &[&str] = if is_told { &[] } else { &["r1", "r2"] };
    for name in readers {
        let reader =
            GroupReader::new(Client::new(world, rng.fork(), *name), READERS.to_owned(), orders.clone());
        workload.tasks.push(clients.spawn(reader.run()));
        workload.groups = vec![READERS.to_owned()];
    }
    if !reshape.is_empty() {
        let client = Client::new(world, rng.fork(), "shape");
        let reshaper = Reshaper::new(client, reshape, workload.topics.clone());
        workload.tasks.push(clients.spawn(reshaper.run()));
    }
}
