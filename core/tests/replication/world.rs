//! Three brokers that hold one partition, a controller that says who leads, and a network that does as it likes.
//!
//! Everything happens by [`Op`]s, one at a time; after each the oracles look at all replicas. Durability is what the
//! disks here say: a power cut takes what was not flushed.
//!
//! The controller is a state and the [`Decision`]s that change it. By default each is carried out where it is asked for;
//! [`World::governed`] leaves them to whoever holds the world, to be committed first.

use bytes::Bytes;
use highwater_core::batch::{self, BatchHeader, Builder, Codec, StampedBatch};
use highwater_core::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, ProducerId, Sequence, Token,
    TopicPartition,
};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::random::SplitMix64;
use highwater_core::replica::{
    Acks, Effect, FetchOutcome, FetchPosition, FollowerFetch, Input, IsrAccepted, IsrMember, IsrRefusal,
    Leadership, Producers, Recovery, Replica, Replicated, ReplicatedOutcome, Reply, Role, Settings,
};
use highwater_core::time::{Instant, Now, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const BROKERS: usize = 3;
const MIN_ISR: usize = 2;
const LAG: Duration = Duration::from_millis(50);

/// What can happen. Numbers choose among what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// A client writes to a broker that believes that it leads.
    Produce(u8),
    /// A follower fetches.
    Fetch(u8),
    /// A message of the network arrives.
    Deliver(u8),
    /// A message arrives and will arrive again.
    Repeat(u8),
    /// A message is lost.
    Lose(u8),
    /// A broker hears what the controller has decided.
    Tell(u8),
    /// The controller fences a broker.
    Fence(u8),
    /// The controller lets a broker in again.
    Unfence(u8),
    /// The controller lets another lead.
    Elect(u8),
    Flush(u8),
    /// The process dies; its page cache stays.
    Kill(u8),
    /// Power is lost, and with it what was not flushed.
    PowerCut(u8),
    /// Time passes.
    Tick(u8),
}

/// A batch as a log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    header: BatchHeader,
    bytes: Bytes,
}

/// A broker's disk: the log, and how much of it would survive.
#[derive(Clone, Debug, Default)]
struct Disk {
    batches: Vec<Stored>,
    flushed: usize,
}

impl Disk {
    fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.header.next_offset())
    }

    fn flushed_end(&self) -> Offset {
        self.flushed.checked_sub(1).map_or(Offset::ZERO, |last| self.batches[last].header.next_offset())
    }

    fn cut(&mut self, to: Offset) -> Offset {
        self.batches.retain(|batch| batch.header.next_offset() <= to);
        self.flushed = self.flushed.min(self.batches.len());
        self.end()
    }

    fn recovery(&self) -> Recovery {
        let mut recovery = Recovery::from_log_start(Offset::ZERO);
        self.batches.iter().for_each(|batch| recovery.observe(&batch.header).expect("a log in order"));
        recovery
    }
}

struct Broker {
    id: BrokerId,
    epoch: BrokerEpoch,
    disk: Disk,
    replica: Replica,
    /// What the controller had decided when the broker last heard of it.
    knows: PartitionEpoch,
}

#[derive(Clone, Debug)]
enum Message {
    Fetch(usize, FollowerFetch),
    Reply(usize, BrokerEpoch, Replicated),
    Propose(Proposal),
    Answer(Proposal, Result<IsrAccepted, IsrRefusal>),
}

/// What a leader asks of the controller. It may arrive twice, late, and in any order, and so may its answers.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    from: usize,
    life: BrokerEpoch,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    isr: Vec<IsrMember>,
}

/// What changes the controller's state.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Fence(usize),
    Unfence(usize),
    Elect(usize),
    /// A process has begun; how the one before it ended nobody knows.
    Register(usize, BrokerEpoch),
    Alter(Proposal),
}

/// The controller's registration of the partition, and of the brokers.
#[derive(Clone, Debug)]
struct Controller {
    leader: Option<usize>,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    isr: Vec<usize>,
    elr: Vec<usize>,
    fenced: BTreeSet<usize>,
    epochs: Vec<BrokerEpoch>,
}

/// How often what a run is to be about has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acked: usize,
    pub(crate) elections: usize,
    pub(crate) cuts: usize,
    pub(crate) losses: usize,
    pub(crate) isr_changes: usize,
    pub(crate) refusals: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.elections += other.elections;
        self.cuts += other.cuts;
        self.losses += other.losses;
        self.isr_changes += other.isr_changes;
        self.refusals += other.refusals;
    }
}

