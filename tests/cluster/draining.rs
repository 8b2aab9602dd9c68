//! A node that is drained is not missed: others lead, and hold what only it held.

use std::fs;
use std::time::{Duration, Instant};

use crate::serving::push_image;
use crate::support::{Cluster, NodeOptions, Random, Registry, digest_of, said};

/// So slow that what is pushed to one node is nowhere else for a while.
const FETCH_RATE: (&str, &str) = ("WINDLASS_CLUSTER__FETCH_RATE_MAX", "1MiB");
/// The layer cannot be at another node sooner.
const COPIED_MIN: Duration = Duration::from_millis(700);
/// Pushes there are acknowledged by the node that takes them.
const ONE_COPY: (&str, &str) = ("WINDLASS_CLUSTER__ACK_PREFIXES", "[\"cache=one\"]");

fn slow_cluster() -> Cluster {
    let variables = [FETCH_RATE, ONE_COPY];
    let options = NodeOptions {
        environment: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..NodeOptions::default()
    };
    Cluster::start_with(3, &options)
}

#[test]
fn a_dead_node_is_not_given_up_with_what_it_had_no_time_to_announce() {
    let mut cluster = slow_cluster();
    let leader = cluster.leader();
    let victim = (leader + 1) % 3;
    let number = cluster.status(victim).unwrap()["node"].to_string();
    let layer = Random::new(29).bytes(2_000_000);
    let mut registry = Registry::new(cluster.nodes[victim].node.address);
    registry.push_blob("cache/app", &layer);
    // News of blobs are written down together, a moment later.
    cluster.nodes[victim].node.kill();

    let removal = ["remove", number.as_str(), "--force"];
    let refused = cluster.nodes[leader].operate(&removal[..2]);
    let text = said(&refused);
    assert!(!refused.status.success(), "{text}");
    let reason = format!("node {number} does not answer, and 1 blobs are nowhere else");
    assert!(text.contains(&reason), "{text}");
    // Started again it says what it holds, and is worth to be drained.
    cluster.nodes[victim].node.spawn();
    cluster.nodes[victim].node.wait_ready();
    let refused = said(&cluster.nodes[leader].operate(&removal[..2]));
    assert!(refused.contains("1 of them nowhere else"), "{refused}");
    // An operator may give it up.
    let removed = cluster.nodes[leader].operate(&removal);
    assert!(removed.status.success(), "{}", said(&removed));
}

#[test]
fn a_drained_leader_hands_over_leadership_and_every_blob_and_may_be_lost() {
    let mut cluster = slow_cluster();
    let leader = cluster.leader();
    let mut random = Random::new(23);
    let layer = random.bytes(2_000_000);
    let began = Instant::now();
    let mut registry = Registry::new(cluster.nodes[leader].node.address);
    push_image(&mut registry, "cache/app", "t", &layer);

    let number = cluster.status(leader).unwrap()["node"].to_string();
    let other = (leader + 1) % 3;
    let refused = cluster.nodes[other].operate(&["remove", &number]);
    let text = said(&refused);
    assert!(
        !refused.status.success() && text.contains("1 of them nowhere else"),
        "{text}"
    );
    let drained = cluster.nodes[other].operate(&["drain", &number]);
    assert!(drained.status.success(), "{}", said(&drained));
    assert!(
        said(&drained).contains("may be stopped"),
        "{}",
        said(&drained)
    );
    // One copy was enough for the push, and the drain waited for more: what comes after
    // the first mebibyte takes most of a second.
    assert!(began.elapsed() > COPIED_MIN, "{:?}", began.elapsed());
    let status = cluster.status(other).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    let role = |number: &str| {
        let node = nodes
            .iter()
            .find(|node| node["node"].as_u64() == number.parse().ok());
        node.unwrap()["role"].clone()
    };
    assert_eq!(role(&number), "learner");
    assert_eq!(
        nodes.iter().filter(|node| node["role"] == "leader").count(),
        1
    );
    assert_eq!(status["blobs"], 1, "the layer; the rest is small");

    cluster.nodes[leader].node.kill();
    fs::remove_dir_all(&cluster.nodes[leader].node.data_dir).unwrap();
    for index in (0..3).filter(|index| *index != leader) {
        let mut registry = Registry::new(cluster.nodes[index].node.address);
        registry.get("/v2/cache/app/manifests/t").expect(200);
        let target = format!("/v2/cache/app/blobs/{}", digest_of("sha256", &layer));
        assert!(registry.get(&target).expect(200).body == layer);
    }
    let removed = cluster.nodes[other].operate(&["remove", &number]);
    assert!(removed.status.success(), "{}", said(&removed));
    let mut registry = Registry::new(cluster.nodes[other].node.address);
    registry.push_blob("cache/app", b"goes on");
}
