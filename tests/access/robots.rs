//! Tokens of machines: made, shown once, scoped, ended, revoked, kept.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::{bearing, configured, trusting};
use crate::support::{
    Client, Cluster, Node, NodeOptions, Registry, Request, Response, sha256, wait_for,
};

/// A revocation travels as any entry does; a short life ends by the clock.
const NEWS_MAX: Duration = Duration::from_secs(20);
const RULES: &str = "
[auth]
mode = 'users'
[[auth.rules]]
comment = 'every user'
actions = ['pull']
[[auth.rules]]
subject.robot.starts = 'ci'
resource.repository = 'extra/app'
actions = ['pull', 'push']
";

/// Runs `windlass token …` through a node.
fn operate(admin: SocketAddr, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.arg("token").args(words);
    command.args(["--admin-listen", &admin.to_string()]);
    command.output().unwrap()
}

/// Makes a token; its text.
#[track_caller]
pub(crate) fn create(admin: SocketAddr, name: &str, scopes: &[&str], more: &[&str]) -> String {
    let scopes = scopes.iter().flat_map(|scope| ["--scope", *scope]);
    let words: Vec<_> = ["create", name].into_iter().chain(scopes).collect();
    let made = operate(admin, &[&words, more].concat());
    assert!(made.status.success(), "{made:?}");
    let printed = String::from_utf8(made.stdout).unwrap();
    let said = String::from_utf8(made.stderr).unwrap();
    let secret = printed.trim_end();
    assert!(
        secret.starts_with("wlr_") && printed.lines().count() == 1,
        "{printed}"
    );
    assert!(
        said.contains("is not shown again") && !said.contains(secret),
        "{said}"
    );
    crate::support::secret("token of a robot", secret);
    secret.to_owned()
}

fn list(admin: SocketAddr) -> Vec<Value> {
    let listed = operate(admin, &["list", "--json"]);
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    listed["tokens"].as_array().unwrap().clone()
}

#[track_caller]
fn revoke(admin: SocketAddr, token: &str) {
    let revoked = operate(admin, &["revoke", token]);
    assert!(revoked.status.success(), "{revoked:?}");
}

#[track_caller]
fn check_refused(admin: SocketAddr, words: &[&str], reason: &str) {
    let refused = operate(admin, words);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains(reason), "{said}");
    assert!(refused.stdout.is_empty());
}

/// The number in a token.
fn id_of(secret: &str) -> &str {
    secret.split('_').nth(1).unwrap()
}

pub(crate) fn basic(request: Request, name: &str, secret: &str) -> Request {
    let login = STANDARD.encode(format!("{name}:{secret}"));
    request.header("Authorization", format!("Basic {login}"))
}

fn push(repository: &str) -> Request {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(b"{}"));
    Request::new("POST", target).body("{}")
}

fn pull(repository: &str) -> Request {
    Request::new("GET", format!("/v2/{repository}/blobs/{}", sha256(b"{}")))
}

fn ping() -> Request {
    Request::new("GET", "/v2/")
}

/// What the token endpoint answers to a login.
fn token_of(registry: &mut Registry, name: &str, secret: &str, scope: &str) -> Response {
    let target = format!("/token?service=windlass&offline_token=true&scope={scope}");
    registry.send(&basic(Request::new("GET", target), name, secret))
}

fn options() -> (TempDir, NodeOptions) {
    configured(RULES)
}

/// Everything below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let below = paths.map(|path| {
        if path.is_dir() {
            files_below(&path)
        } else {
            vec![path]
        }
    });
    below.flatten().collect()
}

/// Looks for a secret, as text and as the bytes it stands for, in the log and in all
/// files of a node.
#[track_caller]
fn check_hidden(node: &Node, secret: &str) {
    let hex = secret.get(21..85).unwrap();
    let digits = hex.as_bytes().chunks(2);
    let bytes: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(bytes.len(), 32);
    let has = |content: &[u8], wanted: &[u8]| content.windows(wanted.len()).any(|at| at == wanted);
    let log = node.log_text();
    assert!(!log.contains(hex), "in the log");
    for path in files_below(&node.data_dir) {
        let content = fs::read(&path).unwrap();
        let is_hidden = !has(&content, hex.as_bytes()) && !has(&content, &bytes);
        assert!(is_hidden, "in {}", path.display());
    }
}