/// See the [module](self).
pub(crate) struct World {
    pub(crate) counts: Counts,
    brokers: Vec<Broker>,
    controller: Controller,
    network: Vec<Message>,
    /// Whether decisions are committed elsewhere before they are carried out.
    is_governed: bool,
    /// What was asked for since the holder last looked.
    asked_for: Vec<Decision>,
    now_ms: u64,
    tokens: u64,
    sequences: i32,
    /// Batches whose producers wait, by token.
    asked: BTreeMap<Token, Bytes>,
    /// What was promised: offset to record bytes.
    acked: BTreeMap<Offset, Bytes>,
    /// The end of all that was promised or readable anywhere.
    committed: Offset,
    /// What has lost records and has not caught up since: one at a time, as min.insync.replicas allows.
    lossy: Option<usize>,
    /// High watermarks of leaders by epoch: they never go back.
    high_watermarks: BTreeMap<LeaderEpoch, Offset>,
}

fn brokers(those: &[usize]) -> Vec<BrokerId> {
    those.iter().map(|broker| id(*broker)).collect()
}

fn id(broker: usize) -> BrokerId {
    BrokerId(broker as i32 + 1)
}

fn at(broker: BrokerId) -> usize {
    broker.0 as usize - 1
}

fn settings() -> Settings {
    Settings { min_isr: MIN_ISR, lag_max: LAG, ..Settings::default() }
}

impl World {
    pub(crate) fn new() -> Self {
        let controller = Controller {
            leader: Some(0),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            isr: (0..BROKERS).collect(),
            elr: Vec::new(),
            fenced: BTreeSet::new(),
            epochs: vec![BrokerEpoch(1); BROKERS],
        };
        let brokers = (0..BROKERS).map(|n| Broker::start(n, BrokerEpoch(1), Disk::default())).collect();
        Self {
            counts: Counts::default(),
            brokers,
            controller,
            network: Vec::new(),
            is_governed: false,
            asked_for: Vec::new(),
            now_ms: 1000,
            tokens: 0,
            sequences: 0,
            asked: BTreeMap::new(),
            acked: BTreeMap::new(),
            committed: Offset::ZERO,
            lossy: None,
            high_watermarks: BTreeMap::new(),
        }
    }

    /// The same, with decisions that [`World::decisions`] gives out and [`World::decided`] takes.
    pub(crate) fn governed() -> Self {
        Self { is_governed: true, ..Self::new() }
    }

    /// What is to be decided.
    pub(crate) fn decisions(&mut self) -> Vec<Decision> {
        std::mem::take(&mut self.asked_for)
    }

