//! The records of the metadata log: what the controller decided, in the order decided.
//!
//! A record is one byte of version, then the enum in postcard, whose first bytes are the kind. Variants and fields
//! are only ever added at the end, and old bytes stay readable: the tests keep the bytes of each kind.
//!
//! Version 1 added fields at the end of the records that hold a [`PartitionState`] or a [`BrokerRegistration`].

use crate::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerId, TopicId, TopicPartition,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version that [`Record::encode`] writes.
const VERSION: u8 = 1;

/// One decision of the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// The cluster's identity; the first record of every metadata log.
    Cluster {
        /// 22 characters of base64, as Kafka's.
        id: String,
    },
    /// A new topic, still without partitions.
    Topic {
        /// Its id.
        id: TopicId,
        /// Its name.
        name: String,
    },
    /// A topic ceased to exist, with its partitions and settings.
    RemoveTopic {
        /// Its id.
        id: TopicId,
    },
    /// A new partition.
    Partition {
        /// Which.
        partition: TopicPartition,
        /// Who holds and leads it.
        state: PartitionState,
    },
    /// Leader, ISR or replicas of a partition changed.
    PartitionChange {
        /// Which.
        partition: TopicPartition,
        /// Who holds and leads it from now on.
        state: PartitionState,
    },
    /// A setting was made or, without a value, unmade.
    Config {
        /// Whose.
        resource: ConfigResource,
        /// Which.
        name: String,
        /// To what.
        value: Option<String>,
    },
    /// A client quota was set or, without a value, removed (KIP-546).
    ClientQuota {
        /// Whose.
        entity: QuotaEntity,
        /// Which.
        key: String,
        /// To what.
        value: Option<f64>,
    },
    /// A broker's process announced itself. It is fenced until a `BrokerChange` says otherwise.
    RegisterBroker {
        /// Which broker.
        id: BrokerId,
        /// How it is reached and who it is.
        registration: BrokerRegistration,
    },
    /// A broker was fenced or unfenced, or is about to stop.
    BrokerChange {
        /// Which broker.
        id: BrokerId,
        /// Of which registration; a change of an older one is void.
        epoch: BrokerEpoch,
        /// Whether it may lead and be in an ISR.
        state: BrokerState,
    },
    /// A broker is gone for good.
    UnregisterBroker {
        /// Which broker.
        id: BrokerId,
        /// Of which registration.
        epoch: BrokerEpoch,
    },
    /// All producer ids below are given out.
    ProducerIds {
        /// The next one to give out.
        next: ProducerId,
    },
    /// A feature's finalized level (KIP-584); 0 removes it.
    Feature {
        /// Such as `metadata.version`.
        name: String,
        /// Its level.
        level: i16,
    },
    /// A replica's log failed, or was made anew after it had. It is failed no more, either, once its broker has
    /// another registration or the replica is removed.
    ReplicaHealth {
        /// Of which partition.
        partition: TopicPartition,
        /// On which broker.
        broker: BrokerId,
        /// Of which registration; a change of an older one is void.
        epoch: BrokerEpoch,
        /// Whether it can neither lead nor be in an ISR.
        is_failed: bool,
        /// How often that has changed under the registration: what was said before is void.
        change: u32,
    },
}

/// Who holds and leads a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Who holds a copy, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Whose copies are complete.
    pub isr: Vec<BrokerId>,
    /// Who left the ISR while it was below `min.insync.replicas` and may lead nevertheless (KIP-966).
    pub elr: Vec<BrokerId>,
    /// Who leads; `None` while nobody can.
    pub leader: Option<BrokerId>,
    /// Rises with every election.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change.
    pub partition_epoch: PartitionEpoch,
    /// Replicas that a reassignment adds and that are not in sync yet (KIP-455). They are in `replicas`, too.
    pub adding: Vec<BrokerId>,
    /// Replicas that go once the reassignment is complete. They are in `replicas`, too.
    pub removing: Vec<BrokerId>,
    /// Who led last, while nobody leads: the first to be asked when nobody is known to be complete (KIP-966).
    pub last_leader: Option<BrokerId>,
}

/// How a broker is reached and who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// Drawn anew by every process (KIP-380).
    pub incarnation: [u8; 16],
    /// Drawn by the controller, rising.
    pub epoch: BrokerEpoch,
    /// One for each listener that clients may use.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// Whether it may lead and be in an ISR.
    pub state: BrokerState,
    /// Its data directory; all zeroes if it registered before there were any.
    pub directory_id: [u8; 16],
    /// The levels of features that it can serve (KIP-584).
    pub features: Vec<FeatureRange>,
}

/// The levels of a feature that a broker can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureRange {
    /// Such as `metadata.version`.
    pub name: String,
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// Whether a broker may lead and be in an ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerState {
    /// It may not: it has just registered, or nothing was heard of it.
    Fenced,
    /// It may.
    Active,
    /// It leads no more, as it is about to stop.
    Stopping,
}

