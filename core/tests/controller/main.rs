//! The controller from outside: requests in, records and answers out, and the image that comes of them.

use highwater_core::config::ConfigMap;
use highwater_core::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use highwater_core::metadata::peer::RegisterBroker;
use highwater_core::metadata::{
    Asker, Controller, Endpoint, FORMAT_FEATURE, FORMAT_NEWEST, FeatureRange, MetadataImage, Plan,
    PlanContext, Record, Registration, answer_client_quotas, answer_cluster, answer_config_resources,
    answer_configs, answer_metadata, answer_topic_partitions,
};
use highwater_protocol::messages::*;
use highwater_protocol::{ErrorCode, Uuid};
use proptest::prelude::*;

mod answers;
mod cluster;
mod failures;
mod features;
mod lifecycle;
mod settings;
mod topics;

/// A controller whose appends are committed at once, with its node's settings.
struct Solo {
    controller: Controller,
    fixed: ConfigMap,
    topics_made: u8,
}

const NODE: BrokerId = BrokerId(1);

impl Solo {
    fn new(fixed: &[(&str, &str)]) -> Self {
        let fixed = fixed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut solo = Self { controller: Controller::default(), fixed, topics_made: 0 };
        let cluster = solo.controller.plan_cluster("cluster", &[(FORMAT_FEATURE, FORMAT_NEWEST)]);
        solo.commit(cluster);
        solo.register(1, [1; 16], false);
        solo
    }

    fn commit<R>(&mut self, plan: Plan<R>) -> R {
        if !plan.records.is_empty() {
            let end = self.controller.appended(plan.records);
            assert!(self.controller.committed(end).is_some());
        }
        self.controller.assert_invariants();
        plan.response
    }

    fn register(&mut self, id: i32, incarnation: [u8; 16], after_unclean_stop: bool) -> BrokerEpoch {
        let endpoints = vec![
            Endpoint { listener: "PLAINTEXT".into(), host: format!("b{id}"), port: 9092 },
            Endpoint { listener: "OUT".into(), host: format!("out{id}"), port: 1 },
        ];
        let id = BrokerId(id);
        let before = self.image().broker(id).map(|registration| registration.epoch);
        let clean_stop_of = before.filter(|_| !after_unclean_stop);
        let announced = RegisterBroker {
            directory_id: [1; 16],
            endpoints,
            rack: None,
            features: Vec::new(),
            clean_stop_of,
        };
        let registration = Registration { id, incarnation, announced };
        let plan = self.controller.plan_register_only_broker(&registration);
        self.commit(plan)
    }

    fn context(&self) -> PlanContext<'_> {
        PlanContext { node: NODE, fixed: &self.fixed }
    }

    fn create(&mut self, request: CreateTopicsRequest) -> Vec<CreatableTopicResult> {
        let ids: Vec<_> = (0..request.topics.len())
            .map(|_| {
                self.topics_made += 1;
                TopicId([self.topics_made; 16])
            })
            .collect();
        let plan = self.controller.plan_create_topics(self.context(), &request, &ids);
        self.commit(plan).topics
    }

    fn create_one(&mut self, topic: CreatableTopic) -> CreatableTopicResult {
        self.create(CreateTopicsRequest { topics: vec![topic], ..Default::default() }).remove(0)
    }

    fn alter(
        &mut self,
        kind: i8,
        name: &str,
        changes: &[(&str, i8, Option<&str>)],
    ) -> (ErrorCode, Option<String>) {
        let configs = changes
            .iter()
            .map(|(name, operation, value)| IncrementalAlterConfigsRequestAlterableConfig {
                name: (*name).into(),
                config_operation: *operation,
                value: value.map(Into::into),
            })
            .collect();
        let resource = IncrementalAlterConfigsRequestResource {
            resource_type: kind,
            resource_name: name.into(),
            configs,
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let plan = self.controller.plan_incremental_alter_configs(self.context(), &request);
        let mut response = self.commit(plan);
        let answer = response.responses.remove(0);
        (answer.error_code, answer.error_message)
    }

    fn image(&self) -> &MetadataImage {
        self.controller.image()
    }

    fn asker<'a>(&'a self, listener: &'a str) -> Asker<'a> {
        Asker { listener, node: NODE, fixed: &self.fixed, controller: Some(NODE) }
    }

    fn describe(&self, kind: i8, name: &str) -> DescribeConfigsResult {
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: true,
        };
        answer_configs(self.image(), self.asker("PLAINTEXT"), &ConfigMap::new(), &request).results.remove(0)
    }

    /// Value and source of one setting.
    fn setting(&self, kind: i8, name: &str, setting: &str) -> (Option<String>, i8) {
        let described = self.describe(kind, name);
        let entry = described.configs.into_iter().find(|config| config.name == setting);
        entry.map(|entry| (entry.value, entry.config_source)).expect("it is described")
    }
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

fn with_config(mut topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    topic.configs.push(CreatableTopicConfig { name: name.into(), value: value.map(Into::into) });
    topic
}

fn assigned(name: &str, replicas: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = replicas.iter().map(|(partition_index, brokers)| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
    });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1) }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
