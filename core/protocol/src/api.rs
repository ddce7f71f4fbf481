//! The APIs: what is declared, what is advertised, and the enums of all requests and responses that are served.

use bytes::Bytes;

use crate::fetch::FetchView;
use crate::field::Field;
use crate::header::{RequestError, RequestHeader, ResponseHeader};
use crate::message::{Message, Request};
use crate::messages::*;
use crate::produce::ProduceView;
use crate::reader::Reader;
use crate::schema::{Type, VersionRange};
use crate::writer::EncodeError;
use crate::{ApiKey, ErrorCode};

/// One API.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// The versions that are declared, and served if it is advertised.
    pub versions: VersionRange,
    /// The versions with compact lengths and tagged fields.
    pub flexible: VersionRange,
    /// The versions that clients are told of; none for an API that is not served.
    pub advertised: Option<VersionRange>,
    /// The request as data.
    pub request: Type,
    /// The response as data.
    pub response: Type,
}

impl Api {
    const fn declared<R: Request>() -> Self {
        Self {
            key: R::KEY,
            versions: R::VERSIONS,
            flexible: R::FLEXIBLE,
            advertised: None,
            request: R::TYPE,
            response: R::Response::TYPE,
        }
    }

    const fn served<R: Request>() -> Self {
        let mut api = Self::declared::<R>();
        let mut advertised = api.versions;
        if let ApiKey::Produce = api.key {
            // librdkafka before 2.4 looks for the versions that brought each compression, though Kafka 4 and
            // this broker refuse to serve them (KIP-896, KAFKA-18659)
            advertised.min = 0;
        }
        api.advertised = Some(advertised);
        api
    }

    /// The API of a key, if it is declared.
    pub fn of(key: ApiKey) -> Option<&'static Self> {
        API_TABLE.iter().find(|api| api.key == key)
    }
}

