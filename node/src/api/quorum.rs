//! DescribeQuorum (55), AddRaftVoter (80), RemoveRaftVoter (81): the metadata quorum as operators see and change it
//! (KIP-595, KIP-853). Served by the active controller, to which every other node forwards them.

use super::Call;
use crate::node::Node;
use highwater_core::ids::{BrokerId, DirectoryId};
use highwater_core::metadata::{Endpoint, METADATA_TOPIC};
use highwater_core::quorum::{QuorumStatus, ReplicaStatus, Voter, VoterChangeError, VoterSet};
use highwater_core::time::{Instant, Now};
use highwater_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeQuorumResponsePartitionData, DescribeQuorumResponseReplicaState, DescribeQuorumResponseTopicData,
    Listener, Node as QuorumNode, RemoveRaftVoterRequest, RemoveRaftVoterResponse,
};
use highwater_protocol::{ErrorCode, Uuid};
use std::time::Duration;

/// Serves DescribeQuorum. There is one topic to ask for, and it has one partition.
pub(super) fn describe(call: Call<'_>, request: &DescribeQuorumRequest) {
    let node = call.node;
    let Some(status) = node.controller().status() else {
        return call.responder.refuse("the metadata log has failed");
    };
    let now = node.clock().now();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let is_it = topic.topic_name == METADATA_TOPIC && partition.partition_index == 0;
            match is_it {
                true => partition_of(&status, now),
                false => DescribeQuorumResponsePartitionData {
                    partition_index: partition.partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition,
                    ..Default::default()
                },
            }
        });
        DescribeQuorumResponseTopicData {
            topic_name: topic.topic_name.clone(),
            partitions: partitions.collect(),
        }
    });
    let response = DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: nodes(&node.controller().voters()),
        ..Default::default()
    };
    call.responder.send(&response);
}

fn partition_of(status: &QuorumStatus, now: Now) -> DescribeQuorumResponsePartitionData {
    let replicas = |found: &[ReplicaStatus]| found.iter().map(|replica| replica_of(replica, now)).collect();
    DescribeQuorumResponsePartitionData {
        partition_index: 0,
        leader_id: status.leader.map_or(-1, |leader| leader.id.0),
        leader_epoch: status.epoch.0,
        high_watermark: status.high_watermark.0,
        current_voters: replicas(&status.voters),
        observers: replicas(&status.observers),
        ..Default::default()
    }
}

fn replica_of(status: &ReplicaStatus, now: Now) -> DescribeQuorumResponseReplicaState {
    let wall = |at: Option<Instant>| {
        at.map_or(-1, |at| {
            let ago = i64::try_from(now.mono.since(at).as_millis()).unwrap_or(i64::MAX);
            now.wall.minus_ms(ago).0
        })
    };
    DescribeQuorumResponseReplicaState {
        replica_id: status.replica.id.0,
        replica_directory_id: Uuid(status.replica.directory_id.0),
        log_end_offset: status.log_end.map_or(-1, |end| end.0),
        last_fetch_timestamp: wall(status.fetched_at),
        last_caught_up_timestamp: wall(status.caught_up_at),
    }
}

fn nodes(voters: &VoterSet) -> Vec<QuorumNode> {
    let listener = |endpoint: &Endpoint| Listener {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
    };
    let node = |(id, voter): (BrokerId, &Voter)| QuorumNode {
        node_id: id.0,
        listeners: voter.endpoints.iter().map(listener).collect(),
    };
    voters.iter().map(node).collect()
}

/// Why voters stay as they are, in Kafka's words.
fn refusal(error: VoterChangeError, id: i32) -> (ErrorCode, String) {
    match error {
        VoterChangeError::NotLeader => {
            (ErrorCode::NotLeaderOrFollower, "another node leads the quorum by now".to_owned())
        }
        VoterChangeError::Busy => (
            ErrorCode::RequestTimedOut,
            "another change of voters is under way, or the quorum has a new leader: try again".to_owned(),
        ),
        VoterChangeError::NotCaughtUp => (
            ErrorCode::RequestTimedOut,
            format!(
                "node {id} with this directory id has not caught up with the metadata log in time: is it started?"
            ),
        ),
        VoterChangeError::Duplicate => (ErrorCode::DuplicateVoter, format!("node {id} is a voter already")),
        VoterChangeError::Unknown => {
            (ErrorCode::VoterNotFound, format!("no voter has the id {id} and this directory id"))
        }
        // Kafka finds no set of voters without it.
        VoterChangeError::LastVoter => {
            (ErrorCode::VoterNotFound, format!("node {id} is the last voter and cannot be removed"))
        }
    }
}

