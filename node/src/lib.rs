//! The broker: configuration, request handlers, partition cells, log storage, metrics, command line.

#[cfg(not(madsim))]
pub mod admin;
pub mod api;
pub mod background;
pub mod broker;
pub mod cell;
mod cleaning;
#[cfg(not(madsim))]
pub mod cli;
pub mod clock;
pub mod config;
pub mod controller;
pub mod counters;
pub mod disk;
pub mod features;
pub mod flusher;
mod founding;
pub mod housekeeping;
pub mod jobs;
mod listing;
pub mod log;
mod mending;
pub mod meta_store;
pub mod node;
pub mod os;
pub mod partition;
mod partitions;
pub mod peers;
pub mod producer_ids;
pub mod registration;
pub mod registry;
pub mod replication;
#[cfg(not(madsim))]
pub mod sendfile;
pub mod settings;
pub mod throttle;
pub mod timers;
mod watches;
