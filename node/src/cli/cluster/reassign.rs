//! `highwater cluster reassign`: replicas to other brokers (KIP-455).

use super::super::connect::{Client, ConnectArgs};
use super::super::output::{align_right, count, note, table, text};
use super::super::{CliError, Output};
use super::partitions::ids;
use super::spread::{Move, spread};
use super::state::{self, Partition, accept, until_none_left};
use super::throttle::Throttled;
use clap::Args;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest, OngoingPartitionReassignment,
    ReassignablePartition, ReassignableTopic,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT_MS: i32 = 60_000;

/// How long moves are waited for if nothing else is said.
const WAIT_SECONDS: u64 = 24 * 3600;

/// Flags of `highwater cluster reassign`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater cluster reassign orders --to 2,3,4
      replicas that are there stay, the others go to whoever has least
  highwater cluster reassign orders --replication-factor 3
  highwater cluster reassign --file plan.json --dry-run
      {\"version\":1,\"partitions\":[{\"topic\":\"orders\",\"partition\":0,\"replicas\":[2,3]}]}, as Kafka's tool takes it
  highwater cluster reassign orders --to 2,3,4 --throttle 20000000
      what is copied for it comes to 20 MB a second at most, on each broker; lifted when all has moved
  highwater cluster reassign --list
  highwater cluster reassign orders --cancel")]
pub(in crate::cli) struct ReassignArgs {
    /// Topics to move
    #[arg(value_name = "TOPIC", required_unless_present_any = ["file", "list", "cancel", "unthrottle"])]
    topics: Vec<String>,
    /// Only this partition; may be repeated
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// The brokers that replicas may be on [default: all that are active and not drained]
    #[arg(long, value_name = "NODES", value_delimiter = ',', conflicts_with = "file")]
    to: Vec<i32>,
    /// So many replicas each [default: as many as there are]
    #[arg(long, value_name = "N", conflicts_with = "file")]
    replication_factor: Option<usize>,
    /// Exactly these replicas, in the form of Kafka's own tool
    #[arg(long, value_name = "FILE", conflicts_with = "topics")]
    file: Option<PathBuf>,
    /// Show the moves that are under way
    #[arg(long, conflicts_with_all = ["topics", "file", "to", "replication_factor", "cancel"])]
    list: bool,
    /// Undo the moves that are under way: of these topics, or all
    #[arg(long, conflicts_with_all = ["file", "to", "replication_factor"])]
    cancel: bool,
    /// The most bytes per second that a broker may give, and take, for these moves
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["list", "cancel", "dry_run"])]
    throttle: Option<u64>,
    /// Lift the throttle of these topics, or all: the moves that are under way go on at full speed
    #[arg(long, conflicts_with_all = ["file", "to", "replication_factor", "list", "cancel", "throttle"])]
    unthrottle: bool,
    /// Show what would move, and move nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait until everything has moved
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Kafka's form of a plan.
#[derive(Debug, Deserialize)]
struct PlanFile {
    partitions: Vec<PlanPartition>,
}

#[derive(Debug, Deserialize)]
struct PlanPartition {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
}

#[derive(Serialize)]
struct Moves {
    moves: Vec<ShownMove>,
    dry_run: bool,
    /// Whether every replica has arrived.
    done: bool,
}

#[derive(Serialize)]
struct Unthrottled {
    throttled: bool,
}

#[derive(Serialize)]
struct ShownMove {
    topic: String,
    partition: i32,
    from: Vec<i32>,
    to: Vec<i32>,
}

#[derive(Serialize)]
struct UnderWay {
    moves: Vec<Moving>,
}

