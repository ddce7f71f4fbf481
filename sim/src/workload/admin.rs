//! What an operator does meanwhile: topics come and go, records are deleted, settings change.

use super::reading::{EARLIEST, list_offset};
use crate::client::{Client, To, TopicInfo};
use highwater_core::batch::{Builder, Codec};
use highwater_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest,
    DeleteRecordsTopic, DeleteTopicState, DeleteTopicsRequest, FetchPartition, FetchRequest, FetchTopic,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestAlterableConfig,
    IncrementalAlterConfigsRequestResource, MetadataRequest, MetadataRequestTopic, PartitionProduceData,
    ProduceRequest, TopicProduceData,
};
use highwater_protocol::{ErrorCode, Uuid};

/// The resource type of topics in configuration requests.
const TOPIC_RESOURCE: i8 = 2;

/// Creates a topic, or finds it if an answer was lost.
pub async fn create(
    client: &mut Client,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Option<TopicInfo> {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    });
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: client.world.hosts.len().min(3) as i16,
        configs: configs.collect(),
        ..Default::default()
    };
    create_as(client, topic, partitions).await
}

/// As [`create`], with everything said.
pub async fn create_as(client: &mut Client, topic: CreatableTopic, partitions: i32) -> Option<TopicInfo> {
    let name = topic.name.clone();
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, ..Default::default() };
    while !client.world.is_stopping() {
        let Some(answer) = client.ask(To::Controller, &request).await else { continue };
        let code = answer.topics.first().map_or(ErrorCode::UnknownServerError, |t| t.error_code);
        client.note(format_args!("create {name}: {code}"));
        match code {
            ErrorCode::None | ErrorCode::TopicAlreadyExists => break,
            _ => client.pause().await,
        }
    }
    find(client, &name, partitions).await
}

async fn find(client: &mut Client, name: &str, partitions: i32) -> Option<TopicInfo> {
    let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
    let request =
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() };
    while !client.world.is_stopping() {
        let Some(answer) = client.ask(To::Any, &request).await else { continue };
        if let Some(found) = answer.topics.first().filter(|t| !t.error_code.is_error()) {
            return Some(TopicInfo { name: name.to_owned(), id: found.topic_id, partitions });
        }
        client.pause().await;
    }
    None
}

/// Asks for a group's coordinator until there is one: the first to ask makes the internal topic.
pub async fn find_coordinator(client: &mut Client, group: &str) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
    while !client.world.is_stopping() {
        let answer = client.ask(To::Any, &request).await;
        let code = answer.as_ref().and_then(|a| a.coordinators.first()).map(|c| c.error_code);
        client.note(format_args!("coordinator of {group}: {code:?}"));
        if code == Some(ErrorCode::None) {
            return;
        }
        client.pause().await;
    }
}

/// An operator.
#[derive(Debug)]
pub struct Operator {
    client: Client,
    topic: TopicInfo,
    round: u64,
    /// Of a thousand rounds, in so many something is done.
    acts_permille: u32,
}

impl Operator {
    /// An operator that works on a topic of the other clients, and on one of its own.
    pub const fn new(client: Client, topic: TopicInfo) -> Self {
        Self { client, topic, round: 0, acts_permille: 1000 }
    }

    /// One who lets most rounds pass: of a thousand, all but so many.
    #[must_use]
    pub fn rarely(self, acts_permille: u32) -> Self {
        Self { acts_permille, ..self }
    }

    /// Works until the run stops.
    pub async fn run(mut self) {
        while !self.client.world.is_stopping() {
            if self.acts_permille == 1000 || self.client.rng.happens(self.acts_permille) {
                self.act().await;
            }
            self.client.rest(20, 300).await;
        }
    }

    async fn act(&mut self) {
        self.round += 1;
        match self.client.rng.below(4) {
            0 => self.delete_records().await,
            1 => self.configure().await,
            _ => {
                // Nobody to tell: a lost answer ends the round, and the next goes on from what is there.
                let _ = self.come_and_go().await;
            }
        }
    }

