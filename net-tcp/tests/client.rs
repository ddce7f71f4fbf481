//! The client's connections and its view of a cluster.

#[path = "common/broker.rs"]
mod broker;

use broker::*;
use highwater_core::ids::{BrokerId, LeaderEpoch, PartitionIndex};
use highwater_net_tcp::client::*;
use highwater_net_tcp::*;
use highwater_protocol::messages::*;
use highwater_protocol::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

async fn connect(town: &Town, options: ClientOptions) -> Result<Connection, ClientError> {
    Connection::connect(town, "b1", 9092, options).await
}

fn throttled(ms: i32) -> Option<ResponseBody> {
    Some(HeartbeatResponse { throttle_time_ms: ms, ..Default::default() }.into())
}

#[tokio::test]
async fn requests_are_pipelined_and_each_gets_its_own_answer() {
    let town = Town::build(1, ApiTable::served(), |_, body| match body {
        RequestBody::Heartbeat(request) => throttled(request.generation_id),
        _ => None,
    });
    let connection = connect(&town, ClientOptions::default()).await.unwrap();
    let mut pending = Vec::new();
    for generation_id in 0..50 {
        let request = HeartbeatRequest { generation_id, ..Default::default() };
        pending.push(connection.begin(&request).await.unwrap());
    }
    for (generation, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.answer().await.unwrap().throttle_time_ms, generation as i32);
    }
}

#[tokio::test]
async fn versions_are_those_that_both_speak() {
    let range = |api_key: ApiKey, version_max, flexible_min| ApiRange {
        api_key: api_key.code(),
        version_min: 0,
        version_max,
        advertised_min: 0,
        flexible_min,
    };
    // An old broker: it does not know the version of ApiVersions that the client asks in first.
    let table = ApiTable::new([range(ApiKey::ApiVersions, 2, 3), range(ApiKey::Heartbeat, 2, 4)]);
    let town = Town::build(1, table, |_, _| throttled(1));
    let connection = connect(&town, ClientOptions::default()).await.unwrap();
    assert_eq!(connection.version::<HeartbeatRequest>(), Ok(2));
    assert_eq!(connection.version::<MetadataRequest>(), Err(ClientError::UnsupportedApi(ApiKey::Metadata)));
    assert_eq!(connection.send(&HeartbeatRequest::default()).await.unwrap().throttle_time_ms, 1);
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_the_connection() {
    let town = Town::build(1, ApiTable::served(), |_, _| None);
    let options = ClientOptions { request_max: Duration::from_millis(50), ..ClientOptions::default() };
    let connection = connect(&town, options).await.unwrap();
    let other = connection.begin(&HeartbeatRequest::default()).await.unwrap();
    let late = connection.send(&HeartbeatRequest::default()).await;
    assert_eq!(late.unwrap_err(), ClientError::TimedOut);
    assert!(other.answer().await.unwrap_err().is_indeterminate());
    while !connection.is_closed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.send(&HeartbeatRequest::default()).await.unwrap_err(), ClientError::Closed);
}

#[tokio::test]
async fn only_so_many_requests_are_under_way() {
    let town = Town::build(1, ApiTable::served(), |_, _| None);
    let options = ClientOptions {
        requests_in_flight_max: 3,
        request_max: Duration::from_millis(100),
        ..ClientOptions::default()
    };
    let connection = connect(&town, options).await.unwrap();
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(connection.begin(&HeartbeatRequest::default()).await.unwrap());
    }
    let fourth = connection.begin(&HeartbeatRequest::default()).await;
    assert_eq!(fourth.unwrap_err(), ClientError::TimedOut);
    assert_eq!(town.count(1, ApiKey::Heartbeat), 3);
}

