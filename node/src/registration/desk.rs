//! The controller's side: brokers that speak are answered, brokers that are silent are fenced.

use super::report;
use super::{is_alone, peer_address};
use crate::cell::CellLock;
use crate::node::Node;
use crate::partition::Shell;
use crate::peers::{FrameHandler, LinkWatcher};
use crate::timers::Timed;
use highwater_core::config::BrokerConfig;
use highwater_core::ids::{BrokerEpoch, BrokerId};
use highwater_core::metadata::peer::{
    BROKER_MESSAGE_VERSION, BrokerHeartbeat, BrokerRefusal, BrokerReply, BrokerReplyBody, BrokerRequest,
    BrokerRequestBody, HeartbeatReply, RegisterBroker,
};
use highwater_core::metadata::{
    BrokerState, Committed, MetadataImage, Record, Registration, SessionLimits, Sessions,
};
use highwater_core::time::Instant;
use highwater_core::transport::{Class, Frame, FrameKind, LinkEvent, PeerIdentity};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// `refused_silence_max` over the session's time-out.
const REFUSED_SHARE: u32 = 3;

struct State {
    sessions: Sessions,
    armed: Option<Instant>,
    /// When leaders are brought back next (`leader.imbalance.check.interval.seconds`).
    rebalance_at: Option<Instant>,
}

/// Where the brokers of a cluster speak to its active controller.
pub struct Desk {
    id: BrokerId,
    me: Weak<Self>,
    shell: Arc<Shell>,
    node: Weak<Node>,
    cell: CellLock<State>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("id", &self.id).finish_non_exhaustive()
    }
}

/// To whom a reply goes.
#[derive(Clone)]
struct Asker {
    to: BrokerId,
    request: Arc<BrokerRequest>,
}

impl Desk {
    /// A desk at which nobody sits until this node is the active controller.
    pub fn new(id: BrokerId, shell: Arc<Shell>, node: Weak<Node>) -> Arc<Self> {
        let state = State { sessions: Sessions::default(), armed: None, rebalance_at: None };
        let desk = Arc::new_cyclic(|me: &Weak<Self>| Self {
            id,
            me: me.clone(),
            shell,
            node,
            cell: CellLock::new(state),
        });
        let handler: Weak<dyn FrameHandler> = desk.me.clone();
        desk.shell.peers.handle(FrameKind::BrokerRequest, handler);
        let watcher: Weak<dyn LinkWatcher> = desk.me.clone();
        desk.shell.peers.watch_links(watcher);
        desk
    }

    /// Who the active controller is may have changed: sessions begin afresh, or end.
    pub fn controller_changed(&self) {
        let Some(node) = self.node.upgrade() else { return };
        let image = node.image();
        let sits = node.controller().is_active() && !is_alone(&image, self.id);
        if self.cell.lock().is_ok_and(|state| sits == state.sessions.is_active()) {
            return;
        }
        let limits = session_limits(&node.broker_config());
        let silent = node.controller().silent_predecessor();
        let now = self.shell.clock.mono();
        let Ok(mut state) = self.cell.lock() else { return };
        if sits == state.sessions.is_active() {
            return;
        }
        state.sessions.configure(limits);
        if sits {
            state.sessions.begin(now, &image, silent);
            state.rebalance_at = rebalance_interval(&node).map(|interval| now + interval);
        } else {
            state.sessions.end();
            state.rebalance_at = None;
        }
        self.arm(&mut state);
        drop(state);
        if sits {
            tracing::debug!("the sessions of all brokers start afresh");
        }
    }

    /// Metadata were applied: `before` is the image that they changed.
    pub fn applied(&self, before: &MetadataImage, committed: &Committed) {
        for record in &committed.records {
            match record {
                Record::RegisterBroker { id, registration } if *id != self.id => {
                    self.shell.peers.set_address(*id, peer_address(registration));
                }
                Record::UnregisterBroker { id, .. } if *id != self.id => {
                    self.shell.peers.set_address(*id, None);
                }
                _ => {}
            }
        }
        self.controller_changed();
        let Some(node) = self.node.upgrade() else { return };
        if node.controller().is_active() {
            report::failures(committed);
            report::elections(before, committed, node.counters());
        }
    }

