//! A node as a broker and as a controller of brokers: its own registration, and while it is active, everybody's.

use super::env::{Env, Here, node_of};
use super::message::{Due, Event, Message};
use super::meta::{Meta, Then};
use super::network::Place;
use highwater_core::config::ConfigMap;
use highwater_core::ids::{BrokerEpoch, BrokerId, DirectoryId, LeaderEpoch, PartitionEpoch, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::metadata::peer::{
    AlterPartition, AlterPartitionRefusal, AlteredPartition, BrokerReplyBody, BrokerRequest,
    BrokerRequestBody, IsrMember, RegisterBroker,
};
use highwater_core::metadata::{
    FORMAT_FEATURE, FORMAT_NEWEST, FeatureRange, PlanContext, Registration, SessionLimits, Sessions,
};
use highwater_core::registration::{self, BrokerLifecycle, Effect, Input, LifecycleConfig, Standing};
use highwater_core::replica::{self, IsrAccepted, IsrRefusal};
use highwater_core::time::{Instant, Now};

/// What the node is to do after a step of its lifecycle.
#[derive(Debug)]
pub(crate) enum Ordered {
    /// Its requests carry this epoch from now on.
    Registered(BrokerEpoch),
    /// The controller has decided about an ISR.
    IsrAnswered {
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        proposed_at: PartitionEpoch,
        proposed: Vec<replica::IsrMember>,
        answer: Result<IsrAccepted, IsrRefusal>,
    },
    /// It leads nothing any more.
    MayStop,
}

/// The broker of one life of a node.
#[derive(Debug)]
pub(crate) struct Broker {
    incarnation: [u8; 16],
    lifecycle: BrokerLifecycle,
    outbox: Outbox<Effect>,
    /// While this node is the active controller.
    sessions: Sessions,
    armed: Option<Instant>,
    /// Whom the lifecycle was told of.
    controller: Option<BrokerId>,
}

impl Broker {
    /// The broker of a process that has just begun.
    pub(crate) fn new(
        env: &mut Env,
        directory: DirectoryId,
        clean_stop_of: Option<BrokerEpoch>,
        remembered: Option<BrokerEpoch>,
    ) -> Self {
        let incarnation = registration::incarnation(remembered, env.fresh().to_be_bytes());
        let announced = RegisterBroker {
            directory_id: directory.0,
            endpoints: Vec::new(),
            rack: None,
            features: vec![FeatureRange { name: FORMAT_FEATURE.to_owned(), min: 1, max: FORMAT_NEWEST }],
            clean_stop_of,
        };
        Self {
            incarnation,
            lifecycle: BrokerLifecycle::new(incarnation, announced, LifecycleConfig::default()),
            outbox: Outbox::new(),
            sessions: Sessions::new(SessionLimits::default()),
            armed: None,
            controller: None,
        }
    }

    /// Whether the lifecycle is to be told of this controller; it counts as told.
    pub(crate) fn knows_another_controller(&mut self, controller: Option<BrokerId>) -> bool {
        std::mem::replace(&mut self.controller, controller) != controller
    }

    /// What its process is known by.
    pub(crate) const fn incarnation(&self) -> [u8; 16] {
        self.incarnation
    }

    /// The epoch of its registration.
    pub(crate) const fn epoch(&self) -> Option<BrokerEpoch> {
        self.lifecycle.epoch()
    }

    /// Whether nobody can have been elected in its place because it was silent.
    pub(crate) fn holds_lease(&self, now: Now) -> bool {
        self.lifecycle.holds_lease(now.mono)
    }

    /// Hands an input to the lifecycle.
    pub(crate) fn input(&mut self, env: &mut Env, here: Here, input: Input) -> Vec<Ordered> {
        self.lifecycle.handle(here.now, input, &mut self.outbox);
        self.run(env, here)
    }

    /// A deadline has passed, or moved.
    pub(crate) fn due(
        &mut self,
        env: &mut Env,
        here: Here,
        meta: &mut Meta,
        fixed: &ConfigMap,
    ) -> Vec<Ordered> {
        self.armed = None;
        self.lifecycle.handle_timeout(here.now, &mut self.outbox);
        self.fence_silent(env, here, meta, fixed);
        self.run(env, here)
    }

    /// A leader wants another ISR.
    pub(crate) fn propose(
        &mut self,
        env: &mut Env,
        here: Here,
        meta: &Meta,
        (partition, leader_epoch, partition_epoch): (TopicPartition, LeaderEpoch, PartitionEpoch),
        isr: &[replica::IsrMember],
    ) -> Vec<Ordered> {
        let member = |member: &replica::IsrMember| {
            let known = meta.image.broker(member.broker).map(|registration| registration.epoch);
            let epoch = member.broker_epoch.or(known).unwrap_or(BrokerEpoch(-1));
            IsrMember { id: member.broker, epoch }
        };
        let isr = isr.iter().map(member).collect();
        let item = AlterPartition { partition, leader_epoch, partition_epoch, isr };
        self.input(env, here, Input::Alter(item))
    }

    fn run(&mut self, env: &mut Env, here: Here) -> Vec<Ordered> {
        let mut ordered = Vec::new();
        let mut registered = None;
        for effect in self.outbox.drain() {
            match effect {
                Effect::Send { to, request } => {
                    env.send(here.node as Place, node_of(to) as Place, Message::BrokerRequest(request));
                }
                Effect::Registered(epoch) => {
                    ordered.push(Ordered::Registered(epoch));
                    registered = Some(epoch);
                }
                Effect::IsrAnswered { item, result } => ordered.push(Ordered::IsrAnswered {
                    partition: item.partition,
                    leader_epoch: item.leader_epoch,
                    proposed_at: item.partition_epoch,
                    proposed: item.isr.iter().map(proposed).collect(),
                    answer: result.map(accepted).map_err(refused),
                }),
                Effect::MayStop => ordered.push(Ordered::MayStop),
                Effect::Standing(standing) => {
                    let who = format_args!("node {}", here.broker());
                    env.trace.tell(env.now, who, format_args!("{standing:?}"));
                    if standing == Standing::Active
                        && let Some(epoch) = self.lifecycle.epoch()
                    {
                        // leaders that refused it while it was fenced are to hear of it again
                        ordered.push(Ordered::Registered(epoch));
                    }
                }
                Effect::ProducerIds(_) => {}
            }
        }
        if let Some(epoch) = registered {
            // what a disk of this driver notes, it notes at once
            ordered.extend(self.input(env, here, Input::Remembered(epoch)));
        }
        if env.truth.is_checking {
            self.lifecycle.assert_invariants();
        }
        let sessions = self.sessions.next_timeout().filter(|_| self.sessions.is_active());
        let next = [self.lifecycle.next_timeout(), sessions].into_iter().flatten().min();
        if let Some(next) = next.filter(|next| self.armed.is_none_or(|armed| *next < armed)) {
            self.armed = Some(next);
            let at = next.as_nanos().max(env.now + 1);
            env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due: Due::Broker });
        }
        ordered
    }

    /// This node became the active controller, or ceased to be.
    pub(crate) fn controller_changed(&mut self, env: &mut Env, here: Here, meta: &mut Meta) {
        let is_active = meta.controller().is_some();
        if is_active == self.sessions.is_active() {
            return;
        }
        if !is_active {
            return self.sessions.end();
        }
        self.sessions.begin(here.now.mono, &meta.image, meta.quorum.silent_predecessor());
        if let Some(controller) = meta.controller() {
            let records =
                controller.plan_cluster("simulated-cluster-0000", &[(FORMAT_FEATURE, FORMAT_NEWEST)]).records;
            if !records.is_empty() {
                meta.submit(env, here, records, Then::Nobody);
            }
        }
    }

    /// A connection to a node's process stands, or the process is gone.
    pub(crate) fn link(&mut self, here: Here, peer: BrokerId, is_up: bool) {
        if is_up {
            self.sessions.link_up(peer);
        } else {
            self.sessions.link_reset(here.now.mono, peer);
            self.sessions.link_refused(peer);
        }
    }

    fn fence_silent(&mut self, env: &mut Env, here: Here, meta: &mut Meta, fixed: &ConfigMap) {
        if meta.controller().is_none() {
            return;
        }
        let silent: Vec<_> = self.sessions.expired(here.now.mono).iter().map(|expired| expired.id).collect();
        let Some(controller) = meta.controller().filter(|_| !silent.is_empty()) else { return };
        let context = PlanContext { node: here.broker(), fixed };
        let records = controller.plan_fence_brokers(context, &silent).records;
        env.trace.tell(env.now, format_args!("node {}", here.broker()), format_args!("fences {silent:?}"));
        meta.submit(env, here, records, Then::Nobody);
    }

    /// Another broker's request, or this one's own.
    pub(crate) fn request(
        &mut self,
        env: &mut Env,
        here: Here,
        meta: &mut Meta,
        fixed: &ConfigMap,
        from: BrokerId,
        request: &BrokerRequest,
    ) {
        let (records, body) = match meta.controller() {
            None => (Vec::new(), BrokerReplyBody::NotController),
            Some(_) => self.plan(here, meta, fixed, from, request),
        };
        let then = Then::Broker { to: from, reply: request.reply(body) };
        meta.submit(env, here, records, then);
    }

    fn plan(
        &mut self,
        here: Here,
        meta: &Meta,
        fixed: &ConfigMap,
        from: BrokerId,
        request: &BrokerRequest,
    ) -> (Vec<highwater_core::metadata::Record>, BrokerReplyBody) {
        let controller = meta.controller().expect("it was asked for");
        let context = PlanContext { node: here.broker(), fixed };
        let now = here.now.mono;
        match &request.body {
            BrokerRequestBody::Register(announced) => {
                let incarnation = request.incarnation;
                let registration = Registration { id: from, incarnation, announced: announced.clone() };
                let is_alive = self.sessions.is_alive(now, from);
                let plan = controller.plan_register_broker(context, &registration, is_alive);
                let body = match plan.response {
                    Ok(broker_epoch) => {
                        self.sessions.heard(now, from, broker_epoch, highwater_core::ids::Offset::ZERO);
                        BrokerReplyBody::Registered { broker_epoch }
                    }
                    Err(why) => BrokerReplyBody::Refused(why),
                };
                (plan.records, body)
            }
            BrokerRequestBody::Heartbeat(heartbeat) => {
                let plan = controller.plan_heartbeat(context, from, heartbeat);
                let body = match plan.response {
                    Ok(mut reply) => {
                        let offset = heartbeat.metadata_offset;
                        self.sessions.heard(now, from, heartbeat.broker_epoch, offset);
                        if !meta.quorum.is_followed(now) {
                            return (plan.records, BrokerReplyBody::NotController);
                        }
                        if reply.may_stop {
                            let end = controller.latest().offset().plus(plan.records.len() as i64);
                            self.sessions.stops_behind(from, end);
                            reply.may_stop = self.sessions.may_stop(from, &meta.image);
                        }
                        BrokerReplyBody::Heartbeat(reply)
                    }
                    Err(why) => BrokerReplyBody::Refused(why),
                };
                (plan.records, body)
            }
            BrokerRequestBody::AlterPartitions { broker_epoch, items } => {
                let plan = controller.plan_alter_partitions(context, from, *broker_epoch, items);
                let body =
                    plan.response.map_or_else(BrokerReplyBody::Refused, BrokerReplyBody::PartitionsAltered);
                (plan.records, body)
            }
            BrokerRequestBody::ReplicaHealth { broker_epoch, items } => {
                let plan = controller.plan_replica_health(context, from, *broker_epoch, items);
                let noted = |()| BrokerReplyBody::ReplicaHealthNoted;
                (plan.records, plan.response.map_or_else(BrokerReplyBody::Refused, noted))
            }
            BrokerRequestBody::AllocateProducerIds { broker_epoch } => {
                let plan = controller.plan_allocate_producer_ids(from, *broker_epoch);
                let body = match plan.response {
                    Ok(block) => BrokerReplyBody::ProducerIds { first: block.first, len: block.len },
                    Err(why) => BrokerReplyBody::Refused(why),
                };
                (plan.records, body)
            }
        }
    }
}

const fn proposed(member: &IsrMember) -> replica::IsrMember {
    replica::IsrMember { broker: member.id, broker_epoch: Some(member.epoch) }
}

fn accepted(altered: AlteredPartition) -> IsrAccepted {
    let AlteredPartition { leader_epoch, partition_epoch, isr, .. } = altered;
    IsrAccepted { leader_epoch, partition_epoch, isr }
}

const fn refused(why: AlterPartitionRefusal) -> IsrRefusal {
    match why {
        AlterPartitionRefusal::IneligibleReplica => IsrRefusal::Ineligible,
        AlterPartitionRefusal::NewerEpochs => IsrRefusal::Retry,
        AlterPartitionRefusal::UnknownTopicId
        | AlterPartitionRefusal::UnknownPartition
        | AlterPartitionRefusal::FencedLeaderEpoch
        | AlterPartitionRefusal::InvalidRequest
        | AlterPartitionRefusal::StalePartitionEpoch => IsrRefusal::Stale,
    }
}
