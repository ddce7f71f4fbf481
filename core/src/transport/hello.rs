//! The first words on a connection between nodes: who calls whom, in which cluster, in which format of frames.
//!
//! The side that connects says [`Hello`], the other answers. Each side checks the other, and a refusal is told before
//! the connection is closed, so that both logs have it. Bytes, the same in every release for ever:
//!
//! ```text
//!  "HWP1" │ length u16, big-endian │ fields in postcard
//! ```
//!
//! Fields are only added at the end: whoever does not know them passes over the rest.

use super::{Class, FORMATS, Format, FormatRange, PeerAddress, PeerIdentity};
use crate::guard;
use crate::ids::BrokerId;
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a hello and its answer begin with.
const MAGIC: [u8; 4] = *b"HWP1";
/// Magic and length.
const PREFIX_BYTES: usize = 6;
/// The longest hello or answer, prefix included.
pub const HELLO_BYTES_MAX: usize = 1 << 10;
/// The longest cluster id; Kafka's have 22 characters.
pub const CLUSTER_ID_BYTES_MAX: usize = 128;
/// The longest host name that a hello tells; DNS has none longer.
const HOST_BYTES_MAX: usize = 255;

/// What the side that connects says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The formats it speaks.
    pub formats: FormatRange,
    /// Its cluster; `None` for a node that has not joined one yet.
    pub cluster_id: Option<String>,
    /// Who it is.
    pub from: PeerIdentity,
    /// Whom it means to reach at this address.
    pub to: BrokerId,
    /// What the connection is for.
    pub class: Class,
    /// Where it listens itself, if it says so: whoever knows another address of it need not wait there. Stands behind
    /// the other fields, where releases without it see nothing.
    #[serde(skip)]
    pub address: Option<PeerAddress>,
}

/// What the side that was connected to answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloAnswer {
    /// Frames may follow.
    Accepted {
        /// The format of every frame on this connection.
        format: u8,
        /// The cluster of who answers; `None` for a node that has not joined one yet.
        cluster_id: Option<String>,
        /// Who answers.
        from: PeerIdentity,
    },
    /// The connection is closed.
    Refused(Refusal),
}

/// An answer, the nodes whose addresses it tells behind its fields, and how many bytes both take. A node tells where others
/// are to whoever does not know whom it speaks to ([`super::WHOEVER`]): a newcomer that was given one address finds the
/// whole quorum so, as KIP-853 has it of `controller.quorum.bootstrap.servers`.
pub type Answered = (HelloAnswer, Vec<(BrokerId, PeerAddress)>, usize);

/// Why two nodes do not speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// They belong to different clusters. With that of who refuses.
    ForeignCluster {
        /// The refusing side's cluster.
        ours: String,
    },
    /// Another node with the same id is alive, on another data directory.
    IdInUse {
        /// The id.
        id: BrokerId,
        /// The directory of the one that is alive.
        directory_id: [u8; 16],
    },
    /// They have no format of frames in common. With those of who refuses.
    UnsupportedFormat {
        /// The refusing side's formats.
        ours: FormatRange,
    },
    /// The address belongs to another node than was meant.
    WrongNode {
        /// Who is there.
        id: BrokerId,
    },
    /// What was said does not parse, or breaks a limit.
    Malformed,
    /// The node is stopping.
    Stopping,
    /// The node has as many connections as it takes.
    Busy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignCluster { ours } => {
                write!(f, "the refusing node belongs to another cluster, {ours}")
            }
            Self::IdInUse { id, directory_id } => {
                let directory = crate::ids::TopicId(*directory_id);
                write!(f, "another node with id {id} is alive, on the data directory with id {directory}")
            }
            Self::UnsupportedFormat { ours } => {
                write!(f, "the refusing node speaks frame formats {ours}, of which the other has none")
            }
            Self::WrongNode { id } => write!(f, "the node at this address has id {id}"),
            Self::Malformed => f.write_str("the hello is malformed"),
            Self::Stopping => f.write_str("the node is stopping"),
            Self::Busy => f.write_str("the node has as many connections as it takes"),
        }
    }
}

/// Why bytes are no hello, or no answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// It does not begin as one: something else speaks here, a Kafka client perhaps.
    Magic([u8; 4]),
    /// A length beyond [`HELLO_BYTES_MAX`].
    Length(usize),
    /// The fields do not parse.
    Malformed,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(bytes) => {
                write!(f, "it begins with {:02x?}, not as a Highwater node does", bytes)
            }
            Self::Length(bytes) => write!(f, "a hello of {bytes} bytes is beyond {HELLO_BYTES_MAX}"),
            Self::Malformed => f.write_str("the hello does not parse"),
        }
    }
}

