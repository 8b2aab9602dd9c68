//! end-4a/b/c, 5, 6, 13, 14: every way a client uploads, when all goes well.

use super::support::{Random, Registry, Request, digest_of, location, sha256, sha512};
use super::{registry, repository};

/// Bytes of a blob that is cut into chunks here.
const SIZE: usize = 200_000;

fn expect_blob(registry: &mut Registry, name: &str, digest: &str, content: &[u8]) {
    let answer = registry
        .get(&format!("/v2/{name}/blobs/{digest}"))
        .expect(200);
    assert_eq!(answer.only("Docker-Content-Digest"), digest);
    assert!(answer.body == content, "{name} {digest}");
}

fn close(registry: &mut Registry, session: &str, digest: &str, last: &[u8]) {
    let request = Request::new("PUT", with_digest(session, digest)).body(last);
    let answer = registry.send(&request).expect(201);
    assert_eq!(answer.only("Docker-Content-Digest"), digest);
    let blob = location(&answer);
    assert!(blob.ends_with(&format!("/blobs/{digest}")), "{blob}");
    registry.call("HEAD", &blob).expect(200);
    registry
        .get(session)
        .expect(404)
        .says(&["BLOB_UPLOAD_UNKNOWN"]);
}

fn with_digest(session: &str, digest: &str) -> String {
    let joint = if session.contains('?') { '&' } else { '?' };
    format!("{session}{joint}digest={digest}")
}

fn send_chunk(registry: &mut Registry, session: &str, start: usize, chunk: &[u8]) -> String {
    let range = format!("{start}-{}", start + chunk.len() - 1);
    let request = Request::new("PATCH", session)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Range", range);
    let answer = registry.send(&request.body(chunk)).expect(202);
    assert_eq!(
        answer.only("Range"),
        format!("0-{}", start + chunk.len() - 1)
    );
    assert!(!answer.only("Docker-Upload-UUID").is_empty());
    location(&answer)
}

#[test]
fn opening_gives_a_session_that_knows_itself() {
    let mut registry = registry();
    let name = repository("open");
    let answer = registry
        .call("POST", &format!("/v2/{name}/blobs/uploads/"))
        .expect(202);
    assert_eq!(answer.only("Range"), "0-0");
    let uuid = answer.only("Docker-Upload-UUID").to_owned();
    let session = location(&answer);
    assert!(
        session.starts_with(&format!("/v2/{name}/blobs/uploads/")),
        "{session}"
    );
    let status = registry.get(&session).expect(204);
    assert_eq!(status.only("Range"), "0-0");
    assert_eq!(status.only("Docker-Upload-UUID"), uuid);
    assert_eq!(location(&status), session);
    registry.call("DELETE", &session).expect(204);
}

#[test]
fn one_post_carries_the_whole_blob() {
    let mut registry = registry();
    let name = repository("monolithic");
    for (algorithm, size) in [
        ("sha256", 0),
        ("sha512", 0),
        ("sha256", SIZE),
        ("sha512", SIZE),
    ] {
        let content = Random::new(31).bytes(size);
        let digest = digest_of(algorithm, &content);
        let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = registry
            .send(&Request::new("POST", target).body(content.clone()))
            .expect(201);
        assert_eq!(location(&answer), format!("/v2/{name}/blobs/{digest}"));
        expect_blob(&mut registry, &name, &digest, &content);
    }
}

#[test]
fn one_post_carries_the_whole_blob_chunked() {
    let mut registry = registry();
    let name = repository("monolithic-chunked");
    let content = Random::new(32).bytes(SIZE);
    let digest = sha256(&content);
    let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
    registry
        .send(&Request::new("POST", target).chunked(content.clone()))
        .expect(201);
    expect_blob(&mut registry, &name, &digest, &content);
}

#[test]
fn post_then_put_with_everything() {
    let mut registry = registry();
    let name = repository("post-put");
    for (algorithm, size) in [("sha256", 1), ("sha256", SIZE), ("sha512", 9000)] {
        let content = Random::new(33).bytes(size);
        let digest = digest_of(algorithm, &content);
        let session = registry.open_upload(&name);
        close(&mut registry, &session, &digest, &content);
        expect_blob(&mut registry, &name, &digest, &content);
    }
}

#[test]
fn a_stream_of_unknown_length_then_an_empty_put() {
    let mut registry = registry();
    let name = repository("stream");
    for (algorithm, size) in [("sha256", 100), ("sha256", 1_300_000), ("sha512", SIZE)] {
        let content = Random::new(34).bytes(size);
        let digest = digest_of(algorithm, &content);
        let session = registry.open_upload(&name);
        let request = Request::new("PATCH", &session).chunked(content.clone());
        let answer = registry.send(&request).expect(202);
        assert_eq!(answer.only("Range"), format!("0-{}", size - 1));
        let session = location(&answer);
        close(&mut registry, &session, &digest, b"");
        expect_blob(&mut registry, &name, &digest, &content);
    }
}

