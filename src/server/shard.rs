//! One data shard: its store, its doors, its connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::access::{Access, realm_at};
use super::connections::{Connections, Entry};
use super::consensus::Hall;
use super::membership::Membership;
use super::peers::{Peers, relay, replicator};
use super::report::{measure_rates, report};
use super::tls_files::Renewal;
use crate::admin::Health;
use crate::base::Clock;
use crate::base::limits::{OPERATOR_CONNECTIONS_MAX, OPERATOR_ENTRANTS_MAX, SHARD_ENTRANTS_MAX};
use crate::cluster::Operations;
use crate::exchange::Exchange;
use crate::guard::Guard;
use crate::memory::Pool;
use crate::net::{self, Listener};
use crate::peer::Calls;
use crate::registry::{AcknowledgeRules, DiskSpace, Registry, RelayServer};
use crate::replication;
use crate::runtime::{InFlight, JoinHandle, Shutdown, notify_stopping, off_shard, spawn, timeout};
use crate::telemetry::Metrics;
use crate::{admin, api, blob, disk, exchange, raft};

/// How often the room on the disk is measured.
const ROOM_PERIOD: Duration = Duration::from_secs(1);

/// What a shard is made of; crosses to its thread.
pub(super) struct ShardParts {
    pub(super) blobs: blob::Shared,
    pub(super) journal: raft::Handle,
    pub(super) space: DiskSpace,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
    pub(super) pool_bytes: u32,
    pub(super) connections_max: usize,
    pub(super) grace: Duration,
    /// Held while requests are in flight here.
    pub(super) working: flume::Sender<Infallible>,
    /// Ends when no shard works any more.
    pub(super) all_idle: flume::Receiver<Infallible>,
    pub(super) is_delete_enabled: bool,
    pub(super) doors: exchange::Options,
    pub(super) api: api::Options,
    /// Who is let in.
    pub(super) access: Access,
    /// What comes from the raft core.
    pub(super) hall: Hall,
    /// What makes the node one of many, if it is.
    pub(super) membership: Option<Membership>,
    /// Makes copies of blobs, on one of many nodes.
    pub(super) copies: Option<replication::Shared>,
    /// Copies before a blob is acknowledged.
    pub(super) acknowledge: AcknowledgeRules,
    /// Whether what this node knew last is served without a quorum.
    pub(super) is_stale_served: bool,
    /// Where this shard listens; the first one may find the port.
    pub(super) listen: SocketAddr,
    /// How clients are let in there.
    pub(super) entry: Entry,
    /// Told the real address once the shard listens.
    pub(super) listening: flume::Sender<SocketAddr>,
    /// The operators' door, on the first shard only.
    pub(super) operators: Option<Operators>,
}

/// The operators' door of the first shard.
pub(super) struct Operators {
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// How operators are let in there.
    pub(super) entry: Entry,
    /// What it says about the phase of the node.
    pub(super) health: Health,
    /// Watches over the certificates, under TLS.
    pub(super) renewal: Option<Renewal>,
}

/// Runs a shard until shutdown: accepts, serves, then lets requests end.
///
/// - Errors: the address cannot be listened on.
pub(super) async fn run_shard(index: u16, mut parts: ShardParts) -> Result<(), net::Error> {
    let in_flight = InFlight::new();
    let (registry, peers) = open_registry(index, &parts, &in_flight);
    let serving = peers.clone().serve(&parts);
    let listener = Listener::bind(parts.listen)?;
    let door = open_door(registry, &parts, listener.address());
    let operators = match parts.operators.take() {
        Some(operators) => Some((Listener::bind(operators.listen)?, operators)),
        None => None,
    };
    let health = operators.as_ref().map(|(_, each)| each.health.clone());
    let connections = connections(&parts, &in_flight);
    let for_operators = connections.apart(OPERATOR_CONNECTIONS_MAX, OPERATOR_ENTRANTS_MAX);
    let served = [in_flight, for_operators.in_flight.clone()];
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    // Other nodes are answered for as long as clients are.
    let mut answering = None;
    if let Some((listener, operators)) = operators {
        let (health, entry) = (operators.health, operators.entry);
        let journal = parts.journal.clone();
        let probe = async move || journal.probe().await;
        let operations = operations(&parts);
        if let Some(calls) = parts.hall.calls.take() {
            let answers = peers.answer(calls, operations.clone(), parts.copies.clone());
            answering = Some(spawn(answers));
        }
        let robots = admin::Robots::new(parts.journal.clone(), parts.access.guard.is_asking());
        let door = admin::Door::new(Arc::clone(&parts.metrics), health, Some(operations), probe)
            .with_robots(robots);
        let handler = async move |exchange: &mut Exchange| door.handle(exchange).await;
        tasks.push(spawn(for_operators.accept(listener, entry, handler)).detach());
        if let Some(renewal) = operators.renewal {
            tasks.push(spawn(renewal.watch(parts.shutdown.clone())).detach());
        }
        let room = measure_room(
            parts.space.clone(),
            Arc::clone(&parts.metrics),
            parts.shutdown.clone(),
        );
        tasks.push(spawn(room).detach());
        let rates = measure_rates(Arc::clone(&parts.metrics), parts.shutdown.clone());
        tasks.push(spawn(rates).detach());
        let certificates = parts.membership.as_ref();
        if let Some(certificates) = certificates.and_then(|member| member.certificates.clone()) {
            let fresh = certificates.keep_fresh(parts.shutdown.clone());
            tasks.push(spawn(fresh).detach());
        }
    }
    // Nobody listens for the word when the start has failed elsewhere.
    if parts.listening.send(listener.address()).is_err() {
        return Ok(());
    }
    let handler = async move |exchange: &mut Exchange| door.handle(exchange).await;
    let entry = std::mem::take(&mut parts.entry);
    connections.accept(listener, entry, handler).await;
    if let Some(health) = health {
        health.stop();
        notify_stopping();
    }
    for task in tasks {
        drop(task.await);
    }
    wait_idle(index, parts.grace, &served).await;
    drop((answering, serving));
    // Another shard may work on an upload that this one owns.
    drop(parts.working);
    let _ = timeout(parts.grace, parts.all_idle.recv_async()).await;
    Ok(())
}