impl std::error::Error for HelloError {}

/// How many bytes a hello or an answer has, once its first bytes are there; `None` if more are needed to know.
/// Refuses what is none before anything is waited or allocated for.
pub fn hello_bytes(bytes: &[u8]) -> Result<Option<usize>, HelloError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        let mut first = [0; 4];
        first[..known].copy_from_slice(&bytes[..known]);
        return Err(HelloError::Magic(first));
    }
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let whole = PREFIX_BYTES + usize::from(u16::from_be_bytes([prefix[4], prefix[5]]));
    if whole > HELLO_BYTES_MAX { Err(HelloError::Length(whole)) } else { Ok(Some(whole)) }
}

fn fields(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("a vector takes any length")
}

fn enclose(fields: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + fields.len());
    bytes.put_slice(&MAGIC);
    bytes.put_u16(u16::try_from(fields.len()).expect("its long fields are bounded"));
    bytes.put_slice(fields);
    bytes.freeze()
}

/// A message, what a later release added behind it, and how many bytes both take.
type Decoded<'a, T> = (T, &'a [u8], usize);

/// The message at the front of `bytes`; `None` while it is not whole.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<Decoded<'_, T>>, HelloError> {
    let Some(whole) = hello_bytes(bytes)? else { return Ok(None) };
    let Some(fields) = bytes.get(PREFIX_BYTES..whole) else { return Ok(None) };
    // What a later release added at the end is left over.
    let (message, later) = postcard::take_from_bytes(fields).map_err(|_| HelloError::Malformed)?;
    Ok(Some((message, later, whole)))
}

impl Hello {
    /// As bytes.
    pub fn encode(&self) -> Bytes {
        let mut fields = fields(self);
        if let Some(address) = self.address.as_ref().filter(|address| address.host.len() <= HOST_BYTES_MAX) {
            fields.extend(self::fields(address));
        }
        enclose(&fields)
    }

    /// The hello at the front of `bytes` and how many of them it takes; `None` while it is not whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, HelloError> {
        let Some((hello, later, whole)) = decode::<Self>(bytes)? else { return Ok(None) };
        let address = postcard::take_from_bytes(later).ok().map(|(address, _)| address);
        Ok(Some((Self { address, ..hello }, whole)))
    }
}

impl HelloAnswer {
    /// As bytes, with as many of `others` as there is room for ([`HELLO_BYTES_MAX`]).
    pub fn encode<'a>(&self, others: impl IntoIterator<Item = (BrokerId, &'a PeerAddress)>) -> Bytes {
        let mut fields = fields(self);
        for other in others.into_iter().filter(|(_, address)| address.host.len() <= HOST_BYTES_MAX) {
            let other = self::fields(&other);
            if PREFIX_BYTES + fields.len() + other.len() > HELLO_BYTES_MAX {
                break;
            }
            fields.extend(other);
        }
        enclose(&fields)
    }

    /// The answer at the front of `bytes`, where others are, if it tells, and how many bytes both take; `None` while it
    /// is not whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<Answered>, HelloError> {
        let Some((answer, mut later, whole)) = decode(bytes)? else { return Ok(None) };
        let mut others = Vec::new();
        while let Ok((other, rest)) = postcard::take_from_bytes(later) {
            others.push(other);
            later = rest;
        }
        Ok(Some((answer, others, whole)))
    }
}

/// What two nodes agreed upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The format of every frame on the connection.
    pub format: Format,
    /// Who is at the other end.
    pub peer: PeerIdentity,
}

/// This side of every hello. Decides; whoever owns the connection says what was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// Who this node is.
    pub identity: PeerIdentity,
    /// Its cluster; `None` until it has joined one.
    pub cluster_id: Option<String>,
    /// Where others reach it.
    pub address: Option<PeerAddress>,
}

impl LocalPeer {
    /// What this node says when it connects to `to`.
    pub fn hello(&self, to: BrokerId, class: Class) -> Hello {
        let (cluster_id, address) = (self.cluster_id.clone(), self.address.clone());
        Hello { formats: FORMATS, cluster_id, from: self.identity, to, class, address }
    }

    /// Judges a hello. `alive` is who of the same id is connected now.
    pub fn accept(&self, hello: &Hello, alive: Option<&PeerIdentity>) -> Result<Accepted, Refusal> {
        self.accept_in(FORMATS, hello, alive)
    }

