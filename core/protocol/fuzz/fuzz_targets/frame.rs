//! A whole frame, as it comes from a connection.
#![no_main]

use bytes::Bytes;
use highwater_protocol::IncomingRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = IncomingRequest::decode(&Bytes::copy_from_slice(data));
});
