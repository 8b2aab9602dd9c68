//! Tests of what the leader does next about the membership.

use super::*;
use crate::metadata::NodeAddress;

/// A cluster to decide about: configurations of voters, nodes, records.
struct Cluster {
    membership: Membership,
    records: Vec<(u64, NodeRecord)>,
    matched: BTreeMap<u64, u64>,
    me: u64,
    away: Option<u64>,
    /// A node that lacks blobs.
    unfilled: Option<u64>,
}

fn address(node: u64) -> String {
    format!("node-{node}:1")
}

fn record(node: u64, state: NodeState, is_voter: bool) -> (u64, NodeRecord) {
    let address = NodeAddress::parse(&address(node)).unwrap();
    (node, NodeRecord::new([0; 16], state, is_voter, address))
}

impl Cluster {
    /// Voters 1, 2, 3, all as the state wishes.
    fn of_three() -> Self {
        let member = |node| record(node, NodeState::Member, true);
        Self {
            membership: membership(&[&[1, 2, 3]], &[1, 2, 3]),
            records: [1, 2, 3].map(member).to_vec(),
            matched: BTreeMap::from([(2, 1000), (3, 990)]),
            me: 1,
            away: None,
            unfilled: None,
        }
    }

    fn next(&self) -> Option<Step> {
        let nodes = self.membership.nodes().map(|(node, _)| *node);
        let near = nodes.filter(|node| Some(*node) != self.away).collect();
        let scene = Scene {
            near: &near,
            me: self.me,
            membership: &self.membership,
            records: &self.records,
            last_index: 1000,
            matched: &self.matched,
            successor: Some(2),
        };
        let mut fit = candidates(&scene);
        fit.retain(|node| Some(*node) != self.unfilled);
        next_step(&scene, &fit)
    }
}

fn membership(voters: &[&[u64]], nodes: &[u64]) -> Membership {
    let voters = voters.iter().map(|set| set.iter().copied().collect());
    let nodes = nodes
        .iter()
        .map(|node| (*node, BasicNode::new(address(*node))));
    Membership::new(voters.collect(), nodes.collect::<BTreeMap<_, _>>()).unwrap()
}

#[test]
fn a_cluster_that_is_as_wished_is_left_alone() {
    let mut cluster = Cluster::of_three();
    assert_eq!(cluster.next(), None);
    // A node that nobody recorded is nobody's business.
    cluster.membership = membership(&[&[1, 2, 3]], &[1, 2, 3, 9]);
    assert_eq!(cluster.next(), None);
}

#[test]
fn a_change_of_an_earlier_leader_is_ended_first() {
    let mut cluster = Cluster::of_three();
    cluster.membership = membership(&[&[1, 2], &[1, 2, 3]], &[1, 2, 3]);
    cluster.records.push(record(9, NodeState::Admitted, true));
    assert_eq!(cluster.next(), Some(Step::Flatten));
}

#[test]
fn an_admitted_node_is_fed_and_votes_once_it_runs_and_has_caught_up() {
    let mut cluster = Cluster::of_three();
    cluster.records.push(record(9, NodeState::Admitted, true));
    let add = Step::Add {
        node: 9,
        address: address(9).into(),
    };
    assert_eq!(cluster.next(), Some(add));
    cluster.membership = membership(&[&[1, 2, 3]], &[1, 2, 3, 9]);
    cluster.matched.insert(9, 1000);
    assert_eq!(cluster.next(), None, "it has not said that it runs");
    cluster.records[3] = record(9, NodeState::Member, true);
    cluster.matched.insert(9, 1000 - PROMOTE_LAG_ENTRIES_MAX);
    assert_eq!(cluster.next(), None, "it lags");
    cluster.matched.insert(9, 1001 - PROMOTE_LAG_ENTRIES_MAX);
    assert_eq!(cluster.next(), Some(Step::Promote { node: 9 }));
    cluster.unfilled = Some(9);
    assert_eq!(cluster.next(), None, "it lacks blobs");
    (cluster.unfilled, cluster.away) = (None, Some(9));
    assert_eq!(cluster.next(), None, "it is away");
}

