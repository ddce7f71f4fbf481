//! The leader's side of one follower's session: which partitions have news for it, and when it is told.
//!
//! A session is no machine of its own: the shell reads partitions between its steps.
//!
//! ```text
//!  begin(fetch) --> positions that moved: Input::FollowerFetched at each partition
//!  take_dirty   --> read each: has news? then answer, else watch it (Input::WatchReplica), and wake on the watch
//!  hold         --> over a quota, or not in memory: read again later, and not before
//!  is_due       --> records at once, a mere high watermark after a moment, nothing at all after the longest wait
//! ```
//!
//! A session of idle partitions costs their memory and one empty reply per [`SessionConfig::wait_max`].

use super::message::{FetchOutcome, FetchPosition, PartitionAnswer, ReplicaFetch};
use crate::error_code::ErrorCode;
use crate::fetch::{Answer, FetchPartition, FetchSet, Slot, TopicKey};
use crate::guard;
use crate::ids::{BrokerEpoch, Offset, TopicPartition};
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a session holds replies back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The longest that a fetch waits (`replica.fetch.wait.max.ms`).
    pub wait_max: Duration,
    /// How long a high watermark waits for records to travel with.
    pub offsets_linger: Duration,
    /// The most bytes of one partition in a reply (`replica.fetch.max.bytes`).
    pub partition_bytes_max: i32,
}

/// A fetch was refused: the follower is to open another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefusal {
    /// The session is not open, or the fetch is not its next.
    Unknown,
    /// It comes from an older life of the broker, or an older session of this one: not worth an answer.
    Stale,
    /// Too many partitions.
    TooLarge,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    sequence: u64,
    until: Instant,
    /// Since when there are offsets to be told.
    offsets_since: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct ReplicaSession {
    config: SessionConfig,
    broker_epoch: BrokerEpoch,
    session: u64,
    sequence: u64,
    set: FetchSet,
    /// What the follower vouches for where that is less than its log end (`highwater.acks.durable`).
    vouched: BTreeMap<TopicPartition, Offset>,
    waiting: Option<Waiting>,
    /// Partitions that are over a quota, and from when on they may be read again.
    held: Vec<Slot>,
    held_until: Option<Instant>,
    /// Watches to be removed.
    released: Vec<Slot>,
}

impl ReplicaSession {
    /// A session that is not open yet.
    pub fn new(config: SessionConfig) -> Self {
        let broker_epoch = BrokerEpoch(i64::MIN);
        Self {
            config,
            broker_epoch,
            session: 0,
            sequence: 0,
            set: FetchSet::default(),
            vouched: BTreeMap::new(),
            waiting: None,
            held: Vec::new(),
            held_until: None,
            released: Vec::new(),
        }
    }

    /// Puts other settings in force.
    pub fn configure(&mut self, config: SessionConfig) {
        self.config = config;
    }

    /// The follower's registration.
    pub const fn broker_epoch(&self) -> BrokerEpoch {
        self.broker_epoch
    }

    /// How many partitions the follower follows here.
    pub fn partitions(&self) -> usize {
        self.set.len()
    }

    /// The most bytes of one partition in a reply.
    pub const fn partition_bytes_max(&self) -> i32 {
        self.config.partition_bytes_max
    }

    /// The session and number of the fetch that waits.
    pub fn waiting(&self) -> Option<(u64, u64)> {
        self.waiting.map(|waiting| (self.session, waiting.sequence))
    }

