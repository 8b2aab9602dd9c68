//! Nodes come in by a token, once, and nobody else does.

use std::time::Duration;

use crate::support::{Cluster, Member, Node, NodeOptions, Registry, said};

/// A node that is told to end, or must not run, has ended by then.
const ENDED_MAX: Duration = Duration::from_secs(30);
/// What a node exits with where somebody has to do something first.
const EXIT_CONFIG: Option<i32> = Some(78);

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
    let refused = cluster.nodes[0].operate(&["demote", "1"]);
    assert!(!refused.status.success(), "{}", said(&refused));
    let why = said(&refused);
    assert!(
        why.contains("nobody else would vote") && why.contains("promote"),
        "{why}"
    );
    let member = Member::prepare(NodeOptions::default());
    let foreign = cluster.join(&member, &other.token());
    assert!(!foreign.status.success(), "{}", said(&foreign));
    for text in ["", "wl1-", "wl2-abc", "token"] {
        let refused = cluster.join(&member, text);
        assert!(!refused.status.success(), "{text}: {}", said(&refused));
    }
    assert!(!member.node.data_dir.join("node.json").exists());
}

/// Options of nodes that prove themselves so.
fn secured(security: &str) -> NodeOptions {
    let mut options = NodeOptions::default();
    if security == "plain" {
        let variable =
            |name: &str, value: &str| (format!("WINDLASS_CLUSTER__{name}"), value.into());
        options.environment = vec![
            variable("SECURITY", "plain"),
            variable("SECRET", "a secret of all these nodes"),
        ];
    }
    options
}

/// Starts a node that must refuse, and returns why it does.
#[track_caller]
fn refusal(member: &mut Member) -> String {
    member.node.spawn();
    let ended = member.node.wait_end(ENDED_MAX);
    let log = member.node.log_text();
    assert_eq!(ended.code(), EXIT_CONFIG, "{log}");
    log.lines().last().unwrap_or_default().to_owned()
}

#[track_caller]
fn assert_is_member_already(member: &Member) {
    let again = member.run(&["init"]);
    assert_eq!(again.status.code(), EXIT_CONFIG, "{}", said(&again));
    let said = said(&again);
    assert!(said.contains("belongs to a cluster already"), "{said}");
}

#[test]
fn a_node_with_images_begins_a_cluster_once_and_keeps_them() {
    for security in ["tls", "plain"] {
        let home = tempfile::tempdir().unwrap();
        let at = |options| NodeOptions {
            data_dir: Some(home.path().join("data")),
            ..options
        };
        let mut alone = Node::start_with(at(NodeOptions::default()));
        let content = vec![7; 100_000];
        let digest = Registry::new(alone.address).push_blob("kept/here", &content);
        let mut member = Member::prepare(at(secured(security)));
        let running = member.run(&["init"]);
        assert!(!running.status.success(), "a running node is left alone");
        assert!(alone.terminate(ENDED_MAX).success());

        // Whoever says that it is one of several is none before it was made one.
        let why = refusal(&mut member);
        assert!(why.contains("windlass init"), "{why}");
        let begun = member.run(&["init"]);
        assert!(begun.status.success(), "{}", said(&begun));
        assert_is_member_already(&member);
        member.node.spawn();
        member.node.wait_ready();
        let mut registry = Registry::new(member.node.address);
        let got = registry
            .get(&format!("/v2/kept/here/blobs/{digest}"))
            .expect(200);
        assert_eq!(got.body, content);
        // The first node of a cluster of an older version has no mark of its own.
        assert!(member.node.terminate(ENDED_MAX).success());
        std::fs::remove_file(member.node.data_dir.join("cluster.begun")).unwrap();
        member.node.spawn();
        member.node.wait_ready();
        assert!(member.node.terminate(ENDED_MAX).success());
        assert_is_member_already(&member);
    }
}

#[test]
fn a_member_that_lost_its_directory_serves_nobody_until_it_is_let_in_again() {
    for security in ["tls", "plain"] {
        let mut cluster = Cluster::start_with(3, &secured(security));
        let number = cluster.status(1).unwrap()["node"].to_string();
        let mut emptied = cluster.nodes.remove(1);
        emptied.node.kill();
        assert_is_member_already(&emptied);
        std::fs::remove_dir_all(&emptied.node.data_dir).unwrap();
        let why = refusal(&mut emptied);
        for command in [
            "windlass init",
            "windlass join",
            "windlass cluster remove N",
        ] {
            assert!(why.contains(command), "{security}: {command}: {why}");
        }
        // It has not become anybody meanwhile.
        let is_there = |name| emptied.node.data_dir.join(name).exists();
        assert!(!is_there("node.json") && !is_there("journal"));

        let removed = cluster.nodes[0].operate(&["remove", &number]);
        assert!(removed.status.success(), "{}", said(&removed));
        let joined = cluster.join(&emptied, &cluster.token());
        assert!(joined.status.success(), "{}", said(&joined));
        emptied.node.spawn();
        emptied.node.wait_ready();
        cluster.nodes.push(emptied);
        cluster.wait_voters(3);
        assert_ne!(cluster.status(2).unwrap()["node"].to_string(), number);
    }
}

#[test]
fn a_member_without_its_certificates_does_not_run_alone() {
    let mut cluster = Cluster::start(1);
    let mut first = cluster.nodes.remove(0);
    first.node.kill();
    std::fs::remove_dir_all(first.node.data_dir.join("cluster")).unwrap();
    let why = refusal(&mut first);
    assert!(why.contains("its certificates are not in"), "{why}");
    assert_is_member_already(&first);
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
    let patience = Duration::from_secs(60);
    cluster.nodes[victim].node.wait_end(patience);
    let leader = cluster.leader();
    let status = cluster.status(leader).unwrap();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);

    // Another node loses its journal: it must not vote with an empty log.
    let emptied = (0..3)
        .find(|index| *index != victim && *index != leader)
        .unwrap();
    let number = cluster.status(emptied).unwrap()["node"].to_string();
    cluster.nodes[emptied].node.kill();
    std::fs::remove_dir_all(cluster.nodes[emptied].node.data_dir.join("journal")).unwrap();
    cluster.nodes[emptied].node.spawn();
    let status = cluster.nodes[emptied].node.wait_end(patience);
    assert!(!status.success());
    let log = cluster.nodes[emptied].node.log_text();
    // An older journal would do the same harm.
    assert!(log.contains("never put an older journal back"), "{log}");
    let command = format!("`windlass cluster remove {number}` on another node");
    assert!(log.contains(&command), "{log}");
}
