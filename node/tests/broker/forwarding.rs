//! Requests that another node carries to the active controller: there the client counts as who it is.

use crate::harness::{PATIENCE, Serve};
use crate::quorum::done;
use highwater_net_tcp::client::{ClientOptions, Connection, TcpDial};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, CreatableTopic, CreateTopicsRequest,
    EntityData, OpData,
};
use std::net::SocketAddr;
use std::time::Instant;

async fn connect(address: SocketAddr, client_id: &str) -> Connection {
    let options = ClientOptions { client_id: client_id.to_owned(), ..ClientOptions::default() };
    Connection::connect(&TcpDial::default(), &address.ip().to_string(), address.port(), options)
        .await
        .expect("the broker takes connections")
}

/// Gives a client's name of one user a quota of partitions a second.
async fn limit(connection: &Connection, user: &str, client_id: &str) {
    let entity = |entity_type: &str, name: &str| EntityData {
        entity_type: entity_type.to_owned(),
        entity_name: Some(name.to_owned()),
    };
    let op = OpData { key: "controller_mutation_rate".to_owned(), value: 0.1, remove: false };
    let entity = vec![entity("user", user), entity("client-id", client_id)];
    let entry = AlterClientQuotasRequestEntryData { entity, ops: vec![op] };
    let request = AlterClientQuotasRequest { entries: vec![entry], ..Default::default() };
    let answer = connection.send(&request).await.expect("an answer");
    assert_eq!(answer.entries[0].error_code, ErrorCode::None);
}

async fn create(connection: &Connection, name: String) -> ErrorCode {
    let topic =
        CreatableTopic { name, num_partitions: 5, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    connection.send(&request).await.expect("an answer").topics[0].error_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_client_is_held_to_its_own_mutation_quota() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let one = Serve::at(dirs[0].path()).start();
    let controllers = format!("1@{}", one.told("peer").expect("a peer listener"));
    let words = ["--node-id", "2", "--initial-controllers", &controllers];
    let two = Serve::at(dirs[1].path()).args(words).start();
    assert!(done(&two, &["cluster", "nodes"]).contains("2 "));

    let (busy, calm) = (connect(two.address(), "busy").await, connect(two.address(), "calm").await);
    limit(&busy, "ANONYMOUS", "busy").await;
    let deadline = Instant::now() + PATIENCE;
    let mut n = 0;
    loop {
        n += 1;
        match create(&busy, format!("busy-{n}")).await {
            ErrorCode::None => assert!(Instant::now() < deadline, "nobody is held back"),
            code => break assert_eq!(code, ErrorCode::ThrottlingQuotaExceeded),
        }
    }
    for n in 0..4 {
        assert_eq!(create(&calm, format!("calm-{n}")).await, ErrorCode::None, "its name has no quota");
    }
    for node in [two, one] {
        node.stop_cleanly();
    }
}
