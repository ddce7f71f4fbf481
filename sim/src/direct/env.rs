//! What every step of a run shares: time, the queue, the network, the disks' moods, the trace and the truth.

use super::message::{Event, Message};
use super::network::{Network, Place};
use super::queue::{MICRO, MILLI, Queue, Time};
use super::trace::Trace;
use super::truth::Truth;
use crate::rng::Rng;
use highwater_core::fetch::Slot;
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, TopicPartition};
use highwater_core::replica::IsrMember;
use highwater_core::time::{Instant, Now, Timestamp};

/// The wall clock at the beginning of every run: any day will do.
const WALL_MS_BEGIN: i64 = 1_700_000_000_000;

/// How a node's disk behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskMood {
    /// Of a thousand appends, so many answer later.
    pub(crate) slow_append_permille: u32,
    /// The longest that a slow operation takes.
    pub(crate) slow_max: Time,
    /// The next flush fails.
    pub(crate) flush_fails: bool,
    /// The next write or sync of a partition's log fails, and the node goes on without it.
    pub(crate) log_fails: bool,
    /// After so many more operations nothing is done any more: the process has died between two of them.
    pub(crate) fuse: Option<u32>,
}

/// A step has shown something that oracles look at once it is over, with all nodes at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hook {
    /// A replica became leader.
    Led { node: usize, partition: TopicPartition },
    /// A leader's high watermark moved.
    Committed { node: usize, partition: TopicPartition },
    /// acks=all was answered for everything before `end`.
    Acked { partition: TopicPartition, end: Offset, copies_min: usize },
    /// A follower has cut its log.
    Truncated { node: usize, partition: TopicPartition },
    /// A coordinator has read its log.
    Loaded { node: usize, partition: TopicPartition },
    /// A replica of the metadata log has learned what is committed, or as its leader made it so.
    MetadataCommitted { node: usize, through: Offset, is_first: bool },
    /// A node became the active controller, or ceased to be.
    ControllerChanged { node: usize },
    /// The process has stopped in good order.
    Stopped { node: usize },
    /// The process dies here.
    Died { node: usize },
}

/// What a step of a cell leaves for its node to do.
#[derive(Debug)]
pub(crate) enum Local {
    /// A leader wants another ISR.
    Propose {
        partition: TopicPartition,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
        isr: Vec<IsrMember>,
    },
    /// A replica's log has failed.
    LogFailed { partition: TopicPartition },
    /// There is something to tell a follower.
    Woken { broker: BrokerId, slot: Slot },
    /// A follower stands elsewhere, or follows another leader than before.
    Moved { partition: TopicPartition, before: Option<BrokerId> },
}

/// What a step of a node knows of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) now: Now,
    /// Nobody can have been elected in this broker's place because it was silent.
    pub(crate) holds_lease: bool,
}

impl Here {
    pub(crate) const fn broker(&self) -> BrokerId {
        broker_of(self.node)
    }
}

/// The id of the node in this place.
pub(crate) const fn broker_of(node: usize) -> BrokerId {
    BrokerId(node as i32 + 1)
}

/// The place of the node of this id.
pub(crate) const fn node_of(broker: BrokerId) -> usize {
    (broker.0 - 1) as usize
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Totals {
    /// Messages that arrived.
    pub delivered: u64,
    /// Events of every kind.
    pub events: u64,
    /// Records acknowledged to producers.
    pub acked: u64,
    /// Records that consumers read.
    pub read: u64,
    /// Offset commits acknowledged.
    pub commits: u64,
    /// Generations that a member synced.
    pub generations: u64,
    /// Administrative requests that succeeded.
    pub admin: u64,
    /// Those of them that changed the cluster's shape.
    pub reshaped: u64,
    /// Elections of partition leaders that were seen.
    pub elections: u64,
    /// Crashes and power cuts.
    pub crashes: u64,
    /// Faults of every kind.
    pub faults: u64,
}

#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) now: Time,
    pub(crate) queue: Queue<Event>,
    pub(crate) network: Network,
    pub(crate) trace: Trace,
    pub(crate) truth: Truth,
    pub(crate) disks: Vec<DiskMood>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) local: Vec<Local>,
    pub(crate) totals: Totals,
    disk_rng: Rng,
    tokens: u64,
}

impl Env {
    pub(crate) fn new(network: Network, trace: Trace, truth: Truth, nodes: usize, disk_rng: Rng) -> Self {
        Self {
            now: 0,
            queue: Queue::new(),
            network,
            trace,
            truth,
            disks: vec![DiskMood::default(); nodes],
            hooks: Vec::new(),
            local: Vec::new(),
            totals: Totals::default(),
            disk_rng,
            tokens: 0,
        }
    }

    /// Both clocks; those of nodes and clients do not differ but by when their processes began.
    pub(crate) fn clock(&self) -> Now {
        Now {
            mono: Instant::from_nanos(self.now),
            wall: Timestamp(WALL_MS_BEGIN + (self.now / MILLI) as i64),
        }
    }

    /// A number that nothing else in this run has.
    pub(crate) const fn fresh(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    /// Puts a client's or a node's message on the network.
    pub(crate) fn send(&mut self, from: Place, to: Place, message: Message) {
        if self.is_dead(from) {
            return;
        }
        let fate = self.network.fate(self.now, from, to);
        if let Some(again) = fate.again
            && let Some(message) = message.duplicate()
        {
            self.queue.push(again, Event::Deliver { from, to, message });
        }
        if let Some(at) = fate.at {
            self.queue.push(at, Event::Deliver { from, to, message });
        } else if matches!(message, Message::Response { .. }) {
            // an answer is lost with its connection, and the client notices
            let reset = Message::Link { is_up: false };
            self.queue.push(self.now + 5 * MILLI, Event::Deliver { from, to, message: reset });
        }
    }

    /// Whether the node's process has died within the present step: what its machines say from then on counts for
    /// nothing.
    pub(crate) fn is_dead(&self, place: Place) -> bool {
        self.disks.get(place as usize).is_some_and(|disk| disk.fuse == Some(0))
    }

    /// Asks a node's disk for one operation: false if the process died before it.
    pub(crate) fn disk_operation(&mut self, node: usize) -> bool {
        match &mut self.disks[node].fuse {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    self.hooks.push(Hook::Died { node });
                    return false;
                }
                true
            }
        }
    }

    /// How long an append takes: nothing for most.
    pub(crate) fn append_delay(&mut self, node: usize) -> Option<Time> {
        let mood = self.disks[node];
        let is_slow = mood.slow_append_permille > 0 && self.disk_rng.happens(mood.slow_append_permille);
        is_slow.then(|| 1 + self.disk_rng.below(mood.slow_max.max(1)))
    }

    /// How long a flush takes.
    pub(crate) fn flush_delay(&mut self, node: usize) -> Time {
        let slow = self.disks[node].slow_max;
        let usual = 200 * MICRO + self.disk_rng.below(2 * MILLI);
        if slow > 0 && self.disk_rng.happens(200) { usual + self.disk_rng.below(slow) } else { usual }
    }

    /// How long reading a log takes.
    pub(crate) fn load_delay(&mut self) -> Time {
        let scale = *self.disk_rng.pick(&[MILLI, MILLI, 20 * MILLI, 500 * MILLI]);
        100 * MICRO + self.disk_rng.below(scale)
    }

    pub(crate) const fn disk_rng(&mut self) -> &mut Rng {
        &mut self.disk_rng
    }
}
