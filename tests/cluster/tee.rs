//! Bytes of a push go to another node while they come, and nothing depends on it.

use std::time::Duration;

use crate::support::{Client, Cluster, Random, Registry, Request, digest_of, wait_for};

/// What has to happen soon has happened by then.
const SOON: Duration = Duration::from_secs(30);
const MIB: usize = 1024 * 1024;

/// What a counter of a node says, all its series together.
fn counted(cluster: &Cluster, index: usize, name: &str) -> u64 {
    let mut client = Client::new(cluster.nodes[index].node.admin_address);
    let page = client.try_send(&Request::new("GET", "/metrics")).unwrap();
    let page = String::from_utf8(page.body).unwrap();
    let lines = page.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

fn received(cluster: &Cluster, index: usize) -> u64 {
    counted(cluster, index, "windlass_replication_received_bytes_total{")
}

#[test]
fn a_push_outlives_the_node_that_takes_its_bytes() {
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let content = Random::new(21).bytes(24 * MIB);
    let digest = digest_of("sha256", &content);
    let target = format!("/v2/teed/app/blobs/uploads/?digest={digest}");
    let request = Request::new("POST", target).body(content.clone());
    let mut client = Client::new(addresses[0]);
    client.write(&request.head_bytes()).unwrap();
    let (first, second) = content.split_at(12 * MIB);
    client.write(first).unwrap();
    let mut taker = None;
    let is_taken = wait_for(SOON, || {
        taker = (1..3).find(|index| received(&cluster, *index) > 4 << 20);
        taker.is_some()
    });
    assert!(is_taken, "no node takes the bytes");
    let taker = taker.unwrap();
    cluster.nodes[taker].node.kill();
    client.write(second).unwrap();
    client.read_response("the push").unwrap().expect(201);
    let other = 3 - taker;
    assert_eq!(
        received(&cluster, other),
        24 << 20,
        "the other one holds it"
    );
    cluster.nodes[taker].node.restart();
    cluster.wait_voters(3);
    cluster.wait_whole();
    for address in &addresses {
        let mut registry = Registry::new(*address);
        let got = registry.get(&format!("/v2/teed/app/blobs/{digest}"));
        assert!(got.expect(200).body == content, "at {address}");
    }
    let uploads = cluster.nodes[taker].node.data_dir.join("uploads");
    let left = std::fs::read_dir(uploads).unwrap();
    let left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["key"], "nothing is left of what was cut off");
}

#[test]
fn a_session_of_two_requests_finds_its_copy_made() {
    let mut cluster = Cluster::start(3);
    let addresses = cluster.addresses();
    let content = Random::new(22).bytes(5 * MIB + 123);
    let digest = digest_of("sha256", &content);
    let mut registry = Registry::new(addresses[0]);
    let session = registry.open_upload("teed/app");
    let patch = Request::new("PATCH", session.clone()).chunked(content);
    registry.send(&patch).expect(202);
    let close = Request::new("PUT", format!("{session}?digest={digest}"));
    registry.send(&close).expect(201);
    let held = "windlass_replication_tees_total{end=\"held\"}";
    assert_eq!(counted(&cluster, 0, held), 1);
    assert_eq!(counted(&cluster, 0, "windlass_replication_holds_total{"), 0);
    cluster.wait_whole();
    let takes = "windlass_replication_takes_total{end=\"held\"}";
    assert_eq!(
        (1..3)
            .map(|index| counted(&cluster, index, takes))
            .sum::<u64>(),
        1
    );
}