#[test]
fn patches_without_content_range_go_on_where_the_last_ended() {
    let mut registry = registry();
    let name = repository("append");
    let content = Random::new(35).bytes(SIZE);
    let mut session = registry.open_upload(&name);
    let mut held = 0;
    for chunk in content.chunks(70_001) {
        held += chunk.len();
        let answer = registry
            .send(&Request::new("PATCH", &session).body(chunk))
            .expect(202);
        assert_eq!(answer.only("Range"), format!("0-{}", held - 1));
        session = location(&answer);
    }
    close(&mut registry, &session, &sha256(&content), b"");
    expect_blob(&mut registry, &name, &sha256(&content), &content);
}

#[test]
fn chunks_in_order_then_the_last_one_with_the_put() {
    let mut registry = registry();
    let name = repository("chunks");
    for (algorithm, chunk_bytes) in [("sha256", 1000), ("sha256", 65_536), ("sha512", 33_333)] {
        let content = Random::new(36).bytes(70_000);
        let digest = digest_of(algorithm, &content);
        let mut session = registry.open_upload(&name);
        let (body, last) = content.split_at(content.len() - 777);
        let mut start = 0;
        for chunk in body.chunks(chunk_bytes) {
            session = send_chunk(&mut registry, &session, start, chunk);
            start += chunk.len();
            let status = registry.get(&session).expect(204);
            assert_eq!(status.only("Range"), format!("0-{}", start - 1));
        }
        let request = Request::new("PUT", with_digest(&session, &digest))
            .header("Content-Range", format!("{start}-{}", content.len() - 1));
        registry.send(&request.body(last)).expect(201);
        expect_blob(&mut registry, &name, &digest, &content);
    }
}

#[test]
fn a_session_goes_on_over_other_connections() {
    let mut first = registry();
    let name = repository("hop");
    let content = Random::new(37).bytes(SIZE);
    let mut session = first.open_upload(&name);
    for (at, chunk) in content.chunks(9973).enumerate() {
        // A fresh connection may land on another shard each time.
        session = send_chunk(&mut registry(), &session, at * 9973, chunk);
    }
    close(&mut registry(), &session, &sha256(&content), b"");
    expect_blob(&mut first, &name, &sha256(&content), &content);
}

#[test]
fn an_announced_algorithm_is_used() {
    let mut registry = registry();
    let name = repository("announced");
    let content = Random::new(38).bytes(SIZE);
    for algorithm in ["sha256", "sha512"] {
        let target = format!("/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}");
        let session = location(&registry.call("POST", &target).expect(202));
        let session = send_chunk(&mut registry, &session, 0, &content);
        close(
            &mut registry,
            &session,
            &digest_of(algorithm, &content),
            b"",
        );
    }
    for algorithm in ["md5", "sha1", "SHA256", "", "sha-256"] {
        let target = format!("/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}");
        registry.call("POST", &target).expect(400);
    }
}

#[test]
fn an_unannounced_sha512_is_found_at_the_close() {
    let mut registry = registry();
    let name = repository("late-sha512");
    for size in [0, 1, 16_384, 16_385, 1_100_000] {
        let content = Random::new(39).bytes(size);
        let session = registry.open_upload(&name);
        let session = if size == 0 {
            session
        } else {
            location(
                &registry
                    .send(&Request::new("PATCH", &session).body(&content[..]))
                    .expect(202),
            )
        };
        close(&mut registry, &session, &sha512(&content), b"");
        expect_blob(&mut registry, &name, &sha512(&content), &content);
    }
}

#[test]
fn the_same_blob_again_is_accepted_in_every_form() {
    let mut registry = registry();
    let name = repository("again");
    let content = Random::new(40).bytes(SIZE);
    for _ in 0..2 {
        registry.push_blob(&name, &content);
        let session = registry.open_upload(&name);
        close(&mut registry, &session, &sha256(&content), &content);
    }
    expect_blob(&mut registry, &name, &sha256(&content), &content);
}

#[test]
fn the_same_blob_from_many_clients_at_once_is_one_blob() {
    let name = repository("together");
    let content = Random::new(41).bytes(600_000);
    let digest = sha256(&content);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut registry = registry();
                let session = registry.open_upload(&name);
                let request = Request::new("PATCH", &session).chunked(content.clone());
                let session = location(&registry.send(&request).expect(202));
                let request = Request::new("PUT", with_digest(&session, &digest));
                registry.send(&request).expect(201);
                expect_blob(&mut registry, &name, &digest, &content);
            });
        }
    });
}

#[test]
fn a_cancelled_session_is_gone() {
    let mut registry = registry();
    let name = repository("cancel");
    for size in [0, 10, 100_000] {
        let session = registry.open_upload(&name);
        if size > 0 {
            let content = Random::new(42).bytes(size);
            registry
                .send(&Request::new("PATCH", &session).body(content))
                .expect(202);
        }
        registry.call("DELETE", &session).expect(204);
        for method in ["GET", "DELETE", "PATCH"] {
            let answer = registry.call(method, &session).expect(404);
            answer.says(&["BLOB_UPLOAD_UNKNOWN"]);
        }
        let put = with_digest(&session, &sha256(b""));
        registry
            .call("PUT", &put)
            .expect(404)
            .says(&["BLOB_UPLOAD_UNKNOWN"]);
    }
}
