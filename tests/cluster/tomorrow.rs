//! This version and the one after it, which the same program plays
//! (`src/base/tomorrow.rs`), in one cluster.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use windlass::metadata::{Command, FORMAT_LEVEL, format_level};
use windlass::raft;
use windlass::runtime::run_alone;
use windlass::telemetry::Metrics;

use super::nemesis::check_states;
use super::serving::push_image;
use super::skew::{END_MAX, Scene, Version};
use super::sources::metric;
use super::turn::heavy;
use crate::support::{
    Cluster, Member, Node, NodeOptions, Random, Registry, SETTLED_MAX, digest_of, said, wait_for,
};

/// The formats of tomorrow.
const NEXT_LEVEL: u32 = FORMAT_LEVEL + 1;
/// Where an operator has to change something.
const EXIT_CONFIG: Option<i32> = Some(78);
/// After a fault.
const EXIT_FAULT: Option<i32> = Some(70);

fn playing(role: &str) -> Version {
    Version {
        environment: vec![("TOMORROW".to_owned(), role.to_owned())],
        ..Version::default()
    }
}

fn tomorrow() -> Version {
    playing("1")
}

/// Waits until all nodes know that the cluster is at this version's level.
#[track_caller]
fn wait_level(cluster: &Cluster) {
    let is_so = wait_for(SETTLED_MAX, || {
        (0..cluster.nodes.len()).all(|index| {
            let status = cluster.status(index);
            status.is_some_and(|status| status["format_level"] == FORMAT_LEVEL)
        })
    });
    assert!(is_so, "not at level {FORMAT_LEVEL}");
}

/// Waits until the cluster is at the next level, and so many nodes have written what only
/// that one allows, as every node sees it.
#[track_caller]
fn wait_risen(cluster: &Cluster, remarks: u64) {
    let mut seen = None;
    let has_risen = wait_for(SETTLED_MAX, || {
        (0..cluster.nodes.len()).all(|index| {
            seen = cluster.status(index);
            seen.as_ref().is_some_and(|status| {
                let nodes = status["nodes"].as_array().expect("nodes");
                let mut reports = nodes.iter().map(|node| &node["report"]);
                status["format_level"] == NEXT_LEVEL
                    && reports.all(|report| report["remarks"] == remarks)
            })
        })
    });
    assert!(has_risen, "not at level {NEXT_LEVEL}: {seen:#?}");
}

/// Ends a node and starts it as another version, without waiting for it.
#[track_caller]
fn replace(node: &mut Node, version: &Version) {
    if node.is_running() {
        node.terminate(END_MAX);
    }
    node.change(|options| options.environment.clone_from(&version.environment));
    node.spawn();
}

/// Starts a node as another version and waits for its end.
#[track_caller]
fn end_as(node: &mut Node, version: &Version) -> ExitStatus {
    replace(node, version);
    node.wait_end(SETTLED_MAX)
}

/// The node has said which versions could go on with what there is.
#[track_caller]
fn expect_outdated(node: &Node, ended: ExitStatus) {
    let log = node.log_text();
    assert_eq!(ended.code(), EXIT_CONFIG, "{log}");
    let reason =
        format!("formats of level {NEXT_LEVEL}, and this build knows level {FORMAT_LEVEL}");
    assert!(log.contains(&reason), "{log}");
}

#[track_caller]
fn expect_served(cluster: &Cluster, seed: u64) {
    let layer = Random::new(seed).bytes(300_000);
    let target = format!("/v2/skew/app/blobs/{}", digest_of("sha256", &layer));
    let addresses = cluster.addresses();
    let mut registry = Registry::new(addresses[0]);
    push_image(&mut registry, "skew/app", "t", &layer);
    for address in addresses {
        let mut registry = Registry::new(address);
        registry.get("/v2/skew/app/manifests/t").expect(200);
        assert!(registry.get(&target).expect(200).body == layer);
    }
}

#[test]
fn a_cluster_is_upgraded_node_by_node_and_its_clients_see_nothing_of_it() {
    let _turn = heavy();
    let today = Version::default();
    let mut scene = Scene::new(&today, &tomorrow());
    scene.upgrade(&today);
    wait_risen(&scene.cluster, 3);
    scene.check();
    let mut cluster = scene.end();
    // From here no way leads back.
    let node = &mut cluster.nodes[0].node;
    let ended = end_as(node, &today);
    expect_outdated(node, ended);
}

