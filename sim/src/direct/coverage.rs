//! Reject coverage: guards that never, or hardly ever, say no under the direct driver, and why.
//!
//! Whatever is not listed here has to reject in some run of a sweep: a guard that never does is not tested.

use highwater_core::guard::Guard;

/// A reason, and the guards that it is the reason for.
type Reason = (&'static str, &'static [Guard]);

/// See the [module](self).
const SILENT: &[Reason] = &[
    (
        "a right expression that a wrong one takes the place of: planted, not asked",
        &[
            Guard::HighWatermarkFlushed,
            Guard::HighWatermarkMaximalIsr,
            Guard::IsrRefusedCounts,
            Guard::FollowerKeepsTail,
            Guard::DivergenceMinimum,
            Guard::FollowerAheadOfAppend,
            Guard::ProducersRebuilt,
            Guard::LogStartInsideBatch,
            Guard::PageCacheAfterRecovery,
            Guard::UnnamedRecordsRemoved,
            Guard::TailRenewed,
            Guard::QuorumFetchFlushed,
            Guard::QuorumLeaderFlushed,
            Guard::QuorumNoResume,
            Guard::QuorumVoterRollback,
            Guard::EligibleLeadersKept,
        ],
    ),
    (
        "of a whole node, its log or its connections: the tier on madsim asks it",
        &[
            Guard::PeerClusterId,
            Guard::PeerDirectoryId,
            Guard::LogNamesOnceSynced,
            Guard::SnapshotFitsLog,
            Guard::IndexSpan,
            Guard::LostTailEndsLife,
            Guard::LetInOnceRemembered,
        ],
    ),
    (
        "a second line: another check of the same fact comes first",
        &[
            // The high watermark stands still below the least ISR, so that nobody is answered there.
            Guard::AckMinIsr,
            // A leader epoch has one leader.
            Guard::AlterPartitionLeader,
            // A coordinator resigns in the step in which its replica ceases to lead.
            Guard::AppendLeaderEpoch,
            // A session of an older life is refused whole (ReplicaSessionSequence).
            Guard::FollowerBrokerEpoch,
            // A fetcher has one leader, and compares the epoch before a cell sees the answer.
            Guard::ReplicaAnswerLeader,
            Guard::ReplicaBatchEpoch,
            // A piece is of the download that goes on (QuorumFetchReplyCurrent).
            Guard::QuorumSnapshotPieceNext,
            // A leader has all that is committed, and nodes snapshot committed metadata only: asked of a broken peer.
            Guard::QuorumTruncateUncommitted,
            Guard::QuorumSnapshotCommitted,
            // Reports are taken in order, and whoever was made anew told of the failure before (HealthReportInOrder).
            Guard::MendedOutsideIsr,
        ],
    ),
    ("clients of this driver fetch without sessions", &[Guard::FetchSessionEpoch]),
    (
        "clients of this driver delete no records",
        &[Guard::LogStartBelowHighWatermark, Guard::IsrGrowthLogStart, Guard::DeletionMinIsr],
    ),
    ("a producer that gives a session up takes a new id, not a newer epoch", &[Guard::ProducerEpochNotStale]),
    ("members of this driver have no instance ids", &[Guard::GroupInstanceId]),
    ("no run lasts as long as offsets are kept", &[Guard::OffsetExpiryStable]),
    ("the topic that groups read is never deleted", &[Guard::OffsetTopicId]),
    (
        "rare: it takes two elections within one load, one append or one flight of an answer",
        &[
            Guard::CoordinatorLoadCurrent,
            Guard::CoordinatorAppendCurrent,
            Guard::ReplicaAnswerLastEpoch,
            Guard::QuorumBatchContinues,
        ],
    ),
    (
        "a disk is lost only where a scenario says so",
        &[Guard::QuorumDirectoryId, Guard::RegistrationNotDuplicate],
    ),
    ("of three voters, one vote beside the own is a majority", &[Guard::QuorumMajority]),
    (
        "voters change only where a scenario reshapes them",
        &[Guard::QuorumVoterChangeAlone, Guard::QuorumVoterChangeOwnEpoch],
    ),
    ("replicas move only where a scenario reshapes them", &[Guard::ReassignmentKeepsMinimum]),
];

/// Why a guard need not reject here; none if it has to.
pub fn silence(name: &str) -> Option<&'static str> {
    let is_meant = |guards: &[Guard]| guards.iter().any(|guard| guard.name() == name);
    SILENT.iter().find(|(_, guards)| is_meant(guards)).map(|(why, _)| *why)
}
