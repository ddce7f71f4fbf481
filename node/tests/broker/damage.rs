//! Damaged, foreign and occupied data directories: each is told of clearly, and costs no acknowledged record.

use crate::client::Client;
use crate::harness::{Broker, Serve};
use highwater_protocol::ErrorCode;
use std::path::{Path, PathBuf};

/// A data directory that was closed in order, with records in both partitions of `words`.
struct Prepared {
    root: tempfile::TempDir,
}

const RECORDS: usize = 60;

impl Prepared {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let prepared = Self { root };
        let broker = prepared.serve().start();
        let client = Client::connect(broker.address()).await;
        client.create_topic("words", 2, &[]).await;
        for n in 0..RECORDS {
            // Big enough for entries in the sparse index.
            let value = format!("{n:>1000}");
            for partition in 0..2 {
                client.append("words", partition, &[value.as_bytes()]).await.unwrap();
            }
        }
        broker.stop_cleanly();
        prepared
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn serve(&self) -> Serve {
        Serve::at(&self.data()).args(["--admin", "127.0.0.1:0"])
    }

    fn segment(&self, partition: i32) -> PathBuf {
        self.data().join(format!("words-{partition}")).join("00000000000000000000.log")
    }
}

async fn assert_whole(broker: &Broker, partition: i32) {
    let client = Client::connect(broker.address()).await;
    let found = client.read_all("words", partition).await;
    assert_eq!(found.len(), RECORDS, "partition {partition}");
    for (n, (offset, value)) in found.iter().enumerate() {
        assert_eq!(usize::try_from(*offset), Ok(n));
        assert_eq!(value.as_ref(), format!("{n:>1000}").as_bytes());
    }
}

/// The first partition is refused to clients, the second serves, and nothing of the first is touched.
async fn assert_first_offline(prepared: &Prepared, cause: &str) {
    let before = std::fs::read(prepared.segment(0)).unwrap();
    let broker = prepared.serve().start();
    let log = broker.log();
    let line = log
        .lines()
        .find(|line| line.contains("the partition stays offline"))
        .unwrap_or_else(|| panic!("{log}"));
    for part in ["ERROR", "words", "partition=0", "00000000000000000000.log", cause] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let client = Client::connect(broker.address()).await;
    assert_eq!(client.fetch("words", 0, 0).await.error_code, ErrorCode::KafkaStorageError);
    assert_eq!(client.append("words", 0, &[b"lost?"]).await, Err(ErrorCode::KafkaStorageError));
    assert_whole(&broker, 1).await;
    let (status, why) = broker.page("/readyz");
    assert_eq!((status, why.as_str()), (503, "1 partitions are offline; the log says why\n"));
    assert_eq!(broker.page("/livez").0, 200);
    broker.stop_cleanly();
    assert_eq!(std::fs::read(prepared.segment(0)).unwrap(), before, "nothing was cut");
}

async fn assert_all_well(prepared: &Prepared) {
    let broker = prepared.serve().start();
    assert_whole(&broker, 0).await;
    assert_whole(&broker, 1).await;
    assert_eq!(broker.page("/readyz").0, 200);
    broker.stop_cleanly();
}

#[tokio::test]
async fn a_segment_that_ends_below_the_recovery_point_takes_its_partition_offline() {
    let prepared = Prepared::new().await;
    let whole = std::fs::read(prepared.segment(0)).unwrap();
    std::fs::write(prepared.segment(0), &whole[..whole.len() / 2]).unwrap();
    assert_first_offline(&prepared, "was on the device").await;

    std::fs::write(prepared.segment(0), &whole).unwrap();
    assert_all_well(&prepared).await;
}

#[tokio::test]
async fn a_flipped_bit_below_the_recovery_point_is_no_torn_tail() {
    let prepared = Prepared::new().await;
    let whole = std::fs::read(prepared.segment(0)).unwrap();
    let mut bad = whole.clone();
    bad[whole.len() / 2] ^= 1;
    std::fs::write(prepared.segment(0), &bad).unwrap();
    // With its index gone, too, every batch is looked at.
    std::fs::remove_file(prepared.segment(0).with_extension("index")).unwrap();
    assert_first_offline(&prepared, "was on the device").await;

    std::fs::write(prepared.segment(0), &whole).unwrap();
    assert_all_well(&prepared).await;
}

