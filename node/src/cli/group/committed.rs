//! A group over the wire: its state, and its committed offsets.

use super::super::CliError;
use super::super::connect::Client;
use super::super::offsets::Place;
use highwater_net_tcp::client::ClientError;
use highwater_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchResponse,
};
use highwater_protocol::{ErrorCode, Request, Uuid};
use std::collections::BTreeMap;

/// The state of a group that is not there.
pub(super) const DEAD: &str = "Dead";
/// The state of a group without members.
pub(super) const EMPTY: &str = "Empty";

/// Asks the group's coordinator. While another becomes it, or loads what it has to know, whoever it is then is asked
/// again; `codes` are the errors that an answer may tell this by.
pub(super) async fn ask<R: Request + Sync>(
    cluster: &Client,
    group: &str,
    request: &R,
    codes: impl Fn(&R::Response) -> Vec<ErrorCode>,
) -> Result<R::Response, ClientError> {
    let passes = |code: &ErrorCode| {
        use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
        matches!(code, NotCoordinator | CoordinatorLoadInProgress | CoordinatorNotAvailable)
    };
    let ask = || async {
        let answer = cluster.send_to(cluster.coordinator(group).await?, request).await?;
        match codes(&answer).into_iter().find(passes) {
            Some(code) => Err(ClientError::kafka(code)),
            None => Ok(answer),
        }
    };
    cluster.retry(ask).await
}

/// The group as its coordinator sees it. A group that is not there is [`DEAD`].
pub(super) async fn describe(cluster: &Client, group: &str) -> Result<DescribedGroup, CliError> {
    let request = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    let failed = |error: &ClientError| CliError::call(format!("group {group} cannot be described"), error);
    let codes =
        |answer: &DescribeGroupsResponse| answer.groups.iter().map(|group| group.error_code).collect();
    let answer = ask(cluster, group, &request, codes).await.map_err(|error| failed(&error))?;
    let described = answer.groups.into_iter().next().unwrap_or_default();
    match described.error_code {
        ErrorCode::None => Ok(described),
        // Since version 6 (KIP-1043) that is an error.
        ErrorCode::GroupIdNotFound => {
            Ok(DescribedGroup { group_id: group.into(), group_state: DEAD.into(), ..Default::default() })
        }
        code => Err(failed(&ClientError::Kafka(code, described.error_message))),
    }
}

/// All offsets that the group has committed.
pub(super) async fn offsets(cluster: &Client, group: &str) -> Result<BTreeMap<Place, i64>, CliError> {
    let what = format!("the offsets of group {group} cannot be read");
    let of_group = OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest {
        group_id: group.into(),
        topics: None,
        groups: vec![of_group],
        require_stable: false,
    };
    // Before version 8 there is one error for all, since then one per group.
    let codes = |answer: &OffsetFetchResponse| {
        let codes = answer.groups.iter().map(|group| group.error_code);
        codes.chain([answer.error_code]).collect()
    };
    let answer = ask(cluster, group, &request, codes).await;
    let answer = answer.map_err(|error| CliError::call(&what, &error))?;
    if let Some(code) = codes(&answer).into_iter().find(|code: &ErrorCode| code.is_error()) {
        return match code {
            ErrorCode::GroupIdNotFound => Ok(BTreeMap::new()),
            code => Err(CliError::refused(what, code, None)),
        };
    }
    let mut offsets = BTreeMap::new();
    for topic in &answer.topics {
        for p in &topic.partitions {
            offsets.insert(Place::new(&topic.name, p.partition_index), p.committed_offset);
        }
    }
    for topic in answer.groups.iter().flat_map(|group| &group.topics) {
        let name = match topic.name.is_empty() {
            true => topic_name(cluster, topic.topic_id).await?,
            false => topic.name.clone(),
        };
        for p in &topic.partitions {
            offsets.insert(Place::new(&name, p.partition_index), p.committed_offset);
        }
    }
    offsets.retain(|_, offset| *offset >= 0);
    Ok(offsets)
}

/// From version 10 on topics have ids instead of names (KIP-848).
async fn topic_name(cluster: &Client, id: Uuid) -> Result<String, CliError> {
    if cluster.topic_name(id).is_none() {
        let failed = |error| CliError::call("topics cannot be listed", &error);
        cluster.refresh(None).await.map_err(failed)?;
    }
    Ok(cluster.topic_name(id).unwrap_or_else(|| id.to_string()))
}
