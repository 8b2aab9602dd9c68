//! Nodes in one process: each with two executors, a journal of its own, blobs in a
//! directory, and connections over the loopback. The journals are not replicated: a test
//! says what each of them learns.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use super::ahead::{Extent, Wanted, fly};
use super::sample::{Blob, GENERATION_ID, NOBODY_WAITS, content, repository, until};
use super::slow_link::{Fault, bad_link};
use super::{Options, Parts, Peer, Peers, Replicator, Room, Shared};
use crate::base::Clock;
use crate::base::units::{KIB, MIB};
use crate::blob::{self, Machinery, Sealed, Store};
use crate::metadata::{self, Command, FORMAT_LEVEL, Outcome};
use crate::oci::Algorithm;
use crate::peer::{
    Authority, Calls, ClusterId, PeerIdentity, PeerListener, PeerNode, Purpose, Security,
    SharedSecret, TlsMaterial, serve_calls,
};
use crate::raft;
use crate::runtime::{ExecutorHandle, ExecutorOptions, Place, Task, sleep, spawn, spawn_executor};
use crate::telemetry::Metrics;
use crate::transfer::TransferRequest;

const SHARDS: u16 = 2;
const POOL_BYTES: u32 = 16 * MIB;

type Job = Box<dyn FnOnce(Rc<World>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What a job on a shard can reach.
pub(super) struct World {
    pub(super) replicator: Replicator,
    pub(super) store: Store,
    pub(super) journal: raft::Handle,
    /// Tells replication as the state machine does.
    pub(super) changes: flume::Sender<raft::BlobChange>,
    tasks: RefCell<Vec<Task<()>>>,
}

/// A cluster whose nodes come and go.
pub(super) struct Cluster {
    roster: watch::Sender<Vec<Peer>>,
    /// Vouches for the nodes; without one they share a secret.
    authority: Option<Authority>,
    /// Formats that its nodes know.
    level: u32,
}

/// What is left of a node that was stopped.
pub(super) struct Remains {
    pub(super) id: u64,
    pub(super) directory: Rc<TempDir>,
    address: SocketAddr,
}

/// A running node.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) directory: Rc<TempDir>,
    pub(super) metrics: Arc<Metrics>,
    /// What it is told about its disk.
    pub(super) has_room: Arc<AtomicBool>,
    address: SocketAddr,
    shards: Vec<(flume::Sender<Job>, ExecutorHandle<()>)>,
}

impl Cluster {
    /// Whose nodes share a secret.
    pub(super) fn new() -> Self {
        Self {
            roster: watch::Sender::new(Vec::new()),
            authority: None,
            level: FORMAT_LEVEL,
        }
    }

    /// Whose nodes know older formats.
    pub(super) fn of_level(level: u32) -> Self {
        Self {
            level,
            ..Self::new()
        }
    }

    /// Whose nodes have certificates.
    pub(super) fn secured() -> Self {
        Self {
            authority: Some(Authority::make(cluster_id(), &Clock::system()).unwrap()),
            ..Self::new()
        }
    }

    /// Starts a fresh node.
    pub(super) fn start(&self, id: u64) -> Node {
        self.start_with(Options::new(id))
    }

    pub(super) fn start_with(&self, options: Options) -> Node {
        let remains = Remains {
            id: options.node,
            directory: Rc::new(tempfile::tempdir().unwrap()),
            address: "127.0.0.1:0".parse().unwrap(),
        };
        self.restart(remains, options)
    }

