//! Sends stretches of segment files to TCP clients inside the kernel, without passing them through user space.
//!
//! Only for real sockets; the simulator's streams read and write. Not for TLS either, which must see the bytes.

use crate::api::RegionPart;
use crate::os;
use highwater_net_tcp::{FilePart, Listen, Stream, TcpListen};
use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// How much is asked of one `sendfile`: a task with a fast peer must give way now and then.
const SEND_BYTES_MAX: u64 = 1 << 20;

/// A TCP listener whose connections send files.
#[derive(Debug)]
pub struct SendfileListen(pub TcpListen);

impl Listen for SendfileListen {
    type Stream = SendfileStream;

    async fn accept(&mut self) -> io::Result<(SendfileStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((SendfileStream(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A TCP stream that sends files.
#[derive(Debug)]
pub struct SendfileStream(TcpStream);

impl Stream for SendfileStream {
    fn sends_files(&self, part: &dyn FilePart) -> bool {
        (part as &dyn Any).is::<RegionPart>()
    }

    fn poll_send_file(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        part: &dyn FilePart,
        pos: u64,
        len: u64,
    ) -> Poll<io::Result<usize>> {
        let Some(RegionPart(region)) = (part as &dyn Any).downcast_ref::<RegionPart>() else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        let wanted = usize::try_from(len.min(SEND_BYTES_MAX)).unwrap_or(usize::MAX);
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            let sent = self.0.try_io(Interest::WRITABLE, || {
                let sent = region
                    .with_descriptor(|file| os::send_file(self.0.as_fd(), file, region.from + pos, wanted))?;
                sent.unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into()))
            });
            match sent {
                // The socket's buffer is full: the runtime has noted it, wait for room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncRead for SendfileStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SendfileStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
