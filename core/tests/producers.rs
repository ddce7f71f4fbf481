//! Properties of what a replica derives from its log: the same from a full scan, and from any snapshot on (O15, O11).

use highwater_core::batch::{BatchHeader, Builder, Codec};
use highwater_core::ids::{
    BrokerId, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, ProducerId, Sequence, Token, TopicPartition,
};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    Acks, Effect, Epochs, Input, Leadership, Producers, Recovered, Recovery, Replica, Reply, Settings,
};
use highwater_core::time::{Now, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What a client does next, relative to what its last batch was.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The batch that comes next.
    Next { producer: usize, records: i32 },
    /// One of the last batches again, counted from the newest.
    Again { producer: usize, back: usize },
    /// A batch with some sequence and epoch.
    Odd { producer: usize, records: i32, sequence: i32, epoch: i16 },
    /// A new session.
    Bump { producer: usize },
    /// A record without a producer id.
    Plain,
    /// The broker is elected again.
    Elect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let producer = 0..3usize;
    let step = prop_oneof![
        6 => (producer.clone(), 1..4).prop_map(|(producer, records)| Step::Next { producer, records }),
        3 => (producer.clone(), 0..7usize).prop_map(|(producer, back)| Step::Again { producer, back }),
        1 => (producer.clone(), 1..4, 0..20, 0..3i16)
            .prop_map(|(producer, records, sequence, epoch)| Step::Odd { producer, records, sequence, epoch }),
        1 => producer.prop_map(|producer| Step::Bump { producer }),
        1 => Just(Step::Plain),
        1 => Just(Step::Elect),
    ];
    proptest::collection::vec(step, 1..80)
}

#[derive(Default)]
struct Client {
    epoch: i16,
    next: i32,
    sent: Vec<(i16, i32, i32)>,
}

struct World {
    replica: Replica,
    clients: [Client; 3],
    log: Vec<BatchHeader>,
    leader_epoch: i32,
    out: Outbox<Effect>,
}

impl World {
    fn new() -> Self {
        let replica =
            Replica::new(TopicPartition::default(), BrokerId(1), Settings::default(), Recovered::default());
        let mut world = Self {
            replica,
            clients: Default::default(),
            log: Vec::new(),
            leader_epoch: 0,
            out: Outbox::new(),
        };
        world.elect();
        world
    }

    fn handle(&mut self, input: Input) {
        self.replica.handle(Now::default(), input, &mut self.out);
        self.replica.assert_invariants();
    }

    fn elect(&mut self) {
        self.leader_epoch += 1;
        self.handle(Input::Lead(Leadership {
            leader_epoch: LeaderEpoch(self.leader_epoch),
            partition_epoch: PartitionEpoch(0),
            replicas: vec![BrokerId(1)],
            isr: vec![BrokerId(1)],
        }));
    }

    /// Sends a batch, and says where the broker put it.
    fn send(&mut self, id: Option<(usize, i16, i32)>, records: i32) -> Option<(Offset, bool)> {
        let mut builder = Builder::new(Codec::None);
        if let Some((producer, epoch, sequence)) = id {
            let id = ProducerId(100 + producer as i64);
            builder = builder.idempotent(id, ProducerEpoch(epoch), Sequence(sequence));
        }
        (0..records).for_each(|_| builder.push(Timestamp(5), None, None, &[]));
        let batch = builder.build();
        self.handle(Input::Produce { token: Token(1), batch, acks: Acks::All, leader_epoch: None });
        let mut appended = None;
        let mut effects: Vec<_> = self.out.drain().collect();
        for effect in &effects {
            if let Effect::Append(batch) = effect {
                appended = Some(batch.header);
            }
        }
        if let Some(header) = appended {
            self.log.push(header);
            self.handle(Input::Appended { through: header.next_offset() });
            effects.extend(self.out.drain());
        }
        let replies: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Reply { reply: Reply::Produced(result), .. } => Some(result.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(replies.len(), 1, "each produce has one answer");
        replies[0].as_ref().ok().map(|produced| (produced.base_offset, produced.is_duplicate))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Next { producer, records } => {
                let Client { epoch, next, .. } = self.clients[producer];
                let (_, is_duplicate) =
                    self.send(Some((producer, epoch, next)), records).expect("the next is taken");
                assert!(!is_duplicate);
                let client = &mut self.clients[producer];
                client.sent.push((epoch, next, records));
                client.next += records;
            }
            Step::Again { producer, back } => {
                let sent = &self.clients[producer].sent;
                let Some((epoch, sequence, records)) = sent.iter().rev().nth(back).copied() else { return };
                let known = self.clients[producer].epoch == epoch && back < 5;
                let first = self.log.iter().find(|h| {
                    h.producer_id.0 == 100 + producer as i64
                        && h.producer_epoch.0 == epoch
                        && h.base_sequence.0 == sequence
                });
                let first = first.expect("what was sent is in the log").base_offset;
                let answer = self.send(Some((producer, epoch, sequence)), records);
                // older ones, or those of an older session, may have been forgotten, but never go in again
                assert!(answer == Some((first, true)) || (answer.is_none() && !known), "{answer:?}");
            }
            Step::Odd { producer, records, sequence, epoch } => {
                let epoch = self.clients[producer].epoch + epoch - 1;
                if epoch >= 0
                    && self.send(Some((producer, epoch, sequence)), records).is_some_and(|(_, dup)| !dup)
                {
                    let client = &mut self.clients[producer];
                    client.epoch = epoch;
                    client.next = sequence + records;
                    client.sent.push((epoch, sequence, records));
                }
            }
            Step::Bump { producer } => {
                let client = &mut self.clients[producer];
                client.epoch += 1;
                client.next = 0;
                let epoch = client.epoch;
                self.send(Some((producer, epoch, 0)), 1).expect("a new session starts at 0");
                let client = &mut self.clients[producer];
                client.sent.push((epoch, 0, 1));
                client.next = 1;
            }
            Step::Plain => assert!(self.send(None, 1).is_some()),
            Step::Elect => self.elect(),
        }
    }
}

