//! Snapshots: views of the state, or files of one that another node sent.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::RaftSnapshotBuilder;

use crate::journal::StateView;

use super::state_machine::StateMachine;
use super::types::{Snapshot, SnapshotMeta, Types};

/// The contents of a snapshot.
#[derive(Clone)]
pub(super) enum SnapshotData {
    /// This node's own state at one moment: nothing is copied to take it.
    View(Arc<StateView>),
    /// A complete file from another node; removed once installed.
    File(PathBuf),
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(_) => f.write_str("view"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// Builds a snapshot: makes durable what was applied up to its moment, so that
/// the log may forget it.
#[derive(Debug)]
pub(super) struct SnapshotBuilder {
    pub machine: StateMachine,
    pub meta: SnapshotMeta,
    pub view: Arc<StateView>,
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.machine.persist().await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: SnapshotData::View(Arc::clone(&self.view)),
        })
    }
}