    fn accept_in(
        &self,
        ours: FormatRange,
        hello: &Hello,
        alive: Option<&PeerIdentity>,
    ) -> Result<Accepted, Refusal> {
        let newest = ours.newest_common(hello.formats);
        let format = newest.and_then(Format::of).ok_or(Refusal::UnsupportedFormat { ours })?;
        if hello.to != self.identity.id {
            return Err(Refusal::WrongNode { id: self.identity.id });
        }
        self.check(hello.cluster_id.as_deref(), &hello.from, alive)?;
        Ok(Accepted { format, peer: hello.from })
    }

    /// What this node answers to a hello that it accepted.
    pub fn answer(&self, accepted: Accepted) -> HelloAnswer {
        HelloAnswer::Accepted {
            format: accepted.format.version(),
            cluster_id: self.cluster_id.clone(),
            from: self.identity,
        }
    }

    /// Judges the answer to a hello that was meant for `to`. An `Err` with `true` is the other side's refusal, which
    /// it knows of; one with `false` is ours and has to be told.
    pub fn conclude(
        &self,
        to: BrokerId,
        answer: &HelloAnswer,
        alive: Option<&PeerIdentity>,
    ) -> Result<Accepted, (Refusal, bool)> {
        let (format, cluster_id, from) = match answer {
            HelloAnswer::Refused(refusal) => return Err((refusal.clone(), true)),
            HelloAnswer::Accepted { format, cluster_id, from } => (*format, cluster_id.as_deref(), from),
        };
        let known = Format::of(format).filter(|_| (FORMATS.min..=FORMATS.max).contains(&format));
        let format = known.ok_or((Refusal::UnsupportedFormat { ours: FORMATS }, false))?;
        if from.id != to {
            return Err((Refusal::WrongNode { id: from.id }, false));
        }
        self.check(cluster_id, from, alive).map_err(|refusal| (refusal, false))?;
        Ok(Accepted { format, peer: *from })
    }

