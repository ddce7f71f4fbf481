//! A partition's part in replication: as a leader it serves followers, as a follower it takes what its leader answers.

use super::waiter::{FollowChange, Waiter};
use super::{OFFLINE, Partition, state::State};
use crate::cell::CellBroken;
use crate::log::ReadPlan;
use highwater_core::fetch::ReadLimit;
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, Token};
use highwater_core::replica::{
    FetchOutcome, FetchPosition, FollowerFetch, Input, IsrAccepted, IsrMember, IsrRefusal, NotReplicated,
    Replicated, ReplicatedOutcome, Role,
};

/// What a leader has for a follower.
#[derive(Debug)]
pub struct Served {
    /// The answer.
    pub outcome: FetchOutcome,
    /// Where its batches lie.
    pub plan: ReadPlan,
    /// Whether there are batches, for which the limit left no room.
    pub is_cut: bool,
    /// The watch that was set, as there was nothing to read.
    pub watch: Option<Token>,
}

/// What became of a leader's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Where the replica stands now, and whom it follows.
    At(BrokerId, FetchPosition),
    /// It follows nobody, or its disk is still busy: it will be told.
    Later,
    /// Its batches do not fit; why.
    Misfit(&'static str),
    /// The replica is offline.
    Broken,
}

impl Partition {
    /// Takes another leader, or a newer registration of the same.
    pub fn follow(
        &self,
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    ) -> Result<(), CellBroken> {
        self.step(|state, shell| {
            state.follow(shell.clock.now(), leader, leader_epoch, partition_epoch);
        })
    }

    /// Serves a follower: notes its progress if the fetch is new, then reads. If there is nothing to read, `watch` is
    /// left behind and called once there is.
    pub fn serve_follower(
        &self,
        fetch: &FollowerFetch,
        is_new: bool,
        limit: ReadLimit,
        watch: Option<Waiter>,
    ) -> Served {
        let served = self.step(|state, shell| {
            if is_new {
                state.input(shell.clock.now(), Input::FollowerFetched(*fetch));
            }
            self.read_for_follower(state, fetch, limit, watch)
        });
        served.unwrap_or_else(|CellBroken| Served::refused(FetchOutcome::refused(OFFLINE)))
    }

    fn read_for_follower(
        &self,
        state: &mut State,
        fetch: &FollowerFetch,
        limit: ReadLimit,
        watch: Option<Waiter>,
    ) -> Served {
        let bounds = match state.replica.follower_bounds(fetch) {
            Ok(bounds) => bounds,
            Err(outcome) => return Served::refused(outcome),
        };
        let from = fetch.position.offset;
        let plan = match state.log.read(from, limit.bytes_max, bounds.end, limit.at_least_one_batch) {
            Ok(plan) => plan,
            Err(error) => return Served::refused(FetchOutcome::refused(self.storage_error(&error))),
        };
        let watch = watch.filter(|_| plan.bytes == 0).map(|waiter| {
            let token = state.token();
            state.wait(token, waiter);
            let high_watermark_beyond = bounds.high_watermark;
            let now = self.shell.clock.now();
            state.input(now, Input::WatchReplica { token, end_beyond: from, high_watermark_beyond });
            token
        });
        let outcome = FetchOutcome::Data {
            high_watermark: bounds.high_watermark,
            log_start: bounds.log_start,
            bytes: u32::try_from(plan.bytes).expect("a read is limited to 31 bits"),
        };
        let is_cut = plan.bytes == 0 && bounds.end > from;
        Served { outcome, plan, is_cut, watch }
    }

    /// Takes what the leader answered to this replica's fetch.
    pub fn replicate(&self, replicated: Replicated) -> Delivered {
        let has_batches =
            matches!(&replicated.outcome, ReplicatedOutcome::Data { batches, .. } if !batches.is_empty());
        let mut deliveries = super::Deliveries::default();
        let delivered = {
            let Ok(mut state) = self.cell.lock() else { return Delivered::Broken };
            let checked = state.replica.check_replicated(&replicated);
            state.input(self.shell.clock.now(), Input::Replicate(replicated));
            state.run(&self.shell, &mut deliveries);
            self.after(&mut state);
            match (checked, state.replica.fetch_position()) {
                (Err(NotReplicated::Misfit(why)), _) if has_batches => Delivered::Misfit(why),
                (_, Some((leader, position))) => Delivered::At(leader, position),
                (_, None) => Delivered::Later,
            }
        };
        // The position is the answer; only a leader that was left is news to others.
        if let Some(FollowChange { left: Some(left), at }) = deliveries.take_following() {
            self.shell.replication.follows(self.id(), FollowChange { left: Some(left), at });
        }
        self.deliver(deliveries);
        delivered
    }

    /// Takes which of the replicas' brokers are fenced or about to stop.
    pub fn inactive(&self, brokers: Vec<BrokerId>) -> Result<(), CellBroken> {
        self.step(|state, shell| state.input(shell.clock.now(), Input::Inactive(brokers)))
    }

    /// Takes the controller's answer to a proposed ISR.
    pub fn isr_answered(
        &self,
        leader_epoch: LeaderEpoch,
        proposed_at: PartitionEpoch,
        proposed: Vec<IsrMember>,
        answer: Result<IsrAccepted, IsrRefusal>,
    ) {
        // A broken cell leads nothing.
        let _ = self.step(|state, shell| {
            let input = Input::IsrAnswered { leader_epoch, proposed_at, proposed, answer };
            state.input(shell.clock.now(), input);
        });
    }

    /// Who may serve a consumer at `offset`, with the end that each has (KIP-392).
    pub fn read_replicas(&self, offset: Offset) -> Vec<(BrokerId, Offset)> {
        self.cell.lock().map(|state| state.replica.read_replicas(offset)).unwrap_or_default()
    }
}

/// How the replicas of a partition are, as its leader sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderView {
    /// How many replicas there are.
    pub replicas: usize,
    /// How many of them are in sync.
    pub isr: usize,
    /// `min.insync.replicas`.
    pub min_isr: usize,
    /// By how many records the last of the followers that were heard of is behind.
    pub lag_records_max: i64,
}

impl Partition {
    /// How the replicas are; `None` on a follower.
    pub fn leader_view(&self) -> Option<LeaderView> {
        let state = self.cell.lock().ok()?;
        let Role::Leader(leader) = state.replica.role() else { return None };
        let end = state.replica.log_end();
        let lags = leader.follower_ends().map(|(_, follower)| end.0 - follower.0);
        Some(LeaderView {
            replicas: leader.replicas().len(),
            isr: leader.isr().len(),
            min_isr: state.replica.settings().min_isr.min(leader.replicas().len()),
            lag_records_max: lags.max().unwrap_or(0).max(0),
        })
    }
}

impl Served {
    /// Nothing but an answer.
    pub const fn refused(outcome: FetchOutcome) -> Self {
        let plan = ReadPlan { regions: Vec::new(), bytes: 0, bytes_there: 0, first_offset: None };
        Self { outcome, plan, is_cut: false, watch: None }
    }
}
