//! Produce and Fetch have views and writers of their own; here they are held against the declarations.

use bytes::Bytes;
use highwater_protocol::fetch::{FetchResponseWriter, FetchView};
use highwater_protocol::messages::*;
use highwater_protocol::produce::{ProduceResponseWriter, ProduceView};
use highwater_protocol::topics::TopicRef;
use highwater_protocol::{
    ApiKey, DecodeError, ErrorCode, Message, Reader, ResponseHeader, Uuid, decode_response,
};

const ID: Uuid = Uuid([7; 16]);

fn produce_request(version: i16) -> ProduceRequest {
    let topic = |name: &str, partitions: &[(i32, &'static [u8])]| TopicProduceData {
        name: if version < 13 { name.into() } else { String::new() },
        topic_id: if version < 13 { Uuid::ZERO } else { ID },
        partition_data: partitions
            .iter()
            .map(|(index, records)| PartitionProduceData {
                index: *index,
                records: Some(Bytes::from_static(records)),
            })
            .collect(),
    };
    ProduceRequest {
        transactional_id: Some("tx".into()),
        acks: -1,
        timeout_ms: 1500,
        topic_data: vec![
            topic("a", &[(0, b"zero"), (1, b"")]),
            topic("empty", &[]),
            topic("b", &[(5, b"five")]),
        ],
    }
}

#[test]
fn a_produce_view_sees_what_the_declaration_reads() {
    for version in ProduceRequest::VERSIONS.iter() {
        let request = produce_request(version);
        let frame = request.to_bytes(version).unwrap();
        let mut r = Reader::new(&frame);
        let view = ProduceView::decode(&mut r, version).unwrap();
        assert_eq!(r.remaining(), 0);
        assert_eq!(view.transactional_id.as_deref(), request.transactional_id.as_deref());
        assert_eq!((view.acks, view.timeout_ms, view.topic_count()), (request.acks, request.timeout_ms, 3));
        let seen: Vec<_> = view
            .partitions()
            .map(|p| (p.topic_index, p.topic, p.partition.index, p.partition.records))
            .collect();
        let name = |name: &'static str| if version < 13 { TopicRef::Name(name) } else { TopicRef::Id(ID) };
        let expected = [
            (0, name("a"), 0, Some(Bytes::from_static(b"zero"))),
            (0, name("a"), 1, Some(Bytes::from_static(b""))),
            (2, name("b"), 5, Some(Bytes::from_static(b"five"))),
        ];
        assert_eq!(seen, expected);
        // the records are the frame's own memory
        assert!(frame.as_ptr_range().contains(&seen[2].3.as_ref().unwrap().as_ptr()));
    }
}

#[test]
fn a_cut_produce_request_is_refused() {
    for version in ProduceRequest::VERSIONS.iter() {
        let frame = produce_request(version).to_bytes(version).unwrap();
        for n in 0..frame.len() {
            let cut = frame.slice(..n);
            assert!(
                ProduceView::decode(&mut Reader::new(&cut), version).is_err(),
                "version {version} cut at {n}"
            );
        }
    }
}

#[test]
fn views_refuse_versions_that_are_not_served() {
    let frame = Bytes::from_static(&[0; 64]);
    let unsupported = DecodeError::UnsupportedVersion;
    assert_eq!(ProduceView::decode(&mut Reader::new(&frame), 2), Err(unsupported));
    assert_eq!(FetchView::decode(&mut Reader::new(&frame), 3), Err(unsupported));
}

#[test]
fn a_produce_response_writer_writes_what_the_declaration_reads() {
    for version in ProduceResponse::VERSIONS.iter() {
        let partition = |index| PartitionProduceResponse {
            index,
            error_code: ErrorCode::NotLeaderOrFollower,
            base_offset: -1,
            record_errors: if version >= 8 {
                vec![BatchIndexAndErrorMessage {
                    batch_index: 2,
                    batch_index_error_message: Some("no".into()),
                }]
            } else {
                Vec::new()
            },
            current_leader: if version >= 10 {
                LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 }
            } else {
                LeaderIdAndEpoch::default()
            },
            ..Default::default()
        };
        let endpoints = vec![NodeEndpoint { node_id: 2, host: "h".into(), port: 9, rack: None }];
        let header = ResponseHeader { key: ApiKey::Produce, version, correlation_id: 3 };
        let topic = if version < 13 { TopicRef::Name("a") } else { TopicRef::Id(ID) };

        let mut writer = ProduceResponseWriter::new(header, 2);
        writer.topic(topic, 2);
        writer.partition(&partition(0));
        writer.partition(&partition(1));
        writer.topic(topic, 0);
        let frame = writer.finish(17, &endpoints).unwrap();

        let (_, response) = decode_response::<ProduceRequest>(&frame.slice(4..), version).unwrap();
        assert_eq!(header.frame(&response).unwrap(), frame);
        assert_eq!(response.responses[0].partition_responses, [partition(0), partition(1)]);
        assert_eq!(response.responses.len(), 2);
        assert_eq!(response.throttle_time_ms, 17);
        assert_eq!(response.node_endpoints, if version >= 10 { endpoints } else { Vec::new() });
    }
}

