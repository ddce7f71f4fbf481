//! What the quorum machine hears and asks for.

use super::control::LogBatch;
use super::message::{FetchReply, Message, SnapshotChunk, SnapshotId};
use super::voters::{ReplicaKey, Voter, VoterHistory, VoterSet};
use crate::batch::ValidBatch;
use crate::ids::{BrokerId, LeaderEpoch, Offset, Token};
use crate::replica::Epochs;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Time-outs and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `controller.quorum.election.timeout.ms`: how long an election may stay without a winner.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`: how long a leader may be silent to a follower, and half as long again a
    /// majority to a leader.
    pub fetch_timeout: Duration,
    /// How long a leader keeps a fetch with nothing to send. Its answers are its signs of life.
    pub fetch_wait_max: Duration,
    /// How long to wait before something that failed is tried again.
    pub retry_backoff: Duration,
}

impl Default for QuorumConfig {
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_millis(1000),
            fetch_timeout: Duration::from_millis(1500),
            fetch_wait_max: Duration::from_millis(300),
            retry_backoff: Duration::from_millis(50),
        }
    }
}

/// `(epoch, voted for)`, the one record that must survive every crash (design rule 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRecord {
    /// The newest epoch heard of.
    pub epoch: LeaderEpoch,
    /// Who has this replica's vote in it.
    pub voted_for: Option<ReplicaKey>,
}

/// What a replica of the metadata log was found to hold when its node started.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// What `quorum-state` says; `None` if there never was one.
    pub vote: Option<VoteRecord>,
    /// Where the log begins: at the end of a snapshot, or at nought.
    pub start: SnapshotId,
    /// The newest complete snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The log end.
    pub end: Offset,
    /// Everything below is on the device; a process that died may have left more in the page cache.
    pub flushed: Offset,
    /// Which epochs wrote what of the log.
    pub epochs: Epochs,
    /// The voters as configured, then as the snapshot and the log tell.
    pub voters: VoterHistory,
    /// Whether snapshot or log told of voters: if not, the first leader writes them down.
    pub has_voters_record: bool,
}

/// What a quorum machine hears.
#[derive(Clone, Debug)]
pub enum Input {
    /// A peer said something. Whatever it is, it is refused rather than believed.
    Received {
        /// Who.
        from: ReplicaKey,
        /// What.
        message: Message,
        /// Batches or a piece of a snapshot.
        payload: Bytes,
    },
    /// A connection to a peer stands.
    LinkUp(BrokerId),
    /// A peer's process is likely dead: its connection was reset and new ones are refused.
    LinkDown(BrokerId),
    /// The controller appends. Only on the leader; plans for others only while [`super::Quorum::is_active`].
    Propose(ValidBatch),
    /// Everything below is on the device.
    Flushed {
        /// Exclusive.
        through: Offset,
    },
    /// The record is on the device.
    VoteStored(VoteRecord),
    /// The shell has written the image at this end; the log before it is no longer needed.
    SnapshotTaken(SnapshotId),
    /// [`Effect::InstallSnapshot`] is done.
    SnapshotInstalled {
        /// Which.
        id: SnapshotId,
        /// The voters at its end; `None` if it holds none.
        voters: Option<VoterSet>,
    },
    /// [`Effect::InstallSnapshot`] found damage; the download starts over.
    SnapshotRejected(SnapshotId),
    /// An operator adds a voter (KIP-853).
    AddVoter {
        /// Named by the answer.
        token: Token,
        /// Who.
        id: BrokerId,
        /// Its disk and where it is reached.
        voter: Voter,
        /// How long it may take to catch up.
        wait: Duration,
    },
    /// An operator removes a voter (KIP-853).
    RemoveVoter {
        /// Named by the answer.
        token: Token,
        /// Who.
        voter: ReplicaKey,
    },
    /// A voter is reached elsewhere now.
    UpdateVoter {
        /// Who.
        id: BrokerId,
        /// The same disk, the new endpoints.
        voter: Voter,
    },
    /// The node is about to stop.
    Resign,
}

/// What a quorum machine asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell a peer something.
    Send {
        /// Whom.
        to: BrokerId,
        /// What.
        message: Message,
    },
    /// Answer a fetch with the log's batches in the range, as many whole ones as fit one frame.
    SendRecords {
        /// Whom.
        to: BrokerId,
        /// The answer's header.
        reply: FetchReply,
        /// From this batch boundary on.
        from: Offset,
        /// Exclusive.
        until: Offset,
    },
    /// Answer with a piece of the snapshot; the shell fills in `size` (`None` if the file is gone).
    SendChunk {
        /// Whom.
        to: BrokerId,
        /// The answer's header.
        chunk: SnapshotChunk,
    },
    /// Append behind the last batch. A storage effect: in order.
    Append(LogBatch),
    /// Cut the log's end, durably. A storage effect.
    Truncate {
        /// The new end, a batch boundary.
        to: Offset,
    },
    /// Empty the log and let it begin at a snapshot that is installed. A storage effect.
    Reset(SnapshotId),
    /// Let the log begin at a snapshot. A storage effect.
    AdvanceLogStart(SnapshotId),
    /// Write a piece of a snapshot that is being fetched. A storage effect.
    WriteSnapshot {
        /// Which.
        id: SnapshotId,
        /// Where; 0 begins anew.
        position: u64,
        /// The piece.
        bytes: Bytes,
    },
    /// All pieces are there: check the snapshot, make it durable and load it; answered by
    /// [`Input::SnapshotInstalled`] or [`Input::SnapshotRejected`]. A storage effect.
    InstallSnapshot(SnapshotId),
    /// Sync the log; answered by [`Input::Flushed`].
    Flush,
    /// Store durably; answered by [`Input::VoteStored`].
    StoreVote(VoteRecord),
    /// Everything below is committed, and on this replica's device.
    Committed {
        /// Exclusive.
        through: Offset,
    },
    /// The answer to [`Input::AddVoter`] or [`Input::RemoveVoter`].
    VoterChange {
        /// Which.
        token: Token,
        /// Done, or why not.
        result: Result<(), VoterChangeError>,
    },
    /// What an operator should read.
    Log(Event),
    /// This replica contradicts a committed record: it must not go on.
    Halt(&'static str),
}

/// Why voters stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoterChangeError {
    /// This replica does not lead (any more; the change may still become committed).
    NotLeader,
    /// No record of this epoch is committed yet, or another change is under way (CQ-05): try again.
    Busy,
    /// The new voter has not caught up in time: it must run as an observer first.
    NotCaughtUp,
    /// There is a voter of that id.
    Duplicate,
    /// There is no such voter.
    Unknown,
    /// The last voter stays.
    LastVoter,
}

/// What happened, for the log that operators read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing was heard of the leader for too long, or its process is gone.
    LeaderLost {
        /// Who led.
        leader: ReplicaKey,
        /// Whether its process seems dead, rather than silent.
        is_dead: bool,
    },
    /// This replica asks for votes.
    Campaign {
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// This replica leads.
    Elected {
        /// In which epoch.
        epoch: LeaderEpoch,
        /// Who voted for it.
        granting: Vec<BrokerId>,
    },
    /// This replica follows a leader.
    Following {
        /// Whom.
        leader: ReplicaKey,
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// This replica led and does no more.
    Resigned {
        /// In which epoch it led.
        epoch: LeaderEpoch,
        /// Why.
        why: &'static str,
        /// Whether it was asked to, as its node stops in good order.
        is_asked: bool,
    },
    /// The log's end was cut because the leader never had it.
    Truncated {
        /// The end before.
        from: Offset,
        /// The end now.
        to: Offset,
    },
    /// The voters are others now (committed or not).
    Voters(VoterSet),
    /// Who asked is not the disk that the voters know under this id.
    ForeignDirectory(ReplicaKey),
    /// Two leaders in one epoch: it cannot be.
    SecondLeader {
        /// Whom this replica follows.
        known: ReplicaKey,
        /// Who claims to lead.
        claims: ReplicaKey,
    },
    /// A peer sent what is no log.
    BadRecords(ReplicaKey),
    /// The log begins after this replica's end: a snapshot is fetched.
    FetchingSnapshot(SnapshotId),
}
