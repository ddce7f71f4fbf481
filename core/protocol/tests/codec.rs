//! Single rules of the wire, each as bytes that a reader can follow.

use bytes::Bytes;
use highwater_protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, MetadataRequest,
    OffsetCommitKey, OffsetCommitValue,
};
use highwater_protocol::{DecodeError, EncodeError, ErrorCode, Message, Uuid};

fn decode<M: Message>(version: i16, bytes: &'static [u8]) -> Result<M, DecodeError> {
    M::from_bytes(&Bytes::from_static(bytes), version)
}

#[test]
fn old_versions_have_plain_lengths() {
    let request: HeartbeatRequest = decode(0, b"\0\x01g\0\0\0\x05\0\x02m1").unwrap();
    assert_eq!(request.group_id, "g");
    assert_eq!(request.generation_id, 5);
    assert_eq!(request.member_id, "m1");
    assert_eq!(request.group_instance_id, None);
    assert_eq!(request.to_bytes(0).unwrap(), &b"\0\x01g\0\0\0\x05\0\x02m1"[..]);
}

#[test]
fn flexible_versions_have_compact_lengths_and_tagged_fields() {
    let bytes = b"\x02g\0\0\0\x05\x03m1\x00\x00";
    let request: HeartbeatRequest = decode(4, bytes).unwrap();
    assert_eq!((request.group_id.as_str(), request.group_instance_id.as_deref()), ("g", None));
    assert_eq!(request.to_bytes(4).unwrap(), &bytes[..]);
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let request: HeartbeatRequest = decode(4, b"\x02g\0\0\0\x05\x03m1\x00\x02\x07\x03abc\x09\x00").unwrap();
    assert_eq!(request.member_id, "m1");
}

#[test]
fn known_tagged_fields_are_read_within_their_size() {
    let value = OffsetCommitValue { offset: 7, topic_id: Uuid([9; 16]), ..Default::default() };
    let bytes = value.to_versioned_bytes(4).unwrap();
    assert_eq!(OffsetCommitValue::from_versioned_bytes(&bytes).unwrap(), (value, 4));
    // a value cut to one byte by its size must not read on beyond it
    let cut = [&[0u8; 8][..], &[0; 4], b"\x01", &[0; 8], b"\x01\x00\x01", &[0; 16]].concat();
    assert_eq!(OffsetCommitValue::from_bytes(&cut.into(), 4), Err(DecodeError::Truncated));
}

#[test]
fn null_is_only_where_the_version_allows_it() {
    assert_eq!(decode::<MetadataRequest>(1, b"\xff\xff\xff\xff").unwrap().topics, None);
    assert_eq!(decode::<MetadataRequest>(0, b"\xff\xff\xff\xff"), Err(DecodeError::NullNotAllowed));
    assert_eq!(decode::<HeartbeatRequest>(0, b"\xff\xff\0\0\0\0\0\0"), Err(DecodeError::NullNotAllowed));
    assert_eq!(decode::<MetadataRequest>(0, b"\xff\xff\xff\xfe"), Err(DecodeError::NegativeLength));
}

#[test]
fn null_that_a_version_cannot_say_is_written_as_empty() {
    let response = JoinGroupResponse { error_code: ErrorCode::MemberIdRequired, ..Default::default() };
    let bytes = response.to_bytes(0).unwrap();
    assert_eq!(JoinGroupResponse::from_bytes(&bytes, 0).unwrap().protocol_name.as_deref(), Some(""));
    let bytes = response.to_bytes(7).unwrap();
    assert_eq!(JoinGroupResponse::from_bytes(&bytes, 7).unwrap().protocol_name, None);
}

#[test]
fn fields_that_a_version_lacks_have_kafkas_default() {
    let request = JoinGroupRequest { rebalance_timeout_ms: 9, ..Default::default() };
    let bytes = request.to_bytes(0).unwrap();
    assert_eq!(JoinGroupRequest::from_bytes(&bytes, 0).unwrap().rebalance_timeout_ms, -1);
}

#[test]
fn lengths_beyond_the_end_are_refused() {
    for body in [&b"\x7f\xff\xff\xf0"[..], b"\0\0\0\x01\x7f\xff", b"\0\0\0\x02\0\x01a"] {
        assert_eq!(decode::<MetadataRequest>(4, body), Err(DecodeError::Truncated));
    }
    // 2^32 - 2 topics, as a compact count
    assert_eq!(decode::<MetadataRequest>(12, b"\xff\xff\xff\xff\x0f"), Err(DecodeError::Truncated));
    assert_eq!(decode::<MetadataRequest>(12, b"\xff\xff\xff\xff\x1f"), Err(DecodeError::VarintTooLong));
    assert_eq!(decode::<MetadataRequest>(12, b"\xff\xff\xff\xff\xff\x01"), Err(DecodeError::VarintTooLong));
}

#[test]
fn text_is_utf8() {
    assert_eq!(decode::<HeartbeatRequest>(0, b"\0\x01\xff\0\0\0\x05\0\0"), Err(DecodeError::InvalidUtf8));
}

#[test]
fn bytes_after_a_message_are_left_alone() {
    let request: HeartbeatRequest = decode(0, b"\0\0\0\0\0\x05\0\0more").unwrap();
    assert_eq!(request.generation_id, 5);
}

#[test]
fn what_is_too_long_for_its_length_field_is_not_written() {
    let request = HeartbeatRequest { group_id: "g".repeat(40_000), ..Default::default() };
    assert_eq!(request.to_bytes(0), Err(EncodeError));
    assert_eq!(HeartbeatRequest::from_bytes(&request.to_bytes(4).unwrap(), 4).unwrap(), request);
}

#[test]
fn records_of_internal_topics_begin_with_their_version() {
    let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 };
    assert_eq!(key.to_versioned_bytes(1).unwrap(), &b"\0\x01\0\x01g\0\x01t\0\0\0\x03"[..]);
}

#[test]
fn subscriptions_of_old_consumers_are_read() {
    let bytes = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
    let (subscription, version) = ConsumerProtocolSubscription::from_versioned_bytes(&bytes).unwrap();
    assert_eq!((subscription.topics, subscription.user_data, version), (vec!["t".to_string()], None, 0));
}
