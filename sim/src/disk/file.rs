//! A file: what reads see, what is on the device, and the unsynced changes between the two.

use super::state::Rng;

/// A change that has not been synced.
#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut { len: usize },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    cache: Vec<u8>,
    device: Vec<u8>,
    unsynced: Vec<Change>,
}

/// The units in which a device writes, one of which a power cut respects.
const SECTORS: [usize; 2] = [512, 4096];

impl Inode {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn read(&self, buf: &mut [u8], at: usize) -> usize {
        let Some(bytes) = self.cache.get(at..) else { return 0 };
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        n
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.cache, at, bytes);
        self.unsynced.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(super) fn cut(&mut self, len: usize) {
        self.cache.resize(len, 0);
        self.unsynced.push(Change::Cut { len });
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { at, bytes } => put(&mut self.device, at, &bytes),
                Change::Cut { len } => self.device.resize(len, 0),
            }
        }
    }

    /// The kernel marks the pages clean although nothing was written. The length is no page: it stays to be written.
    pub(super) fn fail_sync(&mut self) {
        self.unsynced.retain(|change| matches!(change, Change::Cut { .. }));
    }

    /// Each unsynced change survives, is lost, or survives in some sectors only, independently of the others.
    pub(super) fn lose_power(&mut self, rng: &mut Rng) {
        let sector = SECTORS[rng.below(2) as usize];
        for change in std::mem::take(&mut self.unsynced) {
            match (change, rng.below(4)) {
                (_, 0) => {}
                (Change::Cut { len }, _) => self.device.resize(len, 0),
                (Change::Write { at, bytes }, 1 | 2) => put(&mut self.device, at, &bytes),
                (Change::Write { at, bytes }, _) => tear(&mut self.device, at, &bytes, sector, rng),
            }
        }
        self.cache = self.device.clone();
    }

    /// Rots one bit, on the device and in the cache.
    pub(super) fn flip(&mut self, at: usize, bit: u32) {
        for bytes in [&mut self.cache, &mut self.device] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
    }
}

fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

fn tear(to: &mut Vec<u8>, at: usize, bytes: &[u8], sector: usize, rng: &mut Rng) {
    let mut from = 0;
    while from < bytes.len() {
        let until = ((at + from) / sector * sector + sector - at).min(bytes.len());
        if rng.below(2) == 0 {
            put(to, at + from, &bytes[from..until]);
        }
        from = until;
    }
}
