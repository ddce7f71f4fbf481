//! Brokers that live, fall silent and stop: who may lead, decided from heartbeats.
//!
//! A broker that is let in leads at once what nobody leads; one that falls silent or stops leaves every ISR, and what
//! it led is led by others, all in one batch: whoever sees that a broker is fenced sees its successors, too.

use super::brokers::counts_on;
use super::changes::BrokersAfter;
use super::{Controller, Plan, PlanContext};
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId};
use crate::metadata::peer::{BrokerHeartbeat, BrokerRefusal, HeartbeatReply};
use crate::metadata::records::{BrokerState, Record};

impl Controller {
    /// Plans what follows from a heartbeat; mostly nothing. `may_stop` of the answer says only that the broker leads
    /// nothing: whether the others know is not for a plan to tell.
    pub fn plan_heartbeat(
        &self,
        context: PlanContext<'_>,
        id: BrokerId,
        heartbeat: &BrokerHeartbeat,
    ) -> Plan<Result<HeartbeatReply, BrokerRefusal>> {
        if let Err(why) = self.check_epoch(id, heartbeat.broker_epoch) {
            return Plan { records: Vec::new(), response: Err(why) };
        }
        let epoch = heartbeat.broker_epoch;
        let state = self.latest.broker(id).map_or(BrokerState::Fenced, |registration| registration.state);
        let is_caught_up = guard!(UnfenceCaughtUp, heartbeat.metadata_offset.0 >= epoch.0);
        let next = match state {
            BrokerState::Active if heartbeat.wants_fence => BrokerState::Fenced,
            BrokerState::Active if heartbeat.wants_shutdown => BrokerState::Stopping,
            BrokerState::Fenced if is_caught_up && !heartbeat.wants_fence && !heartbeat.wants_shutdown => {
                BrokerState::Active
            }
            same => same,
        };
        let records = if next == state { Vec::new() } else { self.records_of(context, id, epoch, next) };
        let reply = HeartbeatReply {
            is_caught_up,
            is_fenced: next == BrokerState::Fenced,
            may_stop: heartbeat.wants_shutdown && next != BrokerState::Active,
        };
        Plan { records, response: Ok(reply) }
    }

    /// Plans that brokers of which nothing is heard any more are fenced; answers which of them were not before.
    pub fn plan_fence_brokers(&self, context: PlanContext<'_>, silent: &[BrokerId]) -> Plan<Vec<BrokerId>> {
        let mut fenced = Vec::new();
        let mut records = Vec::new();
        for id in silent {
            let Some(registration) = self.latest.broker(*id) else { continue };
            if registration.state != BrokerState::Fenced {
                fenced.push(*id);
                let (id, epoch) = (*id, registration.epoch);
                records.push(Record::BrokerChange { id, epoch, state: BrokerState::Fenced });
            }
        }
        records.extend(self.leave(context, &fenced));
        Plan { records, response: fenced }
    }

    /// The records of a broker's new state and of what follows for partitions.
    fn records_of(
        &self,
        context: PlanContext<'_>,
        id: BrokerId,
        epoch: BrokerEpoch,
        state: BrokerState,
    ) -> Vec<Record> {
        let mut records = vec![Record::BrokerChange { id, epoch, state }];
        records.extend(match state {
            BrokerState::Active => self.change_partitions(
                context,
                &BrokersAfter::with(&self.latest, id),
                |state| state.leader.is_none() && state.replicas.contains(&id),
                |change| change,
            ),
            BrokerState::Fenced | BrokerState::Stopping => self.leave(context, &[id]),
        });
        records
    }

    /// What brokers that are active no more leave behind.
    fn leave(&self, context: PlanContext<'_>, gone: &[BrokerId]) -> Vec<Record> {
        self.change_partitions(
            context,
            &BrokersAfter::without(&self.latest, gone),
            |state| gone.iter().any(|id| counts_on(state, *id)),
            |change| change.without_inactive(),
        )
    }
}
