//! A server with a scripted service, on in-memory streams or real sockets, and a raw client.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test file uses a part of it"
)]

use bytes::{BufMut, Bytes, BytesMut};
use highwater_net_tcp::*;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// The API the script speaks: its body begins with a verb.
pub const SCRIPT: i16 = 3;
/// As `SCRIPT`, with a flexible header from version 9 on.
pub const VERSION_MAX: i16 = 12;

/// Answers the body itself.
pub const ECHO: u8 = b'e';
/// Keeps the request until the test answers it.
pub const HOLD: u8 = b'h';
/// Answers every request that is kept, of whatever connection, and then itself.
pub const RELEASE: u8 = b'r';
/// Takes the request and answers nothing.
pub const SILENT: u8 = b's';
/// Closes the connection.
pub const CLOSE: u8 = b'c';
/// Answers with the number of bytes (u32) in the body, in memory.
pub const BYTES: u8 = b'b';
/// Answers with the number of bytes (u32) in the body, from a file part.
pub const FILE: u8 = b'f';
/// Answers and mutes for the milliseconds (u32) in the body.
pub const THROTTLE: u8 = b't';
/// Panics.
pub const PANIC: u8 = b'p';

pub fn table() -> ApiTable {
    ApiTable::new([
        ApiRange { api_key: 0, version_min: 3, version_max: 13, advertised_min: 0, flexible_min: 9 },
        ApiRange {
            api_key: SCRIPT,
            version_min: 1,
            version_max: VERSION_MAX,
            advertised_min: 1,
            flexible_min: 9,
        },
        ApiRange { api_key: 18, version_min: 0, version_max: 4, advertised_min: 0, flexible_min: 3 },
    ])
}

/// A file whose byte at every position is known.
pub struct Pattern {
    pub len: u64,
    /// What it can really give.
    pub real_len: u64,
}

pub fn pattern_at(pos: u64) -> u8 {
    (pos % 251) as u8
}

impl FilePart for Pattern {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        // Uneven pieces, as a real read may give.
        let n = buf.len().min(100_000).min((self.real_len - pos) as usize);
        for (i, byte) in buf[..n].iter_mut().enumerate() {
            *byte = pattern_at(pos + i as u64);
        }
        Ok(n)
    }
}

/// What the service saw.
#[derive(Default)]
pub struct Seen {
    pub batches: Vec<usize>,
    pub headers: Vec<RequestHeader>,
    pub held: Vec<(ReplyQueue, Slot, RequestHeader, Bytes)>,
    pub connected: Vec<ConnInfo>,
    pub disconnected: Vec<(ConnId, CloseReason)>,
}

#[derive(Default)]
pub struct Script {
    pub seen: Mutex<Seen>,
}

pub fn answer(header: &RequestHeader, body: &[u8]) -> Bytes {
    let mut head = BytesMut::new();
    head.put_i32(header.correlation_id);
    head.put_slice(body);
    head.freeze()
}

impl Script {
    pub fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap())
    }

    fn serve(&self, request: Request, replies: &ReplyQueue) {
        let Request { slot, header, body, .. } = request;
        let number = || u32::from_be_bytes(body[1..5].try_into().unwrap());
        self.seen(|seen| seen.headers.push(header.clone()));
        match body.first() {
            Some(&ECHO) => replies.reply(slot, Reply::new(answer(&header, &body))),
            Some(&HOLD) => self.seen(|seen| seen.held.push((replies.clone(), slot, header, body))),
            Some(&RELEASE) => {
                for (queue, slot, header, body) in self.seen(|seen| std::mem::take(&mut seen.held)) {
                    queue.reply(slot, Reply::new(answer(&header, &body)));
                }
                replies.reply(slot, Reply::new(answer(&header, &body)));
            }
            Some(&SILENT) => replies.reply(slot, Reply::none()),
            Some(&BYTES) => {
                let part = Part::Bytes(vec![7; number() as usize].into());
                replies.reply(slot, Reply::with_parts(answer(&header, b""), vec![part]));
            }
            Some(&FILE) => {
                let len = u64::from(number());
                let real_len = if body.len() > 5 { len - 1 } else { len };
                let part = Part::File(Arc::new(Pattern { len, real_len }));
                replies.reply(slot, Reply::with_parts(answer(&header, b""), vec![part]));
            }
            Some(&THROTTLE) => {
                let time = Duration::from_millis(u64::from(number()));
                replies.reply(slot, Reply::new(answer(&header, b"")).throttled(time));
            }
            Some(&PANIC) => panic!("as the test asked"),
            _ => replies.reply(slot, Reply::close("malformed body")),
        }
    }
}

impl Service for Script {
    type State = u32;

    fn api_table(&self) -> Arc<ApiTable> {
        Arc::new(table())
    }

    fn connected(&self, conn: &ConnInfo, _replies: &ReplyQueue) -> u32 {
        self.seen(|seen| seen.connected.push(conn.clone()));
        0
    }

