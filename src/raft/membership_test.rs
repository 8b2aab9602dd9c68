//! Nodes that come, learn, vote, stop voting, and go.

use std::time::Duration;

use super::{Node, agree, cluster, leader, stop, until, until_members};
use crate::base::Clock;
use crate::metadata::{NodeAddress, Refusal, manifest, nodes as nodes_of};
use crate::raft::node_tests::{put, repository};
use crate::raft::{
    Admission, Fill, Filled, IdentityError, Members, MembersError, OpenError, Options, Role, open,
};
use crate::runtime::{run_alone, spawn};

const fn as_usual(_: &mut Options) {}

fn voters(members: &Members) -> Vec<u64> {
    let voters = members.nodes.iter().filter(|member| member.is_voter);
    voters.map(|member| member.node).collect()
}

fn ids(nodes: &[Node]) -> Vec<u64> {
    nodes.iter().map(|node| node.id).collect()
}

#[test]
fn three_become_five_and_three_again_while_changes_flow() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        let handle = nodes[1].handle.clone();
        let is_over = std::rc::Rc::new(std::cell::Cell::new(false));
        let over = std::rc::Rc::clone(&is_over);
        let writer = spawn(async move {
            let mut number = 0;
            while !over.get() {
                handle
                    .propose(crate::raft::suite_tests::link(number))
                    .await
                    .unwrap();
                number += 1;
            }
            number
        });
        for _ in 0..2 {
            let node = nodes[2].admit(true).await;
            nodes.push(node);
        }
        let five = ids(&nodes);
        until_members(&nodes[0], "five nodes vote", |members| {
            voters(members) == five
        })
        .await;
        // The first two go, whoever leads.
        let leads = leader(&nodes).await;
        let leaving = [leads, (leads + 1) % 5];
        let leaving = leaving
            .map(|at| nodes[at].id)
            .into_iter()
            .filter(|id| *id != nodes[1].id);
        let leaving: Vec<_> = leaving.chain([nodes[4].id]).take(2).collect();
        for id in &leaving {
            nodes[1].handle.remove(*id).await.unwrap();
        }
        let (gone, nodes): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .partition(|node| leaving.contains(&node.id));
        let three = ids(&nodes);
        until_members(&nodes[0], "three nodes vote", |members| {
            voters(members) == three
        })
        .await;
        for node in gone {
            until("a removed node ends", || node.handle.status().is_removed()).await;
            node.handle.closed().await;
            assert!(node.propose(1).await.is_err());
            node.stop();
        }
        is_over.set(true);
        let written = writer.await.unwrap();
        assert!(written > 0);
        for node in &nodes {
            assert!(node.reads(written - 1).await);
        }
        leader(&nodes).await;
        agree(&nodes).await;
        stop(nodes);
    });
}

#[test]
fn a_replica_reads_and_takes_changes_and_never_votes_until_it_is_told_to() {
    run_alone(|| async {
        let mut nodes = cluster(1, as_usual).await;
        let node = nodes[0].admit(false).await;
        nodes.push(node);
        let replica = &nodes[1];
        assert!(replica.handle.recovered(Duration::from_secs(20)).await);
        nodes[0].propose(1).await.unwrap();
        assert!(replica.reads(1).await);
        replica.propose(2).await.unwrap();
        assert!(replica.holds(2) && nodes[0].reads(2).await);
        assert_eq!(replica.handle.status().role, Role::Learner);
        assert_eq!(voters(&nodes[0].handle.membership()), [1]);

        replica.handle.promote(replica.id).await.unwrap();
        until("it votes", || replica.handle.status().role == Role::Voter).await;
        nodes[0].handle.demote(1).await.unwrap();
        until("it leads", || replica.handle.status().is_leader()).await;
        assert_eq!(voters(&replica.handle.membership()), [replica.id]);
        nodes[0].propose(3).await.unwrap();
        assert!(nodes[0].reads(3).await);
        let refused = replica.handle.demote(replica.id).await;
        assert_eq!(refused, Err(MembersError::Refused(Refusal::LastVoter)));
        stop(nodes);
    });
}

#[test]
fn a_node_votes_when_it_says_that_it_is_filled_or_an_operator_does_not_ask() {
    fn silent(options: &mut Options) {
        options.fill = Some(Fill::default());
    }
    fn filled(options: &mut Options) {
        let fill = Fill::default();
        fill.tell(Filled {
            index: Some(u64::MAX),
            ..Filled::default()
        });
        options.fill = Some(fill);
    }
    run_alone(|| async {
        let mut nodes = cluster(1, silent).await;
        let node = nodes[0].admit(true).await;
        nodes.push(node);
        let learner = &nodes[1];
        assert!(learner.handle.recovered(Duration::from_secs(20)).await);
        let pending = learner.handle.promote(learner.id).await;
        assert_eq!(pending, Err(MembersError::Pending));
        assert_eq!(voters(&nodes[0].handle.membership()), [1]);
        // Through the learner, which asks the leader.
        let unfilled = learner.handle.promote_unfilled(learner.id);
        unfilled.await.unwrap();
        assert_eq!(voters(&learner.handle.membership()), ids(&nodes));
        stop(nodes);

        let mut nodes = cluster(1, filled).await;
        let node = nodes[0].admit(true).await;
        nodes.push(node);
        let both = ids(&nodes);
        until_members(&nodes[0], "both vote", |members| voters(members) == both).await;
        stop(nodes);
    });
}

