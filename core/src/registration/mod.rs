//! A broker's life as the controller is to see it: registered, heard of, let in, and let go in good order.
//!
//! One machine for each process. It decides when to speak to which controller and what an answer means; it reads no
//! metadata itself and sends nothing. Everything it asks for may be lost: it asks again, and an answer is taken only if
//! it is to this process (CQ-10) and to a request that still waits.
//!
//! ```text
//!            Registered            heartbeat: not fenced          wants shutdown
//!  Starting ───────────▶ Fenced ◀──────────────────────▶ Active ───────────────▶ Stopping ──▶ Stopped
//!     ▲                     │   heartbeat: fenced           │
//!     └─────────────────────┴─ stale epoch: register again ─┘         not registered ──▶ Unregistered
//! ```
//!
//! What its partitions want of the controller goes through here, too: changes of the ISR, batched, one batch out at a
//! time, and blocks of producer ids; and that a log failed, until the controller confirms that it knows.

mod asks;
mod incarnation;
mod lease;

use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId, Offset, TopicPartition};
use crate::machine::{Machine, Outbox};
use crate::metadata::ProducerIdBlock;
use crate::metadata::peer::{
    AlterPartition, AlterPartitionRefusal, AlteredPartition, BrokerHeartbeat, BrokerRefusal, BrokerReply,
    BrokerReplyBody, BrokerRequest, BrokerRequestBody, HeartbeatReply, RegisterBroker,
};
use crate::time::{Instant, Now};
use asks::{Alterations, HealthReports, Wanted};
use lease::Lease;

pub use incarnation::{incarnation, remembered_by};
use std::time::Duration;

/// How often and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleConfig {
    /// `broker.heartbeat.interval.ms`
    pub heartbeat_interval: Duration,
    /// How long an answer is waited for before a request is made again.
    pub request_timeout: Duration,
    /// The pause after a refusal.
    pub retry_pause: Duration,
    /// How long a heartbeat that is answered well makes sure that nobody else leads in this broker's place. No longer than
    /// the shortest time after which a controller fences a broker that it heard.
    pub lease: Duration,
}

impl Default for LifecycleConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(300),
            request_timeout: Duration::from_millis(1000),
            retry_pause: Duration::from_millis(100),
            lease: Duration::from_millis(600),
        }
    }
}

/// Everything that happens to a broker's registration.
#[derive(Debug)]
pub enum Input {
    /// The active controller is this node, or none is known.
    Controller(Option<BrokerId>),
    /// The controller answered.
    Reply(BrokerReply),
    /// The metadata are applied up to there.
    Applied(Offset),
    /// Answers [`Effect::Registered`]: the next process on this disk will know that this one held that epoch. Also said
    /// where it could not be written; then a stop of this process counts as unclean.
    Remembered(BrokerEpoch),
    /// A partition's leader wants another ISR. A newer wish takes the place of an older one.
    Alter(AlterPartition),
    /// A replica's log failed, or was made anew after that.
    Health {
        /// Of which partition.
        partition: TopicPartition,
        /// Which of the two.
        is_failed: bool,
    },
    /// A replica of which that was said is here no more.
    Removed(TopicPartition),
    /// Whether the metadata may say that a replica's log failed: until then no controller is told, for one of a release
    /// before could not read it. It may begin with `false`, which is what counts before anything is said.
    TakesHealth(bool),
    /// Producer ids run short.
    WantProducerIds,
    /// The broker is to stop, and to lead nothing before.
    Shutdown,
}

/// Everything that it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a request to the active controller.
    Send {
        /// Who that is.
        to: BrokerId,
        /// The request.
        request: BrokerRequest,
    },
    /// The broker is registered under this epoch, which its requests carry from now on. It is to be remembered on the disk:
    /// the broker asks to be let in only once [`Input::Remembered`] says that it is.
    Registered(BrokerEpoch),
    /// Tell operators: where the broker stands.
    Standing(Standing),
    /// The controller has decided about a partition's ISR.
    IsrAnswered {
        /// What was wanted.
        item: AlterPartition,
        /// What is committed now, or why nothing was done.
        result: Result<AlteredPartition, AlterPartitionRefusal>,
    },
    /// Producer ids, or none for now.
    ProducerIds(Option<ProducerIdBlock>),
    /// The broker leads nothing any more: the process may go.
    MayStop,
}

