//! A disk that behaves as badly as the contract of [`highwater::disk`] allows, from a seed.
//!
//! Every file has what reads see (the page cache) and what is on the device; between them lies a journal of
//! unsynced writes. Directories have the same: names that are seen and names that are durable. A
//! [`SimDisk::power_cut`] applies any subset of what was unsynced, writes torn at a sector; a
//! [`SimDisk::kill`] loses nothing, as when only the process dies.
//!
//! ```text
//! write ──> cache ──┬── sync ok ──> device          power cut: each unsynced write survives, is torn or is lost
//!                   └── sync error: the writes are dropped, reads still see them (ST-01)
//! ```
//! The disk draws only from its own generator, so that a run depends on its seed and its calls alone.

mod file;
mod state;

pub use state::{DiskFaults, SimDisk};
