//! What is linked anew is held by as many voters as what is brought.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::oci::Digest;
use crate::replication::sample::Blob;
use crate::replication::testing::{Cluster, Node, World};
use crate::replication::{HoldError, Options};

const MIB: usize = 1024 * 1024;

fn hold(node: &Node, digest: Digest, copies: usize, votes: bool) -> Result<bool, HoldError> {
    node.on(1, move |world: Rc<World>| async move {
        let replicator = &world.replicator;
        replicator.hold_known(&digest, copies, votes).await
    })
}

#[test]
fn what_one_node_holds_is_copied_before_the_answer() {
    let cluster = Cluster::new();
    let nodes = [cluster.start(1), cluster.start(2), cluster.start(3)];
    let blob = Blob::new(1, 3 * MIB + 5);
    nodes[0].own(&blob);
    assert!(hold(&nodes[0], blob.digest, 1, true).unwrap());
    assert_eq!(nodes[0].metrics.replication.sent_bytes(), 0);
    assert!(hold(&nodes[0], blob.digest, 3, true).unwrap());
    assert!(nodes[1].has(&blob) && nodes[2].has(&blob));
    // What they said is believed, though the state does not say it yet.
    let sent = nodes[0].metrics.replication.sent_bytes();
    assert!(hold(&nodes[0], blob.digest, 3, true).unwrap());
    assert_eq!(nodes[0].metrics.replication.sent_bytes(), sent);
}

#[test]
fn a_node_that_lacks_it_sends_others_to_a_holder_or_fetches_itself() {
    let cluster = Cluster::new();
    let nodes = [cluster.start(1), cluster.start(2), cluster.start(3)];
    let blob = Blob::new(2, 2 * MIB);
    nodes[0].own(&blob);
    // It cannot take the blob itself.
    nodes[1].has_room.store(false, Ordering::Relaxed);
    nodes[1].learn(&blob, &[1]);
    assert!(hold(&nodes[1], blob.digest, 2, true).unwrap());
    assert!(nodes[2].has(&blob) && !nodes[1].has(&blob));
    nodes[1].has_room.store(true, Ordering::Relaxed);
    assert!(hold(&nodes[1], blob.digest, 3, true).unwrap());
    assert!(nodes[1].has(&blob));
}

#[test]
fn copies_that_cannot_be_had_and_those_of_nodes_without_a_vote_are_missed() {
    let cluster = Cluster::new();
    let options = Options {
        hold_timeout: Duration::from_millis(700),
        ..Options::new(1)
    };
    let one = cluster.start_with(options);
    drop(cluster.start(2).stop());
    let blob = Blob::new(3, 50_000);
    one.own(&blob);
    let short = hold(&one, blob.digest, 2, true).unwrap_err();
    assert_eq!((short.wanted, short.held), (2, vec![1]));
    let short = hold(&one, blob.digest, 1, false).unwrap_err();
    assert_eq!(short.held, [0; 0], "a reader's copy counts for nothing");
    one.learn(&blob, &[2]);
    assert!(
        hold(&one, blob.digest, 2, true).unwrap(),
        "a dead node's does"
    );
}

#[test]
fn what_is_in_the_state_or_not_known_moves_nothing() {
    let cluster = Cluster::new();
    let (one, _two) = (cluster.start(1), cluster.start(2));
    let unknown = Blob::new(4, 100_000);
    assert!(!hold(&one, unknown.digest, 2, true).unwrap());
    assert_eq!(one.metrics.replication.sent_bytes(), 0);
}