/// Where a listener of a broker is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: String,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
}

/// What a setting belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfigResource {
    /// A topic, by its id: a topic of the same name made later has none of its settings.
    Topic(TopicId),
    /// One broker.
    Broker(BrokerId),
    /// All brokers that do not set it themselves.
    BrokerDefault,
    /// A group, which need not exist.
    Group(String),
    /// A subscription of clients' metrics (KIP-714), from [`FORMAT_CLIENT_METRICS`](super::FORMAT_CLIENT_METRICS) on.
    ClientMetrics(String),
}

/// Whom a quota is for: entity types (`user`, `client-id`, `ip`) with names; no name is the type's default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuotaEntity(pub Vec<(String, Option<String>)>);

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There are none.
    Empty,
    /// Written by a newer release.
    Version(u8),
    /// Of an unknown kind, cut off, or followed by more.
    Malformed,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty metadata record"),
            Self::Version(version) => {
                write!(f, "metadata record of version {version}, this release knows {VERSION}")
            }
            Self::Malformed => f.write_str("a metadata record that cannot be read"),
        }
    }
}

impl std::error::Error for RecordError {}

impl Record {
    /// The bytes that are kept in the log.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("records have nothing that postcard cannot write")
    }

    /// The record of these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (version, body) = bytes.split_first().ok_or(RecordError::Empty)?;
        if *version > VERSION {
            return Err(RecordError::Version(*version));
        }
        let tail = if *version == 0 { tail_since_version_0(body) } else { &[] };
        let parsed = if tail.is_empty() {
            postcard::take_from_bytes(body).map(|(record, rest)| (record, rest.is_empty()))
        } else {
            let whole = [body, tail].concat();
            postcard::take_from_bytes(&whole).map(|(record, rest)| (record, rest.is_empty()))
        };
        match parsed {
            Ok((record, true)) => Ok(record),
            _ => Err(RecordError::Malformed),
        }
    }
}

/// What version 1 added at the end of a record of this kind, as it is where there is nothing of it.
fn tail_since_version_0(body: &[u8]) -> &'static [u8] {
    match body.first() {
        // Partition and PartitionChange: no replica is added or removed, and no last leader is known.
        Some(3 | 4) => &[0; 3],
        // RegisterBroker: no directory id, no features.
        Some(7) => &[0; 17],
        _ => &[],
    }
}

impl PartitionState {
    /// A new partition of these replicas: the first that can leads.
    pub fn new(replicas: Vec<BrokerId>, isr: Vec<BrokerId>) -> Self {
        let leader = isr.first().copied();
        Self {
            replicas,
            isr,
            elr: Vec::new(),
            leader,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            adding: Vec::new(),
            removing: Vec::new(),
            last_leader: None,
        }
    }

    /// Whether a reassignment is under way (KIP-455).
    pub fn is_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// Whether this state has a new leader who may lack records that were acknowledged: neither ISR nor ELR of the
    /// state before had it.
    pub fn is_unclean_election(&self, before: &Self) -> bool {
        let is_new = |leader: &BrokerId| before.leader != Some(*leader);
        self.leader
            .filter(is_new)
            .is_some_and(|leader| !before.isr.contains(&leader) && !before.elr.contains(&leader))
    }

    /// Who should lead: the first of the replicas.
    pub fn preferred_leader(&self) -> Option<BrokerId> {
        self.replicas.first().copied()
    }

    /// The state after `leader` was elected.
    #[must_use]
    pub fn elect(&self, leader: BrokerId) -> Self {
        Self {
            leader: Some(leader),
            leader_epoch: LeaderEpoch(self.leader_epoch.0 + 1),
            partition_epoch: PartitionEpoch(self.partition_epoch.0 + 1),
            ..self.clone()
        }
    }
}

impl BrokerRegistration {
    /// Where the broker is reached by clients of this listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener.eq_ignore_ascii_case(listener))
    }

    /// Whether it may lead and be in an ISR.
    pub fn is_active(&self) -> bool {
        self.state == BrokerState::Active
    }
}

