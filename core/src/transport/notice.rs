//! What one transport says to the other, in frames of [`FrameKind::Link`] that no handler sees.

use super::{Frame, FrameError, FrameKind, Refusal};
use serde::{Deserialize, Serialize};

/// The version of notices that [`Notice::frame`] writes.
const VERSION: u8 = 0;

/// A word between transports. Grows at the end only; a notice of a later build is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Nothing else was to be said for a while, and the connection is alive.
    KeepAlive,
    /// The process stops in an orderly way and closes the connection.
    Stopping,
    /// The side that connected cannot use what the answer to its hello said.
    Refused(Refusal),
}

impl Notice {
    /// The notice as a frame.
    pub fn frame(&self) -> Frame {
        let header = postcard::to_allocvec(self).expect("a vector takes any length");
        Frame::new(FrameKind::Link, VERSION, header)
    }

    /// The notice of a frame of [`FrameKind::Link`]; `None` for one that only a later build knows.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, FrameError> {
        const KINDS: u8 = 3;
        match frame.header.first() {
            None => Err(FrameError::Notice),
            Some(kind) if *kind >= KINDS || frame.version > VERSION => Ok(None),
            Some(_) => postcard::from_bytes(&frame.header).map(Some).map_err(|_| FrameError::Notice),
        }
    }
}
