//! A node's replica of the metadata log: the quorum machine over a simulated log, the image, and the controller.
//!
//! Everything that is committed is replayed into the image. The active controller plans on its own state, appends by
//! proposing, and answers only once its records are committed; what was not when it lost the lead is answered with
//! NOT_CONTROLLER, for nobody knows what becomes of it.

use super::env::{Env, Here, Hook};
use super::message::{Due, Event, Message, Response};
use super::network::Place;
use super::queue::Time;
use super::store::{SimLog, Stored};
use bytes::{Bytes, BytesMut};
use highwater_core::batch::{self, Builder, Codec};
use highwater_core::error_code::ErrorCode;
use highwater_core::guard;
use highwater_core::ids::{BrokerId, DirectoryId, Offset, PartitionIndex, Token, TopicId, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::metadata::peer::{BrokerReply, BrokerReplyBody};
use highwater_core::metadata::{Controller, MetadataImage, Record};
use highwater_core::quorum::{
    ControlRecord, Effect, Input, LogBatch, Message as QuorumMessage, Quorum, QuorumConfig, Recovered,
    ReplicaKey, Role, SnapshotId, VoteRecord, Voter, VoterChangeError, VoterHistory, VoterSet,
    control_records,
};
use highwater_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The metadata log, as the oracles know it.
pub(crate) const METADATA: TopicPartition =
    TopicPartition { topic_id: TopicId([0; 16]), partition: PartitionIndex(0) };

/// A snapshot is taken every so many records.
const SNAPSHOT_INTERVAL: i64 = 60;

/// The most bytes in an answer to a fetch, and in a piece of a snapshot: small, so that both come in several.
const FETCH_BYTES_MAX: usize = 2_000;

/// How long a new voter may take to catch up: less than an operator waits.
const VOTER_WAIT: Duration = Duration::from_millis(1500);

/// What a node's disk keeps of the metadata.
#[derive(Clone, Debug)]
pub(crate) struct MetaDisk {
    directory_id: DirectoryId,
    vote: Option<VoteRecord>,
    log: SimLog<LogBatch>,
    start: SnapshotId,
    snapshots: BTreeMap<SnapshotId, Bytes>,
    /// The set of voters that the node was formatted with.
    voters: VoterSet,
}

impl MetaDisk {
    /// A disk that was just formatted, with these voters.
    pub(crate) fn new(directory_id: DirectoryId, voters: VoterSet) -> Self {
        Self {
            directory_id,
            vote: None,
            log: SimLog::default(),
            start: SnapshotId::default(),
            snapshots: BTreeMap::new(),
            voters,
        }
    }

    /// Whom a voter has to name to mean this disk.
    pub(crate) const fn directory_id(&self) -> DirectoryId {
        self.directory_id
    }

    /// The voters that it was formatted with.
    pub(crate) const fn first_voters(&self) -> &VoterSet {
        &self.voters
    }

    pub(crate) const fn log(&self) -> &SimLog<LogBatch> {
        &self.log
    }

    /// The power went: the log's unflushed tail is gone, votes and snapshots were synced.
    pub(crate) fn lose_power(&mut self, env: &mut Env) {
        self.log.lose_power(env.disk_rng());
    }

    /// What a process finds when it starts.
    fn recovered(&self) -> (Recovered, MetadataImage) {
        let (end, flushed) = (self.log.end(), self.log.flushed());
        let snapshot = self.snapshots.keys().next_back().copied();
        let start = self.start;
        let mut voters = VoterHistory::new(self.voters.clone());
        let mut has_voters_record = false;
        let mut image = MetadataImage::default();
        if let Some(bytes) = self.snapshots.get(&start) {
            let (restored, set) = read_snapshot(bytes, start).expect("a snapshot of its own reads");
            (image, voters, has_voters_record) = (restored, VoterHistory::new(set), true);
        }
        for stored in self.log.batches().filter(|stored| stored.header().attributes.is_control()) {
            for (offset, record) in control_records(&stored.batch.bytes).expect("it was appended") {
                if let ControlRecord::Voters(set) = record {
                    voters.push(offset, set);
                    has_voters_record = true;
                }
            }
        }
        let mut epochs = highwater_core::replica::Epochs::new();
        for entry in self.log.scanned_epochs() {
            assert!(epochs.assign(entry.epoch, entry.start), "a scanned index rises");
        }
        let recovered =
            Recovered { vote: self.vote, start, snapshot, end, flushed, epochs, voters, has_voters_record };
        (recovered, image)
    }
}

fn read_snapshot(bytes: &[u8], id: SnapshotId) -> Option<(MetadataImage, VoterSet)> {
    let (records, voters): (Vec<Record>, VoterSet) = postcard::from_bytes(bytes).ok()?;
    Some((MetadataImage::restore(&records, id.end), voters))
}

/// Who waits for records to be committed.
#[derive(Debug)]
pub(crate) enum Then {
    Client { client: Place, id: u64, code: ErrorCode },
    Broker { to: BrokerId, reply: BrokerReply },
    Nobody,
}

/// What became committed, for the node to act on.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) image: Arc<MetadataImage>,
    pub(crate) records: Vec<Record>,
    /// The image came from a snapshot: what changed is not known.
    pub(crate) is_whole: bool,
}

