//! `highwater topic list`

use super::super::connect::ConnectArgs;
use super::super::output::{align_right, table, text};
use super::super::{CliError, Output};
use clap::Args;
use serde::Serialize;

/// Flags of `highwater topic list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater topic list
  highwater topic list --internal --json | jq -r '.topics[].name'")]
pub(in crate::cli) struct ListArgs {
    /// Only topics whose name has this in it
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
    /// The cluster's own topics, too, such as __consumer_offsets
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Listing {
    topics: Vec<ListedTopic>,
}

#[derive(Serialize)]
struct ListedTopic {
    name: String,
    id: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

/// Lists topics by name.
pub(super) fn run(args: &ListArgs, output: Output) -> Result<(), CliError> {
    let answer = args.connect.run(|cluster| async move {
        cluster.refresh(None).await.map_err(|error| CliError::call("topics cannot be listed", &error))
    })?;
    let mut topics: Vec<_> = (answer.topics.into_iter())
        .filter_map(|topic| {
            Some(ListedTopic {
                name: topic.name?,
                id: topic.topic_id.to_string(),
                partitions: topic.partitions.len(),
                replication_factor: topic.partitions.iter().map(|p| p.replica_nodes.len()).max().unwrap_or(0),
                internal: topic.is_internal,
            })
        })
        .filter(|topic| args.internal || !topic.internal)
        .filter(|topic| args.filter.as_ref().is_none_or(|filter| topic.name.contains(filter.as_str())))
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    output.print(&Listing { topics }, human)
}

fn human(listing: &Listing) -> String {
    if listing.topics.is_empty() {
        return "no topics; `highwater topic create NAME` makes one\n".to_owned();
    }
    let mut table = table(["TOPIC", "PARTITIONS", "REPLICAS", "ID"]);
    align_right(&mut table, &[1, 2]);
    for topic in &listing.topics {
        let (partitions, replicas) = (topic.partitions.to_string(), topic.replication_factor.to_string());
        table.add_row([&topic.name, &partitions, &replicas, &topic.id]);
    }
    text(&table)
}
