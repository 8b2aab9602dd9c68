//! Identities of pipelines and pods, and tokens of another server, by keys that their
//! issuers publish.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::issuer::{Behaviour, Signer, TestIssuer, key_set};
use super::server::{bearing, configured};
use crate::support::{Node, Registry, Request, Response, sha256, wait_for};

const AUDIENCE: &str = "https://registry.example.org";
/// The most that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rules of a pipeline and of pods.
const RULES: &str = "
[[auth.rules]]
subject.username = 'gitlab'
subject.claims = [{ pointer = '/environment', match = 'production' }, { pointer = '/ref', match = 'main' }]
resource.repository = 'production/app'
actions = ['pull', 'push']
[[auth.rules]]
subject.username = 'gitlab'
subject.claims = { path = '$.groups_direct[*]', any = { regex = '^admin-' } }
actions = ['pull']
[[auth.rules]]
subject.username = 'kubernetes'
subject.claims = [
    { pointer = '/kubernetes.io/namespace', match = 'my-namespace' },
    { pointer = '/kubernetes.io/pod/name', match = { regex = '^my-pod-.*$' } },
]
actions = ['pull']
";

/// A node that takes identities of the issuer from users called so; `pace` goes into
/// `[auth.jwks]`, `more` into each identity.
fn node(issuer: &TestIssuer, names: &[&str], pace: &str, more: &str) -> (TempDir, Node) {
    let mut identities = String::new();
    for name in names {
        let (url, ca) = (&issuer.url, issuer.ca_file.display());
        // A later `jwks_ca_file` would be there twice.
        let ca = if more.contains("jwks_ca_file") {
            String::new()
        } else {
            format!("jwks_ca_file = '{ca}', ")
        };
        write!(
            identities,
            "{{ name = '{name}', issuer = '{url}', audiences = ['{AUDIENCE}'], {ca}{more} }},"
        )
        .unwrap();
    }
    let text = format!(
        "[auth]\nmode = 'users'\nidentities = [{identities}]\n[auth.jwks]\n{pace}\n{RULES}"
    );
    let (home, options) = configured(&text);
    (home, Node::start_with(options))
}

fn push(registry: &mut Registry, repository: &str, user: &str, token: &str) -> Response {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(b"{}"));
    let login = STANDARD.encode(format!("{user}:{token}"));
    let request = Request::new("POST", target).body("{}");
    registry.send(&request.header("Authorization", format!("Basic {login}")))
}

fn pull(registry: &mut Registry, repository: &str, user: &str, token: &str) -> u16 {
    let login = STANDARD.encode(format!("{user}:{token}"));
    let request = Request::new("GET", format!("/v2/{repository}/tags/list"));
    let request = request.header("Authorization", format!("Basic {login}"));
    registry.send(&request).status
}

/// What a job of GitLab shows.
fn job(issuer: &TestIssuer, branch: &str) -> Value {
    let mut claims = issuer.claims(AUDIENCE, &format!("project_path:group/app:ref:{branch}"));
    claims["ref"] = branch.into();
    claims["ref_type"] = "branch".into();
    claims["environment"] = "production".into();
    claims["groups_direct"] = json!(["x"]);
    claims
}

/// What a pod of Kubernetes shows.
fn pod(issuer: &TestIssuer, name: &str) -> Value {
    let mut claims = issuer.claims(AUDIENCE, "system:serviceaccount:my-namespace:default");
    claims["aud"] = json!([AUDIENCE]);
    claims["kubernetes.io"] = json!({ "namespace": "my-namespace", "pod": { "name": name, "uid": "1" },
        "serviceaccount": { "name": "default", "uid": "2" } });
    claims
}

