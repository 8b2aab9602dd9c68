//! Clusters of several nodes: elections, changes and reads on every node,
//! restarts, and nodes that die.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Home, NOBODY_WAITS, Node, agree, cluster, leader, soon, stop, until, until_members};
use crate::base::Clock;
use crate::metadata::manifest;
use crate::raft::mark::MARK_END;
use crate::raft::node_tests::{LARGE_BYTES, put, repository};
use crate::raft::{MembersError, Options, ProposeError, ReadError};
use crate::runtime::{Task, run_alone, sleep, spawn};
use crate::telemetry::{CallEnd, PeerService};

const fn as_usual(_: &mut Options) {}

/// Proposes one number after the other through a node; keeps account of what was
/// acknowledged.
struct Writer {
    acknowledged: Rc<RefCell<Vec<u64>>>,
    failed: Rc<RefCell<Vec<ProposeError>>>,
    is_over: Rc<Cell<bool>>,
    task: Task<()>,
}

impl Writer {
    fn start(node: &Node, first: u64) -> Self {
        let handle = node.handle.clone();
        let acknowledged = Rc::new(RefCell::new(Vec::new()));
        let failed = Rc::new(RefCell::new(Vec::new()));
        let is_over = Rc::new(Cell::new(false));
        let (written, errors, over) = (
            Rc::clone(&acknowledged),
            Rc::clone(&failed),
            Rc::clone(&is_over),
        );
        let task = spawn(async move {
            for number in first.. {
                match handle.propose(crate::raft::suite_tests::link(number)).await {
                    Ok(_) => written.borrow_mut().push(number),
                    Err(error) => errors.borrow_mut().push(error),
                }
                if over.get() {
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
        Self {
            acknowledged,
            failed,
            is_over,
            task,
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.borrow().len()
    }

    /// Ends it: what was acknowledged, and what failed.
    async fn stop(self) -> (Vec<u64>, Vec<ProposeError>) {
        self.is_over.set(true);
        soon("a writer ends", self.task).await.unwrap();
        (self.acknowledged.take(), self.failed.take())
    }
}

#[test]
fn every_node_takes_changes_and_reads_what_any_other_took() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        for (number, writer) in (0..).zip(&nodes) {
            writer.propose(number).await.unwrap();
            // Whoever pushed here reads it here, without asking anyone.
            assert!(writer.holds(number));
            for reader in &nodes {
                assert!(reader.reads(number).await, "{number} on {}", reader.id);
            }
        }
        leader(&nodes).await;
        agree(&nodes).await;
        stop(nodes);
    });
}

#[test]
fn what_was_acknowledged_outlives_a_leader_that_dies() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        let dying = leader(&nodes).await;
        let writers: Vec<_> = (0..)
            .zip(&nodes)
            .map(|(at, node)| Writer::start(node, at * 1_000_000))
            .collect();
        until("changes flow", || {
            writers.iter().all(|writer| writer.count() > 20)
        })
        .await;
        let dead = nodes.remove(dying).kill();
        let mut writers = writers;
        let silenced = writers.remove(dying);
        let before: Vec<_> = writers.iter().map(Writer::count).collect();
        until("changes flow again", || {
            writers
                .iter()
                .zip(&before)
                .all(|(writer, before)| writer.count() > before + 20)
        })
        .await;
        let mut acknowledged = silenced.acknowledged.take();
        drop(silenced);
        for writer in writers {
            let (numbers, failed) = writer.stop().await;
            acknowledged.extend(numbers);
            // What the dead leader may have had was proposed again.
            assert_eq!(failed, []);
        }
        for node in &nodes {
            node.handle.read_index().await.unwrap();
            let missing = acknowledged.iter().filter(|number| !node.holds(**number));
            assert_eq!(missing.count(), 0);
        }
        agree(&nodes).await;
        stop(nodes);
        drop(dead);
    });
}

