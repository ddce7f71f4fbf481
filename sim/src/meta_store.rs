//! A [`MetaStore`] in memory that forgets at a crash what was not flushed.

use bytes::Bytes;
use highwater::meta_store::{MetaStore, MetaStoreError, Put};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The simulated store. Outlives the node it belongs to, as a disk does.
#[derive(Debug, Default)]
pub struct SimMetaStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: BTreeMap<Vec<u8>, Vec<u8>>,
    flushed: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl SimMetaStore {
    /// The power goes: everything since the last flush is forgotten.
    pub fn crash(&self) {
        let mut state = self.state();
        state.current = state.flushed.clone();
    }

    /// The store is lost as a whole, as after a sled that does not open.
    pub fn wipe(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetaStore for SimMetaStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaStoreError> {
        Ok(self.state().current.get(key).map(|v| Bytes::copy_from_slice(v)))
    }

    fn put_batch(&self, puts: &[Put]) -> Result<(), MetaStoreError> {
        let mut state = self.state();
        for (key, value) in puts {
            match value {
                Some(value) => state.current.insert(key.clone(), value.clone()),
                None => state.current.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), MetaStoreError> {
        let mut state = self.state();
        state.flushed = state.current.clone();
        Ok(())
    }

    fn scan(&self, prefix: &[u8], count_max: usize) -> Result<Vec<(Bytes, Bytes)>, MetaStoreError> {
        let state = self.state();
        let from = state.current.range(prefix.to_vec()..);
        let found = from.take_while(|(key, _)| key.starts_with(prefix)).take(count_max);
        Ok(found.map(|(k, v)| (Bytes::copy_from_slice(k), Bytes::copy_from_slice(v))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_forgets_what_was_not_flushed() {
        let store = SimMetaStore::default();
        store.put_batch(&[(b"a/1".to_vec(), Some(b"kept".to_vec()))]).unwrap();
        store.flush().unwrap();
        store.put_batch(&[(b"a/1".to_vec(), None), (b"a/2".to_vec(), Some(b"lost".to_vec()))]).unwrap();
        assert_eq!(store.scan(b"a/", 10).unwrap().len(), 1);
        store.crash();
        assert_eq!(store.scan(b"a/", 10).unwrap(), [(Bytes::from("a/1"), Bytes::from("kept"))]);
        store.wipe();
        assert_eq!(store.get(b"a/1").unwrap(), None);
    }
}
