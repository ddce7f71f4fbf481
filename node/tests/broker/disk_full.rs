//! A full disk: writes are refused, nothing acknowledged is lost, and room makes everything well again.

use crate::client::{Client, batch_of};
use crate::harness::{Broker, PATIENCE, Serve};
use highwater_net_tcp::client::ClientError;
use highwater_protocol::ErrorCode;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const RECORD_BYTES: usize = 100_000;

/// Produces until the broker refuses; answers how many records it took and with which code it stopped.
async fn produce_until_refused(broker: &Broker) -> (usize, Option<ErrorCode>) {
    let client = Client::connect(broker.address()).await;
    let deadline = Instant::now() + PATIENCE;
    let mut acked = 0;
    while Instant::now() < deadline {
        let value = vec![b'x'; RECORD_BYTES];
        match client.produce("words", 0, batch_of(&[&value])).await {
            Ok(answer) if answer.error_code == ErrorCode::None => acked += 1,
            Ok(answer) => return (acked, Some(answer.error_code)),
            Err(ClientError::Io(_) | ClientError::Closed) => return (acked, None),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk does not fill\n{}", broker.log());
}

/// After a write failed: what was acknowledged is there after a restart with room, and the broker takes more.
async fn assert_whole_with_room(serve: &Serve, acked: usize) {
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    let found = client.read_all("words", 0).await;
    assert!(found.len() >= acked, "{acked} were acknowledged, {} are there", found.len());
    for (n, (offset, value)) in (0_i64..).zip(&found) {
        assert_eq!((*offset, value.len()), (n, RECORD_BYTES));
    }
    assert_eq!(client.append("words", 0, &[b"more"]).await, Ok(i64::try_from(found.len()).unwrap()));
    broker.stop_cleanly();
}

#[tokio::test]
async fn a_write_that_the_system_refuses_takes_the_partition_offline_and_costs_nothing_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    // No file beyond 2 MiB, in the shell's blocks of 512 bytes or 1 KiB; the signal that comes with it is ignored.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""];
    let broker = Serve::at(&data).under(&limited).start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 1, &[]).await;
    client.create_topic("others", 1, &[]).await;
    let (acked, refusal) = produce_until_refused(&broker).await;
    assert!(acked > 0);
    assert_eq!(refusal, Some(ErrorCode::KafkaStorageError));
    // Still so, not only for the batch that was too much.
    let client = Client::connect(broker.address()).await;
    assert_eq!(client.append("words", 0, &[b"small"]).await, Err(ErrorCode::KafkaStorageError));
    assert_eq!(client.append("others", 0, &[b"another file"]).await, Ok(0));
    let (code, log) = broker.stop();
    assert_eq!(code, Some(1), "the end was not in order: {log}");
    assert!(log.contains("ERROR") && log.contains("words"), "{log}");

    assert_whole_with_room(&Serve::at(&data), acked).await;
}

#[tokio::test]
async fn a_full_file_system_refuses_writes_and_is_well_once_there_is_room() {
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(root.path()) else {
        println!("skipped: no file system can be mounted here, not even in a namespace of one's own");
        return;
    };
    let serve = disk.serve();
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 1, &[]).await;
    // Something else takes most of the disk.
    let ballast = disk.path("ballast");
    std::fs::write(&ballast, vec![0; 8 << 20]).unwrap();
    let (acked, refusal) = produce_until_refused(&broker).await;
    assert!(acked > 0);
    assert!(matches!(refusal, None | Some(ErrorCode::KafkaStorageError)), "{refusal:?}");
    // Metadata cannot be written, either. Nothing may be promised, whether the broker goes on or ends.
    if let Ok(client) = Client::try_connect(broker.address()).await {
        let promised = client.try_create_topic("later", 100, &[]).await;
        assert!(promised.is_err(), "{}", broker.log());
    }
    let (code, log) = broker.stop();
    assert_ne!(code, Some(0), "{log}");
    assert!(log.contains("No space left on device"), "{log}");

    // No room to start either: told, not damaged.
    std::fs::write(&ballast, vec![0; 9 << 20]).unwrap_err();
    let mut broker = serve.spawn();
    broker.terminate();
    broker.wait_end();

    std::fs::remove_file(&ballast).unwrap();
    assert_whole_with_room(&serve, acked).await;
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    assert_eq!(client.topics().await.into_keys().collect::<Vec<_>>(), ["words"]);
    client.create_topic("later", 100, &[]).await;
    broker.stop_cleanly();
}

/// A file system of 16 MiB in memory, in a mount namespace that goes with the process that holds it.
struct SmallDisk {
    holder: Child,
    at: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        let script =
            format!("mount -t tmpfs -o size=16m none '{}' && echo mounted && exec sleep 600", at.display());
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("a pipe");
        let disk = Self { holder, at: at.to_owned() };
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).ok()?;
        (line == "mounted\n").then_some(disk)
    }

    /// A broker with its data there.
    fn serve(&self) -> Serve {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        Serve::at(&self.at.join("data")).under(&["nsenter", &namespace])
    }

    /// The name by which this process reaches a file there.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.at.strip_prefix("/").expect("temporary directories have absolute names");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside).join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
