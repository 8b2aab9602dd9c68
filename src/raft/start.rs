//! Starts consensus on the executor it will live on.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, Config, ServerState, SnapshotPolicy};

use crate::journal::JournalError;
use crate::metadata::NodeAddress;
use crate::peer::Calls;

use super::belonging::Told;
use super::blob_change::BlobChanges;
use super::core::{Core, Parts};
use super::handle::Handle;
use super::identity::FIRST_NODE_ID;
use super::log_store::LogStore;
use super::network::Network;
use super::open::{Fitness, Opened};
use super::options::Options;
use super::peers::Peers;
use super::proposal::ProposeError;
use super::rpc::RaftService;
use super::snapshot_receive::SnapshotReceiver;
use super::snapshot_send::SnapshotSender;
use super::state_machine::StateMachine;
use super::status::Status;
use super::types::Raft;

/// Milliseconds between heartbeats of a leader.
pub(super) const HEARTBEAT_MS: u64 = 100;
/// Milliseconds without a leader before an election, shortest and longest.
const ELECTION_MS_MIN: u64 = 400;
pub(super) const ELECTION_MS_MAX: u64 = 800;
/// Milliseconds of the phases in which a leader that reaches no quorum is silent
/// and speaks in turn: silence lets others elect one, where it is heard but hears
/// nobody.
pub(super) const QUORUM_LOSS_MS: u64 = 2 * ELECTION_MS_MAX;
/// Entries of one message to a follower; bytes bound it first, but for the
/// smallest.
const APPEND_ENTRIES_MAX: u64 = 4096;
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

/// What makes a node one of many.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Calls to the other nodes, from this executor.
    pub calls: Calls,
    /// Where this node is reached by them.
    pub address: NodeAddress,
}

/// Starts consensus on the current executor; without `cluster` the node runs
/// alone.
///
/// A node that is the only voter, as the first one of a new cluster is, leads
/// and has applied everything that was committed before when this returns. Any
/// other node has only begun: serve the calls of the others with the service
/// from now on, and see [`Handle::recovered`]. It takes part as soon as a leader
/// speaks to it or an election is due, and forces none.
///
/// The tasks it starts end with [`Handle::shutdown`], or when the node is removed
/// from its cluster; a fault in them, and a fault of the journal, ends the
/// process.
pub async fn start(
    opened: Opened,
    options: Options,
    cluster: Option<Cluster>,
) -> Result<(Handle, RaftService), StartError> {
    let identity = opened.identity;
    let id = identity.raft_id;
    let (calls, address) = cluster.map_or((None, None), |cluster| {
        (Some(cluster.calls), Some(cluster.address))
    });
    let log = LogStore::new(&opened.journal)?;
    let snapshots = options.journal.directory.join("snapshots");
    let metrics = Arc::clone(&options.metrics);
    let changes = BlobChanges::new(options.blob_changes.clone());
    let machine = StateMachine::new(
        &opened.journal,
        snapshots.clone(),
        changes,
        Fitness {
            node: id,
            known_level: options.format_level,
        },
        Arc::clone(&metrics),
    )?;
    let receiver = SnapshotReceiver::new(snapshots.clone(), Arc::clone(&metrics));
    let receiver = receiver.map_err(|source| JournalError::File {
        operation: "empty the folder of snapshots",
        source,
    })?;
    let peers = Rc::new(Peers::new(id, calls));
    let sender = Rc::new(SnapshotSender::new(Rc::clone(&peers), snapshots, metrics));
    let needed = sender.needed();
    let network = Network {
        peers: Rc::clone(&peers),
        sender,
    };
    let config = config(&options).validate().map_err(StartError::raft)?;
    let started = Raft::new(id, Arc::new(config), network, log.clone(), machine.clone());
    let raft = started.await.map_err(StartError::raft)?;
    peers.learn(
        raft.metrics()
            .borrow_watched()
            .membership_config
            .membership(),
    );
    let leads_alone = begin(&raft, id, address.as_ref()).await?;
    let told = Told {
        node_uuid: identity.node_uuid(),
        address,
    };
    let parts = Parts {
        raft,
        log,
        machine,
        peers,
        receiver,
        needed,
        journal: opened.journal.journal,
        options,
    };
    let (handle, core) = Core::spawn(parts, told);
    if leads_alone {
        handle.probe().await?;
    }
    Ok((handle, RaftService::new(core)))
}

/// Founds a cluster or takes the lead where nobody else can; returns whether this
/// node leads alone.
async fn begin(raft: &Raft, id: u64, address: Option<&NodeAddress>) -> Result<bool, StartError> {
    let is_known = raft.is_initialized().await.map_err(StartError::raft)?;
    if is_known {
        let status = Status::of(&raft.metrics().borrow_watched());
        if !status.is_sole_voter {
            return Ok(false);
        }
        // Nobody else can lead, so there is nothing to wait for.
        raft.trigger().elect(true).await.map_err(StartError::raft)?;
    } else if id == FIRST_NODE_ID {
        let address = address.map_or_else(BasicNode::default, |at| BasicNode::new(at.as_str()));
        let members = BTreeMap::from([(id, address)]);
        raft.initialize(members).await.map_err(StartError::raft)?;
    } else {
        // A node that was admitted; the leader will tell it everything.
        return Ok(false);
    }
    let leads = raft.wait(Some(START_TIMEOUT));
    leads
        .state(ServerState::Leader, "the only voter leads")
        .await
        .map_err(StartError::raft)?;
    Ok(true)
}

fn config(options: &Options) -> Config {
    Config {
        cluster_name: "windlass".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        max_payload_entries: APPEND_ENTRIES_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        // Only the keeper purges. A node gets a snapshot when it lacks what was purged.
        max_in_snapshot_log_to_keep: u64::MAX,
        quorum_loss_probe_interval: Some(QUORUM_LOSS_MS),
        enable_pre_vote: Some(true),
        // A leader that lost its unsynced tail must not lead again in the same
        // term: it would give other entries the same names.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}
