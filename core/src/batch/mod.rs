//! Record batches: Kafka's v2 format, checked once on the way in and never copied after that.
//!
//! A produce request's bytes go through [`validate`], a pure function, before any lock is taken; what comes
//! out is a [`ValidBatch`], and nothing else may be appended. [`stamp`] puts the leader's offset and epoch in
//! front of the shared bytes. [`records`] reads a stored batch back, [`Builder`] writes the batches of the
//! broker itself.
//!
//! Not in here: offsets, producer state and everything else that depends on the log; see [`crate::replica`].
//! Message sets older than v2 are refused, as Kafka 4 does (KIP-724).
//!
//! ```text
//!  0        8       12      16    17   21    23         27       35       43      51     53     57     61
//!  | base   | length| leader|magic| CRC| attri| last     | base   | max    | pro-  | pro- | base | record| records
//!  | offset |       | epoch |     |    | butes| offset   | time-  | time-  | ducer | ducer| se-  | count |
//!  |        |       |       |     |    |      | delta    | stamp  | stamp  | id    | epoch| quence       |
//!  '--- prefix, not under CRC ---' CRC-32C covers everything from the attributes on
//! ```

mod builder;
mod compression;
mod error;
mod header;
mod lz4_frame;
mod records;
mod replicated;
mod scan;
mod snappy;
mod stamp;
mod validate;
pub(crate) mod varint;

pub use builder::Builder;
pub use compression::{Codec, Compression, Scratch};
pub use error::{BatchError, RecordError};
pub use header::{Attributes, BatchHeader, HeaderError, TimestampType, crc_holds, crc32c};
pub use records::{Header, Record, Records, records};
pub use replicated::{ReplicatedError, replicated};
pub use stamp::{StampedBatch, stamp};
pub use validate::{Recompression, Rules, ValidBatch, validate, validate_with};

/// The bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;

/// The bytes in front of the magic: base offset, length, leader epoch. The CRC does not cover them.
pub const PREFIX_BYTES: usize = 16;

/// The bytes that the length field does not count: base offset and the length itself.
pub const LENGTH_OVERHEAD_BYTES: usize = 12;

/// The only format that is written or served.
pub const MAGIC: i8 = 2;

/// Where the bytes that the CRC covers begin.
pub(crate) const CRC_FROM: usize = 21;
