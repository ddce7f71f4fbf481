//! A simulated node: metadata replica, broker, partition cells, and what its disk keeps from life to life.

use super::broker::{Broker, Ordered};
use super::cell::Cell;
use super::env::{Env, Here, Hook, Local, broker_of};
use super::member::OFFSETS_TOPIC;
use super::message::{AdminRequest, Due, Message, Order, Request, Response};
use super::meta::{Meta, MetaDisk, Then};
use super::network::Place;
use super::queue::Time;
use super::replication::Replication;
use super::store::SimLog;
use highwater_core::batch::StampedBatch;
use highwater_core::config::ConfigMap;
use highwater_core::coordinator::group::{GroupCoordinator, GroupRequest};
use highwater_core::coordinator::{Coordinator, LoadId};
use highwater_core::error_code::ErrorCode;
use highwater_core::guard;
use highwater_core::ids::{BrokerEpoch, DirectoryId, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::metadata::{Controller, MetadataImage, PartitionState, PlanContext, Record};
use highwater_core::quorum::{self, VoterSet};
use highwater_core::registration;
use highwater_core::replica::{Input, Leadership, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What survives a process, beside the metadata.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Partition logs, as they lay there when the process ended.
    pub(crate) logs: BTreeMap<TopicPartition, SimLog<StampedBatch>>,
    /// Those of them of which the device holds something else than was written. Nobody knows before they are opened.
    pub(crate) corrupt: BTreeSet<TopicPartition>,
    /// Checkpoints of high watermarks; they lag.
    high_watermarks: BTreeMap<TopicPartition, Offset>,
    /// The registration under which the last process stopped in good order.
    clean_stop_of: Option<BrokerEpoch>,
    /// The last registration that a process here heard of. On the device at once.
    remembered: Option<BrokerEpoch>,
}

/// Whether a node's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Up,
    /// Stopped by a signal, or in a long collection: what reaches it waits.
    Paused,
    Down,
}

/// What only a process has.
#[derive(Debug)]
struct Life {
    meta: Meta,
    broker: Broker,
    replication: Replication,
    /// The metadata know this process: only since then do partitions take roles. What was decided about the process
    /// before it was decided about a log that this one may have lost.
    is_known: bool,
    connections: Connections,
}

/// The clients' connections: what follows on something lost never arrives, as TCP has it.
#[derive(Debug, Default)]
struct Connections {
    next: BTreeMap<Place, Order>,
}

impl Connections {
    fn takes(&mut self, client: Place, order: Order) -> bool {
        let next = self.next.entry(client).or_default();
        let is_new = order.number == 0 && order.connection >= next.connection;
        let takes = is_new || order == *next;
        if takes {
            *next = Order { connection: order.connection, number: order.number + 1 };
        }
        takes
    }
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) life: u32,
    pub(crate) standing: Standing,
    pub(crate) cells: BTreeMap<TopicPartition, Cell>,
    pub(crate) disk: Disk,
    /// While no process runs.
    meta_disk: Option<MetaDisk>,
    process: Option<Box<Life>>,
    directory: DirectoryId,
    fixed: ConfigMap,
    is_durable: bool,
    /// How its process is to die once its disk's fuse has burned down.
    pub(crate) dies_without_power: bool,
    /// When its process last ended in any other way than in good order.
    pub(crate) ended_at: Option<Time>,
    /// When one of its logs was last found corrupt.
    pub(crate) corrupted_at: Option<Time>,
    /// When it last lost what was not flushed.
    pub(crate) lost_power_at: Option<Time>,
}

/// The directory that the node in this place begins with.
pub(crate) const fn directory_of(index: usize) -> DirectoryId {
    DirectoryId([index as u8 + 1; 16])
}

/// The directory that it has once it has lost that one.
const fn next_directory_of(index: usize) -> DirectoryId {
    DirectoryId([index as u8 + 0x81; 16])
}