#[test]
fn a_follower_that_restarts_catches_up_and_disturbs_nobody() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let resting = nodes.remove((leads + 1) % 3).stop();
        for number in 0..50 {
            nodes[0].propose(number).await.unwrap();
        }
        let before = nodes[0].handle.status();
        let back = resting.start();
        // It waits for a leader; it does not call for one.
        assert!(back.handle.status().term <= before.term);
        assert!(back.handle.recovered(Duration::from_secs(20)).await);
        assert!(back.reads(49).await);
        nodes.push(back);
        leader(&nodes).await;
        agree(&nodes).await;
        stop(nodes);
    });
}

#[test]
fn a_leader_that_restarts_hands_over_and_no_change_fails() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let others: Vec<_> = (0..3).filter(|at| *at != leads).collect();
        let writers: Vec<_> = (0..)
            .zip(&others)
            .map(|(first, at)| Writer::start(&nodes[*at], first * 1_000_000))
            .collect();
        until("changes flow", || {
            writers.iter().all(|writer| writer.count() > 20)
        })
        .await;
        let resting = nodes.remove(leads).stop();
        let before: Vec<_> = writers.iter().map(Writer::count).collect();
        until("changes flow again", || {
            writers
                .iter()
                .zip(&before)
                .all(|(writer, before)| writer.count() > before + 20)
        })
        .await;
        nodes.push(resting.start());
        let mut acknowledged = Vec::new();
        for writer in writers {
            let (numbers, failed) = writer.stop().await;
            assert_eq!(failed, []);
            acknowledged.extend(numbers);
        }
        leader(&nodes).await;
        agree(&nodes).await;
        assert!(acknowledged.iter().all(|number| nodes[2].holds(*number)));
        stop(nodes);
    });
}

#[test]
fn a_cluster_that_stopped_whole_starts_whole() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        for number in 0..20 {
            nodes[2].propose(number).await.unwrap();
        }
        let homes = stop(nodes);
        let nodes: Vec<_> = homes.into_iter().map(Home::start).collect();
        for node in &nodes {
            assert!(node.handle.recovered(Duration::from_secs(20)).await);
            assert!(node.reads(19).await);
        }
        nodes[1].propose(20).await.unwrap();
        agree(&nodes).await;
        stop(nodes);
    });
}

#[test]
fn without_a_quorum_nothing_is_promised_and_what_is_there_is_served() {
    fn impatient(options: &mut Options) {
        options.propose_timeout = Duration::from_secs(2);
        options.read_timeout = Duration::from_secs(1);
    }
    run_alone(|| async {
        let mut nodes = cluster(3, impatient).await;
        nodes[0].propose(1).await.unwrap();
        let last = nodes.pop().unwrap();
        assert!(last.reads(1).await);
        let homes = stop(nodes);
        assert!(last.handle.read_index().await.is_err());
        assert!(last.holds(1));
        let refused = last.propose(2).await;
        assert!(matches!(
            refused,
            Err(ProposeError::Unavailable | ProposeError::NoLeader)
        ));
        // A node that starts alone is up, and knows that it has not caught up.
        let last = last.stop().start();
        assert!(last.holds(1));
        assert!(!last.handle.recovered(Duration::from_millis(200)).await);
        let status = last.handle.status();
        assert!(status.is_running && !status.is_leader() && !status.is_recovered);
        // What was not proposed did not happen later, either.
        let mut nodes: Vec<_> = homes.into_iter().map(Home::start).collect();
        nodes.push(last);
        leader(&nodes).await;
        assert!(nodes[2].reads(1).await);
        assert!(!nodes[2].holds(2));
        agree(&nodes).await;
        stop(nodes);
    });
}

