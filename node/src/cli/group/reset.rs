//! `highwater group reset-offsets`

use super::super::connect::{Client, ConnectArgs};
use super::super::offsets::{self, Place};
use super::super::output::{align_right, note, table, text};
use super::super::{CliError, Output, datetime};
use super::committed::{self, DEAD, EMPTY};
use clap::{ArgGroup, Args};
use highwater_core::ids::PartitionIndex;
use highwater_core::time::Timestamp;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Flags of `highwater group reset-offsets`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true)), group(ArgGroup::new("scope").required(true)))]
#[command(after_help = "Examples:
  highwater group reset-offsets billing --topic orders --to-earliest
      shows what would change
  highwater group reset-offsets billing --topic orders --to-earliest --execute
  highwater group reset-offsets billing --topic orders:0,2 --shift-by -100 --execute
  highwater group reset-offsets billing --all-topics --to-datetime 2026-11-22T19:30:00Z --execute

The group must have no members. Offsets outside a partition are moved to its nearest end.")]
pub(in crate::cli) struct ResetArgs {
    /// Name of the group
    group: String,
    /// A topic, or some of its partitions; may be repeated
    #[arg(long = "topic", value_name = "TOPIC[:N,N]", group = "scope", value_parser = parse_scope)]
    topics: Vec<Scope>,
    /// Every partition that the group has committed an offset of
    #[arg(long, group = "scope")]
    all_topics: bool,
    /// To the first record there is
    #[arg(long, group = "target")]
    to_earliest: bool,
    /// Behind the last record there is
    #[arg(long, group = "target")]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET", group = "target", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record at or after this time
    #[arg(long, value_name = "TIME", group = "target", value_parser = datetime::parse)]
    to_datetime: Option<Timestamp>,
    /// By so many records, backwards if negative
    #[arg(long, value_name = "N", group = "target", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// Only show what would change, which is the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    topic: String,
    partitions: Vec<i32>,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok(Scope { topic: text.to_owned(), partitions: Vec::new() });
    };
    let partitions = partitions.split(',').map(|number| match number.parse() {
        Ok(partition) if partition >= 0 => Ok(partition),
        _ => Err(format!("{number:?} is no partition; write TOPIC or TOPIC:0,1")),
    });
    Ok(Scope { topic: topic.to_owned(), partitions: partitions.collect::<Result<_, _>>()? })
}

#[derive(Serialize)]
struct Reset {
    group: String,
    /// False if this only shows what would change.
    executed: bool,
    partitions: Vec<ResetPartition>,
}

#[derive(Serialize)]
struct ResetPartition {
    topic: String,
    partition: i32,
    /// `null` if nothing was committed.
    committed_offset: Option<i64>,
    new_offset: i64,
}

/// Shows the new offsets, and commits them with `--execute`.
pub(super) fn run(args: &ResetArgs, output: Output) -> Result<(), CliError> {
    let reset = args.connect.run(|cluster| async move { reset(args, &cluster).await })?;
    output.print(&reset, human)?;
    if !reset.executed && !output.is_json() {
        note("nothing was changed: --execute does it");
    }
    Ok(())
}

async fn reset(args: &ResetArgs, cluster: &Client) -> Result<Reset, CliError> {
    let group = &args.group;
    let state = committed::describe(cluster, group).await?.group_state;
    if state != EMPTY && state != DEAD {
        return Err(CliError::new(format!(
            "group {group} is {state}: its members would go on where they are\n  stop its consumers first; \
             `highwater group describe {group}` shows them"
        )));
    }
    let committed = committed::offsets(cluster, group).await?;
    let places = scope(args, cluster, &committed).await?;
    let targets = targets(args, cluster, &places, &committed).await?;
    if args.execute {
        commit(cluster, group, &targets).await?;
    }
    let partition = |(place, new_offset): (Place, i64)| ResetPartition {
        committed_offset: committed.get(&place).copied(),
        partition: place.partition.0,
        topic: place.topic,
        new_offset,
    };
    let partitions = targets.into_iter().map(partition).collect();
    Ok(Reset { group: group.clone(), executed: args.execute, partitions })
}