#[test]
fn a_replica_never_votes_and_a_voter_may_become_one() {
    let mut cluster = Cluster::of_three();
    cluster.membership = membership(&[&[1, 2, 3]], &[1, 2, 3, 9]);
    cluster.records.push(record(9, NodeState::Member, false));
    cluster.matched.insert(9, 1000);
    assert_eq!(cluster.next(), None);
    cluster.records[2] = record(3, NodeState::Member, false);
    assert_eq!(cluster.next(), Some(Step::Demote { node: 3 }));
}

#[test]
fn a_node_that_moved_is_followed() {
    let mut cluster = Cluster::of_three();
    let moved = NodeAddress::parse("elsewhere:2").unwrap();
    cluster.records[1].1.address = moved;
    let step = Step::Move {
        node: 2,
        address: "elsewhere:2".into(),
    };
    assert_eq!(cluster.next(), Some(step));
}

#[test]
fn a_removed_voter_loses_its_vote_first_and_then_its_place() {
    let mut cluster = Cluster::of_three();
    cluster.records[2] = record(3, NodeState::Removed, false);
    assert_eq!(cluster.next(), Some(Step::Demote { node: 3 }));
    cluster.membership = membership(&[&[1, 2]], &[1, 2, 3]);
    assert_eq!(cluster.next(), Some(Step::Remove { node: 3 }));
    cluster.membership = membership(&[&[1, 2]], &[1, 2]);
    assert_eq!(cluster.next(), None);
}

#[test]
fn a_leader_that_loses_its_vote_lets_another_one_lead() {
    let mut cluster = Cluster::of_three();
    cluster.records[0] = record(1, NodeState::Removed, false);
    assert_eq!(cluster.next(), Some(Step::HandOver { to: 2 }));
    cluster.me = 2;
    assert_eq!(cluster.next(), Some(Step::Demote { node: 1 }));
}

#[test]
fn no_voter_goes_that_the_others_cannot_do_without() {
    let mut cluster = Cluster::of_three();
    cluster.away = Some(3);
    cluster.records[1] = record(2, NodeState::Removed, false);
    assert_eq!(cluster.next(), None, "one and the one that is away");
    cluster.records[1] = record(2, NodeState::Member, true);
    cluster.records[2] = record(3, NodeState::Removed, false);
    assert_eq!(cluster.next(), Some(Step::Demote { node: 3 }));
}

#[test]
fn the_last_voter_keeps_its_vote_whatever_the_state_says() {
    let mut cluster = Cluster::of_three();
    cluster.membership = membership(&[&[1]], &[1]);
    cluster.records = vec![record(1, NodeState::Removed, false)];
    assert_eq!(cluster.next(), None);
}

#[test]
fn nodes_come_before_others_go() {
    let mut cluster = Cluster::of_three();
    cluster.records[2] = record(3, NodeState::Removed, false);
    cluster.records.push(record(9, NodeState::Admitted, true));
    assert!(matches!(cluster.next(), Some(Step::Add { node: 9, .. })));
}

#[test]
fn a_cluster_grows_to_forty_voters_step_by_step() {
    let mut cluster = Cluster::of_three();
    for node in 4..=40 {
        cluster.records.push(record(node, NodeState::Member, true));
    }
    let (mut voters, mut nodes) = (vec![1, 2, 3], vec![1, 2, 3]);
    while let Some(step) = cluster.next() {
        match step {
            Step::Add { node, .. } => {
                nodes.push(node);
                cluster.matched.insert(node, 999);
            }
            Step::Promote { node } => voters.push(node),
            other => panic!("{other:?}"),
        }
        cluster.membership = membership(&[&voters], &nodes);
    }
    voters.sort_unstable();
    assert_eq!(voters, (1..=40).collect::<Vec<_>>());
    assert_eq!(nodes.len(), 40);
}
