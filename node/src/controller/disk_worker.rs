//! The quorum's own group commit, so that votes and metadata never queue behind the partitions' syncs.

use super::ControllerCell;
use super::vote_file::VoteState;
use crate::background::{Bell, Worker};
use crate::log::FlushJob;
use highwater_core::quorum::VoteRecord;
use std::sync::Weak;
use std::time::Duration;

/// What is to be made durable. The vote goes first: what depends on it waits.
#[derive(Debug, Default)]
pub(super) struct DiskWork {
    pub(super) vote: Option<(VoteRecord, VoteState)>,
    pub(super) flush: Option<FlushJob>,
}

/// The worker.
#[derive(Debug)]
pub(crate) struct QuorumDisk {
    cell: Weak<ControllerCell>,
    bell: Bell,
}

impl QuorumDisk {
    pub(super) const fn new(cell: Weak<ControllerCell>, bell: Bell) -> Self {
        Self { cell, bell }
    }

    /// What wakes it.
    pub(crate) const fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl Worker for QuorumDisk {
    fn turn(&self) -> Option<Duration> {
        let cell = self.cell.upgrade()?;
        while let Some(work) = cell.disk_work() {
            cell.make_durable(work);
        }
        None
    }
}
