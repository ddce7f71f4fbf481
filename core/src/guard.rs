//! Named safety checks that the simulator can count and switch off, to prove that it would notice.
//!
//! Every check that fences, orders or compares epochs reads `guard!(Name, condition)`. A normal build
//! evaluates the condition and nothing else. Under `cfg(sim)` (set only by `.cargo/sim.toml`, never by a
//! feature) the accepts and rejects of each guard are counted, and a guard that the run switched off says
//! `true`. Switches and counters belong to the run, that is to its thread, not to the process.

/// Evaluates a named safety check; see the [module](mod@crate::guard).
#[macro_export]
macro_rules! guard {
    ($name:ident, $condition:expr) => {{
        const GUARD: $crate::guard::Guard = $crate::guard::Guard::$name;
        #[cfg(sim)]
        let holds = $crate::guard::run::check(GUARD, $condition);
        #[cfg(not(sim))]
        let holds = {
            let _ = GUARD;
            $condition
        };
        holds
    }};
}

/// A bug that is not merely a removed condition: the right expression, or under `cfg(sim)` with the guard
/// switched off, the historical wrong one.
#[macro_export]
macro_rules! planted {
    ($name:ident, $wrong:expr, $right:expr) => {{
        #[cfg(sim)]
        let value = if $crate::guard::run::is_off($crate::guard::Guard::$name) { $wrong } else { $right };
        #[cfg(not(sim))]
        let value = {
            let _ = $crate::guard::Guard::$name;
            $right
        };
        value
    }};
}

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The name of every guard, one per safety check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Guard { $($(#[$doc])* $name,)* }

        impl Guard {
            /// Every guard, in the order declared.
            pub const ALL: &'static [Guard] = &[$(Guard::$name,)*];

            /// The guard's name as scenarios write it.
            pub const fn name(self) -> &'static str {
                match self { $(Guard::$name => stringify!($name),)* }
            }
        }
    };
}

