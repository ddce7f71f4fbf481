//! Which clients a subscription of metrics is for (KIP-714): `client_id=rider-.*,client_software_name=librdkafka`.
//!
//! Kafka's patterns are Java's, which know look-around and back-references; a pattern with either is refused here, as
//! its time to match has no bound. All others mean the same.

use regex::RegexBuilder;

/// What a pattern may be asked of, as Kafka's `ClientMetricsConfigs`.
const PARAMETERS: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// The most bytes that a compiled pattern takes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Whether a word of `match` says what is asked, and the pattern for it. The error is Kafka's, and why.
pub(super) fn check(word: &str) -> Result<(), String> {
    let illegal = |why: &str| Err(format!("Illegal client matching pattern: {word} ({why})"));
    let parts = word.split_once('=').filter(|(_, pattern)| !pattern.is_empty() && !pattern.contains('='));
    let Some((parameter, pattern)) = parts else { return illegal("it is not PARAMETER=PATTERN") };
    if !PARAMETERS.contains(&parameter.trim()) {
        return illegal(&format!("the parameter is none of {}", PARAMETERS.join(", ")));
    }
    match RegexBuilder::new(pattern.trim()).size_limit(PATTERN_BYTES_MAX).build() {
        Ok(_) => Ok(()),
        Err(error) => illegal(error.to_string().lines().last().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for word in ["client_id=rider-.*", " client_software_version = 11\\.1.* ", "client_source_port=a|b"] {
            assert_eq!(check(word), Ok(()));
        }
        for (word, why) in [
            ("client_id", "PARAMETER=PATTERN"),
            ("client_id=", "PARAMETER=PATTERN"),
            ("client_id=a=b", "PARAMETER=PATTERN"),
            ("rider=a", "none of client_id, client_instance_id,"),
            ("client_id=(", "unclosed group"),
            ("client_id=a)(b", "unopened group"),
            ("client_id=(?!a)", "look-around"),
            ("client_id=(a)\\1", "backreferences"),
            ("client_id=(a{1000}){1000}", "exceeds size limit"),
        ] {
            let error = check(word).expect_err(word);
            assert!(error.starts_with("Illegal client matching pattern: ") && error.contains(why), "{error}");
        }
    }
}
