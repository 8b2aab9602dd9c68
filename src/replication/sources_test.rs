//! A large blob comes from several nodes at once, whatever these do.

use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sample::{Blob, damage, until};
use super::share::Holding;
use super::slow_link::Fault;
use super::testing::{Cluster, Node, World};
use super::{BlobFile, Options};
use crate::base::Clock;
use crate::base::limits::MOVE_BYTES_MAX;
use crate::blob::Piece;
use crate::runtime::yield_if_needed;
use crate::telemetry::{FetchEnd, FetchFailure};

const MIB: usize = 1024 * 1024;
/// What a slow link lets through in a second on each connection: so little that bytes
/// are waited for most of the time, however busy the machine is.
const SLOW_LINK_BYTES: u64 = 4 << 20;

fn sent(node: &Node) -> u64 {
    node.metrics.replication.sent_bytes()
}

fn received(node: &Node) -> u64 {
    node.metrics.replication.received_bytes()
}

fn fetches(node: &Node, how: FetchEnd) -> u64 {
    node.metrics.replication.fetches.of(how).value()
}

fn failures(node: &Node, reason: FetchFailure) -> u64 {
    node.metrics.replication.failures(reason)
}

/// Whether a node was one of those that brought a blob together. How much of it came
/// from whom depends on how the machine is loaded, and is looked at in `ranges_test.rs`
/// on a simulated clock.
fn has_helped(node: &Node) -> bool {
    sent(node) > 0
}

/// Nodes 1 to `count`, each with the blob and behind a slow link.
fn holders(cluster: &Cluster, count: u64, blob: &Blob) -> Vec<Node> {
    let start = |id| {
        let node = cluster.start(id);
        node.own(blob);
        cluster.slow_down(&node, SLOW_LINK_BYTES);
        node
    };
    (1..=count).map(start).collect()
}

/// Reads along as a client does, `most` bytes or somewhat more; says how many.
async fn read(world: Rc<World>, file: BlobFile, size: u64, most: u64) -> u64 {
    let content = world.replicator.content(&file, size, 0..size);
    let mut content = content.await.unwrap();
    let mut bytes = 0;
    while bytes < most
        && let Some(piece) = content.next().await.unwrap()
    {
        bytes += match piece {
            Piece::Memory(chunk) => u64::try_from(chunk.len()).unwrap(),
            Piece::Resident { bytes, .. } => bytes,
        };
        yield_if_needed().await;
    }
    bytes
}

/// One fetch brought the blob. It is counted a moment after the file is there.
fn is_sealed_once(node: &Node) {
    let sealed = || fetches(node, FetchEnd::Sealed);
    until("the fetch has ended", || sealed() > 0);
    assert_eq!(sealed(), 1);
}

/// No memory is left behind, and nothing else.
fn is_tidy(node: &Node) {
    let uploads = node.directory.path().join("uploads");
    until("nothing is left over", || {
        std::fs::read_dir(&uploads).unwrap().count() == 1
    });
    let pool = &node.metrics.machine.pool_used_bytes;
    until("the pool is free", || pool.value() == 0);
}

#[test]
fn slow_sources_bring_a_blob_together() {
    let cluster = Cluster::new();
    let blob = Blob::new(300, 24 * MIB + 77);
    let sources = holders(&cluster, 3, &blob);
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2, 3]);
    target.receives(&blob);
    for source in &sources {
        let all: Vec<u64> = sources.iter().map(sent).collect();
        assert!(has_helped(source), "{} sent nothing: {all:?}", source.id);
    }
    assert_eq!(received(&target), blob.size());
    is_sealed_once(&target);
    until("its holder is known", || target.knows_holder(&blob, 9));
    is_tidy(&target);
}

#[test]
fn a_client_reads_along_while_several_sources_send() {
    let cluster = Cluster::secured();
    let blob = Blob::new(301, 16 * MIB);
    let sources = holders(&cluster, 2, &blob);
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2]);
    let (file, size) = (blob.file(), blob.size());
    let read = target.on(1, move |world| read(world, file, size, size));
    assert_eq!(read, size);
    target.receives(&blob);
    assert!(sources.iter().all(has_helped));
    is_tidy(&target);
}

