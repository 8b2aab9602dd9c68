//! Clients get a blob while it comes, and never the whole of a wrong one.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::time::Duration;

use super::sample::{Blob, GENERATION_ID, NOBODY_WAITS, until};
use super::testing::{Cluster, Node, World};
use super::{BlobFile, Content, ContentError, Options};
use crate::base::units::index_of;
use crate::blob::Piece;
use crate::metadata::Command;
use crate::oci::{Algorithm, Digest};
use crate::runtime::yield_if_needed;
use crate::telemetry::FetchEnd;

const MIB: usize = 1024 * 1024;

/// What came, and why no more.
type Pulled = (Vec<u8>, Option<ContentError>);

/// Reads to the end, or to an error; tells how much came at each step.
async fn read(content: &mut Content, told: &flume::Sender<usize>) -> Pulled {
    let mut read = Vec::new();
    loop {
        match content.next().await {
            Ok(Some(Piece::Memory(chunk))) => read.extend_from_slice(&chunk),
            Ok(Some(Piece::Resident {
                file,
                offset,
                bytes,
            })) => {
                let mut part = vec![0; bytes.try_into().unwrap()];
                let file = File::from(file.as_fd().try_clone_to_owned().unwrap());
                file.read_exact_at(&mut part, offset).unwrap();
                read.extend_from_slice(&part);
            }
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(error)),
        }
        // A test that looks no more has ended.
        let _ = told.send(read.len());
        yield_if_needed().await;
    }
}

/// Begins a pull of `start..` on a shard of a node.
fn pull(
    node: &Node,
    shard: usize,
    file: BlobFile,
    size: u64,
    start: u64,
) -> (flume::Receiver<Pulled>, flume::Receiver<usize>) {
    let (told, progress) = flume::unbounded();
    let pulling = node.begin(shard, move |world: Rc<World>| async move {
        match world.replicator.content(&file, size, start..size).await {
            Ok(mut content) => read(&mut content, &told).await,
            Err(error) => (Vec::new(), Some(error)),
        }
    });
    (pulling, progress)
}

#[test]
fn a_blob_that_is_here_is_read_from_its_file() {
    let cluster = Cluster::new();
    let node = cluster.start(1);
    let blob = Blob::new(1, 3 * MIB + 5);
    node.own(&blob);
    for start in [0, 1_234_567] {
        let (pulling, _) = pull(&node, 0, blob.file(), blob.size(), start);
        let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
        assert!(error.is_none(), "{error:?}");
        assert!(content == blob.content[index_of(start)..]);
    }
    assert_eq!(node.metrics.replication.followers.value(), 0);
}

#[test]
fn clients_on_any_shard_get_every_byte_of_a_blob_while_it_comes() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    cluster.slow_down(&source, 6 << 20);
    let blob = Blob::new(2, 12 * MIB + 345);
    source.own(&blob);
    target.learn(&blob, &[1]);
    let starts = [0, 0, 5 * 1024 * 1024 + 17];
    let pulls: Vec<_> = starts
        .iter()
        .zip([0, 1, 1])
        .map(|(start, shard)| pull(&target, shard, blob.file(), blob.size(), *start))
        .collect();
    let early = pulls[0].1.recv().unwrap();
    assert!(early > 0);
    let sealed = target.metrics.replication.fetches.of(FetchEnd::Sealed);
    assert_eq!(sealed.value(), 0, "bytes come before the fetch ends");
    assert!(!target.has(&blob));
    for ((pulling, _), start) in pulls.into_iter().zip(starts) {
        let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
        assert!(error.is_none(), "{error:?}");
        assert!(content == blob.content[index_of(start)..], "start {start}");
    }
    until("one fetch for all has ended", || sealed.value() == 1);
    until("nobody follows", || {
        target.metrics.replication.followers.value() == 0
    });
}

#[test]
fn a_pull_right_after_the_state_knows_a_blob_gets_it() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    for (seed, bytes) in [(3, 20_000), (4, MIB), (5, 9 * MIB + 1)] {
        let blob = Blob::new(seed, bytes);
        source.own(&blob);
        target.learn(&blob, &[1]);
        let (pulling, _) = pull(&target, 1, blob.file(), blob.size(), 0);
        let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
        assert!(error.is_none(), "{error:?}");
        assert!(content == *blob.content);
    }
}

