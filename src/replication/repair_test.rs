//! A node gives up a file that fails only where the state says that another one has it.

use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use super::Content;
use super::leaving::Leaving;
use super::letter::Letter;
use super::repair::Verdict;
use super::sample::{Blob, damage, until};
use super::slow_link::Fault;
use super::testing::{Cluster, Node};
use crate::blob::{Piece, ReadError};
use crate::metadata::{self, Command, Outcome, YIELD_FILE_LEVEL};
use crate::telemetry::ProposalEnd;

const MIB: usize = 1024 * 1024;

fn cut(node: &Node, blob: &Blob) {
    let file = File::options().write(true).open(node.path(blob)).unwrap();
    file.set_len(blob.size() / 2).unwrap();
}

fn set_aside(node: &Node) -> u64 {
    node.metrics.blob.set_aside.value()
}

fn doubtful(node: &Node) -> i64 {
    node.metrics.replication.doubtful_files.value()
}

/// Reads a blob to its end on a shard; whether all of it came.
fn is_read(node: &Node, blob: &Blob) -> bool {
    let (file, size) = (blob.file(), blob.size());
    node.on(1, move |world| async move {
        let Ok(mut content) = world.replicator.content(&file, size, 0..size).await else {
            return false;
        };
        loop {
            match content.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    })
}

/// What is left of a blob; bytes that are to be sent from its file are taken to be right.
async fn rest_of(content: &mut Content, blob: &Blob) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(piece) = content.next().await.ok()? {
        match piece {
            Piece::Memory(chunk) => all.extend_from_slice(&chunk),
            Piece::Resident { offset, bytes, .. } => {
                let start = usize::try_from(offset).unwrap();
                let count = usize::try_from(bytes).unwrap();
                all.extend_from_slice(&blob.content[start..][..count]);
            }
        }
    }
    Some(all)
}

/// Reads the bytes of a blob from `start` on a shard.
fn read_from(node: &Node, blob: &Blob, start: u64) -> Option<Vec<u8>> {
    let blob = blob.clone();
    node.on(1, move |world| async move {
        let (file, size) = (blob.file(), blob.size());
        let opened = world.replicator.content(&file, size, start..size).await;
        rest_of(&mut opened.ok()?, &blob).await
    })
}

fn entries(node: &Node) -> u64 {
    let proposals = &node.metrics.journal.proposals;
    proposals.of(ProposalEnd::Applied).value()
}

fn level(node: &Node) -> u32 {
    node.on(0, |world| async move {
        metadata::format_level(&world.journal.view()).unwrap()
    })
}

/// The node's journal is in the formats that know the question.
fn asks_first(node: &Node) {
    until("it says what it knows", || level(node) >= YIELD_FILE_LEVEL);
}

#[test]
fn of_two_nodes_that_fail_at_once_the_second_one_keeps_its_file_until_it_may_go() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(70, 2 * MIB + 9);
    for node in [&one, &two] {
        asks_first(node);
        node.own(&blob);
        node.learn(&blob, &[1, 2]);
        cut(node, &blob);
    }
    // The entry of the first one comes before that of the second one.
    let yielded = Command::YieldFile {
        node: 1,
        digest: blob.digest,
        generation: blob.file().generation,
    };
    assert_eq!(two.propose(yielded), Outcome::Applied);
    assert!(!is_read(&two, &blob));
    assert!(two.has(&blob));
    assert_eq!((set_aside(&two), doubtful(&two)), (0, 1));
    assert!(two.knows_holder(&blob, 2));
    // Whoever reads it meanwhile does not write to the journal.
    let before = entries(&two);
    assert!(!is_read(&two, &blob));
    assert_eq!(entries(&two), before);

    // The first one may go: its journal counts on the second one.
    let reading = one.begin(0, {
        let (file, size) = (blob.file(), blob.size());
        move |world| async move { world.replicator.content(&file, size, 0..1).await.is_ok() }
    });
    until("the first one is set aside", || set_aside(&one) == 1);
    assert!(!one.knows_holder(&blob, 1));

    let honest = cluster.start(3);
    honest.own(&blob);
    two.learn(&blob, &[3]);
    until("the second one is set aside", || set_aside(&two) == 1);
    two.receives(&blob);
    assert!(is_read(&two, &blob));
    until("nothing is in doubt", || doubtful(&two) == 0);
    until("it is offered again", || two.knows_holder(&blob, 2));
    one.receives(&blob);
    assert!(reading.recv().unwrap());
    until("it is offered again", || one.knows_holder(&blob, 1));
}

