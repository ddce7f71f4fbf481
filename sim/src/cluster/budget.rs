//! What may be lost so that nothing that was promised is: the bound of KIP-966.
//!
//! What is lost of the records of one partition (power cuts where acks do not wait for the disk, empty disks) concerns one
//! replica at a time, which is `min.insync.replicas` - 1, and one disk in a run, for it was a voter's. Where acks wait for
//! the disk a power cut loses nothing, and yet the controller must suppose that it does: whoever comes back from one
//! leads only where nobody else is left. So all nodes may lose power together, but not while a disk is lost: the last one
//! that is left could be that disk's. Anything may be down or cut off meanwhile.
//!
//! A killed process has lost nothing either, but cannot always prove it: if its disk failed when it was to remember its
//! registration, it leaves ISR and ELR like one whose machine lost power. So until the controller hears of a new disk nobody
//! else dies: whom it takes for the last complete one could be blank.
//!
//! A log that fails is as good as lost: it counts for nothing in what its partition may elect until it is in sync again,
//! so that a second node's loss would be one too many (the disk of that second one need not have failed for it).

use crate::machine::End;
use std::collections::BTreeSet;

/// Who lost what, and has not caught up everywhere since.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    nodes: usize,
    is_durable: bool,
    /// What was not flushed, or the whole disk.
    lossy: Option<i32>,
    /// Power, and nothing that was promised.
    unclean: BTreeSet<i32>,
    /// A machine that got an empty disk is no voter any more: one of them is enough for a run.
    is_wiped: bool,
    /// Whose new disk the metadata do not know yet.
    unheard_disk: Option<i32>,
}

impl Budget {
    /// Nobody has lost anything. `is_durable` says whether acks wait for the disk.
    pub(super) const fn new(nodes: usize, is_durable: bool) -> Self {
        Self { nodes, is_durable, lossy: None, unclean: BTreeSet::new(), is_wiped: false, unheard_disk: None }
    }

    /// The end that a node may come to: a power cut only if that is not too much.
    pub(super) fn bound(&self, node: i32, how: End) -> End {
        let is_first = self.lossy.is_none_or(|lossy| lossy == node);
        let may_lose_power = is_first && (self.is_durable || self.nodes >= 3);
        if may_lose_power { how } else { End::Kill }
    }

    /// The end that all nodes may come to at once.
    pub(super) fn bound_all(&self) -> End {
        if self.is_durable && self.lossy.is_none() { End::PowerCut } else { End::Kill }
    }

    /// Whether a node may die.
    pub(super) fn may_die(&self, node: i32) -> bool {
        self.unheard_disk.is_none_or(|unheard| unheard == node)
    }

    /// Whether a node's disk may fail for a while, so that logs on it are given up.
    pub(super) fn may_fail_disk(&self, node: i32) -> bool {
        self.lossy.is_none_or(|lossy| lossy == node)
    }

    /// A node's disk fails for a while.
    pub(super) const fn failed_disk(&mut self, node: i32) {
        self.lossy = Some(node);
    }

    /// Whether some node may lose its disk.
    pub(super) fn may_lose_disk(&self) -> bool {
        self.nodes >= 3 && !self.is_wiped && self.lossy.is_none() && self.unclean.is_empty()
    }

    /// A node has ended.
    pub(super) fn ended(&mut self, node: i32, how: End) {
        match how {
            End::PowerCut if self.is_durable => {
                self.unclean.insert(node);
            }
            End::PowerCut => self.lossy = Some(node),
            End::Kill => {}
        }
    }

    /// A node has lost its disk.
    pub(super) fn lost_disk(&mut self, node: i32) {
        self.is_wiped = true;
        self.lossy = Some(node);
        self.unheard_disk = Some(node);
    }

    /// Whose new disk the metadata do not know yet.
    pub(super) const fn unheard_disk(&self) -> Option<i32> {
        self.unheard_disk
    }

    /// The metadata know of it.
    pub(super) const fn heard_of_disk(&mut self) {
        self.unheard_disk = None;
    }

    /// Whether anybody has lost something.
    pub(super) fn is_used(&self) -> bool {
        self.lossy.is_some() || !self.unclean.is_empty()
    }

    /// A node is in sync everywhere. Whether that ends a loss.
    pub(super) fn caught_up(&mut self, node: i32) -> bool {
        let was_lossy = self.lossy == Some(node);
        if was_lossy {
            self.lossy = None;
        }
        self.unclean.remove(&node) || was_lossy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica_at_a_time_loses_records() {
        let mut budget = Budget::new(3, false);
        assert_eq!(budget.bound(1, End::PowerCut), End::PowerCut);
        budget.ended(1, End::PowerCut);
        assert_eq!(budget.bound(1, End::PowerCut), End::PowerCut, "again the same one");
        assert_eq!((budget.bound(2, End::PowerCut), budget.bound_all()), (End::Kill, End::Kill));
        assert!(!budget.may_lose_disk());
        assert!(!budget.caught_up(2) && budget.is_used());
        assert!(budget.caught_up(1) && !budget.is_used());
        assert_eq!(budget.bound(2, End::PowerCut), End::PowerCut);
        assert_eq!(Budget::new(2, false).bound(1, End::PowerCut), End::Kill, "two nodes promise less");
    }

    #[test]
    fn a_disk_that_fails_is_a_loss_until_its_node_has_caught_up() {
        let mut budget = Budget::new(3, false);
        assert!(budget.may_fail_disk(1));
        budget.failed_disk(1);
        assert!(budget.may_fail_disk(1) && !budget.may_fail_disk(2));
        assert_eq!(
            (budget.bound(1, End::PowerCut), budget.bound(2, End::PowerCut)),
            (End::PowerCut, End::Kill)
        );
        assert!(budget.caught_up(1) && budget.may_fail_disk(2));
    }

    #[test]
    fn all_lose_power_where_acks_wait_for_the_disk_but_not_beside_a_lost_disk() {
        let mut budget = Budget::new(3, true);
        assert_eq!(budget.bound_all(), End::PowerCut);
        for node in 1..=3 {
            assert_eq!(budget.bound(node, End::PowerCut), End::PowerCut);
            budget.ended(node, End::PowerCut);
        }
        // Whoever registers first is left out, and the last one leads: that must not be one without its records.
        assert!(budget.caught_up(1) && budget.caught_up(2) && !budget.may_lose_disk());
        assert!(budget.caught_up(3) && budget.may_lose_disk());
        budget.lost_disk(3);
        assert!(
            budget.may_die(3) && !budget.may_die(1),
            "3 may be the last one that the controller counts on"
        );
        budget.heard_of_disk();
        assert!(budget.may_die(1));
        assert_eq!((budget.bound(1, End::PowerCut), budget.bound_all()), (End::Kill, End::Kill));
        assert!(budget.caught_up(3) && !budget.may_lose_disk(), "one disk in a run");
        assert_eq!(budget.bound_all(), End::PowerCut);
    }
}
