//! Fetch (1): from the request's partitions, or its session's (KIP-227), to an answer now or later.
//!
//! ```text
//!  handle --> begin (session) --> Pending::advance --> enough? --> response
//!                                     ^   | not yet: watches at the partitions, a deadline at the timers
//!                                     '---' woken: only what has news is read again
//! ```
//!
//! Records never pass through here: a partition answers with stretches of its segment files, which the connection
//! sends when the peer can take them.

mod hub;
mod pending;
mod response;

pub use hub::FetchHub;
pub(super) use pending::Pending;
pub use response::RegionPart;

use super::Call;
use highwater_core::fetch::{Begun, FetchPartition, SessionRequest, TopicKey};
use highwater_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use highwater_core::replica::Isolation;
use highwater_protocol::fetch::FetchView;
use highwater_protocol::topics::TopicRef;
use highwater_protocol::{ErrorCode, messages};
use pending::{Home, Wanted};
use std::sync::Arc;
use std::time::Duration;

/// The first version whose requests name topics by id (KIP-516).
const IDS_SINCE: i16 = 13;

/// The first version whose requests tell the consumer's rack (KIP-392).
const RACKS_SINCE: i16 = 11;

/// Serves a fetch request.
pub(super) fn handle(call: Call<'_>, request: &FetchView) {
    let now = call.node.clock().mono();
    let isolation = match request.isolation_level {
        0 => Isolation::ReadUncommitted,
        1 => Isolation::ReadCommitted,
        _ => return response::send_error(call.responder, ErrorCode::InvalidRequest),
    };
    let mut names = Names::default();
    let partitions = request.partitions().map(|p| wanted(&mut names, p.topic, &p.partition)).collect();
    let forgotten: Vec<_> =
        request.forgotten().map(|p| (names.key(p.topic), PartitionIndex(p.partition))).collect();
    let session = SessionRequest {
        session_id: request.session_id,
        epoch: request.session_epoch,
        uses_topic_ids: call.responder.version() >= IDS_SINCE,
    };
    let begun = call.node.fetches().begin(now, session, partitions, &forgotten);
    let home = match begun {
        Ok(Begun::Sessionless(set)) => Home::Own(set),
        Ok(Begun::Session { id, epoch, is_full }) => Home::Session { id, epoch, is_full },
        Err(code) => return response::send_error(call.responder, code),
    };
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let rack = Some(&*request.rack_id).filter(|rack| !rack.is_empty()).map(Arc::from);
    // No answer ever has more, so that is enough; a fetch of nothing still waits for something.
    let most = i32::try_from(call.node.fetch_bytes_max()).unwrap_or(i32::MAX);
    let bytes_max = request.max_bytes.min(most).max(1);
    let wanted = Wanted {
        isolation,
        // Whoever tells its rack knows how to be sent to a follower, and how to ask one (KIP-392).
        from_follower: call.responder.version() >= RACKS_SINCE,
        rack,
        request_bytes_max: request.max_bytes,
        bytes_min: request.min_bytes.min(bytes_max),
        deadline: call.received_at + wait,
    };
    let client_id = call.client_id.clone();
    let pending = Pending::new(call.node.clone(), home, &wanted, call.responder, client_id);
    if !pending.advance() {
        pending.arm_deadline();
        call.conn.state.remember_fetch(pending);
    }
}

/// Topic names of one request, each kept once.
#[derive(Default)]
struct Names {
    last: Option<Arc<str>>,
}

impl Names {
    fn key(&mut self, topic: TopicRef<'_>) -> TopicKey {
        match topic {
            TopicRef::Id(id) => TopicKey::Id(TopicId(id.0)),
            TopicRef::Name(name) => match &self.last {
                Some(last) if **last == *name => TopicKey::Name(last.clone()),
                _ => {
                    let name: Arc<str> = name.into();
                    self.last = Some(name.clone());
                    TopicKey::Name(name)
                }
            },
        }
    }
}

fn wanted(names: &mut Names, topic: TopicRef<'_>, asked: &messages::FetchPartition) -> FetchPartition {
    let epoch = |epoch: i32| (epoch >= 0).then_some(LeaderEpoch(epoch));
    FetchPartition {
        topic: names.key(topic),
        partition: PartitionIndex(asked.partition),
        fetch_offset: Offset(asked.fetch_offset),
        current_leader_epoch: epoch(asked.current_leader_epoch),
        last_fetched_epoch: epoch(asked.last_fetched_epoch),
        log_start_offset: Offset(asked.log_start_offset),
        partition_bytes_max: asked.partition_max_bytes,
    }
}