#[tokio::test]
async fn the_cluster_routes_to_leaders_and_learns_of_new_ones() {
    let moved = Arc::new(AtomicUsize::new(0));
    let town = Town::build(2, ApiTable::served(), {
        let moved = moved.clone();
        move |node_id, body| match body {
            RequestBody::Metadata(_) => {
                let leaders = if moved.load(Relaxed) == 0 { [1, 2] } else { [2, 1] };
                Some(metadata(2, &leaders).into())
            }
            RequestBody::Heartbeat(_) => throttled(node_id),
            _ => None,
        }
    });
    let cluster = town.cluster("nowhere:1,b1:9092");
    let leader = |partition| cluster.leader("t", PartitionIndex(partition));
    assert_eq!(leader(0).await, Ok((BrokerId(1), LeaderEpoch(5))));
    let (second, _) = leader(1).await.unwrap();
    let answer = cluster.send_to(second, &HeartbeatRequest::default()).await.unwrap();
    assert_eq!(answer.throttle_time_ms, 2);
    moved.store(1, Relaxed);
    assert_eq!(leader(0).await.unwrap().0, BrokerId(1), "nobody said that it moved");
    cluster.forget("t");
    assert_eq!(leader(0).await.unwrap().0, BrokerId(2));
    assert_eq!(cluster.topic_name(Uuid([7; 16])), Some("t".into()));
    assert_eq!(cluster.cluster_id(), Some("town".into()));
    let missing = leader(2).await.unwrap_err();
    assert_eq!(missing, ClientError::kafka(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_told() {
    let asked = Arc::new(AtomicUsize::new(0));
    let town = Town::build(1, ApiTable::served(), {
        let asked = asked.clone();
        move |_, body| match body {
            RequestBody::Metadata(_) if asked.fetch_add(1, Relaxed) < 3 => Some(metadata(1, &[1, -1]).into()),
            RequestBody::Metadata(_) => Some(metadata(1, &[1, 1]).into()),
            RequestBody::FindCoordinator(request) => {
                let error_code = match request.coordinator_keys[0].as_str() {
                    "slow" if asked.fetch_add(1, Relaxed) < 8 => ErrorCode::CoordinatorNotAvailable,
                    "bad" => ErrorCode::InvalidGroupId,
                    _ => ErrorCode::None,
                };
                let found = Coordinator {
                    node_id: 1,
                    host: "b1".into(),
                    port: 9092,
                    error_code,
                    ..Default::default()
                };
                Some(FindCoordinatorResponse { coordinators: vec![found], ..Default::default() }.into())
            }
            _ => None,
        }
    });
    let cluster = town.cluster("b1:9092");
    assert_eq!(cluster.topic("t").await.unwrap().partitions.len(), 2);
    assert_eq!(asked.load(Relaxed), 4, "asked until every partition had a leader");
    assert_eq!(cluster.coordinator("slow").await, Ok(BrokerId(1)));
    let refused = cluster.coordinator("bad").await.unwrap_err();
    assert_eq!(refused, ClientError::kafka(ErrorCode::InvalidGroupId));
}

#[tokio::test]
async fn a_connection_that_broke_is_made_again() {
    let town = Town::build(1, ApiTable::served(), |_, body| match body {
        RequestBody::Heartbeat(request) if request.group_id == "die" => panic!("as the test asked"),
        RequestBody::Heartbeat(_) => throttled(1),
        _ => None,
    });
    let cluster = town.cluster("b1:9092");
    cluster.send(&HeartbeatRequest::default()).await.unwrap();
    let fatal = HeartbeatRequest { group_id: "die".into(), ..Default::default() };
    assert_eq!(cluster.any().await.unwrap().send(&fatal).await.unwrap_err(), ClientError::Closed);
    assert_eq!(cluster.send(&HeartbeatRequest::default()).await.unwrap().throttle_time_ms, 1);
    assert_eq!(town.servers[0].counters().snapshot().connections_accepted, 2);
}

#[test]
fn addresses() {
    let parsed = |text| BrokerAddress::parse(text).map(|address| (address.host, address.port));
    assert_eq!(parsed("localhost:9092"), Ok(("localhost".into(), 9092)));
    assert_eq!(parsed(" [::1]:1"), Ok(("::1".into(), 1)));
    for wrong in ["", "host", ":1", "host:", "host:65536", "host:x"] {
        assert_eq!(parsed(wrong), Err(ClientError::Address(wrong.into())));
    }
}

#[tokio::test]
async fn a_controller_that_died_is_waited_for_until_another_is_named() {
    let asked = AtomicUsize::new(0);
    // Broker 3 is the controller at first, and is gone; the others name it until they have elected broker 2.
    let town = Town::build(2, ApiTable::served(), move |_, body| match body {
        RequestBody::Metadata(_) => {
            let controller_id = if asked.fetch_add(1, Relaxed) < 3 { 3 } else { 2 };
            let broker = |n: i32| MetadataResponseBroker {
                node_id: n,
                host: format!("b{n}"),
                port: 9092,
                ..Default::default()
            };
            Some(
                MetadataResponse {
                    controller_id,
                    brokers: (1..=3).map(broker).collect(),
                    ..Default::default()
                }
                .into(),
            )
        }
        RequestBody::Heartbeat(_) => throttled(7),
        _ => None,
    });
    let answer = town.cluster("b1:9092").send_to_controller(&HeartbeatRequest::default()).await;
    assert_eq!(answer.map(|answer| answer.throttle_time_ms), Ok(7));
    assert_eq!((town.count(1, ApiKey::Heartbeat), town.count(2, ApiKey::Heartbeat)), (0, 1));
}
