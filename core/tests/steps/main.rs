//! Five voters that decide for three replicas of a partition, stepped at random: a million steps a run, and after each one
//! everything that must always hold does.
//!
//! What a broker or an operator wants of the controller is a record that the quorum commits or loses; what is committed is
//! carried out in that order, and only then known to brokers. So elections of the quorum, lost flushes of its voters, late
//! answers and crashes of brokers meet one another. [`cluster::Cluster`] checks O39 and [`world::World`] O1, O5 to O7, O10,
//! O11 and O15 in every step.

#[path = "../quorum/acts.rs"]
mod acts;
#[allow(dead_code, reason = "stories of the quorum use the rest")]
#[path = "../quorum/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "stories of the replicas use the rest")]
#[path = "../replication/world.rs"]
mod world;

use acts::{Act, act, carry_out};
use cluster::Cluster;
use highwater_core::batch;
use highwater_core::ids::{BrokerId, Offset};
use highwater_core::machine::Machine;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;
use std::time::Instant;
use world::{Counts, Decision, World, op};

/// What every run of the tests does at least.
const STEPS_MIN: u64 = 1_000_000;

/// One case is so many acts, some of which are several steps. What is checked in each grows with what was before.
const CASE_ACTS: usize = 1000;

/// So many cases are a little more than [`STEPS_MIN`].
const CASES: u32 = 260;

#[derive(Clone, Copy, Debug)]
enum Step {
    Quorum(Act),
    /// So many things happen to the quorum as they should: a message arrives, disks are done, or the next deadline passes.
    Prompt(u8),
    Partition(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => act(false).prop_map(Step::Quorum),
        3 => (1u8..24).prop_map(Step::Prompt),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(kind, choice)| Step::Partition(kind, choice)),
    ]
}

/// What has happened in all cases.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    steps: u64,
    decisions: u64,
    lost_decisions: u64,
    quorum_epochs: i64,
    partitions: Counts,
}

/// The quorum, and the partition that it decides for.
struct Both {
    quorum: Cluster,
    partition: World,
    /// Everything that was ever proposed: records name it by its place.
    proposed: Vec<Decision>,
    /// So far it is carried out.
    carried_out: Offset,
    sum: Sum,
}

impl Both {
    fn new(seed: u64) -> Self {
        Self {
            quorum: Cluster::new(5, 0, seed),
            partition: World::governed(),
            proposed: Vec::new(),
            carried_out: Offset::ZERO,
            sum: Sum::default(),
        }
    }

    fn step(&mut self, step: Step) {
        self.sum.steps += match step {
            Step::Prompt(times) => u64::from(times),
            Step::Quorum(_) | Step::Partition(..) => 1,
        };
        match step {
            // The acts that propose are the controller's here.
            Step::Quorum(Act::Propose(n)) => carry_out(&mut self.quorum, Act::FinishFlush(n), 0),
            // Deadlines that pass long before their time are for the stories of the quorum: they end every leadership.
            Step::Quorum(Act::TimeOut(n)) if n % 16 != 0 => self.prompt(),
            Step::Quorum(act) => carry_out(&mut self.quorum, act, 0),
            Step::Prompt(times) => (0..times).for_each(|_| self.prompt()),
            Step::Partition(kind, choice) => self.partition.step(op(kind, choice)),
        }
        for decision in self.partition.decisions() {
            let leader = self.quorum.leader().map(BrokerId);
            let value = self.proposed.len() as u64;
            let is_taken = leader.is_some_and(|leader| self.quorum.propose(leader, value));
            self.sum.lost_decisions += u64::from(!is_taken);
            if is_taken {
                self.proposed.push(decision);
            }
        }
        self.carry_out_committed();
    }

    fn prompt(&mut self) {
        let packet = self.quorum.network.first().map(|packet| packet.to);
        if let Some(to) = packet {
            self.quorum.deliver(0);
            self.quorum.finish_vote(to);
            self.quorum.finish_flush(to);
            return;
        }
        let busy = |node: &&cluster::Node| node.voting.is_some() || node.flushing.is_some();
        if let Some(id) = self.quorum.nodes.values().find(busy).map(|node| node.key.id) {
            self.quorum.finish_vote(id);
            self.quorum.finish_flush(id);
            return;
        }
        let deadlines = self.quorum.nodes.values().filter_map(|node| {
            let due = node.machine.as_ref()?.next_timeout()?;
            Some((due, node.key.id))
        });
        if let Some((_, id)) = deadlines.min() {
            self.quorum.time_out(id);
        }
    }

    /// Whoever knows of the most commits tells; all others have the same (O39).
    fn carry_out_committed(&mut self) {
        let newest = self.quorum.nodes.values().max_by_key(|node| node.committed);
        let Some(node) = newest.filter(|node| node.committed > self.carried_out) else { return };
        let is_new = |offset: Offset| offset >= self.carried_out && offset < node.committed;
        let mut values = Vec::new();
        for stored in node.disk.log.iter().filter(|stored| is_new(stored.batch.header.base_offset)) {
            if !stored.batch.header.attributes.is_control() {
                values.push(value_of(&stored.batch.bytes));
            }
        }
        let is_whole = node.disk.start().end <= self.carried_out;
        self.carried_out = node.committed;
        assert!(is_whole, "who commits first has not forgotten what is committed");
        for value in values {
            self.sum.decisions += 1;
            self.partition.decided(self.proposed[value].clone());
        }
    }
}

fn value_of(bytes: &bytes::Bytes) -> usize {
    let record = batch::records(bytes).expect("a controller wrote it").next().expect("one record");
    let value = record.expect("it reads").value.expect("it names a decision");
    u64::from_be_bytes(value[..].try_into().expect("eight bytes")) as usize
}

#[test]
fn a_million_steps_break_nothing() {
    let begun = Instant::now();
    let sum = RefCell::new(Sum::default());
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), CASE_ACTS);
    let ran = TestRunner::new(config).run(&(any::<u64>(), steps), |(seed, steps)| {
        let mut both = Both::new(seed);
        for step in steps {
            both.step(step);
        }
        let epochs =
            both.quorum.nodes.values().filter_map(|node| Some(i64::from(node.disk.vote?.epoch.0))).max();
        both.sum.quorum_epochs = epochs.unwrap_or_default();
        both.sum.partitions = both.partition.counts;
        sum.borrow_mut().add(&both.sum);
        Ok(())
    });
    let sum = sum.into_inner();
    println!("{} steps in {:.0} s: {sum:?}", sum.steps, begun.elapsed().as_secs_f64());
    ran.unwrap_or_else(|error| panic!("{error}"));
    assert!(sum.steps >= STEPS_MIN, "a run of the tests is {STEPS_MIN} steps");
    let Counts { acked, elections, cuts, losses, isr_changes, refusals } = sum.partitions;
    let least = [acked, elections, cuts, losses, isr_changes, refusals].into_iter().min();
    assert!(least > Some(100), "what it is about happens too rarely: {sum:?}");
    assert!(sum.decisions > 3000 && sum.quorum_epochs > 400, "the quorum decides too little: {sum:?}");
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.decisions += other.decisions;
        self.lost_decisions += other.lost_decisions;
        self.quorum_epochs += other.quorum_epochs;
        self.partitions.add(&other.partitions);
    }
}
