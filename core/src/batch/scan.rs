//! Walks a batch's records, over plain bytes or over a decompressing stream, believing no length.

use super::compression::Decoder;
use super::varint::{self, VARINT_BYTES_MAX, VARLONG_BYTES_MAX};
use std::io::Read;

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The records contradict themselves.
    Format(&'static str),
    /// The codec refused its input.
    Decompression,
    /// The stream gave more than allowed.
    Bomb,
}

/// Bytes that a walk takes from front to back.
pub(super) trait ByteSource {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Fault>;
    /// Passes over `n` bytes.
    fn skip(&mut self, n: u64) -> Result<(), Fault>;
    /// How many bytes were taken so far.
    fn position(&self) -> u64;
    /// Whether nothing is left.
    fn at_end(&mut self) -> Result<bool, Fault>;
    /// Whether `n` bytes can still be there, as far as that is known without reading.
    fn may_hold(&self, n: u64) -> bool;

    /// A 64-bit varint.
    fn varlong(&mut self) -> Result<i64, Fault> {
        self.raw_varint(VARLONG_BYTES_MAX).map(varint::unzigzag)
    }

    /// A 32-bit varint.
    fn varint(&mut self) -> Result<i32, Fault> {
        let value = varint::unzigzag(self.raw_varint(VARINT_BYTES_MAX)?);
        i32::try_from(value).map_err(|_| Fault::Format("a number has more than 32 bits"))
    }

    /// A varint's bits, before zig-zag is undone.
    fn raw_varint(&mut self, bytes_max: usize) -> Result<u64, Fault> {
        let mut raw = 0;
        for i in 0..bytes_max {
            let byte = self.byte()?;
            raw |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(raw);
            }
        }
        Err(Fault::Format("a number does not end"))
    }
}

/// Plain bytes.
pub(super) struct Slice<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

const ENDS_EARLY: Fault = Fault::Format("the records end early");

impl ByteSource for Slice<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.at).ok_or(ENDS_EARLY)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, n: u64) -> Result<(), Fault> {
        if !self.may_hold(n) {
            return Err(ENDS_EARLY);
        }
        self.at += n as usize;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.at as u64
    }

    fn at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.at == self.bytes.len())
    }

    fn may_hold(&self, n: u64) -> bool {
        n <= (self.bytes.len() - self.at) as u64
    }
}

/// Bytes that come out of a decoder through a small window.
pub(super) struct Stream<'a, W> {
    decoder: Decoder<'a>,
    window: W,
    at: usize,
    end: usize,
    /// Decompressed bytes that lie before the window.
    passed: u64,
    /// How much more the decoder may give.
    allowed: u64,
}

impl<'a, W: AsMut<[u8]> + AsRef<[u8]>> Stream<'a, W> {
    pub(super) fn new(decoder: Decoder<'a>, window: W, decompressed_bytes_max: u64) -> Self {
        Self { decoder, window, at: 0, end: 0, passed: 0, allowed: decompressed_bytes_max }
    }

    /// Refills an empty window; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, Fault> {
        debug_assert_eq!(self.at, self.end, "the window is refilled only when all of it was taken");
        self.passed += self.end as u64;
        (self.at, self.end) = (0, 0);
        let n = loop {
            match self.decoder.read(self.window.as_mut()) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Fault::Decompression),
                Ok(n) => break n,
            }
        };
        self.allowed = self.allowed.checked_sub(n as u64).ok_or(Fault::Bomb)?;
        self.end = n;
        Ok(n > 0)
    }

    /// The next `n` bytes in a buffer of their own, which grows only as they really come.
    pub(super) fn take(&mut self, n: u64) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::with_capacity(n.min(super::compression::WINDOW_BYTES as u64) as usize);
        while (out.len() as u64) < n {
            if self.at == self.end && !self.fill()? {
                return Err(ENDS_EARLY);
            }
            let part = (n - out.len() as u64).min((self.end - self.at) as u64) as usize;
            out.extend_from_slice(&self.window.as_ref()[self.at..self.at + part]);
            self.at += part;
        }
        Ok(out)
    }
}

impl<W: AsMut<[u8]> + AsRef<[u8]>> ByteSource for Stream<'_, W> {
    fn byte(&mut self) -> Result<u8, Fault> {
        if self.at == self.end && !self.fill()? {
            return Err(ENDS_EARLY);
        }
        let byte = self.window.as_ref()[self.at];
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut n: u64) -> Result<(), Fault> {
        loop {
            let part = n.min((self.end - self.at) as u64);
            self.at += part as usize;
            n -= part;
            if n == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(ENDS_EARLY);
            }
        }
    }

    fn position(&self) -> u64 {
        self.passed + self.at as u64
    }

    fn at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.at == self.end && !self.fill()?)
    }

    fn may_hold(&self, n: u64) -> bool {
        n <= (self.end - self.at) as u64 + self.allowed
    }
}

/// What a walk learns of one record without touching its contents.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordShape {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_key: bool,
}

/// Passes over one record and checks that each of its lengths fits into the one before.
pub(super) fn pass_record<S: ByteSource>(source: &mut S) -> Result<RecordShape, Fault> {
    let size = source.varint()?;
    let Ok(size) = u64::try_from(size) else {
        return Err(Fault::Format("a record's length is negative"));
    };
    if !source.may_hold(size) {
        return Err(Fault::Format("a record is longer than its batch"));
    }
    let end = source.position() + size;
    source.byte()?; // the record's attributes: unused
    let timestamp_delta = source.varlong()?;
    let offset_delta = source.varint()?;
    let has_key = pass_bytes(source, end)?;
    pass_bytes(source, end)?;
    let headers = source.varint()?;
    if headers < 0 {
        return Err(Fault::Format("a record's header count is negative"));
    }
    for _ in 0..headers {
        if !pass_bytes(source, end)? {
            return Err(Fault::Format("a header has no key"));
        }
        pass_bytes(source, end)?;
    }
    if source.position() != end {
        return Err(Fault::Format("a record's length is not that of its fields"));
    }
    Ok(RecordShape { timestamp_delta, offset_delta, has_key })
}

/// Passes over a nullable byte field inside a record that ends at `end`; false if it is null.
fn pass_bytes<S: ByteSource>(source: &mut S, end: u64) -> Result<bool, Fault> {
    match source.varint()? {
        -1 => Ok(false),
        n => {
            let n = u64::try_from(n).map_err(|_| Fault::Format("a field's length is below -1"))?;
            if n > end.saturating_sub(source.position()) {
                return Err(Fault::Format("a field is longer than its record"));
            }
            source.skip(n)?;
            Ok(true)
        }
    }
}
