//! A cluster as a client sees it: bootstrap addresses, who leads what, one connection per broker, retries.

use super::connection::retry;
use super::{ClientError, ClientOptions, Connection, Dial};
use highwater_core::ids::{BrokerId, LeaderEpoch, PartitionIndex};
use highwater_protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use highwater_protocol::{ErrorCode, Request, Uuid};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How a client treats its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// For each connection.
    pub client: ClientOptions,
    /// Longest time for one call with all its retries (`default.api.timeout.ms`).
    pub call_max: Duration,
    /// First pause before a retry (`retry.backoff.ms`).
    pub retry_backoff: Duration,
    /// Longest pause before a retry (`retry.backoff.max.ms`).
    pub retry_backoff_max: Duration,
    /// Whether asking for a topic may create it (`allow.auto.create.topics`).
    pub allow_auto_topic_creation: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            client: ClientOptions::default(),
            call_max: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            allow_auto_topic_creation: false,
        }
    }
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl BrokerAddress {
    /// Reads `host:port`, `[v6]:port` included.
    pub fn parse(address: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(address.into());
        let (host, port) = address.trim().rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.into(), port: port.parse().map_err(|_| wrong())? })
    }
}

/// A topic as the metadata last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; zero from a broker that has none.
    pub id: Uuid,
    /// Its partitions by index.
    pub partitions: BTreeMap<PartitionIndex, Partition>,
}

/// A partition as the metadata last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Who leads it, if anybody.
    pub leader: Option<BrokerId>,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
}

/// A client's view of a cluster. Cheap to clone; clones share connections and metadata.
#[derive(Debug)]
pub struct Cluster<D> {
    inner: Arc<Inner<D>>,
}

#[derive(Debug)]
struct Inner<D> {
    dial: D,
    options: ClusterOptions,
    bootstrap: Vec<BrokerAddress>,
    view: Mutex<View>,
}

#[derive(Debug, Default)]
struct View {
    cluster_id: Option<String>,
    controller: Option<BrokerId>,
    brokers: BTreeMap<BrokerId, BrokerAddress>,
    topics: BTreeMap<String, Arc<Topic>>,
    names: BTreeMap<Uuid, String>,
    /// What the highest leader epoch told of a partition was, told by whomever: a broker that is cut off from the others
    /// still answers, with what was true before (KIP-320).
    newest: BTreeMap<(Uuid, PartitionIndex), Partition>,
    /// Rises with every piece of metadata that turned out stale, so that somebody else is asked next.
    stale: usize,
    connections: BTreeMap<BrokerAddress, Connection>,
}

