//! A node that comes new takes a large blob from several others at once.

use std::time::Instant;

use crate::network::Network;
use crate::support::{
    Client, Cluster, Node, NodeOptions, Random, Registry, Request, digest_of, is_left_out,
};
use crate::turn::heavy;

const NAME: &str = "sources/app";
/// Long enough that a source that crawls is found out, and another one helps.
const BLOB_BYTES: usize = 64 * 1024 * 1024;
/// What the usual holders send, and the one that crawls.
const USUAL_LINK: &str = "80mbit";
const CRAWLING_LINK: &str = "4mbit";

/// The node at a place of the network.
fn options(network: &Network, place: u8) -> NodeOptions {
    NodeOptions {
        wrapper: network.wrapper(place),
        host: Some(network.address(place)),
        ..NodeOptions::default()
    }
}

/// What a counter of a node says, of all other nodes together.
pub(crate) fn metric(node: &Node, name: &str) -> u64 {
    let mut client = Client::new(node.admin_address);
    let page = client.send(&Request::new("GET", "/metrics")).body;
    let page = String::from_utf8(page).expect("text");
    let lines = page.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

fn sent(node: &Node) -> u64 {
    metric(node, "windlass_replication_sent_bytes_total{")
}

#[test]
fn a_new_node_takes_a_blob_from_all_who_hold_it_and_little_from_one_that_crawls() {
    if is_left_out("make the network of this test") {
        return;
    }
    let _turn = heavy();
    let network = Network::new(4);
    let mut cluster = Cluster::of((1..=3).map(|place| options(&network, place)).collect());
    let leader = cluster.leader();
    let content = Random::new(41).bytes(BLOB_BYTES);
    let digest = Registry::new(cluster.nodes[leader].node.address).push_blob(NAME, &content);
    cluster.wait_whole();
    let before: Vec<u64> = cluster
        .nodes
        .iter()
        .map(|member| sent(&member.node))
        .collect();

    // Not the one that sends the journal, too.
    let crawling = (leader + 1) % 3;
    for (index, place) in (1..=3).enumerate() {
        let is_usual = index != crawling;
        network.limit(place, if is_usual { USUAL_LINK } else { CRAWLING_LINK });
    }
    let began = Instant::now();
    cluster.add(options(&network, 4));
    cluster.wait_whole();
    let took = began.elapsed();
    let sent: Vec<u64> = cluster.nodes[..3]
        .iter()
        .zip(before)
        .map(|(member, before)| sent(&member.node) - before)
        .collect();
    println!("{sent:?} bytes in {took:?}");
    let quarter = u64::try_from(BLOB_BYTES / 4).expect("few bytes");
    for (index, sent) in sent.iter().enumerate() {
        if index == crawling {
            assert!(*sent < quarter, "{index} of {sent:?}");
        } else {
            assert!(*sent > quarter, "{index} of {sent:?}");
        }
    }
    let node = &cluster.nodes[3].node;
    let received = metric(node, "windlass_replication_received_bytes_total{");
    let twice = received - 4 * quarter;
    assert!(twice < quarter, "{twice} bytes came twice");
    let target = format!("/v2/{NAME}/blobs/{digest}");
    let got = Registry::new(node.address).get(&target).expect(200);
    assert_eq!(digest_of("sha256", &got.body), digest);
}
