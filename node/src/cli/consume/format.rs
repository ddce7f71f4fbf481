//! How a record is printed: placeholders as kcat's, or JSON.

use super::super::datetime;
use bytes::Bytes;
use highwater_core::batch::Header;
use highwater_net_tcp::client::ConsumedRecord;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::io::{self, Write};
use std::str::FromStr;

/// A format that has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    DateTime,
    Key,
    Value,
    KeyLength,
    ValueLength,
    Headers,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match c {
                '%' => match chars.next() {
                    Some('%') => {
                        literal.push(b'%');
                        continue;
                    }
                    Some(c) => placeholder(c)?,
                    None => return Err("a % at the end; %% is a percent sign".to_owned()),
                },
                '\\' => {
                    escape(&mut chars, &mut literal)?;
                    continue;
                }
                c => {
                    literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }
}

fn placeholder(c: char) -> Result<Part, String> {
    Ok(match c {
        't' => Part::Topic,
        'p' => Part::Partition,
        'o' => Part::Offset,
        'T' => Part::Timestamp,
        'D' => Part::DateTime,
        'k' => Part::Key,
        'v' | 's' => Part::Value,
        'K' => Part::KeyLength,
        'V' | 'S' => Part::ValueLength,
        'h' => Part::Headers,
        other => return Err(format!("%{other} is nothing; there are %t %p %o %T %D %k %v %s %h %K %S %%")),
    })
}

fn escape(chars: &mut std::str::Chars<'_>, literal: &mut Vec<u8>) -> Result<(), String> {
    let byte = match chars.next() {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
            byte.ok_or_else(|| format!("\\x{digits}: two hexadecimal digits belong there"))?
        }
        other => {
            let other = other.map(String::from).unwrap_or_default();
            return Err(format!("\\{other} is nothing; there are \\n \\t \\r \\0 \\\\ \\xNN"));
        }
    };
    literal.push(byte);
    Ok(())
}

impl Format {
    /// Writes a record. Null is nothing, as with kcat; its length is −1.
    pub(super) fn write(&self, out: &mut impl Write, record: &ConsumedRecord) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Literal(bytes) => out.write_all(bytes)?,
                Part::Topic => out.write_all(record.lane.topic.as_bytes())?,
                Part::Partition => write!(out, "{}", record.lane.partition)?,
                Part::Offset => write!(out, "{}", record.offset)?,
                Part::Timestamp => write!(out, "{}", record.timestamp.0)?,
                Part::DateTime => out.write_all(datetime::format(record.timestamp).as_bytes())?,
                Part::Key => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Part::Value => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Part::KeyLength => write!(out, "{}", length(record.key.as_ref()))?,
                Part::ValueLength => write!(out, "{}", length(record.value.as_ref()))?,
                Part::Headers => write_headers(out, &record.headers)?,
            }
        }
        Ok(())
    }
}

fn length(bytes: Option<&Bytes>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

fn write_headers(out: &mut impl Write, headers: &[Header]) -> io::Result<()> {
    for (i, header) in headers.iter().enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        out.write_all(&header.key)?;
        out.write_all(b"=")?;
        out.write_all(header.value.as_deref().unwrap_or(b"NULL"))?;
    }
    Ok(())
}

/// A record as JSON. Bytes that are no UTF-8 stand under `key_base64` and `value_base64` instead.
#[derive(Debug)]
pub(in crate::cli) struct RecordJson<'a> {
    pub(in crate::cli) topic: Option<&'a str>,
    pub(in crate::cli) partition: Option<i32>,
    pub(in crate::cli) offset: i64,
    pub(in crate::cli) timestamp: i64,
    pub(in crate::cli) key: Option<&'a [u8]>,
    pub(in crate::cli) value: Option<&'a [u8]>,
    pub(in crate::cli) headers: &'a [Header],
}

impl<'a> RecordJson<'a> {
    pub(super) fn new(record: &'a ConsumedRecord) -> Self {
        Self {
            topic: Some(&record.lane.topic),
            partition: Some(record.lane.partition.0),
            offset: record.offset.0,
            timestamp: record.timestamp.0,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

impl Serialize for RecordJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(topic) = self.topic {
            map.serialize_entry("topic", topic)?;
        }
        if let Some(partition) = self.partition {
            map.serialize_entry("partition", &partition)?;
        }
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        entry(&mut map, "key", "key_base64", self.key)?;
        entry(&mut map, "value", "value_base64", self.value)?;
        map.serialize_entry("headers", &self.headers.iter().map(HeaderJson).collect::<Vec<_>>())?;
        map.end()
    }
}

struct HeaderJson<'a>(&'a Header);

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "key", "key_base64", Some(&self.0.key))?;
        entry(&mut map, "value", "value_base64", self.0.value.as_deref())?;
        map.end()
    }
}

fn entry<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    base64_name: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => map.serialize_entry(name, &None::<&str>),
        Some(Ok(text)) => map.serialize_entry(name, text),
        Some(Err(bytes)) => map.serialize_entry(base64_name, &base64(bytes)),
    }
}

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = char::from(DIGITS[(word >> (18 - 6 * i)) as usize & 63]);
            text.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::client::producer::Lane;
    use highwater_core::ids::{Offset, PartitionIndex};
    use highwater_core::time::Timestamp;

    fn record() -> ConsumedRecord {
        let header = |key: &'static [u8], value: Option<&'static [u8]>| Header {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        ConsumedRecord {
            lane: Lane { topic: "orders".into(), partition: PartitionIndex(2) },
            offset: Offset(17),
            timestamp: Timestamp(1000),
            key: None,
            value: Some(Bytes::from_static(b"a\xffb")),
            headers: vec![header(b"a", Some(b"1")), header(b"b", None)],
        }
    }

    fn written(format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        format.parse::<Format>().unwrap().write(&mut out, &record()).unwrap();
        out
    }

    #[test]
    fn placeholders_and_escapes_are_filled_in() {
        assert_eq!(written("%t-%p@%o %T [%k] %v\\n"), b"orders-2@17 1000 [] a\xffb\n");
        assert_eq!(written("%K %S 100%% \\x41\\t\\\\ %h"), b"-1 3 100% A\t\\ a=1,b=NULL");
        assert_eq!(written("%D"), b"1970-01-01T00:00:01.000Z");
        assert_eq!(written("\u{e4}"), "\u{e4}".as_bytes());
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        for format in ["%q", "%", "\\q", "\\", "\\xz1", "\\x1"] {
            assert!(format.parse::<Format>().is_err(), "{format}");
        }
    }

    #[test]
    fn json_keeps_bytes_that_are_no_text() {
        assert_eq!(
            serde_json::to_string(&RecordJson::new(&record())).unwrap(),
            r#"{"topic":"orders","partition":2,"offset":17,"timestamp":1000,"key":null,"value_base64":"Yf9i","headers":[{"key":"a","value":"1"},{"key":"b","value":null}]}"#
        );
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
