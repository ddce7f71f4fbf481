//! What a replica hears and what it asks for: its closed sets of inputs, effects and replies.

use super::Settings;
use super::epochs::EpochEnd;
use super::message::FetchPosition;
use super::producers::{Producers, SequenceError};
use super::queries::Isolation;
use crate::batch::{StampedBatch, ValidBatch};
use crate::error_code::ErrorCode;
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, Token};
use crate::time::Timestamp;

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Once the leader has appended (0 and 1; for 0 the shell drops the answer).
    Leader,
    /// Once every in-sync replica has it (−1, `all`).
    All,
}

/// Everything that happens to a replica.
#[derive(Debug)]
pub enum Input {
    /// The controller made this replica the leader, or changed the ISR of the leader it is.
    Lead(Leadership),
    /// The controller made another broker the leader.
    Follow {
        /// The new leader; none while there is no one to lead.
        leader: Option<BrokerId>,
        /// Its epoch.
        leader_epoch: LeaderEpoch,
        /// The registration that says so.
        partition_epoch: PartitionEpoch,
    },
    /// A client, or a coordinator in this cell, wants a batch appended.
    Produce {
        /// Who is to be answered.
        token: Token,
        /// What is to be appended.
        batch: ValidBatch,
        /// When the answer is due.
        acks: Acks,
        /// Append only in this leader epoch (coordinators: the one their state was loaded under).
        leader_epoch: Option<LeaderEpoch>,
    },
    /// The log holds everything before `through`; the appends were done in the order asked.
    Appended {
        /// The log's end.
        through: Offset,
    },
    /// An append failed; what the log holds behind its last good end is unknown.
    AppendFailed,
    /// Everything before `through` would survive a power cut.
    Flushed {
        /// An end that was asked for or noted when the flush began.
        through: Offset,
    },
    /// A flush failed. The pages may be gone although a second flush would succeed, so there is none (ST-01).
    FlushFailed,
    /// A follower has fetched: it holds everything before its position. Counts only if [`Replica::follower_bounds`]
    /// finds the position good (design rule 3).
    ///
    /// [`Replica::follower_bounds`]: super::Replica::follower_bounds
    FollowerFetched(FollowerFetch),
    /// The controller answered [`Effect::ProposeIsr`].
    IsrAnswered {
        /// The leader epoch of the proposal.
        leader_epoch: LeaderEpoch,
        /// The registration that the proposal was to follow.
        proposed_at: PartitionEpoch,
        /// The ISR that was proposed, each member with the life that was meant.
        proposed: Vec<IsrMember>,
        /// What is committed now, or why nothing was changed.
        answer: Result<IsrAccepted, IsrRefusal>,
    },
    /// The leader answered this follower's fetch.
    Replicate(Replicated),
    /// The log was cut, as [`Effect::Truncate`] or [`Effect::StartOver`] asked. Flushes noted before the cut say
    /// nothing and are not told.
    Truncated {
        /// The log's end now: what was asked, or the beginning of the batch that held it.
        end: Offset,
        /// The producer state of what is left; none if [`Effect::Truncate`] asked for none.
        producers: Option<Producers>,
    },
    /// Delete all records before an offset (KIP-107); −1 means up to the high watermark.
    DeleteRecords {
        /// Who is to be answered.
        token: Token,
        /// The first offset that stays.
        before: Offset,
    },
    /// Retention chose a new log start; see [`crate::retention`].
    Retain {
        /// The first offset that stays.
        log_start: Offset,
    },
    /// The log start of an earlier [`Effect::AdvanceLogStart`] would survive a crash.
    LogStartKept {
        /// It, or one that is larger.
        through: Offset,
    },
    /// Wake `token` once a follower has something to be told. One-shot.
    WatchReplica {
        /// Who is to be woken.
        token: Token,
        /// Woken once the log's end is above it.
        end_beyond: Offset,
        /// Or once the high watermark is above it.
        high_watermark_beyond: Offset,
    },
    /// Wake `token` once there is something to read beyond an offset. One-shot.
    Watch {
        /// Who is to be woken.
        token: Token,
        /// The fetch position: woken once the readable end is above it.
        beyond: Offset,
        /// Which end counts.
        isolation: Isolation,
    },
    /// Whoever waits under this token has gone, or timed out.
    Forget {
        /// The token of a produce, a deletion or a watch.
        token: Token,
    },
    /// The topic's configuration changed.
    Configure(Settings),
    /// Which replicas' brokers are fenced or about to stop now, as far as is committed.
    Inactive(Vec<BrokerId>),
    /// The topic was deleted, or the partition moved away. Nothing comes after this.
    Delete,
}

