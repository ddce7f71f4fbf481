//! One connection to one broker: typed requests, pipelined, answered in order.
//!
//! A task owns the stream and both directions of it. Handles are cheap to clone; when the last is dropped, the
//! connection closes. A request that is not answered in time ends the connection, as in Kafka's own clients: all
//! behind it on the same stream would be late, too.

use super::{ClientError, Dial};
use crate::frame::FrameReader;
use crate::listener::Stream;
use bytes::Bytes;
use highwater_protocol::messages::ApiVersionsRequest;
use highwater_protocol::{ApiKey, ErrorCode, Message, Request, decode_response, request_frame};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// What every connection of a client has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// What the client calls itself in every request.
    pub client_id: String,
    /// Longest wait for a connection to be made (`socket.connection.setup.timeout.ms`).
    pub connect_max: Duration,
    /// Longest wait for an answer (`request.timeout.ms`).
    pub request_max: Duration,
    /// Requests under way on one connection; more wait for their turn.
    pub requests_in_flight_max: usize,
    /// Longest answer taken.
    pub response_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            client_id: "highwater".into(),
            connect_max: Duration::from_secs(10),
            request_max: Duration::from_secs(30),
            requests_in_flight_max: 64,
            response_bytes_max: 256 << 20,
        }
    }
}

/// A handle to one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    frames: mpsc::UnboundedSender<Bytes>,
    versions: Arc<BTreeMap<i16, (i16, i16)>>,
}

#[derive(Debug)]
struct Shared {
    options: ClientOptions,
    /// Bounds what is under way, and with it the queue of frames.
    room: Arc<Semaphore>,
    calls: Mutex<Calls>,
    overdue: Notify,
}

#[derive(Debug, Default)]
struct Calls {
    correlation_id_next: i32,
    /// Who waits, in the order sent: answers come in that order (Kafka's protocol guide).
    waiting: VecDeque<Waiting>,
    ended: Option<ClientError>,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Result<Bytes, ClientError>>,
    /// Held until answered, whether or not the caller still waits.
    _room: OwnedSemaphorePermit,
}

/// A request that is sent and not yet answered.
#[derive(Debug)]
#[must_use = "the answer may be an error"]
pub struct Pending<R> {
    answer: oneshot::Receiver<Result<Bytes, ClientError>>,
    deadline: Instant,
    version: i16,
    shared: Arc<Shared>,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects to a broker and learns what it speaks.
    pub async fn connect<D: Dial>(
        dial: &D,
        host: &str,
        port: u16,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let connect_max = options.connect_max;
        let connected = async { Self::open(dial.dial(host, port).await?, options).await };
        timeout(connect_max, connected).await.map_err(|_| ClientError::TimedOut)?
    }

    /// Speaks on a stream that is connected already, and learns what the broker speaks.
    pub async fn open<S: Stream>(stream: S, options: ClientOptions) -> Result<Self, ClientError> {
        let shared = Arc::new(Shared {
            room: Arc::new(Semaphore::new(options.requests_in_flight_max.max(1))),
            options,
            calls: Mutex::default(),
            overdue: Notify::new(),
        });
        let (frames, queue) = mpsc::unbounded_channel();
        tokio::spawn(drive(stream, queue, shared.clone()));
        let first = ApiVersionsRequest::VERSIONS.max;
        let versions = BTreeMap::from([(ApiKey::ApiVersions.code(), (0, first))]);
        let mut connection = Self { shared, frames, versions: Arc::new(versions) };
        connection.versions = Arc::new(connection.negotiate().await?);
        Ok(connection)
    }

    /// Asks in the newest version and, if the broker is older, in the newest of its own (KIP-511).
    async fn negotiate(&self) -> Result<BTreeMap<i16, (i16, i16)>, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "highwater".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        // An unknown version is answered in version 0, which alone has no more than code and list.
        let frame = self.begin_in(&request, ApiVersionsRequest::VERSIONS.max).await?.frame().await?;
        let mut versions = ApiVersionsRequest::VERSIONS.max;
        if frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()) {
            versions = 0;
        }
        let (_, answer) = decode_response::<ApiVersionsRequest>(&frame, versions)?;
        match answer.error_code {
            ErrorCode::None | ErrorCode::UnsupportedVersion => {}
            code => return Err(ClientError::kafka(code)),
        }
        Ok(answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
    }

    /// The newest version of `R` that both sides speak.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let unsupported = ClientError::UnsupportedApi(R::KEY);
        let &(min, max) = self.versions.get(&R::KEY.code()).ok_or(unsupported.clone())?;
        let version = R::VERSIONS.max.min(max);
        if version >= min.max(R::VERSIONS.min) { Ok(version) } else { Err(unsupported) }
    }

    /// Sends a request and waits for its answer.
    pub async fn send<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.begin(request).await?.answer().await
    }

    /// Sends a request, after waiting for its turn. Requests leave in the order in which this is done.
    pub async fn begin<R: Request>(&self, request: &R) -> Result<Pending<R>, ClientError> {
        self.begin_in(request, self.version::<R>()?).await
    }

    /// As [`Connection::begin`], in a version of the caller's choice.
    pub async fn begin_in<R: Request>(&self, request: &R, version: i16) -> Result<Pending<R>, ClientError> {
        let room = self.shared.room.clone();
        let room = timeout(self.shared.options.request_max, room.acquire_owned()).await;
        let room = room.map_err(|_| ClientError::TimedOut)?.map_err(|_| ClientError::Closed)?;
        let (waiting, answer) = oneshot::channel();
        {
            let mut calls = self.shared.calls();
            if let Some(error) = &calls.ended {
                return Err(error.clone());
            }
            let correlation_id = calls.correlation_id_next;
            let client_id = Some(self.shared.options.client_id.as_str());
            let frame = request_frame(request, version, correlation_id, client_id)?;
            calls.correlation_id_next = correlation_id.wrapping_add(1);
            calls.waiting.push_back(Waiting { correlation_id, answer: waiting, _room: room });
            // Under the lock, so that frames and those who wait are in one order.
            self.frames.send(frame).map_err(|_| ClientError::Closed)?;
        }
        let deadline = Instant::now() + self.shared.options.request_max;
        Ok(Pending { answer, deadline, version, shared: self.shared.clone(), request: PhantomData })
    }

    /// Sends a request that the broker does not answer (a produce without acks).
    pub fn send_unanswered<R: Request>(&self, request: &R) -> Result<(), ClientError> {
        let version = self.version::<R>()?;
        let mut calls = self.shared.calls();
        if let Some(error) = &calls.ended {
            return Err(error.clone());
        }
        let correlation_id = calls.correlation_id_next;
        calls.correlation_id_next = correlation_id.wrapping_add(1);
        let frame = request_frame(request, version, correlation_id, Some(&self.shared.options.client_id))?;
        self.frames.send(frame).map_err(|_| ClientError::Closed)
    }

    /// Whether the connection ended.
    pub fn is_closed(&self) -> bool {
        self.shared.calls().ended.is_some()
    }
}

