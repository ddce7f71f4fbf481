//! The group coordinator inside a cell of `__consumer_offsets`: its effects, one at a time, and its batches.

use bytes::Bytes;
use highwater_core::batch::{self, BatchError, BatchHeader, Builder, Codec, ValidBatch};
use highwater_core::coordinator::group::{GroupCoordinator, GroupEvent};
use highwater_core::coordinator::{AppendId, Coordinator, CoordinatorShard, Effect, Input, LoadId, Record};
use highwater_core::ids::{LeaderEpoch, Offset, Token};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{ProduceError, Produced};
use highwater_core::time::{Instant, Now, Timestamp};
use highwater_protocol::ErrorCode;
use std::collections::VecDeque;

pub use highwater_core::coordinator::group::{GroupReply, GroupRequest};

/// What the shard asks of its cell.
pub(super) type GroupEffect = Effect<GroupCoordinator>;

/// A coordinator shard with its outbox.
#[derive(Debug)]
pub(super) struct Shard {
    machine: CoordinatorShard<GroupCoordinator>,
    outbox: Outbox<GroupEffect>,
    queue: VecDeque<GroupEffect>,
    high_watermark: Offset,
}

impl Shard {
    pub(super) fn new(machine: CoordinatorShard<GroupCoordinator>) -> Self {
        Self { machine, outbox: Outbox::new(), queue: VecDeque::new(), high_watermark: Offset::ZERO }
    }

    fn input(&mut self, now: Now, input: Input<GroupCoordinator>) {
        self.machine.handle(now, input, &mut self.outbox);
    }

    pub(super) fn lead(&mut self, now: Now, epoch: LeaderEpoch) {
        self.input(now, Input::Lead { epoch });
    }

    pub(super) fn resign(&mut self, now: Now) {
        self.input(now, Input::Resign);
    }

    pub(super) fn request(&mut self, now: Now, token: Token, request: GroupRequest) {
        self.input(now, Input::Request { token, request });
    }

    pub(super) fn load(&mut self, now: Now, load: LoadId, records: Vec<Record>) {
        self.input(now, Input::Load { load, records });
    }

    pub(super) fn load_finished(&mut self, now: Now, load: LoadId, end: Offset) {
        self.input(now, Input::LoadFinished { load, end });
    }

    pub(super) fn load_failed(&mut self, now: Now, load: LoadId) {
        self.input(now, Input::LoadFailed { load });
    }

    /// The outcome of an append of so many records.
    pub(super) fn append_done(
        &mut self,
        now: Now,
        id: AppendId,
        records: usize,
        result: Result<Produced, ProduceError>,
    ) {
        let input = match result {
            Ok(produced) => {
                let count = i64::try_from(records).expect("a batch counts its records in 32 bits");
                Input::Appended { id, end: produced.base_offset.plus(count) }
            }
            Err(error) => Input::AppendFailed { id, error: error.code },
        };
        self.input(now, input);
    }

    pub(super) fn see_high_watermark(&mut self, now: Now, high_watermark: Offset) {
        if self.high_watermark != high_watermark {
            self.high_watermark = high_watermark;
            self.input(now, Input::HighWatermark(high_watermark));
        }
    }

    pub(super) fn next_effect(&mut self) -> Option<GroupEffect> {
        self.queue.extend(self.outbox.drain());
        self.queue.pop_front()
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        self.machine.handle_timeout(now, &mut self.outbox);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.machine.next_timeout()
    }

    /// The machine, for oracles that compare it with its log (O24).
    pub(super) const fn machine(&self) -> &CoordinatorShard<GroupCoordinator> {
        &self.machine
    }

    #[cfg(debug_assertions)]
    pub(super) fn assert_invariants(&self) {
        self.machine.assert_invariants();
    }
}

/// A coordinator's records as one batch.
pub(super) fn batch_of(records: &[Record], now: Timestamp) -> ValidBatch {
    let mut builder = Builder::new(Codec::None);
    for record in records {
        builder.push(now, Some(&record.key), record.value.as_deref(), &[]);
    }
    builder.build()
}

/// The records of whole stored batches, control batches left out, and the offset behind the last whole one. A batch
/// that is cut off at the end of the piece is left for the next.
pub(super) fn records_of(batches: &Bytes, from: Offset) -> Result<(Vec<Record>, Offset), BatchError> {
    let mut found = Vec::new();
    let mut next = from;
    let mut rest = batches.clone();
    while let Ok(header) = BatchHeader::parse(&rest)
        && header.size_bytes() <= rest.len()
    {
        if !header.attributes.is_control() {
            for record in batch::records(&rest)? {
                let record = record?;
                if let Some(key) = record.key {
                    found.push(Record { key, value: record.value });
                }
            }
        }
        next = header.next_offset();
        rest = rest.slice(header.size_bytes()..);
    }
    Ok((found, next))
}

/// The answer to a request that no coordinator here decides on.
pub(super) fn refuse(request: GroupRequest, error: ErrorCode) -> GroupReply {
    <GroupCoordinator as Coordinator>::refuse(request, error)
}

/// One line per event, for the operator: every rebalance with who and why.
pub(super) fn tell(event: &GroupEvent) {
    tracing::info!("{event}");
}
