//! Two nodes in one process, with a journal and a store each, that relay uploads to
//! each other over the loopback.

use super::*;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::zip;
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::base::Clock;
use crate::base::units::{MIB, to_u64};
use crate::blob::{self, Machinery, Store, UploadId};
use crate::disk::Directories;
use crate::oci::{Algorithm, Digest, Repository};
use crate::peer::{
    ClusterId, PeerIdentity, PeerListener, Purpose, Security, SharedSecret, connect, serve_calls,
};
use crate::raft;
use crate::registry::relay_error::RelayedError;
use crate::registry::relay_message::{RelayRecord, encode_seal};
use crate::registry::{DiskSpace, DiskSpaceOptions, Registry, RelayServer, Upload, WhenCut};
use crate::runtime::{Shutdown, Task, run_alone, spawn};
use crate::telemetry::Metrics;

/// Longer than anything in a test should take.
const NOBODY_WAITS: Duration = Duration::from_secs(60);
/// The pool of a node: as small as an operator may make it.
const POOL_BYTES: u32 = 4 * MIB;

/// How long a request waits for the owner of its session to come back.
const OWNER_PATIENCE: Duration = Duration::from_secs(1);

type Roster = Rc<RefCell<Vec<PeerNode>>>;

/// A node that owns sessions, and relays to others.
struct Node {
    registry: Rc<Registry>,
    directory: TempDir,
    metrics: Arc<Metrics>,
    pool: Pool,
    security: Security,
    address: PeerNode,
    shutdown: Shutdown,
    _serving: Task<()>,
}

fn security(node: u64) -> Security {
    let cluster = ClusterId::parse(&"a".repeat(32)).unwrap();
    let identity = PeerIdentity { cluster, node };
    Security::Plain(SharedSecret::new(identity, b"the secret of the test").unwrap())
}

fn repository() -> Repository {
    Repository::parse("library/app").unwrap()
}

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(99);
        content.extend_from_slice(&(state >> 11).to_le_bytes());
    }
    content.truncate(bytes);
    content
}

fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

impl Node {
    async fn start(id: u64, roster: &Roster) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new());
        let options = raft::Options::new(directory.path(), Arc::clone(&metrics));
        let opened = raft::open(&options).unwrap();
        let (journal, _) = raft::start(opened, options, None).await.unwrap();
        let options = blob::Options {
            data_directory: directory.path().to_owned(),
            node: id,
            shards: 1,
            now_ms: Clock::system().unix_ms(),
            keeps_unknown: true,
        };
        let (shared, _) = blob::open(&options, |_, _| true).unwrap();
        let pool = Pool::new(POOL_BYTES);
        let machinery = Machinery {
            pool: pool.clone(),
            directories: Directories::new(),
            clock: Clock::system(),
            metrics: Arc::clone(&metrics),
        };
        let store = Store::new(shared, 0, machinery);
        let marks = DiskSpaceOptions {
            hard_mark_percent: 100,
            free_bytes_min: 0,
        };
        let space = DiskSpace::measure(directory.path().to_owned(), marks).unwrap();
        let security = security(id);
        let others = Rc::clone(roster);
        let find = move |node| others.borrow().iter().find(|one| one.id == node).cloned();
        let calls = Calls::new(security.clone(), Arc::clone(&metrics));
        let links = Links::new(security.clone(), Arc::clone(&metrics), Purpose::Upload);
        let relay = Relay::new(id, find, calls, links, pool.clone()).patient_for(OWNER_PATIENCE);
        let registry = Rc::new(Registry::new(store, journal, space, true).relaying(relay));
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = PeerListener::bind(any, Arc::clone(&metrics)).unwrap();
        let address = PeerNode {
            id,
            address: listener.address().to_string().into(),
        };
        roster.borrow_mut().push(address.clone());
        let shutdown = Shutdown::new();
        let server = RelayServer::new(Rc::clone(&registry), shutdown.clone(), Arc::clone(&metrics));
        let serving = spawn(serve(listener, security.clone(), server));
        Self {
            registry,
            directory,
            metrics,
            pool,
            security,
            address,
            shutdown,
            _serving: serving,
        }
    }

    fn open(&self) -> String {
        let id = self.registry.begin_upload(&repository(), None);
        id.unwrap().to_string()
    }

    async fn resume(&self, id: &str) -> Result<Upload, Error> {
        let repository = repository();
        let resuming = self.registry.resume_upload(&repository, id, WhenCut::Keep);
        resuming.await
    }

    /// A whole session of `owner` through this node.
    async fn push(&self, owner: &Self, content: &[u8]) -> Result<(), Error> {
        let id = owner.open();
        let (first, second) = content.split_at(content.len() / 3);
        let mut upload = self.resume(&id).await?;
        send(&mut upload, first).await?;
        assert_eq!(upload.keep().await?, to_u64(first.len()));
        let mut upload = self.resume(&id).await?;
        send(&mut upload, second).await?;
        let digest = sha256(content);
        let repository = repository();
        let sealing = self.registry.seal_upload(&repository, upload, &digest);
        sealing.await.map(|index| assert!(index.is_some()))
    }

    fn opened(&self) -> u64 {
        self.metrics.peer.connections_opened.value()
    }
}

