//! SIGTERM once, SIGTERM twice, and what becomes of requests in flight.

use std::time::Duration;

use super::support::{Client, Node, NodeOptions, Random, Registry, Request, location, sha256};

/// Longest orderly end: the grace for requests in flight, and the last sync.
const END_MAX: Duration = Duration::from_secs(30);
/// An idle node and a node told twice end within this time: well before the grace ends.
const END_SOON_MAX: Duration = Duration::from_secs(30);
/// How long requests in flight may take, where none should be waited for.
const LONG_GRACE: &str = "5m";

/// A node that gives requests in flight so long.
fn graceful(grace: &str) -> NodeOptions {
    let variable = "WINDLASS_RUNTIME__SHUTDOWN_GRACE";
    NodeOptions {
        environment: vec![(variable.to_owned(), grace.to_owned())],
        ..NodeOptions::default()
    }
}

#[test]
fn an_idle_node_ends_at_once_and_cleanly() {
    let mut node = Node::start_with(graceful(LONG_GRACE));
    let mut registry = Registry::new(node.address);
    registry.push_image("idle/end", "v1", 1);
    // An idle keep-alive connection is no reason to wait.
    let status = node.terminate(END_SOON_MAX);
    assert_eq!(status.code(), Some(0), "{status}");
    node.spawn();
    node.wait_ready();
    Registry::new(node.address)
        .get("/v2/idle/end/manifests/v1")
        .expect(200);
}

#[test]
fn a_request_in_flight_is_finished_before_the_end() {
    let mut node = Node::start();
    let mut registry = Registry::new(node.address);
    let content = Random::new(2).bytes(400_000);
    let target = format!("/v2/in/flight/blobs/uploads/?digest={}", sha256(&content));
    let request = Request::new("POST", target).body(content.clone());
    registry.client.write(&request.head_bytes()).unwrap();
    registry.client.write(&content[..200_000]).unwrap();
    // The node has the request when the connection after it is answered.
    Registry::new(node.address).get("/v2/").expect(200);
    node.signal_end();
    registry.client.write(&content[200_000..]).unwrap();
    registry.client.read_response("POST").unwrap().expect(201);
    let status = node.wait_end(END_SOON_MAX);
    assert_eq!(status.code(), Some(0), "{status}");
    node.spawn();
    node.wait_ready();
    let target = format!("/v2/in/flight/blobs/{}", sha256(&content));
    assert!(Registry::new(node.address).get(&target).expect(200).body == content);
}

#[test]
fn a_slow_upload_does_not_keep_the_node_and_keeps_its_bytes() {
    let mut node = Node::start_with(graceful("2s"));
    let mut registry = Registry::new(node.address);
    let content = Random::new(3).bytes(300_000);
    let session = registry.open_upload("slow/end");
    let first = Request::new("PATCH", session).body(&content[..100_000]);
    let session = location(&registry.send(&first).expect(202));
    let stalled = Request::new("PATCH", &session).body(&content[100_000..]);
    registry.client.write(&stalled.head_bytes()).unwrap();
    registry.client.write(&content[100_000..150_000]).unwrap();
    let status = node.terminate(END_MAX);
    assert_eq!(status.code(), Some(0), "{status}");
    registry.client.close();
    node.spawn();
    node.wait_ready();
    let range = registry.get(&session).expect(204).only("Range").to_owned();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    assert!((99_999..150_000).contains(&last), "{range}");
    let rest = Request::new("PATCH", &session)
        .header(
            "Content-Range",
            format!("{}-{}", last + 1, content.len() - 1),
        )
        .body(&content[last + 1..]);
    let session = location(&registry.send(&rest).expect(202));
    registry
        .call("PUT", &format!("{session}?digest={}", sha256(&content)))
        .expect(201);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut node = Node::start_with(graceful(LONG_GRACE));
    let mut registry = Registry::new(node.address);
    let session = registry.open_upload("twice/end");
    let stalled = Request::new("PATCH", &session).body(vec![0; 100_000]);
    registry.client.write(&stalled.head_bytes()).unwrap();
    registry.client.write(&[0; 1000]).unwrap();
    Registry::new(node.address).get("/v2/").expect(200);
    node.signal_end();
    // The first signal has been heard when new connections are no longer taken.
    let refuses = super::support::wait_for(END_SOON_MAX, || {
        let mut client = Client::new(node.address);
        client.try_send(&Request::new("GET", "/v2/")).is_err()
    });
    assert!(refuses, "the node still accepts connections");
    node.signal_end();
    node.wait_end(END_SOON_MAX);
    node.spawn();
    node.wait_ready();
}
