//! Requests from script lines, and outputs as lines.

use bytes::{BufMut, Bytes, BytesMut};
use highwater_core::coordinator::Record;
use highwater_core::coordinator::group::{DeletedTopic, GroupReply, GroupRequest, JoinContext};
use highwater_protocol::messages::*;
use highwater_protocol::{ErrorCode, Message, Uuid};
use std::collections::BTreeMap;

const UUID_HEAD: &str = "-00000000-0000-0000-0000-0000000000";

/// The words of a script line after the command: `key=value` and bare ones.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    bare: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(words: impl Iterator<Item = &'a str>) -> Self {
        let mut parsed = Self { bare: Vec::new(), named: BTreeMap::new() };
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => drop(parsed.named.insert(name, value)),
                None => parsed.bare.push(word),
            }
        }
        parsed
    }

    pub(crate) fn bare(&self, at: usize) -> &'a str {
        self.bare.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.named.get(name).map(|text| (*text).to_owned())
    }

    fn member(&self, name: &str) -> String {
        self.named.get(name).map(|id| long_id(id)).unwrap_or_default()
    }

    pub(crate) fn number<N: std::str::FromStr>(&self, name: &str, default: N) -> N {
        let number = self.named.get(name).map(|text| text.parse().ok());
        number.map_or(default, |parsed| parsed.expect("a number"))
    }

    fn rest(&self) -> impl Iterator<Item = &'a str> {
        self.bare.iter().skip(1).copied()
    }
}

/// `a-1` for `a-00000000-0000-0000-0000-000000000001`.
pub(crate) fn short_id(id: &str) -> String {
    match id.split_once(UUID_HEAD) {
        Some((name, digits)) => format!("{name}-{}", u8::from_str_radix(digits, 16).expect("two digits")),
        None => id.to_owned(),
    }
}

fn long_id(id: &str) -> String {
    match id.rsplit_once('-') {
        Some((name, n)) if n.parse::<u8>().is_ok() => {
            format!("{name}{UUID_HEAD}{:02x}", n.parse::<u8>().expect("checked"))
        }
        _ => id.to_owned(),
    }
}

pub(crate) fn topic_id(name: &str) -> Uuid {
    // "t" and "t@2" share a name, not an id
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    Uuid(id)
}

fn topic_name(topic: &str) -> String {
    topic.split('@').next().expect("split yields one").to_owned()
}

/// A consumer's subscription to `t+u`, in version 0.
pub(crate) fn subscription(topics: &str) -> Bytes {
    let topics = topics.split('+').filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
    let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.extend_from_slice(&subscription.to_bytes(0).expect("short"));
    bytes.freeze()
}

/// `range:t+u,roundrobin:t`
fn protocols(text: &str) -> Vec<JoinGroupRequestProtocol> {
    let each = text.split(',').filter(|protocol| !protocol.is_empty()).map(|protocol| {
        let (name, topics) = protocol.split_once(':').unwrap_or((protocol, ""));
        let metadata = match topics.strip_prefix('!') {
            Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
            None => subscription(topics),
        };
        JoinGroupRequestProtocol { name: name.to_owned(), metadata }
    });
    each.collect()
}

/// Partitions of topics: `t:0,u:1` or with a value each, `t:0:5`.
fn partitions(text: &str) -> Vec<(String, i32, i64)> {
    let each = text.split(',').map(|word| {
        let mut parts = word.split(':');
        let topic = parts.next().expect("a topic").to_owned();
        let number = |part: Option<&str>| part.map_or(0, |part| part.parse::<i64>().expect("a number"));
        let partition = i32::try_from(number(parts.next())).expect("small");
        (topic, partition, number(parts.next()))
    });
    each.collect()
}

