//! What a commit costs beside the disk alone: so many proposers at once against one
//! voter and against three, all in this process, and the same batches by a plain
//! write and `fdatasync`.
//!
//! Run with `cargo run --profile ci --example commits -- [SECONDS] [DIRECTORY]`. The
//! directory must be on the disk in question; each line says what was reached.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on must fail, and says what it found"
)]

use std::cell::Cell;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use windlass::base::units::to_u64;
use windlass::base::{Clock, random_bytes};
use windlass::metadata::{Command, NodeAddress};
use windlass::oci::{Algorithm, Digest, Repository};
use windlass::peer::{
    Call, Calls, ClusterId, PeerIdentity, PeerListener, Security, SharedSecret, serve_calls,
};
use windlass::raft::{self, Admission, Cluster, Handle, Identity, RaftService};
use windlass::runtime::{run_alone, sleep, spawn};
use windlass::telemetry::Metrics;

/// Proposers at once, one run each.
const PROPOSERS: [u64; 3] = [1, 16, 64];
/// Bytes of a raw record: what an entry of these changes has in the log.
const RECORD_BYTES: usize = 300;
/// Bytes of the file that raw records go into, all of them written before.
const RAW_BYTES: usize = 32 << 20;

/// A node of this process.
struct Node {
    /// How to ask it.
    handle: Handle,
    /// What it counts.
    metrics: Arc<Metrics>,
    /// Where it runs.
    thread: thread::JoinHandle<()>,
}

fn main() {
    let mut words = std::env::args().skip(1);
    let seconds = words.next().map_or(3, |text| text.parse().unwrap());
    let length = Duration::from_secs(seconds);
    let root = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let home = tempfile::tempdir_in(root).unwrap();
    println!("voters proposers   commits/s  p50 us  p99 us  entries/sync  raw/s  share");
    for voters in [1, 3] {
        let directory = home.path().join(format!("{voters}"));
        let nodes = nodes(&directory, voters);
        for proposers in PROPOSERS {
            measure(&nodes, proposers, length, home.path());
        }
        for node in nodes.iter().rev() {
            let ending = node.handle.clone();
            run_alone(move || async move { ending.shutdown().await });
        }
        for node in nodes {
            node.thread.join().unwrap();
        }
    }
}

/// One line of the table.
fn measure(nodes: &[Node], proposers: u64, length: Duration, directory: &Path) {
    let leader = nodes.iter().find(|node| node.handle.status().is_leader());
    let leader = leader.unwrap();
    let journal = &leader.metrics.journal;
    let counts = || {
        (
            journal.batch_entries.count(),
            journal.appended_entries.value(),
        )
    };
    let warm = Duration::from_millis(300);
    propose(leader.handle.clone(), proposers, warm);
    let before = counts();
    let (count, mut took) = propose(leader.handle.clone(), proposers, length);
    let after = counts();
    let syncs = (after.0 - before.0).max(1);
    let entries = as_float(after.1 - before.1) / as_float(syncs);
    took.sort_unstable();
    let at = |share: usize| {
        took.get(took.len() * share / 100)
            .map_or(0, Duration::as_micros)
    };
    let rate = as_float(count) / length.as_secs_f64();
    let batch = entries.round().max(1.0);
    let raw = raw(directory, batch, length.min(Duration::from_secs(1)));
    println!(
        "{:>6} {proposers:>9} {rate:>11.0} {:>7} {:>7} {entries:>13.1} {raw:>6.0} {:>5.0}%",
        nodes.len(),
        at(50),
        at(99),
        100.0 * rate / raw,
    );
}