/// A partition of a topic.
pub(super) const fn at(topic_id: TopicId, partition: i32) -> TopicPartition {
    TopicPartition { topic_id, partition: PartitionIndex(partition) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    pub(crate) fn samples() -> Vec<Record> {
        let id = TopicId([7; 16]);
        let broker = BrokerId(1);
        let state = PartitionState {
            adding: vec![BrokerId(2)],
            removing: vec![broker],
            last_leader: Some(broker),
            ..PartitionState::new(vec![broker, BrokerId(2)], vec![broker])
        };
        let registration = BrokerRegistration {
            incarnation: [9; 16],
            epoch: BrokerEpoch(5),
            endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "::1".into(), port: 9092 }],
            rack: Some("r".into()),
            state: BrokerState::Fenced,
            directory_id: [8; 16],
            features: vec![FeatureRange { name: "f".into(), min: 1, max: 2 }],
        };
        vec![
            Record::Cluster { id: "c".into() },
            Record::Topic { id, name: "t".into() },
            Record::RemoveTopic { id },
            Record::Partition { partition: at(id, 3), state: state.clone() },
            Record::PartitionChange { partition: at(id, 3), state: state.elect(BrokerId(2)) },
            Record::Config { resource: ConfigResource::Topic(id), name: "n".into(), value: Some("v".into()) },
            Record::ClientQuota {
                entity: QuotaEntity(vec![("user".into(), None)]),
                key: "producer_byte_rate".into(),
                value: Some(1.5),
            },
            Record::RegisterBroker { id: broker, registration },
            Record::BrokerChange { id: broker, epoch: BrokerEpoch(5), state: BrokerState::Active },
            Record::UnregisterBroker { id: broker, epoch: BrokerEpoch(5) },
            Record::ProducerIds { next: ProducerId(1000) },
            Record::Feature { name: "f".into(), level: 1 },
            Record::ReplicaHealth {
                partition: at(id, 3),
                broker,
                epoch: BrokerEpoch(5),
                is_failed: true,
                change: 1,
            },
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Bytes on the disks of released versions. Lines are added here, never changed. Of version 0:
    const GOLDEN_0: &[&str] = &[
        "00000163",
        "0001{7}0174",
        "0002{7}",
        "0003{7}0602020401020001020000",
        "0004{7}0602020401020001040202",
        "000500{7}016e010176",
        "0006010475736572001270726f64756365725f627974655f7261746501000000000000f83f",
        "000702{9}0a0109504c41494e54455854033a3a31844701017200",
        "0008020a01",
        "0009020a",
        "000ad00f",
        "000b016602",
    ];

    /// And of version 1.
    const GOLDEN: &[&str] = &[
        "01000163",
        "0101{7}0174",
        "0102{7}",
        "0103{7}0602020401020001020000 0104 0102 0102",
        "0104{7}0602020401020001040202 0104 0102 0102",
        "010500{7}016e010176",
        "0106010475736572001270726f64756365725f627974655f7261746501000000000000f83f",
        "010702{9}0a0109504c41494e54455854033a3a31844701017200{8}0101660204",
        "0108020a01",
        "0109020a",
        "010ad00f",
        "010b016602",
        "010c{7}06020a0101",
    ];

    fn golden(line: &str) -> String {
        let ids = [("{7}", "07"), ("{8}", "08"), ("{9}", "09")];
        ids.iter().fold(line.replace(' ', ""), |line, (id, byte)| line.replace(id, &byte.repeat(16)))
    }

    fn unhex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
        (0..text.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn bytes_of_released_versions_are_read_and_written() {
        let samples = samples();
        assert_eq!(samples.len(), GOLDEN.len());
        for (record, line) in samples.iter().zip(GOLDEN) {
            assert_eq!(hex(&record.encode()), golden(line), "{record:?}");
            assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(record));
        }
    }

    #[test]
    fn what_version_1_added_is_empty_in_version_0() {
        for (record, line) in samples().into_iter().zip(GOLDEN_0) {
            let expect = match record {
                Record::Partition { partition, state } => {
                    Record::Partition { partition, state: blank(state) }
                }
                Record::PartitionChange { partition, state } => {
                    Record::PartitionChange { partition, state: blank(state) }
                }
                Record::RegisterBroker { id, registration } => {
                    let registration =
                        BrokerRegistration { directory_id: [0; 16], features: Vec::new(), ..registration };
                    Record::RegisterBroker { id, registration }
                }
                other => other,
            };
            let mut bytes = unhex(&golden(line));
            assert_eq!(Record::decode(&bytes), Ok(expect), "{line}");
            bytes.push(0);
            assert_eq!(Record::decode(&bytes), Err(RecordError::Malformed), "{line}");
            bytes.truncate(bytes.len() - 2);
            assert_eq!(Record::decode(&bytes), Err(RecordError::Malformed), "{line}");
        }
    }

    fn blank(state: PartitionState) -> PartitionState {
        PartitionState { adding: Vec::new(), removing: Vec::new(), last_leader: None, ..state }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert_eq!(Record::decode(&[]), Err(RecordError::Empty));
        assert_eq!(Record::decode(&[2, 0]), Err(RecordError::Version(2)));
        assert_eq!(Record::decode(&[0, 99]), Err(RecordError::Malformed));
        for record in samples() {
            let mut bytes = record.encode();
            bytes.push(0);
            assert_eq!(Record::decode(&bytes), Err(RecordError::Malformed), "{record:?}");
            bytes.truncate(bytes.len() - 2);
            assert_eq!(Record::decode(&bytes), Err(RecordError::Malformed), "{record:?}");
        }
        // a length of 2^63 of which nothing follows
        assert_eq!(
            Record::decode(&[0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            Err(RecordError::Malformed)
        );
    }
}