/// Where a broker stands with the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not registered yet.
    Starting,
    /// The controller refuses to register it for now.
    Refused(BrokerRefusal),
    /// Registered, and leads nothing: it has to catch up with the metadata, or was silent for too long.
    Fenced,
    /// It may lead and be in an ISR.
    Active,
    /// It hands over what it leads.
    Stopping,
    /// It leads nothing and may go.
    Stopped,
    /// An operator has taken it out of the cluster. Only a new process joins again.
    Unregistered,
}

/// See the [module](self).
#[derive(Debug)]
pub struct BrokerLifecycle {
    incarnation: [u8; 16],
    announced: RegisterBroker,
    config: LifecycleConfig,
    controller: Option<BrokerId>,
    applied: Offset,
    standing: Standing,
    epoch: Option<BrokerEpoch>,
    /// The epoch that the next process will know of.
    remembered: Option<BrokerEpoch>,
    wants_shutdown: bool,
    correlation: u64,
    /// The registration that waits for its answer.
    registering: Option<u64>,
    /// Heartbeats behind the first and up to the second may be answered.
    heartbeats: (u64, u64),
    /// When a registration or a heartbeat is due.
    speak_at: Option<Instant>,
    lease: Lease,
    alterations: Alterations,
    health: HealthReports,
    producer_ids: Wanted,
}

impl BrokerLifecycle {
    /// The life of a process that has just begun.
    pub fn new(incarnation: [u8; 16], announced: RegisterBroker, config: LifecycleConfig) -> Self {
        Self {
            incarnation,
            announced,
            config,
            controller: None,
            applied: Offset::ZERO,
            standing: Standing::Starting,
            epoch: None,
            remembered: None,
            wants_shutdown: false,
            correlation: 0,
            registering: None,
            heartbeats: (0, 0),
            speak_at: None,
            lease: Lease::none(config.lease),
            alterations: Alterations::default(),
            health: HealthReports::default(),
            producer_ids: Wanted::default(),
        }
    }

    /// The same for the only node of a cluster, which registered itself and remembered that before it started.
    pub fn registered(
        incarnation: [u8; 16],
        announced: RegisterBroker,
        config: LifecycleConfig,
        epoch: BrokerEpoch,
    ) -> Self {
        Self {
            epoch: Some(epoch),
            remembered: Some(epoch),
            standing: Standing::Active,
            lease: Lease::of_the_only_broker(config.lease),
            ..Self::new(incarnation, announced, config)
        }
    }

    /// Where the broker stands.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// The epoch of its registration.
    pub const fn epoch(&self) -> Option<BrokerEpoch> {
        self.epoch
    }

    /// Whether nobody can have been elected in this broker's place because it was silent. What it tells as a leader
    /// without asking its followers is to be told only then: it may have slept, and others gone on without it (O20, O3).
    /// Nor while it stops: the controller gives what it leads to others, who may have begun before it hears of them.
    pub fn holds_lease(&self, now: Instant) -> bool {
        !self.is_stopping() && self.lease.holds(now)
    }

    fn send(&mut self, body: BrokerRequestBody, out: &mut Outbox<Effect>) -> Option<u64> {
        let to = self.controller?;
        self.correlation += 1;
        let request = BrokerRequest { incarnation: self.incarnation, correlation: self.correlation, body };
        out.push(Effect::Send { to, request });
        Some(self.correlation)
    }

    /// Registers, or says that the broker lives.
    fn speak(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        if matches!(self.standing, Standing::Unregistered | Standing::Stopped) || self.controller.is_none() {
            self.speak_at = None;
            return;
        }
        match self.epoch {
            None => {
                let body = BrokerRequestBody::Register(self.announced.clone());
                self.registering = self.send(body, out);
                self.speak_at = Some(now + self.config.request_timeout);
            }
            Some(broker_epoch) => {
                // Before the heartbeat that may let the broker in: it is not to be elected where its log failed.
                self.tell_health(now, broker_epoch, out);
                let heartbeat = BrokerHeartbeat {
                    broker_epoch,
                    metadata_offset: self.applied,
                    wants_fence: !self.is_remembered(broker_epoch),
                    wants_shutdown: self.wants_shutdown,
                };
                if let Some(sent) = self.send(BrokerRequestBody::Heartbeat(heartbeat), out) {
                    self.heartbeats.1 = sent;
                    self.lease.asked(now, sent);
                }
                self.speak_at = Some(now + self.config.heartbeat_interval);
            }
        }
    }

