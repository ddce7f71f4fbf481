//! A simulated consumer: reads assigned partitions from the beginning on and compares all it sees with the truth.

use super::contact::{Contact, REQUEST_TIMEOUT};
use super::env::Env;
use super::message::{Fetched, Request, Response};
use super::network::Place;
use super::queue::{MILLI, Time};
use super::truth::Truth;
use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicPartition};
use highwater_core::replica::{FetchFrom, Isolation};
use std::collections::BTreeMap;

/// How often a consumer looks at its clock.
const TICK: Time = 40 * MILLI;

/// Where a reader stands in one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    pub(crate) offset: Offset,
    pub(crate) last_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record before a committed offset: a leader of an older one does not know of it (KIP-320).
    pub(crate) least_epoch: Option<LeaderEpoch>,
    /// The fetch that is under way, and since when.
    request: Option<(u64, Time)>,
    retry_at: Time,
}

/// Reads partitions, one fetch under way for each.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) positions: BTreeMap<TopicPartition, Position>,
    waiting: BTreeMap<u64, TopicPartition>,
}

impl Reader {
    /// Begins, or goes on, at an offset.
    pub(crate) fn assign(&mut self, partition: TopicPartition, offset: Offset) {
        self.resume(partition, offset, None);
    }

    /// Goes on at a committed offset, of which the commit says whose leader the last record was of.
    pub(crate) fn resume(&mut self, partition: TopicPartition, offset: Offset, epoch: Option<LeaderEpoch>) {
        self.positions.insert(partition, Position { offset, least_epoch: epoch, ..Position::default() });
    }

    /// Reads nothing any more.
    pub(crate) fn clear(&mut self) {
        self.positions.clear();
        self.waiting.clear();
    }

    /// Sends every fetch that is due.
    pub(crate) fn poll(&mut self, env: &mut Env, contact: &mut Contact) {
        let partitions: Vec<_> = self.positions.keys().copied().collect();
        for partition in partitions {
            self.fetch(env, contact, partition);
        }
    }

    fn fetch(&mut self, env: &mut Env, contact: &mut Contact, partition: TopicPartition) {
        let Some(position) = self.positions.get_mut(&partition) else { return };
        if let Some((id, since)) = position.request {
            if env.now < since + REQUEST_TIMEOUT {
                return;
            }
            self.waiting.remove(&id);
            position.request = None;
            contact.refresh(env);
        }
        if env.now < position.retry_at {
            return;
        }
        let Some((leader, epoch)) = contact.leader(partition) else { return contact.refresh(env) };
        if position.least_epoch.is_some_and(|least| epoch < least) {
            position.retry_at = env.now + 30 * MILLI;
            return contact.refresh(env);
        }
        let from = FetchFrom {
            offset: position.offset,
            current_leader_epoch: Some(epoch),
            last_fetched_epoch: position.last_epoch,
            isolation: Isolation::ReadUncommitted,
            from_follower: false,
        };
        let id = contact.ask(env, leader, Request::Fetch { partition, from });
        position.request = Some((id, env.now));
        self.waiting.insert(id, partition);
    }

    /// Takes the answer to a fetch, and fetches again.
    pub(crate) fn answered(
        &mut self,
        env: &mut Env,
        contact: &mut Contact,
        id: u64,
        result: Result<Fetched, ErrorCode>,
    ) {
        let Some(partition) = self.waiting.remove(&id) else { return };
        let Some(position) = self.positions.get_mut(&partition) else { return };
        position.request = None;
        match result {
            Ok(fetched) => {
                env.totals.read += env.truth.read(partition, position, &fetched);
                self.fetch(env, contact, partition);
            }
            Err(code) => {
                position.retry_at = env.now + 30 * MILLI;
                if code == ErrorCode::OffsetOutOfRange {
                    env.truth.out_of_range(partition, position);
                }
                contact.refresh(env);
            }
        }
    }

    /// Whether everything that is committed was read.
    pub(crate) fn has_all(&self, truth: &Truth) -> bool {
        self.positions.iter().all(|(partition, position)| {
            truth.partition(*partition).is_none_or(|known| position.offset >= known.high_watermark())
        })
    }
}

/// A consumer without a group.
#[derive(Debug)]
pub(crate) struct Consumer {
    contact: Contact,
    topics: Vec<String>,
    reader: Reader,
    /// A question for the latest offset that is under way, with what had been told before it.
    latest: Option<(u64, TopicPartition, Time)>,
}

impl Consumer {
    pub(crate) fn new(contact: Contact, topics: Vec<String>) -> Self {
        Self { contact, topics, reader: Reader::default(), latest: None }
    }

    pub(crate) const fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    pub(crate) const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// A connection broke; what was asked on it times out.
    pub(crate) fn reset(&mut self, node: Place) {
        self.contact.reconnect(node);
    }

    pub(crate) fn awake(&mut self, env: &mut Env) {
        self.find_partitions(env);
        self.reader.poll(env, &mut self.contact);
        self.ask_latest(env);
        self.contact.alarm(env, TICK);
    }

