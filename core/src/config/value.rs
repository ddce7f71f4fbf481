//! A setting's value: from text to its type, with the words in which Kafka refuses a bad one.

use super::client_match;
use super::definition::{Class, Definition, Kind, Valid};
use std::fmt;

/// Why a value is no value of its setting. Its text is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue(pub String);

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidValue {}

impl Definition {
    /// Whether `text` is a legal value, and if not, Kafka's words for why.
    pub fn validate(&self, text: &str) -> Result<(), InvalidValue> {
        let text = text.trim();
        match self.kind {
            Kind::Int => self.check_integer(text, i64::from(i32::MIN), i64::from(i32::MAX))?,
            Kind::Short => self.check_integer(text, i64::from(i16::MIN), i64::from(i16::MAX))?,
            Kind::Long => self.check_integer(text, i64::MIN, i64::MAX)?,
            Kind::Double => self.check_double(text)?,
            Kind::Boolean => {
                if parse_boolean(text).is_none() {
                    return Err(self.invalid(text, "Expected value to be either true or false"));
                }
            }
            Kind::List => self.check_list(text)?,
            Kind::String | Kind::Class | Kind::Password => self.check_text(text)?,
        }
        if self.class == Class::Refused && !self.is_default(text) {
            return Err(self.invalid(text, "This broker does not support it, and would be unsafe without it"));
        }
        Ok(())
    }

