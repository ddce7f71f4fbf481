//! `highwater cluster quorum`

use super::super::connect::{Client, ConnectArgs};
use super::super::output::{align_right, table, text};
use super::super::{CliError, Output};
use super::state::accept;
use clap::Args;
use highwater_protocol::Uuid;
use highwater_protocol::messages::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
    DescribeQuorumResponsePartitionData, DescribeQuorumResponseReplicaState,
};
use serde::Serialize;

/// Flags of `highwater cluster quorum`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater cluster quorum
  highwater cluster quorum --json | jq '.members[] | select(.lag > 1000)'")]
pub(in crate::cli) struct QuorumArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What a node is in the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// The active controller.
    Leader,
    /// It votes.
    Voter,
    /// It follows.
    Observer,
}

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Observer => "observer",
        }
    }
}

/// The quorum as its leader sees it.
#[derive(Debug, Serialize)]
pub(super) struct Quorum {
    /// `null` while there is none.
    pub(super) leader: Option<i32>,
    epoch: i32,
    high_watermark: i64,
    pub(super) members: Vec<Member>,
    /// Where members talk to each other, as far as the leader knows.
    #[serde(skip)]
    pub(super) addresses: Vec<(i32, Vec<highwater_protocol::messages::Listener>)>,
}

/// A node that has the metadata log.
#[derive(Debug, Serialize)]
pub(super) struct Member {
    pub(super) id: i32,
    #[serde(serialize_with = "as_text")]
    pub(super) directory_id: Uuid,
    pub(super) role: Role,
    log_end_offset: i64,
    lag: i64,
    /// When it last had all that the leader had, in milliseconds since the epoch; `null` if that is not known.
    caught_up_ms: Option<i64>,
}

fn as_text<S: serde::Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl Quorum {
    /// What a node is. One that comes with a new disk may be twice in it: then what it has the most right to.
    pub(super) fn role(&self, id: i32) -> Option<Role> {
        self.members.iter().find(|member| member.id == id).map(|member| member.role)
    }
}

/// Asks for the quorum of the metadata log.
pub(super) async fn describe(client: &Client) -> Result<Quorum, CliError> {
    let what = "the quorum does not tell of itself";
    let partitions = vec![DescribeQuorumRequestPartitionData { partition_index: 0 }];
    let topic_name = "__cluster_metadata".to_owned();
    let request =
        DescribeQuorumRequest { topics: vec![DescribeQuorumRequestTopicData { topic_name, partitions }] };
    let answer = client.send(&request).await.map_err(|error| CliError::call(what, &error))?;
    accept(what, answer.error_code, answer.error_message)?;
    let addresses = answer.nodes.into_iter().map(|node| (node.node_id, node.listeners)).collect();
    let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or_else(|| CliError::new(format!("{what}: the answer is empty")))?;
    accept(what, partition.error_code, partition.error_message.clone())?;
    Ok(quorum(&partition, addresses))
}

fn quorum(
    partition: &DescribeQuorumResponsePartitionData,
    addresses: Vec<(i32, Vec<highwater_protocol::messages::Listener>)>,
) -> Quorum {
    let voters = partition.current_voters.iter().map(|state| (state, Role::Voter));
    let observers = partition.observers.iter().map(|state| (state, Role::Observer));
    let end = partition.current_voters.iter().find(|state| state.replica_id == partition.leader_id);
    let end = end.map_or(partition.high_watermark, |state| state.log_end_offset);
    let member = |(state, role): (&DescribeQuorumResponseReplicaState, Role)| Member {
        id: state.replica_id,
        directory_id: state.replica_directory_id,
        role: if state.replica_id == partition.leader_id && role == Role::Voter {
            Role::Leader
        } else {
            role
        },
        log_end_offset: state.log_end_offset,
        lag: (end - state.log_end_offset).max(0),
        caught_up_ms: Some(state.last_caught_up_timestamp).filter(|ms| *ms >= 0),
    };
    Quorum {
        leader: Some(partition.leader_id).filter(|id| *id >= 0),
        epoch: partition.leader_epoch,
        high_watermark: partition.high_watermark,
        members: voters.chain(observers).map(member).collect(),
        addresses,
    }
}

/// Shows the quorum.
pub(super) fn run(args: &QuorumArgs, output: Output) -> Result<(), CliError> {
    let quorum = args.connect.run(|client| async move { describe(&client).await })?;
    output.print(&quorum, human)
}

fn human(quorum: &Quorum) -> String {
    let mut table = table(["NODE", "ROLE", "LOG END", "LAG", "DIRECTORY"]);
    align_right(&mut table, &[0, 2, 3]);
    for member in &quorum.members {
        table.add_row([
            member.id.to_string(),
            member.role.name().to_owned(),
            member.log_end_offset.to_string(),
            member.lag.to_string(),
            member.directory_id.to_string(),
        ]);
    }
    let leader = quorum.leader.map_or_else(|| "no leader".to_owned(), |id| format!("leader: node {id}"));
    format!("{leader}, epoch {}, committed up to {}\n{}", quorum.epoch, quorum.high_watermark, text(&table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_behind_the_leader() {
        let state = |replica_id, log_end_offset| DescribeQuorumResponseReplicaState {
            replica_id,
            log_end_offset,
            ..Default::default()
        };
        let partition = DescribeQuorumResponsePartitionData {
            leader_id: 2,
            leader_epoch: 7,
            high_watermark: 90,
            current_voters: vec![state(1, 80), state(2, 100)],
            observers: vec![state(3, 100)],
            ..Default::default()
        };
        let quorum = quorum(&partition, Vec::new());
        let lags: Vec<_> = quorum.members.iter().map(|m| (m.id, m.role, m.lag)).collect();
        assert_eq!(lags, [(1, Role::Voter, 20), (2, Role::Leader, 0), (3, Role::Observer, 0)]);
        assert_eq!(quorum.role(4), None);
        assert!(human(&quorum).starts_with("leader: node 2, epoch 7, committed up to 90\n"));
    }
}
