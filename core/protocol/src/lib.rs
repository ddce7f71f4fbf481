//! Kafka's wire protocol: messages declared once, every length bounded by the bytes that are left.
//!
//! No networking and no policy: what a message means is decided elsewhere. Each message is one version-free struct
//! in [`messages`], with everything the wire needs beside its fields; the derive macro makes the rest from that.

#![forbid(unsafe_code)]

extern crate self as highwater_protocol;

mod api_key;
mod error_code;
pub mod field;
mod message;
pub mod messages;
mod reader;
pub mod schema;
mod uuid;
mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use highwater_protocol_derive::Message;
pub use message::{Message, Request};
pub use reader::{DecodeError, Length, Reader};
pub use uuid::{Uuid, UuidError};
pub use writer::{EncodeError, Writer};
