//! Simulated connections: madsim's TCP with resets at the worst moments, cuts, and silence behind a frozen disk.
//!
//! A reset strikes at a flush: what was written is lost and both sides hear of it, so that a request is lost before
//! it arrives or its answer after it took effect.
//!
//! A cut has a direction. What is sent along it is held, as by TCP that sends again and again, and arrives once the cut
//! is mended; connecting over it hangs, for a handshake needs both directions. madsim's own cuts would refuse new
//! connections at once, and let an end of stream through, so that nobody could mistake silence for death.

use crate::disk::SimDisk;
use crate::rng::Rng;
use highwater_net_tcp::client::Dial;
use highwater_net_tcp::{Listen, SocketOptions, Stream, TcpListen};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What goes wrong between machines; shared by all connections of a run.
#[derive(Debug)]
pub struct NetFaults {
    state: Mutex<State>,
    /// How often something arrived.
    delivered: AtomicU64,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    reset_permille: u32,
    /// From whom to whom nothing arrives.
    cuts: BTreeSet<(IpAddr, IpAddr)>,
    /// Those who wait for a cut to be mended.
    held: Vec<Waker>,
}

impl NetFaults {
    /// A network whose flushes are reset so often.
    pub fn new(rng: Rng, reset_permille: u32) -> Arc<Self> {
        let state = State { rng, reset_permille, cuts: BTreeSet::new(), held: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), delivered: AtomicU64::new(0) })
    }

    /// From now on nothing arrives at `to` from `from`.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        self.state().cuts.insert((from, to));
    }

    /// What was held between the two arrives.
    pub fn mend(&self, from: IpAddr, to: IpAddr) {
        self.state().cuts.remove(&(from, to));
        self.release();
    }

    /// Every cut is mended.
    pub fn mend_all(&self) {
        self.state().cuts.clear();
        self.release();
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state().reset_permille = 0;
        self.mend_all();
    }

    /// How often something arrived over a connection. What was flushed at once arrives at once.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        let held = std::mem::take(&mut self.state().held);
        held.into_iter().for_each(Waker::wake);
    }

    fn strikes(&self) -> bool {
        let mut state = self.state();
        let permille = state.reset_permille;
        permille > 0 && state.rng.happens(permille)
    }

    fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        self.state().cuts.contains(&(from, to))
    }

    /// Whether nothing arrives; then the task is woken when something is mended.
    fn holds(&self, from: IpAddr, to: IpAddr, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        let is_cut = state.cuts.contains(&(from, to));
        if is_cut {
            state.held.push(cx.waker().clone());
        }
        is_cut
    }

    /// Waits until both directions are open.
    async fn both_ways(&self, one: IpAddr, other: IpAddr) {
        let is_open = |cx: &Context<'_>| !self.holds(one, other, cx) && !self.holds(other, one, cx);
        poll_fn(|cx| if is_open(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// One side of a connection.
#[derive(Debug)]
pub struct SimStream {
    inner: TcpStream,
    faults: Arc<NetFaults>,
    /// This side and the other.
    here: IpAddr,
    there: IpAddr,
    /// The disk of a node's side: once it is frozen, nothing is sent.
    disk: Option<SimDisk>,
    unsent: Vec<u8>,
    is_reset: bool,
}

impl SimStream {
    fn reset(&mut self) -> io::Error {
        self.is_reset = true;
        io::ErrorKind::ConnectionReset.into()
    }

    /// Whether this side can hear nothing of the other's end.
    fn is_severed(&self) -> bool {
        self.faults.is_cut(self.here, self.there) || self.faults.is_cut(self.there, self.here)
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.faults.holds(self.there, self.here, cx) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.faults.delivered.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.unsent.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if this.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if this.disk.as_ref().is_some_and(SimDisk::is_frozen) {
            this.unsent.clear();
            return Poll::Ready(Ok(()));
        }
        if this.faults.strikes() {
            return Poll::Ready(Err(this.reset()));
        }
        // madsim's stream takes any amount at once and sends at its flush.
        let unsent = std::mem::take(&mut this.unsent);
        match Pin::new(&mut this.inner).poll_write(cx, &unsent) {
            Poll::Ready(Ok(n)) => assert_eq!(n, unsent.len(), "the simulated stream is never full"),
            other => return other.map_ok(|_| ()),
        }
        match Pin::new(&mut this.inner).poll_flush(cx) {
            // madsim tells of the other side's end whatever lies between.
            Poll::Ready(Err(_)) if this.is_severed() => Poll::Ready(Ok(())),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Stream for SimStream {}

/// A node's listener.
#[derive(Debug)]
pub struct SimListen {
    inner: TcpListen,
    faults: Arc<NetFaults>,
    here: IpAddr,
    disk: SimDisk,
}

impl SimListen {
    /// Listens on behalf of an incarnation of the node, whose disk is `disk`.
    pub async fn bind(addr: SocketAddr, faults: Arc<NetFaults>, disk: SimDisk) -> io::Result<Self> {
        let inner = TcpListen::bind(addr, SocketOptions::default()).await?;
        Ok(Self { inner, faults, here: addr.ip(), disk })
    }
}

impl Listen for SimListen {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (inner, peer) = self.inner.accept().await?;
        let stream = SimStream {
            inner,
            faults: self.faults.clone(),
            here: self.here,
            there: peer.ip(),
            disk: Some(self.disk.clone()),
            unsent: Vec::new(),
            is_reset: false,
        };
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// How a machine reaches others.
#[derive(Clone, Debug)]
pub struct SimDial {
    /// What goes wrong on the way.
    pub faults: Arc<NetFaults>,
    /// Who dials.
    pub here: IpAddr,
    /// The disk of a node that dials.
    pub disk: Option<SimDisk>,
}

impl Dial for SimDial {
    type Stream = SimStream;

    async fn dial(&self, host: &str, port: u16) -> io::Result<SimStream> {
        let there = host.parse::<IpAddr>().map_err(|_| io::ErrorKind::InvalidInput)?;
        self.faults.both_ways(self.here, there).await;
        let inner = TcpStream::connect(SocketAddr::new(there, port)).await?;
        Ok(SimStream {
            inner,
            faults: self.faults.clone(),
            here: self.here,
            there,
            disk: self.disk.clone(),
            unsent: Vec::new(),
            is_reset: false,
        })
    }
}
