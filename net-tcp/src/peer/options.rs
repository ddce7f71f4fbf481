//! Limits and time-outs of connections between nodes, each with its name.

use highwater_core::transport::Class;
use std::time::Duration;

/// What may wait for one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many frames.
    pub frames_max: usize,
    /// How many bytes of them; a single frame is taken whatever its size.
    pub bytes_max: u64,
}

/// Limits and time-outs of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerOptions {
    /// Longest wait for a connection to be made. A cut network answers nothing; a new attempt is more use then than
    /// the kernel's own, which come ever more rarely.
    pub connect_max: Duration,
    /// Longest wait for a hello, or for the answer to one.
    pub hello_max: Duration,
    /// A connection on which nothing was written for so long says that it is alive.
    pub keep_alive: Duration,
    /// A connection on which nothing was read, or nothing could be written, for so long is closed.
    pub idle_max: Duration,
    /// How long a connection that is being closed may take to say why.
    pub linger_max: Duration,
    /// First pause between attempts to connect; doubles up to `backoff_max`, each with jitter.
    pub backoff_min: Duration,
    /// Longest pause between attempts to connect.
    pub backoff_max: Duration,
    /// Pause after an attempt that the other side, or this one, refused: a person has to mend that.
    pub refused_backoff: Duration,
    /// A connection that lasted so long is replaced at once when it ends.
    pub stable_after: Duration,
    /// Connections accepted whose hello has not come yet.
    pub hellos_waiting_max: usize,
    /// Connections accepted from all peers together.
    pub accepted_max: usize,
    /// What may wait for a control connection.
    pub control_queue: QueueLimits,
    /// What may wait for a bulk connection.
    pub bulk_queue: QueueLimits,
    /// The most bytes taken from a queue into a write at once.
    pub write_bytes_max: u64,
    /// The most bytes asked of a socket at once.
    pub read_bytes_max: usize,
}

impl Default for PeerOptions {
    fn default() -> Self {
        Self {
            connect_max: Duration::from_secs(2),
            hello_max: Duration::from_secs(2),
            keep_alive: Duration::from_secs(1),
            idle_max: Duration::from_secs(5),
            linger_max: Duration::from_millis(500),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            refused_backoff: Duration::from_secs(3),
            stable_after: Duration::from_secs(1),
            hellos_waiting_max: 64,
            accepted_max: 2048,
            control_queue: QueueLimits { frames_max: 4096, bytes_max: 32 << 20 },
            bulk_queue: QueueLimits { frames_max: 4096, bytes_max: 64 << 20 },
            write_bytes_max: 1 << 20,
            read_bytes_max: 256 << 10,
        }
    }
}

impl PeerOptions {
    /// What may wait for a connection of this class.
    pub const fn queue(&self, class: Class) -> QueueLimits {
        match class {
            Class::Control => self.control_queue,
            Class::Bulk => self.bulk_queue,
        }
    }
}
