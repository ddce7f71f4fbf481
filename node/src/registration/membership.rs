//! The broker's side: this process as a member of the cluster.

use super::is_alone;
use crate::cell::CellLock;
use crate::log::DataDir;
use crate::node::Node;
use crate::partition::Shell;
use crate::peers::FrameHandler;
use crate::replication::{IsrChannel, IsrOutcome};
use crate::timers::Timed;
use highwater_core::ids::{BrokerEpoch, BrokerId, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::metadata::MetadataImage;
use highwater_core::metadata::peer::{
    AlterPartition, AlterPartitionRefusal, AlteredPartition, BROKER_MESSAGE_VERSION, BrokerReply,
    RegisterBroker,
};
use highwater_core::registration::{BrokerLifecycle, Effect, Input, LifecycleConfig, Standing};
use highwater_core::time::Instant;
use highwater_core::transport::{Class, Frame, FrameKind, PeerIdentity};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// No epoch yet.
const UNREGISTERED: i64 = -1;

/// How a process begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The node's id.
    pub id: BrokerId,
    /// Drawn for this process.
    pub incarnation: [u8; 16],
    /// What it says of itself.
    pub announced: RegisterBroker,
    /// How often it speaks.
    pub config: LifecycleConfig,
    /// Its epoch, if it is the cluster's only node and has registered itself.
    pub epoch: Option<BrokerEpoch>,
    /// Whether it is a broker at all: if not, it never registers.
    pub is_member: bool,
}

struct State {
    machine: BrokerLifecycle,
    out: Outbox<Effect>,
    /// Whether it speaks to a controller: not while it is alone.
    is_driven: bool,
    armed: Option<Instant>,
}

/// This process as a member of the cluster.
pub struct Membership {
    id: BrokerId,
    is_member: bool,
    me: Weak<Self>,
    shell: Arc<Shell>,
    node: Weak<Node>,
    cell: CellLock<State>,
    epoch: AtomicI64,
    standing: watch::Sender<Standing>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("id", &self.id).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Membership {
    /// A process that has just begun. It is silent until it is told of a controller.
    pub fn new(beginning: Beginning, shell: Arc<Shell>, node: Weak<Node>) -> Arc<Self> {
        let Beginning { id, incarnation, announced, config, epoch, is_member } = beginning;
        let machine = match epoch {
            Some(epoch) => BrokerLifecycle::registered(incarnation, announced, config, epoch),
            None => BrokerLifecycle::new(incarnation, announced, config),
        };
        let standing = watch::Sender::new(machine.standing());
        let state = State { machine, out: Outbox::new(), is_driven: epoch.is_none(), armed: None };
        let membership = Arc::new_cyclic(|me: &Weak<Self>| Self {
            id,
            is_member,
            me: me.clone(),
            shell,
            node,
            cell: CellLock::new(state),
            epoch: AtomicI64::new(epoch.map_or(UNREGISTERED, |epoch| epoch.0)),
            standing,
        });
        let handler: Weak<dyn FrameHandler> = membership.me.clone();
        membership.shell.peers.handle(FrameKind::BrokerReply, handler);
        membership
    }

    /// The epoch of this process's registration; `None` before there is one.
    pub fn epoch(&self) -> Option<BrokerEpoch> {
        Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch != UNREGISTERED).map(BrokerEpoch)
    }

    /// Where this process stands with the controller.
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Whether nobody can have been elected in this broker's place because it was silent.
    pub fn holds_lease(&self) -> bool {
        let now = self.shell.clock.mono();
        self.cell.lock().is_ok_and(|state| state.machine.holds_lease(now))
    }

    /// Follows where this process stands.
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Who the active controller is may have changed.
    pub fn controller_changed(&self) {
        let Some(node) = self.node.upgrade() else { return };
        let controller = node.controller().active_controller();
        self.drive(|state| state.is_driven, Input::Controller(controller));
    }

    /// The metadata are applied as far as this image goes.
    pub fn applied(&self, image: &MetadataImage) {
        let is_alone = is_alone(image, self.id);
        let offset = image.offset();
        // Before it may be let in: it is not to be elected where its log failed.
        self.drive(|_| true, Input::TakesHealth(image.takes_replica_health()));
        // From the first other broker on this one speaks, too.
        self.drive(
            |state| {
                state.is_driven |= !is_alone;
                true
            },
            Input::Applied(offset),
        );
        self.controller_changed();
    }

    /// From now on leaders' ISR changes go to the controller through here.
    pub(crate) fn carry_isr_changes(&self) {
        self.shell.replication.set_isr_channel(self.me.clone());
    }

    /// Producer ids run short.
    pub fn want_producer_ids(&self) {
        self.drive(|_| true, Input::WantProducerIds);
    }

    /// The log of a replica here has failed: somebody else is to lead it, and to count it out.
    pub fn log_failed(&self, partition: TopicPartition) {
        self.drive(|_| true, Input::Health { partition, is_failed: true });
    }

    /// A replica whose log failed was made anew: once it has caught up it may be in the ISR.
    pub fn log_mended(&self, partition: TopicPartition) {
        self.drive(|_| true, Input::Health { partition, is_failed: false });
    }

    /// A replica is here no more.
    pub fn replica_removed(&self, partition: TopicPartition) {
        self.drive(|_| true, Input::Removed(partition));
    }

