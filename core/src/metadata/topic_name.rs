//! Which names a topic may have.

use std::fmt;

/// The longest name of a topic, in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The topics that the cluster itself writes and clients only read.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// The name that Kafka keeps for its metadata log.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// Whether the cluster itself writes this topic.
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Why a name is none for a topic, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTopicName(String);

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidTopicName {}

/// Checks a topic's name as Kafka's `Topic.validate` does.
pub fn validate(name: &str) -> Result<(), InvalidTopicName> {
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(InvalidTopicName(format!("Topic name is invalid: {why}")))
}

/// What two colliding names share: `a.b` and `a_b` are one name in metrics. `None` if nothing can collide.
pub(super) fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_are_refused_in_kafkas_words() {
        let cases = [
            ("", "the empty string is not allowed"),
            (".", "'.' is not allowed"),
            ("..", "'..' is not allowed"),
            ("a b", "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
            ("ä", "'ä' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"),
        ];
        for (name, why) in cases {
            assert_eq!(
                validate(name).map_err(|e| e.0),
                Err(format!("Topic name is invalid: {why}")),
                "{name}"
            );
        }
        assert!(validate(&"a".repeat(250)).is_err());
        for name in ["a", "...", "A-b_c.9", &"a".repeat(249)] {
            assert_eq!(validate(name), Ok(()));
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert_eq!(collision_key("ab-c"), None);
    }
}
