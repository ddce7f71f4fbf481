//! Counts what was delivered where.

use super::super::error::send_error_text;
use highwater_net_tcp::client::InFlight;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// A record on its way.
pub(super) struct Sent {
    pub(super) in_flight: InFlight,
    pub(super) size_bytes: usize,
}

#[derive(Default)]
pub(super) struct Tally {
    records: u64,
    bytes: u64,
    failed: u64,
    /// The first failure; the others are mostly the same.
    error: Option<String>,
    partitions: BTreeMap<i32, PartitionTally>,
}

/// What one partition got.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PartitionTally {
    pub(super) partition: i32,
    pub(super) records: u64,
    /// `null` if the broker does not say, as without acks.
    pub(super) first_offset: Option<i64>,
    pub(super) last_offset: Option<i64>,
}

/// What became of all records.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) topic: String,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    pub(super) elapsed_ms: u64,
    pub(super) partitions: Vec<PartitionTally>,
}

impl Tally {
    /// Counts until no more are sent.
    pub(super) async fn run(mut self, mut deliveries: mpsc::Receiver<Sent>) -> Self {
        while let Some(Sent { in_flight, size_bytes }) = deliveries.recv().await {
            match in_flight.delivered().await {
                Ok(metadata) => {
                    self.records += 1;
                    self.bytes += size_bytes as u64;
                    let partition = self.partitions.entry(metadata.partition.0).or_default();
                    partition.partition = metadata.partition.0;
                    partition.count(metadata.offset.0);
                }
                Err(error) => {
                    self.failed += 1;
                    self.error.get_or_insert_with(|| send_error_text(&error));
                }
            }
        }
        self
    }

    pub(super) fn summary(self, topic: &str, elapsed: Duration) -> Summary {
        Summary {
            topic: topic.to_owned(),
            records: self.records,
            bytes: self.bytes,
            failed: self.failed,
            error: self.error,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            partitions: self.partitions.into_values().collect(),
        }
    }
}

impl PartitionTally {
    fn count(&mut self, offset: i64) {
        self.records += 1;
        if offset >= 0 {
            self.first_offset = Some(self.first_offset.map_or(offset, |first| first.min(offset)));
            self.last_offset = Some(self.last_offset.map_or(offset, |last| last.max(offset)));
        }
    }
}
