//! Fetch sessions: the broker remembers what a consumer reads, so that a fetch names only what changed (KIP-227).

use super::set::{FetchPartition, FetchSet, Slot, TopicKey};
use crate::error_code::ErrorCode;
use crate::guard;
use crate::ids::PartitionIndex;
use crate::random::SplitMix64;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A session's id; positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub i32);

/// The epoch of a request that wants a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none, and closes the one it names.
const FINAL_EPOCH: i32 = -1;

/// What a fetch request says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session's id; 0 for none.
    pub session_id: i32,
    /// The epoch.
    pub epoch: i32,
    /// Whether the request names topics by id. A session never changes that.
    pub uses_topic_ids: bool,
}

/// A fetch that may go on.
#[derive(Debug)]
pub enum Begun {
    /// Without a session: the set lives as long as the fetch, and the answer has session id 0.
    Sessionless(FetchSet),
    /// In a session: the set is [`Sessions::set`].
    Session {
        /// The id for the answer.
        id: SessionId,
        /// The epoch that the session must still have when the fetch is answered.
        epoch: i32,
        /// Whether the answer lists all partitions (a new session) or those with news only.
        is_full: bool,
    },
}

/// A watch that no one waits for any longer; the shell removes it from its replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Whose partition.
    pub topic: TopicKey,
    /// Which one.
    pub partition: PartitionIndex,
    /// The session that set the watch.
    pub session: SessionId,
    /// For which of its slots.
    pub slot: Slot,
}

/// What a fetch changes of its session.
struct Changes<'a> {
    partitions: Vec<FetchPartition>,
    forgotten: &'a [(TopicKey, PartitionIndex)],
}

#[derive(Debug)]
struct Session {
    set: FetchSet,
    epoch: i32,
    uses_topic_ids: bool,
    last_used: Instant,
}

/// The limits of [`Sessions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsLimits {
    /// `max.incremental.fetch.session.cache.slots`.
    pub sessions_max: usize,
    /// A session unused for this long gives way to any new one.
    pub idle_max: Duration,
}

impl Default for SessionsLimits {
    /// Kafka's defaults.
    fn default() -> Self {
        Self { sessions_max: 1000, idle_max: Duration::from_secs(120) }
    }
}

/// All sessions of a broker, or of one shard of its connections.
#[derive(Debug)]
pub struct Sessions {
    limits: SessionsLimits,
    sessions: BTreeMap<SessionId, Session>,
    by_use: BTreeSet<(Instant, SessionId)>,
    by_size: BTreeSet<(usize, SessionId)>,
    ids: SplitMix64,
}

