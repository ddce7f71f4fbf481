//! Which partition a record goes to, as Java's producer decides.
//!
//! The partition that was asked for; else the murmur2 hash of the key; else, for records without a key, one
//! partition until it got a batch's worth of bytes, then the next (KIP-480, KIP-794).

use crate::ids::PartitionIndex;

/// The hash of Kafka's default partitioner: murmur2 with its seed.
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut h = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("chunks_exact gives four bytes"));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

/// The partition of a key among `partitions`: `(murmur2(key) & 0x7fffffff) % partitions`.
pub fn partition_of_key(key: &[u8], partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has at least one partition");
    PartitionIndex((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// Where a producer puts the records of one topic.
#[derive(Clone, Debug)]
pub struct Partitioner {
    /// Bytes after which records without a key move on (`batch.size`).
    sticky_bytes: usize,
    sticky: i32,
    sent_bytes: usize,
    state: u64,
}

/// Why a record has no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchPartition {
    /// What was asked for.
    pub partition: PartitionIndex,
    /// How many there are.
    pub partitions: i32,
}

impl std::fmt::Display for NoSuchPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "partition {} of a topic that has {}", self.partition, self.partitions)
    }
}

impl std::error::Error for NoSuchPartition {}

impl Partitioner {
    /// A partitioner that moves on after `sticky_bytes`; its choices follow from the seed.
    pub const fn new(sticky_bytes: usize, seed: u64) -> Self {
        Self { sticky_bytes, sticky: -1, sent_bytes: 0, state: seed }
    }

    /// The partition of a record of `bytes` bytes, in a topic with `partitions` of them.
    ///
    /// An empty key is a key; only a missing one is not.
    pub fn partition(
        &mut self,
        asked: Option<PartitionIndex>,
        key: Option<&[u8]>,
        bytes: usize,
        partitions: i32,
    ) -> Result<PartitionIndex, NoSuchPartition> {
        match (asked, key) {
            (Some(partition), _) if (0..partitions).contains(&partition.0) => Ok(partition),
            (Some(partition), _) => Err(NoSuchPartition { partition, partitions }),
            (None, _) if partitions <= 0 => {
                Err(NoSuchPartition { partition: PartitionIndex(-1), partitions })
            }
            (None, Some(key)) => Ok(partition_of_key(key, partitions)),
            (None, None) => Ok(self.sticky(bytes, partitions)),
        }
    }

    fn sticky(&mut self, bytes: usize, partitions: i32) -> PartitionIndex {
        let is_stale = self.sticky >= partitions || self.sticky < 0;
        if is_stale || self.sent_bytes >= self.sticky_bytes {
            self.sticky = self.next(partitions);
            self.sent_bytes = 0;
        }
        self.sent_bytes = self.sent_bytes.saturating_add(bytes.max(1));
        PartitionIndex(self.sticky)
    }

    /// Another partition than the present one, if there is one.
    fn next(&mut self, partitions: i32) -> i32 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = (self.state >> 33) as i32;
        if self.sticky < 0 || self.sticky >= partitions {
            drawn % partitions
        } else if partitions == 1 {
            0
        } else {
            (self.sticky + 1 + drawn % (partitions - 1)) % partitions
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_tests() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn the_partition_asked_for_comes_before_the_key() {
        let mut p = Partitioner::new(100, 1);
        assert_eq!(p.partition(Some(PartitionIndex(3)), Some(b"abc"), 1, 4), Ok(PartitionIndex(3)));
        assert_eq!(p.partition(None, Some(b"abc"), 1, 12), Ok(PartitionIndex(479_470_107 % 12)));
        assert_eq!(
            p.partition(None, Some(b""), 1, 12),
            Ok(partition_of_key(b"", 12)),
            "an empty key is a key"
        );
        for bad in [-1, 4, i32::MAX] {
            let partition = PartitionIndex(bad);
            assert_eq!(
                p.partition(Some(partition), None, 1, 4),
                Err(NoSuchPartition { partition, partitions: 4 })
            );
        }
        assert!(p.partition(None, None, 1, 0).is_err());
    }

    #[test]
    fn records_without_a_key_stick_for_a_batch_and_reach_every_partition() {
        let mut p = Partitioner::new(100, 7);
        let mut seen = [0; 5];
        let mut last = None;
        for _ in 0..200 {
            let run: Vec<_> = (0..10).map(|_| p.partition(None, None, 10, 5).unwrap()).collect();
            assert!(run.windows(2).all(|pair| pair[0] == pair[1]), "ten records of ten bytes stay together");
            assert_ne!(Some(run[0]), last, "then it moves on");
            last = Some(run[0]);
            seen[run[0].0 as usize] += 1;
        }
        assert!(seen.iter().all(|n| *n > 20), "{seen:?}");
    }

    #[test]
    fn a_topic_that_shrinks_or_has_one_partition_is_served() {
        let mut p = Partitioner::new(1, 7);
        for partitions in [9, 1, 1, 3] {
            for _ in 0..20 {
                assert!((0..partitions).contains(&p.partition(None, None, 1, partitions).unwrap().0));
            }
        }
    }
}
