//! What is deleted by digest is gone on every node that reaches a quorum when the
//! delete is answered, however far a node lags; and neither a node that is away nor a
//! quorum that is lost makes anybody wait for long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::promises::{Verdict, options};
use super::serving::push_image;
use super::turn::heavy;
use crate::support::{Client, Cluster, Node, Registry, Request, digest_of, wait_for};

/// The repository of these tests.
const REPOSITORY: &str = "deleted/app";
/// Deletes that a lagging node is asked about.
const ROUNDS: usize = 4;
/// A delete that meets an election, or any answer at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is pushed is everywhere within this.
const SEEN_MAX: Duration = Duration::from_secs(30);
/// A request that waits for nobody is answered within this, on a busy machine too.
const AT_ONCE: Duration = Duration::from_millis(500);
/// One that waits until a node that is away is not to be feared any more.
const OUTLASTED: Duration = Duration::from_secs(3);
/// How long a node without a quorum is asked: some times as long as one wait.
const ASKED: Duration = Duration::from_secs(6);

pub(crate) fn signal(node: &Node, signal: Signal) {
    let pid = i32::try_from(node.pid()).expect("a pid");
    let pid = Pid::from_raw(pid).expect("a pid");
    kill_process(pid, signal).expect("the process takes a signal");
}

/// Pushes an image through a node: a manifest and a layer, as they are asked for.
fn push(address: SocketAddr, number: usize) -> [String; 2] {
    let layer = vec![u8::try_from(number).expect("few"); 40_000];
    let mut registry = Registry::new(address);
    let manifest = push_image(&mut registry, REPOSITORY, &format!("t{number}"), &layer);
    let layer = digest_of("sha256", &layer);
    [
        format!("/v2/{REPOSITORY}/manifests/{manifest}"),
        format!("/v2/{REPOSITORY}/blobs/{layer}"),
    ]
}

fn status_of(address: SocketAddr, method: &str, target: &str) -> Option<u16> {
    let mut client = Client::with_patience(address, PATIENCE);
    let answer = client.try_send(&Request::new(method, target)).ok()?;
    Some(answer.status)
}

/// Whether a node that was stopped before a delete says, after it was acknowledged,
/// that what was deleted is there. The stopped one leads in some rounds.
pub(crate) fn stale_hits(mutant: Option<&str>) -> Verdict {
    let mut cluster = Cluster::of(vec![options(mutant); 3]);
    let addresses = cluster.addresses();
    for round in 0..ROUNDS {
        let leader = cluster.leader();
        let stopped = (leader + round) % 3;
        let deleter = addresses[(stopped + 1 + round / 3) % 3];
        let targets = push(addresses[stopped], round);
        let mut clients = targets.each_ref().map(|target| {
            let mut client = Client::with_patience(addresses[stopped], PATIENCE);
            let request = Request::new("GET", target);
            let is_there = wait_for(SEEN_MAX, || {
                let answer = client.try_send(&request);
                answer.is_ok_and(|answer| answer.status == 200)
            });
            assert!(is_there, "{target} is not there");
            client
        });
        // Its state is as new as it can be when it stops.
        let tag = format!("/v2/{REPOSITORY}/manifests/t{round}");
        assert_eq!(status_of(addresses[stopped], "HEAD", &tag), Some(200));
        signal(&cluster.nodes[stopped].node, Signal::STOP);
        let deleted = targets.each_ref().map(|target| {
            // Repeating is safe when an election cost the answer.
            let is_deleted = || matches!(status_of(deleter, "DELETE", target), Some(202 | 404));
            wait_for(PATIENCE, is_deleted)
        });
        // They wait at the node's door when it goes on.
        for (client, target) in clients.iter_mut().zip(&targets) {
            let request = Request::new("GET", target);
            client.write(&request.head_bytes()).expect("an open door");
        }
        signal(&cluster.nodes[stopped].node, Signal::CONT);
        assert_eq!(deleted, [true, true], "round {round} deletes nothing");
        let resumed = Instant::now();
        for (client, target) in clients.iter_mut().zip(&targets) {
            let answer = client.read_response(target).expect("an answer");
            if answer.status != 404 {
                let (status, took) = (answer.status, resumed.elapsed());
                let log = cluster.nodes[stopped].node.log_text();
                println!("the log of node {stopped}:\n{log}");
                let scene = format!("round {round}, {stopped} stopped, {leader} led");
                let what = if status == 200 {
                    "is served again"
                } else {
                    "is not denied"
                };
                return Err(format!("{scene}: {target} {what}: {status} after {took:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn what_was_deleted_is_not_served_by_a_node_that_lags() {
    let _turn = heavy();
    assert_eq!(stale_hits(None), Ok(()));
}

#[test]
fn nodes_that_are_away_hold_nobody_up_for_long() {
    let _turn = heavy();
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let (leader, images) = (
        cluster.leader(),
        [0, 1, 2, 3].map(|n| push(addresses[0], n)),
    );
    let (stopped, left) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.wait_whole();
    let timed = |index: usize, method: &str, target: &str| {
        let began = Instant::now();
        let status = status_of(addresses[index], method, target);
        (status, began.elapsed())
    };
    for targets in &images {
        for index in 0..3 {
            assert_eq!(timed(index, "GET", &targets[0]).0, Some(200));
        }
    }

    // One that was in use a moment ago may trust what it has for a moment.
    signal(&cluster.nodes[stopped].node, Signal::STOP);
    let (status, took) = timed(left, "DELETE", &images[0][0]);
    assert_eq!(status, Some(202));
    assert!(took < OUTLASTED, "the first delete took {took:?}");
    // After that nobody waits for it.
    for targets in &images[1..3] {
        for (deleter, target) in [left, leader].into_iter().zip(targets) {
            let (status, took) = timed(deleter, "DELETE", target);
            assert_eq!(status, Some(202));
            assert!(took < AT_ONCE, "a delete took {took:?}");
        }
    }

    // The last one has no quorum: one wait, and it serves what it has at once.
    signal(&cluster.nodes[leader].node, Signal::STOP);
    let began = Instant::now();
    let (mut count, mut waits) = (0, Vec::new());
    while began.elapsed() < ASKED {
        let target = &images[3][count % 2];
        let (status, took) = timed(left, "GET", target);
        assert_eq!(status, Some(200), "{target}");
        waits.extend((took > AT_ONCE).then_some(took));
        count += 1;
    }
    println!("{count} pulls without a quorum, of which waited {waits:?}");
    assert!(waits.len() <= 2, "{waits:?} of {count}");
    assert!(waits.iter().all(|took| *took < OUTLASTED), "{waits:?}");
    for index in [stopped, leader] {
        signal(&cluster.nodes[index].node, Signal::CONT);
    }
    // What was deleted is gone for the one that missed it, and what is there stays.
    assert_eq!(timed(stopped, "GET", &images[0][0]).0, Some(404));
    assert_eq!(timed(stopped, "GET", &images[3][0]).0, Some(200));
}