    fn handle(&self, conn: &mut ConnCtx<u32>, batch: &mut Requests<'_>, replies: &ReplyQueue) {
        let mut count = 0;
        for request in batch {
            count += 1;
            conn.state += 1;
            self.serve(request, replies);
        }
        self.seen(|seen| seen.batches.push(count));
    }

    fn disconnected(&self, conn: ConnCtx<u32>, reason: &CloseReason) {
        self.seen(|seen| seen.disconnected.push((conn.info.id, reason.clone())));
    }
}

/// A listener whose connections the test makes.
pub struct Door(mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>);

impl Listen for Door {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(accepted) => Ok(accepted),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 9092).into())
    }
}

pub struct House {
    pub server: Server<Script>,
    pub script: Arc<Script>,
    door: mpsc::UnboundedSender<(DuplexStream, SocketAddr)>,
}

impl House {
    pub fn open(limits: Limits) -> Self {
        let script = Arc::new(Script::default());
        let server = Server::new(script.clone(), limits, Instant::now());
        let (door, arrivals) = mpsc::unbounded_channel();
        let serving = server.clone();
        tokio::spawn(async move { serving.serve("PLAINTEXT", Door(arrivals)).await });
        Self { server, script, door }
    }

    /// A client whose socket buffers hold `capacity` bytes each way.
    pub fn connect(&self, capacity: usize) -> Raw<DuplexStream> {
        self.connect_from([10, 0, 0, 1], capacity)
    }

    pub fn connect_from(&self, ip: [u8; 4], capacity: usize) -> Raw<DuplexStream> {
        let (near, far) = tokio::io::duplex(capacity);
        self.door.send((far, (ip, 40_000).into())).unwrap();
        Raw { stream: near, correlation_id: 0 }
    }

    /// Serves real sockets, too.
    pub async fn listen(&self) -> SocketAddr {
        let listener = TcpListen::bind(([127, 0, 0, 1], 0).into(), SocketOptions::default()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = self.server.clone();
        tokio::spawn(async move { serving.serve("TCP", listener).await });
        addr
    }

    /// Waits until the service saw what the test waits for.
    pub async fn until(&self, holds: impl Fn(&Seen) -> bool) {
        let wait = async {
            while !self.script.seen(|seen| holds(seen)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(30), wait).await.expect("the service never saw it");
    }

    /// Waits for the first connection's end and says why it came.
    pub async fn first_close(&self) -> CloseReason {
        self.until(|seen| !seen.disconnected.is_empty()).await;
        self.script.seen(|seen| seen.disconnected[0].1.clone())
    }

    /// Answers a held request by its place among the held.
    pub fn release(&self, index: usize, body: &[u8]) {
        let (queue, slot, header) = self.script.seen(|seen| {
            let (queue, slot, header, _) = &seen.held[index];
            (queue.clone(), *slot, header.clone())
        });
        queue.reply(slot, Reply::new(answer(&header, body)));
    }
}

pub struct Raw<S> {
    pub stream: S,
    pub correlation_id: i32,
}

pub async fn dial(addr: SocketAddr) -> Raw<TcpStream> {
    Raw { stream: TcpStream::connect(addr).await.unwrap(), correlation_id: 0 }
}

/// A request frame with header version 1.
pub fn frame(api_key: i16, api_version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i32(8 + 2 + 4 + body.len() as i32);
    frame.put_i16(api_key);
    frame.put_i16(api_version);
    frame.put_i32(correlation_id);
    frame.put_i16(4);
    frame.put_slice(b"test");
    frame.put_slice(body);
    frame
}

/// A verb with its number.
pub fn verb(verb: u8, number: u32) -> Vec<u8> {
    [&[verb][..], &number.to_be_bytes()].concat()
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn send(&mut self, body: &[u8]) -> i32 {
        self.correlation_id += 1;
        let frame = frame(SCRIPT, 1, self.correlation_id, body);
        self.stream.write_all(&frame).await.unwrap();
        self.stream.flush().await.unwrap();
        self.correlation_id
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next answer: correlation id and body.
    pub async fn recv(&mut self) -> (i32, Vec<u8>) {
        timeout(Duration::from_secs(30), async {
            let len = self.stream.read_i32().await.expect("an answer");
            let mut answer = vec![0; len as usize];
            self.stream.read_exact(&mut answer).await.expect("a whole answer");
            let body = answer.split_off(4);
            (i32::from_be_bytes(answer.try_into().unwrap()), body)
        })
        .await
        .expect("no answer in time")
    }

    /// Reads to the end; the bytes that still came, if it ended.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match timeout(Duration::from_secs(30), self.stream.read_to_end(&mut rest)).await {
            Ok(Ok(_)) => rest,
            // A reset is an end, too.
            Ok(Err(_)) => rest,
            Err(_) => panic!("the connection stays open"),
        }
    }
}