/// Records a second by one write and one sync for every `batch` of them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small whole number"
)]
fn raw(directory: &Path, batch: f64, length: Duration) -> f64 {
    let bytes = vec![7; RECORD_BYTES * batch as usize];
    let file = File::create(directory.join("raw")).unwrap();
    file.write_all_at(&vec![0; RAW_BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let clock = Clock::system();
    let began = clock.now();
    let (mut offset, mut records) = (0, 0.0);
    while clock.now() - began < length {
        file.write_all_at(&bytes, to_u64(offset)).unwrap();
        file.sync_data().unwrap();
        offset = (offset + bytes.len()) % (RAW_BYTES - bytes.len());
        records += batch;
    }
    records / (clock.now() - began).as_secs_f64()
}

/// Proposes for so long, so many at a time; how many were committed, and how long
/// each took.
fn propose(handle: Handle, proposers: u64, length: Duration) -> (u64, Vec<Duration>) {
    run_alone(move || async move {
        let clock = Clock::system();
        let ends_at = clock.now() + length;
        let all = Rc::new(Cell::new((0, Vec::new())));
        let tasks: Vec<_> = (0..proposers)
            .map(|_| {
                let (handle, all) = (handle.clone(), Rc::clone(&all));
                spawn(async move {
                    while Clock::system().now() < ends_at {
                        let began = Clock::system().now();
                        handle.propose(link()).await.unwrap();
                        let (count, mut took) = all.take();
                        took.push(Clock::system().now() - began);
                        all.set((count + 1, took));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        all.take()
    })
}

/// A small change that is new each time.
fn link() -> Command {
    Command::LinkBlob {
        repository: Repository::parse("team/service").unwrap(),
        digest: Digest::of(Algorithm::Sha256, &random_bytes::<16>()),
        size_bytes: 4096,
        generation: 0,
        extent_checksums: vec![7],
        inline: None,
    }
}

/// Nodes that vote, the first of which leads.
fn nodes(directory: &Path, count: usize) -> Vec<Node> {
    let first = node(directory.join("0"), free_address());
    let mut nodes = vec![first];
    while nodes.len() < count {
        let (own, address) = (directory.join(nodes.len().to_string()), free_address());
        join(&directory.join("0"), &nodes, (&own, address));
        nodes.push(node(own, address));
    }
    let handle = nodes.first().unwrap().handle.clone();
    run_alone(move || async move {
        let voters = || {
            let members = handle.membership();
            members
                .nodes
                .iter()
                .filter(|member| member.is_voter)
                .count()
        };
        while voters() < count || handle.membership().is_changing {
            sleep(Duration::from_millis(10)).await;
        }
    });
    nodes
}

/// Admits a node through the first one and gives it its identity.
fn join(first: &Path, nodes: &[Node], (own, address): (&Path, SocketAddr)) {
    let node_uuid = random_bytes();
    let admission = Admission {
        node_uuid,
        address: NodeAddress::parse(&address.to_string()).unwrap(),
        is_voter: true,
        token: None,
    };
    let handle = nodes.first().unwrap().handle.clone();
    let id = run_alone(move || async move { handle.admit(admission).await.unwrap() });
    let cluster = std::fs::read_to_string(first.join("node.json")).unwrap();
    let cluster: Identity = serde_json::from_str(&cluster).unwrap();
    std::fs::create_dir_all(own).unwrap();
    Identity::join(own, &own.join("journal"), &cluster.cluster, node_uuid, id).unwrap();
}

/// Starts a node on an executor of its own.
fn node(home: PathBuf, address: SocketAddr) -> Node {
    std::fs::create_dir_all(&home).unwrap();
    let metrics = Arc::new(Metrics::new());
    let options = raft::Options::new(home, Arc::clone(&metrics));
    let (sender, started) = flume::bounded(1);
    let counted = Arc::clone(&metrics);
    let thread = thread::spawn(move || {
        run_alone(move || async move {
            let handle = start(options, address, counted).await;
            sender.send(handle.clone()).unwrap();
            handle.closed().await;
        });
    });
    Node {
        handle: started.recv().unwrap(),
        metrics,
        thread,
    }
}

/// Starts consensus, and serves the other nodes until the executor ends.
async fn start(options: raft::Options, address: SocketAddr, metrics: Arc<Metrics>) -> Handle {
    let opened = raft::open(&options).unwrap();
    let identity = PeerIdentity {
        cluster: ClusterId::parse(&opened.identity.cluster).unwrap(),
        node: opened.identity.raft_id,
    };
    let secret = SharedSecret::new(identity, b"the secret of a measurement").unwrap();
    let security = Security::Plain(secret);
    let listener = PeerListener::bind(address, Arc::clone(&metrics)).unwrap();
    let cluster = Cluster {
        calls: Calls::new(security.clone(), metrics),
        address: NodeAddress::parse(&address.to_string()).unwrap(),
    };
    let (handle, service) = raft::start(opened, options, Some(cluster)).await.unwrap();
    spawn(serve(listener, security, service)).detach();
    handle
}

/// Serves the calls of the other nodes.
async fn serve(listener: PeerListener, security: Security, service: RaftService) {
    let handler = Rc::new(async move |call: Call| service.handle(call).await);
    while let Ok(newcomer) = listener.accept().await {
        let (security, handler) = (security.clone(), Rc::clone(&handler));
        let serving = async move {
            if let Ok(link) = newcomer.authenticate(&security).await {
                serve_calls(link, handler).await;
            }
        };
        spawn(serving).detach();
    }
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A count to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
const fn as_float(count: u64) -> f64 {
    count as f64
}
