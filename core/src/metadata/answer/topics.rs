//! Metadata and DescribeTopicPartitions.

use super::{Asker, CLUSTER_OPERATIONS, TOPIC_OPERATIONS, endpoint};
use crate::config::BrokerConfig;
use crate::ids::{BrokerId, PartitionIndex, TopicId, TopicPartition};
use crate::metadata::image::{MetadataImage, Topic};
use crate::metadata::records::{PartitionState, at};
use crate::metadata::topic_name;
use highwater_protocol::messages::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, MetadataRequest,
    MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use highwater_protocol::{ErrorCode, Uuid};
use std::collections::BTreeSet;

/// A Metadata answer, and what should be done before it is given.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataAnswer {
    /// The answer as of now.
    pub response: MetadataResponse,
    /// Topics that do not exist, may, and that the client and the broker's settings want created: the shell creates
    /// them and asks again. Without repetitions.
    pub auto_create: Vec<String>,
}

/// Answers a Metadata request of this version.
pub fn answer_metadata(
    image: &MetadataImage,
    asker: Asker<'_>,
    request: &MetadataRequest,
    version: i16,
) -> MetadataAnswer {
    let reply = Reply { image, asker, version, with_operations: request.include_topic_authorized_operations };
    let mut missing = BTreeSet::new();
    let topics = match &request.topics {
        // Version 0 cannot say null, and means all by none.
        Some(topics) if !(version == 0 && topics.is_empty()) => {
            let mut seen = BTreeSet::new();
            let each_once = topics.iter().filter(|wanted| seen.insert((&wanted.name, wanted.topic_id)));
            each_once.map(|wanted| reply.wanted_topic(wanted, &mut missing)).collect()
        }
        _ => image.topics().map(|topic| reply.topic(topic)).collect(),
    };
    let auto_create = request.allow_auto_topic_creation
        && !missing.is_empty()
        && BrokerConfig::resolve(&image.layers(asker.node, asker.fixed)).auto_create_topics;
    MetadataAnswer {
        response: MetadataResponse {
            brokers: brokers(image, asker),
            cluster_id: image.cluster_id().map(str::to_owned),
            // Whoever is asked carries requests to the controller once there is one. Never -1: librdkafka's admin client
            // would wait for a connection to come or go before it asks again.
            controller_id: asker.controller.unwrap_or(asker.node).0,
            topics,
            cluster_authorized_operations: operations(
                request.include_cluster_authorized_operations,
                CLUSTER_OPERATIONS,
            ),
            ..MetadataResponse::default()
        },
        auto_create: if auto_create { missing.into_iter().collect() } else { Vec::new() },
    }
}

fn brokers(image: &MetadataImage, asker: Asker<'_>) -> Vec<MetadataResponseBroker> {
    let broker = |(id, rack): (BrokerId, &Option<String>)| {
        let endpoint = endpoint(image, asker, id)?;
        Some(MetadataResponseBroker {
            node_id: id.0,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: rack.clone(),
        })
    };
    image.brokers().map(|(id, registration)| (id, &registration.rack)).filter_map(broker).collect()
}

/// Kafka's "not asked for", or the operations.
const fn operations(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { i32::MIN }
}

struct Reply<'a> {
    image: &'a MetadataImage,
    asker: Asker<'a>,
    version: i16,
    with_operations: bool,
}