/// The partitions that are meant.
async fn scope(
    args: &ResetArgs,
    cluster: &Client,
    committed: &BTreeMap<Place, i64>,
) -> Result<Vec<Place>, CliError> {
    if args.all_topics {
        if committed.is_empty() {
            let group = &args.group;
            return Err(CliError::new(format!(
                "group {group} has committed nothing; name topics with --topic"
            )));
        }
        return Ok(committed.keys().cloned().collect());
    }
    let mut places = BTreeSet::new();
    for Scope { topic: name, partitions } in &args.topics {
        let failed = |error| CliError::call(format!("topic {name}"), &error);
        cluster.refresh(Some(&[name])).await.map_err(failed)?;
        let topic = cluster.topic(name).await.map_err(failed)?;
        if let Some(unknown) =
            partitions.iter().find(|&&p| !topic.partitions.contains_key(&PartitionIndex(p)))
        {
            let last = topic.partitions.len() - 1;
            return Err(CliError::usage(format!(
                "topic {name} has no partition {unknown}, only 0 to {last}"
            )));
        }
        let all = topic.partitions.keys().map(|index| index.0);
        let wanted = all.filter(|index| partitions.is_empty() || partitions.contains(index));
        places.extend(wanted.map(|index| Place::new(name, index)));
    }
    Ok(places.into_iter().collect())
}

/// Where each partition shall go, within what it has.
async fn targets(
    args: &ResetArgs,
    cluster: &Client,
    places: &[Place],
    committed: &BTreeMap<Place, i64>,
) -> Result<BTreeMap<Place, i64>, CliError> {
    let starts = offsets::list(cluster, places, offsets::EARLIEST).await?;
    let ends = offsets::list(cluster, places, offsets::LATEST).await?;
    let by_time = match args.to_datetime {
        Some(timestamp) => offsets::list(cluster, places, timestamp).await?,
        None => BTreeMap::new(),
    };
    let mut targets = BTreeMap::new();
    for place in places {
        let (Some(&start), Some(&end)) = (starts.get(place), ends.get(place)) else { continue };
        let target = if args.to_earliest {
            start
        } else if args.to_latest {
            end
        } else if let Some(offset) = args.to_offset {
            offset
        } else if let Some(n) = args.shift_by {
            let Some(at) = committed.get(place) else {
                return Err(CliError::new(format!(
                    "--shift-by: the group has committed nothing for {place}"
                )));
            };
            at.saturating_add(n)
        } else {
            // Nothing so young: what comes next.
            by_time.get(place).copied().unwrap_or(end)
        };
        targets.insert(place.clone(), target.clamp(start, end));
    }
    Ok(targets)
}

/// Commits as Kafka's own tool does: as no member, in no generation.
async fn commit(cluster: &Client, group: &str, targets: &BTreeMap<Place, i64>) -> Result<(), CliError> {
    let what = format!("the offsets of group {group} were not moved");
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for (place, offset) in targets {
        if topics.last().is_none_or(|topic| topic.name != place.topic) {
            let topic = cluster.topic(&place.topic).await;
            let topic = topic.map_err(|error| CliError::call(&what, &error))?;
            let name = place.topic.clone();
            topics.push(OffsetCommitRequestTopic { name, topic_id: topic.id, partitions: Vec::new() });
        }
        topics.last_mut().expect("just put there").partitions.push(OffsetCommitRequestPartition {
            partition_index: place.partition.0,
            committed_offset: *offset,
            committed_metadata: Some(String::new()),
            ..Default::default()
        });
    }
    let request = OffsetCommitRequest { group_id: group.into(), topics, ..Default::default() };
    let codes = |answer: &OffsetCommitResponse| {
        answer.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code).collect()
    };
    let answer = committed::ask(cluster, group, &request, codes).await;
    let answer = answer.map_err(|error| CliError::call(&what, &error))?;
    match codes(&answer).into_iter().find(|code: &ErrorCode| code.is_error()) {
        Some(code) => Err(CliError::refused(what, code, None)),
        None => Ok(()),
    }
}

fn human(reset: &Reset) -> String {
    let mut table = table(["TOPIC", "PARTITION", "COMMITTED", "NEW", "BY"]);
    align_right(&mut table, &[1, 2, 3, 4]);
    for p in &reset.partitions {
        let committed = p.committed_offset.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let by = p.committed_offset.map_or_else(|| "-".to_owned(), |n| format!("{:+}", p.new_offset - n));
        table.add_row([p.topic.clone(), p.partition.to_string(), committed, p.new_offset.to_string(), by]);
    }
    text(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read() {
        let scope = |topic: &str, partitions: &[i32]| {
            Ok(Scope { topic: topic.to_owned(), partitions: partitions.to_vec() })
        };
        assert_eq!(parse_scope("orders"), scope("orders", &[]));
        assert_eq!(parse_scope("orders:0,2"), scope("orders", &[0, 2]));
        assert!(parse_scope("orders:").is_err());
        assert!(parse_scope("orders:-1").is_err());
    }
}
