//! A consumer with a fetch session gets everything, whatever is lost, cut off or left unwatched on the way.

use highwater_core::fetch::{
    Answer, Begun, Budget, FetchPartition, SessionId, SessionRequest, Sessions, SessionsLimits, TopicKey,
    Watches,
};
use highwater_core::ids::{Offset, PartitionIndex, Token};
use highwater_core::replica::Isolation;
use highwater_core::time::Instant;
use proptest::prelude::*;

const PARTITIONS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A record arrives.
    Append(usize),
    /// The consumer fetches, with room for so many records of one byte.
    Fetch { room: i32, waits: bool, is_answer_lost: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..PARTITIONS).prop_map(Step::Append),
        1 => (0..4, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(room, waits, is_answer_lost)| Step::Fetch { room, waits, is_answer_lost }),
    ];
    proptest::collection::vec(step, 1..60)
}

struct World {
    sessions: Sessions,
    ends: [i64; PARTITIONS],
    watches: [Watches; PARTITIONS],
    /// What the consumer has, and what it last told the broker.
    positions: [i64; PARTITIONS],
    told: [i64; PARTITIONS],
    session: Option<(SessionId, i32)>,
}

impl World {
    fn new() -> Self {
        Self {
            sessions: Sessions::new(SessionsLimits::default(), 1),
            ends: [0; PARTITIONS],
            watches: Default::default(),
            positions: [0; PARTITIONS],
            told: [-1; PARTITIONS],
            session: None,
        }
    }

    fn append(&mut self, partition: usize) {
        self.ends[partition] += 1;
        let end = Offset(self.ends[partition]);
        let mut woken = Vec::new();
        self.watches[partition].advance(end, end, |token| woken.push(token));
        if let Some((id, _)) = self.session {
            // the token of this test is the slot
            woken
                .iter()
                .for_each(|token| self.sessions.wake(id, highwater_core::fetch::Slot(token.0 as u32)));
        }
    }

    fn wanted(&mut self) -> Vec<FetchPartition> {
        let moved: Vec<_> = (0..PARTITIONS).filter(|p| self.positions[*p] != self.told[*p]).collect();
        self.told = self.positions;
        moved
            .into_iter()
            .map(|p| FetchPartition {
                topic: TopicKey::Name("t".into()),
                partition: PartitionIndex(p as i32),
                fetch_offset: Offset(self.positions[p]),
                current_leader_epoch: None,
                last_fetched_epoch: None,
                log_start_offset: Offset(-1),
                partition_bytes_max: 100,
            })
            .collect()
    }

    /// How many partitions were read.
    fn fetch(&mut self, room: i32, waits: bool, is_answer_lost: bool) -> usize {
        let wanted = self.wanted();
        let (session_id, epoch) = self.session.map_or((0, 0), |(id, epoch)| (id.0, epoch));
        let request = SessionRequest { session_id, epoch, uses_topic_ids: false };
        let begun = self.sessions.begin(Instant::ZERO, request, wanted, &[], &mut Vec::new()).unwrap();
        let Begun::Session { id, epoch, .. } = begun else { panic!("there is room for a session") };
        self.session = Some((id, epoch));
        let set = self.sessions.set(id, epoch).unwrap();
        let work = set.take_dirty();
        let mut budget = Budget::new(room, 100);
        for (slot, wanted) in &work {
            let p = wanted.partition.0 as usize;
            let there = (self.ends[p] - wanted.fetch_offset.0) as usize;
            let limit = budget.limit(wanted.partition_bytes_max);
            let bytes = there.min(limit.bytes_max.max(usize::from(limit.at_least_one_batch)));
            budget.spend(bytes);
            if waits && set.arm(*slot) {
                self.watches[p].add(
                    Token(u64::from(slot.0)),
                    Offset(self.ends[p]),
                    Isolation::ReadUncommitted,
                );
            }
            if is_answer_lost {
                continue;
            }
            let answer = Answer {
                bytes,
                is_cut: there > bytes,
                is_urgent: false,
                high_watermark: Offset(self.ends[p]),
                log_start: Offset::ZERO,
            };
            if set.answer(*slot, answer) && bytes > 0 {
                self.positions[p] = wanted.fetch_offset.0 + bytes as i64;
            }
        }
        self.sessions.assert_invariants();
        work.len()
    }
}

proptest! {
    #[test]
    fn everything_arrives_and_then_nothing_is_read(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Append(partition) => world.append(partition),
                Step::Fetch { room, waits, is_answer_lost } => {
                    world.fetch(room, waits, is_answer_lost);
                }
            }
        }
        // one record per fetch: fairness alone decides that all arrive in so many fetches
        let left: i64 = (0..PARTITIONS).map(|p| world.ends[p] - world.positions[p]).sum();
        for _ in 0..left + 2 {
            world.fetch(1, true, false);
        }
        prop_assert_eq!(world.positions, world.ends);
        prop_assert_eq!(world.fetch(100, true, false), 0, "an idle session reads nothing");
        world.append(3);
        prop_assert_eq!(world.fetch(100, true, false), 1, "news are read alone");
        prop_assert_eq!(world.positions, world.ends);
    }
}
