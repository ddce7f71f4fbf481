//! What the machine knows of its replica of the log: positions, epochs and voters, never a byte of it.
//!
//! The machine alone decides what is appended and cut, so this is the log as it will be once the storage effects
//! emitted so far are carried out. What is on the device is an input ([`LogState::flushed`]).

use super::control::{BadControlBatch, ControlRecord, LogBatch, control_records};
use super::exchange::Recovered;
use super::message::SnapshotId;
use super::voters::{VoterHistory, VoterSet};
use crate::ids::{LeaderEpoch, Offset};
use crate::replica::Epochs;

/// The metadata log of one replica.
#[derive(Clone, Debug)]
pub(super) struct LogState {
    /// Where it begins, and the epoch of the record before.
    pub(super) start: SnapshotId,
    /// The newest complete snapshot.
    pub(super) snapshot: Option<SnapshotId>,
    /// Exclusive.
    pub(super) end: Offset,
    /// On the device up to here.
    pub(super) flushed: Offset,
    epochs: Epochs,
    pub(super) voters: VoterHistory,
    /// Whether the log or its snapshot tells who votes.
    pub(super) has_voters_record: bool,
}

/// How a fetch's position relates to the leader's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Everything before it is equal in both.
    Matches,
    /// The logs differ before it.
    Diverges {
        /// The largest epoch of this log that is not above the one asked for.
        epoch: LeaderEpoch,
        /// Where that ends.
        end: Offset,
    },
    /// It lies where this log cannot tell.
    BeforeStart,
}

impl LogState {
    pub(super) fn new(recovered: Recovered) -> Self {
        let Recovered { vote: _, start, snapshot, end, flushed, epochs, voters, has_voters_record } =
            recovered;
        Self { start, snapshot, end, flushed, epochs, voters, has_voters_record }
    }

    /// The epoch of the last record, [`LeaderEpoch::NONE`] if there never was one.
    pub(super) fn last_epoch(&self) -> LeaderEpoch {
        match self.epochs.latest() {
            LeaderEpoch::NONE => self.start.epoch,
            epoch => epoch,
        }
    }

    /// The newest set of voters.
    pub(super) fn latest_voters(&self) -> &VoterSet {
        self.voters.latest()
    }

    /// Compares a follower's end with this log, as a leader.
    pub(super) fn position(&self, offset: Offset, last_epoch: LeaderEpoch) -> Position {
        if offset < self.start.end || last_epoch < self.start.epoch {
            return Position::BeforeStart;
        }
        if offset == self.start.end {
            let is_equal = offset == Offset::ZERO || last_epoch == self.start.epoch;
            return if is_equal { Position::Matches } else { Position::BeforeStart };
        }
        let found = self.epochs.end_offset_for(last_epoch, self.end);
        if found.end < Offset::ZERO {
            // an epoch above all of this log's: everything here is older
            return Position::Diverges { epoch: self.last_epoch(), end: self.end };
        }
        if found.epoch == last_epoch && found.end >= offset {
            Position::Matches
        } else {
            Position::Diverges { epoch: found.epoch, end: found.end }
        }
    }

    /// Where to cut after a leader said where our common epoch ends there.
    pub(super) fn cut_for(&self, epoch: LeaderEpoch, end: Offset) -> Offset {
        let own = self.epochs.end_offset_for(epoch, self.end);
        if own.end < Offset::ZERO { end } else { own.end.min(end) }
    }

    /// The epoch of the record before `end`.
    pub(super) fn epoch_before(&self, end: Offset) -> LeaderEpoch {
        match end <= self.start.end {
            true => self.start.epoch,
            false => self.epochs.epoch_of(Offset(end.0 - 1)).unwrap_or(self.start.epoch),
        }
    }

    /// Takes note of a batch that is about to be appended. True if it changed the voters.
    pub(super) fn append(&mut self, batch: &LogBatch) -> Result<bool, BadControlBatch> {
        let header = &batch.header;
        assert_eq!(header.base_offset, self.end, "the log has no gaps");
        let controls = match header.attributes.is_control() {
            true => control_records(&batch.bytes)?,
            false => Vec::new(),
        };
        let is_in_order = self.epochs.assign(header.leader_epoch, header.base_offset);
        assert!(is_in_order, "epochs rise along the log");
        self.end = header.next_offset();
        let mut are_voters_changed = false;
        for (offset, record) in controls {
            if let ControlRecord::Voters(voters) = record {
                self.voters.push(offset, voters);
                self.has_voters_record = true;
                are_voters_changed = true;
            }
        }
        Ok(are_voters_changed)
    }

    /// The log is cut to `end`.
    pub(super) fn truncate(&mut self, end: Offset) {
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.epochs.truncate_end(end);
        self.voters.truncate(end);
    }

    /// The log is gone; a snapshot takes its place.
    pub(super) fn reset(&mut self, id: SnapshotId, voters: Option<VoterSet>) {
        self.has_voters_record |= voters.is_some();
        let voters = voters.unwrap_or_else(|| self.voters.latest().clone());
        self.start = id;
        self.snapshot = Some(id);
        self.end = id.end;
        self.flushed = id.end;
        self.epochs = Epochs::new();
        self.voters = VoterHistory::new(voters);
    }

    /// The log begins at a snapshot now.
    pub(super) fn advance_start(&mut self, id: SnapshotId) {
        self.start = id;
        self.epochs.truncate_start(id.end);
        self.voters.advance(id.end);
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.start.end <= self.end, "the log ends behind its beginning");
        assert!(self.flushed <= self.end, "only what was appended is flushed");
        assert!(
            self.start.end == Offset::ZERO || self.snapshot.is_some_and(|newest| newest >= self.start),
            "a log begins at nought or at a snapshot"
        );
        self.epochs.assert_invariants();
    }
}