/// The other cluster that a request is meant for, if it is.
fn is_foreign(node: &Node, cluster_id: Option<&String>) -> bool {
    cluster_id.is_some_and(|asked| node.image().cluster_id().is_some_and(|own| own != asked))
}

/// Whether id and directory can be those of a voter.
fn is_voter_key(id: i32, directory_id: Uuid) -> bool {
    id >= 0 && directory_id != Uuid::default()
}

/// How long a new voter may take to catch up: what the request allows, but not until a forwarded request is given up.
fn wait_max(node: &Node, timeout_ms: i32) -> Duration {
    let forwarded_ms = node.broker_config().request_timeout_ms / 5 * 4;
    Duration::from_millis(u64::try_from(timeout_ms.min(forwarded_ms)).unwrap_or(0))
}

/// Serves AddRaftVoter. Listeners that are not given are those with which the node has registered. The new voter is
/// waited for until it has caught up, or the request's time is over.
pub(super) fn add_voter(call: Call<'_>, request: AddRaftVoterRequest) {
    let responder = call.responder;
    let refuse = |error_code, message: Option<String>| AddRaftVoterResponse {
        error_code,
        error_message: message,
        ..Default::default()
    };
    if is_foreign(call.node, request.cluster_id.as_ref()) {
        return responder.send(&refuse(ErrorCode::InconsistentClusterId, None));
    }
    let id = request.voter_id;
    if !is_voter_key(id, request.voter_directory_id) {
        let message = "a voter has an id of 0 or above, and the id of its directory".to_owned();
        return responder.send(&refuse(ErrorCode::InvalidRequest, Some(message)));
    }
    let given = request.listeners.into_iter().map(|listener| Endpoint {
        listener: listener.name,
        host: listener.host,
        port: listener.port,
    });
    let image = call.node.image();
    let observes_only = image.broker(BrokerId(id)).is_some_and(|registration| {
        registration.features.iter().any(|feature| feature.name == crate::features::OBSERVES_ONLY)
    });
    if observes_only {
        let message = format!("node {id} does not play the role of a controller (process.roles)");
        return responder.send(&refuse(ErrorCode::InvalidRequest, Some(message)));
    }
    let registered = image
        .broker(BrokerId(id))
        .and_then(|registration| registration.endpoint(highwater_core::transport::PEER_LISTENER).cloned());
    let endpoints: Vec<Endpoint> = registered.map_or_else(|| given.collect(), |endpoint| vec![endpoint]);
    if endpoints.is_empty() {
        let message = format!("node {id} is not registered, so the request must say where it is reached");
        return responder.send(&refuse(ErrorCode::InvalidRequest, Some(message)));
    }
    let wait = wait_max(call.node, request.timeout_ms);
    let voter = Voter { directory_id: DirectoryId(request.voter_directory_id.0), endpoints };
    call.node.controller().add_voter(BrokerId(id), voter, wait, move |result| {
        let response = match result {
            Ok(()) => AddRaftVoterResponse::default(),
            Err(error) => {
                let (error_code, message) = refusal(error, id);
                refuse(error_code, Some(message))
            }
        };
        responder.send(&response);
    });
}

/// Serves RemoveRaftVoter.
pub(super) fn remove_voter(call: Call<'_>, request: &RemoveRaftVoterRequest) {
    let responder = call.responder;
    if is_foreign(call.node, request.cluster_id.as_ref()) {
        let error_code = ErrorCode::InconsistentClusterId;
        return responder.send(&RemoveRaftVoterResponse { error_code, ..Default::default() });
    }
    let id = request.voter_id;
    if !is_voter_key(id, request.voter_directory_id) {
        let error_message = Some("a voter has an id of 0 or above, and the id of its directory".to_owned());
        let error_code = ErrorCode::InvalidRequest;
        return responder.send(&RemoveRaftVoterResponse { error_code, error_message, ..Default::default() });
    }
    let directory_id = DirectoryId(request.voter_directory_id.0);
    call.node.controller().remove_voter(BrokerId(id), directory_id, move |result| {
        let response = match result {
            Ok(()) => RemoveRaftVoterResponse::default(),
            Err(error) => {
                let (error_code, message) = refusal(error, id);
                RemoveRaftVoterResponse { error_code, error_message: Some(message), ..Default::default() }
            }
        };
        responder.send(&response);
    });
}