#[test]
fn a_file_in_doubt_that_reads_well_again_stays_and_is_offered() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(71, 2 * MIB);
    asks_first(&one);
    one.own(&blob);
    cut(&one, &blob);
    assert!(!is_read(&one, &blob));
    assert_eq!((set_aside(&one), doubtful(&one)), (0, 1));
    std::fs::write(one.path(&blob), &blob.content).unwrap();
    // An answer that was lost had granted it.
    two.own(&blob);
    one.learn(&blob, &[2]);
    let yielded = Command::YieldFile {
        node: 1,
        digest: blob.digest,
        generation: blob.file().generation,
    };
    assert_eq!(one.propose(yielded), Outcome::Applied);
    assert!(!one.knows_holder(&blob, 1));
    until("nothing is in doubt", || doubtful(&one) == 0);
    until("it is offered", || one.knows_holder(&blob, 1));
    assert_eq!(set_aside(&one), 0);
}

#[test]
fn a_cluster_of_older_formats_gives_files_up_as_it_did() {
    let cluster = Cluster::of_level(YIELD_FILE_LEVEL - 1);
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(72, 2 * MIB);
    one.own(&blob);
    two.own(&blob);
    one.learn(&blob, &[2]);
    assert_eq!(level(&one), YIELD_FILE_LEVEL - 1);
    cut(&one, &blob);
    assert!(is_read(&one, &blob));
    assert_eq!(set_aside(&one), 1);
}

#[test]
fn without_a_quorum_a_bad_file_stays_and_its_bytes_come_from_another_node() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let (blob, other) = (Blob::new(73, 3 * MIB + 9), Blob::new(74, MIB + 1));
    asks_first(&one);
    for blob in [&blob, &other] {
        one.own(blob);
        two.own(blob);
        one.learn(blob, &[1, 2]);
    }
    // From now on nobody says that a file may go.
    one.on(0, |world| async move { world.journal.shutdown().await });
    // In mid-file …
    let path = one.path(&blob);
    let cut_blob = blob.clone();
    let all = one.on(1, move |world| async move {
        let (blob, size) = (&cut_blob, cut_blob.size());
        let file = blob.file();
        let content = world.replicator.content(&file, size, 0..size);
        let mut content = content.await.unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(size / 2).unwrap();
        rest_of(&mut content, blob).await.unwrap()
    });
    assert!(all == *blob.content);
    // … and whoever comes next, at once.
    for start in [0, 1, blob.size() - 1] {
        let got = read_from(&one, &blob, start).unwrap();
        assert!(got == blob.content[usize::try_from(start).unwrap()..]);
    }
    cut(&one, &other);
    assert!(read_from(&one, &other, 0).unwrap() == *other.content);
    until("both are in doubt", || doubtful(&one) == 2);
    assert!(read_from(&one, &blob, 1).is_some());
    assert_eq!(set_aside(&one), 0);
    assert!(one.has(&blob) && one.has(&other));
    // A node that has something else is not believed.
    damage(&two.path(&other), 5);
    let (file, size) = (other.file(), other.size());
    let reading = one.begin(1, move |world| async move {
        world.replicator.content(&file, size, 0..1).await.is_ok()
    });
    assert!(reading.recv_timeout(Duration::from_secs(1)).is_err());
}