    /// This is committed, behind all that was before.
    pub(crate) fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::Fence(n) => self.controller.fence(n),
            Decision::Unfence(n) => self.controller.unfence(n),
            Decision::Elect(choice) => self.controller.elect(choice),
            Decision::Register(n, epoch) => {
                if self.controller.epochs[n] < epoch {
                    self.controller.restarted(n, epoch);
                }
            }
            Decision::Alter(proposal) => {
                let answer = self.controller.alter(&proposal);
                match answer {
                    Ok(_) => self.counts.isr_changes += 1,
                    Err(_) => self.counts.refusals += 1,
                }
                self.network.push(Message::Answer(proposal, answer));
            }
        }
    }

    fn ask_for(&mut self, decision: Decision) {
        if self.is_governed { self.asked_for.push(decision) } else { self.decided(decision) }
    }

    /// Whether the controller knows this life of a broker.
    fn is_registered(&self, n: usize) -> bool {
        self.controller.epochs[n] == self.brokers[n].epoch
    }

    fn now(&self) -> Now {
        let mono = Instant::ZERO + Duration::from_millis(self.now_ms);
        Now { mono, wall: Timestamp(self.now_ms as i64) }
    }

    pub(crate) fn step(&mut self, op: Op) {
        self.now_ms += 1;
        match op {
            Op::Produce(n) => self.produce(usize::from(n) % BROKERS),
            Op::Fetch(n) => self.fetch(usize::from(n) % BROKERS),
            Op::Deliver(n) => {
                if let Some(message) = self.take(n) {
                    self.deliver(message);
                }
            }
            Op::Repeat(n) => {
                if let Some(message) = self.take(n) {
                    self.network.push(message.clone());
                    self.deliver(message);
                }
            }
            Op::Lose(n) => drop(self.take(n)),
            Op::Tell(n) => self.tell(usize::from(n) % BROKERS),
            Op::Fence(n) => self.ask_for(Decision::Fence(usize::from(n) % BROKERS)),
            Op::Unfence(n) => self.ask_for(Decision::Unfence(usize::from(n) % BROKERS)),
            Op::Elect(n) => self.ask_for(Decision::Elect(usize::from(n))),
            Op::Flush(n) => self.flush(usize::from(n) % BROKERS),
            Op::Kill(n) => self.restart(usize::from(n) % BROKERS, false),
            Op::PowerCut(n) => self.restart(usize::from(n) % BROKERS, true),
            Op::Tick(n) => {
                self.now_ms += u64::from(n) % 40;
                for n in 0..BROKERS {
                    self.timeout(n);
                }
            }
        }
        if self.network.len() > 64 {
            self.network.remove(0);
        }
        self.check();
    }

    fn take(&mut self, n: u8) -> Option<Message> {
        // Mostly in order: what overtakes everything else is rare.
        let among = if n < 224 { self.network.len().min(3) } else { self.network.len() };
        (among > 0).then(|| self.network.remove(usize::from(n) % among))
    }

    fn input(&mut self, n: usize, input: Input) {
        let now = self.now();
        let mut out = Outbox::new();
        self.brokers[n].replica.handle(now, input, &mut out);
        self.carry_out(n, out);
    }

    fn timeout(&mut self, n: usize) {
        let now = self.now();
        if self.brokers[n].replica.next_timeout().is_some_and(|at| at <= now.mono) {
            let mut out = Outbox::new();
            self.brokers[n].replica.handle_timeout(now, &mut out);
            self.carry_out(n, out);
        }
    }

    fn carry_out(&mut self, n: usize, mut out: Outbox<Effect>) {
        for effect in out.drain() {
            match effect {
                Effect::Append(batch) => {
                    let bytes = Bytes::from([batch.head(), batch.rest()].concat());
                    self.brokers[n].disk.batches.push(Stored { header: batch.header, bytes });
                    let through = batch.header.next_offset();
                    self.input(n, Input::Appended { through });
                }
                Effect::Truncate { to, rebuilds_producers, .. } => {
                    self.counts.cuts += 1;
                    let disk = &mut self.brokers[n].disk;
                    let end = disk.cut(to);
                    let recovered = disk.recovery().finish(Offset::ZERO, Offset::ZERO);
                    let producers = rebuilds_producers.then_some(recovered.producers);
                    self.input(n, Input::Truncated { end, producers });
                }
                Effect::StartOver { at, .. } => {
                    assert_eq!(at, Offset::ZERO, "no log starts elsewhere here");
                    self.brokers[n].disk = Disk::default();
                    self.input(n, Input::Truncated { end: at, producers: Some(Producers::new()) });
                }
                Effect::Reply { token, reply: Reply::Produced(result) } => {
                    let asked = self.asked.remove(&token);
                    if let (Ok(produced), Some(bytes)) = (result, asked) {
                        let before = self.acked.insert(produced.base_offset, bytes.clone());
                        assert!(before.is_none_or(|before| before == bytes), "O1: two records at one offset");
                        self.committed = self.committed.max(produced.base_offset.plus(1));
                        self.counts.acked += 1;
                    }
                }
                Effect::ProposeIsr { leader_epoch, partition_epoch, isr } => {
                    let life = self.brokers[n].epoch;
                    let proposal = Proposal { from: n, life, leader_epoch, partition_epoch, isr };
                    self.network.push(Message::Propose(proposal));
                }
                Effect::AdvanceLogStart { to } => self.input(n, Input::LogStartKept { through: to }),
                Effect::Flush { .. } | Effect::Wake { .. } => {}
                Effect::Reply { .. } => {}
            }
        }
    }

    fn produce(&mut self, n: usize) {
        if self.brokers[n].replica.leader_epoch().is_none() {
            return;
        }
        self.sequences += 1;
        self.tokens += 1;
        let value = self.sequences.to_string();
        // Every producer writes once, so that none of them is out of order.
        let producer = ProducerId(i64::from(self.sequences));
        let mut builder = Builder::new(Codec::None).idempotent(producer, ProducerEpoch(0), Sequence(0));
        builder.push(Timestamp(1), None, Some(value.as_bytes()), &[]);
        let token = Token(self.tokens);
        self.asked.insert(token, Bytes::from(value));
        let batch = builder.build();
        self.input(n, Input::Produce { token, batch, acks: Acks::All, leader_epoch: None });
    }

    fn fetch(&mut self, n: usize) {
        let Some((leader, position)) = self.brokers[n].replica.fetch_position() else { return };
        let fetch = FollowerFetch { broker: id(n), broker_epoch: self.brokers[n].epoch, position };
        self.network.push(Message::Fetch(at(leader), fetch));
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Fetch(n, fetch) => self.serve(n, fetch),
            Message::Reply(n, epoch, replicated) => {
                // A connection does not outlive its process.
                if self.brokers[n].epoch == epoch {
                    self.input(n, Input::Replicate(replicated));
                    self.fetch(n);
                }
            }
            Message::Propose(proposal) => self.ask_for(Decision::Alter(proposal)),
            Message::Answer(proposal, answer) => {
                let Proposal { from, life, leader_epoch, partition_epoch, isr } = proposal;
                // A connection does not outlive its process.
                if self.brokers[from].epoch == life {
                    let (proposed_at, proposed) = (partition_epoch, isr);
                    self.input(from, Input::IsrAnswered { leader_epoch, proposed_at, proposed, answer });
                }
            }
        }
    }

    fn serve(&mut self, n: usize, fetch: FollowerFetch) {
        self.input(n, Input::FollowerFetched(fetch));
        let broker = &self.brokers[n];
        let outcome = match broker.replica.follower_bounds(&fetch) {
            Ok(bounds) => ReplicatedOutcome::Data {
                high_watermark: bounds.high_watermark,
                log_start: bounds.log_start,
                batches: broker.read(fetch.position),
            },
            Err(FetchOutcome::Diverging(end)) => ReplicatedOutcome::Diverging(end),
            Err(FetchOutcome::OutOfRange { log_start, log_end }) => {
                ReplicatedOutcome::OutOfRange { log_start, log_end }
            }
            Err(_) => return,
        };
        let FetchPosition { leader_epoch, offset, last_epoch, .. } = fetch.position;
        let replicated = Replicated { leader: id(n), leader_epoch, offset, last_epoch, outcome };
        self.network.push(Message::Reply(at(fetch.broker), fetch.broker_epoch, replicated));
    }

    /// The newest registration reaches a broker; those between may pass it by.
    fn tell(&mut self, n: usize) {
        if !self.is_registered(n) {
            // it takes no role before the controller knows it, and asks again until then
            return self.ask_for(Decision::Register(n, self.brokers[n].epoch));
        }
        let controller = self.controller.clone();
        self.brokers[n].knows = controller.partition_epoch;
        let (leader_epoch, partition_epoch) = (controller.leader_epoch, controller.partition_epoch);
        if controller.leader == Some(n) {
            self.counts.elections +=
                usize::from(self.brokers[n].replica.leader_epoch() != Some(leader_epoch));
            let replicas = (0..BROKERS).map(id).collect();
            let isr = brokers(&controller.isr);
            self.input(n, Input::Lead(Leadership { leader_epoch, partition_epoch, replicas, isr }));
        } else {
            let leader = controller.leader.map(id);
            self.input(n, Input::Follow { leader, leader_epoch, partition_epoch });
        }
    }

    fn flush(&mut self, n: usize) {
        let disk = &mut self.brokers[n].disk;
        disk.flushed = disk.batches.len();
        let through = disk.flushed_end();
        self.input(n, Input::Flushed { through });
    }

    fn restart(&mut self, n: usize, is_power_cut: bool) {
        let is_other = |other: &&usize| **other != n && self.is_registered(**other);
        if !self.controller.isr.iter().chain(&self.controller.elr).any(|other| is_other(&other)) {
            return; // the last that may lead: what it does not come back with is gone, as everybody knows
        }
        let mut disk = self.brokers[n].disk.clone();
        if is_power_cut && disk.flushed < disk.batches.len() {
            if self.lossy.is_some_and(|other| other != n) {
                return; // more than the promise covers
            }
            self.lossy = Some(n);
            self.counts.losses += 1;
            disk.batches.truncate(disk.flushed);
        }
        let epoch = BrokerEpoch(self.brokers[n].epoch.0 + 1);
        self.brokers[n] = Broker::start(n, epoch, disk);
        self.ask_for(Decision::Register(n, epoch));
    }

    fn check(&mut self) {
        for broker in &self.brokers {
            broker.check();
        }
        self.check_high_watermarks();
        if let Some(lossy) = self.lossy
            && self.controller.isr.contains(&lossy)
            && self.is_registered(lossy)
        {
            self.lossy = None;
        }
        self.check_matching();
        self.check_maximal();
        self.check_complete();
    }

    /// O10: the leader that the controller knows counts everybody whom it may elect.
    fn check_maximal(&self) {
        let Controller { leader, leader_epoch, isr, .. } = &self.controller;
        let Some(Role::Leader(state)) = leader.map(|n| self.brokers[n].replica.role()) else { return };
        let counts = |n: &usize| state.maximal_isr().contains(&id(*n));
        assert!(
            state.leader_epoch != *leader_epoch || isr.iter().all(counts),
            "O10: the leader counts {:?}, in the ISR are {:?}",
            state.maximal_isr(),
            brokers(isr)
        );
    }

    /// O5: the high watermark of a leader does not go back in its epoch.
    fn check_high_watermarks(&mut self) {
        for broker in &self.brokers {
            let high_watermark = broker.replica.high_watermark();
            if let Some(epoch) = broker.replica.leader_epoch() {
                let known = self.high_watermarks.entry(epoch).or_default();
                assert!(*known <= high_watermark, "O5: {high_watermark} after {known} in epoch {epoch}");
                *known = high_watermark;
                self.committed = self.committed.max(high_watermark);
            }
        }
    }

    /// O6: one batch for each (offset, epoch), and then the same prefix.
    fn check_matching(&self) {
        for (n, a) in self.brokers.iter().enumerate() {
            for b in &self.brokers[n + 1..] {
                let (a, b) = (&a.disk.batches, &b.disk.batches);
                let same = a.iter().zip(b).rposition(|(a, b)| {
                    (a.header.base_offset, a.header.leader_epoch)
                        == (b.header.base_offset, b.header.leader_epoch)
                });
                if let Some(last) = same {
                    assert_eq!(a[..=last], b[..=last], "O6: one offset and epoch, two logs");
                }
            }
        }
    }

    /// O7, and with it O1: every member of ISR and ELR has all that was committed, and so has whoever leads next.
    fn check_complete(&self) {
        let electable = self.controller.isr.iter().chain(&self.controller.elr);
        for n in electable.filter(|n| self.is_registered(**n)) {
            let disk = &self.brokers[*n].disk;
            assert!(
                disk.end() >= self.committed,
                "O7: broker {} may lead and ends at {}, before {}",
                id(*n),
                disk.end(),
                self.committed
            );
            for (offset, value) in &self.acked {
                let stored = disk.batches.iter().find(|batch| batch.header.base_offset == *offset);
                let stored = stored.and_then(|batch| value_of(&batch.bytes));
                assert_eq!(stored.as_ref(), Some(value), "O1: the record at {offset} on broker {}", id(*n));
            }
        }
    }
}

