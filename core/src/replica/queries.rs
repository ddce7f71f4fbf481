//! Questions that change nothing: what may be read, where an epoch ends, which offset a time has.

use super::epochs::EpochEnd;
use super::leader::HighWatermark;
use super::producers::Producers;
use super::{Epochs, FetchOutcome, FollowerFetch, Replica, Role, Settings, isr};
use crate::error_code::ErrorCode;
use crate::ids::{BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use crate::time::Timestamp;
use crate::{guard, planted};

/// What a reader wants to see (KIP-98).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Nothing of transactions that are open: everything below the last stable offset.
    ReadCommitted,
}

/// Where a consumer wants to read, and what it knows of the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchFrom {
    /// The next offset it wants.
    pub offset: Offset,
    /// The leader epoch it believes in (KIP-320).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record it read (KIP-595, KIP-320).
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Which end counts for it.
    pub isolation: Isolation,
    /// Whether a follower may serve it (KIP-392).
    pub from_follower: bool,
}

/// What a fetch may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchBounds {
    /// Read up to here, exclusively. At or below the position: nothing for now.
    pub end: Offset,
    /// The high watermark.
    pub high_watermark: Offset,
    /// The last stable offset.
    pub last_stable_offset: Offset,
    /// The log start.
    pub log_start: Offset,
    /// The reader's last record is not in this log; it must go back to this end (KIP-595). Nothing is read then.
    pub diverging: Option<EpochEnd>,
}

/// The answer to ListOffsets, as far as it is known without reading the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedOffset {
    /// Here it is; −1 where Kafka answers −1.
    Found {
        /// The timestamp found, −1 for the special ones.
        timestamp: Timestamp,
        /// The offset.
        offset: Offset,
        /// The epoch of that offset, −1 if unknown.
        leader_epoch: LeaderEpoch,
    },
    /// Look in the log for the first record at or after this time. One at or beyond `end`, or none, is answered
    /// with −1 and −1.
    Lookup {
        /// The time wanted.
        timestamp: Timestamp,
        /// Where the readable log ends.
        end: Offset,
    },
    /// Look in the log for the record with the largest timestamp (KIP-734), below `end` as above.
    LookupMaxTimestamp {
        /// Where the readable log ends.
        end: Offset,
    },
}

/// One producer as DescribeProducers tells (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of its last record, −1 if none is remembered.
    pub last_sequence: Sequence,
    /// The timestamp of its last batch.
    pub last_timestamp: Timestamp,
    /// Where its open transaction begins, −1 if none is open.
    pub transaction_start: Offset,
}

/// ListOffsets' special timestamps.
mod special {
    pub(super) const LATEST: i64 = -1;
    pub(super) const EARLIEST: i64 = -2;
    /// KIP-734.
    pub(super) const MAX_TIMESTAMP: i64 = -3;
    /// KIP-405.
    pub(super) const EARLIEST_LOCAL: i64 = -4;
    /// KIP-1005.
    pub(super) const LATEST_TIERED: i64 = -5;
    /// KIP-1023.
    pub(super) const EARLIEST_PENDING_UPLOAD: i64 = -6;
}

impl Replica {
    /// Whose replica this is.
    pub const fn partition(&self) -> TopicPartition {
        self.partition
    }