#[test]
fn a_token_gives_its_scopes_and_is_kept_nowhere() {
    let (_home, options) = options();
    let mut node = Node::start_with(options);
    let admin = node.admin_address;
    let scopes = ["team/*:pull,push", "catalog"];
    let secret = create(admin, "ci-1", &scopes, &["--expires", "1h"]);
    let mut registry = Registry::new(node.address);
    let mut send = |request| registry.send(&basic(request, "ci-1", &secret));
    send(ping()).expect(200);
    send(push("team/app")).expect(201);
    send(pull("team/app")).expect(200);
    // Neither a rule for every user nor another repository is a robot's; one that names
    // it is.
    send(push("other/app")).expect(403);
    send(pull("other/app")).expect(403);
    send(push("extra/app")).expect(201);
    send(Request::new(
        "DELETE",
        format!("/v2/team/app/blobs/{}", sha256(b"{}")),
    ))
    .expect(403);
    let listed = send(Request::new("GET", "/v2/_catalog")).expect(200).json();
    assert_eq!(listed["repositories"], json!(["extra/app", "team/app"]));

    let scope = "repository:team/app:pull,push,delete";
    let answer = token_of(&mut registry, "ci-1", &secret, scope)
        .expect(200)
        .json();
    assert_eq!(answer["scope"], "repository:team/app:pull,push");
    assert!(answer.get("refresh_token").is_none());
    let bearer = answer["token"].as_str().unwrap().to_owned();
    registry
        .send(&bearing(push("team/app"), &bearer))
        .expect(201);
    registry
        .send(&bearing(push("other/app"), &bearer))
        .expect(401);
    let form = format!("grant_type=password&username=ci-1&password={secret}&scope={scope}");
    let post = Request::new("POST", "/token").body(form);
    let answer = registry.send(&post).expect(200).json();
    assert_eq!(answer["scope"], "repository:team/app:pull,push");

    let wrong = secret.replacen('0', "1", 1).replacen('2', "3", 1);
    for (name, secret) in [("ci-2", &secret), ("ci-1", &wrong)] {
        registry.send(&basic(ping(), name, secret)).expect(401);
        token_of(&mut registry, name, secret, scope).expect(401);
    }

    let shown = list(admin);
    assert_eq!((shown.len(), &shown[0]["state"]), (1, &json!("active")));
    assert_eq!(shown[0]["scopes"], json!(scopes));
    assert_eq!(shown[0]["id"], *id_of(&secret));
    let table = operate(admin, &["list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("ci-1") && !table.contains("wlr_"), "{table}");

    node.restart();
    let mut registry = Registry::new(node.address);
    registry
        .send(&basic(pull("team/app"), "ci-1", &secret))
        .expect(200);
    check_hidden(&node, &secret);
    let audited = || {
        node.log_text()
            .contains(&format!("\"robot\":\"{}\"", id_of(&secret)))
    };
    assert!(wait_for(NEWS_MAX, audited), "{}", node.log_text());
}

#[test]
fn a_token_ends_with_everything_that_was_got_with_it() {
    let (_home, options) = options();
    let node = Node::start_with(options);
    let admin = node.admin_address;
    let mut registry = Registry::new(node.address);
    let short = create(admin, "ci-short", &["**:pull,push"], &["--expires", "4s"]);
    let answer = token_of(&mut registry, "ci-short", &short, "repository:a:pull")
        .expect(200)
        .json();
    assert!(answer["expires_in"].as_u64().unwrap() <= 4, "{answer}");
    let bearer = answer["token"].as_str().unwrap().to_owned();
    registry.send(&bearing(ping(), &bearer)).expect(200);
    let has_ended = || registry.send(&bearing(ping(), &bearer)).status == 401;
    assert!(wait_for(NEWS_MAX, has_ended));
    registry
        .send(&basic(ping(), "ci-short", &short))
        .expect(401);
    assert_eq!(list(admin)[0]["state"], "expired");

    // Its name is free again. What is revoked ends at once, as does what it was made into.
    let next = create(admin, "ci-short", &["**:pull,push"], &[]);
    let answer = token_of(&mut registry, "ci-short", &next, "repository:a:pull")
        .expect(200)
        .json();
    let bearer = answer["token"].as_str().unwrap().to_owned();
    registry.send(&bearing(ping(), &bearer)).expect(200);
    revoke(admin, "ci-short");
    registry.send(&bearing(ping(), &bearer)).expect(401);
    registry.send(&basic(ping(), "ci-short", &next)).expect(401);
    let states: Vec<_> = list(admin).iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, [json!("expired"), json!("revoked")]);
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let (_home, options) = options();
    let node = Node::start_with(options);
    let admin = node.admin_address;
    create(admin, "ci", &["a:pull"], &[]);
    for (words, reason) in [
        (
            &["create", "ci", "--scope", "a:pull"][..],
            "another token has this name",
        ),
        (
            &["create", "c:i", "--scope", "a:pull"],
            "a name has at most",
        ),
        (&["create", "x", "--scope", "a:pul"], "did you mean `pull`"),
        (&["create", "x", "--scope", "a"], "expected `PATTERN:"),
        (
            &["create", "x", "--scope", "a:pull", "--expires", "0s"],
            "ended already",
        ),
        (&["revoke", "x"], "there is no token"),
        (&["revoke", "0011223344556677"], "there is no token"),
    ] {
        check_refused(admin, words, reason);
    }
    let mut operators = Client::new(admin);
    operators.send(&Request::new("GET", "/tokens")).expect(403);
    let here = |method| Request::new(method, "/tokens").header("Host", "127.0.0.1");
    let wish = here("POST").body("{}");
    operators.send(&wish).expect(403);
    operators
        .send(&wish.header("X-Windlass-Operator", "1"))
        .expect(400);
    // A name that a page had bound to this address.
    let wish = Request::new("POST", "/tokens").header("X-Windlass-Operator", "1");
    operators.send(&wish.body("{}")).expect(403);
}

#[test]
fn what_a_token_gives_is_explained() {
    let (home, _options) = options();
    let explain = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(["acl", "explain"]).args(words).arg("--config");
        let asked = command
            .arg(home.path().join("windlass.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8([asked.stdout, asked.stderr].concat()).unwrap();
        (asked.status.success(), said)
    };
    let scopes = ["--robot", "--scope", "team/*:pull"];
    let (is_allowed, said) = explain(&[&["ci-1", "team/app", "pull"][..], &scopes].concat());
    assert!(
        is_allowed && said.starts_with("allowed by the scopes"),
        "{said}"
    );
    let (is_allowed, said) = explain(&[&["ci-1", "extra/app", "push"][..], &scopes].concat());
    assert!(
        is_allowed && said.starts_with("allowed by rule 2"),
        "{said}"
    );
    let (is_allowed, said) = explain(&[&["bot", "team/app", "push"][..], &scopes].concat());
    assert!(
        !is_allowed && said.contains("rule 1 (every user) is not for this robot"),
        "{said}"
    );
    let (is_allowed, said) = explain(&["ci-1", "extra/app", "push"]);
    assert!(
        !is_allowed && said.contains("rule 2 is not for this robot, or is for robots only"),
        "{said}"
    );
}

#[test]
fn nobody_needs_a_token_where_nobody_is_asked() {
    let node = Node::start();
    let words = ["create", "ci", "--scope", "a:pull"];
    check_refused(node.admin_address, &words, "nobody is asked who they are");
    assert!(list(node.admin_address).is_empty());
}

#[test]
fn a_token_works_beside_those_of_another_server() {
    let (_home, options) = configured(&trusting(""));
    let node = Node::start_with(options);
    let secret = create(node.admin_address, "ci", &["a:pull,push"], &[]);
    let mut registry = Registry::new(node.address);
    registry.send(&basic(push("a"), "ci", &secret)).expect(201);
    registry.send(&basic(push("b"), "ci", &secret)).expect(403);
    registry.send(&basic(ping(), "ci", "sesame")).expect(401);
}

#[test]
fn every_node_knows_what_was_made_and_what_was_revoked() {
    let (_home, options) = options();
    let mut cluster = Cluster::start_with(3, &options);
    let admins: Vec<_> = cluster
        .nodes
        .iter()
        .map(|one| one.node.admin_address)
        .collect();
    let secret = create(admins[1], "ci", &["**:pull,push"], &[]);
    let mut registries: Vec<_> = cluster.addresses().into_iter().map(Registry::new).collect();
    let status = |registry: &mut Registry| registry.send(&basic(ping(), "ci", &secret)).status;
    for registry in &mut registries {
        assert!(wait_for(NEWS_MAX, || status(registry) == 200));
    }
    // A token that one node made is taken by the others.
    let answer = token_of(&mut registries[2], "ci", &secret, "repository:a:push")
        .expect(200)
        .json();
    let bearer = answer["token"].as_str().unwrap().to_owned();
    for registry in &mut registries {
        registry.send(&bearing(push("a"), &bearer)).expect(201);
    }
    // A node that was away while the token was revoked knows it when it is back.
    cluster.nodes[2].node.kill();
    revoke(admins[0], "ci");
    for registry in &mut registries[..2] {
        assert!(wait_for(NEWS_MAX, || status(registry) == 401));
        registry.send(&bearing(ping(), &bearer)).expect(401);
    }
    cluster.nodes[2].node.restart();
    let mut registry = Registry::new(cluster.nodes[2].node.address);
    assert!(wait_for(NEWS_MAX, || status(&mut registry) == 401));
    registry.send(&bearing(ping(), &bearer)).expect(401);
    assert_eq!(list(admins[2])[0]["state"], "revoked");
    for member in &cluster.nodes {
        check_hidden(&member.node, &secret);
    }
}