#[test]
fn a_source_that_dies_in_mid_range_leaves_its_range_to_the_others() {
    let cluster = Cluster::new();
    let blob = Blob::new(302, 24 * MIB);
    let mut sources = holders(&cluster, 3, &blob);
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2, 3]);
    until("two of them send", || {
        sources.iter().filter(|source| has_helped(source)).count() >= 2
    });
    let most = (0..3).max_by_key(|at| sent(&sources[*at])).unwrap();
    // What is on its way in the slow link still comes; then the connection ends.
    drop(sources.swap_remove(most).stop());
    target.receives(&blob);
    is_sealed_once(&target);
    assert!(fetches(&target, FetchEnd::SourceFailed) >= 1);
    let twice = received(&target) - blob.size();
    assert!(twice < 8 << 20, "{twice} bytes came twice");
    is_tidy(&target);
}

#[test]
fn a_liar_among_the_sources_is_caught_by_its_extent() {
    let cluster = Cluster::new();
    let blob = Blob::new(303, 24 * MIB);
    let sources = [1, 2, 3].map(|id| cluster.start(id));
    // The others are far too slow to bring all of it before the liar is asked, or to have
    // it left for them, however busy the machine is.
    let rate: &AtomicU64 = Box::leak(Box::new(AtomicU64::new(SLOW_LINK_BYTES / 64)));
    for (source, lies) in sources.iter().zip([false, true, false]) {
        source.own(&blob);
        if !lies {
            cluster.spoil(source, Fault::Regulated(rate));
            continue;
        }
        // Whatever is asked of it.
        for extent in 0..24 {
            damage(&source.path(&blob), (extent << 20) + 12_345);
        }
    }
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2, 3]);
    until("the liar is caught", || {
        failures(&target, FetchFailure::Checksum) > 0
    });
    rate.store(u64::MAX, Ordering::Relaxed);
    target.receives(&blob);
    assert_eq!(failures(&target, FetchFailure::Checksum), 1);
    assert_eq!(fetches(&target, FetchEnd::SourceLied), 1);
    is_sealed_once(&target);
    is_tidy(&target);
}

#[test]
fn a_source_without_the_blob_is_not_asked_twice() {
    let cluster = Cluster::new();
    let blob = Blob::new(304, 24 * MIB);
    let sources = holders(&cluster, 2, &blob);
    let lacking = cluster.start(3);
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2, 3]);
    target.receives(&blob);
    assert!(failures(&target, FetchFailure::Lacks) <= 1);
    is_sealed_once(&target);
    assert_eq!(sent(&lacking), 0);
    assert!(sources.iter().all(has_helped));
    is_tidy(&target);
}

#[test]
fn a_crawling_source_does_not_hold_up_the_others() {
    let cluster = Cluster::new();
    let blob = Blob::new(305, 24 * MIB);
    let sources = holders(&cluster, 2, &blob);
    let crawling = cluster.start(3);
    crawling.own(&blob);
    // An extent from it takes two minutes, twice as long as anything is waited for.
    cluster.slow_down(&crawling, 8 << 10);
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2, 3]);
    target.receives(&blob);
    assert!(sources.iter().all(has_helped));
    is_tidy(&target);
}

/// A node whose fetches take so many bytes in a second while nobody waits.
fn limited(bytes_per_second: u64) -> Options {
    Options {
        background_fetches_max: 1,
        background_bytes_per_second: NonZeroU64::new(bytes_per_second),
        ..Options::new(9)
    }
}

#[test]
fn a_limit_holds_whatever_the_number_of_sources() {
    let has_several = |seed: u64| {
        let cluster = Cluster::new();
        let blob = Blob::new(seed, 18 * MIB);
        // Each alone is too slow, so that they send together: two seconds without a limit.
        let sources = holders(&cluster, 3, &blob);
        let target = cluster.start_with(limited(5 << 20));
        let clock = Clock::system();
        let began = clock.now();
        target.learn(&blob, &[1, 2, 3]);
        target.receives(&blob);
        let took = clock.now() - began;
        assert!(took.as_millis() > 3400, "{took:?}");
        assert_eq!(received(&target), blob.size());
        is_tidy(&target);
        sources.iter().filter(|source| has_helped(source)).count() > 1
    };
    // A busy machine may find no time to ask the others.
    assert!((306..309).any(has_several), "one has sent all of it");
}

