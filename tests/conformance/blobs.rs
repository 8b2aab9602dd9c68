//! end-2 and end-10: reading and deleting blobs, of every size that meets an edge.

use super::support::{Random, Request, sha256};
use super::{registry, repository};

/// Sizes on both sides of a sector, the inline limit, a buffer and an extent.
const SIZES: [usize; 16] = [
    0, 1, 511, 512, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 1_048_575,
    1_048_576, 1_048_577,
];

#[test]
fn every_size_comes_back_whole_under_both_algorithms() {
    let mut registry = registry();
    let name = repository("sizes");
    for size in SIZES {
        let content = Random::new(size as u64).bytes(size);
        for algorithm in ["sha256", "sha512"] {
            let digest = registry.push_blob_as(algorithm, &name, &content);
            let target = format!("/v2/{name}/blobs/{digest}");
            let answer = registry.get(&target).expect(200);
            assert!(answer.body == content, "{size} bytes under {algorithm}");
            assert_eq!(answer.only("Docker-Content-Digest"), digest);
            assert_eq!(answer.only("Content-Type"), "application/octet-stream");
            assert_eq!(answer.only("Accept-Ranges"), "bytes");
        }
    }
}

#[test]
fn sizes_between_moves_come_back_whole() {
    let mut registry = registry();
    let name = repository("large");
    for size in [524_287, 524_289, 2_097_151, 3_145_729, 9_000_001] {
        let content = Random::new(size as u64 + 1).bytes(size);
        let digest = registry.push_blob(&name, &content);
        let answer = registry
            .get(&format!("/v2/{name}/blobs/{digest}"))
            .expect(200);
        assert!(answer.body == content, "{size} bytes");
    }
}

#[test]
fn head_agrees_with_get() {
    let mut registry = registry();
    let name = repository("head");
    for size in [0, 100, 20_000, 1_048_577] {
        let digest = registry.push_blob(&name, &Random::new(7).bytes(size));
        let target = format!("/v2/{name}/blobs/{digest}");
        let get = registry.get(&target).expect(200);
        let head = registry.call("HEAD", &target).expect(200);
        assert_eq!(head.only("Content-Length"), size.to_string());
        let stable = |lines: &[(String, String)]| -> Vec<(String, String)> {
            let kept = lines.iter().filter(|(name, _)| {
                let name = name.to_ascii_lowercase();
                name != "x-request-id" && name != "date"
            });
            kept.cloned().collect()
        };
        assert_eq!(stable(&get.headers), stable(&head.headers));
    }
}

#[test]
fn a_blob_that_is_not_there_is_404_for_get_head_and_delete() {
    let mut registry = registry();
    let name = repository("absent");
    let target = format!("/v2/{name}/blobs/{}", sha256(b"never pushed"));
    registry
        .get(&target)
        .expect(404)
        .says(&["BLOB_UNKNOWN", "NAME_UNKNOWN"]);
    registry.call("HEAD", &target).expect(404);
    registry
        .call("DELETE", &target)
        .expect(404)
        .says(&["BLOB_UNKNOWN", "NAME_UNKNOWN"]);
    registry.push_blob(&name, b"another one");
    registry.get(&target).expect(404).says(&["BLOB_UNKNOWN"]);
    registry
        .call("DELETE", &target)
        .expect(404)
        .says(&["BLOB_UNKNOWN"]);
}

#[test]
fn a_blob_belongs_to_the_repositories_it_was_pushed_to() {
    let mut registry = registry();
    let digest = registry.push_blob(&repository("owner"), b"mine");
    let elsewhere = repository("stranger");
    registry.push_blob(&elsewhere, b"unrelated");
    registry
        .get(&format!("/v2/{elsewhere}/blobs/{digest}"))
        .expect(404)
        .says(&["BLOB_UNKNOWN"]);
}

#[test]
fn a_deleted_blob_is_gone_until_it_is_pushed_again() {
    let mut registry = registry();
    for size in [50, 50_000] {
        let name = repository("deleted");
        let content = Random::new(11).bytes(size);
        let digest = registry.push_blob(&name, &content);
        let target = format!("/v2/{name}/blobs/{digest}");
        registry.call("DELETE", &target).expect(202);
        super::gone(&mut registry, &target).says(&["BLOB_UNKNOWN"]);
        registry.call("HEAD", &target).expect(404);
        registry.call("DELETE", &target).expect(404);
        registry.push_blob(&name, &content);
        assert!(registry.get(&target).expect(200).body == content);
    }
}

#[test]
fn deleting_from_one_repository_leaves_the_others() {
    let mut registry = registry();
    let (first, second) = (repository("shared-a"), repository("shared-b"));
    let content = Random::new(12).bytes(40_000);
    let digest = registry.push_blob(&first, &content);
    registry.push_blob(&second, &content);
    registry
        .call("DELETE", &format!("/v2/{first}/blobs/{digest}"))
        .expect(202);
    super::gone(&mut registry, &format!("/v2/{first}/blobs/{digest}"));
    assert!(
        registry
            .get(&format!("/v2/{second}/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
}

#[test]
fn a_blob_answers_304_to_its_own_entity_tag() {
    let mut registry = registry();
    let name = repository("etag");
    let digest = registry.push_blob(&name, &Random::new(13).bytes(30_000));
    let target = format!("/v2/{name}/blobs/{digest}");
    let answer = registry.get(&target).expect(200);
    assert_eq!(answer.only("ETag"), format!("\"{digest}\""));
    let same = Request::new("GET", &target).header("If-None-Match", format!("\"{digest}\""));
    assert!(registry.send(&same).expect(304).body.is_empty());
    let other = Request::new("GET", &target).header("If-None-Match", "\"sha256:00\"");
    registry.send(&other).expect(200);
}

#[test]
fn a_client_that_hangs_up_in_mid_body_harms_nobody() {
    let mut registry = registry();
    let name = repository("hang-up");
    let content = Random::new(14).bytes(6_000_000);
    let digest = registry.push_blob(&name, &content);
    let target = format!("/v2/{name}/blobs/{digest}");
    for _ in 0..5 {
        let request = Request::new("GET", &target).header("Range", "bytes=1000000-");
        registry.client.write(&request.head_bytes()).unwrap();
        let head = registry.client.read_head("GET").unwrap().expect(206);
        assert_eq!(head.only("Content-Length"), "5000000");
        registry.client.read_some(&mut [0; 100]).unwrap();
        registry.client.close();
    }
    assert!(registry.get(&target).expect(200).body == content);
}
