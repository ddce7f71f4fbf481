//! After an unclean stop only what lies above the recovery point is read.

use crate::client::Client;
use crate::harness::{Broker, PATIENCE, Serve};
use std::time::{Duration, Instant};

const SEGMENTS: usize = 8;
const SEGMENT_BYTES: usize = 1 << 20;
/// Records are a sixteenth of a segment, so that eight and a bit fill eight segments.
const RECORD_BYTES: usize = SEGMENT_BYTES / 16;

/// How many bytes the start read from logs, as it says itself.
fn bytes_read(broker: &Broker) -> u64 {
    let log = broker.log();
    let line = log.lines().find(|line| line.contains("logs are open")).unwrap_or_else(|| panic!("{log}"));
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("bytes_read="));
    word.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

async fn fill(broker: &Broker, records: usize) {
    let client = Client::connect(broker.address()).await;
    let value = vec![b'x'; RECORD_BYTES];
    for _ in 0..records {
        client.append("big", 0, &[&value]).await.unwrap();
    }
}

#[tokio::test]
async fn a_crash_costs_reading_only_what_was_written_since_the_last_flush() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::at(dir.path());
    let broker = serve.start();
    let segment_bytes = SEGMENT_BYTES.to_string();
    let client = Client::connect(broker.address()).await;
    client.create_topic("big", 1, &[("segment.bytes", &segment_bytes)]).await;
    fill(&broker, SEGMENTS * 16).await;
    let segments = std::fs::read_dir(dir.path().join("big-0")).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "log"))
    });
    assert!(segments.count() >= SEGMENTS);
    broker.stop_cleanly();

    // Clean: no more is read than the last stretch of the index.
    let broker = serve.start();
    assert!(bytes_read(&broker) < 2 * RECORD_BYTES as u64, "{}", broker.log());
    fill(&broker, 3).await;
    broker.kill();

    // Unclean: three records, and what shares their stretch of the index.
    let broker = serve.start();
    assert!(broker.log().contains("after an unclean stop"), "{}", broker.log());
    let read = bytes_read(&broker);
    let (least, most) = (3 * RECORD_BYTES as u64, 8 * RECORD_BYTES as u64);
    assert!((least..most).contains(&read), "{read} bytes were read\n{}", broker.log());
    let client = Client::connect(broker.address()).await;
    assert_eq!(client.read_all("big", 0).await.len(), SEGMENTS * 16 + 3);
    broker.stop_cleanly();
}

#[tokio::test]
async fn a_crash_amid_writing_costs_no_second_look_at_finished_segments() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::at(dir.path());
    let mut broker = serve.start();
    let segment_bytes = SEGMENT_BYTES.to_string();
    let client = Client::connect(broker.address()).await;
    client.create_topic("big", 1, &[("segment.bytes", &segment_bytes)]).await;
    fill(&broker, SEGMENTS * 16).await;

    let mut records = SEGMENTS * 16;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Finished segments are flushed beside appends; how soon is the device's affair.
        tokio::time::sleep(Duration::from_millis(200)).await;
        broker.kill();
        broker = serve.start();
        if bytes_read(&broker) <= 2 * SEGMENT_BYTES as u64 {
            break;
        }
        assert!(Instant::now() < deadline, "finished segments are read again and again\n{}", broker.log());
        fill(&broker, 17).await;
        records += 17;
    }
    let client = Client::connect(broker.address()).await;
    assert_eq!(client.read_all("big", 0).await.len(), records);
    broker.stop_cleanly();
}