impl<D> Clone for Cluster<D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<D: Dial> Cluster<D> {
    /// A view of the cluster that `bootstrap` (`host:port`, separated by commas) belongs to. Connects when first
    /// used.
    pub fn new(dial: D, bootstrap: &str, options: ClusterOptions) -> Result<Self, ClientError> {
        let bootstrap = bootstrap.split(',').map(BrokerAddress::parse).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { inner: Arc::new(Inner { dial, options, bootstrap, view: Mutex::default() }) })
    }

    /// The options it was made with.
    pub fn options(&self) -> &ClusterOptions {
        &self.inner.options
    }

    /// The cluster's id, once known.
    pub fn cluster_id(&self) -> Option<String> {
        self.view().cluster_id.clone()
    }

    /// The brokers that were last told of.
    pub fn brokers(&self) -> BTreeMap<BrokerId, BrokerAddress> {
        self.view().brokers.clone()
    }

    /// The name of a topic that was last told of with this id.
    pub fn topic_name(&self, id: Uuid) -> Option<String> {
        self.view().names.get(&id).cloned()
    }

    /// Sends to any broker that can be reached, with retries.
    pub async fn send<R: Request + Sync>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.retry(|| async { self.any().await?.send(request).await }).await
    }

    /// Sends to one broker, once. A broker that is not known is asked for.
    pub async fn send_to<R: Request + Sync>(
        &self,
        broker: BrokerId,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.broker(broker).await?.send(request).await
    }

    /// Runs a call again while it fails with an error that may pass, up to [`ClusterOptions::call_max`].
    pub async fn retry<T, F>(&self, call: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let options = &self.inner.options;
        let deadline = Instant::now() + options.call_max;
        retry(deadline, options.retry_backoff, options.retry_backoff_max, call).await
    }

    /// A connection to `broker`, shared with all who ask for it.
    pub async fn broker(&self, broker: BrokerId) -> Result<Connection, ClientError> {
        let address = self.address(broker).await?;
        self.connection(&address).await
    }

    /// A connection to `broker` that is the caller's alone.
    pub async fn dedicated(
        &self,
        broker: BrokerId,
        options: ClientOptions,
    ) -> Result<Connection, ClientError> {
        let address = self.address(broker).await?;
        Connection::connect(&self.inner.dial, &address.host, address.port, options).await
    }

    async fn address(&self, broker: BrokerId) -> Result<BrokerAddress, ClientError> {
        let known = self.view().brokers.get(&broker).cloned();
        match known {
            Some(address) => Ok(address),
            None => {
                self.refresh(Some(&[])).await?;
                let address = self.view().brokers.get(&broker).cloned();
                address.ok_or(ClientError::kafka(ErrorCode::BrokerNotAvailable))
            }
        }
    }

    /// Sends to the controller, or to any broker where none is known; once, because what it asks for may be done although
    /// no answer came. Reaching the controller is tried again: the others name one that died until they have elected
    /// the next.
    pub async fn send_to_controller<R: Request + Sync>(
        &self,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let controller = self.retry(|| async {
            self.refresh(Some(&[])).await?;
            let controller = self.view().controller;
            match controller {
                Some(controller) => self.broker(controller).await,
                None => self.any().await,
            }
        });
        controller.await?.send(request).await
    }

    /// A connection to whichever broker answers: one that is connected, a known one, a bootstrap address.
    pub async fn any(&self) -> Result<Connection, ClientError> {
        let candidates = self.view().candidates(&self.inner.bootstrap);
        let mut failed = ClientError::Closed;
        for address in candidates {
            match self.connection(&address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// What is known of a topic; asked for if nothing is. Retries until every partition has a leader.
    pub async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        self.retry(|| async {
            let known = self.view().topics.get(name).cloned();
            if let Some(topic) = known.filter(|topic| topic.is_led()) {
                return Ok(topic);
            }
            self.refresh(Some(&[name])).await?;
            let topic = self.view().topics.get(name).cloned();
            let topic = topic.ok_or(ClientError::kafka(ErrorCode::UnknownTopicOrPartition))?;
            if topic.is_led() { Ok(topic) } else { Err(ClientError::kafka(ErrorCode::LeaderNotAvailable)) }
        })
        .await
    }

    /// Who leads a partition, and in which epoch.
    pub async fn leader(
        &self,
        topic: &str,
        partition: PartitionIndex,
    ) -> Result<(BrokerId, LeaderEpoch), ClientError> {
        let topic = self.topic(topic).await?;
        let partition = topic.partitions.get(&partition);
        let partition = partition.ok_or(ClientError::kafka(ErrorCode::UnknownTopicOrPartition))?;
        let leader = partition.leader.ok_or(ClientError::kafka(ErrorCode::LeaderNotAvailable))?;
        Ok((leader, partition.leader_epoch))
    }

    /// Who leads a partition, with the topic's id, as far as known without asking.
    pub fn known_leader(&self, topic: &str, partition: PartitionIndex) -> Option<(BrokerId, Uuid)> {
        let view = self.view();
        let topic = view.topics.get(topic)?;
        Some((topic.partitions.get(&partition)?.leader?, topic.id))
    }

    /// Forgets a topic's metadata, which an answer has shown to be stale.
    pub fn forget(&self, topic: &str) {
        let mut view = self.view();
        if view.topics.remove(topic).is_some() {
            view.stale += 1;
        }
    }

    /// Asks for metadata: of all topics, or of those named (none of them: brokers only).
    pub async fn refresh(&self, topics: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        let request = MetadataRequest {
            topics: topics.map(|names| {
                let named =
                    |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
                names.iter().map(named).collect()
            }),
            allow_auto_topic_creation: self.inner.options.allow_auto_topic_creation,
            ..Default::default()
        };
        let answer = self.any().await?.send(&request).await?;
        if answer.error_code.is_error() {
            return Err(ClientError::kafka(answer.error_code));
        }
        self.view().learn(&answer);
        if let Some([name]) = topics
            && let Some(topic) = answer.topics.first()
            && topic.error_code.is_error()
        {
            tracing::debug!(topic = name, error = %topic.error_code, "metadata");
            return Err(ClientError::kafka(topic.error_code));
        }
        Ok(answer)
    }

    /// Who coordinates a group, with retries.
    pub async fn coordinator(&self, group: &str) -> Result<BrokerId, ClientError> {
        let request = FindCoordinatorRequest {
            key: group.into(),
            coordinator_keys: vec![group.into()],
            ..Default::default()
        };
        self.retry(|| async {
            let answer = self.any().await?.send(&request).await?;
            // Versions before 4 ask for one key and answer in other fields (KIP-699).
            let (error_code, error_message, node_id, host, port) = match answer
                .coordinators
                .into_iter()
                .next()
            {
                Some(found) => (found.error_code, found.error_message, found.node_id, found.host, found.port),
                None => (answer.error_code, answer.error_message, answer.node_id, answer.host, answer.port),
            };
            if error_code.is_error() {
                return Err(ClientError::Kafka(error_code, error_message));
            }
            let port = u16::try_from(port).map_err(|_| ClientError::Address(format!("{host}:{port}")))?;
            self.view().brokers.insert(BrokerId(node_id), BrokerAddress { host, port });
            Ok(BrokerId(node_id))
        })
        .await
    }

    async fn connection(&self, address: &BrokerAddress) -> Result<Connection, ClientError> {
        let known = self.view().connections.get(address).cloned();
        if let Some(connection) = known.filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        let options = self.inner.options.client.clone();
        let connection = Connection::connect(&self.inner.dial, &address.host, address.port, options).await?;
        let mut view = self.view();
        match view.connections.get(address) {
            // Two were made at once: all use the first, so that requests keep their order.
            Some(other) if !other.is_closed() => Ok(other.clone()),
            _ => {
                view.connections.insert(address.clone(), connection.clone());
                Ok(connection)
            }
        }
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.inner.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Whom to ask, in this order: who is connected, beginning with another one each time that an answer was stale,
    /// then the others. A lone connection may be to a broker that is cut off: every other time it comes last.
    fn candidates(&mut self, bootstrap: &[BrokerAddress]) -> Vec<BrokerAddress> {
        self.connections.retain(|_, connection| !connection.is_closed());
        let mut connected: Vec<_> = self.connections.keys().cloned().collect();
        let mut others: Vec<BrokerAddress> = Vec::new();
        for address in self.brokers.values().chain(bootstrap) {
            if !connected.contains(address) && !others.contains(address) {
                others.push(address.clone());
            }
        }
        for list in [&mut connected, &mut others] {
            if !list.is_empty() {
                let first = self.stale % list.len();
                list.rotate_left(first);
            }
        }
        if connected.len() == 1 && self.stale % 2 == 1 {
            others.append(&mut connected);
            return others;
        }
        connected.append(&mut others);
        connected
    }

    /// What is known of a partition, now that this was told of it.
    fn newest(&mut self, topic: Uuid, partition: PartitionIndex, told: Partition) -> Partition {
        let known = self.newest.entry((topic, partition)).or_insert(told);
        // Without an id, or an epoch, a broker is too old to tell what is newer.
        if topic == Uuid::default()
            || told.leader_epoch == LeaderEpoch::NONE
            || told.leader_epoch >= known.leader_epoch
        {
            *known = told;
        }
        *known
    }

    fn learn(&mut self, answer: &MetadataResponse) {
        self.cluster_id.clone_from(&answer.cluster_id);
        self.controller = (answer.controller_id >= 0).then_some(BrokerId(answer.controller_id));
        let address =
            |host: &str, port| Some(BrokerAddress { host: host.into(), port: u16::try_from(port).ok()? });
        self.brokers = (answer.brokers.iter())
            .filter_map(|broker| Some((BrokerId(broker.node_id), address(&broker.host, broker.port)?)))
            .collect();
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            if topic.error_code.is_error() {
                self.topics.remove(name);
                self.newest.retain(|(id, _), _| *id != topic.topic_id);
            } else {
                self.names.insert(topic.topic_id, name.clone());
                let mut told = Topic::from_metadata(name, topic);
                for (index, partition) in &mut told.partitions {
                    *partition = self.newest(told.id, *index, *partition);
                }
                self.topics.insert(name.clone(), Arc::new(told));
            }
        }
    }
}

impl Topic {
    fn from_metadata(name: &str, topic: &MetadataResponseTopic) -> Self {
        let partitions = topic.partitions.iter().map(|partition| {
            let leader = (partition.leader_id >= 0).then_some(BrokerId(partition.leader_id));
            let leader_epoch = LeaderEpoch(partition.leader_epoch);
            (PartitionIndex(partition.partition_index), Partition { leader, leader_epoch })
        });
        Self { name: name.into(), id: topic.topic_id, partitions: partitions.collect() }
    }

    fn is_led(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.values().all(|partition| partition.leader.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_protocol::messages::{MetadataResponseBroker, MetadataResponsePartition};

    /// What a broker tells: the leader of the one partition, and since which epoch.
    fn told(leader: i32, epoch: i32) -> MetadataResponse {
        let partition =
            MetadataResponsePartition { leader_id: leader, leader_epoch: epoch, ..Default::default() };
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: Uuid([1; 16]),
            partitions: vec![partition],
            ..Default::default()
        };
        let broker = |id: i32| MetadataResponseBroker {
            node_id: id,
            host: "h".into(),
            port: id,
            ..Default::default()
        };
        MetadataResponse { brokers: (1..=3).map(broker).collect(), topics: vec![topic], ..Default::default() }
    }

    fn leader(view: &View) -> Option<BrokerId> {
        view.topics["t"].partitions[&PartitionIndex(0)].leader
    }

    #[test]
    fn a_broker_that_is_cut_off_does_not_take_what_others_told_back() {
        let mut view = View::default();
        view.learn(&told(1, 4));
        view.learn(&told(2, 5));
        view.topics.clear();
        view.learn(&told(1, 4));
        assert_eq!(leader(&view), Some(BrokerId(2)));
        view.learn(&told(-1, 5));
        assert_eq!(leader(&view), None, "of the same epoch: nobody leads any more");
        view.learn(&told(3, -1));
        assert_eq!(leader(&view), Some(BrokerId(3)), "a broker that knows of no epochs is believed");
    }

    #[test]
    fn after_a_stale_answer_another_broker_is_asked() {
        let mut view = View::default();
        view.learn(&told(1, 0));
        let bootstrap = [BrokerAddress { host: "b".into(), port: 9 }];
        let mut first = || {
            let first = view.candidates(&bootstrap)[0].port;
            view.stale += 1;
            first
        };
        let asked = [first(), first(), first(), first(), first()];
        assert_eq!(asked, [1, 2, 3, 9, 1]);
        assert_eq!(view.candidates(&bootstrap).len(), 4, "all of them, in the end");
    }
}
