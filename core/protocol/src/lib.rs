//! Kafka's wire protocol: messages declared once, every length bounded by the bytes that are left.
#![forbid(unsafe_code)]