    /// The image at the start: where everybody is.
    pub fn started(&self, image: &MetadataImage) {
        for (id, registration) in image.brokers().filter(|(id, _)| *id != self.id) {
            self.shell.peers.recall(id, peer_address(registration));
        }
        self.controller_changed();
    }

    fn arm(&self, state: &mut State) {
        let next = state.sessions.next_timeout().into_iter().chain(state.rebalance_at).min();
        if let Some(next) = next
            && state.armed.is_none_or(|armed| next < armed)
        {
            state.armed = Some(next);
            let me: Weak<dyn Timed> = self.me.clone();
            self.shell.control_timers.arm(next, me);
        }
    }

    fn with_sessions<R>(&self, then: impl FnOnce(&mut Sessions) -> R) -> Option<R> {
        let mut state = self.cell.lock().ok()?;
        let result = then(&mut state.sessions);
        self.arm(&mut state);
        Some(result)
    }

    fn register(&self, node: &Arc<Node>, asker: Asker, incarnation: [u8; 16], announced: RegisterBroker) {
        let now = self.shell.clock.mono();
        let id = asker.to;
        let is_alive = self.with_sessions(|sessions| sessions.is_alive(now, id)).unwrap_or(false);
        let registration = Registration { id, incarnation, announced };
        let me = self.me.clone();
        node.controller().submit(
            |controller| controller.plan_register_broker(node.plan_context(), &registration, is_alive),
            move |answer| {
                let Some(me) = me.upgrade() else { return };
                if let Ok(Ok(epoch)) = answer {
                    me.heard(id, epoch, None);
                    tracing::info!(broker = id.0, broker_epoch = epoch.0, "a broker has registered");
                }
                if let Ok(Err(why)) = answer {
                    tracing::warn!(broker = id.0, %why, "a broker's registration is refused");
                }
                me.reply(&asker, body(answer, |broker_epoch| BrokerReplyBody::Registered { broker_epoch }));
            },
        );
    }

    fn heard(&self, id: BrokerId, epoch: BrokerEpoch, heartbeat: Option<&BrokerHeartbeat>) {
        let now = self.shell.clock.mono();
        let applied = heartbeat.map(|heartbeat| heartbeat.metadata_offset).unwrap_or_default();
        self.with_sessions(|sessions| sessions.heard(now, id, epoch, applied));
    }

    fn heartbeat(&self, node: &Arc<Node>, asker: Asker, heartbeat: BrokerHeartbeat) {
        let id = asker.to;
        let is_known = |image: &MetadataImage| {
            image.broker(id).is_some_and(|registration| registration.epoch == heartbeat.broker_epoch)
        };
        if is_known(&node.image()) {
            self.heard(id, heartbeat.broker_epoch, Some(&heartbeat));
        }
        let me = self.me.clone();
        node.controller().submit(
            |controller| controller.plan_heartbeat(node.plan_context(), id, &heartbeat),
            move |answer| {
                let Some(me) = me.upgrade() else { return };
                me.reply(&asker, body(answer, |planned| me.stands(id, &heartbeat, planned)));
            },
        );
    }

    /// What the committed metadata say of a broker (CQ-11), whatever was planned meanwhile.
    fn stands(&self, id: BrokerId, heartbeat: &BrokerHeartbeat, planned: HeartbeatReply) -> BrokerReplyBody {
        let Some(node) = self.node.upgrade() else { return BrokerReplyBody::NotController };
        if !node.controller().is_followed() {
            return BrokerReplyBody::NotController;
        }
        let image = node.image();
        let Some(registration) =
            image.broker(id).filter(|registration| registration.epoch == heartbeat.broker_epoch)
        else {
            return BrokerReplyBody::NotController;
        };
        let is_fenced = registration.state == BrokerState::Fenced;
        let may_stop = heartbeat.wants_shutdown
            && match registration.state {
                BrokerState::Active => false,
                BrokerState::Fenced => true,
                BrokerState::Stopping => self
                    .with_sessions(|sessions| {
                        sessions.stops_behind(id, image.offset());
                        sessions.may_stop(id, &image)
                    })
                    .unwrap_or(false),
            };
        let reply = HeartbeatReply { is_caught_up: planned.is_caught_up, is_fenced, may_stop };
        BrokerReplyBody::Heartbeat(reply)
    }