    /// Leaves the cluster in good order: others lead what this broker led, or the time is up.
    pub async fn leave(&self, limit: Duration) {
        let is_driven = self.cell.lock().is_ok_and(|state| state.is_driven);
        if !is_driven || !self.is_member {
            return;
        }
        let mut standing = self.subscribe();
        self.drive(|_| true, Input::Shutdown);
        let is_over = |standing: &Standing| matches!(standing, Standing::Stopped | Standing::Unregistered);
        let left = tokio::time::timeout(limit, standing.wait_for(is_over)).await.is_ok();
        if !left {
            tracing::warn!(
                limit_ms = limit.as_millis(),
                "leadership was not handed over in time; the node stops nevertheless, and is fenced once it is silent"
            );
        }
    }

    /// Hands an input to the machine if `wants` says so, and carries out what follows.
    fn drive(&self, wants: impl FnOnce(&mut State) -> bool, input: Input) {
        if !self.is_member {
            return;
        }
        let now = self.shell.clock.now();
        let Ok(mut held) = self.cell.lock() else { return };
        let state = &mut *held;
        if !wants(state) {
            return;
        }
        state.machine.handle(now, input, &mut state.out);
        let effects: Vec<Effect> = state.out.drain().collect();
        self.arm(state);
        drop(held);
        self.finish(effects);
    }

    fn arm(&self, state: &mut State) {
        let next = state.machine.next_timeout();
        if let Some(next) = next
            && state.armed.is_none_or(|armed| next < armed)
        {
            state.armed = Some(next);
            let me: Weak<dyn Timed> = self.me.clone();
            self.shell.control_timers.arm(next, me);
        }
    }

    /// Carries effects out, without the lock.
    fn finish(&self, effects: Vec<Effect>) {
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Send { to, request } => {
                let frame = Frame {
                    kind: FrameKind::BrokerRequest,
                    version: BROKER_MESSAGE_VERSION,
                    header: request.encode().into(),
                    payload: Vec::new(),
                };
                // What is lost is asked for again.
                if let Err(error) = self.shell.peers.send(to, Class::Control, frame) {
                    tracing::debug!(controller = to.0, %error, "the controller cannot be asked now");
                }
            }
            Effect::Registered(epoch) => self.registered(epoch),
            Effect::Standing(standing) => self.stands(standing),
            Effect::IsrAnswered { item, result } => self.isr_answered(item, result),
            Effect::ProducerIds(block) => {
                if let Some(node) = self.node.upgrade() {
                    node.producer_ids().fill(block);
                }
            }
            Effect::MayStop => tracing::info!("this broker leads nothing any more"),
        }
    }

    fn registered(&self, epoch: BrokerEpoch) {
        self.epoch.store(epoch.0, Ordering::Release);
        tracing::info!(broker_epoch = epoch.0, "registered with the controller");
        self.shell.replication.registered();
        let Some(node) = self.node.upgrade() else { return };
        let me = self.me.clone();
        self.shell.jobs.submit(move || {
            remember(node.data_dir(), epoch);
            if let Some(me) = me.upgrade() {
                me.drive(|_| true, Input::Remembered(epoch));
            }
            node.refill_producer_ids();
        });
    }

    fn stands(&self, standing: Standing) {
        match standing {
            Standing::Starting => {
                tracing::warn!("the controller knows another registration of this broker: registering again");
            }
            Standing::Refused(why) => {
                tracing::error!(%why, "the controller refuses to register this broker; it is tried again");
            }
            Standing::Fenced => tracing::info!(
                "this broker is fenced: it leads nothing until it has caught up with the metadata"
            ),
            Standing::Active => {
                tracing::info!("this broker is let in: it may lead and be in sync");
                self.shell.replication.registered();
            }
            Standing::Stopping => tracing::info!("handing over what this broker leads"),
            Standing::Stopped => {}
            Standing::Unregistered => tracing::error!(
                "an operator has taken this broker out of the cluster: it leads nothing more, and joins again only if it is started again"
            ),
        }
        self.standing.send_replace(standing);
    }

    fn isr_answered(&self, item: AlterPartition, result: Result<AlteredPartition, AlterPartitionRefusal>) {
        let outcome = IsrOutcome {
            partition: item.partition,
            leader_epoch: item.leader_epoch,
            proposed_at: item.partition_epoch,
            proposed: item.isr,
            result,
        };
        self.shell.replication.isr_answered(vec![outcome]);
    }
}

/// Lets the next process on this disk know of a registration. Returns once that is on the device, or cannot be.
pub(crate) fn remember(data_dir: &DataDir, epoch: BrokerEpoch) {
    if let Err(error) = data_dir.recovery_points().remember_broker_epoch(epoch) {
        tracing::warn!(%error, "a stop of this process will count as unclean");
    }
}

impl IsrChannel for Membership {
    fn alter_partitions(&self, items: Vec<AlterPartition>) {
        for item in items {
            self.drive(|_| true, Input::Alter(item));
        }
    }
}

impl Timed for Membership {
    fn due(&self, at: Instant) {
        let now = self.shell.clock.now();
        let Ok(mut held) = self.cell.lock() else { return };
        let state = &mut *held;
        if state.armed.is_some_and(|armed| armed <= at) {
            state.armed = None;
        }
        if state.machine.next_timeout().is_some_and(|next| next <= now.mono) {
            state.machine.handle_timeout(now, &mut state.out);
        }
        let effects: Vec<Effect> = state.out.drain().collect();
        self.arm(state);
        drop(held);
        self.finish(effects);
    }
}

impl FrameHandler for Membership {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        match BrokerReply::decode(frame.version, &frame.header) {
            Ok(reply) => self.drive(|_| true, Input::Reply(reply)),
            Err(error) => tracing::warn!(from = from.id.0, %error, "a reply of the controller is dropped"),
        }
    }
}
