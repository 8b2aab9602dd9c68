//! A blob that a node lacks, and one that only another repository holds: whoever may not
//! have it learns nothing from any node, and makes no node work for it.

use std::net::SocketAddr;
use std::time::Duration;

use super::server::{bearing, configured, token, trusting};
use super::table::{Right, bearers, check_refusal};
use crate::support::{
    Client, Cluster, Node, Random, Registry, Request, Response, digest_of, sha256, wait_for,
};

/// Comes in the background at 16 KiB a second: not while a test runs.
const CONTENT_BYTES: usize = 12_000_000;
const REPOSITORY: &str = "team/app";
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
const PATIENCE: Duration = Duration::from_secs(60);

/// The sum of a metric over its labels, as far as they hold `label`.
fn metric(node: &Node, name: &str, label: &str) -> u64 {
    let page = Client::new(node.admin_address).send(&Request::new("GET", "/metrics"));
    let page = String::from_utf8(page.body).unwrap();
    let is_it = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
    };
    let values = page.lines().filter(is_it);
    values
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

fn missing(node: &Node) -> u64 {
    metric(node, "windlass_replication_missing_blobs", "")
}

fn push(address: SocketAddr, repository: &str, content: &[u8]) -> String {
    let digest = digest_of("sha256", content);
    let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let request = Request::new("POST", target).body(content);
    let token = token(&format!("repository:{repository}:pull,push"));
    Registry::new(address)
        .send(&bearing(request, &token))
        .expect(201);
    digest
}

/// Three nodes, of which one holds the blob; its digest and content, and who holds it.
fn lacking() -> (tempfile::TempDir, Cluster, (String, Vec<u8>), usize) {
    let text = "[cluster]\nack = 'one'\nfetch_rate_max = '64KiB'\n";
    let (home, options) = configured(&(trusting("") + text));
    let mut cluster = Cluster::start_with(3, &options);
    let holder = (cluster.leader() + 1) % 3;
    let content = Random::new(41).bytes(CONTENT_BYTES);
    let digest = push(cluster.addresses()[holder], REPOSITORY, &content);
    for (index, member) in cluster.nodes.iter().enumerate() {
        let expected = u64::from(index != holder);
        let is_so = wait_for(PATIENCE, || missing(&member.node) == expected);
        assert!(is_so, "node {index} lacks {}", missing(&member.node));
    }
    (home, cluster, (digest, content), holder)
}

#[test]
fn a_node_without_the_blob_decides_as_one_with_it_and_fetches_for_nobody_who_may_not() {
    let (_home, cluster, (digest, content), holder) = lacking();
    let target = format!("/v2/{REPOSITORY}/blobs/{digest}");
    let mount = format!("/v2/other/app/blobs/uploads/?mount={digest}&from={REPOSITORY}");
    for (index, member) in cluster.nodes.iter().enumerate() {
        let node = &member.node;
        let mut registry = Registry::new(node.address);
        let mut refused = 0;
        for caller in bearers(REPOSITORY) {
            if caller.rights.contains(&Right::Pull) {
                continue;
            }
            for method in ["GET", "HEAD"] {
                let request = Request::new(method, target.as_str());
                let request = match &caller.shows {
                    Some(shown) => request.header("Authorization", shown.as_str()),
                    None => request,
                };
                let about = format!("node {index} {method}: {}", caller.name);
                let response = registry.send(&request);
                check_refusal(&response, Right::Pull, REPOSITORY, caller.refusal, &about);
                refused += 1;
            }
        }
        assert!(refused > 20, "{refused}");
        // Nor is it mounted where it could be pulled from then.
        let token = token("repository:other/app:*");
        let request = Request::new("POST", mount.as_str()).body("");
        registry.send(&bearing(request, &token)).expect(202);
        assert_eq!(missing(node), u64::from(index != holder));
    }
    for member in &cluster.nodes {
        let token = token(&format!("repository:{REPOSITORY}:pull"));
        let mut registry = Registry::new(member.node.address);
        for method in ["HEAD", "GET"] {
            let request = bearing(Request::new(method, target.as_str()), &token);
            let response = registry.send(&request).expect(200);
            let length = content.len().to_string();
            assert_eq!(response.only("Content-Length"), length);
            assert!(method == "HEAD" || response.body == content);
        }
        assert!(wait_for(PATIENCE, || missing(&member.node) == 0));
    }
}

/// What an answer says beside the digest that was asked for, the time and its own id.
fn said(response: &Response, digest: &str) -> (u16, Vec<(String, String)>, String) {
    let own = ["Date", "X-Request-Id", "Location", "Docker-Upload-UUID"];
    let headers = response.headers.iter();
    let headers =
        headers.filter(|(name, _)| !own.iter().any(|each| name.eq_ignore_ascii_case(each)));
    let body = String::from_utf8(response.body.clone()).unwrap();
    (
        response.status,
        headers.cloned().collect(),
        body.replace(digest, "DIGEST"),
    )
}

/// What a node did: how often it asked the leader, other nodes and its disk.
fn work(node: &Node) -> [u64; 5] {
    [
        metric(node, "windlass_peer_calls_total", "read_index"),
        metric(node, "windlass_raft_read_rounds_total", ""),
        metric(node, "windlass_proposals_total", ""),
        metric(node, "windlass_replication_fetches_total", ""),
        metric(node, "windlass_blob_read_bytes_total", ""),
    ]
}

#[test]
fn what_another_repository_holds_and_what_nobody_holds_are_told_apart_by_nothing() {
    const ROUNDS: u64 = 5;
    let (_home, cluster, (large, _), _) = lacking();
    let small = push(cluster.addresses()[0], REPOSITORY, b"a small blob");
    // The repository of the caller is there.
    push(cluster.addresses()[0], "other/app", b"another one");
    let token = token("repository:other/app:*");
    for (index, member) in cluster.nodes.iter().enumerate() {
        let node = &member.node;
        let mut registry = Registry::new(node.address);
        let mut ask = |method: &str, target: &str| {
            let request = Request::new(method, target).body("");
            let request = match method {
                "POST" => request,
                _ => Request::new(method, target),
            };
            registry.send(&bearing(request, &token))
        };
        for (method, target) in [
            ("GET", "/v2/other/app/blobs/DIGEST"),
            ("HEAD", "/v2/other/app/blobs/DIGEST"),
            ("DELETE", "/v2/other/app/blobs/DIGEST"),
            ("GET", "/v2/other/app/manifests/DIGEST"),
            ("GET", "/v2/other/app/referrers/DIGEST"),
            ("POST", "/v2/other/app/blobs/uploads/?mount=DIGEST"),
            (
                "POST",
                "/v2/other/app/blobs/uploads/?mount=DIGEST&from=team/app",
            ),
            ("PUT", "/v2/other/app/blobs/uploads/absent?digest=DIGEST"),
        ] {
            let mut told = Vec::new();
            for digest in [&*large, &*small, ABSENT] {
                let before = work(node);
                let mut last = None;
                for _ in 0..ROUNDS {
                    last = Some(ask(method, &target.replace("DIGEST", digest)));
                }
                let mut after = work(node);
                for (after, before) in after.iter_mut().zip(before) {
                    *after -= before;
                }
                told.push((said(&last.unwrap(), digest), after));
            }
            let about = format!("node {index}: {method} {target}");
            assert_eq!(told[0], told[2], "{about}");
            assert_eq!(told[1], told[2], "{about}");
        }
    }
    assert_eq!(sha256(b"a small blob"), small);
}