    /// Takes a fetch; it waits from here on. If another one of the session waited, its number: it is to be replied to
    /// without answers, so that the follower can tell a reply that is lost from one that was never to come.
    pub fn begin(&mut self, now: Instant, fetch: &ReplicaFetch) -> Result<Option<u64>, SessionRefusal> {
        let life = (fetch.broker_epoch, fetch.session);
        let known = (self.broker_epoch, self.session);
        if fetch.sequence == 0 {
            if !guard!(ReplicaSessionSequence, life > known) {
                return Err(SessionRefusal::Stale);
            }
            self.released.extend(self.set.armed().map(|(slot, _)| slot));
            self.set = FetchSet::default();
            self.vouched.clear();
            self.held.clear();
            (self.broker_epoch, self.session) = life;
        } else if life < known {
            return Err(SessionRefusal::Stale);
        } else if !guard!(ReplicaSessionSequence, life == known && fetch.sequence == self.sequence + 1) {
            return Err(SessionRefusal::Unknown);
        }
        self.sequence = fetch.sequence;
        for partition in &fetch.forgotten {
            self.forget(*partition);
        }
        for changed in &fetch.changed {
            let position = &changed.position;
            if position.safe_end < position.offset {
                self.vouched.insert(changed.partition, position.safe_end);
            } else {
                self.vouched.remove(&changed.partition);
            }
            let wanted = self.wanted(changed.partition, position);
            self.set.update(wanted).map_err(|_| SessionRefusal::TooLarge)?;
        }
        let offsets_since = self.waiting.and_then(|waiting| waiting.offsets_since);
        let replaced = self.waiting.filter(|_| fetch.sequence > 0).map(|waiting| waiting.sequence);
        let until = now + self.config.wait_max;
        self.waiting = Some(Waiting { sequence: fetch.sequence, until, offsets_since });
        Ok(replaced)
    }

    fn forget(&mut self, partition: TopicPartition) {
        let slot = self.set.forget(&TopicKey::Id(partition.topic_id), partition.partition);
        self.vouched.remove(&partition);
        self.held.retain(|held| Some(*held) != slot);
        self.released.extend(slot);
    }

