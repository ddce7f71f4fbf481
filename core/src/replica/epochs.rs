//! Which leader epoch wrote from which offset on: a pure function of the log (KIP-101, KIP-279, KIP-320).

use crate::ids::{LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

/// One epoch's first offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The offset of its first record, or where it would be.
    pub start: Offset,
}

/// The answer to "where does this epoch end": the largest epoch at or below the one asked, and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochEnd {
    /// The epoch found; [`LeaderEpoch::NONE`] if nothing is known.
    pub epoch: LeaderEpoch,
    /// The offset behind its last record; −1 if nothing is known.
    pub end: Offset,
}

impl EpochEnd {
    /// "Nothing is known of that epoch."
    pub const UNDEFINED: Self = Self { epoch: LeaderEpoch::NONE, end: Offset(-1) };
}

/// The epoch index: strictly rising in epoch; rising in offset, strictly but for the entry of an election
/// behind which nothing was written yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<EpochStart>,
}

impl Epochs {
    /// An index of an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The newest epoch; [`LeaderEpoch::NONE`] of an empty index.
    pub fn latest(&self) -> LeaderEpoch {
        self.entries.last().map_or(LeaderEpoch::NONE, |entry| entry.epoch)
    }

    /// Notes that `epoch` writes from `start` on; false, and nothing noted, if that contradicts the index.
    ///
    /// An election that wrote nothing leaves no trace: its entry goes when the next epoch starts at the same offset.
    #[must_use]
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        let Some(last) = self.entries.last() else {
            self.entries.push(EpochStart { epoch, start });
            return true;
        };
        if epoch == last.epoch {
            return start >= last.start;
        }
        if epoch < last.epoch || start < last.start {
            return false;
        }
        if start == last.start {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// Where `asked` ends in a log that ends at `log_end`: the largest epoch at or below it, and its end offset.
    pub fn end_offset_for(&self, asked: LeaderEpoch, log_end: Offset) -> EpochEnd {
        if asked == LeaderEpoch::NONE || asked > self.latest() {
            return EpochEnd::UNDEFINED;
        }
        if asked == self.latest() {
            return EpochEnd { epoch: asked, end: log_end };
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= asked);
        let end = self.entries[above].start;
        match above.checked_sub(1) {
            Some(floor) => EpochEnd { epoch: self.entries[floor].epoch, end },
            // older than all that is kept: it ends, at the latest, where the oldest kept one begins
            None => EpochEnd { epoch: asked, end },
        }
    }

    /// The epoch that wrote `offset`, if the index reaches back that far.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        above.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Forgets what lies at and behind the new log end.
    pub fn truncate_end(&mut self, log_end: Offset) {
        self.entries.retain(|entry| entry.start < log_end);
    }

    /// Forgets everything: the log starts over.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Forgets what lies before the new log start. The epoch of the log start itself begins there now.
    pub fn truncate_start(&mut self, log_start: Offset) {
        let above = self.entries.partition_point(|entry| entry.start <= log_start);
        if let Some(floor) = above.checked_sub(1) {
            self.entries[floor].start = log_start;
            self.entries.drain(..floor);
        }
    }

    /// Panics if the order is broken.
    pub fn assert_invariants(&self) {
        for pair in self.entries.windows(2) {
            assert!(pair[0].epoch < pair[1].epoch, "epochs rise: {pair:?}");
            assert!(pair[0].start < pair[1].start, "epoch starts rise: {pair:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::new();
        for (epoch, start) in entries {
            assert!(epochs.assign(LeaderEpoch(*epoch), Offset(*start)));
        }
        epochs.assert_invariants();
        epochs
    }

    fn end(epochs: &Epochs, asked: i32) -> (i32, i64) {
        let found = epochs.end_offset_for(LeaderEpoch(asked), Offset(100));
        (found.epoch.0, found.end.0)
    }

    #[test]
    fn the_largest_epoch_at_or_below_the_one_asked_answers() {
        let epochs = index(&[(2, 10), (4, 20), (7, 50)]);
        for (asked, want) in [
            (-1, (-1, -1)),
            (1, (1, 10)),
            (2, (2, 20)),
            (3, (2, 20)),
            (4, (4, 50)),
            (6, (4, 50)),
            (7, (7, 100)),
            (8, (-1, -1)),
        ] {
            assert_eq!(end(&epochs, asked), want, "asked {asked}");
        }
        assert_eq!(end(&Epochs::new(), 0), (-1, -1));
    }

    #[test]
    fn an_election_without_records_leaves_no_trace() {
        assert_eq!(index(&[(1, 0), (2, 5), (3, 5), (4, 6)]), index(&[(1, 0), (3, 5), (4, 6)]));
    }

    #[test]
    fn contradictions_are_refused() {
        let mut epochs = index(&[(2, 10), (4, 20)]);
        assert!(!epochs.assign(LeaderEpoch(3), Offset(30)), "an older epoch behind a newer");
        assert!(!epochs.assign(LeaderEpoch(5), Offset(19)), "a newer epoch before an older one's start");
        assert_eq!(epochs, index(&[(2, 10), (4, 20)]));
    }

    #[test]
    fn truncation_cuts_both_ends() {
        let mut epochs = index(&[(2, 10), (4, 20), (7, 50)]);
        epochs.truncate_end(Offset(50));
        assert_eq!(epochs, index(&[(2, 10), (4, 20)]), "an entry at the new end goes, too");
        epochs.truncate_start(Offset(15));
        assert_eq!(epochs, index(&[(2, 15), (4, 20)]));
        epochs.truncate_start(Offset(25));
        assert_eq!(epochs, index(&[(4, 25)]));
        epochs.truncate_start(Offset(5));
        assert_eq!(epochs, index(&[(4, 25)]), "the start never moves back");
    }

    #[test]
    fn each_offset_has_its_epoch() {
        let epochs = index(&[(2, 10), (4, 20)]);
        let of = |offset| epochs.epoch_of(Offset(offset)).map(|e| e.0);
        assert_eq!((of(9), of(10), of(19), of(20), of(99)), (None, Some(2), Some(2), Some(4), Some(4)));
    }
}
