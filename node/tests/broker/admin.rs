//! The admin port: metrics and health.

use crate::client::Client;
use crate::harness::Serve;

/// The value of a metric's line.
fn value(page: &str, metric: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let broker =
        Serve::ephemeral().args(["--admin", "127.0.0.1:0"]).set("group.initial.rebalance.delay.ms=0").start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 3, &[]).await;
    for _ in 0..4 {
        client.append("words", 0, &[b"one", b"two"]).await.unwrap();
    }
    client.read_all("words", 0).await;
    client.join("readers").await;

    let (status, page) = broker.page("/metrics");
    assert_eq!(status, 200);
    assert_eq!(value(&page, "highwater_requests_total{api=\"Produce\"}"), Some(4.0), "{page}");
    assert_eq!(value(&page, "highwater_requests_total{api=\"CreateTopics\"}"), Some(1.0), "{page}");
    assert_eq!(value(&page, "highwater_connections_open"), Some(1.0), "{page}");
    assert_eq!(value(&page, "highwater_group_rebalances_total{group=\"readers\"}"), Some(1.0), "{page}");
    assert_eq!(value(&page, "highwater_partitions{state=\"online\"}"), Some(53.0), "{page}");
    assert_eq!(value(&page, "highwater_partitions{state=\"offline\"}"), Some(0.0), "{page}");
    assert_eq!(value(&page, "highwater_active_controller"), Some(1.0), "{page}");
    assert_eq!(value(&page, "highwater_brokers{state=\"active\"}"), Some(1.0), "{page}");
    assert_eq!(value(&page, "highwater_leaderless_partitions"), Some(0.0), "{page}");
    assert_eq!(value(&page, "highwater_preferred_leader_imbalance"), Some(0.0), "{page}");
    assert_eq!(value(&page, "highwater_unclean_elections_total"), Some(0.0), "{page}");
    let bytes = value(&page, "highwater_log_bytes{topic=\"words\"}");
    assert!(bytes.is_some_and(|bytes| bytes > 0.0), "{page}");
    for metric in [
        "highwater_produced_bytes_total",
        "highwater_fetched_bytes_total",
        "highwater_network_received_bytes_total",
        "highwater_network_sent_bytes_total",
        "highwater_disk_available_bytes",
        "process_start_time_seconds",
    ] {
        assert!(value(&page, metric).is_some_and(|value| value > 0.0), "{metric}\n{page}");
    }
    let version = format!("highwater_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&page, &version), Some(1.0), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    broker.stop_cleanly();
}

#[tokio::test]
async fn a_healthy_broker_is_live_and_ready() {
    let broker = Serve::ephemeral().args(["--admin", "127.0.0.1:0"]).start();
    assert_eq!(broker.page("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(broker.page("/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(broker.page("/").0, 404);
    broker.stop_cleanly();
}

#[test]
fn there_is_no_admin_port_unless_one_is_wanted() {
    let broker = Serve::ephemeral().start();
    assert_eq!(broker.told("admin"), None, "{}", broker.ready());
    broker.stop_cleanly();
}