    /// Starts a node where it was.
    pub(super) fn restart(&self, remains: Remains, options: Options) -> Node {
        let Remains {
            id,
            directory,
            address,
        } = remains;
        let metrics = Arc::new(Metrics::new());
        let has_room = Arc::new(AtomicBool::new(true));
        let roster = self.roster.subscribe();
        let authority = self.authority.as_ref();
        let founding = Founding {
            options,
            security: authority.map_or_else(|| plain(id), |authority| tls(authority, id)),
            data_directory: directory.path().to_owned(),
            peers: Peers::new(move || roster.borrow().clone()),
            metrics: Arc::clone(&metrics),
            has_room: Arc::clone(&has_room),
            address,
            level: self.level,
        };
        let (founded, is_founded) = flume::bounded(1);
        let (jobs, inbox) = flume::unbounded();
        let first = spawn_executor(executor(id, 0), move || async move {
            let (world, next, address) = founding.found().await;
            founded.send((next, address)).unwrap();
            serve_jobs(world, inbox).await;
        });
        let mut shards = vec![(jobs, first.unwrap())];
        let (next, address) = is_founded.recv().unwrap();
        let (jobs, inbox) = flume::unbounded();
        let second = spawn_executor(executor(id, 1), move || async move {
            let world = next.enter(1);
            serve_jobs(world, inbox).await;
        });
        shards.push((jobs, second.unwrap()));
        let node = Node {
            id,
            directory,
            metrics,
            has_room,
            address,
            shards,
        };
        self.enlist(id, address);
        node
    }

    /// From now on others reach the node at `address`.
    pub(super) fn enlist(&self, id: u64, address: SocketAddr) {
        self.roster.send_modify(|roster| {
            roster.retain(|peer| peer.node.id != id);
            roster.push(Peer {
                node: PeerNode {
                    id,
                    address: address.to_string().into(),
                },
                is_voter: true,
            });
        });
    }

    /// From now on nobody knows of a node.
    pub(super) fn hide(&self, node: &Node) {
        let hide = |roster: &mut Vec<Peer>| roster.retain(|peer| peer.node.id != node.id);
        self.roster.send_modify(hide);
    }

    /// From now on others get no more than so many bytes a second from a node, on each
    /// connection. Ends with the process.
    pub(super) fn slow_down(&self, node: &Node, bytes_per_second: u64) {
        self.spoil(node, Fault::Slow(bytes_per_second));
    }

    /// From now on connections to a node have this fault; says where it is now. Ends with
    /// the process.
    pub(super) fn spoil(&self, node: &Node, fault: Fault) -> SocketAddr {
        let address = bad_link(node.address, fault);
        self.enlist(node.id, address);
        address
    }
}

fn executor(id: u64, shard: u16) -> ExecutorOptions {
    ExecutorOptions {
        name: format!("node-{id}-{shard}"),
        place: Place::Anywhere,
        region_bytes: POOL_BYTES + 64 * KIB,
        data_directory: Some(std::env::temp_dir()),
        is_panic_fatal: false,
        beat: None,
    }
}

fn cluster_id() -> ClusterId {
    ClusterId::parse(&"a".repeat(32)).unwrap()
}

fn plain(node: u64) -> Security {
    let cluster = cluster_id();
    let identity = PeerIdentity { cluster, node };
    let secret = SharedSecret::new(identity, b"the secret of the test").unwrap();
    Security::Plain(secret)
}

fn tls(authority: &Authority, node: u64) -> Security {
    let cluster = cluster_id();
    let identity = PeerIdentity { cluster, node };
    let credentials = authority.issue(node, &Clock::system()).unwrap();
    Security::Tls(TlsMaterial::member(identity, &credentials).unwrap())
}

/// What a node is founded with, on its first executor.
struct Founding {
    options: Options,
    security: Security,
    data_directory: PathBuf,
    peers: Peers,
    metrics: Arc<Metrics>,
    has_room: Arc<AtomicBool>,
    address: SocketAddr,
    level: u32,
}

/// What its shards are made of.
#[derive(Clone)]
struct Founded {
    shared: Shared,
    blobs: blob::Shared,
    journal: raft::Handle,
    metrics: Arc<Metrics>,
    security: Security,
    changes: flume::Sender<raft::BlobChange>,
}

