//! Nodes of a cluster in one process, for the tests of this room: each on an
//! executor of its own, with real connections on the loopback and a real journal.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::suite_tests::{is_linked, link};
use super::{
    Admission, Cluster, Handle, Identity, Members, Opened, Options, ProposeError, RaftService,
    StateView, open, start,
};
use crate::base::units::to_u64;
use crate::base::{Clock, random_bytes};
use crate::journal::Journal;
use crate::metadata::{NodeAddress, Outcome, View, state_hash};
use crate::oci::{Algorithm, Digest};
use crate::peer::{
    Call, Calls, ClusterId, PeerIdentity, PeerListener, Refusal, Security, SharedSecret,
    serve_calls,
};
use crate::runtime::{
    ExecutorHandle, ExecutorOptions, Place, Task, sleep, spawn, spawn_executor, timeout,
};
use crate::telemetry::Metrics;

#[path = "cluster_crash_test.rs"]
mod cluster_crash_tests;
#[path = "cluster_test.rs"]
mod cluster_tests;
#[path = "crash_test.rs"]
mod crash_tests;
#[path = "level_test.rs"]
mod level_tests;
#[path = "membership_test.rs"]
mod membership_tests;
#[path = "rpc_test.rs"]
mod rpc_tests;

/// Longer than anything in a test should take.
pub(super) const NOBODY_WAITS: Duration = Duration::from_secs(40);

/// How a node ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// In order.
    Shutdown,
    /// Without a word: its connections close, and whatever it was doing stops.
    Kill,
}

/// A node that runs.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) handle: Handle,
    pub(super) metrics: Arc<Metrics>,
    journal: Journal,
    home: Home,
    end: flume::Sender<End>,
    executor: ExecutorHandle<()>,
}

/// What stays of a node that does not run.
pub(super) struct Home {
    directory: TempDir,
    /// Where it listens.
    address: SocketAddr,
    /// Where others are told to find it.
    told: SocketAddr,
    tune: fn(&mut Options),
}

impl Home {
    fn new(tune: fn(&mut Options)) -> Self {
        let address = free_address();
        Self {
            directory: tempfile::tempdir().unwrap(),
            address,
            told: address,
            tune,
        }
    }

    /// Has the node listen elsewhere from now on.
    pub(super) fn move_out(&mut self) {
        self.address = free_address();
        self.told = self.address;
    }

    pub(super) fn options(&self) -> Options {
        Self::options_in(self.directory.path(), self.tune)
    }

    fn options_in(directory: &Path, tune: fn(&mut Options)) -> Options {
        let mut options = Options::new(directory, Arc::new(Metrics::new()));
        options.journal.memtable_bytes = 1024 * 1024;
        tune(&mut options);
        options
    }

    /// Its folder, and where it listens.
    fn place(&self) -> (PathBuf, SocketAddr) {
        (self.directory.path().to_owned(), self.address)
    }

