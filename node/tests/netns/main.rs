//! Three real processes on three machines, as far as the kernel is concerned: each in a network namespace of its own,
//! with a router between them that drops packets, one way or both. Clients sit at the router and reach every node all
//! the time, so that whoever still believes to lead would be written to.
//!
//! It takes minutes, root and iproute2, so it is run only if asked for: `HIGHWATER_NETNS=short` makes every trouble last
//! just longer than the time-outs of the cluster, `HIGHWATER_NETNS=long` as long as people fear (half a minute stopped).
//! Where it was asked for and cannot be had, it fails.
#![cfg(not(madsim))]

#[path = "../broker/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of one broker")]
mod harness;
mod lab;
mod nodes;
mod stories;
mod writers;
