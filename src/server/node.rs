//! Starts the parts of a node in the order they need each other, and stops them
//! in the opposite one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_lite::future::block_on;

use super::access::start_keeper;
use super::consensus::{Consensus, halls};
use super::entries::Entries;
use super::error::ServerError;
use super::first_steps::push_commands;
use super::options::{
    acknowledge, api_options, door_options, kernel_tls, pool_bytes, replication_options,
    space_options,
};
use super::shard::{ShardParts, run_shard};
use crate::admin::Health;
use crate::base::Clock;
use crate::config::{Config, KernelEncryption};
use crate::disk::{DirectoryLock, lock_directory};
use crate::guard::Keeper;
use crate::memory::region_bytes;
use crate::metadata;
use crate::peer::PeerNode;
use crate::registry::DiskSpace;
use crate::replication::{self, Peer, Peers, Room};
use crate::runtime::{
    Background, ExecutorHandle, ExecutorOptions, Place, ShardPlan, Shutdown, Topology, Watchdog,
    Wishes, notify_ready, preflight, spawn_executor,
};
use crate::telemetry::{AuditLog, Metrics};
use crate::{blob, net, raft};

/// Entries of one page while the start looks at every blob.
const BLOBS_PAGE_ENTRIES: usize = 1000;
/// Missing blobs that the log names one by one.
const MISSING_NAMED_COUNTS: u64 = 10;

type ShardHandle = ExecutorHandle<Result<(), net::Error>>;

/// A running node. Owned by the main thread.
pub(super) struct Node {
    shards: Vec<ShardHandle>,
    raft: ExecutorHandle<()>,
    journal: raft::Handle,
    watchdog: Watchdog,
    _keeper: Keeper,
    _lock: DirectoryLock,
}

impl Node {
    /// Checks the machine, recovers what is on disk, and listens.
    pub(super) fn start(
        config: &Config,
        metrics: &Arc<Metrics>,
        (shutdown, hangups, audit): (&Shutdown, flume::Receiver<()>, &AuditLog),
    ) -> Result<Self, ServerError> {
        let directory = &config.data_dir;
        let (lock, plan) = prepare(config, metrics)?;
        let mut entries = Entries::open(config, plan.shards.len(), metrics, hangups)?;
        let is_first_start = !directory.join("journal").exists();
        let watchdog = Watchdog::start(config.runtime.stall_max.duration())?;
        let (to_shards, halls) = halls(plan.shards.len());
        let guards = (&watchdog, shutdown);
        let consensus = Consensus::start(config, &plan, metrics, guards, to_shards)?;
        let journal = consensus.journal.clone();
        let background = Background::new(&plan);
        let (keeper, access) = start_keeper((config, audit), &consensus, metrics, &background)?;
        let blobs = open_blobs(directory, &plan, &consensus)?;
        let space = DiskSpace::measure(directory.clone(), space_options(config))?;
        let copies = copies(config, (&plan, &consensus), &space, metrics);
        let health = Health::starting();
        let (working, all_idle) = flume::bounded(1);
        let parts = |listen, entry, listening, hall| ShardParts {
            entry,
            blobs: blobs.clone(),
            journal: journal.clone(),
            space: space.clone(),
            metrics: Arc::clone(metrics),
            shutdown: shutdown.clone(),
            pool_bytes: pool_bytes(config),
            connections_max: config.http.shard_connections_max,
            grace: config.runtime.shutdown_grace.duration(),
            working: working.clone(),
            all_idle: all_idle.clone(),
            is_delete_enabled: config.delete.enabled,
            doors: door_options(config),
            api: api_options(config),
            access: access.clone(),
            listen,
            listening,
            hall,
            membership: consensus.membership.clone(),
            copies: copies.clone(),
            acknowledge: acknowledge(config),
            is_stale_served: config.cluster.stale_reads,
            operators: None,
        };
        let (mut shards, mut listen) = (Vec::new(), config.listen);
        let ways = halls.into_iter().zip(std::mem::take(&mut entries.clients));
        for ((index, place), (hall, entry)) in (0..).zip(&plan.shards).zip(ways) {
            let (listening, heard) = flume::bounded(1);
            let mut parts = parts(listen, entry, listening, hall);
            if index == 0 {
                let operators = entries.operators(config.admin_listen, health.clone());
                parts.operators = Some(operators);
            }
            let options = shard_options(config, index, *place, &watchdog);
            let handle = spawn_executor(options, move || run_shard(index, parts))?;
            let Ok(address) = heard.recv() else {
                return Err(ended_early(handle));
            };
            listen = address;
            shards.push(handle);
        }
        drop(working);
        metrics.machine.shards.set(u64::from(shard_count(&plan)));
        health.serve();
        announce(listen, config.admin_listen, is_first_start);
        Ok(Self {
            shards,
            raft: consensus.executor,
            journal,
            watchdog,
            _keeper: keeper,
            _lock: lock,
        })
    }

