//! Drives compaction: one pass over one log at a time, in steps, while appends go on.

use crate::log::{CleaningRules, CleaningStats, CleaningStep, LogError};
use crate::node::Node;
use crate::partition::Partition;
use highwater_core::time::Timestamp;

/// How much a step reads before it looks up again.
const STEP_BYTES: u64 = 1 << 20;

/// How many keys a pass remembers, about 64 MiB; a log with more dirty keys takes several passes.
const KEYS_MAX: usize = 1_000_000;

/// Compacts every log that is worth it.
pub(crate) fn clean(node: &Node) {
    for partition in node.registry().all() {
        if !partition.config().cleanup_policy.compact {
            continue;
        }
        let wall = node.clock().now().wall;
        match clean_one(&partition, wall) {
            Ok(None) => {}
            Ok(Some(stats)) => {
                tracing::debug!(topic = %partition.topic(), partition = partition.id().partition.0, ?stats, "compacted");
            }
            Err(error) => {
                tracing::error!(topic = %partition.topic(), partition = partition.id().partition.0, %error, "compaction failed; the log is as it was");
            }
        }
    }
}

/// One pass over a log, if it is worth it. The cell's lock is held to plan and to swap, not to read and write.
fn clean_one(partition: &Partition, now: Timestamp) -> Result<Option<CleaningStats>, LogError> {
    let broken = |broken: crate::cell::CellBroken| LogError::Poisoned { cause: broken.to_string() };
    let planned = partition.plan_cleaning(KEYS_MAX, now).map_err(broken)?;
    let Some(mut cleaning) = planned else { return Ok(None) };
    loop {
        match cleaning.step(STEP_BYTES)? {
            CleaningStep::More => {}
            CleaningStep::Swap => {
                partition.with_log(|log| log.swap_cleaned(&mut cleaning)).map_err(broken)??;
            }
            CleaningStep::Done => break,
        }
    }
    partition.with_log(|log| log.finish_cleaning(cleaning)).map(Some).map_err(broken)
}

impl Partition {
    /// Plans a pass, with the bounds that the replica knows (design rule 13).
    fn plan_cleaning(
        &self,
        keys_max: usize,
        now: Timestamp,
    ) -> Result<Option<crate::log::Cleaning>, crate::cell::CellBroken> {
        self.with_machines(|replica, log| {
            let rules = CleaningRules {
                bound: replica.high_watermark().min(replica.last_stable_offset()),
                producer_offsets: replica.producers().iter().filter_map(|(_, p)| p.last_offset()).collect(),
                keys_max,
            };
            // A segment that has waited long enough is finished even if nobody appends any more.
            log.plan_cleaning(rules, now)
        })
    }
}
