//! An operator who changes the cluster's shape while everything runs: where replicas lie, who leads, who votes.
//!
//! It is not the [`Operator`](super::admin::Operator) of topics and settings, and draws from a generator of its own: a
//! run without it is the same run. Once the faults are over it only finishes what it began.

use super::admin;
use crate::client::{Client, To, TopicInfo};
use crate::scenario::Reshape;
use highwater_core::batch::{Builder, Codec};
use highwater_protocol::messages::{
    AddRaftVoterRequest, AlterPartitionReassignmentsRequest, CreatableReplicaAssignment, CreatableTopic,
    CreatableTopicConfig, DescribeQuorumRequest, DescribeQuorumRequestPartitionData,
    DescribeQuorumRequestTopicData, DescribeQuorumResponsePartitionData, DescribeQuorumResponseReplicaState,
    ElectLeadersRequest, ElectLeadersRequestTopicPartitions, PartitionProduceData, ProduceRequest,
    ReassignablePartition, ReassignableTopic, RemoveRaftVoterRequest, TopicProduceData,
};
use highwater_protocol::{ErrorCode, Uuid};

/// The topic whose leaders may be elected among replicas that lack records.
const EXPENDABLE: &str = "expendable";

/// The internal topic, whose coordinators move with its replicas.
const OFFSETS: &str = "__consumer_offsets";

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// The operator.
#[derive(Debug)]
pub struct Reshaper {
    client: Client,
    kinds: Vec<Reshape>,
    topics: Vec<TopicInfo>,
    nodes: i32,
    expendable: Option<TopicInfo>,
    written: u64,
}

impl Reshaper {
    /// An operator who does these things, to these topics among others.
    pub fn new(client: Client, kinds: &[Reshape], topics: Vec<TopicInfo>) -> Self {
        let nodes = client.world.hosts.len() as i32;
        Self { client, kinds: kinds.to_vec(), topics, nodes, expendable: None, written: 0 }
    }

    /// Works until the run stops.
    pub async fn run(mut self) {
        while !self.client.world.is_stopping() {
            // Nobody to tell: what got no answer is found done, or not, the next time.
            let _ = if self.client.world.is_calm() { self.finish().await } else { self.turn().await };
            self.client.rest(50, 600).await;
        }
    }

    async fn turn(&mut self) -> Option<()> {
        match *self.client.rng.pick(&self.kinds) {
            Reshape::Replicas => self.reassign().await,
            Reshape::Leaders => self.elect(PREFERRED, None).await,
            Reshape::Unclean => self.elect_unclean().await,
            Reshape::Voters => self.change_voters(true).await,
            Reshape::LostVoters => self.change_voters(false).await,
        }
    }

    /// What must not stay half done: a voter short, a partition that only an operator's word gives a leader.
    async fn finish(&mut self) -> Option<()> {
        if self.kinds.contains(&Reshape::Unclean) {
            self.elect_unclean().await;
        }
        if self.kinds.contains(&Reshape::Voters) || self.kinds.contains(&Reshape::LostVoters) {
            self.change_voters(false).await;
        }
        Some(())
    }

    /// Moves a partition to two or three drawn nodes, or gives up moving it (KIP-455).
    async fn reassign(&mut self) -> Option<()> {
        let (name, partition) = match self.client.rng.below(4) {
            0 => (OFFSETS.to_owned(), 0),
            _ => {
                let topic = self.client.rng.pick(&self.topics).clone();
                (topic.name, self.client.rng.below(topic.partitions as u64) as i32)
            }
        };
        let replicas = (!self.client.rng.happens(150)).then(|| self.draw_replicas());
        let asked = ReassignablePartition { partition_index: partition, replicas: replicas.clone() };
        let topics = vec![ReassignableTopic { name: name.clone(), partitions: vec![asked] }];
        let request = AlterPartitionReassignmentsRequest { timeout_ms: 2000, topics, ..Default::default() };
        let answer = self.client.ask(To::Controller, &request).await?;
        let code = match answer.error_code {
            ErrorCode::None => answer.responses.first()?.partitions.first()?.error_code,
            code => code,
        };
        self.client.note(format_args!("reassign {name} {partition} to {replicas:?}: {code}"));
        self.client.world.history().totals.moves += u64::from(code == ErrorCode::None);
        Some(())
    }

    /// As many as `min.insync.replicas` and, mostly, one more.
    fn draw_replicas(&mut self) -> Vec<i32> {
        let mut nodes: Vec<i32> = (1..=self.nodes).collect();
        let count = if self.client.rng.happens(700) { 3 } else { 2 };
        let mut drawn = Vec::new();
        while drawn.len() < count && !nodes.is_empty() {
            drawn.push(nodes.swap_remove(self.client.rng.below(nodes.len() as u64) as usize));
        }
        drawn
    }