impl Founding {
    async fn found(self) -> (Rc<World>, Founded, SocketAddr) {
        let (changes, blob_changes) = flume::unbounded();
        let mut raft_options = raft::Options::new(&self.data_directory, Arc::clone(&self.metrics));
        raft_options.blob_changes = Some(changes.clone());
        raft_options.format_level = self.level;
        let opened = raft::open(&raft_options).unwrap();
        let journal = raft::start(opened, raft_options, None).await.unwrap().0;
        let blob_options = blob::Options {
            data_directory: self.data_directory,
            node: self.options.node,
            shards: SHARDS,
            now_ms: Clock::system().unix_ms(),
            keeps_unknown: true,
        };
        let (blobs, _) = blob::open(&blob_options, |_, _| true).unwrap();
        let has_room = Arc::clone(&self.has_room);
        let shared = Shared::new(Parts {
            options: self.options,
            shards: SHARDS,
            journal: journal.clone(),
            blob_changes,
            fill: raft::Fill::default(),
            peers: self.peers,
            room: Room::new(move || has_room.load(Ordering::Relaxed)),
            security: self.security.clone(),
            metrics: Arc::clone(&self.metrics),
        });
        let bind = |address| PeerListener::bind(address, Arc::clone(&self.metrics));
        // Another test may have got the port while the node was away.
        let listener = bind(self.address).or_else(|_| bind("127.0.0.1:0".parse().unwrap()));
        let listener = listener.unwrap();
        let address = listener.address();
        let founded = Founded {
            shared,
            blobs,
            journal,
            metrics: self.metrics,
            security: self.security,
            changes,
        };
        let world = founded.clone().enter(0);
        let replicator = world.replicator.clone();
        let accepting = spawn(accept(listener, founded.clone(), replicator));
        world.tasks.borrow_mut().push(accepting);
        (world, founded, address)
    }
}

impl Founded {
    fn enter(self, shard: u16) -> Rc<World> {
        let machinery = Machinery::of_test(POOL_BYTES, Arc::clone(&self.metrics));
        let store = Store::new(self.blobs.clone(), shard, machinery);
        let calls = Calls::new(self.security.clone(), Arc::clone(&self.metrics));
        let replicator = Replicator::new(self.shared.clone(), shard, store.clone(), calls);
        Rc::new(World {
            replicator,
            store,
            journal: self.journal,
            changes: self.changes,
            tasks: RefCell::default(),
        })
    }
}

async fn accept(listener: PeerListener, founded: Founded, replicator: Replicator) {
    let shared = founded.shared.clone();
    let handler = Rc::new(async move |call| shared.handle_call(call).await);
    let mut serving = Vec::new();
    loop {
        let newcomer = listener.accept().await.unwrap();
        let purpose = newcomer.purpose;
        let Ok(link) = newcomer.authenticate(&founded.security).await else {
            continue;
        };
        let (replicator, handler) = (replicator.clone(), Rc::clone(&handler));
        serving.push(spawn(async move {
            if purpose == Purpose::Transfer {
                replicator.serve_transfer(link).await;
            } else {
                serve_calls(link, handler).await;
            }
        }));
    }
}

async fn serve_jobs(world: Rc<World>, inbox: flume::Receiver<Job>) {
    while let Ok(job) = inbox.recv_async().await {
        spawn(job(Rc::clone(&world))).detach();
    }
    let tasks = world.tasks.take();
    for task in tasks {
        task.cancel().await;
    }
    // What is dropped here closes its sockets when the rings are looked at again.
    drop(world);
    sleep(Duration::from_millis(50)).await;
}

