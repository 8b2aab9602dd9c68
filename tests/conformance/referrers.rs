//! end-12: what refers to a manifest, filtered and in pages.

use serde_json::{Value, json};

use super::support::{
    INDEX_TYPE, MANIFEST_TYPE, Registry, Request, Response, image, index, sha256, sha512,
};
use super::{registry, repository};

const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// Pushes an artifact that refers to `subject`; gives its descriptor's parts.
fn attach(registry: &mut Registry, name: &str, subject: &str, kind: &str, mark: usize) -> String {
    let manifest = artifact(registry, name, subject, kind, mark);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = sha256(&bytes);
    let answer = registry
        .put_manifest(name, &digest, MANIFEST_TYPE, &bytes)
        .expect(201);
    assert_eq!(answer.only("OCI-Subject"), subject);
    digest
}

fn artifact(registry: &mut Registry, name: &str, subject: &str, kind: &str, mark: usize) -> Value {
    let config = registry.push_blob(name, b"{}");
    let mut manifest = image((&config, 2), &[]);
    manifest["config"]["mediaType"] = json!(EMPTY_TYPE);
    if !kind.is_empty() {
        manifest["artifactType"] = json!(kind);
    }
    manifest["annotations"] = json!({"mark": mark.to_string()});
    // The size must be right when the subject is there.
    let stored = registry.get(&format!("/v2/{name}/manifests/{subject}"));
    let size = if stored.status == 200 {
        stored.body.len()
    } else {
        100
    };
    manifest["subject"] = json!({"mediaType": MANIFEST_TYPE, "digest": subject, "size": size});
    manifest
}

fn list(registry: &mut Registry, name: &str, subject: &str, query: &str) -> (Vec<Value>, Response) {
    let answer = registry
        .get(&format!("/v2/{name}/referrers/{subject}{query}"))
        .expect(200);
    (entries(&answer), answer)
}

fn entries(answer: &Response) -> Vec<Value> {
    assert_eq!(answer.only("Content-Type"), INDEX_TYPE);
    let body = answer.json();
    assert_eq!(body["schemaVersion"], 2);
    assert_eq!(body["mediaType"], INDEX_TYPE);
    body["manifests"]
        .as_array()
        .expect("manifests is a list")
        .clone()
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    let mut registry = registry();
    let name = repository("referrers-none");
    for subject in [sha256(b"absent"), sha512(b"absent")] {
        assert!(list(&mut registry, &name, &subject, "").0.is_empty());
    }
    let (_, digest) = registry.push_image(&name, "v1", 121);
    assert!(list(&mut registry, &name, &digest, "").0.is_empty());
}

#[test]
fn a_referrer_is_listed_with_its_whole_descriptor() {
    let mut registry = registry();
    let name = repository("referrers-one");
    let (_, subject) = registry.push_image(&name, "v1", 122);
    let kind = "application/vnd.example.sbom.v1";
    let digest = attach(&mut registry, &name, &subject, kind, 7);
    let stored = registry
        .get(&format!("/v2/{name}/manifests/{digest}"))
        .expect(200)
        .body;
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], digest.as_str());
    assert_eq!(found[0]["mediaType"], MANIFEST_TYPE);
    assert_eq!(found[0]["size"], stored.len());
    assert_eq!(found[0]["artifactType"], kind);
    assert_eq!(found[0]["annotations"], json!({"mark": "7"}));
}

#[test]
fn a_subject_may_come_later_or_never() {
    let mut registry = registry();
    let name = repository("referrers-early");
    let subject = sha256(b"comes later");
    let digest = attach(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.a",
        1,
    );
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(found[0]["digest"], digest.as_str());
}

#[test]
fn the_type_falls_back_to_the_configuration() {
    let mut registry = registry();
    let name = repository("referrers-config");
    let subject = sha256(b"subject");
    let mut manifest = artifact(&mut registry, &name, &subject, "", 1);
    manifest["config"]["mediaType"] = json!("application/vnd.example.config.v1");
    let bytes = serde_json::to_vec(&manifest).unwrap();
    registry
        .put_manifest(&name, "tagged", MANIFEST_TYPE, &bytes)
        .expect(201);
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(
        found[0]["artifactType"],
        "application/vnd.example.config.v1"
    );
}

#[test]
fn an_index_refers_too() {
    let mut registry = registry();
    let name = repository("referrers-index");
    let subject = sha256(b"subject of an index");
    let mut referrer = index(&[]);
    referrer["artifactType"] = json!("application/vnd.example.list");
    referrer["annotations"] = json!({"a": "b"});
    referrer["subject"] = json!({"mediaType": MANIFEST_TYPE, "digest": subject, "size": 9});
    let bytes = serde_json::to_vec(&referrer).unwrap();
    let answer = registry
        .put_manifest(&name, "list", INDEX_TYPE, &bytes)
        .expect(201);
    assert_eq!(answer.only("OCI-Subject"), subject);
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(found[0]["mediaType"], INDEX_TYPE);
    assert_eq!(found[0]["artifactType"], "application/vnd.example.list");
    assert_eq!(found[0]["annotations"], json!({"a": "b"}));
}

