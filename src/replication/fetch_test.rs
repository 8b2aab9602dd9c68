//! Blobs that a node lacks come from those that have them, whatever happens to these.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Options;
use super::sample::{Blob, GENERATION_ID, damage, until};
use super::testing::{Cluster, Node, World};
use crate::base::Clock;
use crate::base::limits::{INLINE_BLOB_BYTES_MAX, LEASE_MS_MIN};
use crate::base::units::to_usize;
use crate::blob::Piece;
use crate::metadata::{Command, Outcome};
use crate::raft::BlobChange;
use crate::telemetry::{FetchEnd, FetchFailure, ServeEnd};

const MIB: usize = 1024 * 1024;

/// Slow enough to be met in the middle of a fetch.
fn slow(node: u64, mib_per_second: u64) -> Options {
    Options {
        background_fetches_max: 1,
        background_bytes_per_second: NonZeroU64::new(mib_per_second << 20),
        ..Options::new(node)
    }
}

fn fetches(node: &Node, how: FetchEnd) -> u64 {
    node.metrics.replication.fetches.of(how).value()
}

fn failures(node: &Node, reason: FetchFailure) -> u64 {
    node.metrics.replication.failures(reason)
}

fn received(node: &Node) -> u64 {
    node.metrics.replication.received_bytes()
}

fn sent(node: &Node) -> u64 {
    node.metrics.replication.sent_bytes()
}

#[test]
fn blobs_of_every_size_come_and_are_written_down() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    let smallest = to_usize(INLINE_BLOB_BYTES_MAX) + 1;
    let sizes = [smallest, MIB - 1, MIB, MIB + 1, 5 * MIB + 4097, 64 * MIB];
    let blobs: Vec<Blob> = (1..)
        .zip(sizes)
        .map(|(seed, bytes)| Blob::new(seed, bytes))
        .collect();
    for blob in &blobs {
        source.own(blob);
        target.learn(blob, &[1]);
    }
    for blob in &blobs {
        target.receives(blob);
    }
    for blob in &blobs {
        until("its holder is known", || target.knows_holder(blob, 2));
        assert!(source.knows_holder(blob, 1));
    }
    let bytes: usize = sizes.iter().sum();
    let bytes = u64::try_from(bytes).unwrap();
    assert_eq!((sent(&source), received(&target)), (bytes, bytes));
    assert_eq!(fetches(&target, FetchEnd::Sealed), 6);
    until("nothing is missing", || {
        target.metrics.replication.missing_blobs.value() == 0
    });
    let serves = &source.metrics.replication.serves;
    assert_eq!(serves.of(ServeEnd::Sent).value(), 6);
    source.stop();
    target.stop();
}

#[test]
fn a_blob_without_known_holders_is_asked_of_everybody() {
    let cluster = Cluster::new();
    let (_idle, source, target) = (cluster.start(1), cluster.start(2), cluster.start(3));
    let blobs: Vec<Blob> = (0..4).map(|seed| Blob::new(seed, 100_000)).collect();
    for blob in &blobs {
        source.push(blob);
        target.learn(blob, &[]);
    }
    for blob in &blobs {
        target.receives(blob);
    }
}

#[test]
fn when_a_source_dies_in_mid_blob_another_one_goes_on_from_there() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let target = cluster.start_with(slow(3, 12));
    let blob = Blob::new(7, 24 * MIB + 1000);
    one.own(&blob);
    two.own(&blob);
    target.learn(&blob, &[1, 2]);
    until("a part has come", || received(&target) > 6 << 20);
    let (first, second) = if sent(&one) > 0 {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(sent(&second), 0, "one source at a time");
    drop(first.stop());
    target.receives(&blob);
    assert!(sent(&second) > 0);
    until("one fetch has ended well", || {
        fetches(&target, FetchEnd::Sealed) == 1
    });
    assert!(fetches(&target, FetchEnd::SourceFailed) >= 1);
    let twice = received(&target) - blob.size();
    assert!(twice < 2 << 20, "{twice} bytes came twice");
}

#[test]
fn a_source_with_wrong_bytes_is_noticed_by_the_extent_and_replaced() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let target = cluster.start(3);
    let blobs: Vec<Blob> = (20..26).map(|seed| Blob::new(seed, 6 * MIB + 77)).collect();
    for blob in &blobs {
        one.own(blob);
        two.own(blob);
        // Whichever is asked first: half of the blobs meet the damage.
        damage(&one.path(blob), 3 * 1024 * 1024 + 5);
        target.learn(blob, &[1, 2]);
    }
    for blob in &blobs {
        target.receives(blob);
    }
    let lies = failures(&target, FetchFailure::Checksum);
    assert!((1..=6).contains(&lies), "{lies} of 6 met the damage");
    assert_eq!(fetches(&target, FetchEnd::SourceLied), lies);
    let twice = received(&target) - 6 * blobs[0].size();
    assert!(twice <= lies << 21, "{twice} bytes came twice");
}

