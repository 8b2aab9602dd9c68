//! The raft core's executor: consensus, and the door for other nodes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::belonging::membership;
use super::error::ServerError;
use super::membership::Membership;
use super::options::raft_options;
use crate::base::Clock;
use crate::cluster::{Admitter, Door};
use crate::config::Config;
use crate::peer::{Call, Calls, HandedOver, PeerListener, Refusal, RefusalCode, Standing};
use crate::raft::{self, BlobChange, Fill, Handle, Identity, RaftService};
use crate::runtime::{
    Background, ExecutorHandle, ExecutorOptions, ShardPlan, Shutdown, Watchdog, spawn,
    spawn_executor,
};
use crate::telemetry::Metrics;

/// Buffer memory of the raft core's rings: it moves no bulk data.
const RAFT_REGION_BYTES: u32 = 64 * 1024;
/// A member that starts waits this long for a leader to tell it what was committed
/// before; then it serves what it has, and reads that must be the newest wait.
const RECOVERY_LIMIT: Duration = Duration::from_secs(5);

/// Running consensus. Owned by the main thread.
pub(super) struct Consensus {
    /// Its executor.
    pub(super) executor: ExecutorHandle<()>,
    /// The way to it.
    pub(super) journal: Handle,
    /// Who this node is.
    pub(super) identity: Identity,
    /// What makes it one of many, if it is.
    pub(super) membership: Option<Membership>,
    /// Applied changes of blobs that have files; none for a node that runs alone.
    pub(super) blob_changes: flume::Receiver<BlobChange>,
    /// Where replication says how far it is.
    pub(super) fill: Fill,
}

/// What the raft core passes on to the data shards.
pub(super) struct ToShards {
    /// Connections that move blobs, one queue for each shard.
    pub(super) transfers: Vec<flume::Sender<HandedOver>>,
    /// Calls about blobs, for the first shard.
    pub(super) calls: flume::Sender<BlobCall>,
}

/// What one data shard receives from the raft core.
pub(super) struct Hall {
    /// Connections that move blobs.
    pub(super) transfers: flume::Receiver<HandedOver>,
    /// Calls about blobs; on the first shard only.
    pub(super) calls: Option<flume::Receiver<BlobCall>>,
}

/// The ways from the raft core to so many data shards. Their fill is bounded by the
/// places of unproved connections and by the calls that a connection may have.
pub(super) fn halls(shards: usize) -> (ToShards, Vec<Hall>) {
    let (calls, blob_calls) = flume::unbounded();
    let (transfers, mut halls): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| {
            let (sender, transfers) = flume::unbounded();
            let calls = None;
            (sender, Hall { transfers, calls })
        })
        .unzip();
    if let Some(first) = halls.first_mut() {
        first.calls = Some(blob_calls);
    }
    (ToShards { transfers, calls }, halls)
}

/// A call of another node about blobs, and where its answer goes.
pub(super) struct BlobCall {
    /// The call.
    pub(super) call: Call,
    /// Takes the answer; dropped when the shard is gone.
    pub(super) answer: flume::Sender<Result<Bytes, Refusal>>,
}