/// The metadata replica of one life of a node.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) disk: MetaDisk,
    pub(crate) quorum: Quorum,
    pub(crate) image: Arc<MetadataImage>,
    /// While this node is the active controller.
    controller: Option<Controller>,
    pending: VecDeque<(Offset, Then)>,
    outbox: Outbox<Effect>,
    queue: VecDeque<Effect>,
    inputs: VecDeque<Input>,
    download: BytesMut,
    armed: Option<Instant>,
    is_flushing: bool,
    /// When the vote that was asked for last will be on the device.
    vote_stored_at: Time,
    cuts: u32,
    applied: VecDeque<Applied>,
    /// Who waits for a change of voters.
    voter_changes: BTreeMap<Token, Place>,
}

impl Meta {
    /// Begins a life over what the disk keeps.
    pub(crate) fn open(env: &mut Env, here: Here, disk: MetaDisk) -> Self {
        let me = ReplicaKey { id: here.broker(), directory_id: disk.directory_id };
        let (recovered, image) = disk.recovered();
        let seed = env.fresh();
        let quorum = Quorum::new(me, QuorumConfig::default(), seed, recovered, here.now);
        let image = Arc::new(image);
        let mut meta = Self {
            disk,
            quorum,
            image: image.clone(),
            controller: None,
            pending: VecDeque::new(),
            outbox: Outbox::new(),
            queue: VecDeque::new(),
            inputs: VecDeque::new(),
            download: BytesMut::new(),
            armed: None,
            is_flushing: false,
            vote_stored_at: 0,
            cuts: 0,
            applied: VecDeque::from([Applied { image, records: Vec::new(), is_whole: true }]),
            voter_changes: BTreeMap::new(),
        };
        meta.arm(env, here);
        meta
    }

    /// The controller, if this node is the active one.
    pub(crate) const fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// What became committed since this was last asked.
    pub(crate) fn take_applied(&mut self) -> Option<Applied> {
        self.applied.pop_front()
    }

    /// Whether something became committed since.
    pub(crate) fn has_applied(&self) -> bool {
        !self.applied.is_empty()
    }

    /// Hands one input in and carries out what follows.
    pub(crate) fn input(&mut self, env: &mut Env, here: Here, input: Input) {
        self.inputs.push_back(input);
        self.run(env, here);
    }

    /// A deadline of the machine has passed, or moved.
    pub(crate) fn due(&mut self, env: &mut Env, here: Here) {
        self.armed = None;
        self.quorum.handle_timeout(here.now, &mut self.outbox);
        self.run(env, here);
    }

