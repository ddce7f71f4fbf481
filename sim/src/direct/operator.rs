//! A simulated operator: makes and deletes topics, adds partitions, changes settings while everything runs.

use super::contact::{Contact, REQUEST_TIMEOUT};
use super::env::Env;
use super::message::{AdminRequest, Request, Response};
use super::network::Place;
use super::queue::{MILLI, Time};
use highwater_core::error_code::ErrorCode;
use highwater_protocol::messages as wire;

const TICK: Time = 100 * MILLI;

/// The types of resources and operations of IncrementalAlterConfigs (KIP-339).
const TOPIC_RESOURCE: i8 = 2;
const SET: i8 = 0;

/// One client that administers.
#[derive(Debug)]
pub(crate) struct Operator {
    contact: Contact,
    /// What is still to be done first, in order.
    setup: Vec<AdminRequest>,
    waiting: Option<(u64, Time)>,
    /// Whom to ask next.
    controller: Place,
    /// Of a thousand looks at the clock, so many lead to a request of its own.
    churn_permille: u32,
    topics_made: u64,
    is_stopping: bool,
}

/// A request for one topic.
pub(crate) fn create(
    name: &str,
    partitions: i32,
    replication_factor: i16,
    configs: &[(&str, &str)],
) -> AdminRequest {
    let config = |(name, value): &(&str, &str)| wire::CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    };
    let topic = wire::CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    AdminRequest::CreateTopics(wire::CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 1000,
        ..Default::default()
    })
}

/// A request to set one of a topic's settings.
fn set(topic: &str, name: &str, value: &str) -> AdminRequest {
    let config = wire::IncrementalAlterConfigsRequestAlterableConfig {
        name: name.to_owned(),
        config_operation: SET,
        value: Some(value.to_owned()),
    };
    let resource = wire::IncrementalAlterConfigsRequestResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: topic.to_owned(),
        configs: vec![config],
    };
    AdminRequest::AlterConfigs(wire::IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: false,
    })
}

impl Operator {
    /// An operator who first does `setup` in order.
    pub(crate) fn new(contact: Contact, mut setup: Vec<AdminRequest>, churn_permille: u32) -> Self {
        setup.reverse();
        Self {
            contact,
            setup,
            waiting: None,
            controller: 0,
            churn_permille,
            topics_made: 0,
            is_stopping: false,
        }
    }

    pub(crate) const fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    /// Nothing new from here on.
    pub(crate) const fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether everything asked was answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_none() && self.setup.is_empty()
    }

    /// A connection broke; what was asked on it times out.
    pub(crate) fn reset(&mut self, node: Place) {
        self.contact.reconnect(node);
    }

    pub(crate) fn awake(&mut self, env: &mut Env) {
        if self.waiting.is_some_and(|(_, since)| env.now >= since + REQUEST_TIMEOUT) {
            self.waiting = None;
            self.controller = self.contact.any_node();
        }
        if self.waiting.is_none() {
            self.begin(env);
        }
        self.contact.alarm(env, TICK);
    }

    fn begin(&mut self, env: &mut Env) {
        let request = match self.setup.last() {
            Some(first) => Some(first.clone()),
            None => self.invent(),
        };
        if let Some(request) = request {
            let id = self.contact.ask(env, self.controller, Request::Admin(Box::new(request)));
            self.waiting = Some((id, env.now));
        }
    }

    fn invent(&mut self) -> Option<AdminRequest> {
        if self.is_stopping || !self.contact.rng.happens(self.churn_permille) {
            return None;
        }
        Some(match self.contact.rng.below(5) {
            0 => {
                self.topics_made += 1;
                create(&format!("made-{}", self.topics_made), 2, -1, &[])
            }
            1 => AdminRequest::DeleteTopics(wire::DeleteTopicsRequest {
                topics: vec![wire::DeleteTopicState {
                    name: Some(format!("made-{}", self.topics_made)),
                    ..Default::default()
                }],
                timeout_ms: 1000,
                ..Default::default()
            }),
            2 => AdminRequest::CreatePartitions(wire::CreatePartitionsRequest {
                topics: vec![wire::CreatePartitionsTopic {
                    name: format!("made-{}", self.topics_made),
                    count: 2 + self.contact.rng.below(4) as i32,
                    ..Default::default()
                }],
                timeout_ms: 1000,
                ..Default::default()
            }),
            _ => {
                let min_isr = *self.contact.rng.pick(&["1", "2"]);
                set(&format!("made-{}", self.topics_made), "min.insync.replicas", min_isr)
            }
        })
    }

    pub(crate) fn answered(&mut self, env: &mut Env, id: u64, response: Response) {
        match response {
            Response::Metadata(image) => self.contact.learn(image),
            Response::Admin(code) => {
                if self.waiting.take_if(|(asked, _)| *asked == id).is_none() {
                    return;
                }
                match code {
                    ErrorCode::NotController | ErrorCode::RequestTimedOut => {
                        self.controller = self.contact.any_node();
                    }
                    // a first answer may have been lost: it is there
                    ErrorCode::None | ErrorCode::TopicAlreadyExists => {
                        env.totals.admin += 1;
                        self.setup.pop();
                    }
                    _ if self.setup.is_empty() => {}
                    // too few brokers yet
                    _ => self.controller = self.contact.any_node(),
                }
            }
            _ => {}
        }
    }
}