/// The request that a line asks for, or nothing if it is no request. `uuid` is fresh.
pub(crate) fn request(command: &str, words: &Words<'_>, uuid: u8) -> Option<GroupRequest> {
    let group_id = words.bare(0).to_owned();
    let mut id = [0; 16];
    id[15] = uuid;
    Some(match command {
        "join" => {
            let context = JoinContext {
                api_version: words.number("v", 9),
                client_id: words.text("client").unwrap_or_else(|| "c".to_owned()),
                client_host: "/10.0.0.1".to_owned(),
                member_uuid: Uuid(id),
            };
            let request = JoinGroupRequest {
                group_id,
                session_timeout_ms: words.number("session", 10_000),
                rebalance_timeout_ms: words.number("rebalance", 60_000),
                member_id: words.member("member"),
                group_instance_id: words.text("instance"),
                protocol_type: words.text("type").unwrap_or_else(|| "consumer".to_owned()),
                protocols: protocols(&words.text("protocols").unwrap_or_else(|| "range:t".to_owned())),
                reason: words.text("reason"),
            };
            GroupRequest::JoinGroup(context, request)
        }
        "sync" => {
            let assignment = |word: &str| {
                let (member_id, text) = word.split_once(':').expect("member:assignment");
                let assignment = Bytes::copy_from_slice(text.as_bytes());
                SyncGroupRequestAssignment { member_id: long_id(member_id), assignment }
            };
            let request = SyncGroupRequest {
                group_id,
                generation_id: words.number("generation", -1),
                member_id: words.member("member"),
                group_instance_id: words.text("instance"),
                protocol_type: Some(words.text("type").unwrap_or_else(|| "consumer".to_owned())),
                protocol_name: Some(words.text("protocol").unwrap_or_else(|| "range".to_owned())),
                assignments: words.rest().map(assignment).collect(),
            };
            GroupRequest::SyncGroup(words.number("v", 5), request)
        }
        "heartbeat" => GroupRequest::Heartbeat(HeartbeatRequest {
            group_id,
            generation_id: words.number("generation", -1),
            member_id: words.member("member"),
            group_instance_id: words.text("instance"),
        }),
        "leave" => {
            let version = words.number("v", 5);
            let mut request = LeaveGroupRequest { group_id, ..Default::default() };
            let identity = |word: &str| {
                let (member_id, instance) = word.split_once('/').unwrap_or((word, ""));
                MemberIdentity {
                    member_id: long_id(member_id),
                    group_instance_id: Some(instance.to_owned()).filter(|name| !name.is_empty()),
                    reason: words.text("reason"),
                }
            };
            request.members = words.rest().map(identity).collect();
            if version < 3 {
                request.member_id = request.members.remove(0).member_id;
            }
            GroupRequest::LeaveGroup(version, request)
        }
        "commit" => GroupRequest::OffsetCommit(words.number("v", 9), commit(words, group_id)),
        "fetch" => GroupRequest::OffsetFetch(fetch(words, group_id)),
        "offset-delete" => GroupRequest::OffsetDelete(offset_delete(words, group_id)),
        "describe" => {
            let request = DescribeGroupsRequest { groups: vec![group_id], ..Default::default() };
            GroupRequest::DescribeGroups(words.number("v", 6), request)
        }
        "list" => GroupRequest::ListGroups(ListGroupsRequest {
            states_filter: words.text("state").into_iter().collect(),
            types_filter: words.text("type").into_iter().collect(),
        }),
        "delete" => GroupRequest::DeleteGroups(words.bare.iter().map(|id| (*id).to_owned()).collect()),
        "topics-deleted" => {
            let topic = |name: &&str| DeletedTopic { name: topic_name(name), topic_id: topic_id(name) };
            GroupRequest::TopicsDeleted(words.bare.iter().map(topic).collect())
        }
        _ => return None,
    })
}

fn commit(words: &Words<'_>, group_id: String) -> OffsetCommitRequest {
    let metadata = match words.number("metadata-length", 0usize) {
        0 => words.text("metadata").unwrap_or_default(),
        length => "x".repeat(length),
    };
    let topic = |(topic, partition, offset): (String, i32, i64)| OffsetCommitRequestTopic {
        name: topic_name(&topic),
        topic_id: topic_id(&topic),
        partitions: vec![OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_leader_epoch: words.number("epoch", -1),
            committed_metadata: Some(metadata.clone()),
        }],
    };
    OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: words.number("generation", -1),
        member_id: words.member("member"),
        group_instance_id: words.text("instance"),
        retention_time_ms: words.number("retention", -1),
        topics: partitions(words.bare(1)).into_iter().map(topic).collect(),
    }
}

fn fetch(words: &Words<'_>, group_id: String) -> OffsetFetchRequestGroup {
    let topic = |(topic, partition, _): (String, i32, i64)| OffsetFetchRequestTopics {
        name: topic_name(&topic),
        topic_id: topic_id(&topic),
        partition_indexes: vec![partition],
    };
    let asked = Some(words.bare(1)).filter(|asked| !asked.is_empty());
    OffsetFetchRequestGroup {
        group_id,
        topics: asked.map(|asked| partitions(asked).into_iter().map(topic).collect()),
        ..Default::default()
    }
}

fn offset_delete(words: &Words<'_>, group_id: String) -> OffsetDeleteRequest {
    let topic = |(topic, partition, _): (String, i32, i64)| OffsetDeleteRequestTopic {
        name: topic_name(&topic),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: partition }],
    };
    OffsetDeleteRequest { group_id, topics: partitions(words.bare(1)).into_iter().map(topic).collect() }
}