    /// Whether the next process on this disk will know of this registration. If one that was let in dies before, it counts
    /// as one that stopped uncleanly, although it lost nothing: it would leave ISR and ELR, and who did lose something
    /// may be the last one left (PR-06).
    fn is_remembered(&self, epoch: BrokerEpoch) -> bool {
        guard!(LetInOnceRemembered, self.remembered == Some(epoch))
    }

    fn set_standing(&mut self, standing: Standing, out: &mut Outbox<Effect>) {
        if standing != self.standing {
            self.standing = standing;
            out.push(Effect::Standing(standing));
        }
    }

    fn is_stopping(&self) -> bool {
        self.wants_shutdown || self.standing == Standing::Stopped
    }

    fn controller_is(&mut self, now: Instant, controller: Option<BrokerId>, out: &mut Outbox<Effect>) {
        if controller == self.controller {
            return;
        }
        self.controller = controller;
        // What the one before was asked, this one has not heard.
        self.registering = None;
        self.heartbeats.0 = self.correlation;
        self.alterations.take_back();
        self.health.take_back();
        self.producer_ids.take_back();
        self.speak(now, out);
        self.ask(now, out);
    }

    /// Sends what partitions want, as far as nothing of the kind is out.
    fn ask(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        let Some(broker_epoch) = self.epoch.filter(|_| self.controller.is_some()) else { return };
        let until = now + self.config.request_timeout;
        if let Some(items) = self.alterations.next_batch(now) {
            let body = BrokerRequestBody::AlterPartitions { broker_epoch, items: items.clone() };
            if let Some(sent) = self.send(body, out) {
                self.alterations.sent(sent, items, until);
            }
        }
        self.tell_health(now, broker_epoch, out);
        if self.producer_ids.is_due(now)
            && let Some(sent) = self.send(BrokerRequestBody::AllocateProducerIds { broker_epoch }, out)
        {
            self.producer_ids.sent(sent, until);
        }
    }

    fn tell_health(&mut self, now: Instant, broker_epoch: BrokerEpoch, out: &mut Outbox<Effect>) {
        if let Some(items) = self.health.next_batch(now) {
            let body = BrokerRequestBody::ReplicaHealth { broker_epoch, items: items.clone() };
            if let Some(sent) = self.send(body, out) {
                self.health.sent(sent, items, now + self.config.request_timeout);
            }
        }
    }

    fn replied(&mut self, now: Instant, reply: BrokerReply, out: &mut Outbox<Effect>) {
        if !guard!(ControllerReplyOfThisLife, reply.incarnation == self.incarnation) {
            return;
        }
        let to = reply.correlation;
        let is_heartbeat = self.heartbeats.0 < to && to <= self.heartbeats.1;
        if self.registering == Some(to) {
            self.registration_answered(now, reply.body, out);
        } else if self.alterations.is_out(to) {
            self.alterations_answered(now, reply.body, out);
        } else if self.health.is_out(to) {
            self.health_answered(now, reply.body, out);
        } else if self.producer_ids.is_out(to) {
            self.producer_ids_answered(now, reply.body, out);
        } else if guard!(ControllerReplyExpected, is_heartbeat) {
            self.heartbeat_answered(now, to, reply.body, out);
        }
        self.ask(now, out);
    }

