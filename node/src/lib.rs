//! The broker: configuration, request handlers, partition cells, log storage, metrics, command line.

pub mod background;
pub mod cell;
pub mod clock;
pub mod config;
pub mod disk;
pub mod flusher;
pub mod loader;
pub mod log;
pub mod meta_store;
pub mod os;
pub mod partition;
pub mod settings;
pub mod timers;