    fn answer(&self, node: &Arc<Node>, asker: Asker) {
        let me = self.me.clone();
        let id = asker.to;
        match asker.request.body.clone() {
            BrokerRequestBody::Register(announced) => {
                let incarnation = asker.request.incarnation;
                self.register(node, asker, incarnation, announced);
            }
            BrokerRequestBody::Heartbeat(heartbeat) => self.heartbeat(node, asker, heartbeat),
            BrokerRequestBody::AlterPartitions { broker_epoch, items } => node.controller().submit(
                |controller| controller.plan_alter_partitions(node.plan_context(), id, broker_epoch, &items),
                move |answer| {
                    let Some(me) = me.upgrade() else { return };
                    me.reply(&asker, body(answer, BrokerReplyBody::PartitionsAltered));
                },
            ),
            BrokerRequestBody::ReplicaHealth { broker_epoch, items } => node.controller().submit(
                |controller| controller.plan_replica_health(node.plan_context(), id, broker_epoch, &items),
                move |answer| {
                    let Some(me) = me.upgrade() else { return };
                    me.reply(&asker, body(answer, |()| BrokerReplyBody::ReplicaHealthNoted));
                },
            ),
            BrokerRequestBody::AllocateProducerIds { broker_epoch } => node.controller().submit(
                |controller| controller.plan_allocate_producer_ids(id, broker_epoch),
                move |answer| {
                    let Some(me) = me.upgrade() else { return };
                    let ids = |block: highwater_core::metadata::ProducerIdBlock| {
                        BrokerReplyBody::ProducerIds { first: block.first, len: block.len }
                    };
                    me.reply(&asker, body(answer, ids));
                },
            ),
        }
    }

    fn reply(&self, asker: &Asker, body: BrokerReplyBody) {
        // What becomes of a registration is told where it is planned.
        let is_registration = matches!(asker.request.body, BrokerRequestBody::Register(_));
        if let (BrokerReplyBody::Refused(why), false) = (&body, is_registration) {
            tracing::warn!(broker = asker.to.0, %why, "a broker's request is refused; it has to register anew");
        }
        let reply: BrokerReply = asker.request.reply(body);
        let frame = Frame {
            kind: FrameKind::BrokerReply,
            version: BROKER_MESSAGE_VERSION,
            header: reply.encode().into(),
            payload: Vec::new(),
        };
        if let Err(error) = self.shell.peers.send(asker.to, Class::Control, frame) {
            tracing::debug!(broker = asker.to.0, %error, "a broker cannot be answered now");
        }
    }

    fn fence(&self, node: &Arc<Node>, now: Instant) {
        let Ok(mut state) = self.cell.lock() else { return };
        let expired = state.sessions.expired(now);
        drop(state);
        if expired.is_empty() {
            return;
        }
        let silent: Vec<BrokerId> = expired.iter().map(|expired| expired.id).collect();
        let image = node.image();
        let was_stopping =
            move |id| image.broker(id).is_some_and(|broker| broker.state == BrokerState::Stopping);
        node.controller().submit(
            |controller| controller.plan_fence_brokers(node.plan_context(), &silent),
            move |fenced| {
                let Ok(fenced) = fenced else { return };
                for expired in expired.iter().filter(|expired| fenced.contains(&expired.id)) {
                    let broker = expired.id.0;
                    if was_stopping(expired.id) {
                        tracing::info!(broker, "a broker has stopped in good order; it led nothing any more");
                        continue;
                    }
                    let why = match expired.is_refused {
                        true => "its machine refuses connections: the process is gone",
                        false => "nothing was heard of it for too long",
                    };
                    tracing::warn!(
                        broker,
                        silent_ms = expired.silence.as_millis(),
                        why,
                        "a broker is fenced: it leads nothing and is in no ISR until it is back"
                    );
                }
            },
        );
    }

