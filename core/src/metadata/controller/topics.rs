//! CreateTopics and DeleteTopics.

use super::{Controller, Plan, PlanContext, Refusal, duplicates};
use crate::config::{ConfigMap, Definition, TOPIC, validate_topic};
use crate::ids::{BrokerId, TopicId};
use crate::metadata::placement::Placement;
use crate::metadata::records::{ConfigResource, PartitionState, Record, at};
use crate::metadata::topic_name::{self, METADATA_TOPIC};
use highwater_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use highwater_protocol::{ErrorCode, Uuid};
use std::collections::BTreeSet;

/// The most partitions that one request may make: a mistyped number must not fill memory and disk.
const PARTITIONS_PER_REQUEST_MAX: usize = 100_000;

impl Controller {
    /// Plans new topics. `topic_ids` has a fresh random id for each topic of the request; places are drawn from
    /// them, too.
    pub fn plan_create_topics(
        &self,
        context: PlanContext<'_>,
        request: &CreateTopicsRequest,
        topic_ids: &[TopicId],
    ) -> Plan<CreateTopicsResponse> {
        assert!(topic_ids.len() >= request.topics.len(), "one id for each topic");
        let repeated = duplicates(request.topics.iter().map(|topic| &topic.name));
        let mut planned = Planned::default();
        let mut answered = BTreeSet::new();
        let mut results = Vec::new();
        for (topic, id) in request.topics.iter().zip(topic_ids) {
            let result = if repeated.contains(&topic.name) {
                if !answered.insert(&topic.name) {
                    continue;
                }
                Err(Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
            } else {
                self.plan_topic(context, topic, *id, &mut planned)
            };
            results.push(result.unwrap_or_else(|refusal| CreatableTopicResult {
                name: topic.name.clone(),
                error_code: refusal.code,
                error_message: Some(refusal.message),
                ..CreatableTopicResult::default()
            }));
        }
        let records = if request.validate_only { Vec::new() } else { planned.records };
        if request.validate_only {
            results.iter_mut().for_each(|result| result.topic_id = Uuid::ZERO);
        }
        Plan { records, response: CreateTopicsResponse { throttle_time_ms: 0, topics: results } }
    }

    /// Plans one of the topics that the cluster makes for itself (`__consumer_offsets`), with as many replicas as
    /// asked for or as there are brokers. No records if it exists.
    pub fn plan_internal_topic(
        &self,
        context: PlanContext<'_>,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        configs: &[(&str, &str)],
        id: TopicId,
    ) -> Plan<Result<(), ErrorCode>> {
        // Brokers that are away for a moment count: the topic lives longer than their absence.
        let drained = super::drained(&self.latest);
        let brokers = self.latest.brokers().filter(|(id, _)| !drained.contains(id)).count();
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: replication_factor.min(i16::try_from(brokers).unwrap_or(i16::MAX)).max(1),
            configs: configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: (*name).to_owned(),
                    value: Some((*value).to_owned()),
                })
                .collect(),
            ..CreatableTopic::default()
        };
        if self.latest.topic(name).is_some() {
            return Plan { records: Vec::new(), response: Ok(()) };
        }
        let mut planned = Planned::default();
        let response =
            self.plan_topic(context, &topic, id, &mut planned).map(drop).map_err(|refusal| refusal.code);
        Plan { records: planned.records, response }
    }

    /// Plans the end of topics.
    pub fn plan_delete_topics(
        &self,
        context: PlanContext<'_>,
        request: &DeleteTopicsRequest,
    ) -> Plan<DeleteTopicsResponse> {
        // Versions below 6 name topics in a list of their own.
        let by_name = request
            .topic_names
            .iter()
            .map(|name| DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO });
        let topics: Vec<DeleteTopicState> = request.topics.iter().cloned().chain(by_name).collect();
        let may_delete = self.broker_config(context).delete_topic;
        let mentions = Mentions::of(&topics);
        let mut refused = BTreeSet::new();
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for topic in &topics {
            let planned = if may_delete {
                self.plan_delete_topic(topic, &mentions)
            } else {
                Err(Refusal::new(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled."))
            };
            match planned {
                Ok(None) => {}
                Ok(Some((id, name))) => {
                    records.push(Record::RemoveTopic { id });
                    responses.push(DeletableTopicResult {
                        name: Some(name),
                        topic_id: Uuid(id.0),
                        ..DeletableTopicResult::default()
                    });
                }
                // What is named twice is answered once.
                Err(refusal) if mentions.is_repeated(topic) && !refused.insert(mention(topic)) => {
                    drop(refusal);
                }
                Err(refusal) => responses.push(DeletableTopicResult {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    error_code: refusal.code,
                    error_message: Some(refusal.message),
                }),
            }
        }
        Plan { records, response: DeleteTopicsResponse { throttle_time_ms: 0, responses } }
    }

    /// Which topic to delete. `None` where another item of the request answers for it.
    fn plan_delete_topic(
        &self,
        wanted: &DeleteTopicState,
        mentions: &Mentions<'_>,
    ) -> Result<Option<(TopicId, String)>, Refusal> {
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        match &wanted.name {
            Some(_) if !wanted.topic_id.is_zero() => {
                invalid("You may not specify both topic name and topic id.")
            }
            None if wanted.topic_id.is_zero() => invalid("Neither topic name nor id were specified."),
            Some(_) if mentions.is_repeated(wanted) => invalid("Duplicate topic name."),
            None if mentions.is_repeated(wanted) => invalid("Duplicate topic id."),
            Some(name) => {
                let topic = self.latest.topic(name).ok_or_else(unknown_topic)?;
                if mentions.ids.contains(&Uuid(topic.id.0)) {
                    return invalid("The provided topic name maps to an ID that was already supplied.");
                }
                Ok(Some((topic.id, topic.name.to_string())))
            }
            None => {
                let topic = self.latest.topic_by_id(TopicId(wanted.topic_id.0)).ok_or_else(|| {
                    Refusal::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID.")
                })?;
                if mentions.repeated.contains(&(Some(&*topic.name), Uuid::ZERO)) {
                    return invalid("The provided topic ID maps to a name that was supplied more than once.");
                }
                let is_named = mentions.names.contains(&*topic.name);
                Ok((!is_named).then(|| (topic.id, topic.name.to_string())))
            }
        }
    }

    fn plan_topic(
        &self,
        context: PlanContext<'_>,
        topic: &CreatableTopic,
        id: TopicId,
        planned: &mut Planned,
    ) -> Result<CreatableTopicResult, Refusal> {
        self.check_new_name(&topic.name, &planned.collisions)?;
        let configs = self.check_new_configs(context, topic)?;
        let partitions = if topic.assignments.is_empty() {
            self.place_new_topic(context, topic, id)?
        } else {
            self.check_assignments(topic)?
        };
        planned.partitions += partitions.len();
        if planned.partitions > PARTITIONS_PER_REQUEST_MAX {
            return Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                format!("A request may create at most {PARTITIONS_PER_REQUEST_MAX} partitions."),
            ));
        }
        planned.collisions.extend(topic_name::collision_key(&topic.name));
        let result = self.new_topic_result(context, topic, id, &partitions, &configs);
        let resource = ConfigResource::Topic(id);
        planned.records.push(Record::Topic { id, name: topic.name.clone() });
        planned.records.extend(
            (0..).zip(partitions).map(|(index, state)| Record::Partition { partition: at(id, index), state }),
        );
        planned.records.extend(configs.into_iter().map(|(name, value)| Record::Config {
            resource: resource.clone(),
            name,
            value: Some(value),
        }));
        Ok(result)
    }

    fn check_new_name(&self, name: &str, also_new: &BTreeSet<String>) -> Result<(), Refusal> {
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        if name == METADATA_TOPIC {
            let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if let Err(error) = topic_name::validate(name) {
            return invalid(error.to_string());
        }
        if self.latest.topic(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
        }
        if let Some(other) = self.latest.colliding_topic(name) {
            return invalid(format!("Topic '{name}' collides with existing topic: {other}"));
        }
        if topic_name::collision_key(name).is_some_and(|key| also_new.contains(&key)) {
            return invalid(format!("Topic '{name}' collides with another topic of the request."));
        }
        Ok(())
    }

    fn check_new_configs(
        &self,
        context: PlanContext<'_>,
        topic: &CreatableTopic,
    ) -> Result<ConfigMap, Refusal> {
        let invalid = |message: String| Refusal::new(ErrorCode::InvalidConfig, message);
        let null: Vec<_> =
            topic.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()).collect();
        if !null.is_empty() {
            return Err(invalid(format!("Null value not supported for topic configs: {}", null.join(","))));
        }
        let configs: ConfigMap =
            topic.configs.iter().map(|c| (c.name.clone(), c.value.clone().unwrap_or_default())).collect();
        super::configs::check_sizes(&configs)?;
        validate_topic(&self.layers(context), &configs).map_err(|error| invalid(error.to_string()))?;
        Ok(configs)
    }

    fn place_new_topic(
        &self,
        context: PlanContext<'_>,
        topic: &CreatableTopic,
        id: TopicId,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let refuse = |code, message: &str| Err(Refusal::new(code, message));
        let (count, factor) = match (topic.num_partitions, topic.replication_factor) {
            (_, factor) if factor < -1 || factor == 0 => {
                return refuse(
                    ErrorCode::InvalidReplicationFactor,
                    "Replication factor must be larger than 0, or -1 to use the default value.",
                );
            }
            (count, _) if count < -1 || count == 0 => {
                return refuse(
                    ErrorCode::InvalidPartitions,
                    "Number of partitions was set to an invalid non-positive value.",
                );
            }
            (count, factor) => {
                let config = self.broker_config(context);
                let count = if count == -1 { config.num_partitions } else { count };
                (count, if factor == -1 { config.default_replication_factor } else { factor })
            }
        };
        if usize::try_from(count).is_ok_and(|count| count > PARTITIONS_PER_REQUEST_MAX) {
            let message = format!("A request may create at most {PARTITIONS_PER_REQUEST_MAX} partitions.");
            return refuse(ErrorCode::InvalidPartitions, &message);
        }
        let [a, b, c, d, e, f, g, h, ..] = id.0;
        let placement = Placement::new(&self.latest, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        (0..count).map(|index| self.place_partition(&placement, index, factor)).collect()
    }

    /// The state of a new partition on the brokers that `placement` chooses.
    pub(super) fn place_partition(
        &self,
        placement: &Placement,
        index: i32,
        replication_factor: i16,
    ) -> Result<PartitionState, Refusal> {
        let replicas = placement.replicas(index, replication_factor).map_err(|why| {
            let message = format!("Unable to replicate the partition {replication_factor} time(s): {why}");
            Refusal::new(ErrorCode::InvalidReplicationFactor, message)
        })?;
        let isr = self.active_of(&replicas);
        Ok(PartitionState::new(replicas, isr))
    }

    fn check_assignments(&self, topic: &CreatableTopic) -> Result<Vec<PartitionState>, Refusal> {
        if topic.replication_factor != -1 {
            let message =
                "A manual partition assignment was specified, but replication factor was not set to -1.";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if topic.num_partitions != -1 {
            let message = "A manual partition assignment was specified, but numPartitions was not set to -1.";
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        let invalid = |message: String| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
        let mut assignments: Vec<_> = topic.assignments.iter().collect();
        assignments.sort_by_key(|assignment| assignment.partition_index);
        for pair in assignments.windows(2) {
            if pair[0].partition_index == pair[1].partition_index {
                let index = pair[0].partition_index;
                return Err(invalid(format!(
                    "Found multiple manual partition assignments for partition {index}"
                )));
            }
        }
        if !(0..).zip(&assignments).all(|(index, assignment)| assignment.partition_index == index) {
            return Err(invalid("partitions should be a consecutive 0-based integer sequence".to_owned()));
        }
        let factor = assignments[0].broker_ids.len();
        assignments
            .iter()
            .map(|assignment| {
                self.assigned_partition(assignment.partition_index, &assignment.broker_ids, factor)
            })
            .collect()
    }

    /// The state of a new partition on exactly these brokers.
    pub(super) fn assigned_partition(
        &self,
        index: i32,
        brokers: &[i32],
        replication_factor: usize,
    ) -> Result<PartitionState, Refusal> {
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        if brokers.is_empty() {
            return invalid("The manual partition assignment includes an empty replica list.".to_owned());
        }
        let mut sorted = brokers.to_vec();
        sorted.sort_unstable();
        if let Some(unknown) = sorted.iter().find(|id| self.latest.broker(BrokerId(**id)).is_none()) {
            return invalid(format!(
                "The manual partition assignment includes broker {unknown}, but no such broker is registered."
            ));
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return invalid(format!(
                "The manual partition assignment includes the broker {} more than once.",
                pair[0]
            ));
        }
        if brokers.len() != replication_factor {
            return invalid(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not \
                 consistent with previous partitions, which have {replication_factor} replica(s).",
                brokers.len()
            ));
        }
        let replicas: Vec<BrokerId> = brokers.iter().copied().map(BrokerId).collect();
        let isr = self.active_of(&replicas);
        if isr.is_empty() {
            return invalid(format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or \
                 in controlled shutdown."
            ));
        }
        Ok(PartitionState::new(replicas, isr))
    }

    /// Who of these is active: the ISR of a new partition.
    fn active_of(&self, replicas: &[BrokerId]) -> Vec<BrokerId> {
        let is_active =
            |id: &BrokerId| self.latest.broker(*id).is_some_and(|registration| registration.is_active());
        replicas.iter().copied().filter(is_active).collect()
    }

    fn new_topic_result(
        &self,
        context: PlanContext<'_>,
        topic: &CreatableTopic,
        id: TopicId,
        partitions: &[PartitionState],
        configs: &ConfigMap,
    ) -> CreatableTopicResult {
        let layers = self.layers(context);
        let config = |definition: &'static Definition| {
            let value = layers.topic(configs, definition);
            CreatableTopicConfigs {
                name: definition.name.to_owned(),
                value: value.text.map(|text| definition.canonical(&text)),
                read_only: false,
                config_source: value.source as i8,
                is_sensitive: definition.is_sensitive(),
            }
        };
        let replicas = partitions.first().map_or(0, |partition| partition.replicas.len());
        CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: Uuid(id.0),
            num_partitions: i32::try_from(partitions.len()).expect("bounded above"),
            replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
            configs: Some(TOPIC.definitions().map(config).collect()),
            ..CreatableTopicResult::default()
        }
    }
}