/// How this shard takes the connections of clients.
fn connections(parts: &ShardParts, in_flight: &InFlight) -> Connections {
    Connections {
        door: exchange::Door::open(
            parts.doors.clone(),
            Arc::clone(&parts.metrics),
            parts.shutdown.clone(),
        ),
        entering: Rc::new(exchange::Entering::new(SHARD_ENTRANTS_MAX)),
        in_flight: in_flight.clone(),
        metrics: Arc::clone(&parts.metrics),
        shutdown: parts.shutdown.clone(),
        open_max: parts.connections_max,
        listener: 0,
    }
}

/// The registry of this shard, and what of it serves other nodes.
fn open_registry(index: u16, parts: &ShardParts, in_flight: &InFlight) -> (Rc<Registry>, Peers) {
    let pool = Pool::new(parts.pool_bytes).with_metrics(Arc::clone(&parts.metrics));
    let machinery = blob::Machinery {
        pool: pool.clone(),
        directories: disk::Directories::new(),
        clock: Clock::system(),
        metrics: Arc::clone(&parts.metrics),
    };
    let store = blob::Store::new(parts.blobs.clone(), index, machinery);
    let (journal, space) = (parts.journal.clone(), parts.space.clone());
    let replicator = replicator(index, parts, &store);
    let mut registry = Registry::new(store, journal, space, parts.is_delete_enabled);
    if let Some(replicator) = &replicator {
        registry = registry.replicated(replicator.clone(), parts.acknowledge.clone());
    }
    if parts.is_stale_served {
        registry = registry.with_stale_reads();
    }
    if let Some(membership) = &parts.membership {
        registry = registry.relaying(relay(parts, membership, pool));
    }
    let registry = Rc::new(registry);
    let peers = Peers {
        replicator,
        relays: RelayServer::new(
            Rc::clone(&registry),
            parts.shutdown.clone(),
            Arc::clone(&parts.metrics),
        ),
        in_flight: in_flight.clone(),
        journal: parts.journal.clone(),
        links: InFlight::new(),
    };
    (registry, peers)
}

/// The door to the registry, and its guard. Clients find the door at `address`.
fn open_door(registry: Rc<Registry>, parts: &ShardParts, address: SocketAddr) -> api::Door {
    let metrics = Arc::clone(&parts.metrics);
    let realm = realm_at(address, parts.entry.entrance.tls.is_some());
    let access = parts.access.clone();
    let guard = Guard::new(access.guard, &realm, metrics).limited(access.quotas);
    api::Door::new(registry, Rc::new(guard), access.audit, parts.api.clone())
}

/// Lets requests end, for as long as they are given.
async fn wait_idle(shard: u16, grace: Duration, served: &[InFlight]) {
    let idle = async {
        for in_flight in served {
            in_flight.wait_zero().await;
        }
    };
    if timeout(grace, idle).await.is_err() {
        let count: usize = served.iter().map(InFlight::count).sum();
        tracing::warn!(
            shard,
            count,
            "connections were cut at the end of the grace period"
        );
    }
}

/// What operators may ask of this node.
fn operations(parts: &ShardParts) -> Operations {
    let (journal, space) = (parts.journal.clone(), parts.space.clone());
    let (copies, metrics) = (parts.copies.clone(), Arc::clone(&parts.metrics));
    let report = move || report(&journal, &space, &metrics, copies.as_ref());
    let alone = Operations::alone(parts.journal.clone(), report);
    match &parts.membership {
        None => alone,
        Some(membership) => {
            let calls = Calls::new(membership.security.clone(), Arc::clone(&parts.metrics));
            alone.member(calls, membership.fingerprint)
        }
    }
}

/// Keeps the fill level of the disk fresh, and shows it.
async fn measure_room(space: DiskSpace, metrics: Arc<Metrics>, shutdown: Shutdown) {
    loop {
        metrics.machine.disk_free_bytes.set(space.free_bytes());
        if timeout(ROOM_PERIOD, shutdown.wait()).await.is_ok() {
            return;
        }
        let measured = space.clone();
        match off_shard(move || measured.refresh()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the room on the disk cannot be measured"),
            Err(panic) => tracing::error!(%panic, "measuring the room on the disk panicked"),
        }
    }
}