impl Node {
    pub(crate) fn new(index: usize, voters: VoterSet, fixed: ConfigMap, is_durable: bool) -> Self {
        let directory = directory_of(index);
        Self {
            index,
            life: 0,
            standing: Standing::Down,
            cells: BTreeMap::new(),
            disk: Disk::default(),
            meta_disk: Some(MetaDisk::new(directory, voters)),
            process: None,
            directory,
            fixed,
            is_durable,
            dies_without_power: false,
            ended_at: None,
            corrupted_at: None,
            lost_power_at: None,
        }
    }

    /// Whether acks=all waits for the disk.
    pub(crate) const fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// The metadata replica of the running process.
    pub(crate) fn meta(&self) -> Option<&Meta> {
        self.process.as_deref().map(|life| &life.meta)
    }

    /// The metadata on the disk, whether or not a process runs.
    pub(crate) fn meta_disk(&self) -> &MetaDisk {
        let of_process = self.meta().map(|meta| &meta.disk);
        of_process.or(self.meta_disk.as_ref()).expect("the disk is the process's or nobody's")
    }

    /// Whether `image` knows this life of the broker.
    pub(crate) fn is_registered(&self, image: &MetadataImage) -> bool {
        let epoch = self.process.as_deref().and_then(|life| life.broker.epoch());
        epoch.is_some() && image.broker(broker_of(self.index)).map(|known| known.epoch) == epoch
    }

    pub(crate) fn here(&self, env: &Env) -> Here {
        let now = env.clock();
        let holds_lease = self.process.as_deref().is_some_and(|life| life.broker.holds_lease(now));
        Here { node: self.index, life: self.life, now, holds_lease }
    }

    /// Whether a replica here serves nothing because its log failed, or is corrupt.
    pub(crate) fn lacks_a_log(&self) -> bool {
        !self.disk.corrupt.is_empty() || self.has_failed_log()
    }

    /// Whether a log has failed in this life.
    pub(crate) fn has_failed_log(&self) -> bool {
        self.cells.values().any(Cell::has_failed)
    }

    /// The process begins a new life over what the disk keeps.
    pub(crate) fn start(&mut self, env: &mut Env) {
        assert_eq!(self.standing, Standing::Down, "only a node that is down starts");
        self.life += 1;
        self.standing = Standing::Up;
        env.disks[self.index].fuse = None;
        env.disks[self.index].flush_fails = false;
        env.disks[self.index].log_fails = false;
        let here = self.here(env);
        let disk = self.meta_disk.take().expect("no process has the disk");
        let meta = Meta::open(env, here, disk);
        // the marker of a clean stop is gone before anything else is opened
        let clean_stop_of = self.disk.clean_stop_of.take();
        let broker = Broker::new(env, self.directory, clean_stop_of, self.disk.remembered);
        let replication = Replication::default();
        self.process = Some(Box::new(Life {
            meta,
            broker,
            replication,
            is_known: false,
            connections: Connections::default(),
        }));
        self.settle(env);
    }

    /// The process ends here and now; the page cache may go with it.
    pub(crate) fn end(&mut self, env: &mut Env, loses_power: bool) {
        self.standing = Standing::Down;
        let Some(life) = self.process.take() else { return };
        if self.disk.clean_stop_of.is_none() {
            self.ended_at = Some(env.now);
        }
        let mut meta_disk = life.meta.disk;
        for (id, cell) in std::mem::take(&mut self.cells) {
            let lag = env.disk_rng().below(20) as i64;
            let checkpoint = Offset((cell.replica.high_watermark().0 - lag).max(0));
            self.disk.high_watermarks.insert(id, checkpoint);
            self.disk.logs.insert(id, cell.log);
        }
        if loses_power {
            self.lost_power_at = Some(env.now);
            meta_disk.lose_power(env);
            for log in self.disk.logs.values_mut() {
                log.lose_power(env.disk_rng());
            }
        }
        self.meta_disk = Some(meta_disk);
    }

