//! The store on sled 0.34, which does not survive every power cut: values carry a checksum, and a store that does
//! not open is moved aside and begun anew. One that is only locked is whole, and is waited for.

use super::{MetaStore, MetaStoreError, Put};
use bytes::Bytes;
use highwater_core::batch::crc32c;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What sled may keep in memory. The store is written often and read at the start only.
const CACHE_BYTES: u64 = 4 << 20;

/// The bytes of the checksum in front of each value.
const CRC_BYTES: usize = 4;

/// How long a store may be locked by whoever had it before. The lock outlives a store that was dropped as long as a
/// job of it runs, or a child of the process has not yet become another program.
const LOCKED_MAX: Duration = Duration::from_secs(10);
/// What sled 0.34 says of a store that is locked; it has no kind of error for that.
const LOCKED: &str = "could not acquire lock";
/// How often a locked store is tried.
const LOCKED_RETRY: Duration = Duration::from_millis(10);

/// A [`MetaStore`] on sled.
#[derive(Debug)]
pub struct SledMeta {
    db: sled::Db,
    thrown_away: Option<String>,
}

impl SledMeta {
    /// Opens the store in `dir`, or throws away what is there and begins anew; [`SledMeta::thrown_away`] tells.
    /// Blocks while somebody else has it open, and fails when that takes longer than [`LOCKED_MAX`].
    pub fn open(dir: &Path) -> Result<Self, MetaStoreError> {
        Self::open_within(dir, LOCKED_MAX)
    }

    fn open_within(dir: &Path, locked_max: Duration) -> Result<Self, MetaStoreError> {
        let started = Instant::now();
        let cause = loop {
            match open_db(dir) {
                Ok(db) => return Ok(Self { db, thrown_away: None }),
                Err(cause) if !cause.contains(LOCKED) => break cause,
                Err(cause) if started.elapsed() >= locked_max => {
                    return Err(MetaStoreError(format!("another process has it open: {cause}")));
                }
                Err(_) => std::thread::sleep(LOCKED_RETRY),
            }
        };
        let failed = |e: std::io::Error| MetaStoreError(format!("{}: {e}", dir.display()));
        let aside = aside(dir);
        // Whatever was put aside before is of no use any more.
        if aside.exists() {
            std::fs::remove_dir_all(&aside).or_else(|_| std::fs::remove_file(&aside)).map_err(failed)?;
        }
        std::fs::rename(dir, &aside).map_err(failed)?;
        let db = open_db(dir)
            .map_err(|e| MetaStoreError(format!("{} cannot be made anew: {e}", dir.display())))?;
        Ok(Self { db, thrown_away: Some(cause) })
    }

    /// Why the store that was there could not be used; everything in it is to be rebuilt.
    pub fn thrown_away(&self) -> Option<&str> {
        self.thrown_away.as_deref()
    }
}

fn aside(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".unreadable");
    PathBuf::from(name)
}

/// sled panics on some damaged files, so a panic here is one more way not to open.
fn open_db(dir: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    }
}

fn failed(error: sled::Error) -> MetaStoreError {
    MetaStoreError(error.to_string())
}

fn seal(value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CRC_BYTES + value.len());
    sealed.extend_from_slice(&crc32c(value).to_be_bytes());
    sealed.extend_from_slice(value);
    sealed
}

fn unseal(sealed: &[u8]) -> Option<Bytes> {
    let (crc, value) = sealed.split_at_checked(CRC_BYTES)?;
    (crc == crc32c(value).to_be_bytes()).then(|| Bytes::copy_from_slice(value))
}

impl MetaStore for SledMeta {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, MetaStoreError> {
        Ok(self.db.get(key).map_err(failed)?.and_then(|sealed| unseal(&sealed)))
    }

    fn put_batch(&self, puts: &[Put]) -> Result<(), MetaStoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in puts {
            match value {
                Some(value) => batch.insert(key.as_slice(), seal(value)),
                None => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch).map_err(failed)
    }