#[test]
fn a_vote_that_the_leader_does_not_give_is_not_wished() {
    run_alone(|| async {
        let nodes = cluster(1, as_usual).await;
        let handle = &nodes[0].handle;
        let admission = Admission {
            node_uuid: [9; 16],
            address: NodeAddress::parse("127.0.0.1:9").unwrap(),
            is_voter: false,
            token: None,
        };
        // It has a number, and never comes.
        let node = handle.admit(admission).await.unwrap();
        until("the first node has described itself", || {
            nodes_of(&handle.view()).unwrap().len() == 2
        })
        .await;
        let behind = Err(MembersError::Behind { node });
        assert_eq!(handle.promote_unfilled(node).await, behind);
        let known = nodes_of(&handle.view()).unwrap();
        let found = known.iter().find(|(number, _)| *number == node);
        assert!(!found.unwrap().1.is_voter);
        for gone in [node, 999] {
            if gone == node {
                handle.remove(node).await.unwrap();
            }
            let promoted = handle.promote_unfilled(gone).await;
            assert!(promoted.is_err_and(|error| error != MembersError::Pending));
        }
        stop(nodes);
    });
}

#[test]
fn a_node_that_was_away_when_it_was_removed_learns_it_and_ends() {
    run_alone(|| async {
        for is_voter in [true, false] {
            let mut nodes = cluster(2, as_usual).await;
            let node = nodes[0].admit(is_voter).await;
            until_members(&nodes[0], "it is in", |members| {
                let member = members.nodes.iter().find(|member| member.node == node.id);
                member.is_some_and(|member| member.is_voter == is_voter)
            })
            .await;
            assert!(node.handle.recovered(Duration::from_secs(20)).await);
            let (away, term) = (node.id, node.handle.status().term);
            let home = node.stop();
            nodes[1].handle.remove(away).await.unwrap();
            let node = home.start();
            until("it knows", || node.handle.status().is_removed()).await;
            node.handle.closed().await;
            assert_eq!(node.handle.status().term, term, "it called for an election");
            let refused = open(&node.stop().options());
            assert!(matches!(
                refused,
                Err(OpenError::Identity(IdentityError::Removed { .. }))
            ));
            nodes[0].propose(1).await.unwrap();
            nodes.truncate(2);
            stop(nodes);
        }
    });
}

#[test]
fn a_token_admits_one_machine_and_asking_again_gives_the_same_number() {
    run_alone(|| async {
        let nodes = cluster(1, as_usual).await;
        let handle = &nodes[0].handle;
        let admission = |uuid: u8, token: u8| Admission {
            node_uuid: [uuid; 16],
            address: NodeAddress::parse(&format!("127.0.0.1:{uuid}")).unwrap(),
            is_voter: true,
            token: Some([token; 32]),
        };
        let expires_ms = Clock::system().unix_ms() + 60_000;
        handle.add_join_token([7; 32], expires_ms).await.unwrap();
        handle.add_join_token([8; 32], 1).await.unwrap();
        let first = handle.admit(admission(2, 7)).await.unwrap();
        assert_eq!(handle.admit(admission(2, 7)).await, Ok(first));
        until("the first node has described itself", || {
            nodes_of(&handle.view()).unwrap().len() == 2
        })
        .await;
        let last_index = handle.members().await.unwrap().last_index;
        let refused = |refusal| Err(MembersError::Refused(refusal));
        assert_eq!(
            handle.admit(admission(3, 7)).await,
            refused(Refusal::TokenUsed)
        );
        assert_eq!(
            handle.admit(admission(3, 8)).await,
            refused(Refusal::TokenExpired)
        );
        assert_eq!(
            handle.admit(admission(3, 9)).await,
            refused(Refusal::TokenUnknown)
        );
        // Nothing was written for any of them.
        assert_eq!(handle.members().await.unwrap().last_index, last_index);
        // It never came: it learns for ever, and costs nothing but calls.
        assert_eq!(voters(&handle.membership()), [1]);
        handle.remove(first).await.unwrap();
        let unknown = Err(MembersError::Unknown { node: 999 });
        assert_eq!(handle.remove(999).await, unknown);
        stop(nodes);
    });
}