    /// Whether it has the disk that it began with: no run takes more than one away.
    pub(crate) fn has_first_disk(&self) -> bool {
        self.directory == directory_of(self.index)
    }

    /// Its disk is lost while no process runs, and another, empty one takes its place. It was told who voted at the
    /// beginning, as its configuration names them.
    pub(crate) fn lose_disk(&mut self, env: &Env, voters: VoterSet) {
        assert_eq!(self.standing, Standing::Down, "a process would have the disk");
        self.directory = next_directory_of(self.index);
        self.disk = Disk::default();
        self.meta_disk = Some(MetaDisk::new(self.directory, voters));
        (self.ended_at, self.corrupted_at, self.lost_power_at) =
            (Some(env.now), Some(env.now), Some(env.now));
    }

    /// The process is asked to stop in good order.
    pub(crate) fn shut_down(&mut self, env: &mut Env) {
        self.broker_input(env, registration::Input::Shutdown);
        self.settle(env);
    }

    /// A message arrives.
    pub(crate) fn receive(&mut self, env: &mut Env, from: Place, message: Message) {
        let here = self.here(env);
        let broker = broker_of(from as usize);
        let Some(life) = self.process.as_deref_mut() else { return };
        let Life { meta, broker: own, replication, .. } = life;
        match message {
            Message::Request { id, order, body } => {
                if life.connections.takes(from, order) {
                    self.request(env, from, id, body);
                }
            }
            Message::Response { .. } => unreachable!("nodes ask clients nothing"),
            Message::Quorum { from, message, payload } => {
                meta.input(env, here, quorum::Input::Received { from, message, payload });
            }
            Message::BrokerRequest(request) => own.request(env, here, meta, &self.fixed, broker, &request),
            Message::BrokerReply(reply) => self.broker_input(env, registration::Input::Reply(reply)),
            Message::ReplicaFetch(fetch) => {
                replication.fetched(env, here, &mut self.cells, broker, &fetch);
            }
            Message::ReplicaFetchReply { reply, parts } => {
                replication.replied(env, here, &mut self.cells, broker, reply, parts);
            }
            Message::Link { is_up } => {
                let link =
                    if is_up { quorum::Input::LinkUp(broker) } else { quorum::Input::LinkDown(broker) };
                meta.input(env, here, link);
                own.link(here, broker, is_up);
                replication.link(env, here, &mut self.cells, broker, is_up);
            }
        }
        self.settle(env);
    }

    /// A message of a client.
    fn request(&mut self, env: &mut Env, client: Place, id: u64, body: Request) {
        let here = self.here(env);
        let who = (client, id);
        let unknown = ErrorCode::UnknownTopicOrPartition;
        match body {
            Request::Metadata => {
                let image = self.meta().map_or_else(Arc::default, |meta| meta.image.clone());
                self.respond(env, who, Response::Metadata(image));
            }
            Request::Produce { partition, batch, acks } => match self.cells.get_mut(&partition) {
                Some(cell) => cell.produce(env, here, who, batch, acks),
                None => self.respond(env, who, Response::Produce(Err(unknown.into()))),
            },
            Request::Fetch { partition, from } => match self.cells.get_mut(&partition) {
                Some(cell) => cell.fetch(env, here, who, from),
                None => self.respond(env, who, Response::Fetch(Err(unknown))),
            },
            Request::Latest { partition, leader_epoch } => {
                let cell = self.cells.get(&partition);
                let answer = cell.map_or(Err(unknown), |cell| cell.latest(leader_epoch));
                self.respond(env, who, Response::Latest(answer));
            }
            Request::Group { coordinator, request } => {
                match self.coordinator_cell(here, coordinator, &request) {
                    Some(cell) => cell.coordinate(env, here, who, *request),
                    None => {
                        let refused =
                            <GroupCoordinator as Coordinator>::refuse(*request, ErrorCode::NotCoordinator);
                        self.respond(env, who, Response::Group(Box::new(refused)));
                    }
                }
            }
            Request::Admin(request) => self.administer(env, who, &request),
        }
    }

