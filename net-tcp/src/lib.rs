//! Transport over TCP: Kafka framing and connections for clients.
#![forbid(unsafe_code)]
