//! Which watches a session of fetches has set, and what brings news of its places.
//!
//! Places are given anew, to another partition or by another session of the follower, and news travels: a watch fires, or
//! a device answers, for whoever had the place before. That must not count as the firing of the watch that is there now,
//! which would be lost sight of and stay at its partition until that has news, with another one beside it. A watch may also
//! fire before whoever set it knows under which token.

use std::collections::BTreeMap;

/// One setting of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchNumber(u64);

/// Watches by place, each a `W` by which it is removed.
#[derive(Debug)]
pub(crate) struct SlotWatches<K, W> {
    set: BTreeMap<K, (WatchNumber, W)>,
    next: u64,
}

impl<K, W> Default for SlotWatches<K, W> {
    fn default() -> Self {
        Self { set: BTreeMap::new(), next: 0 }
    }
}

impl<K: Ord + Copy + std::fmt::Debug, W> SlotWatches<K, W> {
    /// A number for a watch that is about to be set.
    pub(crate) const fn number(&mut self) -> WatchNumber {
        self.next += 1;
        WatchNumber(self.next)
    }

    /// The watch was set; it may have fired meanwhile.
    pub(crate) fn insert(&mut self, slot: K, number: WatchNumber, watch: W) {
        let before = self.set.insert(slot, (number, watch));
        debug_assert!(before.is_none(), "{slot:?} has a watch already");
    }

    /// This setting of a place's watch, if it has neither fired nor been taken.
    pub(crate) fn get_mut(&mut self, slot: K, number: WatchNumber) -> Option<&mut W> {
        self.set.get_mut(&slot).filter(|(set, _)| *set == number).map(|(_, watch)| watch)
    }

    /// A watch has fired. Whether it is the one that is set here.
    pub(crate) fn fired(&mut self, slot: K, number: WatchNumber) -> bool {
        let is_set = self.get_mut(slot, number).is_some();
        if is_set {
            self.set.remove(&slot);
        }
        is_set
    }

    /// The watch of a place, to be removed.
    pub(crate) fn take(&mut self, slot: K) -> Option<W> {
        self.set.remove(&slot).map(|(_, watch)| watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_fired_late_leaves_the_one_that_was_set_since() {
        let mut watches = SlotWatches::default();
        let slot = 0;
        let early = watches.number();
        watches.insert(slot, early, "of who left");
        assert_eq!(watches.take(slot), Some("of who left"));
        let late = watches.number();
        watches.insert(slot, late, "of who came");
        assert!(!watches.fired(slot, early), "it is nobody's any more");
        assert!(watches.fired(slot, late));
        assert_eq!(watches.take(slot), None, "a watch fires once");
    }

    #[test]
    fn a_watch_that_fires_while_it_is_set_is_not_remembered() {
        let mut watches = SlotWatches::default();
        let first = watches.number();
        watches.insert(0, first, None);
        assert!(watches.fired(0, first), "what it waited for came at once");
        let second = watches.number();
        watches.insert(0, second, None);
        assert_eq!(watches.get_mut(0, first), None, "whoever set the first may forget it");
        *watches.get_mut(0, second).expect("it is being set") = Some("here");
        assert_eq!(watches.take(0), Some(Some("here")), "and the second leaves with the session");
    }
}
