//! What our own client decides. Not in here: its connections, which the shell owns.

pub mod consumer;
pub mod partitioner;
pub mod producer;