guards! {
    // -- replica and fetch
    /// A client's fetch names the leader's own epoch, or none (KIP-320).
    FetchLeaderEpoch,
    /// A produced batch is of the producer's newest epoch (KIP-98).
    ProducerEpochNotStale,
    /// A produced batch has the sequence behind the last one, or 0 in a new epoch (KIP-98).
    ProducerSequenceIsNext,
    /// A leader calls a sequence wrong only while nobody can have been elected in its place, who has what it lacks (O3).
    SequenceLease,
    /// An append bound to a leader epoch goes to the leader of that epoch only (design rule 8).
    AppendLeaderEpoch,
    /// acks=all is taken only while enough replicas are in sync (`min.insync.replicas`).
    AppendMinIsr,
    /// acks=all is answered only while enough replicas are in sync (KAFKA-1555).
    AckMinIsr,
    /// The high watermark moves only while enough replicas are in sync (KIP-966).
    HighWatermarkMinIsr,
    /// The high watermark counts as known once it has reached the leader epoch's start (design rule 4).
    HighWatermarkKnown,
    /// A leadership, or an ISR, follows the one before in leader epoch and partition epoch (design rule 5).
    LeadershipNotStale,
    /// A follower's fetch counts only in the leader epoch it names (design rule 4).
    FollowerFetchEpoch,
    /// A follower's fetch counts only from the newest life of that broker (KIP-903).
    FollowerBrokerEpoch,
    /// A fetch belongs to the session epoch that comes next (KIP-227).
    FetchSessionEpoch,
    /// The log start never passes the high watermark (ST-11).
    LogStartBelowHighWatermark,
    /// Under `highwater.acks.durable` the high watermark counts flushed records only.
    HighWatermarkFlushed,
    /// The high watermark waits for every replica that may be in the ISR, committed or proposed (PR-05, KIP-497).
    HighWatermarkMaximalIsr,
    /// A follower joins the ISR only once it has reached the start of the leader's epoch (PR-04).
    IsrGrowthEpochStart,
    /// A follower joins the ISR only once its log starts where the records lie that a request has deleted, and was
    /// answered for (O13, KIP-107).
    IsrGrowthLogStart,
    /// A deletion is answered only while enough replicas are in sync: with fewer, one outside of the ISR may be elected
    /// that has not followed it (O13, KIP-966).
    DeletionMinIsr,
    /// An answer to an ISR proposal is of the leadership that proposed.
    IsrAnswerLeaderEpoch,
    /// An answer to an ISR proposal settles no newer one (PR-14).
    IsrAnswerCurrent,
    /// Whoever was proposed counts after a refusal, too, until a newer registration voids all copies of the proposal
    /// (PR-14).
    IsrRefusedCounts,
    /// A follower's progress counts only if its log is a prefix of the leader's (design rule 3).
    FollowerFetchVerified,
    /// A follower whose log parts from the leader's is told so and given nothing (KIP-320).
    FollowerNotDiverged,
    /// A follower keeps what lies behind its high watermark until the leader's log says otherwise (PR-01).
    FollowerKeepsTail,
    /// Diverging logs are cut to the smaller end of their largest common epoch (PR-02, KIP-279).
    DivergenceMinimum,
    /// A leader's answer is taken only from the broker that is followed (PR-11).
    ReplicaAnswerLeader,
    /// A leader's answer is taken only in the epoch that it answers (PR-11).
    ReplicaAnswerEpoch,
    /// A leader's answer is taken only at the offset that it answers (PR-11).
    ReplicaAnswerOffset,
    /// A leader's answer is taken only while the log ends with the batch that the fetch named: cut and grown again, it
    /// may be at the same offset with another history (PR-11).
    ReplicaAnswerLastEpoch,
    /// Replicated batches are of no epoch above the leader's (PR-11).
    ReplicaBatchEpoch,
    /// A follower that has what its leader is still appending is not told to cut it (PR-10).
    FollowerAheadOfAppend,
    /// A replica fetch is of its session's next sequence, from the newest life of its broker.
    ReplicaSessionSequence,
    /// A reply to a replica fetch is of the session that is open.
    ReplicaReplySession,
    /// The producer state is rebuilt from the log at start (O15).
    ProducersRebuilt,
    /// A log may start inside of its first batch (KIP-107).
    LogStartInsideBatch,
    // -- peers
    /// Nodes of different clusters do not speak to each other.
    PeerClusterId,
    /// A node whose id is in use by one on another data directory is turned away.
    PeerDirectoryId,
    // -- storage
    /// A log's names and identity are taken as synced only if it has held a record: a blank one is closed without (ST-03).
    LogNamesOnceSynced,
    /// A checkpoint of derived state is used only on the log that it was made of (O15).
    SnapshotFitsLog,
    /// Batches that an index leads to are those that were appended to this very segment (O41).
    IndexSpan,
    /// The page cache counts as kept only since all logs were recovered on it.
    PageCacheAfterRecovery,
    /// Files beside which no topic id is found are not taken for this topic's (ST-07, PR-15).
    UnnamedRecordsRemoved,
    /// What may have lost its way to the device in a failed sync is written again at the next start (ST-01).
    TailRenewed,
    /// A life that may have lost its tail in a power cut is not called complete (PR-06, KIP-966).
    LostTailEndsLife,
    // -- coordinators
    /// A coordinator decides only on a log that it has read to the end (OF-04).
    CoordinatorLoaded,
    /// Records handed in belong to the load that is under way.
    CoordinatorLoadCurrent,
    /// The outcome of an append concerns the state that was loaded for it (GC-04).
    CoordinatorAppendCurrent,
    /// A coordinator tells committed offsets only while nobody can have been elected in its place (O20, OF-07).
    CoordinatorLease,
    /// A member speaks of the present generation (OF-01).
    GroupGeneration,
    /// A static member's request comes from the present holder of its instance id (GC-01, KIP-345).
    GroupInstanceId,
    /// Offsets of a group with members age only while the group is stable (OF-05).
    OffsetExpiryStable,
    /// A committed offset is read only for the topic it was committed for (OF-06).
    OffsetTopicId,
    // -- quorum
    /// A vote, a voter and an announcement mean a disk, not only a node id (CQ-09, KIP-853).
    QuorumDirectoryId,
    /// Nothing is said in an epoch, and no vote given, before it is on the device (CQ-02).
    QuorumVoteStored,
    /// One vote in each epoch.
    QuorumVoteOnce,
    /// A vote goes to a log that has everything this one has.
    QuorumVoteLogUpToDate,
    /// No pre-vote is given while the leader is heard (KIP-996).
    QuorumPreVoteNoLeader,
    /// An answer to a vote counts in the poll it was asked for.
    QuorumVoteReplyCurrent,
    /// A majority elects; while disks are not known, everybody does.
    QuorumMajority,
    /// A leader that was restarted does not lead on in its epoch (CQ-02).
    QuorumNoResume,
    /// Nothing of an older epoch's leader is believed.
    QuorumEpochNotStale,
    /// A leader that no majority hears stands down (KAFKA-15489).
    QuorumCheckQuorum,
    /// A controller that was not followed lately assures no broker that it still leads (O20).
    LeaseOfFollowedLeader,
    /// A fetch counts only in the epoch it names (PR-03).
    QuorumFetchEpoch,
    /// A fetch acknowledges flushed records only (CQ-02).
    QuorumFetchFlushed,
    /// An answer to a fetch counts only if it is the one waited for (PR-11).
    QuorumFetchReplyCurrent,
    /// A leader counts itself up to its flushed end only (CQ-02).
    QuorumLeaderFlushed,
    /// Nothing is committed before a record of the leader's own epoch is (CQ-01).
    QuorumOwnEpochCommit,
    /// A batch follows on the log in offset and epoch.
    QuorumBatchContinues,
    /// What is committed is never cut (CQ-06).
    QuorumTruncateUncommitted,
    /// Voters change only after a commit of the leader's own epoch (CQ-05).
    QuorumVoterChangeOwnEpoch,
    /// One change of voters at a time (CQ-05).
    QuorumVoterChangeAlone,
    /// After a truncation the voters are those that the rest of the log tells (CQ-05).
    QuorumVoterRollback,
    /// A snapshot holds committed records only (CQ-07).
    QuorumSnapshotCommitted,
    /// A piece of a snapshot follows the one before.
    QuorumSnapshotPieceNext,
    // -- metadata
    /// A broker's request to the controller names the epoch of its current registration (KIP-380).
    ControllerBrokerEpoch,
    /// A node id whose process lives is not given to a process of another directory (KIP-380).
    RegistrationNotDuplicate,
    /// A request to register is not of a process that ended before the registered one began (design rule 5).
    RegistrationNotLate,
    /// A process that registers again keeps its epoch (CQ-10).
    RegistrationIncarnation,
    /// A broker that may have lost records in an unclean stop leaves ISR and ELR (PR-06, KIP-966).
    UncleanRestartLeaves,
    /// Whoever leaves an ISR below its minimum stays eligible to lead, and nobody stays in the ISR for want of others (PR-06, KIP-966).
    EligibleLeadersKept,
    /// A broker is let in once it has applied its own registration.
    UnfenceCaughtUp,
    /// And once its next process will know of it: else a death right after counts as an unclean stop (PR-06, KIP-966).
    LetInOnceRemembered,
    /// An ISR is changed by the partition's leader (PR-14).
    AlterPartitionLeader,
    /// And in its own leader epoch (PR-14).
    AlterPartitionLeaderEpoch,
    /// And only if nothing else has changed the partition since (PR-14, KIP-497).
    AlterPartitionEpoch,
    /// No fenced or stopping broker joins an ISR (PR-07, KIP-841).
    IsrMemberActive,
    /// A member of an ISR is alive in the life in which it caught up (PR-07, KIP-903).
    IsrMemberEpoch,
    /// No broker whose log of the partition failed joins its ISR (design rule 11).
    IsrMemberHealthy,
    /// Nor is it elected (design rule 11).
    FailedReplicaLeadsNothing,
    /// A report of a failed log is not believed again once the replica was made anew (design rule 1).
    HealthReportInOrder,
    /// A replica that may be the last complete one is not taken for one that was made anew.
    MendedOutsideIsr,
    /// A leader is elected that may lack records only where that is allowed.
    ElectionClean,
    /// A reassignment lets nobody go before those who stay are as many in sync as `min.insync.replicas` (KIP-455, KIP-966).
    ReassignmentKeepsMinimum,
    /// The controller answers from what is committed, also where it had nothing to write (CQ-11).
    AnswerCommitted,
    // -- registration
    /// A reply of the controller answers this process, not one before it (CQ-10).
    ControllerReplyOfThisLife,
    /// A reply of the controller answers the request that is waited for.
    ControllerReplyExpected,
}