    /// What both sides check alike.
    fn check(
        &self,
        cluster_id: Option<&str>,
        from: &PeerIdentity,
        alive: Option<&PeerIdentity>,
    ) -> Result<(), Refusal> {
        if cluster_id.is_some_and(|id| id.len() > CLUSTER_ID_BYTES_MAX) {
            return Err(Refusal::Malformed);
        }
        if let (Some(ours), Some(theirs)) = (self.cluster_id.as_deref(), cluster_id)
            && !guard!(PeerClusterId, ours == theirs)
        {
            return Err(Refusal::ForeignCluster { ours: ours.to_owned() });
        }
        // Whoever calls us by our own id is another node that was given it.
        let holder = if from.id == self.identity.id { Some(&self.identity) } else { alive };
        match holder {
            Some(holder) if !guard!(PeerDirectoryId, holder.directory_id == from.directory_id) => {
                Err(Refusal::IdInUse { id: from.id, directory_id: holder.directory_id })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Frame, FrameKind};

    fn identity(id: i32, directory: u8) -> PeerIdentity {
        PeerIdentity { id: BrokerId(id), incarnation: [9; 16], directory_id: [directory; 16] }
    }

    fn local(id: i32, cluster: Option<&str>) -> LocalPeer {
        let cluster_id = cluster.map(str::to_owned);
        LocalPeer { identity: identity(id, id as u8), cluster_id, address: None }
    }

    /// A build that speaks these formats; `Format::Next` stands for the release after this one.
    fn meeting(dialer: FormatRange, listener: FormatRange) -> Result<Format, Refusal> {
        let hello = Hello { formats: dialer, ..local(1, Some("c")).hello(BrokerId(2), Class::Bulk) };
        local(2, Some("c")).accept_in(listener, &hello, None).map(|accepted| accepted.format)
    }

    #[test]
    fn two_releases_find_the_newest_format_that_both_speak() {
        let this = FORMATS;
        let next = FormatRange { min: 1, max: 2 };
        let after = FormatRange { min: 2, max: 2 };
        assert_eq!(meeting(this, this), Ok(Format::V1));
        assert_eq!(meeting(next, this), Ok(Format::V1), "a rolling upgrade has begun");
        assert_eq!(meeting(this, next), Ok(Format::V1), "and the other half of it");
        assert_eq!(meeting(next, next), Ok(Format::Next), "and is done");
        assert_eq!(
            meeting(after, this),
            Err(Refusal::UnsupportedFormat { ours: this }),
            "a release was skipped"
        );
        assert_eq!(meeting(this, after), Err(Refusal::UnsupportedFormat { ours: after }));
    }

    #[test]
    fn formats_differ_in_bytes_and_not_in_what_arrives() {
        let frame =
            Frame::with_payload(FrameKind::Forward, 4, &b"header"[..], vec![Bytes::from_static(b"body")]);
        let [this, next] = [Format::V1, Format::Next].map(|format| format.encode(&frame).slice(4..));
        assert_ne!(this, next);
        assert_eq!(Format::V1.decode(this.clone()).as_ref(), Ok(&frame));
        assert_eq!(Format::Next.decode(next.clone()), Ok(frame));
        assert!(Format::V1.decode(next).is_err() && Format::Next.decode(this).is_err());
    }

    #[test]
    fn an_answer_in_a_format_never_offered_is_refused() {
        let (one, two) = (local(1, None), local(2, None));
        let accepted = Accepted { format: Format::Next, peer: one.identity };
        let refused = one.conclude(BrokerId(2), &two.answer(accepted), None);
        assert_eq!(refused, Err((Refusal::UnsupportedFormat { ours: FORMATS }, false)));
    }

    #[test]
    fn who_is_refused_and_why() {
        let listener = local(2, Some("here"));
        let hello = |cluster: Option<&str>, from: PeerIdentity, to: i32| Hello {
            from,
            ..LocalPeer { identity: from, cluster_id: cluster.map(str::to_owned), address: None }
                .hello(BrokerId(to), Class::Control)
        };
        let alive = identity(1, 1);
        let in_use = |id, directory: u8| Refusal::IdInUse { id: BrokerId(id), directory_id: [directory; 16] };
        let long = "x".repeat(CLUSTER_ID_BYTES_MAX + 1);
        let cases = [
            ("the same cluster", hello(Some("here"), identity(1, 1), 2), None),
            ("a node that joins", hello(None, identity(1, 1), 2), None),
            (
                "a foreign cluster",
                hello(Some("there"), identity(1, 1), 2),
                Some(Refusal::ForeignCluster { ours: "here".into() }),
            ),
            ("an id that is in use", hello(Some("here"), identity(1, 7), 2), Some(in_use(1, 1))),
            ("our own id", hello(Some("here"), identity(2, 7), 2), Some(in_use(2, 2))),
            (
                "an old address",
                hello(Some("here"), identity(1, 1), 3),
                Some(Refusal::WrongNode { id: BrokerId(2) }),
            ),
            ("an endless name", hello(Some(&long), identity(1, 1), 2), Some(Refusal::Malformed)),
        ];
        for (story, hello, refusal) in cases {
            assert_eq!(listener.accept(&hello, Some(&alive)).err(), refusal, "{story}");
        }
        let reformatted = hello(Some("here"), identity(1, 7), 2);
        assert!(listener.accept(&reformatted, None).is_ok(), "a new disk, once the old node is gone");
    }

    #[test]
    fn the_side_that_connects_judges_too() {
        let one = local(1, Some("here"));
        let answer = |cluster: Option<&str>, from: PeerIdentity| HelloAnswer::Accepted {
            format: 1,
            cluster_id: cluster.map(str::to_owned),
            from,
        };
        let ours = |refusal| Err((refusal, false));
        let two = identity(2, 2);
        let conclude =
            |answer: HelloAnswer, alive: Option<&PeerIdentity>| one.conclude(BrokerId(2), &answer, alive);
        let accepted = Ok(Accepted { format: Format::V1, peer: two });
        assert_eq!(conclude(answer(Some("here"), two), Some(&two)), accepted);
        assert_eq!(conclude(answer(None, two), None), accepted, "it has not joined yet");
        let foreign = ours(Refusal::ForeignCluster { ours: "here".into() });
        assert_eq!(conclude(answer(Some("there"), two), None), foreign);
        let wrong = ours(Refusal::WrongNode { id: BrokerId(3) });
        assert_eq!(conclude(answer(Some("here"), identity(3, 3)), None), wrong);
        let reused = ours(Refusal::IdInUse { id: BrokerId(2), directory_id: [2; 16] });
        assert_eq!(conclude(answer(Some("here"), identity(2, 9)), Some(&two)), reused);
        let theirs = Err((Refusal::Stopping, true));
        assert_eq!(conclude(HelloAnswer::Refused(Refusal::Stopping), None), theirs);
    }

    #[test]
    fn a_later_release_may_say_more() {
        let hello = local(1, Some("c")).hello(BrokerId(2), Class::Bulk);
        let mut bytes = hello.encode().to_vec();
        bytes.extend_from_slice(b"what only a later release knows");
        let length = (bytes.len() - PREFIX_BYTES) as u16;
        bytes[4..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Hello::decode(&bytes), Ok(Some((hello, bytes.len()))));
    }
}