/// What the topics of one request come to so far.
#[derive(Default)]
struct Planned {
    records: Vec<Record>,
    collisions: BTreeSet<String>,
    partitions: usize,
}

/// What a DeleteTopics request names, and what it names more than once: that is deleted by none of the mentions.
struct Mentions<'a> {
    names: BTreeSet<&'a str>,
    ids: BTreeSet<Uuid>,
    repeated: BTreeSet<Mention<'a>>,
}

type Mention<'a> = (Option<&'a str>, Uuid);

fn mention(topic: &DeleteTopicState) -> Mention<'_> {
    (topic.name.as_deref(), topic.topic_id)
}

impl<'a> Mentions<'a> {
    fn of(topics: &'a [DeleteTopicState]) -> Self {
        let by_name = topics.iter().filter(|topic| topic.topic_id.is_zero());
        let all: Vec<_> = topics.iter().map(mention).collect();
        Self {
            names: by_name.filter_map(|topic| topic.name.as_deref()).collect(),
            ids: topics.iter().filter(|topic| topic.name.is_none()).map(|topic| topic.topic_id).collect(),
            repeated: duplicates(all.iter()).into_iter().copied().collect(),
        }
    }

    fn is_repeated(&self, topic: &DeleteTopicState) -> bool {
        self.repeated.contains(&mention(topic))
    }
}

pub(super) fn unknown_topic() -> Refusal {
    Refusal::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
}
