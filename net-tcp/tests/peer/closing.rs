//! A connection that says why it ends, and whose other side does not end it.

use crate::common::{Caller, plan};
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, LinkEvent, Notice};
use highwater_net_tcp::client::TcpDial;
use highwater_net_tcp::peer::PeerOptions;
use highwater_net_tcp::{Listen, SocketOptions, Stream, TcpListen};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that counts how often its owner looks for something to read.
struct Watched(TcpStream, Arc<AtomicUsize>);

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Stream for Watched {}

struct WatchedListen(TcpListen, Arc<AtomicUsize>);

impl Listen for WatchedListen {
    type Stream = Watched;

    async fn accept(&mut self) -> io::Result<(Watched, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Watched(stream, self.1.clone()), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn a_farewell_that_nobody_answers_is_waited_for_at_rest() {
    let looks = Arc::new(AtomicUsize::new(0));
    let address = "127.0.0.1:0".parse().expect("an address");
    let listener = TcpListen::bind(address, SocketOptions::default()).await.expect("a free port");
    let bound = listener.local_addr().expect("it is bound");
    let mut usual = plan(1);
    usual.options = PeerOptions { linger_max: Duration::from_millis(300), ..usual.options };
    let mut one = usual.start_on(TcpDial::default(), WatchedListen(listener, looks.clone()), bound);
    let (mut caller, _) = Caller::hello(&one, &plan(2), Class::Control).await;
    one.hears_link(BrokerId(2), LinkEvent::Up).await;

    let before = looks.load(Ordering::Relaxed);
    one.peers.stop();
    assert_eq!(caller.notice().await, Some(Notice::Stopping));
    one.counts_until("it is given up", |counts| counts.links_open() == 0).await;
    let looked = looks.load(Ordering::Relaxed) - before;
    assert!(looked < 50, "a task that waits runs when something comes, not {looked} times meanwhile");
}