#[track_caller]
fn metric(node: &Node, name: &str) -> u64 {
    let answer = Registry::new(node.admin_address)
        .client
        .send(&Request::new("GET", "/metrics"));
    let page = String::from_utf8(answer.body).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[track_caller]
fn is_logged(node: &Node, text: &str) {
    let is_there = wait_for(PATIENCE, || node.log_text().contains(text));
    assert!(is_there, "{text} in\n{}", node.log_text());
}

#[test]
fn jobs_of_a_pipeline_and_pods_are_known_by_the_keys_of_their_issuer() {
    let (rsa, p256) = (Signer::rsa("gitlab-1"), Signer::p256("pods"));
    let issuer = TestIssuer::start(Behaviour::Keys(key_set(&[&rsa, &p256])));
    let (_home, node) = node(&issuer, &["gitlab", "kubernetes"], "", "");
    let mut registry = Registry::new(node.address);
    let mut pushed =
        |repository: &str, token: &str| push(&mut registry, repository, "gitlab", token).status;
    let main = rsa.sign(&job(&issuer, "main"));
    assert_eq!(pushed("production/app", &main), 201);
    assert_eq!(pushed("other/app", &main), 403);
    assert_eq!(
        pushed("production/app", &rsa.sign(&job(&issuer, "feature-1"))),
        403
    );
    let mut elsewhere = job(&issuer, "main");
    elsewhere["aud"] = "https://other.example.org".into();
    assert_eq!(pushed("production/app", &rsa.sign(&elsewhere)), 401);
    // Somebody who calls himself the same key.
    assert_eq!(
        pushed(
            "production/app",
            &Signer::p256("pods").sign(&job(&issuer, "main"))
        ),
        401
    );

    let mut admin = job(&issuer, "feature-1");
    admin["groups_direct"] = json!(["x", "admin-a"]);
    assert_eq!(
        pull(&mut registry, "other/app", "gitlab", &rsa.sign(&admin)),
        404
    );
    let token = p256.sign(&pod(&issuer, "my-pod-123"));
    assert_eq!(pull(&mut registry, "a", "kubernetes", &token), 404);
    assert_eq!(push(&mut registry, "a", "kubernetes", &token).status, 403);
    let other = p256.sign(&pod(&issuer, "other-1"));
    assert_eq!(pull(&mut registry, "a", "kubernetes", &other), 403);
    assert_eq!(metric(&node, "windlass_issuers_without_keys "), 0);
    assert!(metric(&node, "windlass_issuer_keys_fetched_timestamp_seconds ") > 1_600_000_000);
    is_logged(&node, "`shared`: a shared secret is no public key");
    let shown = node.log_text();
    assert!(!shown.contains(main.rsplit_once('.').unwrap().1) && !shown.contains("eyJ"));
}

#[test]
fn a_crowd_with_a_new_key_waits_for_the_fetch_under_way() {
    let [old, new] = ["old", "new"].map(Signer::p256);
    let issuer = TestIssuer::start(Behaviour::Keys(key_set(&[&old])));
    let (_home, node) = node(&issuer, &["gitlab"], "fresh_min = '1s'", "");
    let mut registry = Registry::new(node.address);
    let shown = old.sign(&job(&issuer, "main"));
    push(&mut registry, "production/app", "gitlab", &shown).expect(201);
    issuer.becomes(Behaviour::Held);
    issuer.wait_held();
    let token = new.sign(&job(&issuer, "main"));
    let ask = || {
        let mut registry = Registry::new(node.address);
        push(&mut registry, "production/app", "gitlab", &token).status
    };
    let statuses = std::thread::scope(|scope| {
        let crowd = [(); 8].map(|()| scope.spawn(ask));
        let are_waiting = || metric(&node, "windlass_http_requests_in_flight ") >= 8;
        assert!(wait_for(PATIENCE, are_waiting));
        // The shards do not wait.
        push(&mut registry, "production/app", "gitlab", &shown).expect(201);
        issuer.becomes(Behaviour::Keys(key_set(&[&new])));
        crowd.map(|one| one.join().unwrap())
    });
    assert_eq!(statuses, [201; 8]);
    // The old key is gone, and with it what was remembered.
    push(&mut registry, "production/app", "gitlab", &shown).expect(401);
}

#[test]
fn unknown_keys_cost_no_more_than_a_fetch_in_a_while() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(Behaviour::Keys(key_set(&[&signer])));
    let (_home, node) = node(&issuer, &["gitlab"], "ask_pause = '1h'", "");
    let mut registry = Registry::new(node.address);
    let token = signer.sign(&job(&issuer, "main"));
    push(&mut registry, "production/app", "gitlab", &token).expect(201);
    assert_eq!(issuer.asked(), 1);
    for number in 0..5 {
        let mut claims = job(&issuer, "main");
        claims["number"] = number.into();
        let token = Signer::p256("unseen").sign(&claims);
        let begin = Instant::now();
        push(&mut registry, "production/app", "gitlab", &token).expect(401);
        assert!(
            begin.elapsed() >= Duration::from_millis(900),
            "a failure has its pause"
        );
    }
    assert_eq!(issuer.asked(), 0);
}