    /// A flush of the log has come back.
    pub(crate) fn flushed(&mut self, env: &mut Env, here: Here, through: Offset, cuts: u32) {
        self.is_flushing = false;
        if !env.disk_operation(here.node) {
            return;
        }
        if cuts == self.cuts {
            self.disk.log.mark_flushed(through);
            self.input(env, here, Input::Flushed { through });
        }
        if self.disk.log.flushed() < self.disk.log.end() {
            self.flush(env, here);
        }
    }

    /// A vote has been stored.
    pub(crate) fn vote_stored(&mut self, env: &mut Env, here: Here, vote: VoteRecord) {
        if env.disk_operation(here.node) {
            self.disk.vote = Some(vote);
            self.input(env, here, Input::VoteStored(vote));
        }
    }

    /// Appends a plan's records; `then` is told once they are committed, or at once if there are none.
    pub(crate) fn submit(&mut self, env: &mut Env, here: Here, records: Vec<Record>, then: Then) {
        let Some(controller) = self.controller.as_mut().filter(|_| self.quorum.is_active()) else {
            return answer(env, here, then, None);
        };
        if records.is_empty() {
            // it may tell of what is appended and not yet committed (CQ-11)
            let end = controller.latest().offset();
            if guard!(AnswerCommitted, end <= self.quorum.high_watermark()) {
                return answer(env, here, then, Some(end));
            }
            self.pending.push_back((end, then));
            return;
        }
        let mut builder = Builder::new(Codec::None);
        for record in &records {
            builder.push(here.now.wall, None, Some(&record.encode()), &[]);
        }
        let end = controller.appended(records);
        self.pending.push_back((end, then));
        self.input(env, here, Input::Propose(builder.build()));
    }

    /// An operator's change of voters; answered once it is committed, or will not be.
    pub(crate) fn change_voters(
        &mut self,
        env: &mut Env,
        here: Here,
        (client, id): (Place, u64),
        voter: BrokerId,
        is_added: bool,
    ) {
        let token = Token(id);
        let holder = self.quorum.voters().iter().find(|(known, _)| *known == voter);
        let registered = self.image.broker(voter).map(|broker| DirectoryId(broker.directory_id));
        let directory_id = match is_added {
            true => registered,
            false => holder.map(|(_, holder)| holder.directory_id),
        };
        let directory_id = directory_id.unwrap_or_default();
        self.voter_changes.insert(token, client);
        let input = if is_added {
            let voter_to_be = Voter { directory_id, endpoints: Vec::new() };
            Input::AddVoter { token, id: voter, voter: voter_to_be, wait: VOTER_WAIT }
        } else {
            Input::RemoveVoter { token, voter: ReplicaKey { id: voter, directory_id } }
        };
        self.input(env, here, input);
    }

    fn run(&mut self, env: &mut Env, here: Here) {
        loop {
            self.queue.extend(self.outbox.drain());
            if let Some(effect) = self.queue.pop_front() {
                self.carry_out(env, here, effect);
            } else if let Some(input) = self.inputs.pop_front() {
                self.quorum.handle(here.now, input, &mut self.outbox);
            } else {
                break;
            }
        }
        self.follow_leadership(env, here);
        if env.truth.is_checking {
            self.quorum.assert_invariants();
        }
        self.arm(env, here);
    }

    /// Becomes the active controller, or ceases to be.
    fn follow_leadership(&mut self, env: &mut Env, here: Here) {
        match (self.quorum.is_active(), &self.controller) {
            (true, None) => {
                assert_eq!(
                    self.quorum.log_end(),
                    self.image.offset(),
                    "an active leader begins with all committed"
                );
                self.controller = Some(Controller::new((*self.image).clone()));
                env.hooks.push(Hook::ControllerChanged { node: here.node });
            }
            (false, Some(_)) => {
                self.controller = None;
                for (_, then) in std::mem::take(&mut self.pending) {
                    answer(env, here, then, None);
                }
                env.hooks.push(Hook::ControllerChanged { node: here.node });
            }
            _ => {}
        }
    }

