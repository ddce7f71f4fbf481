//! Nodes that talk to each other, over real loopback sockets and over streams in memory; and what they do with
//! others that do not keep to the rules.
#![cfg(not(madsim))]

mod bounds;
mod closing;
mod common;
mod hostility;
mod identity;
mod meeting;