/// Per-run switches and counters. One run, one thread.
#[cfg(sim)]
pub mod run {
    use super::Guard;
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    /// How often a guard held and how often it did not.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Count {
        /// Times the condition was true.
        pub accepts: u64,
        /// Times the condition was false (also if the switch then said true).
        pub rejects: u64,
    }

    #[derive(Default)]
    struct Run {
        off: BTreeSet<Guard>,
        counts: BTreeMap<Guard, Count>,
    }

    thread_local! {
        static RUN: RefCell<Run> = RefCell::default();
    }

    /// Starts a run on this thread with these guards switched off and all counters at zero.
    pub fn begin(off: impl IntoIterator<Item = Guard>) {
        RUN.with_borrow_mut(|run| *run = Run { off: off.into_iter().collect(), counts: BTreeMap::new() });
    }

    /// What each guard of this thread's run has counted so far.
    pub fn counts() -> BTreeMap<Guard, Count> {
        RUN.with_borrow(|run| run.counts.clone())
    }

    /// Whether this thread's run switched the guard off.
    pub fn is_off(guard: Guard) -> bool {
        RUN.with_borrow(|run| run.off.contains(&guard))
    }

    /// Counts a check and applies the switch. Called by `guard!`.
    pub fn check(guard: Guard, holds: bool) -> bool {
        RUN.with_borrow_mut(|run| {
            let count = run.counts.entry(guard).or_default();
            if holds {
                count.accepts += 1;
            } else {
                count.rejects += 1;
            }
            holds || run.off.contains(&guard)
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_guard_is_its_condition() {
        assert!(guard!(FetchLeaderEpoch, 1 + 1 == 2));
        assert!(!guard!(FetchLeaderEpoch, 1 + 1 == 3));
    }
}