    fn rebalance(&self, node: &Arc<Node>, now: Instant) {
        let interval = rebalance_interval(node);
        let Ok(mut state) = self.cell.lock() else { return };
        if state.rebalance_at.is_none_or(|at| now < at) {
            return;
        }
        state.rebalance_at = interval.map(|interval| now + interval);
        drop(state);
        if interval.is_none() {
            return;
        }
        node.controller().submit(
            |controller| controller.plan_rebalance_leaders(node.plan_context()),
            |moved| {
                if let Ok(moved @ 1..) = moved {
                    tracing::info!(partitions = moved, "preferred leaders lead again");
                }
            },
        );
    }
}

/// The reply for a plan's outcome.
fn body<T, N>(
    answer: Result<Result<T, BrokerRefusal>, N>,
    then: impl FnOnce(T) -> BrokerReplyBody,
) -> BrokerReplyBody {
    match answer {
        Ok(Ok(done)) => then(done),
        Ok(Err(why)) => BrokerReplyBody::Refused(why),
        Err(_) => BrokerReplyBody::NotController,
    }
}

/// After which silence a controller fences a broker.
pub(crate) fn session_limits(config: &BrokerConfig) -> SessionLimits {
    let millis = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let silence_max = millis(config.broker_session_timeout_ms);
    SessionLimits {
        silence_max,
        refused_silence_max: silence_max / REFUSED_SHARE,
        heartbeat_interval: millis(config.broker_heartbeat_interval_ms),
    }
}

/// How often leaders are brought back; `None` for never.
fn rebalance_interval(node: &Node) -> Option<Duration> {
    let config = node.broker_config();
    let seconds = u64::try_from(config.leader_imbalance_check_interval_seconds).unwrap_or(0);
    config.auto_leader_rebalance.then(|| Duration::from_secs(seconds.max(1)))
}

impl FrameHandler for Desk {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        let Some(node) = self.node.upgrade() else { return };
        let request = match BrokerRequest::decode(frame.version, &frame.header) {
            Ok(request) => request,
            Err(error) => {
                return tracing::warn!(broker = from.id.0, %error, "a broker's request is dropped");
            }
        };
        // A request that an older process of that node sent says nothing about this one (CQ-10).
        if request.incarnation != from.incarnation {
            return tracing::warn!(
                broker = from.id.0,
                "a request of another process than the one that sent it is dropped"
            );
        }
        let asker = Asker { to: from.id, request: Arc::new(request) };
        if node.controller().is_active() {
            self.controller_changed();
            self.answer(&node, asker);
        } else {
            self.reply(&asker, BrokerReplyBody::NotController);
        }
    }
}

impl LinkWatcher for Desk {
    fn link(&self, peer: BrokerId, link: LinkEvent) {
        let now = self.shell.clock.mono();
        self.with_sessions(|sessions| match link {
            LinkEvent::Up => sessions.link_up(peer),
            LinkEvent::Reset => sessions.link_reset(now, peer),
            LinkEvent::Refused => sessions.link_refused(peer),
        });
    }
}

impl Timed for Desk {
    fn due(&self, at: Instant) {
        let Some(node) = self.node.upgrade() else { return };
        let now = self.shell.clock.mono();
        if let Ok(mut state) = self.cell.lock()
            && state.armed.is_some_and(|armed| armed <= at)
        {
            state.armed = None;
        }
        if node.controller().is_active() {
            self.fence(&node, now);
            self.rebalance(&node, now);
        } else {
            self.controller_changed();
        }
        if let Ok(mut state) = self.cell.lock() {
            self.arm(&mut state);
        }
    }
}
