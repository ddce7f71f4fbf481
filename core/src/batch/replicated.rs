//! A leader's batches on their way into a follower's log: checked for wholeness, appended exactly as they are.

use super::{BatchHeader, HEADER_BYTES, StampedBatch, crc_holds};
use crate::ids::Offset;
use bytes::Bytes;
use std::fmt;

/// Bytes from a leader that are no sequence of whole batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicatedError {
    /// The base offset that the batch states, if it states one.
    pub base_offset: Option<Offset>,
    /// What is wrong.
    pub fault: &'static str,
}

impl fmt::Display for ReplicatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base_offset {
            Some(offset) => write!(f, "batch at offset {offset}: {}", self.fault),
            None => f.write_str(self.fault),
        }
    }
}

impl std::error::Error for ReplicatedError {}

/// The whole batches at the beginning of `bytes`, which they share. A batch that is cut off at the end is left for the
/// next fetch; the first one is not, or nothing would ever come of it.
///
/// Header and CRC only: the leader has validated the records. Whether the batches fit the log is the replica's to say.
pub fn replicated(bytes: &Bytes) -> Result<Vec<StampedBatch>, ReplicatedError> {
    let mut batches = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let is_first = batches.is_empty();
        let header = match BatchHeader::parse(&rest) {
            Ok(header) => header,
            Err(_) if !is_first && rest.len() < HEADER_BYTES => break,
            Err(_) => return Err(ReplicatedError { base_offset: None, fault: "no batch header is there" }),
        };
        let size = header.size_bytes();
        let error = |fault| ReplicatedError { base_offset: Some(header.base_offset), fault };
        if size > rest.len() {
            if is_first {
                return Err(error("it is cut off"));
            }
            break;
        }
        let batch = rest.split_to(size);
        if !crc_holds(&batch) {
            return Err(error("its checksum does not hold"));
        }
        if header.last_offset_delta < 0 || header.base_offset < Offset::ZERO {
            return Err(error("its offsets make no sense"));
        }
        batches.push(StampedBatch::stored(header, batch));
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Builder, Codec, stamp};
    use crate::ids::LeaderEpoch;
    use crate::time::Timestamp;

    fn stored(base: i64, records: usize) -> Vec<u8> {
        let mut builder = Builder::new(Codec::None);
        (0..records).for_each(|_| builder.push(Timestamp(1), None, Some(b"value"), &[]));
        let stamped = stamp(&builder.build(), Offset(base), LeaderEpoch(3), None);
        [stamped.head(), stamped.rest()].concat()
    }

    #[test]
    fn batches_are_taken_as_they_are() {
        let bytes = Bytes::from([stored(5, 2), stored(7, 1)].concat());
        let batches = replicated(&bytes).unwrap();
        let kept: Vec<u8> = batches.iter().flat_map(|b| [b.head(), b.rest()].concat()).collect();
        assert_eq!(kept, bytes);
        assert_eq!(batches.iter().map(|b| b.header.base_offset.0).collect::<Vec<_>>(), [5, 7]);
    }

    #[test]
    fn a_batch_cut_off_is_left_for_later_unless_it_is_the_first() {
        let two = [stored(5, 2), stored(7, 1)].concat();
        let first = stored(5, 2).len();
        for len in 0..two.len() {
            let cut = replicated(&Bytes::from(two[..len].to_vec()));
            match cut {
                Ok(batches) => assert_eq!(batches.len(), usize::from(len >= first), "{len} bytes"),
                Err(_) => assert!(len > 0 && len < first, "{len} bytes"),
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let mut bytes = stored(5, 2);
        *bytes.last_mut().unwrap() ^= 1;
        let error = replicated(&Bytes::from(bytes)).unwrap_err();
        assert_eq!(error.base_offset, Some(Offset(5)));
    }
}
