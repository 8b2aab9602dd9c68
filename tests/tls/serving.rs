//! Requests under TLS: the ordinary client, through a tunnel that does TLS for it.

use std::io::Write as _;
use std::time::Duration;

use super::material::Material;
use super::session::{Session, get};
use super::support::{Client, Random, Registry, Request, location, sha256};
use super::tunnel::tunnel;

/// Bytes of a large blob.
const LARGE_BYTES: usize = 64 * 1024 * 1024;
const END_MAX: Duration = Duration::from_secs(30);

#[test]
fn large_blobs_and_images_go_both_ways() {
    let material = Material::new();
    let node = material.node("");
    let address = tunnel(node.address, material.trusted, None);
    let mut registry = Registry::new(address);
    for number in 0..3 {
        registry.push_image("under/tls", &format!("v{number}"), number);
    }
    let content = Random::new(7).bytes(LARGE_BYTES);
    let digest = sha256(&content);
    let mut client = Client::new(address);
    for is_chunked in [false, true] {
        let begun = client.send(&Request::new("POST", "/v2/under/tls/blobs/uploads/"));
        let session = location(&begun.expect(202));
        let patch = Request::new("PATCH", &session).header("Expect", "100-continue");
        let patch = if is_chunked {
            patch.chunked(content.clone())
        } else {
            patch.body(content.clone())
        };
        let session = location(&client.send(&patch).expect(202));
        let separator = if session.contains('?') { '&' } else { '?' };
        let end = format!("{session}{separator}digest={digest}");
        client.send(&Request::new("PUT", end)).expect(201);
        // The same connection serves it: twice whole, then a part.
        let path = format!("/v2/under/tls/blobs/{digest}");
        for _ in 0..2 {
            let pulled = client.send(&Request::new("GET", &path)).expect(200);
            assert!(pulled.body == content);
        }
        let part = Request::new("GET", &path).header("Range", "bytes=1000001-20000002");
        let pulled = client.send(&part).expect(206);
        assert!(pulled.body == content[1_000_001..20_000_003]);
        let removed = Request::new("DELETE", &path);
        client.send(&removed).expect(202);
    }
}

#[test]
fn a_body_waits_for_its_100_and_a_refused_one_gets_none() {
    let material = Material::new();
    let node = material.node("");
    let mut session = Session::plain(node.address, &material.trusted);
    let begun =
        session.ask("POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    let begun = begun.unwrap();
    let mut lines = begun.lines();
    let path = lines
        .find_map(|line| line.strip_prefix("Location: "))
        .unwrap();
    let patch = format!(
        "PATCH {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    );
    let interim = session.ask(&patch).unwrap();
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    let last = session.ask("hello").unwrap();
    assert!(last.starts_with("HTTP/1.1 202 "), "{last}");
    let refused = "PATCH /v2/a/blobs/uploads/none HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let last = session.ask(refused).unwrap();
    assert!(last.starts_with("HTTP/1.1 404 "), "{last}");
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let material = Material::new();
    let node = material.node("");
    let mut session = Session::plain(node.address, &material.trusted);
    let requests: String = (0..50)
        .map(|number| get(&format!("/v2/p{number}/tags/list")))
        .collect();
    session
        .tls
        .write_all((requests + &get("/v2/")).as_bytes())
        .unwrap();
    for number in 0..50 {
        let answer = session.answer().unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{number}: {answer}");
    }
    assert!(session.answer().unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn ends_are_said_in_order_at_a_close_and_at_a_shutdown() {
    let material = Material::new();
    let mut node = material.node("");
    let mut closing = Session::plain(node.address, &material.trusted);
    let request = "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(closing.ask(request).unwrap().starts_with("HTTP/1.1 200 "));
    assert!(closing.is_closed_in_order());
    let mut malformed = Session::plain(node.address, &material.trusted);
    assert!(
        malformed
            .ask("GET / HTTP/3\r\n\r\n")
            .unwrap()
            .contains("\r\nConnection: close\r\n")
    );
    assert!(malformed.is_closed_in_order());
    let mut idle = Session::plain(node.address, &material.trusted);
    assert!(idle.ask(&get("/v2/")).unwrap().starts_with("HTTP/1.1 200 "));
    node.signal_end();
    assert!(idle.is_closed_in_order());
    assert!(node.wait_end(END_MAX).success());
}