fn value_of(batch: &Bytes) -> Option<Bytes> {
    batch::records(batch).ok()?.next()?.ok()?.value
}

impl Broker {
    fn start(n: usize, epoch: BrokerEpoch, disk: Disk) -> Self {
        let recovered = disk.recovery().finish(disk.flushed_end(), Offset::ZERO);
        let replica = Replica::new(TopicPartition::default(), id(n), settings(), recovered);
        Self { id: id(n), epoch, disk, replica, knows: PartitionEpoch(-1) }
    }

    fn read(&self, from: FetchPosition) -> Vec<StampedBatch> {
        let wanted = self.disk.batches.iter().filter(|batch| batch.header.next_offset() > from.offset);
        let bytes: Vec<u8> = wanted.flat_map(|batch| batch.bytes.to_vec()).collect();
        batch::replicated(&Bytes::from(bytes)).expect("a leader's log is whole")
    }

    fn check(&self) {
        let replica = &self.replica;
        replica.assert_invariants();
        assert_eq!(replica.log_end(), self.disk.end(), "the machine knows its log");
        let scanned = self.disk.recovery().finish(Offset::ZERO, Offset::ZERO);
        assert_eq!(*replica.producers(), scanned.producers, "O15: producers of broker {}", self.id);
        let mut entries = replica.epochs().entries().to_vec();
        if let Role::Leader(_) = replica.role() {
            // The entry of an election behind which nothing was written.
            entries.retain(|entry| entry.start < replica.log_end());
        }
        assert_eq!(entries, scanned.epochs.entries(), "O11: epochs of broker {}", self.id);
    }
}