#[test]
fn a_limit_begins_when_the_last_client_leaves_and_ends_when_one_comes() {
    let cluster = Cluster::new();
    let blob = Blob::new(311, 24 * MIB);
    let _sources = holders(&cluster, 1, &blob);
    let target = cluster.start_with(limited(512 << 10));
    target.learn(&blob, &[1]);
    let (file, size) = (blob.file(), blob.size());
    let clock = Clock::system();
    target.on(1, move |world| read(world, file, size, 10 << 20));
    let (left, had) = (clock.now(), received(&target));
    until("two more come", || received(&target) >= had + (2 << 20));
    let took = clock.now() - left;
    // Half a second without a limit; twenty of nothing if all were paid for.
    assert!((600..15_000).contains(&took.as_millis()), "{took:?}");
    let joined = clock.now();
    assert_eq!(
        target.on(0, move |world| read(world, file, size, size)),
        size
    );
    let took = clock.now() - joined;
    // Three seconds, or twenty or more at the limit.
    assert!(took.as_millis() < 15_000, "{took:?}");
    target.receives(&blob);
    is_tidy(&target);
}

/// Has a node answer that it has no time for others, until the sender is dropped.
fn refuse(node: &Node) -> flume::Sender<()> {
    let (release, is_released) = flume::bounded::<()>(0);
    for shard in 0..2 {
        let is_released = is_released.clone();
        let (told, is_busy) = flume::bounded(1);
        drop(node.begin(shard, move |world| async move {
            let serving = &world.replicator.worker().serving;
            serving.set(serving.get() + 100);
            told.send(()).unwrap();
            let _ = is_released.recv_async().await;
            serving.set(serving.get() - 100);
        }));
        is_busy.recv().unwrap();
    }
    release
}

#[test]
fn a_source_that_has_no_time_for_a_while_is_not_given_up() {
    let cluster = Cluster::new();
    let [one, other] = [(312, 36 * MIB), (314, 4 * MIB)].map(|(seed, size)| Blob::new(seed, size));
    let sources = holders(&cluster, 2, &one);
    for source in &sources {
        source.own(&other);
    }
    let target = cluster.start(9);
    let first = refuse(&sources[0]);
    target.learn(&one, &[1, 2]);
    until("it says so", || failures(&target, FetchFailure::Busy) > 0);
    target.receives(&one);
    assert_eq!(fetches(&target, FetchEnd::SourceLacks), 0);
    let second = refuse(&sources[1]);
    target.learn(&other, &[1, 2]);
    until("nobody has time", || {
        fetches(&target, FetchEnd::SourceLacks) > 0
    });
    drop((first, second));
    target.receives(&other);
    is_tidy(&target);
}

#[test]
fn a_source_that_comes_back_helps_the_one_that_was_left() {
    let cluster = Cluster::new();
    let blob = Blob::new(313, 32 * MIB);
    let sources = holders(&cluster, 2, &blob);
    // Nobody is there.
    cluster.enlist(2, "127.0.0.1:1".parse().unwrap());
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2]);
    until("one is left", || {
        failures(&target, FetchFailure::Unreachable) > 0 && sent(&sources[0]) > 2 << 20
    });
    cluster.slow_down(&sources[1], SLOW_LINK_BYTES);
    target.receives(&blob);
    assert!(has_helped(&sources[1]), "who came back has sent nothing");
    is_sealed_once(&target);
    is_tidy(&target);
}

/// Keeps memory of both shards of a node until the sender is dropped: places for what
/// comes ahead, and all of the pool but `left_moves`.
fn hold_memory(node: &Node, left_moves: usize) -> flume::Sender<()> {
    let (release, is_released) = flume::bounded::<()>(0);
    for shard in 0..2 {
        let is_released = is_released.clone();
        let (told, is_held) = flume::bounded(1);
        drop(node.begin(shard, move |world| async move {
            let share = &world.replicator.worker().share;
            let places: Vec<_> = std::iter::from_fn(|| share.take(Holding::Ahead)).collect();
            let buffers = std::iter::from_fn(|| world.store.try_buffer(MOVE_BYTES_MAX));
            let mut buffers: Vec<_> = buffers.collect();
            buffers.truncate(buffers.len() - left_moves);
            told.send(()).unwrap();
            let _ = is_released.recv_async().await;
            drop((places, buffers));
        }));
        is_held.recv().unwrap();
    }
    release
}