#[derive(Serialize)]
struct Moving {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

/// Moves, shows or cancels.
pub(super) fn run(args: &ReassignArgs, output: Output) -> Result<(), CliError> {
    if args.list {
        let found =
            args.connect.run(|client| async move { Ok(UnderWay { moves: under_way(&client).await? }) })?;
        return output.print(&found, human_under_way);
    }
    if args.cancel {
        let cancelled = args.connect.run(|client| async move { cancel(&client, &args.topics).await })?;
        return output.print(&UnderWay { moves: cancelled }, |cancelled| {
            format!("{} cancelled\n", count(cancelled.moves.len() as u64, "move", "moves"))
        });
    }
    if args.unthrottle {
        args.connect.run(|client| async move { unthrottle(&client, &args.topics).await })?;
        return output
            .print(&Unthrottled { throttled: false }, |_| "no move is throttled any more\n".to_owned());
    }
    let moves = args.connect.run(|client| async move { reassign(&client, args).await })?;
    output.print(&moves, human)
}

async fn reassign(client: &Client, args: &ReassignArgs) -> Result<Moves, CliError> {
    let all = state::partitions(client).await?;
    let moves = match &args.file {
        Some(path) => read_plan(path)?,
        None => plan(client, args, &all).await?,
    };
    let from = |a: &Move| all.iter().find(|p| p.topic == a.topic && p.index == a.index);
    let shown = |a: &Move| ShownMove {
        topic: a.topic.clone(),
        partition: a.index,
        from: from(a).map(|partition| partition.replicas.clone()).unwrap_or_default(),
        to: a.replicas.clone(),
    };
    let shown: Vec<_> = moves.iter().map(shown).collect();
    let mut done = false;
    if !args.dry_run && !moves.is_empty() {
        let throttled = Throttled::of(&moves, &all);
        if let Some(bytes_per_second) = args.throttle {
            throttled.limit(client, bytes_per_second).await?;
        }
        carry_out(client, &moves).await?;
        done = !args.no_wait && wait(client, &moves, Duration::from_secs(WAIT_SECONDS)).await?;
        match (args.throttle, done) {
            (Some(_), true) => throttled.lift(client).await?,
            (Some(_), false) => {
                note("the throttle stays in force; `highwater cluster reassign --unthrottle` lifts it");
            }
            (None, _) => {}
        }
    }
    Ok(Moves { moves: shown, dry_run: args.dry_run, done })
}

/// Lifts the throttles of these topics, or all, and the rates of all brokers.
async fn unthrottle(client: &Client, topics: &[String]) -> Result<(), CliError> {
    let brokers = state::brokers(client).await?.brokers;
    let mut names: Vec<_> = state::partitions(client).await?.into_iter().map(|p| p.topic).collect();
    names.dedup();
    names.retain(|name| topics.is_empty() || topics.contains(name));
    Throttled::all(brokers.iter().map(|broker| broker.broker_id), names).lift(client).await
}

async fn plan(client: &Client, args: &ReassignArgs, all: &[Partition]) -> Result<Vec<Move>, CliError> {
    let unknown = args.topics.iter().find(|name| !all.iter().any(|partition| partition.topic == **name));
    if let Some(name) = unknown {
        return Err(CliError::refused(format!("topic {name}"), ErrorCode::UnknownTopicOrPartition, None));
    }
    let is_chosen = |partition: &&Partition| {
        args.topics.contains(&partition.topic)
            && (args.partition.is_empty() || args.partition.contains(&partition.index))
    };
    let chosen: Vec<_> = all.iter().filter(is_chosen).cloned().collect();
    let to = if args.to.is_empty() { usable(client, &[]).await? } else { args.to.clone() };
    spread_over(all, &chosen, &to, args.replication_factor)
}

/// The brokers that may get replicas: active, not drained, and none of these.
pub(super) async fn usable(client: &Client, without: &[i32]) -> Result<Vec<i32>, CliError> {
    let brokers = state::brokers(client).await?.brokers;
    let active: Vec<_> = brokers.iter().filter(|b| !b.is_fenced).map(|b| b.broker_id).collect();
    let drained = state::drained(client, &active).await;
    Ok(active.into_iter().filter(|id| !drained.contains(id) && !without.contains(id)).collect())
}

/// [`spread`], with its refusal in words.
pub(super) fn spread_over(
    all: &[Partition],
    chosen: &[Partition],
    to: &[i32],
    factor: Option<usize>,
) -> Result<Vec<Move>, CliError> {
    spread(all, chosen, to, factor).map_err(|few| {
        CliError::new(format!(
            "{} cannot be on {}: add brokers, or lower the replication factor first",
            count(few.replicas as u64, "replica", "replicas"),
            count(few.brokers as u64, "broker", "brokers")
        ))
    })
}

fn read_plan(path: &PathBuf) -> Result<Vec<Move>, CliError> {
    let wrong = |why: String| CliError::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let plan: PlanFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let as_move = |p: PlanPartition| Move { topic: p.topic, index: p.partition, replicas: p.replicas };
    Ok(plan.partitions.into_iter().map(as_move).collect())
}

/// Asks for the moves. What is refused is told; the rest moves.
pub(super) async fn carry_out(client: &Client, moves: &[Move]) -> Result<(), CliError> {
    let targets = moves.iter().map(|a| (a.topic.as_str(), a.index, Some(a.replicas.clone())));
    alter(client, targets).await
}

async fn alter<'a>(
    client: &Client,
    targets: impl Iterator<Item = (&'a str, i32, Option<Vec<i32>>)>,
) -> Result<(), CliError> {
    let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
    for (topic, partition_index, replicas) in targets {
        topics.entry(topic).or_default().push(ReassignablePartition { partition_index, replicas });
    }
    let topics = topics.into_iter();
    let request = AlterPartitionReassignmentsRequest {
        timeout_ms: TIMEOUT_MS,
        topics: topics
            .map(|(name, partitions)| ReassignableTopic { name: name.to_owned(), partitions })
            .collect(),
        ..Default::default()
    };
    let what = "nothing was reassigned";
    let failed = |error| CliError::call(what, &error);
    let answer = client.send_to_controller(&request).await.map_err(failed)?;
    accept(what, answer.error_code, answer.error_message)?;
    let mut refused = Vec::new();
    for topic in answer.responses {
        for partition in topic.partitions.into_iter().filter(|p| p.error_code != ErrorCode::None) {
            let what = format!("{}-{} stays", topic.name, partition.partition_index);
            refused.push(CliError::refused(what, partition.error_code, partition.error_message).to_string());
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(CliError::new(refused.join("\n"))) }
}

async fn under_way(client: &Client) -> Result<Vec<Moving>, CliError> {
    let what = "moves cannot be listed";
    let request = ListPartitionReassignmentsRequest { timeout_ms: TIMEOUT_MS, topics: None };
    let failed = |error| CliError::call(what, &error);
    let answer = client.send_to_controller(&request).await.map_err(failed)?;
    accept(what, answer.error_code, answer.error_message)?;
    let mut moves = Vec::new();
    for topic in answer.topics {
        moves.extend(topic.partitions.into_iter().map(|partition| Moving::of(&topic.name, partition)));
    }
    Ok(moves)
}

async fn cancel(client: &Client, topics: &[String]) -> Result<Vec<Moving>, CliError> {
    let mut moves = under_way(client).await?;
    moves.retain(|moving| topics.is_empty() || topics.contains(&moving.topic));
    if !moves.is_empty() {
        alter(client, moves.iter().map(|moving| (moving.topic.as_str(), moving.partition, None))).await?;
    }
    Ok(moves)
}

/// Waits until the moves are over; false, with a word about it, if they are not in that time.
pub(super) async fn wait(client: &Client, moves: &[Move], at_most: Duration) -> Result<bool, CliError> {
    let left = || async {
        let under_way = under_way(client).await?;
        let is_ours =
            |moving: &&Moving| moves.iter().any(|a| a.topic == moving.topic && a.index == moving.partition);
        Ok(under_way.iter().filter(is_ours).count())
    };
    let done = until_none_left("partitions moved", at_most, left).await?;
    if !done {
        note("the moves go on; `highwater cluster reassign --list` shows them");
    }
    Ok(done)
}

impl Moving {
    fn of(topic: &str, partition: OngoingPartitionReassignment) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: partition.partition_index,
            replicas: partition.replicas,
            adding: partition.adding_replicas,
            removing: partition.removing_replicas,
        }
    }
}