impl Reply<'_> {
    fn wanted_topic(
        &self,
        wanted: &MetadataRequestTopic,
        missing: &mut BTreeSet<String>,
    ) -> MetadataResponseTopic {
        let by_id = !wanted.topic_id.is_zero();
        let is_too_old = by_id && self.version < 12;
        let found = match &wanted.name {
            _ if is_too_old => None,
            _ if by_id => self.image.topic_by_id(TopicId(wanted.topic_id.0)),
            Some(name) => self.image.topic(name),
            None => None,
        };
        if let Some(topic) = found {
            return self.topic(topic);
        }
        let error_code = match &wanted.name {
            _ if is_too_old => ErrorCode::InvalidRequest,
            _ if by_id => ErrorCode::UnknownTopicId,
            None => ErrorCode::InvalidRequest,
            Some(name) if topic_name::validate(name).is_err() => ErrorCode::InvalidTopicException,
            Some(name) => {
                if name != topic_name::METADATA_TOPIC {
                    missing.insert(name.clone());
                }
                ErrorCode::UnknownTopicOrPartition
            }
        };
        // A topic asked for by id has no name that could be told; versions below 12 cannot say null.
        let name = wanted.name.clone().or_else(|| (self.version < 12).then(String::new));
        MetadataResponseTopic {
            error_code,
            is_internal: name.as_deref().is_some_and(topic_name::is_internal),
            name,
            topic_id: wanted.topic_id,
            ..MetadataResponseTopic::default()
        }
    }

    fn topic(&self, topic: &Topic) -> MetadataResponseTopic {
        MetadataResponseTopic {
            error_code: ErrorCode::None,
            name: Some(topic.name.to_string()),
            topic_id: Uuid(topic.id.0),
            is_internal: topic_name::is_internal(&topic.name),
            partitions: topic
                .partitions
                .iter()
                .map(|(index, state)| self.partition(at(topic.id, index.0), state))
                .collect(),
            topic_authorized_operations: operations(self.with_operations, TOPIC_OPERATIONS),
        }
    }

    fn partition(&self, partition: TopicPartition, state: &PartitionState) -> MetadataResponsePartition {
        let leader = state.leader.filter(|leader| endpoint(self.image, self.asker, *leader).is_some());
        let error_code = match (state.leader, leader) {
            (Some(_), Some(_)) => ErrorCode::None,
            (Some(_), None) if self.version >= 6 => ErrorCode::ListenerNotFound,
            _ => ErrorCode::LeaderNotAvailable,
        };
        MetadataResponsePartition {
            error_code,
            partition_index: partition.partition.0,
            leader_id: leader.unwrap_or(BrokerId(-1)).0,
            leader_epoch: state.leader_epoch.0,
            replica_nodes: ids(&state.replicas),
            isr_nodes: ids(&state.isr),
            offline_replicas: offline(self.image, partition, state),
        }
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

fn offline(image: &MetadataImage, partition: TopicPartition, state: &PartitionState) -> Vec<i32> {
    let is_up = |id: BrokerId| image.broker(id).is_some_and(|registration| registration.is_active());
    let is_offline = |id: &BrokerId| !is_up(*id) || image.is_failed(partition, *id);
    state.replicas.iter().copied().filter(is_offline).map(|id| id.0).collect()
}

/// Answers a DescribeTopicPartitions request: topics in the order of their names, from the cursor on, up to the
/// smaller of the client's and the broker's limit of partitions.
pub fn answer_topic_partitions(
    image: &MetadataImage,
    asker: Asker<'_>,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let most = BrokerConfig::resolve(&image.layers(asker.node, asker.fixed)).request_partitions_max;
    let limit = usize::try_from(request.response_partition_limit.min(most)).unwrap_or(1).max(1);
    let (from, first) = match &request.cursor {
        Some(cursor) if !continues(request, cursor) => return refused_topic_partitions(request),
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        None => ("", 0),
    };
    let mut page =
        Page { image, from, first, left: limit, response: DescribeTopicPartitionsResponse::default() };
    if request.topics.is_empty() {
        for topic in image.topics_from(from) {
            if !page.add(&topic.name, Some(topic)) {
                break;
            }
        }
    } else {
        let names: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
        for name in names.range(from..) {
            if !page.add(name, image.topic(name).map(|topic| &**topic)) {
                break;
            }
        }
    }
    page.response
}

/// Whether the cursor is one that an answer to such a request may have had.
fn continues(request: &DescribeTopicPartitionsRequest, cursor: &Cursor) -> bool {
    let is_asked = request.topics.is_empty() || request.topics.iter().any(|t| t.name == cursor.topic_name);
    is_asked && cursor.partition_index >= 0
}

fn refused_topic_partitions(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |name: &String| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(name.clone()),
        ..Default::default()
    };
    let topics = request.topics.iter().map(|topic| refused(&topic.name)).collect();
    DescribeTopicPartitionsResponse { topics, ..Default::default() }
}

struct Page<'a> {
    image: &'a MetadataImage,
    from: &'a str,
    first: i32,
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page<'_> {
    /// Adds a topic as far as there is room; false if the page is full.
    fn add(&mut self, name: &str, topic: Option<&Topic>) -> bool {
        let first = if name == self.from { self.first } else { 0 };
        if self.left == 0 {
            self.response.next_cursor = Some(Cursor { topic_name: name.to_owned(), partition_index: first });
            return false;
        }
        let Some(topic) = topic else {
            let error_code = if topic_name::validate(name).is_err() {
                ErrorCode::InvalidTopicException
            } else {
                ErrorCode::UnknownTopicOrPartition
            };
            let name = Some(name.to_owned());
            self.response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code,
                name,
                ..Default::default()
            });
            return true;
        };
        let partitions: Vec<_> = topic
            .partitions
            .iter_from(&PartitionIndex(first))
            .take(self.left)
            .map(|(index, state)| described(self.image, at(topic.id, index.0), state))
            .collect();
        self.left -= partitions.len();
        let next = first.saturating_add(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::None,
            name: Some(name.to_owned()),
            topic_id: Uuid(topic.id.0),
            is_internal: topic_name::is_internal(name),
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
        });
        if next < topic.partition_count() {
            self.response.next_cursor = Some(Cursor { topic_name: name.to_owned(), partition_index: next });
            return false;
        }
        true
    }
}

fn described(
    image: &MetadataImage,
    partition: TopicPartition,
    state: &PartitionState,
) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        error_code: if state.leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
        partition_index: partition.partition.0,
        leader_id: state.leader.unwrap_or(BrokerId(-1)).0,
        leader_epoch: state.leader_epoch.0,
        replica_nodes: ids(&state.replicas),
        isr_nodes: ids(&state.isr),
        eligible_leader_replicas: Some(ids(&state.elr)),
        last_known_elr: Some(Vec::new()),
        offline_replicas: offline(image, partition, state),
    }
}