#[test]
fn without_memory_to_spare_blobs_come_all_the_same() {
    let cluster = Cluster::new();
    let blobs: Vec<Blob> = (307..311).map(|seed| Blob::new(seed, 13 * MIB)).collect();
    let sources = holders(&cluster, 2, &blobs[0]);
    for blob in &blobs[1..] {
        for source in &sources {
            source.own(blob);
        }
    }
    let target = cluster.start(9);
    let release = hold_memory(&target, 2);
    for blob in &blobs {
        target.learn(blob, &[1, 2]);
    }
    for blob in &blobs[..2] {
        target.receives(blob);
    }
    // What comes back is used, by whoever is first.
    drop(release);
    for blob in &blobs[2..] {
        target.receives(blob);
    }
    is_tidy(&target);
}

/// Longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(600);

#[test]
fn a_source_that_sends_nothing_is_left_for_another_one_soon() {
    // It accepts and does not answer, or it stops within the first extent.
    for (seed, sent_bytes) in [(320, 0), (321, 400_000)] {
        let cluster = Cluster::new();
        let blob = Blob::new(seed, 3 * MIB);
        let mut sources = vec![cluster.start(1), cluster.start(2)];
        for source in &sources {
            source.own(&blob);
            cluster.hide(source);
        }
        let target = cluster.start(9);
        target.learn(&blob, &[1, 2]);
        let hung = sources.swap_remove(blob.first_of(2));
        cluster.spoil(&sources[0], Fault::Slow(u64::MAX));
        cluster.spoil(&hung, Fault::Silent(sent_bytes, FOR_EVER));
        let clock = Clock::system();
        let began = clock.now();
        target.receives(&blob);
        let took = clock.now() - began;
        // Five seconds until a connection is given up, ten until a transfer is.
        assert!(took.as_millis() < 4500, "{took:?} with {sent_bytes} bytes");
        assert!(sent(&sources[0]) > 0);
        is_sealed_once(&target);
        is_tidy(&target);
    }
}

#[test]
fn a_silent_source_that_is_the_only_one_is_waited_for() {
    let cluster = Cluster::new();
    let blob = Blob::new(323, 3 * MIB);
    let only = cluster.start(1);
    only.own(&blob);
    let pause = Duration::from_millis(3500);
    cluster.spoil(&only, Fault::Silent(400_000, pause));
    // It has nothing to give.
    let _lacking = cluster.start(2);
    let target = cluster.start(9);
    let clock = Clock::system();
    let began = clock.now();
    target.learn(&blob, &[1]);
    target.receives(&blob);
    assert!(clock.now() - began >= pause);
    assert_eq!(failures(&target, FetchFailure::Stalled), 0);
    is_sealed_once(&target);
    assert_eq!(received(&target), blob.size());
    is_tidy(&target);
}

#[test]
fn sources_that_are_all_slow_to_answer_are_not_left_for_each_other_for_ever() {
    let cluster = Cluster::new();
    let blob = Blob::new(324, 3 * MIB);
    let sources = [cluster.start(1), cluster.start(2)];
    for source in &sources {
        source.own(&blob);
        // Longer than one is waited for, shorter than proving oneself may take.
        cluster.spoil(source, Fault::Silent(100, Duration::from_secs(3)));
    }
    let target = cluster.start(9);
    target.learn(&blob, &[1, 2]);
    target.receives(&blob);
    assert_eq!(failures(&target, FetchFailure::Stalled), 2);
    assert_eq!(failures(&target, FetchFailure::Unreachable), 0);
    is_sealed_once(&target);
    is_tidy(&target);
}

#[test]
fn the_way_to_a_source_is_not_held_against_what_it_brings() {
    let cluster = Cluster::new();
    let blob = Blob::new(325, MIB);
    let far = cluster.start(1);
    far.own(&blob);
    // Every connection takes longer to come about than the bytes may take to come.
    let address = cluster.spoil(&far, Fault::Silent(0, Duration::from_secs(3)));
    let target = cluster.start(9);
    let flown = target.asks((1, address), &blob, Duration::from_millis(2500));
    assert_eq!(flown, Ok(()));
}