#[test]
fn nodes_of_both_versions_join_until_the_level_has_risen() {
    let _turn = heavy();
    let today = Version::default();
    let mut cluster = Cluster::start_with(1, &today.options());
    cluster.add(tomorrow().options());
    cluster.wait_voters(2);
    // Tomorrow's version lets today's in, and leads.
    cluster.nodes.swap(0, 1);
    cluster.lead(0);
    cluster.add(today.options());
    cluster.wait_voters(3);
    expect_served(&cluster, 1);
    check_states(&cluster);
    wait_level(&cluster);

    for index in 1..3 {
        let node = &mut cluster.nodes[index].node;
        replace(node, &tomorrow());
        node.wait_ready();
    }
    wait_risen(&cluster, 3);
    // What the log tells a newcomer of today's version ends it before it votes.
    let mut newcomer = Member::prepare(today.options());
    let token = cluster.token();
    let joined = cluster.join(&newcomer, &token);
    assert!(joined.status.success(), "{}", said(&joined));
    newcomer.node.spawn();
    let ended = newcomer.node.wait_end(SETTLED_MAX);
    expect_outdated(&newcomer.node, ended);
    // Not for a new version of it.
    replace(&mut newcomer.node, &tomorrow());
    newcomer.node.wait_ready();
    cluster.nodes.push(newcomer);
    cluster.wait_voters(4);
    wait_risen(&cluster, 4);
    expect_served(&cluster, 2);
    check_states(&cluster);
}

/// Raises the level of a cluster's only node while it rests, and leaves nothing of that
/// in its log.
fn raise(data_directory: &Path) {
    let mut options = raft::Options::new(data_directory, Arc::new(Metrics::new()));
    (options.snapshot_entries, options.log_entries_kept) = (10, 1);
    options.format_level = NEXT_LEVEL;
    run_alone(move || async move {
        let opened = raft::open(&options).expect("the journal of a node that rests");
        let (handle, _) = raft::start(opened, options, None).await.expect("it leads");
        let began = Instant::now();
        let is_raised = || format_level(&handle.view()).expect("a level") == NEXT_LEVEL;
        while !is_raised() || handle.status().purged_index.is_none() {
            handle.propose(Command::Probe).await.expect("it leads");
            assert!(began.elapsed() < SETTLED_MAX, "nothing is purged");
        }
        handle.shutdown().await;
    });
}

#[test]
fn a_snapshot_of_the_next_level_ends_a_node_of_this_version() {
    let _turn = heavy();
    let mut cluster = Cluster::start(1);
    let first = &mut cluster.nodes[0].node;
    first.terminate(END_MAX);
    raise(&first.data_dir);
    replace(first, &tomorrow());
    first.wait_ready();
    let mut newcomer = Member::prepare(NodeOptions::default());
    let token = cluster.token();
    let joined = cluster.join(&newcomer, &token);
    assert!(joined.status.success(), "{}", said(&joined));
    // Neither the process that gets it nor one that finds it goes on.
    for _ in 0..2 {
        newcomer.node.spawn();
        let ended = newcomer.node.wait_end(SETTLED_MAX);
        expect_outdated(&newcomer.node, ended);
    }
    replace(&mut newcomer.node, &tomorrow());
    newcomer.node.wait_ready();
    let installed = "windlass_raft_snapshots_installed_total";
    cluster.nodes.push(newcomer);
    cluster.wait_voters(2);
    wait_risen(&cluster, 2);
    let installed = metric(&cluster.nodes[1].node, installed);
    assert!(installed > 0, "the log was enough");
    check_states(&cluster);
}

#[test]
fn what_breaks_the_rule_stays_out_of_the_log_or_ends_older_nodes_with_a_reason() {
    let _turn = heavy();
    let mut cluster = Cluster::start(2);
    cluster.add(playing("hasty").options());
    cluster.wait_voters(3);
    // A leader of today's version proposes for nobody what it does not know itself.
    cluster.lead(0);
    let refused = "windlass_peer_served_calls_total{service=\"propose\",end=\"refused\"}";
    let leader = &cluster.nodes[0].node;
    assert!(wait_for(SETTLED_MAX, || metric(leader, refused) > 2));
    expect_served(&cluster, 3);
    check_states(&cluster);

    cluster.lead(2);
    for index in 0..2 {
        let node = &mut cluster.nodes[index].node;
        let ended = node.wait_end(SETTLED_MAX);
        let log = node.log_text();
        assert_eq!(ended.code(), EXIT_FAULT, "{log}");
        assert!(
            log.contains("of the log is not a proposal this build knows"),
            "{log}"
        );
        // Whoever knows it goes on behind it.
        replace(node, &tomorrow());
        node.wait_ready();
    }
    cluster.wait_voters(3);
    expect_served(&cluster, 4);
    check_states(&cluster);
}
