//! A push finds its copies made when its last byte has come; whatever goes wrong with
//! that, it asks for them.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::base::Clock;
use crate::base::limits::TEE_WAIT;
use crate::blob::{SealError, Tap, Upload};
use crate::oci::{Algorithm, Digest};
use crate::replication::sample::{Blob, GENERATION_ID, repository, until};
use crate::replication::testing::{Cluster, Node, World};
use crate::replication::{HoldError, Options};
use crate::telemetry::{FetchEnd, HoldEnd, TeeEnd};

const MIB: usize = 1024 * 1024;

/// Has an upload without bytes passed on to `copies` nodes.
fn tap(world: &Rc<World>, upload: &mut Upload, copies: usize) {
    let (replicator, id) = (world.replicator.clone(), upload.id());
    upload.tap(Tap::new(move || {
        replicator.tee(&id, Algorithm::Sha256, copies)
    }));
}

async fn send(upload: &mut Upload, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = upload.space().await.unwrap();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        upload.advance(count).await.unwrap();
        bytes = &bytes[count..];
    }
}

/// Ends an upload as a push does; the seal is committed only afterwards.
async fn end(
    world: &Rc<World>,
    upload: Upload,
    digest: &Digest,
    copies: usize,
) -> Result<Vec<u64>, HoldError> {
    let sealed = upload.seal(digest, GENERATION_ID).await.unwrap();
    let held = world.replicator.hold_elsewhere(&sealed, copies).await;
    sealed.commit().await;
    held
}

/// A push, which waits in the middle until it may go on.
fn begin_push(
    node: &Node,
    blob: &Blob,
    copies: usize,
) -> (
    flume::Sender<()>,
    flume::Receiver<Result<Vec<u64>, HoldError>>,
) {
    let (go_on, may_go_on) = flume::bounded(1);
    let blob = blob.clone();
    let held = node.begin(1, move |world: Rc<World>| async move {
        let mut upload = world.store.receive(&repository(), Algorithm::Sha256);
        tap(&world, &mut upload, copies);
        let (first, second) = blob.content.split_at(blob.content.len() / 2);
        send(&mut upload, first).await;
        // A test that does not care goes on at once.
        let _ = may_go_on.recv_async().await;
        send(&mut upload, second).await;
        end(&world, upload, &blob.digest, copies).await
    });
    (go_on, held)
}

fn push(node: &Node, blob: &Blob, copies: usize) -> Result<Vec<u64>, HoldError> {
    let (go_on, held) = begin_push(node, blob, copies);
    drop(go_on);
    held.recv_timeout(crate::replication::sample::NOBODY_WAITS)
        .unwrap()
}

fn tees(node: &Node, end: TeeEnd) -> u64 {
    node.metrics.replication.tees.of(end).value()
}

fn takes(node: &Node, end: TeeEnd) -> u64 {
    node.metrics.replication.takes.of(end).value()
}

fn received(node: &Node) -> u64 {
    node.metrics.replication.received_bytes()
}

fn holds(node: &Node) -> u64 {
    let holds = &node.metrics.replication.holds;
    let ends = [HoldEnd::Held, HoldEnd::Failed, HoldEnd::Abandoned];
    ends.map(|end| holds.of(end).value()).iter().sum()
}

fn fetches(node: &Node) -> u64 {
    let fetches = &node.metrics.replication.fetches;
    fetches.of(FetchEnd::Sealed).value()
}

/// Nothing of an upload is left.
fn is_clean(node: &Node) -> bool {
    let files = std::fs::read_dir(node.directory.path().join("uploads")).unwrap();
    files
        .map(|file| file.unwrap().file_name())
        .all(|name| name == "key")
}

#[test]
fn copies_are_there_with_the_last_byte_and_are_not_fetched_again() {
    for cluster in [Cluster::new(), Cluster::secured()] {
        let nodes = [cluster.start(1), cluster.start(2), cluster.start(3)];
        let mut bytes = 0;
        for (seed, size, copies) in [(1, 20_000, 1), (2, MIB + 1, 2), (3, 20 * MIB, 1)] {
            let blob = Blob::new(seed, size);
            let held = push(&nodes[0], &blob, copies).unwrap();
            assert_eq!(held.len(), copies);
            for node in &nodes[1..] {
                if held.contains(&node.id) {
                    assert!(node.has(&blob), "node {} answered before", node.id);
                    node.receives(&blob);
                }
            }
            bytes += blob.size() * u64::try_from(copies).unwrap();
            assert_eq!(received(&nodes[1]) + received(&nodes[2]), bytes);
            for node in &nodes {
                node.learn(&blob, &[]);
            }
            for node in &nodes {
                node.receives(&blob);
                until("it is known", || node.knows_holder(&blob, node.id));
            }
            bytes += blob.size() * u64::try_from(2 - copies).unwrap();
            assert_eq!(received(&nodes[1]) + received(&nodes[2]), bytes);
        }
        assert_eq!((tees(&nodes[0], TeeEnd::Held), holds(&nodes[0])), (4, 0));
        let taken: u64 = nodes.iter().map(|node| takes(node, TeeEnd::Held)).sum();
        assert_eq!(taken, 4);
        assert!(nodes.iter().all(is_clean));
    }
}

