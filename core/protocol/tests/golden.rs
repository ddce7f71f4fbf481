//! What real clients and Apache Kafka said to each other, read and written again byte for byte.

mod common;

use bytes::Bytes;
use common::{Codec, codecs};
use highwater_protocol::messages::ApiVersionsRequest;
use highwater_protocol::{
    ApiKey, ErrorCode, IncomingRequest, Length, Reader, RequestError, api_versions_unsupported,
    decode_response,
};

const CLIENTS: [(&str, &str); 7] = [
    ("aiokafka", include_str!("golden_frames/aiokafka.txt")),
    ("franz-go", include_str!("golden_frames/franz-go.txt")),
    ("java", include_str!("golden_frames/java.txt")),
    ("kafka-python", include_str!("golden_frames/kafka-python.txt")),
    ("kafkajs", include_str!("golden_frames/kafkajs.txt")),
    ("librdkafka", include_str!("golden_frames/librdkafka.txt")),
    ("sarama", include_str!("golden_frames/sarama.txt")),
];

/// One line: a frame without its length.
struct Golden {
    line: String,
    key: ApiKey,
    version: i16,
    is_request: bool,
    frame: Bytes,
}

impl Golden {
    fn parse(client: &str, line: &str) -> Self {
        let [api, version, direction, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not four words: {line}")
        };
        let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal digits");
        Self {
            line: format!("{client}: {api} {version} {direction}"),
            key: *ApiKey::ALL.iter().find(|key| key.name() == api).expect("a name of Kafka's"),
            version: version.parse().expect("a version"),
            is_request: direction == "request",
            frame: (0..hex.len()).step_by(2).map(byte).collect(),
        }
    }

    fn codec<'a>(&self, codecs: &'a [Codec]) -> &'a Codec {
        let of_this = |c: &&Codec| c.key == Some(self.key) && c.is_request == self.is_request;
        codecs.iter().find(of_this).expect("every golden message is declared")
    }

    /// librdkafka 2.16.0 writes "no topics" as four zero bytes where one is due: null topics and two flags, by
    /// chance what it means, no tagged fields, and the rest of the request left over. Kafka takes it.
    fn left_over(&self) -> usize {
        let all_topics = self.key == ApiKey::Metadata && self.frame.ends_with(&[0, 0, 0, 0, 1, 0, 0]);
        if self.is_request && self.version == 13 && all_topics { 3 } else { 0 }
    }

    /// The frame's body, as headers are laid out by KIP-482 and KIP-511.
    fn body(&self, codec: &Codec) -> Bytes {
        let flexible = codec.flexible.contains(self.version);
        let mut r = Reader::new(&self.frame);
        if self.is_request {
            assert_eq!((r.i16(), r.i16()), (Ok(self.key.code()), Ok(self.version)), "{}", self.line);
            r.take(4).unwrap();
            let client_id = r.length(Length::Short).unwrap().unwrap_or(0);
            r.take(client_id).unwrap();
        } else {
            r.take(4).unwrap();
        }
        if flexible && (self.is_request || self.key != ApiKey::ApiVersions) {
            r.skip_tagged_fields().unwrap();
        }
        self.frame.slice(r.position()..)
    }
}

/// All but what franz-go asks first: a version of ApiVersions that Kafka 4.3.1 does not know either.
fn goldens() -> impl Iterator<Item = Golden> {
    all_goldens().filter(|golden| (golden.key, golden.version) != (ApiKey::ApiVersions, 5))
}

fn all_goldens() -> impl Iterator<Item = Golden> {
    CLIENTS.into_iter().flat_map(|(client, text)| {
        text.lines().filter(|line| !line.starts_with('#')).map(move |line| Golden::parse(client, line))
    })
}

#[test]
fn what_clients_and_kafka_said_is_written_as_it_was_read() {
    let codecs = codecs();
    let mut seen = 0;
    for golden in goldens() {
        let codec = golden.codec(&codecs);
        let body = golden.body(codec);
        let recoded =
            (codec.recode)(&body, golden.version).unwrap_or_else(|e| panic!("{}: {e}", golden.line));
        assert_eq!(recoded.left_over, golden.left_over(), "{}", golden.line);
        assert_eq!(recoded.bytes, body[..body.len() - golden.left_over()], "{}", golden.line);
        seen += 1;
    }
    assert!(seen > 300, "only {seen} golden frames");
}

#[test]
fn what_clients_asked_of_one_broker_is_served() {
    let served = |golden: &Golden| highwater_protocol::Api::of(golden.key).unwrap().advertised.is_some();
    for golden in goldens().filter(|golden| golden.is_request && served(golden)) {
        let incoming =
            IncomingRequest::decode(&golden.frame).unwrap_or_else(|e| panic!("{}: {e}", golden.line));
        assert_eq!((incoming.header.key, incoming.header.version), (golden.key, golden.version));
        assert_eq!(incoming.body.key(), golden.key);
        assert_eq!(incoming.left_over, golden.left_over(), "{}", golden.line);
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_as_kafka_does() {
    let too_new = |is_request| {
        all_goldens()
            .find(|g| (g.key, g.version, g.is_request) == (ApiKey::ApiVersions, 5, is_request))
            .expect("franz-go begins with version 5")
    };
    let Err(RequestError::UnsupportedApiVersions { correlation_id }) =
        IncomingRequest::decode(&too_new(true).frame)
    else {
        panic!("version 5 is not served")
    };
    let ours = api_versions_unsupported(correlation_id).slice(4..);
    for frame in [ours, too_new(false).frame] {
        let (_, response) = decode_response::<ApiVersionsRequest>(&frame, 0).unwrap();
        assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
        let listed = response.api_keys.iter().any(|api| api.api_key == ApiKey::ApiVersions.code());
        assert!(listed, "a client must find a version of ApiVersions to ask again with");
    }
}
