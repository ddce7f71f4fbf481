//! The real binary from outside: starting, stopping, being killed, and what a damaged data directory does to it.

mod admin;
mod bootstrap;
mod client;
mod crash;
mod damage;
mod disk_full;
mod fetching;
mod formation;
mod forwarding;
mod harness;
mod peers;
mod producer;
mod quorum;
mod quotas;
mod recovery;
mod requests;
mod roles;
mod serving;