/// Hands the list of all APIs to the macro `$callback`: those that are served, with what their request's body is
/// read as, and those that are only declared until the part of the broker that serves them exists.
#[macro_export]
macro_rules! for_each_api {
    ($callback:ident) => {
        $callback! {
            served {
                Produce(ProduceRequest -> ProduceView, ProduceResponse),
                Fetch(FetchRequest -> FetchView, FetchResponse),
                ListOffsets(ListOffsetsRequest -> ListOffsetsRequest, ListOffsetsResponse),
                Metadata(MetadataRequest -> MetadataRequest, MetadataResponse),
                OffsetCommit(OffsetCommitRequest -> OffsetCommitRequest, OffsetCommitResponse),
                OffsetFetch(OffsetFetchRequest -> OffsetFetchRequest, OffsetFetchResponse),
                FindCoordinator(FindCoordinatorRequest -> FindCoordinatorRequest, FindCoordinatorResponse),
                JoinGroup(JoinGroupRequest -> JoinGroupRequest, JoinGroupResponse),
                Heartbeat(HeartbeatRequest -> HeartbeatRequest, HeartbeatResponse),
                LeaveGroup(LeaveGroupRequest -> LeaveGroupRequest, LeaveGroupResponse),
                SyncGroup(SyncGroupRequest -> SyncGroupRequest, SyncGroupResponse),
                DescribeGroups(DescribeGroupsRequest -> DescribeGroupsRequest, DescribeGroupsResponse),
                ListGroups(ListGroupsRequest -> ListGroupsRequest, ListGroupsResponse),
                ApiVersions(ApiVersionsRequest -> ApiVersionsRequest, ApiVersionsResponse),
                CreateTopics(CreateTopicsRequest -> CreateTopicsRequest, CreateTopicsResponse),
                DeleteTopics(DeleteTopicsRequest -> DeleteTopicsRequest, DeleteTopicsResponse),
                DeleteRecords(DeleteRecordsRequest -> DeleteRecordsRequest, DeleteRecordsResponse),
                InitProducerId(InitProducerIdRequest -> InitProducerIdRequest, InitProducerIdResponse),
                OffsetForLeaderEpoch(OffsetForLeaderEpochRequest -> OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse),
                AddPartitionsToTxn(AddPartitionsToTxnRequest -> AddPartitionsToTxnRequest, AddPartitionsToTxnResponse),
                AddOffsetsToTxn(AddOffsetsToTxnRequest -> AddOffsetsToTxnRequest, AddOffsetsToTxnResponse),
                EndTxn(EndTxnRequest -> EndTxnRequest, EndTxnResponse),
                TxnOffsetCommit(TxnOffsetCommitRequest -> TxnOffsetCommitRequest, TxnOffsetCommitResponse),
                DescribeConfigs(DescribeConfigsRequest -> DescribeConfigsRequest, DescribeConfigsResponse),
                AlterConfigs(AlterConfigsRequest -> AlterConfigsRequest, AlterConfigsResponse),
                DescribeLogDirs(DescribeLogDirsRequest -> DescribeLogDirsRequest, DescribeLogDirsResponse),
                CreatePartitions(CreatePartitionsRequest -> CreatePartitionsRequest, CreatePartitionsResponse),
                DeleteGroups(DeleteGroupsRequest -> DeleteGroupsRequest, DeleteGroupsResponse),
                IncrementalAlterConfigs(IncrementalAlterConfigsRequest -> IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse),
                OffsetDelete(OffsetDeleteRequest -> OffsetDeleteRequest, OffsetDeleteResponse),
                DescribeClientQuotas(DescribeClientQuotasRequest -> DescribeClientQuotasRequest, DescribeClientQuotasResponse),
                AlterClientQuotas(AlterClientQuotasRequest -> AlterClientQuotasRequest, AlterClientQuotasResponse),
                DescribeCluster(DescribeClusterRequest -> DescribeClusterRequest, DescribeClusterResponse),
                DescribeProducers(DescribeProducersRequest -> DescribeProducersRequest, DescribeProducersResponse),
                ListConfigResources(ListConfigResourcesRequest -> ListConfigResourcesRequest, ListConfigResourcesResponse),
                DescribeTopicPartitions(DescribeTopicPartitionsRequest -> DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse),
                AlterReplicaLogDirs(AlterReplicaLogDirsRequest -> AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse),
                ElectLeaders(ElectLeadersRequest -> ElectLeadersRequest, ElectLeadersResponse),
                AlterPartitionReassignments(AlterPartitionReassignmentsRequest -> AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse),
                ListPartitionReassignments(ListPartitionReassignmentsRequest -> ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse),
                UpdateFeatures(UpdateFeaturesRequest -> UpdateFeaturesRequest, UpdateFeaturesResponse),
                UnregisterBroker(UnregisterBrokerRequest -> UnregisterBrokerRequest, UnregisterBrokerResponse),
                DescribeQuorum(DescribeQuorumRequest -> DescribeQuorumRequest, DescribeQuorumResponse),
                AddRaftVoter(AddRaftVoterRequest -> AddRaftVoterRequest, AddRaftVoterResponse),
                RemoveRaftVoter(RemoveRaftVoterRequest -> RemoveRaftVoterRequest, RemoveRaftVoterResponse),
            }
            declared {
                WriteTxnMarkers(WriteTxnMarkersRequest, WriteTxnMarkersResponse),
                DescribeTransactions(DescribeTransactionsRequest, DescribeTransactionsResponse),
                ListTransactions(ListTransactionsRequest, ListTransactionsResponse),
                ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse),
                ConsumerGroupDescribe(ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse),
                ShareGroupHeartbeat(ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse),
                ShareGroupDescribe(ShareGroupDescribeRequest, ShareGroupDescribeResponse),
                ShareFetch(ShareFetchRequest, ShareFetchResponse),
                ShareAcknowledge(ShareAcknowledgeRequest, ShareAcknowledgeResponse),
                DescribeShareGroupOffsets(DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse),
                AlterShareGroupOffsets(AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse),
                DeleteShareGroupOffsets(DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse),
                SaslHandshake(SaslHandshakeRequest, SaslHandshakeResponse),
                SaslAuthenticate(SaslAuthenticateRequest, SaslAuthenticateResponse),
                DescribeAcls(DescribeAclsRequest, DescribeAclsResponse),
                CreateAcls(CreateAclsRequest, CreateAclsResponse),
                DeleteAcls(DeleteAclsRequest, DeleteAclsResponse),
                CreateDelegationToken(CreateDelegationTokenRequest, CreateDelegationTokenResponse),
                RenewDelegationToken(RenewDelegationTokenRequest, RenewDelegationTokenResponse),
                ExpireDelegationToken(ExpireDelegationTokenRequest, ExpireDelegationTokenResponse),
                DescribeDelegationToken(DescribeDelegationTokenRequest, DescribeDelegationTokenResponse),
                DescribeUserScramCredentials(DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse),
                AlterUserScramCredentials(AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse),
            }
        }
    };
}