    /// Waits until the shards have stopped serving, then closes the journal.
    pub(super) fn wait_and_stop(self) -> Result<(), ServerError> {
        let mut outcome = Ok(());
        for shard in self.shards {
            let ended = shard.join().map_err(ServerError::from);
            let ended = ended.and_then(|served| served.map_err(ServerError::from));
            outcome = outcome.and(ended);
        }
        block_on(self.journal.shutdown());
        self.watchdog.stop();
        self.raft.join()?;
        outcome
    }
}

/// Checks the machine, takes the data directory for this process, and places the
/// executors.
fn prepare(config: &Config, metrics: &Metrics) -> Result<(DirectoryLock, ShardPlan), ServerError> {
    let found = preflight(&config.data_dir)?;
    tracing::info!(kernel = %found.kernel, memlock_bytes = found.memlock_bytes,
        open_files = found.open_files, "the machine can run a node");
    show_kernel_tls(config, metrics);
    let lock = lock_directory(&config.data_dir).map_err(ServerError::locked)?;
    let wishes = Wishes {
        shards: config.runtime.shards,
        raft_cpu: config.runtime.raft_cpu,
    };
    let plan = ShardPlan::of(&Topology::detect()?, wishes)?;
    tracing::info!(shards = plan.shards.len(), consensus = %plan.raft, "executors are placed");
    Ok((lock, plan))
}

/// Says who encrypts what goes over TLS.
fn show_kernel_tls(config: &Config, metrics: &Metrics) {
    let kernel = kernel_tls(config);
    metrics.tls.kernel.set(u64::from(kernel.is_on()));
    match (kernel.is_on(), config.tls.kernel) {
        (true, _) => tracing::info!(suites = ?kernel, "the kernel encrypts TLS"),
        (false, KernelEncryption::Off) => {
            tracing::info!("TLS is encrypted in this process, as configured");
        }
        (false, KernelEncryption::Auto) => {
            tracing::info!("TLS is encrypted in this process: the kernel offers no TLS here");
        }
    }
}

/// Recovers the blob store against the applied state, and looks for every blob
/// that was acknowledged.
fn open_blobs(
    directory: &Path,
    plan: &ShardPlan,
    consensus: &Consensus,
) -> Result<blob::Shared, ServerError> {
    let options = blob::Options {
        data_directory: directory.to_owned(),
        node: consensus.identity.raft_id,
        shards: shard_count(plan),
        keeps_unknown: consensus.membership.is_some(),
        now_ms: Clock::system().unix_ms(),
    };
    let view = consensus.journal.view();
    let (shared, recovery) = blob::open(&options, |digest, generation| {
        match metadata::blob(&view, digest) {
            Ok(record) => record.is_some_and(|record| {
                record.is_live() && !record.is_inline && record.generation == generation
            }),
            // What cannot be told must not be taken out of service.
            Err(error) => {
                tracing::error!(%error, %digest, "the state cannot tell whether a blob lives");
                true
            }
        }
    })?;
    show_recovery(&recovery);
    if consensus.membership.is_none() {
        // A member fetches what it lacks.
        report_missing(&view, &shared)?;
    }
    Ok(shared)
}

