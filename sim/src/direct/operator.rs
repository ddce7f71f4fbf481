//! A simulated operator: makes and deletes topics, adds partitions, changes settings, moves leaders while everything
//! runs.

use super::contact::{Contact, REQUEST_TIMEOUT};
use super::env::Env;
use super::message::{AdminRequest, Request, Response};
use super::network::Place;
use super::queue::{MILLI, Time};
use super::reshape::Reshaper;
use super::run::TOPIC;
use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{BrokerId, PartitionIndex};
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
    /// What was asked for last, if it changes the cluster's shape.
    reshaping: Option<AdminRequest>,
    reshaper: Reshaper,
    /// Whom to ask next.
    controller: Place,
    /// Of a thousand looks at the clock, so many lead to a request of its own.
    churn_permille: u32,
    /// So many to the move of a leader.
    leader_moves_permille: u32,
    /// What is to be asked one right after the other, the last first.
    moves: Vec<AdminRequest>,
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

/// A request to put a partition on these nodes, the preferred leader first, or back to where it was (KIP-455).
pub(crate) fn reassign(topic: &str, index: PartitionIndex, replicas: Option<&[BrokerId]>) -> AdminRequest {
    let partition = wire::ReassignablePartition {
        partition_index: index.0,
        replicas: replicas.map(|replicas| replicas.iter().map(|replica| replica.0).collect()),
    };
    let topic = wire::ReassignableTopic { name: topic.to_owned(), partitions: vec![partition] };
    AdminRequest::Reassign(wire::AlterPartitionReassignmentsRequest {
        topics: vec![topic],
        timeout_ms: 1000,
        ..Default::default()
    })
}

/// A request to let a partition's first replica lead (KIP-460).
pub(crate) fn elect_preferred(topic: &str, index: PartitionIndex) -> AdminRequest {
    elect(topic, index, 0)
}

/// A request to let one lead that may lack records, where nobody else can (KIP-460).
pub(crate) fn elect_unclean(topic: &str, index: PartitionIndex) -> AdminRequest {
    elect(topic, index, 1)
}

fn elect(topic: &str, index: PartitionIndex, election_type: i8) -> AdminRequest {
    let partition =
        wire::ElectLeadersRequestTopicPartitions { topic: topic.to_owned(), partitions: vec![index.0] };
    AdminRequest::ElectLeaders(wire::ElectLeadersRequest {
        election_type,
        topic_partitions: Some(vec![partition]),
        timeout_ms: 1000,
    })
}

impl Operator {
    /// An operator who first does `setup` in order.
    pub(crate) fn new(
        contact: Contact,
        mut setup: Vec<AdminRequest>,
        churn_permille: u32,
        leader_moves_permille: u32,
        reshaper: Reshaper,
    ) -> Self {
        setup.reverse();
        Self {
            contact,
            setup,
            waiting: None,
            reshaping: None,
            reshaper,
            controller: 0,
            churn_permille,
            leader_moves_permille,
            moves: Vec::new(),
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
        self.waiting.is_none() && self.setup.is_empty() && self.reshaper.is_done()
    }

    /// A connection broke; what was asked on it times out.
    pub(crate) fn reset(&mut self, node: Place) {
        self.contact.reconnect(node);
    }

    pub(crate) fn awake(&mut self, env: &mut Env) {
        if self.waiting.is_some_and(|(_, since)| env.now >= since + REQUEST_TIMEOUT) {
            self.waiting = None;
            self.moves.clear();
            self.controller = self.contact.any_node();
        }
        if self.waiting.is_none() {
            self.begin(env);
        }
        self.contact.alarm(env, TICK);
    }

    fn begin(&mut self, env: &mut Env) {
        self.reshaping = None;
        let request = match self.setup.last() {
            Some(first) => Some(first.clone()),
            None => {
                if self.moves.is_empty() {
                    self.plan_move(env);
                }
                if self.moves.is_empty() {
                    self.reshaping = self.plan_reshaping(env);
                }
                self.moves.pop().or_else(|| self.reshaping.clone()).or_else(|| self.invent())
            }
        };
        if let Some(request) = request {
            let id = self.contact.ask(env, self.controller, Request::Admin(Box::new(request)));
            self.waiting = Some((id, env.now));
        }
    }

    /// The next change of the cluster's shape, or the end of one that was begun.
    fn plan_reshaping(&mut self, env: &mut Env) -> Option<AdminRequest> {
        if self.is_stopping {
            return self.reshaper.finish();
        }
        if self.reshaper.is_idle() {
            return None;
        }
        self.contact.refresh(env);
        let image = self.contact.image().cloned()?;
        self.reshaper.plan(&mut self.contact.rng, &image)
    }

    /// Moves a leader of the producers' topic to another replica and back: two elections within a round trip or two, and
    /// nobody has died.
    fn plan_move(&mut self, env: &mut Env) {
        let permille = self.leader_moves_permille;
        if self.is_stopping || permille == 0 || !self.contact.rng.happens(permille) {
            return;
        }
        self.contact.refresh(env);
        let Some(image) = self.contact.image().cloned() else { return };
        let Some(topic) = image.topic(TOPIC).filter(|topic| topic.partition_count() > 0) else { return };
        let index = PartitionIndex(self.contact.rng.below(topic.partition_count() as u64) as i32);
        let Some(state) = topic.partitions.get(&index) else { return };
        let replicas = state.replicas.clone();
        let mut turned = replicas.clone();
        turned.rotate_left(self.contact.rng.below(replicas.len() as u64) as usize);
        let back = [elect_preferred(TOPIC, index), reassign(TOPIC, index, Some(&replicas))];
        let there = [elect_preferred(TOPIC, index), reassign(TOPIC, index, Some(&turned))];
        self.moves = back.into_iter().chain(there).collect();
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
                if let Some(request) = self.reshaping.take() {
                    self.reshaper.answered(&request, code);
                    env.totals.reshaped += u64::from(code == ErrorCode::None);
                    if env.trace.is_recording() {
                        env.trace.tell(env.now, "operator", format_args!("{code:?} for {request:?}"));
                    }
                }
                match code {
                    ErrorCode::NotController | ErrorCode::RequestTimedOut => {
                        self.moves.clear();
                        self.controller = self.contact.any_node();
                    }
                    // a first answer may have been lost: it is there
                    ErrorCode::None | ErrorCode::TopicAlreadyExists => {
                        env.totals.admin += 1;
                        self.setup.pop();
                        if !self.moves.is_empty() {
                            self.begin(env);
                        }
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
