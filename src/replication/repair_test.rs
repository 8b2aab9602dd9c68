//! A node gives up a file that fails only where the state says that another one has it.

use std::fs::File;

use super::sample::{Blob, until};
use super::testing::{Cluster, Node};
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
    let entries = |node: &Node| {
        node.metrics
            .journal
            .proposals
            .of(ProposalEnd::Applied)
            .value()
    };
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