/// Says what was found in the blob store, a number for each kind.
fn show_recovery(found: &blob::Recovery) {
    tracing::info!(
        blobs = found.blobs,
        sessions = found.sessions,
        sessions_expired = found.sessions_expired,
        imports = found.imports,
        leftovers = found.leftovers,
        orphans = found.orphans,
        unknown = found.unknown,
        unsealed = found.unsealed,
        quarantined = found.quarantined,
        "the blob store is recovered"
    );
}

/// What makes copies of blobs; nothing on a node that runs alone.
fn copies(
    config: &Config,
    (plan, consensus): (&ShardPlan, &Consensus),
    space: &DiskSpace,
    metrics: &Arc<Metrics>,
) -> Option<replication::Shared> {
    let membership = consensus.membership.as_ref()?;
    let (journal, space) = (consensus.journal.clone(), space.clone());
    let peers = Peers::new(move || {
        let members = journal.membership();
        let peer = |member: &raft::Member| Peer {
            node: PeerNode {
                id: member.node,
                address: member.address.clone(),
            },
            is_voter: member.is_voter,
        };
        members.nodes.iter().map(peer).collect()
    });
    Some(replication::Shared::new(replication::Parts {
        options: replication_options(config, consensus.identity.raft_id),
        shards: shard_count(plan),
        journal: consensus.journal.clone(),
        blob_changes: consensus.blob_changes.clone(),
        fill: consensus.fill.clone(),
        peers,
        room: Room::new(move || space.check().is_ok()),
        security: membership.security.clone(),
        metrics: Arc::clone(metrics),
    }))
}

/// Says which acknowledged blobs have no file. They are answered 500 until they
/// are pushed again or restored; everything else is served.
fn report_missing(view: &raft::StateView, shared: &blob::Shared) -> Result<(), ServerError> {
    let mut missing_count = 0;
    let mut after = None;
    loop {
        let page = metadata::blobs(view, after.as_ref(), BLOBS_PAGE_ENTRIES)?;
        for (digest, record) in &page.entries {
            let has_file = record.is_live() && !record.is_inline;
            if !has_file || shared.is_present(digest, record.generation, record.size_bytes) {
                continue;
            }
            missing_count += 1;
            if missing_count <= MISSING_NAMED_COUNTS {
                tracing::error!(%digest, "the file of an acknowledged blob is missing or has another length: restore it from a backup, or push its image again");
            }
        }
        after = page.entries.last().map(|(digest, _)| *digest);
        if !page.more {
            break;
        }
    }
    if missing_count > 0 {
        tracing::error!(missing_count, "acknowledged blobs are missing");
    }
    Ok(())
}

fn shard_options(
    config: &Config,
    index: u16,
    place: Place,
    watchdog: &Watchdog,
) -> ExecutorOptions {
    let name = format!("shard-{index}");
    ExecutorOptions {
        place,
        region_bytes: region_bytes(pool_bytes(config)),
        data_directory: Some(config.data_dir.clone()),
        is_panic_fatal: false,
        beat: Some(watchdog.beat(&name)),
        name,
    }
}

/// Data shards of a plan; upload ids carry the shard as 16 bits.
fn shard_count(plan: &ShardPlan) -> u16 {
    u16::try_from(plan.shards.len()).unwrap_or(u16::MAX)
}

/// Why a shard ended before it listened.
fn ended_early(handle: ShardHandle) -> ServerError {
    match handle.join() {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => ServerError::Vanished,
        Err(error) => error.into(),
    }
}

/// Tells whoever started the node that it serves, and where, and the first time how to use it.
fn announce(listen: SocketAddr, admin: SocketAddr, is_first_start: bool) {
    notify_ready();
    tracing::info!(%listen, %admin, "windlass serves");
    if is_first_start {
        let [tag, push] = push_commands(listen);
        tracing::info!("push an image:  {tag}");
        tracing::info!("                {push}");
    }
}
