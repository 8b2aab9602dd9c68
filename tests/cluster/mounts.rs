//! A blob that is linked to a repository without being brought is held by as many nodes
//! as one that is.

use std::fs;

use crate::support::{Cluster, NodeOptions, Random, Registry, Request, digest_of};

/// So slow that what is pushed to one node is nowhere else for a while.
const FETCH_RATE: (&str, &str) = ("WINDLASS_CLUSTER__FETCH_RATE_MAX", "1MiB");
/// Pushes there are acknowledged by the node that takes them.
const ONE_COPY: (&str, &str) = ("WINDLASS_CLUSTER__ACK_PREFIXES", "[\"cache=one\"]");
const BLOB_BYTES: usize = 6_000_000;

fn options(variables: &[(&str, &str)]) -> NodeOptions {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    NodeOptions {
        environment: variables.iter().map(owned).collect(),
        ..NodeOptions::default()
    }
}

fn image(layer: &str) -> Vec<u8> {
    let empty = digest_of("sha256", b"{}");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": empty,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "size": BLOB_BYTES, "digest": layer,
        }],
    });
    manifest.to_string().into_bytes()
}

#[test]
fn what_was_mounted_or_pushed_for_one_copy_outlives_its_node_once_an_image_has_it() {
    let [first, others] = [&[FETCH_RATE, ONE_COPY][..], &[FETCH_RATE]].map(options);
    let mut cluster = Cluster::of(vec![first, others.clone(), others]);
    let addresses = cluster.addresses();
    let mut random = Random::new(29);
    let (mounted, shared) = (random.bytes(BLOB_BYTES), random.bytes(BLOB_BYTES));
    let mut cache = Registry::new(addresses[0]);
    let mut registry = Registry::new(addresses[1]);
    for repository in ["cache/app", "prod/app"] {
        registry.push_blob(repository, b"{}");
    }
    let at_one = [&mounted, &shared].map(|content| cache.push_blob("cache/app", content));

    // The repository that it goes to waits for two copies; the other node, whose rules
    // are others, for two in both.
    let [mount, layer] = &at_one;
    let target = format!("/v2/prod/app/blobs/uploads/?mount={mount}&from=cache/app");
    cache.send(&Request::new("POST", target)).expect(201);
    let put = Request::new("PUT", "/v2/cache/app/manifests/t")
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .body(image(layer));
    registry.send(&put).expect(201);

    cluster.nodes[0].node.kill();
    fs::remove_dir_all(&cluster.nodes[0].node.data_dir).unwrap();
    for (repository, digest, content) in
        [("prod/app", mount, &mounted), ("cache/app", layer, &shared)]
    {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let got = Registry::new(addresses[1]).get(&target).expect(200);
        assert!(got.body == *content, "{target}");
    }
}
