//! The shape that Produce and Fetch share: topics by name or, since version 13, by id (KIP-516), and in each its
//! partitions. Walked and written without any copy or allocation in between.

use std::marker::PhantomData;

use bytes::Bytes;

use crate::Uuid;
use crate::field::{Field, Format};
use crate::reader::{DecodeError, Length, Reader};
use crate::writer::Writer;

/// The first version of Produce and of Fetch that names topics by id.
const IDS_SINCE: i16 = 13;

/// A topic, as the request's version names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By id.
    Id(Uuid),
}

impl<'a> TopicRef<'a> {
    fn read(r: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        if format.version >= IDS_SINCE {
            return Ok(Self::Id(Uuid(r.take_array()?)));
        }
        let length = if format.flexible { Length::Compact } else { Length::Short };
        let n = r.length(length)?.ok_or(DecodeError::NullNotAllowed)?;
        Ok(Self::Name(r.text(n)?))
    }

    fn write(self, w: &mut Writer, format: Format) {
        match self {
            Self::Id(id) if format.version >= IDS_SINCE => w.put(&id.0),
            Self::Name(name) if format.version < IDS_SINCE => {
                w.put_length(if format.flexible { Length::Compact } else { Length::Short }, Some(name.len()));
                w.put(name.as_bytes());
            }
            other => panic!("version {} cannot name {other:?}", format.version),
        }
    }
}

fn count_length(format: Format) -> Length {
    if format.flexible { Length::Compact } else { Length::Int }
}

/// One partition of a request, with its topic.
#[derive(Clone, Debug, PartialEq)]
pub struct InTopic<'a, T> {
    /// The topic's place in the request, from 0.
    pub topic_index: usize,
    /// The topic.
    pub topic: TopicRef<'a>,
    /// What the request says of the partition.
    pub partition: T,
}

/// Where an array of topics begins in a frame, once it has been found well formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TopicsAt {
    position: usize,
    format: Format,
    /// How many topics there are.
    pub(crate) count: usize,
}

impl TopicsAt {
    /// Walks over the array, so that what it returns can be walked again without errors.
    pub(crate) fn check<T: Field>(r: &mut Reader<'_>, format: Format) -> Result<Self, DecodeError> {
        let position = r.position();
        let mut walk = Partitions::<T>::begin(r.clone(), format)?;
        let count = walk.topics_left;
        while walk.read_next()?.is_some() {}
        *r = walk.reader;
        Ok(Self { position, format, count })
    }

    pub(crate) fn walk<'a, T: Field>(&self, frame: &'a Bytes) -> Partitions<'a, T> {
        Partitions::begin(Reader::at(frame, self.position), self.format).expect(CHECKED)
    }
}

const CHECKED: &str = "the array was walked over when the request was decoded";

/// All partitions of a request, in its order.
#[derive(Debug)]
pub struct Partitions<'a, T> {
    reader: Reader<'a>,
    format: Format,
    topics_left: usize,
    topics_begun: usize,
    topic: TopicRef<'a>,
    partitions_left: usize,
    partition: PhantomData<T>,
}

impl<'a, T: Field> Partitions<'a, T> {
    fn begin(mut reader: Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        let topics_left = reader.length(count_length(format))?.ok_or(DecodeError::NullNotAllowed)?;
        Ok(Self {
            reader,
            format,
            topics_left,
            topics_begun: 0,
            topic: TopicRef::Id(Uuid::ZERO),
            partitions_left: 0,
            partition: PhantomData,
        })
    }

    fn read_next(&mut self) -> Result<Option<InTopic<'a, T>>, DecodeError> {
        while self.partitions_left == 0 {
            if self.topics_begun > 0 && self.format.flexible {
                self.reader.skip_tagged_fields()?;
            }
            if self.topics_left == 0 {
                // the tags of the last topic are behind; there must be no second look for them
                self.topics_begun = 0;
                return Ok(None);
            }
            self.topics_left -= 1;
            self.topics_begun += 1;
            self.topic = TopicRef::read(&mut self.reader, self.format)?;
            self.partitions_left =
                self.reader.length(count_length(self.format))?.ok_or(DecodeError::NullNotAllowed)?;
        }
        self.partitions_left -= 1;
        let partition = T::read(&mut self.reader, self.format)?;
        Ok(Some(InTopic { topic_index: self.topics_begun - 1, topic: self.topic, partition }))
    }
}

impl<'a, T: Field> Iterator for Partitions<'a, T> {
    type Item = InTopic<'a, T>;

    fn next(&mut self) -> Option<InTopic<'a, T>> {
        self.read_next().expect(CHECKED)
    }
}

/// Writes the array of topics of a response. Its caller says beforehand how many topics and partitions follow, as
/// the counts stand before them on the wire; saying it wrong is a programmer's error.
#[derive(Debug)]
pub(crate) struct TopicsWriter {
    format: Format,
    topics_left: usize,
    partitions_left: usize,
    in_topic: bool,
}

impl TopicsWriter {
    pub(crate) fn begin(w: &mut Writer, format: Format, topics: usize) -> Self {
        w.put_length(count_length(format), Some(topics));
        Self { format, topics_left: topics, partitions_left: 0, in_topic: false }
    }

    pub(crate) fn topic(&mut self, w: &mut Writer, topic: TopicRef<'_>, partitions: usize) {
        self.end_topic(w);
        assert!(self.topics_left > 0, "more topics than announced");
        self.topics_left -= 1;
        self.in_topic = true;
        topic.write(w, self.format);
        w.put_length(count_length(self.format), Some(partitions));
        self.partitions_left = partitions;
    }

    /// To be called before each partition.
    pub(crate) fn partition(&mut self) {
        assert!(self.partitions_left > 0, "more partitions than announced");
        self.partitions_left -= 1;
    }

    pub(crate) fn end(&mut self, w: &mut Writer) {
        self.end_topic(w);
        assert_eq!(self.topics_left, 0, "fewer topics than announced");
    }

    fn end_topic(&mut self, w: &mut Writer) {
        assert_eq!(self.partitions_left, 0, "fewer partitions than announced");
        if std::mem::take(&mut self.in_topic) && self.format.flexible {
            w.put_uvarint(0);
        }
    }
}
