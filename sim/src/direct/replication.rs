//! Replication between simulated nodes: a fetcher for each leader, a session for each follower.

use super::cell::Cell;
use super::env::{Env, Here, node_of};
use super::message::{Due, Event, Message};
use super::network::Place;
use highwater_core::batch::StampedBatch;
use highwater_core::error_code::ErrorCode;
use highwater_core::fetch::Slot;
use highwater_core::ids::{BrokerEpoch, BrokerId, Token, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    FetchOutcome, FetchPosition, Fetcher, FetcherConfig, FetcherEffect, FetcherInput, FollowerFetch, Input,
    NotReplicated, PartitionAnswer, PartitionChange, ReplicaFetch, ReplicaFetchBody, ReplicaFetchReply,
    ReplicaSession, Replicated, ReplicatedOutcome, SessionConfig, SessionRefusal,
};
use highwater_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most batches of one partition in an answer: few, so that answers are cut.
const BATCHES_MAX: usize = 20;

const FETCHER: FetcherConfig =
    FetcherConfig { response_max: Duration::from_millis(3500), backoff_max: Duration::from_millis(500) };

const SESSION: SessionConfig = SessionConfig {
    wait_max: Duration::from_millis(500),
    offsets_linger: Duration::from_millis(2),
    partition_bytes_max: 1 << 20,
};

type Cells = BTreeMap<TopicPartition, Cell>;

/// The replication of one life of a node.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    /// This broker's registration; without one nothing is fetched.
    epoch: Option<BrokerEpoch>,
    fetchers: BTreeMap<BrokerId, Following>,
    sessions: BTreeMap<BrokerId, Serving>,
    /// The newest session that was used with each leader.
    session_last: BTreeMap<BrokerId, u64>,
    /// What cells told since the fetchers last heard: many changes make one fetch.
    told: BTreeMap<BrokerId, Vec<PartitionChange>>,
}

#[derive(Debug)]
struct Following {
    fetcher: Fetcher,
    outbox: Outbox<FetcherEffect>,
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Serving {
    session: ReplicaSession,
    /// Where each armed slot's watch is.
    watches: BTreeMap<Slot, (TopicPartition, Token)>,
    /// Positions of the waiting fetch that the partitions have not heard of.
    fresh: BTreeSet<TopicPartition>,
    /// Partitions were read that have only offsets to tell, which wait.
    are_offsets_left: bool,
    armed: Option<Instant>,
}

impl Replication {
    /// The broker is registered, perhaps anew.
    pub(crate) fn registered(&mut self, env: &mut Env, here: Here, cells: &mut Cells, epoch: BrokerEpoch) {
        let is_first = self.epoch.replace(epoch).is_none();
        if is_first {
            let following: Vec<_> = cells.keys().copied().collect();
            for partition in following {
                self.moved(cells, partition, None);
            }
            return;
        }
        let leaders: Vec<_> = self.fetchers.keys().copied().collect();
        for leader in leaders {
            self.fetcher_input(env, here, cells, leader, FetcherInput::Registered(epoch));
        }
    }

    /// A follower stands elsewhere, or follows another leader than `before`. Its fetchers hear of it with
    /// [`Self::hand_in`].
    pub(crate) fn moved(&mut self, cells: &Cells, partition: TopicPartition, before: Option<BrokerId>) {
        let Some(epoch) = self.epoch else { return };
        let cell = cells.get(&partition);
        let now = cell.and_then(|cell| cell.replica.fetch_position());
        if now.is_none() && before.is_some() && cell.is_some_and(|cell| cell.follows() == before) {
            return; // it will say where it stands once the disk has answered
        }
        if let Some(before) = before.filter(|before| now.is_none_or(|(leader, _)| leader != *before)) {
            self.told.entry(before).or_default().push(PartitionChange::Unfollow { partition });
        }
        if let Some((leader, position)) = now {
            self.fetchers.entry(leader).or_insert_with(|| {
                let session = self.session_last.get(&leader).copied().unwrap_or(0);
                let fetcher = Fetcher::new(FETCHER, epoch, session);
                Following { fetcher, outbox: Outbox::new(), armed: None }
            });
            self.told.entry(leader).or_default().push(PartitionChange::Follow { partition, position });
        }
    }