#[test]
fn a_fresh_node_is_brought_up_by_a_snapshot_while_changes_flow() {
    fn short(options: &mut Options) {
        options.snapshot_entries = 200;
        options.log_entries_kept = 20;
    }
    run_alone(|| async {
        let mut nodes = cluster(1, short).await;
        let writing = |first: u64, count: u64| {
            let handle = nodes[0].handle.clone();
            spawn(async move {
                for number in first..first + count {
                    handle
                        .propose(crate::raft::suite_tests::link(number))
                        .await
                        .unwrap();
                }
            })
        };
        let writers: Vec<_> = (0..8).map(|at| writing(at * 1000, 150)).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        until("the log forgets", || {
            nodes[0]
                .handle
                .status()
                .purged_index
                .is_some_and(|purged| purged > 500)
        })
        .await;
        let writer = writing(100_000, 600);
        let node = nodes[0].admit(true).await;
        nodes.push(node);
        let expected = ids(&nodes);
        until_members(&nodes[0], "it votes", |members| voters(members) == expected).await;
        writer.await.unwrap();
        assert!(nodes[1].reads(100_599).await);
        assert!((0..8).all(|at| nodes[1].holds(at * 1000 + 149)));
        // Its log never had the beginning.
        assert!(nodes[1].handle.status().purged_index.is_some());
        leader(&nodes).await;
        agree(&nodes).await;
        // What came by a snapshot is there after a restart.
        let second = nodes.pop().unwrap().stop().start();
        assert!(second.holds(149) && second.reads(100_599).await);
        nodes.push(second);
        stop(nodes);
    });
}

#[test]
fn a_snapshot_goes_on_where_the_connection_was_lost() {
    fn short(options: &mut Options) {
        options.snapshot_bytes = 4 * 1024 * 1024;
        options.log_bytes_kept = 1024 * 1024;
    }
    const MANIFEST_BYTES: usize = 500_000;
    const MANIFEST_COUNTS: u64 = 32;
    run_alone(|| async {
        let mut nodes = cluster(1, short).await;
        for number in 0..MANIFEST_COUNTS {
            let (_, command) = put(number, MANIFEST_BYTES);
            nodes[0].handle.propose(command).await.unwrap();
        }
        until("the log forgets", || {
            nodes[0].handle.status().purged_index.is_some()
        })
        .await;
        // No connection carries the whole file; each carries the largest append.
        let (node, passed) = nodes[0].admit_behind_cuts(6 * 1024 * 1024).await;
        nodes.push(node);
        assert!(nodes[1].handle.recovered(Duration::from_secs(40)).await);
        let passed_bytes = passed.load(std::sync::atomic::Ordering::Relaxed);
        assert!(passed_bytes < 32_000_000, "{passed_bytes} bytes for 16 MB");
        assert!(passed_bytes > 16_000_000, "{passed_bytes} bytes for 16 MB");
        let (digest, _) = put(MANIFEST_COUNTS - 1, MANIFEST_BYTES);
        let view = nodes[1].handle.view();
        assert!(manifest(&view, &repository(), &digest).unwrap().is_some());
        drop(view);
        agree(&nodes).await;
        let left = std::fs::read_dir(nodes[1].snapshots()).unwrap();
        assert_eq!(left.count(), 0);
        stop(nodes);
    });
}

#[test]
fn a_node_that_moved_says_so_and_is_found() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        let mut home = nodes.pop().unwrap().stop();
        home.move_out();
        let node = home.start();
        let (id, address) = (node.id, node.address().to_string());
        until_members(&nodes[0], "the others know", |members| {
            let mut members = members.nodes.iter();
            members.any(|member| member.node == id && *member.address == *address)
        })
        .await;
        nodes[0].propose(1).await.unwrap();
        assert!(node.reads(1).await);
        nodes.push(node);
        leader(&nodes).await;
        agree(&nodes).await;
        stop(nodes);
    });
}

/// More than fit into a mask of 32 bits.
const LEARNERS_MIN: usize = 33;

#[test]
fn thirty_three_learners_beside_three_voters_come_to_the_same_state() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        for _ in 0..LEARNERS_MIN {
            let learner = nodes[0].admit(false).await;
            nodes.push(learner);
        }
        // Each takes a change, learners by handing it to the leader.
        for (number, node) in (0..).zip(&nodes) {
            node.propose(number).await.unwrap();
        }
        agree(&nodes).await;
        let last = nodes.last().unwrap();
        for number in (0..).take(nodes.len()) {
            assert!(last.holds(number), "{number}");
        }
        let all = ids(&nodes);
        until_members(last, "all are members", |members| {
            let known: Vec<_> = members.nodes.iter().map(|member| member.node).collect();
            known == all && voters(members) == all[..3]
        })
        .await;
        stop(nodes);
    });
}
