//! end-1, and the strict rules for paths, names, tags, digests and methods.

use super::support::{MANIFEST_TYPE, Request, sha256};
use super::{registry, repository};

#[test]
fn version_check_answers_get_and_head() {
    let mut registry = registry();
    let answer = registry.get("/v2/").expect(200);
    assert_eq!(
        answer.only("Docker-Distribution-API-Version"),
        "registry/2.0"
    );
    let head = registry.call("HEAD", "/v2/").expect(200);
    assert_eq!(
        head.header("Content-Length"),
        answer.header("Content-Length")
    );
}

#[test]
fn unknown_paths_are_404_with_an_error_body() {
    let mut registry = registry();
    for path in [
        "/",
        "/v1/",
        "/v2/x/nothing/here",
        "/v2/a/b/c",
        "/healthz",
        "/v2/a/tags",
    ] {
        registry.get(path).expect(404);
    }
}

#[test]
fn methods_outside_the_table_are_refused_and_not_echoed() {
    let mut registry = registry();
    let name = repository("methods");
    let digest = sha256(b"nothing");
    let rows = [
        ("POST", "/v2/".to_owned()),
        ("DELETE", "/v2/".to_owned()),
        ("PUT", "/v2/_catalog".to_owned()),
        ("PUT", format!("/v2/{name}/tags/list")),
        ("DELETE", format!("/v2/{name}/referrers/{digest}")),
        ("PATCH", format!("/v2/{name}/manifests/latest")),
        ("POST", format!("/v2/{name}/manifests/latest")),
        ("PUT", format!("/v2/{name}/blobs/{digest}")),
        ("GET", format!("/v2/{name}/blobs/uploads/")),
    ];
    for (method, path) in rows {
        registry.call(method, &path).expect_any(&[404, 405]).says(&[
            "UNSUPPORTED",
            "NAME_UNKNOWN",
            "BLOB_UPLOAD_UNKNOWN",
            "BLOB_UPLOAD_INVALID",
            "DIGEST_INVALID",
            "NAME_INVALID",
        ]);
    }
    for method in ["TRACE", "OPTIONS", "PROPFIND"] {
        let request = Request::new(method, "/v2/").header("X-Secret", "echo-me-not");
        let answer = registry.send(&request).expect_any(&[405, 501]);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!body.contains("echo-me-not"), "{body}");
    }
}

#[test]
fn paths_are_taken_as_they_are_and_never_redirected() {
    let mut registry = registry();
    let (_, digest) = registry.push_image(&repository("paths"), "v1", 1);
    let name = repository("paths");
    let escaped = name.replacen('/', "%2F", 1);
    for path in [
        format!("/v2//{name}/manifests/v1"),
        format!("/v2/{name}//manifests/v1"),
        format!("//v2/{name}/manifests/v1"),
        format!("/v2/{name}/manifests//v1"),
        format!("/v2/{name}/manifests/v1/"),
        format!("/v2/{escaped}/manifests/v1"),
        format!("/v2/{name}/manifests/%76%31"),
        format!("/v2/{name}/./manifests/v1"),
        format!("/v2/{name}/x/../manifests/v1"),
        format!("/v2/../v2/{name}/manifests/v1"),
        format!("/v2/{name}/manifests/{}", digest.replace(':', "%3A")),
        format!("/v2/{name}\\manifests\\v1"),
        format!("/v2/{name}/manifests/v1%00"),
        format!("/V2/{name}/manifests/v1"),
    ] {
        let answer = registry.get(&path).expect_any(&[400, 404]);
        assert!(answer.header("Location").is_none(), "{path} is redirected");
    }
    registry
        .get(&format!("/v2/{name}/manifests/v1"))
        .expect(200);
}

