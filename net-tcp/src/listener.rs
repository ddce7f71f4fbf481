//! Where connections come from: real sockets, or whatever a simulated network makes of them.

use crate::reply::FilePart;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

/// A byte stream that a connection can live on.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The stream, woken by the runtime that this is called on: a socket belongs to the one it was made on.
    fn adopted(self) -> io::Result<Self>
    where
        Self: Sized,
    {
        Ok(self)
    }

    /// Reads what is there now, asking the kernel and not what the runtime knows of it; `WouldBlock` if that is nothing,
    /// or if the stream cannot be asked so.
    fn read_now(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Whether [`Stream::poll_send_file`] works on this stream for this part.
    fn sends_files(&self, _part: &dyn FilePart) -> bool {
        false
    }

    /// Sends up to `len` bytes of `part`, from `pos` on, without passing them through user space.
    /// Never called unless [`Stream::sends_files`] said yes.
    fn poll_send_file(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _part: &dyn FilePart,
        _pos: u64,
        _len: u64,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Writes `buf`, which a file sent by [`Stream::poll_send_file`] follows at once: the stream may wait for that
    /// before it wakes the peer.
    fn poll_write_before_file(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, buf)
    }
}

impl Stream for TcpStream {
    #[cfg(not(madsim))]
    fn adopted(self) -> io::Result<Self> {
        Self::from_std(self.into_std()?)
    }

    #[cfg(not(madsim))]
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // The runtime's sockets do not block.
        io::Read::read(&mut &*socket2::SockRef::from(&*self), buf)
    }
}

impl Stream for DuplexStream {}

/// A source of connections.
pub trait Listen: Send + 'static {
    /// What a connection lives on.
    type Stream: Stream;

    /// Waits for the next connection. Must lose none when dropped while waiting.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens, with the port that was really given.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// What is set on each accepted socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Sends small answers at once (TCP_NODELAY). Kafka always does.
    pub nodelay: bool,
    /// SO_SNDBUF (`socket.send.buffer.bytes`); `None` leaves the operating system's own tuning, as −1 does.
    pub send_buffer_bytes: Option<usize>,
    /// SO_RCVBUF (`socket.receive.buffer.bytes`); `None` as above.
    pub receive_buffer_bytes: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { nodelay: true, send_buffer_bytes: None, receive_buffer_bytes: None }
    }
}

/// A TCP listener with the options for its connections.
#[derive(Debug)]
pub struct TcpListen {
    listener: TcpListener,
    options: SocketOptions,
}

impl TcpListen {
    /// Listens on `addr`; port 0 takes a free one.
    pub async fn bind(addr: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(addr).await?, options })
    }

    /// Serves connections of a listener made elsewhere.
    pub fn new(listener: TcpListener, options: SocketOptions) -> Self {
        Self { listener, options }
    }
}

impl Listen for TcpListen {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        // A peer that is gone already shows when the connection is read.
        let _ = self.options.apply(&stream);
        Ok((stream, peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl SocketOptions {
    /// Sets the options on a stream.
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(self.nodelay)?;
        #[cfg(not(madsim))]
        {
            let socket = socket2::SockRef::from(stream);
            if let Some(bytes) = self.send_buffer_bytes {
                socket.set_send_buffer_size(bytes)?;
            }
            if let Some(bytes) = self.receive_buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
        }
        Ok(())
    }
}
