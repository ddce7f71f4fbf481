//! Brokers that register and are forgotten, and blocks of producer ids.
//!
//! A broker is registered by the life of its process: the same incarnation keeps its epoch, another one gets a new
//! epoch and is fenced until it has caught up ([`super::liveness`]). Which of its partitions it may still lead depends
//! on how the life before ended: see [`Lost`].

use super::changes::{BrokersAfter, DRAINED};
use super::election::Lost;
use super::{Controller, Plan, PlanContext};
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId, ProducerId};
use crate::metadata::image::MetadataImage;
use crate::metadata::peer::{BrokerRefusal, RegisterBroker};
use crate::metadata::records::{BrokerRegistration, BrokerState, ConfigResource, PartitionState, Record, at};
use crate::registration::remembered_by;
use std::collections::BTreeSet;

/// How many producer ids a broker takes at a time, as in Kafka (KIP-730).
const PRODUCER_ID_BLOCK: i64 = 1000;

/// The most listeners of a broker.
const ENDPOINTS_MAX: usize = 100;

/// A data directory that was made before there were directory ids.
const NO_DIRECTORY: [u8; 16] = [0; 16];

/// A broker's process announces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Which broker.
    pub id: BrokerId,
    /// Drawn anew by every process.
    pub incarnation: [u8; 16],
    /// What it says of itself.
    pub announced: RegisterBroker,
}

/// Producer ids that no other broker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first of them.
    pub first: ProducerId,
    /// How many.
    pub len: i64,
}

impl Registration {
    fn record(&self, epoch: BrokerEpoch, state: BrokerState) -> Record {
        let announced = &self.announced;
        let registration = BrokerRegistration {
            incarnation: self.incarnation,
            epoch,
            endpoints: announced.endpoints.clone(),
            rack: announced.rack.clone(),
            state,
            directory_id: announced.directory_id,
            features: announced.features.clone(),
        };
        Record::RegisterBroker { id: self.id, registration }
    }

    fn is_sound(&self) -> bool {
        let endpoints = &self.announced.endpoints;
        let mut names = BTreeSet::new();
        self.id.0 >= 0
            && endpoints.len() <= ENDPOINTS_MAX
            && endpoints.iter().all(|endpoint| {
                !endpoint.listener.is_empty() && names.insert(endpoint.listener.to_ascii_uppercase())
            })
    }

    /// What the processes before this one may have left behind incomplete. A registration that was never let in is passed
    /// over: the answer to it may have been lost, and what the broker held before is what it was counted on for.
    fn lost(&self, latest: &MetadataImage) -> Option<Lost> {
        let (before, served) = (latest.broker(self.id)?, latest.served_epoch(self.id)?);
        let is_other_directory =
            before.directory_id != NO_DIRECTORY && before.directory_id != self.announced.directory_id;
        let is_complete = |since: BrokerEpoch| (served..=before.epoch).contains(&since);
        let was_clean = self.announced.clean_stop_of.is_some_and(is_complete) && !is_other_directory;
        if guard!(UncleanRestartLeaves, was_clean) {
            return None;
        }
        Some(Lost { broker: self.id, is_everything: is_other_directory })
    }
}

impl Controller {
    /// Plans the cluster's first records: its id, and the levels of features that it begins with. Levels of a cluster that
    /// is there are its operator's: a new release that is elected in the middle of an upgrade leaves them as they are.
    pub fn plan_cluster(&self, id: &str, features: &[(&str, i16)]) -> Plan<()> {
        if self.latest.cluster_id().is_some() {
            return Plan { records: Vec::new(), response: () };
        }
        let level = |(name, level): &(&str, i16)| Record::Feature { name: (*name).to_owned(), level: *level };
        let first = std::iter::once(Record::Cluster { id: id.to_owned() });
        Plan { records: first.chain(features.iter().map(level)).collect(), response: () }
    }

