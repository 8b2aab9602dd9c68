//! What an upload refuses, and that its session survives or ends as promised.

use super::support::{Random, Registry, Request, location, sha256, sha512};
use super::{registry, repository};

fn chunk_at(registry: &mut Registry, session: &str, range: &str, chunk: &[u8]) -> (u16, String) {
    let request = Request::new("PATCH", session)
        .header("Content-Range", range)
        .body(chunk);
    let answer = registry.send(&request);
    let next = answer.header("Location").unwrap_or(session).to_owned();
    (answer.status, next)
}

fn held(registry: &mut Registry, session: &str) -> String {
    registry.get(session).expect(204).only("Range").to_owned()
}

#[test]
fn a_first_chunk_must_start_at_zero() {
    let mut registry = registry();
    let session = registry.open_upload(&repository("first-chunk"));
    assert_eq!(chunk_at(&mut registry, &session, "1-10", &[0; 10]).0, 416);
    assert_eq!(held(&mut registry, &session), "0-0");
    assert_eq!(chunk_at(&mut registry, &session, "0-9", &[0; 10]).0, 202);
}

#[test]
fn chunks_out_of_order_are_416_and_the_session_tells_the_truth() {
    let mut registry = registry();
    let name = repository("order");
    let content = Random::new(51).bytes(50_000);
    let session = registry.open_upload(&name);
    let (status, session) = chunk_at(&mut registry, &session, "0-19999", &content[..20_000]);
    assert_eq!(status, 202);
    // A gap, an overlap, and the same chunk again.
    for (range, from) in [
        ("30000-39999", 30_000),
        ("10000-19999", 10_000),
        ("0-9999", 0),
    ] {
        let chunk = &content[from..from + 10_000];
        assert_eq!(
            chunk_at(&mut registry, &session, range, chunk).0,
            416,
            "{range}"
        );
        assert_eq!(held(&mut registry, &session), "0-19999", "{range}");
    }
    // The close checks its chunk's place too.
    let digest = sha256(&content);
    let put = format!("{session}?digest={digest}");
    let request = Request::new("PUT", &put)
        .header("Content-Range", "30000-49999")
        .body(&content[30_000..]);
    registry.send(&request).expect(416);
    assert_eq!(held(&mut registry, &session), "0-19999");
    let (status, session) = chunk_at(&mut registry, &session, "20000-49999", &content[20_000..]);
    assert_eq!(status, 202);
    registry
        .call("PUT", &format!("{session}?digest={digest}"))
        .expect(201);
    assert!(
        registry
            .get(&format!("/v2/{name}/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
}

#[test]
fn a_content_range_must_agree_with_the_body() {
    let mut registry = registry();
    let session = registry.open_upload(&repository("range-body"));
    for range in [
        "0-98",
        "0-100",
        "0",
        "a-b",
        "-99",
        "99-0",
        "0-",
        "0-99999999999999999999999",
    ] {
        let request = Request::new("PATCH", &session).header("Content-Range", range);
        let answer = registry
            .send(&request.body(vec![1; 100]))
            .expect_any(&[400, 416]);
        answer.says(&["BLOB_UPLOAD_INVALID", "SIZE_INVALID"]);
        assert_eq!(held(&mut registry, &session), "0-0", "{range}");
    }
    assert_eq!(chunk_at(&mut registry, &session, "0-99", &[1; 100]).0, 202);
}

#[test]
fn a_wrong_digest_at_the_close_is_400_and_leaves_nothing() {
    let mut registry = registry();
    let name = repository("wrong-digest");
    for size in [0, 10, 20_000, 1_200_000] {
        let content = Random::new(52).bytes(size);
        for wrong in [sha256(b"something else"), sha512(b"something else")] {
            let session = registry.open_upload(&name);
            let request = Request::new("PATCH", &session).chunked(content.clone());
            let session = location(&registry.send(&request).expect(202));
            let put = format!("{session}?digest={wrong}");
            registry
                .call("PUT", &put)
                .expect(400)
                .says(&["DIGEST_INVALID"]);
            registry
                .get(&session)
                .expect(404)
                .says(&["BLOB_UPLOAD_UNKNOWN"]);
            registry
                .get(&format!("/v2/{name}/blobs/{wrong}"))
                .expect(404);
            let target = format!("/v2/{name}/blobs/uploads/?digest={wrong}");
            let request = Request::new("POST", target).body(content.clone());
            registry
                .send(&request)
                .expect(400)
                .says(&["DIGEST_INVALID"]);
            registry
                .get(&format!("/v2/{name}/blobs/{wrong}"))
                .expect(404);
        }
    }
}

#[test]
fn a_close_needs_one_good_digest() {
    let mut registry = registry();
    let session = registry.open_upload(&repository("no-digest"));
    let hex = "0".repeat(64);
    for query in [
        String::new(),
        "?digest=".to_owned(),
        "?digest=sha256:00".to_owned(),
        format!("?digest=md5:{}", "0".repeat(32)),
        format!("?digest={hex}"),
    ] {
        let answer = registry
            .call("PUT", &format!("{session}{query}"))
            .expect(400);
        answer.says(&["DIGEST_INVALID", "UNSUPPORTED"]);
    }
    registry
        .call("PUT", &format!("{session}?digest={}", sha256(b"")))
        .expect_any(&[201, 404]);
}

#[test]
fn a_post_with_a_bad_digest_is_400() {
    let mut registry = registry();
    let name = repository("bad-post");
    for digest in ["", "sha256:xyz", "md5:00", "sha256"] {
        let target = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = registry
            .send(&Request::new("POST", target).body("content"))
            .expect(400);
        answer.says(&["DIGEST_INVALID", "UNSUPPORTED"]);
    }
}

#[test]
fn sessions_that_were_never_opened_are_404() {
    let mut registry = registry();
    let name = repository("forged");
    let session = registry.open_upload(&name);
    let (base, id) = session.rsplit_once('/').unwrap();
    let mut altered = id.to_owned();
    let last = altered.pop().unwrap();
    altered.push(if last == '0' { '1' } else { '0' });
    let mut first = id.to_owned();
    first.replace_range(..1, if id.starts_with('a') { "b" } else { "a" });
    for forged in [
        altered,
        first,
        "x".to_owned(),
        format!("{id}0"),
        id[..id.len() - 1].to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
        "..".to_owned(),
    ] {
        let target = format!("{base}/{forged}");
        for method in ["GET", "PATCH", "DELETE"] {
            let answer = registry.call(method, &target).expect_any(&[404, 400]);
            answer.says(&[
                "BLOB_UPLOAD_UNKNOWN",
                "BLOB_UPLOAD_INVALID",
                "NAME_INVALID",
                "NAME_UNKNOWN",
            ]);
        }
    }
    registry.get(&session).expect(204);
}

#[test]
fn a_session_is_valid_only_under_its_own_repository() {
    let mut registry = registry();
    let (name, other) = (repository("session-owner"), repository("session-thief"));
    let session = registry.open_upload(&name);
    registry
        .send(&Request::new("PATCH", &session).body("0123456789"))
        .expect(202);
    let stolen = session.replacen(&name, &other, 1);
    assert_ne!(stolen, session);
    for method in ["GET", "PATCH", "DELETE"] {
        registry
            .call(method, &stolen)
            .expect(404)
            .says(&["BLOB_UPLOAD_UNKNOWN"]);
    }
    let put = format!("{stolen}?digest={}", sha256(b"0123456789"));
    registry
        .call("PUT", &put)
        .expect(404)
        .says(&["BLOB_UPLOAD_UNKNOWN"]);
    assert_eq!(held(&mut registry, &session), "0-9");
}

#[test]
fn a_client_that_breaks_off_in_mid_patch_goes_on_from_what_is_held() {
    let mut registry = registry();
    let name = repository("broken-patch");
    let content = Random::new(53).bytes(900_000);
    let session = registry.open_upload(&name);
    let first = Request::new("PATCH", &session).body(&content[..100_000]);
    let session = location(&registry.send(&first).expect(202));
    // The rest is announced, half of it is sent, and the connection goes.
    let rest = Request::new("PATCH", &session).body(&content[100_000..]);
    registry.client.write(&rest.head_bytes()).unwrap();
    registry.client.write(&content[100_000..500_000]).unwrap();
    registry.client.close();
    let answer = super::settled(&mut registry, &session);
    let mut range = answer.only("Range").to_owned();
    let session = loop {
        let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
        assert!((99_999..500_000).contains(&last), "held {range}");
        let rest = Request::new("PATCH", &session)
            .header(
                "Content-Range",
                format!("{}-{}", last + 1, content.len() - 1),
            )
            .body(&content[last + 1..]);
        // The broken request may have put more down meanwhile; 416 says how much.
        let answer = registry.send(&rest).expect_any(&[202, 416]);
        if answer.status == 202 {
            break location(&answer);
        }
        let held = answer.only("Range").to_owned();
        assert_ne!(held, range, "refused where the session is");
        range = held;
    };
    let digest = sha256(&content);
    registry
        .call("PUT", &format!("{session}?digest={digest}"))
        .expect(201);
    assert!(
        registry
            .get(&format!("/v2/{name}/blobs/{digest}"))
            .expect(200)
            .body
            == content
    );
}

#[test]
fn two_writers_in_one_session_never_mix_their_bytes() {
    let mut first = registry();
    let name = repository("two-writers");
    let content = Random::new(54).bytes(300_000);
    let session = first.open_upload(&name);
    let slow = Request::new("PATCH", &session).body(content.clone());
    first.client.write(&slow.head_bytes()).unwrap();
    first.client.write(&content[..150_000]).unwrap();
    let mut second = registry();
    let intruder = Request::new("PATCH", &session).body(vec![0; 1000]);
    let status = second.send(&intruder).status;
    first.client.write(&content[150_000..]).unwrap();
    let answer = first.client.read_response("PATCH").unwrap();
    // Whoever came second was refused; one of them holds the session alone.
    assert!([202, 409, 416, 429, 404, 400].contains(&status), "{status}");
    assert!(
        answer.status == 202 || status == 202,
        "{} and {status}",
        answer.status
    );
    if answer.status == 202 && status != 202 {
        let digest = sha256(&content);
        first
            .call("PUT", &format!("{session}?digest={digest}"))
            .expect(201);
        assert!(
            first
                .get(&format!("/v2/{name}/blobs/{digest}"))
                .expect(200)
                .body
                == content
        );
    }
}

#[test]
fn bodies_with_a_content_encoding_are_refused() {
    let mut registry = registry();
    let name = repository("encoded");
    let target = format!("/v2/{name}/manifests/latest");
    let request = Request::new("PUT", target)
        .header("Content-Encoding", "gzip")
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json");
    registry
        .send(&request.body(vec![0x1f, 0x8b, 8, 0]))
        .expect_any(&[400, 415]);
}
