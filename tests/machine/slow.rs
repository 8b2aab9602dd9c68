//! Clients that are too slow, on a node whose patience is short.

use std::thread;
use std::time::{Duration, Instant};

use super::support::{Client, Node, NodeOptions, Random, Registry, Request, location, sha256};

/// The node gives up after about this time.
const PATIENCE: Duration = Duration::from_secs(1);
/// It has given up well before this time.
const PATIENCE_MAX: Duration = Duration::from_secs(25);

fn impatient_node() -> Node {
    let setting = |key: &str, value: &str| (format!("WINDLASS_HTTP__{key}"), value.to_owned());
    Node::start_with(NodeOptions {
        environment: vec![
            setting("HEAD_TIMEOUT", "1s"),
            setting("BODY_WINDOW", "1s"),
            setting("WRITE_STALL_TIMEOUT", "1s"),
            setting("IDLE_TIMEOUT", "1s"),
        ],
        ..NodeOptions::default()
    })
}

#[test]
fn slow_clients_are_let_go_and_keep_what_was_acknowledged() {
    let node = impatient_node();
    a_head_that_does_not_end_is_408(&node);
    an_idle_connection_is_closed(&node);
    a_body_that_trickles_is_408_and_its_session_stays(&node);
    a_reader_that_stops_is_cut(&node);
}

fn a_head_that_does_not_end_is_408(node: &Node) {
    let mut client = Client::new(node.address);
    let start = Instant::now();
    client.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n").unwrap();
    // A byte now and then must not win more time.
    for _ in 0..40 {
        thread::sleep(PATIENCE / 10);
        if client.write(b"a").is_err() || start.elapsed() > PATIENCE * 2 {
            break;
        }
    }
    client.read_response("GET").unwrap().expect(408);
    assert!(start.elapsed() < PATIENCE_MAX);
}

fn an_idle_connection_is_closed(node: &Node) {
    let mut client = Client::new(node.address);
    client.send(&Request::new("GET", "/v2/")).expect(200);
    let start = Instant::now();
    assert!(client.is_closed_by_server(), "bytes on an idle connection");
    assert!(start.elapsed() < PATIENCE_MAX);
}

fn a_body_that_trickles_is_408_and_its_session_stays(node: &Node) {
    let mut registry = Registry::new(node.address);
    let content = Random::new(1).bytes(100_000);
    let session = registry.open_upload("slow/body");
    let first = Request::new("PATCH", session).body(&content[..50_000]);
    let session = location(&registry.send(&first).expect(202));
    let rest = Request::new("PATCH", &session).body(&content[50_000..]);
    registry.client.write(&rest.head_bytes()).unwrap();
    let start = Instant::now();
    let mut at = 50_000;
    while start.elapsed() < PATIENCE * 3 && registry.client.write(&content[at..=at]).is_ok() {
        at += 1;
        thread::sleep(PATIENCE / 20);
    }
    let answer = registry.client.read_response("PATCH");
    if let Ok(answer) = answer {
        answer.expect(408);
    }
    assert!(start.elapsed() < PATIENCE_MAX);
    registry.client.close();
    let range = registry.get(&session).expect(204).only("Range").to_owned();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    assert!((49_999..=at).contains(&last), "{range}");
    let rest = Request::new("PATCH", &session)
        .header("Content-Range", format!("{}-99999", last + 1))
        .body(&content[last + 1..]);
    let session = location(&registry.send(&rest).expect(202));
    registry
        .call("PUT", &format!("{session}?digest={}", sha256(&content)))
        .expect(201);
}

fn a_reader_that_stops_is_cut(node: &Node) {
    let mut registry = Registry::new(node.address);
    let digest = registry.push_blob("slow/reader", &Random::new(2).bytes(30_000_000));
    let target = format!("/v2/slow/reader/blobs/{digest}");
    let mut client = Client::new(node.address);
    client
        .write(&Request::new("GET", &target).head_bytes())
        .unwrap();
    client.read_head("GET").unwrap().expect(200);
    thread::sleep(PATIENCE * 5);
    let mut received = 0;
    let mut piece = vec![0; 1 << 20];
    while let Ok(count) = client.read_some(&mut piece) {
        if count == 0 {
            break;
        }
        received += count;
    }
    assert!(received < 30_000_000, "the whole body came after the stall");
}