#[test]
fn a_node_starts_without_its_issuer_and_learns_of_it_later() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(Behaviour::Held);
    let (_home, node) = node(&issuer, &["gitlab"], "ask_pause = '1s'", "");
    let mut registry = Registry::new(node.address);
    let token = signer.sign(&job(&issuer, "main"));
    let unready = push(&mut registry, "production/app", "gitlab", &token).expect(503);
    assert_eq!(unready.only("Retry-After"), "2");
    is_logged(&node, "no answer within 5s");
    is_logged(&node, "cannot be fetched and there are no older ones");
    assert_eq!(metric(&node, "windlass_issuers_without_keys "), 1);
    issuer.becomes(Behaviour::Keys(key_set(&[&signer])));
    let is_in = wait_for(PATIENCE, || {
        push(&mut registry, "production/app", "gitlab", &token).status == 201
    });
    assert!(is_in, "{}", node.log_text());
    assert_eq!(metric(&node, "windlass_issuers_without_keys "), 0);
}

#[test]
fn old_keys_count_for_a_while_when_the_issuer_is_down_or_mad() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(Behaviour::Keys(key_set(&[&signer])));
    let pace = "fresh_min = '1s'\nask_pause = '1s'\nstale_max = '8s'";
    let (_home, node) = node(&issuer, &["gitlab"], pace, "");
    let mut registry = Registry::new(node.address);
    let mut status = || {
        let token = signer.sign(&job(&issuer, "main"));
        push(&mut registry, "production/app", "gitlab", &token).status
    };
    assert_eq!(status(), 201);
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(600_000));
    for (behaviour, said) in [
        (
            Behaviour::Keys("<html>".to_owned()),
            "neither PEM nor a JSON Web Key Set",
        ),
        (Behaviour::Keys(huge), "longer than 524288 bytes"),
        (Behaviour::Keys("{\"keys\":[]}".to_owned()), "holds no key"),
        (
            Behaviour::Redirect("http://127.0.0.1:1/keys".to_owned()),
            "cannot be fetched: those of the last time stay",
        ),
    ] {
        issuer.becomes(behaviour);
        is_logged(&node, said);
        assert_eq!(status(), 201, "{said}");
        issuer.becomes(Behaviour::Keys(key_set(&[&signer])));
        let fetched = || metric(&node, "windlass_issuer_key_fetches_total{end=\"fetched\"} ");
        let before = fetched();
        assert!(wait_for(PATIENCE, || fetched() > before));
    }
    issuer.becomes(Behaviour::Down);
    is_logged(&node, "the keys of an issuer are too old and count no more");
    assert_eq!(status(), 503);
    issuer.becomes(Behaviour::Keys(key_set(&[&signer])));
    assert!(wait_for(PATIENCE, || status() == 201));
}