fn human(moves: &Moves) -> String {
    if moves.moves.is_empty() {
        return "everything is where it should be\n".to_owned();
    }
    let mut table = table(["TOPIC", "PARTITION", "FROM", "TO"]);
    align_right(&mut table, &[1]);
    for shown in &moves.moves {
        table.add_row([shown.topic.clone(), shown.partition.to_string(), ids(&shown.from), ids(&shown.to)]);
    }
    let many = count(moves.moves.len() as u64, "partition", "partitions");
    let end = match (moves.dry_run, moves.done) {
        (true, _) => format!("{many} would move\n"),
        (false, true) => format!("{many} moved\n"),
        (false, false) => format!("{many} on the move; `highwater cluster reassign --list` shows how far\n"),
    };
    text(&table) + &end
}

fn human_under_way(found: &UnderWay) -> String {
    if found.moves.is_empty() {
        return "nothing is on the move\n".to_owned();
    }
    let mut table = table(["TOPIC", "PARTITION", "REPLICAS", "ADDING", "REMOVING"]);
    align_right(&mut table, &[1]);
    for moving in &found.moves {
        table.add_row([
            moving.topic.clone(),
            moving.partition.to_string(),
            ids(&moving.replicas),
            ids(&moving.adding),
            ids(&moving.removing),
        ]);
    }
    text(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_as_kafkas_tool_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        let text = r#"{"version":1,"partitions":[{"topic":"t","partition":3,"replicas":[2,1],"log_dirs":["any","any"]}]}"#;
        std::fs::write(&path, text).unwrap();
        assert_eq!(
            read_plan(&path).unwrap(),
            [Move { topic: "t".to_owned(), index: 3, replicas: vec![2, 1] }]
        );
        std::fs::write(&path, "{}").unwrap();
        assert!(read_plan(&path).unwrap_err().to_string().contains("plan.json"));
    }
}