    /// Plans a broker's registration; answers its epoch. `is_alive` says whether something was heard lately of the
    /// process that is registered under this id.
    pub fn plan_register_broker(
        &self,
        context: PlanContext<'_>,
        registration: &Registration,
        is_alive: bool,
    ) -> Plan<Result<BrokerEpoch, BrokerRefusal>> {
        let id = registration.id;
        let refuse = |why| Plan { records: Vec::new(), response: Err(why) };
        if !registration.is_sound() {
            return refuse(BrokerRefusal::InvalidRegistration);
        }
        if !self.serves_finalized_features(registration) {
            return refuse(BrokerRefusal::UnsupportedVersion);
        }
        let Some(before) = self.latest.broker(id) else {
            let epoch = self.next_broker_epoch();
            return Plan {
                records: vec![registration.record(epoch, BrokerState::Fenced)],
                response: Ok(epoch),
            };
        };
        if guard!(RegistrationIncarnation, before.incarnation == registration.incarnation) {
            let record = registration.record(before.epoch, before.state);
            let is_same =
                matches!(&record, Record::RegisterBroker { registration, .. } if *registration == **before);
            let records = if is_same { Vec::new() } else { vec![record] };
            return Plan { records, response: Ok(before.epoch) };
        }
        // One process at a time holds a directory, so a process of the same directory proves that the one before it
        // is gone, however lately it was heard of.
        let is_same_directory = before.directory_id == registration.announced.directory_id;
        let is_held = is_alive && before.is_active() && !is_same_directory;
        if !guard!(RegistrationNotDuplicate, !is_held) {
            return refuse(BrokerRefusal::DuplicateRegistration);
        }
        let is_late = is_alive && is_same_directory && self.is_late(registration, before);
        if !guard!(RegistrationNotLate, !is_late) {
            return refuse(BrokerRefusal::DuplicateRegistration);
        }
        let epoch = self.next_broker_epoch();
        let mut records = vec![registration.record(epoch, BrokerState::Fenced)];
        let lost = registration.lost(&self.latest);
        records.extend(self.change_partitions(
            context,
            &BrokersAfter::without(&self.latest, &[id]),
            |state| counts_on(state, id),
            |change| {
                let change = change.without_inactive();
                match lost {
                    Some(lost) => change.lost(lost),
                    None => change,
                }
            },
        ));
        Plan { records, response: Ok(epoch) }
    }

    /// Whether a request may have been long on its way: it is of a process that ended before the registered one began, which
    /// would count as gone, and as one that lost something. A directory that is older than it should be looks the same, as
    /// the registration could not be remembered there, or the machine died twice, or somebody restored a copy of it. So the
    /// registered process is believed only for as long as it is heard.
    fn is_late(&self, registration: &Registration, before: &BrokerRegistration) -> bool {
        let known = remembered_by(&registration.incarnation);
        let is_older = known.is_some_and(|known| Some(known) < self.latest.served_epoch(registration.id));
        before.is_active() && is_older
    }

    /// Plans the registration of the only node of a cluster; answers its epoch. It is active at once: it is its own
    /// controller, and there is nothing to catch up with.
    pub fn plan_register_only_broker(&self, registration: &Registration) -> Plan<BrokerEpoch> {
        let id = registration.id;
        let epoch = self.next_broker_epoch();
        let mut records = vec![
            registration.record(epoch, BrokerState::Fenced),
            Record::BrokerChange { id, epoch, state: BrokerState::Active },
        ];
        let is_unclean_restart = self.latest.broker(id).is_some_and(|before| {
            before.incarnation != registration.incarnation && registration.lost(&self.latest).is_some()
        });
        records.extend(self.elections_of(id, is_unclean_restart));
        Plan { records, response: epoch }
    }

    /// Whether this node is the only one that the cluster knows.
    pub fn is_only_broker(&self, id: BrokerId) -> bool {
        self.latest.brokers().all(|(known, _)| known == id)
    }