    /// Starts the node that lives here.
    pub(super) fn start(self) -> Node {
        let options = self.options();
        let metrics = Arc::clone(&options.metrics);
        let (address, told) = (self.address, self.told);
        let (started, is_started) = flume::bounded(1);
        let (end, ended) = flume::bounded(1);
        let executor = ExecutorOptions {
            name: "node".to_owned(),
            place: Place::Anywhere,
            region_bytes: 64 * 1024,
            data_directory: None,
            is_panic_fatal: false,
            beat: None,
        };
        let executor = spawn_executor(executor, move || async move {
            let (handle, journal, (service, serving)) = run((address, told), options).await;
            started.send((handle.clone(), journal)).unwrap();
            let ending = async { ended.recv_async().await.unwrap_or(End::Kill) };
            let closed = async {
                handle.closed().await;
                End::Shutdown
            };
            let told = futures_lite::future::or(ending, closed).await;
            match told {
                End::Shutdown => handle.shutdown().await,
                End::Kill => {}
            }
            serving.cancel().await;
            // Tasks that are left at the end of an executor are never dropped, and
            // with them what they hold of the journal.
            for _ in 0..200 {
                if matches!(told, End::Kill) || service.is_last() {
                    break;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        let executor = executor.unwrap();
        let (handle, journal) = is_started.recv().unwrap();
        Node {
            id: handle.status().node,
            handle,
            journal,
            metrics,
            home: self,
            end,
            executor,
        }
    }
}

/// Starts consensus and serves the peer port until the task is dropped.
async fn run(
    (address, told): (SocketAddr, SocketAddr),
    options: Options,
) -> (Handle, Journal, (RaftService, Task<()>)) {
    let opened = reopen(&options).await;
    let journal = opened.journal.journal.clone();
    let metrics = Arc::clone(&options.metrics);
    let security = security(&opened.identity);
    let listener = PeerListener::bind(address, Arc::clone(&metrics)).unwrap();
    let cluster = Cluster {
        calls: Calls::new(security.clone(), metrics),
        address: NodeAddress::parse(&told.to_string()).unwrap(),
    };
    let (handle, service) = start(opened, options, Some(cluster)).await.unwrap();
    let serving_with = service.clone();
    let serving = spawn(async move {
        let handler = Rc::new(handler(serving_with));
        let mut links = Vec::new();
        while let Ok(newcomer) = listener.accept().await {
            let (security, handler) = (security.clone(), Rc::clone(&handler));
            links.push(spawn(async move {
                if let Ok(link) = newcomer.authenticate(&security).await {
                    serve_calls(link, handler).await;
                }
            }));
        }
    });
    (handle, journal, (service, serving))
}

/// Opens a journal whose threads may still be closing it.
async fn reopen(options: &Options) -> Opened {
    for _ in 0..1000 {
        if let Ok(opened) = open(options) {
            return opened;
        }
        sleep(Duration::from_millis(10)).await;
    }
    open(options).unwrap()
}

fn handler(service: RaftService) -> impl AsyncFn(Call) -> Result<Bytes, Refusal> + 'static {
    async move |call: Call| service.handle(call).await
}

/// What the nodes of a test's cluster prove themselves with.
pub(super) fn security(identity: &Identity) -> Security {
    let identity = PeerIdentity {
        cluster: ClusterId::parse(&identity.cluster).unwrap(),
        node: identity.raft_id,
    };
    Security::Plain(SharedSecret::new(identity, b"the secret of the test").unwrap())
}

impl Node {
    /// The first node of a new cluster.
    pub(super) fn found(tune: fn(&mut Options)) -> Self {
        Home::new(tune).start()
    }

    /// Admits a machine through this node and starts it.
    pub(super) async fn admit(&self, is_voter: bool) -> Self {
        self.admit_home(is_voter, Home::new(self.home.tune)).await
    }

    /// As [`Node::admit`], with every connection to the new node cut after
    /// `connection_bytes`; returns the account of what came through.
    pub(super) async fn admit_behind_cuts(&self, connection_bytes: u64) -> (Self, Arc<AtomicU64>) {
        let mut home = Home::new(self.home.tune);
        let (told, passed) = cutting_wire(home.address, connection_bytes, Arc::default());
        home.told = told;
        (self.admit_home(false, home).await, passed)
    }

    /// As [`Node::admit`], where nobody reaches the new node while the flag is set; it
    /// reaches the others.
    pub(super) async fn admit_behind_switch(&self) -> (Self, Arc<AtomicBool>) {
        let mut home = Home::new(self.home.tune);
        let is_cut = Arc::new(AtomicBool::new(false));
        (home.told, _) = cutting_wire(home.address, u64::MAX, Arc::clone(&is_cut));
        (self.admit_home(false, home).await, is_cut)
    }

    async fn admit_home(&self, is_voter: bool, home: Home) -> Self {
        let node_uuid = random_bytes();
        let admission = Admission {
            node_uuid,
            address: NodeAddress::parse(&home.told.to_string()).unwrap(),
            is_voter,
            token: None,
        };
        let id = self.handle.admit(admission).await.unwrap();
        let (directory, journal) = (home.directory.path(), home.options().journal.directory);
        let cluster = self.identity().cluster;
        Identity::join(directory, &journal, &cluster, node_uuid, id).unwrap();
        home.start()
    }

    /// Who this node is.
    pub(super) fn identity(&self) -> Identity {
        let text = std::fs::read_to_string(self.home.directory.path().join("node.json"));
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    /// Where snapshots pass through.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.home.options().journal.directory.join("snapshots")
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.home.address
    }

    /// Holds the journal up until the gate is dropped.
    pub(super) async fn hold_journal(&self) -> flume::Sender<()> {
        let (gate, held) = flume::bounded::<()>(0);
        let holding = Box::new(move |_| {
            // Ends with the gate, by an error.
            let _ = held.recv();
        });
        self.journal.purge(0, Bytes::new(), holding).await.unwrap();
        gate
    }

    /// Ends the node in order; it can start again.
    pub(super) fn stop(self) -> Home {
        self.end(End::Shutdown)
    }

    /// Ends the node like a machine that is switched off. It cannot start again
    /// in this process, which still holds its databases.
    pub(super) fn kill(self) -> Home {
        self.end(End::Kill)
    }

    fn end(self, end: End) -> Home {
        // It may have ended by itself.
        let _ = self.end.try_send(end);
        self.executor.join().unwrap();
        self.home
    }

    /// Commits the change of [`link`].
    pub(super) async fn propose(&self, number: u64) -> Result<(), ProposeError> {
        let outcome = self.handle.propose(link(number)).await?;
        assert!(matches!(outcome, Outcome::BlobLinked { .. }), "{outcome:?}");
        Ok(())
    }

    /// Whether the change of [`link`] is there for somebody who reads it after all
    /// that was acknowledged.
    pub(super) async fn reads(&self, number: u64) -> bool {
        self.handle.read_index().await.unwrap();
        self.holds(number)
    }

    /// Whether the change of [`link`] is applied on this node.
    pub(super) fn holds(&self, number: u64) -> bool {
        is_linked(&self.handle.view(), number)
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// Passes connections on to `target`, and cuts each after so many bytes to it, and all
/// while `is_cut`.
fn cutting_wire(
    target: SocketAddr,
    connection_bytes: u64,
    is_cut: Arc<AtomicBool>,
) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&passed);
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let Ok(far) = TcpStream::connect(target) else {
                continue;
            };
            let (from, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (counted, cuts) = (Arc::clone(&counted), [(); 2].map(|()| Arc::clone(&is_cut)));
            let [cut_from, cut_to] = cuts;
            std::thread::spawn(move || pass((from, to), u64::MAX, &AtomicU64::new(0), &cut_from));
            std::thread::spawn(move || pass((far, near), connection_bytes, &counted, &cut_to));
        }
    });
    (address, passed)
}

/// Copies to the first what the second sends, up to `bytes_max`; then both are cut.
fn pass(
    (mut target, mut source): (TcpStream, TcpStream),
    bytes_max: u64,
    passed: &AtomicU64,
    is_cut: &AtomicBool,
) {
    let (mut buffer, mut left) = (vec![0; 64 * 1024], bytes_max);
    while left > 0 && !is_cut.load(Ordering::Relaxed) {
        let Ok(read @ 1..) = source.read(&mut buffer) else {
            break;
        };
        if is_cut.load(Ordering::Relaxed) || target.write_all(&buffer[..read]).is_err() {
            break;
        }
        passed.fetch_add(to_u64(read), Ordering::Relaxed);
        left = left.saturating_sub(to_u64(read));
    }
    for end in [source, target] {
        // It may have been cut from the other side.
        drop(end.shutdown(Shutdown::Both));
    }
}

/// Ends nodes in order, the leader last: it has nobody left to wait for.
pub(super) fn stop(mut nodes: Vec<Node>) -> Vec<Home> {
    nodes.sort_by_key(|node| node.handle.status().is_leader());
    nodes.into_iter().map(Node::stop).collect()
}

/// A cluster of `count` voters.
pub(super) async fn cluster(count: usize, tune: fn(&mut Options)) -> Vec<Node> {
    let mut nodes = vec![Node::found(tune)];
    while nodes.len() < count {
        let node = nodes[0].admit(true).await;
        nodes.push(node);
    }
    until_members(&nodes[0], "all nodes vote", |members| {
        members
            .nodes
            .iter()
            .filter(|member| member.is_voter)
            .count()
            == count
    })
    .await;
    nodes
}

/// Waits until `is_so`.
pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let began = clock.now();
    while !is_so() {
        assert!(began.elapsed() < NOBODY_WAITS, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the membership that a node knows is as wanted.
pub(super) async fn until_members(
    node: &Node,
    what: &str,
    mut is_so: impl FnMut(&Members) -> bool,
) {
    until(what, || {
        let members = node.handle.membership();
        !members.is_changing && is_so(&members)
    })
    .await;
}

/// The node that leads, once one does and all of them say so.
pub(super) async fn leader(nodes: &[Node]) -> usize {
    let mut found = None;
    until("one node leads", || {
        let leaders: Vec<_> = nodes
            .iter()
            .map(|node| node.handle.status().leader)
            .collect();
        let leads = nodes
            .iter()
            .position(|node| node.handle.status().is_leader());
        found = leads.filter(|leads| {
            leaders
                .iter()
                .all(|leader| *leader == Some(nodes[*leads].id))
        });
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Waits until the nodes have applied the same entries, and checks that this made
/// them equal: by the running hash, and by every key and value.
pub(super) async fn agree(nodes: &[Node]) {
    let mut views = Vec::new();
    until("all nodes have applied the same", || {
        views = nodes.iter().map(|node| node.handle.view()).collect();
        let applied = |view: &StateView| view.0.applied().unwrap().unwrap().index;
        let newest = nodes
            .iter()
            .filter_map(|node| node.handle.status().last_index);
        let newest = newest.max().unwrap();
        views.iter().all(|view| applied(view) == newest)
    })
    .await;
    let digests: Vec<_> = views.iter().map(digest).collect();
    assert!(
        digests.windows(2).all(|two| two[0] == two[1]),
        "{digests:?}"
    );
}

/// The running hash, and a digest over everything in the state.
fn digest(view: &StateView) -> ([u8; 32], Digest, usize) {
    let (mut all, mut count) = (Vec::new(), 0);
    view.scan(&[1], &[0xff; 8], &mut |key, value| {
        for part in [key, value] {
            all.extend(part.len().to_le_bytes());
            all.extend(part);
        }
        count += 1;
        true
    })
    .unwrap();
    let digest = Digest::of(Algorithm::Sha256, &all);
    (state_hash(view).unwrap(), digest, count)
}

/// Waits for a future, but not for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = timeout(NOBODY_WAITS, future).await;
    outcome.unwrap_or_else(|elapsed| panic!("{what}: {elapsed}"))
}