    async fn elect(&mut self, election_type: i8, topic: Option<&str>) -> Option<()> {
        let only = |topic: &str| {
            vec![ElectLeadersRequestTopicPartitions { topic: topic.to_owned(), partitions: vec![0] }]
        };
        let request =
            ElectLeadersRequest { election_type, topic_partitions: topic.map(only), timeout_ms: 2000 };
        let answer = self.client.ask(To::Controller, &request).await?;
        let results = answer.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        let elected = results.filter(|result| result.error_code == ErrorCode::None).count();
        self.client.note(format_args!("elect, type {election_type}: {}, {elected} led", answer.error_code));
        if election_type == UNCLEAN {
            self.client.world.history().totals.unclean_elections += elected as u64;
        }
        Some(())
    }

    /// Writes to a topic of which one copy suffices, and has whoever is there lead it once its leaders are gone
    /// (KIP-460). What is in it may be lost; replicas must agree on what is left all the same (O6).
    async fn elect_unclean(&mut self) -> Option<()> {
        if self.expendable.is_none() {
            self.expendable = self.create_expendable().await;
        }
        let topic = self.expendable.clone()?;
        self.write(&topic).await;
        self.elect(UNCLEAN, Some(EXPENDABLE)).await
    }

    async fn create_expendable(&mut self) -> Option<TopicInfo> {
        let broker_ids: Vec<i32> = self.draw_replicas().into_iter().take(2).collect();
        let config = |name: &str, value: &str| CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        };
        let topic = CreatableTopic {
            name: EXPENDABLE.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids }],
            configs: vec![config("min.insync.replicas", "1")],
        };
        let topic = admin::create_as(&mut self.client, topic, 1).await?;
        self.client.world.history().partition(topic.key(0)).is_expendable = true;
        Some(topic)
    }

    async fn write(&mut self, topic: &TopicInfo) -> Option<()> {
        self.written += 1;
        let value = format!("expendable-{}", self.written);
        let mut builder = Builder::new(Codec::None);
        builder.push(highwater::clock::Clock::wall(), None, Some(value.as_bytes()), &[]);
        self.client.world.history().sends(topic, &value);
        let records = Some(builder.build().bytes().clone());
        let data = PartitionProduceData { index: 0, records };
        let of_topic =
            TopicProduceData { name: topic.name.clone(), topic_id: topic.id, partition_data: vec![data] };
        let acks = *self.client.rng.pick(&[-1, 1]);
        let request =
            ProduceRequest { acks, timeout_ms: 1000, topic_data: vec![of_topic], ..Default::default() };
        let answer = self.client.ask(To::Leader(topic.key(0)), &request).await?;
        self.client.heed(answer.responses.first()?.partition_responses.first()?.error_code);
        Some(())
    }

    /// Makes voters of those who follow the metadata log and do not vote, in place of the disk that they lost if they
    /// did; if there is none and it may, takes a vote away (KIP-853).
    async fn change_voters(&mut self, may_remove: bool) -> Option<()> {
        let quorum = self.describe_quorum().await?;
        let voters = &quorum.current_voters;
        if let Some(observer) = quorum.observers.first() {
            return match voters.iter().find(|voter| voter.replica_id == observer.replica_id) {
                Some(lost) => self.remove_voter(lost).await,
                None => self.add_voter(observer).await,
            };
        }
        if may_remove && voters.len() >= 3 && voters.len() as i32 == self.nodes {
            let voter = self.client.rng.pick(voters).clone();
            return self.remove_voter(&voter).await;
        }
        Some(())
    }

    async fn describe_quorum(&mut self) -> Option<DescribeQuorumResponsePartitionData> {
        let partition = DescribeQuorumRequestPartitionData { partition_index: 0 };
        let topic = DescribeQuorumRequestTopicData {
            topic_name: highwater_core::metadata::METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
        };
        let request = DescribeQuorumRequest { topics: vec![topic] };
        let answer = self.client.ask(To::Controller, &request).await?;
        answer.topics.into_iter().next()?.partitions.into_iter().next()
    }

    async fn remove_voter(&mut self, voter: &DescribeQuorumResponseReplicaState) -> Option<()> {
        let (voter_id, voter_directory_id) = (voter.replica_id, voter.replica_directory_id);
        let request = RemoveRaftVoterRequest { cluster_id: None, voter_id, voter_directory_id };
        let answer = self.client.ask(To::Controller, &request).await?;
        self.voters_changed("remove", voter_id, voter_directory_id, answer.error_code);
        Some(())
    }

    async fn add_voter(&mut self, observer: &DescribeQuorumResponseReplicaState) -> Option<()> {
        let (voter_id, voter_directory_id) = (observer.replica_id, observer.replica_directory_id);
        let request = AddRaftVoterRequest {
            voter_id,
            voter_directory_id,
            timeout_ms: 2000,
            ack_when_committed: true,
            ..Default::default()
        };
        let answer = self.client.ask(To::Controller, &request).await?;
        self.voters_changed("add", voter_id, voter_directory_id, answer.error_code);
        Some(())
    }

    fn voters_changed(&self, verb: &str, voter: i32, directory: Uuid, code: ErrorCode) {
        self.client.note(format_args!("{verb} voter {voter} of directory {directory:?}: {code}"));
        self.client.world.history().totals.voter_changes += u64::from(code == ErrorCode::None);
    }
}