impl Controller {
    /// Who may lead now: of the ISR, or of the ELR if none of the ISR is there.
    fn candidates(&self) -> Vec<usize> {
        let alive = |those: &[usize]| -> Vec<usize> {
            those.iter().copied().filter(|n| !self.fenced.contains(n)).collect()
        };
        let candidates = alive(&self.isr);
        if candidates.is_empty() { alive(&self.elr) } else { candidates }
    }

    fn elect(&mut self, choice: usize) {
        let candidates = self.candidates();
        let leader = (!candidates.is_empty()).then(|| candidates[choice % candidates.len()]);
        if leader == self.leader {
            return;
        }
        if let Some(leader) = leader {
            self.elr.retain(|n| *n != leader);
            if !self.isr.contains(&leader) {
                // elected from the ELR: the ISR begins anew with it
                self.isr = vec![leader];
            }
        }
        self.leader = leader;
        self.leader_epoch = self.leader_epoch.next();
        self.partition_epoch.0 += 1;
    }

    /// Members that leave while too few stay may still lead (KIP-966).
    fn set_isr(&mut self, isr: Vec<usize>) {
        let left: Vec<_> = self.isr.iter().copied().filter(|n| !isr.contains(n)).collect();
        if isr.len() >= MIN_ISR {
            self.elr.clear();
        } else {
            self.elr.extend(left);
            self.elr.retain(|n| !isr.contains(n));
        }
        self.isr = isr;
        self.partition_epoch.0 += 1;
    }