    /// Lets the fetchers hear what was told. Whether there was something.
    pub(crate) fn hand_in(&mut self, env: &mut Env, here: Here, cells: &mut Cells) -> bool {
        let told = std::mem::take(&mut self.told);
        let is_something = !told.is_empty();
        for (leader, changes) in told {
            self.fetcher_input(env, here, cells, leader, FetcherInput::Changed(changes));
        }
        is_something
    }

    /// A deadline of a fetcher has passed, or moved.
    pub(crate) fn fetcher_due(&mut self, env: &mut Env, here: Here, cells: &mut Cells, leader: BrokerId) {
        let Some(following) = self.fetchers.get_mut(&leader) else { return };
        following.armed = None;
        following.fetcher.handle_timeout(here.now, &mut following.outbox);
        self.run_fetcher(env, here, cells, leader, Vec::new());
    }

    fn fetcher_input(
        &mut self,
        env: &mut Env,
        here: Here,
        cells: &mut Cells,
        leader: BrokerId,
        input: FetcherInput,
    ) {
        let Some(following) = self.fetchers.get_mut(&leader) else { return };
        following.fetcher.handle(here.now, input, &mut following.outbox);
        self.run_fetcher(env, here, cells, leader, Vec::new());
    }

    /// A leader's answer.
    pub(crate) fn replied(
        &mut self,
        env: &mut Env,
        here: Here,
        cells: &mut Cells,
        leader: BrokerId,
        reply: ReplicaFetchReply,
        parts: Vec<Vec<StampedBatch>>,
    ) {
        let Some(following) = self.fetchers.get_mut(&leader) else { return };
        following.fetcher.handle(here.now, FetcherInput::Reply(reply), &mut following.outbox);
        self.run_fetcher(env, here, cells, leader, parts);
    }

    /// The connection to a leader broke, or stands again.
    pub(crate) fn link(&mut self, env: &mut Env, here: Here, cells: &mut Cells, peer: BrokerId, is_up: bool) {
        let input = if is_up { FetcherInput::LinkUp } else { FetcherInput::LinkReset };
        self.fetcher_input(env, here, cells, peer, input);
    }

    fn run_fetcher(
        &mut self,
        env: &mut Env,
        here: Here,
        cells: &mut Cells,
        leader: BrokerId,
        mut parts: Vec<Vec<StampedBatch>>,
    ) {
        loop {
            let Some(following) = self.fetchers.get_mut(&leader) else { return };
            let effects: Vec<_> = following.outbox.drain().collect();
            if effects.is_empty() {
                break;
            }
            let mut changes = Vec::new();
            for effect in effects {
                match effect {
                    FetcherEffect::Send(fetch) => {
                        env.send(here.node as Place, node_of(leader) as Place, Message::ReplicaFetch(fetch));
                    }
                    FetcherEffect::Deliver { answer, part } => {
                        let batches = part.and_then(|part| parts.get_mut(part)).map(std::mem::take);
                        let partition = answer.partition;
                        let replicated = replicated(leader, answer, batches.unwrap_or_default());
                        changes.extend(deliver(env, here, cells, partition, replicated));
                    }
                }
            }
            if !changes.is_empty() {
                let following = self.fetchers.get_mut(&leader).expect("it was there");
                let input = FetcherInput::Changed(changes);
                following.fetcher.handle(here.now, input, &mut following.outbox);
            }
        }
        self.arm_fetcher(env, here, leader);
    }

    fn arm_fetcher(&mut self, env: &mut Env, here: Here, leader: BrokerId) {
        let Some(following) = self.fetchers.get_mut(&leader) else { return };
        if env.truth.is_checking {
            following.fetcher.assert_invariants();
        }
        self.session_last.insert(leader, following.fetcher.session());
        if let Some(next) = following.fetcher.next_timeout()
            && following.armed.is_none_or(|armed| next < armed)
        {
            following.armed = Some(next);
            plan(env, here, next, Due::Fetcher(leader));
        }
    }

