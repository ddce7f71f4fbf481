//! Those who wait for a partition, and the delivery of what they wait for once its lock is free again.

use highwater_core::coordinator::AppendId;
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, Token};
use highwater_core::replica::{FetchPosition, IsrMember, ProduceError, Produced, Reply};
use highwater_protocol::ErrorCode;
use std::fmt;
use std::sync::Arc;

use super::coordinator::GroupReply;

/// Something that is told that a partition has news.
pub trait Woken: Send + Sync {
    /// The partition that was watched under `index` is to be read again.
    fn wake(&self, index: usize);
}

/// Whoever waits under a token.
pub enum Waiter {
    /// A produce request's partition.
    Produced(Box<dyn FnOnce(Result<Produced, ProduceError>) + Send>),
    /// A DeleteRecords request's partition.
    Deleted(Box<dyn FnOnce(Result<Offset, ErrorCode>) + Send>),
    /// A fetch, with the index of this partition in it.
    Fetch(Arc<dyn Woken>, usize),
    /// A request to the group coordinator of this partition.
    Group(Box<dyn FnOnce(GroupReply) + Send>),
    /// The coordinator's own append of so many records.
    Append(AppendId, usize),
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Produced(_) => "Produced",
            Self::Deleted(_) => "Deleted",
            Self::Fetch(..) => "Fetch",
            Self::Group(_) => "Group",
            Self::Append(..) => "Append",
        })
    }
}

/// What one step has for others, to be delivered after unlocking.
#[derive(Default)]
pub(super) struct Deliveries {
    /// Answers whose waiter was found.
    ready: Vec<Delivery>,
    /// Answers to a request that is still being handed in: its caller takes them.
    direct: Vec<(Token, Reply)>,
    /// The ISR that the partition, as its leader, wants.
    isr: Option<IsrProposal>,
    /// Another leader to follow, or another position.
    following: Option<FollowChange>,
    /// The log has failed in this step.
    has_failed: bool,
}

/// A replica follows another leader, or stands elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowChange {
    /// Whom it does not follow any more.
    pub left: Option<BrokerId>,
    /// Whom it follows, from where.
    pub at: Option<(BrokerId, FetchPosition)>,
}

/// A leader's wish for another ISR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The leadership that wishes.
    pub leader_epoch: LeaderEpoch,
    /// The registration to follow.
    pub partition_epoch: PartitionEpoch,
    /// The whole new ISR.
    pub isr: Vec<IsrMember>,
}

enum Delivery {
    Produced(Box<dyn FnOnce(Result<Produced, ProduceError>) + Send>, Result<Produced, ProduceError>),
    Deleted(Box<dyn FnOnce(Result<Offset, ErrorCode>) + Send>, Result<Offset, ErrorCode>),
    Wake(Arc<dyn Woken>, usize),
    Group(Box<dyn FnOnce(GroupReply) + Send>, GroupReply),
}

impl Deliveries {
    pub(super) fn reply(&mut self, token: Token, waiter: Option<Waiter>, reply: Reply) {
        match (waiter, reply) {
            (Some(Waiter::Produced(then)), Reply::Produced(result)) => {
                self.ready.push(Delivery::Produced(then, result));
            }
            (Some(Waiter::Deleted(then)), Reply::RecordsDeleted(result)) => {
                self.ready.push(Delivery::Deleted(then, result));
            }
            (None, reply) => self.direct.push((token, reply)),
            (Some(waiter), reply) => panic!("{waiter:?} was answered with {reply:?}"),
        }
    }

    pub(super) fn wake(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Fetch(fetch, index)) = waiter {
            self.ready.push(Delivery::Wake(fetch, index));
        }
    }

    pub(super) fn group(&mut self, waiter: Option<Waiter>, reply: GroupReply) {
        if let Some(Waiter::Group(then)) = waiter {
            self.ready.push(Delivery::Group(then, reply));
        }
    }

    pub(super) fn propose_isr(&mut self, proposal: IsrProposal) {
        self.isr = Some(proposal);
    }

    /// What the step wants proposed to the controller.
    pub(super) fn take_isr(&mut self) -> Option<IsrProposal> {
        self.isr.take()
    }

    pub(super) fn follow(&mut self, change: FollowChange) {
        self.following = Some(change);
    }

    /// What the fetchers are to be told.
    pub(super) fn take_following(&mut self) -> Option<FollowChange> {
        self.following.take()
    }

    pub(super) const fn fail(&mut self) {
        self.has_failed = true;
    }

    /// Whether the controller is to be told that the log failed.
    pub(super) fn take_failure(&mut self) -> bool {
        std::mem::take(&mut self.has_failed)
    }

    /// The answer to the produce that was just handed in under `token`, if it is there.
    pub(super) fn take_produced(&mut self, token: Token) -> Option<Result<Produced, ProduceError>> {
        match self.take_direct(token)? {
            Reply::Produced(result) => Some(result),
            Reply::RecordsDeleted(_) => panic!("a produce was answered as a deletion"),
        }
    }

    /// The answer to the deletion that was just handed in under `token`, if it is there.
    pub(super) fn take_deleted(&mut self, token: Token) -> Option<Result<Offset, ErrorCode>> {
        match self.take_direct(token)? {
            Reply::RecordsDeleted(result) => Some(result),
            Reply::Produced(_) => panic!("a deletion was answered as a produce"),
        }
    }

    fn take_direct(&mut self, token: Token) -> Option<Reply> {
        let at = self.direct.iter().position(|(of, _)| *of == token)?;
        Some(self.direct.swap_remove(at).1)
    }

    /// Tells everyone. Must be called without any cell's lock.
    pub(super) fn deliver(self) {
        for delivery in self.ready {
            match delivery {
                Delivery::Produced(then, result) => then(result),
                Delivery::Deleted(then, result) => then(result),
                Delivery::Wake(fetch, index) => fetch.wake(index),
                Delivery::Group(then, reply) => then(reply),
            }
        }
    }
}
