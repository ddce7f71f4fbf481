//! The first words on a connection, in both directions, read to the byte: what follows them is frames.

use crate::listener::Stream;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{HELLO_BYTES_MAX, Hello, HelloAnswer, HelloError, PeerAddress, hello_bytes};
use std::fmt;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Why a hello came to nothing.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The stream failed, or ended.
    Io(io::Error),
    /// The other side says something else.
    Hello(HelloError),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the connection was closed before the hello was done")
            }
            Self::Io(error) => error.fmt(f),
            Self::Hello(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<HelloError> for HandshakeError {
    fn from(error: HelloError) -> Self {
        Self::Hello(error)
    }
}

/// Says hello and hears the answer, and where others are, if it tells.
pub(super) async fn call<S: Stream>(
    stream: &mut S,
    hello: &Hello,
) -> Result<(HelloAnswer, Vec<(BrokerId, PeerAddress)>), HandshakeError> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await?;
    let bytes = read_whole(stream).await?;
    let (answer, others, _) = HelloAnswer::decode(&bytes)?.ok_or(HelloError::Malformed)?;
    Ok((answer, others))
}

/// Hears a hello.
pub(super) async fn hear<S: Stream>(stream: &mut S) -> Result<Hello, HandshakeError> {
    let bytes = read_whole(stream).await?;
    let (hello, _) = Hello::decode(&bytes)?.ok_or(HelloError::Malformed)?;
    Ok(hello)
}

/// Answers a hello, and tells where `others` are.
pub(super) async fn answer<S: Stream>(
    stream: &mut S,
    answer: &HelloAnswer,
    others: &[(BrokerId, PeerAddress)],
) -> Result<(), HandshakeError> {
    let others = others.iter().map(|(id, address)| (*id, address));
    stream.write_all(&answer.encode(others)).await?;
    stream.flush().await?;
    Ok(())
}

/// Reads one message and not a byte more. A stream that cannot become one is given up at its first wrong byte.
async fn read_whole<S: Stream>(stream: &mut S) -> Result<Vec<u8>, HandshakeError> {
    /// Magic and length: no message is shorter.
    const PREFIX_BYTES: usize = 6;
    let mut bytes = [0; HELLO_BYTES_MAX];
    let mut have = 0;
    loop {
        let whole = hello_bytes(&bytes[..have])?;
        if whole == Some(have) {
            return Ok(bytes[..have].to_vec());
        }
        let read = stream.read(&mut bytes[have..whole.unwrap_or(PREFIX_BYTES)]).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        have += read;
    }
}