#[test]
fn names_follow_the_grammar_up_to_255_bytes() {
    let mut registry = registry();
    let prefix = repository("n");
    let longest = format!("{prefix}/{}", "a".repeat(255 - prefix.len() - 1));
    for good in [
        "0",
        "a.b",
        "a_b",
        "a__b",
        "a---b",
        "a/b/c/d/e/f",
        "blobs",
        "manifests/tags",
        "uploads",
        "referrers/x",
        "tags/list",
    ] {
        let name = format!("{prefix}/{good}");
        let (_, digest) = registry.push_image(&name, "v1", 2);
        let answer = registry
            .get(&format!("/v2/{name}/manifests/v1"))
            .expect(200);
        assert_eq!(answer.only("Docker-Content-Digest"), digest);
    }
    registry.push_image(&longest, "v1", 2);
    let too_long = format!("{longest}a");
    for bad in [
        "A", "a..b", "a_.b", "a___b", "-a", "a-", ".a", "a_", "a/-b", "ä", "a b", "a:b", "a@b",
        "a+b", "a~b",
    ] {
        let target = format!("/v2/{prefix}/{}/blobs/uploads/", bad.replace(' ', "%20"));
        let answer = registry.call("POST", &target).expect_any(&[400, 404]);
        // What is not even ASCII is no target, and is refused before it is a name.
        if bad.is_ascii() {
            answer.says(&["NAME_INVALID", "NAME_UNKNOWN"]);
        }
    }
    let target = format!("/v2/{too_long}/blobs/uploads/");
    registry
        .call("POST", &target)
        .expect_any(&[400, 404])
        .says(&["NAME_INVALID"]);
}

#[test]
fn tags_follow_the_grammar_up_to_128_bytes() {
    let mut registry = registry();
    let name = repository("tag-grammar");
    let (bytes, _) = registry.push_image(&name, "first", 3);
    let longest = "t".repeat(128);
    for good in [
        "a",
        "_",
        "A.b-C_d",
        "0",
        "latest",
        "1.0.0-rc.1",
        longest.as_str(),
    ] {
        registry
            .put_manifest(&name, good, MANIFEST_TYPE, &bytes)
            .expect(201);
        registry
            .get(&format!("/v2/{name}/manifests/{good}"))
            .expect(200);
    }
    let too_long = "t".repeat(129);
    for bad in [
        ".a",
        "-a",
        "a+b",
        "a~",
        "a%20b",
        "ä",
        "a,b",
        too_long.as_str(),
    ] {
        registry
            .put_manifest(&name, bad, MANIFEST_TYPE, &bytes)
            .expect_any(&[400, 404]);
        registry
            .get(&format!("/v2/{name}/manifests/{bad}"))
            .expect_any(&[400, 404]);
    }
}

#[test]
fn digests_are_one_form_only() {
    let mut registry = registry();
    let name = repository("digest-grammar");
    let digest = registry.push_blob(&name, b"digest grammar");
    let hex = digest.strip_prefix("sha256:").unwrap();
    for bad in [
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("sha512:{hex}"),
        format!("sha384:{hex}"),
        format!("sha256:{}g", &hex[1..]),
        format!("sha256+b64:{hex}"),
        "sha256:".to_owned(),
        ":".to_owned(),
        hex.to_owned(),
    ] {
        let codes = [
            "DIGEST_INVALID",
            "BLOB_UNKNOWN",
            "UNSUPPORTED",
            "NAME_UNKNOWN",
        ];
        let target = format!("/v2/{name}/blobs/{bad}");
        registry.get(&target).expect_any(&[400, 404]).says(&codes);
        registry.call("HEAD", &target).expect_any(&[400, 404]);
        registry.call("DELETE", &target).expect_any(&[400, 404]);
        registry
            .get(&format!("/v2/{name}/referrers/{bad}"))
            .expect(400)
            .says(&["DIGEST_INVALID", "UNSUPPORTED"]);
    }
    registry
        .get(&format!("/v2/{name}/blobs/{digest}"))
        .expect(200);
}

#[test]
fn an_upstream_name_in_the_query_is_accepted() {
    let mut registry = registry();
    let name = repository("upstream");
    let target = format!("/v2/{name}/manifests/latest?ns=upstream.example");
    registry
        .get(&target)
        .expect(404)
        .says(&["MANIFEST_UNKNOWN", "NAME_UNKNOWN"]);
    registry.call("HEAD", &target).expect(404);
    let digest = sha256(b"not here");
    registry
        .get(&format!("/v2/{name}/blobs/{digest}?ns=upstream.example"))
        .expect(404);
}

#[test]
fn a_request_id_comes_back_when_it_is_harmless() {
    let mut registry = registry();
    let request = Request::new("GET", "/v2/").header("X-Request-Id", "trace-42_a.b");
    assert_eq!(
        registry.send(&request).expect(200).only("X-Request-Id"),
        "trace-42_a.b"
    );
    let long = "x".repeat(5000);
    for harmful in ["a b\"c", long.as_str(), "a\tb"] {
        let request = Request::new("GET", "/v2/").header("X-Request-Id", harmful);
        assert_ne!(
            registry.send(&request).expect(200).only("X-Request-Id"),
            harmful
        );
    }
}