    /// A follower's fetch.
    pub(crate) fn fetched(
        &mut self,
        env: &mut Env,
        here: Here,
        cells: &mut Cells,
        follower: BrokerId,
        fetch: &ReplicaFetch,
    ) {
        let Some(epoch) = self.epoch else { return };
        let serving = self.sessions.entry(follower).or_insert_with(|| Serving {
            session: ReplicaSession::new(SESSION),
            watches: BTreeMap::new(),
            fresh: BTreeSet::new(),
            are_offsets_left: false,
            armed: None,
        });
        let reply = |sequence, body| {
            let reply = ReplicaFetchReply { broker_epoch: epoch, session: fetch.session, sequence, body };
            Message::ReplicaFetchReply { reply, parts: Vec::new() }
        };
        let (me, to) = (here.node as Place, node_of(follower) as Place);
        match serving.session.begin(here.now.mono, fetch) {
            Ok(replaced) => {
                if let Some(sequence) = replaced {
                    env.send(me, to, reply(sequence, ReplicaFetchBody::Answers(Vec::new())));
                }
                serving.fresh.extend(fetch.changed.iter().map(|changed| changed.partition));
                self.serve(env, here, cells, follower);
            }
            Err(SessionRefusal::Stale) => {}
            Err(SessionRefusal::Unknown | SessionRefusal::TooLarge) => {
                env.send(me, to, reply(fetch.sequence, ReplicaFetchBody::UnknownSession));
            }
        }
    }

    /// A watch has fired for a follower.
    pub(crate) fn woken(
        &mut self,
        env: &mut Env,
        here: Here,
        cells: &mut Cells,
        follower: BrokerId,
        slot: Slot,
    ) {
        if let Some(serving) = self.sessions.get_mut(&follower) {
            serving.watches.remove(&slot);
            serving.session.wake(slot);
            self.serve(env, here, cells, follower);
        }
    }

    /// A deadline of a session has passed, or moved.
    pub(crate) fn session_due(&mut self, env: &mut Env, here: Here, cells: &mut Cells, follower: BrokerId) {
        if let Some(serving) = self.sessions.get_mut(&follower) {
            serving.armed = None;
            self.serve(env, here, cells, follower);
        }
    }

    /// Reads what has news, and replies if that is worth it or due.
    fn serve(&mut self, env: &mut Env, here: Here, cells: &mut Cells, follower: BrokerId) {
        let (Some(serving), Some(epoch)) = (self.sessions.get_mut(&follower), self.epoch) else { return };
        serving.release(env, here, cells);
        if let Some((session, sequence)) = serving.session.waiting()
            && let Some((answers, parts)) = serving.advance(env, here, cells, follower)
        {
            serving.release(env, here, cells);
            let body = ReplicaFetchBody::Answers(answers);
            let reply = ReplicaFetchReply { broker_epoch: epoch, session, sequence, body };
            let message = Message::ReplicaFetchReply { reply, parts };
            env.send(here.node as Place, node_of(follower) as Place, message);
        }
        if env.truth.is_checking {
            serving.session.assert_invariants();
        }
        if let Some(next) = serving.session.next_timeout()
            && serving.armed.is_none_or(|armed| next < armed)
        {
            serving.armed = Some(next);
            plan(env, here, next, Due::Session(follower));
        }
    }
}

/// What a pass over the partitions found.
#[derive(Debug, Default)]
struct Pass {
    answers: Vec<(Slot, PartitionAnswer, Vec<StampedBatch>)>,
    /// There are batches or errors: the follower is to have them now.
    is_urgent: bool,
    has_offsets: bool,
}

type Told = (Vec<PartitionAnswer>, Vec<Vec<StampedBatch>>);

impl Serving {
    /// Takes watches back that nobody is to be woken by.
    fn release(&mut self, env: &mut Env, here: Here, cells: &mut Cells) {
        for slot in self.session.take_released() {
            if let Some((partition, token)) = self.watches.remove(&slot)
                && let Some(cell) = cells.get_mut(&partition)
            {
                cell.forget(env, here, token);
            }
        }
    }

    /// Reads what has news; the answers, if they are worth a reply.
    fn advance(&mut self, env: &mut Env, here: Here, cells: &mut Cells, follower: BrokerId) -> Option<Told> {
        let mut pass = Pass::default();
        self.read(env, here, cells, follower, &mut pass);
        let now = here.now.mono;
        if pass.has_offsets {
            self.session.offsets_moved(now);
        }
        if !pass.is_urgent && !self.session.is_due(now) {
            self.are_offsets_left |= !pass.answers.is_empty();
            return None;
        }
        if std::mem::take(&mut self.are_offsets_left) {
            pass.answers.clear();
            self.session.retake();
            self.read(env, here, cells, follower, &mut pass);
        }
        let (mut answers, mut parts) = (Vec::new(), Vec::new());
        for (slot, answer, batches) in pass.answers {
            if !batches.is_empty() {
                parts.push(batches);
            }
            self.session.answer(slot, &answer, false);
            answers.push(answer);
        }
        self.session.replied();
        Some((answers, parts))
    }