/// A reply on one line.
pub(crate) fn reply(reply: &GroupReply) -> String {
    match reply {
        GroupReply::JoinGroup(answer) => join_reply(answer),
        GroupReply::SyncGroup(answer) if answer.error_code == ErrorCode::None => {
            format!(
                "assignment {:?} of {}",
                text(&answer.assignment),
                answer.protocol_name.as_deref().unwrap_or("-")
            )
        }
        GroupReply::SyncGroup(answer) => answer.error_code.name().to_owned(),
        GroupReply::Heartbeat(answer) => answer.error_code.name().to_owned(),
        GroupReply::LeaveGroup(answer) => {
            let member = |m: &MemberResponse| {
                let instance = m.group_instance_id.as_ref().map(|id| format!("/{id}")).unwrap_or_default();
                format!(" {}{instance}: {}", short_id(&m.member_id), m.error_code.name())
            };
            let members: String = answer.members.iter().map(member).collect();
            format!("{}{members}", answer.error_code.name())
        }
        GroupReply::OffsetCommit(answer) => {
            let topics = answer.topics.iter().flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|p| format!("{}:{} {}", topic.name, p.partition_index, p.error_code.name()))
            });
            topics.collect::<Vec<_>>().join(", ")
        }
        GroupReply::OffsetFetch(answer) => fetch_reply(answer),
        GroupReply::OffsetDelete(answer) => {
            let topics = answer.topics.iter().flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|p| format!(", {}:{} {}", topic.name, p.partition_index, p.error_code.name()))
            });
            format!("{}{}", answer.error_code.name(), topics.collect::<String>())
        }
        GroupReply::DescribeGroups(answer) => answer.groups.iter().map(described).collect(),
        GroupReply::ListGroups(answer) => {
            let group = |g: &ListedGroup| {
                format!(" {}/{}/{}/{}", g.group_id, g.protocol_type, g.group_state, g.group_type)
            };
            format!("{}{}", answer.error_code.name(), answer.groups.iter().map(group).collect::<String>())
        }
        GroupReply::DeleteGroups(answer) => {
            let result = |r: &DeletableGroupResult| format!("{}: {}", r.group_id, r.error_code.name());
            answer.results.iter().map(result).collect::<Vec<_>>().join(", ")
        }
        GroupReply::TopicsDeleted => "topics deleted".to_owned(),
    }
}

fn join_reply(answer: &JoinGroupResponse) -> String {
    if answer.error_code != ErrorCode::None {
        return format!("{} member={}", answer.error_code.name(), short_id(&answer.member_id));
    }
    let members = answer.members.iter().map(|member| short_id(&member.member_id)).collect::<Vec<_>>();
    let told = if members.is_empty() { String::new() } else { format!(" members={}", members.join(",")) };
    let skip = if answer.skip_assignment { " skip-assignment" } else { "" };
    format!(
        "joined generation={} member={} leader={} protocol={}{told}{skip}",
        answer.generation_id,
        short_id(&answer.member_id),
        short_id(&answer.leader),
        answer.protocol_name.as_deref().unwrap_or("-"),
    )
}

fn fetch_reply(answer: &OffsetFetchResponseGroup) -> String {
    if answer.error_code != ErrorCode::None {
        return answer.error_code.name().to_owned();
    }
    let mut told = Vec::new();
    for topic in &answer.topics {
        for p in &topic.partitions {
            let epoch = if p.committed_leader_epoch == -1 {
                String::new()
            } else {
                format!(" epoch={}", p.committed_leader_epoch)
            };
            let note = p.metadata.as_ref().filter(|note| !note.is_empty()).map(|note| format!(" {note:?}"));
            told.push(format!(
                "{}:{} at {}{epoch}{}",
                topic.name,
                p.partition_index,
                p.committed_offset,
                note.unwrap_or_default()
            ));
        }
    }
    if told.is_empty() { "no offsets".to_owned() } else { told.join(", ") }
}

fn described(group: &DescribedGroup) -> String {
    let member = |m: &DescribedGroupMember| {
        let metadata = if m.member_metadata.is_empty() { "" } else { " with metadata" };
        format!(
            "; {} from {}{} has {:?}{metadata}",
            short_id(&m.member_id),
            m.client_id,
            m.client_host,
            text(&m.member_assignment)
        )
    };
    let error = match group.error_code {
        ErrorCode::None => String::new(),
        error => format!("{} ({}) ", error.name(), group.error_message.as_deref().unwrap_or("-")),
    };
    let members: String = group.members.iter().map(member).collect();
    format!(
        "{error}{} {} {:?} {:?}{members}",
        group.group_id, group.group_state, group.protocol_type, group.protocol_data
    )
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An appended record on one line.
pub(crate) fn record(record: &Record) -> String {
    let value = record.value.as_ref();
    if record.key.starts_with(&[0, 2]) {
        let key = GroupMetadataKey::from_versioned_bytes(&record.key).expect("our own").0;
        let Some(value) = value else { return format!("group {} deleted", key.group) };
        let group = GroupMetadataValue::from_versioned_bytes(value).expect("our own").0;
        let member = |m: &MemberMetadata| format!(" {}:{:?}", short_id(&m.member_id), text(&m.assignment));
        let members: String = group.members.iter().map(member).collect();
        let leader = group.leader.as_deref().map_or("-".to_owned(), short_id);
        return format!(
            "group {} generation={} protocol={} leader={leader}{members}",
            key.group,
            group.generation,
            group.protocol.as_deref().unwrap_or("-")
        );
    }
    let key = OffsetCommitKey::from_versioned_bytes(&record.key).expect("our own").0;
    let name = format!("offset {} {}:{}", key.group, key.topic, key.partition);
    match value {
        None => format!("{name} deleted"),
        Some(value) => {
            let offset = OffsetCommitValue::from_versioned_bytes(value).expect("our own").0;
            format!("{name} at {}", offset.offset)
        }
    }
}
