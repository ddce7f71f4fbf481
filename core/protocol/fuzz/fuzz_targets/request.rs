//! The body of one API's request, the API being the one that the binary is named for. The first byte of the input
//! chooses the version. What is read must be written and read again as the same, which is compared as bytes: two
//! quotas that are not a number are not equal.
#![no_main]

use bytes::Bytes;
use highwater_protocol::messages::*;
use highwater_protocol::{ApiKey, Request};
use libfuzzer_sys::fuzz_target;

/// `JoinGroup` is fuzzed by the binary `join_group`.
fn is_fuzzed(key: ApiKey) -> bool {
    key.name().to_lowercase() == env!("CARGO_BIN_NAME").replace('_', "")
}

fn check<R: Request>(version: u8, body: &Bytes) {
    let versions: Vec<i16> = R::VERSIONS.iter().collect();
    let version = versions[usize::from(version) % versions.len()];
    if let Ok(message) = R::from_bytes(body, version) {
        let write =
            |message: R| message.to_bytes(version).expect("what was read in a version can be written in it");
        let once = write(message);
        let twice = write(R::from_bytes(&once, version).expect("what was written is read"));
        assert_eq!(once, twice);
    }
}

macro_rules! checks {
    (
        served { $($name:ident($request:ident -> $body:ident, $response:ident),)* }
        declared { $($other:ident($other_request:ident, $other_response:ident),)* }
    ) => {
        fn check_fuzzed(version: u8, body: &Bytes) {
            $(if is_fuzzed(ApiKey::$name) { return check::<$request>(version, body); })*
            $(if is_fuzzed(ApiKey::$other) { return check::<$other_request>(version, body); })*
            panic!("no API is named {}", env!("CARGO_BIN_NAME"));
        }
    };
}

highwater_protocol::for_each_api!(checks);

fuzz_target!(|data: &[u8]| {
    if let Some((version, body)) = data.split_first() {
        check_fuzzed(*version, &Bytes::copy_from_slice(body));
    }
});