impl<R: Request> Pending<R> {
    /// Waits for the answer.
    pub async fn answer(self) -> Result<R::Response, ClientError> {
        let version = self.version;
        let frame = self.frame().await?;
        Ok(decode_response::<R>(&frame, version)?.1)
    }

    /// Waits for the answer as it came.
    async fn frame(self) -> Result<Bytes, ClientError> {
        match timeout(left_until(self.deadline), self.answer).await {
            Ok(answered) => answered.map_err(|_| ClientError::Closed)?,
            Err(_) => {
                self.shared.overdue.notify_one();
                Err(ClientError::TimedOut)
            }
        }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails all that wait, and all that come.
    fn end(&self, error: ClientError) {
        let waiting = {
            let mut calls = self.calls();
            calls.ended = Some(error.clone());
            std::mem::take(&mut calls.waiting)
        };
        self.room.close();
        for call in waiting {
            // Nobody may wait any more.
            let _ = call.answer.send(Err(error.clone()));
        }
    }
}

/// The connection's task: both directions at once, until one of them ends.
async fn drive<S: Stream>(stream: S, frames: mpsc::UnboundedReceiver<Bytes>, shared: Arc<Shared>) {
    let (reader, writer) = tokio::io::split(stream);
    let error = tokio::select! {
        biased;
        () = shared.overdue.notified() => ClientError::TimedOut,
        error = read(reader, &shared) => error,
        error = write(writer, frames) => error,
    };
    shared.end(error);
}

async fn write<S: Stream>(
    mut writer: WriteHalf<S>,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
) -> ClientError {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            return error.into();
        }
        // What was queued meanwhile goes with the same flush.
        while let Ok(frame) = frames.try_recv() {
            if let Err(error) = writer.write_all(&frame).await {
                return error.into();
            }
        }
        if let Err(error) = writer.flush().await {
            return error.into();
        }
    }
    ClientError::Closed
}

async fn read<S: Stream>(mut reader: ReadHalf<S>, shared: &Shared) -> ClientError {
    const READ_BYTES_MAX: usize = 64 << 10;
    let mut frames = FrameReader::new(shared.options.response_bytes_max, READ_BYTES_MAX);
    loop {
        match poll_fn(|cx| frames.poll_read(cx, &mut reader)).await {
            Ok(0) => return ClientError::Closed,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(error) = deliver(frame, shared) {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(crate::CloseReason::FrameLength(length)) => return ClientError::FrameLength(length),
                Err(_) => return ClientError::Closed,
            }
        }
    }
}

fn deliver(frame: Bytes, shared: &Shared) -> Result<(), ClientError> {
    let correlation_id = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
    let call = {
        let mut calls = shared.calls();
        match calls.waiting.front() {
            Some(call) if Some(call.correlation_id) == correlation_id => calls.waiting.pop_front(),
            _ => None,
        }
    };
    // The caller may have stopped waiting; the answer was in its turn nevertheless.
    let _ = call.ok_or(ClientError::Correlation)?.answer.send(Ok(frame));
    Ok(())
}

/// The simulated clock knows time-outs by their length only.
fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Runs `call` until it succeeds, fails for good, or `deadline` passes, pausing longer after each failure.
pub(super) async fn retry<T, F>(
    deadline: Instant,
    backoff: Duration,
    backoff_max: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut pause = backoff;
    loop {
        match timeout(left_until(deadline), call()).await {
            Ok(Err(error)) if error.is_retriable() && Instant::now() + pause < deadline => {
                tracing::debug!(%error, ?pause, "trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(backoff_max);
            }
            Ok(result) => return result,
            Err(_) => return Err(ClientError::TimedOut),
        }
    }
}
