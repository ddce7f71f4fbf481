//! Which APIs in which versions a server serves, and what it says of them.

use bytes::{BufMut, Bytes, BytesMut};
use highwater_protocol::API_TABLE;

/// One API with the versions that are served and advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    /// The API's key.
    pub api_key: i16,
    /// The lowest version served.
    pub version_min: i16,
    /// The highest version served, and advertised.
    pub version_max: i16,
    /// The lowest version advertised. Below `version_min` for Produce alone: old librdkafka looks there for
    /// its compression codecs (KAFKA-18659).
    pub advertised_min: i16,
    /// The first version with the flexible header (KIP-482); above `version_max` if none has.
    pub flexible_min: i16,
}

/// The APIs a server offers, at most one range per key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiTable {
    ranges: Vec<ApiRange>,
}

/// ApiVersions, the one API whose unknown versions are answered (KIP-511).
pub(crate) const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

impl ApiTable {
    /// A table of these ranges.
    ///
    /// # Panics
    /// If a key occurs twice.
    pub fn new(ranges: impl IntoIterator<Item = ApiRange>) -> Self {
        let mut ranges: Vec<ApiRange> = ranges.into_iter().collect();
        ranges.sort_by_key(|range| range.api_key);
        assert!(ranges.windows(2).all(|pair| pair[0].api_key < pair[1].api_key), "an api key occurs twice");
        Self { ranges }
    }

    /// What the protocol crate declares as served.
    pub fn served() -> Self {
        Self::new(API_TABLE.iter().filter_map(|api| {
            Some(ApiRange {
                api_key: api.key.code(),
                version_min: api.versions.min,
                version_max: api.versions.max,
                advertised_min: api.advertised?.min,
                flexible_min: if api.flexible.min <= api.flexible.max { api.flexible.min } else { i16::MAX },
            })
        }))
    }

    /// All ranges in the order of their keys, for the answer to ApiVersions.
    pub fn ranges(&self) -> &[ApiRange] {
        &self.ranges
    }

    /// The range of `api_key`, if it is offered.
    pub fn range(&self, api_key: i16) -> Option<&ApiRange> {
        self.ranges.binary_search_by_key(&api_key, |range| range.api_key).ok().map(|at| &self.ranges[at])
    }

    /// The range that serves this request, if any does.
    pub fn serving(&self, api_key: i16, api_version: i16) -> Option<&ApiRange> {
        self.range(api_key).filter(|range| (range.version_min..=range.version_max).contains(&api_version))
    }

    /// The answer to an ApiVersions request in a version not served: version 0 with the full list, so that
    /// the client can choose again (KIP-511).
    pub(crate) fn unsupported_version_answer(&self, correlation_id: i32) -> Bytes {
        let mut answer = BytesMut::with_capacity(10 + 6 * self.ranges.len());
        answer.put_i32(correlation_id);
        answer.put_i16(UNSUPPORTED_VERSION);
        answer.put_i32(i32::try_from(self.ranges.len()).expect("one range per 16-bit key"));
        for range in &self.ranges {
            answer.put_i16(range.api_key);
            answer.put_i16(range.advertised_min);
            answer.put_i16(range.version_max);
        }
        answer.freeze()
    }
}
