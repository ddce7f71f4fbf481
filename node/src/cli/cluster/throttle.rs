//! The throttle of moves (KIP-73): rates of brokers, and the lists of topics that say which replicas they are for.

use super::super::CliError;
use super::super::connect::Client;
use super::spread::Move;
use super::state::{BROKER_RESOURCE, Partition, accept};
use highwater_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestAlterableConfig,
    IncrementalAlterConfigsRequestResource,
};
use std::collections::{BTreeMap, BTreeSet};

/// The number of a topic among the kinds of resources that have settings.
const TOPIC_RESOURCE: i8 = 2;
/// Set, and deleted, in IncrementalAlterConfigs (KIP-339).
const SET: i8 = 0;
const DELETE: i8 = 1;

/// The rates of a broker.
const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
/// The lists of a topic.
const LISTS: [&str; 2] = ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Whom the throttle of some moves concerns, as Kafka's own tool has it: who has a replica may give no more, who gets
/// one may take no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttled {
    brokers: BTreeSet<i32>,
    /// By topic: the pairs of the leaders' list and of the followers'.
    topics: BTreeMap<String, [Vec<String>; 2]>,
}

impl Throttled {
    /// Whom these moves concern, given where everything is.
    pub(super) fn of(moves: &[Move], all: &[Partition]) -> Self {
        let mut throttled = Self::default();
        for one in moves {
            let from = all.iter().find(|p| p.topic == one.topic && p.index == one.index);
            let from = from.map(|partition| &*partition.replicas).unwrap_or_default();
            let pair = |broker: &i32| format!("{}:{broker}", one.index);
            let [leaders, followers] = throttled.topics.entry(one.topic.clone()).or_default();
            leaders.extend(from.iter().map(pair));
            followers.extend(one.replicas.iter().filter(|broker| !from.contains(broker)).map(pair));
            throttled.brokers.extend(from.iter().chain(&one.replicas));
        }
        throttled
    }

    /// These brokers and topics, with no replica named.
    pub(super) fn all(
        brokers: impl IntoIterator<Item = i32>,
        topics: impl IntoIterator<Item = String>,
    ) -> Self {
        let topics = topics.into_iter().map(|topic| (topic, Default::default()));
        Self { brokers: brokers.into_iter().collect(), topics: topics.collect() }
    }

    /// Puts the throttle in force.
    pub(super) async fn limit(&self, client: &Client, bytes_per_second: u64) -> Result<(), CliError> {
        let rate = bytes_per_second.to_string();
        let rates = RATES.map(|name| set(name, rate.clone()));
        let of_brokers =
            self.brokers.iter().map(|id| resource(BROKER_RESOURCE, id.to_string(), rates.to_vec()));
        let of_topics = self.topics.iter().map(|(topic, lists)| {
            let configs = LISTS.iter().zip(lists).map(|(name, pairs)| set(name, pairs.join(",")));
            resource(TOPIC_RESOURCE, topic.clone(), configs.collect())
        });
        alter("the throttle is not in force", client, of_topics.chain(of_brokers).collect()).await
    }

    /// Lifts the throttle.
    pub(super) async fn lift(&self, client: &Client) -> Result<(), CliError> {
        let of_brokers = self.brokers.iter().map(|id| {
            resource(BROKER_RESOURCE, id.to_string(), RATES.iter().map(|name| delete(name)).collect())
        });
        let of_topics = self.topics.keys().map(|topic| {
            resource(TOPIC_RESOURCE, topic.clone(), LISTS.iter().map(|name| delete(name)).collect())
        });
        alter("the throttle is still in force", client, of_brokers.chain(of_topics).collect()).await
    }
}

fn set(name: &str, value: String) -> IncrementalAlterConfigsRequestAlterableConfig {
    let name = name.to_owned();
    IncrementalAlterConfigsRequestAlterableConfig { name, config_operation: SET, value: Some(value) }
}

fn delete(name: &str) -> IncrementalAlterConfigsRequestAlterableConfig {
    let name = name.to_owned();
    IncrementalAlterConfigsRequestAlterableConfig { name, config_operation: DELETE, value: None }
}

const fn resource(
    resource_type: i8,
    resource_name: String,
    configs: Vec<IncrementalAlterConfigsRequestAlterableConfig>,
) -> IncrementalAlterConfigsRequestResource {
    IncrementalAlterConfigsRequestResource { resource_type, resource_name, configs }
}

async fn alter(
    what: &str,
    client: &Client,
    resources: Vec<IncrementalAlterConfigsRequestResource>,
) -> Result<(), CliError> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let answer = client.send_to_controller(&request).await.map_err(|error| CliError::call(what, &error))?;
    for response in answer.responses {
        accept(
            format!("{what} for {}", response.resource_name),
            response.error_code,
            response.error_message,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_replicas_gives_less_and_who_gets_them_takes_less() {
        let partition = |index, replicas: &[i32]| Partition {
            topic: "t".to_owned(),
            index,
            leader: Some(replicas[0]),
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
        };
        let a_move =
            |index, replicas: &[i32]| Move { topic: "t".to_owned(), index, replicas: replicas.to_vec() };
        let all = [partition(0, &[1, 2]), partition(1, &[2, 3])];
        let throttled = Throttled::of(&[a_move(0, &[2, 4]), a_move(1, &[3, 2])], &all);
        assert_eq!(throttled.brokers, BTreeSet::from([1, 2, 3, 4]));
        let lists = [vec!["0:1", "0:2", "1:2", "1:3"], vec!["0:4"]];
        assert_eq!(
            throttled.topics["t"],
            lists.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>())
        );
    }
}