    fn arm(&mut self, env: &mut Env, here: Here) {
        let Some(next) = self.quorum.next_timeout() else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            let at = next.as_nanos().max(env.now + 1);
            env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due: Due::Quorum });
        }
    }

    fn carry_out(&mut self, env: &mut Env, here: Here, effect: Effect) {
        match effect {
            Effect::Send { to, message } => self.send(env, here, to, message, Bytes::new()),
            Effect::SendRecords { to, reply, from, until } => {
                let payload = self.read(from, until);
                self.send(env, here, to, QuorumMessage::FetchReply(reply), payload);
            }
            Effect::SendChunk { to, mut chunk } => {
                let snapshot = self.disk.snapshots.get(&chunk.id);
                chunk.size = snapshot.map(|bytes| bytes.len() as u64);
                let payload = snapshot.map_or_else(Bytes::new, |bytes| {
                    let from = (chunk.position as usize).min(bytes.len());
                    bytes.slice(from..(from + FETCH_BYTES_MAX).min(bytes.len()))
                });
                self.send(env, here, to, QuorumMessage::SnapshotChunk(chunk), payload);
            }
            Effect::Flush => self.flush(env, here),
            Effect::StoreVote(vote) => {
                // storage effects of one machine are done in the order asked
                let at = (env.now + env.flush_delay(here.node)).max(self.vote_stored_at + 1);
                self.vote_stored_at = at;
                let due = Due::VoteStored(vote);
                env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due });
            }
            Effect::Committed { through } => self.committed(env, here, through),
            Effect::VoterChange { token, result } => {
                if let Some(client) = self.voter_changes.remove(&token) {
                    let body = Response::Admin(voters_code(result));
                    env.send(here.node as Place, client, Message::Response { id: token.0, body });
                }
            }
            Effect::Log(event) => {
                if env.trace.is_recording() {
                    env.trace.tell(
                        env.now,
                        format_args!("node {}", here.broker()),
                        format_args!("quorum: {event:?}"),
                    );
                }
                if let highwater_core::quorum::Event::Elected { epoch, .. } = event {
                    env.truth.elected(epoch, here.broker());
                }
            }
            Effect::Halt(why) => {
                env.truth.complain("O39", format_args!("node {} halts: {why}", here.broker()));
            }
            storage => {
                if env.disk_operation(here.node) {
                    self.store(env, storage);
                }
            }
        }
    }

    fn store(&mut self, env: &mut Env, effect: Effect) {
        match effect {
            Effect::Append(batch) => {
                let header = batch.header;
                if let Some(controller) = self.controller.as_mut().filter(|_| header.attributes.is_control())
                {
                    // the quorum's own records take offsets between those of the controller
                    controller.passed(header.next_offset().0 - header.base_offset.0);
                }
                let chain = self.disk.log.append(batch);
                env.truth.placed(METADATA, &header, chain);
                if header.attributes.is_control() && self.leads() {
                    let verdict = self.voters_change_alone(env.truth.metadata_high_watermark());
                    env.truth.judge("O39", verdict);
                }
            }
            Effect::Truncate { to } => {
                self.cuts += 1;
                self.disk.log.truncate(to);
            }
            Effect::Reset(id) => {
                self.cuts += 1;
                let chain = env.truth.partition(METADATA).and_then(|known| known.chain_at(id.end));
                self.disk.log.reset(id.end, chain);
                self.disk.start = id;
                self.forget_snapshots(id);
            }
            Effect::AdvanceLogStart(id) => {
                self.disk.log.advance_start(id.end);
                self.disk.start = id;
                self.forget_snapshots(id);
            }
            Effect::WriteSnapshot { position, bytes, .. } => {
                self.download.truncate(position as usize);
                self.download.extend_from_slice(&bytes);
            }
            Effect::InstallSnapshot(id) => self.install(id),
            _ => unreachable!("the other effects are not the disk's"),
        }
    }

    /// O39: at most one change of voters is uncommitted on a leader (CQ-05). One that was restarted hears only later how
    /// much is committed.
    fn voters_change_alone(&self, committed: Offset) -> Result<(), String> {
        let committed = committed.max(self.quorum.high_watermark());
        let has_voters = |stored: &&Stored<LogBatch>| {
            let records = control_records(&stored.batch.bytes).expect("a leader wrote it");
            records.iter().any(|(_, record)| matches!(record, ControlRecord::Voters(_)))
        };
        let open =
            self.disk.log.batches().rev().take_while(|stored| stored.header().base_offset >= committed);
        let changes =
            open.filter(|stored| stored.header().attributes.is_control()).filter(has_voters).count();
        if changes <= 1 {
            return Ok(());
        }
        let me = self.quorum.me();
        Err(format!("{changes} changes of voters are uncommitted on node {me}, which leads the quorum"))
    }

    fn forget_snapshots(&mut self, before: SnapshotId) {
        self.disk.snapshots.retain(|id, _| *id >= before);
    }

    fn install(&mut self, id: SnapshotId) {
        let bytes = std::mem::take(&mut self.download).freeze();
        let Some((image, voters)) = read_snapshot(&bytes, id) else {
            self.inputs.push_back(Input::SnapshotRejected(id));
            return;
        };
        self.disk.snapshots.insert(id, bytes);
        self.image = Arc::new(image);
        self.applied.push_back(Applied { image: self.image.clone(), records: Vec::new(), is_whole: true });
        self.inputs.push_back(Input::SnapshotInstalled { id, voters: Some(voters) });
    }

    fn send(&self, env: &mut Env, here: Here, to: BrokerId, message: QuorumMessage, payload: Bytes) {
        if let QuorumMessage::VoteReply(reply) = &message
            && reply.is_granted
            && !reply.is_pre_vote
        {
            env.truth.voted(self.quorum.me(), reply.asked_epoch, to);
        }
        let from = self.quorum.me();
        let message = Message::Quorum { from, message, payload };
        env.send(here.node as Place, super::env::node_of(to) as Place, message);
    }

    fn read(&self, from: Offset, until: Offset) -> Bytes {
        let mut payload = BytesMut::new();
        for stored in self.disk.log.read(from, until, usize::MAX) {
            if !payload.is_empty() && payload.len() + stored.batch.bytes.len() > FETCH_BYTES_MAX {
                break;
            }
            payload.extend_from_slice(&stored.batch.bytes);
        }
        payload.freeze()
    }

    fn flush(&mut self, env: &mut Env, here: Here) {
        if std::mem::replace(&mut self.is_flushing, true) {
            return;
        }
        let due = Due::QuorumFlushed { through: self.disk.log.end(), cuts: self.cuts };
        let at = env.now + env.flush_delay(here.node);
        env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due });
    }

    /// Replays what became committed and answers who waited for it.
    fn committed(&mut self, env: &mut Env, here: Here, through: Offset) {
        if env.is_dead(here.node as Place) {
            return; // it rests on what was not stored any more
        }
        let before = env.truth.metadata_high_watermark();
        if env.truth.is_checking {
            env.truth.metadata_committed(here.broker(), &self.disk.log, through);
        }
        let is_first = through > before && self.leads();
        env.hooks.push(Hook::MetadataCommitted { node: here.node, through, is_first });
        if through <= self.image.offset() {
            return;
        }
        let mut image = (*self.image).clone();
        let mut records = Vec::new();
        for stored in self.disk.log.read(image.offset(), through, usize::MAX) {
            if stored.header().attributes.is_control() {
                image.pass(stored.header().next_offset().0 - image.offset().0);
                continue;
            }
            let first = records.len();
            records.extend(records_of(&stored.batch));
            for record in &records[first..] {
                image.replay(record);
            }
        }
        self.image = Arc::new(image);
        if let Some(controller) = &mut self.controller {
            controller.committed(through);
            if controller.image().offset() == self.image.offset() && **controller.image() != *self.image {
                env.truth.complain("O24", "the controller's committed image is not its log's replay");
            }
        }
        self.applied.push_back(Applied { image: self.image.clone(), records, is_whole: false });
        while self.pending.front().is_some_and(|(end, _)| *end <= through) {
            let (end, then) = self.pending.pop_front().expect("the front was looked at");
            answer(env, here, then, Some(end));
        }
        self.snapshot(env, here, through);
    }

    fn snapshot(&mut self, env: &mut Env, here: Here, end: Offset) {
        if end.0 < self.disk.start.end.0 + SNAPSHOT_INTERVAL || end != self.image.offset() {
            return;
        }
        let id = SnapshotId { end, epoch: self.quorum.epoch_before(end) };
        let content = (self.image.snapshot(), self.quorum.voters_at(end).clone());
        let bytes = postcard::to_allocvec(&content).expect("records and voters always serialize");
        if env.disk_operation(here.node) {
            self.disk.snapshots.insert(id, bytes.into());
            self.inputs.push_back(Input::SnapshotTaken(id));
        }
    }

    /// Whether this replica leads the quorum at present.
    pub(crate) const fn leads(&self) -> bool {
        matches!(self.quorum.role(), Role::Leader(_))
    }
}