#[test]
fn a_session_of_many_requests_is_passed_on_as_long_as_its_shard_stays() {
    let cluster = Cluster::new();
    let nodes = [cluster.start(1), cluster.start(2)];
    for (seed, shards, is_teed) in [(1, [1, 1, 1], true), (2, [1, 0, 1], false)] {
        let blob = Blob::new(seed, 3 * MIB + 777);
        let id = nodes[0].on(1, |world: Rc<World>| async move {
            world.store.begin(&repository(), None).unwrap()
        });
        let third = blob.content.len() / 3;
        for (index, shard) in shards.into_iter().enumerate() {
            let blob = blob.clone();
            let held = nodes[0].on(shard, move |world: Rc<World>| async move {
                let mut upload = world.store.resume(&repository(), &id).await.unwrap();
                if index == 0 {
                    tap(&world, &mut upload, 1);
                }
                let start = index * third;
                if index < 2 {
                    send(&mut upload, &blob.content[start..start + third]).await;
                    upload.suspend().await.unwrap();
                    return Vec::new();
                }
                send(&mut upload, &blob.content[start..]).await;
                end(&world, upload, &blob.digest, 1).await.unwrap()
            });
            assert_eq!(held.is_empty(), index < 2);
        }
        assert!(nodes[1].has(&blob));
        nodes[1].receives(&blob);
        let ends = (tees(&nodes[0], TeeEnd::Held), holds(&nodes[0]));
        assert_eq!(ends, if is_teed { (1, 0) } else { (1, 1) });
    }
}

#[test]
fn a_taker_that_dies_in_the_middle_is_replaced() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    let (two, three) = (cluster.start(2), cluster.start(3));
    let blob = Blob::new(4, 24 * MIB);
    let (go_on, held) = begin_push(&one, &blob, 1);
    until("a part has come", || {
        received(&two) + received(&three) > 8 << 20
    });
    let (taker, other) = if received(&two) > 0 {
        (two, three)
    } else {
        (three, two)
    };
    let remains = taker.stop();
    drop(go_on);
    let held = held
        .recv_timeout(crate::replication::sample::NOBODY_WAITS)
        .unwrap();
    assert_eq!(held.unwrap(), [other.id]);
    assert_eq!(tees(&one, TeeEnd::Failed), 1);
    other.receives(&blob);
    let id = remains.id;
    let taker = cluster.restart(remains, Options::new(id));
    assert!(!taker.has(&blob) && is_clean(&taker));
    taker.learn(&blob, &[1]);
    taker.receives(&blob);
}

#[test]
fn what_comes_to_nothing_leaves_nothing() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(5, 6 * MIB);
    let wrong = Digest::of(Algorithm::Sha256, b"other");
    let sent = blob.clone();
    one.on(0, move |world: Rc<World>| async move {
        let mut upload = world.store.receive(&repository(), Algorithm::Sha256);
        tap(&world, &mut upload, 1);
        send(&mut upload, &sent.content).await;
        let error = upload.seal(&wrong, GENERATION_ID).await.unwrap_err();
        assert!(matches!(error, SealError::DigestMismatch { .. }));
    });
    until("it is given up", || takes(&two, TeeEnd::Abandoned) == 1);
    let sent = blob.clone();
    one.on(0, move |world: Rc<World>| async move {
        let mut upload = world.store.receive(&repository(), Algorithm::Sha256);
        tap(&world, &mut upload, 1);
        send(&mut upload, &sent.content).await;
        upload.abort().await;
    });
    until("it is given up", || takes(&two, TeeEnd::Abandoned) == 2);
    assert_eq!(tees(&one, TeeEnd::Abandoned), 2);
    until("the files are gone", || is_clean(&one) && is_clean(&two));
    assert!(!two.has(&blob));
}

#[test]
fn a_node_without_room_is_passed_over() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    let (two, three) = (cluster.start(2), cluster.start(3));
    two.has_room.store(false, Ordering::Relaxed);
    for seed in 6..12 {
        assert_eq!(push(&one, &Blob::new(seed, 100_000), 1).unwrap(), [3]);
    }
    assert_eq!((tees(&one, TeeEnd::Held), holds(&one)), (6, 0));
    until("all are counted", || takes(&three, TeeEnd::Held) == 6);
}

#[test]
fn a_node_that_does_not_answer_costs_a_bounded_time() {
    let cluster = Cluster::new();
    let one = cluster.start_with(Options {
        hold_timeout: Duration::from_millis(500),
        ..Options::new(1)
    });
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    cluster.enlist(2, silent.local_addr().unwrap());
    let holding = thread::spawn(move || {
        let accepted = silent.incoming().take(2).flatten();
        accepted.collect::<Vec<_>>()
    });
    let clock = Clock::system();
    let began = clock.now();
    // Waiting for it with every piece would take over half a minute.
    let sent = Blob::new(13, 20 * MIB);
    one.on(0, move |world: Rc<World>| async move {
        let mut upload = world.store.receive(&repository(), Algorithm::Sha256);
        tap(&world, &mut upload, 1);
        send(&mut upload, &sent.content).await;
        let sealed = upload.seal(&sent.digest, GENERATION_ID).await.unwrap();
        assert!(sealed.outlets.is_empty());
    });
    assert!(clock.now() - began < 10 * TEE_WAIT);
    until("it has ended", || tees(&one, TeeEnd::Refused) == 1);
    assert_eq!(fetches(&one), 0);
    drop(push(&one, &Blob::new(14, 4 * MIB), 1).unwrap_err());
    drop(holding);
}