#[test]
fn a_leader_without_a_quorum_proposes_nothing() {
    fn impatient(options: &mut Options) {
        options.propose_timeout = Duration::from_secs(2);
        options.read_timeout = Duration::from_secs(1);
    }
    run_alone(|| async {
        let mut nodes = cluster(3, impatient).await;
        let leads = leader(&nodes).await;
        nodes[leads].propose(1).await.unwrap();
        let left = nodes.remove(leads);
        let homes = stop(nodes);
        // Until it misses the others it does not know; what it then took has no outcome.
        while left.propose(2).await == Err(ProposeError::TimedOut) {}
        let before = left.handle.status().last_index;
        let refused = left.propose(3).await;
        assert!(
            matches!(
                refused,
                Err(ProposeError::Unavailable | ProposeError::NoLeader)
            ),
            "{refused:?}"
        );
        assert_eq!(left.handle.status().last_index, before);
        let mut nodes: Vec<_> = homes.into_iter().map(Home::start).collect();
        nodes.push(left);
        leader(&nodes).await;
        for node in &nodes {
            assert!(node.reads(1).await && !node.holds(3));
        }
        agree(&nodes).await;
        stop(nodes);
    });
}

#[test]
fn readers_who_ask_together_share_a_round_and_a_sole_voter_makes_none() {
    run_alone(|| async {
        let nodes = vec![Node::found(as_usual)];
        nodes[0].handle.read_index().await.unwrap();
        assert_eq!(nodes[0].metrics.journal.read_rounds.value(), 0);
        stop(nodes);

        let nodes = cluster(3, as_usual).await;
        leader(&nodes).await;
        for node in &nodes {
            let rounds = &node.metrics.journal.read_rounds;
            let before = rounds.value();
            let readers: Vec<_> = (0..200)
                .map(|_| {
                    let handle = node.handle.clone();
                    spawn(async move { handle.read_index().await })
                })
                .collect();
            for reader in readers {
                reader.await.unwrap().unwrap();
            }
            let made = rounds.value() - before;
            assert!(made < 20, "{made} rounds on node {}", node.id);
        }
        stop(nodes);
    });
}

/// Has a node send leadership to the one after that which leads, and sees that it goes
/// there. A busy machine may find the next one silent for a while; and it may elect
/// somebody unasked meanwhile, which counts as strayed. Then it is sent again.
async fn hand_over(nodes: &[Node], asked: &Node, strayed: &mut u32) {
    let began = Clock::system().now();
    while began.elapsed() < NOBODY_WAITS {
        let leads = leader(nodes).await;
        let next = &nodes[(leads + 1) % nodes.len()];
        let before = nodes[leads].handle.status().term;
        match asked.handle.transfer_leader(Some(next.id)).await {
            Ok(()) => {}
            Err(MembersError::Behind { .. } | MembersError::NoLeader) => {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        let mut elected = None;
        until("another term begins", || {
            let mut statuses = nodes.iter().map(|node| node.handle.status());
            let begun = statuses.find(|status| status.term > before && status.leader.is_some());
            elected = begun.and_then(|status| status.leader);
            elected.is_some()
        })
        .await;
        if elected == Some(next.id) {
            return;
        }
        *strayed += 1;
    }
    panic!("it did not go where it was sent, and {strayed} times elsewhere");
}

/// Confirms a read, however long a busy machine takes for it.
async fn read_index(node: &Node) {
    let began = Clock::system().now();
    while node.handle.read_index().await.is_err() {
        assert!(began.elapsed() < NOBODY_WAITS, "no read is confirmed");
    }
}

#[test]
fn leadership_goes_where_it_is_sent_and_no_change_fails() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        let writers: Vec<_> = (0..)
            .zip(&nodes)
            .map(|(at, node)| Writer::start(node, at * 1_000_000))
            .collect();
        let mut strayed = 0;
        for asked in &nodes {
            hand_over(&nodes, asked, &mut strayed).await;
        }
        assert!(strayed <= 1, "{strayed} times it went elsewhere");
        assert!(nodes[0].handle.transfer_leader(Some(999)).await.is_err());
        for writer in writers {
            let (numbers, failed) = writer.stop().await;
            assert!(failed.is_empty(), "{failed:?}");
            read_index(&nodes[0]).await;
            assert!(numbers.iter().all(|number| nodes[0].holds(*number)));
        }
        leader(&nodes).await;
        agree(&nodes).await;
        // Who has applied everything may have to tell a new leader so.
        let began = Clock::system().now();
        loop {
            let members = nodes[1].handle.members().await.unwrap();
            assert_eq!(members.nodes.len(), 3);
            let mut matched = members.nodes.iter().map(|member| member.matched_index);
            if matched.all(|matched| matched.is_some()) {
                break;
            }
            assert!(began.elapsed() < NOBODY_WAITS, "{members:?}");
            sleep(Duration::from_millis(10)).await;
        }
        stop(nodes);
    });
}

