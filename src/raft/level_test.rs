//! Two versions in one cluster: what is written is what all nodes know.

use super::{Node, agree, cluster, leader, stop, until};
use crate::metadata::{FORMAT_LEVEL, format_level, node_level};
use crate::raft::{OpenError, Options, Outdated, open};
use crate::runtime::run_alone;

const NEXT_LEVEL: u32 = FORMAT_LEVEL + 1;

const fn as_usual(_: &mut Options) {}

const fn newer(options: &mut Options) {
    options.format_level = NEXT_LEVEL;
}

fn level(node: &Node) -> u32 {
    format_level(&node.handle.view()).unwrap()
}

#[test]
fn nodes_are_upgraded_one_by_one_and_no_way_leads_back() {
    run_alone(|| async {
        let mut nodes = cluster(3, as_usual).await;
        for round in 0..3 {
            for node in &nodes {
                until("all know the older formats", || level(node) == FORMAT_LEVEL).await;
            }
            let mut home = nodes.remove(0).stop();
            home.tune = newer;
            nodes.push(home.start());
            leader(&nodes).await;
            // Both versions take changes and apply them.
            for node in &nodes {
                node.propose(round).await.unwrap();
            }
            let upgraded = &nodes[2];
            until("the node has said what it knows", || {
                let known = node_level(&upgraded.handle.view(), upgraded.id);
                known.unwrap() == NEXT_LEVEL
            })
            .await;
        }
        for node in &nodes {
            until("all know the newer formats", || level(node) == NEXT_LEVEL).await;
        }
        agree(&nodes).await;
        let mut home = nodes.remove(0).stop();
        home.tune = as_usual;
        let refused = open(&home.options());
        let is_named = matches!(
            refused,
            Err(OpenError::Newer(Outdated {
                level: NEXT_LEVEL,
                known: FORMAT_LEVEL
            }))
        );
        assert!(is_named, "{refused:?}");
        stop(nodes);
    });
}
