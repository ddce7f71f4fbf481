//! Which watches a session has set, and what brings news of its places.
//!
//! Places are given anew, to another partition or by another session of the follower, and news travels: a watch fires, or
//! a device answers, for whoever had the place before. That must not count as the firing of the watch that is there now,
//! which would be lost sight of and stay at its partition until that has news, with another one beside it.

use highwater_core::fetch::Slot;
use std::collections::BTreeMap;

/// One setting of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchNumber(u64);

/// Why a place is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This watch has fired.
    Fired(Slot, WatchNumber),
    /// The device has answered, which is no matter of the watch.
    Read(Slot),
}

/// The watches of a session, each a `W` by which it is removed.
#[derive(Debug)]
pub(super) struct SlotWatches<W> {
    set: BTreeMap<Slot, (WatchNumber, W)>,
    next: u64,
}

impl<W> Default for SlotWatches<W> {
    fn default() -> Self {
        Self { set: BTreeMap::new(), next: 0 }
    }
}

impl<W> SlotWatches<W> {
    /// A number for a watch that is about to be set.
    pub(super) const fn number(&mut self) -> WatchNumber {
        self.next += 1;
        WatchNumber(self.next)
    }

    /// The watch was set; it may have fired meanwhile.
    pub(super) fn insert(&mut self, slot: Slot, number: WatchNumber, watch: W) {
        let before = self.set.insert(slot, (number, watch));
        debug_assert!(before.is_none(), "{slot:?} has a watch already");
    }

    /// A watch has fired. Whether it is the one that is set here.
    pub(super) fn fired(&mut self, slot: Slot, number: WatchNumber) -> bool {
        let is_set = self.set.get(&slot).is_some_and(|(set, _)| *set == number);
        if is_set {
            self.set.remove(&slot);
        }
        is_set
    }

    /// The watch of a place, to be removed.
    pub(super) fn take(&mut self, slot: Slot) -> Option<W> {
        self.set.remove(&slot).map(|(_, watch)| watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_fired_late_leaves_the_one_that_was_set_since() {
        let mut watches = SlotWatches::default();
        let early = watches.number();
        watches.insert(Slot(0), early, "of who left");
        assert_eq!(watches.take(Slot(0)), Some("of who left"));
        let late = watches.number();
        watches.insert(Slot(0), late, "of who came");
        assert!(!watches.fired(Slot(0), early), "it is nobody's any more");
        assert!(watches.fired(Slot(0), late));
        assert_eq!(watches.take(Slot(0)), None, "a watch fires once");
    }
}
