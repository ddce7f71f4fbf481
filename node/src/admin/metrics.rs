//! The figures of `/metrics`, read from their owners when somebody asks. What users name (topics, groups) has a line
//! each up to a limit, so that a page does not grow with them.

use super::Stage;
use super::process::Process;
use crate::api::NodeService;
use crate::node::Node;
use crate::partitions::OFFSETS_TOPIC;
use highwater_core::metadata::{BrokerState, leader_imbalance};
use highwater_core::quorum::ReplicaStatus;
use highwater_net_tcp::{CloseReason, Server};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The text form that [`prometheus_client`] writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// So many topics, and groups, have a line of their own: those with the highest figures.
const NAMED_MAX: usize = 200;

/// The name of the sum of those that have no line of their own. Counters have none: one that leaves it would seem
/// to be a reset.
const OTHERS: &str = "(others)";

/// One scrape.
#[derive(Debug)]
pub(super) struct Metrics {
    process: Process,
    stage: Stage,
}

impl Metrics {
    pub(super) const fn new(process: Process, stage: Stage) -> Self {
        Self { process, stage }
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        page.build()?;
        page.process(&self.process)?;
        if let Stage::Serving(node, server) = &self.stage {
            page.requests(node)?;
            page.connections(server)?;
            page.peers(node)?;
            page.node(node)?;
            page.cluster(node)?;
            page.quorum(node)?;
            page.logs(node)?;
            page.replication(node)?;
            page.groups(node)?;
            page.disk(node)?;
        }
        Ok(())
    }
}

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn build(&mut self) -> fmt::Result {
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let metric =
            self.encoder.encode_descriptor("highwater_build", "This build", None, MetricType::Info)?;
        info.encode(metric)
    }

    fn process(&mut self, process: &Process) -> fmt::Result {
        let started = process.start_time_seconds();
        self.gauge("process_start_time_seconds", "When the process started, since the epoch", started)?;
        if let Some(bytes) = process.resident_bytes() {
            self.gauge("process_resident_memory_bytes", "Memory in use", as_gauge(bytes))?;
        }
        if let Some(seconds) = process.cpu_seconds() {
            self.counter("process_cpu_seconds", "Processor time, user and system", seconds)?;
        }
        if let Some(count) = process.open_fds() {
            self.gauge("process_open_fds", "Open files and sockets", as_gauge(count))?;
        }
        Ok(())
    }

    fn requests(&mut self, node: &Node) -> fmt::Result {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = node.counters();
        let by_api = counters.requests().map(|(key, count)| (key.name(), count));
        self.counters("highwater_requests", "Requests that were decoded", "api", by_api)?;
        let produced = counters.bytes_in.load(Relaxed);
        self.counter("highwater_produced_bytes", "Bytes of record batches that producers sent", produced)?;
        let fetched = counters.bytes_out.load(Relaxed);
        self.counter("highwater_fetched_bytes", "Bytes of record batches fetched", fetched)?;
        let refused = counters.produce_errors.load(Relaxed);
        self.counter("highwater_produce_errors", "Produced batches refused when they came", refused)
    }

    fn connections(&mut self, server: &Server<NodeService>) -> fmt::Result {
        let seen = server.counters().snapshot();
        let open = as_gauge(seen.connections_open());
        self.gauge("highwater_connections_open", "Connections open now", open)?;
        self.counter("highwater_connections_accepted", "Connections accepted", seen.connections_accepted)?;
        let refused = seen.connections_refused;
        self.counter("highwater_connections_refused", "Connections over max.connections.per.ip", refused)?;
        let throttled = seen.connections_throttled;
        self.counter("highwater_connections_throttled", "Connections over a quota of new ones", throttled)?;
        let by_reason = (0..CloseReason::KINDS).map(|kind| (CloseReason::kind_name(kind), seen.closed[kind]));
        self.counters("highwater_connections_closed", "Ends of connections", "reason", by_reason)?;
        self.counter(
            "highwater_accept_errors",
            "Failures of accept, such as no free file",
            seen.accept_errors,
        )?;
        self.counter("highwater_network_received_bytes", "Bytes read from clients", seen.bytes_in)?;
        self.counter("highwater_network_sent_bytes", "Bytes written to clients", seen.bytes_out)?;
        self.counter(
            "highwater_replies_throttled",
            "Replies that muted their connection (quotas)",
            seen.throttles,
        )
    }

    fn peers(&mut self, node: &Node) -> fmt::Result {
        let seen = node.peers().counters().snapshot();
        let open = as_gauge(seen.links_open());
        self.gauge("highwater_peer_connections_open", "Connections with other nodes open now", open)?;
        let made = [("dialed", seen.links_dialed), ("accepted", seen.links_accepted)];
        self.counters("highwater_peer_connections_made", "Connections made with other nodes", "by", made)?;
        let help = "Attempts to connect to another node that came to nothing";
        self.counter("highwater_peer_dials_failed", help, seen.dials_failed)?;
        let help = "Connections between nodes refused, by this side or the other";
        self.counter("highwater_peer_hellos_refused", help, seen.hellos_refused)?;
        let help = "Connections with other nodes closed over bytes that are no frame";
        self.counter("highwater_peer_frames_corrupt", help, seen.frames_corrupt)?;
        let frames = [("received", seen.frames_in), ("sent", seen.frames_out)];
        self.counters("highwater_peer_frames", "Frames between nodes", "direction", frames)?;
        let not_sent = [("refused", seen.frames_not_sent), ("lost", seen.frames_lost)];
        let help = "Frames that nobody took for sending, and those lost with their connection";
        self.counters("highwater_peer_frames_not_sent", help, "why", not_sent)?;
        self.counter("highwater_peer_received_bytes", "Bytes read from other nodes", seen.bytes_in)?;
        self.counter("highwater_peer_sent_bytes", "Bytes written to other nodes", seen.bytes_out)
    }

    fn node(&mut self, node: &Node) -> fmt::Result {
        let (online, offline) = node.registry().counts();
        let states = [("online", online), ("offline", offline)];
        self.gauges("highwater_partitions", "Partition replicas of this node", "state", states)?;
        let (sessions, partitions) = node.fetches().counts();
        self.gauge("highwater_fetch_sessions", "Fetch sessions (KIP-227)", as_gauge(sessions))?;
        let help = "Partitions in fetch sessions";
        self.gauge("highwater_fetch_session_partitions", help, as_gauge(partitions))
    }

    /// What leaders here see of their followers, and what goes between brokers.
    fn replication(&mut self, node: &Node) -> fmt::Result {
        let (mut leads, mut under_replicated, mut under_min_isr, mut lag_records) = (0, 0, 0, 0);
        for view in node.registry().all().iter().filter_map(|partition| partition.leader_view()) {
            leads += 1;
            under_replicated += usize::from(view.isr < view.replicas);
            under_min_isr += usize::from(view.isr < view.min_isr);
            lag_records = lag_records.max(view.lag_records_max);
        }
        self.gauge("highwater_leader_partitions", "Partitions that this broker leads", as_gauge(leads))?;
        let help = "Partitions led here of which a replica is not in sync";
        self.gauge("highwater_under_replicated_partitions", help, as_gauge(under_replicated))?;
        let help = "Partitions led here that take no acks=all, for too few replicas are in sync";
        self.gauge("highwater_under_min_isr_partitions", help, as_gauge(under_min_isr))?;
        let help = "Records by which the slowest follower of a partition led here is behind";
        self.gauge("highwater_replication_lag_records_max", help, lag_records)?;
        let (followed, following) = node.replication().partitions();
        let help = "Replicas here that follow a leader";
        self.gauge("highwater_follower_partitions", help, as_gauge(followed))?;
        let help = "Replicas elsewhere that follow leaders here";
        self.gauge("highwater_followed_partitions", help, as_gauge(following))?;
        let counters = node.replication().counters();
        let totals = [
            ("highwater_isr_shrinks", "Changes that took replicas out of an ISR", &counters.isr_shrinks),
            ("highwater_isr_expands", "Changes that took replicas into an ISR", &counters.isr_expands),
            ("highwater_isr_refusals", "Changes of an ISR that were refused", &counters.isr_failures),
            ("highwater_replication_sent_bytes", "Bytes of batches sent to followers", &counters.bytes_out),
            ("highwater_replication_received_bytes", "Bytes of batches from leaders", &counters.bytes_in),
        ];
        for (name, help, total) in totals {
            self.counter(name, help, total.load(Relaxed))?;
        }
        let [leader, follower] = node.replication().throttled();
        let help = "Bytes of batches that counted against a replication throttle (KIP-73)";
        let bytes = [("leader", leader.0), ("follower", follower.0)];
        self.counters("highwater_replication_throttled_bytes", help, "side", bytes)?;
        let help = "Times that replicas out of sync were held back by a replication throttle";
        let holds = [("leader", leader.1), ("follower", follower.1)];
        self.counters("highwater_replication_throttle_holds", help, "side", holds)
    }

    /// The metadata quorum as this node sees it. Only the leader knows how far the others are.
    fn quorum(&mut self, node: &Node) -> fmt::Result {
        let Some(status) = node.controller().status() else { return Ok(()) };
        self.gauge("highwater_quorum_epoch", "The metadata quorum's epoch", i64::from(status.epoch.0))?;
        let leader = status.leader.map_or(-1, |leader| i64::from(leader.id.0));
        self.gauge(
            "highwater_quorum_leader",
            "The node that leads the metadata quorum; -1 if none is known",
            leader,
        )?;
        let help = "The metadata log's high watermark";
        self.gauge("highwater_quorum_high_watermark", help, status.high_watermark.0)?;
        let end = status.voters.iter().filter_map(|voter| voter.log_end).max().unwrap_or_default();
        let lag = |voter: &ReplicaStatus| Some(end.0 - voter.log_end?.0);
        if let Some(lag) = status.voters.iter().filter_map(lag).max() {
            let help = "Records by which the voter that is furthest behind lags, told by the leader";
            self.gauge("highwater_quorum_lag_records_max", help, lag)?;
        }
        Ok(())
    }

    /// A short look into every partition's cell; at 10,000 of them that takes some milliseconds.
    fn logs(&mut self, node: &Node) -> fmt::Result {
        let mut by_topic: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for partition in node.registry().all() {
            let bytes = partition.size_bytes().unwrap_or(0);
            *by_topic.entry(partition.topic().clone()).or_default() += bytes;
        }
        let help = "Bytes of record batches on disk";
        let (mut named, others) = highest(by_topic);
        named.extend(others.map(|bytes| (OTHERS.into(), bytes)));
        self.gauges("highwater_log_bytes", help, "topic", named)
    }

    fn groups(&mut self, node: &Node) -> fmt::Result {
        let image = node.image();
        let topic = image.topic(OFFSETS_TOPIC).map(|topic| node.registry().of_topic(topic.id));
        let mut rebalances: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for partition in topic.unwrap_or_default() {
            partition.inspect_coordinator(|shard, _| {
                let Some(groups) = shard.volatile() else { return };
                for id in groups.group_ids() {
                    // Each rebalance is a generation.
                    let generation = groups.group(id).map_or(0, |group| group.generation());
                    rebalances.insert(id.into(), u64::try_from(generation).unwrap_or(0));
                }
            });
        }
        let help = "Rebalances of the groups coordinated here";
        self.counters("highwater_group_rebalances", help, "group", highest(rebalances).0)
    }

    /// What only the active controller tells, so that a sum over all nodes is the cluster's figure.
    fn cluster(&mut self, node: &Node) -> fmt::Result {
        let is_active = node.controller().is_active();
        let help = "Whether this node is the active controller";
        self.gauge("highwater_active_controller", help, i64::from(is_active))?;
        let help = "Leaders elected who may have lacked acknowledged records, decided by this node";
        let unclean = node.counters().unclean_elections.load(std::sync::atomic::Ordering::Relaxed);
        self.counter("highwater_unclean_elections", help, unclean)?;
        if !is_active {
            return Ok(());
        }
        let image = node.image();
        let in_state = |state| image.brokers().filter(|(_, broker)| broker.state == state).count();
        let states = [
            ("active", in_state(BrokerState::Active)),
            ("fenced", in_state(BrokerState::Fenced)),
            ("stopping", in_state(BrokerState::Stopping)),
        ];
        self.gauges("highwater_brokers", "Registered brokers", "state", states)?;
        let (mut leaderless, mut reassigned) = (0, 0);
        for state in image.topics().flat_map(|topic| topic.partitions.values()) {
            leaderless += usize::from(state.leader.is_none());
            reassigned += usize::from(state.is_reassigned());
        }
        let help = "Partitions that nobody can lead";
        self.gauge("highwater_leaderless_partitions", help, as_gauge(leaderless))?;
        let help = "Partitions whose replicas are being reassigned";
        self.gauge("highwater_reassigned_partitions", help, as_gauge(reassigned))?;
        let elsewhere: usize = leader_imbalance(&image).values().map(|broker| broker.elsewhere).sum();
        let help = "Partitions that another than their preferred leader leads";
        self.gauge("highwater_preferred_leader_imbalance", help, as_gauge(elsewhere))
    }

    fn disk(&mut self, node: &Node) -> fmt::Result {
        // A disk that does not answer shows as a gap, not as a scrape that fails.
        let Ok(space) = node.data_dir().space() else { return Ok(()) };
        self.gauge("highwater_disk_total_bytes", "Size of the data directory's disk", as_gauge(space.total))?;
        let help = "Room on the data directory's disk";
        self.gauge("highwater_disk_available_bytes", help, as_gauge(space.available))
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (impl AsRef<str>, impl TryInto<i64>)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            metric.encode_family(&[(label, of.as_ref())])?.encode_gauge(&as_gauge(value))?;
        }
        Ok(())
    }

    /// The encoder appends `_total` to the name.
    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (impl AsRef<str>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            metric
                .encode_family(&[(label, of.as_ref())])?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// The highest figures with their names, and the sum of all others if there are more.
fn highest(figures: BTreeMap<Arc<str>, u64>) -> (Vec<(Arc<str>, u64)>, Option<u64>) {
    let mut figures: Vec<_> = figures.into_iter().collect();
    if figures.len() <= NAMED_MAX {
        return (figures, None);
    }
    figures.sort_by_key(|(_, figure)| Reverse(*figure));
    let others = figures.drain(NAMED_MAX..).map(|(_, figure)| figure).sum();
    (figures, Some(others))
}

fn as_gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_does_not_grow_with_what_users_name() {
        let figures = |count: u64| (0..count).map(|n| (n.to_string().into(), n)).collect();
        assert_eq!(highest(figures(3)).0.len(), 3);
        let (named, others) = highest(figures(1000));
        assert_eq!(named.len(), NAMED_MAX);
        assert_eq!(named[0], ("999".into(), 999), "the highest have lines of their own");
        assert_eq!(others, Some((0..800).sum()));
    }
}
