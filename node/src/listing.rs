//! Many partitions in one line for the operator: how many, and the names of the first few.

use highwater_core::ids::PartitionIndex;
use std::fmt;

/// How many partitions a line names.
const NAMES_MAX: usize = 3;

/// Partitions that one line is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    count: usize,
    first: Vec<String>,
}

impl Listing {
    /// Adds one. Of those that are named, the same again is one still.
    pub(crate) fn add(&mut self, topic: &str, partition: PartitionIndex) {
        let name = format!("{topic}-{}", partition.0);
        if self.first.contains(&name) {
            return;
        }
        self.count += 1;
        if self.first.len() < NAMES_MAX {
            self.first.push(name);
        }
    }

    /// Whether there is nothing to tell.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.first.join(", ");
        match self.count {
            1 => f.write_str(&names),
            count if count <= self.first.len() => write!(f, "{count} partitions ({names})"),
            count => write!(f, "{count} partitions ({names}, ..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_first_and_counts_the_rest() {
        let mut listing = Listing::default();
        assert!(listing.is_empty());
        let mut lines = Vec::new();
        for partition in [0, 0, 1, 2, 3] {
            listing.add("orders", PartitionIndex(partition));
            lines.push(listing.to_string());
        }
        assert_eq!(lines[..2], ["orders-0", "orders-0"]);
        assert_eq!(lines[2], "2 partitions (orders-0, orders-1)");
        assert_eq!(lines[4], "4 partitions (orders-0, orders-1, orders-2, ..)");
    }
}