#[test]
fn leadership_that_is_handed_over_fails_no_read() {
    /// So long a node has led, or has not, when leadership moves.
    const AGE: Duration = Duration::from_millis(1200);
    run_alone(|| async {
        let nodes = cluster(3, |options| options.read_timeout = AGE * 5 / 6).await;
        let is_over = Rc::new(Cell::new(false));
        let readers = nodes.iter().map(|node| {
            let (handle, is_over) = (node.handle.clone(), Rc::clone(&is_over));
            spawn(async move {
                while !is_over.get() {
                    handle.read_index().await?;
                }
                Ok::<(), ReadError>(())
            })
        });
        let readers: Vec<_> = readers.collect();
        for asked in &nodes {
            sleep(AGE).await;
            let next = &nodes[(leader(&nodes).await + 1) % 3];
            asked.handle.transfer_leader(Some(next.id)).await.unwrap();
            until("the next node leads", || next.handle.status().is_leader()).await;
        }
        is_over.set(true);
        for reader in readers {
            assert_eq!(soon("a reader ends", reader).await.unwrap(), Ok(()));
        }
        stop(nodes);
    });
}

#[test]
fn a_dead_node_costs_its_leader_some_calls_a_second() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let gone = nodes.remove((leads + 1) % 3).stop();
        let leads = nodes
            .iter()
            .position(|node| node.handle.status().is_leader());
        let metrics = &nodes[leads.unwrap()].metrics.peer;
        let calls = |service| metrics.calls.of((service, CallEnd::Unreachable)).value();
        let before = calls(PeerService::Append);
        sleep(Duration::from_secs(2)).await;
        let made = calls(PeerService::Append) - before;
        // Ten heartbeats and a replication or two in each second.
        assert!((1..40).contains(&made), "{made} calls to a dead node");
        stop(nodes);
        drop(gone);
    });
}

#[test]
fn a_leader_whose_journal_stands_still_gives_up_and_catches_up_later() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let (stalled, other) = (&nodes[leads], &nodes[(leads + 1) % 3]);
        let writer = Writer::start(other, 0);
        until("changes flow", || writer.count() > 10).await;
        let gate = stalled.hold_journal().await;
        until("another node leads", || {
            let leader = other.handle.status().leader;
            leader.is_some_and(|leader| leader != stalled.id)
        })
        .await;
        assert!(stalled.metrics.journal.stalls.value() >= 1);
        let before = writer.count();
        until("changes flow again", || writer.count() > before + 20).await;
        drop(gate);
        let (numbers, _) = writer.stop().await;
        leader(&nodes).await;
        agree(&nodes).await;
        assert!(numbers.iter().all(|number| stalled.holds(*number)));
        stop(nodes);
    });
}

#[test]
fn the_largest_changes_cross_the_cluster_beside_small_ones() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let follower = &nodes[(leads + 1) % 3];
        let writer = Writer::start(follower, 0);
        let large: Vec<_> = (0..3)
            .map(|number| {
                let handle = follower.handle.clone();
                spawn(async move {
                    let (digest, command) = put(number, LARGE_BYTES);
                    handle.propose(command).await.unwrap();
                    digest
                })
            })
            .collect();
        for digest in large {
            let digest = soon("a large change", digest).await.unwrap();
            let view = follower.handle.view();
            let stored = manifest(&view, &repository(), &digest).unwrap().unwrap();
            assert_eq!(stored.bytes.len(), LARGE_BYTES);
        }
        let (numbers, failed) = writer.stop().await;
        assert!(!numbers.is_empty() && failed.is_empty(), "{failed:?}");
        leader(&nodes).await;
        agree(&nodes).await;
        stop(nodes);
    });
}

async fn refresh(node: &Node) -> Result<bool, ReadError> {
    node.handle.refresh(node.handle.read_deadline()).await
}

