//! `highwater topic describe`

use super::super::connect::{Client, ConnectArgs};
use super::super::offsets::{self, Place};
use super::super::output::{align_right, count, table, text};
use super::super::{CliError, Output};
use super::configs::{self, Setting};
use clap::Args;
use highwater_protocol::messages::{MetadataResponsePartition, MetadataResponseTopic};
use serde::Serialize;

/// Flags of `highwater topic describe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater topic describe orders
  highwater topic describe orders --all-configs
  highwater topic describe orders --json | jq '.topics[0].partitions'")]
pub(in crate::cli) struct DescribeArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// All settings, not only those that the topic has itself
    #[arg(long)]
    all_configs: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Description {
    topics: Vec<DescribedTopic>,
}

#[derive(Serialize)]
struct DescribedTopic {
    name: String,
    id: String,
    internal: bool,
    partitions: Vec<DescribedPartition>,
    configs: Vec<Setting>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    /// `null` if nobody leads it.
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
}

/// Describes topics in the order named.
pub(super) fn run(args: &DescribeArgs, output: Output) -> Result<(), CliError> {
    let description = args.connect.run(|cluster| async move {
        let mut topics = Vec::new();
        for name in &args.topics {
            topics.push(describe(&cluster, name, args.all_configs).await?);
        }
        Ok(Description { topics })
    })?;
    output.print(&description, |description| {
        let texts: Vec<_> = description.topics.iter().map(human).collect();
        texts.join("\n")
    })
}

async fn describe(cluster: &Client, name: &str, all_configs: bool) -> Result<DescribedTopic, CliError> {
    let failed = |error| CliError::call(format!("topic {name}"), &error);
    let answer = cluster.refresh(Some(&[name])).await.map_err(failed)?;
    let topic = answer.topics.into_iter().next().unwrap_or_default();
    let led = topic.partitions.iter().filter(|partition| partition.leader_id >= 0);
    let places: Vec<_> = led.map(|partition| Place::new(name, partition.partition_index)).collect();
    let starts = offsets::list(cluster, &places, offsets::EARLIEST).await?;
    let ends = offsets::list(cluster, &places, offsets::LATEST).await?;
    let mut configs = configs::describe(cluster, name).await?;
    configs.retain(|setting| all_configs || setting.is_of_topic());
    let mut partitions: Vec<_> = (topic.partitions.iter())
        .map(|partition| {
            let place = Place::new(name, partition.partition_index);
            DescribedPartition {
                log_start_offset: starts.get(&place).copied(),
                high_watermark: ends.get(&place).copied(),
                ..DescribedPartition::new(partition)
            }
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    let MetadataResponseTopic { topic_id, is_internal, .. } = topic;
    Ok(DescribedTopic {
        name: name.to_owned(),
        id: topic_id.to_string(),
        internal: is_internal,
        partitions,
        configs,
    })
}

impl DescribedPartition {
    fn new(partition: &MetadataResponsePartition) -> Self {
        Self {
            partition: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            isr: partition.isr_nodes.clone(),
            log_start_offset: None,
            high_watermark: None,
        }
    }
}

fn human(topic: &DescribedTopic) -> String {
    let partitions = count(topic.partitions.len() as u64, "partition", "partitions");
    let internal = if topic.internal { ", internal" } else { "" };
    let mut out = format!("topic {} (id {}, {partitions}{internal})\n", topic.name, topic.id);
    let mut table =
        table(["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN SYNC", "LOG START", "HIGH WATERMARK"]);
    align_right(&mut table, &[0, 1, 2, 5, 6]);
    for p in &topic.partitions {
        let or_none = |n: Option<String>| n.unwrap_or_else(|| "none".to_owned());
        table.add_row([
            p.partition.to_string(),
            or_none(p.leader.map(|id| id.to_string())),
            p.leader_epoch.to_string(),
            ids(&p.replicas),
            ids(&p.isr),
            or_none(p.log_start_offset.map(|at| at.to_string())),
            or_none(p.high_watermark.map(|at| at.to_string())),
        ]);
    }
    out.push_str(&text(&table));
    for setting in &topic.configs {
        let value = setting.value.as_deref().unwrap_or("");
        let source = if setting.is_of_topic() { String::new() } else { format!("  ({})", setting.source) };
        out.push_str(&format!("{}={value}{source}\n", setting.name));
    }
    out
}

fn ids(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
