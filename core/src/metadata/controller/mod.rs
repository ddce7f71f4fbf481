//! The controller: plans changes of the metadata and replays what it planned.
//!
//! `plan_*` takes a request and gives back records and an answer; nothing has changed then. The shell appends the
//! records to the metadata log and tells [`Controller::appended`], from when on the next plan sees them. When the
//! log says that they are committed, [`Controller::committed`] gives out the image for everybody, and the answer
//! may leave (design rule 7). If leadership is lost in between, [`Controller::abandon`] forgets them.

mod brokers;
mod changes;
mod client_metrics;
mod configs;
mod election;
mod failures;
mod features;
mod group_settings;
mod isr;
mod leaders;
mod liveness;
mod partitions;
mod quotas;
mod reassignment;
mod sessions;
mod topics;

use super::image::MetadataImage;
use super::records::Record;
use crate::config::{BrokerConfig, ConfigMap, Layers};
use crate::ids::{BrokerId, Offset};
use highwater_protocol::ErrorCode;
use std::collections::VecDeque;
use std::sync::Arc;

pub use brokers::{ProducerIdBlock, Registration};
pub(super) use changes::drained;
pub(super) use configs::resource_type;
pub use isr::AlteredPartitions;
pub use leaders::{Imbalance, leader_imbalance};
pub use reassignment::answer_reassignments;
pub use sessions::{Expired, SessionLimits, Sessions};

/// What a plan comes to: records for the log, and the answer for when they are committed. Without records (nothing
/// to change, only refusals, or a request that only asks) the answer may leave at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<R> {
    /// For the metadata log, as one batch.
    pub records: Vec<Record>,
    /// The answer.
    pub response: R,
}

/// Whose settings are the defaults of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// The broker that plans.
    pub node: BrokerId,
    /// What its file, environment and command line say.
    pub fixed: &'a ConfigMap,
}

/// Why one item of a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What [`Controller::committed`] gives out.
#[derive(Clone, Debug)]
pub struct Committed {
    /// For everybody to swap in.
    pub image: Arc<MetadataImage>,
    /// What was committed since the image before, for those who act on changes: partitions to open or delete.
    pub records: Vec<Record>,
}

/// An appended batch that is not committed yet.
#[derive(Clone, Debug)]
struct Pending {
    records: Vec<Record>,
    /// Records of the quorum itself, which have no meaning here but take offsets.
    passed: i64,
    image: MetadataImage,
}

/// The state of the controller.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    /// Everything appended: what plans see.
    latest: MetadataImage,
    /// Everything committed: what answers see.
    committed: Arc<MetadataImage>,
    /// Between the two, oldest first.
    pending: VecDeque<Pending>,
}

impl Controller {
    /// A controller that continues a log whose replay is `image`.
    pub fn new(image: MetadataImage) -> Self {
        Self { committed: Arc::new(image.clone()), latest: image, pending: VecDeque::new() }
    }

    /// Everything appended: what plans see.
    pub const fn latest(&self) -> &MetadataImage {
        &self.latest
    }

    /// Everything committed: what answers see.
    pub const fn image(&self) -> &Arc<MetadataImage> {
        &self.committed
    }

    /// The planned records were appended to the log as one batch. Gives back the offset at which they end, which
    /// must be committed before their answer leaves.
    pub fn appended(&mut self, records: Vec<Record>) -> Offset {
        self.latest = self.latest.replayed(&records);
        self.pending.push_back(Pending { records, passed: 0, image: self.latest.clone() });
        self.latest.offset()
    }

    /// A batch of so many records of the quorum itself was appended.
    pub fn passed(&mut self, records: i64) {
        self.latest.pass(records);
        self.pending.push_back(Pending { records: Vec::new(), passed: records, image: self.latest.clone() });
    }

    /// A snapshot takes the place of everything, as the log no longer leads there from here: what it changes.
    pub fn restore(&mut self, image: MetadataImage) -> Committed {
        let records = image.changes_since(&self.committed);
        self.pending.clear();
        self.committed = Arc::new(image.clone());
        self.latest = image;
        Committed { image: Arc::clone(&self.committed), records }
    }

    /// The log is committed up to `through`: the new image, if that is any further.
    pub fn committed(&mut self, through: Offset) -> Option<Committed> {
        let mut records = Vec::new();
        let mut image = None;
        while self.pending.front().is_some_and(|batch| batch.image.offset() <= through) {
            let batch = self.pending.pop_front().expect("there is a front");
            records.extend(batch.records);
            image = Some(batch.image);
        }
        self.committed = Arc::new(image?);
        Some(Committed { image: Arc::clone(&self.committed), records })
    }

    /// What is not committed never will be: an append failed, or another controller was elected.
    pub fn abandon(&mut self) {
        self.pending.clear();
        self.latest = (*self.committed).clone();
    }

    /// Panics if the state contradicts itself.
    pub fn assert_invariants(&self) {
        self.latest.assert_invariants();
        assert!(self.committed.offset() <= self.latest.offset(), "what is committed was appended");
        let mut replayed = (*self.committed).clone();
        for batch in &self.pending {
            replayed = replayed.replayed(&batch.records);
            replayed.pass(batch.passed);
        }
        assert_eq!(replayed, self.latest, "the image is the replay of the log");
    }

    fn layers<'a>(&'a self, context: PlanContext<'a>) -> Layers<'a> {
        self.latest.layers(context.node, context.fixed)
    }

    fn broker_config(&self, context: PlanContext<'_>) -> BrokerConfig {
        BrokerConfig::resolve(&self.layers(context))
    }
}

/// The items that occur more than once.
fn duplicates<'a, T: Ord>(items: impl Iterator<Item = &'a T>) -> std::collections::BTreeSet<&'a T> {
    let mut seen = std::collections::BTreeSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}
