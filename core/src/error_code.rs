//! Kafka's error codes, as machines answer them.

pub use highwater_protocol::ErrorCode;