    /// The places whose watches are to be removed: their partitions are not followed here any more.
    pub fn take_released(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.released)
    }

    fn wanted(&self, partition: TopicPartition, position: &FetchPosition) -> FetchPartition {
        FetchPartition {
            topic: TopicKey::Id(partition.topic_id),
            partition: partition.partition,
            fetch_offset: position.offset,
            current_leader_epoch: Some(position.leader_epoch),
            last_fetched_epoch: Some(position.last_epoch),
            log_start_offset: position.log_start,
            partition_bytes_max: self.config.partition_bytes_max,
        }
    }

    /// A partition has more, which the follower is not to have before `until` (KIP-73). It is looked at again then; its
    /// offsets are told meanwhile.
    pub fn hold(&mut self, slot: Slot, until: Instant) {
        if self.set.arm(slot) {
            self.held.push(slot);
        }
        self.held_until = Some(self.held_until.map_or(until, |at| at.min(until)));
    }

    /// A partition is not held any more: what it has from here on is to be watched for.
    pub fn unhold(&mut self, slot: Slot) {
        if let Some(at) = self.held.iter().position(|held| *held == slot) {
            self.held.swap_remove(at);
            self.set.wake(slot);
        }
    }

    /// Lets go of all that is held: the quota is another.
    pub fn release_all_held(&mut self) {
        if let Some(until) = self.held_until {
            self.release_held(until);
        }
    }

    /// Lets go of what was held for long enough.
    pub fn release_held(&mut self, now: Instant) {
        if self.held_until.is_some_and(|until| until <= now) {
            self.held_until = None;
            for slot in std::mem::take(&mut self.held) {
                self.set.wake(slot);
            }
        }
    }

    /// The partitions worth reading, those fed longest ago first.
    pub fn take_dirty(&mut self) -> Vec<(Slot, TopicPartition, FetchPosition)> {
        let dirty = self.set.take_dirty().into_iter();
        let named = dirty.map(|(slot, wanted)| {
            let (partition, mut position) = (partition_of(&wanted), position_of(&wanted));
            if let Some(vouched) = self.vouched.get(&partition) {
                position.safe_end = *vouched;
            }
            (slot, partition, position)
        });
        named.collect()
    }

    /// Makes what was read and not answered worth reading again: a reply is about to leave, or had no room for it.
    pub fn retake(&mut self) {
        self.set.restart();
    }

    /// Whether a watch is set on the partition.
    pub fn is_armed(&self, slot: Slot) -> bool {
        self.set.is_armed(slot)
    }

    /// A watch was set on the partition.
    pub fn arm(&mut self, slot: Slot) {
        self.set.arm(slot);
    }

    /// A watch has fired, or the device has answered. What was held is read again now, and maybe held anew.
    pub fn wake(&mut self, slot: Slot) {
        self.held.retain(|held| *held != slot);
        self.set.wake(slot);
    }

    /// There are offsets to be told, which wait a moment for company.
    pub fn offsets_moved(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.waiting {
            waiting.offsets_since.get_or_insert(now);
        }
    }

    /// Whether the waiting fetch is to be replied to even without records.
    pub fn is_due(&self, now: Instant) -> bool {
        self.reply_at().is_some_and(|at| at <= now)
    }

    fn reply_at(&self) -> Option<Instant> {
        let waiting = self.waiting?;
        let offsets = waiting.offsets_since.map(|since| since + self.config.offsets_linger);
        Some(offsets.map_or(waiting.until, |at| at.min(waiting.until)))
    }

    /// When the waiting fetch is to be replied to even without records, or when something held may be read.
    pub fn next_timeout(&self) -> Option<Instant> {
        let reply_at = self.reply_at()?;
        Some(self.held_until.map_or(reply_at, |until| until.min(reply_at)))
    }

    /// Whether an answer has something that the follower was not told. Notes it as told.
    ///
    /// A partition whose fetch was not good leaves the session: the follower names it again, from where it then stands.
    pub fn answer(&mut self, slot: Slot, answer: &PartitionAnswer, is_cut: bool) -> bool {
        let FetchOutcome::Data { high_watermark, log_start, bytes } = answer.outcome else {
            self.forget(answer.partition);
            return true;
        };
        let bytes = bytes as usize;
        self.set.answer(slot, Answer { bytes, is_cut, is_urgent: false, high_watermark, log_start })
    }

    /// Whether an answer without records would have something new; if not, there is nothing to answer now.
    pub fn has_news(&self, slot: Slot, high_watermark: Offset, log_start: Offset) -> bool {
        self.set.told(slot) != Some((high_watermark, log_start))
    }

    /// The reply has left.
    pub fn replied(&mut self) {
        self.waiting = None;
    }

    /// Panics if the session contradicts itself.
    pub fn assert_invariants(&self) {
        self.set.assert_invariants();
    }
}

fn partition_of(wanted: &FetchPartition) -> TopicPartition {
    match wanted.topic {
        TopicKey::Id(topic_id) => TopicPartition { topic_id, partition: wanted.partition },
        TopicKey::Name(_) => unreachable!("replicas fetch by id"),
    }
}

fn position_of(wanted: &FetchPartition) -> FetchPosition {
    FetchPosition {
        leader_epoch: wanted.current_leader_epoch.expect("a replica names its epoch"),
        offset: wanted.fetch_offset,
        safe_end: wanted.fetch_offset,
        last_epoch: wanted.last_fetched_epoch.expect("a replica names its last epoch"),
        log_start: wanted.log_start_offset,
    }
}

impl SessionRefusal {
    /// Kafka's word for it, for logs.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::FetchSessionIdNotFound,
            Self::Stale => ErrorCode::InvalidFetchSessionEpoch,
            Self::TooLarge => ErrorCode::InvalidRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::PartitionFetch;
    use super::*;
    use crate::ids::{LeaderEpoch, PartitionIndex, TopicId};

