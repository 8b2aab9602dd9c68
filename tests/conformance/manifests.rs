//! end-3, end-7a and end-9: manifests of every kind, by tag and by digest.

use serde_json::{Value, json};

use super::support::{
    CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE, Random, Registry, Request, image, index,
    location, sha256, sha512,
};
use super::{registry, repository};

const DOCKER_MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST_TYPE: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn encode(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// Bytes of a minimal image whose two blobs are in `name`.
fn small_image(registry: &mut Registry, name: &str, seed: u64) -> Value {
    let mut random = Random::new(seed);
    let (config, layer) = (random.bytes(50), random.bytes(500));
    let config_digest = registry.push_blob(name, &config);
    let layer_digest = registry.push_blob(name, &layer);
    image(
        (&config_digest, config.len()),
        &[(&layer_digest, layer.len())],
    )
}

fn expect_manifest(registry: &mut Registry, target: &str, media_type: &str, bytes: &[u8]) {
    let get = registry.get(target).expect(200);
    assert!(get.body == bytes, "{target}");
    assert_eq!(get.only("Content-Type"), media_type);
    let head = registry.call("HEAD", target).expect(200);
    assert_eq!(head.only("Content-Length"), bytes.len().to_string());
    for name in [
        "Content-Type",
        "Docker-Content-Digest",
        "ETag",
        "Content-Length",
    ] {
        assert_eq!(head.only(name), get.only(name), "{name}");
    }
}

#[test]
fn a_manifest_comes_back_byte_for_byte_by_tag_and_digest() {
    let mut registry = registry();
    let name = repository("exact");
    let mut manifest = small_image(&mut registry, &name, 71);
    manifest["unknownMember"] = json!({"kept": [1, 2.5, null, "\u{e9}"]});
    // Unusual but legal white space must survive.
    let bytes = serde_json::to_string_pretty(&manifest)
        .unwrap()
        .replace('\n', "\r\n\t");
    let bytes = format!(" {bytes}\n").into_bytes();
    let digest = sha256(&bytes);
    let answer = registry
        .put_manifest(&name, "v1", MANIFEST_TYPE, &bytes)
        .expect(201);
    assert_eq!(answer.only("Docker-Content-Digest"), digest);
    let place = location(&answer);
    assert!(
        place.starts_with(&format!("/v2/{name}/manifests/")),
        "{place}"
    );
    assert!(answer.header("OCI-Subject").is_none());
    for reference in ["v1", digest.as_str()] {
        let target = format!("/v2/{name}/manifests/{reference}");
        expect_manifest(&mut registry, &target, MANIFEST_TYPE, &bytes);
        assert_eq!(registry.get(&target).only("Docker-Content-Digest"), digest);
    }
}

#[test]
fn a_push_by_digest_must_match_under_both_algorithms() {
    let mut registry = registry();
    let name = repository("by-digest");
    let bytes = encode(&small_image(&mut registry, &name, 72));
    for digest in [sha256(&bytes), sha512(&bytes)] {
        let answer = registry
            .put_manifest(&name, &digest, MANIFEST_TYPE, &bytes)
            .expect(201);
        assert_eq!(answer.only("Docker-Content-Digest"), digest);
        let target = format!("/v2/{name}/manifests/{digest}");
        expect_manifest(&mut registry, &target, MANIFEST_TYPE, &bytes);
    }
    for wrong in [sha256(b"wrong"), sha512(b"wrong")] {
        let answer = registry
            .put_manifest(&name, &wrong, MANIFEST_TYPE, &bytes)
            .expect(400);
        answer.says(&["DIGEST_INVALID"]);
        registry
            .get(&format!("/v2/{name}/manifests/{wrong}"))
            .expect(404);
    }
}

#[test]
fn the_stored_manifest_is_served_whatever_accept_says() {
    let mut registry = registry();
    let name = repository("accept");
    let (bytes, _) = registry.push_image(&name, "v1", 73);
    let target = format!("/v2/{name}/manifests/v1");
    let mut many = Request::new("GET", &target);
    for line in [
        DOCKER_MANIFEST_TYPE,
        DOCKER_LIST_TYPE,
        INDEX_TYPE,
        "application/json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "*/*",
        MANIFEST_TYPE,
    ] {
        many = many.header("Accept", line);
    }
    for request in [
        many,
        Request::new("GET", &target),
        Request::new("GET", &target).header("Accept", "text/html"),
        Request::new("GET", &target).header("Accept", format!("{INDEX_TYPE}, {DOCKER_LIST_TYPE}")),
    ] {
        let answer = registry.send(&request).expect(200);
        assert_eq!(answer.only("Content-Type"), MANIFEST_TYPE);
        assert!(answer.body == bytes);
    }
}

#[test]
fn a_manifest_answers_304_to_its_own_entity_tag() {
    let mut registry = registry();
    let name = repository("manifest-etag");
    let (_, digest) = registry.push_image(&name, "v1", 74);
    for reference in ["v1", digest.as_str()] {
        let target = format!("/v2/{name}/manifests/{reference}");
        let etag = registry.get(&target).expect(200).only("ETag").to_owned();
        assert_eq!(etag, format!("\"{digest}\""));
        for value in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".to_owned(),
        ] {
            for method in ["GET", "HEAD"] {
                let request = Request::new(method, &target).header("If-None-Match", value.as_str());
                let answer = registry.send(&request).expect(304);
                assert!(answer.body.is_empty());
                assert_eq!(answer.only("ETag"), etag);
            }
        }
        let other = Request::new("GET", &target).header("If-None-Match", "\"other\"");
        registry.send(&other).expect(200);
    }
}

#[test]
fn docker_manifests_and_lists_keep_their_types() {
    let mut registry = registry();
    let name = repository("docker");
    let mut manifest = small_image(&mut registry, &name, 75);
    manifest["mediaType"] = json!(DOCKER_MANIFEST_TYPE);
    manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
    manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    let bytes = encode(&manifest);
    registry
        .put_manifest(&name, "image", DOCKER_MANIFEST_TYPE, &bytes)
        .expect(201);
    let target = format!("/v2/{name}/manifests/image");
    expect_manifest(&mut registry, &target, DOCKER_MANIFEST_TYPE, &bytes);
    let list = json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST_TYPE,
        "manifests": [{
            "mediaType": DOCKER_MANIFEST_TYPE, "size": bytes.len(), "digest": sha256(&bytes),
            "platform": {"architecture": "amd64", "os": "linux"},
        }],
    });
    let list = encode(&list);
    registry
        .put_manifest(&name, "list", DOCKER_LIST_TYPE, &list)
        .expect(201);
    let target = format!("/v2/{name}/manifests/list");
    expect_manifest(&mut registry, &target, DOCKER_LIST_TYPE, &list);
}

#[test]
fn an_index_and_its_children_are_manifests_of_one_repository() {
    let mut registry = registry();
    let name = repository("index");
    let (first, first_digest) = registry.push_image(&name, "one", 76);
    let (second, second_digest) = registry.push_image(&name, "two", 77);
    let list = [
        (first_digest.as_str(), first.len()),
        (&second_digest, second.len()),
    ];
    let bytes = encode(&index(&list));
    registry
        .put_manifest(&name, "all", INDEX_TYPE, &bytes)
        .expect(201);
    let target = format!("/v2/{name}/manifests/all");
    expect_manifest(&mut registry, &target, INDEX_TYPE, &bytes);
    // An index of an index, and an index of nothing.
    let outer_list = [(sha256(&bytes), bytes.len())];
    let mut outer = index(&[(&outer_list[0].0, outer_list[0].1)]);
    outer["manifests"][0]["mediaType"] = json!(INDEX_TYPE);
    registry
        .put_manifest(&name, "outer", INDEX_TYPE, &encode(&outer))
        .expect(201);
    registry
        .put_manifest(&name, "empty", INDEX_TYPE, &encode(&index(&[])))
        .expect(201);
    // The same index elsewhere misses both children.
    let elsewhere = repository("index-elsewhere");
    let answer = registry
        .put_manifest(&elsewhere, "all", INDEX_TYPE, &bytes)
        .expect(404);
    let errors = answer.json();
    let errors = errors["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    for digest in [&first_digest, &second_digest] {
        assert!(text.contains(digest.as_str()), "{text}");
    }
}

#[test]
fn a_manifest_with_missing_blobs_is_404_and_lists_each() {
    let mut registry = registry();
    let name = repository("missing");
    let (config, layer) = (sha256(b"absent config"), sha256(b"absent layer"));
    let present = registry.push_blob(&name, b"present");
    let manifest = image((&config, 10), &[(&present, 7), (&layer, 20)]);
    let answer = registry
        .put_manifest(&name, "v1", MANIFEST_TYPE, &encode(&manifest))
        .expect(404);
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap();
    let mut text = Vec::new();
    for error in errors {
        assert_eq!(error["code"], "MANIFEST_BLOB_UNKNOWN");
        text.push(error.to_string());
    }
    assert_eq!(errors.len(), 2, "{body}");
    assert!(
        text[0].contains(&config) && text[1].contains(&layer),
        "{body}"
    );
    registry
        .get(&format!("/v2/{name}/manifests/v1"))
        .expect(404);
    registry
        .get(&format!(
            "/v2/{name}/manifests/{}",
            sha256(&encode(&manifest))
        ))
        .expect(404);
}

#[test]
fn layers_kept_elsewhere_may_be_absent() {
    let mut registry = registry();
    let name = repository("foreign");
    let config = registry.push_blob(&name, b"config");
    let absent = sha256(b"lives elsewhere");
    for media_type in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        LAYER_TYPE,
    ] {
        let mut manifest = image((&config, 6), &[(&absent, 100)]);
        manifest["layers"][0]["mediaType"] = json!(media_type);
        manifest["layers"][0]["urls"] = json!(["http://127.0.0.1:1/never-fetched"]);
        registry
            .put_manifest(&name, "foreign", MANIFEST_TYPE, &encode(&manifest))
            .expect(201);
    }
}

#[test]
fn artifacts_need_no_layers_and_any_type() {
    let mut registry = registry();
    let name = repository("artifact");
    let config = registry.push_blob(&name, b"{}");
    let mut manifest = image((&config, 2), &[]);
    manifest["artifactType"] = json!("application/vnd.example.thing.v7");
    manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    manifest["config"]["data"] = json!("e30=");
    manifest["annotations"] = json!({"org.example.key": "value"});
    let bytes = encode(&manifest);
    registry
        .put_manifest(&name, "thing", MANIFEST_TYPE, &bytes)
        .expect(201);
    let target = format!("/v2/{name}/manifests/thing");
    expect_manifest(&mut registry, &target, MANIFEST_TYPE, &bytes);
    manifest["config"]["mediaType"] = json!(CONFIG_TYPE);
    registry
        .put_manifest(&name, "thing", MANIFEST_TYPE, &encode(&manifest))
        .expect(201);
}

#[test]
fn a_manifest_that_is_not_there_is_404() {
    let mut registry = registry();
    let name = repository("no-manifest");
    registry
        .get(&format!("/v2/{name}/manifests/latest"))
        .expect(404)
        .says(&["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]);
    registry.push_image(&name, "v1", 78);
    for reference in ["v2".to_owned(), sha256(b"absent"), sha512(b"absent")] {
        let target = format!("/v2/{name}/manifests/{reference}");
        registry
            .get(&target)
            .expect(404)
            .says(&["MANIFEST_UNKNOWN"]);
        registry.call("HEAD", &target).expect(404);
        registry
            .call("DELETE", &target)
            .expect(404)
            .says(&["MANIFEST_UNKNOWN"]);
    }
}

#[test]
fn a_blob_is_no_manifest_and_a_manifest_is_no_blob() {
    let mut registry = registry();
    let name = repository("apart");
    let (_, digest) = registry.push_image(&name, "v1", 79);
    let blob = registry.push_blob(&name, b"just a blob");
    registry
        .get(&format!("/v2/{name}/blobs/{digest}"))
        .expect(404);
    registry
        .get(&format!("/v2/{name}/manifests/{blob}"))
        .expect(404);
}

#[test]
fn deleting_a_tag_keeps_the_manifest_and_the_other_tags() {
    let mut registry = registry();
    let name = repository("delete-tag");
    let (bytes, digest) = registry.push_image(&name, "a", 80);
    registry
        .put_manifest(&name, "b", MANIFEST_TYPE, &bytes)
        .expect(201);
    registry
        .call("DELETE", &format!("/v2/{name}/manifests/a"))
        .expect(202);
    registry
        .get(&format!("/v2/{name}/manifests/a"))
        .expect(404)
        .says(&["MANIFEST_UNKNOWN"]);
    registry
        .call("DELETE", &format!("/v2/{name}/manifests/a"))
        .expect(404);
    for reference in ["b", digest.as_str()] {
        registry
            .get(&format!("/v2/{name}/manifests/{reference}"))
            .expect(200);
    }
}

#[test]
fn deleting_by_digest_takes_every_tag_along() {
    let mut registry = registry();
    let name = repository("delete-digest");
    let (bytes, digest) = registry.push_image(&name, "a", 81);
    registry
        .put_manifest(&name, "b", MANIFEST_TYPE, &bytes)
        .expect(201);
    let (_, other) = registry.push_image(&name, "c", 82);
    registry
        .call("DELETE", &format!("/v2/{name}/manifests/{digest}"))
        .expect(202);
    for reference in ["a", "b", digest.as_str()] {
        let target = format!("/v2/{name}/manifests/{reference}");
        if reference == digest {
            super::gone(&mut registry, &target);
        }
        registry
            .get(&target)
            .expect(404)
            .says(&["MANIFEST_UNKNOWN"]);
        registry.call("HEAD", &target).expect(404);
    }
    registry
        .get(&format!("/v2/{name}/manifests/{other}"))
        .expect(200);
    let tags = registry
        .get(&format!("/v2/{name}/tags/list"))
        .expect(200)
        .json();
    assert_eq!(tags["tags"], json!(["c"]));
    registry
        .put_manifest(&name, "a", MANIFEST_TYPE, &bytes)
        .expect(201);
    registry
        .get(&format!("/v2/{name}/manifests/{digest}"))
        .expect(200);
}

#[test]
fn a_tag_moves_and_the_old_manifest_stays() {
    let mut registry = registry();
    let name = repository("move");
    let (_, old) = registry.push_image(&name, "latest", 83);
    let (_, new) = registry.push_image(&name, "latest", 84);
    let target = format!("/v2/{name}/manifests/latest");
    assert_eq!(
        registry
            .get(&target)
            .expect(200)
            .only("Docker-Content-Digest"),
        new
    );
    registry
        .get(&format!("/v2/{name}/manifests/{old}"))
        .expect(200);
}
