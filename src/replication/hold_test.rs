//! A push waits for copies, and a copy counts only when it is durable.

use std::rc::Rc;
use std::time::Duration;

use super::sample::{Blob, until};
use super::testing::{Cluster, Node, World, push};
use super::{HoldError, Options};
use crate::peer::{Call, RefusalCode, Service};
use crate::telemetry::HoldEnd;

const MIB: usize = 1024 * 1024;

/// Seals a blob on `node` and has it held; the seal is committed only afterwards.
fn hold(node: &Node, blob: &Blob, copies: usize) -> Result<Vec<u64>, HoldError> {
    let blob = blob.clone();
    node.on(1, move |world: Rc<World>| async move {
        let sealed = push(&world, &blob).await;
        let held = world.replicator.hold_elsewhere(&sealed, copies).await;
        sealed.commit().await;
        held
    })
}

#[test]
fn the_answer_comes_when_the_copies_are_sealed() {
    let cluster = Cluster::new();
    let nodes = [cluster.start(1), cluster.start(2), cluster.start(3)];
    for (seed, bytes, copies) in [(1, 20_000, 1), (2, MIB + 1, 2), (3, 20 * MIB, 1)] {
        let blob = Blob::new(seed, bytes);
        let held = hold(&nodes[0], &blob, copies).unwrap();
        assert!(held.len() >= copies && !held.contains(&1), "{held:?}");
        for node in &nodes[1..] {
            if held.contains(&node.id) {
                assert!(node.has(&blob), "node {} answered before", node.id);
                node.receives(&blob);
            }
        }
        // Nobody holds it by the state before it is proposed.
        assert!(!nodes[1].knows_holder(&blob, 2));
        for node in &nodes {
            node.learn(&blob, &[]);
        }
        for node in &nodes {
            node.receives(&blob);
            until("it is known", || node.knows_holder(&blob, node.id));
        }
    }
    let held = nodes[0].metrics.replication.holds.of(HoldEnd::Held);
    assert!(held.value() >= 4);
}

#[test]
fn a_copy_that_is_there_already_is_confirmed_at_once() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(4, 3 * MIB);
    two.push(&blob);
    assert_eq!(hold(&one, &blob, 1).unwrap(), [2]);
    assert_eq!(one.metrics.replication.sent_bytes(), 0);
}

#[test]
fn one_dead_node_of_three_does_not_matter_and_two_do() {
    let cluster = Cluster::new();
    let options = Options {
        hold_timeout: Duration::from_secs(2),
        ..Options::new(1)
    };
    let one = cluster.start_with(options);
    let (two, three) = (cluster.start(2), cluster.start(3));
    drop(three.stop());
    assert_eq!(hold(&one, &Blob::new(5, 50_000), 1).unwrap(), [2]);
    let short = hold(&one, &Blob::new(6, 50_000), 2).unwrap_err();
    assert_eq!((short.wanted, short.held), (2, vec![2]));
    drop(two.stop());
    let none = hold(&one, &Blob::new(7, 50_000), 1).unwrap_err();
    assert_eq!(none.held, [0; 0]);
}

#[test]
fn what_lives_in_the_state_and_what_needs_no_copies_is_asked_of_nobody() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    assert_eq!(hold(&one, &Blob::new(8, 1000), 2).unwrap(), [0; 0]);
    assert_eq!(hold(&one, &Blob::new(9, 100_000), 0).unwrap(), [0; 0]);
    let alone = hold(&one, &Blob::new(10, 100_000), 1).unwrap_err();
    assert_eq!(alone.held, [0; 0]);
}

#[test]
fn a_call_that_says_nothing_sensible_is_refused() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    for (payload, code) in [
        (&b""[..], RefusalCode::Malformed),
        (b"\x02\x01", RefusalCode::UnknownService),
        (b"\x01\x09", RefusalCode::Malformed),
    ] {
        let refused = one.on(0, move |world: Rc<World>| async move {
            let call = Call {
                from: 2,
                service: Service::Blob,
                payload: bytes::Bytes::from_static(payload),
            };
            world.replicator.shared().handle_call(call).await
        });
        assert_eq!(refused.unwrap_err().code, code);
    }
}

#[test]
fn a_held_copy_outlives_a_restart_before_the_state_knows_it() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1), cluster.start(2));
    let blob = Blob::new(11, 2 * MIB);
    assert_eq!(hold(&one, &blob, 1).unwrap(), [2]);
    let two = cluster.restart(two.stop(), Options::new(2));
    assert!(two.has(&blob));
    two.learn(&blob, &[1]);
    until("it is known", || two.knows_holder(&blob, 2));
    assert_eq!(two.metrics.replication.received_bytes(), 0);
}

#[test]
fn under_tls_blobs_are_fetched_held_and_followed_alike() {
    let cluster = Cluster::secured();
    let (one, two, three) = (cluster.start(1), cluster.start(2), cluster.start(3));
    let blob = Blob::new(12, 5 * MIB + 99);
    let held = hold(&one, &blob, 2).unwrap();
    assert_eq!(held.len(), 2);
    let late = Blob::new(13, 3 * MIB);
    one.own(&late);
    for node in [&two, &three] {
        node.learn(&blob, &[1]);
        node.learn(&late, &[1]);
        node.receives(&blob);
        node.receives(&late);
    }
    let file = late.file();
    let first = two.on(1, move |world: Rc<World>| async move {
        let content = world.replicator.content(&file, 3 << 20, 0..3 << 20);
        content.await.unwrap().next().await.is_ok()
    });
    assert!(first);
}
