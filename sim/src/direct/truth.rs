//! What is true of a run, kept outside the nodes: what was committed where, who led when, what clients were told.
//!
//! The ledger of a partition is everything below its true high watermark, the highest that any leader has reached.
//! Each step extends it by what was committed newly and compares that alone, so that no check walks a whole log.

use super::groups::Groups;
use super::meta::METADATA;
use super::run::EXPENDABLE;
use super::store::{Batch, CHAIN_EMPTY, SimLog, Stored, value_of, whole};
use bytes::Bytes;
use highwater_core::batch::{self, BatchHeader, StampedBatch};
use highwater_core::coordinator::group::{GroupCoordinator, GroupDurable};
use highwater_core::coordinator::{Coordinator, Record};
use highwater_core::ids::{
    BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition,
};
use highwater_core::metadata::{MetadataImage, PartitionState};
use highwater_core::quorum::{LogBatch, ReplicaKey};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// What an oracle found wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The oracle's number: O1 and so on for safety, L1 and so on for liveness.
    pub oracle: &'static str,
    /// What it saw.
    pub what: String,
}

/// A committed batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    pub(crate) base: Offset,
    pub(crate) next: Offset,
    pub(crate) chain: u64,
    /// The number that its producer wrote into it; 0 for a coordinator's.
    pub(crate) value: u64,
}

/// What is true of one partition.
#[derive(Debug)]
pub(crate) struct PartitionTruth {
    pub(crate) name: String,
    ledger: Vec<Committed>,
    chain: u64,
    high_watermark: Offset,
    /// The hash behind each batch that was ever appended anywhere (O6).
    placed: BTreeMap<(LeaderEpoch, Offset), u64>,
    leaders: BTreeMap<LeaderEpoch, BrokerId>,
    sequences: BTreeMap<(ProducerId, ProducerEpoch), Sequence>,
    /// As the controller last committed it.
    pub(crate) state: Option<PartitionState>,
    /// The replay of the ledger, for coordinators' partitions.
    durable: Option<Box<GroupDurable>>,
    /// Records before it may be gone.
    pub(crate) log_start: Offset,
    /// Acknowledged records may be gone, by a power cut or an unclean election: one copy suffices here.
    pub(crate) is_excused: bool,
    /// The largest latest offset that a client was told, by the epoch of who told it.
    pub(crate) latest_told: BTreeMap<LeaderEpoch, Offset>,
}

/// The truth of a run.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) is_checking: bool,
    violation: Option<Violation>,
    pub(crate) partitions: BTreeMap<TopicPartition, PartitionTruth>,
    pub(crate) groups: Groups,
    controllers: BTreeMap<LeaderEpoch, BrokerId>,
    votes: BTreeMap<(ReplicaKey, LeaderEpoch), BrokerId>,
    images: BTreeMap<Offset, Arc<MetadataImage>>,
    /// The newest committed metadata that any node has.
    pub(crate) image: Arc<MetadataImage>,
}

