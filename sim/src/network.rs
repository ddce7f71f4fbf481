//! Simulated connections: madsim's TCP with resets at the worst moments, and silence behind a frozen disk.
//!
//! A reset strikes at a flush: what was written is lost and both sides hear of it, so that a request is lost before
//! it arrives or its answer after it took effect.

use crate::disk::SimDisk;
use crate::rng::Rng;
use highwater_net_tcp::client::Dial;
use highwater_net_tcp::{Listen, SocketOptions, Stream, TcpListen};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What goes wrong between clients and broker; shared by all connections of a run.
#[derive(Debug)]
pub struct NetFaults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    reset_permille: u32,
}

impl NetFaults {
    /// A network whose flushes are reset so often.
    pub fn new(rng: Rng, reset_permille: u32) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { rng, reset_permille }) })
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).reset_permille = 0;
    }

    fn strikes(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let permille = state.reset_permille;
        permille > 0 && state.rng.happens(permille)
    }
}

/// One side of a connection.
#[derive(Debug)]
pub struct SimStream {
    inner: TcpStream,
    faults: Arc<NetFaults>,
    /// The broker's disk, on the broker's side: once it is frozen, nothing is sent.
    disk: Option<SimDisk>,
    unsent: Vec<u8>,
    is_reset: bool,
}

impl SimStream {
    fn reset(&mut self) -> io::Error {
        self.is_reset = true;
        io::ErrorKind::ConnectionReset.into()
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
        Pin::new(&mut self.inner).poll_read(cx, buf)
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
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Stream for SimStream {}

/// The broker's listener.
#[derive(Debug)]
pub struct SimListen {
    inner: TcpListen,
    faults: Arc<NetFaults>,
    disk: SimDisk,
}

impl SimListen {
    /// Listens on behalf of an incarnation of the node, whose disk is `disk`.
    pub async fn bind(addr: SocketAddr, faults: Arc<NetFaults>, disk: SimDisk) -> io::Result<Self> {
        Ok(Self { inner: TcpListen::bind(addr, SocketOptions::default()).await?, faults, disk })
    }
}

impl Listen for SimListen {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        let (inner, peer) = self.inner.accept().await?;
        let disk = Some(self.disk.clone());
        let faults = self.faults.clone();
        Ok((SimStream { inner, faults, disk, unsent: Vec::new(), is_reset: false }, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// How clients reach the broker.
#[derive(Clone, Debug)]
pub struct SimDial {
    /// What goes wrong on the way.
    pub faults: Arc<NetFaults>,
}

impl Dial for SimDial {
    type Stream = SimStream;

    async fn dial(&self, host: &str, port: u16) -> io::Result<SimStream> {
        let ip = host.parse::<std::net::IpAddr>().map_err(|_| io::ErrorKind::InvalidInput)?;
        let inner = TcpStream::connect(SocketAddr::new(ip, port)).await?;
        let faults = self.faults.clone();
        Ok(SimStream { inner, faults, disk: None, unsent: Vec::new(), is_reset: false })
    }
}
