//! WriteTxnMarkers (27): markers that end transactions in partitions (KIP-98).

use crate::{ErrorCode, Message};

/// Markers to append.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = WriteTxnMarkers, versions = "1-2", flexible = "1+", response = WriteTxnMarkersResponse)]
pub struct WriteTxnMarkersRequest {
    pub markers: Vec<WritableTxnMarker>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub transaction_result: bool,
    pub topics: Vec<WritableTxnMarkerTopic>,
    pub coordinator_epoch: i32,
    #[kafka(versions = "2+")]
    pub transaction_version: i8,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerTopic {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "1+")]
pub struct WriteTxnMarkersResponse {
    pub markers: Vec<WritableTxnMarkerResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerResult {
    pub producer_id: i64,
    pub topics: Vec<WritableTxnMarkerTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerTopicResult {
    pub name: String,
    pub partitions: Vec<WritableTxnMarkerPartitionResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerPartitionResult {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
