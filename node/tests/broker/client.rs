//! What these stories ask of a broker, over its real protocol.

use crate::harness::PATIENCE;
use bytes::Bytes;
use highwater_core::batch::{self, BatchHeader, Builder, Codec};
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::{ClientError, ClientOptions, Connection, TcpDial};
use highwater_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DescribeConfigsRequest,
    DescribeConfigsResource, FetchPartition, FetchRequest, FetchTopic, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestAlterableConfig,
    IncrementalAlterConfigsRequestResource, JoinGroupRequest, JoinGroupRequestProtocol, MetadataRequest,
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, PartitionData, PartitionProduceData,
    PartitionProduceResponse, ProduceRequest, SyncGroupRequest, SyncGroupRequestAssignment, TopicProduceData,
};
use highwater_protocol::{ErrorCode, Request};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The newest versions that name topics by name.
pub(crate) const PRODUCE_VERSION: i16 = 12;
pub(crate) const FETCH_VERSION: i16 = 12;
const OFFSET_VERSION: i16 = 9;

/// A connection to one broker.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) connection: Connection,
}

/// A member's place in a group.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) group: String,
    pub(crate) member_id: String,
    pub(crate) generation: i32,
}

impl Client {
    /// Connects, or says why not.
    pub(crate) async fn try_connect(address: SocketAddr) -> Result<Self, ClientError> {
        let (host, port) = (address.ip().to_string(), address.port());
        let connection =
            Connection::connect(&TcpDial::default(), &host, port, ClientOptions::default()).await?;
        Ok(Self { connection })
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("the broker takes connections")
    }

