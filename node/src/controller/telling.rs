//! What operators hear of the quorum: its events in words, each once.

use highwater_core::ids::{BrokerId, LeaderEpoch};
use highwater_core::quorum::Event;

/// Tells operators.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// The controller that this node was last said to follow, while it is not lost.
    followed: Option<(BrokerId, LeaderEpoch)>,
}

impl Teller {
    /// Logs an event, if it is news.
    pub(super) fn tell(&mut self, event: &Event) {
        if self.is_news(event) {
            log(event);
        }
    }

    /// A controller that has resigned sends an observer away, and whoever has not heard of that sends it back, many times
    /// a second until another is elected.
    fn is_news(&mut self, event: &Event) -> bool {
        match event {
            Event::Following { leader, epoch } => {
                let now = Some((leader.id, *epoch));
                std::mem::replace(&mut self.followed, now) != now
            }
            Event::LeaderLost { .. } => {
                self.followed = None;
                true
            }
            _ => true,
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::LeaderLost { leader, is_dead: true } => {
            tracing::warn!(leader = leader.id.0, "the controller's process is gone: an election follows");
        }
        Event::LeaderLost { leader, is_dead: false } => {
            tracing::warn!(
                leader = leader.id.0,
                "nothing was heard of the controller for too long: an election follows"
            );
        }
        Event::Campaign { epoch } => {
            tracing::info!(epoch = epoch.0, "asking for votes to become the controller");
        }
        Event::Elected { epoch, granting } => {
            let votes: Vec<i32> = granting.iter().map(|id| id.0).collect();
            tracing::info!(epoch = epoch.0, ?votes, "elected as the controller");
        }
        Event::Following { leader, epoch } => {
            tracing::info!(leader = leader.id.0, epoch = epoch.0, "following the controller");
        }
        Event::Resigned { epoch, why, is_asked: true } => {
            tracing::info!(epoch = epoch.0, why, "no longer the controller");
        }
        Event::Resigned { epoch, why, is_asked: false } => {
            tracing::warn!(epoch = epoch.0, why, "no longer the controller");
        }
        Event::Truncated { from, to } => {
            tracing::warn!(from = from.0, to = to.0, "cut metadata that the controller never committed");
        }
        Event::Voters(voters) => tracing::info!(%voters, "the controllers that vote have changed"),
        Event::ForeignDirectory(replica) => {
            tracing::warn!(%replica, "a peer takes this node for the one whose disk it replaced: it does not vote until it is added");
        }
        Event::SecondLeader { known, claims } => {
            tracing::error!(
                known = known.id.0,
                claims = claims.id.0,
                "two nodes claim to be the controller of one epoch"
            );
        }
        Event::BadRecords(from) => {
            tracing::error!(
                from = from.id.0,
                "the controller sent metadata that does not follow on this log; it is fetched again"
            );
        }
        Event::FetchingSnapshot(id) => {
            tracing::info!(
                end = id.end.0,
                epoch = id.epoch.0,
                "too far behind for the metadata log: fetching a snapshot"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::ids::DirectoryId;
    use highwater_core::quorum::ReplicaKey;

    #[test]
    fn a_controller_that_is_found_again_and_again_is_told_of_once() {
        let leader = ReplicaKey { id: BrokerId(1), directory_id: DirectoryId::UNKNOWN };
        let following = |epoch| Event::Following { leader, epoch: LeaderEpoch(epoch) };
        let lost = Event::LeaderLost { leader, is_dead: false };
        let mut teller = Teller::default();
        let script = [
            (following(4), true),
            (following(4), false),
            (following(4), false),
            (following(5), true),
            (lost, true),
            (following(5), true),
        ];
        for (at, (event, is_news)) in script.iter().enumerate() {
            assert_eq!(teller.is_news(event), *is_news, "{at}: {event:?}");
        }
    }
}
