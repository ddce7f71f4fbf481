//! The metadata quorum: stories of elections, replication, snapshots and voters, and arbitrary interleavings.

mod acts;
mod cluster;
mod elections;
mod interleavings;
mod replication;
mod voters;