macro_rules! apis {
    (
        served { $($name:ident($request:ident -> $body:ident, $response:ident),)* }
        declared { $($other:ident($other_request:ident, $other_response:ident),)* }
    ) => {
        /// Every API that is declared, in the order of their keys within what is served and what is not.
        pub const API_TABLE: &[Api] =
            &[$(Api::served::<$request>(),)* $(Api::declared::<$other_request>(),)*];

        /// The body of a request that is served. Produce and Fetch are views, so that records are not copied.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each is the request of its name")]
        pub enum RequestBody {
            $($name($body),)*
        }

        impl RequestBody {
            /// Reads the body of a request. Bytes after it are left in the reader.
            pub fn decode(r: &mut Reader<'_>, key: ApiKey, version: i16) -> Result<Self, RequestError> {
                match key {
                    $(ApiKey::$name => Ok(Self::$name($body::decode(r, version)?)),)*
                    _ => Err(RequestError::Unsupported { key: key.code(), version }),
                }
            }

            /// The API that is called.
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }
        }

        $(impl From<$body> for RequestBody {
            fn from(body: $body) -> Self {
                Self::$name(body)
            }
        })*

        /// The body of a response that is served.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each is the response of its name")]
        pub enum ResponseBody {
            $($name($response),)*
        }

        impl ResponseBody {
            /// The API that was called.
            pub fn key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            /// A whole response frame, its length first.
            pub fn frame(&self, header: ResponseHeader) -> Result<Bytes, EncodeError> {
                assert_eq!(self.key(), header.key, "a response answers a request of its own API");
                match self {
                    $(Self::$name(body) => header.frame(body),)*
                }
            }

            /// Tells the client for how long its requests are held back (KIP-219).
            pub fn throttle(&mut self, throttle_time_ms: i32) {
                match self {
                    $(Self::$name(body) => Message::set_throttle_time_ms(body, throttle_time_ms),)*
                }
            }
        }

        $(impl From<$response> for ResponseBody {
            fn from(body: $response) -> Self {
                Self::$name(body)
            }
        })*
    };
}

crate::for_each_api!(apis);

/// A request that is served.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingRequest {
    /// Its header.
    pub header: RequestHeader,
    /// Its body.
    pub body: RequestBody,
    /// Bytes after the body: tolerated, as Kafka does, and worth a line at debug level.
    pub left_over: usize,
}

impl IncomingRequest {
    /// Reads a request from a frame without its length.
    pub fn decode(frame: &Bytes) -> Result<Self, RequestError> {
        let mut r = Reader::new(frame);
        let header = RequestHeader::decode(&mut r)?;
        let body = RequestBody::decode(&mut r, header.key, header.version)?;
        Ok(Self { header, body, left_over: r.remaining() })
    }
}

/// The features that a broker tells of (KIP-584).
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// What the broker could do.
    pub supported: Vec<SupportedFeatureKey>,
    /// The metadata offset of the levels below; −1 for none.
    pub finalized_epoch: i64,
    /// What the cluster has agreed on.
    pub finalized: Vec<FinalizedFeatureKey>,
}

impl Default for Features {
    fn default() -> Self {
        Self { supported: Vec::new(), finalized_epoch: -1, finalized: Vec::new() }
    }
}

/// The answer to ApiVersions in `version`.
pub fn api_versions_response(version: i16, features: &Features) -> ApiVersionsResponse {
    // clients of older versions fail on a feature that begins at 0 (KAFKA-17492)
    let readable = |feature: &&SupportedFeatureKey| version >= 4 || feature.min_version > 0;
    ApiVersionsResponse {
        api_keys: advertised(),
        supported_features: features.supported.iter().filter(readable).cloned().collect(),
        finalized_features_epoch: features.finalized_epoch,
        finalized_features: features.finalized.clone(),
        ..Default::default()
    }
}

/// The frame that answers a version of ApiVersions that is not served: version 0 with all that is (KIP-511).
pub fn api_versions_unsupported(correlation_id: i32) -> Bytes {
    let body = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: advertised(),
        ..Default::default()
    };
    let header = ResponseHeader { key: ApiKey::ApiVersions, version: 0, correlation_id };
    header.frame(&body).expect("no field of it can be too long")
}

fn advertised() -> Vec<ApiVersion> {
    let mut keys: Vec<_> = API_TABLE
        .iter()
        .filter_map(|api| {
            let VersionRange { min, max } = api.advertised?;
            Some(ApiVersion { api_key: api.key.code(), min_version: min, max_version: max })
        })
        .collect();
    keys.sort_by_key(|api| api.api_key);
    keys
}
