//! Reads a segment file batch by batch. What is read may be damaged in any way.

use bytes::Bytes;
use highwater_core::batch::{BatchHeader, HEADER_BYTES, crc_holds};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// A batch with its place.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) position: u64,
    pub(super) header: BatchHeader,
    pub(super) bytes: Bytes,
}

impl Found {
    pub(super) fn crc_holds(&self) -> bool {
        crc_holds(&self.bytes)
    }
}

/// What comes next in a file.
#[derive(Debug)]
pub(super) enum Next {
    Batch(Found),
    /// No batch, for this reason. There is no way to tell where the next one begins.
    Fault(String),
    End,
}

/// The batches of a file as long as it was when it was opened: a broker may append to it meanwhile.
#[derive(Debug)]
pub(super) struct Walk {
    reader: BufReader<File>,
    pub(super) position: u64,
    pub(super) len: u64,
}

impl Walk {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { reader: BufReader::with_capacity(1 << 20, file), position: 0, len })
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        let left = self.len - self.position;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < HEADER_BYTES as u64 {
            return Ok(Next::Fault(format!(
                "the file ends inside a batch, {left} bytes behind its beginning"
            )));
        }
        let mut bytes = vec![0; HEADER_BYTES];
        self.reader.read_exact(&mut bytes)?;
        let header = match BatchHeader::parse(&bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Next::Fault(format!("no batch header: {error}"))),
        };
        let size = header.size_bytes();
        if size as u64 > left {
            return Ok(Next::Fault(format!(
                "the file ends inside a batch: {size} bytes of which {left} are there"
            )));
        }
        bytes.resize(size, 0);
        self.reader.read_exact(&mut bytes[HEADER_BYTES..])?;
        let position = self.position;
        self.position += size as u64;
        Ok(Next::Batch(Found { position, header, bytes: bytes.into() }))
    }
}
