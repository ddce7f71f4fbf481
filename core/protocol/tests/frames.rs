//! Headers, whole frames, and what is served.

use bytes::Bytes;
use highwater_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, HeartbeatRequest, HeartbeatResponse,
    SupportedFeatureKey,
};
use highwater_protocol::{
    API_TABLE, ApiKey, DecodeError, ErrorCode, Features, IncomingRequest, RequestBody, RequestError,
    ResponseBody, ResponseHeader, api_versions_response, api_versions_unsupported, decode_response,
    request_frame,
};

/// A frame without its length, which must be right.
fn unframed(frame: Bytes) -> Bytes {
    assert_eq!(frame[..4], u32::try_from(frame.len() - 4).unwrap().to_be_bytes());
    frame.slice(4..)
}

fn request(key: i16, version: i16, rest: &[u8]) -> Bytes {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &7i32.to_be_bytes(), rest].concat().into()
}

#[test]
fn a_request_and_its_response_travel() {
    for version in 0..=4 {
        let heartbeat = HeartbeatRequest { group_id: "g".into(), generation_id: 3, ..Default::default() };
        let frame = unframed(request_frame(&heartbeat, version, 42, Some("client")).unwrap());
        let incoming = IncomingRequest::decode(&frame).unwrap();
        assert_eq!(incoming.header.client_id.as_deref(), Some("client"));
        assert_eq!(incoming.body, RequestBody::Heartbeat(heartbeat));
        assert_eq!(incoming.left_over, 0);

        let response = HeartbeatResponse { error_code: ErrorCode::RebalanceInProgress, ..Default::default() };
        let frame = unframed(ResponseBody::from(response.clone()).frame(incoming.header.response()).unwrap());
        assert_eq!(decode_response::<HeartbeatRequest>(&frame, version), Ok((42, response)));
    }
}

#[test]
fn bytes_left_over_after_a_body_are_counted() {
    let frame = request(12, 0, b"\xff\xff\0\x01g\0\0\0\x05\0\x02m1\0\0");
    assert_eq!(IncomingRequest::decode(&frame).unwrap().left_over, 2);
}

#[test]
fn client_ids_keep_their_length_in_flexible_headers() {
    // kafka-python's ApiVersions: header version 2 with a 16-bit client id length and tagged fields
    let frame = request(18, 3, b"\0\x04flex\0\x02a\x021\0");
    let incoming = IncomingRequest::decode(&frame).unwrap();
    assert_eq!(incoming.header.client_id.as_deref(), Some("flex"));
    let RequestBody::ApiVersions(body) = incoming.body else { panic!("not ApiVersions") };
    assert_eq!((body.client_software_name.as_str(), body.client_software_version.as_str()), ("a", "1"));
}

#[test]
fn what_is_not_served_is_told_apart() {
    let unsupported = |key, version| Err(RequestError::Unsupported { key, version });
    assert_eq!(IncomingRequest::decode(&request(30_000, 0, b"")), unsupported(30_000, 0));
    assert_eq!(IncomingRequest::decode(&request(-5, 0, b"")), unsupported(-5, 0));
    assert_eq!(IncomingRequest::decode(&request(3, 999, b"")), unsupported(3, 999));
    assert_eq!(IncomingRequest::decode(&request(0, 2, b"")), unsupported(0, 2));
    // declared, but not served
    assert_eq!(IncomingRequest::decode(&request(38, 0, b"")), unsupported(38, 0));
    let unknown = RequestError::UnsupportedApiVersions { correlation_id: 7 };
    assert_eq!(IncomingRequest::decode(&request(18, 99, b"")), Err(unknown));
    for n in 0..8 {
        let short = request(18, 0, b"").slice(..n);
        assert_eq!(IncomingRequest::decode(&short), Err(RequestError::Malformed(DecodeError::Truncated)));
    }
}

#[test]
fn api_versions_lists_what_protocol_4_3_has_of_one_broker() {
    let listed: Vec<_> = api_versions_response(4, &Features::default())
        .api_keys
        .iter()
        .map(|api| (api.api_key, api.min_version, api.max_version))
        .collect();
    // read from a running Apache Kafka 4.3.1
    let kafka = [
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (24, 0, 5),
        (25, 0, 4),
        (26, 0, 5),
        (28, 0, 5),
        (32, 1, 4),
        (33, 0, 2),
        (34, 1, 2),
        (35, 1, 5),
        (37, 0, 3),
        (42, 0, 2),
        (43, 0, 2),
        (44, 0, 1),
        (45, 0, 1),
        (46, 0, 0),
        (47, 0, 0),
        (48, 0, 1),
        (49, 0, 1),
        (55, 0, 2),
        (57, 0, 2),
        (60, 0, 2),
        (61, 0, 0),
        (64, 0, 0),
        (74, 0, 1),
        (75, 0, 0),
        (80, 0, 1),
        (81, 0, 0),
    ];
    assert_eq!(listed, kafka);
}

#[test]
fn features_that_begin_at_zero_are_hidden_from_old_clients() {
    let feature =
        |name: &str, min_version| SupportedFeatureKey { name: name.into(), min_version, max_version: 1 };
    let features = Features {
        supported: vec![feature("group.version", 0), feature("metadata.version", 1)],
        finalized_epoch: 5,
        finalized: vec![FinalizedFeatureKey {
            name: "group.version".into(),
            max_version_level: 1,
            min_version_level: 1,
        }],
    };
    let names = |version| {
        let response = api_versions_response(version, &features);
        response.supported_features.into_iter().map(|feature| feature.name).collect::<Vec<_>>()
    };
    assert_eq!(names(3), ["metadata.version"]);
    assert_eq!(names(4), ["group.version", "metadata.version"]);
}

#[test]
fn api_versions_answers_with_the_old_header_always() {
    let response = api_versions_response(3, &Features::default());
    let header = ResponseHeader { key: ApiKey::ApiVersions, version: 3, correlation_id: 1 };
    let frame = unframed(header.frame(&response).unwrap());
    // the error code follows the correlation id without tagged fields between
    assert_eq!(frame[..6], [0, 0, 0, 1, 0, 0]);
    assert_eq!(decode_response::<ApiVersionsRequest>(&frame, 3), Ok((1, response)));
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let frame = unframed(api_versions_unsupported(9));
    let (correlation_id, response) = decode_response::<ApiVersionsRequest>(&frame, 0).unwrap();
    assert_eq!((correlation_id, response.error_code), (9, ErrorCode::UnsupportedVersion));
    assert_eq!(response.api_keys, api_versions_response(0, &Features::default()).api_keys);
    assert_eq!(response.supported_features, ApiVersionsResponse::default().supported_features);
}

#[test]
fn every_api_is_declared_once() {
    let mut keys: Vec<_> = API_TABLE.iter().map(|api| api.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), API_TABLE.len());
}
