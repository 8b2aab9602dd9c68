//! A state that is far larger than memory should be travels to a fresh node, over a
//! connection that breaks in the middle, and costs neither node more memory than a
//! small one does.
//!
//! `WINDLASS_SNAPSHOT_TAGS` asks for so many tags instead of large manifests.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use windlass::base::units::to_u64;
use windlass::metadata::{Command, Expected, Outcome, PutManifest};
use windlass::oci::{Algorithm, Digest, MediaType, Repository, Tag};
use windlass::raft;
use windlass::runtime::{run_alone, sleep, spawn};
use windlass::telemetry::Metrics;

use crate::support::{
    Client, Cluster, Member, NodeOptions, Random, Registry, Request, digest_of, said, wait_for,
};

const NAME: &str = "large/app";
/// Proposals under way while the state is filled.
const PROPOSERS: u64 = 4;
/// Entries between two snapshots while the state is filled, and left in the log
/// behind them.
const SNAPSHOT_ENTRIES: u64 = 50;
/// Tags of one manifest where the load is tags.
const TAGS_EACH: u64 = 500;
/// What either node may have in memory at most, whatever the state holds. A node at
/// rest has 60 to 135 MiB, by what its databases replayed at its start; the frames of
/// a snapshot, and parts of it on their way, come to some ten more.
const RESIDENT_BYTES_MAX: u64 = 192 * 1024 * 1024;
/// The whole way of a snapshot on a slow machine.
const INSTALLED_MAX: Duration = Duration::from_secs(180);
/// A node that rests has ended by then.
const ENDED_MAX: Duration = Duration::from_secs(30);
/// How long nobody reaches the fresh node.
const CUT: Duration = Duration::from_secs(2);

/// What the state is made of.
#[derive(Debug, Clone, Copy)]
struct Load {
    manifests: u64,
    manifest_bytes: usize,
    tags_each: u64,
}

impl Load {
    /// More than a gibibyte in manifests, or as many tags as are asked for.
    fn chosen() -> Self {
        let tags = std::env::var("WINDLASS_SNAPSHOT_TAGS");
        tags.map_or(
            Self {
                manifests: 270,
                manifest_bytes: 4_000_000,
                tags_each: 1,
            },
            |tags| Self {
                manifests: tags.parse::<u64>().expect("a number").div_ceil(TAGS_EACH),
                manifest_bytes: 1000,
                tags_each: TAGS_EACH,
            },
        )
    }

    /// Bytes that a snapshot has at least.
    fn bytes(self) -> u64 {
        let tags = self.manifests * self.tags_each;
        self.manifests * to_u64(self.manifest_bytes) + tags * 100
    }