    fn registration_answered(&mut self, now: Instant, body: BrokerReplyBody, out: &mut Outbox<Effect>) {
        self.registering = None;
        self.speak_at = Some(now + self.config.retry_pause);
        match body {
            BrokerReplyBody::Registered { broker_epoch } => {
                self.epoch = Some(broker_epoch);
                out.push(Effect::Registered(broker_epoch));
                self.heartbeats.0 = self.correlation;
                self.health.begin();
                self.set_standing(Standing::Fenced, out);
                self.speak(now, out);
            }
            BrokerReplyBody::Refused(why) => {
                // Another process may hold the id for as long as its session lasts.
                self.speak_at = Some(now + self.config.heartbeat_interval);
                self.set_standing(Standing::Refused(why), out);
            }
            _ => {}
        }
    }

    fn heartbeat_answered(&mut self, now: Instant, to: u64, body: BrokerReplyBody, out: &mut Outbox<Effect>) {
        match body {
            BrokerReplyBody::Heartbeat(reply) => {
                self.heartbeats.0 = self.heartbeats.0.max(to);
                self.lease.answered(to, reply.is_fenced);
                self.stands(now, reply, out);
            }
            BrokerReplyBody::NotController => self.speak_soon(now),
            BrokerReplyBody::Refused(why) => self.epoch_refused(now, why, out),
            _ => {}
        }
    }

    fn stands(&mut self, now: Instant, reply: HeartbeatReply, out: &mut Outbox<Effect>) {
        let standing = match (self.wants_shutdown, reply.is_fenced) {
            (true, _) if reply.may_stop => Standing::Stopped,
            (true, _) => Standing::Stopping,
            (false, true) => Standing::Fenced,
            (false, false) => Standing::Active,
        };
        let is_done = standing == Standing::Stopped && self.standing != Standing::Stopped;
        self.set_standing(standing, out);
        if is_done {
            self.speak_at = None;
            out.push(Effect::MayStop);
        } else if standing == Standing::Stopping {
            self.speak_soon(now);
        }
    }

    /// The controller knows this broker no more as it was.
    fn epoch_refused(&mut self, now: Instant, why: BrokerRefusal, out: &mut Outbox<Effect>) {
        if self.is_stopping() {
            // Whoever leads instead, it is not this process.
            if self.standing != Standing::Stopped {
                self.set_standing(Standing::Stopped, out);
                out.push(Effect::MayStop);
            }
            return;
        }
        match why {
            BrokerRefusal::StaleBrokerEpoch => {
                self.epoch = None;
                self.lease.end();
                // What was asked under that epoch is answered to nobody.
                self.heartbeats.0 = self.correlation;
                self.alterations.take_back();
                self.health.take_back();
                self.producer_ids.take_back();
                self.set_standing(Standing::Starting, out);
                self.speak_soon(now);
            }
            BrokerRefusal::NotRegistered => {
                self.speak_at = None;
                self.lease.end();
                self.set_standing(Standing::Unregistered, out);
            }
            _ => self.speak_soon(now),
        }
    }

    fn alterations_answered(&mut self, now: Instant, body: BrokerReplyBody, out: &mut Outbox<Effect>) {
        match body {
            BrokerReplyBody::PartitionsAltered(results) => {
                let items = self.alterations.answered();
                if results.len() == items.len() {
                    for (item, result) in items.into_iter().zip(results) {
                        out.push(Effect::IsrAnswered { item, result });
                    }
                }
            }
            body => {
                self.alterations.pause(now + self.config.retry_pause);
                if let BrokerReplyBody::Refused(why) = body {
                    self.epoch_refused(now, why, out);
                }
            }
        }
    }

    fn health_answered(&mut self, now: Instant, body: BrokerReplyBody, out: &mut Outbox<Effect>) {
        match body {
            BrokerReplyBody::ReplicaHealthNoted => self.health.confirmed(),
            body => {
                self.health.pause(now + self.config.retry_pause);
                if let BrokerReplyBody::Refused(why) = body {
                    self.epoch_refused(now, why, out);
                }
            }
        }
    }

    fn producer_ids_answered(&mut self, now: Instant, body: BrokerReplyBody, out: &mut Outbox<Effect>) {
        match body {
            BrokerReplyBody::ProducerIds { first, len } if len > 0 => {
                self.producer_ids = Wanted::default();
                out.push(Effect::ProducerIds(Some(ProducerIdBlock { first, len })));
            }
            BrokerReplyBody::Refused(BrokerRefusal::NoProducerIds) => {
                self.producer_ids = Wanted::default();
                out.push(Effect::ProducerIds(None));
            }
            body => {
                self.producer_ids.pause(now + self.config.retry_pause);
                if let BrokerReplyBody::Refused(why) = body {
                    self.epoch_refused(now, why, out);
                }
            }
        }
    }