    fn flush(&self) -> Result<(), MetaStoreError> {
        self.db.flush().map(|_| ()).map_err(failed)
    }

    fn scan(&self, prefix: &[u8], count_max: usize) -> Result<Vec<(Bytes, Bytes)>, MetaStoreError> {
        let mut found = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            if found.len() == count_max {
                break;
            }
            let (key, sealed) = entry.map_err(failed)?;
            if let Some(value) = unseal(&sealed) {
                found.push((Bytes::copy_from_slice(&key), value));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Put {
        (key.into(), Some(value.into()))
    }

    /// A store that holds `v` under `k` and is closed.
    fn left_behind() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let store = SledMeta::open(&path).unwrap();
        store.put_batch(&[put("k", "v")]).unwrap();
        store.flush().unwrap();
        (dir, path)
    }

    #[test]
    fn what_is_put_is_read_and_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        let store = SledMeta::open(&path).unwrap();
        store.put_batch(&[put("a/1", "one"), put("a/2", "two"), put("b/1", "other")]).unwrap();
        store.put_batch(&[("a/1".into(), None), put("a/3", "three")]).unwrap();
        store.flush().unwrap();
        drop(store);
        let store = SledMeta::open(&path).unwrap();
        assert_eq!(store.thrown_away(), None);
        assert_eq!(store.get(b"a/1").unwrap(), None);
        assert_eq!(store.get(b"a/2").unwrap().unwrap(), "two");
        let keys = |max| store.scan(b"a/", max).unwrap().into_iter().map(|(k, _)| k).collect::<Vec<_>>();
        assert_eq!(keys(10), ["a/2", "a/3"]);
        assert_eq!(keys(1), ["a/2"]);
    }

    #[test]
    fn a_store_that_does_not_open_is_begun_anew() {
        let (_dir, path) = left_behind();
        for damage in ["first", "second"] {
            let conf = path.join("conf");
            let mut bytes = std::fs::read(&conf).unwrap();
            bytes[0] ^= 0xff;
            std::fs::write(&conf, bytes).unwrap();
            let store = SledMeta::open(&path).unwrap();
            assert!(store.thrown_away().is_some());
            assert_eq!(store.get(b"k").unwrap(), None);
            store.put_batch(&[put("k", damage)]).unwrap();
            store.flush().unwrap();
            drop(store);
            assert_eq!(SledMeta::open(&path).unwrap().get(b"k").unwrap().unwrap(), damage);
        }
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::write(&path, b"a file where the directory should be").unwrap();
        assert!(SledMeta::open(&path).unwrap().thrown_away().is_some());
    }

    #[test]
    fn a_store_that_is_still_locked_is_waited_for_and_never_thrown_away() {
        let (_dir, path) = left_behind();
        let holder = std::fs::File::open(path.join("db")).unwrap();
        holder.lock().unwrap();
        let refused = SledMeta::open_within(&path, LOCKED_RETRY).unwrap_err();
        assert!(refused.0.contains("another process has it open"), "{refused}");
        assert!(!aside(&path).exists());
        let store = std::thread::scope(|scope| {
            let opening = scope.spawn(|| SledMeta::open(&path).unwrap());
            std::thread::sleep(3 * LOCKED_RETRY);
            drop(holder);
            opening.join().unwrap()
        });
        assert_eq!(store.thrown_away(), None);
        assert_eq!(store.get(b"k").unwrap().unwrap(), "v");
    }

    #[test]
    fn a_damaged_value_reads_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledMeta::open(&dir.path().join("meta")).unwrap();
        store.db.insert(b"k", b"abcd-not-its-checksum").unwrap();
        store.db.insert(b"short", b"x").unwrap();
        assert_eq!(store.get(b"k").unwrap(), None);
        assert_eq!(store.get(b"short").unwrap(), None);
        assert!(store.scan(b"", 10).unwrap().is_empty());
    }
}
