//! `highwater cluster under-replicated`

use super::super::connect::{Client, ConnectArgs};
use super::super::output::{align_right, count, table, text};
use super::super::{CliError, Output};
use super::state::{self, LOOK_INTERVAL, Partition, until_none_left};
use clap::Args;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Flags of `highwater cluster under-replicated`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater cluster under-replicated
  highwater cluster under-replicated --wait 120 && echo whole
      between the steps of a rolling restart")]
pub(in crate::cli) struct UnderReplicatedArgs {
    /// Wait so many seconds for every replica to be in sync; fail if one is not
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct UnderReplicated {
    partitions: Vec<Lacking>,
}

#[derive(Serialize)]
struct Lacking {
    topic: String,
    partition: i32,
    /// `null` if nobody leads it: it can be neither written nor read.
    leader: Option<i32>,
    replicas: Vec<i32>,
    isr: Vec<i32>,
}

/// Shows what is not whole, after waiting if that is wanted.
pub(super) fn run(args: &UnderReplicatedArgs, output: Output) -> Result<(), CliError> {
    let deadline = Instant::now() + Duration::from_secs(args.wait.unwrap_or(0));
    let found = args.connect.run(|client| async move {
        loop {
            if args.wait.is_some() {
                let left = || async { Ok(lacking(&client).await?.len()) };
                let at_most = deadline.saturating_duration_since(Instant::now());
                until_none_left("partitions whole", at_most, left).await?;
            }
            let partitions = lacking(&client).await?;
            // A node that has just woken up tells of the past, and another one was asked now.
            if partitions.is_empty() || Instant::now() >= deadline {
                return Ok(UnderReplicated { partitions });
            }
            sleep(LOOK_INTERVAL).await;
        }
    })?;
    output.print(&found, human)?;
    match found.partitions.len() {
        0 => Ok(()),
        many if args.wait.is_some() => {
            let many = count(many as u64, "partition is", "partitions are");
            Err(CliError::new(format!("{many} still not whole")))
        }
        _ => Ok(()),
    }
}

/// The partitions that are not whole, as whoever is asked sees them.
async fn lacking(client: &Client) -> Result<Vec<Lacking>, CliError> {
    let partitions = state::partitions(client).await?;
    Ok(partitions.into_iter().filter(|partition| !partition.is_whole()).map(Lacking::of).collect())
}

impl Lacking {
    fn of(partition: Partition) -> Self {
        let Partition { topic, index, leader, replicas, isr } = partition;
        Self { topic, partition: index, leader, replicas, isr }
    }
}

fn human(found: &UnderReplicated) -> String {
    if found.partitions.is_empty() {
        return "every partition is led, and every replica in sync\n".to_owned();
    }
    let mut table = table(["TOPIC", "PARTITION", "LEADER", "REPLICAS", "IN SYNC"]);
    align_right(&mut table, &[1, 2]);
    for lacking in &found.partitions {
        table.add_row([
            lacking.topic.clone(),
            lacking.partition.to_string(),
            lacking.leader.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            ids(&lacking.replicas),
            ids(&lacking.isr),
        ]);
    }
    text(&table)
}

/// `1,2,3`
pub(super) fn ids(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
