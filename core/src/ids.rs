//! Newtypes for every number that crosses a function boundary, in Kafka's words and widths.

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A broker's (and controller's) node id; −1 is Kafka's "no broker".
    BrokerId(i32)
}
number! {
    /// Changes at every registration of a broker (KIP-380).
    BrokerEpoch(i64)
}
number! {
    /// A partition's index within its topic, from 0.
    PartitionIndex(i32)
}
number! {
    /// Rises at every election of a partition; −1 is "unknown".
    LeaderEpoch(i32)
}
number! {
    /// Rises at every change of a partition's registration, ISR changes included.
    PartitionEpoch(i32)
}
number! {
    /// A record's position in its partition. Ends are exclusive: a log end offset is the next one to be given.
    Offset(i64)
}
number! {
    /// An idempotent producer's id; −1 is "not idempotent" (KIP-98).
    ProducerId(i64)
}
number! {
    /// Fences older sessions of one producer id; −1 with no id.
    ProducerEpoch(i16)
}
number! {
    /// A record's number within (producer id, epoch, partition); wraps from `i32::MAX` to 0.
    Sequence(i32)
}
number! {
    /// Names a waiting reply inside one cell; the shell makes it and knows what it stands for.
    Token(u64)
}

impl Offset {
    /// The first offset of a new partition.
    pub const ZERO: Self = Self(0);

    /// The offset `n` records further on.
    pub const fn plus(self, n: i64) -> Self {
        Self(self.0 + n)
    }
}

impl LeaderEpoch {
    /// Kafka's "unknown epoch".
    pub const NONE: Self = Self(-1);

    /// The epoch of the next election.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ProducerId {
    /// Kafka's "not idempotent".
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The sequence `n` records further on, wrapping past `i32::MAX` to 0 as Kafka's does.
    pub const fn plus(self, n: i32) -> Self {
        let sum = self.0 as i64 + n as i64;
        Self(if sum > i32::MAX as i64 { (sum - i32::MAX as i64 - 1) as i32 } else { sum as i32 })
    }
}

/// A topic's identity, which a re-created topic of the same name does not share (KIP-516).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// All zeroes: "no id".
    pub const ZERO: Self = Self([0; 16]);
}

impl std::fmt::Debug for TopicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for TopicId {
    /// URL-safe base64 without padding, as Kafka prints ids.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::with_capacity(22);
        for chunk in self.0.chunks(3) {
            let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
            for i in 0..=chunk.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * i)) as usize & 63]));
            }
        }
        f.write_str(&text)
    }
}

/// The identity of a data directory, drawn when it is made: a disk that was lost and replaced under the same node id
/// is somebody else (KIP-853, CQ-09).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DirectoryId(pub [u8; 16]);

impl DirectoryId {
    /// All zeroes: "not known".
    pub const UNKNOWN: Self = Self([0; 16]);
}

impl std::fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&TopicId(self.0), f)
    }
}

/// A partition named by its topic's id, never by name alone (design rule 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// Which topic.
    pub topic_id: TopicId,
    /// Which of its partitions.
    pub partition: PartitionIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_print_as_kafkas() {
        assert_eq!(TopicId([0; 16]).to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId([0xff; 16]).to_string(), "_____________________w");
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(5), Sequence(3));
    }
}
