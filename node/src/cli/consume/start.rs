//! Where reading begins.

use super::super::connect::Client;
use super::super::offsets::{self, Place};
use super::super::{CliError, datetime};
use highwater_core::time::Timestamp;
use std::collections::BTreeMap;
use std::str::FromStr;

/// `--from`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Earliest,
    Latest,
    Offset(i64),
    Time(Timestamp),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" | "beginning" => Ok(Self::Earliest),
            "latest" | "end" => Ok(Self::Latest),
            _ => match text.parse() {
                Ok(offset) if offset >= 0 => Ok(Self::Offset(offset)),
                Ok(_) => Err("offsets are not negative; --tail N begins N records before the end".to_owned()),
                Err(_) => datetime::parse(text)
                    .map(Self::Time)
                    .map_err(|error| format!("{error}; or earliest, latest or an offset")),
            },
        }
    }
}

/// The first offset to read in each partition.
pub(super) async fn begins(
    from: Option<From>,
    tail: Option<u32>,
    follow: bool,
    places: &[Place],
    ends: &BTreeMap<Place, i64>,
    cluster: &Client,
) -> Result<BTreeMap<Place, i64>, CliError> {
    let starts = offsets::list(cluster, places, offsets::EARLIEST).await?;
    let from = from.unwrap_or(if follow { From::Latest } else { From::Earliest });
    if let Some(tail) = tail {
        let begin = |place: &Place| ends.get(place).map_or(0, |end| end - i64::from(tail));
        return Ok(starts.iter().map(|(place, start)| (place.clone(), begin(place).max(*start))).collect());
    }
    match from {
        From::Earliest => Ok(starts),
        From::Latest => Ok(ends.clone()),
        // What was deleted cannot be read; what is to come can, once it has come.
        From::Offset(offset) => {
            Ok(starts.into_iter().map(|(place, start)| (place, offset.max(start))).collect())
        }
        From::Time(timestamp) => {
            let mut begins = ends.clone();
            begins.extend(offsets::list(cluster, places, timestamp).await?);
            Ok(begins)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_are_read() {
        for (text, from) in [
            ("earliest", From::Earliest),
            ("latest", From::Latest),
            ("17", From::Offset(17)),
            ("@17", From::Time(Timestamp(17))),
            ("1970-01-02", From::Time(Timestamp(86_400_000))),
        ] {
            assert_eq!(text.parse(), Ok(from), "{text}");
        }
        for text in ["-5", "first", ""] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
    }
}
