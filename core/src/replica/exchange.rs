//! What a replica hears and what it asks for: its closed sets of inputs, effects and replies.

use super::Settings;
use super::producers::SequenceError;
use super::queries::Isolation;
use crate::batch::{StampedBatch, ValidBatch};
use crate::error_code::ErrorCode;
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
    /// A follower's fetch was answered with what lies behind `end`, so it holds everything before.
    FollowerFetched {
        /// Who fetched.
        broker: BrokerId,
        /// The life of the broker that fetched.
        broker_epoch: BrokerEpoch,
        /// The epoch its fetch named.
        leader_epoch: LeaderEpoch,
        /// Where its log ends.
        end: Offset,
        /// Where its log starts.
        log_start: Offset,
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

/// Everything a replica asks for.
#[derive(Debug)]
pub enum Effect {
    /// Storage: append, then say [`Input::Appended`] or [`Input::AppendFailed`].
    Append(StampedBatch),
    /// Storage: note the log start durably soon; segments wholly before it may go.
    AdvanceLogStart {
        /// The first offset that stays.
        to: Offset,
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