#[test]
fn a_filter_is_applied_and_said_so() {
    let mut registry = registry();
    let name = repository("referrers-filter");
    let subject = sha256(b"filtered");
    let (a, b) = (
        "application/vnd.example.a",
        "application/vnd.example.b+json",
    );
    for mark in 0..3 {
        attach(&mut registry, &name, &subject, a, mark);
    }
    let only = attach(&mut registry, &name, &subject, b, 9);
    let (found, answer) = list(&mut registry, &name, &subject, "");
    assert_eq!(found.len(), 4);
    assert!(answer.header("OCI-Filters-Applied").is_none());
    let query = format!(
        "?artifactType={}",
        b.replace('/', "%2F").replace('+', "%2B")
    );
    let (found, answer) = list(&mut registry, &name, &subject, &query);
    assert_eq!(answer.only("OCI-Filters-Applied"), "artifactType");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], only.as_str());
    let (found, answer) = list(
        &mut registry,
        &name,
        &subject,
        "?artifactType=application/none",
    );
    assert!(found.is_empty());
    assert_eq!(answer.only("OCI-Filters-Applied"), "artifactType");
}

#[test]
fn a_sha512_subject_and_a_sha512_referrer_work() {
    let mut registry = registry();
    let name = repository("referrers-512");
    let subject = sha512(b"long subject");
    let manifest = artifact(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.c",
        1,
    );
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let digest = sha512(&bytes);
    let answer = registry
        .put_manifest(&name, &digest, MANIFEST_TYPE, &bytes)
        .expect(201);
    assert_eq!(answer.only("OCI-Subject"), subject);
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(found[0]["digest"], digest.as_str());
}

#[test]
fn a_deleted_referrer_is_no_longer_listed() {
    let mut registry = registry();
    let name = repository("referrers-deleted");
    let (_, subject) = registry.push_image(&name, "v1", 123);
    let gone = attach(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.a",
        1,
    );
    let kept = attach(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.a",
        2,
    );
    registry
        .call("DELETE", &format!("/v2/{name}/manifests/{gone}"))
        .expect(202);
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], kept.as_str());
    // A deleted subject does not take its referrers along.
    registry
        .call("DELETE", &format!("/v2/{name}/manifests/{subject}"))
        .expect(202);
    assert_eq!(list(&mut registry, &name, &subject, "").0.len(), 1);
}

#[test]
fn referrers_stay_in_their_repository() {
    let mut registry = registry();
    let name = repository("referrers-here");
    let subject = sha256(b"shared subject");
    attach(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.a",
        1,
    );
    let elsewhere = repository("referrers-there");
    assert!(list(&mut registry, &elsewhere, &subject, "").0.is_empty());
}

#[test]
fn many_referrers_come_in_pages() {
    let mut registry = registry();
    let name = repository("referrers-pages");
    let subject = sha256(b"popular");
    let mut expected: Vec<String> = Vec::new();
    for mark in 0..12 {
        // Annotations are copied, so a few referrers fill a page of any bound.
        let mut manifest = artifact(
            &mut registry,
            &name,
            &subject,
            "application/vnd.example.big",
            mark,
        );
        manifest["annotations"]["pad"] = json!("p".repeat(900_000));
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = sha256(&bytes);
        registry
            .put_manifest(&name, &digest, MANIFEST_TYPE, &bytes)
            .expect(201);
        expected.push(digest);
    }
    for query in ["", "?artifactType=application/vnd.example.big"] {
        let mut target = Some(format!("/v2/{name}/referrers/{subject}{query}"));
        let (mut found, mut pages) = (Vec::new(), 0);
        while let Some(page) = target {
            let answer = registry.get(&page).expect(200);
            assert_eq!(
                answer.header("OCI-Filters-Applied").is_some(),
                !query.is_empty()
            );
            assert!(answer.body.len() <= 5 * 1024 * 1024, "a page is bounded");
            found.extend(
                entries(&answer)
                    .iter()
                    .map(|entry| entry["digest"].to_string()),
            );
            pages += 1;
            target = answer.next_page();
        }
        assert!(pages > 1, "10 MB of descriptors are no single page");
        found.sort_unstable();
        let mut expected: Vec<String> = expected.iter().map(|one| format!("\"{one}\"")).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_fallback_tag_is_an_ordinary_tag() {
    let mut registry = registry();
    let name = repository("referrers-fallback");
    let (_, subject) = registry.push_image(&name, "v1", 124);
    let digest = attach(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.a",
        1,
    );
    let size = registry
        .get(&format!("/v2/{name}/manifests/{digest}"))
        .expect(200)
        .body
        .len();
    let bytes = serde_json::to_vec(&index(&[(&digest, size)])).unwrap();
    let tag = subject.replace(':', "-");
    registry
        .put_manifest(&name, &tag, INDEX_TYPE, &bytes)
        .expect(201);
    assert!(
        registry
            .get(&format!("/v2/{name}/manifests/{tag}"))
            .expect(200)
            .body
            == bytes
    );
    let (found, _) = list(&mut registry, &name, &subject, "");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], digest.as_str());
}

#[test]
fn head_agrees_with_get() {
    let mut registry = registry();
    let name = repository("referrers-head");
    let subject = sha256(b"head");
    attach(
        &mut registry,
        &name,
        &subject,
        "application/vnd.example.a",
        1,
    );
    let target = format!("/v2/{name}/referrers/{subject}");
    let get = registry.get(&target).expect(200);
    let head = registry
        .send(&Request::new("HEAD", &target))
        .expect_any(&[200, 405]);
    if head.status == 200 {
        assert_eq!(head.only("Content-Length"), get.only("Content-Length"));
    }
}
