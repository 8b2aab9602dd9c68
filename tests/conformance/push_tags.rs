//! end-7b: one push that sets several tags, as one change.

use super::support::{MANIFEST_TYPE, Registry, Request, Response, sha256, sha512};
use super::{registry, repository};

fn push(
    registry: &mut Registry,
    name: &str,
    digest: &str,
    tags: &[String],
    bytes: &[u8],
) -> Response {
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    let target = format!("/v2/{name}/manifests/{digest}?{}", query.join("&"));
    let request = Request::new("PUT", target).header("Content-Type", MANIFEST_TYPE);
    registry.send(&request.body(bytes))
}

fn numbered(count: usize) -> Vec<String> {
    // Against lexical order, so that the order of the answer is the request's.
    (0..count)
        .map(|number| format!("t{}", count - number))
        .collect()
}

#[test]
fn every_tag_is_set_and_named_in_order() {
    let mut registry = registry();
    let name = repository("multi");
    let (bytes, digest) = registry.push_image(&name, "seed", 91);
    for (count, digest) in [(1, digest.clone()), (10, sha512(&bytes)), (100, digest)] {
        let tags = numbered(count);
        let answer = push(&mut registry, &name, &digest, &tags, &bytes).expect(201);
        assert_eq!(answer.values("OCI-Tag"), tags);
        assert_eq!(answer.only("Docker-Content-Digest"), digest);
        for tag in &tags {
            let answer = registry
                .call("HEAD", &format!("/v2/{name}/manifests/{tag}"))
                .expect(200);
            assert_eq!(answer.only("Docker-Content-Digest"), digest);
        }
    }
}

#[test]
fn more_than_a_hundred_tags_are_refused_whole() {
    let mut registry = registry();
    let name = repository("multi-101");
    let (bytes, digest) = registry.push_image(&name, "seed", 92);
    push(&mut registry, &name, &digest, &numbered(101), &bytes).expect_any(&[400, 413, 414]);
    let tags = registry
        .get(&format!("/v2/{name}/tags/list"))
        .expect(200)
        .json();
    assert_eq!(tags["tags"], serde_json::json!(["seed"]));
}

#[test]
fn one_bad_tag_refuses_all() {
    let mut registry = registry();
    let name = repository("multi-bad");
    let (bytes, digest) = registry.push_image(&name, "seed", 93);
    for bad in ["-bad", "", "a%2Fb", "sha256:x"] {
        let tags = ["good".to_owned(), bad.to_owned(), "fine".to_owned()];
        push(&mut registry, &name, &digest, &tags, &bytes).expect(400);
        registry
            .get(&format!("/v2/{name}/manifests/good"))
            .expect(404);
        registry
            .get(&format!("/v2/{name}/manifests/fine"))
            .expect(404);
    }
}

#[test]
fn a_wrong_digest_sets_no_tag() {
    let mut registry = registry();
    let name = repository("multi-wrong");
    let (bytes, _) = registry.push_image(&name, "seed", 94);
    let tags = numbered(3);
    let answer = push(&mut registry, &name, &sha256(b"wrong"), &tags, &bytes).expect(400);
    answer.says(&["DIGEST_INVALID"]);
    for tag in &tags {
        registry
            .get(&format!("/v2/{name}/manifests/{tag}"))
            .expect(404);
    }
}

#[test]
fn a_repeated_tag_counts_once() {
    let mut registry = registry();
    let name = repository("multi-repeat");
    let (bytes, digest) = registry.push_image(&name, "seed", 95);
    let tags = ["a", "b", "a"].map(str::to_owned);
    let answer = push(&mut registry, &name, &digest, &tags, &bytes).expect_any(&[201, 400]);
    if answer.status == 201 {
        assert_eq!(answer.values("OCI-Tag"), ["a", "b"]);
    }
}