    /// The value as DescribeConfigs shows it: as parsed, and written as Java does.
    pub fn canonical(&self, text: &str) -> String {
        let trimmed = text.trim();
        match self.kind {
            Kind::Boolean => trimmed.to_ascii_lowercase(),
            Kind::Int | Kind::Short | Kind::Long => {
                parse_long(trimmed).map_or_else(|| trimmed.to_owned(), |number| number.to_string())
            }
            Kind::Double => trimmed.parse().map_or_else(|_| trimmed.to_owned(), java_double),
            Kind::List if self.valid == Valid::ThrottledReplicas => list(text).collect::<Vec<_>>().join(","),
            Kind::List => {
                let mut words: Vec<&str> = Vec::new();
                for word in list(text) {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                words.join(",")
            }
            Kind::Password => text.to_owned(),
            Kind::String | Kind::Class => trimmed.to_owned(),
        }
    }

    fn is_default(&self, text: &str) -> bool {
        self.canonical(text) == self.default.unwrap_or_default()
    }

    fn check_integer(&self, text: &str, lowest: i64, highest: i64) -> Result<(), InvalidValue> {
        let number = parse_long(text)
            .filter(|n| (lowest..=highest).contains(n))
            .ok_or_else(|| self.invalid(text, &format!("Not a number of type {}", self.kind)))?;
        match self.valid {
            Valid::AtLeast(min) | Valid::Between(min, _) if number < min => {
                Err(self.invalid(number, &format!("Value must be at least {min}")))
            }
            Valid::Between(_, max) if number > max => {
                Err(self.invalid(number, &format!("Value must be no more than {max}")))
            }
            Valid::GzipLevel if number != -1 && !(1..=9).contains(&number) => {
                Err(self.invalid(number, "Value must be between 1 and 9 or equal to -1"))
            }
            _ => Ok(()),
        }
    }

    fn check_double(&self, text: &str) -> Result<(), InvalidValue> {
        let number: f64 =
            text.parse().map_err(|_| self.invalid(text, &format!("Not a number of type {}", self.kind)))?;
        match self.valid {
            // Not a number is refused, too; Kafka lets it pass and then compares with it.
            Valid::Fraction(_) if number.is_nan() || number < 0.0 => {
                Err(self.invalid(text, "Value must be at least 0"))
            }
            Valid::Fraction(max) if number > max => {
                Err(self.invalid(text, &format!("Value must be no more than {max}")))
            }
            _ => Ok(()),
        }
    }

    fn check_list(&self, text: &str) -> Result<(), InvalidValue> {
        if !text.is_empty() && text.split(',').any(|word| word.trim().is_empty()) {
            return Err(InvalidValue(format!("Configuration '{}' values must not be empty.", self.name)));
        }
        match self.valid {
            Valid::OneOf(words) => match list(text).find(|word| !words.contains(word)) {
                Some(word) => Err(self.not_one_of(word, words)),
                None => Ok(()),
            },
            Valid::ThrottledReplicas if !is_throttled_replicas(text) => {
                let shown = list(text).collect::<Vec<_>>().join(", ");
                let why = format!(
                    "{} must be the literal '*' or a list of replicas in the following format: \
                     [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                    self.name
                );
                Err(self.invalid(format!("[{shown}]"), &why))
            }
            Valid::ClientMatch => {
                list(text).try_for_each(|word| client_match::check(word).map_err(InvalidValue))
            }
            _ => Ok(()),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), InvalidValue> {
        match self.valid {
            Valid::OneOf(words) if !words.contains(&text) => Err(self.not_one_of(text, words)),
            Valid::OneOfIgnoringCase(words) if !words.iter().any(|w| w.eq_ignore_ascii_case(text)) => {
                let why = format!("String must be one of (case insensitive): {}", words.join(", "));
                Err(self.invalid(text, &why))
            }
            Valid::NonEmpty if text.is_empty() => Err(self.invalid(text, "String must be non-empty")),
            Valid::OffsetReset if !is_offset_reset(text) => Err(self.invalid(
                text,
                "Invalid value for share.auto.offset.reset: must be 'earliest', 'latest' or \
                 'by_duration:<duration>' with a duration in ISO8601 format",
            )),
            _ => Ok(()),
        }
    }

    fn not_one_of(&self, word: &str, words: &[&str]) -> InvalidValue {
        self.invalid(word, &format!("String must be one of: {}", words.join(", ")))
    }

    fn invalid(&self, value: impl fmt::Display, why: &str) -> InvalidValue {
        InvalidValue(format!("Invalid value {value} for configuration {}: {why}", self.name))
    }
}

/// As Java's `Double.toString`: with a point always, and an exponent for what is large or small.
fn java_double(number: f64) -> String {
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

/// A boolean as Kafka reads it: `true` or `false` in any case.
pub fn parse_boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// An integer as Kafka reads it: decimal, with an optional sign.
pub fn parse_long(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// The words of a list, trimmed, without those that are empty.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn is_throttled_replicas(text: &str) -> bool {
    let pair = |word: &str| {
        word.split_once(':').is_some_and(|(partition, broker)| {
            let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            digits(partition) && digits(broker)
        })
    };
    text == "*" || list(text).all(pair)
}

fn is_offset_reset(text: &str) -> bool {
    match text.strip_prefix("by_duration:") {
        None => matches!(text, "earliest" | "latest"),
        Some(duration) => {
            duration.starts_with(['P', 'p'])
                && duration.len() > 2
                && duration.ends_with(|c: char| "DHMSdhms".contains(c))
                && duration[1..].chars().all(|c| c.is_ascii_digit() || "DTHMS.dthms".contains(c))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{BROKER, CLIENT_METRICS, GROUP, TOPIC};

    fn refusal(name: &str, value: &str) -> Option<String> {
        TOPIC.definition(name).expect("a setting of the table").validate(value).err().map(|e| e.0)
    }

    #[test]
    fn bad_values_are_refused_in_kafkas_words() {
        // Asked of Kafka 4.3.1's LogConfig.validate.
        let cases = [
            (
                "retention.ms",
                "soon",
                "Invalid value soon for configuration retention.ms: Not a number of type LONG",
            ),
            (
                "retention.ms",
                "-4",
                "Invalid value -4 for configuration retention.ms: Value must be at least -1",
            ),
            (
                "retention.ms",
                "99999999999999999999",
                "Invalid value 99999999999999999999 for configuration retention.ms: Not a number of type LONG",
            ),
            (
                "segment.bytes",
                "99999999999",
                "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT",
            ),
            (
                "segment.bytes",
                "-4",
                "Invalid value -4 for configuration segment.bytes: Value must be at least 1048576",
            ),
            (
                "cleanup.policy",
                "shred",
                "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            ("cleanup.policy", "delete,,compact", "Configuration 'cleanup.policy' values must not be empty."),
            (
                "compression.gzip.level",
                "0",
                "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
            ),
            (
                "compression.lz4.level",
                "18",
                "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
            ),
            (
                "preallocate",
                "yes",
                "Invalid value yes for configuration preallocate: Expected value to be either true or false",
            ),
            (
                "min.cleanable.dirty.ratio",
                "x",
                "Invalid value x for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
            ),
            (
                "leader.replication.throttled.replicas",
                "1:2,x",
                "Invalid value [1:2, x] for configuration leader.replication.throttled.replicas: \
                 leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the \
                 following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            ),
            (
                "message.timestamp.type",
                "foo",
                "Invalid value foo for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
            ),
        ];
        for (name, value, expect) in cases {
            assert_eq!(refusal(name, value).as_deref(), Some(expect), "{name}={value}");
        }
    }

    #[test]
    fn values_that_kafka_takes_are_taken() {
        let cases = [
            ("retention.ms", " 5 "),
            ("retention.bytes", "-7"),
            ("cleanup.policy", ""),
            ("cleanup.policy", "delete,delete"),
            ("cleanup.policy", " delete , compact "),
            ("preallocate", "TRUE"),
            ("leader.replication.throttled.replicas", "*"),
            ("leader.replication.throttled.replicas", "0:1,0:2"),
            ("compression.gzip.level", "-1"),
            ("compression.zstd.level", "-131072"),
        ];
        for (name, value) in cases {
            assert_eq!(refusal(name, value), None, "{name}={value}");
        }
    }

    #[test]
    fn values_are_shown_as_parsed() {
        let shown = |name: &str, value: &str| TOPIC.definition(name).expect("a setting").canonical(value);
        for (name, value, expect) in [
            ("retention.ms", " +5 ", "5"),
            ("retention.ms", "007", "7"),
            ("segment.bytes", "-0", "0"),
            ("min.cleanable.dirty.ratio", "1", "1.0"),
            ("min.cleanable.dirty.ratio", ".5", "0.5"),
            ("min.cleanable.dirty.ratio", "0", "0.0"),
            ("min.cleanable.dirty.ratio", "0.00001", "1.0E-5"),
            ("min.cleanable.dirty.ratio", "1.25e-5", "1.25E-5"),
            ("cleanup.policy", "compact, delete,compact", "compact,delete"),
            ("preallocate", "TRUE", "true"),
        ] {
            assert_eq!(shown(name, value), expect, "{name}={value}");
        }
    }

    #[test]
    fn what_would_be_unsafe_to_ignore_is_refused() {
        assert!(refusal("remote.storage.enable", "true").is_some());
        assert_eq!(refusal("remote.storage.enable", "false"), None);
        let authorizer = BROKER.definition("authorizer.class.name").expect("a setting of the table");
        assert!(authorizer.validate("org.apache.kafka.metadata.authorizer.StandardAuthorizer").is_err());
        assert!(authorizer.validate("").is_ok());
    }

    #[test]
    fn every_default_is_valid() {
        for schema in [&TOPIC, &BROKER, &GROUP, &CLIENT_METRICS] {
            for definition in schema.definitions() {
                if let Some(default) = definition.default {
                    assert_eq!(definition.validate(default), Ok(()), "{}", definition.name);
                    assert_eq!(definition.canonical(default), default, "{}", definition.name);
                }
            }
        }
    }

    #[test]
    fn offset_resets() {
        let reset = GROUP.definition("share.auto.offset.reset").expect("a setting of the table");
        for good in ["earliest", "latest", "by_duration:PT1H30M", "by_duration:P1D", "by_duration:PT0.5S"] {
            assert!(reset.validate(good).is_ok(), "{good}");
        }
        for bad in ["none", "by_duration:", "by_duration:1h", "by_duration:PT", "by_duration:P1Y"] {
            assert!(reset.validate(bad).is_err(), "{bad}");
        }
    }
}