async fn serve(listener: PeerListener, security: Security, server: RelayServer) {
    let mut tasks = Vec::new();
    loop {
        let newcomer = listener.accept().await.unwrap();
        let purpose = newcomer.purpose;
        let Ok(link) = newcomer.authenticate(&security).await else {
            continue;
        };
        let server = server.clone();
        tasks.push(spawn(async move {
            if purpose == Purpose::Upload {
                return server.serve(link).await;
            }
            let handler = async move |call: crate::peer::Call| {
                Ok(server.answer(&call.payload).await.unwrap())
            };
            serve_calls(link, Rc::new(handler)).await;
        }));
    }
}

async fn send(upload: &mut Upload, mut rest: &[u8]) -> Result<(), Error> {
    while !rest.is_empty() {
        let space = upload.space().await?;
        let count = rest.len().min(space.len());
        space[..count].copy_from_slice(&rest[..count]);
        upload.advance(count).await?;
        rest = &rest[count..];
    }
    Ok(())
}

async fn pair() -> (Node, Node) {
    let roster = Roster::default();
    (Node::start(1, &roster).await, Node::start(2, &roster).await)
}

#[test]
fn requests_of_one_session_share_a_connection() {
    run_alone(|| async {
        let (one, two) = pair().await;
        let content = content(1, 3_000_000);
        two.push(&one, &content).await.unwrap();
        assert_eq!(two.opened(), 1, "one connection for both requests");
        let blob = one
            .registry
            .find_blob(&repository(), &sha256(&content))
            .await;
        assert_eq!(blob.unwrap().size_bytes, 3_000_000);
        let id = one.open();
        let upload = two.resume(&id).await.unwrap();
        upload.release().await;
        assert_eq!(
            two.registry.held_bytes(&repository(), &id).await.unwrap(),
            0
        );
        two.registry
            .cancel_upload(&repository(), &id)
            .await
            .unwrap();
        let gone = two.resume(&id).await;
        assert!(matches!(gone, Err(Error::UploadUnknown)), "{gone:?}");
    });
}

#[test]
fn two_nodes_with_small_pools_relay_more_than_fits_to_each_other() {
    run_alone(|| async {
        let (one, two) = pair().await;
        let (one, two) = (&one, &two);
        let pushes = (0..60_u64).map(|seed| async move {
            let (there, back) = (content(seed, 700_000), content(seed + 1000, 700_000));
            let both = zip(two.push(one, &there), one.push(two, &back));
            let (first, second) = Box::pin(both).await;
            first.unwrap();
            second.unwrap();
        });
        let all = timeout(NOBODY_WAITS, join_all(pushes)).await;
        assert!(
            all.is_ok(),
            "the nodes wait for each other: {:?}",
            one.pool.usage()
        );
        assert!(one.pool.usage().waits > 0, "the pool was never used up");
    });
}

