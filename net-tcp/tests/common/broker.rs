//! A broker that answers what a test tells it to, in Kafka's protocol.
#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test file uses a part of it"
)]

use highwater_net_tcp::client::{ClientOptions, Cluster, ClusterOptions, Dial};
use highwater_net_tcp::{
    ApiTable, CloseReason, ConnCtx, ConnInfo, Limits, Listen, Reply, ReplyQueue, Request, Requests, Server,
    Service,
};
use highwater_protocol::messages::*;
use highwater_protocol::{
    ApiKey, Features, Reader, RequestBody, ResponseBody, ResponseHeader, Uuid, api_versions_response,
};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a test makes of a request: an answer, or none to leave the client waiting.
pub type Handler = dyn Fn(i32, RequestBody) -> Option<ResponseBody> + Send + Sync;

pub struct Broker {
    node_id: i32,
    handler: Arc<Handler>,
    table: Arc<ApiTable>,
    pub requests: Mutex<Vec<(ApiKey, i16)>>,
}

impl Service for Broker {
    type State = ();

    fn api_table(&self) -> Arc<ApiTable> {
        self.table.clone()
    }

    fn connected(&self, _conn: &ConnInfo, _replies: &ReplyQueue) {}

    fn handle(&self, _conn: &mut ConnCtx<()>, batch: &mut Requests<'_>, replies: &ReplyQueue) {
        for Request { slot, header, body, .. } in batch {
            let key = ApiKey::from_code(header.api_key).unwrap();
            let version = header.api_version;
            self.requests.lock().unwrap().push((key, version));
            let Ok(body) = RequestBody::decode(&mut Reader::new(&body), key, version) else {
                replies.reply(slot, Reply::close("malformed"));
                continue;
            };
            let answer = match body {
                RequestBody::ApiVersions(_) => {
                    let mut answer = api_versions_response(version, &Features::default());
                    let offered = |api: &ApiVersion| self.table.range(api.api_key).copied();
                    answer.api_keys.retain_mut(|api| {
                        offered(api).map(|range| api.max_version = range.version_max).is_some()
                    });
                    Some(answer.into())
                }
                body => (self.handler)(self.node_id, body),
            };
            if let Some(answer) = answer {
                let head = ResponseHeader { key, version, correlation_id: header.correlation_id };
                replies.reply(slot, Reply::framed(answer.frame(head).unwrap(), vec![]));
            }
        }
    }

    fn disconnected(&self, _conn: ConnCtx<()>, _reason: &CloseReason) {}
}

struct Door(mpsc::UnboundedReceiver<DuplexStream>);

impl Listen for Door {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, ([10, 0, 0, 1], 40_000).into())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([10, 0, 0, 2], 9092).into())
    }
}

/// Brokers named `b1`, `b2`, .. that a client can dial.
#[derive(Clone)]
pub struct Town {
    doors: Arc<Vec<mpsc::UnboundedSender<DuplexStream>>>,
    pub servers: Arc<Vec<Server<Broker>>>,
    pub brokers: Arc<Vec<Arc<Broker>>>,
}

impl Dial for Town {
    type Stream = DuplexStream;

    async fn dial(&self, host: &str, _port: u16) -> io::Result<DuplexStream> {
        let number: usize = host.trim_start_matches('b').parse().map_err(|_| io::ErrorKind::NotFound)?;
        let door =
            number.checked_sub(1).and_then(|n| self.doors.get(n)).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = tokio::io::duplex(1 << 16);
        door.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }
}

impl Town {
    pub fn build(
        brokers: i32,
        table: ApiTable,
        handler: impl Fn(i32, RequestBody) -> Option<ResponseBody> + Send + Sync + 'static,
    ) -> Self {
        let (handler, table): (Arc<Handler>, _) = (Arc::new(handler), Arc::new(table));
        let (mut doors, mut servers, mut services) = (Vec::new(), Vec::new(), Vec::new());
        for node_id in 1..=brokers {
            let (handler, table) = (handler.clone(), table.clone());
            let broker = Arc::new(Broker { node_id, handler, table, requests: Mutex::default() });
            let server = Server::new(broker.clone(), Limits::default(), Instant::now());
            let (door, arrivals) = mpsc::unbounded_channel();
            let serving = server.clone();
            tokio::spawn(async move { serving.serve("PLAINTEXT", Door(arrivals)).await });
            doors.push(door);
            servers.push(server);
            services.push(broker);
        }
        Self { doors: Arc::new(doors), servers: Arc::new(servers), brokers: Arc::new(services) }
    }

    /// A client with short pauses.
    pub fn cluster(&self, bootstrap: &str) -> Cluster<Town> {
        Cluster::new(self.clone(), bootstrap, options()).unwrap()
    }

    /// How often a broker was asked for something.
    pub fn count(&self, broker: usize, key: ApiKey) -> usize {
        self.brokers[broker - 1].requests.lock().unwrap().iter().filter(|(asked, _)| *asked == key).count()
    }
}

pub fn options() -> ClusterOptions {
    ClusterOptions {
        client: ClientOptions { request_max: Duration::from_secs(5), ..ClientOptions::default() },
        call_max: Duration::from_secs(20),
        retry_backoff: Duration::from_millis(2),
        retry_backoff_max: Duration::from_millis(10),
        allow_auto_topic_creation: false,
    }
}

/// Metadata of one topic `t` whose partitions have these leaders.
pub fn metadata(brokers: i32, leaders: &[i32]) -> MetadataResponse {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: format!("b{node_id}"),
        port: 9092,
        ..Default::default()
    };
    let partition = |(index, leader): (usize, &i32)| MetadataResponsePartition {
        partition_index: index as i32,
        leader_id: *leader,
        leader_epoch: 5,
        ..Default::default()
    };
    MetadataResponse {
        brokers: (1..=brokers).map(broker).collect(),
        cluster_id: Some("town".into()),
        controller_id: 1,
        topics: vec![MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: Uuid([7; 16]),
            partitions: leaders.iter().enumerate().map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}