/// An oracle's number and what it saw.
pub(crate) type Complaint = (&'static str, String);

impl Truth {
    pub(crate) fn new(is_checking: bool) -> Self {
        Self { is_checking, ..Self::default() }
    }

    /// Notes that something is wrong, if oracles look at all. The first time counts: what follows may follow from it.
    pub(crate) fn complain(&mut self, oracle: &'static str, what: impl Display) {
        if !self.is_checking {
            return;
        }
        self.violation.get_or_insert_with(|| Violation { oracle, what: what.to_string() });
    }

    pub(crate) const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What an oracle says.
    pub(crate) fn judge(&mut self, oracle: &'static str, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.complain(oracle, what);
        }
    }

    /// What one of several oracles says.
    pub(crate) fn judge_pair(&mut self, verdict: Result<(), Complaint>) {
        if let Err((oracle, what)) = verdict {
            self.complain(oracle, what);
        }
    }

    /// What people call a partition.
    pub(crate) fn name_of(&self, partition: TopicPartition) -> String {
        self.partition(partition).map_or_else(|| format!("{partition:?}"), |known| known.name.clone())
    }

    /// Notes a partition that is to be watched.
    pub(crate) fn watch(&mut self, partition: TopicPartition, name: &str, is_coordinator: bool) {
        let known = || PartitionTruth {
            is_excused: name == EXPENDABLE,
            ..PartitionTruth::new(format!("{name}-{}", partition.partition), is_coordinator)
        };
        self.partitions.entry(partition).or_insert_with(known);
    }

    /// Takes note of an append anywhere (O6).
    pub(crate) fn placed(&mut self, partition: TopicPartition, header: &BatchHeader, chain: u64) {
        if !self.is_checking {
            return;
        }
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        let before = *known.placed.entry((header.leader_epoch, header.base_offset)).or_insert(chain);
        if before != chain {
            let what = format!(
                "{}: two replicas hold different logs up to offset {} of epoch {}",
                known.name, header.base_offset, header.leader_epoch
            );
            self.complain("O6", what);
        }
    }

    /// A replica of the metadata log says that it was elected (O39): once in an epoch.
    pub(crate) fn elected(&mut self, epoch: LeaderEpoch, broker: BrokerId) {
        let first = *self.controllers.entry(epoch).or_insert(broker);
        if first != broker {
            self.complain(
                "O39",
                format!("{first} and {broker} are both elected controller in epoch {epoch}"),
            );
        }
    }

    /// A replica of the metadata log gives its vote (O39): once in an epoch.
    pub(crate) fn voted(&mut self, voter: ReplicaKey, epoch: LeaderEpoch, candidate: BrokerId) {
        let first = *self.votes.entry((voter, epoch)).or_insert(candidate);
        if first != candidate {
            self.complain("O39", format!("{voter} votes for {first} and {candidate} in epoch {epoch}"));
        }
    }

    /// A node's image at an offset is every node's image there (O37).
    pub(crate) fn applied(&mut self, broker: BrokerId, image: &Arc<MetadataImage>) {
        let first = self.images.entry(image.offset()).or_insert_with(|| image.clone());
        if !Arc::ptr_eq(first, image) && first != image {
            let what =
                format!("at offset {} the metadata of {broker} differ from another node's", image.offset());
            self.complain("O37", what);
        }
        while self.images.len() > 512 {
            self.images.pop_first();
        }
    }

    /// The newest committed metadata that anyone has.
    pub(crate) fn learn(&mut self, image: &Arc<MetadataImage>) {
        self.image = image.clone();
        for topic in image.topics() {
            for (index, state) in topic.partitions.iter() {
                let partition = TopicPartition { topic_id: topic.id, partition: *index };
                if let Some(known) = self.partitions.get_mut(&partition).filter(|known| known.state.is_none())
                {
                    known.state = Some(state.clone());
                }
            }
        }
        self.partitions
            .retain(|partition, _| *partition == METADATA || image.topic_by_id(partition.topic_id).is_some());
    }

    /// A replica became leader (O8), and holds what is committed (O7).
    pub(crate) fn led(
        &mut self,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        broker: BrokerId,
        log: &SimLog<StampedBatch>,
    ) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        let first = *known.leaders.entry(epoch).or_insert(broker);
        // whoever was away for long passes through epochs that are over by now: it had to hold what was committed then
        let is_newest = known.leaders.keys().next_back() == Some(&epoch)
            && known.state.as_ref().is_none_or(|state| state.leader_epoch <= epoch);
        let verdict = known.holds_all(log, known.high_watermark);
        let name = known.name.clone();
        let is_excused = known.is_excused;
        if first != broker {
            self.complain("O8", format!("{name}: brokers {first} and {broker} both lead in epoch {epoch}"));
        }
        if !is_excused && is_newest {
            self.judge(
                "O7",
                verdict.map_err(|why| format!("broker {broker} leads {name} in epoch {epoch}: {why}")),
            );
        }
    }

    /// A leader's high watermark stands at `to`: what lies below is committed.
    pub(crate) fn committed(
        &mut self,
        partition: TopicPartition,
        broker: BrokerId,
        log: &SimLog<StampedBatch>,
        to: Offset,
    ) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        if let Err((oracle, why)) = known.extend(log, to, PartitionTruth::note) {
            let what = format!("{}: broker {broker}: {why}", known.name);
            if !known.is_excused {
                self.complain(oracle, what);
            }
        }
    }

    /// The active controller answers with what it planned on the metadata before `rests_on` (CQ-11, O37): if it loses its
    /// office, they may never have been.
    pub(crate) fn controller_answers(&mut self, broker: BrokerId, rests_on: Offset) {
        let committed = self.metadata_high_watermark();
        if rests_on > committed {
            let what = format!(
                "node {broker} answers from metadata before {rests_on}, committed are those before {committed}"
            );
            self.complain("O37", what);
        }
    }

    /// The end of the metadata that are committed.
    pub(crate) fn metadata_high_watermark(&self) -> Offset {
        self.partition(METADATA).map_or(Offset::ZERO, PartitionTruth::high_watermark)
    }

    /// A replica of the metadata log says that everything before `to` is committed (O39).
    pub(crate) fn metadata_committed(&mut self, broker: BrokerId, log: &SimLog<LogBatch>, to: Offset) {
        self.watch(METADATA, "metadata", false);
        let Some(known) = self.partitions.get_mut(&METADATA) else { return };
        let verdict = if to > known.high_watermark {
            known.extend(log, to, |_, _| Ok(0)).map_err(|(_, why)| why)
        } else {
            known.holds_all(log, to)
        };
        self.judge(
            "O39",
            verdict.map_err(|why| format!("metadata: node {broker} takes {to} as committed: {why}")),
        );
    }

    pub(crate) fn partition(&self, partition: TopicPartition) -> Option<&PartitionTruth> {
        self.partitions.get(&partition)
    }
}

