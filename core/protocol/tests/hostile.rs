//! A million broken requests: none makes a decoder panic, or allocate more than its bytes justify.
//!
//! The limit is the reader's own promise: arrays within [`Reader::memory_max`], and beside them strings and bytes,
//! which are copies of the input and so no longer than it. The binary's allocator counts what its thread holds.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use common::{Codec, Wire, codecs};
use highwater_protocol::messages::{MetadataRequest, MetadataRequestTopic};
use highwater_protocol::{Api, DecodeError, IncomingRequest, Message, Reader, RequestError};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static HELD_MAX: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    HELD_MAX.set(HELD_MAX.get().max(HELD.get()));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` returns, and the most memory that it held at once.
fn measure<T>(work: impl FnOnce() -> T) -> (T, usize) {
    HELD.set(0);
    HELD_MAX.set(0);
    let done = work();
    (done, usize::try_from(HELD_MAX.get()).expect("it begins at 0"))
}

fn held_max(len: usize) -> usize {
    Reader::memory_max(len) + len
}

/// A small generator with a fixed seed (xorshift64*), so that a failure can be looked at again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// Numbers that lengths and counts go wrong with.
const LENGTHS: [&[u8]; 12] = [
    b"\x7f\xff\xff\xff",
    b"\x7f\xff\xff\xf0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x80\0\0\0",
    b"\0\x10\0\0",
    b"\0\0\x10\0",
    b"\x7f\xff",
    b"\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x01",
];

fn mutate(message: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(message.len() + 1);
    match random.below(8) {
        0 if at < message.len() => message[at] ^= 1 << random.below(8),
        1 if at < message.len() => message[at] = [0, 1, 2, 0x7f, 0x80, 0xff][random.below(6)],
        2 | 3 => {
            let length = LENGTHS[random.below(LENGTHS.len())];
            let end = (at + length.len()).min(message.len());
            message.splice(at..end, length.iter().copied());
        }
        4 => message.truncate(at),
        5 => {
            let n = random.below(9);
            message.splice(at..at, random.bytes(n));
        }
        6 => {
            // a part over and over, as the elements of a long array would be
            let part = message[at..(at + 1 + random.below(12)).min(message.len())].to_vec();
            message.splice(at..at, part.repeat(random.below(40)));
        }
        _ => {
            let n = random.below(40);
            message.truncate(at);
            message.extend(random.bytes(n));
        }
    }
}

/// A request's frame around a body.
fn frame(codec: &Codec, version: i16, body: &[u8]) -> Option<Bytes> {
    let key = codec.key.filter(|_| codec.is_request)?;
    Api::of(key)?.advertised?;
    let mut frame = Vec::with_capacity(body.len() + 12);
    frame.extend(key.code().to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(b"\0\0\0\x07\xff\xff");
    if codec.flexible.contains(version) {
        frame.push(0);
    }
    frame.extend(body);
    Some(frame.into())
}

fn check(codec: &Codec, version: i16, body: Vec<u8>) -> Result<(), DecodeError> {
    let body = Bytes::from(body);
    let (declared, held) = measure(|| (codec.decode)(&body, version));
    assert!(held <= held_max(body.len()), "{} {version} held {held} bytes for {body:?}", codec.name);
    if declared.is_ok() {
        let once = (codec.recode)(&body, version).expect("it was read before").bytes;
        let twice = (codec.recode)(&once, version).expect("what was written is read").bytes;
        assert_eq!(once, twice, "{} {version}", codec.name);
    }
    if let Some(frame) = frame(codec, version, &body) {
        let (incoming, held) = measure(|| IncomingRequest::decode(&frame));
        assert!(held <= held_max(frame.len()), "{} {version} held {held} bytes for {frame:?}", codec.name);
        match declared {
            // a view needs no memory, so it need not refuse
            Err(DecodeError::TooLarge) => {}
            Err(_) => {
                assert!(matches!(incoming, Err(RequestError::Malformed(_))), "{} {version}", codec.name);
            }
            Ok(()) => assert!(incoming.is_ok(), "{} {version}: {incoming:?} for {frame:?}", codec.name),
        }
    }
    declared
}

/// Runs `inputs` broken messages through the decoders of `codecs`, turn about; tells how many were read all the same.
fn check_mutations(codecs: &[Codec], inputs: usize, seed: u64) -> usize {
    let mut random = Random(seed);
    let pairs: Vec<_> =
        codecs.iter().flat_map(|codec| codec.versions.iter().map(move |v| (codec, v))).collect();
    let mut accepted = 0;
    let mut base = Vec::new();
    for i in 0..inputs {
        let (codec, version) = pairs[i % pairs.len()];
        if i % (4 * pairs.len()) < pairs.len() {
            let n = random.below(200);
            base = random.bytes(n);
        }
        let mut message = Wire::message(codec, version, &base, false);
        for _ in 0..=random.below(3) {
            mutate(&mut message, &mut random);
        }
        accepted += usize::from(check(codec, version, message).is_ok());
    }
    accepted
}

#[test]
fn a_million_broken_requests_are_taken_calmly() {
    let requests: Vec<_> = codecs().into_iter().filter(|codec| codec.is_request).collect();
    let accepted = check_mutations(&requests, 1_000_000, 1);
    // neither all nor none: the mutations are neither harmless nor senseless
    assert!((50_000..950_000).contains(&accepted), "{accepted} were accepted");
}

#[test]
fn broken_responses_and_records_are_taken_calmly() {
    let others: Vec<_> = codecs().into_iter().filter(|codec| !codec.is_request).collect();
    let accepted = check_mutations(&others, 200_000, 2);
    assert!((10_000..190_000).contains(&accepted), "{accepted} were accepted");
}

#[test]
fn long_arrays_of_empty_elements_stay_within_the_limit() {
    for codec in codecs() {
        for version in codec.versions.iter() {
            let mut arrays = 0..;
            while let Some(message) = Wire::long_array(&codec, version, arrays.next().unwrap(), 3000) {
                match check(&codec, version, message) {
                    Ok(()) | Err(DecodeError::TooLarge) => {}
                    Err(e) => panic!("{} version {version}: {e}", codec.name),
                }
            }
        }
    }
}

#[test]
fn a_large_message_that_is_all_overhead_is_refused() {
    let topics = |n| {
        let topic = MetadataRequestTopic { name: Some(String::new()), ..Default::default() };
        MetadataRequest { topics: Some(vec![topic; n]), ..Default::default() }.to_bytes(9).unwrap()
    };
    let decode = |bytes: &Bytes| measure(|| MetadataRequest::from_bytes(bytes, 9).map(drop));
    let small = topics(1_000);
    let (read, held) = decode(&small);
    assert_eq!(read, Ok(()));
    assert!(held > 10 * small.len(), "the allocator counted {held} bytes");
    let large = topics(1_000_000);
    let (read, held) = decode(&large);
    assert_eq!(read, Err(DecodeError::TooLarge));
    assert!(held < 1024, "refused only after {held} bytes were held");
}

#[test]
fn a_count_that_lies_costs_nothing() {
    // 4 bytes that make the kafka-protocol crate ask for 155 GB
    let (read, held) = measure(|| MetadataRequest::from_bytes(&Bytes::from_static(b"\x7f\xff\xff\xf0"), 5));
    assert_eq!((read, held), (Err(DecodeError::Truncated), 0));
}
