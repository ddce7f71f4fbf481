//! Quotas that are not of bytes: handler time (KIP-124) and new connections (KIP-612).

use crate::client::Client;
use crate::harness::{PATIENCE, Serve};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, HeartbeatRequest,
    MetadataRequest, OpData,
};
use std::time::Instant;

/// Sets a quota for the default entity of a type, or removes it.
async fn set_default(client: &Client, entity_type: &str, key: &str, value: Option<f64>) {
    let entity = EntityData { entity_type: entity_type.to_owned(), entity_name: None };
    let op = OpData { key: key.to_owned(), value: value.unwrap_or(0.0), remove: value.is_none() };
    let entry = AlterClientQuotasRequestEntryData { entity: vec![entity], ops: vec![op] };
    let request = AlterClientQuotasRequest { entries: vec![entry], ..Default::default() };
    let answer = client.connection.send(&request).await.unwrap();
    assert_eq!(answer.entries[0].error_code, ErrorCode::None);
}

#[tokio::test]
async fn who_takes_too_much_handler_time_is_throttled_whatever_it_asks() {
    let broker = Serve::ephemeral().args(["--admin", "127.0.0.1:0"]).start();
    let client = Client::connect(broker.address()).await;
    let ask = || async { client.connection.send(&MetadataRequest::default()).await.unwrap() };
    assert_eq!(ask().await.throttle_time_ms, 0, "there is no quota");
    // A millisecond in ten seconds.
    set_default(&client, "client-id", "request_percentage", Some(0.01)).await;
    let deadline = Instant::now() + PATIENCE;
    while ask().await.throttle_time_ms == 0 {
        assert!(Instant::now() < deadline, "nothing is throttled");
    }
    let beat = client.connection.send(&HeartbeatRequest::default()).await.unwrap();
    assert!((1..=1000).contains(&beat.throttle_time_ms), "{beat:?}: a window at the most");
    let (_, page) = broker.page("/metrics");
    assert!(!page.contains("highwater_replies_throttled_total 0\n"), "connections are muted, too\n{page}");
    set_default(&client, "client-id", "request_percentage", None).await;
    assert_eq!(ask().await.throttle_time_ms, 0, "the quota is gone");
    broker.stop_cleanly();
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_kept_out_until_the_quota_goes() {
    let broker = Serve::ephemeral().args(["--admin", "127.0.0.1:0"]).start();
    let client = Client::connect(broker.address()).await;
    set_default(&client, "ip", "connection_creation_rate", Some(1.0)).await;
    let deadline = Instant::now() + PATIENCE;
    while Client::try_connect(broker.address()).await.is_ok() {
        assert!(Instant::now() < deadline, "everybody is let in");
    }
    let (_, page) = broker.page("/metrics");
    assert!(!page.contains("highwater_connections_throttled_total 0\n"), "{page}");
    set_default(&client, "ip", "connection_creation_rate", None).await;
    assert!(Client::try_connect(broker.address()).await.is_ok(), "who is connected stays, others come");
    broker.stop_cleanly();
}

#[tokio::test]
async fn a_limit_of_connections_follows_its_setting_while_the_broker_runs() {
    let broker = Serve::ephemeral().set("max.connections.per.ip=1").start();
    let client = Client::connect(broker.address()).await;
    assert!(Client::try_connect(broker.address()).await.is_err(), "one is there");
    client.set_broker_config("max.connections.per.ip", "2").await;
    let deadline = Instant::now() + PATIENCE;
    while Client::try_connect(broker.address()).await.is_err() {
        assert!(Instant::now() < deadline, "the limit stays");
    }
    broker.stop_cleanly();
}