/// What the controller says about a partition that this broker leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The epoch of this leadership.
    pub leader_epoch: LeaderEpoch,
    /// The registration that says so.
    pub partition_epoch: PartitionEpoch,
    /// All replicas.
    pub replicas: Vec<BrokerId>,
    /// Those in sync, this broker among them.
    pub isr: Vec<BrokerId>,
}

/// A follower's fetch, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    /// Who fetched.
    pub broker: BrokerId,
    /// The life of the broker that fetched.
    pub broker_epoch: BrokerEpoch,
    /// Where it stands.
    pub position: FetchPosition,
}

/// What a leader answered to a follower's fetch.
#[derive(Clone, Debug)]
pub struct Replicated {
    /// Who answered.
    pub leader: BrokerId,
    /// The epoch that the fetch named.
    pub leader_epoch: LeaderEpoch,
    /// The offset that the fetch named.
    pub offset: Offset,
    /// The epoch of the last batch that the fetch named.
    pub last_epoch: LeaderEpoch,
    /// The answer.
    pub outcome: ReplicatedOutcome,
}

/// The answer itself, its batches checked ([`crate::batch::replicated`]).
#[derive(Clone, Debug)]
pub enum ReplicatedOutcome {
    /// What follows in the leader's log.
    Data {
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's log start.
        log_start: Offset,
        /// Whole batches in order; none if there is nothing new but the offsets.
        batches: Vec<StampedBatch>,
    },
    /// The logs part ways: the largest epoch not above this log's last, and where the leader's copy of it ends.
    Diverging(EpochEnd),
    /// The position lies outside the leader's log, which had these ends.
    OutOfRange {
        /// The leader's log start.
        log_start: Offset,
        /// The leader's log end.
        log_end: Offset,
    },
}

/// One member of a proposed ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsrMember {
    /// Who.
    pub broker: BrokerId,
    /// The life in which it proved to be in sync; none of the leader itself and of a committed member that has not
    /// fetched in this epoch, for whom the registration that the metadata know is meant.
    pub broker_epoch: Option<BrokerEpoch>,
}

/// A partition's registration after an accepted proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrAccepted {
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its partition epoch.
    pub partition_epoch: PartitionEpoch,
    /// Its ISR.
    pub isr: Vec<BrokerId>,
}

/// Why a proposal changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsrRefusal {
    /// The registration is newer than the proposal knew (or the partition is gone): it will be told.
    Stale,
    /// A new member is fenced, stopping, or has restarted since: the proposal is void.
    Ineligible,
    /// The controller could not say; ask again.
    Retry,
}

/// Why a log is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// The leader's log parts from this one there.
    Diverged {
        /// The largest epoch that both may share.
        epoch: LeaderEpoch,
    },
    /// The leader's log begins behind this one's end.
    BehindLogStart,
    /// The leader's log ends before this one begins.
    BeyondLogEnd,
    /// The leader's first batch begins before this empty log does.
    WithinBatch,
}

