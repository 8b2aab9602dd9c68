//! Nodes come in by a token, once, and nobody else does.

use crate::support::{Cluster, Member, Node, NodeOptions, said};

#[test]
fn three_nodes_form_a_cluster_and_a_token_admits_one_machine_once() {
    let mut cluster = Cluster::start(2);
    let token = cluster.token();
    let member = Member::prepare(NodeOptions::default());
    let joined = cluster.join(&member, &token);
    assert!(joined.status.success(), "{}", said(&joined));
    // The directory is taken now.
    let again = cluster.join(&member, &token);
    assert!(!again.status.success());
    assert!(
        said(&again).contains("another node already"),
        "{}",
        said(&again)
    );

    let stranger = Member::prepare(NodeOptions::default());
    let reused = cluster.join(&stranger, &token);
    assert!(!reused.status.success());
    assert!(
        said(&reused).contains("make a new one"),
        "{}",
        said(&reused)
    );
    assert!(!stranger.node.data_dir.join("node.json").exists());

    // With a token of its own the refused machine gets in.
    let token = cluster.token();
    let admitted = cluster.join(&stranger, &token);
    assert!(admitted.status.success(), "{}", said(&admitted));

    let mut third = member;
    third.node.spawn();
    third.node.wait_ready();
    cluster.nodes.push(third);
    cluster.wait_voters(3);
}

#[test]
fn tokens_that_are_none_and_tokens_of_other_clusters_are_refused() {
    let cluster = Cluster::start(1);
    let other = Cluster::start(1);
    let member = Member::prepare(NodeOptions::default());
    let foreign = cluster.join(&member, &other.token());
    assert!(!foreign.status.success(), "{}", said(&foreign));
    for text in ["", "wl1-", "wl2-abc", "token"] {
        let refused = cluster.join(&member, text);
        assert!(!refused.status.success(), "{text}: {}", said(&refused));
    }
    assert!(!member.node.data_dir.join("node.json").exists());
}

#[test]
fn a_node_with_images_begins_a_cluster_once_and_keeps_them() {
    let mut member = Member::prepare(NodeOptions::default());
    member.node.spawn();
    member.node.wait_ready();
    let mut registry = crate::support::Registry::new(member.node.address);
    let content = vec![7; 100_000];
    let digest = registry.push_blob("kept/here", &content);
    drop(registry);
    let running = member.run(&["init"]);
    assert!(!running.status.success(), "a running node is left alone");
    member.node.terminate(std::time::Duration::from_secs(30));

    let begun = member.run(&["init"]);
    assert!(begun.status.success(), "{}", said(&begun));
    let again = member.run(&["init"]);
    assert!(!again.status.success());
    assert!(
        said(&again).contains("belongs to a cluster already"),
        "{}",
        said(&again)
    );
    member.node.spawn();
    member.node.wait_ready();
    let mut registry = crate::support::Registry::new(member.node.address);
    let got = registry
        .get(&format!("/v2/kept/here/blobs/{digest}"))
        .expect(200);
    assert_eq!(got.body, content);
}

#[test]
fn a_node_that_runs_alone_says_how_to_begin_a_cluster() {
    let node = Node::start();
    let address = node.admin_address.to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_windlass"))
        .args(["cluster", "add", "--admin-listen", &address])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("windlass init"), "{}", said(&output));
}

#[test]
fn a_removed_node_stops_and_an_emptied_one_does_not_come_back() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let victim = (leader + 1) % 3;
    let number = cluster.status(victim).unwrap()["node"].to_string();
    let removed = cluster.nodes[leader].operate(&["remove", &number]);
    assert!(removed.status.success(), "{}", said(&removed));
    let patience = std::time::Duration::from_secs(60);
    cluster.nodes[victim].node.wait_end(patience);
    let leader = cluster.leader();
    let status = cluster.status(leader).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);

    // Another node loses its journal: it must not vote with an empty log.
    let emptied = (0..3)
        .find(|index| *index != victim && *index != leader)
        .unwrap();
    cluster.nodes[emptied].node.kill();
    std::fs::remove_dir_all(cluster.nodes[emptied].node.data_dir.join("journal")).unwrap();
    cluster.nodes[emptied].node.spawn();
    let status = cluster.nodes[emptied].node.wait_end(patience);
    assert!(!status.success());
    let log = cluster.nodes[emptied].node.log_text();
    assert!(log.contains("replace this node"), "{log}");
}