impl Node {
    /// Begins a job on a shard; its output comes through the channel.
    pub(super) fn begin<T, F>(
        &self,
        shard: usize,
        job: impl FnOnce(Rc<World>) -> F + Send + 'static,
    ) -> flume::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (done, output) = flume::bounded(1);
        let job: Job = Box::new(move |world| {
            let job = job(world);
            Box::pin(async move { drop(done.send(job.await)) })
        });
        self.shards[shard].0.send(job).unwrap();
        output
    }

    /// Runs a job on a shard.
    pub(super) fn on<T, F>(
        &self,
        shard: usize,
        job: impl FnOnce(Rc<World>) -> F + Send + 'static,
    ) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let output = self.begin(shard, job).recv_timeout(NOBODY_WAITS);
        output.expect("the job ended in time")
    }

    pub(super) fn propose(&self, command: Command) -> Outcome {
        self.on(0, |world| async move {
            world.journal.propose(command).await.unwrap()
        })
    }

    /// Receives a blob as from a client, and seals it.
    pub(super) fn push(&self, blob: &Blob) {
        let blob = blob.clone();
        self.on(1, |world| async move {
            push(&world, &blob).await.commit().await;
        });
    }

    /// Its journal has the blob, and says that `holders` have the file.
    pub(super) fn learn(&self, blob: &Blob, holders: &[u64]) {
        let outcome = self.propose(blob.link());
        assert!(matches!(outcome, Outcome::BlobLinked { .. }), "{outcome:?}");
        for node in holders {
            self.propose(Command::Holders {
                node: *node,
                add: vec![blob.digest],
                remove: Vec::new(),
            });
        }
    }

    /// Asks whoever is at `address` for the first extent of a blob, as one that is to
    /// come ahead, within a limit for its bytes.
    pub(super) fn asks(
        &self,
        (id, address): (u64, SocketAddr),
        blob: &Blob,
        limit: Duration,
    ) -> Result<(), String> {
        let source = PeerNode {
            id,
            address: address.to_string().into(),
        };
        let bytes = blob.size().min(MIB.into());
        let wanted = Wanted {
            request: TransferRequest {
                digest: blob.digest,
                generation: blob.file().generation,
                offset: 0,
                bytes,
            },
            size_bytes: blob.size(),
            answer_limit: None,
            limit,
        };
        self.on(0, move |world| async move {
            let worker = world.replicator.worker();
            let room = vec![Extent::try_new(worker, bytes).unwrap()];
            let flown = fly(Rc::clone(worker), source, wanted, room).await;
            flown.map(drop).map_err(|error| error.to_string())
        })
    }

    /// Has pushed the blob itself.
    pub(super) fn own(&self, blob: &Blob) {
        self.push(blob);
        self.learn(blob, &[self.id]);
    }

    /// Where the file of a blob is, or would be.
    pub(super) fn path(&self, blob: &Blob) -> PathBuf {
        self.directory.path().join(blob.name())
    }

    pub(super) fn has(&self, blob: &Blob) -> bool {
        self.path(blob).exists()
    }

    /// Waits until the blob is here, and compares it.
    pub(super) fn receives(&self, blob: &Blob) {
        until("the blob is here", || self.has(blob));
        assert!(content(&self.path(blob)) == *blob.content, "other bytes");
    }

    /// Whether its journal says that `node` holds the blob.
    pub(super) fn knows_holder(&self, blob: &Blob, node: u64) -> bool {
        let digest = blob.digest;
        self.on(0, move |world| async move {
            metadata::is_holder(&world.journal.view(), &digest, node).unwrap()
        })
    }

    /// Ends the node: connections break, nothing is put in order but the journal.
    pub(super) fn stop(self) -> Remains {
        self.on(0, |world| async move { world.journal.shutdown().await });
        for (jobs, executor) in self.shards {
            drop(jobs);
            executor.join().unwrap();
        }
        Remains {
            id: self.id,
            directory: self.directory,
            address: self.address,
        }
    }
}

/// Receives and seals a blob on a shard.
pub(super) async fn push(world: &World, blob: &Blob) -> Sealed {
    let mut upload = world.store.receive(&repository(), Algorithm::Sha256);
    let mut rest = &blob.content[..];
    while !rest.is_empty() {
        let space = upload.space().await.unwrap();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        upload.advance(count).await.unwrap();
        rest = &rest[count..];
    }
    upload.seal(&blob.digest, GENERATION_ID).await.unwrap()
}