    async fn send<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.connection.send(request).await
    }

    async fn send_in<R: Request>(&self, request: &R, version: i16) -> Result<R::Response, ClientError> {
        self.connection.begin_in(request, version).await?.answer().await
    }

    pub(crate) async fn try_create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
        };
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        match self.send(&request).await?.topics.first().expect("one answer").error_code {
            ErrorCode::None => Ok(()),
            code => Err(ClientError::kafka(code)),
        }
    }

    pub(crate) async fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.try_create_topic(name, partitions, configs).await.expect("the topic is created");
    }

    /// The names of all topics with their partition counts, internal ones left out.
    pub(crate) async fn topics(&self) -> BTreeMap<String, usize> {
        let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
        let answer = self.send(&request).await.expect("metadata");
        let own = answer.topics.into_iter().filter(|topic| !topic.is_internal);
        own.map(|topic| (topic.name.expect("asked by name"), topic.partitions.len())).collect()
    }

    /// Sets a setting of all brokers.
    pub(crate) async fn set_broker_config(&self, name: &str, value: &str) {
        let config = IncrementalAlterConfigsRequestAlterableConfig {
            name: name.to_owned(),
            config_operation: 0,
            value: Some(value.to_owned()),
        };
        let resource = IncrementalAlterConfigsRequestResource {
            resource_type: 4,
            resource_name: String::new(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer = self.send(&request).await.expect("an answer");
        assert_eq!(answer.responses[0].error_code, ErrorCode::None);
    }

    /// A topic's setting.
    pub(crate) async fn topic_config(&self, topic: &str, key: &str) -> Option<String> {
        self.config(2, topic, key).await
    }

    /// A broker's setting.
    pub(crate) async fn broker_config(&self, broker: &str, key: &str) -> Option<String> {
        self.config(4, broker, key).await
    }

    async fn config(&self, resource_type: i8, resource: &str, key: &str) -> Option<String> {
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name: resource.to_owned(),
            configuration_keys: Some(vec![key.to_owned()]),
        };
        let request =
            DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        let answer = self.send(&request).await.expect("configs");
        let configs = &answer.results.first().expect("one answer").configs;
        configs.iter().find(|config| config.name == key).and_then(|config| config.value.clone())
    }

    /// Appends a batch with acks=all and answers what the broker said of it.
    pub(crate) async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<PartitionProduceResponse, ClientError> {
        let request = produce_request(topic, partition, batch);
        let answer = self.send_in(&request, PRODUCE_VERSION).await?;
        Ok(answer.responses[0].partition_responses[0].clone())
    }

    /// Appends values as one batch; answers its base offset or the refusal.
    pub(crate) async fn append(
        &self,
        topic: &str,
        partition: i32,
        values: &[&[u8]],
    ) -> Result<i64, ErrorCode> {
        let answer = self.produce(topic, partition, batch_of(values)).await.expect("an answer");
        if answer.error_code == ErrorCode::None { Ok(answer.base_offset) } else { Err(answer.error_code) }
    }

    /// What a partition holds from `offset` on, as much as one answer takes.
    pub(crate) async fn fetch(&self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let asked = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 8 << 20,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            topics: vec![FetchTopic {
                topic: topic.to_owned(),
                partitions: vec![asked],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let answer = self.send_in(&request, FETCH_VERSION).await.expect("an answer to a fetch");
        answer.responses[0].partitions[0].clone()
    }

    /// Every record of a partition, in order, as (offset, value).
    pub(crate) async fn read_all(&self, topic: &str, partition: i32) -> Vec<(i64, Bytes)> {
        let mut found = Vec::new();
        let mut next = 0;
        loop {
            let data = self.fetch(topic, partition, next).await;
            assert_eq!(data.error_code, ErrorCode::None, "{topic}-{partition} from {next}");
            if next >= data.high_watermark {
                return found;
            }
            let mut rest = data.records.unwrap_or_default();
            while let Ok(header) = BatchHeader::parse(&rest)
                && header.size_bytes() <= rest.len()
            {
                assert!(batch::crc_holds(&rest[..header.size_bytes()]), "{topic}-{partition} at {next}");
                for record in batch::records(&rest).expect("a batch that was stored") {
                    let record = record.expect("a record that was stored");
                    if record.offset.0 >= next {
                        found.push((record.offset.0, record.value.expect("no tombstones here")));
                    }
                }
                next = header.next_offset().0;
                rest = rest.slice(header.size_bytes()..);
            }
        }
    }

    /// Joins a group that has no other member.
    pub(crate) async fn join(&self, group: &str) -> Membership {
        let request =
            FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
        patiently("a coordinator", || async {
            let answer = self.send(&request).await?;
            accept(answer.coordinators[0].error_code)
        })
        .await;
        let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::new() };
        let mut join = JoinGroupRequest {
            group_id: group.to_owned(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 45_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        loop {
            let joined = patiently("to join", || async {
                let answer = self.send(&join).await?;
                match answer.error_code {
                    // KIP-394: the first answer only tells the member its id
                    ErrorCode::MemberIdRequired => Ok(answer),
                    code => accept(code).map(|()| answer),
                }
            })
            .await;
            join.member_id.clone_from(&joined.member_id);
            if joined.error_code == ErrorCode::None {
                let member = Membership {
                    group: group.to_owned(),
                    member_id: joined.member_id,
                    generation: joined.generation_id,
                };
                self.sync(&member).await;
                return member;
            }
        }
    }

    async fn sync(&self, member: &Membership) {
        let assignment = SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::from_static(b"everything"),
        };
        let request = SyncGroupRequest {
            group_id: member.group.clone(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: vec![assignment],
            ..SyncGroupRequest::default()
        };
        patiently("to sync", || async { accept(self.send(&request).await?.error_code) }).await;
    }

    /// Commits an offset as a member.
    pub(crate) async fn commit(
        &self,
        member: &Membership,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), ClientError> {
        let committed = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: member.group.clone(),
            generation_id_or_member_epoch: member.generation,
            member_id: member.member_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: vec![committed],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        };
        let answer = self.send_in(&request, OFFSET_VERSION).await?;
        accept(answer.topics[0].partitions[0].error_code)
    }

    /// A group's committed offset, −1 if it has none.
    pub(crate) async fn committed(&self, group: &str, topic: &str, partition: i32) -> i64 {
        let topic = OffsetFetchRequestTopics {
            name: topic.to_owned(),
            partition_indexes: vec![partition],
            ..OffsetFetchRequestTopics::default()
        };
        let asked = OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics: Some(vec![topic]),
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest { groups: vec![asked], ..OffsetFetchRequest::default() };
        patiently("committed offsets", || async {
            let answer = self.send_in(&request, OFFSET_VERSION).await?;
            accept(answer.groups[0].error_code)?;
            Ok(answer.groups[0].topics[0].partitions[0].committed_offset)
        })
        .await
    }
}

fn accept(code: ErrorCode) -> Result<(), ClientError> {
    if code == ErrorCode::None { Ok(()) } else { Err(ClientError::kafka(code)) }
}

/// Repeats a call as long as the broker asks for that.
async fn patiently<T, F: Future<Output = Result<T, ClientError>>>(
    what: &str,
    mut call: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(ClientError::Kafka(code, _)) if code.is_retriable() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

/// Values as a batch of a producer without id.
pub(crate) fn batch_of(values: &[&[u8]]) -> Bytes {
    let mut builder = Builder::new(Codec::None);
    for value in values {
        builder.push(Timestamp(1_700_000_000_000), None, Some(value), &[]);
    }
    builder.build().bytes().clone()
}

pub(crate) fn produce_request(topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData { index: partition, records: Some(batch) }],
            ..TopicProduceData::default()
        }],
    }
}
