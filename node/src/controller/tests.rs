//! The start of a quorum cell on what is on its disk.

use super::*;
use crate::log::LogConfig;
use highwater_core::batch::{Builder, Codec, stamp};
use highwater_core::ids::{PartitionIndex, TopicId, TopicPartition};
use highwater_core::metadata::{METADATA_TOPIC, Record};
use highwater_core::time::Timestamp;
use std::path::Path;

const NOW: Now = Now { mono: Instant::from_nanos(1), wall: Timestamp(1_000) };

fn data_dir(path: &Path) -> DataDir {
    DataDir::of_a_test(path)
}

fn setup(data_dir: &DataDir) -> ControllerSetup<'_> {
    ControllerSetup {
        node_id: BrokerId(1),
        data_dir,
        initial_controllers: &[],
        peer_endpoints: Vec::new(),
        config: QuorumConfig::default(),
        snapshots: SnapshotConfig::default(),
        seed: 1,
        now: NOW,
    }
}

fn open(data_dir: &DataDir) -> StartingController {
    StartingController::open(setup(data_dir)).expect("the log is sound")
}

fn topic(n: u8) -> Record {
    Record::Topic { id: TopicId([n; 16]), name: format!("t{n}") }
}

fn create(starting: &mut StartingController, n: u8) {
    let plan = |_: &Controller| Plan { records: vec![topic(n)], response: () };
    starting.append(NOW, plan).expect("the disk works");
}

/// As the release before quorums wrote it: batches of epoch 1, no voters, no vote.
fn write_log_of_one_broker(data_dir: &DataDir) {
    let topic_id = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let id = TopicPartition { topic_id, partition: PartitionIndex(0) };
    let (mut log, _) =
        data_dir.open_log(METADATA_TOPIC, id, LogConfig::default(), NOW.wall).expect("a new log");
    for record in [Record::Cluster { id: "the-cluster".to_owned() }, topic(1), topic(2)] {
        let mut builder = Builder::new(Codec::None);
        builder.push(NOW.wall, None, Some(&record.encode()), &[]);
        let stamped = stamp(&builder.build(), log.end(), LeaderEpoch(1), None);
        let appended = log.append(&stamped.header, stamped.head(), stamped.rest(), NOW.wall);
        assert!(matches!(appended, crate::disk::Submitted::Done(Ok(_))));
    }
    log.close().expect("the disk works");
    data_dir.mark_clean().expect("the disk works");
}

#[test]
fn a_directory_of_the_release_before_quorums_opens_and_goes_on() {
    let root = tempfile::tempdir().unwrap();
    write_log_of_one_broker(&data_dir(root.path()));
    let dir = data_dir(root.path());
    let mut starting = open(&dir);
    assert!(starting.is_leading());
    assert_eq!(starting.image().topic_count(), 2);
    create(&mut starting, 3);
    starting.commit(&dir, NOW).unwrap();
    assert_eq!(starting.image().topic_count(), 3);
    let quorum = &starting.state.quorum;
    assert_eq!((quorum.epoch(), quorum.is_active()), (LeaderEpoch(2), true), "an epoch of its own");
    assert!(quorum.voters().is_sole(quorum.me()) && quorum.voters().is_pinned());
    assert!(!root.path().join(QUORUM_STATE_FILE).exists(), "one flush was enough");
}

#[test]
fn each_start_leads_in_a_new_epoch_and_keeps_everything() {
    let root = tempfile::tempdir().unwrap();
    for n in 1..5u8 {
        let dir = data_dir(root.path());
        let mut starting = open(&dir);
        create(&mut starting, n);
        starting.commit(&dir, NOW).unwrap();
        assert_eq!(starting.image().topic_count(), usize::from(n));
        assert_eq!(starting.state.quorum.epoch(), LeaderEpoch(i32::from(n)));
        if n % 2 == 0 {
            starting.state.close().unwrap();
            dir.mark_clean().unwrap();
        }
    }
}

#[test]
fn a_log_that_begins_at_a_snapshot_is_read_from_there_and_not_without_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = data_dir(root.path());
    let mut starting = open(&dir);
    for n in 1..50 {
        create(&mut starting, n);
    }
    starting.commit(&dir, NOW).unwrap();
    let image = starting.image().clone();
    let id = highwater_core::quorum::SnapshotId { end: image.offset(), epoch: LeaderEpoch(1) };
    let place = starting.state.place().clone();
    let voters = starting.state.quorum.voters_at(id.end).clone();
    snapshot::write(&*place.disk, &place.log_dir, id, &image, &voters, NOW.wall).unwrap();
    let after = starting.state.snapshot_taken(NOW, id, Ok(()));
    assert!(after.cleanup && after.halt.is_none());
    dir.recovery_points().write().unwrap();
    starting.state.remove_doomed(NOW);
    assert_eq!(starting.state.log.log_start(), id.end);
    create(&mut starting, 50);
    starting.commit(&dir, NOW).unwrap();
    starting.state.close().unwrap();
    dir.mark_clean().unwrap();
    drop((starting, dir));

    let dir = data_dir(root.path());
    let starting = open(&dir);
    assert_eq!(starting.image().topic_count(), 50);
    assert!(starting.state.quorum.voters().is_pinned());
    drop((starting, dir));

    std::fs::remove_file(snapshot::path(&place.log_dir, id)).unwrap();
    let dir = data_dir(root.path());
    let refused = StartingController::open(setup(&dir)).map(|_| ()).unwrap_err();
    assert!(matches!(refused, MetadataError::SnapshotMissing(start) if start == id.end), "{refused}");
}

#[test]
fn a_node_among_several_does_not_lead_before_it_is_elected() {
    let root = tempfile::tempdir().unwrap();
    let dir = data_dir(root.path());
    let initial: Vec<InitialController> =
        ["1@a:1", "2@b:1", "3@c:1"].iter().map(|text| text.parse().unwrap()).collect();
    let setup = ControllerSetup {
        node_id: BrokerId(1),
        data_dir: &dir,
        initial_controllers: &initial,
        peer_endpoints: Vec::new(),
        config: QuorumConfig::default(),
        snapshots: SnapshotConfig::default(),
        seed: 1,
        now: NOW,
    };
    let starting = StartingController::open(setup).unwrap();
    assert!(!starting.is_leading());
    assert_eq!(starting.state.quorum.voters().len(), 3);
}

#[test]
fn a_log_that_has_failed_is_flushed_no_more() {
    let root = tempfile::tempdir().unwrap();
    let dir = data_dir(root.path());
    let mut starting = open(&dir);
    create(&mut starting, 1);
    let state = &mut starting.state;
    assert!(state.take_wanted_flush() && !state.wants_flush);
    let job = state.log.flush_job(FlushScope::All).expect("something was appended");
    state.log.flushed(&job.note, Err(io::Error::other("the device is gone"))).unwrap_err();
    // A follower asks again whenever it is told of a flush that did not reach its end; its worker must rest all the same.
    state.wants_flush = true;
    assert!(!state.take_wanted_flush() && !state.wants_flush);
}