    /// A manifest of its own for every number. The journal does not care what it says.
    fn manifest(self, base: &[u8], number: u64) -> Vec<u8> {
        let mut bytes = base[..self.manifest_bytes].to_vec();
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    fn tag(number: u64, at: u64) -> String {
        format!("v{number:06}.{at}")
    }
}

/// Puts a load into the state of a cluster's only node while it rests, through the
/// journal and the raft core, as the node itself would: two million requests take
/// longer than anybody waits.
fn fill(data_directory: &Path, load: Load, base: &Arc<Vec<u8>>) {
    let mut options = raft::Options::new(data_directory, Arc::new(Metrics::new()));
    options.snapshot_entries = SNAPSHOT_ENTRIES;
    options.log_entries_kept = SNAPSHOT_ENTRIES;
    let base = Arc::clone(base);
    run_alone(move || async move {
        let opened = raft::open(&options).expect("the journal of a node that rests");
        let (handle, _) = raft::start(opened, options, None).await.expect("it leads");
        let proposers: Vec<_> = (0..PROPOSERS)
            .map(|first| {
                let (handle, base) = (handle.clone(), Arc::clone(&base));
                spawn(async move {
                    for number in (first..load.manifests).step_by(to_index(PROPOSERS)) {
                        let outcome = handle.propose(put(load, &base, number)).await;
                        let outcome = outcome.expect("a change is taken");
                        assert!(matches!(outcome, Outcome::Stored { .. }), "{outcome:?}");
                    }
                })
            })
            .collect();
        for proposer in proposers {
            proposer.await.expect("a proposer ends");
        }
        // A fresh node that found the whole log would need no snapshot.
        let began = Instant::now();
        while handle.status().purged_index.is_none() && began.elapsed() < ENDED_MAX {
            sleep(Duration::from_millis(50)).await;
        }
        assert!(handle.status().purged_index.is_some(), "nothing is purged");
        handle.shutdown().await;
    });
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

fn put(load: Load, base: &[u8], number: u64) -> Command {
    let bytes = load.manifest(base, number);
    let tag = |at| Tag::parse(&Load::tag(number, at)).expect("a tag");
    Command::PutManifest(Box::new(PutManifest {
        repository: Repository::parse(NAME).expect("a name"),
        digest: Digest::of(Algorithm::Sha256, &bytes),
        media_type: MediaType::parse(MediaType::OCI_MANIFEST).expect("a type"),
        bytes: bytes.into(),
        parts: Vec::new(),
        referrer: None,
        tags: (0..load.tags_each).map(tag).collect(),
        expected: Expected::Any,
    }))
}

/// A wire to a node that counts, and that can be cut.
struct Wire {
    address: SocketAddr,
    target: OnceLock<SocketAddr>,
    passed_bytes: AtomicU64,
    /// Connections end when this many bytes have passed.
    cut_at_bytes: u64,
    is_cut: AtomicBool,
}

impl Wire {
    fn start(cut_at_bytes: u64) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        let wire = Arc::new(Self {
            address: listener.local_addr().expect("a bound address"),
            target: OnceLock::new(),
            passed_bytes: AtomicU64::new(0),
            cut_at_bytes,
            is_cut: AtomicBool::new(false),
        });
        let served = Arc::clone(&wire);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                served.join(&near);
            }
        });
        wire
    }

    fn join(self: &Arc<Self>, near: &TcpStream) {
        let target = self.target.get().filter(|_| !self.is_cut());
        let Some(Ok(far)) = target.map(TcpStream::connect) else {
            return;
        };
        drop((near.set_nodelay(true), far.set_nodelay(true)));
        let ends = [(near, &far), (&far, near)];
        for (is_inward, (from, to)) in [true, false].into_iter().zip(ends) {
            let (from, to) = (from.try_clone(), to.try_clone());
            let (from, to) = (from.expect("a handle"), to.expect("a handle"));
            let wire = Arc::clone(self);
            thread::spawn(move || wire.pass(from, to, is_inward));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_inward: bool) {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if self.is_cut() || to.write_all(&buffer[..count]).is_err() {
                break;
            }
            if is_inward {
                let before = self
                    .passed_bytes
                    .fetch_add(to_u64(count), Ordering::Relaxed);
                let after = before + to_u64(count);
                if before < self.cut_at_bytes && after >= self.cut_at_bytes {
                    self.is_cut.store(true, Ordering::Relaxed);
                }
            }
        }
        for end in [from, to] {
            drop(end.shutdown(Shutdown::Both));
        }
    }

    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    fn heal(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
    }

    fn passed_bytes(&self) -> u64 {
        self.passed_bytes.load(Ordering::Relaxed)
    }
}

