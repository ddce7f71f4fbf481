//! What an operator does to the shape of a cluster while everything runs: where replicas lie, who leads, how many
//! partitions there are, who votes. One request at a time; the [`Operator`](super::operator) sends it.

use super::env::{broker_of, node_of};
use super::member::OFFSETS_TOPIC;
use super::message::AdminRequest;
use super::node::directory_of;
use super::operator::{elect_preferred, elect_unclean, reassign};
use super::run::{EXPENDABLE, TOPIC};
use crate::rng::Rng;
use crate::scenario::Reshape;
use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{BrokerId, PartitionIndex};
use highwater_core::metadata::MetadataImage;
use highwater_protocol::messages as wire;
use std::collections::BTreeSet;

/// Of a thousand looks at the clock, so many lead to a request.
const PERMILLE: u32 = 250;

/// Of a thousand moves of a partition, so many are given up half way (KIP-455).
const CANCELLED_PERMILLE: u32 = 150;

/// No topic grows beyond that.
const PARTITIONS_MAX: i32 = 12;

/// What is changed, and what is half done.
#[derive(Debug)]
pub(crate) struct Reshaper {
    kinds: Vec<Reshape>,
    /// Of a thousand looks at the clock, so many add a partition to the producers' topic.
    partitions_permille: u32,
    nodes: usize,
    /// Who may have no vote: it is to have one again before another loses its own.
    absent: Option<BrokerId>,
    /// Whose new disk has a vote.
    replaced: BTreeSet<BrokerId>,
}

impl Reshaper {
    /// Does these things to a cluster of so many nodes.
    pub(crate) const fn new(kinds: Vec<Reshape>, partitions_permille: u32, nodes: usize) -> Self {
        Self { kinds, partitions_permille, nodes, absent: None, replaced: BTreeSet::new() }
    }

    /// Whether it never does anything.
    pub(crate) const fn is_idle(&self) -> bool {
        self.kinds.is_empty() && self.partitions_permille == 0
    }

    /// Whether nothing is half done.
    pub(crate) const fn is_done(&self) -> bool {
        self.absent.is_none()
    }

    /// What is to be asked next, if anything.
    pub(crate) fn plan(&mut self, rng: &mut Rng, image: &MetadataImage) -> Option<AdminRequest> {
        if self.partitions_permille > 0 && rng.happens(self.partitions_permille) {
            return add_partition(image);
        }
        if self.kinds.is_empty() || !rng.happens(PERMILLE) {
            return None;
        }
        match *rng.pick(&self.kinds) {
            Reshape::Replicas => self.move_replicas(rng, image),
            Reshape::Leaders => {
                let (topic, index) = pick_partition(rng, image)?;
                Some(elect_preferred(topic, index))
            }
            Reshape::Voters => Some(self.change_voters(rng)),
            Reshape::Unclean => {
                let index = PartitionIndex(0);
                let state = image.topic(EXPENDABLE)?.partitions.get(&index)?;
                state.leader.is_none().then(|| elect_unclean(EXPENDABLE, index))
            }
            Reshape::LostVoters => self.replace_lost_voter(image),
        }
    }

    /// What must not stay half done.
    pub(crate) fn finish(&self) -> Option<AdminRequest> {
        self.absent.map(AdminRequest::AddVoter)
    }

    /// A request was answered.
    pub(crate) fn answered(&mut self, request: &AdminRequest, code: ErrorCode) {
        if matches!(request, AdminRequest::AddVoter(_))
            && matches!(code, ErrorCode::None | ErrorCode::DuplicateVoter)
        {
            let added = self.absent.take();
            self.replaced.extend(added.filter(|_| code == ErrorCode::None));
        }
    }

    /// To two or three drawn nodes, or back to where it was.
    fn move_replicas(&self, rng: &mut Rng, image: &MetadataImage) -> Option<AdminRequest> {
        let (topic, index) = pick_partition(rng, image)?;
        if rng.happens(CANCELLED_PERMILLE) {
            return Some(reassign(topic, index, None));
        }
        let mut nodes: Vec<BrokerId> = (0..self.nodes).map(broker_of).collect();
        let count = if rng.happens(700) { 3 } else { 2 };
        let mut drawn = Vec::new();
        while drawn.len() < count && !nodes.is_empty() {
            drawn.push(nodes.swap_remove(rng.below(nodes.len() as u64) as usize));
        }
        Some(reassign(topic, index, Some(&drawn)))
    }

    /// The vote of a disk that is lost goes to the one that its node has now (KIP-853).
    fn replace_lost_voter(&mut self, image: &MetadataImage) -> Option<AdminRequest> {
        if let Some(absent) = self.absent {
            return Some(AdminRequest::AddVoter(absent));
        }
        let has_lost = |id: BrokerId, directory| directory != directory_of(node_of(id)).0;
        let mut lost = image.brokers().filter(|(id, broker)| has_lost(*id, broker.directory_id));
        let (id, _) = lost.find(|(id, _)| !self.replaced.contains(id))?;
        self.absent = Some(id);
        Some(AdminRequest::RemoveVoter(id))
    }

    /// Takes a vote away, or gives it back (KIP-853). The first may be carried out although nobody answers.
    fn change_voters(&mut self, rng: &mut Rng) -> AdminRequest {
        if let Some(absent) = self.absent {
            return AdminRequest::AddVoter(absent);
        }
        let voter = broker_of(rng.below(self.nodes as u64) as usize);
        self.absent = Some(voter);
        AdminRequest::RemoveVoter(voter)
    }
}

/// A partition of the producers' topic or, now and then, one with a coordinator.
fn pick_partition(rng: &mut Rng, image: &MetadataImage) -> Option<(&'static str, PartitionIndex)> {
    let name = if rng.happens(250) { OFFSETS_TOPIC } else { TOPIC };
    let count = image.topic(name).map_or(0, |topic| topic.partition_count());
    (count > 0).then(|| (name, PartitionIndex(rng.below(count as u64) as i32)))
}

fn add_partition(image: &MetadataImage) -> Option<AdminRequest> {
    let count = image.topic(TOPIC)?.partition_count() + 1;
    let topic = wire::CreatePartitionsTopic { name: TOPIC.to_owned(), count, ..Default::default() };
    let request =
        wire::CreatePartitionsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    (count <= PARTITIONS_MAX).then_some(AdminRequest::CreatePartitions(request))
}
