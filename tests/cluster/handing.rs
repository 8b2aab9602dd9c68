//! Leadership goes where it is sent, and whoever sends it hears whether it went.

use rustix::process::Signal;

use super::deleting::signal;
use crate::support::{Cluster, said};

/// Number and role of a node, as it says itself.
fn place(cluster: &Cluster, index: usize) -> (String, String) {
    let status = cluster.status(index).unwrap();
    let mut nodes = status["nodes"].as_array().unwrap().iter();
    let own = nodes.find(|node| node["node"] == status["node"]).unwrap();
    let role = own["role"].as_str().unwrap().to_owned();
    (status["node"].to_string(), role)
}

#[test]
fn leadership_is_there_when_the_command_ends_or_the_command_says_that_it_is_not() {
    let mut cluster = Cluster::start(3);
    for asked in 0..3 {
        let next = (cluster.leader() + 1) % 3;
        let (number, _) = place(&cluster, next);
        let sent = cluster.nodes[asked].operate(&["transfer-leader", &number]);
        assert!(sent.status.success(), "{}", said(&sent));
        assert_eq!(said(&sent), format!("node {number} leads\n"));
        // Nobody waits here.
        assert_eq!(place(&cluster, next), (number, "leader".to_owned()));
    }
    let left = cluster.leader();
    let (number, _) = place(&cluster, left);
    let sent = cluster.nodes[left].operate(&["transfer-leader"]);
    assert!(sent.status.success(), "{}", said(&sent));
    let (text, leader) = (said(&sent), cluster.leader());
    assert_ne!(text, format!("node {number} leads\n"));
    assert_eq!(text, format!("node {} leads\n", place(&cluster, leader).0));

    for member in &cluster.nodes {
        let sent = member.operate(&["transfer-leader", "999"]);
        let text = said(&sent);
        assert!(!sent.status.success(), "{text}");
        assert!(text.contains("there is no node 999"), "{text}");
    }
    // It counts as reachable for a while, and cannot take over.
    let frozen = (leader + 1) % 3;
    let (number, _) = place(&cluster, frozen);
    signal(&cluster.nodes[frozen].node, Signal::STOP);
    let sent = cluster.nodes[leader].operate(&["transfer-leader", &number]);
    signal(&cluster.nodes[frozen].node, Signal::CONT);
    let text = said(&sent);
    assert!(!sent.status.success(), "{text}");
    assert!(text.contains("windlass cluster status"), "{text}");
    cluster.wait_voters(3);
}
