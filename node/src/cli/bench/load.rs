//! Requests and answers on a blocking socket.

use super::super::CliError;
use super::target::Target;
use bytes::Bytes;
use highwater_protocol::{Request, decode_response, request_frame};
use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longer answers are refused.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection on which requests are written as they were built.
pub(super) struct Socket {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A request as bytes, with its version to read the answer by.
pub(super) struct Prepared {
    pub(super) frame: Bytes,
    pub(super) version: i16,
}

/// Builds a request.
pub(super) fn prepare<R: Request>(request: &R, version: i16) -> Result<Prepared, CliError> {
    let frame = request_frame(request, version, 0, Some("highwater-bench"));
    Ok(Prepared { frame: frame.map_err(CliError::new)?, version })
}

impl Socket {
    pub(super) fn connect(target: &Target) -> Result<Self, CliError> {
        let failed = |error| CliError::new(format!("{}: {error}", target.leader));
        let writer = TcpStream::connect(target.leader).map_err(failed)?;
        writer.set_nodelay(true).map_err(failed)?;
        writer.set_read_timeout(Some(Duration::from_secs(30))).map_err(failed)?;
        let reader = BufReader::with_capacity(256 << 10, writer.try_clone().map_err(failed)?);
        Ok(Self { writer, reader })
    }

    pub(super) fn send(&mut self, request: &Prepared) -> Result<(), CliError> {
        self.writer.write_all(&request.frame).map_err(broken)
    }

    /// Waits for the next answer.
    pub(super) fn answer(&mut self) -> Result<Bytes, CliError> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length).map_err(broken)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_BYTES_MAX {
            return Err(CliError::new("the broker's answer is no frame"));
        }
        let mut frame = vec![0; length];
        self.reader.read_exact(&mut frame).map_err(broken)?;
        Ok(frame.into())
    }

    /// Sends and waits for the answer.
    pub(super) fn call<R: Request>(&mut self, request: &Prepared) -> Result<R::Response, CliError> {
        self.send(request)?;
        decode::<R>(&self.answer()?, request.version)
    }

    /// Keeps `in_flight` requests under way until `until`, and hears `answered` for each with the time it took.
    pub(super) fn pump<R: Request>(
        &mut self,
        request: &Prepared,
        in_flight: usize,
        until: Instant,
        mut answered: impl FnMut(R::Response, Duration) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut sent = VecDeque::with_capacity(in_flight);
        loop {
            while sent.len() < in_flight && Instant::now() < until {
                sent.push_back(Instant::now());
                self.send(request)?;
            }
            let Some(at) = sent.pop_front() else { return Ok(()) };
            let frame = self.answer()?;
            let took = at.elapsed();
            answered(decode::<R>(&frame, request.version)?, took)?;
        }
    }
}

fn decode<R: Request>(frame: &Bytes, version: i16) -> Result<R::Response, CliError> {
    let decoded = decode_response::<R>(frame, version);
    Ok(decoded.map_err(|error| CliError::new(format!("an answer does not parse: {error}")))?.1)
}

fn broken(error: std::io::Error) -> CliError {
    CliError::new(format!("the connection failed: {error}"))
}