#[test]
fn a_delete_waits_for_no_node_that_lags_and_that_one_serves_nothing_old() {
    run_alone(|| async {
        let nodes = cluster(3, as_usual).await;
        let leads = leader(&nodes).await;
        let (leading, lagging) = (&nodes[leads], &nodes[(leads + 1) % 3]);
        let commit = async |number: u64| {
            let change = crate::raft::suite_tests::link(number);
            leading.handle.commit(change).await.unwrap().index
        };
        let barrier = async |index: u64| {
            let began = Clock::system().now();
            leading.handle.seen_everywhere(index).await;
            began.elapsed()
        };
        // An earlier leader may have given read indexes until a second ago.
        sleep(MARK_END).await;
        refresh(lagging).await.unwrap();
        let seen = barrier(commit(1).await).await;
        assert!(seen < MARK_END, "{seen:?}");
        assert!(lagging.holds(1) || !lagging.handle.is_fresh());

        refresh(lagging).await.unwrap();
        let gate = lagging.hold_journal().await;
        let mut last = 2;
        // What was under way before it is held up still comes through.
        loop {
            let seen = barrier(commit(last).await).await;
            let is_trusted = lagging.handle.is_fresh();
            assert!(lagging.holds(last) || !is_trusted, "after {seen:?}");
            assert!(seen < MARK_END && last < 100, "{seen:?}");
            if refresh(lagging).await.is_err() {
                break;
            }
            assert!(lagging.holds(last));
            last += 1;
        }
        // It reaches a quorum, so that nothing excuses it.
        assert!(!lagging.handle.is_fresh() && !lagging.holds(last));
        // A read that waits twice has the time of one.
        let began = Clock::system().now();
        let deadline = began + Duration::from_millis(300);
        assert!(lagging.handle.refresh(deadline).await.is_err());
        assert!(lagging.handle.read_index_by(deadline).await.is_err());
        assert!(began.elapsed() < Duration::from_secs(2));
        drop(gate);
        until("it catches up", || lagging.holds(last)).await;
        refresh(lagging).await.unwrap();
        stop(nodes);
    });
}

#[test]
fn a_node_that_asks_and_is_not_reached_holds_up_one_delete_and_no_more() {
    run_alone(|| async {
        let first = Node::found(as_usual);
        let second = first.admit(true).await;
        let (unreached, is_cut) = first.admit_behind_switch().await;
        let nodes = [first, second, unreached];
        for node in &nodes {
            until_members(node, "it knows all", |members| members.nodes.len() == 3).await;
        }
        // An earlier leader may have given read indexes until a second ago.
        sleep(MARK_END).await;
        refresh(&nodes[2]).await.unwrap();
        let unreached = &nodes[2];
        is_cut.store(true, Ordering::Relaxed);
        // It is in use.
        let asking = unreached.handle.clone();
        let asking = spawn(async move {
            loop {
                let soon = Clock::system().now() + Duration::from_millis(50);
                let _ = asking.refresh(soon).await;
                sleep(Duration::from_millis(10)).await;
            }
        });
        let leading = &nodes[leader(&nodes[..2]).await];
        let mut slow_count = 0;
        for number in 1..=10 {
            let change = crate::raft::suite_tests::link(number);
            let index = leading.handle.commit(change).await.unwrap().index;
            let began = Clock::system().now();
            leading.handle.seen_everywhere(index).await;
            slow_count += u32::from(began.elapsed() > MARK_END / 2);
            assert!(unreached.holds(number) || !unreached.handle.is_fresh());
            // Whoever waits for an entry in vain asks for the next one after two seconds.
            sleep(Duration::from_millis(500)).await;
        }
        // What it asked while the first one was outlasted may hold up a second one.
        assert!(slow_count <= 2, "{slow_count} deletes were held up");
        is_cut.store(false, Ordering::Relaxed);
        until("it catches up", || unreached.holds(10)).await;
        drop(asking);
        refresh(unreached).await.unwrap();
        stop(nodes.into());
    });
}
