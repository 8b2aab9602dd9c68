//! A blob that a node lacks, and one that only another repository holds: whoever may not
//! have it learns nothing from any node, and makes no node work for it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::server::{TokenMaker, bearing, configured, token, trusting};
use super::table::{Right, bearers, check_refusal};
use crate::support::{
    Client, Cluster, INDEX_TYPE, MANIFEST_TYPE, Node, Random, Registry, Request, Response,
    digest_of, image, sha256, wait_for,
};

/// Comes in the background at 16 KiB a second: not while a test runs.
const CONTENT_BYTES: usize = 12_000_000;
const REPOSITORY: &str = "team/app";
const ABSENT: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
const PATIENCE: Duration = Duration::from_secs(60);

/// The sum of a metric over its labels, as far as they hold `label`.
pub(super) fn metric(node: &Node, name: &str, label: &str) -> u64 {
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
    let text = "[cluster]\nack_prefixes = ['team=one']\nfetch_rate_max = '64KiB'\n";
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
    let maker = TokenMaker::elsewhere();
    let target = format!("/v2/{REPOSITORY}/blobs/{digest}");
    let mount = format!("/v2/other/app/blobs/uploads/?mount={digest}&from={REPOSITORY}");
    for (index, member) in cluster.nodes.iter().enumerate() {
        let node = &member.node;
        let mut registry = Registry::new(node.address);
        let mut refused = 0;
        for caller in bearers(REPOSITORY, &maker) {
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
                let at = (REPOSITORY, &maker);
                check_refusal(&response, Right::Pull, at, caller.refusal, &about);
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
    let unnamed =
        |(name, value): &(String, String)| (name.clone(), value.replace(digest, "DIGEST"));
    let body = String::from_utf8(response.body.clone()).unwrap();
    (
        response.status,
        headers.map(unnamed).collect(),
        body.replace(digest, "DIGEST"),
    )
}

/// How often a node asked the leader, proposed, and read and sent blobs; some of that it
/// does at times on its own.
pub(super) fn steps(node: &Node) -> [u64; 5] {
    [
        metric(node, "windlass_peer_calls_total", "read_index"),
        metric(node, "windlass_raft_read_rounds_total", ""),
        metric(node, "windlass_proposals_total", ""),
        metric(node, "windlass_blob_read_bytes_total", ""),
        metric(node, "windlass_replication_sent_bytes_total", ""),
    ]
}

/// What it does once for a blob, and for nobody else.
fn copies(node: &Node) -> [u64; 2] {
    [
        metric(node, "windlass_replication_fetches_total", ""),
        metric(node, "windlass_replication_holds_total", ""),
    ]
}

/// Manifests that name a digest as what only a push could have brought, and as what may
/// be anywhere, or nowhere.
fn manifests(digest: &str, bytes: usize) -> Vec<String> {
    let config = sha256(b"another one");
    let empty = image((&config, 11), &[]);
    let with = |member: &str, value: serde_json::Value| {
        let mut manifest = empty.clone();
        manifest[member] = value;
        manifest.to_string()
    };
    let layer = |kind: &str| {
        let media_type = format!("application/vnd.oci.image.layer.{kind}");
        let urls = ["https://example.org/layer"];
        json!([{ "mediaType": media_type, "digest": digest, "size": bytes, "urls": urls }])
    };
    let child = json!({ "mediaType": MANIFEST_TYPE, "digest": digest, "size": bytes });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child] });
    vec![
        image((digest, bytes), &[]).to_string(),
        with("layers", layer("v1.tar+gzip")),
        with("layers", layer("nondistributable.v1.tar+gzip")),
        with("subject", child),
        index.to_string(),
    ]
}

/// Asks for three digests, of which nobody may be told from the others.
#[track_caller]
fn check_alike(
    node: &Node,
    digests: [&str; 3],
    about: &str,
    mut ask: impl FnMut(&str) -> Response,
) {
    const ROUNDS: u64 = 5;
    /// Whatever the node does on its own is not done each time.
    const TRIES: usize = 10;
    for tries in 1..=TRIES {
        let told = digests.map(|digest| {
            let (before, copied) = (steps(node), copies(node));
            let mut last = None;
            for _ in 0..ROUNDS {
                last = Some(ask(digest));
            }
            let mut after = steps(node);
            for (after, before) in after.iter_mut().zip(before) {
                *after -= before;
            }
            assert_eq!(copies(node), copied, "{about}: {digest}");
            (said(&last.unwrap(), digest), after)
        });
        let [first, second, third] = &told;
        assert_eq!([&first.0, &second.0], [&third.0; 2], "{about}");
        if told.iter().all(|one| one.1 == third.1) {
            return;
        }
        assert!(tries < TRIES, "{about}: {told:?}");
    }
}

/// Pushes manifests that name each of the digests.
fn check_manifests(
    node: &Node,
    about: &str,
    digests: [&str; 3],
    ask: &mut dyn FnMut(Request) -> Response,
) {
    for (kind, manifest) in manifests("DIGEST", CONTENT_BYTES).iter().enumerate() {
        let is_index = manifest.contains("\"manifests\"");
        let media_type = if is_index { INDEX_TYPE } else { MANIFEST_TYPE };
        let about = format!("{about}: a manifest of kind {kind}");
        check_alike(node, digests, &about, |digest| {
            let manifest = manifest.replace("DIGEST", digest);
            let own = sha256(manifest.as_bytes());
            let target = format!("/v2/other/app/manifests/{own}");
            let request = Request::new("PUT", target).header("Content-Type", media_type);
            let mut response = ask(request.body(manifest));
            for (_, value) in &mut response.headers {
                *value = value.replace(&own, "OWN");
            }
            response
        });
    }
}

#[test]
fn what_another_repository_holds_and_what_nobody_holds_are_told_apart_by_nothing() {
    let (_home, cluster, (large, _), holder) = lacking();
    let small = push(cluster.addresses()[0], REPOSITORY, b"a small blob");
    // The repository of the caller is there.
    push(cluster.addresses()[0], "other/app", b"another one");
    let token = token("repository:other/app:*");
    let digests = [&*large, &*small, ABSENT];
    for (index, member) in cluster.nodes.iter().enumerate() {
        let node = &member.node;
        let mut registry = Registry::new(node.address);
        let mut ask = |request| registry.send(&bearing(request, &token));
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
            let about = format!("node {index}: {method} {target}");
            check_alike(node, digests, &about, |digest| {
                let request = Request::new(method, target.replace("DIGEST", digest));
                ask(match method {
                    "POST" => request.body(""),
                    _ => request,
                })
            });
        }
    }
    for (index, member) in cluster.nodes.iter().enumerate() {
        let mut client = Registry::new(member.node.address);
        let mut ask = |request| client.send(&bearing(request, &token));
        check_manifests(&member.node, &format!("node {index}"), digests, &mut ask);
        // None of it had the blob come here.
        let lacks = u64::from(index != holder);
        assert_eq!(missing(&member.node), lacks);
    }
}
