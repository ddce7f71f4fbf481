//! The data directory: what an operator is told when it cannot be used.

use highwater::disk::RealDisk;
use highwater::log::{DataDir, DataDirConfig, DataDirError, LogContext, OpenFiles};
use highwater_core::ids::{BrokerId, DirectoryId};
use std::path::Path;
use std::sync::Arc;

fn config(path: &Path) -> DataDirConfig {
    DataDirConfig {
        path: path.to_owned(),
        node_id: BrokerId(1),
        cluster_id: None,
        cluster_id_if_new: Some("first-cluster".to_owned()),
        directory_id_if_new: DirectoryId([7; 16]),
        initial_controllers_if_new: None,
        available_bytes_min: 0,
    }
}

fn open(config: &DataDirConfig) -> Result<DataDir, DataDirError> {
    DataDir::open(LogContext { disk: Arc::new(RealDisk), files: OpenFiles::new(8) }, config)
}

fn message(config: &DataDirConfig) -> String {
    open(config).expect_err("the directory cannot be used").to_string()
}

#[test]
fn a_directory_is_made_with_those_above_it_and_keeps_its_cluster() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/down");
    assert_eq!(open(&config(&path)).unwrap().cluster_id().as_deref(), Some("first-cluster"));
    let again = DataDirConfig { cluster_id_if_new: Some("other".to_owned()), ..config(&path) };
    assert_eq!(open(&again).unwrap().cluster_id().as_deref(), Some("first-cluster"));
}

#[test]
fn a_directory_has_an_id_of_its_own_and_one_of_an_older_release_gets_one() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(open(&config(root.path())).unwrap().directory_id(), DirectoryId([7; 16]));
    let other = DataDirConfig { directory_id_if_new: DirectoryId([8; 16]), ..config(root.path()) };
    assert_eq!(open(&other).unwrap().directory_id(), DirectoryId([7; 16]), "it keeps the id");

    let path = root.path().join("meta.properties");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("directory.id")).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    assert_eq!(open(&other).unwrap().directory_id(), DirectoryId([8; 16]));
    assert_eq!(open(&config(root.path())).unwrap().directory_id(), DirectoryId([8; 16]), "it is stored");
}

#[test]
fn a_directory_without_a_cluster_learns_it_once() {
    let root = tempfile::tempdir().unwrap();
    let joining = DataDirConfig { cluster_id_if_new: None, ..config(root.path()) };
    let dir = open(&joining).unwrap();
    assert_eq!(dir.cluster_id(), None);
    dir.join_cluster("found").unwrap();
    dir.join_cluster("found").unwrap();
    assert!(dir.join_cluster("other").is_err());
    drop(dir);
    assert_eq!(open(&joining).unwrap().cluster_id().as_deref(), Some("found"));
}

#[test]
fn a_directory_keeps_the_controllers_it_was_made_with() {
    let root = tempfile::tempdir().unwrap();
    let made = DataDirConfig {
        cluster_id_if_new: None,
        initial_controllers_if_new: Some("1@a:1,2@b:1".to_owned()),
        ..config(root.path())
    };
    let dir = open(&made).unwrap();
    dir.join_cluster("found").unwrap();
    drop(dir);
    let dir = open(&config(root.path())).unwrap();
    assert_eq!(dir.initial_controllers(), Some("1@a:1,2@b:1"), "neither joining nor starting changes them");

    let alone = tempfile::tempdir().unwrap();
    assert_eq!(open(&config(alone.path())).unwrap().initial_controllers(), None);
    let later =
        DataDirConfig { initial_controllers_if_new: Some("1@a:1".to_owned()), ..config(alone.path()) };
    assert_eq!(open(&later).unwrap().initial_controllers(), None, "whoever founded alone has founded alone");
}

#[test]
fn a_directory_is_formatted_once() {
    let root = tempfile::tempdir().unwrap();
    let context = || LogContext { disk: Arc::new(RealDisk), files: OpenFiles::new(8) };
    drop(DataDir::format(context(), &config(root.path())).unwrap());
    let again = DataDir::format(context(), &config(root.path())).map(|_| ());
    assert!(matches!(again, Err(DataDirError::Formatted(_))), "{again:?}");
    assert!(
        open(&config(root.path())).unwrap().last_run().was_clean,
        "nothing is recovered at the first start"
    );
}

#[test]
fn a_second_process_is_told_that_the_directory_is_in_use() {
    let root = tempfile::tempdir().unwrap();
    let first = open(&config(root.path())).unwrap();
    assert!(message(&config(root.path())).ends_with("is in use by another process"));
    drop(first);
    open(&config(root.path())).unwrap();
}

#[test]
fn a_newer_format_and_other_owners_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    drop(open(&config(root.path())).unwrap());
    let other_node = DataDirConfig { node_id: BrokerId(2), ..config(root.path()) };
    assert!(message(&other_node).ends_with("belongs to node 1, but node 2 is configured"));
    let other_cluster = DataDirConfig { cluster_id: Some("x".to_owned()), ..config(root.path()) };
    assert!(
        message(&other_cluster).ends_with("belongs to cluster first-cluster, but cluster x is configured")
    );

    let path = root.path().join("meta.properties");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("highwater.format=1", "highwater.format=2")).unwrap();
    assert!(matches!(open(&config(root.path())), Err(DataDirError::FormatTooNew { .. })));
    assert!(message(&config(root.path())).contains("has format version 2"));
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("holiday.jpg"), b"x").unwrap();
    assert!(message(&config(root.path())).ends_with("it has holiday.jpg but no meta.properties"));
    std::fs::remove_file(root.path().join("holiday.jpg")).unwrap();
    // Apache Kafka's.
    std::fs::write(root.path().join("meta.properties"), "version=1\nnode.id=1\ncluster.id=k\n").unwrap();
    assert!(message(&config(root.path())).contains("no highwater.format"));
}

#[test]
fn a_directory_that_cannot_be_one_and_lost_recovery_points_are_reported() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert!(message(&config(&file)).starts_with("cannot read the data directory"));

    let path = root.path().join("data");
    drop(open(&config(&path)).unwrap());
    std::fs::write(path.join("recovery-points"), b"garbage that is long enough").unwrap();
    assert!(message(&config(&path)).contains("recovery-points is corrupt"));
    std::fs::remove_file(path.join("recovery-points")).unwrap();
    assert!(message(&config(&path)).contains("the file is gone"));
}

#[test]
fn the_low_water_mark_is_checked_against_what_is_available() {
    let root = tempfile::tempdir().unwrap();
    let dir = open(&DataDirConfig { available_bytes_min: u64::MAX, ..config(root.path()) }).unwrap();
    assert!(dir.is_low().unwrap());
    drop(dir);
    assert!(!open(&config(root.path())).unwrap().is_low().unwrap());
}