/// The index without the entry of an election behind which nothing was written.
fn written(epochs: &Epochs, end: Offset) -> Epochs {
    let mut epochs = epochs.clone();
    epochs.truncate_end(end);
    epochs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_the_tail_give_what_a_full_scan_gives(steps in steps(), cut in any::<prop::sample::Index>()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        let end = world.replica.log_end();

        let mut full = Recovery::from_log_start(Offset::ZERO);
        world.log.iter().for_each(|header| full.observe(header).unwrap());
        let full = full.finish(end, end);
        prop_assert_eq!(&full.producers, world.replica.producers(), "the leader's own state");
        prop_assert_eq!(&full.epochs, &written(world.replica.epochs(), end));
        prop_assert_eq!(full.log_end, end);

        let cut = cut.index(world.log.len() + 1);
        let mut head = Recovery::from_log_start(Offset::ZERO);
        world.log[..cut].iter().for_each(|header| head.observe(header).unwrap());
        let at = head.log_end();
        let head = head.finish(at, at);
        let snapshot = head.producers.snapshot(at);
        let restored = Producers::from_snapshot(&snapshot).unwrap();
        prop_assert_eq!(&restored, &(head.producers, at));
        // the tail may begin before the snapshot's end
        for overlap in [0, cut.min(2)] {
            let mut tail = Recovery::from_checkpoint(Offset::ZERO, at, head.epochs.clone(), restored.clone());
            world.log[cut - overlap..].iter().for_each(|header| tail.observe(header).unwrap());
            let tail = tail.finish(end, end);
            prop_assert_eq!(&tail.producers, &full.producers);
            prop_assert_eq!(&tail.epochs, &full.epochs);
            prop_assert_eq!(tail.log_end, end);
        }
    }

    /// O3: no sequence of a session is in the log twice.
    #[test]
    fn no_sequence_is_appended_twice(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        let mut seen = BTreeSet::new();
        for header in world.log.iter().filter(|header| header.has_producer_id()) {
            for i in 0..header.record_count {
                let sequence = header.base_sequence.plus(i);
                prop_assert!(seen.insert((header.producer_id, header.producer_epoch, sequence)), "{:?}", header);
            }
        }
    }

    /// Bytes that are no snapshot are refused, not believed.
    #[test]
    fn any_bytes_are_a_snapshot_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), version in any::<bool>()) {
        if version && !bytes.is_empty() {
            bytes[0] = 1;
        }
        if let Ok((producers, end)) = Producers::from_snapshot(&bytes) {
            prop_assert_eq!(Producers::from_snapshot(&producers.snapshot(end)), Ok((producers, end)));
        }
    }
}

#[test]
fn an_older_epoch_behind_a_newer_is_corruption() {
    let header = |base: i64, epoch: i32| {
        let mut builder = Builder::new(Codec::None);
        builder.push(Timestamp(0), None, None, &[]);
        BatchHeader {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(epoch),
            ..*builder.build().header()
        }
    };
    let mut recovery = Recovery::from_log_start(Offset::ZERO);
    recovery.observe(&header(0, 3)).unwrap();
    recovery.observe(&header(5, 3)).expect("compaction leaves gaps");
    assert!(recovery.observe(&header(6, 2)).is_err());
}