    fn respond(&self, env: &mut Env, (client, id): (Place, u64), body: Response) {
        env.send(self.index as Place, client, Message::Response { id, body });
    }

    fn coordinator_cell(
        &mut self,
        here: Here,
        index: PartitionIndex,
        request: &GroupRequest,
    ) -> Option<&mut Cell> {
        let is_read = matches!(request, GroupRequest::OffsetFetch(_));
        if is_read && !guard!(CoordinatorLease, here.holds_lease) {
            return None;
        }
        let topic_id = self.meta()?.image.topic(OFFSETS_TOPIC)?.id;
        self.cells.get_mut(&TopicPartition { topic_id, partition: index })
    }

    /// Something is due.
    pub(crate) fn due(&mut self, env: &mut Env, due: Due) {
        let here = self.here(env);
        let Some(life) = self.process.as_deref_mut() else { return };
        let Life { meta, broker, replication, .. } = life;
        match due {
            Due::Quorum => meta.due(env, here),
            Due::QuorumFlushed { through, cuts } => meta.flushed(env, here, through, cuts),
            Due::VoteStored(vote) => meta.vote_stored(env, here, vote),
            Due::Broker => {
                let ordered = broker.due(env, here, meta, &self.fixed);
                self.obey(env, ordered);
            }
            Due::Fetcher(leader) => replication.fetcher_due(env, here, &mut self.cells, leader),
            Due::Session(follower) => replication.session_due(env, here, &mut self.cells, follower),
            Due::Cell(partition)
            | Due::Flushed { partition, .. }
            | Due::Appended(partition)
            | Due::FetchWait { partition, .. }
            | Due::Loaded { partition, .. } => self.cell_due(env, here, partition, due),
        }
        self.settle(env);
    }

    fn cell_due(&mut self, env: &mut Env, here: Here, partition: TopicPartition, due: Due) {
        let Some(cell) = self.cells.get_mut(&partition) else { return };
        match due {
            Due::Cell(_) => cell.due(env, here),
            Due::Flushed { through, truncations, .. } => cell.flushed(env, here, through, truncations),
            Due::Appended(_) => cell.append_comes_back(env, here),
            Due::FetchWait { token, .. } => cell.fetch_due(env, here, token),
            Due::Loaded { load, .. } => cell.loaded(env, here, LoadId(load)),
            _ => {}
        }
    }

    fn broker_input(&mut self, env: &mut Env, input: registration::Input) {
        let here = self.here(env);
        let Some(life) = self.process.as_deref_mut() else { return };
        let ordered = life.broker.input(env, here, input);
        self.obey(env, ordered);
    }

    fn obey(&mut self, env: &mut Env, ordered: Vec<Ordered>) {
        let here = self.here(env);
        for order in ordered {
            let Some(life) = self.process.as_deref_mut() else { return };
            match order {
                Ordered::Registered(epoch) => {
                    self.disk.remembered = Some(epoch);
                    life.replication.registered(env, here, &mut self.cells, epoch);
                }
                Ordered::IsrAnswered { partition, leader_epoch, proposed_at, proposed, answer } => {
                    if env.trace.is_recording() {
                        let name = env.truth.name_of(partition);
                        let who = format_args!("node {}", here.broker());
                        env.trace.tell(
                            env.now,
                            who,
                            format_args!("is answered for {name} at {proposed_at}: {answer:?}"),
                        );
                    }
                    if let Some(cell) = self.cells.get_mut(&partition) {
                        let answered = Input::IsrAnswered { leader_epoch, proposed_at, proposed, answer };
                        cell.input(env, here, answered);
                    }
                }
                Ordered::MayStop => {
                    // a log that failed cannot be closed in order
                    let is_clean = !self.cells.values().any(Cell::has_failed);
                    self.disk.clean_stop_of = life.broker.epoch().filter(|_| is_clean);
                    env.hooks.push(Hook::Stopped { node: self.index });
                }
            }
        }
    }