/// The value of a metric without labels.
fn metric(member: &Member, name: &str) -> u64 {
    let mut client = Client::new(member.node.admin_address);
    let Ok(page) = client.try_send(&Request::new("GET", "/metrics")) else {
        return 0;
    };
    let page = String::from_utf8(page.body).expect("text");
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

/// Lets the largest resident size count from now on.
fn forget_peak(member: &Member) {
    let path = format!("/proc/{}/clear_refs", member.node.pid());
    std::fs::write(path, "5").expect("a process of our own");
}

/// Prepares a node that the others reach over the wire.
fn behind(wire: &Wire) -> Member {
    let advertised = wire.address.to_string();
    let member = Member::prepare(NodeOptions {
        environment: vec![("WINDLASS_CLUSTER__ADVERTISE".to_owned(), advertised)],
        ..NodeOptions::default()
    });
    wire.target.set(member.peer_address).expect("set once");
    member
}

#[test]
fn a_snapshot_larger_than_memory_should_be_reaches_a_fresh_node() {
    let load = Load::chosen();
    let base = Arc::new(Random::new(7).bytes(load.manifest_bytes));
    let began = Instant::now();
    let mut cluster = Cluster::start(1);
    let ended = cluster.nodes[0].node.terminate(ENDED_MAX);
    assert!(ended.success(), "{ended}");
    let directory = cluster.nodes[0].node.data_dir.clone();
    thread::spawn({
        let base = Arc::clone(&base);
        move || fill(&directory, load, &base)
    })
    .join()
    .expect("the state is filled");
    println!("filled after {:?}", began.elapsed());
    cluster.nodes[0].node.spawn();
    cluster.nodes[0].node.wait_ready();
    println!("restarted after {:?}", began.elapsed());

    let wire = Wire::start(load.bytes() / 2);
    let mut fresh = behind(&wire);
    let joined = cluster.join(&fresh, &cluster.token());
    assert!(joined.status.success(), "join: {}", said(&joined));
    forget_peak(&cluster.nodes[0]);
    let rests = cluster.nodes[0].node.resident_bytes();
    fresh.node.spawn();
    assert!(wait_for(INSTALLED_MAX, || wire.is_cut()), "nothing came");
    println!("cut after {:?}", began.elapsed());
    thread::sleep(CUT);
    wire.heal();
    let installed = || metric(&fresh, "windlass_raft_snapshots_installed_total") == 1;
    assert!(wait_for(INSTALLED_MAX, installed), "it is not installed");
    println!("installed after {:?}", began.elapsed());
    fresh.node.wait_ready();

    check_tags(&fresh, load, &base);
    let sent_bytes = metric(&cluster.nodes[0], "windlass_raft_snapshot_sent_bytes_total");
    println!(
        "{sent_bytes} bytes of snapshot, {} passed; sender: {rests} at rest, {} at most; \
         receiver: {} at most",
        wire.passed_bytes(),
        cluster.nodes[0].node.resident_bytes_peak(),
        fresh.node.resident_bytes_peak()
    );
    assert!(sent_bytes >= load.bytes(), "a snapshot of {sent_bytes}");
    // Had it begun again, half of it would have passed twice.
    assert!(wire.passed_bytes() < sent_bytes + sent_bytes / 4);
    for member in [&cluster.nodes[0], &fresh] {
        let peak = member.node.resident_bytes_peak();
        assert!(peak < RESIDENT_BYTES_MAX, "{peak} bytes in memory");
    }
    cluster.nodes.push(fresh);
    cluster.wait_voters(2);
}

/// A sample of the tags, read through the fresh node.
fn check_tags(fresh: &Member, load: Load, base: &[u8]) {
    let mut registry = Registry::new(fresh.node.address);
    for number in (0..load.manifests).step_by(17) {
        let tag = Load::tag(number, number % load.tags_each);
        let target = format!("/v2/{NAME}/manifests/{tag}");
        let expected = digest_of("sha256", &load.manifest(base, number));
        let answer = registry.call("HEAD", &target).expect(200);
        assert_eq!(answer.only("Docker-Content-Digest"), expected, "{tag}");
        let answer = registry.get(&target).expect(200);
        assert_eq!(digest_of("sha256", &answer.body), expected, "{tag}");
    }
    let (first, last) = (Load::tag(0, 0), Load::tag(load.manifests - 1, 0));
    let listed = registry
        .get(&format!("/v2/{NAME}/tags/list?n=1"))
        .expect(200);
    assert_eq!(listed.json()["tags"][0], first.as_str());
    registry
        .call("HEAD", &format!("/v2/{NAME}/manifests/{last}"))
        .expect(200);
}