impl Sessions {
    /// No sessions. Ids follow from the seed, which should differ from start to start.
    pub const fn new(limits: SessionsLimits, seed: u64) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            by_use: BTreeSet::new(),
            by_size: BTreeSet::new(),
            ids: SplitMix64::new(seed),
        }
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many partitions all sessions have together.
    pub fn partitions(&self) -> usize {
        self.by_size.iter().map(|(size, _)| size).sum()
    }

    /// Starts a fetch. Watches that end with a session or a forgotten partition are pushed on `released`.
    pub fn begin(
        &mut self,
        now: Instant,
        request: SessionRequest,
        partitions: Vec<FetchPartition>,
        forgotten: &[(TopicKey, PartitionIndex)],
        released: &mut Vec<Released>,
    ) -> Result<Begun, ErrorCode> {
        let id = SessionId(request.session_id);
        match request.epoch {
            FINAL_EPOCH => {
                self.remove(id, released);
                Ok(Begun::Sessionless(FetchSet::new(partitions)?))
            }
            INITIAL_EPOCH => {
                self.remove(id, released);
                self.create(now, request.uses_topic_ids, FetchSet::new(partitions)?, released)
            }
            _ => self.resume(now, request, Changes { partitions, forgotten }, released),
        }
    }

    /// The partitions of a session, if it is still at `epoch`. If not, the fetch is answered with the error.
    pub fn set(&mut self, id: SessionId, epoch: i32) -> Result<&mut FetchSet, ErrorCode> {
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if guard!(FetchSessionEpoch, session.epoch == epoch) {
            Ok(&mut session.set)
        } else {
            Err(ErrorCode::InvalidFetchSessionEpoch)
        }
    }

    /// Takes the firing of a watch. A session that is no longer there is no matter.
    pub fn wake(&mut self, id: SessionId, slot: Slot) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.set.wake(slot);
        }
    }

    fn create(
        &mut self,
        now: Instant,
        uses_topic_ids: bool,
        set: FetchSet,
        released: &mut Vec<Released>,
    ) -> Result<Begun, ErrorCode> {
        if set.is_empty() || !self.make_room(now, set.len(), released) {
            return Ok(Begun::Sessionless(set));
        }
        let id = self.next_id();
        self.by_use.insert((now, id));
        self.by_size.insert((set.len(), id));
        let epoch = INITIAL_EPOCH + 1;
        self.sessions.insert(id, Session { set, epoch, uses_topic_ids, last_used: now });
        Ok(Begun::Session { id, epoch, is_full: true })
    }

    fn resume(
        &mut self,
        now: Instant,
        request: SessionRequest,
        changes: Changes<'_>,
        released: &mut Vec<Released>,
    ) -> Result<Begun, ErrorCode> {
        let id = SessionId(request.session_id);
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if !guard!(FetchSessionEpoch, session.epoch == request.epoch) {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let size = session.set.len();
        session.set.begin();
        for partition in changes.partitions {
            session.set.update(partition)?;
        }
        for (topic, partition) in changes.forgotten {
            if let Some(slot) = session.set.forget(topic, *partition) {
                released.push(Released { topic: topic.clone(), partition: *partition, session: id, slot });
            }
        }
        self.by_size.remove(&(size, id));
        self.by_size.insert((session.set.len(), id));
        if session.set.is_empty() {
            self.remove(id, released);
            return Ok(Begun::Sessionless(FetchSet::default()));
        }
        self.by_use.remove(&(session.last_used, id));
        self.by_use.insert((now, id));
        session.last_used = now;
        session.epoch = next_epoch(session.epoch);
        Ok(Begun::Session { id, epoch: session.epoch, is_full: false })
    }

    /// Evicts the session that is idle longest, if it is so for too long, else the smallest if the new one is
    /// larger: the larger a session is, the more it saves.
    fn make_room(&mut self, now: Instant, size: usize, released: &mut Vec<Released>) -> bool {
        if self.sessions.len() < self.limits.sessions_max {
            return true;
        }
        let Some((used, oldest)) = self.by_use.first().copied() else {
            return false; // sessions are switched off
        };
        let evicted = if now.since(used) > self.limits.idle_max {
            Some(oldest)
        } else {
            self.by_size.first().filter(|(smallest, _)| *smallest < size).map(|(_, id)| *id)
        };
        if let Some(id) = evicted {
            self.remove(id, released);
        }
        evicted.is_some()
    }

    fn remove(&mut self, id: SessionId, released: &mut Vec<Released>) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.by_use.remove(&(session.last_used, id));
        self.by_size.remove(&(session.set.len(), id));
        released.extend(session.set.armed().map(|(slot, partition)| Released {
            topic: partition.topic.clone(),
            partition: partition.partition,
            session: id,
            slot,
        }));
    }

    /// A positive id that is free.
    fn next_id(&mut self) -> SessionId {
        loop {
            let id = SessionId((self.ids.next_u64() >> 33) as i32);
            if id.0 > 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Panics if the lists contradict each other.
    pub fn assert_invariants(&self) {
        assert!(self.sessions.len() <= self.limits.sessions_max, "no more sessions than allowed");
        assert_eq!(self.by_use.len(), self.sessions.len(), "each session has a time of use");
        assert_eq!(self.by_size.len(), self.sessions.len(), "each session has a size");
        for (id, session) in &self.sessions {
            assert!(self.by_use.contains(&(session.last_used, *id)), "{id:?} is listed by use");
            assert!(self.by_size.contains(&(session.set.len(), *id)), "{id:?} is listed by size");
            session.set.assert_invariants();
        }
    }
}

/// Epochs count up and wrap to 1.
const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests {
    use super::super::set::Answer;
    use super::*;
    use crate::ids::Offset;

    fn sessions(sessions_max: usize) -> Sessions {
        Sessions::new(SessionsLimits { sessions_max, ..SessionsLimits::default() }, 42)
    }

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn key() -> TopicKey {
        TopicKey::Name("t".into())
    }

    fn want(partition: i32, offset: i64) -> FetchPartition {
        FetchPartition {
            topic: key(),
            partition: PartitionIndex(partition),
            fetch_offset: Offset(offset),
            current_leader_epoch: None,
            last_fetched_epoch: None,
            log_start_offset: Offset(-1),
            partition_bytes_max: 1 << 20,
        }
    }

    fn request(session_id: i32, epoch: i32) -> SessionRequest {
        SessionRequest { session_id, epoch, uses_topic_ids: false }
    }

    fn begin(
        sessions: &mut Sessions,
        now: Instant,
        request: SessionRequest,
        partitions: impl IntoIterator<Item = FetchPartition>,
    ) -> Result<Begun, ErrorCode> {
        let begun = sessions.begin(now, request, partitions.into_iter().collect(), &[], &mut Vec::new());
        sessions.assert_invariants();
        begun
    }

    fn create(sessions: &mut Sessions, now: Instant, partitions: i32) -> Option<(SessionId, i32)> {
        match begin(sessions, now, request(0, 0), (0..partitions).map(|p| want(p, 0))).unwrap() {
            Begun::Session { id, epoch, is_full: true } => Some((id, epoch)),
            Begun::Sessionless(_) => None,
            other => panic!("a first fetch is full: {other:?}"),
        }
    }

    fn quiet(high_watermark: i64) -> Answer {
        Answer {
            bytes: 0,
            is_cut: false,
            is_urgent: false,
            high_watermark: Offset(high_watermark),
            log_start: Offset::ZERO,
        }
    }

    fn partitions(work: &[(Slot, FetchPartition)]) -> Vec<i32> {
        work.iter().map(|(_, p)| p.partition.0).collect()
    }

    #[test]
    fn an_idle_session_reads_nothing_and_news_are_read_alone() {
        let mut s = sessions(10);
        let (id, epoch) = create(&mut s, at(0), 3).unwrap();
        let set = s.set(id, epoch).unwrap();
        let work = set.take_dirty();
        assert_eq!(partitions(&work), [0, 1, 2]);
        for (slot, _) in &work {
            assert!(set.arm(*slot));
            assert!(set.answer(*slot, quiet(5)), "the first answer tells the ends");
        }
        let Ok(Begun::Session { epoch, is_full: false, .. }) = begin(&mut s, at(1), request(id.0, 1), [])
        else {
            panic!("an incremental fetch")
        };
        assert!(s.set(id, epoch).unwrap().take_dirty().is_empty());
        s.wake(id, work[1].0);
        let set = s.set(id, epoch).unwrap();
        assert_eq!(partitions(&set.take_dirty()), [1]);
        assert!(set.arm(work[1].0), "a watch that fired is set again");
        assert!(!set.arm(work[0].0), "the others still stand");
        assert!(set.answer(work[1].0, Answer { bytes: 100, ..quiet(6) }));
        assert_eq!(partitions(&set.take_dirty()), [1], "until the client moves on, it is told again");
    }

    #[test]
    fn ends_already_told_are_no_news() {
        let mut set = FetchSet::new([want(0, 0)]).unwrap();
        let slot = set.take_dirty()[0].0;
        assert!(set.answer(slot, quiet(5)));
        assert!(!set.answer(slot, quiet(5)));
        assert!(set.answer(slot, quiet(6)), "a new high watermark");
        assert!(set.answer(slot, Answer { log_start: Offset(2), ..quiet(6) }), "a new log start");
        let error = Answer { is_urgent: true, log_start: Offset(2), ..quiet(6) };
        assert!(set.answer(slot, error));
        assert!(set.answer(slot, error), "an error is told every time");
        assert!(set.answer(slot, Answer { log_start: Offset(2), ..quiet(6) }), "and its end, too");
    }

    #[test]
    fn whoever_got_something_waits_behind_the_others() {
        let mut set = FetchSet::new((0..4).map(|p| want(p, 0))).unwrap();
        let fed = Answer { bytes: 10, ..quiet(1) };
        let work = set.take_dirty();
        assert!(set.arm(work[3].0));
        set.answer(work[0].0, fed);
        set.answer(work[1].0, fed);
        set.answer(work[2].0, Answer { is_cut: true, ..quiet(1) });
        set.answer(work[3].0, quiet(1));
        set.update(want(0, 7)).unwrap();
        set.assert_invariants();
        assert_eq!(partitions(&set.take_dirty()), [2, 0, 1], "cut off first, fed last, idle not at all");
        set.answer(work[0].0, fed);
        set.begin();
        assert_eq!(
            partitions(&set.take_dirty()),
            [2, 1, 0],
            "who was fed longest ago before who was just fed"
        );
        set.assert_invariants();
    }

    #[test]
    fn without_a_watch_a_quiet_partition_is_read_again() {
        let mut set = FetchSet::new([want(0, 0), want(1, 0)]).unwrap();
        let work = set.take_dirty();
        assert!(set.arm(work[1].0));
        set.answer(work[0].0, quiet(5));
        set.answer(work[1].0, quiet(5));
        assert_eq!(partitions(&set.take_dirty()), [0], "else its news would be lost");
        set.wake(work[1].0);
        set.assert_invariants();
        assert_eq!(partitions(&set.take_dirty()), [1]);
    }

    #[test]
    fn a_lost_answer_is_read_again() {
        let mut s = sessions(10);
        let (id, epoch) = create(&mut s, at(0), 2).unwrap();
        assert_eq!(s.set(id, epoch).unwrap().take_dirty().len(), 2);
        begin(&mut s, at(0), request(id.0, 1), []).unwrap();
        assert_eq!(partitions(&s.set(id, 2).unwrap().take_dirty()), [0, 1]);
    }

    #[test]
    fn ids_and_epochs_are_checked() {
        let mut s = sessions(10);
        let (id, _) = create(&mut s, at(0), 1).unwrap();
        let outcome = |s: &mut Sessions, r| begin(s, at(0), r, []).map(|_| ());
        assert_eq!(outcome(&mut s, request(id.0, 9)), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(outcome(&mut s, request(id.0 ^ 1, 1)), Err(ErrorCode::FetchSessionIdNotFound));
        let by_id = SessionRequest { uses_topic_ids: true, ..request(id.0, 1) };
        assert_eq!(outcome(&mut s, by_id), Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(outcome(&mut s, request(id.0, 1)), Ok(()));
        assert_eq!(
            s.set(id, 1).map(|_| ()),
            Err(ErrorCode::InvalidFetchSessionEpoch),
            "a newer fetch is under way"
        );
        assert_eq!(
            outcome(&mut s, request(id.0, 1)),
            Err(ErrorCode::InvalidFetchSessionEpoch),
            "each epoch once"
        );
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn forgetting_the_last_partition_ends_the_session() {
        let mut s = sessions(10);
        let (id, epoch) = create(&mut s, at(0), 2).unwrap();
        let set = s.set(id, epoch).unwrap();
        let work = set.take_dirty();
        assert!(set.arm(work[0].0));
        let mut released = Vec::new();
        s.begin(at(0), request(id.0, 1), vec![], &[(key(), PartitionIndex(0))], &mut released).unwrap();
        let gone = Released { topic: key(), partition: PartitionIndex(0), session: id, slot: work[0].0 };
        assert_eq!(released, [gone], "its watch goes with it");
        let last =
            s.begin(at(0), request(id.0, 2), vec![], &[(key(), PartitionIndex(1))], &mut released).unwrap();
        assert!(matches!(last, Begun::Sessionless(set) if set.is_empty()));
        assert!(s.is_empty());
        s.assert_invariants();
    }

    #[test]
    fn a_full_cache_makes_room_for_larger_sessions_or_after_idling() {
        let mut s = sessions(2);
        let (small, _) = create(&mut s, at(0), 1).unwrap();
        let (large, _) = create(&mut s, at(1), 5).unwrap();
        assert_eq!(create(&mut s, at(2), 1), None, "not larger than any: no session");
        let (third, _) = create(&mut s, at(3), 2).unwrap();
        assert!(s.set(small, 1).is_err() && s.set(large, 1).is_ok());
        let (fourth, _) = create(&mut s, at(122), 1).unwrap();
        assert!(s.set(large, 1).is_err(), "idle for more than 120 s, whatever its size");
        assert!(s.set(third, 1).is_ok() && s.set(fourth, 1).is_ok());
        assert_eq!(create(&mut sessions(0), at(0), 9), None, "no slots, no sessions");
    }

    #[test]
    fn closing_a_session_serves_the_last_fetch_without_one() {
        let mut s = sessions(2);
        let (id, _) = create(&mut s, at(0), 1).unwrap();
        let last = begin(&mut s, at(0), request(id.0, -1), [want(4, 0)]).unwrap();
        assert!(matches!(last, Begun::Sessionless(set) if set.len() == 1));
        assert!(s.is_empty());
    }
}
