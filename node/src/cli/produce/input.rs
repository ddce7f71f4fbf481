//! Reads the input on a thread of its own, because reading may block for ever.

use super::super::CliError;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use tokio::sync::mpsc;

/// Longer lines are somebody's mistake: no broker takes such a record.
const LINE_BYTES_MAX: u64 = 256 << 20;
/// How many lines are handed over at once.
const CHUNK_LINES_MAX: usize = 1000;

/// Where records come from.
pub(super) struct Input {
    name: String,
    reader: Box<dyn Read + Send>,
    /// Its size, if it is a file.
    pub(super) len: Option<u64>,
}

/// Some lines without their ends, or why there are no more.
pub(super) type Chunk = Result<Vec<Bytes>, CliError>;

impl Input {
    /// A file, else standard input.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else {
            return Ok(Self { name: "standard input".into(), reader: Box::new(io::stdin()), len: None });
        };
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| CliError::usage(format!("--file {name}: {error}")))?;
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file);
        Ok(Self { name, reader: Box::new(file), len: metadata.map(|metadata| metadata.len()) })
    }

    /// Its lines, or all of it in one piece.
    pub(super) fn values(self, is_raw: bool) -> mpsc::Receiver<Chunk> {
        let (chunks, values) = mpsc::channel(4);
        std::thread::spawn(move || {
            let failed = if is_raw { self.read_whole(&chunks) } else { self.read_lines(&chunks) };
            if let Err(error) = failed {
                // The command ended before its input.
                let _ = chunks.blocking_send(Err(error));
            }
        });
        values
    }

    fn read_whole(self, chunks: &mpsc::Sender<Chunk>) -> Result<(), CliError> {
        let mut value = Vec::new();
        let read = self.reader.take(LINE_BYTES_MAX + 1).read_to_end(&mut value);
        check(&self.name, read)?;
        let _ = chunks.blocking_send(Ok(vec![value.into()]));
        Ok(())
    }

    fn read_lines(self, chunks: &mpsc::Sender<Chunk>) -> Result<(), CliError> {
        let mut reader = BufReader::with_capacity(256 << 10, self.reader);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = (&mut reader).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
            let is_end = check(&self.name, read)? == 0;
            if !is_end {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                lines.push(Bytes::from(line));
            }
            // What somebody types goes at once, a file in larger pieces.
            let is_due = is_end || lines.len() >= CHUNK_LINES_MAX || reader.buffer().is_empty();
            if is_due && !lines.is_empty() && chunks.blocking_send(Ok(std::mem::take(&mut lines))).is_err() {
                return Ok(());
            }
            if is_end {
                return Ok(());
            }
        }
    }
}

fn check(name: &str, read: io::Result<usize>) -> Result<usize, CliError> {
    match read {
        Ok(n) if n as u64 > LINE_BYTES_MAX => {
            Err(CliError::new(format!("{name}: a record has at most {LINE_BYTES_MAX} bytes")))
        }
        Ok(n) => Ok(n),
        Err(error) => Err(CliError::new(format!("{name} cannot be read: {error}"))),
    }
}
