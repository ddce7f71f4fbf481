//! What clients do in a run.

pub mod admin;
pub mod consumer;
pub mod group;
pub mod producer;
