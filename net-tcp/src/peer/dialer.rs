//! Connecting to a peer, again and again, for as long as its address holds.

use super::call::{CallError, Called};
use super::handshake::HandshakeError;
use super::link::{Link, LinkEnd};
use super::queue::SendQueue;
use super::{Dialing, Shared, lock};
use crate::client::Dial;
use highwater_core::transport::{Accepted, Class, LinkEvent, Notice, Refusal};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Why an attempt came to nothing.
#[derive(Debug)]
enum DialError {
    /// Nobody answered.
    Call(CallError),
    /// One side refuses.
    Refused { refusal: Refusal, by_peer: bool },
    /// The address is void, or the transport stops.
    Void,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Refused { refusal, by_peer: true } => write!(f, "it refuses this node: {refusal}"),
            Self::Refused { refusal, by_peer: false } => write!(f, "this node refuses it: {refusal}"),
            Self::Void => f.write_str("its address changed"),
        }
    }
}

impl DialError {
    /// Whether nobody listens there.
    fn is_refused_connection(&self) -> bool {
        matches!(self, Self::Call(CallError::Connect(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether trying again soon is of no use: somebody has to mend a configuration.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => !matches!(refusal, Refusal::Stopping | Refusal::Busy),
            Self::Call(CallError::Handshake(HandshakeError::Hello(_))) => true,
            _ => false,
        }
    }
}

/// How long to rest between attempts, and what was said about them.
struct Attempts {
    pause: Duration,
    /// What the log has last, so that one trouble is one line.
    said: Option<String>,
}

impl<D: Dial> Shared<D> {
    /// Keeps one connection of a class to a peer, until its address is void.
    pub(super) async fn keep_dialing(self: Arc<Self>, mut dialing: Dialing, class: Class) {
        let mut attempts = Attempts { pause: Duration::ZERO, said: None };
        loop {
            let queue = lock(&self.roster).begin_dial(&dialing, class, self.options.queue(class));
            let Some(queue) = queue else { return };
            let begun = Instant::now();
            let dialed = self.dial(&dialing, class, &queue).await;
            let is_up = dialed.is_ok();
            let next = match dialed {
                Ok((stream, accepted)) => {
                    attempts.said = None;
                    self.counters.links_dialed.fetch_add(1, Relaxed);
                    self.announce(&dialing, class);
                    let link = Link::new(&*self, stream, accepted, class, queue.clone());
                    let end = link.run().await;
                    self.left(&accepted, class, &queue, &end);
                    self.after_link(&attempts, begun, &end)
                }
                Err(error) => {
                    self.lose(&queue);
                    let pause = self.after_failure(&dialing, class, &mut attempts, &error);
                    if error.is_refused_connection() {
                        self.tell_link(dialing.peer, LinkEvent::Refused);
                    }
                    pause
                }
            };
            lock(&self.roster).end_dial(&dialing, class);
            attempts.pause = next;
            let pause = self.jittered(next);
            let rest = async {
                if pause.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(pause).await;
                }
            };
            tokio::select! {
                biased;
                // Only ever closed: the address is void.
                _ = dialing.valid.changed() => return,
                () = dialing.poke.notified(), if !is_up => {}
                () = rest => {}
            }
        }
    }

    /// One attempt: connect, hello, judgement.
    async fn dial(
        &self,
        dialing: &Dialing,
        class: Class,
        queue: &Arc<SendQueue>,
    ) -> Result<(D::Stream, Accepted), DialError> {
        let mut valid = dialing.valid.clone();
        tokio::select! {
            biased;
            _ = valid.changed() => Err(DialError::Void),
            dialed = self.connect(dialing, class, queue) => dialed,
        }
    }

    async fn connect(
        &self,
        dialing: &Dialing,
        class: Class,
        queue: &Arc<SendQueue>,
    ) -> Result<(D::Stream, Accepted), DialError> {
        let local = self.local();
        let hello = local.hello(dialing.peer, class);
        let Called { mut stream, answer, .. } =
            self.call(&dialing.address, &hello).await.map_err(DialError::Call)?;
        let concluded = lock(&self.roster).conclude(&local, dialing.peer, class, &answer, queue);
        match concluded {
            Ok(accepted) => Ok((stream, accepted)),
            Err((refusal, by_peer)) => {
                self.counters.hellos_refused.fetch_add(1, Relaxed);
                if !by_peer {
                    self.decline(&mut stream, &refusal).await;
                }
                Err(DialError::Refused { refusal, by_peer })
            }
        }
    }

    /// Tells the other side, which accepted, that this one does not.
    async fn decline(&self, stream: &mut D::Stream, refusal: &Refusal) {
        use tokio::io::AsyncWriteExt;
        let notice = Notice::Refused(refusal.clone()).frame();
        // In the oldest format that there is: if not even that is common, the connection just closes.
        let bytes = highwater_core::transport::Format::V1.encode(&notice);
        let said = async {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            stream.shutdown().await
        };
        let _ = timeout(self.options.linger_max, said).await;
    }

    fn announce(&self, dialing: &Dialing, class: Class) {
        let (peer, address) = (dialing.peer, &dialing.address);
        match class {
            Class::Control => tracing::info!("connected to node {peer} at {address}"),
            Class::Bulk => tracing::debug!("connected to node {peer} at {address} for bulk"),
        }
        self.tell_link(peer, LinkEvent::Up);
    }

    /// How long to rest after a connection that stood. One that fails soon after it stood every time is no better
    /// than none.
    fn after_link(&self, attempts: &Attempts, begun: Instant, end: &LinkEnd) -> Duration {
        if matches!(end, LinkEnd::RefusedByPeer(refusal) if *refusal != Refusal::Malformed) {
            self.options.refused_backoff
        } else if begun.elapsed() >= self.options.stable_after {
            Duration::ZERO
        } else {
            self.longer(attempts.pause)
        }
    }

    fn after_failure(
        &self,
        dialing: &Dialing,
        class: Class,
        attempts: &mut Attempts,
        error: &DialError,
    ) -> Duration {
        if matches!(error, DialError::Void) {
            return Duration::ZERO;
        }
        self.counters.dials_failed.fetch_add(1, Relaxed);
        let pause =
            if error.is_lasting() { self.options.refused_backoff } else { self.longer(attempts.pause) };
        let (peer, address) = (dialing.peer, &dialing.address);
        let said = error.to_string();
        // Both connections have the same trouble; it is told of once, by the one that matters more.
        if attempts.said.as_ref() == Some(&said) || class == Class::Bulk {
            tracing::debug!("node {peer} at {address} cannot be used for {class}: {said}");
        } else if error.is_lasting() {
            tracing::warn!("node {peer} at {address} cannot be used: {said}; trying again every {pause:?}");
        } else {
            tracing::info!("node {peer} at {address} cannot be reached: {said}; trying again");
        }
        attempts.said = Some(said);
        pause
    }

    fn longer(&self, pause: Duration) -> Duration {
        (pause * 2).clamp(self.options.backoff_min, self.options.backoff_max)
    }

    /// Throws away what waited for an attempt that failed.
    fn lose(&self, queue: &SendQueue) {
        queue.close(LinkEnd::PeerClosed);
        self.counters.frames_lost.fetch_add(queue.clear() as u64, Relaxed);
    }

    /// A connection that stood is over.
    pub(super) fn left(&self, accepted: &Accepted, class: Class, queue: &Arc<SendQueue>, end: &LinkEnd) {
        let id = accepted.peer.id;
        let is_last = {
            let mut roster = lock(&self.roster);
            roster.leave(id, queue);
            !roster.is_connected(id)
        };
        self.counters.links_ended.fetch_add(1, Relaxed);
        match end {
            LinkEnd::Frame(_) | LinkEnd::FrameLength(_) | LinkEnd::RefusedByPeer(_) => {
                self.warn(format_args!("the {class} connection with node {id} is closed: {end}"));
            }
            LinkEnd::Stopped | LinkEnd::Superseded | LinkEnd::AddressChanged => {
                tracing::debug!("the {class} connection with node {id} is closed: {end}");
            }
            _ if is_last => tracing::info!("the last connection with node {id} ended: {end}"),
            _ => tracing::debug!("a {class} connection with node {id} ended: {end}"),
        }
        if end.is_reset() {
            self.tell_link(id, LinkEvent::Reset);
        }
    }
}
