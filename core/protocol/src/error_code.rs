//! Kafka's error codes, all of them, as one closed enum: the protocol refusals of every machine and handler.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal $name:literal,)*) => {
        /// An error as it stands in an answer.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code there is, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The error of a number; `None` for a number that Kafka has not given out.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name, such as `UNKNOWN_TOPIC_OR_PARTITION`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

error_codes! {
    /// Anything that went wrong inside and has no code of its own.
    UnknownServerError = -1 "UNKNOWN_SERVER_ERROR",
    /// No error.
    #[default]
    None = 0 "NONE",
    /// The offset lies outside the partition's log start and end.
    OffsetOutOfRange = 1 "OFFSET_OUT_OF_RANGE",
    /// A bad checksum or size, a null key on a compacted topic, or other corruption.
    CorruptMessage = 2 "CORRUPT_MESSAGE",
    /// This broker knows no such topic or partition.
    UnknownTopicOrPartition = 3 "UNKNOWN_TOPIC_OR_PARTITION",
    /// The fetch size is negative or otherwise impossible.
    InvalidFetchSize = 4 "INVALID_FETCH_SIZE",
    /// An election is going on.
    LeaderNotAvailable = 5 "LEADER_NOT_AVAILABLE",
    /// This broker does not lead (or does not hold) the partition.
    NotLeaderOrFollower = 6 "NOT_LEADER_OR_FOLLOWER",
    /// The broker could not finish within the request's time-out.
    RequestTimedOut = 7 "REQUEST_TIMED_OUT",
    /// The broker is not available.
    BrokerNotAvailable = 8 "BROKER_NOT_AVAILABLE",
    /// The replica is not available.
    ReplicaNotAvailable = 9 "REPLICA_NOT_AVAILABLE",
    /// A batch is larger than `max.message.bytes` allows.
    MessageTooLarge = 10 "MESSAGE_TOO_LARGE",
    /// The controller has moved.
    StaleControllerEpoch = 11 "STALE_CONTROLLER_EPOCH",
    /// The metadata of a committed offset is longer than `offset.metadata.max.bytes`.
    OffsetMetadataTooLarge = 12 "OFFSET_METADATA_TOO_LARGE",
    /// The peer went away before it answered.
    NetworkException = 13 "NETWORK_EXCEPTION",
    /// The coordinator is still replaying its log.
    CoordinatorLoadInProgress = 14 "COORDINATOR_LOAD_IN_PROGRESS",
    /// There is no coordinator yet.
    CoordinatorNotAvailable = 15 "COORDINATOR_NOT_AVAILABLE",
    /// The coordinator is another broker.
    NotCoordinator = 16 "NOT_COORDINATOR",
    /// The topic's name is illegal, or the topic may not be used so.
    InvalidTopicException = 17 "INVALID_TOPIC_EXCEPTION",
    /// A batch is larger than a segment.
    RecordListTooLarge = 18 "RECORD_LIST_TOO_LARGE",
    /// Fewer replicas in sync than `min.insync.replicas`; nothing was appended.
    NotEnoughReplicas = 19 "NOT_ENOUGH_REPLICAS",
    /// Appended, but fewer replicas in sync than `min.insync.replicas` hold it.
    NotEnoughReplicasAfterAppend = 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    /// `acks` is none of -1, 0, 1.
    InvalidRequiredAcks = 21 "INVALID_REQUIRED_ACKS",
    /// The generation is not the group's.
    IllegalGeneration = 22 "ILLEGAL_GENERATION",
    /// The member's protocols have nothing in common with the group's.
    InconsistentGroupProtocol = 23 "INCONSISTENT_GROUP_PROTOCOL",
    /// The group id is illegal.
    InvalidGroupId = 24 "INVALID_GROUP_ID",
    /// The group has no such member.
    UnknownMemberId = 25 "UNKNOWN_MEMBER_ID",
    /// The session time-out is outside the group's limits.
    InvalidSessionTimeout = 26 "INVALID_SESSION_TIMEOUT",
    /// The group is rebalancing: join again.
    RebalanceInProgress = 27 "REBALANCE_IN_PROGRESS",
    /// The offsets to commit are too large to be stored.
    InvalidCommitOffsetSize = 28 "INVALID_COMMIT_OFFSET_SIZE",
    /// The principal may not do this with the topic.
    TopicAuthorizationFailed = 29 "TOPIC_AUTHORIZATION_FAILED",
    /// The principal may not do this with the group.
    GroupAuthorizationFailed = 30 "GROUP_AUTHORIZATION_FAILED",
    /// The principal may not do this with the cluster.
    ClusterAuthorizationFailed = 31 "CLUSTER_AUTHORIZATION_FAILED",
    /// A record's timestamp is outside the allowed window.
    InvalidTimestamp = 32 "INVALID_TIMESTAMP",
    /// The SASL mechanism is not offered.
    UnsupportedSaslMechanism = 33 "UNSUPPORTED_SASL_MECHANISM",
    /// Not a request that this state of the SASL exchange allows.
    IllegalSaslState = 34 "ILLEGAL_SASL_STATE",
    /// The broker does not speak this version of the API.
    UnsupportedVersion = 35 "UNSUPPORTED_VERSION",
    /// There is a topic of this name.
    TopicAlreadyExists = 36 "TOPIC_ALREADY_EXISTS",
    /// The number of partitions is below one (or below the present one).
    InvalidPartitions = 37 "INVALID_PARTITIONS",
    /// The replication factor is below one or above the number of brokers.
    InvalidReplicationFactor = 38 "INVALID_REPLICATION_FACTOR",
    /// The replica assignment names unknown, doubled or uneven replicas.
    InvalidReplicaAssignment = 39 "INVALID_REPLICA_ASSIGNMENT",
    /// A configuration has an illegal value.
    InvalidConfig = 40 "INVALID_CONFIG",
    /// The controller is another node.
    NotController = 41 "NOT_CONTROLLER",
    /// The request contradicts itself or lacks something.
    InvalidRequest = 42 "INVALID_REQUEST",
    /// The stored message format cannot answer this.
    UnsupportedForMessageFormat = 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    /// A policy of the cluster forbids it.
    PolicyViolation = 44 "POLICY_VIOLATION",
    /// A sequence is missing before this batch (KIP-98).
    OutOfOrderSequenceNumber = 45 "OUT_OF_ORDER_SEQUENCE_NUMBER",
    /// The batch is a duplicate that can no longer be answered (KIP-98).
    DuplicateSequenceNumber = 46 "DUPLICATE_SEQUENCE_NUMBER",
    /// The producer's epoch is older than the newest (KIP-98).
    InvalidProducerEpoch = 47 "INVALID_PRODUCER_EPOCH",
    /// The transaction's state does not allow this.
    InvalidTxnState = 48 "INVALID_TXN_STATE",
    /// The producer id does not belong to the transactional id.
    InvalidProducerIdMapping = 49 "INVALID_PRODUCER_ID_MAPPING",
    /// The transaction time-out is above `transaction.max.timeout.ms`.
    InvalidTransactionTimeout = 50 "INVALID_TRANSACTION_TIMEOUT",
    /// Another operation on the same transaction is under way.
    ConcurrentTransactions = 51 "CONCURRENT_TRANSACTIONS",
    /// A newer transaction coordinator has taken over.
    TransactionCoordinatorFenced = 52 "TRANSACTION_COORDINATOR_FENCED",
    /// The principal may not use the transactional id.
    TransactionalIdAuthorizationFailed = 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    /// No authorizer is configured.
    SecurityDisabled = 54 "SECURITY_DISABLED",
    /// An earlier part of the same request failed, so this part was not tried.
    OperationNotAttempted = 55 "OPERATION_NOT_ATTEMPTED",
    /// The disk failed.
    KafkaStorageError = 56 "KAFKA_STORAGE_ERROR",
    /// There is no such log directory.
    LogDirNotFound = 57 "LOG_DIR_NOT_FOUND",
    /// Authentication failed.
    SaslAuthenticationFailed = 58 "SASL_AUTHENTICATION_FAILED",
    /// The partition has no state for the producer id (any more).
    UnknownProducerId = 59 "UNKNOWN_PRODUCER_ID",
    /// The partition is being reassigned.
    ReassignmentInProgress = 60 "REASSIGNMENT_IN_PROGRESS",
    /// Delegation tokens are not enabled.
    DelegationTokenAuthDisabled = 61 "DELEGATION_TOKEN_AUTH_DISABLED",
    /// There is no such delegation token.
    DelegationTokenNotFound = 62 "DELEGATION_TOKEN_NOT_FOUND",
    /// The principal does not own (may not renew) the token.
    DelegationTokenOwnerMismatch = 63 "DELEGATION_TOKEN_OWNER_MISMATCH",
    /// Delegation tokens cannot be asked for on this channel.
    DelegationTokenRequestNotAllowed = 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    /// The principal may not do this with delegation tokens.
    DelegationTokenAuthorizationFailed = 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    /// The delegation token has expired.
    DelegationTokenExpired = 66 "DELEGATION_TOKEN_EXPIRED",
    /// The principal's type is not supported.
    InvalidPrincipalType = 67 "INVALID_PRINCIPAL_TYPE",
    /// The group still has members.
    NonEmptyGroup = 68 "NON_EMPTY_GROUP",
    /// There is no such group.
    GroupIdNotFound = 69 "GROUP_ID_NOT_FOUND",
    /// There is no such fetch session (KIP-227).
    FetchSessionIdNotFound = 70 "FETCH_SESSION_ID_NOT_FOUND",
    /// The fetch session is at another epoch (KIP-227).
    InvalidFetchSessionEpoch = 71 "INVALID_FETCH_SESSION_EPOCH",
    /// The leader has no listener of the name on which the request came.
    ListenerNotFound = 72 "LISTENER_NOT_FOUND",
    /// `delete.topic.enable` is off.
    TopicDeletionDisabled = 73 "TOPIC_DELETION_DISABLED",
    /// The leader epoch given is older than the broker's (KIP-320).
    FencedLeaderEpoch = 74 "FENCED_LEADER_EPOCH",
    /// The leader epoch given is newer than the broker's (KIP-320).
    UnknownLeaderEpoch = 75 "UNKNOWN_LEADER_EPOCH",
    /// The request's version cannot carry the compression that is stored.
    UnsupportedCompressionType = 76 "UNSUPPORTED_COMPRESSION_TYPE",
    /// The broker has registered anew since.
    StaleBrokerEpoch = 77 "STALE_BROKER_EPOCH",
    /// A new leader does not know its high watermark yet (KIP-207).
    OffsetNotAvailable = 78 "OFFSET_NOT_AVAILABLE",
    /// Join again with the member id of this answer (KIP-394).
    MemberIdRequired = 79 "MEMBER_ID_REQUIRED",
    /// The preferred leader cannot be elected.
    PreferredLeaderNotAvailable = 80 "PREFERRED_LEADER_NOT_AVAILABLE",
    /// The group is as large as `group.max.size`.
    GroupMaxSizeReached = 81 "GROUP_MAX_SIZE_REACHED",
    /// Another member has taken over the static instance id (KIP-345).
    FencedInstanceId = 82 "FENCED_INSTANCE_ID",
    /// No replica may be elected.
    EligibleLeadersNotAvailable = 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    /// The partition's leader is already the one wanted.
    ElectionNotNeeded = 84 "ELECTION_NOT_NEEDED",
    /// Nothing is being reassigned.
    NoReassignmentInProgress = 85 "NO_REASSIGNMENT_IN_PROGRESS",
    /// The group is subscribed to the topic, so its offsets stay.
    GroupSubscribedToTopic = 86 "GROUP_SUBSCRIBED_TO_TOPIC",
    /// A record fails the topic's rules (KIP-467).
    InvalidRecord = 87 "INVALID_RECORD",
    /// Offsets of an open transaction are pending (KIP-447).
    UnstableOffsetCommit = 88 "UNSTABLE_OFFSET_COMMIT",
    /// A quota is used up: try later (KIP-599).
    ThrottlingQuotaExceeded = 89 "THROTTLING_QUOTA_EXCEEDED",
    /// A newer producer has taken over the transactional id.
    ProducerFenced = 90 "PRODUCER_FENCED",
    /// There is no such resource.
    ResourceNotFound = 91 "RESOURCE_NOT_FOUND",
    /// A resource is named twice.
    DuplicateResource = 92 "DUPLICATE_RESOURCE",
    /// The credential does not meet the rules.
    UnacceptableCredential = 93 "UNACCEPTABLE_CREDENTIAL",
    /// Sender or receiver is not in the voter set.
    InconsistentVoterSet = 94 "INCONSISTENT_VOTER_SET",
    /// The feature level asked for cannot be.
    InvalidUpdateVersion = 95 "INVALID_UPDATE_VERSION",
    /// The feature update failed.
    FeatureUpdateFailed = 96 "FEATURE_UPDATE_FAILED",
    /// A forwarded principal cannot be read.
    PrincipalDeserializationFailure = 97 "PRINCIPAL_DESERIALIZATION_FAILURE",
    /// There is no such snapshot.
    SnapshotNotFound = 98 "SNAPSHOT_NOT_FOUND",
    /// The position is outside the snapshot.
    PositionOutOfRange = 99 "POSITION_OUT_OF_RANGE",
    /// This broker knows no topic of this id (KIP-516).
    UnknownTopicId = 100 "UNKNOWN_TOPIC_ID",
    /// The broker id is in use.
    DuplicateBrokerRegistration = 101 "DUPLICATE_BROKER_REGISTRATION",
    /// The broker id is not registered.
    BrokerIdNotRegistered = 102 "BROKER_ID_NOT_REGISTERED",
    /// The topic id is not the one of the log (KIP-516).
    InconsistentTopicId = 103 "INCONSISTENT_TOPIC_ID",
    /// The cluster id is another one.
    InconsistentClusterId = 104 "INCONSISTENT_CLUSTER_ID",
    /// There is no such transactional id.
    TransactionalIdNotFound = 105 "TRANSACTIONAL_ID_NOT_FOUND",
    /// A fetch session mixes requests with and without topic ids (KIP-516).
    FetchSessionTopicIdError = 106 "FETCH_SESSION_TOPIC_ID_ERROR",
    /// A replica of the new ISR may not be in it.
    IneligibleReplica = 107 "INELIGIBLE_REPLICA",
    /// The ISR was changed, and another leader elected by it.
    NewLeaderElected = 108 "NEW_LEADER_ELECTED",
    /// The offset is in tiered storage.
    OffsetMovedToTieredStorage = 109 "OFFSET_MOVED_TO_TIERED_STORAGE",
    /// A newer incarnation of the member exists: rejoin (KIP-848).
    FencedMemberEpoch = 110 "FENCED_MEMBER_EPOCH",
    /// The instance id's owner has not left yet (KIP-848).
    UnreleasedInstanceId = 111 "UNRELEASED_INSTANCE_ID",
    /// The group does not know the assignor (KIP-848).
    UnsupportedAssignor = 112 "UNSUPPORTED_ASSIGNOR",
    /// The member epoch is out of date: heartbeat first (KIP-848).
    StaleMemberEpoch = 113 "STALE_MEMBER_EPOCH",
    /// The endpoint is of another kind (KIP-919).
    MismatchedEndpointType = 114 "MISMATCHED_ENDPOINT_TYPE",
    /// The kind of endpoint is not supported (KIP-919).
    UnsupportedEndpointType = 115 "UNSUPPORTED_ENDPOINT_TYPE",
    /// There is no such controller.
    UnknownControllerId = 116 "UNKNOWN_CONTROLLER_ID",
    /// The telemetry subscription is unknown or outdated (KIP-714).
    UnknownSubscriptionId = 117 "UNKNOWN_SUBSCRIPTION_ID",
    /// The telemetry pushed is too large (KIP-714).
    TelemetryTooLarge = 118 "TELEMETRY_TOO_LARGE",
    /// The controller refuses the registration.
    InvalidRegistration = 119 "INVALID_REGISTRATION",
    /// The transaction has failed and can be aborted (KIP-890).
    TransactionAbortable = 120 "TRANSACTION_ABORTABLE",
    /// The record is not in a state to be acknowledged (KIP-932).
    InvalidRecordState = 121 "INVALID_RECORD_STATE",
    /// There is no such share session (KIP-932).
    ShareSessionNotFound = 122 "SHARE_SESSION_NOT_FOUND",
    /// The share session is at another epoch (KIP-932).
    InvalidShareSessionEpoch = 123 "INVALID_SHARE_SESSION_EPOCH",
    /// The share group's state epoch is another one (KIP-932).
    FencedStateEpoch = 124 "FENCED_STATE_EPOCH",
    /// The voter's key is another one (KIP-853).
    InvalidVoterKey = 125 "INVALID_VOTER_KEY",
    /// The node is a voter already (KIP-853).
    DuplicateVoter = 126 "DUPLICATE_VOTER",
    /// The node is not a voter (KIP-853).
    VoterNotFound = 127 "VOTER_NOT_FOUND",
    /// The regular expression does not compile (KIP-848).
    InvalidRegularExpression = 128 "INVALID_REGULAR_EXPRESSION",
    /// The client's metadata is stale: bootstrap again (KIP-1102).
    RebootstrapRequired = 129 "REBOOTSTRAP_REQUIRED",
    /// The streams topology is illegal (KIP-1071).
    StreamsInvalidTopology = 130 "STREAMS_INVALID_TOPOLOGY",
    /// The topology epoch is illegal (KIP-1071).
    StreamsInvalidTopologyEpoch = 131 "STREAMS_INVALID_TOPOLOGY_EPOCH",
    /// The topology epoch is outdated (KIP-1071).
    StreamsTopologyFenced = 132 "STREAMS_TOPOLOGY_FENCED",
    /// There are as many share sessions as allowed (KIP-932).
    ShareSessionLimitReached = 133 "SHARE_SESSION_LIMIT_REACHED",
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is an error at all.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether clients repeat the same request by themselves, as Kafka's `RetriableException`s tell.
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::CorruptMessage
                | Self::UnknownTopicOrPartition
                | Self::LeaderNotAvailable
                | Self::NotLeaderOrFollower
                | Self::RequestTimedOut
                | Self::ReplicaNotAvailable
                | Self::NetworkException
                | Self::CoordinatorLoadInProgress
                | Self::CoordinatorNotAvailable
                | Self::NotCoordinator
                | Self::NotEnoughReplicas
                | Self::NotEnoughReplicasAfterAppend
                | Self::NotController
                | Self::ConcurrentTransactions
                | Self::KafkaStorageError
                | Self::FetchSessionIdNotFound
                | Self::InvalidFetchSessionEpoch
                | Self::ListenerNotFound
                | Self::FencedLeaderEpoch
                | Self::UnknownLeaderEpoch
                | Self::OffsetNotAvailable
                | Self::PreferredLeaderNotAvailable
                | Self::EligibleLeadersNotAvailable
                | Self::ElectionNotNeeded
                | Self::UnstableOffsetCommit
                | Self::ThrottlingQuotaExceeded
                | Self::UnknownTopicId
                | Self::InconsistentTopicId
                | Self::FetchSessionTopicIdError
                | Self::ShareSessionNotFound
                | Self::InvalidShareSessionEpoch
                | Self::ShareSessionLimitReached
        )
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_that_kafka_has_given_out_is_a_code() {
        let numbers: Vec<_> = ErrorCode::ALL.iter().map(|error| error.code()).collect();
        assert_eq!(numbers, (-1..=133).collect::<Vec<_>>());
        for error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), Some(*error));
        }
        assert_eq!((ErrorCode::from_code(-2), ErrorCode::from_code(134)), (None, None));
    }

    #[test]
    fn errors_print_as_kafka_names_them() {
        assert_eq!(ErrorCode::NotLeaderOrFollower.to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert!(
            ErrorCode::NotLeaderOrFollower.is_retriable() && !ErrorCode::TopicAlreadyExists.is_retriable()
        );
    }
}