#[test]
fn a_blob_that_only_a_liar_has_stays_missing_until_somebody_else_has_it() {
    let cluster = Cluster::new();
    let (liar, target) = (cluster.start(1), cluster.start(3));
    let blob = Blob::new(40, 2 * MIB);
    liar.own(&blob);
    damage(&liar.path(&blob), 0);
    target.learn(&blob, &[1]);
    until("the lie is noticed", || {
        failures(&target, FetchFailure::Checksum) > 0
    });
    assert!(!target.has(&blob));
    assert_eq!(target.metrics.replication.missing_blobs.value(), 1);
    let honest = cluster.start(2);
    honest.own(&blob);
    target.learn(&blob, &[2]);
    target.receives(&blob);
}

#[test]
fn after_a_restart_a_large_blob_goes_on_where_it_was() {
    let cluster = Cluster::new();
    let source = cluster.start(1);
    let target = cluster.start_with(slow(2, 24));
    let blob = Blob::new(55, 40 * MIB + 9);
    source.own(&blob);
    target.learn(&blob, &[1]);
    until("a part has come", || received(&target) > 20 << 20);
    let before = received(&target);
    let target = cluster.restart(target.stop(), Options::new(2));
    target.receives(&blob);
    let twice = before + received(&target) - blob.size();
    assert!(
        received(&target) <= blob.size() - (16 << 20),
        "{twice} bytes came twice"
    );
    assert_eq!(
        std::fs::read_dir(target.directory.path().join("uploads"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn after_a_restart_a_node_finds_what_it_lacks_and_goes_on() {
    let cluster = Cluster::new();
    let source = cluster.start(1);
    let target = cluster.start_with(slow(2, 8));
    let blobs: Vec<Blob> = (50..54).map(|seed| Blob::new(seed, 4 * MIB)).collect();
    for blob in &blobs {
        source.own(blob);
        target.learn(blob, &[1]);
    }
    until("one has come, and a part", || {
        received(&target) > 5 << 20 && fetches(&target, FetchEnd::Sealed) >= 1
    });
    let remains = target.stop();
    let came: Vec<bool> = blobs
        .iter()
        .map(|blob| remains.directory.path().join(blob.name()).exists())
        .collect();
    assert!(came.contains(&true) && came.contains(&false));
    let target = cluster.restart(remains, Options::new(2));
    for blob in &blobs {
        target.receives(blob);
        until("its holder is known", || target.knows_holder(blob, 2));
    }
    let again = came.iter().filter(|came| !*came).count();
    let again = u64::try_from(again).unwrap();
    assert_eq!(fetches(&target, FetchEnd::Sealed), again);
}

#[test]
fn no_more_is_under_way_than_may_be_and_everything_comes() {
    let cluster = Cluster::new();
    let source = cluster.start(1);
    let options = Options {
        background_fetches_max: 2,
        fetches_max: 3,
        ..Options::new(2)
    };
    let target = cluster.start_with(options);
    let blobs: Vec<Blob> = (100..140).map(|seed| Blob::new(seed, 700_000)).collect();
    for blob in &blobs {
        source.push(blob);
    }
    for blob in &blobs {
        target.learn(blob, &[1]);
    }
    let mut most = 0;
    until("all have come", || {
        most = most.max(target.metrics.replication.fetching_blobs.value());
        blobs.iter().all(|blob| target.has(blob))
    });
    assert!((1..=2).contains(&most), "{most} at a time");
    for blob in &blobs {
        target.receives(blob);
    }
}

#[test]
fn a_condemned_blob_is_not_fetched_any_more() {
    let cluster = Cluster::new();
    let source = cluster.start(1);
    let target = cluster.start_with(slow(2, 4));
    let blob = Blob::new(60, 16 * MIB);
    source.own(&blob);
    target.learn(&blob, &[1]);
    until("a part has come", || received(&target) > 2 << 20);
    let digest = blob.digest;
    let late_ms = Clock::system().unix_ms() + 3 * LEASE_MS_MIN;
    let outcome = target.on(0, move |world| async move {
        let generation = GENERATION_ID;
        let condemn = Command::Condemn { digest, generation };
        world.journal.propose_at(condemn, late_ms).await.unwrap()
    });
    assert_eq!(outcome, Outcome::Condemned);
    until("it is given up", || {
        fetches(&target, FetchEnd::GivenUp) == 1
    });
    until("nothing is left of it", || {
        let uploads = target.directory.path().join("uploads");
        std::fs::read_dir(uploads).unwrap().count() == 1
    });
    until("it is not missing", || {
        target.metrics.replication.missing_blobs.value() == 0
    });
    assert!(!target.has(&blob));
}

#[test]
fn a_node_that_was_away_is_asked_again_when_it_is_back() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(61, 3 * MIB);
    source.own(&blob);
    let remains = source.stop();
    target.learn(&blob, &[1]);
    until("it was not reached", || {
        failures(&target, FetchFailure::Unreachable) > 0
    });
    std::thread::park_timeout(Duration::from_millis(300));
    let source = cluster.restart(remains, Options::new(1));
    target.receives(&blob);
    until("all of it was sent", || sent(&source) == blob.size());
}

#[test]
fn a_file_that_went_missing_is_fetched_again_and_not_offered_meanwhile() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(62, 2 * MIB);
    source.own(&blob);
    target.own(&blob);
    let remains = target.stop();
    std::fs::remove_file(remains.directory.path().join(blob.name())).unwrap();
    let away = source.stop();
    let target = cluster.restart(remains, Options::new(2));
    until("it is not offered", || !target.knows_holder(&blob, 2));
    target.learn(&blob, &[1]);
    let _source = cluster.restart(away, Options::new(1));
    target.receives(&blob);
    until("it is offered again", || target.knows_holder(&blob, 2));
}

#[test]
fn a_full_disk_takes_no_copies_until_it_has_room() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    target.has_room.store(false, Ordering::Relaxed);
    let blob = Blob::new(63, 2 * MIB);
    source.own(&blob);
    target.learn(&blob, &[1]);
    let file = blob.file();
    // Clients get it all the same.
    let content = target.on(1, move |world| async move {
        let mut content = world
            .replicator
            .content(&file, 2 << 20, 1..2 << 20)
            .await
            .unwrap();
        let mut read = Vec::new();
        while let Some(piece) = content.next().await.unwrap() {
            match piece {
                Piece::Memory(chunk) => read.extend_from_slice(&chunk),
                Piece::Resident { .. } => panic!("there is no file"),
            }
        }
        read
    });
    assert!(content == blob.content[1..]);
    until("it is missing", || {
        target.metrics.replication.missing_blobs.value() == 1
    });
    assert!(!target.has(&blob), "what was lent was kept");
    target.has_room.store(true, Ordering::Relaxed);
    target.receives(&blob);
}

#[test]
fn after_a_snapshot_everything_is_looked_at_again() {
    let cluster = Cluster::new();
    let (source, target) = (cluster.start(1), cluster.start(2));
    let blobs: Vec<Blob> = (0..300)
        .map(|seed| Blob::new(seed + 1000, 17_000))
        .collect();
    for blob in &blobs[..3] {
        source.own(blob);
        target.own(blob);
    }
    std::fs::remove_file(target.path(&blobs[1])).unwrap();
    for blob in &blobs[3..] {
        // Several pages of blobs that are not missed.
        target.push(blob);
    }
    let links: Vec<_> = blobs[3..].iter().map(Blob::link).collect();
    target.on(0, |world| async move {
        for link in links {
            world.journal.propose(link).await.unwrap();
        }
        world.changes.send(BlobChange::Everything).unwrap();
    });
    target.learn(&blobs[1], &[1]);
    target.receives(&blobs[1]);
    until("one fetch has ended well", || {
        fetches(&target, FetchEnd::Sealed) == 1
    });
}

#[test]
fn three_nodes_end_with_all_blobs_whoever_got_them() {
    let cluster = Cluster::new();
    let nodes = [cluster.start(1), cluster.start(2), cluster.start(3)];
    let sizes = [17_000, 40_000, 300_000, MIB, 2 * MIB + 7];
    let blobs: Vec<(usize, Blob)> = (0..30)
        .map(|index| {
            let seed = u64::try_from(index).unwrap() + 5000;
            (index % 3, Blob::new(seed, sizes[index % sizes.len()]))
        })
        .collect();
    for (owner, blob) in &blobs {
        nodes[*owner].push(blob);
        for node in &nodes {
            // Each hears of it at another time, and not who has it.
            node.learn(blob, &[]);
        }
    }
    for (_, blob) in &blobs {
        for node in &nodes {
            node.receives(blob);
            until("its holder is known", || node.knows_holder(blob, node.id));
        }
    }
    for node in &nodes {
        let uploads = node.directory.path().join("uploads");
        until("nothing is left over", || {
            std::fs::read_dir(&uploads).unwrap().count() == 1
        });
        assert_eq!(failures(node, FetchFailure::Checksum), 0);
        assert_eq!(fetches(node, FetchEnd::LocalFailed), 0);
        assert_eq!(node.metrics.replication.missing_blobs.value(), 0);
    }
}

#[test]
fn until_all_of_the_state_was_looked_at_something_may_be_missing() {
    let cluster = Cluster::new();
    let node = cluster.start(1);
    let missing = |world: &World| world.replicator.shared().missing_count();
    until("an empty state was looked at", || {
        node.on(0, move |world| async move { missing(&world) }) == 0
    });
    let after_a_snapshot = node.on(0, move |world| async move {
        world.changes.send(BlobChange::Everything).unwrap();
        missing(&world)
    });
    assert_eq!(after_a_snapshot, 1);
    until("it was looked at again", || {
        node.on(0, move |world| async move { missing(&world) }) == 0
    });
    let blob = Blob::new(60, 100_000);
    node.learn(&blob, &[]);
    let count = node.on(0, move |world| async move { missing(&world) });
    assert_eq!(count, 1, "nobody has it");
}