impl PartitionTruth {
    fn new(name: String, is_coordinator: bool) -> Self {
        Self {
            name,
            ledger: Vec::new(),
            chain: CHAIN_EMPTY,
            high_watermark: Offset::ZERO,
            placed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            sequences: BTreeMap::new(),
            state: None,
            durable: is_coordinator.then(Box::default),
            log_start: Offset::ZERO,
            is_excused: false,
            latest_told: BTreeMap::new(),
        }
    }

    /// The true high watermark.
    pub(crate) const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The hash of everything that is committed.
    pub(crate) const fn chain(&self) -> u64 {
        self.chain
    }

    /// The replay of what is committed of a coordinator's partition.
    pub(crate) fn durable(&self) -> Option<&GroupDurable> {
        self.durable.as_deref()
    }

    /// The committed batch that begins at `base`.
    pub(crate) fn committed_at(&self, base: Offset) -> Option<&Committed> {
        let at = self.ledger.partition_point(|entry| entry.base < base);
        self.ledger.get(at).filter(|entry| entry.base == base)
    }

    /// The hash of what is committed before `end`, an end of a committed batch.
    pub(crate) fn chain_at(&self, end: Offset) -> Option<u64> {
        if end == self.high_watermark {
            return Some(self.chain);
        }
        let at = self.ledger.partition_point(|entry| entry.next < end);
        self.ledger.get(at).filter(|entry| entry.next == end).map(|entry| entry.chain)
    }

    /// Whether a log holds everything that was committed before `to`, an end of the ledger.
    pub(crate) fn holds_all<B: Batch>(&self, log: &SimLog<B>, to: Offset) -> Result<(), String> {
        if log.end() < to {
            return Err(format!("its log ends at {}, and {to} is committed", log.end()));
        }
        let chain = self.chain_at(to);
        // a log that begins behind it, or batches cut otherwise, cannot be compared here
        match (log.chain_at(to), chain) {
            (Some(found), Some(chain)) if found != chain => {
                Err(format!("before offset {to} it holds other records than were committed"))
            }
            (None, Some(_)) if log.start() <= to => Err(format!("no batch of its log ends at {to}")),
            _ => Ok(()),
        }
    }

    /// Takes over what a leader's log holds up to `to`. `note` looks at each batch first.
    fn extend<B: Batch>(
        &mut self,
        log: &SimLog<B>,
        to: Offset,
        mut note: impl FnMut(&mut Self, &Stored<B>) -> Result<u64, Complaint>,
    ) -> Result<(), Complaint> {
        if to <= self.high_watermark {
            return Ok(());
        }
        let from = self.high_watermark;
        self.holds_all(log, from).map_err(|why| ("O1", why))?;
        let first = log.position(from);
        for batch in log.batches().skip(first) {
            let header = *batch.header();
            if header.next_offset() > to {
                break;
            }
            let value = note(self, batch)?;
            let (base, next, chain) = (header.base_offset, header.next_offset(), batch.chain);
            self.ledger.push(Committed { base, next, chain, value });
            self.chain = chain;
            self.high_watermark = next;
        }
        if self.high_watermark == to {
            return Ok(());
        }
        Err(("O5", format!("its high watermark {to} lies beyond its log or inside of a batch")))
    }

    /// What is to be known of a batch of records that became committed.
    fn note(&mut self, batch: &Stored<StampedBatch>) -> Result<u64, Complaint> {
        self.follows_in_sequence(batch.header()).map_err(|why| ("O3", why))?;
        let Some(durable) = self.durable.as_deref_mut() else { return Ok(value_of(&batch.batch)) };
        replay(durable, &whole(&batch.batch)).map_err(|why| ("O24", why))?;
        Ok(0)
    }

    /// O3, O4: sequences of one producer's epoch follow each other without a gap, each once.
    fn follows_in_sequence(&mut self, header: &BatchHeader) -> Result<(), String> {
        if !header.has_producer_id() {
            return Ok(());
        }
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        let next = header.last_sequence().plus(1);
        match self.sequences.insert((id, epoch), next) {
            Some(expected) if expected != header.base_sequence => Err(format!(
                "at offset {} producer {id} wrote sequence {}, {expected} was to come",
                header.base_offset, header.base_sequence
            )),
            _ => Ok(()),
        }
    }
}

/// Replays a coordinator's batch.
pub(crate) fn replay(durable: &mut GroupDurable, bytes: &Bytes) -> Result<(), String> {
    for record in batch::records(bytes).map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        let Some(key) = record.key else { continue };
        let record = Record { key, value: record.value };
        GroupCoordinator::replay(durable, &record).map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}
