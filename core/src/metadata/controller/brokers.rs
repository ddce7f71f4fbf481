//! Brokers that come and go, and blocks of producer ids.

use super::{Controller, Plan};
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId, ProducerId};
use crate::metadata::peer::RegisterBroker;
use crate::metadata::records::{BrokerRegistration, BrokerState, Record, at};
use highwater_protocol::ErrorCode;

/// How many producer ids a broker takes at a time, as in Kafka (KIP-730).
const PRODUCER_ID_BLOCK: i64 = 1000;

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

impl Controller {
    /// Plans the cluster's first record.
    pub fn plan_cluster(&self, id: &str) -> Plan<()> {
        let new = self.latest.cluster_id().is_none();
        Plan {
            records: new.then(|| Record::Cluster { id: id.to_owned() }).into_iter().collect(),
            response: (),
        }
    }

    /// Plans a broker's registration; answers its epoch. The broker is active at once: with one voter, and that the
    /// broker itself, there is nothing to catch up with first.
    pub fn plan_register_broker(&self, registration: &Registration) -> Plan<BrokerEpoch> {
        let Registration { id, announced, .. } = registration;
        let id = *id;
        // The end of the log is a number that no registration before can have.
        let epoch = BrokerEpoch(self.latest.offset().0 + 1);
        let mut records = vec![
            Record::RegisterBroker {
                id,
                registration: BrokerRegistration {
                    incarnation: registration.incarnation,
                    epoch,
                    endpoints: announced.endpoints.clone(),
                    rack: announced.rack.clone(),
                    state: BrokerState::Fenced,
                    directory_id: announced.directory_id,
                    features: announced.features.clone(),
                },
            },
            Record::BrokerChange { id, epoch, state: BrokerState::Active },
        ];
        // What an unclean stop has lost, clients notice from a new leader epoch (KIP-320).
        let is_unclean_restart = self.latest.broker(id).is_some_and(|before| {
            before.incarnation != registration.incarnation && announced.clean_stop_of != Some(before.epoch)
        });
        if is_unclean_restart {
            records.extend(self.elections_of(id));
        }
        Plan { records, response: epoch }
    }

    /// Plans that a broker leads no more because it stops.
    pub fn plan_stop_broker(&self, id: BrokerId, epoch: BrokerEpoch) -> Plan<Result<(), ErrorCode>> {
        match self.check_epoch(id, epoch) {
            Ok(()) => {
                let records = vec![Record::BrokerChange { id, epoch, state: BrokerState::Stopping }];
                Plan { records, response: Ok(()) }
            }
            Err(code) => Plan { records: Vec::new(), response: Err(code) },
        }
    }

    /// Plans a block of producer ids for a broker.
    pub fn plan_allocate_producer_ids(
        &self,
        id: BrokerId,
        epoch: BrokerEpoch,
    ) -> Plan<Result<ProducerIdBlock, ErrorCode>> {
        let first = self.latest.next_producer_id();
        match self.check_epoch(id, epoch) {
            Ok(()) if first.0 <= i64::MAX - PRODUCER_ID_BLOCK => {
                let records = vec![Record::ProducerIds { next: ProducerId(first.0 + PRODUCER_ID_BLOCK) }];
                Plan { records, response: Ok(ProducerIdBlock { first, len: PRODUCER_ID_BLOCK }) }
            }
            Ok(()) => Plan { records: Vec::new(), response: Err(ErrorCode::UnknownServerError) },
            Err(code) => Plan { records: Vec::new(), response: Err(code) },
        }
    }

    /// Plans the finalized level of a feature; no records if it has it.
    pub fn plan_feature(&self, name: &str, level: i16) -> Plan<()> {
        let same = self.latest.features().any(|(known, at)| known == name && at == level);
        let records = if same { Vec::new() } else { vec![Record::Feature { name: name.to_owned(), level }] };
        Plan { records, response: () }
    }

    fn check_epoch(&self, id: BrokerId, epoch: BrokerEpoch) -> Result<(), ErrorCode> {
        let Some(registration) = self.latest.broker(id) else {
            return Err(ErrorCode::BrokerIdNotRegistered);
        };
        if guard!(ControllerBrokerEpoch, registration.epoch == epoch) {
            Ok(())
        } else {
            Err(ErrorCode::StaleBrokerEpoch)
        }
    }

    /// A new election, which the same broker wins, of each partition that it leads.
    fn elections_of(&self, leader: BrokerId) -> impl Iterator<Item = Record> {
        self.latest.topics().flat_map(move |topic| {
            topic.partitions.iter().filter(move |(_, state)| state.leader == Some(leader)).map(
                move |(index, state)| Record::PartitionChange {
                    partition: at(topic.id, index.0),
                    state: state.elect(leader),
                },
            )
        })
    }
}