#[test]
fn however_many_read_a_bad_file_it_is_given_up_once() {
    const READERS: usize = 24;
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(75, 2 * MIB + 9);
    asks_first(&one);
    one.own(&blob);
    two.own(&blob);
    one.learn(&blob, &[1, 2]);
    cut(&one, &blob);
    let before = entries(&one);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let blob = blob.clone();
            one.begin(1, move |world| async move {
                let (file, size) = (blob.file(), blob.size());
                let opened = world.replicator.content(&file, size, 0..size).await;
                rest_of(&mut opened.ok()?, &blob).await
            })
        })
        .collect();
    for reader in readers {
        assert!(reader.recv().unwrap().unwrap() == *blob.content);
    }
    one.receives(&blob);
    until("it is offered again", || one.knows_holder(&blob, 1));
    assert_eq!(set_aside(&one), 1);
    // It is given up, it is not here, it is here.
    let written = entries(&one) - before;
    assert!(written <= 3, "{written}");
}

#[test]
fn a_node_that_gives_a_file_up_is_not_counted_on() {
    let cluster = Cluster::new();
    // The other one is said to have it, and never gives it.
    let (one, _two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(76, 2 * MIB + 9);
    asks_first(&one);
    one.push(&blob);
    one.learn(&blob, &[2]);
    let file = blob.file();
    let digest = blob.digest;
    let forget = || Command::Holders {
        node: 1,
        add: Vec::new(),
        remove: vec![digest],
    };
    let forgotten = forget();
    let is_counted_on = one.on(0, move |world| async move {
        let worker = Rc::clone(world.replicator.worker());
        let leaving = Leaving::begin(&worker, &file).await.unwrap();
        world.journal.propose(forgotten).await.unwrap();
        worker.shared.letters().0.send(Letter::Sound(file)).unwrap();
        drop(Leaving::begin(&worker, &file).await.unwrap());
        let is_holder = metadata::is_holder(&world.journal.view(), &digest, 1).unwrap();
        drop(leaving);
        is_holder
    });
    assert!(!is_counted_on, "while it was being given up");
    until("what was held back is said", || one.knows_holder(&blob, 1));

    one.propose(forget());
    let (verdict, is_counted_on) = one.on(0, move |world| async move {
        let worker = Rc::clone(world.replicator.worker());
        // It is about to be offered.
        worker.shared.letters().0.send(Letter::Sound(file)).unwrap();
        let failure = ReadError::TooShort {
            size_bytes: 2,
            file_bytes: 1,
        };
        let verdict = worker.replace(&file, None, &failure).await;
        drop(Leaving::begin(&worker, &file).await.unwrap());
        let is_holder = metadata::is_holder(&world.journal.view(), &digest, 1).unwrap();
        (verdict, is_holder)
    });
    assert_eq!(verdict, Verdict::Replaced);
    assert!(!is_counted_on);
    assert!(!one.has(&blob));
}

#[test]
fn the_only_file_is_trusted_again_when_it_is_as_it_was() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    let blob = Blob::new(77, 2 * MIB);
    asks_first(&one);
    one.own(&blob);
    cut(&one, &blob);
    assert!(!is_read(&one, &blob));
    assert_eq!((set_aside(&one), doubtful(&one)), (0, 1));
    std::fs::write(one.path(&blob), &blob.content).unwrap();
    until("nothing is in doubt", || doubtful(&one) == 0);
    assert!(is_read(&one, &blob));
}

#[test]
fn a_file_that_fails_while_another_node_is_served_is_replaced() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    asks_first(&one);
    let address = cluster.spoil(&one, Fault::Slow(u64::MAX));
    let other = cluster.start(9);
    // Nothing of it is there, or what the other node asks for and no more.
    for (round, file_bytes) in [(1, 0), (2, 1 << 20)] {
        let blob = Blob::new(77 + round, 3 * MIB + 9);
        one.own(&blob);
        two.own(&blob);
        one.learn(&blob, &[1, 2]);
        let file = File::options().write(true).open(one.path(&blob)).unwrap();
        file.set_len(file_bytes).unwrap();
        let asked = other.asks((1, address), &blob, Duration::from_secs(10));
        assert_eq!(asked, Err("the source failed".to_owned()));
        until("the bad file is set aside", || set_aside(&one) == round);
        one.receives(&blob);
        assert_eq!(
            other.asks((1, address), &blob, Duration::from_secs(10)),
            Ok(())
        );
    }
}
