//! Kafka's wire protocol: messages declared once, every length bounded by the bytes that are left.
//!
//! No networking and no policy: what a message means is decided elsewhere. Each message is one version-free struct
//! in [`messages`], with everything the wire needs beside its fields; the derive macro makes the rest from that.

#![forbid(unsafe_code)]

extern crate self as highwater_protocol;

mod api;
mod api_key;
mod error_code;
pub mod fetch;
pub mod field;
mod header;
mod message;
pub mod messages;
pub mod produce;
mod reader;
pub mod schema;
mod text;
pub mod topics;
mod uuid;
mod writer;

pub use api::{
    API_TABLE, Api, Features, IncomingRequest, RequestBody, ResponseBody, api_versions_response,
    api_versions_unsupported,
};
pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use header::{RequestError, RequestHeader, ResponseHeader, decode_response, request_frame};
pub use highwater_protocol_derive::Message;
pub use message::{Message, Request};
pub use reader::{DecodeError, Length, Reader};
pub use text::Text;
pub use uuid::{Uuid, UuidError};
pub use writer::{EncodeError, Writer};
