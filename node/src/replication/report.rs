//! What leaders ask of the ISR and what becomes of it, told to the operator: one line for many partitions.
//!
//! A broker that goes or comes concerns every partition that it has a replica of. What is noted within a moment is one
//! line for each broker and reason, with the number of partitions and the names of the first few.

use super::lock;
use crate::listing::Listing;
use highwater_core::ids::{BrokerId, PartitionIndex};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::Notify;

/// How long more of the same is waited for.
const GATHERING: Duration = Duration::from_millis(250);

/// What there is to tell of a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// A member is to leave, as it lagged for so long.
    Lags { broker: BrokerId, lag_ms: i64 },
    /// A member has left.
    Left { broker: BrokerId },
    /// A replica has joined.
    Joined { broker: BrokerId },
    /// The controller left the ISR as it is.
    Refused { why: String },
}

/// What was noted and not told yet.
#[derive(Debug, Default)]
pub(super) struct Reports {
    gathered: Mutex<BTreeMap<News, Listing>>,
    bell: Notify,
}

impl Reports {
    pub(super) fn note(&self, news: News, topic: &str, partition: PartitionIndex) {
        lock(&self.gathered).entry(news).or_default().add(topic, partition);
        self.bell.notify_one();
    }

    /// Tells what is noted, as long as the node runs.
    pub(super) async fn run(&self) {
        loop {
            self.bell.notified().await;
            tokio::time::sleep(GATHERING).await;
            for (news, partitions) in std::mem::take(&mut *lock(&self.gathered)) {
                tell(&news, &partitions);
            }
        }
    }
}

fn tell(news: &News, partitions: &Listing) {
    match news {
        News::Lags { broker, lag_ms } => tracing::warn!(
            "asking the controller to take broker {broker} out of the ISR of {partitions}: \
             it has lagged for more than {lag_ms} ms"
        ),
        News::Left { broker } => {
            tracing::info!(
                "broker {broker} is no longer in the ISR of {partitions}, which this broker leads"
            );
        }
        News::Joined { broker } => {
            tracing::info!("broker {broker} is in the ISR of {partitions}, which this broker leads");
        }
        News::Refused { why } => {
            tracing::info!("the controller leaves the ISR of {partitions} as it is: {why}");
        }
    }
}
