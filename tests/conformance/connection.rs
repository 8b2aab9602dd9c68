//! The habits of real clients on one connection: keep-alive, pipelining,
//! `Expect`, early answers, and bytes that are no HTTP at all.

use std::time::Duration;

use super::support::{Client, MANIFEST_TYPE, Random, Registry, Request, sha256, shared_address};
use super::{registry, repository};

#[test]
fn one_connection_carries_a_whole_push_and_pull() {
    let mut registry = Registry::steady(shared_address());
    let name = repository("keep-alive");
    registry.push_image(&name, "v1", 131);
    for _ in 0..50 {
        registry
            .get(&format!("/v2/{name}/manifests/v1"))
            .expect(200);
        assert!(registry.client.is_connected());
    }
    registry
        .get(&format!("/v2/{name}/manifests/absent"))
        .expect(404);
    assert!(registry.client.is_connected(), "a 404 keeps the connection");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut registry = registry();
    let name = repository("pipeline");
    let (manifest, _) = registry.push_image(&name, "v1", 132);
    let content = Random::new(133).bytes(1_500_000);
    let blob = registry.push_blob(&name, &content);
    let small = Random::new(134).bytes(700);
    let requests = [
        Request::new("GET", "/v2/"),
        Request::new("GET", format!("/v2/{name}/blobs/{blob}")),
        Request::new("HEAD", format!("/v2/{name}/blobs/{blob}")),
        Request::new("GET", format!("/v2/{name}/manifests/v1")),
        Request::new(
            "POST",
            format!("/v2/{name}/blobs/uploads/?digest={}", sha256(&small)),
        )
        .chunked(small.clone()),
        Request::new("GET", format!("/v2/{name}/blobs/{}", sha256(&small))),
        Request::new("PUT", format!("/v2/{name}/manifests/v2"))
            .header("Content-Type", MANIFEST_TYPE)
            .body(manifest.clone()),
        Request::new("GET", format!("/v2/{name}/manifests/v2")),
        Request::new("GET", format!("/v2/{name}/manifests/v3")),
        Request::new("GET", "/v2/"),
    ];
    let mut bytes = Vec::new();
    for request in &requests {
        bytes.extend_from_slice(&request.head_bytes());
        bytes.extend_from_slice(&request.body_bytes());
    }
    registry.client.write(&bytes).unwrap();
    let expected = [200, 200, 200, 200, 201, 200, 201, 200, 404, 200];
    let bodies = [
        None,
        Some(&content),
        None,
        Some(&manifest),
        None,
        Some(&small),
        None,
        Some(&manifest),
        None,
        None,
    ];
    for ((request, status), body) in requests.iter().zip(expected).zip(bodies) {
        let answer = registry
            .client
            .read_response(&format!("{} …", request.method))
            .unwrap();
        let answer = answer.expect(status);
        if let Some(body) = body {
            assert!(&answer.body == body);
        }
    }
}

#[test]
fn continue_is_said_only_when_the_body_is_wanted() {
    let mut registry = registry();
    let name = repository("continue");
    let content = Random::new(135).bytes(20_000);
    let target = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(&content));
    let request = Request::new("POST", target)
        .header("Expect", "100-continue")
        .body(content);
    registry.client.write(&request.head_bytes()).unwrap();
    // The interim answer comes while the body is still here.
    let mut interim = [0; 25];
    let mut filled = 0;
    while filled < interim.len() {
        filled += registry.client.read_some(&mut interim[filled..]).unwrap();
    }
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    registry.client.write(&request.body_bytes()).unwrap();
    registry.client.read_response("POST").unwrap().expect(201);

    let refused = Request::new("PUT", format!("/v2/{name}/blobs/uploads/none?digest=bad"))
        .header("Expect", "100-continue")
        .body(vec![0; 1000]);
    registry.client.write(&refused.head_bytes()).unwrap();
    let answer = registry
        .client
        .read_response("PUT")
        .unwrap()
        .expect_any(&[400, 404]);
    assert!(!answer.was_continued, "a refused body is not asked for");
}

#[test]
fn an_early_answer_ends_or_drains_but_never_parses_the_body() {
    let name = repository("early");
    let smuggled = "GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n";
    for size in [1_000, 200_000] {
        let mut registry = registry();
        let body = smuggled.repeat(size / smuggled.len() + 1).into_bytes();
        let target = format!("/v2/{name}/blobs/uploads/unknown-session");
        let request = Request::new("PATCH", target).body(body);
        registry
            .client
            .try_send(&request)
            .unwrap()
            .expect_any(&[400, 404]);
        if registry.client.is_connected() {
            let follow = Request::new("GET", "/v2/no/such/route/at/all").head_bytes();
            if registry.client.write(&follow).is_ok() {
                match registry.client.read_response("GET") {
                    Ok(answer) => drop(answer.expect(404)),
                    Err(_) => assert!(size > 65_536, "a small body is drained"),
                }
            }
        }
    }
}

#[test]
fn a_tls_hello_is_answered_or_closed() {
    let mut client = Client::new(shared_address());
    let hello = [
        0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0xaa, 0x0d, 0x0a, 0, 0x0a,
    ];
    client.set_patience(Duration::from_secs(15)).unwrap();
    client.write(&hello).unwrap();
    let mut rest = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count) = client.read_some(&mut piece) {
        if count == 0 {
            break;
        }
        rest.extend_from_slice(&piece[..count]);
    }
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 40"),
        "{rest:?}"
    );
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let mut client = Client::new(shared_address());
    client
        .write(b"GET /v2/ HTTP/1.0\r\nHost: x\r\n\r\n")
        .unwrap();
    let answer = client.read_head("GET").unwrap().expect(200);
    let length: usize = answer.only("Content-Length").parse().unwrap();
    let mut body = vec![0; length];
    let mut filled = 0;
    while filled < length {
        filled += client.read_some(&mut body[filled..]).unwrap();
    }
    assert!(client.is_closed_by_server());
}

#[test]
fn locations_never_repeat_what_the_client_claims_about_the_host() {
    let mut registry = registry();
    let name = repository("host");
    for (header, value) in [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example;proto=https"),
        ("X-Forwarded-Proto", "gopher"),
    ] {
        let request = Request::new("POST", format!("/v2/{name}/blobs/uploads/"));
        let answer = registry.send(&request.header(header, value)).expect(202);
        let all = format!("{:?}", answer.headers);
        assert!(
            !all.contains("evil.example") && !all.contains("gopher"),
            "{all}"
        );
    }
    let target = format!("http://evil.example/v2/{name}/blobs/uploads/");
    let answer = registry.call("POST", &target).expect(202);
    assert!(!format!("{:?}", answer.headers).contains("evil.example"));
}
