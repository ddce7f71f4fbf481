//! The oracles: each a named function that compares what it is given and says what is wrong. None draws a random
//! number and none changes anything.

pub mod coordinator;
pub mod liveness;
pub mod log;
pub mod metadata;
pub mod quorum;
pub mod records;
pub mod replication;