/// What an operator is told of a change of voters.
const fn voters_code(result: Result<(), VoterChangeError>) -> ErrorCode {
    match result {
        Ok(()) => ErrorCode::None,
        Err(VoterChangeError::NotLeader) => ErrorCode::NotController,
        Err(VoterChangeError::Busy | VoterChangeError::NotCaughtUp) => ErrorCode::ReassignmentInProgress,
        Err(VoterChangeError::Duplicate) => ErrorCode::DuplicateVoter,
        Err(VoterChangeError::Unknown | VoterChangeError::LastVoter) => ErrorCode::VoterNotFound,
    }
}

/// Answers who waited: with what was planned on the metadata before `rests_on`, or that nothing came of it.
fn answer(env: &mut Env, here: Here, then: Then, rests_on: Option<Offset>) {
    let me = here.node as Place;
    let is_committed = rests_on.is_some();
    if !matches!(then, Then::Nobody) {
        env.truth.controller_answers(here.broker(), rests_on.unwrap_or_default());
    }
    match then {
        Then::Client { client, id, code } => {
            let code = if is_committed { code } else { ErrorCode::NotController };
            env.send(me, client, Message::Response { id, body: Response::Admin(code) });
        }
        Then::Broker { to, mut reply } => {
            if !is_committed {
                reply.body = BrokerReplyBody::NotController;
            }
            env.send(me, super::env::node_of(to) as Place, Message::BrokerReply(reply));
        }
        Then::Nobody => {}
    }
}

/// The metadata records of a stored batch.
fn records_of(batch: &LogBatch) -> Vec<Record> {
    let records = batch::records(&batch.bytes).expect("a batch of the controller reads");
    let decode = |record: Result<batch::Record, _>| {
        let value = record.expect("it was built by a controller").value.unwrap_or_default();
        Record::decode(&value).expect("a controller writes what it reads")
    };
    records.map(decode).collect()
}

/// The voters of a cluster that is about to begin.
pub(crate) fn first_voters(ids: impl Iterator<Item = (BrokerId, DirectoryId)>) -> VoterSet {
    VoterSet::new(ids.map(|(id, directory_id)| (id, Voter { directory_id, endpoints: Vec::new() })))
}
