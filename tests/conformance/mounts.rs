//! end-11: mounting a blob of another repository, with and without its name.

use super::support::{Random, Registry, Request, location, sha256};
use super::{registry, repository};

fn mount(registry: &mut Registry, target: &str, query: &str) -> super::support::Response {
    registry.call("POST", &format!("/v2/{target}/blobs/uploads/?{query}"))
}

fn expect_session(registry: &mut Registry, answer: &super::support::Response) {
    assert_eq!(answer.status, 202, "{}", answer.about);
    let session = location(answer);
    assert_eq!(answer.only("Range"), "0-0");
    let content = Random::new(61).bytes(500);
    let put = format!("{session}?digest={}", sha256(&content));
    registry
        .send(&Request::new("PUT", put).body(content))
        .expect(201);
}

#[test]
fn a_named_mount_links_without_moving_bytes() {
    let mut registry = registry();
    let (source, target) = (repository("mount-from"), repository("mount-to"));
    for (algorithm, size) in [("sha256", 100), ("sha256", 100_000), ("sha512", 100_000)] {
        let content = Random::new(62).bytes(size);
        let digest = registry.push_blob_as(algorithm, &source, &content);
        let escaped = source.replace('/', "%2F");
        for query in [
            format!("mount={digest}&from={source}"),
            format!("from={escaped}&mount={}", digest.replace(':', "%3A")),
        ] {
            let answer = mount(&mut registry, &target, &query).expect(201);
            assert_eq!(answer.only("Docker-Content-Digest"), digest);
            assert_eq!(location(&answer), format!("/v2/{target}/blobs/{digest}"));
        }
        let blob = format!("/v2/{target}/blobs/{digest}");
        registry.call("HEAD", &blob).expect(200);
        assert!(registry.get(&blob).expect(200).body == content);
    }
}

#[test]
fn an_anonymous_mount_finds_the_blob_anywhere() {
    let mut registry = registry();
    let content = Random::new(63).bytes(30_000);
    let digest = registry.push_blob(&repository("anywhere"), &content);
    let target = repository("anonymous");
    let answer = mount(&mut registry, &target, &format!("mount={digest}"));
    match answer.status {
        201 => assert_eq!(answer.only("Docker-Content-Digest"), digest),
        _ => expect_session(&mut registry, &answer),
    }
    assert_eq!(
        answer.status, 201,
        "an anonymous mount of a known blob links it"
    );
    assert!(
        registry
            .get(&format!("/v2/{target}/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
}

#[test]
fn a_mount_that_cannot_be_opens_a_session() {
    let mut registry = registry();
    let (source, target) = (repository("mount-source"), repository("mount-target"));
    let absent = sha256(b"no repository has this");
    let digest = registry.push_blob(&source, b"only in the source");
    let stranger = repository("mount-stranger");
    registry.push_blob(&stranger, b"another");
    for query in [
        format!("mount={absent}&from={source}"),
        format!("mount={absent}"),
        format!("mount={digest}&from={}", repository("never-existed")),
        format!("mount={digest}&from={stranger}"),
        format!("mount={digest}&from=NOT..A..NAME"),
        format!("from={source}"),
        "mount=".to_owned(),
        "mount=sha256:nonsense&from=x".to_owned(),
    ] {
        let answer = mount(&mut registry, &target, &query);
        expect_session(&mut registry, &answer);
    }
}

#[test]
fn a_mount_outlives_the_blob_in_its_source() {
    let mut registry = registry();
    let (source, target) = (repository("outlive-from"), repository("outlive-to"));
    let content = Random::new(64).bytes(50_000);
    let digest = registry.push_blob(&source, &content);
    mount(
        &mut registry,
        &target,
        &format!("mount={digest}&from={source}"),
    )
    .expect(201);
    registry
        .call("DELETE", &format!("/v2/{source}/blobs/{digest}"))
        .expect(202);
    assert!(
        registry
            .get(&format!("/v2/{target}/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
    let answer = mount(
        &mut registry,
        &repository("late"),
        &format!("mount={digest}&from={source}"),
    );
    expect_session(&mut registry, &answer);
}

#[test]
fn mounting_into_its_own_repository_is_fine() {
    let mut registry = registry();
    let name = repository("mount-self");
    let digest = registry.push_blob(&name, b"self");
    mount(&mut registry, &name, &format!("mount={digest}&from={name}")).expect(201);
    registry
        .get(&format!("/v2/{name}/blobs/{digest}"))
        .expect(200);
}
