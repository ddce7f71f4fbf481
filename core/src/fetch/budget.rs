//! How much of a response each partition may fill (KIP-74).

/// What one partition's read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Whole batches up to this many bytes.
    pub bytes_max: usize,
    /// The first batch is returned even if it is larger, lest the consumer never gets past it.
    pub at_least_one_batch: bool,
}

/// The bytes that are left of a response.
///
/// Only the first partition that has anything may exceed the limits, with one batch. Fairness is a matter of the
/// order: partitions that were given something go to the end of it, see [`super::FetchSet`].
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: usize,
    is_untouched: bool,
}

impl Budget {
    /// `max_bytes` of the request, or the broker's `fetch.max.bytes` if that is less.
    pub fn new(request_bytes_max: i32, broker_bytes_max: usize) -> Self {
        let request_bytes_max = usize::try_from(request_bytes_max).unwrap_or(0);
        Self { left: request_bytes_max.min(broker_bytes_max), is_untouched: true }
    }

    /// What the next partition may return, given its `partition_max_bytes`.
    pub fn limit(&self, partition_bytes_max: i32) -> ReadLimit {
        let partition_bytes_max = usize::try_from(partition_bytes_max).unwrap_or(0);
        ReadLimit { bytes_max: partition_bytes_max.min(self.left), at_least_one_batch: self.is_untouched }
    }

    /// Takes what a partition did return.
    pub fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
        self.is_untouched &= bytes == 0;
    }

    /// Whether no further partition can return anything.
    pub const fn is_spent(&self) -> bool {
        self.left == 0 && !self.is_untouched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_batch_may_exceed_the_limits() {
        let mut budget = Budget::new(100, 1000);
        assert_eq!(budget.limit(50), ReadLimit { bytes_max: 50, at_least_one_batch: true });
        budget.spend(0);
        assert_eq!(
            budget.limit(50),
            ReadLimit { bytes_max: 50, at_least_one_batch: true },
            "nothing was there"
        );
        budget.spend(70);
        assert_eq!(budget.limit(50), ReadLimit { bytes_max: 30, at_least_one_batch: false });
        budget.spend(30);
        assert!(budget.is_spent());
        assert_eq!(budget.limit(50), ReadLimit { bytes_max: 0, at_least_one_batch: false });
    }

    #[test]
    fn a_large_first_batch_spends_everything() {
        let mut budget = Budget::new(100, 1000);
        budget.spend(5000);
        assert!(budget.is_spent());
    }

    #[test]
    fn odd_limits_are_none() {
        assert_eq!(Budget::new(-1, 1000).limit(-1), ReadLimit { bytes_max: 0, at_least_one_batch: true });
        assert_eq!(Budget::new(i32::MAX, 1000).limit(i32::MAX).bytes_max, 1000, "the broker's limit holds");
    }
}
