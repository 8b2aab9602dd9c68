//! A node that never votes: a copy that readers and pushes may use, and that counts for
//! nobody until it is given a vote.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::NamedTempFile;

use super::support::{
    Client, Cluster, Member, NodeOptions, Random, Registry, Request, SETTLED_MAX, digest_of, said,
    wait_for,
};

const NAME: &str = "learned/app";
const BLOB_BYTES: usize = 16 << 20;
/// The blobs that nobody waits for take some seconds to come.
const FETCH_RATE: &str = "4MiB";
/// From the moment in which nothing is missing to the end of a command that looks twice
/// a second, on a machine with much else to do.
const NOTICED_MAX: Duration = Duration::from_secs(15);

/// Lets a node join that never votes, and starts it.
#[track_caller]
fn add_learner(cluster: &mut Cluster) {
    let rate = "WINDLASS_CLUSTER__FETCH_RATE_MAX".to_owned();
    let mut learner = Member::prepare(NodeOptions {
        environment: vec![(rate, FETCH_RATE.to_owned())],
        ..NodeOptions::default()
    });
    let (contact, token) = (cluster.nodes[0].peer_address.to_string(), cluster.token());
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(token.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let joined = learner.run(&["join", &contact, "--token-file", path, "--learner"]);
    assert!(joined.status.success(), "join: {}", said(&joined));
    learner.node.spawn();
    learner.node.wait_ready();
    cluster.nodes.push(learner);
}

/// What `status --json` prints about the learner.
fn seen(cluster: &Cluster, through: usize) -> Value {
    let shown = cluster.nodes[through].operate(&["status", "--json"]);
    assert!(shown.status.success(), "{}", said(&shown));
    let mut status: Value = serde_json::from_slice(&shown.stdout).unwrap();
    status["nodes"][1].take()
}

fn missing(node: &Value) -> Option<u64> {
    node["report"]["blobs_missing"].as_u64()
}

fn is_ready(cluster: &Cluster, index: usize) -> bool {
    let mut client = Client::new(cluster.nodes[index].node.admin_address);
    let answer = client.try_send(&Request::new("GET", "/readyz"));
    answer.is_ok_and(|answer| answer.status == 200)
}

#[track_caller]
fn pulls(cluster: &Cluster, index: usize, digest: &str) {
    let mut reader = Registry::new(cluster.nodes[index].node.address);
    let got = reader
        .get(&format!("/v2/{NAME}/blobs/{digest}"))
        .expect(200);
    assert_eq!(digest_of("sha256", &got.body), digest);
}

#[track_caller]
fn change(cluster: &Cluster, wish: &str, number: &str) {
    let done = cluster.nodes[0].operate(&[wish, number]);
    assert!(done.status.success(), "{wish}: {}", said(&done));
}

/// `status --watch` on one node ends when the learner has everything, and not before.
#[track_caller]
fn watch_until_whole(cluster: &Cluster) {
    let is_whole = || {
        let node = seen(cluster, 0);
        missing(&node) == Some(0) && node["report"]["replication"]["surveyed"] == true
    };
    assert!(!is_whole());
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let watched = cluster.nodes[0].operate(&["status", "--watch"]);
            (watched, Instant::now())
        });
        let mut early = false;
        assert!(wait_for(SETTLED_MAX, || {
            let was_watching = !watching.is_finished();
            let whole = is_whole();
            early |= !was_watching && !whole;
            whole
        }));
        let whole_by = Instant::now();
        assert!(!early, "it ended while blobs were missing");
        let (watched, ended) = watching.join().unwrap();
        assert!(watched.status.success(), "{}", said(&watched));
        let late = ended.saturating_duration_since(whole_by);
        assert!(late < NOTICED_MAX, "it ended after {late:?}");
    });
}

#[test]
fn a_learner_serves_and_takes_pushes_and_counts_only_while_it_has_a_vote() {
    let mut cluster = Cluster::start(1);
    let mut voter = Registry::new(cluster.nodes[0].node.address);
    let mut random = Random::new(61);
    let mut push = |registry: &mut Registry| {
        let content = random.bytes(BLOB_BYTES);
        registry.push_blob(NAME, &content)
    };
    let older = [push(&mut voter), push(&mut voter)];
    let (manifest, _) = voter.push_image(NAME, "first", 62);
    add_learner(&mut cluster);

    // What it does not have yet it gives as well.
    let node = seen(&cluster, 1);
    assert_eq!(node["role"], "learner", "{node}");
    assert!(missing(&node) > Some(0), "{node}");
    pulls(&cluster, 1, &older[0]);
    let mut learner = Registry::new(cluster.nodes[1].node.address);
    let got = learner
        .get(&format!("/v2/{NAME}/manifests/first"))
        .expect(200);
    assert_eq!(got.body, manifest);
    watch_until_whole(&cluster);
    pulls(&cluster, 1, &older[1]);
    let node = seen(&cluster, 0);
    let from = &node["report"]["replication"]["peers"][0];
    assert!(
        from["received_bytes"].as_u64() >= Some(2 * BLOB_BYTES as u64),
        "{node}"
    );
    assert_eq!(
        node["report"]["consensus"]["leader"], from["node"],
        "{node}"
    );

    // A push through it is one to the voter: the answer says so.
    let pushed = push(&mut learner);
    let (manifest, _) = learner.push_image(NAME, "second", 63);
    cluster.nodes[1].node.kill();
    pulls(&cluster, 0, &pushed);
    let got = voter
        .get(&format!("/v2/{NAME}/manifests/second"))
        .expect(200);
    assert_eq!(got.body, manifest);

    // Nobody waits for it: neither for a copy nor for a majority.
    push(&mut voter);
    assert!(is_ready(&cluster, 0));

    cluster.nodes[1].node.restart();
    cluster.wait_whole();
    let number = seen(&cluster, 0)["node"].to_string();
    change(&cluster, "promote", &number);
    cluster.wait_voters(2);
    assert_eq!(seen(&cluster, 1)["role"], "voter");
    cluster.nodes[1].node.kill();
    assert!(
        wait_for(SETTLED_MAX, || !is_ready(&cluster, 0)),
        "it has a vote now"
    );
    cluster.nodes[1].node.restart();
    cluster.lead(0);
    change(&cluster, "demote", &number);
    cluster.wait_voters(1);
    cluster.nodes[1].node.kill();
    push(&mut Registry::new(cluster.nodes[0].node.address));
    cluster.nodes[1].node.restart();
    cluster.wait_whole();

    // Alone it gives what is asked for by digest, and decides nothing.
    cluster.nodes[0].node.kill();
    pulls(&cluster, 1, &pushed);
    let tag = Request::new("GET", format!("/v2/{NAME}/manifests/first"));
    let mut learner = Registry::new(cluster.nodes[1].node.address);
    learner.send(&tag).expect_any(&[429, 503]);
    assert!(!is_ready(&cluster, 1));
}