    /// Does what the steps so far have left to do, until nothing is left.
    fn settle(&mut self, env: &mut Env) {
        let here = self.here(env);
        loop {
            if let Some(local) = env.local.pop() {
                self.take(env, here, local);
                continue;
            }
            let Some(life) = self.process.as_deref_mut() else { return };
            if let Some(applied) = life.meta.take_applied() {
                env.truth.applied(here.broker(), &applied.image);
                let was_known = life.is_known;
                let known = applied.image.broker(here.broker()).map(|known| known.incarnation);
                life.is_known = was_known || known == Some(life.broker.incarnation());
                if life.is_known && (applied.is_whole || !was_known) {
                    self.apply_whole(env, &applied.image);
                } else if life.is_known {
                    self.apply(env, &applied.image, &applied.records);
                }
                if was_known {
                    self.mend_replicas(env, &applied.image);
                }
                let takes_health = applied.image.takes_replica_health();
                self.broker_input(env, registration::Input::TakesHealth(takes_health));
                self.broker_input(env, registration::Input::Applied(applied.image.offset()));
                continue;
            }
            let controller = life.meta.quorum.leader().map(|leader| leader.id);
            life.broker.controller_changed(env, here, &mut life.meta);
            if life.broker.knows_another_controller(controller) {
                self.broker_input(env, registration::Input::Controller(controller));
                continue;
            }
            if !env.local.is_empty() || life.meta.has_applied() {
                continue;
            }
            if !life.replication.hand_in(env, here, &mut self.cells) {
                break;
            }
        }
    }

    fn take(&mut self, env: &mut Env, here: Here, local: Local) {
        let Some(life) = self.process.as_deref_mut() else { return };
        match local {
            Local::Propose { partition, leader_epoch, partition_epoch, isr } => {
                if env.trace.is_recording() {
                    let name = env.truth.name_of(partition);
                    let ids: Vec<_> = isr.iter().map(|member| member.broker.0).collect();
                    let who = format_args!("node {}", here.broker());
                    env.trace.tell(
                        env.now,
                        who,
                        format_args!("proposes {ids:?} for {name} at {partition_epoch}"),
                    );
                }
                let at = (partition, leader_epoch, partition_epoch);
                let ordered = life.broker.propose(env, here, &life.meta, at, &isr);
                self.obey(env, ordered);
            }
            Local::LogFailed { partition } => self.tell_health(env, partition, true),
            Local::Woken { broker, slot } => {
                life.replication.woken(env, here, &mut self.cells, broker, slot);
            }
            Local::Moved { partition, before } => {
                life.replication.moved(&self.cells, partition, before);
            }
        }
    }

    fn administer(&mut self, env: &mut Env, who: (Place, u64), request: &AdminRequest) {
        let here = self.here(env);
        let context = PlanContext { node: here.broker(), fixed: &self.fixed };
        let Some(life) = self.process.as_deref_mut() else { return };
        let Some(controller) = life.meta.controller() else {
            return self.respond(env, who, Response::Admin(ErrorCode::NotController));
        };
        let change = match *request {
            AdminRequest::RemoveVoter(voter) => Some((voter, false)),
            AdminRequest::AddVoter(voter) => Some((voter, true)),
            _ => None,
        };
        if let Some((voter, is_added)) = change {
            return life.meta.change_voters(env, here, who, voter, is_added);
        }
        let (records, code) = plan(controller, context, env, request);
        let then = Then::Client { client: who.0, id: who.1, code };
        life.meta.submit(env, here, records, then);
    }

