//! A small store for what can be rebuilt: producer snapshots, high watermarks, the node's own catalogue.
//!
//! Nothing may depend on it for safety: a flush need not survive a power cut, a damaged value reads as absent,
//! and a store that does not open is thrown away. What must last lives in the logs and the recovery points.

#[cfg(not(madsim))]
mod sled_store;

#[cfg(not(madsim))]
pub use sled_store::SledMeta;

use bytes::Bytes;
use std::fmt;

/// One change: a key and its new value, or `None` to remove it.
pub type Put = (Vec<u8>, Option<Vec<u8>>);

/// Why the store failed. It can always be done without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaStoreError(pub String);

impl fmt::Display for MetaStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the metadata store failed: {}", self.0)
    }
}

impl std::error::Error for MetaStoreError {}

/// A store of keys and values in key order.
pub trait MetaStore: fmt::Debug + Send + Sync {
    /// A key's value, if it is there and whole.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaStoreError>;

    /// Makes all the changes or none. Visible at once, kept after [`MetaStore::flush`].
    fn put_batch(&self, puts: &[Put]) -> Result<(), MetaStoreError>;

    /// Hands everything put to the device. Blocks; may not survive a power cut.
    fn flush(&self) -> Result<(), MetaStoreError>;

    /// The keys that begin with `prefix` and their values, in key order, at most `count_max`.
    fn scan(&self, prefix: &[u8], count_max: usize) -> Result<Vec<(Bytes, Bytes)>, MetaStoreError>;
}
