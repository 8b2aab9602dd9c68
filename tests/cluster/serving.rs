//! What was acknowledged on one node is there on every node, whichever nodes die.

use std::time::Duration;

use crate::support::{
    Cluster, MANIFEST_TYPE, Random, Registry, Request, digest_of, image, wait_for,
};

/// A surviving majority takes writes again within this time.
const FAILOVER_MAX: Duration = Duration::from_secs(20);

/// Pushes an image of one layer through a node and tags it.
#[track_caller]
pub(crate) fn push_image(
    registry: &mut Registry,
    repository: &str,
    tag: &str,
    layer: &[u8],
) -> String {
    let layer_digest = registry.push_blob(repository, layer);
    let config = format!("{{\"tag\":\"{tag}\"}}").into_bytes();
    let config_digest = registry.push_blob(repository, &config);
    let layers = [(layer_digest.as_str(), layer.len())];
    let manifest = image((&config_digest, config.len()), &layers)
        .to_string()
        .into_bytes();
    let target = format!("/v2/{repository}/manifests/{tag}");
    let request = Request::new("PUT", target)
        .header("Content-Type", MANIFEST_TYPE)
        .body(manifest.clone());
    registry.send(&request).expect(201);
    digest_of("sha256", &manifest)
}

#[test]
fn what_one_node_takes_every_other_serves_at_once() {
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let mut random = Random::new(11);
    for round in 0..6 {
        let taker = addresses[round % 3];
        let size = [40_000, 3_000_000, 700][round % 3];
        let layer = random.bytes(size);
        let tag = format!("t{round}");
        let digest = push_image(&mut Registry::new(taker), "spread/app", &tag, &layer);
        for address in &addresses {
            let mut registry = Registry::new(*address);
            let got = registry
                .get(&format!("/v2/spread/app/manifests/{tag}"))
                .expect(200);
            assert_eq!(digest_of("sha256", &got.body), digest);
            let layer_digest = digest_of("sha256", &layer);
            let target = format!("/v2/spread/app/blobs/{layer_digest}");
            assert_eq!(registry.call("HEAD", &target).status, 200, "at {address}");
            assert!(
                registry.get(&target).expect(200).body == layer,
                "at {address}"
            );
        }
    }
    cluster.wait_whole();
}

#[test]
fn nothing_acknowledged_is_lost_when_the_leader_is_killed_again_and_again() {
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let mut random = Random::new(5);
    let mut acknowledged: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..5_usize {
        for _ in 0..4 {
            let content = random.bytes(30_000);
            let alive = (0..3)
                .find(|index| cluster.nodes[*index].node.is_running())
                .unwrap();
            let digest = Registry::new(addresses[alive]).push_blob("kept/app", &content);
            acknowledged.push((digest, content));
        }
        let leader = cluster.leader();
        cluster.nodes[leader].node.kill();
        let survivor = (leader + 1 + round % 2) % 3;
        let content = random.bytes(20_000);
        let digest = digest_of("sha256", &content);
        let target = format!("/v2/kept/app/blobs/uploads/?digest={digest}");
        let is_taken = wait_for(FAILOVER_MAX, || {
            let mut registry = Registry::new(addresses[survivor]);
            let request = Request::new("POST", target.clone()).body(content.clone());
            registry
                .client
                .try_send(&request)
                .is_ok_and(|answer| answer.status == 201)
        });
        assert!(
            is_taken,
            "no write within {FAILOVER_MAX:?} of the leader's death"
        );
        acknowledged.push((digest, content));
        cluster.nodes[leader].node.restart();
    }
    cluster.wait_voters(3);
    cluster.wait_whole();
    for address in &addresses {
        let mut registry = Registry::new(*address);
        for (digest, content) in &acknowledged {
            let got = registry
                .get(&format!("/v2/kept/app/blobs/{digest}"))
                .expect(200);
            assert!(got.body == *content, "{digest} at {address}");
        }
    }
}