    /// Takes committed metadata: opens, leads, follows and drops partitions.
    fn apply(&mut self, env: &mut Env, image: &MetadataImage, records: &[Record]) {
        let here = self.here(env);
        for record in records {
            match record {
                Record::Partition { partition, state } | Record::PartitionChange { partition, state } => {
                    self.apply_partition(env, here, image, *partition, state);
                }
                Record::RemoveTopic { id } => self.drop_topic(env, here, *id),
                Record::Config { .. } => self.reconfigure(env, here, image),
                _ => {}
            }
        }
    }

    /// Takes an image of which it is not known what changed.
    fn apply_whole(&mut self, env: &mut Env, image: &MetadataImage) {
        let here = self.here(env);
        let known: Vec<_> = self.cells.keys().map(|id| id.topic_id).collect();
        for id in known {
            if image.topic_by_id(id).is_none() {
                self.drop_topic(env, here, id);
            }
        }
        for topic in image.topics() {
            for (index, state) in topic.partitions.iter() {
                let partition = TopicPartition { topic_id: topic.id, partition: *index };
                self.apply_partition(env, here, image, partition, state);
            }
        }
        self.reconfigure(env, here, image);
    }

    fn apply_partition(
        &mut self,
        env: &mut Env,
        here: Here,
        image: &MetadataImage,
        id: TopicPartition,
        state: &PartitionState,
    ) {
        let Some(topic) = image.topic_by_id(id.topic_id) else { return };
        let is_coordinator = &*topic.name == OFFSETS_TOPIC;
        env.truth.watch(id, &topic.name, is_coordinator);
        let me = here.broker();
        if !state.replicas.contains(&me) {
            if let Some(mut cell) = self.cells.remove(&id) {
                cell.input(env, here, Input::Delete);
            }
            self.forget(env, id);
            return;
        }
        if self.disk.corrupt.contains(&id) {
            // it is found when the log is opened; the lifecycle tells it once
            return self.tell_health(env, id, true);
        }
        if !self.cells.contains_key(&id) {
            let log = self.disk.logs.remove(&id).unwrap_or_default();
            let checkpoint = self.disk.high_watermarks.get(&id).copied().unwrap_or_default();
            let settings = self.settings(image, id.topic_id);
            let cell = Cell::open(id, here, log, settings, checkpoint, is_coordinator);
            self.cells.insert(id, cell);
        }
        let cell = self.cells.get_mut(&id).expect("it was opened above");
        if state.leader == Some(me) {
            let leadership = Leadership {
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                replicas: state.replicas.clone(),
                isr: state.isr.clone(),
            };
            cell.lead(env, here, leadership);
        } else {
            let (leader, leader_epoch) = (state.leader, state.leader_epoch);
            let follow = Input::Follow { leader, leader_epoch, partition_epoch: state.partition_epoch };
            cell.follow(env, here, follow);
        }
    }

    /// A replica is here no more, nor its log.
    fn forget(&mut self, env: &mut Env, id: TopicPartition) {
        self.disk.logs.remove(&id);
        self.disk.high_watermarks.remove(&id);
        self.disk.corrupt.remove(&id);
        self.broker_input(env, registration::Input::Removed(id));
    }

    fn tell_health(&mut self, env: &mut Env, partition: TopicPartition, is_failed: bool) {
        self.broker_input(env, registration::Input::Health { partition, is_failed });
    }

    /// Makes those corrupt replicas anew that nobody counts on any more, as `mending` of the node does.
    fn mend_replicas(&mut self, env: &mut Env, image: &MetadataImage) {
        let me = broker_of(self.index);
        let known: Vec<_> = self.disk.corrupt.iter().copied().collect();
        for id in known {
            let Some(state) = image.partition(id).filter(|state| state.replicas.contains(&me)) else {
                self.forget(env, id);
                continue;
            };
            let is_led = state.leader.is_some_and(|leader| leader != me);
            let is_counted_on = state.isr.contains(&me) || state.elr.contains(&me);
            if image.is_failed(id, me) && is_led && !is_counted_on {
                let who = format_args!("node {}", self.index + 1);
                env.trace.tell(env.now, who, format_args!("sets {} aside", env.truth.name_of(id)));
                self.disk.corrupt.remove(&id);
                self.disk.logs.remove(&id);
                self.disk.high_watermarks.remove(&id);
                let here = self.here(env);
                self.apply_partition(env, here, image, id, state);
                self.tell_health(env, id, false);
            }
        }
    }

