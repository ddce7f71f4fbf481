//! Clients that a scenario tells: how many of each kind, how fast producers are, and what they all work on.
//!
//! The same numbers mean the same in the direct driver, whose clients are others (`direct/producer.rs` and so on).

use super::admin::{self, Operator};
use super::consumer::Consumer;
use super::group_reader::GroupReader;
use super::producer::Producer;
use super::{READERS, Workload, name_topics};
use crate::client::{Client, World};
use crate::rng::Rng;
use crate::scenario;
use madsim::runtime::NodeHandle;
use std::sync::Arc;
use std::time::Duration;

/// Makes the topic, with so many partitions, and starts everyone. Nothing if the run stops before the topic is there.
pub async fn begin(
    world: &Arc<World>,
    clients: &NodeHandle,
    rng: &mut Rng,
    partitions: i32,
    told: &scenario::Workload,
) -> Workload {
    let mut setup = Client::new(world, rng.fork(), "setup");
    let created = clients.spawn(async move {
        let orders = admin::create(&mut setup, "orders", partitions, &[]).await?;
        admin::find_coordinator(&mut setup, READERS).await;
        Some(orders)
    });
    let Ok(Some(orders)) = created.await else { return Workload::default() };
    name_topics(world, &[(&orders, false)]);
    let mut client = |name: String| Client::new(world, rng.fork(), name);
    let mut tasks = Vec::new();
    for number in 0..told.idempotent_producers + told.plain_producers {
        let is_idempotent = number < told.idempotent_producers;
        let producer = Producer::new(client(format!("p{number}")), orders.clone(), is_idempotent);
        tasks.push(clients.spawn(producer.paced(Duration::from_micros(told.pace_us)).run()));
    }
    for number in 0..told.consumers {
        let consumer = Consumer::new(client(format!("c{number}")), orders.clone(), number % 2 == 0);
        tasks.push(clients.spawn(consumer.run()));
    }
    let groups: Vec<_> = (0..told.groups).map(group_name).collect();
    for (at, group) in groups.iter().enumerate() {
        for member in 0..told.members {
            let reader = GroupReader::new(client(format!("r{at}.{member}")), group.clone(), orders.clone());
            tasks.push(clients.spawn(reader.run()));
        }
    }
    if told.churn_permille > 0 {
        let operator = Operator::new(client("op".to_owned()), orders.clone());
        tasks.push(clients.spawn(operator.rarely(told.churn_permille).run()));
    }
    let groups = if told.members == 0 { Vec::new() } else { groups };
    Workload { tasks, topics: vec![orders], groups }
}

/// The first one is that which every cluster has.
fn group_name(at: usize) -> String {
    if at == 0 { READERS.to_owned() } else { format!("{READERS}-{at}") }
}
