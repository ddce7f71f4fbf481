//! `highwater group describe`

use super::super::connect::{Client, ConnectArgs};
use super::super::offsets::{self, Place};
use super::super::output::{align_right, count, table, text};
use super::super::{CliError, Output};
use super::committed::{self, DEAD};
use clap::Args;
use highwater_protocol::Message;
use highwater_protocol::messages::{ConsumerProtocolAssignment, DescribedGroup, DescribedGroupMember};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Flags of `highwater group describe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater group describe billing
  highwater group describe billing --json | jq '.groups[0].lag'")]
pub(in crate::cli) struct DescribeArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Description {
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    group: String,
    state: String,
    protocol: String,
    coordinator: i32,
    /// Records behind the committed offsets, over all partitions.
    lag: i64,
    members: Vec<Member>,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Member {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    partitions: usize,
}

#[derive(Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    /// `null` if nothing is committed.
    committed_offset: Option<i64>,
    high_watermark: Option<i64>,
    lag: Option<i64>,
    /// Who reads it.
    member: Option<String>,
}

/// Describes groups in the order named.
pub(super) fn run(args: &DescribeArgs, output: Output) -> Result<(), CliError> {
    let description = args.connect.run(|cluster| async move {
        let mut groups = Vec::new();
        for group in &args.groups {
            groups.push(describe(&cluster, group).await?);
        }
        Ok(Description { groups })
    })?;
    output.print(&description, |description| {
        let texts: Vec<_> = description.groups.iter().map(human).collect();
        texts.join("\n")
    })
}

async fn describe(cluster: &Client, name: &str) -> Result<Group, CliError> {
    let described = committed::describe(cluster, name).await?;
    let offsets = committed::offsets(cluster, name).await?;
    if described.group_state == DEAD && offsets.is_empty() {
        let message = format!("there is no group {name}\n  `highwater group list` shows what there is");
        return Err(CliError::new(message));
    }
    let owners = owners(&described);
    let all: BTreeSet<&Place> = offsets.keys().chain(owners.keys()).collect();
    let ends = ends(cluster, &all).await?;
    let partitions: Vec<_> = (all.into_iter())
        .map(|place| {
            let committed_offset = offsets.get(place).copied();
            let high_watermark = ends.get(place).copied();
            Partition {
                topic: place.topic.clone(),
                partition: place.partition.0,
                committed_offset,
                high_watermark,
                lag: committed_offset.zip(high_watermark).map(|(committed, end)| (end - committed).max(0)),
                member: owners.get(place).cloned(),
            }
        })
        .collect();
    let broker = cluster.coordinator(name).await;
    let broker = broker.map_err(|error| CliError::call(format!("group {name}"), &error))?;
    Ok(Group {
        group: name.to_owned(),
        lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
        members: described.members.iter().map(Member::new).collect(),
        partitions,
        coordinator: broker.0,
        state: described.group_state,
        protocol: described.protocol_data,
    })
}

/// The ends of the partitions that are still there: a group remembers deleted topics for a while.
async fn ends(cluster: &Client, places: &BTreeSet<&Place>) -> Result<BTreeMap<Place, i64>, CliError> {
    let failed = |error| CliError::call("topics cannot be listed", &error);
    let topics = cluster.refresh(None).await.map_err(failed)?.topics;
    let led: BTreeSet<Place> = (topics.iter())
        .filter_map(|topic| Some((topic.name.as_deref()?, &topic.partitions)))
        .flat_map(|(name, partitions)| {
            let led = partitions.iter().filter(|partition| partition.leader_id >= 0);
            led.map(move |partition| Place::new(name, partition.partition_index))
        })
        .collect();
    let there: Vec<Place> = places.iter().filter(|place| led.contains(place)).map(|&p| p.clone()).collect();
    offsets::list(cluster, &there, offsets::LATEST).await
}

/// Which member reads which partition.
fn owners(group: &DescribedGroup) -> BTreeMap<Place, String> {
    let mut owners = BTreeMap::new();
    for member in &group.members {
        for topic in assignment(member).unwrap_or_default().assigned_partitions {
            for partition in topic.partitions {
                owners.insert(Place::new(&topic.topic, partition), member.member_id.clone());
            }
        }
    }
    owners
}

/// A member's partitions, if it speaks the consumer protocol: its version as 16 bits, then the message.
fn assignment(member: &DescribedGroupMember) -> Option<ConsumerProtocolAssignment> {
    let bytes = &member.member_assignment;
    let version = i16::from_be_bytes(*bytes.first_chunk()?);
    let range = ConsumerProtocolAssignment::VERSIONS;
    let mut reader = highwater_protocol::Reader::new(bytes);
    reader.i16().ok()?;
    ConsumerProtocolAssignment::decode(&mut reader, version.clamp(range.min, range.max)).ok()
}

impl Member {
    fn new(member: &DescribedGroupMember) -> Self {
        let assignment = assignment(member).unwrap_or_default();
        Self {
            member: member.member_id.clone(),
            instance: member.group_instance_id.clone(),
            client: member.client_id.clone(),
            host: member.client_host.clone(),
            partitions: assignment.assigned_partitions.iter().map(|topic| topic.partitions.len()).sum(),
        }
    }
}

fn human(group: &Group) -> String {
    let members = count(group.members.len() as u64, "member", "members");
    let mut out = format!(
        "group {} is {} with {members}, {} behind (coordinator: broker {})\n",
        group.group,
        group.state,
        count(group.lag.unsigned_abs(), "record", "records"),
        group.coordinator
    );
    if !group.partitions.is_empty() {
        let mut table = table(["TOPIC", "PARTITION", "COMMITTED", "HIGH WATERMARK", "LAG", "MEMBER"]);
        align_right(&mut table, &[1, 2, 3, 4]);
        for p in &group.partitions {
            let or_dash = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            table.add_row([
                p.topic.clone(),
                p.partition.to_string(),
                or_dash(p.committed_offset),
                or_dash(p.high_watermark),
                or_dash(p.lag),
                p.member.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        out.push_str(&text(&table));
    }
    if !group.members.is_empty() {
        let mut table = table(["MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"]);
        align_right(&mut table, &[4]);
        for m in &group.members {
            let instance = m.instance.as_deref().unwrap_or("-");
            table.add_row([&m.member, instance, &m.client, &m.host, &m.partitions.to_string()]);
        }
        out.push_str(&text(&table));
    }
    out
}
