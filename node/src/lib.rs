//! The broker: configuration, request handlers, partition cells, log storage, metrics, command line.

pub mod disk;
pub mod log;
pub mod os;