#[test]
fn when_the_source_dies_the_client_notices_nothing() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let target = cluster.start(3);
    cluster.slow_down(&one, 8 << 20);
    cluster.slow_down(&two, 8 << 20);
    let blob = Blob::new(6, 20 * MIB);
    one.own(&blob);
    two.own(&blob);
    target.learn(&blob, &[1, 2]);
    let (pulling, progress) = pull(&target, 1, blob.file(), blob.size(), 0);
    while progress.recv().unwrap() < 4 * MIB {}
    let is_first = one.metrics.replication.sent_bytes() > 0;
    let (first, _second) = if is_first { (one, two) } else { (two, one) };
    drop(first.stop());
    let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert!(content == *blob.content);
}

#[test]
fn the_last_extent_of_something_else_is_never_given_out() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    // Right extents under a digest that is not theirs, as a broken journal would have.
    let mut blob = Blob::new(8, 3 * MIB + 1000);
    source.push(&blob);
    let from = source.path(&blob);
    blob.digest = Digest::of(Algorithm::Sha256, b"something else");
    std::fs::rename(from, source.path(&blob)).unwrap();
    target.learn(&blob, &[1]);
    let (pulling, _) = pull(&target, 1, blob.file(), blob.size(), 0);
    let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
    assert!(matches!(error, Some(ContentError::Corrupt)), "{error:?}");
    assert!(content.len() <= 3 * MIB);
    assert!(content == blob.content[..content.len()]);
    assert!(!target.has(&blob));
}

#[test]
fn a_pull_of_what_no_node_gives_ends_in_time_and_the_next_one_may_do_better() {
    let cluster = Cluster::new();
    let target = cluster.start_with(Options {
        follow_timeout: Duration::from_millis(400),
        ..Options::new(2)
    });
    let source = cluster.start(1);
    let blob = Blob::new(9, 2 * MIB);
    target.learn(&blob, &[1]);
    let (pulling, _) = pull(&target, 0, blob.file(), blob.size(), 0);
    let (_, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
    assert!(matches!(error, Some(ContentError::Stalled)), "{error:?}");
    assert_eq!(target.metrics.replication.missing_blobs.value(), 1);
    source.push(&blob);
    until("a later pull succeeds", || {
        let (pulling, _) = pull(&target, 0, blob.file(), blob.size(), 0);
        let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
        error.is_none() && content == *blob.content
    });
}

#[test]
fn who_waits_for_a_condemned_blob_is_told() {
    let cluster = Cluster::new();
    let target = cluster.start(2);
    let blob = Blob::new(10, 2 * MIB);
    target.learn(&blob, &[]);
    let (pulling, _) = pull(&target, 1, blob.file(), blob.size(), 0);
    until("somebody waits", || {
        target.metrics.replication.followers.value() == 1
    });
    let digest = blob.digest;
    target.on(0, move |world| async move {
        let generation = GENERATION_ID;
        let condemn = Command::Condemn { digest, generation };
        let late_ms = crate::base::Clock::system().unix_ms() + 10_000_000_000;
        world.journal.propose_at(condemn, late_ms).await.unwrap()
    });
    let (_, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
    assert!(matches!(error, Some(ContentError::Gone)), "{error:?}");
}

#[test]
fn what_somebody_waits_for_knows_no_limit_and_comes_before_what_nobody_does() {
    let cluster = Cluster::new();
    let source = cluster.start(1);
    let target = cluster.start_with(Options {
        background_fetches_max: 1,
        background_bytes_per_second: std::num::NonZeroU64::new(20_000),
        ..Options::new(2)
    });
    let blobs: Vec<Blob> = (70..73).map(|seed| Blob::new(seed, 4 * MIB)).collect();
    for blob in &blobs {
        source.push(blob);
    }
    for blob in &blobs {
        target.learn(blob, &[1]);
    }
    until("the first one is under way", || {
        target.metrics.replication.received_bytes() > 0
    });
    // At the limit each would take three minutes.
    for blob in [&blobs[2], &blobs[0]] {
        let (pulling, _) = pull(&target, 0, blob.file(), blob.size(), 0);
        let (content, error) = pulling.recv_timeout(NOBODY_WAITS).unwrap();
        assert!(error.is_none(), "{error:?}");
        assert!(content == *blob.content);
    }
    assert!(!target.has(&blobs[1]));
}
