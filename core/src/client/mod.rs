//! What our own client decides. Not in here: its connections, which the shell owns.

pub mod partitioner;