#[test]
fn an_owner_that_cannot_go_on_says_so_in_mid_upload() {
    run_alone(|| async {
        let (one, two) = pair().await;
        let id = one.open();
        std::fs::remove_dir_all(one.directory.path().join("uploads")).unwrap();
        let mut upload = two.resume(&id).await.unwrap();
        let content = content(2, 64 * 1024 * 1024);
        let sent = timeout(NOBODY_WAITS, send(&mut upload, &content))
            .await
            .unwrap();
        assert!(matches!(sent, Err(Error::Internal(_))), "{sent:?}");
        let held_bytes = upload.held_bytes();
        assert!(
            held_bytes < 32 * 1024 * 1024,
            "{held_bytes} bytes were sent"
        );
        assert!(upload.keep().await.is_err());
        drop(two.resume(&id).await.unwrap());
    });
}

#[test]
fn a_connection_goes_on_after_an_answer_that_came_early() {
    run_alone(|| async {
        let (one, two) = pair().await;
        let id = one.open();
        let uploads = one.directory.path().join("uploads");
        let request = RelayRequest {
            repository: repository(),
            id: UploadId::parse(&id).unwrap(),
            when_cut: WhenCut::Forget,
        };
        let connecting = connect(&one.address, Purpose::Upload, &two.security);
        let mut link = connecting.await.unwrap();
        assert_eq!(
            begin(&mut link, &request).await.unwrap(),
            RelayAnswer::Held(0)
        );
        std::fs::rename(&uploads, one.directory.path().join("away")).unwrap();
        let data = vec![0; 400_000];
        for _ in 0..2 {
            let head = RelayRecord::Data(400_000).encode();
            link.write_all(&head).await.unwrap();
            link.write_all(&data).await.unwrap();
        }
        link.write_all(&RelayRecord::Seal.encode()).await.unwrap();
        link.write_all(&encode_seal(&sha256(b""))).await.unwrap();
        let mut record = [0; ANSWER_BYTES];
        link.read_exact(&mut record).await.unwrap();
        let failed = RelayAnswer::Failed(RelayedError::Failed);
        assert_eq!(RelayAnswer::decode(&record), Ok(failed));
        std::fs::rename(one.directory.path().join("away"), &uploads).unwrap();
        // What it said of the seal was said already: the next answer is the next request's.
        assert_eq!(
            begin(&mut link, &request).await.unwrap(),
            RelayAnswer::Held(0)
        );
    });
}

#[test]
fn a_cut_keeps_what_came_or_forgets_it_as_the_request_said() {
    run_alone(|| async {
        let (one, two) = pair().await;
        for (when_cut, expected) in [(WhenCut::Keep, 100_000), (WhenCut::Forget, 0)] {
            let id = one.open();
            let repository = repository();
            let resuming = two.registry.resume_upload(&repository, &id, when_cut);
            let mut upload = resuming.await.unwrap();
            send(&mut upload, &content(3, 100_000)).await.unwrap();
            drop(upload);
            // Waits for the first request to end.
            let upload = one.resume(&id).await.unwrap();
            assert_eq!(upload.held_bytes(), expected, "{when_cut:?}");
        }
    });
}

#[test]
fn an_owner_that_stops_or_is_none_is_told_apart() {
    run_alone(|| async {
        let (one, two) = pair().await;
        let id = one.open();
        two.resume(&id).await.unwrap().release().await;
        one.shutdown.request();
        let stopping = two.resume(&id).await;
        assert!(matches!(stopping, Err(Error::Unavailable)), "{stopping:?}");
        let gone = two.registry.held_bytes(&repository(), &foreign()).await;
        assert!(matches!(gone, Err(Error::UploadUnknown)), "{gone:?}");
    });
}

/// An id of a node that is no member.
fn foreign() -> String {
    "a".repeat(64)
}