    /// What the replica is at present.
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The settings in force.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The leader epoch, if this replica leads.
    pub const fn leader_epoch(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Role::Leader(leader) => Some(leader.leader_epoch),
            Role::Follower(_) | Role::Offline(_) => None,
        }
    }

    /// The first offset that is kept.
    pub const fn log_start(&self) -> Offset {
        self.log.start
    }

    /// The end of what the log holds.
    pub const fn log_end(&self) -> Offset {
        self.log.end
    }

    /// The end of what would survive a power cut.
    pub const fn flushed_end(&self) -> Offset {
        self.log.flushed
    }

    /// The end of what is committed, as far as this replica knows.
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end of what a read_committed consumer may see: no transaction below it is open.
    pub fn last_stable_offset(&self) -> Offset {
        let unstable = self.producers.first_unstable_offset();
        unstable.map_or(self.high_watermark, |first| first.min(self.high_watermark))
    }

    /// The epoch index.
    pub const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The producer state as of every append asked for. To be snapshot only while nothing is in flight, that is
    /// when it is as of [`Replica::log_end`]: see [`Replica::producers_snapshot`].
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The producer state as bytes for a checkpoint at the log's end; none while an append is under way.
    pub fn producers_snapshot(&self) -> Option<Vec<u8>> {
        let is_settled = self.log.end == self.log.next && !self.has_ended();
        is_settled.then(|| self.producers.snapshot(self.log.end))
    }

    /// Where reading ends for now.
    pub fn readable_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// What a fetch may read, or why it may not. Order: fence, then divergence, then range (design rule 3).
    pub fn fetch_bounds(&self, from: FetchFrom) -> Result<FetchBounds, ErrorCode> {
        match (&self.role, from.from_follower) {
            (Role::Follower(follower), true) => fence(from.current_leader_epoch, follower.leader_epoch)?,
            _ => drop(self.fence(from.current_leader_epoch)?),
        }
        let bounds = FetchBounds {
            end: self.readable_end(from.isolation),
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset(),
            log_start: self.log.start,
            diverging: None,
        };
        if let Some(fetched) = from.last_fetched_epoch {
            let end = self.epochs.end_offset_for(fetched, self.log.end);
            if end == EpochEnd::UNDEFINED {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            if end.epoch < fetched || end.end < from.offset {
                return Ok(FetchBounds { diverging: Some(end), ..bounds });
            }
        }
        // a position between high watermark and log end is legal: there is nothing yet (CF-03)
        if from.offset < self.log.start || from.offset > self.log.end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(bounds)
    }

    /// Answers ListOffsets for a timestamp or one of its special values.
    pub fn list_offset(
        &self,
        timestamp: i64,
        isolation: Isolation,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<ListedOffset, ErrorCode> {
        let leader_epoch = self.fence(current_leader_epoch)?;
        let found = |offset, leader_epoch| {
            Ok(ListedOffset::Found { timestamp: Timestamp::NONE, offset, leader_epoch })
        };
        match timestamp {
            special::EARLIEST | special::EARLIEST_LOCAL => {
                let epoch = self.epochs.epoch_of(self.log.start);
                found(self.log.start, epoch.unwrap_or(LeaderEpoch::NONE))
            }
            special::LATEST => found(self.known_end(isolation)?, leader_epoch),
            special::MAX_TIMESTAMP => {
                Ok(ListedOffset::LookupMaxTimestamp { end: self.known_end(isolation)? })
            }
            // without tiered storage nothing was uploaded, nor waits for it
            special::LATEST_TIERED | special::EARLIEST_PENDING_UPLOAD => found(Offset(-1), LeaderEpoch::NONE),
            time if time < 0 => Err(ErrorCode::UnsupportedVersion),
            time => Ok(ListedOffset::Lookup { timestamp: Timestamp(time), end: self.known_end(isolation)? }),
        }
    }

    /// The readable end, once the high watermark has caught up with the leader's epoch (KIP-207).
    fn known_end(&self, isolation: Isolation) -> Result<Offset, ErrorCode> {
        match &self.role {
            Role::Leader(leader) if leader.high_watermark == HighWatermark::Unknown => {
                Err(ErrorCode::OffsetNotAvailable)
            }
            _ => Ok(self.readable_end(isolation)),
        }
    }

    /// Answers OffsetForLeaderEpoch (KIP-101, KIP-279, KIP-320).
    pub fn epoch_end(
        &self,
        asked: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEnd, ErrorCode> {
        self.fence(current_leader_epoch)?;
        Ok(self.epochs.end_offset_for(asked, self.log.end))
    }

    /// Answers DescribeProducers (KIP-664).
    pub fn active_producers(&self) -> Result<Vec<ActiveProducer>, ErrorCode> {
        self.leader()?;
        let active = self.producers.iter().map(|(id, producer)| ActiveProducer {
            id,
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_timestamp: producer.last_timestamp,
            transaction_start: producer.open_transaction.unwrap_or(Offset(-1)),
        });
        Ok(active.collect())
    }

    /// The leader's epoch, if this replica leads and the asker believes in no other epoch (KIP-320).
    fn fence(&self, believed: Option<LeaderEpoch>) -> Result<LeaderEpoch, ErrorCode> {
        let leader_epoch = self.leader()?.leader_epoch;
        fence(believed, leader_epoch)?;
        Ok(leader_epoch)
    }

    /// What a follower may be given, or what it is to be answered instead. Order: fence, then divergence, then range;
    /// only then does its progress count (design rule 3). A leader that followed a moment ago may still append what others
    /// have: they are within the range. Told to cut it, they would lack what they are counted for a moment later.
    pub fn follower_bounds(&self, fetch: &FollowerFetch) -> Result<FetchBounds, FetchOutcome> {
        let leader = self.leader().map_err(FetchOutcome::refused)?;
        let FollowerFetch { broker, position, .. } = *fetch;
        if !isr::is_of_epoch(position.leader_epoch, leader.leader_epoch) {
            let is_older = position.leader_epoch < leader.leader_epoch;
            let code = if is_older { ErrorCode::FencedLeaderEpoch } else { ErrorCode::UnknownLeaderEpoch };
            return Err(FetchOutcome::refused(code));
        }
        if broker == self.broker || !leader.replicas().contains(&broker) {
            // it may know of a newer registration than this leader
            return Err(FetchOutcome::refused(ErrorCode::UnknownLeaderEpoch));
        }
        let (log_start, log_end) = (self.log.start, self.log.end);
        if position.last_epoch != LeaderEpoch::NONE {
            let end = self.epochs.end_offset_for(position.last_epoch, log_end);
            let parts = end.epoch < position.last_epoch || end.end < position.offset;
            if end != EpochEnd::UNDEFINED && !guard!(FollowerNotDiverged, !parts) {
                return Err(FetchOutcome::Diverging(end));
            }
        }
        let end_max = planted!(FollowerAheadOfAppend, log_end, self.log.next);
        if position.offset < log_start || position.offset > end_max || position.safe_end > position.offset {
            return Err(FetchOutcome::OutOfRange { log_start, log_end });
        }
        Ok(FetchBounds {
            end: log_end,
            high_watermark: self.high_watermark,
            last_stable_offset: self.last_stable_offset(),
            log_start,
            diverging: None,
        })
    }

    /// Who may serve a consumer that stands at `offset`, with the end that each has: the leader and the members of the
    /// ISR that have that offset (KIP-392). Empty on a follower.
    pub fn read_replicas(&self, offset: Offset) -> Vec<(BrokerId, Offset)> {
        let Role::Leader(leader) = &self.role else { return Vec::new() };
        let mut serving = vec![(self.broker, self.log.end)];
        for (broker, progress) in &leader.isr.followers {
            if leader.isr().contains(broker) && progress.log_start <= offset && offset <= progress.end {
                serving.push((*broker, progress.end));
            }
        }
        serving
    }
}

fn fence(believed: Option<LeaderEpoch>, leader_epoch: LeaderEpoch) -> Result<(), ErrorCode> {
    let believed = believed.filter(|epoch| *epoch >= LeaderEpoch(0)).unwrap_or(leader_epoch);
    if guard!(FetchLeaderEpoch, believed == leader_epoch) {
        Ok(())
    } else if believed < leader_epoch {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}
