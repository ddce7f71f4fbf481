//! What an operator may know of the quorum (DescribeQuorum, KIP-595, KIP-836).

use super::voters::ReplicaKey;
use super::{Quorum, Role};
use crate::ids::{LeaderEpoch, Offset};
use crate::time::Instant;

/// The quorum as its leader sees it; on others only what they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStatus {
    /// The leader, if one is known.
    pub leader: Option<ReplicaKey>,
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Exclusive; everything below is committed.
    pub high_watermark: Offset,
    /// The voters.
    pub voters: Vec<ReplicaStatus>,
    /// Replicas that fetch and do not vote.
    pub observers: Vec<ReplicaStatus>,
}

/// How far one replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Which.
    pub replica: ReplicaKey,
    /// Its log end; `None` if it was not heard in this epoch.
    pub log_end: Option<Offset>,
    /// When it fetched last.
    pub fetched_at: Option<Instant>,
    /// When it last had everything.
    pub caught_up_at: Option<Instant>,
}

impl Quorum {
    /// The quorum as this replica sees it.
    pub fn describe(&self, now: Instant) -> QuorumStatus {
        let status = |replica: ReplicaKey| {
            let unknown = ReplicaStatus { replica, log_end: None, fetched_at: None, caught_up_at: None };
            match &self.role {
                Role::Leader(_) if replica == self.me => ReplicaStatus {
                    replica,
                    log_end: Some(self.log.end),
                    fetched_at: Some(now),
                    caught_up_at: Some(now),
                },
                Role::Leader(state) => state.replicas.get(&replica).map_or(unknown, |known| ReplicaStatus {
                    replica,
                    log_end: Some(known.end),
                    fetched_at: Some(known.fetched_at),
                    caught_up_at: known.caught_up_at,
                }),
                _ => unknown,
            }
        };
        let observers: Vec<ReplicaKey> = match &self.role {
            Role::Leader(state) => {
                state.replicas.keys().filter(|key| !self.voters().contains(**key)).copied().collect()
            }
            _ => Vec::new(),
        };
        QuorumStatus {
            leader: self.leader(),
            epoch: self.epoch(),
            high_watermark: self.high_watermark,
            voters: self.voters().keys().map(status).collect(),
            observers: observers.into_iter().map(status).collect(),
        }
    }
}