/// Everything a replica asks for.
#[derive(Debug)]
pub enum Effect {
    /// Storage: append, then say [`Input::Appended`] or [`Input::AppendFailed`].
    Append(StampedBatch),
    /// Storage: note the log start durably soon, then say [`Input::LogStartKept`]; segments wholly before it may go.
    AdvanceLogStart {
        /// The first offset that stays.
        to: Offset,
    },
    /// Storage: cut the log so that it ends at `to` or at the beginning of the batch that holds it, durably, then say
    /// [`Input::Truncated`].
    Truncate {
        /// The new end.
        to: Offset,
        /// Whether producers wrote into what is cut, so that their state is to be derived from the log again.
        rebuilds_producers: bool,
        /// Why.
        reason: CutReason,
    },
    /// Storage: drop the whole log and let it go on, empty, at `at`; then say [`Input::Truncated`].
    StartOver {
        /// Start and end of the empty log.
        at: Offset,
        /// Why.
        reason: CutReason,
    },
    /// Ask the controller for another ISR, then say [`Input::IsrAnswered`]. Asked again if nothing is heard.
    ProposeIsr {
        /// This leadership.
        leader_epoch: LeaderEpoch,
        /// The registration to follow.
        partition_epoch: PartitionEpoch,
        /// The whole new ISR.
        isr: Vec<IsrMember>,
    },
    /// Flush soon (group commit), then say [`Input::Flushed`] or [`Input::FlushFailed`].
    Flush {
        /// What must be covered.
        through: Offset,
    },
    /// Answer whoever waits under the token. Each token of a produce or deletion is answered exactly once,
    /// unless it is forgotten first.
    Reply {
        /// Who is answered.
        token: Token,
        /// With what.
        reply: Reply,
    },
    /// Read again for whoever watches under the token: there is news, or an error to be found.
    Wake {
        /// Who is woken.
        token: Token,
    },
}

/// The answer to one partition's part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Input::Produce`].
    Produced(Result<Produced, ProduceError>),
    /// To [`Input::DeleteRecords`]: the low watermark.
    RecordsDeleted(Result<Offset, ErrorCode>),
}

/// What a producer learns of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The broker's time with `LogAppendTime`, else −1. For a duplicate its timestamp, as Kafka answers.
    pub log_append_time: Timestamp,
    /// The partition's log start.
    pub log_start: Offset,
    /// Whether the batch had been appended before (KIP-98).
    pub is_duplicate: bool,
}

/// Why a producer's batch was not appended, or not replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceError {
    /// The code a client sees.
    pub code: ErrorCode,
    /// What happened, in words; may be empty.
    pub message: String,
}

impl From<ErrorCode> for ProduceError {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: String::new() }
    }
}

impl ProduceError {
    /// What the producer is to be told. A leader that stood still lacks the batches that its successor took since, so that
    /// the sequence of the next one looks wrong to it; that would end an idempotent producer, whose request only went to
    /// the wrong broker. `holds_lease` says whether there can be no successor.
    #[must_use]
    pub fn told(self, holds_lease: impl FnOnce() -> bool) -> Self {
        if self.code == ErrorCode::OutOfOrderSequenceNumber && !guard!(SequenceLease, holds_lease()) {
            return Self {
                code: ErrorCode::NotLeaderOrFollower,
                message: format!("{}, but another broker may lead by now", self.message),
            };
        }
        self
    }
}

impl From<SequenceError> for ProduceError {
    fn from(error: SequenceError) -> Self {
        match error {
            SequenceError::StaleEpoch { epoch, newest } => Self {
                code: ErrorCode::InvalidProducerEpoch,
                message: format!("producer epoch {epoch} is smaller than the last seen epoch {newest}"),
            },
            SequenceError::OutOfOrder { base_sequence, last_sequence } => Self {
                code: ErrorCode::OutOfOrderSequenceNumber,
                message: format!("sequence {base_sequence} does not follow {last_sequence}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ProducerEpoch, Sequence};

    #[test]
    fn a_sequence_is_called_wrong_only_by_a_leader_that_has_no_successor() {
        let out_of_order = || {
            ProduceError::from(SequenceError::OutOfOrder {
                base_sequence: Sequence(9),
                last_sequence: Sequence(4),
            })
        };
        let stale = || {
            ProduceError::from(SequenceError::StaleEpoch {
                epoch: ProducerEpoch(1),
                newest: ProducerEpoch(2),
            })
        };
        assert_eq!(out_of_order().told(|| true), out_of_order());
        let deposed = out_of_order().told(|| false);
        assert_eq!(deposed.code, ErrorCode::NotLeaderOrFollower);
        assert!(deposed.message.starts_with("sequence 9 does not follow 4"), "{deposed:?}");
        assert_eq!(stale().told(|| false), stale(), "an epoch that was seen once is never too new elsewhere");
    }
}
