//! The cluster as its brokers tell of it: brokers and partitions. What every command of this family looks at.

use super::super::CliError;
use super::super::connect::Client;
use super::super::output::progress;
use highwater_core::ids::BrokerId;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResource,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The setting of a broker that is drained: it leads only where nobody else can, and gets no new replicas.
pub(super) const DRAINED: &str = "highwater.broker.drained";

/// The number of a broker among the kinds of resources that have settings.
pub(super) const BROKER_RESOURCE: i8 = 4;

/// How often something that takes long is looked at.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) topic: String,
    pub(super) index: i32,
    pub(super) leader: Option<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) isr: Vec<i32>,
}

impl Partition {
    /// The replicas that are not in sync.
    pub(super) fn missing(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|id| !self.isr.contains(id)).collect()
    }

    /// Whether everything is as it should be.
    pub(super) fn is_whole(&self) -> bool {
        self.leader.is_some() && self.missing().is_empty()
    }
}

/// All partitions, internal topics' too, in the order of their names.
pub(super) async fn partitions(client: &Client) -> Result<Vec<Partition>, CliError> {
    let answer = client.refresh(None).await;
    let answer = answer.map_err(|error| CliError::call("the cluster does not tell its topics", &error))?;
    let mut partitions = Vec::new();
    for topic in answer.topics {
        let name = topic.name.unwrap_or_default();
        partitions.extend(topic.partitions.into_iter().map(|partition| Partition {
            topic: name.clone(),
            index: partition.partition_index,
            leader: Some(partition.leader_id).filter(|id| *id >= 0),
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
        }));
    }
    partitions.sort_by(|a, b| (&a.topic, a.index).cmp(&(&b.topic, b.index)));
    Ok(partitions)
}

/// Every broker that is registered, and the id of the active controller.
#[derive(Clone, Debug)]
pub(super) struct Brokers {
    pub(super) cluster_id: String,
    pub(super) controller: Option<i32>,
    pub(super) brokers: Vec<DescribeClusterBroker>,
}

/// Asks for the brokers, fenced ones included where the cluster can tell (KIP-1073).
pub(super) async fn brokers(client: &Client) -> Result<Brokers, CliError> {
    let request = DescribeClusterRequest { include_fenced_brokers: true, ..Default::default() };
    let what = "the cluster does not tell its brokers";
    let answer = client.send(&request).await.map_err(|error| CliError::call(what, &error))?;
    accept(what, answer.error_code, answer.error_message)?;
    let mut brokers = answer.brokers;
    brokers.sort_by_key(|broker| broker.broker_id);
    let controller = Some(answer.controller_id).filter(|id| *id >= 0);
    Ok(Brokers { cluster_id: answer.cluster_id, controller, brokers })
}

/// Which of these brokers are drained, as each of them says: one that is down says nothing, and a cluster that does
/// not know of draining has none.
pub(super) async fn drained(client: &Client, ids: &[i32]) -> BTreeSet<i32> {
    let resource = |id: &i32| DescribeConfigsResource {
        resource_type: BROKER_RESOURCE,
        resource_name: id.to_string(),
        configuration_keys: Some(vec![DRAINED.to_owned()]),
    };
    let mut drained = BTreeSet::new();
    for id in ids {
        let request = DescribeConfigsRequest { resources: vec![resource(id)], ..Default::default() };
        let Ok(broker) = client.broker(BrokerId(*id)).await else { continue };
        let Ok(answer) = broker.send(&request).await else { continue };
        let configs = answer.results.iter().flat_map(|result| &result.configs);
        let value =
            configs.filter(|config| config.name == DRAINED).find_map(|config| config.value.as_deref());
        if value == Some("true") {
            drained.insert(*id);
        }
    }
    drained
}

/// Nothing, or a broker's refusal in words.
pub(super) fn accept(
    what: impl std::fmt::Display,
    code: ErrorCode,
    message: Option<String>,
) -> Result<(), CliError> {
    if code == ErrorCode::None { Ok(()) } else { Err(CliError::refused(what, code, message)) }
}

/// Looks until nothing is left, with a bar of what is done. False if the time is over before.
pub(super) async fn until_none_left<F>(
    what: &str,
    at_most: Duration,
    mut left: impl FnMut() -> F,
) -> Result<bool, CliError>
where
    F: Future<Output = Result<usize, CliError>>,
{
    let deadline = Instant::now() + at_most;
    let begun = left().await?;
    let bar = progress(Some(begun as u64), "{bar:30} {pos} of {len}  {msg}  {elapsed}");
    bar.set_message(what.to_owned());
    let mut now = begun;
    while now > 0 {
        if Instant::now() >= deadline {
            bar.finish_and_clear();
            return Ok(false);
        }
        sleep(LOOK_INTERVAL).await;
        now = left().await?;
        bar.set_length(begun.max(now) as u64);
        bar.set_position(begun.max(now).saturating_sub(now) as u64);
    }
    bar.finish_and_clear();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_partition_misses() {
        let partition = Partition {
            topic: "t".to_owned(),
            index: 0,
            leader: Some(1),
            replicas: vec![1, 2, 3],
            isr: vec![3, 1],
        };
        assert_eq!(partition.missing(), [2]);
        assert!(!partition.is_whole());
        let whole = Partition { isr: vec![2, 3, 1], ..partition };
        assert!(whole.is_whole());
        assert!(!Partition { leader: None, ..whole }.is_whole());
    }

    #[tokio::test]
    async fn waiting_ends_when_nothing_is_left_or_with_the_time() {
        let mut lefts = vec![0, 1, 2];
        let done = until_none_left("moving", Duration::from_secs(60), || {
            let left = lefts.pop().unwrap();
            async move { Ok(left) }
        });
        assert!(done.await.unwrap());
        let stuck = until_none_left("moving", Duration::ZERO, || async { Ok(3) });
        assert!(!stuck.await.unwrap());
    }
}