    fn speak_soon(&mut self, now: Instant) {
        let soon = now + self.config.retry_pause;
        self.speak_at = Some(self.speak_at.map_or(soon, |at| at.min(soon)));
    }

    fn applied(&mut self, now: Instant, offset: Offset, out: &mut Outbox<Effect>) {
        let before = self.applied;
        self.applied = before.max(offset);
        let Some(epoch) = self.epoch else { return };
        // Do not wait for the next heartbeat with the news that lets the broker in.
        let has_caught_up = before.0 < epoch.0 && self.applied.0 >= epoch.0;
        if (self.standing == Standing::Fenced && has_caught_up) || self.standing == Standing::Stopping {
            self.speak(now, out);
        }
    }

    fn remembered(&mut self, now: Instant, epoch: BrokerEpoch, out: &mut Outbox<Effect>) {
        let before = self.remembered;
        self.remembered = before.max(Some(epoch));
        let is_news = before != Some(epoch) && self.epoch == Some(epoch);
        if is_news && self.standing == Standing::Fenced && self.applied.0 >= epoch.0 {
            self.speak(now, out);
        }
    }

    fn shut_down(&mut self, now: Instant, out: &mut Outbox<Effect>) {
        if self.is_stopping() {
            return;
        }
        self.wants_shutdown = true;
        if self.epoch.is_none() || self.standing == Standing::Unregistered {
            self.speak_at = None;
            self.set_standing(Standing::Stopped, out);
            out.push(Effect::MayStop);
        } else {
            self.set_standing(Standing::Stopping, out);
            self.speak(now, out);
        }
    }
}

impl Machine for BrokerLifecycle {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox<Effect>) {
        let now = now.mono;
        match input {
            Input::Controller(controller) => self.controller_is(now, controller, out),
            Input::Reply(reply) => self.replied(now, reply, out),
            Input::Applied(offset) => self.applied(now, offset, out),
            Input::Remembered(epoch) => self.remembered(now, epoch, out),
            Input::Alter(item) => {
                self.alterations.want(item);
                self.ask(now, out);
            }
            Input::Health { partition, is_failed } => {
                self.health.note(partition, is_failed);
                self.ask(now, out);
            }
            Input::Removed(partition) => self.health.forget(partition),
            Input::TakesHealth(is_taken) => {
                self.health.set_taken(is_taken);
                self.ask(now, out);
            }
            Input::WantProducerIds => {
                self.producer_ids.want();
                self.ask(now, out);
            }
            Input::Shutdown => self.shut_down(now, out),
        }
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let now = now.mono;
        if self.speak_at.is_some_and(|at| at <= now) {
            self.speak(now, out);
        }
        self.alterations.give_up(now);
        self.health.give_up(now);
        self.producer_ids.give_up(now);
        self.ask(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        // Without a controller nothing can be sent; its coming is an input.
        self.controller?;
        let asks = self.epoch.and_then(|_| {
            let health = self.health.next_timeout();
            let kinds = [self.alterations.next_timeout(), health, self.producer_ids.next_timeout()];
            kinds.into_iter().flatten().min()
        });
        self.speak_at.into_iter().chain(asks).min()
    }

    fn assert_invariants(&self) {
        assert!(self.heartbeats.0 <= self.correlation && self.heartbeats.1 <= self.correlation);
        let is_in = matches!(self.standing, Standing::Fenced | Standing::Active | Standing::Stopping);
        assert!(!is_in || self.epoch.is_some(), "who stands in the cluster is registered");
        assert!(
            self.controller.is_none()
                || self.speak_at.is_some()
                || matches!(self.standing, Standing::Stopped | Standing::Unregistered),
            "a broker that lives says so"
        );
        self.alterations.assert_invariants();
        self.health.assert_invariants();
    }
}
