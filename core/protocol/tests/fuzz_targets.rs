//! The fuzz targets are a workspace that stable builds do not see; this keeps their list whole.

use highwater_protocol::API_TABLE;

const MANIFEST: &str = include_str!("../fuzz/Cargo.toml");

/// `JoinGroup` becomes `join_group`.
fn target(name: &str) -> String {
    let mut target = String::new();
    for (i, c) in name.char_indices() {
        if c.is_uppercase() && i > 0 {
            target.push('_');
        }
        target.extend(c.to_lowercase());
    }
    target
}

#[test]
fn every_request_decoder_has_a_fuzz_target() {
    for api in API_TABLE {
        let bin = format!("name = \"{}\"\npath = \"fuzz_targets/request.rs\"", target(api.key.name()));
        assert!(MANIFEST.contains(&bin), "fuzz/Cargo.toml lacks {}", api.key);
    }
}