#[tokio::test]
async fn lost_indexes_are_rebuilt() {
    let prepared = Prepared::new().await;
    for partition in 0..2 {
        std::fs::remove_file(prepared.segment(partition).with_extension("index")).unwrap();
    }
    assert_all_well(&prepared).await;
}

#[tokio::test]
async fn a_corrupt_store_of_checkpoints_is_thrown_away_and_rebuilt() {
    let prepared = Prepared::new().await;
    let store = prepared.data().join("meta");
    let mut spoiled = 0;
    spoil(&store, &mut spoiled);
    assert!(spoiled > 0, "there was a store");
    let broker = prepared.serve().start();
    let log = broker.log();
    assert!(log.contains("the checkpoints were unreadable and are begun anew"), "{log}");
    assert_whole(&broker, 0).await;
    assert_whole(&broker, 1).await;
    broker.stop_cleanly();
    assert_all_well(&prepared).await;
}

/// Overwrites every file below a directory.
fn spoil(dir: &Path, spoiled: &mut usize) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path, spoiled);
        } else {
            std::fs::write(&path, b"this is not what was written").unwrap();
            *spoiled += 1;
        }
    }
}

#[tokio::test]
async fn lost_recovery_points_are_corruption_and_not_a_new_start() {
    let prepared = Prepared::new().await;
    let points = prepared.data().join("recovery-points");
    let whole = std::fs::read(&points).unwrap();
    for (bad, cause) in
        [(None, "the file is gone"), (Some(&whole[..whole.len() - 1]), "the checksum does not match")]
    {
        match bad {
            Some(bytes) => std::fs::write(&points, bytes).unwrap(),
            None => std::fs::remove_file(&points).unwrap(),
        }
        let (code, said) = prepared.serve().refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("recovery-points") && said.contains(cause), "{said}");
    }
    std::fs::write(&points, &whole).unwrap();
    assert_all_well(&prepared).await;
}

#[tokio::test]
async fn a_second_process_is_turned_away_and_the_first_serves_on() {
    let prepared = Prepared::new().await;
    let broker = prepared.serve().start();
    let (code, said) = prepared.serve().refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is in use by another process"), "{said}");
    assert!(said.contains(&prepared.data().display().to_string()), "{said}");
    assert_whole(&broker, 0).await;
    broker.stop_cleanly();
    assert_all_well(&prepared).await;
}

#[tokio::test]
async fn a_newer_format_and_another_owner_are_refused_untouched() {
    let prepared = Prepared::new().await;
    let properties = prepared.data().join("meta.properties");
    let ours = std::fs::read_to_string(&properties).unwrap();
    let cases = [
        (ours.replace("highwater.format=1", "highwater.format=2"), "use a newer highwater"),
        (ours.replace("node.id=1", "node.id=2"), "belongs to node 2, but node 1 is configured"),
        (ours.replace("highwater.format=1\n", ""), "is not a data directory of highwater"),
    ];
    for (text, cause) in cases {
        assert_ne!(text, ours);
        std::fs::write(&properties, &text).unwrap();
        let (code, said) = prepared.serve().args(["--node-id", "1"]).refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(cause), "{said}");
        assert_eq!(std::fs::read_to_string(&properties).unwrap(), text);
    }
    std::fs::write(&properties, &ours).unwrap();
    assert_all_well(&prepared).await;
}

#[test]
fn a_directory_that_cannot_be_used_is_told_of() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let foreign = root.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("precious.txt"), b"of somebody else").unwrap();
    let cases = [
        (file.clone(), "cannot read the data directory"),
        (file.join("below"), "cannot create the data directory"),
        (PathBuf::from("/proc/highwater"), "cannot create the data directory"),
        (foreign, "it has precious.txt but no meta.properties"),
    ];
    for (dir, cause) in cases {
        let (code, said) = Serve::at(&dir).refused();
        assert_eq!(code, Some(1), "{}: {said}", dir.display());
        assert!(
            said.contains(cause) && said.contains(&dir.display().to_string()),
            "{}: {said}",
            dir.display()
        );
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"in the way");
}
