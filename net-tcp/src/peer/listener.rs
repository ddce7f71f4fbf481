//! Accepting connections from peers: who may, and what becomes of the rest.

use super::link::Link;
use super::queue::SendQueue;
use super::{Shared, Who, handshake, lock};
use crate::accepting::{ACCEPT_BACKOFF, AcceptFailure, AcceptTrouble};
use crate::client::Dial;
use crate::listener::{Listen, Stream};
use highwater_core::transport::{Accepted, Class, Hello, HelloAnswer, LinkEvent, Refusal, WHOEVER};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

impl<D: Dial> Shared<D> {
    /// Accepts until the transport stops.
    pub(super) async fn listen<L: Listen>(self: Arc<Self>, mut listener: L) {
        let hellos = Arc::new(Semaphore::new(self.options.hellos_waiting_max));
        let mut trouble = AcceptTrouble::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stopped() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    // Refused rather than waited for: whoever connects and is silent must not keep peers out.
                    let Ok(permit) = hellos.clone().try_acquire_owned() else {
                        self.warn(format_args!(
                            "a connection from {address} is dropped: too many others have not said hello yet"
                        ));
                        continue;
                    };
                    let shared = self.clone();
                    tokio::spawn(async move {
                        let met = shared.meet(stream, address).await;
                        drop(permit);
                        if let Some((stream, accepted, class, queue)) = met {
                            shared.carry(stream, accepted, class, queue, address).await;
                        }
                    });
                }
                Err(error) => {
                    if let Some(before) = trouble.arises(Instant::now()) {
                        tracing::warn!(before, "at the listener for nodes {}", AcceptFailure(&error));
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Hears the hello and answers it.
    async fn meet<T: Stream>(
        self: &Arc<Self>,
        mut stream: T,
        address: SocketAddr,
    ) -> Option<(T, Accepted, Class, Arc<SendQueue>)> {
        let heard = tokio::select! {
            biased;
            () = self.stopped() => return None,
            heard = timeout(self.options.hello_max, handshake::hear(&mut stream)) => heard,
        };
        let hello = match heard {
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => {
                self.counters.hellos_refused.fetch_add(1, Relaxed);
                self.warn(format_args!(
                    "a connection from {address} to the peer listener is closed: {error}"
                ));
                return None;
            }
            Err(_) => {
                self.counters.hellos_refused.fetch_add(1, Relaxed);
                self.warn(format_args!(
                    "a connection from {address} to the peer listener is closed: it said no hello"
                ));
                return None;
            }
        };
        let queue = Arc::new(SendQueue::new(self.options.queue(hello.class)));
        let local = self.local();
        let (judged, others) = {
            let mut roster = lock(&self.roster);
            let others = if hello.to == WHOEVER { roster.addresses() } else { Vec::new() };
            (roster.accept(&local, &hello, &queue, self.options.accepted_max), others)
        };
        let answer = match &judged {
            Ok(accepted) => local.answer(*accepted),
            Err(refusal) => HelloAnswer::Refused(refusal.clone()),
        };
        let answered = handshake::answer(&mut stream, &answer, &others);
        let answered = timeout(self.options.hello_max, answered).await;
        match judged {
            Ok(accepted) if matches!(answered, Ok(Ok(()))) => {
                self.follow(&hello);
                Some((stream, accepted, hello.class, queue))
            }
            Ok(_) => {
                lock(&self.roster).leave(hello.from.id, &queue);
                None
            }
            Err(refusal) => {
                self.turn_away(stream, &hello, address, &refusal).await;
                None
            }
        }
    }

    /// A peer that is dialed calls from elsewhere: nothing waits for the old address any longer.
    fn follow(self: &Arc<Self>, hello: &Hello) {
        let Some(address) = &hello.address else { return };
        let dialing = lock(&self.roster).follow(hello.from.id, address);
        if let Some(dialing) = dialing {
            tracing::info!("node {} has moved to {address}", hello.from.id);
            self.dial_both(&dialing);
        }
    }

    /// Closes a connection that was refused, after what was answered has left.
    async fn turn_away<T: Stream>(
        &self,
        mut stream: T,
        hello: &Hello,
        address: SocketAddr,
        refusal: &Refusal,
    ) {
        self.counters.hellos_refused.fetch_add(1, Relaxed);
        let who = Who(&hello.from);
        if *refusal == Refusal::Stopping || hello.to == WHOEVER {
            tracing::debug!("{who} at {address} is turned away: {refusal}");
        } else {
            self.warn(format_args!("{who} at {address} is turned away: {refusal}"));
        }
        let _ = timeout(self.options.linger_max, stream.shutdown()).await;
    }

    /// Runs an accepted connection, on the runtime of its class.
    async fn carry<T: Stream>(
        self: Arc<Self>,
        stream: T,
        accepted: Accepted,
        class: Class,
        queue: Arc<SendQueue>,
        address: SocketAddr,
    ) {
        let id = accepted.peer.id;
        self.counters.links_accepted.fetch_add(1, Relaxed);
        tracing::debug!("node {id} connected from {address} for {class}");
        self.tell_link(id, LinkEvent::Up);
        match class {
            Class::Control => self.run_accepted(stream, accepted, class, queue).await,
            Class::Bulk => {
                let bulk = self.bulk.clone();
                bulk.spawn(async move {
                    match stream.adopted() {
                        Ok(stream) => self.run_accepted(stream, accepted, class, queue).await,
                        Err(error) => {
                            let end = super::LinkEnd::Io(error.kind());
                            self.left(&accepted, class, &queue, &end);
                        }
                    }
                });
            }
        }
    }

    async fn run_accepted<T: Stream>(
        &self,
        stream: T,
        accepted: Accepted,
        class: Class,
        queue: Arc<SendQueue>,
    ) {
        let end = Link::new(self, stream, accepted, class, queue.clone()).run().await;
        self.left(&accepted, class, &queue, &end);
    }
}