#[test]
fn an_issuer_that_asks_for_a_token_is_shown_the_one_in_the_file_now() {
    let signer = Signer::p256("one");
    let keys = key_set(&[&signer]);
    let issuer = TestIssuer::start(Behaviour::Guarded("second-secret".to_owned(), keys));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("token");
    fs::write(&file, "first-secret\n").unwrap();
    let more = format!("jwks_token_file = '{}'", file.display());
    let (_home, node) = node(&issuer, &["kubernetes"], "ask_pause = '1s'", &more);
    let mut registry = Registry::new(node.address);
    let token = signer.sign(&pod(&issuer, "my-pod-1"));
    assert_eq!(pull(&mut registry, "a", "kubernetes", &token), 503);
    is_logged(&node, "the server answered 401");
    is_logged(&node, "others than its owner and group may read a token");
    fs::write(&file, "second-secret\n").unwrap();
    let is_in = wait_for(PATIENCE, || {
        pull(&mut registry, "a", "kubernetes", &token) == 404
    });
    assert!(is_in, "{}", node.log_text());
    assert!(!node.log_text().contains("-secret"));
}

#[test]
fn an_issuer_that_nobody_vouches_for_is_not_believed() {
    let signer = Signer::p256("one");
    let issuer = TestIssuer::start(Behaviour::Keys(key_set(&[&signer])));
    let more = format!("jwks_ca_file = '{}'", issuer.other_ca_file.display());
    let (_home, node) = node(&issuer, &["gitlab"], "", &more);
    let mut registry = Registry::new(node.address);
    let token = signer.sign(&job(&issuer, "main"));
    push(&mut registry, "production/app", "gitlab", &token).expect(503);
    is_logged(&node, "certificate: ");
    assert_eq!(issuer.asked(), 0);
}

#[test]
fn tokens_of_another_server_are_checked_by_the_keys_that_it_publishes() {
    let [old, new] = ["old", "new"].map(Signer::p256);
    let issuer = TestIssuer::start(Behaviour::Keys(key_set(&[&old])));
    let (url, ca) = (&issuer.url, issuer.ca_file.display());
    let text = format!(
        "[auth]\nmode = 'token'\nrealm = '{url}/token'\nservice = '{AUDIENCE}'\nissuer = '{url}'\n\
         jwks_url = '{url}/keys'\njwks_ca_file = '{ca}'\njwks.ask_pause = '1s'"
    );
    let (_home, options) = configured(&text);
    let node = Node::start_with(options);
    let mut registry = Registry::new(node.address);
    let mut status = |signer: &Signer| {
        let mut claims = issuer.claims(AUDIENCE, "bob");
        claims["access"] = json!([{ "type": "repository", "name": "a", "actions": ["pull"] }]);
        let request = Request::new("GET", "/v2/a/tags/list");
        registry
            .send(&bearing(request, &signer.sign(&claims)))
            .status
    };
    assert_eq!(status(&old), 404);
    assert_eq!(status(&new), 401);
    // Looked for without delay, and only once the pause is over.
    issuer.becomes(Behaviour::Keys(key_set(&[&old, &new])));
    assert!(wait_for(PATIENCE, || status(&new) == 404));
    assert_eq!(status(&old), 404);
}

#[test]
fn keys_are_fetched_again_however_long_their_issuer_says_they_last() {
    let [old, new] = ["old", "new"].map(Signer::p256);
    let issuer = TestIssuer::start(Behaviour::Lasting(key_set(&[&old])));
    let within = |fresh_max: &str| {
        let pace = format!("fresh_min = '1s'\nfresh_max = '{fresh_max}'");
        node(&issuer, &["gitlab"], &pace, "")
    };
    let (_home, hasty) = within("2s");
    let (_home, patient) = within("1h");
    let token = old.sign(&job(&issuer, "main"));
    let status = |node: &Node| {
        let mut registry = Registry::new(node.address);
        push(&mut registry, "production/app", "gitlab", &token).status
    };
    assert_eq!([status(&hasty), status(&patient)], [201, 201]);
    // The issuer gives a key up a day too early.
    issuer.becomes(Behaviour::Lasting(key_set(&[&new])));
    assert!(wait_for(PATIENCE, || status(&hasty) == 401));
    assert_eq!(status(&patient), 201);
}
