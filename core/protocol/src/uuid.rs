//! Kafka's ids of topics, directories and members.

/// 128 bits that name a topic, a log directory or the like for ever (KIP-516).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// All zeroes: "no id".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is "no id".
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl std::fmt::Display for Uuid {
    /// URL-safe base64 without padding, as Kafka prints ids.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        // 21 digits of six bits, then the last two bits at the top of a digit
        for digit in 0..21 {
            let at = (bits >> (122 - 6 * digit)) & 63;
            write!(f, "{}", char::from(ALPHABET[at as usize]))?;
        }
        write!(f, "{}", char::from(ALPHABET[((bits & 3) << 4) as usize]))
    }
}

impl std::fmt::Debug for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Uuid {
    type Err = UuidError;

    /// Reads what [`Display`](std::fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, UuidError> {
        if text.len() != 22 {
            return Err(UuidError);
        }
        let mut bits = 0u128;
        for (i, c) in text.bytes().enumerate() {
            let digit = ALPHABET.iter().position(|a| *a == c).ok_or(UuidError)? as u128;
            bits = match i {
                21 if digit & 15 != 0 => return Err(UuidError),
                21 => (bits << 2) | (digit >> 4),
                _ => (bits << 6) | digit,
            };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

/// A text that is no id: not 22 digits of URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UuidError;

impl std::fmt::Display for UuidError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not an id of 22 base64 digits")
    }
}

impl std::error::Error for UuidError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_reads_as_kafka_does() {
        // from a running Kafka: the cluster metadata topic's fixed id is ...0001
        let one = Uuid(1u128.to_be_bytes());
        assert_eq!(one.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAQ".parse(), Ok(one));
        assert_eq!("AAAAAAAAAAAAAAAAAAAAAR".parse::<Uuid>(), Err(UuidError));
        assert_eq!("short".parse::<Uuid>(), Err(UuidError));
        let all = Uuid([0xff; 16]);
        assert_eq!(all.to_string().parse(), Ok(all));
    }
}
