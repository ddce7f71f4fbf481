//! Sends stretches of segment files to TCP clients inside the kernel, without passing them through user space.
//!
//! Only on Linux and for plain sockets. The simulator's streams have no descriptor, and TLS must see the bytes: they
//! read and write.

use crate::api::RegionPart;
use crate::os;
use highwater_net_tcp::{FilePart, Listen, Stream, TcpListen};
use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
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

impl SendfileStream {
    /// Calls `send` when the socket has room, and again after it found none.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        send: impl Fn(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_io(Interest::WRITABLE, || send(self.0.as_fd())) {
                // The runtime has noted that the socket is full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl Stream for SendfileStream {
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(buf)
    }

    fn sends_files(&self, part: &dyn FilePart) -> bool {
        cfg!(target_os = "linux") && (part as &dyn Any).is::<RegionPart>()
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
        let sent = ready!(self.poll_send(cx, |socket| {
            let sent =
                region.with_descriptor(|file| os::send_file(socket, file, region.from + pos, wanted))?;
            sent.unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into()))
        }));
        Poll::Ready(match sent {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => sent,
        })
    }

    fn poll_write_before_file(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |socket| os::send_before_more(socket, buf))
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

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::disk::{Disk, RealDisk};
    use crate::log::{FileRegion, OpenFiles, SegmentFile};
    use highwater_net_tcp::SocketOptions;
    use std::future::poll_fn;
    use std::path::Path;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;

    /// More than any socket buffer takes at once.
    const FILE_BYTES: usize = 5 << 20;

    fn content() -> Vec<u8> {
        (0..FILE_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    fn file(dir: &Path) -> Arc<SegmentFile> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let file = SegmentFile::create(disk, OpenFiles::new(4), dir.join("0.log")).unwrap();
        file.handle().unwrap().write_now(0, &content()).unwrap();
        file
    }

    /// An accepted stream with a send buffer far smaller than the file, and what its peer reads until the stream ends.
    async fn connect() -> (SendfileStream, tokio::task::JoinHandle<Vec<u8>>) {
        let options = SocketOptions { send_buffer_bytes: Some(64 << 10), ..SocketOptions::default() };
        let bound = TcpListen::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let mut listener = SendfileListen(bound);
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let mut received = Vec::new();
            TcpStream::connect(address).await.unwrap().read_to_end(&mut received).await.unwrap();
            received
        });
        (listener.accept().await.unwrap().0, peer)
    }

    #[tokio::test]
    async fn a_stretch_larger_than_the_socket_follows_its_head_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (from, len) = (13, FILE_BYTES - 20);
        let part = RegionPart(FileRegion { file: file(dir.path()), from: from as u64, len });
        let (mut stream, peer) = connect().await;
        assert!(stream.sends_files(&part));
        let head = poll_fn(|cx| Pin::new(&mut stream).poll_write_before_file(cx, b"head")).await.unwrap();
        assert_eq!(head, 4);
        let mut pos = 0;
        while pos < part.len() {
            let left = part.len() - pos;
            let sent =
                poll_fn(|cx| Pin::new(&mut stream).poll_send_file(cx, &part, pos, left)).await.unwrap();
            assert!((sent as u64) < part.len(), "the socket was to be full in between");
            pos += sent as u64;
        }
        drop(stream);
        let received = peer.await.unwrap();
        assert_eq!(&received[..4], b"head");
        assert!(received[4..] == content()[from..from + len], "other bytes arrived than were sent");
    }

    #[tokio::test]
    async fn a_file_shorter_than_promised_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let part = RegionPart(FileRegion { file: file(dir.path()), from: FILE_BYTES as u64, len: 100_000 });
        let (mut stream, _peer) = connect().await;
        let sent = poll_fn(|cx| Pin::new(&mut stream).poll_send_file(cx, &part, 0, 100_000)).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