fn fetch_request(version: i16) -> FetchRequest {
    let (name, topic_id) = if version < 13 { ("t", Uuid::ZERO) } else { ("", ID) };
    let mut request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation_level: 1,
        topics: vec![FetchTopic {
            topic: name.into(),
            topic_id,
            partitions: [3, 4]
                .map(|partition| FetchPartition {
                    partition,
                    fetch_offset: 100,
                    partition_max_bytes: 9,
                    ..Default::default()
                })
                .into(),
        }],
        ..Default::default()
    };
    if version >= 7 {
        (request.session_id, request.session_epoch) = (77, 2);
        request.forgotten_topics_data =
            vec![ForgottenTopic { topic: name.into(), topic_id, partitions: vec![8, 9] }];
    }
    if version >= 11 {
        request.rack_id = "rack".into();
    }
    if version >= 12 {
        request.cluster_id = Some("cluster".into());
    }
    match version {
        ..=14 => request.replica_id = 2,
        _ => request.replica_state = ReplicaState { replica_id: 2, replica_epoch: 6 },
    }
    request
}

#[test]
fn a_fetch_view_sees_what_the_declaration_reads() {
    for version in FetchRequest::VERSIONS.iter() {
        let request = fetch_request(version);
        let frame = request.to_bytes(version).unwrap();
        let view = FetchView::decode(&mut Reader::new(&frame), version).unwrap();
        assert_eq!(view.cluster_id.as_deref(), request.cluster_id.as_deref());
        let replica_epoch = if version >= 15 { 6 } else { -1 };
        assert_eq!(view.replica, ReplicaState { replica_id: 2, replica_epoch });
        assert_eq!((view.max_wait_ms, view.min_bytes, view.max_bytes), (500, 1, 1 << 20));
        assert_eq!(view.isolation_level, 1);
        assert_eq!((view.session_id, view.session_epoch), (request.session_id, request.session_epoch));
        assert_eq!(&*view.rack_id, request.rack_id);
        let partitions: Vec<_> = view.partitions().map(|p| p.partition).collect();
        assert_eq!(partitions, request.topics[0].partitions);
        let topic = if version < 13 { TopicRef::Name("t") } else { TopicRef::Id(ID) };
        assert!(view.partitions().all(|p| p.topic == topic));
        let forgotten: Vec<_> = view.forgotten().map(|p| (p.topic, p.partition)).collect();
        let expected = if version >= 7 { vec![(topic, 8), (topic, 9)] } else { Vec::new() };
        assert_eq!(forgotten, expected);
    }
}

#[test]
fn a_cut_fetch_request_is_refused() {
    for version in FetchRequest::VERSIONS.iter() {
        let frame = fetch_request(version).to_bytes(version).unwrap();
        for n in 0..frame.len() {
            let cut = frame.slice(..n);
            assert!(
                FetchView::decode(&mut Reader::new(&cut), version).is_err(),
                "version {version} cut at {n}"
            );
        }
    }
}

#[test]
fn a_fetch_response_writer_writes_what_the_declaration_reads() {
    for version in FetchResponse::VERSIONS.iter() {
        let full = PartitionData {
            partition_index: 1,
            high_watermark: 10,
            last_stable_offset: 9,
            log_start_offset: if version >= 5 { 4 } else { -1 },
            aborted_transactions: Some(vec![AbortedTransaction { producer_id: 1, first_offset: 2 }]),
            preferred_read_replica: if version >= 11 { 3 } else { -1 },
            ..Default::default()
        };
        let moved = PartitionData {
            partition_index: 2,
            error_code: ErrorCode::NotLeaderOrFollower,
            high_watermark: -1,
            current_leader: match version >= 12 {
                true => LeaderIdAndEpoch { leader_id: 2, leader_epoch: 9 },
                false => LeaderIdAndEpoch::default(),
            },
            diverging_epoch: match version >= 12 {
                true => FetchResponseEpochEndOffset { epoch: 1, end_offset: 2 },
                false => FetchResponseEpochEndOffset::default(),
            },
            ..Default::default()
        };
        let endpoints = vec![NodeEndpoint { node_id: 2, host: "h".into(), port: 9, rack: None }];
        let header = ResponseHeader { key: ApiKey::Fetch, version, correlation_id: 3 };
        let topic = if version < 13 { TopicRef::Name("a") } else { TopicRef::Id(ID) };
        let records = [Bytes::from_static(b"prefix"), Bytes::new(), Bytes::from_static(b"batches")];

        let mut writer = FetchResponseWriter::<Bytes>::new(header, 5, ErrorCode::None, 77, 1);
        writer.topic(topic, 2);
        writer.partition(&full, records.clone());
        writer.partition(&moved, []);
        let pieces = writer.finish(&endpoints).unwrap();
        assert_eq!(pieces.len(), 4);
        assert_eq!(pieces[1].as_ptr(), records[0].as_ptr(), "records are passed through");

        let frame = Bytes::from(pieces.concat());
        let (_, response) = decode_response::<FetchRequest>(&frame.slice(4..), version).unwrap();
        assert_eq!(header.frame(&response).unwrap(), frame);
        let with = |data: PartitionData, records: &'static [u8]| PartitionData {
            records: Some(Bytes::from_static(records)),
            ..data
        };
        assert_eq!(response.responses[0].partitions, [with(full, b"prefixbatches"), with(moved, b"")]);
        assert_eq!(response.session_id, if version >= 7 { 77 } else { 0 });
        assert_eq!(response.node_endpoints, if version >= 16 { endpoints } else { Vec::new() });
    }
}