    fn fence(&mut self, n: usize) {
        self.fenced.insert(n);
        if self.isr.contains(&n) {
            self.set_isr(self.isr.iter().copied().filter(|member| *member != n).collect());
        }
        if self.leader == Some(n) {
            self.leader = None;
            self.elect(0);
            if self.leader.is_none() {
                self.leader_epoch = self.leader_epoch.next();
                self.partition_epoch.0 += 1;
            }
        }
    }

    fn unfence(&mut self, n: usize) {
        if self.fenced.remove(&n) && self.leader.is_none() {
            self.elect(0);
        }
    }

    /// A process that ended badly is in neither ISR nor ELR until it has caught up.
    fn restarted(&mut self, n: usize, epoch: BrokerEpoch) {
        self.fence(n);
        self.elr.retain(|member| *member != n);
        self.epochs[n] = epoch;
    }

    fn alter(&mut self, proposal: &Proposal) -> Result<IsrAccepted, IsrRefusal> {
        let Proposal { from, life, leader_epoch, partition_epoch, ref isr } = *proposal;
        let is_current = self.leader == Some(from)
            && self.epochs[from] == life
            && leader_epoch == self.leader_epoch
            && partition_epoch == self.partition_epoch;
        if !is_current {
            return Err(IsrRefusal::Stale);
        }
        let is_eligible = |member: &IsrMember| {
            let n = at(member.broker);
            !self.fenced.contains(&n) && member.broker_epoch.is_none_or(|epoch| epoch == self.epochs[n])
        };
        if !isr.iter().all(is_eligible) {
            return Err(IsrRefusal::Ineligible);
        }
        self.set_isr(isr.iter().map(|member| at(member.broker)).collect());
        let partition_epoch = self.partition_epoch;
        Ok(IsrAccepted { leader_epoch, partition_epoch, isr: brokers(&self.isr) })
    }
}

/// Which op a byte stands for, in about the proportions of a cluster that has a bad day.
pub(crate) fn op(kind: u8, choice: u8) -> Op {
    match kind {
        0..=39 => Op::Produce(choice),
        40..=69 => Op::Fetch(choice),
        70..=189 => Op::Deliver(choice),
        190..=193 => Op::Repeat(choice),
        194..=197 => Op::Lose(choice),
        198..=229 => Op::Tell(choice),
        230 => Op::Fence(choice),
        231..=239 => Op::Unfence(choice),
        240..=241 => Op::Elect(choice),
        242..=249 => Op::Flush(choice),
        250 => Op::Kill(choice),
        251 => Op::PowerCut(choice),
        _ => Op::Tick(choice),
    }
}

/// A run that follows from a number.
pub(crate) fn run(seed: u64, steps: usize) -> Counts {
    let mut random = SplitMix64::new(seed);
    let mut world = World::new();
    for _ in 0..steps {
        let [kind, choice, ..] = random.next_u64().to_le_bytes();
        world.step(op(kind, choice));
    }
    world.counts
}