    fn find_partitions(&mut self, env: &mut Env) {
        let Some(image) = self.contact.image().cloned() else { return self.contact.refresh(env) };
        for name in &self.topics {
            let Some(topic) = image.topic(name) else { continue };
            for index in 0..topic.partition_count() {
                let partition = TopicPartition { topic_id: topic.id, partition: PartitionIndex(index) };
                if !self.reader.positions.contains_key(&partition) {
                    self.reader.assign(partition, Offset::ZERO);
                }
            }
        }
        let is_there = |id| image.topic_by_id(id).is_some();
        self.reader.positions.retain(|partition, _| is_there(partition.topic_id));
        if self.contact.rng.happens(20) || self.reader.positions.is_empty() {
            self.contact.refresh(env);
        }
    }

    fn ask_latest(&mut self, env: &mut Env) {
        if self.latest.is_some_and(|(_, _, since)| env.now < since + REQUEST_TIMEOUT) {
            return;
        }
        self.latest = None;
        let partitions: Vec<_> = self.reader.positions.keys().copied().collect();
        if partitions.is_empty() || !self.contact.rng.happens(300) {
            return;
        }
        let partition = *self.contact.rng.pick(&partitions);
        let Some((leader, epoch)) = self.contact.leader(partition) else { return };
        let body = Request::Latest { partition, leader_epoch: Some(epoch) };
        let id = self.contact.ask(env, leader, body);
        self.latest = Some((id, partition, env.now));
    }

    pub(crate) fn answered(&mut self, env: &mut Env, id: u64, response: Response) {
        match response {
            Response::Metadata(image) => self.contact.learn(image),
            Response::Fetch(result) => self.reader.answered(env, &mut self.contact, id, result),
            Response::Latest(result) => {
                let Some((_, partition, _)) = self.latest.take_if(|(asked, ..)| *asked == id) else { return };
                match result {
                    Ok((offset, epoch)) => env.truth.latest_told(partition, epoch, offset),
                    Err(ErrorCode::OffsetNotAvailable) => {}
                    Err(_) => self.contact.refresh(env),
                }
            }
            _ => {}
        }
    }
}

impl Truth {
    /// A reader got an answer: compares it with what is committed (O2, O5, O16) and moves the position on.
    fn read(&mut self, partition: TopicPartition, position: &mut Position, fetched: &Fetched) -> u64 {
        let Some(known) = self.partition(partition) else { return 0 };
        let mut records = 0;
        let mut verdict = Ok(());
        if fetched.high_watermark > known.high_watermark() {
            verdict =
                Err(("O5", format!("a reader is told of the high watermark {}", fetched.high_watermark)));
        }
        if let Some(end) = fetched.diverging {
            if end < known.high_watermark().min(position.offset) {
                verdict = Err(("O2", format!("a reader at {} is sent back to {end}", position.offset)));
            }
            position.offset = position.offset.min(end);
        }
        for batch in &fetched.batches {
            let (base, next) = (batch.header().base_offset, batch.header().next_offset());
            if base > position.offset && position.offset >= fetched.log_start {
                verdict = Err(("O16", format!("a reader at {} is given offset {base}", position.offset)));
            }
            match known.committed_at(base) {
                Some(entry) if entry.chain == batch.chain => {}
                Some(_) => verdict = Err(("O2", format!("a reader sees another batch at offset {base}"))),
                None => verdict = Err(("O2", format!("a reader sees offset {base}, which is not committed"))),
            }
            records += u64::try_from(next.0 - position.offset.0.max(base.0)).unwrap_or(0);
            position.offset = next;
            position.last_epoch = Some(batch.header().leader_epoch);
        }
        if let Err((oracle, what)) = verdict
            && !known.is_excused
        {
            let what =
                format!("{}: {what}; committed is everything before {}", known.name, known.high_watermark());
            self.complain(oracle, what);
        }
        records
    }

    /// A reader was told that its position lies outside the log (O19).
    fn out_of_range(&mut self, partition: TopicPartition, position: &mut Position) {
        let Some(known) = self.partition(partition) else { return };
        if position.offset <= known.high_watermark()
            && position.offset >= known.log_start
            && !known.is_excused
        {
            let what = format!("{}: offset {} is said to be out of range", known.name, position.offset);
            self.complain("O19", what);
            return;
        }
        position.offset = known.log_start.min(known.high_watermark());
        position.last_epoch = None;
    }

    /// A client was told the latest offset: never below what an earlier leader, or this one, told before (O5).
    fn latest_told(&mut self, partition: TopicPartition, epoch: LeaderEpoch, offset: Offset) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        if offset > known.high_watermark() && !known.is_excused {
            let what = format!(
                "{}: {offset} is told as the latest offset, beyond all that is committed",
                known.name
            );
            self.complain("O5", what);
            return;
        }
        let before = known.latest_told.range(..epoch).map(|(_, offset)| *offset).max();
        if let Some(before) = before.filter(|before| offset < *before)
            && !known.is_excused
        {
            let what =
                format!("{}: the latest offset is {offset} after {before} in an earlier epoch", known.name);
            self.complain("O5", what);
            return;
        }
        let told = known.latest_told.entry(epoch).or_insert(offset);
        *told = (*told).max(offset);
    }
}