    fn read(&mut self, env: &mut Env, here: Here, cells: &mut Cells, follower: BrokerId, pass: &mut Pass) {
        let broker_epoch = self.session.broker_epoch();
        for (slot, partition, position) in self.session.take_dirty() {
            let fetch = FollowerFetch { broker: follower, broker_epoch, position };
            let is_new = self.fresh.remove(&partition);
            let mut served = Vec::new();
            let outcome = match cells.get_mut(&partition) {
                None => FetchOutcome::refused(ErrorCode::UnknownTopicId),
                Some(cell) => {
                    if is_new {
                        cell.input(env, here, Input::FollowerFetched(fetch));
                    }
                    match cell.read_for_follower(&fetch, BATCHES_MAX) {
                        Err(outcome) => outcome,
                        Ok((bounds, stored)) => {
                            served = stored.into_iter().map(|stored| stored.batch).collect();
                            let (high_watermark, log_start) = (bounds.high_watermark, bounds.log_start);
                            if served.is_empty() && !self.session.is_armed(slot) {
                                let beyond = (position.offset, high_watermark);
                                let token = cell.watch_for_follower(env, here, (follower, slot), beyond);
                                self.session.arm(slot);
                                self.watches.insert(slot, (partition, token));
                            }
                            let bytes = served.iter().map(StampedBatch::size_bytes).sum::<usize>() as u32;
                            FetchOutcome::Data { high_watermark, log_start, bytes }
                        }
                    }
                }
            };
            let FetchPosition { leader_epoch, offset, last_epoch, .. } = position;
            let answer = PartitionAnswer { partition, leader_epoch, offset, last_epoch, outcome };
            match outcome {
                FetchOutcome::Data { bytes: 0, high_watermark, log_start } => {
                    if !self.session.has_news(slot, high_watermark, log_start) {
                        self.session.answer(slot, &answer, false);
                        continue;
                    }
                    pass.has_offsets = true;
                }
                _ => pass.is_urgent = true,
            }
            pass.answers.push((slot, answer, served));
        }
    }
}

fn replicated(leader: BrokerId, answer: PartitionAnswer, batches: Vec<StampedBatch>) -> Replicated {
    let outcome = match answer.outcome {
        FetchOutcome::Data { high_watermark, log_start, .. } => {
            ReplicatedOutcome::Data { high_watermark, log_start, batches }
        }
        FetchOutcome::Diverging(end) => ReplicatedOutcome::Diverging(end),
        FetchOutcome::OutOfRange { log_start, log_end } => {
            ReplicatedOutcome::OutOfRange { log_start, log_end }
        }
        FetchOutcome::Refused(_) => unreachable!("a refusal is never delivered"),
    };
    let PartitionAnswer { leader_epoch, offset, last_epoch, .. } = answer;
    Replicated { leader, leader_epoch, offset, last_epoch, outcome }
}

/// Hands an answer to its partition; where that stands then, for its fetcher.
fn deliver(
    env: &mut Env,
    here: Here,
    cells: &mut Cells,
    partition: TopicPartition,
    replicated: Replicated,
) -> Option<PartitionChange> {
    let leader = replicated.leader;
    let Some(cell) = cells.get_mut(&partition) else { return Some(PartitionChange::Unfollow { partition }) };
    match cell.replica.check_replicated(&replicated) {
        Ok(()) => cell.input(env, here, Input::Replicate(replicated)),
        Err(NotReplicated::Stale) => {}
        Err(NotReplicated::Misfit(why)) => {
            env.trace.tell(env.now, format_args!("node {}", here.broker()), format_args!("misfit: {why}"));
            return Some(PartitionChange::Failed { partition });
        }
    }
    position_at(cell, leader).map(|position| PartitionChange::Follow { partition, position })
}

fn position_at(cell: &Cell, leader: BrokerId) -> Option<FetchPosition> {
    cell.replica.fetch_position().filter(|(followed, _)| *followed == leader).map(|(_, position)| position)
}

fn plan(env: &mut Env, here: Here, at: Instant, due: Due) {
    let at = at.as_nanos().max(env.now + 1);
    env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due });
}
