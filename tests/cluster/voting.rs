//! A node gets its vote when it holds the blobs, and not when it has only the journal:
//! what was acknowledged before is on a majority of those that voted then.

use std::fs;
use std::io::Write as _;

use serde_json::Value;
use tempfile::NamedTempFile;

use super::support::{
    Cluster, Member, NodeOptions, Random, Registry, SETTLED_MAX, digest_of, said, wait_for,
};

const NAME: &str = "voted/app";
const RATE: &str = "WINDLASS_CLUSTER__FETCH_RATE_MAX";
/// Two blobs of this size come in some seconds …
const BLOB_BYTES: usize = 5 << 20;
/// … at this rate, which four fetches share; the journal comes at once.
const SLOW: &str = "4MiB";
/// Nothing of that size comes at this rate while a test runs.
const NEVER: &str = "64KiB";
/// Pushes there are acknowledged by the node that takes them.
const ONE_COPY: (&str, &str) = ("WINDLASS_CLUSTER__ACK_PREFIXES", "[\"cache=one\"]");

fn options(variables: &[(&str, &str)]) -> NodeOptions {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    NodeOptions {
        environment: variables.iter().map(owned).collect(),
        ..NodeOptions::default()
    }
}

/// One voter that holds two blobs, and their digests.
fn one_with_blobs() -> (Cluster, [String; 2]) {
    let cluster = Cluster::start(1);
    let mut random = Random::new(71);
    let mut registry = Registry::new(cluster.nodes[0].node.address);
    let digests = [(); 2].map(|()| registry.push_blob(NAME, &random.bytes(BLOB_BYTES)));
    (cluster, digests)
}

/// What the first node says about the last one.
fn seen(cluster: &Cluster) -> Value {
    let mut status = cluster.status(0).expect("a status");
    let nodes = status["nodes"].as_array_mut().expect("nodes");
    nodes.pop().expect("a node")
}

fn missing(node: &Value) -> Option<u64> {
    node["report"]["blobs_missing"].as_u64()
}

fn has_log(node: &Value) -> bool {
    node["lag"].as_u64().is_some_and(|lag| lag < 5)
}

#[test]
fn a_node_with_the_whole_journal_does_not_vote_before_it_holds_the_blobs() {
    let (mut cluster, digests) = one_with_blobs();
    cluster.add(options(&[(RATE, SLOW)]));
    let mut waited = false;
    let mut last = Value::Null;
    let votes = wait_for(SETTLED_MAX, || {
        last = seen(&cluster);
        let is_learner = last["role"] == "learner";
        let reason = last["vote_waits_for"].as_str().unwrap_or_default();
        waited |= is_learner && has_log(&last) && reason.ends_with("missing");
        !is_learner
    });
    assert!(votes, "{last:#}");
    assert!(
        waited,
        "it had its journal and nothing else for some seconds"
    );
    assert_eq!(missing(&last), Some(0), "{last:#}");
    assert_eq!(last["vote_waits_for"], Value::Null);
    let shown = said(&cluster.nodes[0].operate(&["status"]));
    assert!(!shown.contains("to vote"), "{shown}");
    // It holds them by itself.
    cluster.nodes[0].node.kill();
    let mut registry = Registry::new(cluster.nodes[1].node.address);
    for digest in digests {
        let got = registry
            .get(&format!("/v2/{NAME}/blobs/{digest}"))
            .expect(200);
        assert_eq!(digest_of("sha256", &got.body), digest);
    }
}

#[test]
fn an_operator_may_give_a_vote_to_a_node_that_lacks_blobs() {
    let (mut cluster, _) = one_with_blobs();
    let mut learner = Member::prepare(options(&[(RATE, NEVER)]));
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(cluster.token().as_bytes()).unwrap();
    let (contact, path) = (
        cluster.nodes[0].peer_address.to_string(),
        file.path().display().to_string(),
    );
    let joined = learner.run(&["join", &contact, "--token-file", &path, "--learner"]);
    let text = said(&joined);
    assert!(joined.status.success(), "join: {text}");
    let asking = format!("asking {contact} to let this node in\n");
    for line in [
        &asking,
        "admitted as node ",
        "start it with `windlass serve`",
    ] {
        assert!(text.contains(line), "{text}");
    }
    learner.node.spawn();
    learner.node.wait_ready();
    cluster.nodes.push(learner);
    let number = seen(&cluster)["node"].to_string();
    assert_eq!(
        seen(&cluster)["vote_waits_for"],
        Value::Null,
        "it is a copy"
    );

    let promoted = cluster.nodes[1].operate(&["promote", &number]);
    let text = said(&promoted);
    assert!(promoted.status.success(), "{text}");
    assert!(
        text.contains("will by itself once it holds everything"),
        "{text}"
    );
    let node = seen(&cluster);
    assert_eq!(
        (&node["role"], &node["vote_waits_for"]),
        (&"learner".into(), &"2 blobs missing".into())
    );
    let shown = said(&cluster.nodes[0].operate(&["status"]));
    assert!(
        shown.contains("learner, to vote: 2 blobs missing"),
        "{shown}"
    );

    // Through the learner: the leader does it.
    let forced = cluster.nodes[1].operate(&["promote", &number, "--force"]);
    let text = said(&forced);
    assert!(forced.status.success(), "{text}");
    assert!(
        text.contains(&format!("node {number} votes. What it lacks")),
        "{text}"
    );
    cluster.wait_voters(2);
    assert_eq!(missing(&seen(&cluster)), Some(2), "it lacks them still");
    let absent = cluster.nodes[0].operate(&["promote", "999", "--force"]);
    assert!(!absent.status.success());
    assert!(said(&absent).contains("no node 999"), "{}", said(&absent));
}

#[test]
fn a_blob_that_went_with_its_only_holder_keeps_nobody_from_a_vote() {
    let mut cluster = Cluster::start_with(3, &options(&[(RATE, NEVER), ONE_COPY]));
    let victim = if cluster.leader() == 2 { 1 } else { 2 };
    let number = cluster.status(victim).unwrap()["node"].to_string();
    let layer = Random::new(72).bytes(BLOB_BYTES);
    Registry::new(cluster.nodes[victim].node.address).push_blob("cache/app", &layer);
    // The others know who holds it, and have not copied it.
    assert!(wait_for(SETTLED_MAX, || {
        let refused = cluster.nodes[0].operate(&["remove", &number]);
        said(&refused).contains("1 of them nowhere else")
    }));
    cluster.nodes[victim].node.kill();
    fs::remove_dir_all(&cluster.nodes[victim].node.data_dir).unwrap();

    cluster.add(NodeOptions::default());
    let mut last = Value::Null;
    let votes = wait_for(SETTLED_MAX, || {
        last = seen(&cluster);
        last["role"] == "voter"
    });
    assert!(votes, "{last:#}");
    assert_eq!(missing(&last), Some(1), "nobody can give it");
}