impl Consensus {
    /// Opens the journal on a background thread and starts consensus on its executor.
    ///
    /// Returns when a node that runs alone leads, or when a member has caught up with
    /// its cluster, or has waited for that for [`RECOVERY_LIMIT`].
    pub(super) fn start(
        config: &Config,
        plan: &ShardPlan,
        metrics: &Arc<Metrics>,
        (watchdog, shutdown): (&Watchdog, &Shutdown),
        shards: ToShards,
    ) -> Result<Self, ServerError> {
        let options = raft_options(config, Arc::clone(metrics));
        let open = {
            let options = options.clone();
            Background::new(plan).spawn("journal-open", move || raft::open(&options))?
        };
        let opened = open.join().map_err(|_| ServerError::Vanished)??;
        let identity = opened.identity.clone();
        let membership = membership(config, &opened)?;
        let (blob_changes, changes) = flume::unbounded();
        let mut options = options;
        options.blob_changes = membership.as_ref().map(|_| blob_changes);
        let fill = Fill::default();
        options.fill = membership.as_ref().map(|_| fill.clone());
        let (started, is_started) = flume::bounded(1);
        let executor = ExecutorOptions {
            name: "raft".to_owned(),
            place: plan.raft,
            region_bytes: RAFT_REGION_BYTES,
            data_directory: None,
            is_panic_fatal: true,
            beat: Some(watchdog.beat("raft")),
        };
        let core = Core {
            membership: membership.clone(),
            metrics: Arc::clone(metrics),
            shutdown: shutdown.clone(),
            shards,
        };
        let executor = spawn_executor(executor, move || async move {
            match core.start(opened, options).await {
                Ok(handle) => {
                    drop(started.send(Ok(handle.clone())));
                    handle.closed().await;
                    core.ended(&handle);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let journal = is_started.recv().map_err(|_| ServerError::Vanished)??;
        Ok(Self {
            executor,
            journal,
            identity,
            membership,
            blob_changes: changes,
            fill,
        })
    }
}

/// What the executor is given.
struct Core {
    membership: Option<Membership>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    shards: ToShards,
}

impl Core {
    async fn start(
        &self,
        opened: raft::Opened,
        options: raft::Options,
    ) -> Result<Handle, ServerError> {
        let Some(membership) = &self.membership else {
            return Ok(raft::start(opened, options, None).await?.0);
        };
        let listener = PeerListener::bind(membership.listen, Arc::clone(&self.metrics));
        let listener = listener.map_err(ServerError::ListenPeers)?;
        let calls = Calls::new(membership.security.clone(), Arc::clone(&self.metrics));
        let cluster = raft::Cluster {
            calls,
            address: membership.address.clone(),
        };
        let (handle, service) = raft::start(opened, options, Some(cluster)).await?;
        let door = self.door(membership, &handle, service);
        let ended = handle.clone();
        spawn(async move {
            let stopped = async { ended.closed().await };
            if let Err(error) = door.serve(listener, stopped).await {
                tracing::error!(%error, "the peer port broke; the node hears no other any more");
            }
        })
        .detach();
        if !handle.recovered(RECOVERY_LIMIT).await {
            tracing::warn!("no leader yet: this node serves what it has, and waits");
        }
        Ok(handle)
    }

    fn door(
        &self,
        membership: &Membership,
        handle: &Handle,
        service: RaftService,
    ) -> Door<impl AsyncFn(Call) -> Result<Bytes, Refusal> + 'static> {
        let blobs = self.shards.calls.clone();
        let service = Rc::new(service);
        let journal = handle.clone();
        let handler = async move |call: Call| {
            if RaftService::is_for(call.service) {
                service.handle(call).await
            } else if !journal.admits(call.from) {
                tracing::debug!(node = call.from, "a call of a node that is no member");
                let reason = "the caller does not belong to the cluster";
                Err(Refusal::new(RefusalCode::NotAllowed, reason))
            } else {
                pass_on(&blobs, call).await
            }
        };
        let admitter = Admitter::new(
            handle.clone(),
            membership.cluster,
            membership.authority.clone(),
            membership.join_secret.clone(),
            Clock::system(),
        );
        let transfers = self.shards.transfers.clone();
        let door = Door::new(membership.security.clone(), handler, admitter, transfers);
        match &membership.join_secret {
            None => door,
            Some(secret) => {
                let standing = Standing::Member {
                    cluster: membership.cluster,
                    authority: membership.fingerprint,
                };
                door.telling(secret.clone(), standing)
            }
        }
    }

    /// A node that its cluster has removed stops.
    fn ended(&self, handle: &Handle) {
        if handle.status().is_removed() {
            self.shutdown.request();
        }
    }
}

/// Lets a data shard answer.
async fn pass_on(shard: &flume::Sender<BlobCall>, call: Call) -> Result<Bytes, Refusal> {
    let (answer, answered) = flume::bounded(1);
    let stopping = || Refusal::new(RefusalCode::Failed, "the node stops");
    let sent = shard.send(BlobCall { call, answer });
    sent.map_err(|_| stopping())?;
    answered.recv_async().await.map_err(|_| stopping())?
}