    #[test]
    fn what_a_follower_does_not_vouch_for_is_not_taken_for_safe() {
        let mut session = ReplicaSession::new(SessionConfig {
            wait_max: Duration::from_millis(500),
            offsets_linger: Duration::ZERO,
            partition_bytes_max: 1 << 20,
        });
        let partition = TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) };
        let fetch = |sequence, safe_end| {
            let position = FetchPosition {
                leader_epoch: LeaderEpoch(1),
                offset: Offset(10),
                safe_end: Offset(safe_end),
                last_epoch: LeaderEpoch(1),
                log_start: Offset(0),
            };
            let changed = vec![PartitionFetch { partition, position }];
            let broker_epoch = BrokerEpoch(1);
            ReplicaFetch { broker_epoch, session: 1, sequence, changed, forgotten: Vec::new() }
        };
        for (sequence, safe_end) in [(0, 4), (1, 7), (2, 10)] {
            session.begin(Instant::ZERO, &fetch(sequence, safe_end)).unwrap();
            let (_, _, position) = session.take_dirty()[0];
            assert_eq!((position.offset, position.safe_end), (Offset(10), Offset(safe_end)));
        }
    }

    #[test]
    fn what_is_held_is_read_again_in_time_and_keeps_no_other_waiting() {
        let ms = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let mut session = ReplicaSession::new(SessionConfig {
            wait_max: Duration::from_millis(500),
            offsets_linger: Duration::from_millis(5),
            partition_bytes_max: 1 << 20,
        });
        let partition =
            |index| TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(index) };
        let position = FetchPosition {
            leader_epoch: LeaderEpoch(1),
            offset: Offset(10),
            safe_end: Offset(10),
            last_epoch: LeaderEpoch(1),
            log_start: Offset(0),
        };
        let fetch = |sequence, named: &[i32]| ReplicaFetch {
            broker_epoch: BrokerEpoch(1),
            session: 1,
            sequence,
            changed: named
                .iter()
                .map(|index| PartitionFetch { partition: partition(*index), position })
                .collect(),
            forgotten: Vec::new(),
        };
        let answer = |index, bytes| PartitionAnswer {
            partition: partition(index),
            leader_epoch: LeaderEpoch(1),
            offset: Offset(10),
            last_epoch: LeaderEpoch(1),
            outcome: FetchOutcome::Data { high_watermark: Offset(9), log_start: Offset(0), bytes },
        };
        session.begin(ms(0), &fetch(0, &[0, 1])).unwrap();
        let taken = session.take_dirty();
        let slot = |index| taken.iter().find(|(_, of, _)| *of == partition(index)).expect("it was taken").0;
        session.hold(slot(0), ms(200));
        assert!(session.answer(slot(0), &answer(0, 0), false), "its high watermark is news");
        assert!(session.answer(slot(1), &answer(1, 100), false));
        session.replied();
        assert_eq!(session.next_timeout(), None, "nobody waits");
        session.begin(ms(10), &fetch(1, &[1])).unwrap();
        session.release_held(ms(10));
        let again: Vec<_> = session.take_dirty().iter().map(|(_, of, _)| *of).collect();
        assert_eq!(again, [partition(1)], "the other one goes on");
        assert_eq!(session.next_timeout(), Some(ms(200)));
        assert!(!session.is_due(ms(200)), "that is no reason to reply");
        session.release_held(ms(200));
        let again: Vec<_> = session.take_dirty().iter().map(|(_, of, _)| *of).collect();
        assert_eq!(again, [partition(0)]);
        assert_eq!(session.next_timeout(), Some(ms(510)));
        session.hold(slot(0), ms(900));
        session.unhold(slot(0));
        assert!(!session.is_armed(slot(0)), "what is not held needs a watch");
        session.release_held(ms(900));
        session.hold(slot(0), ms(950));
        session.wake(slot(0));
        session.arm(slot(0));
        session.release_held(ms(950));
        assert!(session.is_armed(slot(0)), "the watch that was set since is still there");
        session.assert_invariants();
    }
}
