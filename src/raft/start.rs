//! Starts consensus on the executor it will live on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, Config, ServerState, SnapshotPolicy};

use crate::journal::JournalError;

use super::core::Core;
use super::handle::Handle;
use super::log_store::LogStore;
use super::network::NoPeers;
use super::open::Opened;
use super::options::Options;
use super::proposal::ProposeError;
use super::state_machine::StateMachine;
use super::types::Raft;

/// Milliseconds between heartbeats of a leader.
const HEARTBEAT_MS: u64 = 100;
/// Milliseconds without a leader before an election, shortest and longest.
const ELECTION_MS_MIN: u64 = 400;
const ELECTION_MS_MAX: u64 = 800;
/// Milliseconds for the transfer of a snapshot.
const SNAPSHOT_TIMEOUT_MS: u64 = 5000;
/// A node that lags more entries than this gets a snapshot.
const LAG_ENTRIES_MAX: u64 = 100_000;
/// Entries are purged in steps of at least this many.
const PURGE_ENTRIES_MIN: u64 = 256;
/// The only voter elects itself well within this time, replay included.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Why consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the journal holds cannot be used.
    #[error("read what raft saved")]
    Journal(#[from] JournalError),
    /// openraft refused; its reason is the text.
    #[error("start raft: {reason}")]
    Raft {
        /// What openraft says; its errors hold types of its own.
        reason: Box<str>,
    },
    /// The first change of this run did not commit.
    #[error("commit a first change")]
    Probe(#[from] ProposeError),
}

impl StartError {
    fn raft(error: impl std::fmt::Display) -> Self {
        Self::Raft {
            reason: error.to_string().into(),
        }
    }
}

/// Starts consensus on the current executor and returns when this node leads
/// and has applied everything that was committed before.
///
/// The tasks it starts end with [`Handle::shutdown`]; a fault in them, and a
/// fault of the journal, ends the process.
pub async fn start(opened: Opened, options: Options) -> Result<Handle, StartError> {
    let log = LogStore::new(&opened.journal)?;
    let snapshots = options.journal.directory.join("snapshots");
    let metrics = Arc::clone(&options.metrics);
    let machine = StateMachine::new(&opened.journal, snapshots, metrics)?;
    let config = config(&options).validate().map_err(StartError::raft)?;
    let id = opened.identity.raft_id;
    let started = Raft::new(id, Arc::new(config), NoPeers, log.clone(), machine.clone());
    let raft = started.await.map_err(StartError::raft)?;
    let is_known = raft.is_initialized().await.map_err(StartError::raft)?;
    if is_known {
        // Nobody else can lead, so there is nothing to wait for.
        raft.trigger().elect(true).await.map_err(StartError::raft)?;
    } else {
        let members = BTreeMap::from([(id, BasicNode::default())]);
        raft.initialize(members).await.map_err(StartError::raft)?;
    }
    let leads = raft.wait(Some(START_TIMEOUT));
    leads
        .state(ServerState::Leader, "the only voter leads")
        .await
        .map_err(StartError::raft)?;
    let handle = Core::spawn(raft, log, machine, opened.journal.journal, options);
    handle.probe().await?;
    Ok(handle)
}

fn config(options: &Options) -> Config {
    Config {
        cluster_name: "windlass".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        max_in_snapshot_log_to_keep: options.log_entries_kept,
        replication_lag_threshold: LAG_ENTRIES_MAX,
        purge_batch_size: PURGE_ENTRIES_MIN.min(options.log_entries_kept.max(1)),
        enable_pre_vote: Some(true),
        // A leader that lost its unsynced tail must not lead again in the same
        // term: it would give other entries the same names.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}
