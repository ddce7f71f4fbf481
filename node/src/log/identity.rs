//! Whose log a directory is: `<topic>-<partition>` with a `partition.metadata` file, as Kafka names them.

use highwater_core::ids::{PartitionIndex, TopicId, TopicPartition};

/// The file in each partition directory that tells the topic's id.
pub const METADATA_FILE: &str = "partition.metadata";

/// Longest `partition.metadata` that is read.
pub(super) const METADATA_BYTES_MAX: u64 = 1024;

/// What a directory that waits for its removal ends with.
pub(super) const DELETED_SUFFIX: &str = "-delete";

/// The directory name of a partition's log.
pub fn dir_name(topic: &str, partition: PartitionIndex) -> String {
    format!("{topic}-{partition}")
}

/// The topic and partition that a directory name tells, if it is a partition's.
pub fn parse_dir_name(name: &str) -> Option<(&str, PartitionIndex)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let is_number = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
    if topic.is_empty() || !is_number {
        return None;
    }
    Some((topic, PartitionIndex(partition.parse().ok()?)))
}

/// The name a directory takes until its files are removed. The id keeps two lives of one name apart.
pub(super) fn deleted_dir_name(tp: TopicPartition) -> String {
    // The topic's name is left out: with id and suffix it might not fit the file system.
    format!("{}.{}{DELETED_SUFFIX}", tp.partition, tp.topic_id)
}

/// The name of a damaged log's directory once another log has taken its place. It stays until an operator removes it.
pub(super) fn damaged_dir_name(tp: TopicPartition) -> String {
    format!("{}.{}-damaged", tp.partition, tp.topic_id)
}

/// Whether a directory waits for its removal.
pub(super) fn is_deleted_dir(name: &str) -> bool {
    name.ends_with(DELETED_SUFFIX) && name.contains('.')
}

/// The content of `partition.metadata`, in Kafka's format.
pub(super) fn encode(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}\n")
}

/// The topic id in a `partition.metadata`.
pub fn decode(text: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(text).ok()?;
    let field = |name| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    if field("version")? != "0" {
        return None;
    }
    parse_topic_id(field("topic_id")?)
}

/// Reads what [`TopicId`] prints: URL-safe base64 without padding.
pub fn parse_topic_id(text: &str) -> Option<TopicId> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0u32;
    let mut bit_count = 0;
    let mut id = Vec::with_capacity(17);
    for c in text.bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            id.push((bits >> bit_count) as u8);
            bits &= (1 << bit_count) - 1;
        }
    }
    (bits == 0).then_some(TopicId(id.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_read_back() {
        for topic in ["a", "with-dash", "with.dot", "ends-7"] {
            let name = dir_name(topic, PartitionIndex(12));
            assert_eq!(parse_dir_name(&name), Some((topic, PartitionIndex(12))), "{name}");
        }
        for other in ["lost+found", "meta", "-3", "a-", "a-+1", "a-99999999999", "checkpoints"] {
            assert_eq!(parse_dir_name(other), None, "{other}");
        }
        let tp = TopicPartition { topic_id: TopicId([3; 16]), partition: PartitionIndex(4) };
        assert!(is_deleted_dir(&deleted_dir_name(tp)));
        assert!(!is_deleted_dir("a.b-3"));
        assert_eq!(parse_dir_name(&deleted_dir_name(tp)), None);
        assert_eq!(parse_dir_name(&damaged_dir_name(tp)), None);
        assert!(!is_deleted_dir(&damaged_dir_name(tp)), "nothing removes it");
    }

    #[test]
    fn metadata_files_read_back_and_damage_shows() {
        let id = TopicId([0, 1, 2, 3, 250, 251, 252, 253, 254, 255, 10, 11, 12, 13, 14, 15]);
        let text = encode(id);
        assert_eq!(decode(text.as_bytes()), Some(id));
        assert_eq!(decode(&text.as_bytes()[..20]), None);
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA\n"), None);
        assert_eq!(parse_topic_id("_____________________x"), None, "the last digit has two bits only");
    }
}