    fn drop_topic(&mut self, env: &mut Env, here: Here, id: TopicId) {
        let gone: Vec<_> = self.cells.keys().filter(|cell| cell.topic_id == id).copied().collect();
        for partition in &gone {
            if let Some(mut cell) = self.cells.remove(partition) {
                cell.input(env, here, Input::Delete);
            }
        }
        let on_disk = self.disk.logs.keys().chain(self.disk.high_watermarks.keys());
        let stored = on_disk.filter(|partition| partition.topic_id == id).copied();
        for partition in gone.into_iter().chain(stored).collect::<BTreeSet<_>>() {
            self.forget(env, partition);
        }
    }

    fn reconfigure(&mut self, env: &mut Env, here: Here, image: &MetadataImage) {
        let partitions: Vec<_> = self.cells.keys().copied().collect();
        for partition in partitions {
            let settings = self.settings(image, partition.topic_id);
            if let Some(cell) = self.cells.get_mut(&partition)
                && *cell.replica.settings() != settings
            {
                cell.input(env, here, Input::Configure(settings));
            }
        }
    }

    fn settings(&self, image: &MetadataImage, topic: TopicId) -> Settings {
        let config = image.topic_config(broker_of(self.index), &self.fixed, topic);
        Settings {
            min_isr: usize::try_from(config.insync_replicas_min).unwrap_or(1),
            acks_durable: self.is_durable,
            flush_interval: Some(Duration::from_millis(200)),
            lag_max: Duration::from_millis(1500),
            ..Settings::default()
        }
    }
}

fn plan(
    controller: &Controller,
    context: PlanContext<'_>,
    env: &mut Env,
    request: &AdminRequest,
) -> (Vec<Record>, ErrorCode) {
    match request {
        AdminRequest::CreateTopics(request) => {
            let ids: Vec<_> = request.topics.iter().map(|_| topic_id(env.fresh())).collect();
            let plan = controller.plan_create_topics(context, request, &ids);
            (plan.records, plan.response.topics.first().map_or(ErrorCode::None, |topic| topic.error_code))
        }
        AdminRequest::DeleteTopics(request) => {
            let plan = controller.plan_delete_topics(context, request);
            let first = plan.response.responses.first();
            (plan.records, first.map_or(ErrorCode::None, |topic| topic.error_code))
        }
        AdminRequest::CreatePartitions(request) => {
            let plan = controller.plan_create_partitions(request);
            let first = plan.response.results.first();
            (plan.records, first.map_or(ErrorCode::None, |topic| topic.error_code))
        }
        AdminRequest::AlterConfigs(request) => {
            let plan = controller.plan_incremental_alter_configs(context, request);
            let first = plan.response.responses.first();
            (plan.records, first.map_or(ErrorCode::None, |resource| resource.error_code))
        }
        AdminRequest::Reassign(request) => {
            let plan = controller.plan_alter_reassignments(context, request);
            let first = plan.response.responses.first().and_then(|topic| topic.partitions.first());
            (plan.records, first.map_or(plan.response.error_code, |partition| partition.error_code))
        }
        AdminRequest::ElectLeaders(request) => {
            let plan = controller.plan_elect_leaders(context, request);
            (plan.records, plan.response.error_code)
        }
        AdminRequest::RemoveVoter(_) | AdminRequest::AddVoter(_) => {
            unreachable!("voters are the quorum's, not the controller's")
        }
    }
}

/// A topic id that follows from a number of the run.
fn topic_id(number: u64) -> TopicId {
    let mut id = [0x5a; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[8..].copy_from_slice(&number.to_be_bytes());
    TopicId(id)
}