    async fn delete_records(&mut self) {
        let partition = self.client.rng.below(self.topic.partitions as u64) as i32;
        let (offset, losses) = {
            let mut history = self.client.world.history();
            let known = history.partition(self.topic.key(partition));
            let offset = self
                .client
                .rng
                .within(known.removable_before as u64, known.latest.max(known.removable_before) as u64)
                as i64;
            known.removable_before = offset;
            (offset, history.losses)
        };
        let partitions = vec![DeleteRecordsPartition { partition_index: partition, offset }];
        let topics = vec![DeleteRecordsTopic { name: self.topic.name.clone(), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 2000 };
        let leader = To::Leader(self.topic.key(partition));
        let Some(answer) = self.client.ask(leader, &request).await else { return };
        let code = answer.topics.first().and_then(|t| Some(t.partitions.first()?.error_code));
        self.client.heed(code.unwrap_or_default());
        self.client.note(format_args!("delete records {partition} before {offset}: {code:?}"));
        if code == Some(ErrorCode::None) {
            self.removed(partition, offset, losses);
            self.look_at_start(partition, offset, losses).await;
        }
        self.done(code);
    }

    fn removed(&self, partition: i32, before: i64, losses: u64) {
        let mut history = self.client.world.history();
        if history.losses == losses {
            let known = history.partition(self.topic.key(partition));
            known.removed_before = known.removed_before.max(before);
        }
    }

    /// The request named no leader epoch, so in which one it was answered is seen only now.
    async fn look_at_start(&mut self, partition: i32, removed_before: i64, losses: u64) {
        let Some(start) = list_offset(&mut self.client, &self.topic, partition, EARLIEST).await else {
            return;
        };
        let mut history = self.client.world.history();
        if history.losses == losses && start.offset >= removed_before {
            history.partition(self.topic.key(partition)).told_removed(start.leader_epoch, removed_before);
        }
    }

    async fn configure(&mut self) {
        let (name, value) = *self.client.rng.pick(&[
            ("segment.bytes", "1024"),
            ("segment.bytes", "3000"),
            ("flush.messages", "1"),
            ("flush.messages", "7"),
            ("segment.ms", "200"),
            ("segment.ms", "60000"),
            ("index.interval.bytes", "0"),
            ("index.interval.bytes", "500"),
        ]);
        let config = IncrementalAlterConfigsRequestAlterableConfig {
            name: name.to_owned(),
            config_operation: 0,
            value: Some(value.to_owned()),
        };
        let resource = IncrementalAlterConfigsRequestResource {
            resource_type: TOPIC_RESOURCE,
            resource_name: self.topic.name.clone(),
            configs: vec![config],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let Some(answer) = self.client.ask(To::Controller, &request).await else { return };
        let code = answer.responses.first().map(|r| r.error_code);
        self.client.note(format_args!("set {name}={value}: {code:?}"));
        self.done(code);
    }

    fn done(&self, code: Option<ErrorCode>) {
        if code == Some(ErrorCode::None) {
            self.client.world.history().totals.admin += 1;
        }
    }

    /// A topic of the operator's own is made, written, read and removed, again and again under one name (O12).
    async fn come_and_go(&mut self) -> Option<()> {
        let topic = create(&mut self.client, "comes-and-goes", 1, &[]).await?;
        let value = format!("round {}", self.round);
        let losses = self.client.world.history().losses;
        self.write(&topic, &value).await?;
        self.read(&topic, losses, &value).await?;
        self.delete(&topic).await
    }

    async fn write(&mut self, topic: &TopicInfo, value: &str) -> Option<()> {
        let mut builder = Builder::new(Codec::None);
        builder.push(highwater::clock::Clock::wall(), None, Some(value.as_bytes()), &[]);
        // Whatever else lies in this topic is of another one of its name (O12, O17).
        self.client.world.history().sends(topic, value);
        let records = Some(builder.build().bytes().clone());
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 2000,
            topic_data: vec![TopicProduceData {
                name: topic.name.clone(),
                topic_id: topic.id,
                partition_data: vec![PartitionProduceData { index: 0, records }],
            }],
            ..Default::default()
        };
        let answer = self.client.ask(To::Leader(topic.key(0)), &request).await?;
        let answer = answer.responses.first()?.partition_responses.first()?;
        self.client.heed(answer.error_code);
        (answer.error_code == ErrorCode::None).then_some(())
    }

    async fn read(&mut self, topic: &TopicInfo, losses: u64, value: &str) -> Option<()> {
        let partition =
            FetchPartition { fetch_offset: 0, partition_max_bytes: 1 << 20, ..Default::default() };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        let answer = self.client.ask(To::Leader(topic.key(0)), &request).await?;
        let data = answer.responses.first()?.partitions.first()?;
        // A leader that has just been elected may not know yet what is committed.
        if data.error_code.is_error() || data.high_watermark <= 0 {
            self.client.heed(data.error_code);
            return None;
        }
        let records = data.records.clone().unwrap_or_default();
        let is_there = records.windows(value.len()).any(|window| window == value.as_bytes());
        let mut history = self.client.world.history();
        if history.losses == losses && !is_there {
            let bytes = records.len();
            history.complain(
                "O1",
                format_args!("{value} was acknowledged by {} and is not among {bytes} bytes", topic.name),
            );
        }
        Some(())
    }

    async fn delete(&mut self, topic: &TopicInfo) -> Option<()> {
        let state = DeleteTopicState { name: None, topic_id: topic.id };
        let request = DeleteTopicsRequest { topics: vec![state], timeout_ms: 2000, ..Default::default() };
        let answer = self.client.ask(To::Controller, &request).await?;
        let code = answer.responses.first().map(|r| r.error_code);
        self.client.note(format_args!("delete {}: {code:?}", topic.name));
        self.done(code);
        if code == Some(ErrorCode::None) {
            self.is_gone(topic.id).await?;
        }
        Some(())
    }

    /// O12: a topic whose deletion was acknowledged is never there again. Other brokers hear of it a little later.
    async fn is_gone(&mut self, id: Uuid) -> Option<()> {
        if self.client.world.hosts.len() > 1 {
            return Some(());
        }
        let topic = MetadataRequestTopic { topic_id: id, name: None };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let answer = self.client.ask(To::Any, &request).await?;
        if answer.topics.first()?.error_code == ErrorCode::None {
            self.client.world.history().complain("O12", "a topic is there after its deletion");
        }
        Some(())
    }
}