    /// Plans that a broker is forgotten (KIP-631). Its replicas stay assigned to its id.
    pub fn plan_unregister_broker(
        &self,
        context: PlanContext<'_>,
        id: BrokerId,
    ) -> Plan<Result<(), BrokerRefusal>> {
        let Some(registration) = self.latest.broker(id) else {
            return Plan { records: Vec::new(), response: Err(BrokerRefusal::NotRegistered) };
        };
        let lost = Lost { broker: id, is_everything: true };
        let mut records = self.change_partitions(
            context,
            &BrokersAfter::without(&self.latest, &[id]),
            |state| counts_on(state, id),
            |change| change.without_inactive().lost(lost),
        );
        let resource = ConfigResource::Broker(id);
        if self.latest.config(&resource).contains_key(DRAINED) {
            records.push(Record::Config { resource, name: DRAINED.to_owned(), value: None });
        }
        records.push(Record::UnregisterBroker { id, epoch: registration.epoch });
        Plan { records, response: Ok(()) }
    }

    /// Plans a block of producer ids for a broker.
    pub fn plan_allocate_producer_ids(
        &self,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Plan<Result<ProducerIdBlock, BrokerRefusal>> {
        let first = self.latest.next_producer_id();
        match self.check_epoch(id, epoch) {
            Ok(()) if first.0 <= i64::MAX - PRODUCER_ID_BLOCK => {
                let records = vec![Record::ProducerIds { next: ProducerId(first.0 + PRODUCER_ID_BLOCK) }];
                Plan { records, response: Ok(ProducerIdBlock { first, len: PRODUCER_ID_BLOCK }) }
            }
            Ok(()) => Plan { records: Vec::new(), response: Err(BrokerRefusal::NoProducerIds) },
            Err(why) => Plan { records: Vec::new(), response: Err(why) },
        }
    }

    /// Whether a request comes from the registered life of a broker (KIP-380).
    pub(super) fn check_epoch(&self, id: BrokerId, epoch: BrokerEpoch) -> Result<(), BrokerRefusal> {
        let Some(registration) = self.latest.broker(id) else {
            return Err(BrokerRefusal::NotRegistered);
        };
        if guard!(ControllerBrokerEpoch, registration.epoch == epoch) {
            Ok(())
        } else {
            Err(BrokerRefusal::StaleBrokerEpoch)
        }
    }

    /// The end of the log behind the registration: a number that no registration before can have, and whoever has
    /// applied the log up to it has applied the registration.
    fn next_broker_epoch(&self) -> BrokerEpoch {
        BrokerEpoch(self.latest.offset().0 + 1)
    }

    fn serves_finalized_features(&self, registration: &Registration) -> bool {
        let serves = |name: &str, level: i16| {
            let mut ranges = registration.announced.features.iter();
            ranges.any(|range| range.name == name && (range.min..=range.max).contains(&level))
        };
        self.latest.features().all(|(name, level)| serves(name, level))
    }

    /// Elections that the only broker wins: of partitions without a leader, and, if it may have lost what it had not
    /// flushed, of those that it leads: from the new epoch clients notice what is gone (KIP-320).
    fn elections_of(&self, id: BrokerId, is_unclean_restart: bool) -> impl Iterator<Item = Record> {
        let wins = move |state: &PartitionState| match state.leader {
            Some(leader) => leader == id && is_unclean_restart,
            None => state.isr.contains(&id) || state.elr.contains(&id),
        };
        let elected = move |state: &PartitionState| {
            let mut after = state.elect(id);
            if !after.isr.contains(&id) {
                after.isr.push(id);
                after.elr.clear();
            }
            after.last_leader = None;
            after
        };
        self.latest.topics().flat_map(move |topic| {
            topic.partitions.iter().filter(move |(_, state)| wins(state)).map(move |(index, state)| {
                Record::PartitionChange { partition: at(topic.id, index.0), state: elected(state) }
            })
        })
    }
}

/// Whether a partition has this broker in ISR or ELR, or as its leader.
pub(super) fn counts_on(state: &PartitionState, id: BrokerId) -> bool {
    state.leader == Some(id) || state.isr.contains(&id) || state.elr.contains(&id)
}
