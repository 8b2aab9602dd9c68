//! A node that reaches no majority: what is named by digest is served, what is named
//! by tag only where the operator allows old answers.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::serving::push_image;
use crate::support::{Cluster, NodeOptions, Registry, digest_of, wait_for};

/// A node that lost the others notices within this time.
const NOTICED_MAX: Duration = Duration::from_secs(30);

fn with_stale_reads(are_allowed: bool) -> NodeOptions {
    let value = are_allowed.to_string();
    NodeOptions {
        environment: vec![("WINDLASS_CLUSTER__STALE_READS".to_owned(), value)],
        ..NodeOptions::default()
    }
}

/// Everything that is read by tag or as a list.
const BY_TAG: [&str; 4] = [
    "/v2/quorum/app/manifests/t",
    "/v2/quorum/app/tags/list",
    "/v2/_catalog",
    "/v2/quorum/app/referrers/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

/// Asks everything at once: each answer may wait for a quorum.
fn expect_by_tag(address: SocketAddr, status: u16, is_warned: bool) {
    let expect = |target: &'static str| {
        let is_so = wait_for(NOTICED_MAX, || {
            let answer = Registry::new(address).get(target);
            let warning = answer.header("Warning").map(str::to_owned);
            answer.status == status
                && warning.is_some() == is_warned
                && warning.is_none_or(|warning| warning.starts_with("299 - \""))
        });
        assert!(is_so, "{target}: {status}, warned {is_warned}");
    };
    thread::scope(|scope| {
        for target in BY_TAG {
            scope.spawn(move || expect(target));
        }
    });
}

fn expect_by_digest(address: SocketAddr, manifest: &str, layer: &[u8]) {
    let mut registry = Registry::new(address);
    let target = format!("/v2/quorum/app/manifests/{manifest}");
    let answer = registry.get(&target).expect(200);
    assert_eq!(answer.header("Warning"), None);
    let target = format!("/v2/quorum/app/blobs/{}", digest_of("sha256", layer));
    assert!(registry.get(&target).expect(200).body == layer);
    // What is not here may be elsewhere: that is no 404.
    let unknown = digest_of("sha256", b"never pushed");
    thread::scope(|scope| {
        for kind in ["manifests", "blobs"] {
            let target = format!("/v2/quorum/app/{kind}/{unknown}");
            scope.spawn(move || Registry::new(address).get(&target).expect(503));
        }
    });
}

#[test]
fn without_a_quorum_tags_are_refused_or_old_and_digests_are_served() {
    let mut cluster = Cluster::of([true, false, false].map(with_stale_reads).to_vec());
    let addresses = cluster.addresses();
    let layer = vec![3; 200_000];
    let mut registry = Registry::new(addresses[0]);
    let manifest = push_image(&mut registry, "quorum/app", "t", &layer);
    cluster.wait_whole();

    cluster.nodes[1].node.kill();
    cluster.nodes[2].node.kill();
    expect_by_tag(addresses[0], 200, true);
    expect_by_digest(addresses[0], &manifest, &layer);
    let mut registry = Registry::new(addresses[0]);
    registry.get("/v2/quorum/app/manifests/other").expect(503);
    registry.get("/v2/quorum/none/tags/list").expect(503);
    registry.get("/v2/").expect(200);

    cluster.nodes[1].node.restart();
    expect_by_tag(addresses[0], 200, false);
    registry.get("/v2/quorum/app/manifests/other").expect(404);

    cluster.nodes[0].node.kill();
    expect_by_tag(addresses[1], 503, false);
    expect_by_digest(addresses[1], &manifest, &layer);
}
