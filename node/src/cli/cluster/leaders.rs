//! `highwater cluster leaders` and `rebalance-leaders`

use super::super::connect::{Client, ConnectArgs};
use super::super::output::{align_right, count, table, text};
use super::super::{CliError, Output};
use super::state::{self, Partition, accept};
use clap::Args;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::ElectLeadersRequest;
use serde::Serialize;
use std::collections::BTreeMap;

/// The election of the first replica, if it is in sync (KIP-183).
const PREFERRED: i8 = 0;

/// How long the controller may take for an election.
const ELECTION_MS_MAX: i32 = 30_000;

/// Flags of `highwater cluster leaders`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater cluster leaders
  highwater cluster leaders --json | jq '.brokers[] | {id, leads, preferred}'")]
pub(in crate::cli) struct LeadersArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Flags of `highwater cluster rebalance-leaders`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  highwater cluster rebalance-leaders
      after a restart, if you do not want to wait for the automatic one")]
pub(in crate::cli) struct RebalanceArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Leaders {
    brokers: Vec<Share>,
    /// Partitions that nobody leads.
    leaderless: usize,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Share {
    id: i32,
    leads: usize,
    /// Partitions of which it is the first replica: it should lead those.
    preferred: usize,
    /// Those of them that another leads.
    elsewhere: usize,
}

#[derive(Serialize)]
struct Rebalanced {
    moved: usize,
    failures: Vec<String>,
}

/// Shows who leads how much.
pub(super) fn run(args: &LeadersArgs, output: Output) -> Result<(), CliError> {
    let leaders = args.connect.run(|client| async move {
        let brokers = state::brokers(&client).await?;
        let partitions = state::partitions(&client).await?;
        Ok(leaders(brokers.brokers.iter().map(|broker| broker.broker_id), &partitions))
    })?;
    output.print(&leaders, human)
}

fn leaders(ids: impl Iterator<Item = i32>, partitions: &[Partition]) -> Leaders {
    let mut shares: BTreeMap<i32, Share> = ids.map(|id| (id, Share { id, ..Share::default() })).collect();
    let mut share = |id: i32, change: &dyn Fn(&mut Share)| {
        change(shares.entry(id).or_insert(Share { id, ..Share::default() }));
    };
    for partition in partitions {
        if let Some(leader) = partition.leader {
            share(leader, &|share| share.leads += 1);
        }
        if let Some(first) = partition.replicas.first() {
            let is_elsewhere = partition.leader != Some(*first);
            share(*first, &|share| {
                share.preferred += 1;
                share.elsewhere += usize::from(is_elsewhere);
            });
        }
    }
    let leaderless = partitions.iter().filter(|partition| partition.leader.is_none()).count();
    Leaders { brokers: shares.into_values().collect(), leaderless }
}

fn human(leaders: &Leaders) -> String {
    let mut table = table(["NODE", "LEADS", "PREFERRED", "LED ELSEWHERE"]);
    align_right(&mut table, &[0, 1, 2, 3]);
    for share in &leaders.brokers {
        let figures = [share.leads, share.preferred, share.elsewhere].map(|n| n.to_string());
        table.add_row([vec![share.id.to_string()], figures.to_vec()].concat());
    }
    let mut out = text(&table);
    if leaders.leaderless > 0 {
        let many = count(leaders.leaderless as u64, "partition has", "partitions have");
        out.push_str(&format!("{many} no leader; `highwater cluster under-replicated` names them\n"));
    }
    out
}

/// Gives leaderships back to the first replicas.
pub(super) fn run_rebalance(args: &RebalanceArgs, output: Output) -> Result<(), CliError> {
    let done = args.connect.run(|client| async move { rebalance(&client).await })?;
    output.print(&done, |done| {
        let mut out =
            format!("{} moved to their first replicas\n", count(done.moved as u64, "leader", "leaders"));
        for failure in &done.failures {
            out.push_str(&format!("{failure}\n"));
        }
        out
    })
}

async fn rebalance(client: &Client) -> Result<Rebalanced, CliError> {
    let what = "leaders were not elected";
    let request =
        ElectLeadersRequest { election_type: PREFERRED, topic_partitions: None, timeout_ms: ELECTION_MS_MAX };
    let failed = |error| CliError::call(what, &error);
    let answer = client.send_to_controller(&request).await.map_err(failed)?;
    accept(what, answer.error_code, None)?;
    let mut done = Rebalanced { moved: 0, failures: Vec::new() };
    for topic in answer.replica_election_results {
        for partition in topic.partition_result {
            match partition.error_code {
                ErrorCode::None => done.moved += 1,
                ErrorCode::ElectionNotNeeded => {}
                code => {
                    let what = format!("{}-{} stays", topic.topic, partition.partition_id);
                    done.failures.push(CliError::refused(what, code, partition.error_message).to_string());
                }
            }
        }
    }
    Ok(done)
}

/// Gives leaderships back after a node came back; the cluster would do so by itself a little later.
pub(super) async fn rebalance_quietly(client: &Client) -> Result<usize, CliError> {
    rebalance(client).await.map(|done| done.moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_for_those_who_lead_nothing_too() {
        let partition = |index, leader, replicas: &[i32]| Partition {
            topic: "t".to_owned(),
            index,
            leader,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
        };
        let partitions =
            [partition(0, Some(1), &[1, 2]), partition(1, Some(1), &[2, 1]), partition(2, None, &[2, 1])];
        let leaders = leaders([1, 2, 3].into_iter(), &partitions);
        let shares: Vec<_> =
            leaders.brokers.iter().map(|s| (s.id, s.leads, s.preferred, s.elsewhere)).collect();
        assert_eq!(shares, [(1, 2, 1, 0), (2, 0, 2, 2), (3, 0, 0, 0)]);
        assert_eq!(leaders.leaderless, 1);
    }
}
